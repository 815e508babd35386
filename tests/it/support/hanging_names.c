/*
 * Name servers that never answer: preloaded, it lets every lookup of a name
 * under .hangs.test wait for ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next)
        next = (__typeof__(next))dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = name ? strlen(name) : 0;
    size_t tail = strlen(".hangs.test");
    while (length > tail && !strcmp(name + length - tail, ".hangs.test"))
        pause();
    return next(name, service, hints, found);
}
