/* gemm_neon.c - matrix products of the level neon. 6 x 2 sums of two registers each, 4 registers of B and 1 of A: 29
 * of 32. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec_neon.h"

#define MR 6
#include "kernels/cpu/gemm_vec.h"

#include "kernels/cpu/gemm_f32_words.h"

GAL__INLINE float half_at(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
GAL__INLINE void look_up(int8_t *q, const int8_t table[16], const uint8_t *p) {
    const int8x16_t t = vld1q_s8(table);
    const uint8x16_t x = vld1q_u8(p);
    vst1q_s8(q, vqtbl1q_s8(t, vandq_u8(x, vdupq_n_u8(15))));
    vst1q_s8(q + 16, vqtbl1q_s8(t, vshrq_n_u8(x, 4)));
}

#include "kernels/cpu/gemm_body.h"
#include "kernels/cpu/gemm_rows.h"

static const gal__gemm_level level = {
    .nr = NR, .nt = NT, .f32 = 4, .bf16 = 4, .few = GAL__GEMM_FEW, .run_tile = tile, .run_few = few_rows
};

#include "kernels/cpu/gemm_fill.h"

void gal__neon_gemm_fill(gal_kernel_table *t) { gemm_fill(t); }
