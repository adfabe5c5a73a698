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
            if (k.dt == GAL_Q8_0)
                memcpy(rows + r * k.size + b, row + 2, NUMBERS);
            else
                unpack_halves(rows + r * k.size + b, row + 2);
        }
    }
}

/* ---- products ----------------------------------------------------------------------------------------------------
 */

/* Keys [j, j + VL) of column 16 e + c, turned. */
VINLINE V turned_get(const float *kt, gal_dtype dt, int64_t e, int64_t c, int64_t j) {
    if (key_blocks(dt)) return v_i8((const char *)kt + turned_at(e, c, j, 1));
    return v_get((const char *)kt + turned_at(e, c, j, dt == GAL_F32 ? 4 : 2), dt, 0, VL);
}

/* Memory that is wanted next, a step at a time. */
typedef struct few_ahead {
    const char *p;
    int64_t step; /* bytes */
} few_ahead;

/* What follows a block, in as many steps as its scores take pairs of columns; nothing where rows do not follow one
 * another. */
VINLINE few_ahead few_after(const few_keys *k) {
    const int64_t row = key_span(k->dt, k->size);
    return (few_ahead){ k->p + k->n * k->stride, k->stride == row ? row * 4 * VL / k->size : 0 };
}

VINLINE void few_fetch(few_ahead *a, gal_dtype dt) {
    v_fetch(a->p);
    if (dt == GAL_F32 || VL == 16) v_fetch(a->p + LINE);
    if (dt == GAL_F32 && VL == 16) {
        v_fetch(a->p + 2 * LINE);
        v_fetch(a->p + 3 * LINE);
    }
    a->p += a->step;
}

/* s[rows][cols] = q[rows][size] kt[size][cols], two vectors of columns at a time. */
VINLINE void few_scores(float *s, const float *q, int64_t ldq, const few_room *room, gal_dtype dt, int64_t size,
                        int64_t cols, const int rows, few_ahead ahead) {
    for (int64_t j = 0; j < cols; j += 2 * VL) {
        V a[FEW_ROWS], b[FEW_ROWS];
        for (int i = 0; i < rows; i++) a[i] = b[i] = v_zero();
        for (int64_t e = 0; e < size / 16; e++) {
            const float *scale = room->scale + e / 2 * KEY_BLOCK + j, *f = q + 16 * e;
            V u = key_blocks(dt) ? v_load(scale) : v_zero(), w = key_blocks(dt) ? v_load(scale + VL) : u;
            for (int64_t c = 0; c < 8; c++) {
                few_fetch(&ahead, dt);
                for (int64_t l = c; l < 16; l += 8) {
                    V x = turned_get(room->kt, dt, e, l, j), y = turned_get(room->kt, dt, e, l, j + VL);
                    if (key_blocks(dt)) {
                        x = v_mul(x, u);
                        y = v_mul(y, w);
                    }
                    for (int i = 0; i < rows; i++) {
                        V z = v_set1(f[i * ldq + l]);
                        a[i] = v_fma(z, x, a[i]);
                        b[i] = v_fma(z, y, b[i]);
                    }
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
        if (dt == GAL_F32) v_fetch(row + KEY_BLOCK * v->stride + at + LINE);
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
                           int64_t cols, int64_t m, few_ahead ahead) {
    for (int64_t i = 0, n; i < m; i += n, s += n * KEY_BLOCK, q += n * ldq) {
        n = few_tile(m - i);
        if (n == FEW_ROWS) {
            few_scores(s, q, ldq, room, dt, size, cols, FEW_ROWS, ahead);
        } else if (FEW_ROWS > 4 && n == 4) {
            few_scores(s, q, ldq, room, dt, size, cols, 4, ahead);
        } else if (n == 2) {
            few_scores(s, q, ldq, room, dt, size, cols, 2, ahead);
        } else {
            few_scores(s, q, ldq, room, dt, size, cols, 1, ahead);
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
    return size % (key_blocks(dt) ? (int64_t)sizeof(Z) : 16) == 0 && size % VL == 0;
}

/* Scores of m queries (few_pad) with keys [0, cols). */
static void few_all_scores(float *s, const float *q, int64_t ldq, const few_room *room, const few_keys *k,
                           int64_t cols, int64_t m) {
    char *kt = (char *)room->kt;
    const turn_rows rows = { k->p, k->stride, k->n, k->size };
    switch ((int)k->dt) {
    case GAL_F32:
        turn_floats(kt, rows);
        few_scores_of(s, q, ldq, room, GAL_F32, k->size, cols, m, few_after(k));
        break;
    case GAL_F16:
        turn_halves(kt, rows);
        few_scores_of(s, q, ldq, room, GAL_F16, k->size, cols, m, few_after(k));
        break;
    case GAL_BF16:
        turn_halves(kt, rows);
        few_scores_of(s, q, ldq, room, GAL_BF16, k->size, cols, m, few_after(k));
        break;
    default:
        few_scales(room->scale, *k);
        few_integers(room->rows, *k);
        turn_bytes(kt, (turn_rows){ room->rows, k->size, k->n, k->size });
        few_scores_of(s, q, ldq, room, GAL_Q8_0, k->size, cols, m, few_after(k));
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
