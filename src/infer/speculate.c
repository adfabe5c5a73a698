/* speculate.c - see speculate.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/speculate.h"

#include "base/mem.h"
#include "base/rng.h"

#include <string.h>

enum { STAY_STREAM = 0x5b, REST_STREAM = 0x5c, DRAFT_SEED = 0x5d }; /* beside sample.c's */
enum { FIRST_LENGTH = 4, LONGEST_REST = 32 }; /* a text that can be guessed again is found out soon enough */
/* A guess that is wrong costs a row more in a step, a tenth of it, and what a draft takes: with less hope than this
 * of the first one it does not pay. What went before counts 7/8 as much with each guess. */
static const double FIRST_HOPE = 0.5, LEAST_HOPE = 0.125, MEMORY = 0.875;

/* ---- the rule ----------------------------------------------------------------------------------------------------
 */

bool gal_guess_stays(const double *p, const double *q, int64_t n, int32_t x, const double u[2], int32_t *id) {
    *id = x;
    if (u[0] * q[x] < p[x]) return true;
    double total = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) total += GAL_MAX(p[i] - q[i], 0.0);
    for (int64_t i = 0; i < n; i++) {
        const double rest = GAL_MAX(p[i] - q[i], 0.0);
        if (rest <= 0.0) continue;
        *id = (int32_t)i; /* the last one, too, where rounding leaves u beyond all */
        sum += rest;
        if (u[1] * total < sum) break;
    }
    return false;
}

/* ---- look-up -----------------------------------------------------------------------------------------------------
 */

static gal_err look_up(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                       gal_diag *diag) {
    int64_t longest = GAL_LOOKUP_FEWEST - 1, next = 0;
    (void)self;
    (void)diag;
    out->n = 0;
    for (int64_t end = n - 1; end >= GAL_LOOKUP_FEWEST && longest < GAL_LOOKUP_MOST; end--) {
        int64_t same = 0; /* tokens before `end` that are those before n */
        while (same < GAL_LOOKUP_MOST && same < end && text[end - 1 - same] == text[n - 1 - same]) same++;
        if (same <= longest) continue;
        longest = same;
        next = end;
    }
    if (longest < GAL_LOOKUP_FEWEST) return GAL_OK;
    for (int64_t i = 0; i < most; i++) {
        out->ids[i] = next + i < n ? text[next + i] : out->ids[next + i - n];
        out->q[i] = NULL;
    }
    out->n = most;
    return GAL_OK;
}

static void free_lookup(gal_proposer *self) { gal_free(self); }

gal_err gal_lookup_new(gal_proposer **out, gal_diag *diag) {
    gal_proposer *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory to look tokens up");
    *p = (gal_proposer){ .guess = look_up, .free = free_lookup };
    *out = p;
    return GAL_OK;
}

/* ---- a draft model -----------------------------------------------------------------------------------------------
 */

typedef struct draft {
    gal_proposer base;
    gal_draft_parts of;
    gal_sampler *sampler;
    int64_t counted; /* tokens of the text that the sampler has seen */
    double *q;       /* [GAL_GUESS_MOST, of.allowed], NULL: nothing is drawn */
} draft;

/* Tokens of the text that the cache still has; the last one is always read anew, for its logits. */
static int64_t keep(draft *d, const int32_t *text, int64_t n) {
    const int64_t length = gal_cache_length(gal_engine_cache(d->of.engine), 0);
    const int64_t most = GAL_MIN(GAL_MIN((int64_t)d->of.held->len, length), n - 1);
    int64_t same = 0;
    while (same < most && d->of.held->data[same] == text[same]) same++;
    if (!gal_engine_truncate(d->of.engine, 0, same)) {
        (void)gal_engine_truncate(d->of.engine, 0, 0);
        same = 0;
    }
    d->of.held->len = (size_t)same;
    return same;
}

/* Appends tokens to what the draft model has read; *logits: after the last one. */
static gal_err read_on(draft *d, const int32_t *ids, int64_t n, const float **logits, gal_diag *diag) {
    gal_err err = GAL_OK;
    if (n <= GAL_TRY_MOST) {
        err = gal_engine_try(d->of.engine, 0, ids, n, logits, diag);
        if (!err) *logits += (n - 1) * d->of.vocab;
    } else {
        err = gal_engine_prefill(d->of.engine, 0, ids, n, logits, diag);
    }
    for (int64_t i = 0; !err && i < n; i++) err = gal_ids_add(d->of.held, ids[i], diag);
    return err;
}

static gal_err draw(draft *d, const float *logits, int64_t position, gal_guess *out, gal_diag *diag) {
    const int64_t i = out->n;
    double *q = d->q ? d->q + i * d->of.allowed : NULL; /* 0 for ids that it has no rows for */
    gal_err err = q ? gal_sampler_spread(d->sampler, logits, position, q, &out->ids[i], diag)
                    : gal_sample(d->sampler, logits, position, &out->ids[i], diag);
    out->q[i] = q;
    if (!err) out->n++;
    return err;
}

static gal_err guess_all(draft *d, const int32_t *text, int64_t n, int64_t most, gal_guess *out, gal_diag *diag) {
    int32_t added[GAL_GUESS_MOST];
    int64_t n_added = 0;
    const float *logits = NULL;
    gal_engine_interrupt(d->of.engine, d->of.stop, d->of.user);
    const int64_t same = keep(d, text, n);
    gal_err err = read_on(d, text + same, n - same, &logits, diag);
    while (!err) {
        err = draw(d, logits, n + out->n, out, diag);
        if (err || out->n == most) break;
        const int32_t id = out->ids[out->n - 1];
        if (gal_sampler_saw(d->sampler, id)) added[n_added++] = id;
        err = read_on(d, &id, 1, &logits, diag);
    }
    for (int64_t i = 0; i < n_added; i++) gal_sampler_unsee(d->sampler, added[i]);
    gal_engine_interrupt(d->of.engine, NULL, NULL);
    return err;
}

