/* count.c - see count.h. Owns nothing; sums that leave 63 bits stick and are refused at the end.
 *
 * Per layer, A = H K, B = G K (keys and values), f matrices of D F in a feed-forward part (2, or 3 if gated):
 *     exact        (2 A + 2 B) D + [A D + 2 A] + f D F + norms + biases      [ ]: relative positions
 *     chinchilla   5 D A + 2 D F + 5 A + (F + 2 D)            + V D once     (2203.15556, table A9)
 *     gopher       5 D A + 2 D F + 4 D                        + V D once
 *     routed       the same without V D; a routed layer adds (E - 1) 2 D F + D E + v       (2202.01169, the csv)
 * SPDX-License-Identifier: Apache-2.0 */
#include "models/count.h"

#include <string.h>

#define RLR_SHARE 8 /* the baseline's hidden width is D / 8 */

/* ---- names -------------------------------------------------------------------------------------------------------
 */

static const char *const COUNTS[GAL_COUNTS] = { "exact", "chinchilla", "gopher", "routed" };
static const char *const PARTS[GAL_PARTS] = { "embedding",
                                              "head",
                                              "q",
                                              "k",
                                              "v",
                                              "o",
                                              "relative positions",
                                              "relative offsets",
                                              "feed-forward",
                                              "experts",
                                              "routers",
                                              "value baselines",
                                              "norms",
                                              "biases" };
static const char *const TERMS[GAL_TERMS] = {
    "embedding",    "qkv",         "relative positions", "logits",  "relative logits", "softmax",
    "weighted sum", "output",      "feed-forward",       "experts", "routers",         "value baselines",
    "norms",        "final logits"
};

const char *gal_counting_name(gal_counting c) { return COUNTS[c]; }
const char *gal_part_name(gal_part p) { return PARTS[p]; }
const char *gal_term_name(gal_term t) { return TERMS[t]; }

bool gal_counting_named(gal_counting *out, const char *name) {
    for (int i = 0; i < GAL_COUNTS; i++) {
        if (strcmp(COUNTS[i], name) != 0) continue;
        *out = (gal_counting)i;
        return true;
    }
    return false;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------
 */

static bool is_routed(const gal_config *c, int64_t layer) {
    return c->experts && (layer + 1) % GAL_MAX(c->routed_every, (int64_t)1) == 0;
}

static bool is_windowed(const gal_config *c, int64_t layer) {
    return c->window && (!c->layer_full || !c->layer_full[layer]);
}

void gal_size_of(gal_size *out, const gal_config *c, int64_t sequence) { gal_size_of_every(out, c, sequence, 1); }

void gal_size_of_every(gal_size *out, const gal_config *c, int64_t sequence, int64_t every) {
    *out = (gal_size){ .V = c->V,
                       .D = c->D,
                       .L = (c->L + every - 1) / every,
                       .H = c->H,
                       .G = c->G,
                       .K = c->K,
                       .F = c->F,
                       .gated = !c->relative,
                       .relative = c->relative,
                       .bias = c->relative,
                       .norm_bias = c->layer_norm,
                       .tied = c->tied,
                       .experts = c->experts,
                       .used = c->experts ? c->experts_used : 0,
                       .router = c->router,
                       .no_baseline = c->no_baseline,
                       .sequence = sequence,
                       .window = c->window };
    for (int64_t l = 0; l < c->L; l += every) {
        out->routed += is_routed(c, l);
        out->windowed += is_windowed(c, l);
    }
}

gal_err gal_size_check(const gal_size *s, const char *where, gal_diag *diag) {
    const struct {
        const char *what;
        int64_t value, most;
    } RANGES[] = {
        { "vocabulary", s->V, GAL_MAX_VOCAB }, { "width", s->D, GAL_MAX_WIDTH },
        { "layers", s->L, GAL_MAX_LAYERS },    { "heads", s->H, GAL_MAX_WIDTH },
        { "key-value heads", s->G, s->H },     { "head size", s->K, GAL_MAX_WIDTH },
        { "hidden", s->F, GAL_MAX_WIDTH },     { "sequence", s->sequence, GAL_MAX_POSITIONS },
    };
    for (size_t i = 0; i < GAL_LEN(RANGES); i++)
        if (RANGES[i].value < 1 || RANGES[i].value > RANGES[i].most)
            return gal_fail(diag, GAL_EINPUT, "%s: %s: expected 1 to %lld, found %lld", where, RANGES[i].what,
                            (long long)RANGES[i].most, (long long)RANGES[i].value);
    if (s->experts < 0 || s->experts > GAL_SIZE_MAX_EXPERTS)
        return gal_fail(diag, GAL_EINPUT, "%s: experts: expected 0 to %d, found %lld", where,
                        (int)GAL_SIZE_MAX_EXPERTS, (long long)s->experts);
    const int64_t least = s->wide ? s->experts : 1;
    if (s->experts && (s->used < least || s->used > s->experts))
        return gal_fail(diag, GAL_EINPUT, "%s: experts of a token: expected %lld to %lld, found %lld", where,
                        (long long)least, (long long)s->experts, (long long)s->used);
    if (s->experts && (s->routed < 1 || s->routed > s->L))
        return gal_fail(diag, GAL_EINPUT, "%s: layers with experts: expected 1 to %lld, found %lld", where,
                        (long long)s->L, (long long)s->routed);
    return GAL_OK;
}

const char *gal_counting_misfit(gal_counting c, const gal_size *s) {
    if (c == GAL_COUNT_EXACT) return NULL;
    if (!s->relative || s->gated || s->G != s->H || s->window)
        return "it is a count of Gopher's block, with relative positions and two matrices in its feed-forward part";
    if (s->experts && c != GAL_COUNT_ROUTED) return "it is a count of dense models";
    return NULL;
}

/* ---- sums that cannot overflow unseen ----------------------------------------------------------------------------
 */

#define TIMES(over, ...)                                                                                             \
    times(over, (const int64_t[]){ __VA_ARGS__ }, sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static int64_t times(bool *over, const int64_t *factor, size_t n) {
    int64_t product = 1;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(product, factor[i], &product)) *over = true;
    return product;
}

static int64_t plus(bool *over, int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) *over = true;
    return sum;
}

