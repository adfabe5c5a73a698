/* i8_body.h - products of small integers with weights in blocks (kernels.h, GAL_K_GEMM_I8), compiled once a level
 * into i8_*.c. docs/internals/int8.md explains it line by line.
 *
 *     C[i, j] = sum_b scale_a[i, b] scale_w[j, b] (sum of 32 products of integers) - sum_b sum_a[i, b] min_w[j, b]
 *
 * A chunk is some columns of C, a panel of PANEL columns at a time. Of each panel 256 numbers of k are taken apart
 * into a slab that stays in L1 (i8_formats.h); then up to TILE rows of A pass, ROWS of them at a time: each word of
 * four integers of a row is spread over a vector and multiplied with the quads of COLS vectors of columns. So weights
 * are taken apart once for many rows, and one row alone is bound by reading them. Whatever the number of rows, a
 * number of C is summed in the order of k, so its bytes depend on nothing else.
 *
 * Before, the including file defines
 *
 *   VW            lanes of a vector, rows of a weight and columns of C
 *   COLS, ROWS    vectors of columns and rows of A whose sums are in registers
 *   F, S, U, B    vectors of VW floats, int32, uint32, and the same as bytes
 *   f_set1, f_fma, f_half (VW f16), s_set1, i8_pairs (VW uint16), i8_turn(U x[VW]) (a transposition)
 *   I8_LOADED(x)  an operand of inline assembly that a vector of integers is in a register
 *   i8_offset(natural), i8_start(bias, natural)
 *                 see i8_formats.h; what a sum starts with so that the offset is undone
 *   i8_dot(S, U w, S a, wide)
 *                 sums + the four products of each lane; or, with I8_PRODUCTS, i8_products() instead
 *   i8_look_up(U q, table)
 *                 table[byte] for each byte below 16
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_BODY_H
#define GAL_KERNELS_CPU_I8_BODY_H

#include "base/pool.h"
#include "kernels/experts.h"
#include "kernels/i8.h"
#include "tensor/pack.h"

#include <string.h>

enum {
    PANEL = COLS * VW,
    GROUPS = PANEL > GAL_PACK_ROWS ? PANEL / GAL_PACK_ROWS : 1,
    LEAST = GROUPS > 1 ? (int)PANEL : (int)GAL_PACK_ROWS, /* columns that are written together at the end of a row */
    UNIT_BYTES = 2 * GAL_PACK_UNIT * GAL_PACK_ROWS
};

enum {
    STRIP = 128, /* columns of a chunk where there are many rows */
    TILE = 256,  /* rows of A that a chunk takes */
    MANY = 16,   /* rows of A from which on it no longer counts most to read the weights */
    MOST_STRIP = 256,
    FEW = VW < 16 ? 1 : 2, /* rows of A that i8_few.h takes at a time */
    MOST_FEW = 2 * FEW,    /* and at most */
    FEW_AHEAD = 8192,      /* bytes of weights to fetch ahead then */
    QUADS = GAL_PACK_UNIT / 4,
    SUBS = GAL_PACK_UNIT / 16
};
_Static_assert((int)GAL_PACK_UNIT == (int)GAL_I8_UNIT, "units of weights and activations are the same columns");
_Static_assert(STRIP % PANEL == 0 && PANEL % VW == 0 && GAL_PACK_ROWS % VW == 0, "whole panels");

/* The scratch of a chunk. */
typedef struct i8_room {
    uint8_t q[GAL_PACK_UNIT * PANEL];
    float scale[SUBS * PANEL], min[SUBS * PANEL];
    uint8_t unit[UNIT_BYTES]; /* packed here where it was not before */
    float sums[];             /* [rows, columns of the chunk] */
} i8_room;
_Static_assert(sizeof(i8_room) + (size_t)TILE * STRIP * 4 <= GAL_SCRATCH_BYTES &&
                   sizeof(i8_room) + (size_t)MANY * MOST_STRIP * 4 <= GAL_SCRATCH_BYTES,
               "sums must fit the scratch");

/* Rows of a unit of A, `stride` bytes apart, and where in a row its numbers begin. */
typedef struct i8_rows {
    const char *q;
    size_t stride, scale, sum, bias;
} i8_rows;

