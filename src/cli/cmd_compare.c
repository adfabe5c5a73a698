/* cmd_compare.c - `galerne compare`: what a second model, a quantised one for instance, says otherwise than the
 * first. After Ctrl-C it prints what it has, says that it is a part, and leaves with 130. SPDX-License-Identifier:
 * Apache-2.0
 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/eval.h"
#include "cli/io.h"
#include "eval/compare.h"
#include "infer/lm.h"

#include <math.h>

/* The two models and what they share. */
typedef struct pair {
    gal_dev *dev;
    gal_model *model[2];
    gal_tokenizer *tokenizer[2];
    const gal_tokenizer *t; /* one of them, or NULL */
    gal_buf dir[2];
} pair;

/* ---- worst places ------------------------------------------------------------------------------------------------
 */

/* A token as it stands in a text, quoted; without a vocabulary its id. */
static void add_token(gal_buf *b, const gal_tokenizer *t, int32_t id) {
    if (!t || id >= gal_tokenizer_size(t)) {
        gal_buf_printf(b, "%d", (int)id);
        return;
    }
    gal_buf text = { 0 };
    size_t n = 0;
    const char *p = gal_tokenizer_piece(t, id, &n);
    for (size_t i = 0; i < n;) {
        bool space = n - i >= 3 && p[i] == '\xe2' && p[i + 1] == '\x96' && p[i + 2] == '\x81'; /* U+2581 */
        gal_buf_putc(&text, space ? ' ' : p[i]);
        i += space ? 3 : 1;
    }
    if (text.oom)
        b->oom = true;
    else
        gal_buf_json(b, text.len ? text.data : "", text.len);
    gal_buf_free(&text);
}

static gal_err add_before(gal_buf *b, const gal_tokenizer *t, const gal_compare_place *w, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_err err = GAL_OK;
    if (t) {
        int32_t n = 0; /* ids of an embedding's spare rows have no text */
        while (n < w->n_before && w->before[n] < gal_tokenizer_size(t)) n++;
        err = gal_decode(t, w->before, (size_t)n, &text, diag);
        if (!err) gal_buf_json(b, text.len ? text.data : "", text.len);
        gal_buf_free(&text);
        return err;
    }
    gal_buf_putc(b, '[');
    for (int32_t i = 0; i < w->n_before; i++) gal_buf_printf(b, "%s%d", i ? ", " : "", (int)w->before[i]);
    gal_buf_putc(b, ']');
    return err;
}

