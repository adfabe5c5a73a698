/* attend_grad_body.h - gradient of attention without a cache: probabilities are recomputed block by block from the
 * stored log-sum-exp (arXiv:2205.14135, appendix B.2), over the vector of vec_*.h.
 *
 * A chunk is (row_len rows, key-value head). Keys are walked in blocks; for each, the heads of the group in order and
 * their blocks of query rows in order: that is the order of all sums. dq of the chunk is kept in the scratch in f32
 * where it fits; else a second walk, by query rows, computes it from the same blocks.
 *
 * Where words are pairs (tile.h), p and ds are computed in f32 and then rounded to bf16; the others are bf16 already.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ATTEND_GRAD_BODY_H
#define GAL_KERNELS_CPU_ATTEND_GRAD_BODY_H

#include <math.h>

enum { QUERY_BLOCK = 64 };

typedef struct grad_run {
    const gal_k_attend_grad *a;
    int64_t g, ld, end;     /* key-value head, padded head size, row behind the chunk's last */
    int64_t j0, keys;       /* block of keys */
    int64_t r0, rows, head; /* block of query rows, of this query head */
    float *kt, *vt;         /* [size / UNIT, KEY_BLOCK] */
    float *k;               /* [KEY_BLOCK / UNIT, ld] */
    float *dk, *dv;         /* [KEY_BLOCK, ld] */
    float *q, *dout;        /* [QUERY_BLOCK / UNIT, ld]; floats of q are scaled */
    float *q_row, *do_row;  /* [QUERY_BLOCK, ld / UNIT]: q and dout as rows, the same memory if UNIT is 1 */
    float *p, *ds;          /* [QUERY_BLOCK / UNIT, KEY_BLOCK] */
    float *ds_row;          /* [QUERY_BLOCK, KEY_BLOCK / UNIT] */
    float *lse, *delta;     /* [QUERY_BLOCK]; delta: sum of dout o, what softmax's own gradient subtracts */
    float *dq;              /* [row_len, ld] a head of the group, or [QUERY_BLOCK, ld] */
    /* relative positions, or NULL: their queries, scaled, and the gradient, as q's; distances as in relative_body.h
     */
    float *qr, *dqr;
    float *rel, *turned, *shifted, *sum;
    rel_keys keys_by_distance;
} grad_run;

/* Rounds four rows' p and ds to where products of pairs want them. */
static void grad_round(const grad_run *t, int64_t i, const float *p, const float *ds) {
#ifdef TILE_PAIRS
    for (int64_t r = 0; r < TILE_ROWS; r += 2, p += 2 * KEY_BLOCK, ds += 2 * KEY_BLOCK)
        for (int64_t j = 0; j < v_pad(t->keys); j += VL) {
            const int64_t down = (i + r) / 2 * KEY_BLOCK + j;
            char *row = (char *)(t->ds_row + (i + r) * (KEY_BLOCK / 2)) + 2 * j;
            const V16 a = v_round16(v_load(ds + j)), b = v_round16(v_load(ds + KEY_BLOCK + j));
            v_store(t->p + down, v_pairs(v_round16(v_load(p + j)), v_round16(v_load(p + KEY_BLOCK + j))));
            v_store(t->ds + down, v_pairs(a, b));
            v_store16(row, a, VL);
            v_store16(row + 2 * KEY_BLOCK, b, VL);
        }
#else
    (void)t, (void)i, (void)p, (void)ds;
#endif
}

