/* cmd_quantize.c - `galerne quantize`: a model's weights in fewer bits. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/util.h"
#include "cli/calibrate.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "convert/quantise.h"
#include "models/model.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct watch {
    const gal_cli *cli;
    double began_s, shown_s;
} watch;

static bool show(void *user, const char *tensor, uint64_t done, uint64_t total) {
    watch *w = user;
    double now = gal_now_s();
    bool whole = done >= total;
    if (!w->cli->quiet && isatty(STDERR_FILENO) && (whole || now - w->shown_s > 0.1)) {
        double part = total ? (double)done / (double)total : 1.0;
        double left_s = part > 0.0 ? (now - w->began_s) * (1.0 - part) / part : 0.0;
        if (whole)
            fprintf(stderr, "\r%78s\r", "");
        else if (!done)
            fprintf(stderr, "\rmeasuring errors: %-50.50s", tensor);
        else
            fprintf(stderr, "\rquantizing: %3.0f %%, %.0f s left, %-40.40s", 100.0 * part, left_s, tensor);
        w->shown_s = now;
    }
    return gal_cli_interrupted() > 0;
}

static void warn(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "warning: %s\n", line);
}

/* ---- the table at the end ---------------------------------------------------------------------------------------
 */

typedef struct line {
    uint32_t type;
    size_t tensors;
    uint64_t bytes;
} line;

enum { MOST_TYPES = 64 };

static int by_bytes(const void *a, const void *b) {
    const line *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->type < y->type ? -1 : 1;
}

static size_t count_types(const gal_quantise *q, line lines[MOST_TYPES]) {
    size_t n = 0;
    for (size_t i = 0; i < gal_quantise_count(q); i++) {
        const gal_quantise_tensor *t = gal_quantise_at(q, i);
        size_t j = 0;
        while (j < n && lines[j].type != t->type) j++;
        if (j == MOST_TYPES) continue;
        if (j == n) lines[n++] = (line){ .type = t->type };
        lines[j].tensors++;
        lines[j].bytes += t->bytes;
    }
    qsort(lines, n, sizeof *lines, by_bytes);
    return n;
}

static bool substituted(const gal_quantise_tensor *t) { return t->type != t->wanted; }

static double bits_of(const gal_quantise *q) {
    uint64_t n = gal_quantise_elements(q);
    return n ? 8.0 * (double)gal_quantise_bytes(q) / (double)n : 0.0;
}

static void print_table(const gal_quantise *q) {
    char a[40], b[40];
    line lines[MOST_TYPES] = { 0 };
    size_t n = count_types(q, lines);
    printf("%-10s %8s %22s\n", "type", "tensors", "bytes");
    for (size_t i = 0; i < n; i++)
        printf("%-10s %8zu %22s\n", gal_gguf_type_name(lines[i].type), lines[i].tensors,
               gal_cli_count_text(a, sizeof a, (int64_t)lines[i].bytes));
    for (size_t i = 0; i < gal_quantise_count(q); i++) {
        const gal_quantise_tensor *t = gal_quantise_at(q, i);
        if (!substituted(t)) continue;
        printf("%s: rows of %lld are no multiple of %u: %s instead of %s\n", t->name, (long long)t->dim[t->ndim - 1],
               (unsigned)gal_block_info_of(t->wanted)->elements, gal_gguf_type_name(t->type),
               gal_gguf_type_name(t->wanted));
    }
    printf("%s weights in %s: %.3f bits per weight\n",
           gal_cli_count_text(a, sizeof a, (int64_t)gal_quantise_elements(q)),
           gal_cli_bytes_text(b, sizeof b, gal_quantise_bytes(q)), bits_of(q));
}