GAL__INLINE float float_at(const char *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}
GAL__INLINE int32_t int_at(const char *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* s[r][c] += the products of `quads` words of row r of A with those of vector c of columns. */
#ifndef I8_PRODUCTS
GAL__INLINE void i8_products(const int R, const int quads, const bool wide, const char *a, size_t stride,
                             const uint8_t *q, S s[ROWS][COLS]) {
    GAL__UNROLL
    for (int t = 0; t < quads; t++) {
        U x[COLS];
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) memcpy(&x[c], q + 4 * VW * c, sizeof(U)); /* one by one: into registers */
        q += sizeof x;
        GAL__UNROLL
        for (int r = 0; r < R; r++) {
            const S y = s_set1(int_at(a + (size_t)r * stride + 4 * t));
            GAL__UNROLL
            for (int c = 0; c < COLS; c++) s[r][c] = i8_dot(s[r][c], x[c], y, wide);
        }
    }
}
#endif

/* A sum of products, which began at GAL_I8_START, as its number times the scale, rounded once: fma(1.5 2^23 + sum,
 * scale, -1.5 2^23 scale), whose last operand is exact. Levels without such an operation convert. */
GAL__INLINE F i8_undo(F scale) { return scale * -12582912.0f; }
GAL__INLINE F i8_scaled(S sum, F scale, F undo, const bool fused) {
    if (FUSED && fused) return f_fma((F)sum, scale, undo);
    return __builtin_convertvector(sum - s_set1(GAL_I8_START), F) * scale;
}

/* Where a sum of bytes as the file has them starts: -natural (q[0] + ..), from -128 times that. */
GAL__INLINE S i8_start_natural(const char *bias, int natural) {
    if (natural == 0) return s_set1(GAL_I8_START);
    return s_set1(GAL_I8_START + (int_at(bias) - GAL_I8_START) * natural / GAL_I8_OFFSET);
}

#include "kernels/cpu/i8_formats.h"

#include "kernels/cpu/i8_few.h"

#include "kernels/cpu/i8_pack.h"

/* What the micro-kernels below are made for. */
#define GAL__I8_CHECK(block, name, natural, halves, mins, wide, fused)                                               \
    _Static_assert(!((halves) && (wide)) && !((mins) && ((wide) || (natural))) && ((fused) || (wide)) &&             \
                       ((natural) & ((natural)-1)) == 0 && (natural) < GAL_I8_OFFSET,                                \
                   #block ": see docs/internals/int8.md, a new format");
GAL__I8_FORMATS(GAL__I8_CHECK)

#define GAL__I8_SLAB_OF(block, name, ...)                                                                            \
    static void slab_##name(const unit *u, const slab *to) {                                                         \
        const slab plain = { to->q, to->scale, to->min, NULL };                                                      \
        unpack_##name(u, &plain);                                                                                    \
    }
GAL__I8_FORMATS(GAL__I8_SLAB_OF)

typedef struct i8_format {
    void (*unpack)(const unit *u, const slab *to); /* NULL: no such format */
    int (*few)(const unit *u, int64_t rows, const i8_rows *a, float *y, int64_t lds, bool onto);
    int natural;
    bool halves, mins, wide, fused;
} i8_format;

static i8_format i8_format_of(uint32_t block) {
#define GAL__I8_ENTRY(block, name, ...) [GAL_BLOCK_##block] = { slab_##name, few_##name, __VA_ARGS__ },
    static const i8_format FORMATS[] = { GAL__I8_FORMATS(GAL__I8_ENTRY) };
#undef GAL__I8_ENTRY
    return block < GAL_LEN(FORMATS) ? FORMATS[block] : (i8_format){ 0 };
}

/* What is read after this. A little of it is fetched with every 32 (16) numbers: in a burst it would fill the
 * processor's list of lines under way. Either rows of A to come, in GROUPS streams of rows that are `row` bytes
 * apart; or, where that is 0, `sub` bytes of each of GROUPS groups of weights. */
typedef struct i8_next {
    const char *p[GROUPS];
    size_t row, sub;
} i8_next;

GAL__INLINE void i8_fetch(const i8_next *next, const int R, int64_t b, const bool halves) {
    if (next->row) {
        GAL__UNROLL
        for (int r = 0; r < R; r++)
            __builtin_prefetch(next->p[r % GROUPS] + (size_t)(r / GROUPS) * next->row + (halves ? 32 : 64) * b);
        return;
    }
    for (int i = 0; i < GROUPS; i++)
        for (size_t at = 0; at < next->sub; at += 64) __builtin_prefetch(next->p[i] + (size_t)b * next->sub + at);
}

