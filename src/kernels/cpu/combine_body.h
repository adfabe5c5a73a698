/* combine_body.h - results of experts added up row by row, over the vector of vec_*.h; included by rows_*.c after
 * rows_body.h. What else goes on around experts takes less than a hundredth of a training step, and is ref's
 * (docs/DECISIONS.md). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_COMBINE_BODY_H
#define GAL_KERNELS_CPU_COMBINE_BODY_H

static bool combine_ours(const gal_k_combine *a) { return v_act(a->dt) && (!a->weight || a->wdt == GAL_F32); }
static int64_t combine_chunks(const void *args) {
    const gal_k_combine *a = args;
    return combine_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_COMBINE, args);
}
VINLINE void combine_body(const gal_k_combine *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        const int32_t *place = a->place + n * a->used;
        const float *w = a->weight ? (const float *)a->weight + n * a->used : NULL;
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V y = a->add ? v_get(a->add, dt, at, m) : v_zero();
            for (int64_t j = 0; j < a->used; j++)
                if (place[j] >= 0) y = v_fma(v_set1(w ? w[j] : 1.0F), v_get(a->x, dt, place[j] * a->d + i, m), y);
            v_put(a->y, dt, at, m, a->accumulate ? v_add(y, v_get(a->y, dt, at, m)) : y);
        }
    }
}
static void combine_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_combine *a = args;
    if (!combine_ours(a)) {
        v_ref_run(GAL_K_COMBINE, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        combine_body(a, chunk, GAL_F32);
    } else {
        combine_body(a, chunk, GAL_BF16);
    }
}

static void combine_fill(gal_kernel_table *t) { t->k[GAL_K_COMBINE] = (gal_kernel){ combine_chunks, combine_run }; }

#endif