static gal_err print_json(gal_cli *cli, const gal_quantise *q) {
    line lines[MOST_TYPES] = { 0 };
    size_t n = count_types(q, lines), shown = 0;
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"types\": [");
    for (size_t i = 0; i < n; i++)
        gal_buf_printf(&b, "%s{\"type\": \"%s\", \"tensors\": %zu, \"bytes\": %llu}", i ? ", " : "",
                       gal_gguf_type_name(lines[i].type), lines[i].tensors, (unsigned long long)lines[i].bytes);
    gal_buf_puts(&b, "], \"substituted\": [");
    for (size_t i = 0; i < gal_quantise_count(q); i++) {
        const gal_quantise_tensor *t = gal_quantise_at(q, i);
        if (!substituted(t)) continue;
        gal_buf_puts(&b, shown++ ? ", {\"tensor\": " : "{\"tensor\": ");
        gal_buf_json(&b, t->name, strlen(t->name));
        gal_buf_printf(&b, ", \"columns\": %lld, \"wanted\": \"%s\", \"type\": \"%s\"}",
                       (long long)t->dim[t->ndim - 1], gal_gguf_type_name(t->wanted), gal_gguf_type_name(t->type));
    }
    gal_buf_printf(&b, "], \"weights\": %llu, \"bytes\": %llu, \"bits_per_weight\": %.6f}\n",
                   (unsigned long long)gal_quantise_elements(q), (unsigned long long)gal_quantise_bytes(q),
                   bits_of(q));
    gal_err err = b.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

/* A weight that lay in blocks has lost something already. */
static void note_twice(const gal_cli *cli, const gal_quantise *q) {
    size_t n = 0;
    for (size_t i = 0; i < gal_quantise_count(q); i++) {
        const gal_quantise_tensor *t = gal_quantise_at(q, i);
        const gal_block_info *from = gal_block_info_of(t->from); /* NULL: FP8 */
        n += t->type != t->from && from && from->elements > 1 && gal_block_info_of(t->type)->elements > 1;
    }
    if (n && !cli->quiet)
        fprintf(stderr,
                "note: %zu tensors of %s are in blocks already: what they lost is not won back, and more is lost\n",
                n, cli->operands[0]);
}

/* What a person should know of the importance matrix before waiting for the result. */
static void note_importance(const gal_cli *cli, const gal_quantise *q) {
    const gal_quantise_importance *i = gal_quantise_importance_of(q);
    if (i->unreached)
        fprintf(
            stderr,
            "warning: the text of the importance matrix never reached %lld of %lld matrices of experts: there all "
            "columns count alike\n",
            (long long)i->unreached, (long long)i->experts);
    if (i->missing && !cli->quiet)
        fprintf(stderr, "note: the importance matrix knows nothing of %zu of %zu weights\n", i->missing, i->weights);
}

/* "4.5G", "700MiB", "12345": G is 10^9, GiB and Gi are 2^30. 0: no such size. */
static uint64_t parse_size(const char *text) {
    static const char UNITS[] = "KMGT";
    char number[32];
    double x = 0.0;
    size_t n = strspn(text, "0123456789.");
    if (!n || n >= sizeof number) return 0;
    memcpy(number, text, n);
    number[n] = 0;
    if (!gal_parse_f64(number, &x)) return 0;
    const char *unit = text[n] ? strchr(UNITS, toupper((unsigned char)text[n])) : NULL;
    const char *rest = text + n + (unit ? 1 : 0);
    bool binary = unit && (strcmp(rest, "i") == 0 || strcmp(rest, "iB") == 0);
    if (*rest && !binary && strcmp(rest, "B") != 0) return 0;
    for (const char *u = UNITS; unit && u <= unit; u++) x *= binary ? 1024.0 : 1000.0;
    return x >= 1.0 && x < 9e18 ? (uint64_t)x : 0;
}

static gal_err choose(gal_cli *cli, gal_quantise *q) {
    const char *size = gal_cli_string(cli, "size");
    uint64_t bytes = size ? parse_size(size) : 0;
    if (size && !bytes) return gal_cli_usage(cli, "--size: expected bytes, as 4.5G or 700MiB, found '%s'", size);
    if (size || gal_cli_given(cli, "bits"))
        return gal_quantise_budget(q, bytes, gal_cli_float(cli, "bits"), &cli->diag);
    return gal_quantise_recipe(q, cli->operands[1], gal_cli_given(cli, "pure"), &cli->diag);
}

/* Before work begins: what is at the output may go, and a file as the source is a model that would load; a folder is
 * loaded by gal_quantise_open(). */
static gal_err check_places(gal_cli *cli, const char *output) {
    const char *model = cli->operands[0];
    gal_err err = gal_gguf_may_replace(output, &cli->diag);
    return err || !gal_is_file(model) ? err : gal_model_check_gguf(model, &cli->diag);
}

static gal_err quantize(gal_cli *cli, gal_quantise *q, const char *output) {
    note_importance(cli, q);
    gal_err err = choose(cli, q);
    if (!err) note_twice(cli, q);
    if (!err) err = gal_quantise_write(q, output, &cli->diag);
    if (!err && cli->json) err = print_json(cli, q);
    if (!err && !cli->json && !cli->quiet) print_table(q);
    return err;
}

