/* gemm_body.h - one tile of C, compiled once a level. The including file defines before:
 *   F, VW          a vector of VW floats; f_zero f_load f_store f_add f_set1
 *   ld(p, dt, n)   n <= VW contiguous numbers as floats, zero beyond; reads nothing beyond
 *   st(p, dt, x, n), transpose(F r[VW])
 *   UNIT           how many steps of k one 32-bit word holds: 1 (f32) or 2 (pairs of bf16)
 *   unit_k(p, dt, n, round)      words of UNIT consecutive numbers: n <= VW * UNIT of them, zero beyond
 *   unit_n(p0, p1, dt, n, round) words of (p0[i], p1[i]), n <= VW; p1 only if UNIT is 2, NULL: zero
 *   mac(acc, a, b) acc + the product(s) of the words
 *   MR, NR = 2 VW  block of C in registers, MR <= VW. Low (4 x 8, 6 x 16): a panel of B stays in L1 while the panels
 *                  of A pass (B_STAYS). High (14 x 32): a panel of A stays.
 *
 * Blocking: a tile is at most MT x NT, taken MB rows at a time; k is walked in blocks of KC words:
 *
 *              NR        NT                   B packed: panels of NR columns [word][NR], stays in L2
 *            +----+----+----+ KC words
 *       KC   |    |    |    |                 A packed: as rows [i][word] if its k is contiguous, else as panels
 *      +---+ +----+----+----+                 [word][MR] (its rows are contiguous): either way only whole vectors are
 *   MR |   | | xx |    |    |                 copied and nothing is transposed. With B_STAYS always as panels: the
 *      +---+ +----+----+----+ MB              stream of A is read more often then, and must be one.
 *      |   | |    |    |    |
 *      +---+ +----+----+----+                 xx: MR x NR sums in registers, words in order.
 *
 * Sums of several blocks of k meet in C itself (f32) or in an f32 tile of the scratch; C is rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_BODY_H
#define GAL_KERNELS_CPU_GEMM_BODY_H

#include "base/pool.h"
#include "kernels/cpu/blocks_body.h"
#include "kernels/cpu/gemm.h"

#define B_STAYS (MR < 8)
#if B_STAYS /* KC NR numbers are 20 of 32 KiB L1; twice KC MB are 330 of 512 KiB L2, what AVX2 may come with */
enum { KC = 320, MB = 126 / MR * MR, NT = 512 };
#else /* KC MR numbers are 12 of 32 KiB L1; KC NT and twice KC MB are 882 KiB of L2, which has 1 MiB with AVX-512 */
enum { KC = 224, MB = 112, NT = 768 };
#endif
enum {
    PACK_WORDS = 8,     /* steps of k that all strips take together; the next ones are fetched meanwhile */
    PACK_AHEAD = 2,     /* rows ahead to fetch */
    B_AHEAD = 8,        /* words ahead to fetch */
    A_STRIDE = KC + 16, /* words; an odd number of cache lines, so that rows do not share sets */
    MT = GAL__GEMM_MT,
    A_WORDS = MB * A_STRIDE + 64, /* of one part; there are two */
    B_WORDS = KC * NT,
    SUM_WORDS = MT * NT,
    WIDE_WORDS = KC * UNIT * NR /* some rows or columns of B out of blocks */
};
_Static_assert((2 * A_WORDS + B_WORDS + SUM_WORDS + WIDE_WORDS) * 4 <= GAL_SCRATCH_BYTES,
               "a tile must fit the scratch");
_Static_assert(KC % VW == 0 && NT % NR == 0 && MB % MR == 0, "whole vectors and panels");
_Static_assert(A_STRIDE >= KC + VW, "panels [word][MR] store whole vectors");

/* The running block of k: words [0, words), numbers [k0, k0 + n). */
typedef struct kblock {
    int64_t k0, n, words;
    bool first, last;
} kblock;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static size_t bytes_of(gal_dtype dt) { return dt == GAL_F32 ? 4 : 2; }
static const char *at(const gal_mat *m, int64_t i, int64_t j) {
    return (const char *)m->p + (size_t)(i * m->rs + j * m->cs) * bytes_of(m->dt);
}

