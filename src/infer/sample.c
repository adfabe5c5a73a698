/* sample.c - see sample.h. Owns scratch for one row of logits. SPDX-License-Identifier: Apache-2.0 */
#include "infer/sample.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { SAMPLE_STREAM = 0x5a }; /* keeps these numbers apart from others of the same seed */

typedef struct candidate {
    double x; /* logit, later weight exp(x - max) */
    int32_t id;
} candidate;

struct gal_sampler {
    gal_sampling how;
    int64_t vocab, allowed;
    candidate *c;  /* [allowed] */
    uint8_t *seen; /* [vocab] */
};

void gal_sampling_defaults(gal_sampling *s) {
    *s = (gal_sampling){ .temperature = 0.7, .top_p = 1.0, .repetition_penalty = 1.0 };
}

gal_err gal_sampling_check(const gal_sampling *s, gal_diag *diag) {
    if (!(s->temperature >= 0.0 && s->temperature <= 1e6)) {
        return gal_fail(diag, GAL_EUSAGE, "temperature: expected 0 or more, found %g", s->temperature);
    }
    if (s->top_k < 0) return gal_fail(diag, GAL_EUSAGE, "top_k: expected 0 or more, found %lld", (long long)s->top_k);
    if (!(s->top_p > 0.0 && s->top_p <= 1.0)) {
        return gal_fail(diag, GAL_EUSAGE, "top_p: expected more than 0, at most 1, found %g", s->top_p);
    }
    if (!(s->min_p >= 0.0 && s->min_p <= 1.0)) {
        return gal_fail(diag, GAL_EUSAGE, "min_p: expected 0 to 1, found %g", s->min_p);
    }
    if (!(s->repetition_penalty > 0.0 && s->repetition_penalty <= 1e6)) {
        return gal_fail(diag, GAL_EUSAGE, "repetition_penalty: expected more than 0, found %g",
                        s->repetition_penalty);
    }
    return GAL_OK;
}

gal_err gal_sampler_new(gal_sampler **out, int64_t vocab, int64_t allowed, const gal_sampling *how, gal_diag *diag) {
    GAL_ASSERT(vocab > 0 && allowed > 0 && allowed <= vocab);
    gal_err err = gal_sampling_check(how, diag);
    if (err) return err;
    gal_sampler *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for a sampler");
    *s = (gal_sampler){ .how = *how, .vocab = vocab, .allowed = allowed };
    s->c = gal_alloc_array((size_t)allowed, sizeof *s->c);
    s->seen = gal_alloc((size_t)vocab);
    if (!s->c || !s->seen) {
        gal_sampler_free(s);
        return gal_fail(diag, GAL_ENOMEM, "no memory to sample from %lld tokens", (long long)vocab);
    }
    *out = s;
    return GAL_OK;
}

void gal_sampler_free(gal_sampler *s) {
    if (!s) return;
    gal_free(s->c);
    gal_free(s->seen);
    gal_free(s);
}

bool gal_sampler_saw(gal_sampler *s, int32_t id) {
    GAL_ASSERT(id >= 0 && id < s->vocab);
    const bool first = !s->seen[id];
    s->seen[id] = 1;
    return first;
}

void gal_sampler_unsee(gal_sampler *s, int32_t id) {
    GAL_ASSERT(id >= 0 && id < s->vocab);
    s->seen[id] = 0;
}

bool gal_sampler_greedy(const gal_sampler *s) { return s->how.temperature <= 0.0; }
int64_t gal_sampler_allowed(const gal_sampler *s) { return s->allowed; }

void gal_sampler_forget(gal_sampler *s) { memset(s->seen, 0, (size_t)s->vocab); }

/* a before b in the order of falling logits. */
static bool before(const candidate *a, const candidate *b) {
    return a->x > b->x || (!(a->x < b->x) && a->id < b->id);
}

static void sift(candidate *heap, int64_t n, int64_t i) {
    for (;;) {
        int64_t top = i, left = 2 * i + 1, right = left + 1;
        if (left < n && before(&heap[left], &heap[top])) top = left;
        if (right < n && before(&heap[right], &heap[top])) top = right;
        if (top == i) return;
        candidate t = heap[i];
        heap[i] = heap[top];
        heap[top] = t;
        i = top;
    }
}

/* Moves the next largest of the heap [0, *n) to its end and shrinks the heap. */
static const candidate *pop(candidate *heap, int64_t *n) {
    candidate t = heap[0];
    heap[0] = heap[--*n];
    heap[*n] = t;
    sift(heap, *n, 0);
    return &heap[*n];
}

