/* blocks_test.c - the block formats of GGUF files: the values of the reference and of the package gguf, to the bit;
 * sizes and names; what is lost on the way there and back. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "support/check.h"
#include "support/npz.h"
#include "tensor/blocks.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHARED "../shared/data/gguf-quants/vectors.jsonl"
#define GOLDEN "tests/golden/blocks.npz"

/* Written as the reference does; and with a search of our own (quantise_test.c). */
static const uint32_t SIMPLE[] = { GAL_BLOCK_F32,  GAL_BLOCK_F16,  GAL_BLOCK_BF16, GAL_BLOCK_Q8_0,
                                   GAL_BLOCK_Q4_0, GAL_BLOCK_Q4_1, GAL_BLOCK_Q5_0, GAL_BLOCK_Q5_1 };
static const uint32_t SEARCHED[] = { GAL_BLOCK_Q2_K, GAL_BLOCK_Q3_K,   GAL_BLOCK_Q4_K,   GAL_BLOCK_Q5_K,
                                     GAL_BLOCK_Q6_K, GAL_BLOCK_IQ4_NL, GAL_BLOCK_IQ4_XS, GAL_BLOCK_MXFP4 };

/* Compares bits, so that 0 and -0 differ. Blocks of any type; they are read from an odd address. */
static void check_read(uint32_t type, const void *blocks, const void *want, int64_t n) {
    const gal_block_info *f = gal_block_info_of(type);
    size_t bytes = (size_t)(n / f->elements * f->bytes);
    uint8_t *odd = gal_alloc(bytes + 1);
    float *got = gal_alloc_array((size_t)n, sizeof *got);
    assert_true(odd && got);
    memcpy(odd + 1, blocks, bytes);
    gal_block_dequantise(type, odd + 1, got, n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, got + i, sizeof a);
        memcpy(&b, (const uint8_t *)want + 4 * i, sizeof b);
        if (a != b) fail_msg("%s: number %d is %08x, expected %08x", f->name, (int)i, (unsigned)a, (unsigned)b);
    }
    gal_free(odd);
    gal_free(got);
}

static void check_write(uint32_t type, const float *x, const void *want, int64_t n) {
    const gal_block_info *f = gal_block_info_of(type);
    size_t bytes = (size_t)(n / f->elements * f->bytes);
    uint8_t *odd = gal_alloc(bytes + 1);
    assert_non_null(odd);
    gal_block_quantise(type, x, odd + 1, n);
    for (size_t i = 0; i < bytes; i++)
        if (odd[1 + i] != ((const uint8_t *)want)[i])
            fail_msg("%s: byte %zu of block %zu is %02x, expected %02x", f->name, i % f->bytes, i / f->bytes,
                     odd[1 + i], ((const uint8_t *)want)[i]);
    gal_free(odd);
}

static uint32_t hex(const char *s, size_t digits) {
    char part[9] = { 0 };
    memcpy(part, s, digits);
    return (uint32_t)strtoul(part, NULL, 16);
}

/* One line: {type, kind: "dequant", block: hex, values: [hex of f32]} or {..., kind: "quant", input: [...], block}.
 */
static bool check_line(const char *line) {
    uint8_t block[512];
    uint32_t bits[256];
    bool found = false;
    json_t *j = json_loads(line, 0, NULL);
    assert_non_null(j);
    bool reads = strcmp(json_string_value(json_object_get(j, "kind")), "dequant") == 0;
    uint32_t type = gal_block_find(json_string_value(json_object_get(j, "type")), &found);
    assert_true(found);
    const gal_block_info *f = gal_block_info_of(type);
    const json_t *text = json_object_get(j, "block"), *numbers = json_object_get(j, reads ? "values" : "input");
    assert_int_equal(json_string_length(text), 2 * f->bytes);
    assert_int_equal(json_array_size(numbers), f->elements);
    for (size_t i = 0; i < f->bytes; i++) block[i] = (uint8_t)hex(json_string_value(text) + 2 * i, 2);
    for (size_t i = 0; i < f->elements; i++) bits[i] = hex(json_string_value(json_array_get(numbers, i)), 8);
    json_decref(j);
    float x[256];
    memcpy(x, bits, sizeof x);
    if (reads)
        check_read(type, block, bits, f->elements);
    else
        check_write(type, x, block, f->elements);
    return reads;
}

