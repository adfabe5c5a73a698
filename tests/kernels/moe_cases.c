/* moe_cases.c - routing to experts, products grouped by expert, and putting rows together again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/i8.h"
#include "kernels/kernel_test.h"
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>

/* p: rows, experts, used, width in, width out, capacity of an expert (0: any number). Of policies: top_p in
 * hundredths. Of COMBINE 1: nothing but x, as in a gradient. */
enum { N, E, USED, IN, OUT, CAPACITY, TOP_P = IN, BARE = OUT };

/* Numbers that are no floats: compared as bytes. */
static kt_out *whole_numbers(kt *t, int64_t n) {
    kt_out *o = kt_result(t, GAL_F32, n, 1);
    o->exact = true;
    return o;
}

/* [N, used] other experts in each row. */
static int32_t *choices(kt *t, const int64_t *p) {
    int32_t *c = kt_ints(t, p[N] * p[USED]);
    for (int64_t n = 0; n < p[N]; n++) {
        const int64_t first = kt_below(t, p[E]);
        for (int64_t j = 0; j < p[USED]; j++) c[n * p[USED] + j] = (int32_t)((first + j) % p[E]);
    }
    return c;
}

/* What ROUTE_SORT makes of choices. */
typedef struct sorted {
    int32_t *offset, *row, *place;
} sorted;
static sorted sorted_by(kt *t, const int64_t *p, const int32_t *choice) {
    sorted s = { kt_ints(t, p[E] + 1), kt_ints(t, p[N] * p[USED]), kt_ints(t, p[N] * p[USED]) };
    const gal_k_route_sort a = { s.offset, s.row, s.place, choice, p[N], p[E], p[USED], p[CAPACITY] };
    kt_run_ref(GAL_K_ROUTE_SORT, &a);
    return s;
}

static void setup_route(kt *t, const int64_t *p) {
    float *logits = kt_in(t, GAL_F32, p[N] * p[E], t->scale);
    for (int64_t i = 0; i + 1 < p[N] * p[E]; i += 7) logits[i + 1] = logits[i]; /* ties */
    kt_out *choice = whole_numbers(t, p[N] * p[USED]), *weight = kt_result(t, GAL_F32, p[N] * p[USED], 1);
    kt_out *prob = kt_result(t, GAL_F32, p[N] * p[E], 1), *lse = kt_result(t, GAL_F32, p[N], 1);
    prob->want = kt_doubles(t, prob->n);
    lse->want = kt_doubles(t, lse->n);
    for (int64_t n = 0; n < p[N]; n++) {
        double most = -(double)INFINITY, sum = 0;
        for (int64_t e = 0; e < p[E]; e++) most = fmax(most, (double)logits[n * p[E] + e]);
        for (int64_t e = 0; e < p[E]; e++) sum += exp((double)logits[n * p[E] + e] - most);
        lse->want[n] = most + log(sum);
        lse->abs[n] = 4 * KT_U * (fabs(most) + log((double)p[E]));
        for (int64_t e = 0; e < p[E]; e++) {
            prob->want[n * p[E] + e] = exp((double)logits[n * p[E] + e] - lse->want[n]);
            prob->abs[n * p[E] + e] = 16 * KT_U;
        }
    }
    for (int64_t i = 0; i < weight->n; i++) weight->abs[i] = 16 * KT_U;
    KT_ARGS(t, gal_k_route, .choice = choice->p, .weight = weight->p, .prob = prob->p, .lse = lse->p,
            .logits = logits, .dt = GAL_F32, .n = p[N], .experts = p[E], .used = p[USED]);
}

static void setup_sort(kt *t, const int64_t *p) {
    const int32_t *choice = choices(t, p);
    kt_out *offset = whole_numbers(t, p[E] + 1), *row = whole_numbers(t, p[N] * p[USED]),
           *place = whole_numbers(t, p[N] * p[USED]);
    KT_ARGS(t, gal_k_route_sort, offset->p, row->p, place->p, choice, p[N], p[E], p[USED], p[CAPACITY]);
}

/* Every third row does not count. */
static int32_t *targets(kt *t, int64_t n) {
    int32_t *target = kt_ints(t, n);
    for (int64_t i = 0; i < n; i++) target[i] = i % 3 == 2 ? -1 : 5;
    return target;
}

