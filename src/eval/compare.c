/* compare.c - see compare.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/compare.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_CHUNK = 4 };

typedef struct row {
    double nats[2], kl, p_top[2];
    int32_t top[2];
} row;

typedef struct job {
    gal_dev *dev;
    const gal_tokenizer *t;
    const gal_eval_options *asked;
    gal_comparison *c;
    int64_t stride[2]; /* V of each */
    int32_t n_worst;
    float *kl; /* of all tokens so far */
    size_t n_kl, kl_room;
    gal_moments of[2], difference, kls, agree, dp2;
    row rows[GAL_WALK_ROWS];
} job;

gal_err gal_compare_tokenizer(const gal_tokenizer **out, const gal_tokenizer *a, const gal_tokenizer *b,
                              gal_diag *diag) {
    gal_diag what = { 0 };
    *out = a ? a : b;
    if (!a || !b || gal_tokenizer_same(a, b, &what)) {
        if (a && b && gal_tokenizer_size(b) < gal_tokenizer_size(a)) *out = b;
        return GAL_OK;
    }
    return gal_fail(diag, GAL_EINPUT, "the vocabularies differ, so the models cannot be compared on a text: %s",
                    what.text);
}

/* ---- one row -----------------------------------------------------------------------------------------------------
 */

static int32_t largest(const float *x, int64_t V) {
    int64_t at = 0;
    for (int64_t i = 1; i < V; i++) at = x[i] > x[at] ? i : at;
    return (int32_t)at;
}

static void compare_row(row *out, const float *a, const float *b, int32_t id, int64_t V) {
    double za = gal_log_sum_exp(a, V), zb = gal_log_sum_exp(b, V), kl = 0.0;
    for (int64_t i = 0; i < V; i++) {
        double la = (double)a[i] - za, p = exp(la);
        if (p > 0.0) kl += p * (la - ((double)b[i] - zb));
    }
    out->nats[0] = za - (double)a[id];
    out->nats[1] = zb - (double)b[id];
    out->kl = kl < 0.0 ? 0.0 : kl; /* of equal rows, rounding; NaN stays */
    out->top[0] = largest(a, V);
    out->top[1] = largest(b, V);
    out->p_top[0] = exp((double)a[out->top[0]] - za);
    out->p_top[1] = exp((double)b[out->top[1]] - zb);
}

typedef struct chunk_args {
    const gal_walk_rows *r;
    job *j;
} chunk_args;

static void compare_rows(const void *args, int64_t chunk, void *scratch) {
    const chunk_args *c = args;
    (void)scratch;
    for (int64_t i = chunk * ROWS_A_CHUNK; i < GAL_MIN((chunk + 1) * ROWS_A_CHUNK, c->r->n); i++) {
        const float *a = c->r->logits[0] + i * c->j->stride[0], *b = c->r->logits[1] + i * c->j->stride[1];
        compare_row(&c->j->rows[i], a, b, c->r->ids[i], c->j->c->vocab);
    }
}

/* ---- all of them -------------------------------------------------------------------------------------------------
 */

/* Keeps the worst places sorted; of equal ones the earlier. */
static void keep_worst(job *j, const gal_walk_rows *r, int64_t i) {
    gal_comparison *c = j->c;
    const row *x = &j->rows[i];
    int32_t n = c->n_worst, at = n;
    if (!(x->kl > 0.0)) return;
    while (at > 0 && c->worst[at - 1].kl < x->kl) at--;
    if (at == j->n_worst) return;
    if (n < j->n_worst) c->n_worst = ++n;
    memmove(c->worst + at + 1, c->worst + at, (size_t)(n - 1 - at) * sizeof *c->worst);
    gal_compare_place *w = &c->worst[at];
    *w = (gal_compare_place){ .at = r->at + i, .kl = x->kl, .id = r->ids[i] };
    for (int m = 0; m < 2; m++) {
        w->p[m] = exp(-x->nats[m]);
        w->top[m] = x->top[m];
        w->p_top[m] = x->p_top[m];
    }
    w->n_before = (int32_t)GAL_MIN(r->before + i, (int64_t)GAL_COMPARE_BEFORE);
    memcpy(w->before, r->ids + i - w->n_before, (size_t)w->n_before * sizeof *w->before);
}

