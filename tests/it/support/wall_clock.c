/*
 * Sets the wall clock for one process: preloaded, it adds the seconds in the
 * file $WALL_CLOCK_FILE, while there is one, to what CLOCK_REALTIME shows.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long set_by(void)
{
    const char *file = getenv("WALL_CLOCK_FILE");
    char text[32] = "";
    int before = errno;
    int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (syscall(SYS_read, fd, text, sizeof text - 1) < 0)
            text[0] = 0;
        syscall(SYS_close, fd);
    }
    errno = before;
    return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (__typeof__(next))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next(clock, time);
    if (!failed && clock == CLOCK_REALTIME)
        time->tv_sec += set_by();
    return failed;
}