static int64_t grad_relative_floats(const gal_k_attend_grad *a) {
    const int64_t ld = v_pad(a->size);
    return a->r ? QUERY_BLOCK * ld + REL_COLS * (2 * ld + a->size + QUERY_BLOCK) : 0;
}
static int64_t grad_fixed_floats(const gal_k_attend_grad *a) {
    return grad_relative_floats(a) + 2 * a->size * KEY_BLOCK + 5 * KEY_BLOCK * v_pad(a->size) +
           2 * QUERY_BLOCK * KEY_BLOCK + 2 * QUERY_BLOCK;
}
static int64_t grad_dq_floats(const gal_k_attend_grad *a) {
    return a->heads / a->kv_heads * tile_pad(a->row_len) * v_pad(a->size);
}
/* dq and, where there is one, dqr: each of so many floats. */
static int64_t grad_both(const gal_k_attend_grad *a, int64_t floats) { return a->r ? 2 * floats : floats; }
static bool grad_fits(const gal_k_attend_grad *a, int64_t dq) {
    return tile_takes(a->dt, a->size) && (UNIT == 1 || !a->r) && (!a->r || a->heads == a->kv_heads) &&
           (grad_fixed_floats(a) + grad_both(a, dq)) * 4 <= GAL_SCRATCH_BYTES;
}

static int64_t grad_lo(const gal_k_attend_grad *a, int64_t n) {
    return a->window > 0 ? GAL_MAX(a->start[n], n - a->window + 1) : a->start[n];
}
/* Whether any of the rows sees any of the keys. */
static bool grad_meet(const grad_run *t) {
    int64_t first = GAL_MAX(t->r0, t->j0), last = t->r0 + t->rows - 1;
    return first <= last && grad_lo(t->a, first) < t->j0 + t->keys;
}

static void grad_load_keys(grad_run *t, int64_t j0, int64_t keys) {
    const gal_k_attend_grad *a = t->a;
    int64_t stride = a->kv_heads * a->size, at = j0 * stride + t->g * a->size;
    t->j0 = j0;
    t->keys = keys;
    tile_turn(t->kt, v_at(a->k, a->dt, at), a->dt, stride, keys, a->size);
    tile_turn(t->vt, v_at(a->v, a->dt, at), a->dt, stride, keys, a->size);
    tile_down(t->k, v_at(a->k, a->dt, at), a->dt, stride, keys, a->size, 1.0F);
}

/* How far back the first key is from the last row, counted with padding. */
static int64_t grad_far(const grad_run *t) { return t->r0 + tile_pad(t->rows) - 1 - t->j0; }

static void grad_load_queries(grad_run *t) {
    const gal_k_attend_grad *a = t->a;
    int64_t stride = a->heads * a->size, at = t->r0 * stride + t->head * a->size;
    tile_along(t->q_row, v_at(a->q, a->dt, at), a->dt, stride, t->rows, a->size, (float)a->scale);
    tile_along(t->do_row, v_at(a->dout, a->dt, at), a->dt, stride, t->rows, a->size, 1.0F);
    if (UNIT == 2) {
        tile_down(t->q, v_at(a->q, a->dt, at), a->dt, stride, t->rows, a->size, 1.0F);
        tile_down(t->dout, v_at(a->dout, a->dt, at), a->dt, stride, t->rows, a->size, 1.0F);
    }
    if (t->qr) tile_along(t->qr, v_at(a->qr, a->dt, at), a->dt, stride, t->rows, a->size, (float)a->scale);
    for (int64_t r = 0; r < t->rows; r++) {
        V s = v_zero();
        for (int64_t i = 0; i < a->size; i += VL) {
            const int64_t m = v_left(a->size, i), of = at + r * stride + i;
            s = v_fma(v_get(a->dout, a->dt, of, m), v_get(a->o, a->dt, of, m), s);
        }
        t->delta[r] = v_hsum(s);
        t->lse[r] = ((const float *)a->lse)[(t->r0 + r) * a->heads + t->head];
    }
}

/* Of four rows, from products of q with keys in p and of dout with values in ds: p = exp(s - lse) and
 * ds = p (dp - delta) where row n sees the key, zero elsewhere. */