static gal_err ask_draft(gal_proposer *self, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                         gal_diag *diag) {
    draft *d = (draft *)self;
    gal_diag why = { 0 };
    out->n = 0;
    most = GAL_MIN(most, gal_engine_context(d->of.engine) - n);
    for (; d->counted < n; d->counted++) {
        if (text[d->counted] >= d->of.vocab) return GAL_OK; /* a token that it does not know: it can say no more */
        (void)gal_sampler_saw(d->sampler, text[d->counted]);
    }
    if (most <= 0) return GAL_OK;
    gal_err err = guess_all(d, text, n, most, out, &why);
    return err ? gal_fail(diag, err, "draft model: %s", why.text) : GAL_OK;
}

static void free_draft(gal_proposer *self) {
    draft *d = (draft *)self;
    gal_sampler_free(d->sampler);
    gal_free(d->q);
    gal_free(d);
}

gal_err gal_draft_new(gal_proposer **out, const gal_draft_parts *parts, gal_diag *diag) {
    draft *d = gal_alloc(sizeof *d);
    if (!d) return gal_fail(diag, GAL_ENOMEM, "no memory for a draft");
    *d = (draft){ .base = { .guess = ask_draft, .free = free_draft }, .of = *parts };
    gal_sampling how = *parts->how;
    how.seed ^= (uint64_t)DRAFT_SEED << 56; /* numbers of its own: what is drawn of p must not depend on them */
    gal_err err = gal_sampler_new(&d->sampler, parts->vocab, GAL_MIN(parts->vocab, parts->allowed), &how, diag);
    if (!err && !gal_sampler_greedy(d->sampler)) {
        d->base.draws = true;
        d->q = gal_alloc_array((size_t)parts->allowed * GAL_GUESS_MOST, sizeof *d->q);
        if (!d->q)
            err = gal_fail(diag, GAL_ENOMEM, "no memory for a draft over %lld tokens", (long long)parts->allowed);
    }
    if (err) {
        free_draft(&d->base);
        return err;
    }
    *out = &d->base;
    return GAL_OK;
}

/* ---- how much, and what stays ------------------------------------------------------------------------------------
 */

gal_err gal_speculation_init(gal_speculation *s, gal_proposer *from, int64_t most, int64_t allowed, gal_diag *diag) {
    GAL_ASSERT(most > 0 && most <= GAL_GUESS_MOST);
    *s = (gal_speculation){
        .from = from, .most = most, .length = GAL_MIN(most, (int64_t)FIRST_LENGTH), .pause = 1, .hope = FIRST_HOPE
    };
    if (!from->draws) return GAL_OK;
    s->p = gal_alloc_array((size_t)allowed, sizeof *s->p);
    if (s->p) return GAL_OK;
    gal_speculation_free(s);
    return gal_fail(diag, GAL_ENOMEM, "no memory to check guesses among %lld tokens", (long long)allowed);
}

void gal_speculation_free(gal_speculation *s) {
    if (s->from) s->from->free(s->from);
    gal_free(s->p);
    *s = (gal_speculation){ 0 };
}

gal_err gal_speculation_guess(gal_speculation *s, const int32_t *text, int64_t n, int64_t most, gal_guess *out,
                              gal_diag *diag) {
    out->n = 0;
    if (most <= 0) return GAL_OK;
    if (s->rest > 0) {
        s->rest--;
        return GAL_OK;
    }
    return s->from->guess(s->from, text, n, GAL_MIN(most, s->length), out, diag);
}

void gal_speculation_learn(gal_speculation *s, int64_t n, int64_t stayed) {
    s->proposed += n;
    s->accepted += stayed;
    s->length = stayed == n ? GAL_MIN(s->most, GAL_MAX(s->length, n) + 2) : GAL_MIN(s->most, stayed + 1);
    s->hope = s->hope * MEMORY + (stayed ? 1.0 - MEMORY : 0.0);
    s->pause = s->hope >= LEAST_HOPE ? 1 : GAL_MIN(2 * s->pause, (int64_t)LONGEST_REST);
    if (s->pause > 1) s->rest = s->pause;
}

gal_err gal_speculation_check(gal_speculation *s, gal_sampler *sampler, uint64_t seed, const float *logits,
                              int64_t position, const gal_guess *g, int64_t i, int32_t *id, bool *stays,
                              gal_diag *diag) {
    const double *q = i < g->n ? g->q[i] : NULL;
    if (!q) {
        gal_err err = gal_sample(sampler, logits, position, id, diag);
        *stays = !err && i < g->n && *id == g->ids[i];
        return err;
    }
    gal_err err = gal_sampler_spread(sampler, logits, position, s->p, NULL, diag);
    if (err) return err;
    const double u[2] = { gal_rng_uniform(seed, STAY_STREAM, (uint64_t)position),
                          gal_rng_uniform(seed, REST_STREAM, (uint64_t)position) };
    *stays = gal_guess_stays(s->p, q, gal_sampler_allowed(sampler), g->ids[i], u, id);
    return GAL_OK;
}
