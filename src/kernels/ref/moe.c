/* moe.c - experts: choosing them, sorting rows by them, their vectors, adding their results up, and the losses that
 * act on routers (mixtral.md 4; routed-scaling.md 3). SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "kernels/experts.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>

/* ---- choosing ----------------------------------------------------------------------------------------------------
 */

static int64_t route_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_route *)args)->n, GAL_REF_ROWS);
}

/* Whether a comes before b among the choices. A NaN comes last; of equals the lower number does. */
static bool before(const double *x, int64_t a, int64_t b) {
    if (isnan(x[a]) || isnan(x[b])) return !isnan(x[a]) || (isnan(x[b]) && a < b);
    return x[a] > x[b] || (a < b && x[a] >= x[b]);
}

static void choose(const double *x, int64_t experts, int64_t used, int32_t *choice) {
    for (int64_t j = 0; j < used; j++) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; e++) {
            bool free = true;
            for (int64_t i = 0; i < j; i++) free = free && choice[i] != e;
            if (free && (best < 0 || before(x, e, best))) best = e;
        }
        choice[j] = (int32_t)best;
    }
}

/* Of a row whose draws are limited; in scratch. */
typedef struct likely {
    double p;
    int64_t e;
} likely;
typedef struct nucleus {
    bool in[GAL_MAX_EXPERTS];
    likely order[GAL_MAX_EXPERTS];
} nucleus;

static int more_likely(const void *a, const void *b) {
    const likely *x = a, *y = b;
    if (x->p > y->p || x->p < y->p) return x->p > y->p ? -1 : 1;
    return x->e < y->e ? -1 : 1;
}

/* Its experts; of what is no number, all. Returns the sum of their p. */
static double nucleus_of(nucleus *c, const double *p, int64_t experts, int64_t used, double top_p) {
    double sum = 0;
    for (int64_t e = 0; e < experts; e++) {
        c->order[e] = (likely){ p[e], e };
        sum += p[e];
    }
    bool all = isnan(sum);
    for (int64_t e = 0; e < experts; e++) c->in[e] = all;
    if (all) return sum;
    qsort(c->order, (size_t)experts, sizeof *c->order, more_likely);
    sum = 0;
    for (int64_t i = 0; i < experts && (i < used || sum < top_p); i++) {
        c->in[c->order[i].e] = true;
        sum += c->order[i].p;
    }
    return sum;
}

/* What the choice is made by: the logits, and what is added to them for it alone. c NULL: no limit. */
static const double *ranks(const gal_k_route *a, int64_t n, const double *x, const nucleus *c, double *out) {
    if (!a->add && !a->noise) return x;
    for (int64_t e = 0; e < a->experts; e++) {
        out[e] = x[e] + (a->add ? gal__ref_get(a->add, a->dt, e) : 0);
        if (c && !c->in[e]) out[e] = (double)NAN; /* comes last */
        if (!a->noise) continue;
        uint64_t at = (a->noise->first + (uint64_t)n) * (uint64_t)a->experts + (uint64_t)e;
        out[e] -= log(-log(gal_rng_uniform(a->noise->seed, a->stream, at)));
    }
    return out;
}

/* w[j] of the chosen logits; max is the largest of all, `all` the sum of exp(x - max). */
static void gates(const gal_k_route *a, const double *x, const int32_t *choice, double max, double all, double *w) {
    double sum = 0;
    for (int64_t j = 0; j < a->used; j++) {
        double l = x[choice[j]];
        w[j] = a->gate == GAL_GATE_ONE ? 1 : a->gate == GAL_GATE_SIGMOID ? gal__ref_sigmoid(l) : exp(l - max);
        sum += w[j];
    }
    bool chosen = a->gate == GAL_GATE_CHOSEN || a->whole;
    for (int64_t j = 0; j < a->used; j++)
        if (chosen || a->gate == GAL_GATE_ALL) w[j] /= chosen ? sum : all;
}