static void grad_softmax(grad_run *t, int64_t i, float *p, float *ds) {
    const V scale = v_set1((float)t->a->scale);
    (void)scale; /* words of one: q has it */
    for (int64_t r = i; r < i + TILE_ROWS; r++, p += KEY_BLOCK, ds += KEY_BLOCK) {
        int64_t n = t->r0 + r, lo = 0, hi = 0;
        if (r < t->rows) {
            lo = grad_lo(t->a, n) - t->j0;
            hi = GAL_MIN(n + 1 - t->j0, t->keys);
        }
        V lse = v_set1(r < t->rows ? t->lse[r] : 0.0F), delta = v_set1(r < t->rows ? t->delta[r] : 0.0F);
        for (int64_t j = 0; j < v_pad(t->keys); j += VL) {
            if (hi <= j || lo >= j + VL) {
                v_store(p + j, v_zero());
                v_store(ds + j, v_zero());
                continue;
            }
            V s = v_load(p + j);
            if (UNIT == 2) s = v_mul(s, scale);
            V x = v_range(v_exp(v_sub(s, lse)), lo - j, hi - j, v_zero());
            v_store(p + j, x);
            v_store(ds + j, v_range(v_mul(x, v_sub(v_load(ds + j), delta)), lo - j, hi - j, v_zero()));
        }
    }
}

static void grad_scores(grad_run *t) {
    const int64_t words = t->a->size / UNIT, ldr = t->ld / UNIT;
    float pairs[2][UNIT == 1 ? 1 : TILE_ROWS * KEY_BLOCK];
    if (t->qr) rel_load(t->rel, t->turned, &t->keys_by_distance, grad_far(t));
    for (int64_t i = 0; i < t->rows; i += TILE_ROWS) {
        int64_t last = GAL_MIN(i + TILE_ROWS, t->rows) - 1;
        int64_t reach = GAL_MAX(0, GAL_MIN(t->keys, t->r0 + last + 1 - t->j0));
        /* cppcheck-suppress legacyUninitvar ; written below, here it is a place */
        float *p = UNIT == 1 ? t->p + i * KEY_BLOCK : pairs[0], *ds = UNIT == 1 ? t->ds + i * KEY_BLOCK : pairs[1];
        tile_mm(p, KEY_BLOCK, (tile_lhs){ t->q_row + i * ldr, ldr, 1 }, t->kt, KEY_BLOCK, 0, words, reach, false);
        if (t->qr && reach > 0)
            rel_scores(p, t->qr + i * t->ld, t->ld, t->turned, t->a->size, tile_pad(t->rows), i, reach);
        tile_mm(ds, KEY_BLOCK, (tile_lhs){ t->do_row + i * ldr, ldr, 1 }, t->vt, KEY_BLOCK, 0, words, reach, false);
        grad_softmax(t, i, p, ds);
        if (UNIT == 2) grad_round(t, i, p, ds);
    }
}

/* dv += p^T dout, dk += ds^T q. */
static void grad_add_keys(grad_run *t) {
    const int64_t rows = v_ceil_div(t->rows, UNIT);
    for (int64_t j = 0; j < t->keys; j += TILE_ROWS) { /* blocks begin TILE_ROWS apart: first is even */
        int64_t first = GAL_MAX(0, t->j0 + j - t->r0) / UNIT;
        tile_mm(t->dv + j * t->ld, t->ld, (tile_lhs){ t->p + j, 1, KEY_BLOCK }, t->dout, t->ld, first, rows, t->ld,
                true);
        tile_mm(t->dk + j * t->ld, t->ld, (tile_lhs){ t->ds + j, 1, KEY_BLOCK }, t->q, t->ld, first, rows, t->ld,
                true);
    }
}

/* dq[rows of the block] += ds k. */
static void grad_add_queries(grad_run *t, float *dq) {
    for (int64_t i = 0; i < t->rows; i += TILE_ROWS) {
        int64_t reach = GAL_MIN(t->keys, t->r0 + GAL_MIN(i + TILE_ROWS, t->rows) - t->j0);
        if (reach > 0) {
            tile_mm(dq + i * t->ld, t->ld, (tile_lhs){ t->ds_row + i * (KEY_BLOCK / UNIT), KEY_BLOCK / UNIT, 1 },
                    t->k, t->ld, 0, v_ceil_div(reach, UNIT), t->ld, true);
        }
    }
}

