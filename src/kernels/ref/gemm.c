/* gemm.c - products of matrices. A chunk is a tile of C; its sums run over k in order, in double, whatever the
 * tiling. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/experts.h"
#include "kernels/ref/ref.h"
#include "tensor/blocks.h"

/* What a tile holds as doubles: DEPTH of k from A [ROWS, DEPTH] and from B [DEPTH, COLS]. */
enum { ROWS = GAL_REF_ROWS, COLS = GAL_REF_COLS, DEPTH = 256 };
typedef struct tile {
    double a[ROWS][DEPTH], b[DEPTH][COLS], c[ROWS][COLS];
} tile;
_Static_assert(sizeof(tile) <= GAL_SCRATCH_BYTES, "a tile lies in the scratch");

static int64_t tiles(const gal_gemm *g) { return gal__ref_pieces(g->m, ROWS) * gal__ref_pieces(g->n, COLS); }

static int64_t gemm_chunks(const void *args) {
    const gal_k_gemm *k = args;
    int64_t sum = 0;
    for (int i = 0; i < k->count; i++) sum += tiles(&k->p[i]);
    return sum;
}

/* B in blocks: rows of them run along k, or along n. */
static void load_blocks(tile *t, const gal_mat *b, gal__range n, int64_t k, int64_t depth) {
    float row[DEPTH];
    for (int64_t j = n.from; b->cs != 1 && j < n.to; j++) {
        gal_code_read(b->code, b->p, b->cs, j, k, depth, row);
        for (int64_t i = 0; i < depth; i++) t->b[i][j - n.from] = (double)row[i];
    }
    for (int64_t i = 0; b->cs == 1 && i < depth; i++) {
        gal_code_read(b->code, b->p, b->rs, k + i, n.from, n.to - n.from, row);
        for (int64_t j = 0; j < n.to - n.from; j++) t->b[i][j] = (double)row[j];
    }
}

static void load_tile(tile *t, const gal_gemm *g, gal__range m, gal__range n, int64_t k, int64_t depth) {
    const gal_mat *a = &g->a, *b = &g->b;
    bool round = g->compute == GAL_BF16;
    for (int64_t i = m.from; i < m.to; i++) {
        double *row = t->a[i - m.from];
        gal__ref_load_line(row, 1, a->p, a->dt, i * a->rs + k * a->cs, a->cs, depth);
        if (round && a->dt != GAL_BF16) gal__ref_round(row, GAL_BF16, depth);
    }
    /* Along whichever stride of B is short. */
    if (b->dt == GAL_BLOCKS)
        load_blocks(t, b, n, k, depth);
    else if (b->cs == 1)
        for (int64_t i = 0; i < depth; i++)
            gal__ref_load_line(t->b[i], 1, b->p, b->dt, (k + i) * b->rs + n.from, 1, n.to - n.from);
    else
        for (int64_t j = n.from; j < n.to; j++)
            gal__ref_load_line(&t->b[0][j - n.from], COLS, b->p, b->dt, k * b->rs + j * b->cs, b->rs, depth);
    if (round && b->dt != GAL_BF16)
        for (int64_t i = 0; i < depth; i++) gal__ref_round(t->b[i], GAL_BF16, n.to - n.from);
}

static void multiply_tile(tile *t, int64_t rows, int64_t depth) {
    for (int64_t i = 0; i < rows; i++) {
        double *c = t->c[i];
        for (int64_t k = 0; k < depth; k++) {
            double a = t->a[i][k];
            const double *b = t->b[k];
            for (int j = 0; j < COLS; j++) c[j] += a * b[j];
        }
    }
}

static void store_tile(const tile *t, const gal_gemm *g, gal__range m, gal__range n) {
    const gal_mat *c = &g->c;
    for (int64_t i = m.from; i < m.to; i++)
        for (int64_t j = n.from; j < n.to; j++) {
            int64_t at = i * c->rs + j * c->cs;
            double x = t->c[i - m.from][j - n.from];
            if (g->add) x += gal__ref_get(g->add, c->dt, at);
            if (g->accumulate) x += gal__ref_get(c->p, c->dt, at);
            gal__ref_put(c->p, c->dt, at, x);
        }
}

static void gemm_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_gemm *k = args;
    const gal_gemm *g = k->p;
    for (; chunk >= tiles(g); g++) chunk -= tiles(g);
    int64_t across = gal__ref_pieces(g->n, COLS);
    gal__range m = gal__ref_piece(g->m, ROWS, chunk / across), n = gal__ref_piece(g->n, COLS, chunk % across);
    tile *t = scratch;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) t->c[i][j] = 0.0;
    if (n.to - n.from < COLS) /* columns beyond n are multiplied too and never stored: they must only be numbers */
        for (int i = 0; i < DEPTH; i++)
            for (int j = 0; j < COLS; j++) t->b[i][j] = 0.0;
    for (int64_t at = 0; at < g->k; at += DEPTH) {
        int64_t depth = GAL_MIN(DEPTH, g->k - at);
        load_tile(t, g, m, n, at, depth);
        multiply_tile(t, m.to - m.from, depth);
    }
    store_tile(t, g, m, n);
}

static const gal_kernel gemm = { gemm_chunks, gemm_run };
GAL__EXPERTS_OF(experts, gemm)

void gal__ref_fill_gemm(gal_kernel_table *t) {
    t->k[GAL_K_GEMM] = gemm;
    t->k[GAL_K_EXPERTS] = (gal_kernel){ experts_chunks, experts_run };
}
