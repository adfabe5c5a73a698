/* train_config.c - the configuration that a command line means: a file, and --set on top of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/commands.h"
#include "train/loop.h"

static gal_err assignments(const char ***out, size_t *n, gal_cli *cli) {
    *n = gal_cli_count(cli, "set");
    *out = *n ? gal_alloc_array(*n, sizeof **out) : NULL;
    if (*n && !*out) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for %zu settings", *n);
    for (size_t i = 0; i < *n; i++) (*out)[i] = gal_cli_nth(cli, "set", i);
    return GAL_OK;
}

gal_err gal_cli_train_config(gal_train_config *out, gal_cli *cli, const char *path) {
    const char **set;
    size_t n;
    gal_err err = assignments(&set, &n, cli);
    if (!err) err = gal_train_config_load(out, path, set, n, &cli->diag);
    gal_free(set);
    return err;
}

gal_err gal_cli_judge_config(const gal_train_config *c, gal_cli *cli, const char *path, gal_train_judge *judge,
                             void *user) {
    const char **set;
    size_t n;
    gal_err err = assignments(&set, &n, cli);
    if (!err) err = gal_train_config_judge(c, path, set, n, judge, user, &cli->diag);
    gal_free(set);
    return err;
}
