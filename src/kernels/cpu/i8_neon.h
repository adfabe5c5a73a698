/* i8_neon.h - vectors of four floats for i8_body.h on 64-bit ARM. Weights' bytes are their numbers, with a sign.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_NEON_H
#define GAL_KERNELS_CPU_I8_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

enum { VW = 4, FUSED = true };
typedef float F __attribute__((vector_size(16)));
typedef int32_t S __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef uint8_t B __attribute__((vector_size(16)));

GAL__INLINE F f_set1(float x) { return (F)vdupq_n_f32(x); }
GAL__INLINE F f_fma(F a, F b, F c) { return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
GAL__INLINE F f_half(const void *p) { return (F)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
GAL__INLINE S s_set1(int32_t x) { return (S)vdupq_n_s32(x); }
GAL__INLINE U i8_pairs(const void *p) { return (U)vmovl_u16(vld1_u16(p)); }
GAL__INLINE U i8_look_up(U q, const int8_t table[16]) { return (U)vqtbl1q_s8(vld1q_s8(table), (uint8x16_t)q); }

#define I8_LOADED(x) "+w"(x)
GAL__INLINE void i8_turn(U x[VW]) {
    const uint32x4x2_t a = vtrnq_u32((uint32x4_t)x[0], (uint32x4_t)x[1]),
                       b = vtrnq_u32((uint32x4_t)x[2], (uint32x4_t)x[3]);
    x[0] = (U)vcombine_u32(vget_low_u32(a.val[0]), vget_low_u32(b.val[0]));
    x[1] = (U)vcombine_u32(vget_low_u32(a.val[1]), vget_low_u32(b.val[1]));
    x[2] = (U)vcombine_u32(vget_high_u32(a.val[0]), vget_high_u32(b.val[0]));
    x[3] = (U)vcombine_u32(vget_high_u32(a.val[1]), vget_high_u32(b.val[1]));
}
#define i8_offset(natural) (-(natural))
GAL__INLINE S i8_start(const char *bias, int natural) {
    (void)bias;
    (void)natural;
    return s_set1(GAL_I8_START);
}

#endif
