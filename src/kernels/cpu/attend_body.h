/* attend_body.h - attention of a block of rows, streaming over blocks of keys with a running maximum and sum
 * (arXiv:2205.14135, section 3.1), over the vector of vec_*.h. Included by attend_*.c.
 *
 * A chunk is (rows, key-value head, piece of the cached keys): the query heads of the group share the keys that a
 * block brings in. Cached keys are cut where there are few rows: so many that threads want more chunks than there are
 * heads; ATTEND_JOIN adds the pieces up in their order. Within a chunk the order of all sums is fixed by the
 * arguments. Where words are pairs (tile.h) there is no cache, and probabilities are rounded to bf16 before they meet
 * values. Invariant: rows i of a run are (row, head of the group) in that order, so both ends of a row's range of
 * keys grow with i. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ATTEND_BODY_H
#define GAL_KERNELS_CPU_ATTEND_BODY_H

#include <math.h>

#include "kernels/cpu/attend_few_body.h"
#include "kernels/cpu/relative_body.h"

enum { PIECE_KEYS = 512 }; /* the shortest piece worth a chunk */

typedef struct attend_run {
    const gal_k_attend *a;
    int64_t r0, rows, group, m, mp; /* rows [r0, r0 + rows), m = rows * group queries, mp padded */
    bool few;                       /* queries: attend_few_body.h */
    few_room room;
    int64_t g, ld;            /* key-value head; padded head size */
    float *q;                 /* [mp, ld / UNIT], floats are scaled */
    float *o;                 /* [mp, ld] */
    float *s;                 /* [mp, KEY_BLOCK] scores, then probabilities */
    float *kt, *v;            /* [size / UNIT, KEY_BLOCK], [KEY_BLOCK / UNIT, ld] */
    float *max, *sum;         /* [mp] */
    float *qr, *rel, *turned; /* relative positions: [mp, ld], scaled; rel_load()'s */
    int64_t *lo, *hi;         /* [rows]: keys of the current block that a row sees, before cutting to the block */
} attend_run;

/* A block of up to KEY_BLOCK keys and values that lie evenly spaced, stride in numbers. */
typedef struct attend_keys {
    const void *k, *v;
    gal_dtype dt;
    int64_t stride, n;
    int64_t far; /* how far back the first of them is from the last of mp rows */
} attend_keys;

/* What one document's cached keys are cut into: `count` pieces of `length` from position `first` on, up to `end`. */
typedef struct attend_pieces {
    int64_t first, end, length, count;
} attend_pieces;

static int64_t attend_rows(const gal_k_attend *a) {
    int64_t r = 128 / (a->heads / a->kv_heads);
    return GAL_MAX(1, GAL_MIN(r, 64));
}

static bool attend_fits(const gal_k_attend *a) {
    int64_t rows = attend_rows(a), mp = tile_pad(rows * (a->heads / a->kv_heads)), ld = v_pad(a->size);
    int64_t floats = 2 * mp * ld + mp * KEY_BLOCK + a->size * KEY_BLOCK + KEY_BLOCK * ld + 2 * mp + 4 * rows;
    floats += few_room_floats(a->size);
    if (a->r) floats += mp * ld + REL_COLS * (ld + a->size);
    bool cache = !a->ck || v_float(a->cdt) || (key_blocks(a->cdt) && a->size % NUMBERS == 0);
    if (UNIT == 2 && (a->ck || a->r)) return false;
    return tile_takes(a->dt, a->size) && cache && (!a->r || a->heads == a->kv_heads) &&
           floats * 4 + 1024 <= GAL_SCRATCH_BYTES;
}

/* Of the document that row r belongs to. */
static attend_pieces attend_cut(const gal_k_attend *a, int64_t r) {
    if (!a->ck) return (attend_pieces){ .count = 1 };
    int64_t start = a->start[r], end = a->pos[start], first = a->window > 0 ? GAL_MAX(0, end - a->window + 1) : 0;
    attend_pieces p = { first, end, GAL_MAX(end - first, 1), 1 };
    if (!a->part || a->n > GAL_ATTEND_SPLIT || end - first < 2 * PIECE_KEYS) return p;
    int64_t length = v_ceil_div(v_ceil_div(end - first, GAL_ATTEND_PIECES), KEY_BLOCK) * KEY_BLOCK;
    p.length = GAL_MAX(length, PIECE_KEYS);
    p.count = v_ceil_div(end - first, p.length);
    return p;
}
static int64_t attend_most_pieces(const gal_k_attend *a) {
    int64_t most = 1;
    for (int64_t r = 0; a->part && a->n <= GAL_ATTEND_SPLIT && r < a->n; r++)
        most = GAL_MAX(most, attend_cut(a, r).count);
    return most;
}
static float *attend_part(const gal_k_attend *a, int64_t row, int64_t head, int64_t piece) {
    return a->part + ((row * a->heads + head) * GAL_ATTEND_PIECES + piece) * (a->size + 2);
}