static gal_err run(gal_cli *cli) {
    const char *output = gal_cli_string(cli, "output");
    if (!output) return gal_cli_usage(cli, "-o FILE is missing");
    int ways = (cli->n_operands > 1) + gal_cli_given(cli, "size") + gal_cli_given(cli, "bits");
    if (ways != 1) return gal_cli_usage(cli, "expected one of TYPE, --size and --bits");
    const char *imatrix = gal_cli_string(cli, "imatrix"), *text = gal_cli_string(cli, "calibrate");
    if (imatrix && text) return gal_cli_usage(cli, "--imatrix and --calibrate: one of them");
    const gal_input inputs[] = { { "model", cli->operands[0] }, { "importance matrix", imatrix }, { "text", text } };
    gal_err err = gal_cli_output_file(cli, "-o", output, gal_cli_layout(cli), inputs, GAL_LEN(inputs));
    if (err) return err;
    gal_dev *dev = NULL;
    gal_quantise *q = NULL;
    watch w = { .cli = cli, .began_s = gal_now_s() };
    gal_cli_catch_interrupts(); /* so that half a file is removed */
    gal_imatrix m = { 0 };
    err = check_places(cli, output);
    if (!err) err = gal_dev_open(&dev, &cli->device, &cli->diag);
    if (!err && imatrix) err = gal_imatrix_read(&m, imatrix, &cli->diag);
    if (!err && text) err = gal_cli_calibrate(cli, &m, dev, cli->operands[0], text, 0, 0, gal_cli_layout(cli), NULL);
    if (!err) {
        gal_quantise_options o = { .pool = dev->pool,
                                   .imatrix = imatrix || text ? &m : NULL,
                                   .imatrix_path = imatrix ? imatrix : text,
                                   .layout = gal_cli_layout(cli),
                                   .strict = gal_cli_given(cli, "strict"),
                                   .progress = show,
                                   .warn = warn,
                                   .user = &w };
        err = gal_quantise_open(&q, cli->operands[0], &o, &cli->diag);
    }
    if (!err) err = quantize(cli, q, output);
    gal_quantise_free(q);
    gal_imatrix_free(&m);
    gal_dev_close(dev);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "the GGUF file to write; replaces a GGUF file, but no other" },
    { .name = "size",
      .kind = GAL_V_STRING,
      .value = "BYTES",
      .help = "instead of TYPE: a file of at most so many bytes, as 4.5G or 700MiB, with a type for each tensor by "
              "measured error" },
    { .name = "bits",
      .kind = GAL_V_FLOAT,
      .value = "B",
      .min = 0.01,
      .max = 32,
      .help = "instead of TYPE: at most B bits per weight over all tensors, chosen likewise" },
    { .name = "imatrix",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "importance matrix of the model: errors are kept small where its text drives the weights" },
    { .name = "calibrate",
      .kind = GAL_V_FILE,
      .value = "TEXT",
      .help = "let the model read a text and take the importance matrix from it, as `galerne imatrix` does" },
    GAL_LAYOUT_OPTION,
    { .name = "pure", .help = "TYPE for every weight, of a mixture its most usual one, without exceptions" },
    { .name = "strict", .help = "fail where the rows of a tensor do not fit TYPE, instead of taking another" },
};

const gal_command gal_cmd_quantize = {
    .name = "quantize",
    .summary = "write a model with its weights in fewer bits",
    .operands = "MODEL [TYPE]",
    .min_operands = 1,
    .max_operands = 2,
    .text =
        "MODEL: a GGUF file or a model's folder in any layout. TYPE: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, "
        "Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0, IQ4_NL, IQ4_XS, "
        "Q3_K_L, Q3_K_M, Q3_K_S, Q2_K, which give sensitive tensors more bits; or Q5_K, Q4_K, Q3_K, MXFP4 for every "
        "weight. Norms and routers stay in f32.\n\n"
        "Ends with a table: the types used, tensors whose rows are no multiple of a type's block and what was taken "
        "instead, the bits per weight over all.",
    .examples = "galerne quantize model Q4_K_M -o model-q4.gguf\n"
                "galerne quantize model-bf16.gguf --size 4.5G --imatrix imatrix.gguf -o model-4g5.gguf\n"
                "galerne quantize model-bf16.gguf Q4_K --strict --json -o model-q4.gguf",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
