/* vec_halves.h - what vec_sse42.h and vec_avx.h share: all that takes integers, and sums of lanes, over the halves of
 * a vector. Every sum of lanes is taken in the order of vec_avx2.h. Included by them, after V.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VEC_HALVES_H
#define GAL_KERNELS_CPU_VEC_HALVES_H

#include "kernels/cpu/half128.h"

VINLINE V v_fma(V a, V b, V c) { return v_add(v_mul(a, b), c); }
VINLINE V v_fnma(V a, V b, V c) { return v_sub(c, v_mul(a, b)); }

VINLINE __m128 v4_scale2(__m128 x, __m128 n) {
    const __m128i i = _mm_cvtps_epi32(n), h = _mm_srai_epi32(i, 1), b = _mm_set1_epi32(127);
    const __m128i s = _mm_slli_epi32(_mm_add_epi32(h, b), 23);
    const __m128i t = _mm_slli_epi32(_mm_add_epi32(_mm_sub_epi32(i, h), b), 23);
    return _mm_mul_ps(_mm_mul_ps(x, _mm_castsi128_ps(s)), _mm_castsi128_ps(t));
}
VINLINE V v_scale2(V x, V n) { return v_of(v4_scale2(v_low(x), v_low(n)), v4_scale2(v_high(x), v_high(n))); }

/* A tail goes through the stack. */
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

VINLINE __m128 v4_range(__m128 x, __m128i lane, int64_t lo, int64_t hi, __m128 fill) {
    const __m128i in = _mm_andnot_si128(_mm_cmpgt_epi32(_mm_set1_epi32((int)lo), lane),
                                        _mm_cmpgt_epi32(_mm_set1_epi32((int)hi), lane));
    return _mm_blendv_ps(fill, x, _mm_castsi128_ps(in));
}
VINLINE V v_range(V x, int64_t lo, int64_t hi, V fill) {
    return v_of(v4_range(v_low(x), _mm_setr_epi32(0, 1, 2, 3), lo, hi, v_low(fill)),
                v4_range(v_high(x), _mm_setr_epi32(4, 5, 6, 7), lo, hi, v_high(fill)));
}

VINLINE float v_hsum(V a) {
    __m128 s = _mm_add_ps(v_low(a), v_high(a));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
VINLINE float v_hmax(V a) {
    __m128 s = _mm_max_ps(v_low(a), v_high(a));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
VINLINE __m128 v4_hsum4(__m128 a, __m128 b, __m128 c, __m128 d) {
    return _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d));
}
VINLINE void v_hsum4(float out[4], V a, V b, V c, V d) {
    _mm_storeu_ps(out, _mm_add_ps(v4_hsum4(v_low(a), v_low(b), v_low(c), v_low(d)),
                                  v4_hsum4(v_high(a), v_high(b), v_high(c), v_high(d))));
}

/* Sums of squares in double, where each square is exact. */
typedef struct DV {
    __m128d s[4];
} DV;
VINLINE DV dv_zero(void) {
    const __m128d z = _mm_setzero_pd();
    return (DV){ { z, z, z, z } };
}
VINLINE void dv_add_squares(DV *s, V a) {
    const __m128 l = v_low(a), h = v_high(a);
    const __m128d d[4] = { _mm_cvtps_pd(l), _mm_cvtps_pd(_mm_movehl_ps(l, l)), _mm_cvtps_pd(h),
                           _mm_cvtps_pd(_mm_movehl_ps(h, h)) };
    for (int i = 0; i < 4; i++) s->s[i] = _mm_add_pd(s->s[i], _mm_mul_pd(d[i], d[i]));
}
VINLINE double dv_sum(DV s) {
    const __m128d t = _mm_add_pd(_mm_add_pd(s.s[0], s.s[2]), _mm_add_pd(s.s[1], s.s[3]));
    return _mm_cvtsd_f64(_mm_add_sd(t, _mm_unpackhi_pd(t, t)));
}

typedef __m128i V16; /* VL numbers of 16 bits */
VINLINE __m128i v16_low(V16 h) { return _mm_cvtepu16_epi32(h); }
VINLINE __m128i v16_high(V16 h) { return _mm_unpackhi_epi16(h, _mm_setzero_si128()); }
VINLINE V v_bf16(V16 h) { return v_of(h_bf16(v16_low(h)), h_bf16(v16_high(h))); }
VINLINE V16 v_to_bf16(V x) { return _mm_packus_epi32(h_to_bf16(v_low(x)), h_to_bf16(v_high(x))); }
VINLINE V v_f16(V16 h) { return v_of(h_f16(v16_low(h)), h_f16(v16_high(h))); }
VINLINE V16 v_to_f16(V x) { return _mm_packus_epi32(h_to_f16(v_low(x)), h_to_f16(v_high(x))); }

