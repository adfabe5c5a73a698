/* vec_neon.h - the vector of 8 floats for the shared kernel bodies on 64-bit ARM: a pair of NEON registers; see
 * vec_avx2.h, which defines the same names with the same meaning. As wide as AVX2's, and every sum of lanes is taken
 * in its order, so that blocks, tails and rounding are those of the level avx2. Nothing beyond ARMv8.0 is used.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_NEON_H
#define GAL_KERNELS_CPU_VEC_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VINLINE static inline __attribute__((always_inline))

typedef struct V {
    float32x4_t l, h;
} V;
enum { VL = 8, TILE_COLS = 2 /* 4 x 2 x 2 sums, 4 + 1 operands of 32 registers */ };

/* The same of both halves. */
#define V_EACH1(f, a) ((V){ f((a).l), f((a).h) })
#define V_EACH2(f, a, b) ((V){ f((a).l, (b).l), f((a).h, (b).h) })
#define V_EACH3(f, a, b, c) ((V){ f((a).l, (b).l, (c).l), f((a).h, (b).h, (c).h) })

VINLINE V v_set1(float x) { return (V){ vdupq_n_f32(x), vdupq_n_f32(x) }; }
VINLINE V v_zero(void) { return v_set1(0.0F); }
VINLINE V v_add(V a, V b) { return V_EACH2(vaddq_f32, a, b); }
VINLINE V v_sub(V a, V b) { return V_EACH2(vsubq_f32, a, b); }
VINLINE V v_mul(V a, V b) { return V_EACH2(vmulq_f32, a, b); }
VINLINE V v_div(V a, V b) { return V_EACH2(vdivq_f32, a, b); }
VINLINE V v_sqrt(V a) { return V_EACH1(vsqrtq_f32, a); }
VINLINE float32x4_t v4_max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
VINLINE float32x4_t v4_min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
VINLINE V v_max(V a, V b) { return V_EACH2(v4_max, a, b); } /* b where either is NaN: vmaxq_f32 would give the NaN */
VINLINE V v_min(V a, V b) { return V_EACH2(v4_min, a, b); }
VINLINE V v_fma(V a, V b, V c) { return V_EACH3(vfmaq_f32, c, a, b); }
VINLINE V v_fnma(V a, V b, V c) { return V_EACH3(vfmsq_f32, c, a, b); }
VINLINE V v_round(V a) { return V_EACH1(vrndnq_f32, a); }
VINLINE V v_abs(V a) { return V_EACH1(vabsq_f32, a); }
VINLINE float32x4_t v4_by_sign(float32x4_t x, float32x4_t pos, float32x4_t neg) {
    return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(x)), neg, pos);
}
VINLINE V v_by_sign(V x, V pos, V neg) { return V_EACH3(v4_by_sign, x, pos, neg); }
VINLINE V v_swap_pairs(V a) { return V_EACH1(vrev64q_f32, a); }

VINLINE float32x4_t v4_scale2(float32x4_t x, float32x4_t n) {
    int32x4_t i = vcvtq_s32_f32(n), h = vshrq_n_s32(i, 1), b = vdupq_n_s32(127);
    float32x4_t s = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(h, b), 23));
    float32x4_t t = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(i, h), b), 23));
    return vmulq_f32(vmulq_f32(x, s), t);
}
VINLINE V v_scale2(V x, V n) { return V_EACH2(v4_scale2, x, n); }

VINLINE V v_load(const float *p) { return (V){ vld1q_f32(p), vld1q_f32(p + 4) }; }
VINLINE void v_store(float *p, V x) {
    vst1q_f32(p, x.l);
    vst1q_f32(p + 4, x.h);
}
/* There are no masked loads: a tail goes through the stack. */
VINLINE V v_loadm(const float *p, int64_t m) {
    float t[VL] = { 0 };
    memcpy(t, p, (size_t)(m < VL ? m : VL) * sizeof t[0]);
    return v_load(t);
}
VINLINE void v_storem(float *p, V x, int64_t m) {
    float t[VL];
    v_store(t, x);
    memcpy(p, t, (size_t)(m < VL ? m : VL) * sizeof t[0]);
}