static void reference_vectors(void **state) {
    (void)state;
    static char line[1 << 16];
    if (!gal_is_file(SHARED)) { /* a clone of this repository alone lacks it; blocks.npz is checked everywhere */
        print_message("skipped: no " SHARED "\n");
        skip();
    }
    int reads = 0, writes = 0;
    FILE *file = fopen(SHARED, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) *(check_line(line) ? &reads : &writes) += 1;
    fclose(file);
    print_message("%d blocks read and %d written as the reference does\n", reads, writes);
    assert_int_equal(reads, 39);
    assert_int_equal(writes, 15);
}

static const gal_npy *golden_array(const npz *z, uint32_t type, const char *what) {
    char name[32];
    snprintf(name, sizeof name, "%s.%s", gal_block_info_of(type)->name, what);
    const gal_npy *a = npz_find(z, name);
    if (!a) fail_msg(GOLDEN ": no %s", name);
    return a;
}

static void golden_values(void **state) {
    (void)state;
    npz z = { 0 };
    CHECK_OK(npz_open(&z, GOLDEN, diag));
    const gal_npy *x = npz_find(&z, "x");
    assert_non_null(x);
    int64_t read = 0, written = 0;
    for (uint32_t type = 0; type < 64; type++) {
        const gal_block_info *f = gal_block_info_of(type);
        if (f && f->reads) {
            const gal_npy *blocks = golden_array(&z, type, "blocks"), *values = golden_array(&z, type, "values");
            assert_int_equal(4 * blocks->count, values->count / f->elements * f->bytes);
            check_read(type, blocks->data, values->data, values->count);
            read += values->count;
        }
    }
    for (size_t t = 0; t < GAL_LEN(SIMPLE); t++) {
        uint32_t type = SIMPLE[t];
        const gal_block_info *f = gal_block_info_of(type);
        const gal_npy *blocks = golden_array(&z, type, "quantised");
        assert_int_equal(4 * blocks->count, x->count / f->elements * f->bytes);
        check_write(type, x->data, blocks->data, x->count);
        written += x->count;
    }
    print_message("%d numbers read and %d written as the package gguf does\n", (int)read, (int)written);
    npz_close(&z);
}

static void sizes_and_names(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        int elements, bytes;
        const char *name;
    } KNOWN[] = {
        { 0, 1, 4, "F32" },         { 1, 1, 2, "F16" },         { 2, 32, 18, "Q4_0" },      { 3, 32, 20, "Q4_1" },
        { 6, 32, 22, "Q5_0" },      { 7, 32, 24, "Q5_1" },      { 8, 32, 34, "Q8_0" },      { 9, 32, 36, "Q8_1" },
        { 10, 256, 84, "Q2_K" },    { 11, 256, 110, "Q3_K" },   { 12, 256, 144, "Q4_K" },   { 13, 256, 176, "Q5_K" },
        { 14, 256, 210, "Q6_K" },   { 15, 256, 292, "Q8_K" },   { 16, 256, 66, "IQ2_XXS" }, { 17, 256, 74, "IQ2_XS" },
        { 18, 256, 98, "IQ3_XXS" }, { 19, 256, 50, "IQ1_S" },   { 20, 32, 18, "IQ4_NL" },   { 21, 256, 110, "IQ3_S" },
        { 22, 256, 82, "IQ2_S" },   { 23, 256, 136, "IQ4_XS" }, { 24, 1, 1, "I8" },         { 25, 1, 2, "I16" },
        { 26, 1, 4, "I32" },        { 27, 1, 8, "I64" },        { 28, 1, 8, "F64" },        { 29, 256, 56, "IQ1_M" },
        { 30, 1, 2, "BF16" },       { 34, 256, 54, "TQ1_0" },   { 35, 256, 66, "TQ2_0" },   { 39, 32, 17, "MXFP4" },
        { 40, 64, 36, "NVFP4" },    { 41, 128, 18, "Q1_0" },    { 42, 64, 18, "Q2_0" },
    };
    size_t known = 0;
    for (size_t i = 0; i < GAL_LEN(KNOWN); i++) {
        const gal_block_info *f = gal_block_info_of(KNOWN[i].type);
        bool found = false;
        assert_non_null(f);
        assert_string_equal(f->name, KNOWN[i].name);
        assert_int_equal(f->elements, KNOWN[i].elements);
        assert_int_equal(f->bytes, KNOWN[i].bytes);
        assert_int_equal(gal_block_find(KNOWN[i].name, &found), KNOWN[i].type);
        assert_true(found);
    }
    for (uint32_t type = 0; type < 70000; type++) known += gal_block_info_of(type) != NULL;
    assert_int_equal(known, GAL_LEN(KNOWN));
    assert_null(gal_block_info_of(UINT32_MAX));
}

