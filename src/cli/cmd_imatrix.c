/* cmd_imatrix.c - `galerne imatrix`: which columns of a model's weights a text needs most.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/util.h"
#include "cli/calibrate.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "convert/names.h"
#include "infer/lm.h"

#include <string.h>
#include <unistd.h>

enum { CHUNK = 512 }; /* tokens of a sequence, if nobody says otherwise */

typedef struct watch {
    const gal_cli *cli;
    double began_s, shown_s;
    int64_t done; /* tokens */
} watch;

static bool show(void *user, int64_t done, int64_t total) {
    watch *w = user;
    double now = gal_now_s();
    bool whole = done >= total;
    w->done = done;
    if (!w->cli->quiet && isatty(STDERR_FILENO) && (whole || now - w->shown_s > 0.1)) {
        if (whole)
            fprintf(stderr, "\r%70s\r", "");
        else
            fprintf(stderr, "\rreading the text: %lld of %lld tokens, %.1f tokens/s   ", (long long)done,
                    (long long)total, (double)done / (now - w->began_s));
        w->shown_s = now;
    }
    return gal_cli_interrupted() > 0;
}

gal_err gal_cli_calibrate(gal_cli *cli, gal_imatrix *out, gal_dev *dev, const char *model, const char *text,
                          int64_t chunk, int64_t most, gal_layout layout, bool *bos) {
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_buf dir = { 0 };
    gal_ids ids = { 0 };
    watch w = { .cli = cli, .began_s = gal_now_s() };
    gal_calibrate_options o = { .chunk = chunk, .progress = show, .user = &w };
    gal_reading reading = { .cli = cli };
    gal_lm_options lo = { .progress = gal_cli_show_reading, .user = &reading, .exact = 1 };
    gal_err err = dev->far ? gal_cli_usage(cli, "only the processor can watch a model: --device cpu") : GAL_OK;
    if (!err) err = gal_lm_load_as(&m, &t, NULL, &dir, model, layout, &cli->diag);
    if (!err) err = gal_cli_text_ids(cli, &ids, &o.bos, text, t, model, NULL);
    if (!err) err = gal_lm_bring(m, dev, &lo, &cli->diag);
    if (!err && !chunk) o.chunk = GAL_MAX(GAL_MIN((int64_t)CHUNK, (int64_t)m->config.max_positions), (int64_t)2);
    if (bos) *bos = o.bos >= 0;
    int64_t n = (int64_t)ids.len;
    if (most && most < n) n = most;
    if (!err) err = gal_calibrate(out, dev, m, ids.data, n, &o, &cli->diag);
    const char *slash = strrchr(text, '/');
    const char *name = slash ? slash + 1 : text;
    if (!err) err = gal_imatrix_add_dataset(out, name, strlen(name), &cli->diag);
    if (!err) gal_cli_warn(cli, m);
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_buf_free(&dir);
    return err;
}

typedef struct counts {
    size_t weights;
    int64_t matrices, experts, unreached; /* experts: those of the matrices that are theirs; of them, unreached */
    double rows;                          /* of the weight that had most */
} counts;

static counts count(const gal_imatrix *m) {
    counts c = { .weights = m->n };
    for (size_t i = 0; i < m->n; i++) {
        const gal_imatrix_entry *e = &m->entries[i];
        const gal_name n = gal_name_of(e->name);
        bool experts = gal_name_of_experts(&n);
        c.matrices += (int64_t)e->n_counts;
        c.experts += experts ? (int64_t)e->n_counts : 0;
        for (size_t j = 0; j < e->n_counts; j++) {
            double rows = (double)e->counts[j];
            c.unreached += experts && rows == 0.0;
            c.rows = GAL_MAX(c.rows, rows);
        }
    }
    return c;
}

static void report(const gal_cli *cli, const gal_imatrix *m, bool bos) {
    counts c = count(m);
    if (c.unreached)
        fprintf(stderr,
                "warning: the text never reached %lld of %lld matrices of experts: quantize will count all their "
                "columns alike\n",
                (long long)c.unreached, (long long)c.experts);
    if (cli->json)
        printf("{\"weights\": %zu, \"matrices\": %lld, \"experts\": %lld, \"unreached\": %lld, \"chunks\": %u, "
               "\"tokens\": %.0f}\n",
               c.weights, (long long)c.matrices, (long long)c.experts, (long long)c.unreached, (unsigned)m->chunks,
               c.rows);
    else if (!cli->quiet)
        printf("%zu weights, %.0f tokens in %u chunk%s%s\n", c.weights, c.rows, (unsigned)m->chunks,
               m->chunks == 1 ? "" : "s", bos ? ", with a beginning of sequence in each" : "");
}

static gal_err run(gal_cli *cli) {
    const char *output = gal_cli_string(cli, "output"), *format = gal_cli_string(cli, "format");
    if (!output) return gal_cli_usage(cli, "-o FILE is missing");
    const gal_input inputs[] = { { "model", cli->operands[0] }, { "text", cli->operands[1] } };
    gal_err err = gal_cli_output_file(cli, "-o", output, gal_cli_layout(cli), inputs, GAL_LEN(inputs));
    if (err) return err;
    bool older = format ? strcmp(format, "dat") == 0 : gal_cli_ends_with(output, ".dat");
    gal_dev *dev = NULL;
    gal_imatrix m = { 0 };
    bool bos = false;
    gal_cli_catch_interrupts();
    err = gal_imatrix_may_replace(output, &cli->diag);
    if (!err) err = gal_dev_open(&dev, &cli->device, &cli->diag);
    if (!err)
        err = gal_cli_calibrate(cli, &m, dev, cli->operands[0], cli->operands[1], gal_cli_int(cli, "chunk"),
                                gal_cli_int(cli, "max-tokens"), gal_cli_layout(cli), &bos);
    if (!err) err = gal_imatrix_write(&m, older ? GAL_IMATRIX_OLDER : GAL_IMATRIX_GGUF, output, &cli->diag);
    if (!err) report(cli, &m, bos);
    gal_imatrix_free(&m);
    gal_dev_close(dev);
    return err;
}

static const char *const FORMATS[] = { "gguf", "dat", NULL };

static const gal_option OPTIONS[] = {
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "the importance matrix to write; replaces another one, but no other file" },
    { .name = "chunk",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 2,
      .max = 1e6,
      .help = "tokens that are read as one sequence; if not given, 512 or the model's maximum if that is less" },
    { .name = "max-tokens",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1e12,
      .fallback = "0",
      .help = "read at most N tokens of the text, the beginnings of sequence not counted; 0: all" },
    { .name = "format",
      .kind = GAL_V_CHOICE,
      .value = "KIND",
      .choices = FORMATS,
      .help = "gguf, or dat, the older kind of file; if not given, dat where FILE ends so" },
    GAL_LAYOUT_OPTION,
};

const gal_command gal_cmd_imatrix = {
    .name = "imatrix",
    .summary = "measure which columns of a model's weights a text needs most",
    .operands = "MODEL TEXT",
    .min_operands = 2,
    .max_operands = 2,
    .text = "The model reads the text (- for standard input), and the squares of what every weight of its layers is "
            "multiplied with are summed. `galerne quantize --imatrix FILE` then keeps errors small where they matter "
            "for such text. A few hundred thousand tokens of the kind that the model will meet are plenty; each "
            "chunk begins with the beginning-of-sequence token.",
    .examples = "galerne imatrix model.gguf calibration.txt -o imatrix.gguf\n"
                "galerne quantize model.gguf Q4_K_M --imatrix imatrix.gguf -o model-q4.gguf",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
