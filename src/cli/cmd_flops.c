/* cmd_flops.c - `galerne flops`: how many parameters and operations a model has, by part and term, and what a
 * training of it takes. Nothing is computed with the model, which need not exist: a preset or a training's
 * configuration is enough. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "infer/lm.h"
#include "models/law.h"
#include "models/presets.h"
#include "train/loop.h"

#include <string.h>

enum { SEQUENCE = 2048, TOKENS_A_PARAMETER = 20 };

/* What is counted, and how. */
typedef struct subject {
    const char *name;
    const gal_preset *preset; /* or NULL */
    gal_size size;
    gal_counting how;
    bool layers;           /* --terms layers */
    int every;             /* so manieth layers of the training are computed again; 0: none */
    gal_size again;        /* those */
    double passes;         /* of a trained token, in forward passes */
    double tokens;         /* of the training; 0: nobody says */
    const char *tokens_of; /* who does */
    double speed;          /* FLOP/s; 0: not given */
    gal_params params;
    gal_flops flops;
} subject;

/* ---- what is counted ---------------------------------------------------------------------------------------------
 */

static const char *preset_at(size_t i) { return i < GAL_N_PRESETS ? GAL_PRESETS[i].name : NULL; }

static gal_err config_file(gal_config *out, const char *path, gal_diag *diag) {
    return gal_cli_ends_with(path, "params.json") ? gal_own_config_read(out, path, diag)
                                                  : gal_config_read(out, path, diag);
}

static void take_sizes(subject *s, const gal_config *c, int64_t sequence) {
    gal_size_of(&s->size, c, sequence);
    if (s->every) gal_size_of_every(&s->again, c, sequence, s->every);
}

static gal_err of_model(subject *s, gal_cli *cli, const char *path, int64_t sequence) {
    gal_config c = { 0 };
    gal_model *m = NULL;
    gal_buf dir = { 0 };
    gal_err err;
    if (gal_cli_ends_with(path, ".json")) {
        err = config_file(&c, path, &cli->diag);
    } else {
        err = gal_lm_load_as(&m, NULL, NULL, &dir, path, gal_cli_layout(cli), &cli->diag);
    }
    if (!err) {
        const gal_config *of = m ? &m->config : &c;
        take_sizes(s, of, sequence ? sequence : GAL_MIN(of->max_positions, (int64_t)SEQUENCE));
    }
    gal_model_free(m);
    gal_config_free(&c);
    gal_buf_free(&dir);
    return err;
}

/* The run's rows, steps and passes as well as its sizes. */
static gal_err of_training(subject *s, gal_cli *cli, const char *path) {
    gal_train_config c;
    gal_err err = gal_cli_train_config(&c, cli, path);
    if (err) return err;
    s->every = gal_train_recompute(&c);
    if (c.init[0]) {
        err = of_model(s, cli, c.init, c.batch.sequence);
    } else {
        gal_config m = { 0 };
        err = gal_cli_fresh_config(&m, cli, &c);
        if (!err) take_sizes(s, &m, c.batch.sequence);
        gal_config_free(&m);
    }
    s->passes = gal_train_config_passes(&c);
    s->tokens = gal_train_config_tokens(&c);
    s->tokens_of = "the configuration's";
    gal_train_config_free(&c);
    return err;
}

static gal_err of_preset(subject *s, gal_cli *cli) {
    s->size = s->preset->size;
    s->how = s->preset->counting;
    s->tokens = (double)s->preset->tokens;
    s->tokens_of = "the paper's";
    if (!gal_cli_given(cli, "experts")) return GAL_OK;
    if (!s->size.relative)
        return gal_cli_usage(cli, "--experts is for presets of Gopher's block, and %s is none", s->name);
    const int64_t every = gal_cli_int(cli, "routed-every");
    if (gal_cli_int(cli, "experts-used") > gal_cli_int(cli, "experts"))
        return gal_cli_usage(cli, "--experts-used: expected at most the %lld experts, found %lld",
                             (long long)gal_cli_int(cli, "experts"), (long long)gal_cli_int(cli, "experts-used"));
    s->size.experts = gal_cli_int(cli, "experts");
    const char *router = gal_cli_string(cli, "router");
    for (int i = GAL_ROUTER_SBASE; i <= GAL_ROUTER_HASH; i++)
        if (strcmp(router, gal_router_name((gal_router)i)) == 0) s->size.router = (gal_router)i;
    s->size.wide = strcmp(router, "wide") == 0;
    s->size.used = s->size.wide ? s->size.experts : gal_cli_int(cli, "experts-used");
    s->size.routed = s->size.L / every;
    s->how = GAL_COUNT_ROUTED;
    if (s->size.routed < 1)
        return gal_cli_usage(cli, "--routed-every: expected at most the %lld layers of %s, found %lld",
                             (long long)s->size.L, s->name, (long long)every);
    return GAL_OK;
}

