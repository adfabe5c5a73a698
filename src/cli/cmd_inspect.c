/* cmd_inspect.c - `galerne inspect`: what a model folder holds, what it needs, and whether it runs here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/sampling.h"
#include "formats/chat.h"
#include "infer/lm.h"
#include "models/lora.h"

#include <string.h>

enum { PREFILL_ROWS = 512 };

typedef struct facts {
    const char *path;
    const gal_model *m;
    const gal_tokenizer *t; /* NULL: none */
    const gal_generation *g;
    const gal_chat *chat;
    bool beside;             /* a tokenizer.json, too, */
    gal_difference differs;  /* and where that is another */
    const char *dir;         /* the folder or file that was read */
    bool there[GAL_LAYOUTS]; /* layouts that the folder has */
    int64_t params, context;
    gal_dtype cache_type;
    uint64_t weights, cache, activations, free_bytes;
    bool runs;
    char why[256]; /* it does not, or what to know if it does */
} facts;

static gal_dtype compute_type(const gal_cli *cli) {
    return strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0 ? GAL_BF16 : GAL_F32;
}

/* The step arena's high-water mark in a prefill: a block's own tensors beside the residual stream, then the logits.
 */
static uint64_t activation_bytes(const gal_config *c, gal_dtype dtype, int64_t rows) {
    const int64_t used = c->experts ? c->experts_used : 1, sorted = c->experts ? 2 * c->D * used : 0;
    uint64_t row = (uint64_t)(4 * c->D + (2 * c->H + 2 * c->G) * c->K + 3 * c->F * used + sorted + c->K) *
                   gal_dtype_bytes(dtype);
    return row * (uint64_t)rows + (uint64_t)c->V * sizeof(float);
}

/* Mapped weights need no room of their own: what does not fit is read again when it is needed. */
static void judge(facts *f) {
    char a[40], b[40];
    uint64_t needs = f->weights + f->cache + f->activations, most = needs - gal_model_mapped_bytes(f->m);
    int64_t positions = f->m->config.max_positions;
    f->runs = !f->m->spoilt && f->context <= positions && most <= f->free_bytes;
    (void)gal_cli_bytes_text(a, sizeof a, f->runs ? needs : most);
    (void)gal_cli_bytes_text(b, sizeof b, f->free_bytes);
    if (f->m->spoilt)
        (void)snprintf(f->why, sizeof f->why, "\"%s\", which every text meets, holds numbers that are not finite",
                       f->m->spoilt->name);
    else if (f->context > positions)
        (void)snprintf(f->why, sizeof f->why, "the model has %lld positions", (long long)positions);
    else
        (void)snprintf(f->why, sizeof f->why, "needs %s, %s are free%s%s%s", a, b,
                       f->runs && needs > f->free_bytes ? "; weights are read again as they are needed, slowly" : "",
                       f->m->n_warnings ? "; texts that meet a number that is not finite cannot be continued" : "",
                       f->runs && !f->t ? "; on ids only" : "");
}

