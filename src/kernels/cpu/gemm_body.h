/* gemm_body.h - one tile of C, compiled once a level. The including file defines before:
 *   F, VW          a vector of VW floats; f_zero f_load f_store f_add f_set1
 *   ld(p, dt, n)   n <= VW contiguous numbers as floats, zero beyond; reads nothing beyond
 *   st(p, dt, x, n), transpose(F r[VW])
 *   UNIT           how many steps of k one 32-bit word holds: 1 (f32) or 2 (pairs of bf16)
 *   unit_k(p, dt, n, round)      words of UNIT consecutive numbers: n <= VW * UNIT of them, zero beyond
 *   unit_n(p0, p1, dt, n, round) words of (p0[i], p1[i]), n <= VW; p1 only if UNIT is 2, NULL: zero
 *   mac(acc, a, b) acc + the product(s) of the words
 *   MR, NR = 2 VW  block of C in registers.
 *
 * Blocking: a tile is at most MT x NT, k is walked in blocks of KC words:
 *
 *              NR        NT                   B packed: panels of NR columns [word][NR], stays in L2
 *            +----+----+----+ KC words
 *       KC   |    |    |    |                 A packed: as rows [i][word] if its k is contiguous, else as panels
 *      +---+ +----+----+----+                 [word][MR] (its rows are contiguous): either way only whole vectors are
 *   MR |   | | xx |    |    |                 copied and nothing is transposed. A panel of MR rows stays in L1 while
 *      +---+ +----+----+----+ MT              all panels of B pass.
 *      |   | |    |    |    |
 *      +---+ +----+----+----+                 xx: MR x NR sums in registers, words in order.
 *
 * Sums of several blocks of k meet in C itself (f32) or in an f32 tile of the scratch; C is rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_BODY_H
#define GAL_KERNELS_CPU_GEMM_BODY_H

#include "base/pool.h"
#include "kernels/cpu/gemm.h"

enum {
    A_STRIDE = GAL__GEMM_KC + 16, /* words; an odd number of cache lines, so that rows do not share sets */
    A_WORDS = GAL__GEMM_MT * A_STRIDE + 64,
    B_WORDS = GAL__GEMM_KC * GAL__GEMM_NT,
    SUM_WORDS = GAL__GEMM_MT * GAL__GEMM_NT
};
_Static_assert((A_WORDS + B_WORDS + SUM_WORDS) * 4 <= GAL_SCRATCH_BYTES, "a tile must fit the scratch");
_Static_assert(GAL__GEMM_KC % VW == 0 && GAL__GEMM_NT % NR == 0, "whole vectors");
_Static_assert(A_STRIDE >= GAL__GEMM_KC + VW, "panels [word][MR] store whole vectors");

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

/* Rows of A, k contiguous (or strided): [i][word]. */
GAL__INLINE void pack_row(float *dst, const char *p, gal_dtype dt, int64_t n, bool round) {
    const int64_t step = VW * UNIT;
    const size_t size = bytes_of(dt);
    int64_t k = 0;
    for (; k + step <= n; k += step) f_store(dst + k / UNIT, unit_k(p + (size_t)k * size, dt, step, round));
    if (k < n) f_store(dst + k / UNIT, unit_k(p + (size_t)k * size, dt, n - k, round));
}

static void pack_a_rows(float *dst, const gal_mat *a, const gal__tile *t, const kblock *kb, bool round) {
    for (int64_t i = t->i0; i < t->i1; i++, dst += A_STRIDE) {
        const char *p = at(a, i, kb->k0);
        if (a->cs != 1) {
            for (int64_t k = 0; k < kb->n; k += VW * UNIT)
                f_store(dst + k / UNIT, unit_strided(p + (size_t)(k * a->cs) * bytes_of(a->dt), a->dt, a->cs,
                                                     min64(kb->n - k, VW * UNIT), round));
        } else if (a->dt == GAL_F32) {
            pack_row(dst, p, GAL_F32, kb->n, round);
        } else if (a->dt == GAL_BF16) {
            pack_row(dst, p, GAL_BF16, kb->n, round);
        } else {
            pack_row(dst, p, GAL_F16, kb->n, round);
        }
    }
}