/* Options that would do nothing. */
static gal_err check_experts(gal_cli *cli, bool preset) {
    static const char *const FURTHER[] = { "experts-used", "router", "routed-every" };
    if (!preset && gal_cli_given(cli, "experts"))
        return gal_cli_usage(cli, "--experts is for presets: a model says itself what experts it has");
    for (size_t i = 0; i < GAL_LEN(FURTHER); i++)
        if (gal_cli_given(cli, FURTHER[i]) && !gal_cli_given(cli, "experts"))
            return gal_cli_usage(cli, "--%s goes with --experts", FURTHER[i]);
    return GAL_OK;
}

/* A word that is no path names a preset; one that is nothing at all was probably meant to. */
static gal_err find(subject *s, gal_cli *cli) {
    const char *name = s->name = cli->operands[0];
    const bool yaml = gal_cli_ends_with(name, ".yaml") || gal_cli_ends_with(name, ".yml");
    s->passes = GAL_PASSES_TRAIN;
    s->preset = gal_preset_named(name);
    gal_err err = check_experts(cli, s->preset != NULL);
    if (err) return err;
    if (gal_cli_given(cli, "set") && !yaml) return gal_cli_usage(cli, "--set is for a training's CONFIG.yaml");
    if (s->preset) return of_preset(s, cli);
    if (yaml) return of_training(s, cli, name);
    if (!gal_exists(name) && !strchr(name, '/')) {
        const char *near = gal_cli_nearest(name, preset_at);
        return gal_fail(&cli->diag, GAL_EINPUT, "%s: no preset, and no such file or folder%s%s%s", name,
                        near ? "; did you mean " : "; --list shows the presets", near ? near : "", near ? "?" : "");
    }
    return of_model(s, cli, name, 0);
}

/* ---- counting ----------------------------------------------------------------------------------------------------
 */

/* Forward operations of a token, of the terms that were asked for. */
static double per_token(const subject *s) { return gal_flops_per_token(&s->flops, s->layers); }

static double of_training_run(const subject *s) { return s->passes * per_token(s) * s->tokens; }

/* To 6 N D, which is 6 N for each token; N is what a token takes of the parameters. A training's three passes, also
 * where a run makes more. */
static double ratio(const subject *s) { return GAL_PASSES_TRAIN * per_token(s) / (6 * (double)s->params.active); }

/* Tokens: given, or of a budget, or what paper or configuration say, or a rule of thumb. */
static void choose_tokens(subject *s, const gal_cli *cli) {
    if (gal_cli_given(cli, "tokens")) {
        s->tokens = gal_cli_float(cli, "tokens");
        s->tokens_of = "as given";
    } else if (gal_cli_given(cli, "budget")) {
        s->tokens = gal_cli_float(cli, "budget") / (s->passes * per_token(s));
        s->tokens_of = "of the budget";
    } else if (!(s->tokens > 0)) {
        s->tokens = TOKENS_A_PARAMETER * (double)s->params.active;
        s->tokens_of = "20 for each parameter, as Chinchilla";
    }
}

/* What is computed again: all of a pass where --recompute says so, as papers count it; a configuration's layers. */
static gal_err count_again(subject *s, gal_cli *cli) {
    gal_flops f;
    if (gal_cli_given(cli, "recompute")) s->passes = GAL_PASSES_RECOMPUTE;
    if (gal_cli_given(cli, "recompute") || !s->every) return GAL_OK;
    s->again.sequence = s->size.sequence;
    gal_err err = gal_count_flops(&f, &s->again, s->how, &cli->diag);
    if (!err) s->passes += gal_flops_per_token(&f, true) / per_token(s);
    return err;
}

