/* experts.c - see experts.h. Refuses nothing; an expert without rows costs a look at two numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/experts.h"

static bool rows_are_m(const gal_gemm *p) { return p->m == 0; }

/* rows > 0 of the products of expert e, from sorted row `first` on. */
static gal_k_gemm product(const gal_k_experts *a, int i, const gal_mat *w, int64_t first, int64_t rows) {
    gal_k_gemm g = { .count = 1, .threads = a->threads, .alike = a->alike, .p = { a->p[i] } };
    gal_gemm *p = g.p;
    bool m = rows_are_m(p);
    if (a->integers)
        p->a.cs = first;
    else
        p->a.p = (char *)p->a.p + (m ? p->a.rs : p->a.cs) * (int64_t)gal_dtype_bytes(p->a.dt) * first;
    if (m) {
        p->m = rows;
        p->b = *w;
        p->c.p = (char *)p->c.p + p->c.rs * first * (int64_t)gal_dtype_bytes(p->c.dt);
    } else {
        p->k = rows;
        p->b.p = (char *)p->b.p + p->b.rs * first * (int64_t)gal_dtype_bytes(p->b.dt);
        p->c = *w;
    }
    return g;
}

/* As many as rows dealt evenly would need. */
int64_t gal__experts_chunks(const gal_k_experts *a, const gal_kernel *gemm) {
    int64_t active = GAL_MIN(a->experts, a->rows), sum = 0;
    if (active <= 0) return 0;
    int64_t rows = GAL_MIN(a->most, (a->rows + active - 1) / active);
    for (int i = 0; i < a->count; i++) {
        const gal_mat *w = &a->w[(int64_t)i * a->experts];
        for (int64_t e = 0; e < a->experts && !w->p; e++) w = &a->w[(int64_t)i * a->experts + e];
        if (!w->p) continue;
        gal_k_gemm g = product(a, i, w, 0, rows);
        sum += active * gemm->chunks(&g);
    }
    return sum;
}

void gal__experts_run(const gal_k_experts *a, int64_t chunk, void *scratch, const gal_kernel *gemm) {
    const int64_t step = gal__experts_chunks(a, gemm);
    int64_t at = chunk; /* of all pieces, the next one that is ours, counted from the products at hand */
    for (int i = 0; i < a->count; i++)
        for (int64_t e = 0; e < a->experts; e++) {
            const gal_mat *w = &a->w[(int64_t)i * a->experts + e];
            int64_t rows = (int64_t)a->offset[e + 1] - a->offset[e];
            if (rows <= 0 || !w->p) continue;
            gal_k_gemm g = product(a, i, w, a->offset[e], rows);
            int64_t pieces = gemm->chunks(&g);
            for (; at < pieces; at += step) gemm->run(&g, at, scratch);
            at -= pieces;
        }
}
