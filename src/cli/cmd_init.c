/* cmd_init.c - `galerne init`: a model folder with fresh random weights, from the model part of a training's YAML
 * file. Refuses to write into a folder that holds something. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "models/model.h"
#include "text/tokenizer.h"
#include "train/loop.h"

#include <string.h>

enum { TOKENIZER_MAX_BYTES = 1 << 28 };

static gal_err check_empty(const char *dir, gal_diag *diag) {
    if (!gal_is_dir(dir)) return GAL_OK;
    char **names = NULL;
    size_t n = 0;
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    if (!err && n)
        err = gal_fail(diag, GAL_EINPUT, "%s: expected a new or an empty folder, found %s in it", dir, names[0]);
    gal_free_names(names, n);
    return err;
}

static gal_dtype dtype_of(const char *name) {
    if (strcmp(name, "bf16") == 0) return GAL_BF16;
    return strcmp(name, "f16") == 0 ? GAL_F16 : GAL_F32;
}

static gal_err copy_tokenizer(const char *from, const char *dir, gal_diag *diag) {
    gal_buf bytes = { 0 }, path = { 0 };
    gal_tokenizer *t = NULL;
    gal_err opened = gal_tokenizer_open(&t, from, diag);
    if (opened) return opened;
    const char *name = gal_tokenizer_file(t);
    gal_tokenizer_free(t);
    gal_err err = gal_path_join(&path, dir, name) ? gal_read_file(&bytes, from, TOKENIZER_MAX_BYTES, diag)
                                                  : gal_fail(diag, GAL_ENOMEM, "no memory");
    if (!err) err = gal_write_file(path.data, bytes.data, bytes.len, diag);
    gal_buf_free(&bytes);
    gal_buf_free(&path);
    return err;
}

/* user: NULL, or the gal_config to fill. */
static gal_err sizes(const gal_train_config *c, const char *where, void *user, gal_diag *diag) {
    gal_config own = { 0 }, *out = user ? user : &own;
    gal_tokenizer *t = NULL;
    gal_err err = c->tokenizer.path[0] ? gal_tokenizer_open(&t, c->tokenizer.path, diag) : GAL_OK;
    /* Without a vocabulary the ids of SentencePiece's usual control pieces stand in config.json. */
    int64_t vocab = t ? gal_tokenizer_size(t) : c->model.vocab ? 0 : c->tokenizer.train_size;
    int64_t rows = c->model.vocab ? c->model.vocab : vocab;
    int32_t bos = t ? gal_tokenizer_bos(t) : rows > 2 ? 1 : -1;
    int32_t eos = t ? gal_tokenizer_eos(t) : rows > 2 ? 2 : -1;
    if (!err) err = gal_train_model_config(out, c, vocab, bos, eos, where, diag);
    gal_tokenizer_free(t);
    gal_config_free(&own);
    return err;
}

gal_err gal_cli_fresh_config(gal_config *out, gal_cli *cli, const gal_train_config *c) {
    gal_err err = gal_cli_judge_config(c, cli, cli->operands[0], sizes, NULL);
    return err ? err : sizes(c, cli->operands[0], out, &cli->diag);
}

static gal_err build(gal_model **out, gal_cli *cli, const gal_train_config *c) {
    gal_config config = { 0 };
    gal_err err = gal_cli_fresh_config(&config, cli, c);
    if (!err) {
        config.dtype = dtype_of(gal_cli_string(cli, "dtype"));
        err = gal_model_build(out, &config, &cli->diag);
    }
    if (err) gal_config_free(&config);
    return err;
}

static gal_err write_model(gal_cli *cli, const gal_train_config *c, const char *dir) {
    gal_model *m = NULL;
    gal_dtype dtype = dtype_of(gal_cli_string(cli, "dtype"));
    gal_err err = check_empty(dir, &cli->diag);
    if (!err) err = build(&m, cli, c);
    if (err) return err;
    uint64_t need = (uint64_t)gal_model_params(m) * gal_dtype_bytes(dtype), available = gal_memory_available();
    if (need > available)
        err = gal_fail(&cli->diag, GAL_ENOMEM, "%lld weights need %llu bytes, %llu are available",
                       (long long)gal_model_params(m), (unsigned long long)need, (unsigned long long)available);
    if (!err) err = gal_model_init(m, dtype, (uint64_t)c->seed, &cli->diag);
    if (!err) err = gal_make_dirs(dir, &cli->diag);
    if (!err) err = gal_model_save(m, dir, &cli->diag);
    if (!err && c->tokenizer.path[0]) err = copy_tokenizer(c->tokenizer.path, dir, &cli->diag);
    char count[40];
    if (!err && !cli->quiet)
        fprintf(stderr, "%s: %s parameters\n", dir, gal_cli_count_text(count, sizeof count, gal_model_params(m)));
    gal_model_free(m);
    return err;
}

static gal_err run(gal_cli *cli) {
    gal_train_config c;
    if (!gal_cli_given(cli, "output")) return gal_cli_usage(cli, "expected -o DIR");
    gal_err err = gal_cli_train_config(&c, cli, cli->operands[0]);
    if (err) return err;
    err = write_model(cli, &c, gal_cli_string(cli, "output"));
    gal_train_config_free(&c);
    return err;
}

static const char *const DTYPES[] = { "f32", "bf16", "f16", NULL };

static const gal_option OPTIONS[] = {
    { .name = "output", .letter = 'o', .kind = GAL_V_DIR, .value = "DIR", .help = "the folder to make" },
    { .name = "set",
      .kind = GAL_V_STRING,
      .value = "KEY=VALUE",
      .repeat = true,
      .help = "change a setting of the configuration, as model.layers=2" },
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = DTYPES,
      .fallback = "f32",
      .help = "number format of the stored weights" },
};

const gal_command gal_cmd_init = {
    .name = "init",
    .summary = "write a model with fresh random weights",
    .operands = "CONFIG.yaml",
    .min_operands = 1,
    .max_operands = 1,
    .text = "Reads the model part of a training's configuration, seed and tokenizer.path. Without a tokenizer, "
            "model.vocab or else tokenizer.train_size says how many entries the vocabulary has; the folder then has "
            "no tokenizer.",
    .examples = "galerne init examples/mistral-small.yaml --set model.vocab=32000 -o models/fresh",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