/* R rows by COLS vectors: adds the numbers of `subs` groups of 32 (or 16) to sums, which are lds floats apart. */
GAL__INLINE void i8_micro(const int R, int natural, const bool halves, const bool mins, const bool wide,
                          const bool fused, const i8_rows *a, const i8_room *w, const i8_next *next, int64_t subs,
                          float *sums, int64_t lds, bool onto) {
    F acc[ROWS][COLS];
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) {
            if (onto)
                memcpy(&acc[r][c], sums + r * lds + c * VW, sizeof(F));
            else
                acc[r][c] = f_set1(0);
        }
    }
    const int quads = halves ? 4 : 8;
    const uint8_t *q = w->q;
    const char *aq = a->q;
    for (int64_t b = 0; b < subs; b++) {
        S s[ROWS][COLS];
        GAL__UNROLL
        for (int r = 0; r < R; r++) {
            GAL__UNROLL
            for (int c = 0; c < COLS; c++)
                s[r][c] = mins ? s_set1(GAL_I8_START)
                               : i8_start(a->q + (size_t)r * a->stride + a->bias + 4 * (size_t)b, natural);
        }
        i8_products(R, quads, wide, aq, a->stride, q, s);
        q += quads * PANEL * 4;
        aq += 4 * quads;
        i8_fetch(next, R, b, halves);
        F scale[COLS], min[COLS], undo[COLS];
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) {
            memcpy(&scale[c], w->scale + b * PANEL + c * VW, sizeof(F));
            undo[c] = i8_undo(scale[c]);
            if (mins) memcpy(&min[c], w->min + b * PANEL + c * VW, sizeof(F));
        }
        GAL__UNROLL
        for (int r = 0; r < R; r++) {
            const char *row = a->q + (size_t)r * a->stride;
            const F d = f_set1(float_at(row + a->scale + 4 * (size_t)(halves ? b / 2 : b)));
            const F sum = mins ? f_set1(float_at(row + a->sum + 4 * (size_t)b)) : d;
            GAL__UNROLL
            for (int c = 0; c < COLS; c++) {
                acc[r][c] = f_fma(i8_scaled(s[r][c], scale[c], undo[c], fused), d, acc[r][c]);
                if (mins) acc[r][c] = f_fma(sum, min[c], acc[r][c]);
            }
        }
    }
    GAL__UNROLL
    for (int r = 0; r < R; r++) {
        GAL__UNROLL
        for (int c = 0; c < COLS; c++) memcpy(sums + r * lds + c * VW, &acc[r][c], sizeof(F));
    }
}

#define GAL__I8_MICRO(R)                                                                                             \
    case R:                                                                                                          \
        if (f->halves && f->mins)                                                                                    \
            i8_micro(R, f->natural, true, true, false, true, a, w, next, subs, sums, lds, onto);                     \
        else if (f->halves)                                                                                          \
            i8_micro(R, f->natural, true, false, false, true, a, w, next, subs, sums, lds, onto);                    \
        else if (f->mins)                                                                                            \
            i8_micro(R, f->natural, false, true, false, true, a, w, next, subs, sums, lds, onto);                    \
        else if (!f->fused)                                                                                          \
            i8_micro(R, f->natural, false, false, true, false, a, w, next, subs, sums, lds, onto);                   \
        else if (f->wide)                                                                                            \
            i8_micro(R, f->natural, false, false, true, true, a, w, next, subs, sums, lds, onto);                    \
        else                                                                                                         \
            i8_micro(R, f->natural, false, false, false, true, a, w, next, subs, sums, lds, onto);                   \
        break;

static void i8_micro_any(int64_t rows, const i8_format *f, const i8_rows *a, const i8_room *w, const i8_next *next,
                         int64_t subs, float *sums, int64_t lds, bool onto) {
    switch (rows) {
        GAL__I8_MICRO(1)
        GAL__I8_MICRO(2)
        GAL__I8_MICRO(3)
#if ROWS > 3
        GAL__I8_MICRO(4)
        GAL__I8_MICRO(5)
        GAL__I8_MICRO(6)
#endif
    default:
        break;
    }
}

/* ---- packing -----------------------------------------------------------------------------------------------------
 */

