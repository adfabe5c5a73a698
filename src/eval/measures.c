/* measures.c - see measures.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/measures.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/compare.h"
#include "eval/moments.h"

#include <math.h>
#include <stdlib.h>

#define LN2 0.69314718055994530942
#define NORMAL_975 1.95996398454005423552
enum { BOOTSTRAP_SEED = 1234 };

int64_t gal_answer_choice(const gal_answer *a, gal_scoring how) {
    int64_t best = 0;
    double most = (double)-INFINITY;
    for (int64_t i = 0; i < a->choices; i++) {
        const gal_answer_part *p = &a->parts[i];
        double x = p->loglikelihood;
        if (how == GAL_SCORE_CHAR) x /= (double)p->chars;
        if (how == GAL_SCORE_BYTE) x /= (double)p->bytes;
        if (how == GAL_SCORE_TOKEN) x /= (double)p->tokens;
        if (how == GAL_SCORE_UNCONDITIONAL) x -= a->parts[a->choices + i].loglikelihood;
        if (x > most) {
            most = x;
            best = i;
        }
    }
    return best;
}

static void add(gal_measures *out, gal_measure m) {
    GAL_ASSERT(out->n < GAL_MEASURES_MOST);
    out->v[out->n++] = m;
}

/* Wilson, JASA 22 (1927). */
static gal_measure part_of(const char *name, const gal_moments *m) {
    const double n = (double)m->n, p = m->x, z2 = NORMAL_975 * NORMAL_975;
    const double middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    const double half = NORMAL_975 / (1.0 + z2 / n) * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    return (gal_measure){ name, p, gal_moments_error(m), fmax(middle - half, 0.0), fmin(middle + half, 1.0) };
}

/* A sum of log-likelihoods over a sum of what they are of, and what is shown of it. */
typedef struct ratio {
    const char *name;
    double (*show)(double nats); /* from nats each */
    int64_t (*of)(const gal_answer *a);
} ratio;

static double nats_of(const gal_answer *a) {
    double sum = 0.0;
    for (int64_t i = 0; i < a->n; i++) sum -= a->parts[i].loglikelihood;
    return sum;
}

static int by_size(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static gal_err measure_ratio(gal_measure *out, const ratio *r, const double *nats, const double *count, int64_t n,
                             int64_t draws, gal_diag *diag) {
    double a = 0.0, b = 0.0;
    for (int64_t i = 0; i < n; i++) {
        a += nats[i];
        b += count[i];
    }
    *out = (gal_measure){ r->name, r->show(a / b), (double)NAN, (double)NAN, (double)NAN };
    if (n < 2 || draws < 2) return GAL_OK;
    gal_moments m = { 0 };
    float *sorted = gal_alloc_array((size_t)draws, sizeof *sorted);
    if (!sorted) return gal_fail(diag, GAL_ENOMEM, "no memory for %lld draws", (long long)draws);
    for (int64_t d = 0; d < draws; d++) {
        a = b = 0.0;
        for (int64_t i = 0; i < n; i++) {
            const uint64_t k = gal_rng_below(BOOTSTRAP_SEED, (uint64_t)d, (uint64_t)i, (uint64_t)n);
            a += nats[k];
            b += count[k];
        }
        gal_moments_add(&m, r->show(a / b), 0.0);
        sorted[d] = (float)r->show(a / b);
    }
    qsort(sorted, (size_t)draws, sizeof *sorted, by_size);
    out->error = sqrt(m.xx / (double)(draws - 1));
    out->low = gal_quantile(sorted, (size_t)draws, 0.025);
    out->high = gal_quantile(sorted, (size_t)draws, 0.975);
    gal_free(sorted);
    return GAL_OK;
}

static double as_perplexity(double nats) { return exp(nats); }
static double as_bits(double nats) { return nats / LN2; }
static int64_t one(const gal_answer *a) { return a->n ? 1 : 0; }
static int64_t words(const gal_answer *a) { return a->words; }
static int64_t text_bytes(const gal_answer *a) { return a->bytes; }
static int64_t tokens(const gal_answer *a) {
    int64_t sum = 0;
    for (int64_t i = 0; i < a->n; i++) sum += a->parts[i].tokens;
    return sum;
}

static gal_err measure_ratios(gal_measures *out, const ratio *r, size_t n_ratios, const gal_task *t,
                              const gal_answer *answers, int64_t n, gal_diag *diag) {
    double *nats = gal_alloc_array((size_t)n, sizeof *nats), *count = gal_alloc_array((size_t)n, sizeof *count);
    gal_err err = nats && count ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the measures of %s", t->name);
    for (size_t k = 0; k < n_ratios && !err; k++) {
        int64_t known = 0;
        gal_measure m;
        for (int64_t i = 0; i < n; i++) {
            if (!answers[i].known) continue;
            nats[known] = nats_of(&answers[i]);
            count[known++] = (double)r[k].of(&answers[i]);
        }
        err = measure_ratio(&m, &r[k], nats, count, known, t->bootstrap, diag);
        if (!err) add(out, m);
    }
    gal_free(nats);
    gal_free(count);
    return err;
}

static void measure_choices(gal_measures *out, const gal_task *t, const gal_answer *answers, int64_t n) {
    for (int s = 0; s < GAL_SCORINGS; s++) {
        gal_moments m = { 0 };
        for (int64_t i = 0; i < n && t->scores[s]; i++)
            if (answers[i].known)
                gal_moments_add(&m, gal_answer_choice(&answers[i], (gal_scoring)s) == answers[i].right, 0.0);
        if (m.n) add(out, part_of(GAL_SCORING_NAMES[s], &m));
    }
}

static void measure_right(gal_measures *out, const char *name, bool greedy, const gal_answer *answers, int64_t n) {
    gal_moments m = { 0 };
    for (int64_t i = 0; i < n; i++)
        if (answers[i].known) gal_moments_add(&m, greedy ? answers[i].parts[0].greedy : answers[i].correct, 0.0);
    add(out, part_of(name, &m));
}

gal_err gal_measure_answers(gal_measures *out, const gal_task *t, const gal_answer *answers, int64_t n,
                            gal_diag *diag) {
    static const ratio LIKELIHOOD[] = { { "perplexity", as_perplexity, one } };
    static const ratio TEXT[] = { { "bits_per_byte", as_bits, text_bytes },
                                  { "byte_perplexity", as_perplexity, text_bytes },
                                  { "word_perplexity", as_perplexity, words },
                                  { "token_perplexity", as_perplexity, tokens } };
    *out = (gal_measures){ 0 };
    for (int64_t i = 0; i < n; i++) out->questions += answers[i].known;
    if (!out->questions) return GAL_OK;
    switch ((gal_task_kind)t->kind) {
    case GAL_MULTIPLE_CHOICE:
        measure_choices(out, t, answers, n);
        return GAL_OK;
    case GAL_LOGLIKELIHOOD:
        measure_right(out, "acc", true, answers, n);
        return measure_ratios(out, LIKELIHOOD, GAL_LEN(LIKELIHOOD), t, answers, n, diag);
    case GAL_TASK_PERPLEXITY:
        return measure_ratios(out, TEXT, GAL_LEN(TEXT), t, answers, n, diag);
    case GAL_EXACT_MATCH:
        measure_right(out, "exact_match", false, answers, n);
        return GAL_OK;
    }
    return GAL_OK;
}