VINLINE float32x4_t v4_range(float32x4_t x, int32x4_t lane, int64_t lo, int64_t hi, float32x4_t fill) {
    uint32x4_t in = vandq_u32(vcgeq_s32(lane, vdupq_n_s32((int)lo)), vcltq_s32(lane, vdupq_n_s32((int)hi)));
    return vbslq_f32(in, x, fill);
}
VINLINE V v_range(V x, int64_t lo, int64_t hi, V fill) {
    static const int32_t LANES[VL] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    return (V){ v4_range(x.l, vld1q_s32(LANES), lo, hi, fill.l),
                v4_range(x.h, vld1q_s32(LANES + 4), lo, hi, fill.h) };
}

VINLINE float v_hsum(V a) {
    float32x4_t s = vaddq_f32(a.l, a.h);
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
VINLINE float v_hmax(V a) {
    float32x4_t s = v4_max(a.l, a.h);
    s = v4_max(s, vextq_f32(s, s, 2));
    s = v4_max(s, vrev64q_f32(s));
    return vgetq_lane_f32(s, 0);
}
VINLINE void v_hsum4(float out[4], V a, V b, V c, V d) {
    float32x4_t l = vpaddq_f32(vpaddq_f32(a.l, b.l), vpaddq_f32(c.l, d.l));
    float32x4_t h = vpaddq_f32(vpaddq_f32(a.h, b.h), vpaddq_f32(c.h, d.h));
    vst1q_f32(out, vaddq_f32(l, h));
}

typedef struct DV {
    float64x2_t s[4];
} DV;
VINLINE DV dv_zero(void) {
    float64x2_t z = vdupq_n_f64(0.0);
    return (DV){ { z, z, z, z } };
}
VINLINE void dv_add_squares(DV *s, V a) {
    float64x2_t d[4] = { vcvt_f64_f32(vget_low_f32(a.l)), vcvt_high_f64_f32(a.l), vcvt_f64_f32(vget_low_f32(a.h)),
                         vcvt_high_f64_f32(a.h) };
    for (int i = 0; i < 4; i++) s->s[i] = vfmaq_f64(s->s[i], d[i], d[i]);
}
VINLINE double dv_sum(DV s) {
    float64x2_t t = vaddq_f64(vaddq_f64(s.s[0], s.s[2]), vaddq_f64(s.s[1], s.s[3]));
    return vgetq_lane_f64(t, 0) + vgetq_lane_f64(t, 1);
}

typedef uint16x8_t V16;
VINLINE V v_bf16(V16 h) {
    return (V){ vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)),
                vreinterpretq_f32_u32(vshll_high_n_u16(h, 16)) };
}
/* To nearest even, in the upper half of each word; a NaN keeps its sign and gets the quiet bit. */
VINLINE uint32x4_t v4_to_bf16(float32x4_t x) {
    uint32x4_t u = vreinterpretq_u32_f32(x), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t r = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vbslq_u32(vceqq_f32(x, x), r, vorrq_u32(u, vdupq_n_u32(0x400000)));
}
VINLINE V16 v_to_bf16(V x) { return vshrn_high_n_u32(vshrn_n_u32(v4_to_bf16(x.l), 16), v4_to_bf16(x.h), 16); }
VINLINE V v_f16(V16 h) {
    float16x8_t x = vreinterpretq_f16_u16(h);
    return (V){ vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x) };
}
VINLINE V16 v_to_f16(V x) { return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.l), x.h)); }

VINLINE V16 v_load16(const void *p, int64_t m) {
    if (m >= VL) return vld1q_u16(p);
    uint16_t t[VL] = { 0 };
    memcpy(t, p, (size_t)m * sizeof t[0]);
    return vld1q_u16(t);
}
VINLINE void v_store16(void *p, V16 x, int64_t m) {
    if (m >= VL) {
        vst1q_u16(p, x);
    } else {
        uint16_t t[VL];
        vst1q_u16(t, x);
        memcpy(p, t, (size_t)m * sizeof t[0]);
    }
}