static facts facts_of(const gal_cli *cli, const gal_model *m, const gal_tokenizer *t, const gal_generation *g,
                      const gal_chat *chat, const char *dir) {
    const gal_config *c = &m->config;
    facts f = {
        .path = cli->operands[0], .m = m, .t = t, .g = g, .chat = chat, .dir = dir, .params = gal_model_params(m)
    };
    f.context = gal_cli_int(cli, "context") ? gal_cli_int(cli, "context") : c->max_positions;
    for (size_t i = 0; i < m->n_weights; i++) f.weights += gal_wbytes(&m->weights[i]);
    f.cache_type = gal_cli_cache_type(cli);
    f.cache = gal_cache_bytes_for(c, f.cache_type, 1, f.context);
    f.activations = activation_bytes(c, compute_type(cli), GAL_MIN(f.context, PREFILL_ROWS));
    f.free_bytes = gal_memory_available();
    if (gal_is_dir(dir))
        (void)gal_model_layouts(f.there, dir, NULL); /* who cannot list it has read it all the same */
    judge(&f);
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

/* How much of the model a token takes: all of it but the experts that it does not choose. */
static void print_experts(const gal_model *m) {
    const gal_config *c = &m->config;
    int64_t all = 0;
    char a[40], where[40] = "each layer";
    for (size_t i = 0; i < m->n_weights; i++) all += m->weights[i].of_expert ? gal_wcount(&m->weights[i]) : 0;
    if (c->routed_every > 1) (void)snprintf(where, sizeof where, "one of %lld layers", (long long)c->routed_every);
    printf("experts     %lld in %s, %lld for each token, which takes %s parameters", (long long)c->experts, where,
           (long long)c->experts_used,
           gal_cli_count_text(a, sizeof a, gal_model_params(m) - all / c->experts * (c->experts - c->experts_used)));
    printf(c->router == GAL_ROUTER_TOP ? "\n" : "; router %s\n", gal_router_name(c->router));
}

/* Of a run directory or folder that stands for a model and its adapters. */
static void print_adapters(const gal_model *m) {
    size_t count = 0;
    char a[40];
    for (const gal_adapter *set = m->adapters; set; set = set->next) count += set->count;
    printf("adapters    beside %zu of them, %s parameters\n", count,
           gal_cli_count_text(a, sizeof a, gal_lora_params(m)));
}

static void print_layout(const facts *f) {
    static const char *const NAMES[GAL_LAYOUTS] = { "Hugging Face's", "Mistral's own", "GGUF" };
    gal_layout read = f->m->config.layout;
    const char *also = "; also here: ";
    printf("layout      %s", NAMES[read]);
    if (f->m->config.wrapper[0]) printf(", the text model inside \"%s\"", f->m->config.wrapper);
    for (int l = 0; l < GAL_LAYOUTS; l++) {
        if (!f->there[l] || l == (int)read) continue;
        printf("%s%s (--layout %s)", also, NAMES[l], gal_layout_name((gal_layout)l));
        also = ", ";
    }
    putchar('\n');
}

static void print_vocabulary(const facts *f) {
    char why[GAL_LM_WHY];
    long long pieces = f->t ? gal_tokenizer_size(f->t) : 0, rows = f->m->config.V;
    if (!f->t) {
        printf("tokenizer   none, ids only: %s\n", gal_lm_no_tokenizer(why, f->dir));
        return;
    }
    size_t rules = 0;
    const bool changes = gal_tokenizer_charsmap(f->t, &rules) != NULL;
    printf("tokenizer   %s, version %d, %lld pieces%s%s\n", gal_tokenizer_kind(f->t), gal_tokenizer_version(f->t),
           pieces, changes ? ", normaliser " : "", changes ? gal_tokenizer_normalizer(f->t) : "");
    if (f->differs.what.len)
        printf("            tokenizer.json beside it is another, and %s rules: %s\n", gal_tokenizer_file(f->t),
               f->differs.what.data);
    else if (f->beside)
        printf("            tokenizer.json beside it gives the same ids\n");
    if (pieces < rows)
        printf("            the embedding has %lld rows: ids from %lld on have no text and are never drawn\n", rows,
               pieces);
    if (pieces > rows)
        printf("            the embedding has %lld rows: texts with pieces from %lld on are refused\n", rows, rows);
}

/* What the makers say of sampling; nothing where they say nothing. */
static void print_sampling(const gal_generation *g) {
    const struct {
        const char *name;
        double value;
        bool said;
    } NUMBERS[] = {
        { "temperature", g->do_sample == 0 ? 0.0 : g->temperature, g->do_sample == 0 || g->temperature >= 0 },
        { "top-k", (double)g->top_k, g->top_k >= 0 },
        { "top-p", g->top_p, g->top_p >= 0 },
        { "min-p", g->min_p, g->min_p >= 0 },
        { "repetition penalty", g->repetition_penalty, g->repetition_penalty >= 0 },
    };
    const char *before = "sampling    ";
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++) {
        if (!NUMBERS[i].said) continue;
        printf("%s%s %g", before, NUMBERS[i].name, NUMBERS[i].value);
        before = ", ";
    }
    if (before[0] == ',') printf(" (the model's own defaults)\n");
}

/* Templates are carried, not shown: --json has their text. */
static void print_templates(const gal_chat *c) {
    for (size_t i = 0; i < c->n_templates; i++) {
        const gal_model_template *t = &c->templates[i];
        printf("%s%s%s%zu bytes", i ? ", " : "template    ", t->name ? t->name : "", t->name ? " " : "",
               strlen(t->text));
    }
    if (c->n_templates) printf(" (of chats; carried by convert)\n");
}

