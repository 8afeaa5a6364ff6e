/* Death at a write: at the KILL_AT-th call that changes a file or speaks to a socket (words for a log aside), half of it is
   done, and the process is gone. For LD_PRELOAD. On a quiet end, how many such calls there were is left in the file KILL_COUNTED. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int due(void) {
    const char *at = getenv("KILL_AT");
    return atomic_fetch_add(&calls, 1) + 1 == (at ? atol(at) : 0);
}

static int due_at(int fd) {
    struct stat about;
    return fd != STDERR_FILENO && !fstat(fd, &about) && (S_ISREG(about.st_mode) || S_ISSOCK(about.st_mode)) && due();
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

__attribute__((destructor)) static void counted(void) {
    const char *path = getenv("KILL_COUNTED");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", atomic_load(&calls));
    fclose(file);
}

#define REAL(type, name, parameters)                                     \
    static type(*real) parameters;                                       \
    if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name)

/* What carries `size` bytes: half of them go. */
#define HALF(name, parameters, whole, half)                              \
    ssize_t name parameters {                                            \
        REAL(ssize_t, name, parameters);                                 \
        if (due_at(fd)) {                                                \
            if (size > 1) real half;                                     \
            die();                                                       \
        }                                                                \
        return real whole;                                               \
    }

HALF(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, size / 2))
HALF(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), (fd, data, size / 2, at))
HALF(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), (fd, data, size / 2, at))
HALF(send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags), (fd, data, size / 2, flags))

/* What happens as a whole, or not at all. */
#define WHOLE(name, parameters, arguments, about)                        \
    int name parameters {                                                \
        REAL(int, name, parameters);                                     \
        if (about) die();                                                \
        return real arguments;                                           \
    }

WHOLE(fsync, (int fd), (fd), due_at(fd))
WHOLE(fdatasync, (int fd), (fd), due_at(fd))
WHOLE(ftruncate, (int fd, off_t size), (fd, size), due_at(fd))
WHOLE(ftruncate64, (int fd, off64_t size), (fd, size), due_at(fd))
WHOLE(rename, (const char *from, const char *to), (from, to), due())
WHOLE(unlink, (const char *path), (path), due())
