/* gemm_vec.h - what gemm_body.h, gemm_rows.h and gemm_dots.h ask of a level's vector, over that of the other kernels
 * (vec_*.h, included before). What words are is for the including file to say: gemm_f32_words.h, or words of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_VEC_H
#define GAL_KERNELS_CPU_GEMM_VEC_H

typedef V F;
enum { VW = VL, NR = 2 * VL };
#define f_zero v_zero
#define f_load v_load
#define f_store v_store
#define f_add v_add
#define f_fma v_fma
#define f_set1 v_set1
#define f_sum v_hsum
#define f_sums(sums, v) v_hsum4(sums, (v)[0], (v)[1], (v)[2], (v)[3])
#define transpose v_turn

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

#endif