/* Rows or columns that are contiguous in their matrix, n <= VW of them from number `from` on, to dst[word][width]. */
typedef struct strip {
    float *dst;
    int64_t from, n;
} strip;

GAL__INLINE void pack_across(float *dst, int64_t width, const char *p, size_t step, gal_dtype dt, int64_t n,
                             int64_t k, bool round) {
    for (; k > 0; k -= UNIT, p += UNIT * step, dst += width)
        f_store(dst, unit_n(p, UNIT == 2 && k > 1 ? p + step : NULL, dt, n, round));
}

/* All strips advance together, some words at a time: lines of the matrix are read whole. p: number 0 of step k 0,
 * the next step of k is `step` bytes on. */
static void pack_strips(const strip *s, int64_t count, int64_t width, const char *p, size_t step, gal_dtype dt,
                        const kblock *kb, bool round) {
    enum { WORDS = 8 };
    for (int64_t k = 0; k < kb->n; k += WORDS * UNIT)
        for (int64_t i = 0; i < count; i++) {
            const char *q = p + (size_t)k * step + (size_t)s[i].from * bytes_of(dt);
            float *dst = s[i].dst + k / UNIT * width;
            int64_t n = min64(kb->n - k, WORDS * UNIT);
            if (s[i].n == VW && dt == GAL_F32)
                pack_across(dst, width, q, step, GAL_F32, VW, n, round);
            else if (s[i].n == VW && dt == GAL_BF16)
                pack_across(dst, width, q, step, GAL_BF16, VW, n, round);
            else
                pack_across(dst, width, q, step, dt, s[i].n, n, round);
        }
}

static void pack_a_panels(float *dst, const gal_mat *a, const gal__tile *t, const kblock *kb, bool round) {
    const int64_t rows = t->i1 - t->i0, panels = (rows + MR - 1) / MR;
    strip s[GAL__GEMM_MT / MR];
    for (int64_t p = 0; p < panels; p++) {
        int64_t from = rows * p / panels;
        s[p] = (strip){ dst + p * MR * A_STRIDE, from, rows * (p + 1) / panels - from };
    }
    pack_strips(s, panels, MR, at(a, t->i0, kb->k0), (size_t)a->cs * bytes_of(a->dt), a->dt, kb, round);
}

/* Columns of B with k contiguous (or strided), VW at a time: transposed to [word][NR]. */
GAL__INLINE void pack_b_block(float *dst, const gal_mat *b, gal_dtype dt, int64_t j, int64_t cols, int64_t k0,
                              int64_t n, bool round) {
    F r[VW];
    for (int i = 0; i < VW; i++) {
        if (i >= cols)
            r[i] = f_zero();
        else if (b->rs == 1)
            r[i] = unit_k(at(b, k0, j + i), dt, n, round);
        else
            r[i] = unit_strided(at(b, k0, j + i), dt, b->rs, n, round);
    }
    transpose(r);
    for (int i = 0; i < VW; i++) f_store(dst + i * NR, r[i]);
}

static void pack_b_down(float *dst, const gal_mat *b, int64_t j, int64_t cols, const kblock *kb, bool round) {
    const int64_t step = VW * UNIT;
    for (int64_t k = 0; k < kb->n; k += step, dst += VW * NR) {
        int64_t n = min64(step, kb->n - k);
        if (cols == VW && n == step && b->rs == 1 && b->dt == GAL_F32)
            pack_b_block(dst, b, GAL_F32, j, VW, kb->k0 + k, VW * UNIT, round);
        else if (cols == VW && n == step && b->rs == 1 && b->dt == GAL_BF16)
            pack_b_block(dst, b, GAL_BF16, j, VW, kb->k0 + k, VW * UNIT, round);
        else
            pack_b_block(dst, b, b->dt, j, cols, kb->k0 + k, n, round);
    }
}