/* Leaves the chosen ones, largest first, at the end of c; returns how many. Weights are exp(x - max), so the largest
 * has weight 1. The heap gives the largest first, so that only what is kept is ever ordered. */
static int64_t keep_largest(candidate *c, int64_t n, const gal_sampling *how) {
    for (int64_t i = n / 2; i-- > 0;) sift(c, n, i);
    int64_t most = how->top_k > 0 ? GAL_MIN(how->top_k, n) : n, heap = n;
    if (how->top_k <= 0 && how->top_p < 1.0) {
        double total = 0.0, sum = 0.0;
        for (int64_t i = 0; i < n; i++) total += c[i].x;
        while (heap > 0 && sum < how->top_p * total) sum += pop(c, &heap)->x;
    } else {
        while (n - heap < most) (void)pop(c, &heap);
        double total = 0.0, sum = 0.0;
        for (int64_t i = n; i-- > heap;) total += c[i].x;
        int64_t kept = 0;
        while (how->top_p < 1.0 && kept < n - heap && sum < how->top_p * total) sum += c[n - ++kept].x;
        if (how->top_p < 1.0) heap = n - kept;
    }
    return n - heap;
}

static int32_t draw(const gal_sampler *s, const candidate *c, int64_t n, int64_t position) {
    const double u = gal_rng_uniform(s->how.seed, SAMPLE_STREAM, (uint64_t)position);
    double total = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) total += c[i].x;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (c[i].x > 0.0) last = i;
        sum += c[i].x;
        if (u * total < sum) return c[i].id;
    }
    return c[last].id; /* rounding: u close to 1 */
}

/* Leaves what may be drawn in *list [*count], each with its weight. */
static gal_err weigh(gal_sampler *s, const float *logits, int64_t position, const candidate **list, int64_t *count,
                     gal_diag *diag) {
    const gal_sampling *how = &s->how;
    int64_t n = s->allowed, best = 0;
    bool penalty = how->repetition_penalty < 1.0 || how->repetition_penalty > 1.0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)logits[i];
        if (isnan(x) || x >= (double)INFINITY) {
            return gal_fail(diag, GAL_EFAIL, "the model's logit of token %lld at position %lld is %s", (long long)i,
                            (long long)position, isnan(x) ? "not a number" : "infinite");
        }
        if (penalty && s->seen[i]) x = x > 0.0 ? x / how->repetition_penalty : x * how->repetition_penalty;
        s->c[i] = (candidate){ x, (int32_t)i };
        if (before(&s->c[i], &s->c[best])) best = i;
    }
    double max = s->c[best].x;
    if (how->temperature <= 0.0 || isinf(max)) {
        s->c[best].x = 1.0;
        *list = &s->c[best];
        *count = 1;
        return GAL_OK;
    }
    for (int64_t i = 0; i < n; i++) s->c[i].x = exp((s->c[i].x - max) / how->temperature);
    const candidate *first = s->c;
    int64_t kept = n;
    if ((how->top_k > 0 && how->top_k < n) || how->top_p < 1.0) {
        kept = keep_largest(s->c, n, how);
        first = s->c + (n - kept);
    }
    if (how->min_p > 0.0) { /* the largest weight is 1 */
        candidate *to = s->c;
        int64_t m = 0;
        for (int64_t i = 0; i < kept; i++) {
            if (first[i].x >= how->min_p) to[m++] = first[i];
        }
        first = to;
        kept = m;
    }
    *list = first;
    *count = kept;
    return GAL_OK;
}

gal_err gal_sample(gal_sampler *s, const float *logits, int64_t position, int32_t *id, gal_diag *diag) {
    const candidate *list = NULL;
    int64_t n = 0;
    gal_err err = weigh(s, logits, position, &list, &n, diag);
    if (!err) *id = draw(s, list, n, position);
    return err;
}

gal_err gal_sampler_spread(gal_sampler *s, const float *logits, int64_t position, double *p, int32_t *id,
                           gal_diag *diag) {
    const candidate *list = NULL;
    int64_t n = 0;
    double total = 0.0;
    gal_err err = weigh(s, logits, position, &list, &n, diag);
    if (err) return err;
    memset(p, 0, (size_t)s->allowed * sizeof *p);
    for (int64_t i = 0; i < n; i++) total += list[i].x;
    for (int64_t i = 0; i < n; i++) p[list[i].id] = list[i].x / total;
    if (id) *id = draw(s, list, n, position);
    return GAL_OK;
}
