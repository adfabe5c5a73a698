/* gemm_dots.h - products with some rows of A (several sequences, short prompts): C[m, n] = A B with B's columns
 * contiguous along k, as weights [out, in] are. Too few rows to pay for packing B: DOT_R rows of A meet DOT_C columns
 * of B as they lie, and each of the DOT_R DOT_C numbers of C gathers in a vector of its own, which is summed at the
 * end of k. A is made words once, in blocks of k that stay in L2 while the columns pass; a group of columns stays in
 * L1 while the rows pass, and the next group is fetched meanwhile. Compiled once a level, after gemm_body.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_DOTS_H
#define GAL_KERNELS_CPU_GEMM_DOTS_H

#if MR == 14
enum { DOT_R = 4, DOT_C = 6 }; /* 24 sums, 4 words of A and 1 of B in 32 registers */
#else
enum { DOT_R = 3, DOT_C = 4 }; /* 12 sums, 3 words of A and 1 of B in 16 registers */
#endif
enum {
    DOT_A_WORDS = 96 * 1024, /* of a block of A */
    DOT_LINE = 16,           /* words of a line of the cache; A's rows are one apart, so as not to share sets */
    DOT_FETCH = 2,           /* columns that a group of rows fetches, if there are enough groups */
    DOT_ROWS = (GAL__GEMM_SOME + DOT_R - 1) / DOT_R * DOT_R
};
_Static_assert(DOT_R *DOT_C % 4 == 0, "f_sums() takes four");
_Static_assert(DOT_C % DOT_FETCH == 0, "each column is fetched once");
/* Sums, a block of A and columns of B out of blocks: see some_rows(). */
_Static_assert((DOT_ROWS * (GAL__GEMM_STRIP + DOT_LINE) + DOT_A_WORDS + DOT_ROWS * (VW + DOT_LINE) +
                DOT_C * (DOT_A_WORDS / DOT_R + VW + DOT_LINE)) *
                       4 <=
                   GAL_SCRATCH_BYTES,
               "a strip must fit the scratch");

/* DOT_C columns of B, the numbers of a block of k. */
typedef struct dot_columns {
    const char *p[DOT_C];
    int64_t n;
    const char *next; /* columns to fetch meanwhile, `stride` bytes apart */
    ptrdiff_t stride;
} dot_columns;

GAL__INLINE void dot_step(F s[DOT_R][DOT_C], const float *a, int64_t lda, const dot_columns *b, const gal_dtype dt,
                          int64_t k, int64_t n, const bool round, const int fetch) {
    F x[DOT_R];
    GAL__UNROLL
    for (int r = 0; r < DOT_R; r++) x[r] = f_load(a + r * lda + k / UNIT);
    GAL__UNROLL
    for (int c = 0; c < fetch; c++) __builtin_prefetch(b->next + c * b->stride + (size_t)k * bytes_of(dt), 0, 2);
    GAL__UNROLL
    for (int c = 0; c < DOT_C; c++) {
        const F w = unit_k(b->p[c] + (size_t)k * bytes_of(dt), dt, n, round);
        GAL__UNROLL
        for (int r = 0; r < DOT_R; r++) s[r][c] = mac(s[r][c], x[r], w);
    }
}

/* out[DOT_R][ldo] += DOT_R rows of A, lda words apart and padded with zeros to whole vectors, with columns of B. */
GAL__INLINE void dot_group(float *out, int64_t ldo, const float *a, int64_t lda, const dot_columns *b,
                           const gal_dtype dt, const bool round, const int fetch) {
    enum { STEP = VW * UNIT };
    F s[DOT_R][DOT_C];
    GAL__UNROLL
    for (int r = 0; r < DOT_R; r++) {
        GAL__UNROLL
        for (int c = 0; c < DOT_C; c++) s[r][c] = f_zero();
    }
    int64_t k = 0;
    for (; k + STEP <= b->n; k += STEP) dot_step(s, a, lda, b, dt, k, STEP, round, fetch);
    if (k < b->n) dot_step(s, a, lda, b, dt, k, b->n - k, round, fetch);
    GAL__UNROLL
    for (int i = 0; i < DOT_R * DOT_C; i += 4) {
        float sums[4];
        F v[4];
        GAL__UNROLL
        for (int j = 0; j < 4; j++) v[j] = s[(i + j) / DOT_C][(i + j) % DOT_C];
        f_sums(sums, v);
        GAL__UNROLL
        for (int j = 0; j < 4; j++) out[(i + j) / DOT_C * ldo + (i + j) % DOT_C] += sums[j];
    }
}