/* unit_k for numbers `stride` apart: the slow way for matrices without a contiguous axis. */
static F unit_strided(const char *p, gal_dtype dt, int64_t stride, int64_t n, bool round) {
    float tmp[VW * UNIT] = { 0 };
    for (int64_t i = 0; i < n; i++) {
        F x = ld(p + (size_t)(i * stride) * bytes_of(dt), dt, 1);
        st(tmp + i, GAL_F32, x, 1);
    }
    return unit_k(tmp, GAL_F32, n, round);
}

/* All rows of A, whose k is contiguous, numbers [k0, k0 + n): [i][word], rows lda words apart, padded with zeros to
 * whole vectors. */
static void rows_as_words(float *dst, int64_t lda, const gal_gemm *g, int64_t k0, int64_t n) {
    enum { STEP = VW * UNIT };
    const bool round = g->compute == GAL_BF16;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t k = 0; k < n; k += STEP)
            f_store(dst + i * lda + k / UNIT, unit_k(at(&g->a, i, k0 + k), g->a.dt, min64(n - k, STEP), round));
}

#if !B_STAYS
/* Rows of A, k contiguous (or strided): [i][word]. */
GAL__INLINE void pack_row(float *dst, const char *p, size_t ahead, gal_dtype dt, int64_t n, bool round) {
    const int64_t step = VW * UNIT;
    const size_t size = bytes_of(dt);
    int64_t k = 0;
    for (; k + step <= n; k += step) {
        __builtin_prefetch(p + ahead + (size_t)k * size);
        f_store(dst + k / UNIT, unit_k(p + (size_t)k * size, dt, step, round));
    }
    if (k < n) f_store(dst + k / UNIT, unit_k(p + (size_t)k * size, dt, n - k, round));
}

static void pack_a_row(float *dst, const gal_mat *a, int64_t i, const kblock *kb, bool round) {
    const size_t ahead = (size_t)(PACK_AHEAD * a->rs) * bytes_of(a->dt);
    const char *p = at(a, i, kb->k0);
    if (a->cs != 1) {
        for (int64_t k = 0; k < kb->n; k += VW * UNIT)
            f_store(dst + k / UNIT, unit_strided(p + (size_t)(k * a->cs) * bytes_of(a->dt), a->dt, a->cs,
                                                 min64(kb->n - k, VW * UNIT), round));
    } else if (a->dt == GAL_F32) {
        pack_row(dst, p, ahead, GAL_F32, kb->n, round);
    } else if (a->dt == GAL_BF16) {
        pack_row(dst, p, ahead, GAL_BF16, kb->n, round);
    } else {
        pack_row(dst, p, ahead, GAL_F16, kb->n, round);
    }
}
#endif

/* Rows or columns that are contiguous in their matrix, n <= VW of them from number `from` on, to dst[word][width]. */
typedef struct strip {
    float *dst;
    int64_t from, n;
} strip;

GAL__INLINE void pack_across(float *dst, int64_t width, const char *p, size_t step, gal_dtype dt, int64_t n,
                             int64_t k, bool round) {
    for (; k > 0; k -= UNIT, p += UNIT * step, dst += width) {
        __builtin_prefetch(p + PACK_WORDS * UNIT * step);
        f_store(dst, unit_n(p, UNIT == 2 && k > 1 ? p + step : NULL, dt, n, round));
    }
}

/* All strips advance together, PACK_WORDS words at a time: lines of the matrix are read whole. p: number 0 of step 0
 * of k, the next step is `step` bytes on. Numbers [k, k + PACK_WORDS UNIT) of the block. */
static void pack_strips(const strip *s, int64_t count, int64_t width, const char *p, size_t step, gal_dtype dt,
                        const kblock *kb, int64_t k, bool round) {
    for (int64_t i = 0; i < count; i++) {
        const char *q = p + (size_t)k * step + (size_t)s[i].from * bytes_of(dt);
        float *dst = s[i].dst + k / UNIT * width;
        int64_t n = min64(kb->n - k, PACK_WORDS * UNIT);
        if (s[i].n == VW && dt == GAL_F32)
            pack_across(dst, width, q, step, GAL_F32, VW, n, round);
        else if (s[i].n == VW && dt == GAL_BF16)
            pack_across(dst, width, q, step, GAL_BF16, VW, n, round);
        else
            pack_across(dst, width, q, step, dt, s[i].n, n, round);
    }
}

