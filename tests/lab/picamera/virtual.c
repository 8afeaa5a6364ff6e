/* What libcamera's virtual camera needs and this machine has not; loaded by LD_PRELOAD.
 *
 * DMA buffers: without /dev/dma_heap plain shared memory is given. libcamera and picamera2 only map it.
 * Clean memory: libcamera 0.4's virtual camera never marks a picture as good, it leaves the mark as it finds it.
 * New objects are therefore zeroed, and zero is good. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

void *_Znwm(unsigned long length) /* C++: operator new */
{
	void *object = calloc(1, length ? length : 1);
	if (!object)
		abort();
	return object;
}

static int heap(const char *path)
{
	return path && strncmp(path, "/dev/dma_heap/", strlen("/dev/dma_heap/")) == 0;
}

static int memory(unsigned long length)
{
	int fd = memfd_create("dma-buffer", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)length) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

#define OPEN(name)                                                    \
	int name(const char *path, int flags, ...)                    \
	{                                                             \
		static int (*next)(const char *, int, ...);           \
		va_list more;                                         \
		mode_t mode = 0;                                      \
		if (heap(path))                                       \
			return memory(0);                             \
		if (flags & (O_CREAT | O_TMPFILE)) {                  \
			va_start(more, flags);                        \
			mode = va_arg(more, mode_t);                  \
			va_end(more);                                 \
		}                                                     \
		if (!next)                                            \
			next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
		return next(path, flags, mode);                       \
	}

OPEN(open)
OPEN(open64)

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list more;
	void *argument;

	va_start(more, request);
	argument = va_arg(more, void *);
	va_end(more);
	if (request == DMA_HEAP_IOCTL_ALLOC) {
		struct dma_heap_allocation_data *wish = argument;
		int buffer = memory(wish->len);
		if (buffer < 0)
			return -1;
		wish->fd = (unsigned int)buffer;
		return 0;
	}
	if (_IOC_TYPE(request) == DMA_BUF_BASE) /* synchronise, name: nothing to do for plain memory */
		return 0;
	if (!next)
		next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	return next(fd, request, argument);
}
