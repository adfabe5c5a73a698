/* listen.c - see listen.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAITING = 64 }; /* connections that nobody has taken up yet */

/* The errno of the last try in *why. */
static int try_address(const struct addrinfo *a, int *why) {
    int on = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, WAITING) == 0)
        return fd;
    *why = errno;
    if (fd >= 0) (void)close(fd);
    return -1;
}

static bool put_url(int fd, gal_buf *url) {
    struct sockaddr_storage where;
    socklen_t bytes = sizeof where;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&where, &bytes) ||
        getnameinfo((struct sockaddr *)&where, bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return false;
    gal_buf_printf(url, strchr(host, ':') ? "http://[%s]:%s/" : "http://%s:%s/", host, port);
    return !url->oom;
}

gal_err gal__http_listen(int *fd, const char *host, int port, gal_buf *url, gal_diag *diag) {
    char service[16];
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *list = NULL;
    int why = 0, found = -1;
    (void)snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc) return gal_fail(diag, GAL_EFAIL, "%s: no address to listen to: %s", host, gai_strerror(rc));
    for (const struct addrinfo *a = list; a && found < 0; a = a->ai_next) found = try_address(a, &why);
    freeaddrinfo(list);
    if (found < 0 && why == EADDRINUSE)
        return gal_fail(diag, GAL_EFAIL, "%s, port %d: taken by another program; --port 0 takes any free one", host,
                        port);
    if (found < 0) return gal_fail(diag, GAL_EFAIL, "%s, port %d: cannot listen: %s", host, port, strerror(why));
    if (!put_url(found, url)) {
        (void)close(found);
        return gal_fail(diag, GAL_EFAIL, "%s, port %d: cannot tell the address: %s", host, port, strerror(errno));
    }
    *fd = found;
    return GAL_OK;
}