VINLINE V v_of_i16(int16x8_t x) {
    return (V){ vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), vcvtq_f32_s32(vmovl_high_s16(x)) };
}
VINLINE V v_i8(const void *p) { return v_of_i16(vmovl_s8(vld1_s8(p))); }
VINLINE V v_u4(const void *p, bool upper) {
    uint8x8_t x = vld1_u8(p);
    x = upper ? vshr_n_u8(x, 4) : vand_u8(x, vdup_n_u8(15));
    return v_of_i16(vmovl_s8(vsub_s8(vreinterpret_s8_u8(x), vdup_n_s8(8))));
}
VINLINE V v_f16_all(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return v_f16(vdupq_n_u16(h));
}
VINLINE void v_fetch(const void *p) { __builtin_prefetch(p); }

/* For turning (turn.h): two lanes of 16 bytes, and pairs of them zipped within each lane. */
typedef struct Z {
    uint8x16_t l, h;
} Z;
VINLINE Z z_load(const void *p) { return (Z){ vld1q_u8(p), vld1q_u8((const uint8_t *)p + 16) }; }
VINLINE void z_store(void *p, Z x) {
    vst1q_u8(p, x.l);
    vst1q_u8((uint8_t *)p + 16, x.h);
}
#define Z_AS(bits, f, a, b) vreinterpretq_u8_u##bits(f(vreinterpretq_u##bits##_u8(a), vreinterpretq_u##bits##_u8(b)))
#define Z_ZIP(bits, f, a, b) ((Z){ Z_AS(bits, f, (a).l, (b).l), Z_AS(bits, f, (a).h, (b).h) })
VINLINE Z z_lo8(Z a, Z b) { return (Z){ vzip1q_u8(a.l, b.l), vzip1q_u8(a.h, b.h) }; }
VINLINE Z z_hi8(Z a, Z b) { return (Z){ vzip2q_u8(a.l, b.l), vzip2q_u8(a.h, b.h) }; }
VINLINE Z z_lo16(Z a, Z b) { return Z_ZIP(16, vzip1q_u16, a, b); }
VINLINE Z z_hi16(Z a, Z b) { return Z_ZIP(16, vzip2q_u16, a, b); }
VINLINE Z z_lo32(Z a, Z b) { return Z_ZIP(32, vzip1q_u32, a, b); }
VINLINE Z z_hi32(Z a, Z b) { return Z_ZIP(32, vzip2q_u32, a, b); }
VINLINE Z z_lo64(Z a, Z b) { return Z_ZIP(64, vzip1q_u64, a, b); }
VINLINE Z z_hi64(Z a, Z b) { return Z_ZIP(64, vzip2q_u64, a, b); }
/* Of VL rows the columns at `at`: a lane of two rows; two lanes of one. */
VINLINE Z z_floats(const char *const row[VL], int i, int64_t at) {
    return (Z){ vld1q_u8((const uint8_t *)row[i] + at), vld1q_u8((const uint8_t *)row[i + 4] + at) };
}
VINLINE Z z_halves(const char *const row[VL], int i, int64_t at) { return z_load(row[i] + at); }
VINLINE Z z_by_columns(Z x) { return x; }

typedef V V8;
VINLINE V8 v8_zero(void) { return v_zero(); }
VINLINE V8 v8_load(const float *p) { return v_load(p); }
VINLINE V8 v8_load_bf16(const void *p) { return v_bf16(v_load16(p, 8)); }
VINLINE V8 v8_load_f16(const void *p) { return v_f16(v_load16(p, 8)); }

/* r[j] of the result holds number j of the four rows. */
VINLINE void v4_turn(float32x4_t r[4]) {
    float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}
VINLINE void v8_turn(V8 r[8]) {
    float32x4_t a[4], b[4], c[4], d[4]; /* the quarters: rows 0..3 left, right; rows 4..7 left, right */
    for (int i = 0; i < 4; i++) {
        a[i] = r[i].l;
        b[i] = r[i].h;
        c[i] = r[i + 4].l;
        d[i] = r[i + 4].h;
    }
    v4_turn(a);
    v4_turn(b);
    v4_turn(c);
    v4_turn(d);
    for (int i = 0; i < 4; i++) {
        r[i] = (V8){ a[i], c[i] };
        r[i + 4] = (V8){ b[i], d[i] };
    }
}
VINLINE void v8_transpose(float *out, int64_t ldo, const V8 in[8]) {
    V8 r[8];
    memcpy(r, in, sizeof r);
    v8_turn(r);
    for (int i = 0; i < 8; i++) v_store(out + i * ldo, r[i]);
}
#define v_turn v8_turn

#endif