static gal_err count(subject *s, gal_cli *cli) {
    if (gal_cli_given(cli, "sequence")) s->size.sequence = gal_cli_int(cli, "sequence");
    if (gal_cli_given(cli, "convention"))
        (void)gal_counting_named(&s->how, gal_cli_string(cli, "convention")); /* the table has no other names */
    s->layers = strcmp(gal_cli_string(cli, "terms"), "layers") == 0;
    s->speed = gal_cli_float(cli, "flops-per-s");
    gal_err err = gal_size_check(&s->size, s->name, &cli->diag);
    if (err) return err;
    const char *misfit = gal_counting_misfit(s->how, &s->size);
    if (misfit)
        return gal_cli_usage(cli, "--convention %s does not fit %s: %s", gal_counting_name(s->how), s->name, misfit);
    err = gal_count_params(&s->params, &s->size, s->how, &cli->diag);
    if (!err) err = gal_count_flops(&s->flops, &s->size, s->how, &cli->diag);
    if (!err) err = count_again(s, cli);
    if (!err) choose_tokens(s, cli);
    return err;
}

/* ---- as text -----------------------------------------------------------------------------------------------------
 */

static void print_line(const char *name, int64_t n, int64_t each, double total) {
    char a[40], b[40];
    printf("  %-20s %24s", name, gal_cli_count_text(a, sizeof a, n));
    if (each >= 0) printf(" %28s", gal_cli_count_text(b, sizeof b, each));
    printf(" %6.2f %%\n", 100 * (double)n / total);
}

static void print_size(const subject *s) {
    const gal_size *z = &s->size;
    printf("model       %s", s->name);
    if (s->preset) printf(" (%s)", s->preset->source);
    printf("\nshape       %lld layers, width %lld, %lld heads of %lld", (long long)z->L, (long long)z->D,
           (long long)z->H, (long long)z->K);
    if (z->G != z->H) printf(", %lld key-value heads", (long long)z->G);
    printf(", hidden %lld, vocabulary %lld%s\n", (long long)z->F, (long long)z->V, z->tied ? ", tied" : "");
    if (z->experts)
        printf("experts     %lld in %lld of the layers, %lld for each token\n", (long long)z->experts,
               (long long)z->routed, (long long)z->used);
    if (z->windowed)
        printf("window      %lld tokens in %lld of the layers\n", (long long)z->window, (long long)z->windowed);
    printf("counted     convention %s\n", gal_counting_name(s->how));
}

static void print_params(const subject *s) {
    const gal_params *p = &s->params;
    char a[40];
    printf("parameters  %s", gal_cli_count_text(a, sizeof a, p->total));
    if (p->embeddings)
        printf(", %s without embedding%s", gal_cli_count_text(a, sizeof a, p->total - p->embeddings),
               p->part[GAL_PART_HEAD] ? " and head" : "");
    if (s->size.experts) {
        printf(", %s for a token", gal_cli_count_text(a, sizeof a, p->active));
        printf(", %s with one expert in place of all", gal_cli_count_text(a, sizeof a, p->dense));
    }
    putchar('\n');
    for (int i = 0; i < GAL_PARTS; i++)
        if (p->part[i]) print_line(gal_part_name((gal_part)i), p->part[i], -1, (double)p->total);
}

static void print_flops(const subject *s) {
    const gal_flops *f = &s->flops;
    char a[40];
    printf("operations  %24s %28s\n", "forward, of a sequence", "of a token");
    for (int i = 0; i < GAL_TERMS; i++)
        if (f->term[i])
            print_line(gal_term_name((gal_term)i), f->term[i], f->term[i] / f->sequence, (double)f->total);
    print_line("layers", f->layers, f->layers / f->sequence, (double)f->total);
    print_line("all", f->total, f->total / f->sequence, (double)f->total);
    printf("            sequences of %s tokens; a multiply-add is two\n",
           gal_cli_count_text(a, sizeof a, f->sequence));
}

/* What its paper says of the training, where it does. */
static void print_paper(const gal_preset *p) {
    char a[40];
    if (!(p->lr > 0) && !p->batch) return;
    const char *before = "paper       ";
    if (p->lr > 0) {
        printf("%slearning rate at most %g", before, p->lr);
        before = ", ";
    }
    if (p->batch) printf("%sbatch of %s tokens", before, gal_cli_count_text(a, sizeof a, p->batch));
    if (p->batch2) printf(", then %s", gal_cli_count_text(a, sizeof a, p->batch2));
    if (p->warmup) printf(", %lld steps of warm-up", (long long)p->warmup);
    putchar('\n');
}

