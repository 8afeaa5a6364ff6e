/* The flight recorder of a power cut: everything that changes what is under CUT_STATE is appended to the file CUT_LOG,
   in order. What writes is noted before it is done, what makes durable after it was. For LD_PRELOAD; see power.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK, MKDIR, RMDIR };

struct head { uint32_t op, path, other, data; uint64_t inode; int64_t offset; };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int recorder = -1;
static char state[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("CUT_LOG"), *folder = getenv("CUT_STATE");
    if (!log || !folder || !realpath(folder, state)) return;
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    recorder = real(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int inside(const char *path) {
    size_t n = strlen(state);
    return recorder >= 0 && !strncmp(path, state, n) && (path[n] == '/' || !path[n]);
}

/* The absolute path of what may be relative, whether it exists or not. */
static const char *absolute(const char *path, char *room) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (!realpath(*folder ? folder : "/", room)) return "";
    size_t n = strlen(room);
    snprintf(room + n, PATH_MAX - n, "/%s", slash ? slash + 1 : path);
    return room;
}

static void note(uint32_t op, uint64_t inode, int64_t offset, const char *path, const char *other, const void *data,
                 size_t size) {
    static ssize_t (*put)(int, const void *, size_t);
    if (!put) put = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    struct head head = {op, strlen(path), strlen(other), size, inode, offset};
    size_t whole = sizeof head + head.path + head.other + size;
    char *room = malloc(whole), *at = room;
    at = mempcpy(at, &head, sizeof head);
    at = mempcpy(at, path, head.path);
    at = mempcpy(at, other, head.other);
    mempcpy(at, data ? data : "", size);
    pthread_mutex_lock(&turn);
    if (put(recorder, room, whole) != (ssize_t)whole) abort();
    pthread_mutex_unlock(&turn);
    free(room);
}

/* Where an open file is, and what it is; 0 where it is none of ours. */
static int ours(int fd, struct stat *about, char *room) {
    char link[64];
    int before = errno;
    if (recorder < 0 || fd == recorder || fstat(fd, about) || !(S_ISREG(about->st_mode) || S_ISDIR(about->st_mode)))
        return errno = before, 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, room, PATH_MAX - 1);
    errno = before;
    return n > 0 && (room[n] = 0, inside(room));
}

#define REAL(type, name, parameters)                                     \
    static type(*real) parameters;                                       \
    if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                       \
    int name(const char *path, int flags, ...) {                         \
        REAL(int, name, (const char *, int, ...));                       \
        char room[PATH_MAX];                                             \
        mode_t mode = 0;                                                 \
        if (flags & (O_CREAT | __O_TMPFILE)) {                           \
            va_list more;                                                \
            va_start(more, flags);                                       \
            mode = va_arg(more, mode_t);                                 \
            va_end(more);                                                \
        }                                                                \
        int fresh = recorder >= 0 && (flags & O_CREAT) && access(path, F_OK) && inside(absolute(path, room)); \
        int size = recorder >= 0 && (flags & O_TRUNC) && !fresh;         \
        int fd = real(path, flags, mode);                                \
        struct stat about;                                               \
        if (fd >= 0 && fresh && !fstat(fd, &about)) note(CREATE, about.st_ino, 0, room, "", NULL, 0); \
        if (fd >= 0 && size && ours(fd, &about, room)) note(TRUNCATE, about.st_ino, 0, room, "", NULL, 0); \
        return fd;                                                       \
    }
OPEN(open)
OPEN(open64)

static void writes(int fd, const void *data, size_t size, int64_t at) {
    char room[PATH_MAX];
    struct stat about;
    if (ours(fd, &about, room)) {
        if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? about.st_size : lseek(fd, 0, SEEK_CUR);
        note(WRITE, about.st_ino, at, room, "", data, size);
    }
}

#define DATA(name, parameters, arguments, at)                            \
    ssize_t name parameters {                                            \
        REAL(ssize_t, name, parameters);                                 \
        writes(fd, data, size, at);                                      \
        return real arguments;                                           \
    }
DATA(write, (int fd, const void *data, size_t size), (fd, data, size), -1)
DATA(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), at)
DATA(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), at)

#define SIZE(name, type)                                                 \
    int name(int fd, type size) {                                        \
        REAL(int, name, (int, type));                                    \
        char room[PATH_MAX];                                             \
        struct stat about;                                               \
        if (ours(fd, &about, room)) note(TRUNCATE, about.st_ino, size, room, "", NULL, 0); \
        return real(fd, size);                                           \
    }
SIZE(ftruncate, off_t)
SIZE(ftruncate64, off64_t)

#define DURABLE(name)                                                    \
    int name(int fd) {                                                   \
        REAL(int, name, (int));                                          \
        char room[PATH_MAX];                                             \
        struct stat about;                                               \
        int done = real(fd);                                             \
        if (!done && ours(fd, &about, room)) note(SYNC, about.st_ino, S_ISDIR(about.st_mode), room, "", NULL, 0); \
        return done;                                                     \
    }
DURABLE(fsync)
DURABLE(fdatasync)

#define TWO(name, op)                                                    \
    int name(const char *from, const char *to) {                         \
        REAL(int, name, (const char *, const char *));                   \
        char room[PATH_MAX], other[PATH_MAX];                            \
        int within = recorder >= 0 && (inside(absolute(from, room)) | inside(absolute(to, other))); \
        int done = real(from, to);                                       \
        if (!done && within) note(op, 0, 0, room, other, NULL, 0);       \
        return done;                                                     \
    }
TWO(rename, RENAME)
TWO(link, LINK)

#define ONE(name, op, parameters, arguments)                             \
    int name parameters {                                                \
        REAL(int, name, parameters);                                     \
        char room[PATH_MAX];                                             \
        int within = recorder >= 0 && inside(absolute(path, room));      \
        int done = real arguments;                                       \
        if (!done && within) note(op, 0, 0, room, "", NULL, 0);          \
        return done;                                                     \
    }
ONE(unlink, UNLINK, (const char *path), (path))
ONE(mkdir, MKDIR, (const char *path, mode_t mode), (path, mode))
ONE(rmdir, RMDIR, (const char *path), (path))