/* Fetches the same unit of the group after this one. */
static void i8_fetch_group(const uint8_t *from, size_t row_bytes, size_t bytes) {
    from += GAL_PACK_ROWS * row_bytes;
    for (int64_t r = 0; r < GAL_PACK_ROWS; r++, from += row_bytes)
        for (size_t b = 0; b < bytes; b += 64) __builtin_prefetch(from + b, 0, 2);
}

static int64_t pack_chunks(const void *args) { return gal__pack_chunks(args); }
static void pack_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_pack *a = args;
    const gal_block_info *info = gal_block_info_of(a->block);
    const int64_t each = gal__pack_groups(a), all = (a->rows + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS,
                  blocks = a->cols / info->elements, most = GAL_PACK_UNIT / info->elements;
    const size_t row_bytes = (size_t)blocks * info->bytes;
    const i8_order order = i8_order_of(a->block);
    for (int64_t g = chunk * each; g < GAL_MIN(all, (chunk + 1) * each); g++) {
        const uint8_t *from = (const uint8_t *)a->weight + (size_t)(g * GAL_PACK_ROWS) * row_bytes;
        uint8_t *to = (uint8_t *)a->packed + (size_t)g * row_bytes * GAL_PACK_ROWS;
        for (int64_t b = 0; b < blocks; b += most)
            i8_pack_unit(&order, from + (size_t)b * info->bytes, row_bytes,
                         GAL_MIN(a->rows - g * GAL_PACK_ROWS, GAL_PACK_ROWS), GAL_MIN(most, blocks - b), from, 0,
                         to + (size_t)b * info->bytes * GAL_PACK_ROWS);
    }
}

/* ---- a chunk ------------------------------------------------------------------------------------------------------
 */

/* Rows [i0, i1) of A and columns [j0, j1) of C. */
typedef struct i8_piece {
    int64_t i0, i1, j0, j1;
} i8_piece;

/* The weight of a product, as it was packed or lies in its file. */
typedef struct i8_weight {
    const uint8_t *packed, *p;           /* the one that is near, or NULL; the file's */
    int64_t rows, cols, blocks;          /* blocks of a whole unit */
    size_t bytes, unit_bytes, row_bytes; /* of a block, of a packed unit, of a row */
    gal_pieces pieces;
    i8_order order; /* where it is used in place */
} i8_weight;

static i8_weight i8_weight_of(const gal_gemm *g, const i8_room *room) {
    const uint32_t block = g->b.code->block;
    const gal_block_info *info = gal_block_info_of(block);
    const int64_t blocks = GAL_PACK_UNIT / info->elements;
    i8_weight w = { .packed = g->b.packed ? gal__packed_near(&g->b, room) : NULL,
                    .p = g->b.p,
                    .rows = g->n,
                    .cols = g->k,
                    .blocks = blocks,
                    .bytes = info->bytes,
                    .unit_bytes = (size_t)blocks * info->bytes * GAL_PACK_ROWS,
                    .row_bytes = gal_code_bytes(g->b.code, g->k),
                    .pieces = *gal_pieces_of(block) };
    if (!w.packed) w.order = i8_order_of(block);
    return w;
}
static int64_t i8_blocks(const i8_weight *w, int64_t n) {
    return n == GAL_PACK_UNIT ? w->blocks : n / (GAL_PACK_UNIT / w->blocks);
}

/* Unit k / GAL_PACK_UNIT of n numbers of the group of rows that has `column`, as it was packed or is now. Meanwhile
 * `ahead` bytes are asked for, which begin at fetch; NULL: what the group after it has there. */
static const uint8_t *i8_group(const i8_weight *w, int64_t column, int64_t k, int64_t n, const uint8_t *fetch,
                               size_t ahead, i8_room *room) {
    const size_t skip = (size_t)(column / GAL_PACK_ROWS * GAL_PACK_ROWS) * w->row_bytes,
                 before = (size_t)(k / GAL_PACK_UNIT) * w->unit_bytes;
    if (w->packed) return w->packed + skip + before;
    if (column % GAL_PACK_ROWS == 0) {
        const uint8_t *from = w->p + skip + before / GAL_PACK_ROWS;
        const int64_t blocks = i8_blocks(w, n);
        if (!fetch) i8_fetch_group(from, w->row_bytes, (size_t)blocks * w->bytes);
        i8_pack_unit(&w->order, from, w->row_bytes, GAL_MIN(w->rows - column, GAL_PACK_ROWS), blocks,
                     fetch ? fetch : from, fetch ? ahead : 0, room->unit);
    }
    return room->unit;
}