/* Columns of a matrix with k contiguous (or strided), VW at a time: transposed to [word][width]. Those `ahead`
 * columns on are fetched meanwhile. */
GAL__INLINE void pack_block(float *dst, int64_t width, const gal_mat *b, gal_dtype dt, int64_t j, int64_t cols,
                            int64_t ahead, int64_t k0, int64_t n, bool round) {
    F r[VW];
    GAL__UNROLL
    for (int i = 0; i < VW; i++) {
        if (i >= cols)
            r[i] = f_zero();
        else if (b->rs == 1) {
            __builtin_prefetch(at(b, k0, j + i + ahead));
            r[i] = unit_k(at(b, k0, j + i), dt, n, round);
        } else
            r[i] = unit_strided(at(b, k0, j + i), dt, b->rs, n, round);
    }
    transpose(r);
    GAL__UNROLL
    for (int i = 0; i < VW; i++) f_store(dst + i * width, r[i]);
}

static void pack_down(float *dst, int64_t width, const gal_mat *b, int64_t j, int64_t cols, const kblock *kb,
                      bool round) {
    const int64_t step = VW * UNIT;
    for (int64_t k = 0; k < kb->n; k += step, dst += VW * width) {
        int64_t n = min64(step, kb->n - k);
        if (cols == VW && n == step && b->rs == 1 && b->dt == GAL_F32)
            pack_block(dst, width, b, GAL_F32, j, VW, VW, kb->k0 + k, VW * UNIT, round);
        else if (cols == VW && n == step && b->rs == 1 && b->dt == GAL_BF16)
            pack_block(dst, width, b, GAL_BF16, j, VW, VW, kb->k0 + k, VW * UNIT, round);
        else if (cols == VW && n == step && b->rs == 1 && b->dt == GAL_F16)
            pack_block(dst, width, b, GAL_F16, j, VW, VW, kb->k0 + k, VW * UNIT, round);
        else
            pack_block(dst, width, b, b->dt, j, cols, VW, kb->k0 + k, n, round);
    }
}

#if B_STAYS
/* Rows of A with k contiguous (or strided): panels of columns of A^T. The next panel is fetched meanwhile. */
GAL__INLINE void pack_a_panel(float *dst, const gal_mat *t, gal_dtype dt, int64_t i, const int n, const kblock *kb,
                              bool round) {
    const int64_t step = VW * UNIT;
    int64_t k = 0;
    if (t->rs == 1)
        for (; k + step <= kb->n; k += step, dst += VW * MR)
            pack_block(dst, MR, t, dt, i, n, n, kb->k0 + k, step, round);
    for (; k < kb->n; k += step, dst += VW * MR)
        pack_block(dst, MR, t, t->dt, i, n, n, kb->k0 + k, min64(step, kb->n - k), round);
}

#endif

/* As pack_b() from blocks, NR columns at a time by way of wide. */
static void pack_b_blocks(float *dst, const gal_mat *b, const gal__tile *t, const kblock *kb, bool round,
                          float *wide) {
    const int64_t room = (kb->words + VW - 1) / VW * VW * NR, cols = t->j1 - t->j0;
    kblock from_0 = *kb;
    from_0.k0 = 0;
    for (int64_t j = 0; j < cols; j += NR) {
        const int64_t n = min64(cols - j, NR);
        float *panel = dst + j / NR * room;
        if (b->rs == 1) {
            const gal_mat w = { wide, GAL_F32, 1, KC * UNIT, NULL, NULL };
            for (int64_t c = 0; c < n; c++)
                unpack(b->code, b->p, b->cs, t->j0 + j + c, kb->k0, kb->n, wide + c * KC * UNIT);
            for (int64_t h = 0; h < NR; h += VW)
                pack_down(panel + h, NR, &w, h, n > h ? min64(n - h, VW) : 0, &from_0, round);
        } else {
            const strip s[2] = { { panel, 0, min64(n, VW) }, { panel + VW, VW, n > VW ? n - VW : 0 } };
            for (int64_t k = 0; k < kb->n; k++) unpack(b->code, b->p, b->rs, kb->k0 + k, t->j0 + j, n, wide + k * NR);
            for (int64_t k = 0; k < kb->n; k += PACK_WORDS * UNIT)
                pack_strips(s, 2, NR, (const char *)wide, NR * sizeof *wide, GAL_F32, &from_0, k, round);
        }
    }
}

