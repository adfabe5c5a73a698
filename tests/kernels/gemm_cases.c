/* gemm_cases.c - products: shapes, strides, add, accumulate, several at once. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"

#include <math.h>

/* p: m, n, k, layout (bit 0: A transposed, bit 1: B transposed), C's extra row stride, add (1: its own array, 2: C),
 * how many products, compute in bf16. */
enum { M, N, K, LAYOUT, GAP, ADD, COUNT, BF16 };

static double operand(const gal_mat *a, int64_t i, int64_t j, bool bf16) {
    double x = kt_get(a->p, a->dt, i * a->rs + j * a->cs);
    return bf16 ? (double)gal_bf16_to_f32(gal_f64_to_bf16(x)) : x;
}

static void expect(kt *t, const gal_gemm *g, kt_out *o) {
    bool bf16 = g->compute == GAL_BF16;
    o->want = kt_doubles(t, o->n);
    for (int64_t i = 0; i < o->n; i++) o->want[i] = kt_get(o->p, o->dt, i); /* gaps between rows stay */
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0, size = 0, c = kt_get(g->c.p, g->c.dt, i * g->c.rs + j);
            for (int64_t k = 0; k < g->k; k++) {
                double x = operand(&g->a, i, k, bf16) * operand(&g->b, k, j, bf16);
                sum += x;
                size += fabs(x);
            }
            double add = g->add ? kt_get(g->add, g->c.dt, i * g->c.rs + j) : 0;
            if (!g->accumulate) c = 0;
            /* Any order of k additions, the products, and two more sums. */
            o->abs[i * g->c.rs + j] = (double)(g->k + 3) * KT_U * (size + fabs(add) + fabs(c));
            o->want[i * g->c.rs + j] = sum + add + c;
        }
}

static void setup(kt *t, const int64_t *p) {
    gal_k_gemm args = { .count = (int)GAL_MAX(1, p[COUNT]) };
    /* f32 activations meet weights of each type; bf16 ones too. */
    for (int i = 0; i < args.count; i++) {
        int64_t m = p[M], n = p[N] + 3 * i, k = p[K], cs = n + p[GAP];
        bool at = p[LAYOUT] & 1, bt = p[LAYOUT] & 2;
        gal_gemm *g = &args.p[i];
        *g = (gal_gemm){ .m = m, .n = n, .k = k, .accumulate = t->accumulate };
        g->compute = p[BF16] ? GAL_BF16 : GAL_F32;
        g->a = (gal_mat){ kt_in(t, t->dt, m * k, t->scale), t->dt, at ? 1 : k, at ? m : 1, NULL, NULL };
        g->b = (gal_mat){ kt_in(t, t->wdt, n * k, 0.1), t->wdt, bt ? 1 : n, bt ? k : 1, NULL, NULL };
        kt_out *o = kt_result(t, t->dt, m > 0 ? (m - 1) * cs + n : 0, t->scale);
        g->c = (gal_mat){ o->p, t->dt, cs, 1, NULL, NULL };
        if (p[ADD] == 1) g->add = kt_in(t, t->dt, o->n, t->scale);
        if (p[ADD] == 2) g->add = o->p;
        if (!t->c->bench) expect(t, g, o);
        t->flops += 2.0 * (double)m * (double)n * (double)k;
    }
    kt_args(t, &args, sizeof args);
}

/* A weight gradient: A transposed activations, C f32 whatever the activations are, accumulated. */
static void setup_grad(kt *t, const int64_t *p) {
    gal_k_gemm args = { .count = 1 };
    gal_gemm *g = &args.p[0];
    *g = (gal_gemm){ .m = p[M], .n = p[N], .k = p[K], .accumulate = t->accumulate };
    g->compute = p[BF16] ? GAL_BF16 : GAL_F32;
    g->a = (gal_mat){ kt_in(t, t->dt, p[M] * p[K], t->scale), t->dt, 1, p[M], NULL, NULL };
    g->b = (gal_mat){ kt_in(t, t->dt, p[K] * p[N], t->scale), t->dt, p[N], 1, NULL, NULL };
    kt_out *o = kt_result(t, GAL_F32, p[M] * p[N], t->scale);
    g->c = (gal_mat){ o->p, GAL_F32, p[N], 1, NULL, NULL };
    if (!t->c->bench) expect(t, g, o);
    t->flops = 2.0 * (double)p[M] * (double)p[N] * (double)p[K];
    kt_args(t, &args, sizeof args);
}

