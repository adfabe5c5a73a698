/* tile.h - small dense products and transpositions in f32 between blocks that lie in the scratch: what attention and
 * its gradient are made of. Include after vmath.h.
 *
 * Products take words of UNIT numbers that follow one another along what is summed over: floats, or, with TILE_PAIRS
 * (v_pairs(), v_mac_pairs(), v_round16()), pairs of bf16, whose products are added up in f32.
 *
 * A block of rows is padded with zeros to a multiple of TILE_ROWS rows and of VL columns (v_pad), so that no product
 * has a tail. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_TILE_H
#define GAL_KERNELS_CPU_TILE_H

enum { TILE_ROWS = 4, KEY_BLOCK = 64 };

#ifdef TILE_PAIRS
enum { UNIT = 2 };
VINLINE V tile_mac(V a, V b, V sum) { return v_mac_pairs(a, b, sum); }
#else
enum { UNIT = 1 };
VINLINE V tile_mac(V a, V b, V sum) { return v_fma(a, b, sum); }
#endif

VINLINE int64_t v_pad(int64_t n) { return (n + VL - 1) / VL * VL; }
VINLINE int64_t tile_pad(int64_t rows) { return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS; }

/* A with strides: word (i, k) is a[i * rs + k * ks]. */
typedef struct tile_lhs {
    const float *a;
    int64_t rs, ks;
} tile_lhs;

/* c[4][vecs * VL] (+)= a[4][k0..k1) b[k0..k1)[vecs * VL], with vecs a constant. */
VINLINE void tile_mm_cols(float *c, int64_t ldc, tile_lhs l, const float *b, int64_t ldb, int64_t k0, int64_t k1,
                          const int vecs, bool accumulate) {
    V s[TILE_ROWS][TILE_COLS];
    for (int i = 0; i < TILE_ROWS; i++) {
        for (int j = 0; j < vecs; j++) s[i][j] = accumulate ? v_load(c + i * ldc + j * VL) : v_zero();
    }
    const float *a = l.a + k0 * l.ks;
    b += k0 * ldb;
    for (int64_t k = k0; k < k1; k++, a += l.ks, b += ldb) {
        V x[TILE_COLS];
        for (int j = 0; j < vecs; j++) x[j] = v_load(b + j * VL);
        for (int i = 0; i < TILE_ROWS; i++) {
            V y = v_set1(a[i * l.rs]);
            for (int j = 0; j < vecs; j++) s[i][j] = tile_mac(y, x[j], s[i][j]);
        }
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        for (int j = 0; j < vecs; j++) v_store(c + i * ldc + j * VL, s[i][j]);
    }
}

/* c[4][cols] (+)= a[4][k0..k1) b[k0..k1)[cols]; cols is rounded up to whole vectors. */
static inline void tile_mm(float *c, int64_t ldc, tile_lhs l, const float *b, int64_t ldb, int64_t k0, int64_t k1,
                           int64_t cols, bool accumulate) {
    int64_t j = 0;
    for (; j + TILE_COLS * VL <= cols; j += TILE_COLS * VL) {
        tile_mm_cols(c + j, ldc, l, b + j, ldb, k0, k1, TILE_COLS, accumulate);
    }
    switch (v_ceil_div(cols - j, VL)) {
    case 4:
        tile_mm_cols(c + j, ldc, l, b + j, ldb, k0, k1, TILE_COLS, accumulate);
        break;
    case 3:
        tile_mm_cols(c + j, ldc, l, b + j, ldb, k0, k1, TILE_COLS > 2 ? 3 : 1, accumulate);
        break;
    case 2:
        tile_mm_cols(c + j, ldc, l, b + j, ldb, k0, k1, TILE_COLS > 1 ? 2 : 1, accumulate);
        break;
    case 1:
        tile_mm_cols(c + j, ldc, l, b + j, ldb, k0, k1, 1, accumulate);
        break;
    default:
        break;
    }
}

/* out[rows, v_pad(size)] = scale * src rows (stride in elements of type dt), zeros right of size. */
VINLINE void tile_pack_t(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                         float scale) {
    int64_t ld = v_pad(size);
    V s = v_set1(scale);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < size; i += VL) {
            v_store(out + r * ld + i, v_mul(s, v_get(src, dt, r * stride + i, v_left(size, i))));
        }
    }
}
static inline void tile_pack(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                             float scale) {
    if (dt == GAL_F32) {
        tile_pack_t(out, src, GAL_F32, stride, rows, size, scale);
    } else if (dt == GAL_BF16) {
        tile_pack_t(out, src, GAL_BF16, stride, rows, size, scale);
    } else {
        tile_pack_t(out, src, GAL_F16, stride, rows, size, scale);
    }
}