static gal_err take_rows(void *user, const gal_walk_rows *r, gal_diag *diag) {
    job *j = user;
    GAL_ASSERT(r->n <= (int64_t)GAL_LEN(j->rows));
    chunk_args a = { r, j };
    gal_pool_run(j->dev->pool, compare_rows, &a, (r->n + ROWS_A_CHUNK - 1) / ROWS_A_CHUNK);
    if (gal_grow((void **)&j->kl, &j->kl_room, j->n_kl + (size_t)r->n, sizeof *j->kl))
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu divergences", j->n_kl + (size_t)r->n);
    for (int64_t i = 0; i < r->n; i++) { /* in the text's order, whatever the number of threads */
        const row *x = &j->rows[i];
        for (int m = 0; m < 2; m++)
            if (!isfinite(x->nats[m]))
                return gal_eval_not_finite(m ? "the second model's" : "the first model's", r->at + i, r->ids[i],
                                           diag);
        if (!isfinite(x->kl)) return gal_eval_not_finite("the second model's", r->at + i, r->ids[i], diag);
        double bytes = gal_eval_bytes(j->t, &j->c->how, r->ids[i], r->at + i),
               dp = exp(-x->nats[1]) - exp(-x->nats[0]);
        for (int m = 0; m < 2; m++) gal_moments_add(&j->of[m], x->nats[m], bytes);
        gal_moments_add(&j->difference, x->nats[1] - x->nats[0], 0.0);
        gal_moments_add(&j->kls, x->kl, 0.0);
        gal_moments_add(&j->agree, x->top[0] == x->top[1] ? 1.0 : 0.0, 0.0);
        gal_moments_add(&j->dp2, dp * dp, 0.0);
        j->kl[j->n_kl++] = (float)x->kl;
        keep_worst(j, r, i);
    }
    return GAL_OK;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

double gal_quantile(const float *sorted, size_t n, double q) {
    double at = q * (double)(n - 1);
    size_t low = (size_t)at, high = GAL_MIN(low + 1, n - 1);
    return (double)sorted[low] + (at - (double)low) * ((double)sorted[high] - (double)sorted[low]);
}

static void finish(job *j) {
    gal_comparison *c = j->c;
    if (j->n_kl == 0) return;
    for (int m = 0; m < 2; m++) gal_perplexity_from(&c->model[m], &j->of[m]);
    c->ratio = exp(j->difference.x);
    c->ratio_error = c->ratio * gal_moments_error(&j->difference);
    c->kl = j->kls.x;
    c->kl_error = gal_moments_error(&j->kls);
    c->agree = j->agree.x;
    c->agree_error = gal_moments_error(&j->agree);
    c->rms_dp = sqrt(j->dp2.x);
    qsort(j->kl, j->n_kl, sizeof *j->kl, by_size);
    c->median = gal_quantile(j->kl, j->n_kl, 0.5);
    c->p90 = gal_quantile(j->kl, j->n_kl, 0.9);
    c->p99 = gal_quantile(j->kl, j->n_kl, 0.99);
    c->p999 = gal_quantile(j->kl, j->n_kl, 0.999);
    c->most = gal_quantile(j->kl, j->n_kl, 1.0);
}

static int tell(void *user, double share, int64_t tokens) {
    const job *j = user;
    return j->asked->progress ? j->asked->progress(j->asked->user, share, tokens, j->kls.x) : 0;
}

gal_err gal_compare(gal_comparison *c, gal_dev *dev, const gal_model *const models[2], const gal_tokenizer *t,
                    const gal_eval_text *text, const gal_eval_options *options, int32_t n_worst, gal_diag *diag) {
    GAL_ASSERT(n_worst >= 0 && n_worst <= GAL_COMPARE_WORST);
    *c = (gal_comparison){ .vocab = GAL_MIN(models[0]->config.V, models[1]->config.V) };
    job *j = gal_alloc(sizeof *j);
    gal_id_source *source = NULL;
    gal_err err = j ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for a comparison");
    const gal_model *narrow = models[models[1]->config.max_positions < models[0]->config.max_positions];
    if (!err) err = gal_eval_choose(&c->how, options, narrow, t, diag);
    if (!err) err = gal_eval_source(&source, text, &c->how, t, diag);
    if (!err) {
        *j = (job){ .dev = dev,
                    .t = t,
                    .asked = options,
                    .c = c,
                    .stride = { models[0]->config.V, models[1]->config.V },
                    .n_worst = n_worst };
        err = gal_walk(dev, models, 2, c->vocab, source, &c->how, take_rows, tell, j, &c->walk, diag);
    }
    if (!err) {
        finish(j);
        if (text->text) c->bad_bytes = gal_id_source_bad_bytes(source, &c->first_bad);
    }
    gal_id_source_free(source);
    if (j) gal_free(j->kl);
    gal_free(j);
    return err;
}