/* dst: panels of NR columns, each room for whole vectors of words. */
static void pack_b(float *dst, const gal_mat *b, const gal__tile *t, const kblock *kb, bool round, float *wide) {
    if (b->dt == GAL_BLOCKS) {
        pack_b_blocks(dst, b, t, kb, round, wide);
        return;
    }
    const int64_t room = (kb->words + VW - 1) / VW * VW * NR, cols = t->j1 - t->j0;
    strip s[NT / VW];
    int64_t count = 0;
    for (int64_t j = 0; j < (cols + NR - 1) / NR * NR; j += VW) {
        float *half = dst + j / NR * room + j % NR;
        int64_t n = j < cols ? min64(cols - j, VW) : 0;
        if (n > 0 && b->cs == 1)
            s[count++] = (strip){ half, j, n };
        else
            pack_down(half, NR, b, t->j0 + j, n, kb, round);
    }
    for (int64_t k = 0; count > 0 && k < kb->n; k += PACK_WORDS * UNIT)
        pack_strips(s, count, NR, at(b, kb->k0, t->j0), (size_t)b->rs * bytes_of(b->dt), b->dt, kb, k, round);
}

/* Up to MB rows of A, packed a unit at a time: that happens between the products of the part before, so that the
 * lines that a unit asks for ahead have come when the next one reads them. */
typedef struct part {
    const gal_mat *a;
    kblock kb;
    float *dst;
    int64_t i0, rows, panels; /* row i0 + rows p / panels begins panel p */
    int64_t units, done;
    bool rowwise, round; /* rowwise: dst is [i][word], else panels [word][MR] */
    strip strips[MB / MR];
} part;

static int64_t panel_row(const part *p, int64_t panel) { return p->rows * panel / p->panels; }

static bool across(const gal_mat *a) { return a->rs == 1 && a->cs != 1; }

static part part_of(const gal_gemm *g, const kblock *kb, int64_t i0, int64_t rows, float *dst) {
    part p = { .a = &g->a, .kb = *kb, .dst = dst, .i0 = i0, .rows = rows, .panels = (rows + MR - 1) / MR };
    p.round = g->compute == GAL_BF16;
    p.rowwise = !B_STAYS && !across(&g->a);
    if (across(&g->a)) {
        p.units = (kb->n + PACK_WORDS * UNIT - 1) / (PACK_WORDS * UNIT);
        for (int64_t i = 0; i < p.panels; i++) {
            int64_t from = panel_row(&p, i);
            p.strips[i] = (strip){ dst + i * MR * A_STRIDE, from, panel_row(&p, i + 1) - from };
        }
    } else {
        p.units = B_STAYS ? p.panels : rows;
    }
    return p;
}

static void pack_unit(const part *p, int64_t unit) {
    const gal_mat *a = p->a;
    if (across(a)) {
        pack_strips(p->strips, p->panels, MR, at(a, p->i0, p->kb.k0), (size_t)a->cs * bytes_of(a->dt), a->dt, &p->kb,
                    unit * PACK_WORDS * UNIT, p->round);
        return;
    }
#if B_STAYS
    const gal_mat flip = { a->p, a->dt, a->cs, a->rs, NULL, NULL };
    const int64_t from = panel_row(p, unit), n = panel_row(p, unit + 1) - from;
    float *dst = p->dst + unit * MR * A_STRIDE;
    if (n == MR && a->dt == GAL_F32)
        pack_a_panel(dst, &flip, GAL_F32, p->i0 + from, MR, &p->kb, p->round);
    else if (n == MR && a->dt == GAL_BF16)
        pack_a_panel(dst, &flip, GAL_BF16, p->i0 + from, MR, &p->kb, p->round);
    else
        pack_a_panel(dst, &flip, a->dt, p->i0 + from, (int)n, &p->kb, p->round);
#else
    pack_a_row(p->dst + unit * A_STRIDE, a, p->i0 + unit, &p->kb, p->round);
#endif
}