static void print_training(const subject *s) {
    char a[GAL_SHORT_TEXT], b[GAL_SHORT_TEXT];
    const char *terms = s->layers ? "layers alone" : "all terms";
    printf("to 6 N D    %.4f: three forward passes, %s, by 6 for each of %s parameters\n", ratio(s), terms,
           gal_short_text(a, (double)s->params.active, "KMBT", ""));
    if (s->preset) print_paper(s->preset);
    printf("training    %s operations for a token: %g forward passes, %s\n",
           gal_power_text(a, s->passes * per_token(s)), s->passes, terms);
    printf("tokens      %s (%s), %.3g for each parameter: ", gal_short_text(a, s->tokens, "KMBT", ""), s->tokens_of,
           s->tokens / (double)s->params.active);
    printf("%s operations\n", gal_power_text(b, of_training_run(s)));
    if (s->speed > 0)
        printf("time        %s at %sFLOP/s\n", gal_time_text(a, of_training_run(s) / s->speed),
               gal_short_text(b, s->speed, "kMGTPE", " "));
}

/* How published laws would divide the budget, where there is one. */
static void print_optima(double budget) {
    char a[GAL_SHORT_TEXT], b[GAL_SHORT_TEXT];
    for (size_t i = 0; i < GAL_N_LAWS; i++) {
        const gal_optimum o = gal_law_optimum(&GAL_LAWS[i], budget);
        printf("optimum     %s parameters, %s tokens by %s: %.3f nats\n", gal_short_text(a, o.params, "KMBT", ""),
               gal_short_text(b, o.tokens, "KMBT", ""), GAL_LAWS[i].source, o.loss);
    }
}

/* ---- as JSON -----------------------------------------------------------------------------------------------------
 */

/* "name": n, with the name's blanks and dashes as JSON keys have them. */
static void json_count(gal_buf *b, const char *before, const char *name, int64_t n) {
    gal_buf_printf(b, "%s\"", before);
    for (const char *c = name; *c; c++) gal_buf_putc(b, *c == ' ' || *c == '-' ? '_' : *c);
    gal_buf_printf(b, "\": %lld", (long long)n);
}

static void json_optima(gal_buf *b, double budget) {
    gal_buf_puts(b, ", \"optima\": {");
    for (size_t i = 0; i < GAL_N_LAWS; i++) {
        const gal_optimum o = gal_law_optimum(&GAL_LAWS[i], budget);
        gal_buf_printf(b, "%s\"%s\": {\"parameters\": %.17g, \"tokens\": %.17g, \"nats\": %.17g}", i ? ", " : "",
                       GAL_LAWS[i].name, o.params, o.tokens, o.loss);
    }
    gal_buf_putc(b, '}');
}

static gal_err flush(gal_cli *cli, gal_buf *b) {
    gal_err err = b->oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err && b->len) (void)fwrite(b->data, 1, b->len, stdout);
    gal_buf_free(b);
    return err;
}

static gal_err print_json(gal_cli *cli, const subject *s) {
    const gal_params *p = &s->params;
    const gal_flops *f = &s->flops;
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"model\": ");
    gal_buf_json(&b, s->name, strlen(s->name));
    gal_buf_printf(&b, ", \"preset\": %s, \"convention\": \"%s\", \"parameters\": %lld", s->preset ? "true" : "false",
                   gal_counting_name(s->how), (long long)p->total);
    gal_buf_printf(&b, ", \"embedding_parameters\": %lld, \"active_parameters\": %lld, \"dense_parameters\": %lld",
                   (long long)p->embeddings, (long long)p->active, (long long)p->dense);
    gal_buf_puts(&b, ", \"parts\": {");
    for (int i = 0; i < GAL_PARTS; i++) json_count(&b, i ? ", " : "", gal_part_name((gal_part)i), p->part[i]);
    gal_buf_printf(&b, "}, \"sequence\": %lld, \"forward\": {", (long long)f->sequence);
    for (int i = 0; i < GAL_TERMS; i++) json_count(&b, i ? ", " : "", gal_term_name((gal_term)i), f->term[i]);
    json_count(&b, ", ", "layers", f->layers);
    json_count(&b, ", ", "all", f->total);
    gal_buf_printf(&b, "}, \"terms\": \"%s\", \"forward_per_token\": %.17g", s->layers ? "layers" : "all",
                   per_token(s));
    gal_buf_printf(&b, ", \"to_6nd\": %.17g, \"passes\": %g, \"tokens\": %.17g, \"training\": %.17g", ratio(s),
                   s->passes, s->tokens, of_training_run(s));
    if (s->speed > 0) gal_buf_printf(&b, ", \"time_s\": %.17g", of_training_run(s) / s->speed);
    if (gal_cli_given(cli, "budget")) json_optima(&b, gal_cli_float(cli, "budget"));
    gal_buf_puts(&b, "}\n");
    return flush(cli, &b);
}

