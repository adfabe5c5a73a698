/* attend_body.h - attention of a block of rows, streaming over blocks of keys with a running maximum and sum
 * (arXiv:2205.14135, section 3.1), over the vector of vec_*.h. Included by attend_*.c.
 *
 * A chunk is (rows, key-value head): the query heads of the group share the keys that a block brings in. Within a
 * chunk the order of all sums is fixed by the arguments.
 * Invariant: rows i of a run are (row, head of the group) in that order, so both ends of a row's range of keys grow
 * with i. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ATTEND_BODY_H
#define GAL_KERNELS_CPU_ATTEND_BODY_H

#include <math.h>

enum { ATTEND_FEW = 8 }; /* queries up to which keys are not transposed */

typedef struct attend_run {
    const gal_k_attend *a;
    int64_t r0, rows, group, m, mp; /* rows [r0, r0 + rows), m = rows * group queries, mp padded */
    int64_t g, ld;                  /* key-value head; padded head size */
    float *q, *o;                   /* [mp, ld], q scaled */
    float *s;                       /* [mp, KEY_BLOCK] scores, then probabilities */
    float *kt, *v;                  /* [size, KEY_BLOCK], [KEY_BLOCK, ld] */
    float *max, *sum;               /* [mp] */
    int64_t *lo, *hi; /* [rows]: keys of the current block that a row sees, before cutting to the block */
} attend_run;

/* A block of up to KEY_BLOCK keys and values that lie evenly spaced. */
typedef struct attend_keys {
    const void *k, *v;
    gal_dtype dt;
    int64_t stride, n;
} attend_keys;

static int64_t attend_rows(const gal_k_attend *a) {
    int64_t r = 128 / (a->heads / a->kv_heads);
    return GAL_MAX(1, GAL_MIN(r, 64));
}

static bool attend_fits(const gal_k_attend *a) {
    int64_t rows = attend_rows(a), mp = tile_pad(rows * (a->heads / a->kv_heads)), ld = v_pad(a->size);
    int64_t floats = 2 * mp * ld + mp * KEY_BLOCK + a->size * KEY_BLOCK + KEY_BLOCK * ld + 2 * mp + 4 * rows;
    return v_act(a->dt) && (!a->ck || v_float(a->cdt)) && floats * 4 + 1024 <= GAL_SCRATCH_BYTES;
}

/* Scores of rows [i, i + 4) against the block; all keys in [0, n) are computed up to the last one that row sees. */
static void attend_scores(attend_run *t, const attend_keys *b, int64_t i, int64_t hi) {
    float *s = t->s + i * KEY_BLOCK;
    const float *q = t->q + i * t->ld;
    if (t->mp <= ATTEND_FEW) {
        tile_dots(s, q, b->k, b->dt, b->stride, hi, t->a->size);
    } else {
        tile_mm(s, KEY_BLOCK, (tile_lhs){ q, t->ld, 1 }, t->kt, KEY_BLOCK, 0, t->a->size, hi, false);
    }
}

/* Turns row i's scores in [lo, hi) into exp(score - max), zeros elsewhere in [0, end); scales o and sum to the new
 * max. */