static void setup_sums(kt *t, const int64_t *p) {
    float *prob = kt_in(t, GAL_F32, p[N] * p[E], 1), *lse = kt_in(t, GAL_F32, p[N], 1);
    const int32_t *choice = choices(t, p), *target = targets(t, p[N]), *place = sorted_by(t, p, choice).place;
    int32_t *made = kt_ints(t, 1);
    *made = 7;
    kt_out *sums = kt_result(t, GAL_F64, gal_route_width(p[E]), 1);
    sums->want = kt_doubles(t, sums->n);
    for (int64_t n = 0; n < p[N]; n++) {
        if (target[n] < 0) continue;
        sums->want[GAL_ROUTE_ROWS] += 1;
        sums->want[GAL_ROUTE_LSE] += (double)lse[n] * (double)lse[n];
        for (int64_t e = 0; e < p[E]; e++) {
            double q = (double)prob[n * p[E] + e];
            sums->want[gal_route_at(p[E], GAL_ROUTE_PROB, e)] += q;
            sums->want[gal_route_at(p[E], GAL_ROUTE_ENTROPY, e)] -= q > 0 ? q * log(q) : 0;
        }
        for (int64_t j = n * p[USED]; j < (n + 1) * p[USED]; j++) {
            sums->want[gal_route_at(p[E], GAL_ROUTE_CHOICES, choice[j])] += 1;
            sums->want[GAL_ROUTE_DROPPED] += place[j] < 0;
            sums->want[GAL_ROUTE_TAKEN] += (double)prob[n * p[E] + choice[j]];
        }
    }
    sums->want[GAL_ROUTE_ITERATIONS] = 7;
    for (int64_t i = 0; i < sums->n; i++) sums->abs[i] = 1e-12 * (1 + (double)p[N]);
    KT_ARGS(t, gal_k_route_sums, sums->p, prob, lse, choice, target, place, made, GAL_F32, p[N], p[E], p[USED]);
}

static void setup_loss(kt *t, const int64_t *p) {
    enum { LAYERS = 3 };
    const int64_t width = gal_route_width(p[E]);
    double *sums = kt_doubles(t, LAYERS * width);
    for (int64_t l = 0; l < LAYERS; l++) {
        sums[l * width] = 10 + (double)l;
        for (int64_t i = 1; i < width; i++) sums[l * width + i] = 1 + kt_uniform(t);
    }
    kt_out *loss = kt_result(t, GAL_F64, 2, 1);
    loss->abs[0] = loss->abs[1] = 1e-12;
    KT_ARGS(t, gal_k_route_loss, loss->p, sums, LAYERS, p[E], 0.5, t->accumulate);
}

static void setup_route_grad(kt *t, const int64_t *p) {
    const int64_t n = p[N] * p[USED];
    const void *dweight = kt_in(t, GAL_F32, n, t->scale), *weight = kt_in(t, GAL_F32, n, 0.5);
    const int32_t *choice = choices(t, p);
    kt_out *dlogits = kt_result(t, GAL_F32, p[N] * p[E], 1);
    for (int64_t i = 0; i < dlogits->n; i++) dlogits->abs[i] = 64 * KT_U * t->scale;
    KT_ARGS(t, gal_k_route_grad, .dlogits = dlogits->p, .dweight = dweight, .weight = weight, .choice = choice,
            .dt = GAL_F32, .n = p[N], .experts = p[E], .used = p[USED]);
}

