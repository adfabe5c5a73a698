/* http.h - HTTP/1.1 for the rooms above: a table of routes, what was asked, what is answered. libmicrohttpd does the
 * protocol; a build without it refuses to start (GAL_EFAIL).
 *
 * Only GET (and HEAD) of the paths in the table: nothing of a request ever becomes the name of a file here. A request
 * whose Host is neither an address, nor localhost, nor the name that was listened to is refused (host.h), and every
 * answer says that nothing but what came with it may be loaded. Each connection has a thread: a handler may take its
 * time, and several run at once. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_SERVE_HTTP_H
#define GAL_SERVE_HTTP_H

#include "base/buf.h"

typedef struct gal_http gal_http;

typedef struct gal_http_request {
    const char *path; /* decoded, without what follows the question mark */
    void *connection; /* http.c's own */
} gal_http_request;

/* Of "?name=value": the value, decoded; NULL: there is no such name. Valid during the handler. */
const char *gal_http_query(const gal_http_request *rq, const char *name);
/* The same as a whole number. True: *out has it, or stays as it is because the name is not there. */
bool gal_http_query_int(const gal_http_request *rq, const char *name, int64_t min, int64_t max, int64_t *out);

/* What a handler fills in; it comes as 200, JSON, not to be kept by anybody, empty. */
typedef struct gal_http_response {
    int status;
    const char *type; /* static */
    const char *tag;  /* of the contents, for caches that ask whether they are still the same; NULL: not to be kept */
    const char *policy; /* Content-Security-Policy; what tag, policy and fixed point to outlives the server */
    const char *fixed;  /* contents that are not made for this request; NULL: body has them */
    size_t fixed_bytes;
    gal_buf body; /* the server frees it */
} gal_http_response;

/* Makes the answer {"error": "message"}. */
void gal_http_refuse(gal_http_response *rs, int status, const char *fmt, ...) GAL_PRINTF(3, 4);

typedef struct gal_http_route {
    const char *path;
    void (*answer)(void *user, const gal_http_request *rq, gal_http_response *rs);
} gal_http_route;

typedef struct gal_http_options {
    const char *host;             /* an address or a name; NULL: 127.0.0.1 */
    int port;                     /* 0: any free one */
    const gal_http_route *routes; /* ended by a path of NULL; outlives the server, as user does */
    void *user;
} gal_http_options;

/* Listens, and answers from then on. GAL_EFAIL: the address cannot be had. */
gal_err gal_http_start(gal_http **out, const gal_http_options *options, gal_diag *diag);
/* "http://127.0.0.1:8081/" */
const char *gal_http_url(const gal_http *h);
void gal_http_stop(gal_http *h); /* after the answers that are being made; NULL is allowed */

#endif