static void attend_softmax(attend_run *t, int64_t i, int64_t lo, int64_t hi, int64_t end) {
    float *s = t->s + i * KEY_BLOCK;
    V ninf = v_set1(-INFINITY), mx = ninf, sum = v_zero();
    for (int64_t j = 0; j < end; j += VL) {
        V x = v_range(v_load(s + j), lo - j, hi - j, ninf);
        v_store(s + j, x);
        mx = v_max(mx, x);
    }
    float old = t->max[i], m = lo < hi ? v_hmax(mx) : -INFINITY;
    if (!isnan(m) && !(m > old)) m = old;
    if (lo >= hi || m < -FLT_MAX) { /* nothing to see yet (-infinity - -infinity is not a number) */
        for (int64_t j = 0; j < end; j += VL) v_store(s + j, v_zero());
        return;
    }
    V vm = v_set1(m);
    for (int64_t j = 0; j < end; j += VL) {
        V p = v_exp(v_sub(v_load(s + j), vm));
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    float scale = old < m ? expf(old - m) : 1.0F;
    t->sum[i] = t->sum[i] * scale + v_hsum(sum);
    t->max[i] = m;
    if (old < m && old >= -FLT_MAX) {
        V f = v_set1(scale);
        float *o = t->o + i * t->ld;
        for (int64_t d = 0; d < t->ld; d += VL) v_store(o + d, v_mul(v_load(o + d), f));
    }
}

/* One block of keys: t->lo and t->hi are set. */
static void attend_block(attend_run *t, const attend_keys *b) {
    int64_t first = 0, last = t->rows;
    while (first < last && t->hi[first] <= 0) first++;
    while (last > first && t->lo[last - 1] >= b->n) last--;
    if (first == last) return;
    int64_t size = t->a->size;
    const float *v = t->v;
    int64_t ldv = t->ld;
    if (t->mp > ATTEND_FEW) tile_transpose(t->kt, b->k, b->dt, b->stride, b->n, size);
    if (b->dt == GAL_F32 && size == t->ld) {
        v = (const float *)b->v;
        ldv = b->stride;
    } else {
        tile_pack(t->v, b->v, b->dt, b->stride, b->n, size, 1.0F);
    }
    for (int64_t i = first * t->group / TILE_ROWS * TILE_ROWS; i < last * t->group; i += TILE_ROWS) {
        int64_t ra = i / t->group, rb = GAL_MIN((i + TILE_ROWS - 1) / t->group, t->rows - 1);
        int64_t hi = GAL_MIN(t->hi[rb], b->n), lo = GAL_MAX(t->lo[ra], 0);
        if (hi <= lo) continue;
        attend_scores(t, b, i, hi);
        for (int64_t j = i; j < i + TILE_ROWS; j++) {
            int64_t r = GAL_MIN(j / t->group, rb);
            attend_softmax(t, j, GAL_MAX(t->lo[r], 0), GAL_MIN(t->hi[r], b->n), v_pad(hi));
        }
        tile_mm(t->o + i * t->ld, t->ld, (tile_lhs){ t->s + i * KEY_BLOCK, KEY_BLOCK, 1 }, v, ldv, lo, hi, t->ld,
                true);
    }
}

/* Cached keys of the document whose rows the run holds. */
static void attend_cache(attend_run *t) {
    const gal_k_attend *a = t->a;
    int64_t end = a->pos[a->start[t->r0]], w = a->window;
    int64_t p = w > 0 ? GAL_MAX(0, (int64_t)a->pos[t->r0] - w + 1) : 0;
    int64_t head = ((int64_t)a->seq[t->r0] * a->kv_heads + t->g) * a->slots;
    while (p < end) {
        int64_t slot = p % a->slots, n = GAL_MIN(GAL_MIN(end - p, KEY_BLOCK), a->slots - slot);
        for (int64_t r = 0; r < t->rows; r++) {
            t->lo[r] = w > 0 ? (int64_t)a->pos[t->r0 + r] - w + 1 - p : 0;
            t->hi[r] = n;
        }
        int64_t at = (head + slot) * a->size;
        attend_keys b = { v_at(a->ck, a->cdt, at), v_at(a->cv, a->cdt, at), a->cdt, a->size, n };
        attend_block(t, &b);
        p += n;
    }
}

/* Keys of this batch. */
static void attend_batch(attend_run *t) {
    const gal_k_attend *a = t->a;
    int64_t w = a->window, end = t->r0 + t->rows, stride = a->kv_heads * a->size;
    int64_t j = w > 0 ? GAL_MAX(a->start[t->r0], t->r0 - w + 1) : a->start[t->r0];
    for (; j < end; j += KEY_BLOCK) {
        int64_t n = GAL_MIN(end - j, KEY_BLOCK);
        for (int64_t r = 0; r < t->rows; r++) {
            int64_t row = t->r0 + r, lo = a->start[row];
            if (w > 0) lo = GAL_MAX(lo, row - w + 1);
            t->lo[r] = lo - j;
            t->hi[r] = row + 1 - j;
        }
        int64_t at = j * stride + t->g * a->size;
        attend_keys b = { v_at(a->k, a->dt, at), v_at(a->v, a->dt, at), a->dt, stride, n };
        attend_block(t, &b);
    }
}

static void attend_run_rows(const gal_k_attend *a, int64_t g, int64_t r0, int64_t rows, float *scratch) {
    int64_t group = a->heads / a->kv_heads, m = rows * group, mp = tile_pad(m), ld = v_pad(a->size);
    attend_run t = { .a = a, .r0 = r0, .rows = rows, .group = group, .m = m, .mp = mp, .g = g, .ld = ld };
    t.q = scratch;
    t.o = t.q + mp * ld;
    t.v = t.o + mp * ld;
    t.s = t.v + KEY_BLOCK * ld;
    t.kt = t.s + mp * KEY_BLOCK;
    t.lo = (int64_t *)(void *)(t.kt + a->size * KEY_BLOCK);
    t.hi = t.lo + rows;
    t.max = (float *)(void *)(t.hi + rows);
    t.sum = t.max + mp;
    memset(t.q + m * ld, 0, (size_t)((mp - m) * ld) * sizeof(float));
    memset(t.o, 0, (size_t)(mp * ld) * sizeof(float));
    for (int64_t i = 0; i < mp; i++) {
        t.max[i] = -INFINITY;
        t.sum[i] = 0.0F;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = ((r0 + r) * a->heads + g * group) * a->size;
        tile_pack(t.q + r * group * ld, v_at(a->q, a->dt, at), a->dt, a->size, group, a->size, (float)a->scale);
    }
    if (a->ck) attend_cache(&t);
    attend_batch(&t);
    for (int64_t i = 0; i < m; i++) {
        int64_t row = (r0 + i / group) * a->heads + g * group + i % group;
        V inv = v_set1(1.0F / t.sum[i]);
        for (int64_t d = 0; d < a->size; d += VL) {
            v_put(a->o, a->dt, row * a->size + d, v_left(a->size, d), v_mul(v_load(t.o + i * ld + d), inv));
        }
        if (a->lse) ((float *)a->lse)[row] = t.max[i] + logf(t.sum[i]);
    }
}

static int64_t attend_chunks(const void *args) {
    const gal_k_attend *a = args;
    if (!attend_fits(a)) return v_ref_chunks(GAL_K_ATTEND, args);
    return v_ceil_div(a->n, attend_rows(a)) * a->kv_heads;
}

static void attend_chunk(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend *a = args;
    if (!attend_fits(a)) {
        v_ref_run(GAL_K_ATTEND, args, chunk, scratch);
        return;
    }
    /* The last rows have the most keys: they come first, so that no thread begins the longest piece at the end. */
    int64_t block = attend_rows(a), blocks = v_ceil_div(a->n, block), r0 = (blocks - 1 - chunk / a->kv_heads) * block;
    int64_t end = GAL_MIN(r0 + block, a->n), g = chunk % a->kv_heads;
    while (r0 < end) {
        int64_t r1 = end; /* with a cache, rows of one document at a time: others have other cached keys */
        if (a->ck) {
            for (r1 = r0 + 1; r1 < end && a->start[r1] == a->start[r0];) r1++;
        }
        attend_run_rows(a, g, r0, r1 - r0, scratch);
        r0 = r1;
    }
}

#endif
