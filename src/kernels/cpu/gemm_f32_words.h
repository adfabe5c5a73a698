/* gemm_f32_words.h - words of one number for gemm_body.h (UNIT 1), over a level's ld() and f_round().
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_F32_WORDS_H
#define GAL_KERNELS_CPU_GEMM_F32_WORDS_H

#define UNIT 1
#define mac(acc, a, b) f_fma(a, b, acc)

GAL__INLINE F unit_k(const void *p, gal_dtype dt, int64_t n, bool round) {
    F x = ld(p, dt, n);
    return round ? f_round(x) : x;
}
GAL__INLINE F unit_n(const void *p0, const void *p1, gal_dtype dt, int64_t n, bool round) {
    (void)p1;
    return unit_k(p0, dt, n, round);
}

#endif