/* dst: panels of NR columns, each room for whole vectors of words. */
static void pack_b(float *dst, const gal_mat *b, const gal__tile *t, const kblock *kb, bool round) {
    const int64_t room = (kb->words + VW - 1) / VW * VW * NR, cols = t->j1 - t->j0;
    strip s[GAL__GEMM_NT / VW];
    int64_t count = 0;
    for (int64_t j = 0; j < (cols + NR - 1) / NR * NR; j += VW) {
        float *half = dst + j / NR * room + j % NR;
        int64_t n = j < cols ? min64(cols - j, VW) : 0;
        if (n > 0 && b->cs == 1)
            s[count++] = (strip){ half, j, n };
        else
            pack_b_down(half, b, t->j0 + j, n, kb, round);
    }
    if (count > 0) pack_strips(s, count, NR, at(b, kb->k0, t->j0), (size_t)b->rs * bytes_of(b->dt), b->dt, kb, round);
}

/* R x NR sums over the block's words; added to out or stored there. ROWS: A lies as [i][word], else [word][MR]. */
GAL__INLINE void micro(const int R, const bool ROWS, int64_t words, const float *a, const float *b, float *out,
                       int64_t ldo, bool onto) {
    F s[MR][2];
    const int64_t row = ROWS ? A_STRIDE : 1, next = ROWS ? 1 : MR;
    GAL__UNROLL
    for (int i = 0; i < R; i++) s[i][0] = s[i][1] = f_zero();
    for (int64_t w = 0; w < words; w++, a += next, b += NR) {
        F b0 = f_load(b), b1 = f_load(b + VW);
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
        if (rows)                                                                                                    \
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
        GAL__MICRO(5)
        GAL__MICRO(6)
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

/* All register blocks of the tile for one block of k. */
static void multiply(const gal_gemm *g, const gal__tile *t, const kblock *kb, const float *pa, const float *pb,
                     float *sums) {
    const int64_t rows = t->i1 - t->i0, panels = (rows + MR - 1) / MR, room = (kb->words + VW - 1) / VW * VW * NR;
    const bool a_rows = g->a.rs != 1 || g->a.cs == 1, dense = g->c.dt == GAL_F32 && g->c.cs == 1;
    const bool in_place = g->add == g->c.p && !g->accumulate;
    for (int64_t p = 0; p < panels; p++) {
        const int64_t i = rows * p / panels, r = rows * (p + 1) / panels - i;
        const float *a = pa + (a_rows ? i : p * MR) * A_STRIDE, *b = pb;
        for (int64_t j = t->j0; j < t->j1; j += NR, b += room) {
            const int64_t cols = min64(NR, t->j1 - j);
            if (dense && cols == NR && (!g->add || in_place || !kb->first)) {
                float *c = (float *)g->c.p + (t->i0 + i) * g->c.rs + j;
                micro_any(r, a_rows, kb->words, a, b, c, g->c.rs, !kb->first || g->accumulate || in_place);
                continue;
            }
            float *s = sums + i * GAL__GEMM_NT + (j - t->j0);
            bool direct = dense && cols == NR; /* later blocks add to C */
            micro_any(r, a_rows, kb->words, a, b, s, GAL__GEMM_NT, !kb->first);
            if (kb->last || direct) finish(g, s, GAL__GEMM_NT, t->i0 + i, r, j, cols);
        }
    }
}

static void tile(const gal_gemm *g, const gal__tile *t, void *scratch) {
    float *pa = scratch, *pb = pa + A_WORDS, *sums = pb + B_WORDS;
    const int64_t words = (g->k + UNIT - 1) / UNIT,
                  blocks = words > GAL__GEMM_KC ? (words - 1) / GAL__GEMM_KC + 1 : 1;
    const int64_t each = ((words + blocks - 1) / blocks + VW - 1) / VW * VW;
    const bool round = g->compute == GAL_BF16;
    for (int64_t w = 0, n = 0; w == 0 || w < words; w += n) {
        n = min64(each, words - w);
        kblock kb = { w * UNIT, min64(n * UNIT, g->k - w * UNIT), n, w == 0, w + n >= words };
        (g->a.rs == 1 && g->a.cs != 1 ? pack_a_panels : pack_a_rows)(pa, &g->a, t, &kb, round);
        pack_b(pb, &g->b, t, &kb, round);
        multiply(g, t, &kb, pa, pb, sums);
        if (words == 0) break;
    }
}

#endif
