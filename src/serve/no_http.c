/* no_http.c - in place of http.c where libmicrohttpd was not there when galerne was built: says so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/http.h"

const char *gal_http_query(const gal_http_request *rq, const char *name) {
    (void)rq;
    (void)name;
    return NULL;
}

gal_err gal_http_start(gal_http **out, const gal_http_options *options, gal_diag *diag) {
    (void)out;
    (void)options;
    return gal_fail(diag, GAL_EFAIL,
                    "this galerne was built without a server: install libmicrohttpd (make deps) and build it again");
}

const char *gal_http_url(const gal_http *h) {
    (void)h;
    return "";
}

void gal_http_stop(gal_http *h) { (void)h; }
