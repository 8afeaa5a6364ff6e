/* A card that stalls: in every second span of CARD_STALLS_S seconds, writing to a regular file waits for the span's end.
   For LD_PRELOAD, in front of pwrite, fsync and fdatasync, as SQLite and the pictures use them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void stall(int fd) {
    struct stat about;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) return;
    const char *text = getenv("CARD_STALLS_S");
    long span = text ? atol(text) : 5;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec / span) % 2 == 0) return;
    struct timespec end = {(now.tv_sec / span + 1) * span, 0};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
}

#define PASS(type, name, parameters, arguments)                          \
    type name parameters {                                               \
        static type(*real) parameters;                                   \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);   \
        stall(fd);                                                       \
        return real arguments;                                           \
    }

PASS(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
PASS(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
PASS(int, fsync, (int fd), (fd))
PASS(int, fdatasync, (int fd), (fd))