#define ALL (KT_WDT | KT_ACC | KT_SCALE)
static const kt_case CASES[] = {
    { "gemm 1x1x1", GAL_K_GEMM, setup, { 1, 1, 1, 2 }, ALL, false },
    { "gemm 1x17x33", GAL_K_GEMM, setup, { 1, 17, 33, 2 }, ALL, false },
    { "gemm 1x40x256 bf16", GAL_K_GEMM, setup, { 1, 40, 256, 2, 0, 0, 1, 1 }, ALL, false },
    { "gemm 2x31x65", GAL_K_GEMM, setup, { 2, 31, 65, 2, 0, 1 }, ALL, false },
    { "gemm 5x50x300 add", GAL_K_GEMM, setup, { 5, 50, 300, 2, 3, 1 }, ALL, false },
    { "gemm 7x64x128 add in place", GAL_K_GEMM, setup, { 7, 64, 128, 2, 0, 2 }, ALL, false },
    { "gemm 33x65x67 bf16", GAL_K_GEMM, setup, { 33, 65, 67, 2, 0, 0, 1, 1 }, ALL, false },
    { "gemm 33x65x66 bf16 add", GAL_K_GEMM, setup, { 33, 65, 66, 2, 1, 1, 1, 1 }, ALL, false },
    { "gemm 19x35x21 both plain", GAL_K_GEMM, setup, { 19, 35, 21, 0, 5, 0 }, ALL, false },
    { "gemm 19x35x21 plain bf16", GAL_K_GEMM, setup, { 19, 35, 21, 0, 5, 0, 1, 1 }, ALL, false },
    { "gemm 23x34x70 A transposed", GAL_K_GEMM, setup, { 23, 34, 70, 1, 0, 0 }, ALL, false },
    { "gemm 23x34x70 both transposed", GAL_K_GEMM, setup, { 23, 34, 70, 3, 0, 1 }, ALL, false },
    { "gemm 23x34x71 A transposed bf16", GAL_K_GEMM, setup, { 23, 34, 71, 1, 0, 0, 1, 1 }, ALL, false },
    { "gemm three products", GAL_K_GEMM, setup, { 9, 30, 48, 2, 0, 0, 3 }, ALL, false },
    { "gemm three products bf16", GAL_K_GEMM, setup, { 18, 61, 48, 2, 0, 0, 3, 1 }, ALL, false },
    { "gemm 24x64x48 bf16 add", GAL_K_GEMM, setup, { 24, 64, 48, 2, 8, 1, 1, 1 }, ALL, false },
    { "gemm 6x72x96 bf16 add in place", GAL_K_GEMM, setup, { 6, 72, 96, 2, 0, 2, 1, 1 }, ALL, false },
    { "gemm k = 0", GAL_K_GEMM, setup, { 3, 5, 0, 2, 0, 1 }, KT_ACC, false },
    { "gemm m = 0", GAL_K_GEMM, setup, { 0, 5, 7, 2 }, 0, false },
    { "gemm 4x13x75", GAL_K_GEMM, setup, { 4, 13, 75, 2 }, KT_WDT, false },
    { "gemm 64x35x130", GAL_K_GEMM, setup, { 64, 35, 130, 2 }, KT_WDT, false },
    { "gemm 65x35x130 bf16", GAL_K_GEMM, setup, { 65, 35, 130, 2, 0, 0, 1, 1 }, KT_WDT, false },
    { "gemm 70x130x600", GAL_K_GEMM, setup, { 70, 130, 600, 2 }, KT_WDT, false },
    { "gemm 70x130x600 bf16", GAL_K_GEMM, setup, { 70, 130, 600, 2, 0, 0, 1, 1 }, KT_WDT, false },
    { "gemm 61x45x3200", GAL_K_GEMM, setup, { 61, 45, 3200, 2 }, KT_WDT, false },
    { "gemm 50x31x4001 bf16", GAL_K_GEMM, setup, { 50, 31, 4001, 2, 0, 0, 1, 1 }, KT_WDT, false },
    { "gemm gradient 37x29x50", GAL_K_GEMM, setup_grad, { 37, 29, 50 }, KT_ACC | KT_SCALE, false },
    { "gemm gradient 64x70x129 bf16", GAL_K_GEMM, setup_grad, { 64, 70, 129, 0, 0, 0, 1, 1 }, KT_ACC, false },
    { "gemm 256x1024x1024", GAL_K_GEMM, setup, { 256, 1024, 1024, 2 }, 0, true },
    { "gemm 256x1024x1024 bf16", GAL_K_GEMM, setup, { 256, 1024, 1024, 2, 0, 0, 1, 1 }, 0, true },
    { "gemm 1x4096x1024", GAL_K_GEMM, setup, { 1, 4096, 1024, 2 }, 0, true },
    { "gemm 1x4096x1024 bf16", GAL_K_GEMM, setup, { 1, 4096, 1024, 2, 0, 0, 1, 1 }, 0, true },
    { "gemm 16x2048x2048", GAL_K_GEMM, setup, { 16, 2048, 2048, 2 }, KT_WDT, true },
    { "gemm 16x2048x2048 bf16", GAL_K_GEMM, setup, { 16, 2048, 2048, 2, 0, 0, 1, 1 }, KT_WDT, true },
    { "gemm gradient 1024x1024x256", GAL_K_GEMM, setup_grad, { 1024, 1024, 256 }, 0, true },
    { "gemm 2048x4096x4096 bf16", GAL_K_GEMM, setup, { 2048, 4096, 4096, 2, 0, 0, 1, 1 }, KT_GPU, true },
    { "gemm 1x4096x4096 bf16", GAL_K_GEMM, setup, { 1, 4096, 4096, 2, 0, 0, 1, 1 }, KT_GPU, true },
    { "gemm 8x4096x4096 bf16", GAL_K_GEMM, setup, { 8, 4096, 4096, 2, 0, 0, 1, 1 }, KT_GPU, true },
    { "gemm 16x4096x4096 bf16", GAL_K_GEMM, setup, { 16, 4096, 4096, 2, 0, 0, 1, 1 }, KT_GPU, true },
};
const kt_family KT_GEMM = { "gemm", CASES, GAL_LEN(CASES) };