static void route_row(const gal_k_route *a, int64_t n, double *x) {
    int32_t *choice = a->choice + n * a->used;
    double *w = x + a->experts, *rank = w + a->used, *p = rank + a->experts, all = 0, poison = 0;
    nucleus *c = a->noise && a->top_p < 1 ? (nucleus *)(void *)(p + a->experts) : NULL;
    gal__ref_load(x, a->logits, a->dt, n * a->experts, a->experts);
    double max = x[0];
    for (int64_t e = 0; e < a->experts; e++) {
        if (isnan(x[e])) poison = x[e];
        if (x[e] > max) max = x[e];
    }
    for (int64_t e = 0; e < a->experts; e++) all += p[e] = exp(x[e] - max);
    for (int64_t e = 0; e < a->experts; e++) p[e] /= all;
    if (c) {
        gal__ref_round(p, a->dt, a->experts); /* ROUTE_POLICY finds the nucleus again, by what is stored */
        (void)nucleus_of(c, p, a->experts, a->used, a->top_p);
    }
    choose(ranks(a, n, x, c, rank), a->experts, a->used, choice);
    gates(a, x, choice, max, all, w);
    for (int64_t j = 0; j < a->used; j++) gal__ref_put(a->weight, a->dt, n * a->used + j, w[j] + poison);
    if (!a->prob) return;
    gal__ref_store(a->prob, a->dt, n * a->experts, p, a->experts);
    gal__ref_put(a->lse, a->dt, n, max + log(all));
}

static void route_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) route_row(a, n, scratch);
}

static int64_t one_chunk(const void *args) {
    (void)args;
    return 1;
}

static void hash_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_hash *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ITEMS, chunk);
    (void)scratch;
    for (int64_t n = r.from; n < r.to; n++) a->choice[n] = (int32_t)(a->ids[n] % a->experts);
}

static int64_t hash_chunks(const void *args) { return gal__ref_pieces(((const gal_k_hash *)args)->n, GAL_REF_ITEMS); }

/* log sum_i exp(x[i stride] + add[i]) */
static double log_sum(const double *x, int64_t stride, const double *add, int64_t n) {
    double max = (double)-INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, x[i * stride] + add[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(x[i * stride] + add[i] - max);
    /* cppcheck-suppress invalidFunctionArg ; n > 0, so the largest adds 1 */
    return max + log(sum);
}

/* In numbers of the arguments' type but for the sums: N E of them need not fit into the scratch. */
static double sinkhorn_columns(const gal_k_sinkhorn *a, double *g, double *fresh, double *max, const double *f) {
    int64_t E = a->experts;
    double off = 0, row[GAL_MAX_EXPERTS];
    for (int64_t e = 0; e < E; e++) {
        fresh[e] = 0;
        max[e] = (double)-INFINITY;
    }
    for (int pass = 0; pass < 2; pass++)
        for (int64_t n = 0; n < a->n; n++) {
            gal__ref_load(row, a->logits, a->dt, n * E, E);
            for (int64_t e = 0; e < E; e++) {
                if (pass == 0)
                    max[e] = fmax(max[e], row[e] + f[n]);
                else
                    fresh[e] += exp(row[e] + f[n] - max[e]);
            }
        }
    for (int64_t e = 0; e < E; e++) {
        double now = -log((double)E) - max[e] - log(fresh[e]);
        off = fmax(off, fabs(exp(g[e] - now) - 1)); /* how far the column's sum is from 1 / E, as a part of it */
        fresh[e] = now;
    }
    return off;
}

static void sinkhorn_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_sinkhorn *a = args;
    int64_t E = a->experts;
    double *g = scratch, *fresh = g + E, *max = fresh + E, row[GAL_MAX_EXPERTS];
    const bool fits = (a->n + 3 * E) * (int64_t)sizeof *g <= GAL_SCRATCH_BYTES;
    /* [n]; the caller's room of (E + 1) n numbers in f32 holds as many in double. */
    double *f = fits ? max + E : (double *)(void *)a->work;
    (void)chunk;
    GAL_ASSERT(f && (uintptr_t)f % sizeof *f == 0);
    for (int64_t e = 0; e < E; e++) g[e] = 0;
    *a->made = 0;
    for (int64_t i = 0;; i++) {
        for (int64_t n = 0; n < a->n; n++) {
            gal__ref_load(row, a->logits, a->dt, n * E, E);
            f[n] = -log((double)a->n) - log_sum(row, 1, g, E);
        }
        if (i >= a->iterations || sinkhorn_columns(a, g, fresh, max, f) <= a->tolerance) break;
        for (int64_t e = 0; e < E; e++) g[e] = fresh[e];
        *a->made = (int32_t)(i + 1);
    }
    gal__ref_store(a->g, a->dt, 0, g, E);
    if (a->f) gal__ref_store(a->f, a->dt, 0, f, a->n);
}