/* One product of every expert; blocks: of weights, and then activations are small integers. */
static void setup_experts_of(kt *t, const int64_t *p, bool integers) {
    const int64_t rows = p[N] * p[USED];
    static const gal_code Q8 = { .block = GAL_BLOCK_Q8_0 };
    const sorted s = sorted_by(t, p, choices(t, p));
    gal_k_experts *a = (void *)kt_doubles(t, (int64_t)(sizeof *a / sizeof(double))); /* too large for the stack */
    a->count = 1;
    a->integers = integers;
    a->experts = p[E];
    a->rows = rows;
    a->most = p[N];
    void *x = kt_in(t, t->dt, rows * p[IN], t->scale), *q = NULL;
    kt_out *y = kt_result(t, t->dt, rows * p[OUT], t->scale);
    a->offset = s.offset;
    a->p[0] = (gal_gemm){ .n = p[OUT], .k = p[IN], .compute = t->dt };
    a->p[0].c = (gal_mat){ y->p, t->dt, p[OUT], 1, NULL, NULL };
    if (integers) {
        q = kt_in(t, GAL_F32, rows * (int64_t)gal_i8_row_bytes(p[IN]) / 4, 1);
        const gal_k_quantise made = { q, x, t->dt, rows, p[IN], false };
        kt_run_ref(GAL_K_QUANTISE, &made);
    }
    a->p[0].a = (gal_mat){ integers ? q : x, t->dt, integers ? rows : p[IN], integers ? 0 : 1, NULL, NULL };
    for (int64_t e = 0; e < p[E]; e++) {
        float *w = kt_in(t, GAL_F32, p[OUT] * p[IN], 0.1);
        a->w[e] = (gal_mat){ w, GAL_F32, 1, p[IN], NULL, NULL };
        if (integers) {
            void *blocks = kt_in(t, GAL_F32, (int64_t)(gal_code_bytes(&Q8, p[OUT] * p[IN]) + 3) / 4, 1);
            gal_block_quantise(GAL_BLOCK_Q8_0, w, blocks, p[OUT] * p[IN]);
            a->w[e] = (gal_mat){ blocks, GAL_BLOCKS, 1, p[IN], &Q8, NULL };
        }
        for (int64_t r = s.offset[e]; r < s.offset[e + 1]; r++)
            for (int64_t j = 0; j < p[OUT]; j++) {
                double sum = 0, size = 0;
                for (int64_t k = 0; k < p[IN]; k++) {
                    double product = kt_get(x, t->dt, r * p[IN] + k) * (double)w[j * p[IN] + k];
                    if (t->dt == GAL_BF16)
                        product = kt_get(x, t->dt, r * p[IN] + k) *
                                  (double)gal_bf16_to_f32(gal_f64_to_bf16((double)w[j * p[IN] + k]));
                    sum += product;
                    size += fabs(product);
                }
                if (!y->want) y->want = integers ? NULL : kt_doubles(t, y->n);
                if (y->want) y->want[r * p[OUT] + j] = sum;
                y->abs[r * p[OUT] + j] = (double)(p[IN] + 16) * KT_U * size * (integers ? 4 : 1);
            }
    }
    kt_args(t, a, offsetof(gal_k_experts, w) + sizeof *a->w * (size_t)p[E]);
}
static void setup_experts(kt *t, const int64_t *p) { setup_experts_of(t, p, false); }
static void setup_experts_i8(kt *t, const int64_t *p) { setup_experts_of(t, p, true); }

static void setup_combine(kt *t, const int64_t *p) {
    const int64_t rows = p[N] * p[USED], d = p[IN];
    const sorted s = sorted_by(t, p, choices(t, p));
    const void *x = kt_in(t, t->dt, rows * d, t->scale);
    const void *add = p[BARE] ? NULL : kt_in(t, t->dt, p[N] * d, t->scale);
    const float *weight = p[BARE] ? NULL : kt_in(t, GAL_F32, rows, 0.5);
    kt_out *y = kt_result(t, t->dt, p[N] * d, t->scale);
    y->want = kt_doubles(t, y->n);
    for (int64_t n = 0; n < p[N]; n++)
        for (int64_t i = 0; i < d; i++) {
            double was = t->accumulate ? kt_get(y->p, t->dt, n * d + i) : 0;
            double sum = was + (add ? kt_get(add, t->dt, n * d + i) : 0), size = fabs(sum) + fabs(was);
            for (int64_t j = 0; j < p[USED]; j++) {
                if (s.place[n * p[USED] + j] < 0) continue;
                double part = (weight ? (double)weight[n * p[USED] + j] : 1) *
                              kt_get(x, t->dt, s.place[n * p[USED] + j] * d + i);
                sum += part;
                size += fabs(part);
            }
            y->want[n * d + i] = sum;
            y->abs[n * d + i] = (double)(p[USED] + 3) * KT_U * size;
        }
    t->bytes = (double)(p[N] * (p[USED] + 2) * d) * (double)gal_dtype_bytes(t->dt);
    KT_ARGS(t, gal_k_combine, y->p, x, add, weight, s.place, t->dt, GAL_F32, p[N], d, p[USED], t->accumulate);
}