VINLINE V16 v_load16(const void *p, int64_t m) {
    if (m >= VL) return _mm_loadu_si128((const __m128i_u *)p);
    uint16_t t[VL] = { 0 };
    memcpy(t, p, (size_t)m * sizeof t[0]);
    return _mm_loadu_si128((const __m128i_u *)(const void *)t);
}
VINLINE void v_store16(void *p, V16 x, int64_t m) {
    if (m >= VL) {
        _mm_storeu_si128((__m128i_u *)p, x);
    } else {
        uint16_t t[VL];
        _mm_storeu_si128((__m128i_u *)(void *)t, x);
        memcpy(p, t, (size_t)m * sizeof t[0]);
    }
}

VINLINE V v_of_i8(__m128i x) {
    return v_of(_mm_cvtepi32_ps(_mm_cvtepi8_epi32(x)), _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128(x, 4))));
}
VINLINE V v_i8(const void *p) { return v_of_i8(_mm_loadl_epi64((const __m128i_u *)p)); }
VINLINE V v_u4(const void *p, bool upper) {
    const __m128i b = _mm_loadl_epi64((const __m128i_u *)p), x = upper ? _mm_srli_epi16(b, 4) : b;
    return v_of_i8(_mm_sub_epi8(_mm_and_si128(x, _mm_set1_epi8(15)), _mm_set1_epi8(8)));
}
VINLINE V v_f16_all(const void *p) { return v_set1(half_at(p)); }
VINLINE void v_fetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

/* For turning (turn.h): two lanes of 16 bytes, and pairs of them zipped within each lane. */
typedef struct Z {
    __m128i l, h;
} Z;
VINLINE __m128i z_lane(const void *p) { return _mm_loadu_si128((const __m128i_u *)p); }
VINLINE Z z_load(const void *p) { return (Z){ z_lane(p), z_lane((const char *)p + 16) }; }
VINLINE void z_store(void *p, Z x) {
    _mm_storeu_si128((__m128i_u *)p, x.l);
    _mm_storeu_si128((__m128i_u *)(void *)((char *)p + 16), x.h);
}
#define Z_EACH(f, a, b) ((Z){ f((a).l, (b).l), f((a).h, (b).h) })
VINLINE Z z_lo8(Z a, Z b) { return Z_EACH(_mm_unpacklo_epi8, a, b); }
VINLINE Z z_hi8(Z a, Z b) { return Z_EACH(_mm_unpackhi_epi8, a, b); }
VINLINE Z z_lo16(Z a, Z b) { return Z_EACH(_mm_unpacklo_epi16, a, b); }
VINLINE Z z_hi16(Z a, Z b) { return Z_EACH(_mm_unpackhi_epi16, a, b); }
VINLINE Z z_lo32(Z a, Z b) { return Z_EACH(_mm_unpacklo_epi32, a, b); }
VINLINE Z z_hi32(Z a, Z b) { return Z_EACH(_mm_unpackhi_epi32, a, b); }
VINLINE Z z_lo64(Z a, Z b) { return Z_EACH(_mm_unpacklo_epi64, a, b); }
VINLINE Z z_hi64(Z a, Z b) { return Z_EACH(_mm_unpackhi_epi64, a, b); }
/* Of VL rows the columns at `at`: a lane of two rows; two lanes of one. */
VINLINE Z z_floats(const char *const row[VL], int i, int64_t at) {
    return (Z){ z_lane(row[i] + at), z_lane(row[i + 4] + at) };
}
VINLINE Z z_halves(const char *const row[VL], int i, int64_t at) { return z_load(row[i] + at); }
VINLINE Z z_by_columns(Z x) { return x; }

typedef V V8;
VINLINE V8 v8_zero(void) { return v_zero(); }
VINLINE V8 v8_load(const float *p) { return v_load(p); }
VINLINE V8 v8_load_bf16(const void *p) { return v_bf16(v_load16(p, 8)); }
VINLINE V8 v8_load_f16(const void *p) { return v_f16(v_load16(p, 8)); }

/* r[j] of the result holds number j of the eight vectors: a quarter of 4 x 4 at a time. */
VINLINE void v8_turn(V8 r[8]) {
    __m128 a[4], b[4], c[4], d[4]; /* rows 0..3 left, right; rows 4..7 left, right */
    for (int i = 0; i < 4; i++) {
        a[i] = v_low(r[i]);
        b[i] = v_high(r[i]);
        c[i] = v_low(r[i + 4]);
        d[i] = v_high(r[i + 4]);
    }
    _MM_TRANSPOSE4_PS(a[0], a[1], a[2], a[3]);
    _MM_TRANSPOSE4_PS(b[0], b[1], b[2], b[3]);
    _MM_TRANSPOSE4_PS(c[0], c[1], c[2], c[3]);
    _MM_TRANSPOSE4_PS(d[0], d[1], d[2], d[3]);
    for (int i = 0; i < 4; i++) {
        r[i] = v_of(a[i], c[i]);
        r[i + 4] = v_of(b[i], d[i]);
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
