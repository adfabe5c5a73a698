/* vmath.h - what the shared kernel bodies need beyond the bare vector: numbers of any activation type, exp, silu.
 * Include after one of vec_*.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_VMATH_H
#define GAL_KERNELS_CPU_VMATH_H

#include "kernels/kernels.h"

/* Element i of an array whose type is known at run time. */
VINLINE const void *v_at(const void *p, gal_dtype dt, int64_t i) {
    return (const char *)p + i * (dt == GAL_F32 ? 4 : 2);
}
VINLINE void *v_atw(void *p, gal_dtype dt, int64_t i) { return (char *)p + i * (dt == GAL_F32 ? 4 : 2); }

/* m <= VL elements from element i on, as f32. A body is inlined with dt a constant, so that no test of it remains. */
VINLINE V v_get(const void *p, gal_dtype dt, int64_t i, int64_t m) {
    if (dt == GAL_F32) {
        const float *f = (const float *)p + i;
        return m >= VL ? v_load(f) : v_loadm(f, m);
    }
    V16 h = v_load16((const uint16_t *)p + i, m);
    return dt == GAL_BF16 ? v_bf16(h) : v_f16(h);
}
VINLINE void v_put(void *p, gal_dtype dt, int64_t i, int64_t m, V x) {
    if (dt == GAL_F32) {
        float *f = (float *)p + i;
        if (m >= VL) {
            v_store(f, x);
        } else {
            v_storem(f, x, m);
        }
    } else {
        v_store16((uint16_t *)p + i, dt == GAL_BF16 ? v_to_bf16(x) : v_to_f16(x), m);
    }
}
/* x rounded to dt. */
VINLINE V v_cast(V x, gal_dtype dt) { return dt == GAL_BF16 ? v_bf16(v_to_bf16(x)) : x; }

/* One number of type dt (f32, bf16 or f16). */
VINLINE float v_get1(const void *p, gal_dtype dt, int64_t i) {
    if (dt == GAL_F32) { /* pairs of bf16 that move as one float may lie at two bytes */
        float x;
        memcpy(&x, (const char *)p + i * 4, sizeof x);
        return x;
    }
    uint16_t h = ((const uint16_t *)p)[i];
    return dt == GAL_BF16 ? gal_bf16_to_f32(h) : gal_f16_to_f32(h);
}

/* exp(x) within 1.5 units in the last place; infinity beyond the range, 0 below the least normal number, NaN for NaN.
 * Subnormal numbers, however rare, would cost more than all others: processors make them a hundred times as slowly.
 * x = n ln 2 + r with |r| <= ln 2 / 2, where the Taylor series to r^7 leaves a relative error of 6e-9 (eps/2 =
 * 6e-8); ln 2 is split in two so that n ln 2 loses nothing. */
VINLINE V v_exp(V x) {
    const V least = v_set1(-87.33F), zero = v_zero(), above = v_sub(x, least);
    x = v_max(least, v_min(v_set1(90.0F), x)); /* the operand that may be NaN last: it is what comes out */
    V n = v_round(v_mul(x, v_set1(1.44269504F)));
    V r = v_fnma(n, v_set1(0.693359375F), x);  /* 9 bits */
    r = v_fnma(n, v_set1(-2.12194440e-4F), r); /* ln 2 minus that */
    V p = v_set1(1.0F / 5040.0F);
    p = v_fma(p, r, v_set1(1.0F / 720.0F));
    p = v_fma(p, r, v_set1(1.0F / 120.0F));
    p = v_fma(p, r, v_set1(1.0F / 24.0F));
    p = v_fma(p, r, v_set1(1.0F / 6.0F));
    p = v_fma(p, r, v_set1(0.5F));
    p = v_fma(p, r, v_set1(1.0F));
    p = v_fma(p, r, v_set1(1.0F));
    const V y = v_scale2(p, n);
    return v_by_sign(above, y, v_mul(y, zero));
}

/* 1 / (1 + exp(-x)), and in *rest 1 minus that, both to a few units in their own last place: by exp(-|x|), which
 * neither overflows nor is lost beside 1. */
VINLINE V v_sigmoid(V x, V *rest) {
    V e = v_exp(v_sub(v_zero(), v_abs(x))), one = v_set1(1.0F);
    V large = v_div(one, v_add(one, e)), small = v_mul(e, large);
    *rest = v_by_sign(x, small, large);
    return v_by_sign(x, large, small);
}

/* What a body leaves out (f64, odd type pairs, shapes beyond the scratch) is run by ref: chunks and run ask here. */
static inline int64_t v_ref_chunks(gal_kernel_id id, const void *args) {
    gal_kernel_table t;
    gal_ref_fill(&t);
    return t.k[id].chunks(args);
}
static inline void v_ref_run(gal_kernel_id id, const void *args, int64_t chunk, void *scratch) {
    gal_kernel_table t;
    gal_ref_fill(&t);
    t.k[id].run(args, chunk, scratch);
}

VINLINE bool v_act(gal_dtype dt) { return dt == GAL_F32 || dt == GAL_BF16; }
VINLINE bool v_float(gal_dtype dt) { return v_act(dt) || dt == GAL_F16; }
VINLINE int64_t v_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
VINLINE int64_t v_left(int64_t n, int64_t i) { return GAL_MIN(n - i, (int64_t)VL); }

#endif