static void setup_combine_grad(kt *t, const int64_t *p) {
    const int64_t rows = p[N] * p[USED], d = p[IN];
    const sorted s = sorted_by(t, p, choices(t, p));
    const void *x = kt_in(t, t->dt, rows * d, t->scale), *dy = kt_in(t, t->dt, p[N] * d, t->scale);
    const float *weight = kt_in(t, GAL_F32, rows, 0.5);
    kt_out *dx = kt_result(t, t->dt, rows * d, t->scale), *dweight = kt_result(t, GAL_F32, rows, t->scale);
    dx->want = kt_doubles(t, dx->n);
    dweight->want = kt_doubles(t, dweight->n);
    for (int64_t i = s.offset[p[E]] * d; i < dx->n; i++) dx->want[i] = kt_get(dx->p, dx->dt, i);
    for (int64_t n = 0; n < p[N]; n++)
        for (int64_t j = 0; j < p[USED]; j++) {
            const int64_t r = n * p[USED] + j, to = s.place[r] * d;
            double size = 0;
            if (to < 0) continue; /* dx stays where nothing belongs */
            for (int64_t i = 0; i < d; i++) {
                double g = kt_get(dy, t->dt, n * d + i), part = g * kt_get(x, t->dt, to + i);
                dx->want[to + i] = (double)weight[r] * g;
                dx->abs[to + i] = 2 * KT_U * fabs(dx->want[to + i]);
                dweight->want[r] += part;
                size += fabs(part);
            }
            dweight->abs[r] = (double)(d + 2) * KT_U * size;
        }
    KT_ARGS(t, gal_k_combine_grad, dx->p, dweight->p, dy, x, weight, s.place, t->dt, GAL_F32, p[N], d, p[USED]);
}

static void setup_hash(kt *t, const int64_t *p) {
    int32_t *ids = kt_ints(t, p[N]);
    for (int64_t n = 0; n < p[N]; n++) ids[n] = (int32_t)kt_below(t, 32000);
    kt_out *choice = whole_numbers(t, p[N]);
    KT_ARGS(t, gal_k_hash, choice->p, ids, p[N], p[E]);
}

/* So many iterations, that a small difference does not decide when it ends. */
static void setup_sinkhorn(kt *t, const int64_t *p) {
    const void *logits = kt_in(t, GAL_F32, p[N] * p[E], t->scale);
    kt_out *f = kt_result(t, GAL_F32, p[N], 1), *g = kt_result(t, GAL_F32, p[E], 1), *made = whole_numbers(t, 1);
    /* Errors of a sum's logarithm, carried on by every iteration. */
    for (int64_t n = 0; n < p[N]; n++) f->abs[n] = 8 * KT_U * (double)(p[N] + p[E]) * (1 + t->scale);
    for (int64_t e = 0; e < p[E]; e++) g->abs[e] = f->abs[0];
    float *work = kt_in(t, GAL_F32, (p[E] + 1) * ((p[N] + 15) / 16 * 16), 1);
    KT_ARGS(t, gal_k_sinkhorn, f->p, g->p, made->p, logits, GAL_F32, p[N], p[E], 0, 8, work);
}

