/* cmd_logits.c - `galerne logits`: what a model says after each of some ids, as a NumPy array. Ids are used as given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "formats/npy.h"
#include "infer/lm.h"

#include <string.h>

/* At most this many bytes of logits exist at once, unless --chunk says otherwise. */
enum { LOGITS_BYTES = 64 << 20, MOST_ROWS = 512, FEWEST_ROWS = 16 };

typedef struct job {
    gal_engine *engine;
    const gal_ids *ids;
    int64_t vocab;
    gal_buf header;
    gal_sink *sink;
    bool bad; /* a logit was not finite */
} job;

static gal_err write_rows(void *user, const float *rows, int64_t n_rows, gal_diag *diag) {
    job *j = user;
    j->bad = j->bad || !gal_all_finite(rows, n_rows * j->vocab);
    if (gal_cli_interrupted()) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    /* gal_write_atomic() says what else failed */
    return gal_sink_write(j->sink, rows, (size_t)n_rows * (size_t)j->vocab * sizeof *rows);
}

static gal_err emit(gal_sink *sink, void *user, gal_diag *diag) {
    job *j = user;
    j->sink = sink;
    gal_err err = gal_sink_write(sink, j->header.data, j->header.len);
    return err ? err : gal_engine_logits(j->engine, 0, j->ids->data, (int64_t)j->ids->len, write_rows, j, diag);
}

static int64_t rows_at_once(const gal_cli *cli, int64_t T, int64_t V) {
    if (gal_cli_given(cli, "chunk")) {
        int64_t chunk = gal_cli_int(cli, "chunk");
        return chunk ? GAL_MIN(chunk, T) : T;
    }
    int64_t rows = LOGITS_BYTES / (V * (int64_t)sizeof(float));
    return GAL_MIN(T, GAL_MAX(FEWEST_ROWS, GAL_MIN(rows, MOST_ROWS)));
}

static gal_err write_logits(gal_cli *cli, gal_dev *dev, gal_model *m, const gal_ids *ids) {
    int64_t T = (int64_t)ids->len, V = m->config.V;
    const bool exact = gal_cli_given(cli, "exact"), bf16 = strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0;
    gal_dtype compute = bf16 && !exact ? GAL_BF16 : GAL_F32;
    /* Keys and values stay f32, so that the result does not depend on how the ids were cut. */
    gal_engine_options eo = { .compute = compute,
                              .cache = GAL_F32,
                              .sequences = 1,
                              .context = T,
                              .chunk = rows_at_once(cli, T, V),
                              .eager = gal_cli_given(cli, "eager"),
                              .exact = exact,
                              .beyond = true };
    job j = { .ids = ids, .vocab = V };
    gal_err err = gal_engine_new(&j.engine, dev, m, &eo, &cli->diag);
    if (!err) {
        gal_engine_interrupt(j.engine, gal_cli_wants_stop, NULL);
        gal_npy_header(&j.header, GAL_NPY_F32, 2, (const int64_t[]){ T, V });
        err = j.header.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a header")
                           : gal_write_atomic(gal_cli_string(cli, "output"), emit, &j, &cli->diag);
    }
    if (!err && j.bad) err = gal_model_check_finite(m, &cli->diag);
    if (!err) gal_cli_warn(cli, m);
    if (!err && cli->json) {
        printf("{\"tokens\": %lld, \"vocab\": %lld, \"dtype\": \"%s\", \"level\": \"%s\"}\n", (long long)T,
               (long long)V, gal_dtype_name(compute), dev->name);
    }
    gal_engine_free(j.engine);
    gal_buf_free(&j.header);
    return err;
}

static gal_err run(gal_cli *cli) {
    if (!gal_cli_given(cli, "output")) return gal_cli_usage(cli, "-o FILE is missing");
    gal_ids ids = { 0 };
    gal_dev *dev = NULL;
    gal_model *m = NULL;
    gal_buf dir = { 0 };
    gal_cli_catch_interrupts(); /* so that half a file is removed */
    gal_loras loras = { 0 };
    gal_input inputs[1 + GAL_CLI_LORAS] = { { "model", cli->operands[0] } };
    gal_err err = gal_cli_loras(cli, &loras);
    if (!err)
        err = gal_cli_output_file(cli, "-o", gal_cli_string(cli, "output"), gal_cli_layout(cli), inputs,
                                  gal_cli_lora_inputs(&loras, inputs, 1));
    if (!err) err = gal_cli_ids_option(cli, "ids", &ids);
    if (!err) err = gal_lm_load_as(&m, NULL, NULL, &dir, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = gal_lm_adapt(m, loras.list, loras.n, &cli->diag);
    if (!err) err = gal_dev_open(&dev, &cli->device, &cli->diag);
    gal_reading reading = { .cli = cli };
    gal_lm_options lo = { .no_mmap = gal_cli_given(cli, "no-mmap"),
                          .exact = gal_cli_given(cli, "exact"),
                          .repack = gal_cli_given(cli, "repack"),
                          .repack_dir = gal_cli_cache_folder(cli),
                          .progress = gal_cli_show_reading,
                          .user = &reading };
    if (!err) err = gal_lm_bring(m, dev, &lo, &cli->diag);
    if (!err) err = write_logits(cli, dev, m, &ids);
    gal_model_free(m);
    gal_dev_close(dev);
    gal_buf_free(&dir);
    gal_ids_free(&ids);
    gal_cli_loras_free(&loras);
    return err;
}

static const char *const DTYPES[] = { "f32", "bf16", NULL };

static const gal_option OPTIONS[] = {
    { .name = "ids",
      .kind = GAL_V_STRING,
      .value = "IDS",
      .help = "token ids, separated by spaces or commas, used as given; - reads them from standard input" },
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "the array to write, float32 [T, V]" },
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = DTYPES,
      .fallback = "f32",
      .help = "number format of activations; keys and values stay f32" },
    { .name = "chunk",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1e9,
      .help = "ids to compute at a time; 0: all at once; if not given, as many as keep memory small. Another number "
              "rounds "
              "sums otherwise, as a prompt that is cut elsewhere does" },
    { .name = "exact",
      .help = "weights in blocks meet activations in f32, whatever --dtype says; else these are rounded to 8 bits "
              "first" },
    { .name = "eager", .help = "do not record and replay steps of one id; the result is the same" },
    { .name = "no-mmap", .help = "read the weights into memory instead of mapping their files" },
    { .name = "repack", .help = GAL_REPACK_HELP },
    GAL_LAYOUT_OPTION,
    GAL_LORA_OPTION,
};

const gal_command gal_cmd_logits = {
    .name = "logits",
    .summary = "write the logits of given token ids",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .text =
        "Row t of the array holds the logits of the token that follows the t-th id. No tokenizer is needed, and no "
        "token is added.",
    .examples = "galerne logits model --ids \"1 22 333\" -o out.npy\n"
                "galerne logits model --ids - --dtype bf16 --chunk 7 -o out.npy < ids.txt",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
