/* answer.c - of http.h what needs no server: refusals, and numbers of a query. SPDX-License-Identifier: Apache-2.0 */
#include "serve/http.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

void gal_http_refuse(gal_http_response *rs, int status, const char *fmt, ...) {
    char text[1100];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = 0;
    va_end(ap);
    gal_buf_free(&rs->body);
    *rs = (gal_http_response){ .status = status, .type = "application/json" };
    gal_buf_puts(&rs->body, "{\"error\": ");
    gal_buf_json(&rs->body, text, strlen(text));
    gal_buf_puts(&rs->body, "}\n");
    if (rs->body.oom) gal_buf_free(&rs->body); /* the status alone */
}

bool gal_http_query_int(const gal_http_request *rq, const char *name, int64_t min, int64_t max, int64_t *out) {
    int64_t value;
    const char *text = gal_http_query(rq, name);
    if (!text) return true;
    if (!gal_parse_i64(text, &value) || value < min || value > max) return false;
    *out = value;
    return true;
}