static void setup_policy(kt *t, const int64_t *p) {
    float *prob = kt_in(t, GAL_F32, p[N] * p[E], 1), *value = kt_in(t, GAL_F32, p[N], 1),
          *loss = kt_in(t, GAL_F32, p[N], 1);
    for (int64_t n = 0; n < p[N]; n++) {
        double sum = 0;
        for (int64_t e = 0; e < p[E]; e++) sum += exp((double)prob[n * p[E] + e]);
        for (int64_t e = 0; e < p[E]; e++) prob[n * p[E] + e] = (float)(exp((double)prob[n * p[E] + e]) / sum);
    }
    const int32_t *target = targets(t, p[N]);
    kt_out *sums = kt_result(t, GAL_F64, GAL_ROUTE_HEAD, 1);
    kt_put(sums->initial, GAL_F64, GAL_ROUTE_ROWS, (double)p[N]);
    memcpy(sums->p, sums->initial, GAL_ROUTE_HEAD * sizeof(double));
    sums->want = kt_doubles(t, GAL_ROUTE_HEAD);
    memcpy(sums->want, sums->initial, GAL_ROUTE_HEAD * sizeof(double));
    sums->want[GAL_ROUTE_ERROR] = 0;
    for (int64_t n = 0; n < p[N]; n++)
        if (target[n] >= 0) sums->want[GAL_ROUTE_ERROR] += pow((double)value[n] + (double)loss[n], 2);
    sums->abs[GAL_ROUTE_ERROR] = 1e-12 * (double)p[N];
    kt_out *dlogits = kt_result(t, GAL_F32, p[N] * p[E], 1), *dvalue = kt_result(t, GAL_F32, p[N], 1);
    for (int64_t i = 0; i < dlogits->n; i++) dlogits->abs[i] = 64 * KT_U;
    for (int64_t i = 0; i < dvalue->n; i++) dvalue->abs[i] = 64 * KT_U;
    KT_ARGS(t, gal_k_route_policy, dlogits->p, dvalue->p, prob, value, loss, choices(t, p), target, GAL_F32, p[N],
            p[E], p[USED], sums->p, 0.5, 0.1, 0.01, 0.2, (double)p[TOP_P] / 100);
}

/* Vectors of experts, of which one has none. Each kernel is the one of a single vector over the expert's rows. */
static void setup_expert_rows(kt *t, const int64_t *p) {
    const int64_t rows = p[N] * p[USED], d = p[IN];
    const sorted s = sorted_by(t, p, choices(t, p));
    const bool sum = t->c->id == GAL_K_EXPERT_SUM;
    gal_k_expert_rows a = { .dt = t->dt, .wdt = GAL_F32, .experts = p[E], .rows = rows, .d = d, .offset = s.offset };
    a.x = kt_in(t, t->dt, rows * d, t->scale);
    a.dy = kt_in(t, t->dt, rows * d, 1);
    kt_out *y = kt_result(t, sum ? GAL_F32 : t->dt, sum ? p[E] * d : rows * d, 1);
    const float *b = sum ? y->p : kt_in(t, GAL_F32, p[E] * d, 1);
    if (!sum) a.y = y->p;
    for (int64_t e = 0; e < p[E]; e++) {
        a.b[e] = e == 1 ? NULL : (void *)(uintptr_t)(b + e * d);
        for (int64_t i = s.offset[e] * d; i < s.offset[e + 1] * d; i++) {
            double x = fabs(kt_get(a.x, t->dt, i)), size = x + fabs((double)b[e * d + i % d]);
            if (sum)
                y->abs[e * d + i % d] += (double)(s.offset[e + 1] - s.offset[e] + 2) * KT_U * size;
            else /* at its steepest a gelu is 1.13 times as steep as its argument */
                y->abs[i] = 64 * KT_U * (1 + size) * (1 + size) * (1 + fabs(kt_get(a.dy, t->dt, i)));
        }
    }
    kt_args(t, &a, offsetof(gal_k_expert_rows, b) + sizeof *a.b * (size_t)p[E]);
}

