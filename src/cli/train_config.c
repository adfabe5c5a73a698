/* train_config.c - the configuration that a command line means: a file, and --set on top of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/commands.h"
#include "train/loop.h"

gal_err gal_cli_train_config(gal_train_config *out, gal_cli *cli, const char *path) {
    const size_t n = gal_cli_count(cli, "set");
    const char **set = n ? gal_alloc_array(n, sizeof *set) : NULL;
    if (n && !set) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for %zu settings", n);
    for (size_t i = 0; i < n; i++) set[i] = gal_cli_nth(cli, "set", i);
    gal_err err = gal_train_config_load(out, path, set, n, &cli->diag);
    gal_free(set);
    return err;
}