/* The VW rows of it from number `row` on. */
static unit i8_unit(const i8_weight *w, const uint8_t *at, int64_t row, int64_t n) {
    const gal_pieces *p = &w->pieces;
    const int64_t blocks = i8_blocks(w, n);
    const uint8_t *words = at + blocks * p->heads * p->head_bytes * GAL_PACK_ROWS;
    return (unit){ .heads = at + row * p->head_bytes,
                   .words = words + 4 * row,
                   .tails = words + blocks * p->words * 4 * GAL_PACK_ROWS + 2 * row,
                   .blocks = blocks };
}

/* Numbers [k, k + n) of the panel's columns from j on, taken apart. */
static void i8_unpack(const i8_weight *w, const i8_format *f, int64_t j, int64_t k, int64_t n, i8_room *room) {
    for (int c = 0; c < COLS; c++) {
        const int64_t column = j + c * VW;
        const slab to = { room->q + (size_t)(4 * c * VW), room->scale + c * VW, room->min + c * VW, NULL };
        if (column >= w->rows) break; /* whatever is in the slab, nothing is stored of it */
        const unit u = i8_unit(w, i8_group(w, column, k, n, NULL, 0, room), column % GAL_PACK_ROWS, n);
        f->unpack(&u, &to);
    }
}

/* A row of C = sums (+ add). */
static void i8_finish_row(const gal_gemm *g, int64_t at, int64_t n, const float *sums) {
    if (g->c.dt == GAL_F32) {
        float *y = (float *)g->c.p + at;
        const float *add = g->add ? (const float *)g->add + at : NULL;
        for (int64_t c = 0; c < n; c++) y[c] = add ? sums[c] + add[c] : sums[c];
    } else {
        uint16_t *y = (uint16_t *)g->c.p + at;
        const uint16_t *add = g->add ? (const uint16_t *)g->add + at : NULL;
        for (int64_t c = 0; c < n; c++) y[c] = gal_f32_to_bf16(add ? sums[c] + gal_bf16_to_f32(add[c]) : sums[c]);
    }
}

/* Rows of C of a piece, each of `each` rows of sums. C is far apart and comes from memory. */
static void i8_finish(const gal_gemm *g, int64_t each, const i8_piece *p, float *sums, int64_t lds) {
    enum { FETCH = 8 };
    const int64_t n = p->j1 - p->j0, end = p->i1 / each;
    const size_t size = gal_dtype_bytes(g->c.dt), row = (size_t)g->c.rs * size;
    const char *ahead = (const char *)g->c.p + (size_t)p->j0 * size + (size_t)(p->i0 / each + FETCH) * row;
    for (int64_t i = p->i0 / each; i < end; i++, sums += each * lds, ahead += row) {
        for (size_t b = 0; i + FETCH < end && b < (size_t)n * size; b += 64) __builtin_prefetch(ahead + b, 1);
        for (int64_t c = 0; each == 2 && c < n; c++) sums[c] += sums[lds + c];
        i8_finish_row(g, i * g->c.rs + p->j0, n, sums);
    }
}

/* Rows [i0, ..) of unit k / GAL_PACK_UNIT of A, which has n numbers. */
static i8_rows i8_rows_of(const gal_gemm *g, const i8_format *f, int64_t k, int64_t n, int64_t i0) {
    return (i8_rows){ .q = gal__i8_at(g->a.p, g->a.rs, g->k, k / GAL_PACK_UNIT, g->a.cs + i0),
                      .stride = gal_i8_row_bytes(n),
                      .scale = (size_t)gal__i8_scale_at(n),
                      .sum = (size_t)(f->halves ? gal__i8_sum16_at(n) : gal__i8_sum_at(n)),
                      .bias = (size_t)(f->halves ? gal__i8_bias16_at(n) : gal__i8_bias_at(n)) };
}

/* Whole units of one group of columns after the other. In place the units of sixteen rows are not together, but what
 * the next sixteen have is one stretch: half of a unit's part of it is asked for while it is packed. */
