/* attend_few_body.h - a few queries against a block of keys that come from memory and are used once: what decoding
 * does. Over the vector of vec_*.h; included by attend_body.h.
 *
 * All queries that share a key-value head are multiplied with a number while it is in a register, so each key and
 * value is loaded once. Keys are turned first, as they are in memory (floats, halves or bytes), for then scores lie
 * side by side and no sum runs across lanes; values are multiplied as they lie. The next block is fetched meanwhile.
 * Of types in blocks the integers are multiplied; what they are scaled with, a number for each key and 32 neighbours,
 * meets a vector of keys or probabilities. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ATTEND_FEW_BODY_H
#define GAL_KERNELS_CPU_ATTEND_FEW_BODY_H

enum {
    FEW_MAX = 16,                /* queries */
    FEW_ROWS = VL == 16 ? 8 : 4, /* of a register tile; the other side are two vectors */
    NUMBERS = 32,                /* in a block of the types in blocks */
    LANE = 16,                   /* bytes within which rows are turned */
    LINE = 64                    /* bytes that a fetch brings */
};

/* Keys or values that lie evenly spaced. */
typedef struct few_keys {
    const char *p;
    gal_dtype dt;
    int64_t stride; /* bytes */
    int64_t n, size;
} few_keys;

/* Where a block is worked on. */
typedef struct few_room {
    float *kt;    /* turned keys, [size, KEY_BLOCK] of floats, halves or bytes */
    float *scale; /* [size / NUMBERS, KEY_BLOCK] of types in blocks */
    float *p;     /* [FEW_ROWS, KEY_BLOCK] probabilities times scales */
    char *rows;   /* [KEY_BLOCK, size] bytes */
} few_room;

VINLINE int64_t few_room_floats(int64_t size) {
    return size * KEY_BLOCK + (size / NUMBERS + FEW_ROWS) * KEY_BLOCK + KEY_BLOCK * size / 4;
}
static few_room few_room_at(float *at, int64_t size) {
    few_room r = { .kt = at, .scale = at + size * KEY_BLOCK };
    r.p = r.scale + size / NUMBERS * KEY_BLOCK;
    r.rows = (char *)(r.p + FEW_ROWS * KEY_BLOCK);
    return r;
}

VINLINE bool key_blocks(gal_dtype dt) { return dt == GAL_Q8_0 || dt == GAL_Q4_0; }
/* Bytes of n numbers, whole blocks where the type has them; with dt a constant nothing is left of the choice. */
VINLINE int64_t key_span(gal_dtype dt, int64_t n) {
    if (key_blocks(dt)) return n / NUMBERS * (dt == GAL_Q8_0 ? 34 : 18);
    return n * (dt == GAL_F32 ? 4 : 2);
}

/* Numbers [i, i + VL) of a row, i a multiple of VL; of types in blocks the integers. */
VINLINE V key_get(const char *row, gal_dtype dt, int64_t i) {
    if (!key_blocks(dt)) return v_get(row, dt, i, VL);
    const char *q = row + key_span(dt, i) + 2;
    const int64_t at = i % NUMBERS;
    return dt == GAL_Q8_0 ? v_i8(q + at) : v_u4(q + at % 16, at >= 16);
}

/* out[n, size] = rows in blocks, size a multiple of VL. */
static void key_unpack(float *out, few_keys k) {
    for (int64_t r = 0; r < k.n; r++) {
        const char *row = k.p + r * k.stride;
        for (int64_t i = 0; i < k.size; i += VL) {
            V d = v_f16_all(row + key_span(k.dt, i / NUMBERS * NUMBERS));
            v_store(out + r * k.size + i,
                    v_mul(d, k.dt == GAL_Q8_0 ? key_get(row, GAL_Q8_0, i) : key_get(row, GAL_Q4_0, i)));
        }
    }
}

/* ---- turning -----------------------------------------------------------------------------------------------------
 */

/* Row r, or the last one: what stands in columns beyond n means nothing. */
VINLINE const char *key_row(const few_keys *k, int64_t r) { return k->p + GAL_MIN(r, k->n - 1) * k->stride; }

/* to[size][KEY_BLOCK] floats, 4 rows at a time. */
VINLINE void turn_floats(char *to, few_keys k) {
    for (int64_t r = 0; r < k.n; r += 4) {
        for (int64_t d = 0; d < k.size; d += (int64_t)sizeof(Z) / 4) {
            Z a[4], b[4];
            for (int i = 0; i < 4; i++) {
                const char *row = key_row(&k, r + i) + d * 4;
                v_fetch(row + KEY_BLOCK * k.stride);
                a[i] = z_load(row);
            }
            b[0] = z_lo32(a[0], a[1]);
            b[1] = z_hi32(a[0], a[1]);
            b[2] = z_lo32(a[2], a[3]);
            b[3] = z_hi32(a[2], a[3]);
            char *at = to + (d * KEY_BLOCK + r) * 4;
            for (int i = 0; i < 2; i++) {
                z_scatter(at + 2 * i * KEY_BLOCK * 4, 4 * KEY_BLOCK * 4, z_lo64(b[i], b[2 + i]));
                z_scatter(at + (2 * i + 1) * KEY_BLOCK * 4, 4 * KEY_BLOCK * 4, z_hi64(b[i], b[2 + i]));
            }
        }
    }
}

