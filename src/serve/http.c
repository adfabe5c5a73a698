/* http.c - see http.h. Owns the socket, so that what is wrong with an address can be said, and the daemon of
 * libmicrohttpd. SPDX-License-Identifier: Apache-2.0 */
#include "serve/http.h"

#include "base/mem.h"
#include "base/sigmask.h"
#include "base/util.h"
#include "serve/host.h"
#include "serve/listen.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A request's head must fit REQUEST, or it is refused (414, 431); who says nothing for IDLE_S is hung up on. */
enum { CONNECTIONS = 64, IDLE_S = 30, REQUEST = 16 << 10 };

struct gal_http {
    struct MHD_Daemon *daemon;
    gal_http_options options;
    gal_buf url;
    char *host; /* owned */
};

/* ---- a request ---------------------------------------------------------------------------------------------------
 */

const char *gal_http_query(const gal_http_request *rq, const char *name) {
    return MHD_lookup_connection_value(rq->connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result reply(struct MHD_Connection *c, gal_http_response *rs) {
    static char nothing[1];
    bool kept = rs->tag != NULL;
    const char *known = kept ? MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH) : NULL;
    bool same = known && strcmp(known, rs->tag) == 0;
    if (rs->body.oom) gal_http_refuse(rs, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for an answer");
    /* MHD frees what comes from malloc() only; here a copy is cheap, and the allocation stays ours. */
    const char *bytes = rs->fixed ? rs->fixed : rs->body.data;
    size_t n = rs->fixed ? rs->fixed_bytes : rs->body.len;
    struct MHD_Response *r = MHD_create_response_from_buffer(
        same ? 0 : n, same || !bytes ? nothing : (void *)(uintptr_t)bytes,
        rs->fixed || same ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_COPY);
    gal_buf_free(&rs->body);
    if (!r) return MHD_NO;
    const char *const headers[][2] = {
        { MHD_HTTP_HEADER_CONTENT_TYPE, rs->type },
        { MHD_HTTP_HEADER_CACHE_CONTROL, kept ? "no-cache" : "no-store" },
        { MHD_HTTP_HEADER_ETAG, rs->tag },
        { MHD_HTTP_HEADER_ALLOW, rs->status == MHD_HTTP_METHOD_NOT_ALLOWED ? "GET, HEAD" : NULL },
        { "Content-Security-Policy", rs->policy ? rs->policy : "default-src 'none'; frame-ancestors 'none'" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Referrer-Policy", "no-referrer" },
        { "X-Content-Type-Options", "nosniff" },
    };
    enum MHD_Result ok = MHD_YES;
    for (size_t i = 0; i < GAL_LEN(headers) && ok == MHD_YES; i++)
        if (headers[i][1]) ok = MHD_add_response_header(r, headers[i][0], headers[i][1]);
    if (ok == MHD_YES) ok = MHD_queue_response(c, same ? MHD_HTTP_NOT_MODIFIED : (unsigned)rs->status, r);
    MHD_destroy_response(r);
    return ok;
}

static const gal_http_route *route_of(const gal_http *h, const char *path) {
    for (const gal_http_route *r = h->options.routes; r->path; r++)
        if (strcmp(r->path, path) == 0) return r;
    return NULL;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_bytes, void **state) {
    static char seen;
    (void)version;
    (void)upload;
    const gal_http *h = user;
    bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (reads && (!*state || *upload_bytes)) { /* an answer before the request's end would end the connection */
        *state = &seen;
        *upload_bytes = 0;
        return MHD_YES;
    }
    gal_http_response rs = { .status = MHD_HTTP_OK, .type = "application/json" };
    const gal_http_route *route = route_of(h, url);
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (!gal__http_host_fits(host, h->options.host)) {
        gal_http_refuse(&rs, MHD_HTTP_FORBIDDEN,
                        "asked for as '%.100s': expected a numeric address, localhost, or the name that --host gave",
                        host ? host : "");
    } else if (!reads) {
        gal_http_refuse(&rs, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is answered here");
    } else if (!route) {
        gal_http_refuse(&rs, MHD_HTTP_NOT_FOUND, "there is nothing of this name");
    } else {
        gal_http_request rq = { url, c };
        route->answer(h->options.user, &rq, &rs);
    }
    return reply(c, &rs);
}

/* ---- the server --------------------------------------------------------------------------------------------------
 */

gal_err gal_http_start(gal_http **out, const gal_http_options *options, gal_diag *diag) {
    gal_http *h = gal_alloc(sizeof *h);
    if (!h) return gal_fail(diag, GAL_ENOMEM, "no memory for a server");
    int fd = -1;
    h->options = *options;
    h->host = gal_strdup(options->host ? options->host : "127.0.0.1");
    h->options.host = h->host;
    gal_err err = h->host ? gal__http_listen(&fd, h->host, options->port, &h->url, diag)
                          : gal_fail(diag, GAL_ENOMEM, "no memory for a server");
    if (!err) {
        sigset_t before;
        gal_sigmask_hold(&before);
        h->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_AUTO,
                                     0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST, MHD_OPTION_END);
        gal_sigmask_back(&before);
        if (!h->daemon) err = gal_fail(diag, GAL_EFAIL, "%s: the server could not be started", h->url.data);
    }
    if (err) {
        if (fd >= 0) (void)close(fd);
        gal_http_stop(h);
        return err;
    }
    *out = h;
    return GAL_OK;
}

const char *gal_http_url(const gal_http *h) { return h->url.data; }

void gal_http_stop(gal_http *h) {
    if (!h) return;
    if (h->daemon) MHD_stop_daemon(h->daemon); /* closes the socket, too */
    gal_buf_free(&h->url);
    gal_free(h->host);
    gal_free(h);
}
