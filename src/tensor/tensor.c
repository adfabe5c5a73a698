/* tensor.c - sizes of tensors and weights, and conversions between number formats. Refuses formats that are not
 * float. Every conversion rounds to nearest, ties to even, once; NaN stays NaN, and what is too large becomes
 * infinity. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensor.h"
#include "tensor/blocks.h"

#include <string.h>

const char *gal_dtype_name(gal_dtype dtype) {
    static const char *const NAMES[GAL_DTYPES] = { "f32", "bf16", "f16", "f64", "i32", "blocks", "q8_0", "q4_0" };
    return (size_t)dtype < GAL_LEN(NAMES) ? NAMES[dtype] : "unknown";
}

size_t gal_dtype_bytes(gal_dtype dtype) {
    static const uint8_t BYTES[GAL_DTYPES] = { 4, 2, 2, 8, 4, 0, 0, 0 };
    GAL_ASSERT((size_t)dtype < GAL_LEN(BYTES) && BYTES[dtype]); /* a number in a block has no size of its own */
    return BYTES[dtype];
}

bool gal_dtype_in_blocks(gal_dtype dtype) { return dtype == GAL_Q8_0 || dtype == GAL_Q4_0; }
uint32_t gal_dtype_block(gal_dtype dtype) {
    GAL_ASSERT(gal_dtype_in_blocks(dtype));
    return dtype == GAL_Q8_0 ? GAL_BLOCK_Q8_0 : GAL_BLOCK_Q4_0;
}

size_t gal_dtype_span(gal_dtype dtype, int64_t n) {
    if (!gal_dtype_in_blocks(dtype)) return (size_t)n * gal_dtype_bytes(dtype);
    const gal_block_info *b = gal_block_info_of(gal_dtype_block(dtype));
    GAL_ASSERT(n % b->elements == 0);
    return (size_t)n / b->elements * b->bytes;
}

gal_dtype gal_stat_dtype(gal_dtype dtype) { return dtype == GAL_F64 ? GAL_F64 : GAL_F32; }

static int64_t product(const int64_t *dim, int ndim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= dim[i];
    return n;
}

int64_t gal_count(const gal_t *t) { return product(t->dim, t->ndim); }
int64_t gal_rows(const gal_t *t) { return product(t->dim, t->ndim - 1); }
int64_t gal_cols(const gal_t *t) { return t->ndim > 0 ? t->dim[t->ndim - 1] : 1; }
int64_t gal_wcount(const gal_w *w) { return product(w->dim, w->ndim); }
size_t gal_wbytes(const gal_w *w) {
    int64_t n = gal_wcount(w);
    return w->dtype == GAL_BLOCKS ? gal_code_bytes(&w->code, n) : (size_t)n * gal_dtype_bytes(w->dtype);
}
void gal_wread(const gal_w *w, int64_t first, int64_t rows, float *out) {
    const int64_t cols = w->dim[w->ndim - 1];
    if (w->dtype != GAL_BLOCKS) {
        const size_t size = gal_dtype_bytes(w->dtype);
        gal_convert(out, GAL_F32, (const char *)w->data + (size_t)(first * cols) * size, w->dtype, rows * cols);
        return;
    }
    for (int64_t r = 0; r < rows; r++) gal_code_read(&w->code, w->data, cols, first + r, 0, cols, out + r * cols);
}
const char *gal_wformat(const gal_w *w) {
    return w->dtype == GAL_BLOCKS ? gal_code_name(&w->code) : gal_dtype_name(w->dtype);
}

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t gal_f32_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); /* quiet, or the payload could vanish */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

float gal_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112u) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* subnormal: exact in f32 */
    return sign ? -f : f;
}

