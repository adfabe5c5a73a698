/* i8_few.h - products of a few rows of A with packed weights in blocks, for decoding: what i8_formats.h takes apart
 * meets the rows at once, in registers. Nothing goes through a slab, so that loads of weights follow one another
 * evenly, as they lie in memory, and as many of them are under way as when a processor only reads. With more rows it
 * counts for more that weights are taken apart once for all. Included by i8_body.h, whose sums of a number of C these
 * are, in the same order. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_I8_FEW_H
#define GAL_KERNELS_CPU_I8_FEW_H

/* VW rows of weights, one unit, and rows of A. */
struct i8_few {
    int rows;
    bool halves, wide;
    const i8_rows *a;
    S (*sums)[SUBS]; /* [rows]: of each group of 32 (or 16) numbers */
    F *scale, *min;
    const uint8_t *ahead; /* to fetch next, a step for each quad: as weights lie, whatever the format's order is */
    size_t step;
};

/* Bytes that have no sign are multiplied as the file has them, and what is natural is taken off where a sum starts.
 */
GAL__INLINE void few_quad(i8_few *few, int64_t b, int t, U x, int offset) {
    const int64_t sub = few->halves ? 2 * b + t / 4 : b;
    if (few->wide) x = (U)((B)x + (uint8_t)offset);
    __builtin_prefetch(few->ahead, 0, 3);
    few->ahead += few->step;
    GAL__UNROLL
    for (int r = 0; r < few->rows; r++) {
        const S y = s_set1(int_at(few->a->q + (size_t)r * few->a->stride + 32 * b + 4 * t));
        few->sums[r][sub] = i8_dot(few->sums[r][sub], x, y, few->wide);
    }
}
GAL__INLINE void few_scale(const i8_few *few, int64_t i, F x) { few->scale[i] = x; }
GAL__INLINE void few_min(const i8_few *few, int64_t i, F x) { few->min[i] = x; }

GAL__INLINE void few_begin(const i8_few *few, int natural) {
    const int subs = few->halves ? SUBS : SUBS / 2;
    GAL__UNROLL
    for (int r = 0; r < few->rows; r++) {
        const char *bias = few->a->q + (size_t)r * few->a->stride + few->a->bias;
        GAL__UNROLL
        for (int b = 0; b < subs; b++)
            /* NOLINTNEXTLINE(bugprone-branch-clone): where products are i8_maddubs.h's both are the same */
            few->sums[r][b] = few->wide ? i8_start(bias + 4 * b, natural) : i8_start_natural(bias + 4 * b, natural);
    }
}

/* y (of row r: y + r lds) = or += the unit's part of VW numbers of C. */
GAL__INLINE void few_end(const i8_few *few, const bool mins, const bool fused, float *y, int64_t lds, bool onto) {
    const int subs = few->halves ? SUBS : SUBS / 2;
    GAL__UNROLL
    for (int r = 0; r < few->rows; r++) {
        const char *row = few->a->q + (size_t)r * few->a->stride;
        F acc = f_set1(0);
        if (onto) memcpy(&acc, y + r * lds, sizeof acc);
        GAL__UNROLL
        for (int b = 0; b < subs; b++) {
            const F d = f_set1(float_at(row + few->a->scale + 4 * (few->halves ? b / 2 : b)));
            acc = f_fma(i8_scaled(few->sums[r][b], few->scale[b], i8_undo(few->scale[b]), fused), d, acc);
            if (mins) acc = f_fma(f_set1(float_at(row + few->a->sum + 4 * b)), few->min[b], acc);
        }
        memcpy(y + r * lds, &acc, sizeof acc);
    }
}

/* A whole unit and R rows. A function for each number of rows: gcc would compute the addresses once for all of them
 * and keep them in memory. */
#define GAL__I8_FEW_ROWS(R, name, natural, halves, mins, wide, fused)                                                \
    static __attribute__((noinline)) void few_##name##_##R(const unit *u, const i8_rows *a, float *y, int64_t lds,   \
                                                           bool onto) {                                              \
        S sums[R][SUBS];                                                                                             \
        F scale[SUBS], min[SUBS];                                                                                    \
        i8_few few = { R, halves, wide, a, sums, scale, min, u->ahead, u->step };                                    \
        const slab to = { .few = &few };                                                                             \
        few_begin(&few, natural);                                                                                    \
        unpack_##name(u, &to);                                                                                       \
        few_end(&few, mins, fused, y, lds, onto);                                                                    \
    }
/* Some of `rows` rows; how many. */
#define GAL__I8_FEW_OF(block, name, ...)                                                                             \
    GAL__I8_FEW_ROWS(1, name, __VA_ARGS__)                                                                           \
    GAL__I8_FEW_ROWS(2, name, __VA_ARGS__)                                                                           \
    static int few_##name(const unit *u, int64_t rows, const i8_rows *a, float *y, int64_t lds, bool onto) {         \
        const bool two = FEW == 2 && rows >= 2;                                                                      \
        if (two)                                                                                                     \
            few_##name##_2(u, a, y, lds, onto);                                                                      \
        else                                                                                                         \
            few_##name##_1(u, a, y, lds, onto);                                                                      \
        return two ? 2 : 1;                                                                                          \
    }
GAL__I8_FORMATS(GAL__I8_FEW_OF)

#endif