/* After grad_scores(): dr of this chunk, and dqr of the block's rows where it is wanted. */
static void grad_add_relative(grad_run *t, bool distances, float *dqr) {
    const gal_k_attend_grad *a = t->a;
    const int64_t rows = tile_pad(t->rows),
                  part = (t->end - a->row_len) / a->row_len * a->distances * a->heads * a->size;
    rel_shift(t->shifted, t->ds, rows, v_pad(t->keys));
    if (dqr) rel_add_queries(dqr, t->shifted, t->rel, t->ld, rows);
    if (distances)
        rel_add_distances((float *)a->dr + part + t->head * a->size, &t->keys_by_distance, t->sum, t->shifted, t->qr,
                          t->ld, rows, grad_far(t));
}

/* Rows of an output (+)= scale * x. */
static void grad_store(const grad_run *t, void *out, int64_t at, int64_t stride, const float *x, int64_t rows,
                       float scale) {
    gal_dtype dt = t->a->dt;
    V s = v_set1(scale);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < t->a->size; i += VL) {
            int64_t m = v_left(t->a->size, i), to = at + r * stride + i;
            V y = v_mul(v_load(x + r * t->ld + i), s);
            if (t->a->accumulate) y = v_add(y, v_get(out, dt, to, m));
            v_put(out, dt, to, m, y);
        }
    }
}

static void grad_set_queries(grad_run *t, int64_t r0, int64_t head) {
    t->r0 = r0;
    t->rows = GAL_MIN(t->end - r0, QUERY_BLOCK);
    t->head = head;
}

/* dk and dv of all keys; dq too, where t->dq holds all rows. */
static void grad_walk_keys(grad_run *t, int64_t from, bool with_dq) {
    const gal_k_attend_grad *a = t->a;
    int64_t group = a->heads / a->kv_heads, per_head = tile_pad(a->row_len) * t->ld, kv = a->kv_heads * a->size;
    for (int64_t j = from; j < t->end; j += KEY_BLOCK) {
        grad_load_keys(t, j, GAL_MIN(t->end - j, KEY_BLOCK));
        memset(t->dk, 0, (size_t)(KEY_BLOCK * t->ld) * sizeof(float));
        memset(t->dv, 0, (size_t)(KEY_BLOCK * t->ld) * sizeof(float));
        for (int64_t h = 0; h < group; h++) {
            for (int64_t r = j; r < t->end; r += QUERY_BLOCK) { /* rows before j see none of these keys */
                grad_set_queries(t, r, t->g * group + h);
                if (!grad_meet(t)) break; /* nor do those behind the last that does */
                grad_load_queries(t);
                grad_scores(t);
                grad_add_keys(t);
                if (with_dq) grad_add_queries(t, t->dq + h * per_head + (r - from) * t->ld);
                if (t->qr) grad_add_relative(t, true, with_dq ? t->dqr + (r - from) * t->ld : NULL);
            }
        }
        grad_store(t, a->dk, j * kv + t->g * a->size, kv, t->dk, t->keys, UNIT == 1 ? 1.0F : (float)a->scale);
        grad_store(t, a->dv, j * kv + t->g * a->size, kv, t->dv, t->keys, 1.0F);
    }
}

/* dq alone, block of rows by block of rows. */
static void grad_walk_queries(grad_run *t, int64_t from) {
    const gal_k_attend_grad *a = t->a;
    int64_t group = a->heads / a->kv_heads;
    for (int64_t r = from; r < t->end; r += QUERY_BLOCK) {
        for (int64_t h = 0; h < group; h++) {
            grad_set_queries(t, r, t->g * group + h);
            grad_load_queries(t);
            memset(t->dq, 0, (size_t)grad_both(a, QUERY_BLOCK * t->ld) * sizeof(float));
            int64_t last = r + t->rows, at = (r * a->heads + t->head) * a->size, stride = a->heads * a->size;
            for (int64_t j = from + (grad_lo(a, r) - from) / KEY_BLOCK * KEY_BLOCK; j < last; j += KEY_BLOCK) {
                grad_load_keys(t, j, GAL_MIN(t->end - j, KEY_BLOCK));
                grad_scores(t);
                grad_add_queries(t, t->dq);
                if (t->qr) grad_add_relative(t, false, t->dqr);
            }
            grad_store(t, a->dq, at, stride, t->dq, t->rows, (float)a->scale);
            if (t->qr) grad_store(t, a->dqr, at, stride, t->dqr, t->rows, (float)a->scale);
        }
    }
}

