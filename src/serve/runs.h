/* runs.h - the live page of training runs: one page, and what it asks for as JSON (docs/runs.md). Reads run
 * directories, changes nothing, and holds nothing between two requests: what is new on disk is in the next answer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_SERVE_RUNS_H
#define GAL_SERVE_RUNS_H

#include "serve/http.h"

typedef struct gal_runs_server gal_runs_server;

/* places: run directories, and folders of runs; they outlive the server. host and port: as gal_http_options has them.
 */
gal_err gal_runs_serve(gal_runs_server **out, const char *const *places, size_t n, const char *host, int port,
                       gal_diag *diag);
const char *gal_runs_url(const gal_runs_server *s);
void gal_runs_stop(gal_runs_server *s); /* NULL is allowed */

#endif
