/* inspect_experts.c - `galerne inspect MODEL --experts`: which experts the routers choose for a text, layer by layer,
 * beside what chance would do (mixtral.md 6). SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "infer/lm.h"
#include "infer/routing.h"

#include <math.h>
#include <string.h>

enum { SEQUENCE = 512 };

static double part(int64_t n, int64_t of) { return of > 0 ? (double)n / (double)of : 0; }

/* Tokens that a layer's numbers are of. */
static int64_t tokens_of(const gal_routing *r, const gal_routing_layer *l) { return r->tokens - l->not_finite; }

static const char *any_name(const gal_routing *r) {
    return r->used == 1 ? "first" : r->used == 2 ? "first or second" : "any choice";
}

static void print_layer(const gal_routing *r, int64_t i) {
    const gal_routing_layer *l = &r->layer[i];
    const int64_t tokens = tokens_of(r, l);
    printf("\nlayer %lld: entropy %.4f of %.4f nats\n", (long long)l->block, l->entropy, log((double)r->experts));
    printf("expert      first     second   share (even %5.2f %%)   mean probability\n", 100 / (double)r->experts);
    for (int64_t e = 0; e < r->experts; e++)
        printf("%6lld %10lld %10lld                 %5.2f %%             %.4f\n", (long long)e,
               (long long)l->first[e], (long long)l->second[e], 100 * part(l->any[e], tokens * r->used),
               l->probability[e]);
}

static void print_text(const gal_routing *r) {
    printf("experts     %lld in each of %lld layers, %lld for each token; %lld tokens\n", (long long)r->experts,
           (long long)r->layers, (long long)r->used, (long long)r->tokens);
    for (int64_t i = 0; i < r->layers; i++) print_layer(r, i);
    if (r->pairs == 0) {
        printf("\nneighbours with the same expert: no pairs\n");
        return;
    }
    printf("\nneighbours with the same expert, of %lld pairs\nlayer       first choice   %s\n", (long long)r->pairs,
           any_name(r));
    printf("random      %9.2f %%   %9.2f %%\n", 100 * gal_routing_random_first(r->experts),
           100 * gal_routing_random_any(r->experts, r->used));
    for (int64_t i = 0; i < r->layers; i++)
        printf("%-10lld  %9.2f %%   %9.2f %%\n", (long long)r->layer[i].block,
               100 * part(r->layer[i].same_first, r->pairs), 100 * part(r->layer[i].same_any, r->pairs));
}

static void json_counts(gal_buf *b, const char *key, const int64_t *x, int64_t n) {
    gal_buf_printf(b, ", \"%s\": [", key);
    for (int64_t i = 0; i < n; i++) gal_buf_printf(b, "%s%lld", i ? ", " : "", (long long)x[i]);
    gal_buf_puts(b, "]");
}