/* Eight numbers of the type dt as f32. */
VINLINE V8 tile_get8(const void *p, gal_dtype dt) {
    if (dt == GAL_F32) return v8_load((const float *)p);
    return dt == GAL_F16 ? v8_load_f16(p) : v8_load_bf16(p);
}

/* out[size][ldo] = transposed src[rows, size], zeros in the columns right of rows up to whole vectors. */
VINLINE void tile_transpose_t(float *out, int64_t ldo, const void *src, gal_dtype dt, int64_t stride, int64_t rows,
                              int64_t size) {
    int64_t cols = v_pad(rows), full = size / 8 * 8;
    for (int64_t r = 0; r < cols; r += 8) {
        for (int64_t d = 0; d < full; d += 8) {
            V8 in[8];
            for (int i = 0; i < 8; i++) {
                bool have = r + i < rows;
                in[i] = have ? tile_get8(v_at(src, dt, (r + i) * stride + d), dt) : v8_zero();
            }
            v8_transpose(out + d * ldo + r, ldo, in);
        }
    }
    for (int64_t d = full; d < size; d++) {
        for (int64_t r = 0; r < cols; r++) {
            out[d * ldo + r] = r < rows ? v_get1(src, dt, r * stride + d) : 0.0F;
        }
    }
}
static inline void tile_transpose_to(float *out, int64_t ldo, const void *src, gal_dtype dt, int64_t stride,
                                     int64_t rows, int64_t size) {
    if (dt == GAL_F32) {
        tile_transpose_t(out, ldo, src, GAL_F32, stride, rows, size);
    } else if (dt == GAL_BF16) {
        tile_transpose_t(out, ldo, src, GAL_BF16, stride, rows, size);
    } else {
        tile_transpose_t(out, ldo, src, GAL_F16, stride, rows, size);
    }
}
/* A block of keys. */
static inline void tile_transpose(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows,
                                  int64_t size) {
    tile_transpose_to(out, KEY_BLOCK, src, dt, stride, rows, size);
}

/* ---- words -------------------------------------------------------------------------------------------------------
 * Operands of tile_mm() from rows of type dt: summed over a row's own numbers, or over the rows. As floats they are
 * scaled; pairs are not, their sums have to be. */

#ifdef TILE_PAIRS
VINLINE bool tile_takes(gal_dtype dt, int64_t size) { return dt == GAL_BF16 && size % 2 == 0; }

/* out[tile_pad(rows), v_pad(size) / 2]: rows as they are; those that are missing are zeros. */
static inline void tile_along(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                              float scale) {
    (void)scale;
    const int64_t ld = v_pad(size) / 2;
    for (int64_t r = 0; r < rows; r++) memcpy(out + r * ld, v_at(src, dt, r * stride), (size_t)size * 2);
    memset(out + rows * ld, 0, (size_t)((tile_pad(rows) - rows) * ld) * sizeof(float));
}

/* out[tile_pad(rows) / 2, v_pad(size)]: rows two by two, zeros right of size and for rows that are missing. */
static inline void tile_down(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                             float scale) {
    (void)scale;
    for (int64_t r = 0; r < tile_pad(rows); r += 2, out += v_pad(size))
        for (int64_t i = 0; i < size; i += VL) {
            const int64_t m = v_left(size, i);
            const V16 a = v_load16(v_at(src, dt, GAL_MIN(r, rows - 1) * stride + i), r < rows ? m : 0);
            const V16 b = v_load16(v_at(src, dt, GAL_MIN(r + 1, rows - 1) * stride + i), r + 1 < rows ? m : 0);
            v_store(out + i, v_pairs(a, b));
        }
}

/* A block of keys, columns of words: out[size / 2, KEY_BLOCK]. */
static inline void tile_turn(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size) {
    (void)dt; /* a pair moves as a float does */
    tile_transpose(out, src, GAL_F32, stride / 2, rows, size / 2);
}
#else
VINLINE bool tile_takes(gal_dtype dt, int64_t size) {
    (void)size;
    return v_act(dt);
}
static inline void tile_along(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                              float scale) {
    tile_pack(out, src, dt, stride, rows, size, scale);
    memset(out + rows * v_pad(size), 0, (size_t)((tile_pad(rows) - rows) * v_pad(size)) * sizeof(float));
}
static inline void tile_down(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size,
                             float scale) {
    tile_along(out, src, dt, stride, rows, size, scale);
}
static inline void tile_turn(float *out, const void *src, gal_dtype dt, int64_t stride, int64_t rows, int64_t size) {
    tile_transpose(out, src, dt, stride, rows, size);
}
#endif

#endif