static gal_err print_place(const gal_cli *cli, const gal_tokenizer *t, const gal_compare_place *w, bool first,
                           gal_diag *diag) {
    gal_buf b = { 0 };
    if (cli->json)
        gal_buf_printf(&b, "%s{\"at\": %lld, \"kl\": %.9g, \"before\": ", first ? "" : ", ", (long long)w->at, w->kl);
    else
        gal_buf_printf(&b, "  KL %.4g at token %lld: ", w->kl, (long long)w->at);
    gal_err err = add_before(&b, t, w, diag);
    gal_buf_puts(&b, cli->json ? ", \"id\": " : " then ");
    if (cli->json) gal_buf_printf(&b, "%d, \"token\": ", (int)w->id);
    add_token(&b, t, w->id);
    if (cli->json) {
        gal_buf_printf(&b, ", \"p\": [%.9g, %.9g], \"top\": [%d, %d], \"top_token\": [", w->p[0], w->p[1],
                       (int)w->top[0], (int)w->top[1]);
        add_token(&b, t, w->top[0]);
        gal_buf_puts(&b, ", ");
        add_token(&b, t, w->top[1]);
        gal_buf_printf(&b, "], \"p_top\": [%.9g, %.9g]}", w->p_top[0], w->p_top[1]);
    } else {
        gal_buf_printf(&b, "\n      A gives it %.4f, B %.4f; most likely for A ", w->p[0], w->p[1]);
        add_token(&b, t, w->top[0]);
        gal_buf_printf(&b, " with %.4f, for B ", w->p_top[0]);
        add_token(&b, t, w->top[1]);
        gal_buf_printf(&b, " with %.4f\n", w->p_top[1]);
    }
    if (!err && b.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a line");
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

/* ---- results -----------------------------------------------------------------------------------------------------
 */

static gal_err print_text(gal_cli *cli, const pair *p, const gal_cli_text *text, const gal_comparison *c) {
    if (c->walk.stopped) puts("partial     interrupted: of the tokens so far");
    printf("A           %s\nB           %s\n", cli->operands[0], cli->operands[1]);
    fputs("KL(A||B)    mean ", stdout);
    printf("%.4g", c->kl);
    if (isfinite(c->kl_error)) printf(" \u00b1 %.2g", c->kl_error);
    printf(" nats\n            median %.4g, 90 %% %.4g, 99 %% %.4g, 99.9 %% %.4g, largest %.4g\n", c->median, c->p90,
           c->p99, c->p999, c->most);
    fputs("same top-1  ", stdout);
    gal_cli_print_error(100.0 * c->agree, 100.0 * c->agree_error, 2);
    fputs(" %\nperplexity  A ", stdout);
    gal_cli_print_error(c->model[0].perplexity, c->model[0].perplexity_error, 4);
    fputs(", B ", stdout);
    gal_cli_print_error(c->model[1].perplexity, c->model[1].perplexity_error, 4);
    fputs("\nB / A       ", stdout);
    gal_cli_print_error(c->ratio, c->ratio_error, 5);
    printf("\nRMS dp      %.3f %% of the text's token\n", 100.0 * c->rms_dp);
    gal_cli_print_how(text, &c->how, &c->walk, c->model[0].bytes);
    printf("computed    %s%s, %s\n", gal_dtype_name(c->how.compute), c->how.exact ? ", exact" : "", p->dev->name);
    if (c->n_worst) puts("worst places");
    gal_err err = GAL_OK;
    for (int32_t i = 0; !err && i < c->n_worst; i++) err = print_place(cli, p->t, &c->worst[i], i == 0, &cli->diag);
    return err;
}

static gal_err print_json(gal_cli *cli, const pair *p, const gal_comparison *c) {
    const struct {
        const char *key;
        double x;
    } numbers[] = {
        { "kl", c->kl },
        { "kl_error", c->kl_error },
        { "kl_median", c->median },
        { "kl_90", c->p90 },
        { "kl_99", c->p99 },
        { "kl_99.9", c->p999 },
        { "kl_max", c->most },
        { "same_top", c->agree },
        { "same_top_error", c->agree_error },
        { "perplexity_a", c->model[0].perplexity },
        { "perplexity_a_error", c->model[0].perplexity_error },
        { "perplexity_b", c->model[1].perplexity },
        { "perplexity_b_error", c->model[1].perplexity_error },
        { "ratio", c->ratio },
        { "ratio_error", c->ratio_error },
        { "bits_per_byte_a", c->model[0].bits },
        { "bits_per_byte_b", c->model[1].bits },
        { "rms_dp", c->rms_dp },
    };
    putchar('{');
    for (size_t i = 0; i < GAL_LEN(numbers); i++) {
        gal_cli_print_json_number(numbers[i].key, numbers[i].x);
        fputs(", ", stdout);
    }
    printf("\"vocab\": %lld, ", (long long)c->vocab);
    gal_cli_print_how_json(&c->how, &c->walk);
    printf(", \"level\": \"%s\", \"worst\": [", p->dev->name);
    gal_err err = GAL_OK;
    for (int32_t i = 0; !err && i < c->n_worst; i++) err = print_place(cli, p->t, &c->worst[i], i == 0, &cli->diag);
    if (!err) puts("]}");
    return err;
}

static void warn(const gal_cli *cli, const pair *p, const gal_cli_text *text, const gal_comparison *c) {
    for (int i = 0; i < 2; i++) gal_cli_warn(cli, p->model[i]);
    gal_cli_warn_bytes(text, c->bad_bytes, c->first_bad);
    long long a = (long long)p->model[0]->config.V, b = (long long)p->model[1]->config.V;
    if (a != b && !cli->quiet)
        fprintf(stderr, "A has %lld rows of logits, B %lld: compared over the %lld that both have\n", a, b,
                (long long)c->vocab);
}

static gal_err measure(gal_cli *cli, const pair *p, const gal_cli_text *text) {
    gal_eval_options o;
    gal_cli_watch watch = { .what = "nats KL" };
    gal_comparison *c = gal_alloc(sizeof *c);
    if (!c) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a comparison");
    gal_cli_eval_options(&o, cli, &watch);
    const gal_model *const models[2] = { p->model[0], p->model[1] };
    gal_err err = gal_compare(c, p->dev, models, p->t, &text->text, &o, (int32_t)gal_cli_int(cli, "worst"),
                              &cli->diag);
    gal_cli_watch_end(&watch, err ? 0 : c->walk.tokens);
    for (int i = 0; i < 2; i++) gal_cli_blame(cli, err, p->model[i]);
    if (!err && c->walk.tokens == 0) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    if (!err) warn(cli, p, text, c);
    if (!err) err = cli->json ? print_json(cli, p, c) : print_text(cli, p, text, c);
    if (!err && c->walk.stopped) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    gal_free(c);
    return err;
}

static gal_err run(gal_cli *cli) {
    gal_cli_text text = { 0 };
    pair p = { 0 };
    gal_loras loras = { 0 };
    gal_cli_catch_interrupts();
    gal_err err = gal_cli_text_open(&text, cli, cli->n_operands > 2 ? cli->operands[2] : NULL);
    if (!err) err = gal_cli_loras(cli, &loras);
    for (int i = 0; !err && i < 2; i++) { /* one of the two may be a file */
        gal_layout layout = gal_is_dir(cli->operands[i]) ? gal_cli_layout(cli) : GAL_LAYOUT_ANY;
        err = gal_lm_load_as(&p.model[i], &p.tokenizer[i], NULL, &p.dir[i], cli->operands[i], layout, &cli->diag);
    }
    if (!err) err = gal_lm_adapt(p.model[0], loras.list, loras.n, &cli->diag);
    if (!err) err = gal_compare_tokenizer(&p.t, p.tokenizer[0], p.tokenizer[1], &cli->diag);
    if (!err && text.text.text && !p.t) {
        char why[GAL_LM_WHY];
        err = gal_fail(&cli->diag, GAL_EINPUT, "%s: %s; give --ids FILE instead of a text", p.dir[0].data,
                       gal_lm_no_tokenizer(why, p.dir[0].data));
    }
    if (!err) err = gal_dev_open(&p.dev, &cli->device, &cli->diag);
    gal_reading reading = { .cli = cli };
    gal_lm_options lo = { .no_mmap = gal_cli_given(cli, "no-mmap"),
                          .exact = gal_cli_given(cli, "exact"),
                          .repack = gal_cli_given(cli, "repack"),
                          .repack_dir = gal_cli_cache_folder(cli),
                          .progress = gal_cli_show_reading,
                          .user = &reading };
    for (int i = 0; !err && i < 2; i++) err = gal_lm_bring(p.model[i], p.dev, &lo, &cli->diag);
    if (!err) err = measure(cli, &p, &text);
    for (int i = 0; i < 2; i++) {
        gal_tokenizer_free(p.tokenizer[i]);
        gal_model_free(p.model[i]);
        gal_buf_free(&p.dir[i]);
    }
    gal_dev_close(p.dev);
    gal_cli_text_close(&text);
    gal_cli_loras_free(&loras);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "worst",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = GAL_COMPARE_WORST,
      .fallback = "5",
      .help = "show the N places where the two differ most" },
    GAL_CLI_EVAL_OPTIONS,
    GAL_LAYOUT_OPTION,
    { .name = "lora",
      .kind = GAL_V_STRING,
      .value = "DIR[:SCALE]",
      .repeat = true,
      .help = "add the low-rank adapter in this folder to A, times SCALE; B is as it lies, merged perhaps" },
};

const gal_command gal_cmd_compare = {
    .name = "compare",
    .summary = "measure how far a model is from another one on a text",
    .operands = "A B [FILE]",
    .min_operands = 2,
    .max_operands = 3,
    .text =
        "A is the original, B what was made of it. At each token of the text: the Kullback-Leibler divergence "
        "KL(A||B) of "
        "what the two say over all ids, in nats, and whether both find the same id most likely. Then the "
        "perplexities of "
        "both and their ratio, whose error is far smaller than theirs, for both read the same tokens; and the places "
        "where they differ most, with the text before them.\n\n"
        "Both need the same vocabulary. Where one has more rows of logits than the other (padding), probabilities "
        "are "
        "over the ids that both have. The models go through the text side by side; nothing is written to disk.\n\n"
        "Windows, BOS, --as llama.cpp and Ctrl-C as in galerne perplexity.\n\n"
        "JSON keys: kl, kl_error, kl_median, kl_90, kl_99, kl_99.9, kl_max, same_top, perplexity_a, perplexity_b, "
        "ratio, "
        "bits_per_byte_a, bits_per_byte_b, rms_dp (root mean square of the change of the token's probability), "
        "vocab, "
        "tokens, windows, convention, context, stride, bos, partial, dtype, exact, level, worst.",
    .examples = "galerne compare model model-q4.gguf text.txt\n"
                "galerne compare model.gguf model-q4.gguf text.txt --worst 20 --max-tokens 20000",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