static void sort_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_sort *a = args;
    int32_t *next = scratch, at = 0;
    (void)chunk;
    for (int64_t e = 0; e < a->experts; e++) next[e] = 0;
    int32_t most = a->capacity ? (int32_t)GAL_MIN(a->capacity, (int64_t)INT32_MAX) : INT32_MAX;
    for (int64_t i = 0; i < a->n * a->used; i++) next[a->choice[i]]++;
    for (int64_t e = 0; e < a->experts; e++) {
        int32_t count = GAL_MIN(next[e], most);
        a->offset[e] = next[e] = at;
        at += count;
    }
    a->offset[a->experts] = at;
    for (int64_t i = at; i < a->n * a->used; i++) a->row[i] = 0;
    for (int64_t i = 0; i < a->n * a->used; i++) {
        int32_t e = a->choice[i], to = next[e] < a->offset[e + 1] ? next[e]++ : -1;
        a->place[i] = to;
        if (to >= 0) a->row[to] = (int32_t)(i / a->used);
    }
}

/* ---- balance -----------------------------------------------------------------------------------------------------
 */

/* What an expert of probability p has in the entropy. */
static double surprise(double p) { return p > 0 ? -p * log(p) : 0 * p; /* of a NaN a NaN */ }

static void sums_of_all(const gal_k_route_sums *a) {
    double rows = 0, z = 0, dropped = 0, taken = 0;
    for (int64_t n = 0; n < a->n; n++) {
        if (a->target[n] < 0) continue;
        double lse = a->lse ? gal__ref_get(a->lse, a->dt, n) : 0;
        rows++;
        z += lse * lse;
        for (int64_t j = n * a->used; j < (n + 1) * a->used; j++) {
            dropped += a->place[j] < 0;
            taken += a->prob ? gal__ref_get(a->prob, a->dt, n * a->experts + a->choice[j]) : 0;
        }
    }
    a->sums[GAL_ROUTE_ROWS] = rows;
    a->sums[GAL_ROUTE_LSE] = z;
    a->sums[GAL_ROUTE_DROPPED] = dropped;
    a->sums[GAL_ROUTE_ITERATIONS] = a->made ? (double)*a->made : 0;
    a->sums[GAL_ROUTE_TAKEN] = taken;
    a->sums[GAL_ROUTE_ERROR] = 0;
}

static int64_t sums_chunks(const void *args) { return ((const gal_k_route_sums *)args)->experts; }

static void sums_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_sums *a = args;
    double prob = 0, chosen = 0, entropy = 0;
    (void)scratch;
    if (chunk == 0) sums_of_all(a);
    for (int64_t n = 0; n < a->n; n++) {
        if (a->target[n] < 0) continue;
        double p = a->prob ? gal__ref_get(a->prob, a->dt, n * a->experts + chunk) : 0;
        prob += p;
        entropy += surprise(p);
        for (int64_t j = n * a->used; j < (n + 1) * a->used; j++) chosen += a->choice[j] == chunk;
    }
    a->sums[gal_route_at(a->experts, GAL_ROUTE_PROB, chunk)] = prob;
    a->sums[gal_route_at(a->experts, GAL_ROUTE_CHOICES, chunk)] = chosen;
    a->sums[gal_route_at(a->experts, GAL_ROUTE_ENTROPY, chunk)] = entropy;
}

