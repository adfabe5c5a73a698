/* gemm_avx512.c - matrix products in f32 of the level avx512; bf16 products are rounded and multiplied in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

#include "kernels/cpu/blocks_x86.h"
#include "kernels/cpu/gemm_vec512.h"

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

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

/* Lanes 0 to 7 hold sums of the first 16, the others of the second 16. */
enum { ROWS_A = 4, COLS_W = 4 };
typedef __m512i I;
GAL__INLINE F f_neg(F x) { return _mm512_sub_ps(_mm512_setzero_ps(), x); }
GAL__INLINE I i_load(const int8_t *p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
GAL__INLINE F i_mac(F acc, I w, I a, const float *s, F d, const bool halves) {
    F scale = f_set1(s[0]);
    if (halves) scale = _mm512_mask_broadcastss_ps(scale, 0xff00, _mm_load_ss(s + 1));
    return f_fma(_mm512_cvtepi32_ps(_mm512_madd_epi16(w, a)), _mm512_mul_ps(d, scale), acc);
}
#include "kernels/cpu/i8_body.h"

const gal__gemm_level gal__gemm_avx512 = { NR, NT, 2, 2, tile, few_rows };

static int64_t chunks(const void *args) { return gal__gemm_chunks(args, &gal__gemm_avx512); }
static void run(const void *args, int64_t chunk, void *scratch) {
    gal__gemm_run(args, chunk, scratch, &gal__gemm_avx512);
}

static const gal_kernel gemm = { chunks, run };
GAL__EXPERTS_OF(experts, gemm)
void gal__avx512_gemm_fill(gal_kernel_table *t) {
    t->k[GAL_K_GEMM] = gemm;
    i8_fill(t);
    t->k[GAL_K_EXPERTS] = (gal_kernel){ experts_chunks, experts_run };
}