/* Where what is relative lies, from `at` on; the chunk's part of dr is made zero. */
static void grad_set_relative(grad_run *t, float *at, int64_t from) {
    const gal_k_attend_grad *a = t->a;
    t->keys_by_distance = rel_of(a->r, a->dt, a->heads, t->g, a->size, a->distances);
    t->qr = at;
    t->rel = t->qr + QUERY_BLOCK * t->ld;
    t->turned = t->rel + REL_COLS * t->ld;
    t->shifted = t->turned + a->size * REL_COLS;
    t->sum = t->shifted + QUERY_BLOCK * REL_COLS;
    float *dr = (float *)a->dr + (from / a->row_len * a->distances * a->heads + t->g) * a->size;
    for (int64_t m = 0; m < a->distances; m++)
        memset(dr + m * a->heads * a->size, 0, (size_t)a->size * sizeof(float));
}

static int64_t grad_chunks(const void *args) {
    const gal_k_attend_grad *a = args;
    if (!grad_fits(a, QUERY_BLOCK * v_pad(a->size))) return other_chunks(GAL_K_ATTEND_GRAD, args);
    return a->n / a->row_len * a->kv_heads;
}

static void grad_chunk(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend_grad *a = args;
    int64_t ld = v_pad(a->size), tile = KEY_BLOCK * ld, group = a->heads / a->kv_heads;
    if (!grad_fits(a, QUERY_BLOCK * ld)) {
        other_run(GAL_K_ATTEND_GRAD, args, chunk, scratch);
        return;
    }
    int64_t from = chunk / a->kv_heads * a->row_len;
    grad_run t = { .a = a, .g = chunk % a->kv_heads, .ld = ld, .end = from + a->row_len };
    t.k = scratch;
    t.dk = t.k + tile;
    t.dv = t.dk + tile;
    t.q = t.dv + tile;
    t.dout = t.q + tile;
    t.p = t.dout + tile;
    t.ds = t.p + QUERY_BLOCK * KEY_BLOCK;
    t.kt = t.ds + QUERY_BLOCK * KEY_BLOCK;
    /* Halves of the same rooms where words are pairs. */
    t.q_row = t.q + (UNIT == 1 ? 0 : tile / 2);
    t.do_row = t.dout + (UNIT == 1 ? 0 : tile / 2);
    t.ds_row = t.ds + (UNIT == 1 ? 0 : QUERY_BLOCK * KEY_BLOCK / 2);
    t.vt = t.kt + a->size * KEY_BLOCK;
    t.lse = t.vt + a->size * KEY_BLOCK;
    t.delta = t.lse + QUERY_BLOCK;
    float *relative = t.delta + QUERY_BLOCK;
    if (a->r) grad_set_relative(&t, relative, from);
    t.dq = relative + grad_relative_floats(a);
    bool whole = grad_fits(a, grad_dq_floats(a));
    t.dqr = t.dq + (whole ? grad_dq_floats(a) : QUERY_BLOCK * ld);
    if (whole) memset(t.dq, 0, (size_t)grad_both(a, grad_dq_floats(a)) * sizeof(float));
    grad_walk_keys(&t, from, whole);
    if (!whole) {
        grad_walk_queries(&t, from);
        return;
    }
    for (int64_t h = 0; h < group; h++) {
        grad_store(&t, a->dq, (from * a->heads + t.g * group + h) * a->size, a->heads * a->size,
                   t.dq + h * tile_pad(a->row_len) * ld, a->row_len, (float)a->scale);
    }
    if (a->r)
        grad_store(&t, a->dqr, (from * a->heads + t.g) * a->size, a->heads * a->size, t.dqr, a->row_len,
                   (float)a->scale);
}

#endif