/* Of one layer in the sums of all. */
static const double *layer_of(const double *sums, int64_t experts, int64_t layer) {
    return sums + layer * gal_route_width(experts);
}

/* E sum_e f_e P_e of the layers [from, to) together. */
static double balance_of(const double *sums, int64_t experts, int64_t from, int64_t to) {
    double rows = 0, sum = 0;
    for (int64_t l = from; l < to; l++) rows += layer_of(sums, experts, l)[GAL_ROUTE_ROWS];
    for (int64_t e = 0; e < experts; e++) {
        double prob = 0, chosen = 0;
        for (int64_t l = from; l < to; l++) {
            prob += layer_of(sums, experts, l)[gal_route_at(experts, GAL_ROUTE_PROB, e)];
            chosen += layer_of(sums, experts, l)[gal_route_at(experts, GAL_ROUTE_CHOICES, e)];
        }
        sum += prob * chosen;
    }
    return rows > 0 ? (double)experts * sum / (rows * rows) : 0;
}

static void loss_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_loss *a = args;
    double rows = 0, z = 0, balance = 0;
    (void)chunk;
    (void)scratch;
    for (int64_t l = 0; l < a->layers; l++) {
        rows += layer_of(a->sums, a->experts, l)[GAL_ROUTE_ROWS];
        z += layer_of(a->sums, a->experts, l)[GAL_ROUTE_LSE];
        if (a->per_layer) balance += balance_of(a->sums, a->experts, l, l + 1) / (double)a->layers;
    }
    if (!a->per_layer) balance = balance_of(a->sums, a->experts, 0, a->layers);
    a->loss[0] += a->scale * balance;
    a->loss[1] += rows > 0 ? a->scale * z / rows : 0;
}

static int64_t route_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_route_grad *)args)->n, GAL_REF_ROWS);
}

/* pull[e]: the derivative of balance, times its factor, by a row's probability of e. Returns that of z by lse, over
 * lse.
 */
static double pulls(const gal_k_route_grad *a, double *pull) {
    int64_t from = a->per_layer ? a->layer : 0, to = a->per_layer ? from + 1 : a->layers;
    double all = 0, rows = 0;
    for (int64_t l = 0; l < a->layers; l++) all += layer_of(a->sums, a->experts, l)[GAL_ROUTE_ROWS];
    for (int64_t l = from; l < to; l++) rows += layer_of(a->sums, a->experts, l)[GAL_ROUTE_ROWS];
    double factor = a->balance * (double)a->experts / GAL_MAX(1.0, rows * rows);
    if (a->per_layer) factor /= (double)a->layers;
    for (int64_t e = 0; e < a->experts; e++) {
        double chosen = 0;
        for (int64_t l = from; l < to; l++)
            chosen += layer_of(a->sums, a->experts, l)[gal_route_at(a->experts, GAL_ROUTE_CHOICES, e)];
        pull[e] = factor * chosen;
    }
    return 2 * a->z / GAL_MAX(1.0, all);
}

/* d[e] of the gate alone. */
static void gate_grad(const gal_k_route_grad *a, int64_t n, double *d) {
    const int32_t *choice = a->choice + n * a->used;
    bool chosen = a->gate == GAL_GATE_CHOSEN || a->whole;
    double sum = 0;
    for (int64_t e = 0; e < a->experts; e++) d[e] = 0;
    if (a->gate == GAL_GATE_ONE) return;
    for (int64_t j = 0; j < a->used; j++)
        sum += gal__ref_get(a->weight, a->dt, n * a->used + j) * gal__ref_get(a->dweight, a->dt, n * a->used + j);
    for (int64_t j = 0; j < a->used; j++) {
        double w = gal__ref_get(a->weight, a->dt, n * a->used + j),
               dw = gal__ref_get(a->dweight, a->dt, n * a->used + j);
        double slope = 1; /* of log w by the logit, without the sum below it */
        if (a->gate == GAL_GATE_SIGMOID)
            slope = a->whole ? 1 - gal__ref_sigmoid(gal__ref_get(a->logits, a->dt, n * a->experts + choice[j]))
                             : 1 - w;
        d[choice[j]] += w * slope * (chosen ? dw - sum : dw);
    }
    if (chosen || a->gate != GAL_GATE_ALL) return;
    for (int64_t e = 0; e < a->experts; e++) d[e] -= gal__ref_get(a->prob, a->dt, n * a->experts + e) * sum;
}