static void print_text(const facts *f) {
    const gal_config *c = &f->m->config;
    char a[40];
    printf("model       %s (%s)\n", c->model_type, f->path);
    print_layout(f);
    printf("parameters  %s\n", gal_cli_count_text(a, sizeof a, f->params));
    printf("shape       %lld layers, width %lld, %lld heads of %lld, %lld key-value heads, hidden %lld, vocabulary "
           "%lld%s\n",
           (long long)c->L, (long long)c->D, (long long)c->H, (long long)c->K, (long long)c->G, (long long)c->F,
           (long long)c->V, c->tied ? ", tied" : "");
    if (c->experts) print_experts(f->m);
    printf("positions   %lld", (long long)c->max_positions);
    if (c->window) printf(", window %lld", (long long)c->window);
    if (!c->relative)
        printf(", rope %s, theta %g\n", c->rope_type, c->rope_theta);
    else if (c->max_distance)
        printf(", relative, distances beyond %lld alike\n", (long long)c->max_distance);
    else
        printf(", relative\n");
    print_formats(f->m);
    printf(", %s in %zu tensors\n", gal_cli_bytes_text(a, sizeof a, f->weights), f->m->n_weights);
    if (f->m->adapters) print_adapters(f->m);
    print_vocabulary(f);
    print_sampling(f->g);
    print_templates(f->chat);
    printf("memory      context %lld: weights %s", (long long)f->context,
           gal_cli_bytes_text(a, sizeof a, f->weights));
    uint64_t mapped = gal_model_mapped_bytes(f->m);
    if (mapped == f->weights)
        printf(" (mapped)");
    else
        printf(" (%s of them mapped)", gal_cli_bytes_text(a, sizeof a, mapped));
    printf(", keys and values %s (%s)", gal_cli_bytes_text(a, sizeof a, f->cache), gal_dtype_name(f->cache_type));
    printf(", activations about %s\n", gal_cli_bytes_text(a, sizeof a, f->activations));
    printf("verdict     %s: %s\n", f->runs ? "runs" : "does not run", f->why);
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

static void json_layouts(gal_buf *b, const facts *f) {
    const gal_generation *g = f->g;
    const gal_config *c = &f->m->config;
    gal_buf_puts(b, ", ");
    json_string(b, "layout", gal_layout_name(c->layout));
    gal_buf_puts(b, ", \"layouts\": [");
    for (int l = 0, n = 0; l < GAL_LAYOUTS; l++)
        if (f->there[l] || l == (int)c->layout)
            gal_buf_printf(b, "%s\"%s\"", n++ ? ", " : "", gal_layout_name((gal_layout)l));
    gal_buf_puts(b, "], ");
    if (c->wrapper[0])
        json_string(b, "inside", c->wrapper);
    else
        gal_buf_puts(b, "\"inside\": null");
    gal_buf_puts(b, ", \"notes\": [");
    for (size_t i = 0; i < f->m->n_notes; i++) {
        gal_buf_puts(b, i ? ", " : "");
        gal_buf_json(b, f->m->notes[i], strlen(f->m->notes[i]));
    }
    gal_buf_puts(b, "], \"sampling\": {");
    const char *before = "";
    if (g->do_sample == 0 || g->temperature >= 0) {
        gal_buf_printf(b, "\"temperature\": %.9g", g->do_sample == 0 ? 0.0 : g->temperature);
        before = ", ";
    }
    if (g->top_k >= 0) {
        gal_buf_printf(b, "%s\"top_k\": %lld", before, (long long)g->top_k);
        before = ", ";
    }
    if (g->top_p >= 0) {
        gal_buf_printf(b, "%s\"top_p\": %.9g", before, g->top_p);
        before = ", ";
    }
    if (g->min_p >= 0) {
        gal_buf_printf(b, "%s\"min_p\": %.9g", before, g->min_p);
        before = ", ";
    }
    if (g->repetition_penalty >= 0)
        gal_buf_printf(b, "%s\"repetition_penalty\": %.9g", before, g->repetition_penalty);
    gal_buf_puts(b, "}, \"chat_template\": ");
    const char *chat = gal_chat_default(f->chat);
    if (chat)
        gal_buf_json(b, chat, strlen(chat));
    else
        gal_buf_puts(b, "null");
}

/* Of a folder with two vocabularies. */
static void json_beside(gal_buf *b, const facts *f) {
    if (!f->beside) return;
    gal_buf_puts(b, ", ");
    json_string(b, "rules", gal_tokenizer_file(f->t));
    gal_buf_printf(b, ", \"beside\": {\"file\": \"tokenizer.json\", \"same\": %s",
                   f->differs.what.len ? "false" : "true");
    if (f->differs.what.len) {
        if (f->differs.id >= 0) gal_buf_printf(b, ", \"id\": %d", (int)f->differs.id);
        gal_buf_puts(b, ", ");
        json_string(b, "difference", f->differs.what.data);
    }
    gal_buf_putc(b, '}');
}

static gal_err print_json(gal_cli *cli, const facts *f) {
    const gal_config *c = &f->m->config;
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{");
    json_string(&b, "model_type", c->model_type);
    gal_buf_printf(&b,
                   ", \"parameters\": %lld, \"layers\": %lld, \"width\": %lld, \"heads\": %lld, \"kv_heads\": %lld",
                   (long long)f->params, (long long)c->L, (long long)c->D, (long long)c->H, (long long)c->G);
    gal_buf_printf(&b, ", \"experts\": %lld, \"experts_used\": %lld", (long long)c->experts,
                   (long long)c->experts_used);
    gal_buf_printf(&b, ", \"head_size\": %lld, \"hidden\": %lld, \"vocab\": %lld, \"max_positions\": %lld",
                   (long long)c->K, (long long)c->F, (long long)c->V, (long long)c->max_positions);
    gal_buf_printf(&b, ", \"window\": %lld, \"tied\": %s, \"dtype\": \"%s\"", (long long)c->window,
                   c->tied ? "true" : "false", gal_wformat(&f->m->weights[0]));
    json_layouts(&b, f);
    gal_buf_printf(&b, ", \"adapter_parameters\": %lld", (long long)gal_lora_params(f->m));
    if (f->t) {
        gal_buf_puts(&b, ", \"tokenizer\": {");
        json_string(&b, "kind", gal_tokenizer_kind(f->t));
        gal_buf_puts(&b, ", ");
        json_string(&b, "normalizer", gal_tokenizer_normalizer(f->t));
        gal_buf_printf(&b, ", \"version\": %d, \"pieces\": %d", gal_tokenizer_version(f->t),
                       gal_tokenizer_size(f->t));
        json_beside(&b, f);
        gal_buf_putc(&b, '}');
    } else {
        gal_buf_puts(&b, ", \"tokenizer\": null");
    }
    gal_buf_printf(&b, ", \"context\": %lld, \"weights_bytes\": %llu, \"cache\": \"%s\", \"cache_bytes\": %llu",
                   (long long)f->context, (unsigned long long)f->weights, gal_dtype_name(f->cache_type),
                   (unsigned long long)f->cache);
    gal_buf_printf(&b, ", \"activations_bytes\": %llu, \"free_bytes\": %llu, \"runs\": %s, ",
                   (unsigned long long)f->activations, (unsigned long long)f->free_bytes, f->runs ? "true" : "false");
    json_string(&b, "why", f->why);
    if (gal_cli_given(cli, "tensors")) json_tensors(&b, f->m);
    gal_buf_puts(&b, "}\n");
    gal_err err = b.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

/* A model that cannot be read has a verdict, too; the error says the same. */
static void print_refusal(const gal_cli *cli) {
    gal_buf b = { 0 };
    if (cli->json) {
        gal_buf_puts(&b, "{\"runs\": false, ");
        json_string(&b, "why", cli->diag.text);
        gal_buf_puts(&b, "}\n");
    } else {
        gal_buf_printf(&b, "verdict     does not run: %s\n", cli->diag.text);
    }
    if (!b.oom) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
}

static gal_err read_chat(gal_chat *c, const char *dir, gal_diag *diag) {
    if (gal_is_dir(dir)) return gal_chat_of_folder(c, dir, diag);
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_open(&g, dir, diag);
    if (!err) err = gal_chat_of_file(c, g, dir, diag);
    gal_gguf_close(g);
    return err;
}

static gal_err run(gal_cli *cli) {
    if (gal_cli_given(cli, "experts")) return gal_cli_inspect_experts(cli);
    if (gal_cli_given(cli, "text") || gal_cli_given(cli, "ids"))
        return gal_cli_usage(cli, "a text is for --experts alone");
    gal_chat chat = { 0 };
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_generation g;
    gal_buf dir = { 0 };
    gal_err err = gal_lm_load_as(&m, &t, &g, &dir, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = read_chat(&chat, dir.data, &cli->diag);
    if (err == GAL_EINPUT) print_refusal(cli);
    if (!err) err = gal_cache_check(&m->config, NULL, gal_cli_cache_type(cli), &cli->diag);
    if (!err) err = gal_model_check_finite(m, &cli->diag); /* reads the whole file: the verdict asks for it */
    if (!err) {
        facts f = facts_of(cli, m, t, &g, &chat, dir.data);
        if (t) err = gal_lm_vocab_beside(&f.differs, &f.beside, dir.data, t, &cli->diag);
        if (!err && cli->json) {
            err = print_json(cli, &f);
        } else if (!err) {
            print_text(&f);
            if (gal_cli_given(cli, "tensors")) print_tensors(m);
        }
        gal_buf_free(&f.differs.what);
        gal_cli_warn(cli, m);
    }
    gal_chat_free(&chat);
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
      .help = "number format of activations to plan for" },
    GAL_CACHE_OPTION,
    { .name = "experts", .help = "show which experts the routers choose for a text, layer by layer, beside chance" },
    { .name = "text", .kind = GAL_V_FILE, .value = "FILE", .help = "the text of --experts; -: standard input" },
    { .name = "ids", .kind = GAL_V_STRING, .value = "IDS", .help = "token ids instead of a text; -: standard input" },
    { .name = "tensors", .help = "list every tensor with its number format and shape" },
    GAL_LAYOUT_OPTION,
};

const gal_command gal_cmd_inspect = {
    .name = "inspect",
    .summary = "show what a model holds, the memory it needs, and whether it runs",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .examples = "galerne inspect model --context 8192\ngalerne inspect model --tensors\n"
                "galerne inspect mixtral --experts --text essay.txt",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
