/* Preloaded by disk_faults.py: lets a call that changes the disk, counted from `faults_at`, end the
   process or fail. Only calls on paths that hold VITC_FAULTS_UNDER count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int at, error_number, forever, lacking;
static int seen;

/* error: 0 for SIGKILL. always: every call from the nth on. lacks: renameat2 is not there. */
void faults_at(int nth, int error, int always, int lacks) {
    seen = 0, at = nth, error_number = error, forever = always, lacking = lacks;
}

int faults_seen(void) { return seen; }

static int fails(const char *path) {
    const char *under = getenv("VITC_FAULTS_UNDER");
    if (!at || !under || !strstr(path, under)) return 0;
    seen++;
    if (forever ? seen < at : seen != at) return 0;
    if (!error_number) kill(getpid(), SIGKILL);
    errno = error_number;
    return 1;
}

static int fails_at(int directory, const char *name) {
    char link[64], path[PATH_MAX];
    if (name[0] == '/' || directory == AT_FDCWD) return fails(name);
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    strncat(path, "/", sizeof path - strlen(path) - 1);
    strncat(path, name, sizeof path - strlen(path) - 1);
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && fails(path)) return -1; \
        return REAL(name)(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int directory, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && fails_at(directory, path)) return -1; \
        return REAL(name)(directory, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define ONE(name, type) \
    int name(const char *path type##_DECLARED) { \
        return fails(path) ? -1 : REAL(name)(path type##_GIVEN); \
    }
#define NONE_DECLARED
#define NONE_GIVEN
#define MODE_DECLARED , mode_t mode
#define MODE_GIVEN , mode
ONE(mkdir, MODE)
ONE(chmod, MODE)
ONE(rmdir, NONE)
ONE(unlink, NONE)

int unlinkat(int directory, const char *path, int flags) {
    return fails_at(directory, path) ? -1 : REAL(unlinkat)(directory, path, flags);
}

int rename(const char *from, const char *to) { return fails(to) ? -1 : REAL(rename)(from, to); }

int renameat(int a, const char *from, int b, const char *to) {
    return fails_at(b, to) ? -1 : REAL(renameat)(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    if (lacking) return errno = EINVAL, -1;
    return fails_at(b, to) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}

int link(const char *from, const char *to) { return fails(to) ? -1 : REAL(link)(from, to); }

/* Nothing is waited for: what a process has written outlives it without. */
int fsync(int file) { return fails_at(file, "") ? -1 : 0; }

ssize_t write(int file, const void *data, size_t size) {
    return fails_at(file, "") ? -1 : REAL(write)(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t place) {
    return fails_at(file, "") ? -1 : REAL(pwrite)(file, data, size, place);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    return fails_at(file, "") ? -1 : REAL(pwrite64)(file, data, size, place);
}

int ftruncate64(int file, off64_t size) {
    return fails_at(file, "") ? -1 : REAL(ftruncate64)(file, size);
}