static void route_grad_row(const gal_k_route_grad *a, int64_t n, double *d, const double *pull, double z) {
    gate_grad(a, n, d);
    if (a->sums && a->target[n] >= 0) {
        double mean = 0, push = z * gal__ref_get(a->lse, a->dt, n);
        for (int64_t e = 0; e < a->experts; e++) mean += pull[e] * gal__ref_get(a->prob, a->dt, n * a->experts + e);
        for (int64_t e = 0; e < a->experts; e++)
            d[e] += gal__ref_get(a->prob, a->dt, n * a->experts + e) * (pull[e] - mean + push);
    }
    gal__ref_store(a->dlogits, a->dt, n * a->experts, d, a->experts);
}

static void route_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_grad *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double *d = scratch, *pull = d + a->experts, z = 0;
    if (a->sums) z = pulls(a, pull);
    for (int64_t n = r.from; n < r.to; n++) route_grad_row(a, n, d, pull, z);
}

/* The first chunk adds up, the others are rows. */
static int64_t policy_chunks(const void *args) {
    return 1 + gal__ref_pieces(((const gal_k_route_policy *)args)->n, GAL_REF_ROWS);
}

/* value[n] - r */
static double policy_error(const gal_k_route_policy *a, int64_t n) {
    return gal__ref_get(a->value, a->dt, n) + gal__ref_get(a->loss, a->dt, n);
}

static void policy_sum(const gal_k_route_policy *a) {
    double sum = 0;
    for (int64_t n = 0; n < a->n; n++) {
        double error = a->target[n] < 0 ? 0 : policy_error(a, n);
        sum += error * error;
    }
    a->sums[GAL_ROUTE_ERROR] = sum;
}

static void policy_row(const gal_k_route_policy *a, int64_t n, double factor, double *p) {
    double *d = p + a->experts, error = policy_error(a, n), entropy = 0, whole = 1;
    nucleus *c = a->top_p < 1 ? (nucleus *)(void *)(d + a->experts) : NULL;
    gal__ref_put(a->dvalue, a->dt, n, factor * 2 * a->baseline * error);
    gal__ref_load(p, a->prob, a->dt, n * a->experts, a->experts);
    if (c) whole = nucleus_of(c, p, a->experts, a->used, a->top_p);
    for (int64_t e = 0; e < a->experts; e++) entropy += surprise(p[e]);
    for (int64_t e = 0; e < a->experts; e++) { /* the advantage is -error */
        double q = !c || c->in[e] ? p[e] / whole : 0;
        d[e] = factor * (-a->policy * error * (double)a->used * q +
                         (p[e] > 0 ? a->entropy * p[e] * (log(p[e]) + entropy) : 0));
    }
    for (int64_t j = n * a->used; j < (n + 1) * a->used; j++) d[a->choice[j]] += factor * a->policy * error;
    gal__ref_store_or_add(a->dlogits, a->dt, n * a->experts, d, a->experts, true);
}

static void policy_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_route_policy *a = args;
    if (chunk == 0) {
        policy_sum(a);
        return;
    }
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk - 1);
    double factor = a->factor / GAL_MAX(1.0, a->sums[GAL_ROUTE_ROWS]);
    for (int64_t n = r.from; n < r.to; n++) {
        if (a->target[n] < 0)
            gal__ref_put(a->dvalue, a->dt, n, 0);
        else
            policy_row(a, n, factor, scratch);
    }
}

/* ---- vectors of experts ------------------------------------------------------------------------------------------
 */