/* ---- all presets -------------------------------------------------------------------------------------------------
 */

static void list_line(const gal_preset *p, const gal_params *n, const gal_flops *f) {
    char a[40], b[40], lr[16] = "-", batch[40] = "-", tokens[GAL_SHORT_TEXT] = "-";
    if (p->lr > 0) (void)snprintf(lr, sizeof lr, "%g", p->lr);
    if (p->batch) (void)gal_cli_count_text(batch, sizeof batch, p->batch);
    if (p->tokens) (void)gal_short_text(tokens, (double)p->tokens, "KMBT", "");
    printf("%-17s %15s %17s %6lld %6lld %4lld x %-4lld %6lld %8s %10s %7s\n", p->name,
           gal_cli_count_text(a, sizeof a, n->total), gal_cli_count_text(b, sizeof b, f->total / f->sequence),
           (long long)p->size.L, (long long)p->size.D, (long long)p->size.H, (long long)p->size.K,
           (long long)p->size.F, lr, batch, tokens);
}

static void list_json(gal_buf *b, const gal_preset *p, const gal_params *n, const gal_flops *f) {
    gal_buf_printf(b, "{\"name\": \"%s\", \"source\": \"%s\", \"convention\": \"%s\"", p->name, p->source,
                   gal_counting_name(p->counting));
    gal_buf_printf(b, ", \"parameters\": %lld, \"forward_per_token\": %lld", (long long)n->total,
                   (long long)(f->total / f->sequence));
    gal_buf_printf(b, ", \"layers\": %lld, \"width\": %lld, \"heads\": %lld, \"kv_heads\": %lld",
                   (long long)p->size.L, (long long)p->size.D, (long long)p->size.H, (long long)p->size.G);
    gal_buf_printf(b, ", \"head_size\": %lld, \"hidden\": %lld, \"vocab\": %lld, \"sequence\": %lld",
                   (long long)p->size.K, (long long)p->size.F, (long long)p->size.V, (long long)p->size.sequence);
    gal_buf_printf(b, ", \"lr\": %.9g, \"batch_tokens\": %lld, \"warmup\": %lld, \"tokens\": %lld}\n", p->lr,
                   (long long)p->batch, (long long)p->warmup, (long long)p->tokens);
}

static gal_err list(gal_cli *cli) {
    gal_buf b = { 0 };
    gal_err err = GAL_OK;
    if (!cli->json)
        printf("%-17s %15s %17s %6s %6s %11s %6s %8s %10s %7s\n", "preset", "parameters", "forward of token",
               "layers", "width", "heads", "hidden", "rate", "batch", "tokens");
    for (size_t i = 0; i < GAL_N_PRESETS && !err; i++) {
        const gal_preset *p = &GAL_PRESETS[i];
        gal_params n;
        gal_flops f;
        err = gal_count_params(&n, &p->size, p->counting, &cli->diag);
        if (!err) err = gal_count_flops(&f, &p->size, p->counting, &cli->diag);
        if (!err && cli->json) list_json(&b, p, &n, &f);
        if (!err && !cli->json) list_line(p, &n, &f);
    }
    gal_err flushed = flush(cli, &b);
    return err ? err : flushed;
}

/* ---- the command -------------------------------------------------------------------------------------------------
 */

static gal_err run(gal_cli *cli) {
    if (gal_cli_given(cli, "list"))
        return cli->n_operands ? gal_cli_usage(cli, "--list takes no operand, found '%.80s'", cli->operands[0])
                               : list(cli);
    if (!cli->n_operands) return gal_cli_usage(cli, "expected a preset, a MODEL or a CONFIG.yaml, or --list");
    if (gal_cli_given(cli, "tokens") && gal_cli_given(cli, "budget"))
        return gal_cli_usage(cli, "--tokens and --budget exclude each other");
    subject s = { .how = GAL_COUNT_EXACT };
    gal_err err = find(&s, cli);
    if (!err) err = count(&s, cli);
    if (err) return err;
    if (cli->json) return print_json(cli, &s);
    print_size(&s);
    print_params(&s);
    print_flops(&s);
    print_training(&s);
    if (gal_cli_given(cli, "budget")) print_optima(gal_cli_float(cli, "budget"));
    return GAL_OK;
}