static void what_is_known(void **state) {
    (void)state;
    static const uint32_t GONE[] = { 4, 5, 31, 32, 33, 36, 37, 38, 43 };
    static const char *const NO_NAMES[] = { "", "Q4", "Q4_0 ", "Q4_2", "Q4_K_M", "q" };
    size_t reads = 0, writes = 0;
    bool found = false;
    for (size_t i = 0; i < GAL_LEN(GONE); i++) assert_null(gal_block_info_of(GONE[i]));
    for (size_t i = 0; i < GAL_LEN(NO_NAMES); i++) {
        found = true;
        gal_block_find(NO_NAMES[i], &found);
        assert_false(found);
    }
    assert_int_equal(gal_block_find("q8_0", &found), GAL_BLOCK_Q8_0);
    assert_true(found);
    assert_int_equal(gal_block_find("Iq4_nl", &found), GAL_BLOCK_IQ4_NL);
    assert_true(found);
    for (size_t i = 0; i < GAL_LEN(SIMPLE); i++)
        assert_true(gal_block_info_of(SIMPLE[i])->reads && gal_block_info_of(SIMPLE[i])->writes);
    for (size_t i = 0; i < GAL_LEN(SEARCHED); i++)
        assert_true(gal_block_info_of(SEARCHED[i])->reads && gal_block_info_of(SEARCHED[i])->writes);
    for (uint32_t type = 0; type < 64; type++) {
        const gal_block_info *f = gal_block_info_of(type);
        reads += f && f->reads;
        writes += f && f->writes;
    }
    assert_int_equal(reads, GAL_LEN(SIMPLE) + GAL_LEN(SEARCHED));
    assert_int_equal(writes, reads);
}

/* Blocks of any bytes, then with NaN and infinities at every place: the scales say what all numbers say. Formats
 * without f16 scales may ask for a closer look, but never let one pass. */
static void finite_scales(void **state) {
    (void)state;
    static const uint16_t BAD[] = { 0x7c00, 0xfc00, 0x7e01, 0xffff };
    enum { TRIES = 300, LARGEST = 256 };
    for (uint32_t type = 0; type < 64; type++) {
        const gal_block_info *f = gal_block_info_of(type);
        if (!f || !f->reads) continue;
        const bool exact = type != GAL_BLOCK_F32 && type != GAL_BLOCK_BF16 && type != GAL_BLOCK_MXFP4;
        int64_t bad = 0;
        for (int n = 0; n < TRIES + (int)(GAL_LEN(BAD) * f->bytes); n++) {
            uint8_t block[LARGEST + 1];
            float y[LARGEST];
            for (uint32_t i = 0; i < f->bytes; i++)
                block[i] = (uint8_t)gal_rng_below(7, type, (uint64_t)n * 512 + i, 256);
            size_t place = (size_t)GAL_MAX(n - TRIES, 0) / GAL_LEN(BAD);
            if (n >= TRIES && place + 1 < f->bytes) memcpy(block + place, &BAD[(size_t)n % GAL_LEN(BAD)], 2);
            gal_block_dequantise(type, block, y, f->elements);
            bool finite = true;
            for (uint32_t i = 0; i < f->elements; i++) finite = finite && isfinite(y[i]);
            bool said = gal_block_scales_finite(type, block, f->elements);
            if (exact ? said != finite : said && !finite)
                fail_msg("%s, try %d: %d, found %d", f->name, n, finite, said);
            bad += !finite;
        }
        assert_true(bad > 0);
    }
    uint8_t sound[17] = { 252, 0x77 }, row[130] = { 0 };
    assert_true(gal_block_scales_finite(GAL_BLOCK_MXFP4, sound, 32));
    float scales[2] = { 1, 2 };
    gal_code code = { GAL_BLOCK_F8_E4M3, scales, 1, 65, 2, 0 };
    assert_true(gal_code_row_finite(&code, row, 130, 0));
    for (int i = 0; i < 130; i++)
        for (int sign = 0; sign < 256; sign += 128) {
            row[i] = (uint8_t)(0x7f + sign);
            assert_false(gal_code_row_finite(&code, row, 130, 0));
            row[i] = (uint8_t)(0x7e + sign);
            assert_true(gal_code_row_finite(&code, row, 130, 0));
        }
    scales[1] = 1e37f; /* 448 of it is infinite */
    assert_false(gal_code_row_finite(&code, row, 130, 0));
}

