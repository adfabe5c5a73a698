/* gemm_vec8.h - what gemm_body.h asks of a level, over the vector of 8 floats of the other kernels (vec_*.h, included
 * before); bf16 products are rounded and multiplied in f32. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_VEC8_H
#define GAL_KERNELS_CPU_GEMM_VEC8_H

typedef V F;
enum { VW = VL, NR = 2 * VL };
#define MR 6
#define UNIT 1
#define mac(acc, a, b) v_fma(a, b, acc)
#define f_zero v_zero
#define f_load v_load
#define f_store v_store
#define f_add v_add
#define f_fma v_fma
#define f_set1 v_set1
#define f_sum v_hsum
#define transpose v8_turn

/* n <= VW numbers as floats, zero beyond; reads nothing beyond. */
GAL__INLINE F ld(const void *p, gal_dtype dt, int64_t n) {
    if (dt == GAL_BF16) return v_bf16(v_load16(p, n));
    if (dt == GAL_F16) return v_f16(v_load16(p, n));
    return n == VW ? v_load(p) : v_loadm(p, n);
}
GAL__INLINE void st(void *p, gal_dtype dt, F x, int64_t n) {
    if (dt == GAL_BF16)
        v_store16(p, v_to_bf16(x), n);
    else if (n == VW)
        v_store(p, x);
    else
        v_storem(p, x, n);
}
GAL__INLINE F f_round(F x) { return v_bf16(v_to_bf16(x)); }

#include "kernels/cpu/gemm_f32_words.h"

#endif