/* to[size][KEY_BLOCK] halves, 8 rows at a time. */
VINLINE void turn_halves(char *to, few_keys k) {
    for (int64_t r = 0; r < k.n; r += 8) {
        for (int64_t d = 0; d < k.size; d += (int64_t)sizeof(Z) / 2) {
            Z a[8], b[8], c[8];
            for (int i = 0; i < 8; i++) {
                const char *row = key_row(&k, r + i) + d * 2;
                v_fetch(row + KEY_BLOCK * k.stride);
                a[i] = z_load(row);
            }
            for (int i = 0; i < 4; i++) { /* b[2 i] has the lower columns of rows 2 i and 2 i + 1 */
                b[2 * i] = z_lo16(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = z_hi16(a[2 * i], a[2 * i + 1]);
            }
            for (int i = 0; i < 8; i += 4) { /* c[i + j] has columns 2 j and 2 j + 1 of four rows */
                c[i] = z_lo32(b[i], b[i + 2]);
                c[i + 1] = z_hi32(b[i], b[i + 2]);
                c[i + 2] = z_lo32(b[i + 1], b[i + 3]);
                c[i + 3] = z_hi32(b[i + 1], b[i + 3]);
            }
            char *at = to + (d * KEY_BLOCK + r) * 2;
            for (int i = 0; i < 4; i++) {
                z_scatter(at + 2 * i * KEY_BLOCK * 2, 8 * KEY_BLOCK * 2, z_lo64(c[i], c[i + 4]));
                z_scatter(at + (2 * i + 1) * KEY_BLOCK * 2, 8 * KEY_BLOCK * 2, z_hi64(c[i], c[i + 4]));
            }
        }
    }
}

/* to[size][KEY_BLOCK] bytes, 16 rows at a time. */
VINLINE void turn_bytes(char *to, few_keys k) {
    for (int64_t r = 0; r < k.n; r += 16) {
        for (int64_t d = 0; d < k.size; d += (int64_t)sizeof(Z)) {
            Z a[16], b[16];
            for (int i = 0; i < 16; i++) b[i] = z_load(key_row(&k, r + i) + d);
            for (int i = 0; i < 8; i++) {
                a[2 * i] = z_lo8(b[2 * i], b[2 * i + 1]);
                a[2 * i + 1] = z_hi8(b[2 * i], b[2 * i + 1]);
            }
            for (int i = 0; i < 16; i += 4) {
                b[i] = z_lo16(a[i], a[i + 2]);
                b[i + 1] = z_hi16(a[i], a[i + 2]);
                b[i + 2] = z_lo16(a[i + 1], a[i + 3]);
                b[i + 3] = z_hi16(a[i + 1], a[i + 3]);
            }
            for (int i = 0; i < 16; i += 8)
                for (int j = 0; j < 4; j++) {
                    a[i + 2 * j] = z_lo32(b[i + j], b[i + 4 + j]);
                    a[i + 2 * j + 1] = z_hi32(b[i + j], b[i + 4 + j]);
                }
            char *at = to + d * KEY_BLOCK + r;
            for (int i = 0; i < 8; i++) {
                z_scatter(at + 2 * i * KEY_BLOCK, LANE * KEY_BLOCK, z_lo64(a[i], a[8 + i]));
                z_scatter(at + (2 * i + 1) * KEY_BLOCK, LANE * KEY_BLOCK, z_hi64(a[i], a[8 + i]));
            }
        }
    }
}

/* Lower halves of 16 bytes less 8, then their upper halves. */
VINLINE void unpack_halves(char *to, const char *q) {
    typedef uint8_t bytes __attribute__((vector_size(16)));
    typedef uint16_t pairs __attribute__((vector_size(16)));
    bytes x;
    memcpy(&x, q, sizeof x);
    const bytes low = (x & 15) - 8, high = ((bytes)((pairs)x >> 4) & 15) - 8;
    memcpy(to, &low, sizeof low);
    memcpy(to + 16, &high, sizeof high);
}

/* What the blocks of each row are scaled with, [size / NUMBERS, KEY_BLOCK]. */
VINLINE void few_scales(float *scale, few_keys k) {
    for (int64_t b = 0; b < k.size; b += NUMBERS, scale += KEY_BLOCK) {
        uint16_t h[KEY_BLOCK] = { 0 };
        for (int64_t r = 0; r < k.n; r++) memcpy(&h[r], k.p + r * k.stride + key_span(k.dt, b), sizeof h[0]);
        for (int i = 0; i < KEY_BLOCK; i += VL) v_store(scale + i, v_f16(v_load16(h + i, VL)));
    }
}

/* The integers of each row side by side. */
VINLINE void few_integers(char *rows, few_keys k) {
    for (int64_t r = 0; r < k.n; r++) {
        const char *row = k.p + r * k.stride;
        for (int64_t b = 0; b < k.size; b += NUMBERS, row += key_span(k.dt, NUMBERS)) {
            v_fetch(row + KEY_BLOCK * k.stride);
            if (k.dt == GAL_Q8_0)
                memcpy(rows + r * k.size + b, row + 2, NUMBERS);
            else
                unpack_halves(rows + r * k.size + b, row + 2);
        }
    }
}

/* ---- products ----------------------------------------------------------------------------------------------------
 */

/* Columns [j, j + VL) of line d of turned keys. */
VINLINE V turned_get(const float *kt, gal_dtype dt, int64_t d, int64_t j) {
    if (key_blocks(dt)) return v_i8((const char *)kt + d * KEY_BLOCK + j);
    return v_get(kt, dt, d * KEY_BLOCK + j, VL);
}

/* s[rows][cols] = q[rows][size] kt[size][cols], two vectors of columns at a time. */
VINLINE void few_scores(float *s, const float *q, int64_t ldq, const few_room *room, gal_dtype dt, int64_t size,
                        int64_t cols, const int rows) {
    for (int64_t j = 0; j < cols; j += 2 * VL) {
        V a[FEW_ROWS], b[FEW_ROWS];
        for (int i = 0; i < rows; i++) a[i] = b[i] = v_zero();
        for (int64_t e = 0; e < size; e += NUMBERS) {
            const int64_t end = GAL_MIN(size, e + NUMBERS);
            const float *scale = room->scale + e / NUMBERS * KEY_BLOCK + j;
            V u = key_blocks(dt) ? v_load(scale) : v_zero(), w = key_blocks(dt) ? v_load(scale + VL) : u;
            for (int64_t d = e; d < end; d++) {
                V x = turned_get(room->kt, dt, d, j), y = turned_get(room->kt, dt, d, j + VL);
                if (key_blocks(dt)) {
                    x = v_mul(x, u);
                    y = v_mul(y, w);
                }
                for (int i = 0; i < rows; i++) {
                    V f = v_set1(q[i * ldq + d]);
                    a[i] = v_fma(f, x, a[i]);
                    b[i] = v_fma(f, y, b[i]);
                }
            }
        }
        for (int i = 0; i < rows; i++) {
            v_store(s + i * KEY_BLOCK + j, a[i]);
            v_store(s + i * KEY_BLOCK + j + VL, b[i]);
        }
    }
}

/* o[rows][2 VL or VL] += p[rows][from..to) of the values' columns from d on. */
VINLINE void few_columns(float *o, int64_t ldo, const float *p, const few_keys *v, gal_dtype dt, int64_t d,
                         int64_t from, int64_t to, const int rows, const bool two) {
    V a[FEW_ROWS], b[FEW_ROWS];
    for (int i = 0; i < rows; i++) {
        a[i] = v_load(o + i * ldo + d);
        if (two) b[i] = v_load(o + i * ldo + d + VL);
    }
    const int64_t at = key_span(dt, d / NUMBERS * NUMBERS);
    for (int64_t k = from; k < to; k++) {
        const char *row = v->p + k * v->stride;
        V x = key_get(row, dt, d), y = two ? key_get(row, dt, d + VL) : x;
        v_fetch(row + KEY_BLOCK * v->stride + at);
        for (int i = 0; i < rows; i++) {
            V f = v_set1(p[i * KEY_BLOCK + k]);
            a[i] = v_fma(f, x, a[i]);
            if (two) b[i] = v_fma(f, y, b[i]);
        }
    }
    for (int i = 0; i < rows; i++) {
        v_store(o + i * ldo + d, a[i]);
        if (two) v_store(o + i * ldo + d + VL, b[i]);
    }
}

/* o[rows][size] += p[rows][from..to) v[from..to)[size]. */
VINLINE void few_values(float *o, int64_t ldo, const float *p, const few_keys *v, gal_dtype dt, const few_room *room,
                        int64_t from, int64_t to, const int rows) {
    for (int64_t d = 0; d < v->size; d += 2 * VL) {
        if (key_blocks(dt) && d % NUMBERS == 0) {
            for (int i = 0; i < rows; i++)
                for (int64_t k = 0; k < KEY_BLOCK; k += VL)
                    v_store(room->p + i * KEY_BLOCK + k,
                            v_mul(v_load(p + i * KEY_BLOCK + k), v_load(room->scale + d / NUMBERS * KEY_BLOCK + k)));
        }
        const float *w = key_blocks(dt) ? room->p : p;
        if (d + 2 * VL <= v->size) {
            few_columns(o, ldo, w, v, dt, d, from, to, rows, true);
        } else {
            few_columns(o, ldo, w, v, dt, d, from, to, rows, false);
        }
    }
}

/* Queries of the next tile, of `left`; few_pad(): as many as tiles take. */
VINLINE int64_t few_tile(int64_t left) { return left >= FEW_ROWS ? FEW_ROWS : left >= 4 ? 4 : left; }
VINLINE int64_t few_pad(int64_t m) { return m <= 2 ? m : tile_pad(m); }

VINLINE void few_scores_of(float *s, const float *q, int64_t ldq, const few_room *room, gal_dtype dt, int64_t size,
                           int64_t cols, int64_t m) {
    for (int64_t i = 0, n; i < m; i += n, s += n * KEY_BLOCK, q += n * ldq) {
        n = few_tile(m - i);
        if (n == FEW_ROWS) {
            few_scores(s, q, ldq, room, dt, size, cols, FEW_ROWS);
        } else if (FEW_ROWS > 4 && n == 4) {
            few_scores(s, q, ldq, room, dt, size, cols, 4);
        } else if (n == 2) {
            few_scores(s, q, ldq, room, dt, size, cols, 2);
        } else {
            few_scores(s, q, ldq, room, dt, size, cols, 1);
        }
    }
}

VINLINE void few_values_of(float *o, int64_t ldo, const float *p, const few_keys *v, gal_dtype dt,
                           const few_room *room, int64_t from, int64_t to, int64_t m) {
    for (int64_t i = 0, n; i < m; i += n, o += n * ldo, p += n * KEY_BLOCK) {
        n = few_tile(m - i);
        if (n == FEW_ROWS) {
            few_values(o, ldo, p, v, dt, room, from, to, FEW_ROWS);
        } else if (FEW_ROWS > 4 && n == 4) {
            few_values(o, ldo, p, v, dt, room, from, to, 4);
        } else if (n == 2) {
            few_values(o, ldo, p, v, dt, room, from, to, 2);
        } else {
            few_values(o, ldo, p, v, dt, room, from, to, 1);
        }
    }
}

/* Whether rows of this type can be turned and multiplied: they are whole vectors. */
static bool few_takes(gal_dtype dt, int64_t size) {
    const int64_t unit = dt == GAL_F32 ? 4 : key_blocks(dt) ? 1 : 2;
    return size * unit % (int64_t)sizeof(Z) == 0 && size % VL == 0;
}

/* Scores of m queries (few_pad) with keys [0, cols). */
static void few_all_scores(float *s, const float *q, int64_t ldq, const few_room *room, const few_keys *k,
                           int64_t cols, int64_t m) {
    char *kt = (char *)room->kt;
    switch ((int)k->dt) {
    case GAL_F32:
        turn_floats(kt, *k);
        few_scores_of(s, q, ldq, room, GAL_F32, k->size, cols, m);
        break;
    case GAL_F16:
        turn_halves(kt, *k);
        few_scores_of(s, q, ldq, room, GAL_F16, k->size, cols, m);
        break;
    case GAL_BF16:
        turn_halves(kt, *k);
        few_scores_of(s, q, ldq, room, GAL_BF16, k->size, cols, m);
        break;
    default:
        few_scales(room->scale, *k);
        few_integers(room->rows, *k);
        turn_bytes(kt, (few_keys){ room->rows, k->dt, k->size, k->n, k->size });
        few_scores_of(s, q, ldq, room, GAL_Q8_0, k->size, cols, m);
        break;
    }
}

static void few_all_values(float *o, int64_t ldo, const float *p, const few_keys *v, const few_room *room,
                           int64_t from, int64_t to, int64_t m) {
    if (key_blocks(v->dt)) few_scales(room->scale, *v);
    switch ((int)v->dt) {
    case GAL_F32:
        few_values_of(o, ldo, p, v, GAL_F32, room, from, to, m);
        break;
    case GAL_F16:
        few_values_of(o, ldo, p, v, GAL_F16, room, from, to, m);
        break;
    case GAL_BF16:
        few_values_of(o, ldo, p, v, GAL_BF16, room, from, to, m);
        break;
    case GAL_Q8_0:
        few_values_of(o, ldo, p, v, GAL_Q8_0, room, from, to, m);
        break;
    default:
        few_values_of(o, ldo, p, v, GAL_Q4_0, room, from, to, m);
        break;
    }
}

#endif
