/* relative_body.h - what relative positions add to attention (Transformer-XL, arXiv:1901.02860, 3.3), over the vector
 * of vec_*.h. Included by attend_*.c before attend_body.h.
 *
 * A block of rows and a block of keys meet at rows + keys - 1 distances. Relative keys lie side by side from the
 * largest distance down, so that what row i needs for keys 0, 1, .. stands in one run that begins at column
 * rows - 1 - i: the shift of Transformer-XL without moving anything. Four rows are multiplied with the columns that
 * any of them needs. For the gradient the scores' own gradients are laid out in the same way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_RELATIVE_BODY_H
#define GAL_KERNELS_CPU_RELATIVE_BODY_H

enum {
    REL_ROWS = 64,                                /* most rows of a block */
    REL_COLS = REL_ROWS + KEY_BLOCK + 16,         /* distances, and what products read beyond */
    REL_NEED = KEY_BLOCK + TILE_ROWS - 1,         /* columns that four rows need */
    REL_TILE = (REL_NEED + VL - 1) / VL * VL + VL /* ... and what is written beyond */
};

/* The relative keys of one head. */
typedef struct rel_keys {
    const void *r; /* [M, H, size] from that head on */
    gal_dtype dt;
    int64_t stride, size, most; /* numbers from one distance to the next; M - 1 */
} rel_keys;

static rel_keys rel_of(const void *r, gal_dtype dt, int64_t heads, int64_t head, int64_t size, int64_t distances) {
    return (rel_keys){ v_at(r, dt, head * size), dt, heads * size, size, distances - 1 };
}

/* Distances that do not occur are read as 0: nobody sees what they give. */
VINLINE int64_t rel_row(const rel_keys *k, int64_t distance) { return GAL_MAX(0, GAL_MIN(distance, k->most)); }

/* rows[REL_COLS, v_pad(size)]: relative keys of distances far, far - 1, ..; in turned[size, REL_COLS] side by side.
 */
static void rel_load(float *rows, float *turned, const rel_keys *k, int64_t far) {
    const int64_t ld = v_pad(k->size);
    for (int64_t x = 0; x < REL_COLS; x++)
        tile_pack(rows + x * ld, v_at(k->r, k->dt, rel_row(k, far - x) * k->stride), k->dt, 0, 1, k->size, 1.0F);
    for (int64_t x = 0; x < REL_COLS; x += KEY_BLOCK)
        tile_transpose_to(turned + x, REL_COLS, rows + x * ld, GAL_F32, ld, GAL_MIN(REL_COLS - x, KEY_BLOCK),
                          k->size);
}

/* s[4][KEY_BLOCK] += the relative scores of rows i .. i + 3 of `rows` (a multiple of 4) with keys [0, keys); qr is
 * theirs, [4, ld]. */
static void rel_scores(float *s, const float *qr, int64_t ld, const float *turned, int64_t size, int64_t rows,
                       int64_t i, int64_t keys) {
    float p[TILE_ROWS * REL_TILE];
    const int64_t first = rows - TILE_ROWS - i;
    tile_mm(p, REL_TILE, (tile_lhs){ qr, ld, 1 }, turned + first, REL_COLS, 0, size, v_pad(keys) + TILE_ROWS - 1,
            false);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        const float *from = p + r * REL_TILE + TILE_ROWS - 1 - r;
        float *to = s + r * KEY_BLOCK;
        for (int64_t c = 0; c < keys; c += VL) v_store(to + c, v_add(v_load(to + c), v_load(from + c)));
    }
}

/* out[rows, REL_COLS]: row i of ds [rows, KEY_BLOCK] from column rows - 1 - i on, zeros elsewhere; `width` numbers of
 * each. */
static void rel_shift(float *out, const float *ds, int64_t rows, int64_t width) {
    memset(out, 0, (size_t)(rows * REL_COLS) * sizeof(float));
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * REL_COLS + rows - 1 - i, ds + i * KEY_BLOCK, (size_t)width * sizeof(float));
}

/* dqr[rows, ld] += shifted[rows, REL_COLS] keys[REL_COLS, ld] */
static void rel_add_queries(float *dqr, const float *shifted, const float *keys, int64_t ld, int64_t rows) {
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
        const int64_t first = rows - TILE_ROWS - i;
        tile_mm(dqr + i * ld, ld, (tile_lhs){ shifted + i * REL_COLS + first, REL_COLS, 1 }, keys + first * ld, ld, 0,
                REL_NEED, ld, true);
    }
}

/* dr[distance, H, size] += what each column of shifted gives, by way of sum[rows + KEY_BLOCK, ld]; qr [rows, ld]. */
static void rel_add_distances(float *dr, const rel_keys *k, float *sum, const float *shifted, const float *qr,
                              int64_t ld, int64_t rows, int64_t far) {
    for (int64_t x = 0; x < rows + KEY_BLOCK; x += TILE_ROWS) {
        const int64_t from = GAL_MAX(0, rows - TILE_ROWS - x), to = GAL_MIN(rows, rows - 1 - x + KEY_BLOCK);
        tile_mm(sum + x * ld, ld, (tile_lhs){ shifted + x, 1, REL_COLS }, qr, ld, from, GAL_MAX(from, to), ld, false);
    }
    for (int64_t x = 0; x < rows + KEY_BLOCK - 1 && x <= far; x++) {
        float *out = dr + rel_row(k, far - x) * k->stride;
        for (int64_t d = 0; d < k->size; d += VL) {
            const int64_t m = v_left(k->size, d);
            v_put(out, GAL_F32, d, m, v_add(v_get(out, GAL_F32, d, m), v_load(sum + x * ld + d)));
        }
    }
}

#endif