static void i8_few_run(const gal_gemm *g, const i8_weight *w, const i8_piece *p, const i8_format *f, int64_t lds,
                       i8_room *room) {
    const bool shared = !w->packed && w->order.way != I8_DEFINED;
    const size_t before = shared ? w->unit_bytes / 2 : 0;
    const size_t after = (w->unit_bytes - before) / GAL_PACK_ROWS * VW;
    for (int64_t j = p->j0; j < p->j1; j += GAL_PACK_ROWS) {
        const uint8_t *beyond = w->packed ? NULL : w->p + (size_t)(j + GAL_PACK_ROWS) * w->row_bytes;
        for (int64_t k = 0; k < g->k; k += GAL_PACK_UNIT) {
            const uint8_t *next = w->packed ? NULL : beyond + (size_t)(k / GAL_PACK_UNIT) * w->unit_bytes;
            const uint8_t *at = i8_group(w, j, k, GAL_PACK_UNIT, next, before, room);
            const uint8_t *ahead = w->packed ? at + FEW_AHEAD : next + before;
            for (int row = 0; row < GAL_PACK_ROWS; row += VW, ahead += after) {
                unit u = i8_unit(w, at, row, GAL_PACK_UNIT);
                u.ahead = ahead;
                u.step = (after + QUADS - 1) / QUADS;
                i8_rows a = i8_rows_of(g, f, k, GAL_PACK_UNIT, p->i0);
                for (int64_t i = p->i0; i < p->i1;) {
                    const int did = f->few(&u, p->i1 - i, &a, room->sums + (i - p->i0) * lds + (j - p->j0) + row, lds,
                                           k > 0);
                    a.q += (size_t)did * a.stride;
                    i += did;
                }
            }
        }
    }
}

/* With many rows of A the next ones are to be fetched; with few of them, which stay in the cache, the panel's next
 * unit of weights, or, past the last one, the first one of the panel that follows, in so many parts. */
static i8_next i8_next_of(const i8_weight *w, int64_t j, int64_t k, int64_t n, const i8_rows *a, int64_t rows,
                          int64_t parts) {
    const size_t group = GAL_PACK_ROWS * w->row_bytes;
    const bool last = k + n >= w->cols;
    const bool many = rows > MANY || !w->packed;
    i8_next next = { .row = many ? GROUPS * a->stride : 0, .sub = (w->unit_bytes / (size_t)parts + 63) / 64 * 64 };
    for (int i = 0; i < GROUPS; i++)
        next.p[i] = many ? a->q + (size_t)(ROWS + i) * a->stride
                         : (const char *)w->packed + (size_t)(j / GAL_PACK_ROWS + (last ? GROUPS : 0) + i) * group +
                               (last ? 0 : (size_t)(k / GAL_PACK_UNIT + 1) * w->unit_bytes);
    return next;
}

/* All rows of the piece with a panel's numbers from k on, as many as a unit has. */
static void i8_panel_run(const gal_gemm *g, const i8_weight *w, const i8_piece *p, const i8_format *f, int64_t j,
                         int64_t k, int64_t lds, i8_room *room) {
    const int64_t n = GAL_MIN(g->k - k, GAL_PACK_UNIT), subs = n / (f->halves ? 16 : 32);
    const int64_t rows = p->i1 - p->i0, calls = (rows + ROWS - 1) / ROWS;
    i8_unpack(w, f, j, k, n, room);
    i8_rows a = i8_rows_of(g, f, k, n, p->i0);
    i8_next next = i8_next_of(w, j, k, n, &a, rows, calls * subs);
    for (int64_t c = 0, i = 0; c < calls; c++) { /* as evenly as can be: few sums at once wait for each other */
        const int64_t did = rows * (c + 1) / calls - i;
        i8_micro_any(did, f, &a, room, &next, subs, room->sums + i * lds + (j - p->j0), lds, k > 0);
        a.q += (size_t)did * a.stride;
        for (int h = 0; h < GROUPS; h++)
            next.p[h] += next.row ? (size_t)did * (next.row / GROUPS) : (size_t)subs * next.sub;
        i += did;
    }
}

static void i8_piece_run(const gal_gemm *g, int64_t each, const i8_piece *p, const i8_format *f, i8_room *room) {
    GAL_ASSERT(g->k > 0);
    const int64_t lds = (p->j1 - p->j0 + LEAST - 1) / LEAST * LEAST, rows = p->i1 - p->i0;
    const i8_weight w = i8_weight_of(g, room);
    if (rows <= MOST_FEW && g->k % GAL_PACK_UNIT == 0) {
        i8_few_run(g, &w, p, f, lds, room);
    } else { /* few rows stay in the cache, and weights are read as they lie in memory */
        const int64_t step = rows <= MANY ? (int64_t)LEAST : p->j1 - p->j0;
        for (int64_t first = p->j0; first < p->j1; first += step)
            for (int64_t k = 0; k < g->k; k += GAL_PACK_UNIT)
                for (int64_t j = first; j < GAL_MIN(first + step, p->j1); j += PANEL)
                    i8_panel_run(g, &w, p, f, j, k, lds, room);
    }
    i8_finish(g, each, p, room->sums, lds);
}

