/* i8.c - activations as small integers, and their products with weights in blocks. SPDX-License-Identifier:
 * Apache-2.0 */
#include "kernels/i8.h"
#include "kernels/experts.h"
#include "kernels/ref/ref.h"
#include "tensor/pack.h"

static void quantise_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_quantise *a = args;
    const gal__range r = gal__ref_piece(a->n, gal__i8_rows(a), chunk);
    for (int64_t n = r.from; n < r.to; n++) gal__i8_quantise_row(a, n);
}

/* ---- products: a chunk is some columns of one C ------------------------------------------------------------------
 */

static int64_t strips(const gal_gemm *g) { return gal__ref_pieces(g->n, GAL_REF_COLS); }

static int64_t gemm_chunks(const void *args) {
    const gal_k_gemm *k = args;
    int64_t sum = 0;
    for (int i = 0; i < k->count; i++) sum += strips(&k->p[i]);
    return sum;
}

/* sum over k of the whole numbers times the row's scale times the weight, column j. */
static double product(const gal_gemm *g, int64_t i, int64_t j) {
    float w[GAL_I8_UNIT];
    double sum = 0;
    for (int64_t u = 0; u * GAL_I8_UNIT < g->k; u++) {
        const gal__i8_row a = gal__i8_row_at(g->a.p, g->a.rs, g->k, u, g->a.cs + i);
        const int64_t n = gal__i8_cols(g->k, u);
        gal_code_read(g->b.code, g->b.p, g->k, j, u * GAL_I8_UNIT, n, w);
        for (int64_t c = 0; c < n; c++) sum += (double)a.q[c] * (double)a.scale[c / GAL_I8_BLOCK] * (double)w[c];
    }
    return sum;
}

static void gemm_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_gemm *all = args;
    const gal_gemm *g = all->p;
    for (; chunk >= strips(g); g++) chunk -= strips(g);
    GAL_ASSERT(g->b.dt == GAL_BLOCKS && g->b.rs == 1 && g->c.cs == 1 && !g->accumulate);
    const gal__range n = gal__ref_piece(g->n, GAL_REF_COLS, chunk);
    for (int64_t j = n.from; j < n.to; j++)
        for (int64_t i = 0; i < g->m; i++) {
            double x = all->twice ? product(g, 2 * i, j) + product(g, 2 * i + 1, j) : product(g, i, j);
            if (g->add) x += gal__ref_get(g->add, g->c.dt, i * g->c.rs + j);
            gal__ref_put(g->c.p, g->c.dt, i * g->c.rs + j, x);
        }
}

static int64_t pack_chunks(const void *args) {
    const gal_k_pack *a = args;
    return gal__pack_chunks(a);
}
static void pack_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_pack *a = args;
    const int64_t each = gal__pack_groups(a), all = (a->rows + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS,
                  first = chunk * each;
    gal_pack(a->block, a->weight, a->rows, a->cols, first, GAL_MIN(each, all - first),
             (char *)a->packed + (size_t)first * gal_pack_group_bytes(a->block, a->cols));
}

static const gal_kernel gemm = { gemm_chunks, gemm_run };
GAL__EXPERTS_OF(experts, gemm)

void gal__ref_fill_i8(gal_kernel_table *t) {
    t->k[GAL_K_QUANTISE] = (gal_kernel){ gal__i8_chunks, quantise_run };
    t->k[GAL_K_GEMM_I8] = gemm;
    t->k[GAL_K_PACK] = (gal_kernel){ pack_chunks, pack_run };
    t->k[GAL_K_EXPERTS_I8] = (gal_kernel){ experts_chunks, experts_run };
}