/* How far y may be from x[i]: half a step, and what f16 takes from the scale and the minimum. Q4_0 and Q5_0 have no
 * number opposite to the element of largest size; what lies there is cut, at most one step off. */
static double bound(uint32_t type, const float *x, int i) {
    double min = (double)x[0], max = min, xi = (double)x[i];
    for (int k = 1; k < 32; k++) {
        min = fmin(min, (double)x[k]);
        max = fmax(max, (double)x[k]);
    }
    double size = fmax(fabs(min), fabs(max)),
           rounded = 0x1.8p-10 * size; /* 2^-11 of scale times number, and of min */
    bool cut = max > -min ? xi < -size * 0.875 : xi > size * 0.875;
    switch (type) {
    case GAL_BLOCK_F32:
        return 0;
    case GAL_BLOCK_F16:
        return 0x1p-11 * fabs(xi) + 0x1p-25;
    case GAL_BLOCK_BF16:
        return 0x1p-8 * fabs(xi);
    case GAL_BLOCK_Q8_0:
        return 0.5 * size / 127 + rounded;
    case GAL_BLOCK_Q4_0:
        return (cut ? 1 : 0.5) * size / 8 + rounded;
    case GAL_BLOCK_Q5_0:
        return (cut ? 1 : 0.5) * size / 16 + rounded;
    case GAL_BLOCK_Q4_1:
        return 0.5 * (max - min) / 15 + rounded;
    default:
        return 0.5 * (max - min) / 31 + rounded;
    }
}

static void there_and_back(void **state) {
    (void)state;
    enum { BLOCKS = 300, N = 32 * BLOCKS };
    static float x[N], y[N];
    static uint8_t bytes[4 * N];
    for (int i = 0; i < N; i++) {
        double scale = exp2((double)(i / 32 % 14) - 2), shift = i / 32 % 3 == 0 ? 3 : 0;
        x[i] = (float)(scale * (gal_rng_normal(5, 0, (uint64_t)i) + shift));
    }
    for (size_t t = 0; t < GAL_LEN(SIMPLE); t++) {
        gal_block_quantise(SIMPLE[t], x, bytes, N);
        gal_block_dequantise(SIMPLE[t], bytes, y, N);
        for (int i = 0; i < N; i++) {
            double off = fabs((double)y[i] - (double)x[i]), most = bound(SIMPLE[t], x + i / 32 * 32, i % 32);
            if (off > most)
                fail_msg("%s: %g comes back as %g, at most %g off", gal_block_info_of(SIMPLE[t])->name, (double)x[i],
                         (double)y[i], most);
        }
    }
}

/* Numbers that no block holds give bytes that mean nothing, but no undefined conversion (the sanitizers look on). */
static void not_finite(void **state) {
    (void)state;
    static const float BAD[] = { INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f };
    uint8_t bytes[128];
    for (size_t t = 0; t < GAL_LEN(SIMPLE); t++)
        for (size_t i = 0; i < GAL_LEN(BAD); i++) {
            float x[32] = { 0, 1, -1, 1e-42f };
            x[4] = x[31] = BAD[i];
            gal_block_quantise(SIMPLE[t], x, bytes, 32);
            for (int k = 0; k < 31; k++) x[k] = i < 3 ? BAD[i] : 0;
            gal_block_quantise(SIMPLE[t], x, bytes, 32);
            gal_block_dequantise(SIMPLE[t], bytes, x, 32);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(reference_vectors), cmocka_unit_test(golden_values),
                                        cmocka_unit_test(sizes_and_names),   cmocka_unit_test(what_is_known),
                                        cmocka_unit_test(there_and_back),    cmocka_unit_test(not_finite),
                                        cmocka_unit_test(finite_scales) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