static int64_t expert_rows_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_expert_rows *)args)->rows, GAL_REF_ROWS);
}

/* The other kernel of one expert over some of its rows. */
typedef void (*expert_part)(const gal_k_expert_rows *a, const void *b, int64_t from, int64_t rows, void *scratch);

static void each_expert(const gal_k_expert_rows *a, int64_t chunk, void *scratch, expert_part part) {
    gal__range r = gal__ref_piece(a->rows, GAL_REF_ROWS, chunk);
    for (int64_t e = 0; e < a->experts; e++) {
        int64_t from = GAL_MAX(r.from, a->offset[e]), to = GAL_MIN(r.to, a->offset[e + 1]);
        if (from < to && a->b[e]) part(a, a->b[e], from, to - from, scratch);
    }
}

static void *row_at(void *x, gal_dtype dt, int64_t at) { return (char *)x + at * (int64_t)gal_dtype_bytes(dt); }
static const void *row_of(const void *x, gal_dtype dt, int64_t at) {
    return x ? (const char *)x + at * (int64_t)gal_dtype_bytes(dt) : NULL;
}

static void run_all(gal_kernel_id id, const void *args, void *scratch) {
    gal_kernel_table t;
    gal_ref_fill(&t);
    int64_t n = t.k[id].chunks(args);
    for (int64_t i = 0; i < n; i++) t.k[id].run(args, i, scratch);
}

static void add_part(const gal_k_expert_rows *a, const void *b, int64_t from, int64_t rows, void *scratch) {
    run_all(GAL_K_ADD_ROW,
            &(gal_k_add_row){ row_at(a->y, a->dt, from * a->d), row_of(a->x, a->dt, from * a->d), b, a->dt, a->wdt,
                              rows, a->d },
            scratch);
}
static gal_k_gelu gelu_of(const gal_k_expert_rows *a, const void *b, int64_t from, int64_t rows) {
    return (gal_k_gelu){ row_at(a->y, a->dt, from * a->d),
                         row_of(a->x, a->dt, from * a->d),
                         b,
                         row_of(a->dy, a->dt, from * a->d),
                         a->dt,
                         a->wdt,
                         rows,
                         a->d };
}
static void gelu_part(const gal_k_expert_rows *a, const void *b, int64_t from, int64_t rows, void *scratch) {
    gal_k_gelu g = gelu_of(a, b, from, rows);
    run_all(GAL_K_GELU, &g, scratch);
}
static void gelu_grad_part(const gal_k_expert_rows *a, const void *b, int64_t from, int64_t rows, void *scratch) {
    gal_k_gelu g = gelu_of(a, b, from, rows);
    run_all(GAL_K_GELU_GRAD, &g, scratch);
}
static void expert_add_run(const void *args, int64_t chunk, void *scratch) {
    each_expert(args, chunk, scratch, add_part);
}
static void expert_gelu_run(const void *args, int64_t chunk, void *scratch) {
    each_expert(args, chunk, scratch, gelu_part);
}
static void expert_gelu_grad_run(const void *args, int64_t chunk, void *scratch) {
    each_expert(args, chunk, scratch, gelu_grad_part);
}

static int64_t expert_sum_chunks(const void *args) { return ((const gal_k_expert_rows *)args)->experts; }

static void expert_sum_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_expert_rows *a = args;
    int64_t from = a->offset[chunk], rows = a->offset[chunk + 1] - from;
    if (!a->b[chunk] || rows == 0) return;
    run_all(GAL_K_SUM_ROWS,
            &(gal_k_sum_rows){ a->b[chunk], row_of(a->x, a->dt, from * a->d), a->wdt, a->dt, rows, a->d, true },
            scratch);
}

/* ---- results -----------------------------------------------------------------------------------------------------
 */

/* Chunks: rows, and parts of them. */
static int64_t parts(int64_t d) { return gal__ref_pieces(d, GAL_REF_PART); }
static int64_t combine_chunks(const void *args) {
    const gal_k_combine *a = args;
    return gal__ref_pieces(a->n, GAL_REF_ROWS) * parts(a->d);
}

