/* listen.h - a socket that listens. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_SERVE_LISTEN_H
#define GAL_SERVE_LISTEN_H

#include "base/buf.h"

/* The first address of host that can be had, port 0: any free one there; its address as a URL is appended to url.
 * GAL_EFAIL says why not. On success *fd is the caller's. */
gal_err gal__http_listen(int *fd, const char *host, int port, gal_buf *url, gal_diag *diag);

#endif