static int64_t total_of(bool *over, const int64_t *v, int n) {
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum = plus(over, sum, v[i]);
    return sum;
}

/* ---- parameters --------------------------------------------------------------------------------------------------
 */

/* Of the two-layer perceptron D -> D / 8 -> 1 that RL-R compares its rewards with. */
static int64_t baseline(const gal_size *s) {
    const int64_t hidden = GAL_MAX(s->D / RLR_SHARE, (int64_t)1);
    return s->router == GAL_ROUTER_RLR && !s->wide && !s->no_baseline ? (s->D + 1) * hidden : 0;
}

/* Matrices of so many experts, and in the exact count their biases. A wide part has one bias at its output. */
static int64_t experts_of(bool *over, const gal_size *s, int64_t count, bool biases) {
    int64_t n = TIMES(over, count, s->gated ? 3 : 2, s->D, s->F);
    if (!biases) return n;
    n = plus(over, n, count * s->F * (s->gated ? 2 : 1));
    return plus(over, n, s->D * (s->wide ? 1 : count));
}

/* The routed paper counts a matrix wherever there is a choice to make, also where HASH or a wide layer has none. */
static bool has_router(const gal_size *s, gal_counting how) {
    return s->experts && (how == GAL_COUNT_ROUTED || (s->router != GAL_ROUTER_HASH && !s->wide));
}

static void count_vectors(bool *over, int64_t *part, const gal_size *s, gal_counting how) {
    const int64_t A = s->H * s->K, B = s->G * s->K;
    const bool both = s->norm_bias || how == GAL_COUNT_GOPHER || how == GAL_COUNT_ROUTED;
    if (how != GAL_COUNT_CHINCHILLA) {
        part[GAL_PART_NORMS] = TIMES(over, s->L, both ? 4 : 2, s->D);
        if (how == GAL_COUNT_EXACT) part[GAL_PART_NORMS] += (both ? 2 : 1) * s->D; /* the last one */
    }
    if (how == GAL_COUNT_GOPHER || how == GAL_COUNT_ROUTED) return;
    if (s->relative) part[GAL_PART_OFFSETS] = TIMES(over, s->L, 2, A);
    if (!s->bias && how == GAL_COUNT_EXACT) return;
    part[GAL_PART_BIASES] = plus(over, TIMES(over, s->L, A + 2 * B + s->D),
                                 TIMES(over, s->L - s->routed, s->D + s->F * (s->gated ? 2 : 1)));
}