uint16_t gal_f32_to_f16(float f) {
    uint32_t u = bits_of(f), a = u & 0x7fffffffu;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* from 65520 on: nearer to 2^16 than to 65504 */
    if (a >= 0x38800000u)                                    /* normal: from 2^-14 on */
        return (uint16_t)(sign | (((a + 0xfffu + (a >> 13 & 1u)) >> 13) - (112u << 10)));
    if (a < 0x33000000u) return sign; /* below 2^-25; exactly 2^-25 is a tie and goes to even, zero */
    /* Subnormal: units of 2^-24. The significand, with its hidden bit, loses `shift` bits. */
    uint32_t shift = 126u - (a >> 23), s = (a & 0x7fffffu) | 0x800000u;
    uint32_t half = 1u << (shift - 1), rest = s & ((1u << shift) - 1u), q = s >> shift;
    return (uint16_t)(sign | (q + (rest > half || (rest == half && (q & 1u)))));
}

/* f64 to f32 such that a second rounding to a shorter format gives what one rounding would: bits that are lost set
 * the last bit (rounding to odd). */
static float narrow_odd(double x) {
    float f = (float)x;
    double d = (double)f, ax = x < 0 ? -x : x, ad = d < 0 ? -d : d;
    if (ad > ax) return float_of((bits_of(f) - 1u) | 1u);
    if (ad < ax) return float_of(bits_of(f) | 1u);
    return f; /* exact, or NaN */
}

uint16_t gal_f64_to_bf16(double x) { return gal_f32_to_bf16(narrow_odd(x)); }
uint16_t gal_f64_to_f16(double x) { return gal_f32_to_f16(narrow_odd(x)); }

static void widen(double *out, const void *src, gal_dtype type, int64_t at, int64_t n) {
    const uint16_t *h = src;
    switch (type) {
    case GAL_F32:
        for (int64_t i = 0; i < n; i++) out[i] = (double)((const float *)src)[at + i];
        return;
    case GAL_BF16:
        for (int64_t i = 0; i < n; i++) out[i] = (double)gal_bf16_to_f32(h[at + i]);
        return;
    case GAL_F16:
        for (int64_t i = 0; i < n; i++) out[i] = (double)gal_f16_to_f32(h[at + i]);
        return;
    case GAL_F64:
        memcpy(out, (const double *)src + at, (size_t)n * sizeof *out);
        return;
    case GAL_I32:
    case GAL_BLOCKS:
    case GAL_Q8_0:
    case GAL_Q4_0:
    case GAL_DTYPES:
    default:
        GAL_ASSERT(type < GAL_I32);
    }
}

static void narrow(void *dst, gal_dtype type, int64_t at, const double *x, int64_t n) {
    uint16_t *h = dst;
    switch (type) {
    case GAL_F32:
        for (int64_t i = 0; i < n; i++) ((float *)dst)[at + i] = (float)x[i];
        return;
    case GAL_BF16:
        for (int64_t i = 0; i < n; i++) h[at + i] = gal_f64_to_bf16(x[i]);
        return;
    case GAL_F16:
        for (int64_t i = 0; i < n; i++) h[at + i] = gal_f64_to_f16(x[i]);
        return;
    case GAL_F64:
        memcpy((double *)dst + at, x, (size_t)n * sizeof *x);
        return;
    case GAL_I32:
    case GAL_BLOCKS:
    case GAL_Q8_0:
    case GAL_Q4_0:
    case GAL_DTYPES:
    default:
        GAL_ASSERT(type < GAL_I32);
    }
}

void gal_convert(void *dst, gal_dtype dst_type, const void *src, gal_dtype src_type, int64_t n) {
    if (n <= 0) return;
    if (dst_type == src_type) { /* also keeps the bits of a NaN */
        memmove(dst, src, (size_t)n * gal_dtype_bytes(dst_type));
        return;
    }
    if (dst_type == GAL_F64) {
        widen(dst, src, src_type, 0, n);
        return;
    }
    if (src_type == GAL_F64) {
        narrow(dst, dst_type, 0, src, n);
        return;
    }
    double part[256]; /* every source fits in f64 exactly */
    for (int64_t at = 0; at < n; at += (int64_t)GAL_LEN(part)) {
        int64_t some = GAL_MIN(n - at, (int64_t)GAL_LEN(part));
        widen(part, src, src_type, at, some);
        narrow(dst, dst_type, at, part, some);
    }
}
