/* runs_serve.c - `galerne runs serve`: the live page of runs, until Ctrl-C. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cli/commands.h"
#include "serve/runs.h"

#include <poll.h>
#include <string.h>

enum { LOOK_MS = 200 };

static void tell(const gal_cli *cli, const char *url) {
    gal_buf b = { 0 };
    if (cli->json) {
        gal_buf_puts(&b, "{\"url\": ");
        gal_buf_json(&b, url, strlen(url));
        gal_buf_puts(&b, "}");
    }
    printf("%s\n", cli->json && !b.oom ? b.data : url);
    (void)fflush(stdout); /* whoever started us reads it now */
    if (!cli->quiet) fputs("Ctrl-C ends it\n", stderr);
    gal_buf_free(&b);
}

gal_err gal_cli_runs_serve(gal_cli *cli) {
    static const char *const USUAL[] = { "runs" };
    bool named = cli->n_operands > 1;
    const char *const *places = named ? cli->operands + 1 : USUAL;
    size_t n = named ? (size_t)cli->n_operands - 1 : 1;
    gal_runs_server *s = NULL;
    for (size_t i = 0; i < n; i++)
        if (!gal_is_dir(places[i])) return gal_fail(&cli->diag, GAL_EINPUT, "%s: no folder of runs here", places[i]);
    gal_cli_catch_interrupts();
    gal_err err = gal_runs_serve(&s, places, n, gal_cli_string(cli, "host"), (int)gal_cli_int(cli, "port"),
                                 &cli->diag);
    if (err) return err;
    tell(cli, gal_runs_url(s));
    while (!gal_cli_interrupted()) (void)poll(NULL, 0, LOOK_MS);
    gal_runs_stop(s);
    return GAL_OK; /* how it ends */
}
