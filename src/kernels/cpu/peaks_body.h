/* peaks_body.h - the loops of a level's peaks over vectors F and I of BYTES bytes, whose operations the including
 * file defines. Sums are independent, as many as the registers hold beside the operands: a processor that starts two
 * multiply-adds a cycle and takes four to six cycles for one needs eight to twelve under way.
 * SPDX-License-Identifier: Apache-2.0 */

enum {
    READ_SUMS = 8,
    READ_BYTES = READ_SUMS * BYTES,
    F32_OPS = 2 * F32_SUMS * BYTES / 4,
    BF16_OPS = 2 * 2 * ROWS * BYTES / 4,
    I8_OPS = 2 * I8_SUMS * BYTES
};

static void read_bytes(const void *x, int64_t rounds, void *sink) {
    I sum[READ_SUMS];
    GAL__UNROLL
    for (int j = 0; j < READ_SUMS; j++) {
        sum[j] = i_zero();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    const char *p = x;
    do {
        GAL__UNROLL
        for (int j = 0; j < READ_SUMS; j++) sum[j] = i_add(sum[j], i_load(p + j * BYTES));
        p += READ_BYTES;
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < READ_SUMS; j++) sum[0] = i_add(sum[0], sum[j]);
    i_store(sink, sum[0]);
}

static void dot_f32(const void *x, int64_t rounds, void *sink) {
    const float *in = x;
    F sum[F32_SUMS], a = f_set1(in[0]), b = f_set1(in[1]);
    GAL__UNROLL
    for (int j = 0; j < F32_SUMS; j++) {
        sum[j] = f_zero();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        GAL__UNROLL
        for (int j = 0; j < F32_SUMS; j++) sum[j] = f_fma(a, b, sum[j]);
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < F32_SUMS; j++) sum[0] = f_add(sum[0], sum[j]);
    f_store(sink, sum[0]);
}

static void dot_bf16_widened(const void *x, int64_t rounds, void *sink) {
    float a[ROWS];
    for (int j = 0; j < ROWS; j++) {
        uint32_t bits = (uint32_t)((const uint16_t *)x)[j] << 16;
        memcpy(&a[j], &bits, sizeof bits);
    }
    F sum[2 * ROWS];
    GAL__UNROLL
    for (int j = 0; j < 2 * ROWS; j++) {
        sum[j] = f_zero();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        I word = i_load(x);
        GAL__HIDE(word); /* otherwise loaded and widened once, before the loop */
        F lo = low_halves(word), hi = high_halves(word);
        GAL__UNROLL
        for (int j = 0; j < ROWS; j++) {
            F row = f_set1(a[j]);
            sum[2 * j] = f_fma(row, lo, sum[2 * j]);
            sum[2 * j + 1] = f_fma(row, hi, sum[2 * j + 1]);
        }
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < 2 * ROWS; j++) sum[0] = f_add(sum[0], sum[j]);
    f_store(sink, sum[0]);
}

static void dot_i8(const void *x, int64_t rounds, void *sink) {
    const signed char *in = x;
    I sum[I8_SUMS], ones = i_ones16(), a = i_set1(in[0]), b = i_set1(in[1]);
    GAL__UNROLL
    for (int j = 0; j < I8_SUMS; j++) {
        sum[j] = i_zero();
        GAL__HIDE(sum[j]); /* equal sums would be made one */
    }
    do {
        /* Where a dot product takes two instructions the first would otherwise leave the loop. */
        GAL__UNROLL
        for (int j = 0; j < I8_SUMS; j++) {
            GAL__HIDE(a);
            sum[j] = i8_dot(sum[j], a, b, ones);
        }
    } while (--rounds > 0);
    GAL__UNROLL
    for (int j = 1; j < I8_SUMS; j++) sum[0] = i_add(sum[0], sum[j]);
    i_store(sink, sum[0]);
}