static gal_err print_json(const gal_routing *r, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_buf_printf(&b, "{\"experts\": %lld, \"used\": %lld, \"tokens\": %lld, \"pairs\": %lld", (long long)r->experts,
                   (long long)r->used, (long long)r->tokens, (long long)r->pairs);
    gal_buf_printf(&b, ", \"random\": {\"share\": %.9g, \"repeat_first\": %.9g, \"repeat_any\": %.9g}, \"layers\": [",
                   1 / (double)r->experts, gal_routing_random_first(r->experts),
                   gal_routing_random_any(r->experts, r->used));
    for (int64_t i = 0; i < r->layers; i++) {
        const gal_routing_layer *l = &r->layer[i];
        const int64_t tokens = tokens_of(r, l);
        gal_buf_printf(&b, "%s{\"layer\": %lld, \"entropy\": %.9g, \"not_finite\": %lld", i ? ", " : "",
                       (long long)l->block, l->entropy, (long long)l->not_finite);
        json_counts(&b, "first", l->first, r->experts);
        json_counts(&b, "second", l->second, r->experts);
        gal_buf_puts(&b, ", \"share\": [");
        for (int64_t e = 0; e < r->experts; e++)
            gal_buf_printf(&b, "%s%.9g", e ? ", " : "", part(l->any[e], tokens * r->used));
        gal_buf_puts(&b, "], \"probability\": [");
        for (int64_t e = 0; e < r->experts; e++) gal_buf_printf(&b, "%s%.9g", e ? ", " : "", l->probability[e]);
        if (r->pairs)
            gal_buf_printf(&b, "], \"repeat_first\": %.9g, \"repeat_any\": %.9g}", part(l->same_first, r->pairs),
                           part(l->same_any, r->pairs));
        else
            gal_buf_puts(&b, "], \"repeat_first\": null, \"repeat_any\": null}");
    }
    gal_buf_puts(&b, "]}\n");
    gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

/* After the report: what is chosen by such logits means nothing. */
static gal_err check_finite(const gal_routing *r, gal_diag *diag) {
    for (int64_t i = 0; i < r->layers; i++)
        if (r->layer[i].not_finite)
            return gal_fail(diag, GAL_EFAIL,
                            "layer %lld: router logits of %lld of %lld tokens are not finite, the "
                            "first of token %lld",
                            (long long)r->layer[i].block, (long long)r->layer[i].not_finite, (long long)r->tokens,
                            (long long)r->layer[i].where);
    return GAL_OK;
}

static bool stop(void *user, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    return gal_cli_interrupted() > 0;
}

static gal_err study(gal_cli *cli, gal_dev *dev, gal_model *m, const gal_tokenizer *t) {
    gal_ids ids = { 0 };
    gal_routing r = { 0 };
    gal_routing_options o = { .chunk = GAL_MAX(GAL_MIN((int64_t)SEQUENCE, m->config.max_positions), (int64_t)2),
                              .stop = stop };
    gal_reading reading = { .cli = cli };
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    lo.progress = gal_cli_show_reading;
    lo.user = &reading;
    if (!m->config.experts)
        return gal_fail(&cli->diag, GAL_EINPUT, "%s: expected a model with experts, found a dense \"%s\"",
                        cli->operands[0], m->config.model_type);
    if (m->config.router == GAL_ROUTER_HASH)
        return gal_fail(&cli->diag, GAL_EINPUT,
                        "%s: experts follow from the ids of tokens: there is no router to study", cli->operands[0]);
    o.bos = -1;
    gal_err err = gal_cli_given(cli, "ids") ? gal_cli_ids_option(cli, "ids", &ids)
                                            : gal_cli_text_ids(cli, &ids, &o.bos, gal_cli_string(cli, "text"), t,
                                                               cli->operands[0], "--ids gives token ids");
    if (!err) err = gal_lm_bring(m, dev, &lo, &cli->diag);
    if (!err) err = gal_routing_study(&r, dev, m, ids.data, (int64_t)ids.len, &o, &cli->diag);
    if (!err && cli->json) err = print_json(&r, &cli->diag);
    if (!err && !cli->json) print_text(&r);
    if (!err) err = check_finite(&r, &cli->diag);
    gal_routing_free(&r);
    gal_ids_free(&ids);
    return err;
}

gal_err gal_cli_inspect_experts(gal_cli *cli) {
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_buf dir = { 0 };
    gal_dev *dev = NULL;
    if (gal_cli_given(cli, "text") == gal_cli_given(cli, "ids"))
        return gal_cli_usage(cli, "--experts needs a text: --text FILE, or --ids");
    gal_cli_catch_interrupts();
    gal_err err = gal_dev_open(&dev, &cli->device, &cli->diag);
    if (!err) err = gal_lm_load_as(&m, &t, NULL, &dir, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = study(cli, dev, m, t);
    if (m) gal_cli_warn(cli, m);
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_buf_free(&dir);
    gal_dev_close(dev);
    return err;
}