/* Row i's sums under a new largest score m, before those of a block are added. */
VINLINE void attend_raise(attend_run *t, int64_t i, float m, V sum) {
    float old = t->max[i], scale = old < m ? expf(old - m) : 1.0F;
    t->sum[i] = t->sum[i] * scale + v_hsum(sum);
    t->max[i] = m;
    if (old < m && old >= -FLT_MAX) {
        V f = v_set1(scale);
        float *o = t->o + i * t->ld;
        for (int64_t d = 0; d < t->ld; d += VL) v_store(o + d, v_mul(v_load(o + d), f));
    }
}

/* s[0, end) = exp(s - max); their sums by lanes. The number of a whole block is known when it is compiled. */
VINLINE V attend_exp(float *s, int64_t end, V max) {
    V sum = v_zero();
    for (int64_t j = 0; j < end; j += VL) {
        V p = v_exp(v_sub(v_load(s + j), max));
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    return sum;
}

/* Turns row i's scores in [lo, hi) into exp(score - max), zeros elsewhere in [0, end); scales o and sum to the new
 * max. */
static void attend_softmax(attend_run *t, int64_t i, int64_t lo, int64_t hi, int64_t end) {
    float *s = t->s + i * KEY_BLOCK;
    const bool whole = lo <= 0 && hi >= KEY_BLOCK && end == KEY_BLOCK;
    V ninf = v_set1(-INFINITY), mx = ninf;
    if (whole) {
        for (int64_t j = 0; j < KEY_BLOCK; j += VL) mx = v_max(mx, v_load(s + j));
    } else {
        for (int64_t j = 0; j < end; j += VL) {
            V x = v_range(v_load(s + j), lo - j, hi - j, ninf);
            v_store(s + j, x);
            mx = v_max(mx, x);
        }
    }
    float old = t->max[i], m = lo < hi ? v_hmax(mx) : -INFINITY;
    if (!isnan(m) && !(m > old)) m = old;
    if (lo >= hi || m < -FLT_MAX) { /* nothing to see yet (-infinity - -infinity is not a number) */
        for (int64_t j = 0; j < end; j += VL) v_store(s + j, v_zero());
        return;
    }
    attend_raise(t, i, m, whole ? attend_exp(s, KEY_BLOCK, v_set1(m)) : attend_exp(s, end, v_set1(m)));
}

/* The block's keys turned into t->kt; its values, which are in t->v where they need a conversion. */
static const float *attend_load(attend_run *t, const attend_keys *b) {
    const int64_t size = t->a->size;
    if (key_blocks(b->dt)) {
        const int64_t stride = key_span(b->dt, b->stride);
        key_unpack(t->v, (few_keys){ b->k, b->dt, stride, b->n, size });
        tile_transpose(t->kt, t->v, GAL_F32, t->ld, b->n, size);
        key_unpack(t->v, (few_keys){ b->v, b->dt, stride, b->n, size });
        return t->v;
    }
    if (UNIT == 2) {
        tile_turn(t->kt, b->k, b->dt, b->stride, b->n, size);
        tile_down(t->v, b->v, b->dt, b->stride, b->n, size, 1.0F);
        return t->v;
    }
    tile_transpose(t->kt, b->k, b->dt, b->stride, b->n, size);
    if (b->dt == GAL_F32 && size == t->ld) return b->v;
    tile_pack(t->v, b->v, b->dt, b->stride, b->n, size, 1.0F);
    return t->v;
}

/* Of four rows of scores: floats are whole already. */
static void attend_scale(const attend_run *t, float *s, int64_t keys) {
    if (UNIT == 1) return;
    const V scale = v_set1((float)t->a->scale);
    for (int64_t r = 0; r < TILE_ROWS; r++)
        for (int64_t j = 0; j < keys; j += VL)
            v_store(s + r * KEY_BLOCK + j, v_mul(v_load(s + r * KEY_BLOCK + j), scale));
}

/* o of four rows += their probabilities of keys [lo, hi), which are zeros up to whole vectors, times the values. */
static void attend_values(attend_run *t, int64_t i, const float *v, int64_t ldv, int64_t lo, int64_t hi) {
    const float *p = t->s + i * KEY_BLOCK;
#ifdef TILE_PAIRS
    float words[TILE_ROWS * KEY_BLOCK / 2];
    for (int64_t j = 0; j < TILE_ROWS * KEY_BLOCK; j += VL)
        v_store16((char *)words + 2 * j, v_round16(v_load(p + j)), VL);
    p = words;
#endif
    tile_mm(t->o + i * t->ld, t->ld, (tile_lhs){ p, KEY_BLOCK / UNIT, 1 }, v, ldv, lo / UNIT, v_ceil_div(hi, UNIT),
            t->ld, true);
}

/* Rows [first, last) see some of the block. */
static void attend_block_few(attend_run *t, const attend_keys *b, int64_t first, int64_t last) {
    const int64_t hi = GAL_MIN(t->hi[last - 1], b->n), lo = GAL_MAX(t->lo[first], 0), size = t->a->size;
    const few_keys k = { b->k, b->dt, key_span(b->dt, b->stride), b->n, size };
    few_all_scores(t->s, t->q, t->ld, &t->room, &k, hi, t->mp);
    for (int64_t j = 0; j < t->mp; j++) {
        int64_t r = GAL_MIN(j / t->group, t->rows - 1);
        attend_softmax(t, j, GAL_MAX(t->lo[r], 0), GAL_MIN(t->hi[r], b->n), v_pad(hi));
    }
    const few_keys v = { b->v, b->dt, k.stride, b->n, size };
    few_all_values(t->o, t->ld, t->s, &v, &t->room, lo, hi, t->mp);
}

/* One block of keys: t->lo and t->hi are set. */
static void attend_block(attend_run *t, const attend_keys *b) {
    int64_t first = 0, last = t->rows;
    while (first < last && t->hi[first] <= 0) first++;
    while (last > first && t->lo[last - 1] >= b->n) last--;
    if (first == last) return;
    if (t->few) {
        attend_block_few(t, b, first, last);
        return;
    }
    const float *v = attend_load(t, b);
    int64_t ldv = v == t->v ? t->ld : b->stride;
    if (t->qr) {
        const rel_keys k = rel_of(t->a->r, t->a->dt, t->a->heads, t->g, t->a->size, t->a->distances);
        rel_load(t->rel, t->turned, &k, b->far);
    }
    for (int64_t i = first * t->group / TILE_ROWS * TILE_ROWS; i < last * t->group; i += TILE_ROWS) {
        int64_t ra = i / t->group, rb = GAL_MIN((i + TILE_ROWS - 1) / t->group, t->rows - 1);
        int64_t hi = GAL_MIN(t->hi[rb], b->n), lo = GAL_MAX(t->lo[ra], 0);
        if (hi <= lo) continue;
        const int64_t ldq = t->ld / UNIT;
        tile_mm(t->s + i * KEY_BLOCK, KEY_BLOCK, (tile_lhs){ t->q + i * ldq, ldq, 1 }, t->kt, KEY_BLOCK, 0,
                t->a->size / UNIT, hi, false);
        attend_scale(t, t->s + i * KEY_BLOCK, hi);
        if (t->qr) rel_scores(t->s + i * KEY_BLOCK, t->qr + i * t->ld, t->ld, t->turned, t->a->size, t->mp, i, hi);
        for (int64_t j = i; j < i + TILE_ROWS; j++) {
            int64_t r = GAL_MIN(j / t->group, rb);
            attend_softmax(t, j, GAL_MAX(t->lo[r], 0), GAL_MIN(t->hi[r], b->n), v_pad(hi));
        }
        attend_values(t, i, v, ldv, lo, hi);
    }
}

/* Cached keys in [p, end) of the document whose rows the run holds. */
static void attend_cache(attend_run *t, int64_t p, int64_t end) {
    const gal_k_attend *a = t->a;
    int64_t w = a->window;
    if (w > 0) p = GAL_MAX(p, (int64_t)a->pos[t->r0] - w + 1);
    int64_t head = ((int64_t)a->seq[t->r0] * a->kv_heads + t->g) * a->slots;
    while (p < end) {
        int64_t slot = p % a->slots, n = GAL_MIN(GAL_MIN(end - p, KEY_BLOCK), a->slots - slot);
        for (int64_t r = 0; r < t->rows; r++) {
            t->lo[r] = w > 0 ? (int64_t)a->pos[t->r0 + r] - w + 1 - p : 0;
            t->hi[r] = n;
        }
        int64_t at = key_span(a->cdt, (head + slot) * a->size);
        attend_keys b = { (const char *)a->ck + at,     (const char *)a->cv + at, a->cdt, a->size, n,
                          a->pos[t->r0] + t->mp - 1 - p };
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
        attend_keys b = { v_at(a->k, a->dt, at), v_at(a->v, a->dt, at), a->dt, stride, n, t->r0 + t->mp - 1 - j };
        attend_block(t, &b);
    }
}

/* What the run has of its rows: the result, or its part of it. */
static void attend_store(const attend_run *t, int64_t piece, bool whole) {
    const gal_k_attend *a = t->a;
    for (int64_t i = 0; i < t->m; i++) {
        int64_t row = t->r0 + i / t->group, head = t->g * t->group + i % t->group, at = row * a->heads + head;
        if (!whole) {
            float *part = attend_part(a, row, head, piece);
            part[0] = t->max[i];
            part[1] = t->sum[i];
            memcpy(part + 2, t->o + i * t->ld, (size_t)a->size * sizeof(float));
            continue;
        }
        V inv = v_set1(1.0F / t->sum[i]);
        for (int64_t d = 0; d < a->size; d += VL) {
            v_put(a->o, a->dt, at * a->size + d, v_left(a->size, d), v_mul(v_load(t->o + i * t->ld + d), inv));
        }
        if (a->lse) ((float *)a->lse)[at] = t->max[i] + logf(t->sum[i]);
    }
}

/* Query heads of a row, as tile_along() would, without whole tiles. */
static void attend_queries(float *q, const gal_k_attend *a, int64_t at, int64_t heads) {
    if (UNIT == 1)
        tile_pack(q, v_at(a->q, a->dt, at), a->dt, a->size, heads, a->size, (float)a->scale);
    else
        for (int64_t h = 0; h < heads; h++, q += v_pad(a->size) / UNIT)
            memcpy(q, v_at(a->q, a->dt, at + h * a->size), (size_t)a->size * 2);
}

/* Piece `piece` of what rows of one document see; the keys of this batch belong to the last one. */
static void attend_run_rows(const gal_k_attend *a, int64_t g, int64_t r0, int64_t rows, int64_t piece,
                            float *scratch) {
    const attend_pieces cut = attend_cut(a, r0);
    if (piece >= cut.count) return;
    const int64_t group = a->heads / a->kv_heads, m = rows * group, ld = v_pad(a->size);
    const bool few = UNIT == 1 && !a->r && m <= FEW_MAX && few_takes(a->dt, a->size) &&
                     (!a->ck || few_takes(a->cdt, a->size));
    int64_t mp = few ? few_pad(m) : tile_pad(m);
    attend_run t = { .a = a, .r0 = r0, .rows = rows, .group = group, .m = m, .mp = mp, .few = few, .g = g, .ld = ld };
    t.q = scratch;
    t.o = t.q + mp * ld;
    t.v = t.o + mp * ld;
    t.s = t.v + KEY_BLOCK * ld;
    t.kt = t.s + mp * KEY_BLOCK;
    t.lo = (int64_t *)(void *)(t.kt + a->size * KEY_BLOCK);
    t.hi = t.lo + rows;
    t.max = (float *)(void *)(t.hi + rows);
    t.sum = t.max + mp;
    if (few) t.room = few_room_at(t.sum + mp, a->size);
    if (a->r) {
        t.qr = t.sum + mp;
        t.rel = t.qr + mp * ld;
        t.turned = t.rel + REL_COLS * ld;
        memset(t.qr + m * ld, 0, (size_t)((mp - m) * ld) * sizeof(float));
    }
    memset(t.q + m * (ld / UNIT), 0, (size_t)((mp - m) * (ld / UNIT)) * sizeof(float));
    memset(t.o, 0, (size_t)(mp * ld) * sizeof(float));
    for (int64_t i = 0; i < mp; i++) {
        t.max[i] = -INFINITY;
        t.sum[i] = 0.0F;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = ((r0 + r) * a->heads + g * group) * a->size;
        attend_queries(t.q + r * group * (ld / UNIT), a, at, group);
        if (a->r) tile_pack(t.qr + r * ld, v_at(a->qr, a->dt, at), a->dt, a->size, 1, a->size, (float)a->scale);
    }
    const int64_t from = cut.first + piece * cut.length;
    if (a->ck) attend_cache(&t, from, GAL_MIN(cut.end, from + cut.length));
    if (piece == cut.count - 1) attend_batch(&t);
    attend_store(&t, piece, cut.count == 1);
}

static int64_t attend_chunks(const void *args) {
    const gal_k_attend *a = args;
    if (!attend_fits(a)) return other_chunks(GAL_K_ATTEND, args);
    return v_ceil_div(a->n, attend_rows(a)) * a->kv_heads * attend_most_pieces(a);
}

static void attend_chunk(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend *a = args;
    if (!attend_fits(a)) {
        other_run(GAL_K_ATTEND, args, chunk, scratch);
        return;
    }
    /* The last rows have the most keys: they come first, so that no thread begins the longest piece at the end. */
    int64_t block = attend_rows(a), blocks = v_ceil_div(a->n, block), pieces = attend_most_pieces(a);
    int64_t g = chunk / pieces % a->kv_heads, r0 = (blocks - 1 - chunk / pieces / a->kv_heads) * block;
    int64_t end = GAL_MIN(r0 + block, a->n);
    while (r0 < end) {
        int64_t r1 = end; /* with a cache, rows of one document at a time: others have other cached keys */
        if (a->ck) {
            for (r1 = r0 + 1; r1 < end && a->start[r1] == a->start[r0];) r1++;
        }
        attend_run_rows(a, g, r0, r1 - r0, chunk % pieces, scratch);
        r0 = r1;
    }
}

#ifndef TILE_PAIRS
/* ---- pieces joined -----------------------------------------------------------------------------------------------
 */

enum { JOIN_HEADS = 64 }; /* of a chunk: one chunk, which wakes nobody, where a few rows are decoded */

static int64_t join_chunks(const void *args) {
    const gal_k_attend *a = args;
    return attend_fits(a) && attend_most_pieces(a) > 1 ? v_ceil_div(a->n * a->heads, JOIN_HEADS) : 0;
}

/* One head of one row: pieces in their order, each under the largest score of all. */
static void join_head(const gal_k_attend *a, int64_t row, int64_t head, int64_t count) {
    const float *part = attend_part(a, row, head, 0);
    const int64_t step = a->size + 2, at = row * a->heads + head;
    float max = -INFINITY, sum = 0.0F, weight[GAL_ATTEND_PIECES];
    for (int64_t i = 0; i < count; i++)
        if (isnan(part[i * step]) || part[i * step] > max) max = part[i * step];
    for (int64_t i = 0; i < count; i++) { /* a piece of which nothing is seen: exp(-infinity) */
        weight[i] = part[i * step + 1] > 0.0F || isnan(part[i * step + 1]) ? expf(part[i * step] - max) : 0.0F;
        sum += weight[i] * part[i * step + 1];
    }
    V inv = v_set1(1.0F / sum);
    for (int64_t d = 0; d < a->size; d += VL) {
        V x = v_zero();
        const int64_t m = v_left(a->size, d);
        for (int64_t i = 0; i < count; i++)
            x = v_fma(v_set1(weight[i]), v_get(part + i * step + 2, GAL_F32, d, m), x);
        v_put(a->o, a->dt, at * a->size + d, m, v_mul(x, inv));
    }
    if (a->lse) ((float *)a->lse)[at] = max + logf(sum);
}

static void join_chunk(const void *args, int64_t chunk, void *scratch) {
    const gal_k_attend *a = args;
    (void)scratch;
    int64_t end = GAL_MIN(a->n * a->heads, (chunk + 1) * JOIN_HEADS);
    for (int64_t i = chunk * JOIN_HEADS; i < end; i++) {
        const attend_pieces cut = attend_cut(a, i / a->heads);
        if (cut.count > 1) join_head(a, i / a->heads, i % a->heads, cut.count);
    }
}

#endif /* TILE_PAIRS */

#endif