gal_err gal_count_params(gal_params *out, const gal_size *s, gal_counting how, gal_diag *diag) {
    GAL_ASSERT(!gal_counting_misfit(how, s));
    const int64_t A = s->H * s->K, B = s->G * s->K, matrices = s->gated ? 3 : 2;
    const bool exact = how == GAL_COUNT_EXACT;
    bool over = false;
    *out = (gal_params){ .total = 0 };
    int64_t *part = out->part;
    if (how != GAL_COUNT_ROUTED) part[GAL_PART_EMBED] = TIMES(&over, s->V, s->D);
    if (exact && !s->tied) part[GAL_PART_HEAD] = TIMES(&over, s->V, s->D);
    part[GAL_PART_Q] = part[GAL_PART_O] = TIMES(&over, s->L, s->D, A);
    part[GAL_PART_K] = part[GAL_PART_V] = TIMES(&over, s->L, s->D, B);
    if (s->relative) part[GAL_PART_RELATIVE] = TIMES(&over, s->L, s->D, A);
    part[GAL_PART_DENSE] = TIMES(&over, s->L - s->routed, matrices, s->D, s->F);
    const int64_t one = experts_of(&over, s, 1, exact && s->bias);
    const int64_t experts = experts_of(&over, s, s->experts, exact && s->bias);
    part[GAL_PART_EXPERTS] = TIMES(&over, s->routed, experts);
    if (has_router(s, how)) part[GAL_PART_ROUTERS] = TIMES(&over, s->routed, s->D, s->experts);
    if (s->experts) part[GAL_PART_BASELINE] = TIMES(&over, s->routed, baseline(s));
    count_vectors(&over, part, s, how);
    out->total = total_of(&over, part, GAL_PARTS);
    out->embeddings = part[GAL_PART_EMBED] + part[GAL_PART_HEAD];
    out->active = out->dense = out->total;
    if (over) return gal_fail(diag, GAL_EINPUT, "parameters: the model has more than 63 bits can count");
    if (s->experts) {
        out->active -= s->routed * (s->experts - s->used) * one; /* a wide layer takes all of itself */
        out->dense -= s->routed * (experts - one) + part[GAL_PART_ROUTERS] + part[GAL_PART_BASELINE];
    }
    return GAL_OK;
}

/* ---- operations --------------------------------------------------------------------------------------------------
 */

/* Pairs of tokens in attention, of all layers. */
static int64_t pairs(bool *over, const gal_size *s) {
    const int64_t seen = s->window ? GAL_MIN(s->window, s->sequence) : s->sequence;
    return plus(over, TIMES(over, s->L - s->windowed, s->sequence, s->sequence),
                TIMES(over, s->windowed, s->sequence, seen));
}

gal_err gal_count_flops(gal_flops *out, const gal_size *s, gal_counting how, gal_diag *diag) {
    GAL_ASSERT(!gal_counting_misfit(how, s));
    const int64_t A = s->H * s->K, B = s->G * s->K, matrices = s->gated ? 3 : 2, n = s->sequence;
    const bool appendix_f = how == GAL_COUNT_CHINCHILLA || how == GAL_COUNT_GOPHER;
    bool over = false;
    *out = (gal_flops){ .sequence = n };
    int64_t *term = out->term;
    const int64_t seen = pairs(&over, s);
    if (appendix_f) term[GAL_TERM_EMBED] = TIMES(&over, 2, n, s->V, s->D);
    term[GAL_TERM_QKV] = TIMES(&over, s->L, 2, n, s->D, A + 2 * B);
    term[GAL_TERM_LOGITS] = term[GAL_TERM_SUM] = TIMES(&over, 2, seen, A);
    if (s->relative && !appendix_f) {
        term[GAL_TERM_RELATIVE] = TIMES(&over, s->L, 2, n, s->D, A);
        term[GAL_TERM_RELATIVE_LOGITS] = term[GAL_TERM_LOGITS];
    }
    term[GAL_TERM_SOFTMAX] = TIMES(&over, 3, s->H, seen);
    term[GAL_TERM_OUTPUT] = TIMES(&over, s->L, 2, n, s->D, A);
    term[GAL_TERM_DENSE] = TIMES(&over, s->L - s->routed, 2 * matrices, n, s->D, s->F);
    term[GAL_TERM_EXPERTS] = TIMES(&over, s->routed, s->used, 2 * matrices, n, s->D, s->F);
    if (has_router(s, how)) term[GAL_TERM_ROUTERS] = TIMES(&over, s->routed, 2, n, s->D, s->experts);
    if (s->experts) term[GAL_TERM_BASELINE] = TIMES(&over, s->routed, 2, n, baseline(s));
    if (how == GAL_COUNT_ROUTED) term[GAL_TERM_NORMS] = TIMES(&over, s->L, 10, n, s->D);
    term[GAL_TERM_HEAD] = TIMES(&over, 2, n, s->V, s->D);
    out->total = total_of(&over, term, GAL_TERMS);
    out->layers = out->total - term[GAL_TERM_EMBED] - term[GAL_TERM_HEAD];
    if (over)
        return gal_fail(diag, GAL_EINPUT, "operations: a sequence of %lld tokens takes more than 63 bits can count",
                        (long long)n);
    return GAL_OK;
}

double gal_flops_per_token(const gal_flops *f, bool layers) {
    return (double)(layers ? f->layers : f->total) / (double)f->sequence;
}