static const kt_case CASES[] = {
    { "hash 40 rows, 7 experts", GAL_K_HASH, setup_hash, { 40, 7 }, KT_F32, false },
    { "sinkhorn 40 rows, 7 experts", GAL_K_SINKHORN, setup_sinkhorn, { 40, 7 }, KT_F32 | KT_SCALE, false },
    { "sinkhorn 130 rows, 33 experts", GAL_K_SINKHORN, setup_sinkhorn, { 130, 33 }, KT_F32, false },
    { "sinkhorn 2048 rows, 8 experts", GAL_K_SINKHORN, setup_sinkhorn, { 2048, 8 }, KT_F32, true },
    { "route_policy 40 rows, 7 experts", GAL_K_ROUTE_POLICY, setup_policy, { 40, 7, 2, 100 }, KT_F32, false },
    { "route_policy 40 rows, nucleus", GAL_K_ROUTE_POLICY, setup_policy, { 40, 7, 2, 60 }, KT_F32, false },
    { "expert_add 40 rows", GAL_K_EXPERT_ADD, setup_expert_rows, { 40, 5, 2, 67 }, KT_SCALE, false },
    { "expert_gelu 40 rows", GAL_K_EXPERT_GELU, setup_expert_rows, { 40, 5, 2, 67 }, 0, false },
    { "expert_gelu_grad 40 rows", GAL_K_EXPERT_GELU_GRAD, setup_expert_rows, { 40, 5, 2, 67 }, 0, false },
    { "expert_sum 40 rows", GAL_K_EXPERT_SUM, setup_expert_rows, { 40, 5, 2, 67 }, KT_SCALE, false },
    { "expert_gelu 40 rows, capacity", GAL_K_EXPERT_GELU, setup_expert_rows, { 40, 5, 2, 67, 0, 9 }, 0, false },
    { "route_sort 40 rows, capacity", GAL_K_ROUTE_SORT, setup_sort, { 40, 8, 2, 0, 0, 6 }, KT_F32, false },
    { "route_sums 40 rows, capacity", GAL_K_ROUTE_SUMS, setup_sums, { 40, 8, 2, 0, 0, 6 }, KT_F32, false },
    { "combine 30 rows, capacity", GAL_K_COMBINE, setup_combine, { 30, 5, 2, 67, 0, 7 }, KT_SCALE, false },
    { "combine_grad 30 rows, capacity", GAL_K_COMBINE_GRAD, setup_combine_grad, { 30, 5, 2, 67, 0, 7 }, 0, false },
    { "route 5 rows, 3 experts", GAL_K_ROUTE, setup_route, { 5, 3, 2 }, KT_F32 | KT_SCALE, false },
    { "route 40 rows, 8 experts", GAL_K_ROUTE, setup_route, { 40, 8, 8 }, KT_F32, false },
    { "route_sort 40 rows, 8 experts", GAL_K_ROUTE_SORT, setup_sort, { 40, 8, 2 }, KT_F32, false },
    { "route_sort 1 row, 7 experts", GAL_K_ROUTE_SORT, setup_sort, { 1, 7, 3 }, KT_F32, false },
    { "route_sums 40 rows, 8 experts", GAL_K_ROUTE_SUMS, setup_sums, { 40, 8, 2 }, KT_F32, false },
    { "route_loss 8 experts", GAL_K_ROUTE_LOSS, setup_loss, { 0, 8, 2 }, KT_F32 | KT_ACC, false },
    { "route_grad 40 rows, 8 experts", GAL_K_ROUTE_GRAD, setup_route_grad, { 40, 8, 2 }, KT_F32, false },
    { "experts 1 row", GAL_K_EXPERTS, setup_experts, { 1, 3, 2, 33, 17 }, KT_SCALE, false },
    { "experts 30 rows", GAL_K_EXPERTS, setup_experts, { 30, 5, 2, 64, 40 }, KT_SCALE, false },
    { "experts_i8 1 row", GAL_K_EXPERTS_I8, setup_experts_i8, { 1, 3, 2, 64, 17 }, 0, false },
    { "experts_i8 30 rows", GAL_K_EXPERTS_I8, setup_experts_i8, { 30, 5, 2, 96, 40 }, 0, false },
    { "combine 30 rows", GAL_K_COMBINE, setup_combine, { 30, 5, 2, 67 }, KT_SCALE, false },
    { "combine 30 rows, bare", GAL_K_COMBINE, setup_combine, { 30, 5, 2, 67, 1 }, KT_ACC, false },
    { "combine_grad 30 rows", GAL_K_COMBINE_GRAD, setup_combine_grad, { 30, 5, 2, 67 }, KT_SCALE, false },
    { "combine 1024x288", GAL_K_COMBINE, setup_combine, { 1024, 8, 2, 288 }, 0, true },
};
const kt_family KT_MOE = { "moe", CASES, GAL_LEN(CASES) };
