/*
 * Makes a disk fail for one process: preloaded, it stands between the program
 * and the C library's file calls. Calls on files below $DISK_FAULT_FOLDER fail
 * as the first word of the file $DISK_FAULT_FILE says, while there is one:
 *
 *   full      nothing grows, nothing is made: ENOSPC
 *   readonly  nothing is changed at all: EROFS
 *   fsync     everything is written and nothing can be synced: EIO
 *   results   the same for the files of results alone, not for databases
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, FULL, READONLY, FSYNC, RESULTS };

static enum fault current(void)
{
    const char *file = getenv("DISK_FAULT_FILE");
    char word[16] = "";
    if (!file)
        return NONE;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NONE;
    ssize_t got = syscall(SYS_read, fd, word, sizeof word - 1);
    syscall(SYS_close, fd);
    if (got <= 0)
        return NONE;
    if (!strcmp(word, "full"))
        return FULL;
    if (!strcmp(word, "readonly"))
        return READONLY;
    if (!strcmp(word, "fsync"))
        return FSYNC;
    if (!strcmp(word, "results"))
        return RESULTS;
    return NONE;
}

static int below(const char *path)
{
    const char *folder = getenv("DISK_FAULT_FOLDER");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

/* Where the file is, or "" if nobody knows. */
static const char *path_of(int fd, char path[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static int ours(int fd)
{
    char path[4096];
    return below(path_of(fd, path));
}

/* Whether a change of this file fails; errno says how. */
static int refused(int is_ours)
{
    int before = errno;
    enum fault fault = is_ours ? current() : NONE;
    errno = fault == FULL ? ENOSPC : fault == READONLY ? EROFS : before;
    return fault == FULL || fault == READONLY;
}

static int unsynced(int fd)
{
    int before = errno;
    char path[4096];
    int is_result = strstr(path_of(fd, path), "/files/") != NULL;
    enum fault fault = ours(fd) ? current() : NONE;
    int fails = fault == FSYNC || (fault == RESULTS && is_result);
    errno = fails ? EIO : before;
    return fails;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count)
{
    return refused(ours(fd)) ? -1 : NEXT(write)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return refused(ours(fd)) ? -1 : NEXT(writev)(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return refused(ours(fd)) ? -1 : NEXT(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    return refused(ours(fd)) ? -1 : NEXT(pwrite64)(fd, bytes, count, at);
}

int fsync(int fd)
{
    return unsynced(fd) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return unsynced(fd) ? -1 : NEXT(fdatasync)(fd);
}

int unlink(const char *path)
{
    if (below(path) && current() == READONLY) {
        errno = EROFS;
        return -1;
    }
    return NEXT(unlink)(path);
}

/* A new file, or one that is opened to be changed. */
static int opens_to_change(const char *path, int flags)
{
    if (!(flags & O_CREAT) || !refused(below(path)))
        return 0;
    return current() == READONLY || access(path, F_OK) != 0;
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opens_to_change(path, flags) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opens_to_change(path, flags) ? -1 : NEXT(open64)(path, flags, mode);
}
