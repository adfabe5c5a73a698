/* auto_threads.c - `--threads auto`: what `bench MODEL` found to be fastest for this machine and a model of this
 * shape, from the file in which it is remembered. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cli/io.h"
#include "infer/tune.h"

#include <string.h>

/* The file "threads" in the cache folder, which is made; NULL: there is no place for it. */
static const char *cache_file(gal_buf *b, gal_cli *cli) {
    const char *folder = gal_cli_cache_folder(cli);
    if (!folder || gal_make_dirs(folder, NULL)) return NULL;
    return gal_path_join(b, folder, "threads");
}

/* Of the model that the first operand means; false if there is none, or it is not the processor that computes. */
static bool key_of(gal_cli *cli, char key[GAL_TUNE_KEY]) {
    gal_model *m = NULL;
    gal_dev *dev = NULL;
    gal_device_options o = cli->device;
    o.threads = 1;
    if (!strstr(cli->command->operands, "MODEL") || !cli->n_operands) return false;
    if (o.device && strcmp(o.device, "cpu") != 0) return false;
    bool have = !gal_dev_open(&dev, &o, NULL) && !gal_model_load(&m, cli->operands[0], NULL);
    if (have) gal_tune_key(key, m, dev->table.name, "");
    gal_model_free(m);
    gal_dev_close(dev);
    return have;
}

static void tried(void *user, int threads, double seconds) {
    const gal_cli *cli = user;
    if (!cli->quiet) fprintf(stderr, "%d thread%s: %.3f s\n", threads, threads == 1 ? "" : "s", seconds);
}
static bool interrupted(void *user) {
    (void)user;
    return gal_cli_interrupted() > 0;
}

static gal_err try_all(gal_cli *cli, const char *path, const char *key) {
    static gal_topology t;
    gal_lm_options lo;
    int best = 0;
    gal_lm_options_init(&lo);
    lo.device = cli->device;
    gal_topology_read(&t, "");
    const gal_tune_watch watch = { tried, interrupted, cli };
    gal_err err = gal_tune_model(&best, cli->operands[0], &lo, &t, &watch, &cli->diag);
    if (!err && path) err = gal_tune_remember(path, key, best, &cli->diag);
    if (err) return err;
    cli->device.threads = best;
    if (!cli->quiet)
        fprintf(stderr, "threads: %d, %s%s\n", best, path ? "remembered in " : "there is no place to remember it",
                path ? path : "");
    return GAL_OK;
}

gal_err gal_cli_auto_threads(gal_cli *cli) {
    if (cli->device.threads != GAL_CLI_AUTO) return GAL_OK;
    char key[GAL_TUNE_KEY];
    gal_buf b = { 0 };
    gal_err err = GAL_OK;
    cli->device.threads = 0;
    if (key_of(cli, key)) { /* a model that cannot be read is the command's to complain of */
        const char *path = cache_file(&b, cli);
        if (strcmp(cli->command->name, "bench") == 0)
            err = try_all(cli, path, key);
        else if (path)
            cli->device.threads = gal_tune_recall(path, key);
        if (!cli->device.threads && !err && !cli->quiet)
            fputs("threads: nothing is remembered of this model here; galerne bench MODEL --threads auto finds the "
                  "best number\n",
                  stderr);
    }
    gal_buf_free(&b);
    return err;
}