static void combine_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_combine *a = args;
    gal__range rows = gal__ref_piece(a->n, GAL_REF_ROWS, chunk / parts(a->d));
    gal__range cols = gal__ref_piece(a->d, GAL_REF_PART, chunk % parts(a->d));
    int64_t count = cols.to - cols.from;
    double *y = scratch;
    for (int64_t n = rows.from; n < rows.to; n++) {
        for (int64_t i = 0; i < count; i++) y[i] = 0;
        if (a->add) gal__ref_load(y, a->add, a->dt, n * a->d + cols.from, count);
        for (int64_t j = 0; j < a->used; j++) {
            if (a->place[n * a->used + j] < 0) continue;
            double w = a->weight ? gal__ref_get(a->weight, a->wdt, n * a->used + j) : 1;
            gal__ref_axpy(y, w, a->x, a->dt, a->place[n * a->used + j] * a->d + cols.from, count);
        }
        gal__ref_store_or_add(a->y, a->dt, n * a->d + cols.from, y, count, a->accumulate);
    }
}

static int64_t combine_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_combine_grad *)args)->n, GAL_REF_ROWS);
}

static void combine_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_combine_grad *a = args;
    gal__range r = gal__ref_piece(a->n, GAL_REF_ROWS, chunk);
    double *dy = scratch, *dx = dy + GAL_REF_PART;
    for (int64_t i = r.from * a->used; i < r.to * a->used; i++) {
        int64_t to = a->place[i] * a->d, from = i / a->used * a->d;
        double w = gal__ref_get(a->weight, a->wdt, i), sum = 0;
        for (int64_t at = 0; a->place[i] >= 0 && at < a->d; at += GAL_REF_PART) {
            int64_t count = GAL_MIN((int64_t)GAL_REF_PART, a->d - at);
            gal__ref_load(dy, a->dy, a->dt, from + at, count);
            sum += gal__ref_dot(dy, a->x, a->dt, to + at, count);
            for (int64_t k = 0; k < count; k++) dx[k] = w * dy[k];
            gal__ref_store(a->dx, a->dt, to + at, dx, count);
        }
        gal__ref_put(a->dweight, a->wdt, i, sum);
    }
}

void gal__ref_fill_moe(gal_kernel_table *t) {
    t->k[GAL_K_ROUTE] = (gal_kernel){ route_chunks, route_run };
    t->k[GAL_K_SINKHORN] = (gal_kernel){ one_chunk, sinkhorn_run };
    t->k[GAL_K_HASH] = (gal_kernel){ hash_chunks, hash_run };
    t->k[GAL_K_ROUTE_POLICY] = (gal_kernel){ policy_chunks, policy_run };
    t->k[GAL_K_EXPERT_ADD] = (gal_kernel){ expert_rows_chunks, expert_add_run };
    t->k[GAL_K_EXPERT_GELU] = (gal_kernel){ expert_rows_chunks, expert_gelu_run };
    t->k[GAL_K_EXPERT_GELU_GRAD] = (gal_kernel){ expert_rows_chunks, expert_gelu_grad_run };
    t->k[GAL_K_EXPERT_SUM] = (gal_kernel){ expert_sum_chunks, expert_sum_run };
    t->k[GAL_K_ROUTE_SORT] = (gal_kernel){ one_chunk, sort_run };
    t->k[GAL_K_ROUTE_SUMS] = (gal_kernel){ sums_chunks, sums_run };
    t->k[GAL_K_ROUTE_LOSS] = (gal_kernel){ one_chunk, loss_run };
    t->k[GAL_K_ROUTE_GRAD] = (gal_kernel){ route_grad_chunks, route_grad_run };
    t->k[GAL_K_COMBINE] = (gal_kernel){ combine_chunks, combine_run };
    t->k[GAL_K_COMBINE_GRAD] = (gal_kernel){ combine_grad_chunks, combine_grad_run };
}