static void pack_until(part *p, int64_t unit) {
    for (; p->done < unit; p->done++) pack_unit(p, p->done);
}

/* R x NR sums over the block's words; added to out or stored there. ROWS: A lies as [i][word], else [word][MR]. */
GAL__INLINE void micro(const int R, const bool ROWS, int64_t words, const float *a, const float *b, float *out,
                       int64_t ldo, bool onto) {
    F s[MR][2];
    const int64_t row = ROWS ? A_STRIDE : 1, next = ROWS ? 1 : MR;
    GAL__UNROLL
    for (int i = 0; i < R; i++) {
        s[i][0] = s[i][1] = f_zero();
        __builtin_prefetch(out + i * ldo, 1);
        __builtin_prefetch(out + i * ldo + NR - 1, 1);
    }
#if B_STAYS /* twelve products a word leave the loop's own work in sight */
    GAL__UNROLL_4
#endif
    for (int64_t w = 0; w < words; w++, a += next, b += NR) {
        F b0 = f_load(b), b1 = f_load(b + VW);
        if (!B_STAYS) { /* B comes from L2 */
            __builtin_prefetch(b + B_AHEAD * NR);
            __builtin_prefetch(b + B_AHEAD * NR + VW);
        }
        GAL__UNROLL
        for (int i = 0; i < R; i++) {
            F x = f_set1(a[i * row]);
            s[i][0] = mac(s[i][0], x, b0);
            s[i][1] = mac(s[i][1], x, b1);
        }
    }
    GAL__UNROLL
    for (int i = 0; i < R; i++, out += ldo) {
        f_store(out, onto ? f_add(f_load(out), s[i][0]) : s[i][0]);
        f_store(out + VW, onto ? f_add(f_load(out + VW), s[i][1]) : s[i][1]);
    }
}

#define GAL__MICRO(R)                                                                                                \
    case R:                                                                                                          \
        if (!B_STAYS && rows)                                                                                        \
            micro(R, true, words, a, b, out, ldo, onto);                                                             \
        else                                                                                                         \
            micro(R, false, words, a, b, out, ldo, onto);                                                            \
        break;

static void micro_any(int64_t r, bool rows, int64_t words, const float *a, const float *b, float *out, int64_t ldo,
                      bool onto) {
    switch (r) {
        GAL__MICRO(1)
        GAL__MICRO(2)
        GAL__MICRO(3)
        GAL__MICRO(4)
#if MR > 4
        GAL__MICRO(5)
        GAL__MICRO(6)
#endif
#if MR == 14
        GAL__MICRO(7)
        GAL__MICRO(8)
        GAL__MICRO(9)
        GAL__MICRO(10)
        GAL__MICRO(11)
        GAL__MICRO(12)
        GAL__MICRO(13)
        GAL__MICRO(14)
#endif
    default:
        break;
    }
}

/* C = sums (+ add) (+ C), rounded once. */
static void finish(const gal_gemm *g, const float *sum, int64_t lds, int64_t i0, int64_t rows, int64_t j0,
                   int64_t cols) {
    const size_t size = bytes_of(g->c.dt);
    for (int64_t i = i0; i < i0 + rows; i++, sum += lds)
        for (int64_t v = 0; v < cols; v += g->c.cs == 1 ? VW : 1) {
            int64_t n = g->c.cs == 1 ? min64(cols - v, VW) : 1;
            size_t off = (size_t)(i * g->c.rs + (j0 + v) * g->c.cs) * size;
            char *c = (char *)g->c.p + off;
            F x = ld(sum + v, GAL_F32, n);
            if (g->add) x = f_add(x, ld((const char *)g->add + off, g->c.dt, n));
            if (g->accumulate) x = f_add(x, ld(c, g->c.dt, n));
            st(c, g->c.dt, x, n);
        }
}