static const char *const CONVENTIONS[] = { "exact", "chinchilla", "gopher", "routed", NULL };
static const char *const TERMS[] = { "all", "layers", NULL };
static const char *const ROUTERS[] = { "sbase", "rlr", "hash", "wide", NULL };

static const gal_option OPTIONS[] = {
    { .name = "tokens",
      .kind = GAL_V_FLOAT,
      .value = "N",
      .min = 1,
      .max = 1e30,
      .help = "tokens of the training; without it the paper's, the configuration's, or 20 for each parameter" },
    { .name = "budget",
      .kind = GAL_V_FLOAT,
      .value = "FLOPS",
      .min = 1,
      .max = 1e40,
      .help = "operations that there are: how many tokens that makes, and which size published laws would take" },
    { .name = "flops-per-s",
      .kind = GAL_V_FLOAT,
      .value = "F",
      .min = 1,
      .max = 1e30,
      .help = "operations in a second, for the time that it takes" },
    { .name = "sequence",
      .kind = GAL_V_INT,
      .value = "S",
      .min = 1,
      .max = 1 << 30,
      .help = "tokens in a sequence; without it the preset's, the configuration's, or 2048" },
    { .name = "terms",
      .kind = GAL_V_CHOICE,
      .value = "WHICH",
      .choices = TERMS,
      .fallback = "all",
      .help = "all operations, or those of the layers without embedding and final logits" },
    { .name = "convention",
      .kind = GAL_V_CHOICE,
      .value = "WHOSE",
      .choices = CONVENTIONS,
      .help = "who counts: exact is what the model's file holds and multiplies; the others are papers. Without it a "
              "preset's own paper, else exact" },
    { .name = "recompute", .help = "training computes its forward pass twice: four passes instead of three" },
    { .name = "experts",
      .kind = GAL_V_INT,
      .value = "E",
      .min = 1,
      .max = GAL_SIZE_MAX_EXPERTS,
      .help = "of a preset of Gopher's block: so many experts in its routed layers" },
    { .name = "experts-used",
      .kind = GAL_V_INT,
      .value = "K",
      .min = 1,
      .max = GAL_SIZE_MAX_EXPERTS,
      .fallback = "1",
      .help = "experts of a token" },
    { .name = "router",
      .kind = GAL_V_CHOICE,
      .value = "KIND",
      .choices = ROUTERS,
      .fallback = "sbase",
      .help = "who chooses them; wide: nobody, the feed-forward part is that much wider" },
    { .name = "routed-every",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = GAL_MAX_LAYERS,
      .fallback = "2",
      .help = "one layer of so many has experts" },
    { .name = "set",
      .kind = GAL_V_STRING,
      .value = "KEY=VALUE",
      .repeat = true,
      .help = "change a setting of CONFIG.yaml, as model.layers=2" },
    { .name = "list", .help = "print all presets with their counts" },
    GAL_LAYOUT_OPTION,
};

const gal_command gal_cmd_flops = {
    .name = "flops",
    .summary = "count parameters and operations, and predict what a training takes",
    .operands = "[PRESET|MODEL|CONFIG.yaml]",
    .min_operands = 0,
    .max_operands = 1,
    .text =
        "Counts parameters by part and operations by term, as a paper does it or exactly; compares with 6 N D; and "
        "says what a training takes, also in time. A multiply-add is two operations. Attention counts all pairs of "
        "tokens within its window, as the papers do.\n\n"
        "A PRESET is a published size (--list); a MODEL, what other commands take or a config.json or "
        "params.json alone; a CONFIG.yaml, what galerne train takes. A folder with a preset's name is ./NAME.",
    .examples = "galerne flops --list\n"
                "galerne flops chinchilla-70b --terms layers\n"
                "galerne flops gopher-280b --tokens 300e9 --recompute\n"
                "galerne flops routed-370m --experts 64 --router hash\n"
                "galerne flops examples/mistral-small.yaml --flops-per-s 4e11",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
