/* cmd_inspect.c - `galerne inspect`: what a model folder holds, what it needs, and whether it runs here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "infer/lm.h"

#include <string.h>

enum { PREFILL_ROWS = 512 };

typedef struct facts {
    const char *path;
    const gal_model *m;
    const gal_tokenizer *t; /* NULL: none */
    int64_t params, context;
    uint64_t weights, cache, activations, free_bytes;
    bool runs;
} facts;

static gal_dtype cache_type(const gal_cli *cli) {
    return strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0 ? GAL_BF16 : GAL_F32;
}

/* The step arena's high-water mark in a prefill: a block's own tensors beside the residual stream, then the logits.
 */
static uint64_t activation_bytes(const gal_config *c, gal_dtype dtype, int64_t rows) {
    uint64_t row = (uint64_t)(4 * c->D + (2 * c->H + 2 * c->G) * c->K + 3 * c->F + c->K) * gal_dtype_bytes(dtype);
    return row * (uint64_t)rows + (uint64_t)c->V * sizeof(float);
}

static facts facts_of(const gal_cli *cli, const gal_model *m, const gal_tokenizer *t) {
    const gal_config *c = &m->config;
    facts f = { .path = cli->operands[0], .m = m, .t = t, .params = gal_model_params(m) };
    f.context = gal_cli_int(cli, "context") ? gal_cli_int(cli, "context") : c->max_positions;
    for (size_t i = 0; i < m->n_weights; i++) f.weights += gal_wbytes(&m->weights[i]);
    f.cache = gal_cache_bytes_for(c, cache_type(cli), 1, f.context);
    f.activations = activation_bytes(c, cache_type(cli), GAL_MIN(f.context, PREFILL_ROWS));
    f.free_bytes = gal_memory_available();
    f.runs = f.weights + f.cache + f.activations <= f.free_bytes && f.context <= c->max_positions;
    return f;
}

/* "weights     f32", or every format that occurs. */
static void print_formats(const gal_model *m) {
    printf("weights     ");
    for (size_t i = 0; i < m->n_weights; i++) {
        bool first = true;
        for (size_t j = 0; first && j < i; j++) first = gal_wformat(&m->weights[j]) != gal_wformat(&m->weights[i]);
        if (first) printf("%s%s", i ? ", " : "", gal_wformat(&m->weights[i]));
    }
}

static void print_tensors(const gal_model *m) {
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        printf("%-56s %-5s [", w->name, gal_wformat(w));
        for (int d = 0; d < w->ndim; d++) printf("%s%lld", d ? ", " : "", (long long)w->dim[d]);
        printf("]\n");
    }
}

static void print_text(const facts *f) {
    const gal_config *c = &f->m->config;
    char a[40], b[40];
    printf("model       %s (%s)\n", c->model_type, f->path);
    printf("parameters  %s\n", gal_cli_count_text(a, sizeof a, f->params));
    printf("shape       %lld layers, width %lld, %lld heads of %lld, %lld key-value heads, hidden %lld, vocabulary "
           "%lld%s\n",
           (long long)c->L, (long long)c->D, (long long)c->H, (long long)c->K, (long long)c->G, (long long)c->F,
           (long long)c->V, c->tied ? ", tied" : "");
    printf("positions   %lld", (long long)c->max_positions);
    if (c->window) printf(", window %lld", (long long)c->window);
    printf(", rope %s, theta %g\n", c->rope_type, c->rope_theta);
    print_formats(f->m);
    printf(", %s in %zu tensors\n", gal_cli_bytes_text(a, sizeof a, f->weights), f->m->n_weights);
    if (f->t) {
        printf("tokenizer   %s, version %d, %d pieces\n", gal_tokenizer_kind(f->t), gal_tokenizer_version(f->t),
               gal_tokenizer_size(f->t));
    } else {
        printf("tokenizer   none: ids only\n");
    }
    printf("memory      context %lld: weights %s", (long long)f->context,
           gal_cli_bytes_text(a, sizeof a, f->weights));
    uint64_t mapped = gal_model_mapped_bytes(f->m);
    if (mapped == f->weights)
        printf(" (mapped)");
    else
        printf(" (%s of them mapped)", gal_cli_bytes_text(a, sizeof a, mapped));
    printf(", keys and values %s", gal_cli_bytes_text(a, sizeof a, f->cache));
    printf(", activations about %s\n", gal_cli_bytes_text(a, sizeof a, f->activations));
    if (f->context > c->max_positions) {
        printf("verdict     does not run: the model has %lld positions\n", (long long)c->max_positions);
        return;
    }
    printf("verdict     %s: needs %s, %s are free\n", f->runs ? "runs" : "does not fit",
           gal_cli_bytes_text(a, sizeof a, f->weights + f->cache + f->activations),
           gal_cli_bytes_text(b, sizeof b, f->free_bytes));
}

