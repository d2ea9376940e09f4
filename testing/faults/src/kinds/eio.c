/* Loaded into a process (LD_PRELOAD): while the file RTF_EIO_SWITCH exists, calls on files below RTF_EIO_DIR fail with EIO, as on a disk that dies. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_broken(int fd) {
    const char *toggle = getenv("RTF_EIO_SWITCH"), *dir = getenv("RTF_EIO_DIR");
    int before = errno;
    if (!toggle || !dir || access(toggle, F_OK) != 0) {
        errno = before;
        return 0;
    }
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strncmp(path, dir, strlen(dir)) == 0;
}

#define FAILING(type, name, parameters, arguments)            \
    type name parameters {                                    \
        static type(*real) parameters;                        \
        if (!real)                                            \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        if (is_broken(fd)) {                                  \
            errno = EIO;                                      \
            return -1;                                        \
        }                                                     \
        return real arguments;                                \
    }

FAILING(ssize_t, write, (int fd, const void *buffer, size_t count), (fd, buffer, count))
FAILING(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
FAILING(ssize_t, pwrite, (int fd, const void *buffer, size_t count, off_t at), (fd, buffer, count, at))
FAILING(ssize_t, pwrite64, (int fd, const void *buffer, size_t count, off64_t at), (fd, buffer, count, at))
FAILING(ssize_t, read, (int fd, void *buffer, size_t count), (fd, buffer, count))
FAILING(ssize_t, pread, (int fd, void *buffer, size_t count, off_t at), (fd, buffer, count, at))
FAILING(ssize_t, pread64, (int fd, void *buffer, size_t count, off64_t at), (fd, buffer, count, at))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
FAILING(int, sync_file_range, (int fd, off64_t at, off64_t count, unsigned int flags), (fd, at, count, flags))
