/* A wall clock of its own: CLOCK_FILE holds two 64-bit numbers, by how many seconds it is off, and who says that it is
   set: 0 nobody, 1 a time server, 2 one that has not answered for half a day. Both may change at any time. For
   LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shown;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *place = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (place != MAP_FAILED) shown = place;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (!done && shown && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shown[0];
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

int adjtimex(struct timex *about) {
    static int (*real)(struct timex *);
    if (!real) real = (int (*)(struct timex *))dlsym(RTLD_NEXT, "adjtimex");
    int done = real(about);
    if (!shown) return done;
    about->status = shown[1] == 1 ? 0 : STA_UNSYNC;
    about->maxerror = shown[1] == 1 ? 0 : 16000000;
    about->esterror = shown[1] ? 0 : 16000000;
    return shown[1] == 1 ? TIME_OK : TIME_ERROR;
}