#define GAL__DOT_GROUP(DT, ROUND)                                                                                    \
    do {                                                                                                             \
        if (fetch == DOT_C)                                                                                          \
            dot_group(out, ldo, a, lda, b, DT, ROUND, DOT_C);                                                        \
        else if (fetch)                                                                                              \
            dot_group(out, ldo, a, lda, b, DT, ROUND, DOT_FETCH);                                                    \
        else                                                                                                         \
            dot_group(out, ldo, a, lda, b, DT, ROUND, 0);                                                            \
    } while (0)

/* fetch: of columns, 0, DOT_FETCH or DOT_C. */
static void dot_any(float *out, int64_t ldo, const float *a, int64_t lda, const dot_columns *b, gal_dtype dt,
                    bool round, int fetch) {
    (void)round; /* of words of two it says nothing: those are always rounded */
    if (dt == GAL_BF16) GAL__DOT_GROUP(GAL_BF16, false);
#if UNIT == 2
    else
        GAL__DOT_GROUP(GAL_F32, true);
#else
    else if (dt == GAL_F16 && round)
        GAL__DOT_GROUP(GAL_F16, true);
    else if (dt == GAL_F16)
        GAL__DOT_GROUP(GAL_F16, false);
    else if (round)
        GAL__DOT_GROUP(GAL_F32, true);
    else
        GAL__DOT_GROUP(GAL_F32, false);
#endif
}

static void some_rows(const gal_gemm *g, const gal__tile *t, void *scratch) {
    enum { STEP = VW * UNIT };
    const bool round = g->compute == GAL_BF16, blocks = g->b.dt == GAL_BLOCKS;
    const gal_dtype dt = blocks ? GAL_F32 : g->b.dt;
    const int64_t rows = (g->m + DOT_R - 1) / DOT_R * DOT_R, steps = (g->k + STEP - 1) / STEP;
    const int64_t most = DOT_A_WORDS / rows / VW, count = (steps + most - 1) / most;
    const int64_t each = count > 0 ? (steps + count - 1) / count * STEP : 0; /* numbers of a block of k */
    const int64_t ldo = (t->j1 - t->j0 + DOT_C + DOT_LINE - 1) / DOT_LINE * DOT_LINE, lda = each / UNIT + DOT_LINE;
    const int fetch = blocks ? 0 : rows / DOT_R * DOT_FETCH < DOT_C ? DOT_C : DOT_FETCH;
    float *out = scratch, *a = out + rows * ldo, *wide = a + rows * lda;
    memset(out, 0, (size_t)(rows * ldo) * sizeof *out);
    memset(a + g->m * lda, 0, (size_t)((rows - g->m) * lda) * sizeof *a);
    for (int64_t k = 0; k < g->k; k += each) {
        const int64_t n = min64(g->k - k, each);
        rows_as_words(a, lda, g, k, n);
        for (int64_t j = t->j0; j < t->j1; j += DOT_C) {
            dot_columns b = { .n = n, .stride = g->b.cs * (ptrdiff_t)bytes_of(dt) };
            for (int64_t c = 0; c < DOT_C; c++) { /* beyond the last column it is repeated */
                const int64_t col = min64(j + c, t->j1 - 1);
                float *w = wide + c * (each + DOT_LINE);
                if (blocks) unpack(g->b.code, g->b.p, g->b.cs, col, k, n, w);
                b.p[c] = blocks ? (const char *)w : at(&g->b, k, col);
            }
            for (int64_t i = 0; i < rows; i += DOT_R) {
                const int64_t from = i / DOT_R * fetch;
                b.next = b.p[0] + (DOT_C + from) * b.stride;
                dot_any(out + i * ldo + (j - t->j0), ldo, a + i * lda, lda, &b, dt, round, from < DOT_C ? fetch : 0);
            }
        }
    }
    finish(g, out, ldo, 0, g->m, t->j0, t->j1 - t->j0);
}

#endif
