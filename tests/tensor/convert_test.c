/* convert_test.c - conversions between number formats: all 2^16 values of the short ones, and what lies between
 * neighbours. SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

typedef struct format {
    const char *name;
    float (*wide)(uint16_t);
    uint16_t (*from_f32)(float);
    uint16_t (*from_f64)(double);
    uint16_t infinity; /* its bits; larger ones are NaN */
} format;

static const format FORMATS[] = {
    { "f16", gal_f16_to_f32, gal_f32_to_f16, gal_f64_to_f16, 0x7c00 },
    { "bf16", gal_bf16_to_f32, gal_f32_to_bf16, gal_f64_to_bf16, 0x7f80 },
};

static void check(const format *f, double x, uint16_t want) {
    for (int sign = 0; sign < 2; sign++) {
        uint16_t bits = (uint16_t)(want | (sign ? 0x8000 : 0)), got = f->from_f64(sign ? -x : x);
        if (got != bits) print_error("%s: %a gives %04x, expected %04x\n", f->name, x, got, bits);
        assert_int_equal(got, bits);
        if (fabs((double)(float)x - x) > 0) continue; /* f32 does not hold it */
        assert_int_equal(f->from_f32((float)(sign ? -x : x)), bits);
    }
}

static void known_values(void **state) {
    (void)state;
    assert_true(gal_f16_to_f32(0x3c00) == 1.0f && gal_bf16_to_f32(0x3f80) == 1.0f);
    assert_true(gal_f16_to_f32(0xc000) == -2.0f && gal_f16_to_f32(0x7bff) == 65504.0f);
    assert_true(gal_f16_to_f32(0x0001) == 0x1p-24f && gal_f16_to_f32(0x03ff) == 0x3ffp-24f);
    assert_true(gal_bf16_to_f32(0x0001) == 0x1p-133f);
    assert_true(isinf(gal_f16_to_f32(0x7c00)) && isinf(gal_bf16_to_f32(0xff80)));
    check(&FORMATS[0], 65519.99, 0x7bff);
    check(&FORMATS[0], 65520, 0x7c00);
    check(&FORMATS[0], 1e300, 0x7c00);
    check(&FORMATS[1], 1e300, 0x7f80);
    check(&FORMATS[1], 3.4e38, 0x7f80);
    check(&FORMATS[0], 1e-300, 0);
    check(&FORMATS[1], 1e-300, 0);
}

/* Between neighbours a and b: the middle goes to the even one, anything else to the nearer. */
static void every_value(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(FORMATS); i++) {
        const format *f = &FORMATS[i];
        for (uint16_t h = 0; h < f->infinity; h++) {
            double a = (double)f->wide(h);
            check(f, a, h);
            if (h + 1 == f->infinity) break;
            double b = (double)f->wide((uint16_t)(h + 1)), middle = (a + b) / 2;
            assert_true(b > a);
            check(f, middle, (uint16_t)(h + (h & 1)));
            check(f, nextafter(middle, a), h); /* f64's neighbours: one rounding, not two */
            check(f, nextafter(middle, b), (uint16_t)(h + 1));
            if (fabs((double)(float)middle - middle) > 0) continue;
            check(f, (double)nextafterf((float)middle, (float)a), h);
            check(f, (double)nextafterf((float)middle, (float)b), (uint16_t)(h + 1));
        }
    }
}

static void not_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(FORMATS); i++) {
        const format *f = &FORMATS[i];
        for (uint32_t h = f->infinity + 1u; h < 0x8000; h++) {
            assert_true(isnan(f->wide((uint16_t)h)));
            assert_true(isnan(f->wide(f->from_f32(f->wide((uint16_t)h)))));
        }
        uint32_t low = 0x7f800001; /* the payload lies below what is kept */
        float nan;
        memcpy(&nan, &low, sizeof nan);
        assert_true(isnan(f->wide(f->from_f32(nan))) && isnan(f->wide(f->from_f64((double)NAN))));
    }
}

/* Any format to any other goes through exact values, whatever the length. */
static void arrays(void **state) {
    (void)state;
    static const gal_dtype TYPES[] = { GAL_F32, GAL_BF16, GAL_F16, GAL_F64 };
    enum { N = 300 };
    double x[N], back[N];
    for (int i = 0; i < N; i++) x[i] = (double)(i - 150) / 4; /* exact in f16; bf16 has 8 bits of it */
    for (size_t a = 0; a < GAL_LEN(TYPES); a++)
        for (size_t b = 0; b < GAL_LEN(TYPES); b++)
            for (int64_t n = 0; n <= N; n = n * 2 + 1) {
                _Alignas(8) unsigned char first[N * 8], second[N * 8 + 1];
                memset(second, 0x5a, sizeof second);
                gal_convert(first, TYPES[a], x, GAL_F64, n);
                gal_convert(second, TYPES[b], first, TYPES[a], n);
                assert_int_equal(second[(size_t)n * gal_dtype_bytes(TYPES[b])], 0x5a);
                gal_convert(back, GAL_F64, second, TYPES[b], n);
                bool bf16 = TYPES[a] == GAL_BF16 || TYPES[b] == GAL_BF16;
                for (int64_t i = 0; i < n; i++)
                    assert_true(fabs(back[i] - x[i]) <= (bf16 ? fabs(x[i]) * 0x1p-8 : 0.0));
            }
}

static void sizes(void **state) {
    (void)state;
    gal_t scalar = { .ndim = 0 }, t = { .ndim = 3, .dim = { 2, 3, 5 } };
    gal_w w = { .ndim = 2, .dim = { 4, 7 }, .dtype = GAL_BF16 };
    assert_int_equal(gal_count(&scalar), 1);
    assert_int_equal(gal_rows(&scalar), 1);
    assert_int_equal(gal_cols(&scalar), 1);
    assert_int_equal(gal_count(&t), 30);
    assert_int_equal(gal_rows(&t), 6);
    assert_int_equal(gal_cols(&t), 5);
    assert_int_equal(gal_wcount(&w), 28);
    assert_int_equal(gal_wbytes(&w), 56);
    assert_int_equal(gal_stat_dtype(GAL_BF16), GAL_F32);
    assert_int_equal(gal_stat_dtype(GAL_F64), GAL_F64);
    assert_string_equal(gal_dtype_name(GAL_BF16), "bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_values), cmocka_unit_test(every_value),
                                        cmocka_unit_test(not_numbers), cmocka_unit_test(arrays),
                                        cmocka_unit_test(sizes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
