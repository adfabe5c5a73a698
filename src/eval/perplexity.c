/* perplexity.c - see perplexity.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/perplexity.h"

#include "base/mem.h"

#include <math.h>

#define LN2 0.69314718055994530942

enum { ROWS_A_CHUNK = 4 };

gal_err gal_eval_choose(gal_walk_options *out, const gal_eval_options *o, const gal_model *m, const gal_tokenizer *t,
                        gal_diag *diag) {
    bool llama = o->convention == GAL_AS_LLAMA_CPP;
    int64_t most = llama ? GAL_EVAL_LLAMA_CONTEXT : GAL_EVAL_CONTEXT;
    int64_t context = o->context ? o->context : GAL_MAX(GAL_MIN(most, (int64_t)m->config.max_positions), (int64_t)2);
    int64_t stride = llama ? context : o->stride ? o->stride : context / 2;
    if (context < (llama ? 4 : 2))
        return gal_fail(diag, GAL_EUSAGE, "context: expected at least %d, found %lld", llama ? 4 : 2,
                        (long long)context);
    if (llama && o->stride)
        return gal_fail(diag, GAL_EUSAGE, "stride: llama.cpp's convention has none, its windows lie side by side");
    if (stride < 1 || stride > context)
        return gal_fail(diag, GAL_EUSAGE, "stride: expected 1 to %lld, the context; found %lld", (long long)context,
                        (long long)stride);
    int32_t bos = t ? gal_tokenizer_bos(t) : m->config.bos;
    if (o->no_bos || bos < 0 || bos >= m->config.V) bos = -1;
    *out = (gal_walk_options){ .windows = { o->convention, context, stride, bos >= 0 },
                               .bos = bos,
                               .max_tokens = o->max_tokens,
                               .compute = o->compute,
                               .exact = o->exact };
    return GAL_OK;
}

gal_err gal_eval_source(gal_id_source **out, const gal_eval_text *text, const gal_walk_options *o,
                        const gal_tokenizer *t, gal_diag *diag) {
    bool llama = o->windows.convention == GAL_AS_LLAMA_CPP;
    if (!text->text) {
        /* A window begins with BOS anyway. */
        bool drop = !llama && o->windows.bos && text->n_ids && text->ids[0] == o->bos;
        return gal_id_source_of_ids(out, text->ids + drop, text->n_ids - drop, diag);
    }
    size_t n = text->bytes;
    if (llama && n && text->text[n - 1] == '\n') n--;
    return gal_id_source_of_text(out, t, text->text, n, llama && o->windows.bos, 0, diag);
}

double gal_eval_bytes(const gal_tokenizer *t, const gal_walk_options *o, int32_t id, int64_t at) {
    if (!t || id >= gal_tokenizer_size(t)) return 0.0;
    double bytes = (double)gal_tokenizer_text_bytes(t, id);
    bool first = at == (o->windows.convention == GAL_AS_LLAMA_CPP && o->windows.bos ? 1 : 0);
    if (!first || !gal_tokenizer_adds_space(t)) return bytes;
    return GAL_MAX(bytes - 1.0, 0.0);
}

gal_err gal_eval_not_finite(const char *which, int64_t at, int32_t id, gal_diag *diag) {
    return gal_fail(diag, GAL_EFAIL, "%s logits before token %lld of the text (id %d) are not finite", which,
                    (long long)at, (int)id);
}

void gal_perplexity_from(gal_perplexity *p, const gal_moments *m) {
    p->nats = m->x;
    p->nats_error = gal_moments_error(m);
    p->perplexity = exp(p->nats);
    p->perplexity_error = p->perplexity * p->nats_error;
    p->bits = gal_moments_ratio(m, &p->bits_error) / LN2;
    p->bits_error /= LN2;
    p->bytes = llround(m->y * (double)m->n);
}

typedef struct job {
    gal_dev *dev;
    const gal_tokenizer *t;
    const gal_walk_options *o;
    int64_t V;
    double nats[GAL_WALK_ROWS]; /* of the rows at hand */
    gal_moments sums;
    const gal_eval_options *asked;
} job;

typedef struct chunk_args {
    const gal_walk_rows *r;
    job *j;
} chunk_args;

static void score_rows(const void *args, int64_t chunk, void *scratch) {
    const chunk_args *a = args;
    (void)scratch;
    for (int64_t i = chunk * ROWS_A_CHUNK; i < GAL_MIN((chunk + 1) * ROWS_A_CHUNK, a->r->n); i++) {
        const float *row = a->r->logits[0] + i * a->j->V;
        a->j->nats[i] = gal_log_sum_exp(row, a->j->V) - (double)row[a->r->ids[i]];
    }
}

static gal_err take_rows(void *user, const gal_walk_rows *r, gal_diag *diag) {
    job *j = user;
    GAL_ASSERT(r->n <= (int64_t)GAL_LEN(j->nats));
    chunk_args a = { r, j };
    gal_pool_run(j->dev->pool, score_rows, &a, (r->n + ROWS_A_CHUNK - 1) / ROWS_A_CHUNK);
    for (int64_t i = 0; i < r->n; i++) { /* in the text's order, whatever the number of threads */
        if (!isfinite(j->nats[i])) return gal_eval_not_finite("the", r->at + i, r->ids[i], diag);
        gal_moments_add(&j->sums, j->nats[i], gal_eval_bytes(j->t, j->o, r->ids[i], r->at + i));
    }
    return GAL_OK;
}

static int tell(void *user, double share, int64_t tokens) {
    const job *j = user;
    return j->asked->progress ? j->asked->progress(j->asked->user, share, tokens, j->sums.x) : 0;
}

/* A byte that is no UTF-8 reads as a character of three bytes, and some vocabularies drop spaces: of a whole text its
 * own bytes are known. */
static void count_file_bytes(gal_perplexity *p, size_t bytes) {
    double scale = (double)p->bytes / (double)bytes;
    p->bits *= scale;
    p->bits_error *= scale;
    p->bytes = (int64_t)bytes;
}

gal_err gal_perplexity_of(gal_perplexity *p, gal_dev *dev, const gal_model *m, const gal_tokenizer *t,
                          const gal_eval_text *text, const gal_eval_options *options, gal_diag *diag) {
    *p = (gal_perplexity){ 0 };
    job *j = gal_alloc(sizeof *j);
    gal_id_source *source = NULL;
    gal_err err = j ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for a measurement");
    if (!err) err = gal_eval_choose(&p->how, options, m, t, diag);
    if (!err) err = gal_eval_source(&source, text, &p->how, t, diag);
    if (!err) {
        *j = (job){ .dev = dev, .t = t, .o = &p->how, .V = m->config.V, .asked = options };
        err = gal_walk(dev, &m, 1, m->config.V, source, &p->how, take_rows, tell, j, &p->walk, diag);
    }
    if (!err) {
        gal_perplexity_from(p, &j->sums);
        if (text->text) p->bad_bytes = gal_id_source_bad_bytes(source, &p->first_bad);
        if (text->text && p->walk.whole) count_file_bytes(p, text->bytes);
    }
    gal_id_source_free(source);
    gal_free(j);
    return err;
}