/* How C is cut: so many columns and rows of A a chunk. With few rows of A reading the weights is all that counts. */
typedef struct i8_cut {
    int64_t cols, strips, rows, tiles;
} i8_cut;
static i8_cut i8_cut_of(const gal_gemm *g, int64_t each) {
    i8_cut cut = { .cols = STRIP, .rows = TILE };
    const int64_t m = g->m * each;
    if (m <= MANY) {
        cut.cols = (1 << 19) / (g->k > 0 ? g->k : 1) / LEAST * LEAST;
        cut.cols = cut.cols < LEAST ? LEAST : cut.cols > MOST_STRIP ? MOST_STRIP : cut.cols;
        cut.cols = GAL_MIN(cut.cols, g->n > 512 ? (g->n / 16 + LEAST - 1) / LEAST * LEAST : LEAST);
    }
    cut.strips = (g->n + cut.cols - 1) / cut.cols;
    cut.tiles = (m + TILE - 1) / TILE;
    return cut;
}

static bool i8_ours(const gal_k_gemm *args) {
    for (int i = 0; i < args->count; i++) {
        const gal_gemm *g = &args->p[i];
        if (!i8_format_of(g->b.code->block).unpack || (g->c.dt != GAL_F32 && g->c.dt != GAL_BF16)) return false;
    }
    return true;
}

static gal_kernel i8_ref(void) {
    gal_kernel_table t = { 0 };
    gal_ref_fill(&t);
    return t.k[GAL_K_GEMM_I8];
}

static int64_t i8_chunks(const void *args) {
    const gal_k_gemm *a = args;
    if (!i8_ours(a)) return i8_ref().chunks(args);
    int64_t chunks = 0;
    for (int i = 0; i < a->count; i++) {
        const i8_cut cut = i8_cut_of(&a->p[i], a->twice ? 2 : 1);
        chunks += cut.strips * cut.tiles;
    }
    return chunks;
}

static void i8_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_gemm *a = args;
    if (!i8_ours(a)) {
        i8_ref().run(args, chunk, scratch);
        return;
    }
    const int64_t each = a->twice ? 2 : 1;
    if (a->p[0].m * each <= MANY) chunk = gal__side_by_side(chunk, i8_chunks(args), a->threads);
    for (int i = 0; i < a->count; i++) {
        const gal_gemm *g = &a->p[i];
        const i8_cut cut = i8_cut_of(g, each);
        if (chunk >= cut.strips * cut.tiles) {
            chunk -= cut.strips * cut.tiles;
            continue;
        }
        /* Tiles of one strip follow one another: its weights are in the cache then. */
        const int64_t i0 = chunk % cut.tiles * TILE, j0 = chunk / cut.tiles * cut.cols;
        const i8_piece p = { i0, GAL_MIN(i0 + TILE, g->m * each), j0, GAL_MIN(j0 + cut.cols, g->n) };
        const i8_format f = i8_format_of(g->b.code->block);
        i8_piece_run(g, each, &p, &f, scratch);
        return;
    }
}

/* ---- activations --------------------------------------------------------------------------------------------------
 */

static void quantise_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_quantise *a = args;
    const int64_t rows = gal__i8_rows(a), end = GAL_MIN(a->n, (chunk + 1) * rows);
    for (int64_t n = chunk * rows; n < end; n++) gal__i8_quantise_row(a, n);
}

static const gal_kernel i8_gemm = { i8_chunks, i8_run };
GAL__EXPERTS_OF(i8_experts, i8_gemm)

GAL__INLINE void i8_fill(gal_kernel_table *t) {
    t->k[GAL_K_QUANTISE] = (gal_kernel){ gal__i8_chunks, quantise_run };
    t->k[GAL_K_GEMM_I8] = i8_gemm;
    t->k[GAL_K_PACK] = (gal_kernel){ pack_chunks, pack_run };
    t->k[GAL_K_EXPERTS_I8] = (gal_kernel){ i8_experts_chunks, i8_experts_run };
}

#endif
