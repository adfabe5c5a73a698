/* peaks_neon.c - the peaks of the base of 64-bit ARM. No bf16 instruction there: bf16 is widened as in peaks_avx2.c;
 * int8 goes through widening products and pairwise sums. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/peaks.h"

#include <arm_neon.h>
#include <string.h>

typedef float32x4_t F;
typedef int32x4_t I;
enum { BYTES = 16, F32_SUMS = 16, I8_SUMS = 8, ROWS = 8 };

GAL__INLINE F f_zero(void) { return vdupq_n_f32(0); }
GAL__INLINE F f_set1(float x) { return vdupq_n_f32(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
GAL__INLINE F f_add(F a, F b) { return vaddq_f32(a, b); }
GAL__INLINE void f_store(void *p, F x) { vst1q_f32(p, x); }
GAL__INLINE F low_halves(I x) { return vreinterpretq_f32_s32(vshlq_n_s32(x, 16)); }
GAL__INLINE F high_halves(I x) { return vreinterpretq_f32_s32(vandq_s32(x, vdupq_n_s32(-65536))); }
GAL__INLINE I i_zero(void) { return vdupq_n_s32(0); }
GAL__INLINE I i_load(const void *p) { return vld1q_s32(p); }
GAL__INLINE void i_store(void *p, I x) { vst1q_s32(p, x); }
GAL__INLINE I i_add(I a, I b) { return vaddq_s32(a, b); }
GAL__INLINE I i_set1(signed char x) { return vreinterpretq_s32_s8(vdupq_n_s8(x)); }
GAL__INLINE I i_ones16(void) { return i_zero(); }
GAL__INLINE I i8_dot(I c, I a, I b, I ones) {
    (void)ones;
    int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    return vpadalq_s16(c, vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vget_high_s8(x), vget_high_s8(y)));
}

#include "kernels/cpu/peaks_body.h"

void gal__neon_peaks_fill(gal_kernel_table *t) {
    t->peak[GAL_PEAK_READ] = (gal_peak){ read_bytes, READ_BYTES, "128-bit loads" };
    t->peak[GAL_PEAK_F32] = (gal_peak){ dot_f32, F32_OPS, "128-bit FMA" };
    t->peak[GAL_PEAK_BF16] = (gal_peak){ dot_bf16_widened, BF16_OPS, "no bf16 instruction: widened, 128-bit FMA" };
    t->peak[GAL_PEAK_I8] = (gal_peak){ dot_i8, I8_OPS, "smull, smlal, sadalp" };
}