/* The running block of a tile. */
typedef struct block {
    const gal_gemm *g;
    const gal__tile *t;
    const part *a;
    int64_t room; /* words of a panel of B */
    const float *b;
    float *sums;
} block;

/* One block of registers: rows of panel p, columns [j, j + NR). */
static void multiply_panel(const block *k, int64_t p, int64_t j) {
    const gal_gemm *g = k->g;
    const kblock *kb = &k->a->kb;
    const bool dense = g->c.dt == GAL_F32 && g->c.cs == 1, in_place = g->add == g->c.p && !g->accumulate;
    const int64_t first = panel_row(k->a, p), r = panel_row(k->a, p + 1) - first, i = k->a->i0 + first;
    const int64_t cols = min64(NR, k->t->j1 - j);
    const bool rowwise = k->a->rowwise;
    const float *b = k->b + (j - k->t->j0) / NR * k->room, *a = k->a->dst + (rowwise ? first : p * MR) * A_STRIDE;
    if (dense && cols == NR && (!g->add || in_place || !kb->first)) {
        float *c = (float *)g->c.p + i * g->c.rs + j;
        micro_any(r, rowwise, kb->words, a, b, c, g->c.rs, !kb->first || g->accumulate || in_place);
        return;
    }
    float *s = k->sums + (i - k->t->i0) * NT + (j - k->t->j0);
    const bool direct = dense && cols == NR; /* later blocks add to C */
    micro_any(r, rowwise, kb->words, a, b, s, NT, !kb->first);
    if (kb->last || direct) finish(g, s, NT, i, r, j, cols);
}

/* Meanwhile the next part (if any) is packed. */
static void multiply(const block *k, part *next) {
    const int64_t panels = k->a->panels, columns = (k->t->j1 - k->t->j0 + NR - 1) / NR, all = panels * columns;
    for (int64_t n = 0; n < all; n++) {
        const int64_t p = B_STAYS ? n % panels : n / columns, j = B_STAYS ? n / panels : n % columns;
        multiply_panel(k, p, k->t->j0 + j * NR);
        if (next) pack_until(next, next->units * (n + 1) / all);
    }
}

static void tile(const gal_gemm *g, const gal__tile *t, void *scratch) {
    float *pa[2] = { scratch, (float *)scratch + A_WORDS }, *pb = pa[1] + A_WORDS, *sums = pb + B_WORDS,
          *wide = sums + SUM_WORDS;
    const int64_t words = (g->k + UNIT - 1) / UNIT, blocks = words > KC ? (words - 1) / KC + 1 : 1;
    const int64_t each = ((words + blocks - 1) / blocks + VW - 1) / VW * VW;
    const int64_t rows = t->i1 - t->i0, panels = (rows + MR - 1) / MR, parts = (rows + MB - 1) / MB;
    part next = { 0 };
    for (int64_t n = 0; n <= blocks * parts; n++) { /* part n is packed while part n - 1 is multiplied */
        const part now = next;
        const int64_t w = n / parts * each, of = n % parts;
        const bool more = n < blocks * parts;
        if (more) {
            const int64_t count = min64(each, words - w);
            const kblock kb = { w * UNIT, min64(count * UNIT, g->k - w * UNIT), count, w == 0, w + count >= words };
            const int64_t from = rows * (panels * of / parts) / panels,
                          to = rows * (panels * (of + 1) / parts) / panels;
            next = part_of(g, &kb, t->i0 + from, to - from, pa[n % 2]);
        }
        if (n > 0)
            multiply(&(block){ g, t, &now, (now.kb.words + VW - 1) / VW * VW * NR, pb, sums }, more ? &next : NULL);
        else
            pack_until(&next, next.units);
        if (more && of == 0) pack_b(pb, &g->b, t, &next.kb, next.round, wide);
    }
}

#endif