static void json_string(gal_buf *b, const char *key, const char *s) {
    gal_buf_printf(b, "\"%s\": ", key);
    gal_buf_json(b, s, strlen(s));
}

static void json_tensors(gal_buf *b, const gal_model *m) {
    gal_buf_puts(b, ", \"tensors\": [");
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        gal_buf_puts(b, i ? ", {" : "{");
        json_string(b, "name", w->name);
        gal_buf_printf(b, ", \"dtype\": \"%s\", \"shape\": [", gal_wformat(w));
        for (int d = 0; d < w->ndim; d++) gal_buf_printf(b, "%s%lld", d ? ", " : "", (long long)w->dim[d]);
        gal_buf_puts(b, "]}");
    }
    gal_buf_puts(b, "]");
}

static gal_err print_json(gal_cli *cli, const facts *f) {
    const gal_config *c = &f->m->config;
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{");
    json_string(&b, "model_type", c->model_type);
    gal_buf_printf(&b,
                   ", \"parameters\": %lld, \"layers\": %lld, \"width\": %lld, \"heads\": %lld, \"kv_heads\": %lld",
                   (long long)f->params, (long long)c->L, (long long)c->D, (long long)c->H, (long long)c->G);
    gal_buf_printf(&b, ", \"head_size\": %lld, \"hidden\": %lld, \"vocab\": %lld, \"max_positions\": %lld",
                   (long long)c->K, (long long)c->F, (long long)c->V, (long long)c->max_positions);
    gal_buf_printf(&b, ", \"window\": %lld, \"tied\": %s, \"dtype\": \"%s\"", (long long)c->window,
                   c->tied ? "true" : "false", gal_wformat(&f->m->weights[0]));
    if (f->t) {
        gal_buf_puts(&b, ", \"tokenizer\": {");
        json_string(&b, "kind", gal_tokenizer_kind(f->t));
        gal_buf_printf(&b, ", \"version\": %d, \"pieces\": %d}", gal_tokenizer_version(f->t),
                       gal_tokenizer_size(f->t));
    } else {
        gal_buf_puts(&b, ", \"tokenizer\": null");
    }
    gal_buf_printf(&b, ", \"context\": %lld, \"weights_bytes\": %llu, \"cache_bytes\": %llu", (long long)f->context,
                   (unsigned long long)f->weights, (unsigned long long)f->cache);
    gal_buf_printf(&b, ", \"activations_bytes\": %llu, \"free_bytes\": %llu, \"runs\": %s",
                   (unsigned long long)f->activations, (unsigned long long)f->free_bytes, f->runs ? "true" : "false");
    if (gal_cli_given(cli, "tensors")) json_tensors(&b, f->m);
    gal_buf_puts(&b, "}\n");
    gal_err err = b.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

static gal_err run(gal_cli *cli) {
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_buf dir = { 0 };
    gal_err err = gal_lm_load(&m, &t, NULL, &dir, cli->operands[0], &cli->diag);
    if (!err) {
        facts f = facts_of(cli, m, t);
        if (cli->json) {
            err = print_json(cli, &f);
        } else {
            print_text(&f);
            if (gal_cli_given(cli, "tensors")) print_tensors(m);
        }
        if (!err) err = gal_model_check_finite(m, &cli->diag); /* after the report: it reads the whole file */
        gal_cli_warn(cli, m);
    }
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_buf_free(&dir);
    return err;
}

static const char *const DTYPES[] = { "f32", "bf16", NULL };

static const gal_option OPTIONS[] = {
    { .name = "context",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1e9,
      .fallback = "0",
      .help = "tokens to plan memory for; 0: all positions of the model" },
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = DTYPES,
      .fallback = "f32",
      .help = "number format of activations, keys and values to plan for" },
    { .name = "tensors", .help = "list every tensor with its number format and shape" },
};

const gal_command gal_cmd_inspect = {
    .name = "inspect",
    .summary = "show what a model holds and the memory it needs",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .examples = "galerne inspect model --context 8192\ngalerne inspect model --tensors",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
