/* texts.c - vocabularies, texts to train them on, run configurations, NumPy arrays. SPDX-License-Identifier:
 * Apache-2.0 */
#include "bad.h"

#include "base/rng.h"
#include "formats/npy.h"
#include "text/tokenizer.h"
#include "train/config.h"

#include <unistd.h>

/* ---- vocabularies ------------------------------------------------------------------------------------------------
 */

/* Also a prefix that ends between two fields is refused. */
static void test_vocabulary_cut(void **state) {
    (void)state;
    static const char *const FILES[] = { "rules-bytes.model", "rules-unknown.model" };
    gal_buf b = { 0 };
    size_t whole = 0;
    for (size_t f = 0; f < GAL_LEN(FILES); f++) {
        slurp(&b, "tests/golden/text", FILES[f]);
        const char *dir = fresh("text");
        for (size_t n = 0; n < b.len; n++) {
            gal_diag diag = { 0 };
            gal_tokenizer *t = NULL;
            char *copy = gal_alloc(n); /* ends where the bytes end */
            assert_non_null(copy);
            if (n) memcpy(copy, b.data, n);
            library_begin();
            gal_err err = gal_tokenizer_open_bytes(&t, copy, n, "cut.model", &diag);
            gal_free(copy);
            if (err)
                library_refused("a vocabulary cut short", err, &diag, (const char *const[MOST_SAYS]){ "cut.model" });
            whole += !err;
            gal_tokenizer_free(t);
            if (!err || n % 499 != 0) continue;
            put_file(dir, "cut.model", b.data, n);
            char path[700];
            (void)snprintf(path, sizeof path, "%s/cut.model", dir);
            program("a vocabulary cut short", path, 3, (const char *const[MOST_SAYS]){ "cut.model" },
                    (const char *const[]){ "tokenize", "%", "x", NULL });
        }
    }
    if (whole > 0) fail_msg("%zu prefixes were taken for whole vocabularies", whole);
    gal_buf_free(&b);
}

static void test_vocabulary_specials(void **state) {
    (void)state;
    char path[700];
    for (size_t i = 0; i < N_SPECIALS; i++) {
        if (SPECIALS[i].as_user && geteuid() == 0) continue;
        const char *dir = copy_of("tests/golden/mistral-base", "model");
        (void)snprintf(path, sizeof path, "%s/tokenizer.model", dir);
        SPECIALS[i].make(path);
        const char *const says[MOST_SAYS] = { "tokenizer.model" };
        model_refused(SPECIALS[i].what, dir, says);
        program(SPECIALS[i].what, dir, 3, says, (const char *const[]){ "inspect", "%", NULL });
        program(SPECIALS[i].what, dir, 3, says, (const char *const[]){ "tokenize", "%", "x", NULL });
    }
}

/* Half a megabyte of every byte, without lines. It gives a vocabulary: bytes are what pieces are made of. */
static void test_garbage_to_train_on(void **state) {
    (void)state;
    enum { BYTES = 1 << 19 };
    const char *dir = fresh("text");
    uint8_t *noise = gal_alloc(BYTES);
    assert_non_null(noise);
    for (size_t i = 0; i < BYTES; i++) noise[i] = (uint8_t)gal_rng_below(9, 1, i, 256);
    put_file(dir, "noise", noise, BYTES);
    gal_free(noise);
    char model[700], text[700];
    (void)snprintf(model, sizeof model, "%s/noise.model", dir);
    (void)snprintf(text, sizeof text, "%s/noise", dir);
    works("noise", 0,
          (const char *const[]){ "tokenize", "--train", text, "--vocab-size", "6000", "-o", model, NULL });
    works("noise", 0, (const char *const[]){ "tokenize", model, "any text", NULL });
    put_file(dir, "zeros", (const char[4096]){ 0 }, 4096);
    (void)snprintf(text, sizeof text, "%s/zeros", dir);
    works("zeros", 3,
          (const char *const[]){ "tokenize", "--train", text, "--vocab-size", "6000", "-o", model, NULL });
}

/* ---- run configurations ------------------------------------------------------------------------------------------
 */

static void repeat(gal_buf *b, const char *unit, size_t n) {
    for (size_t i = 0; i < n; i++) gal_buf_puts(b, unit);
}

static const struct yaml {
    const char *before, *unit;
    size_t times;
    const char *after, *says;
} YAML[] = {
    { "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c]\n", "", 0, "", ":1:1" },
    { "steps: &a 3\nseed: *a\n", "", 0, "", ":1:8: anchors" },
    { "steps: !!int 3\n", "", 0, "", "tags" },
    { "", "k: 1\n", 200000, "", ":1:1: unknown key k" },
    { "", "steps: 1\n", 100000, "", ":2:8: steps: given twice, first in line 1" },
    { "", "k: 1\n", 1000000, "", "1048576 bytes" },
    { "steps:\t3\n\tseed: 1\n", "", 0, "", ":2:" },
    { "steps: \xff\n", "", 0, "", "byte 7: no YAML" },
    { "steps: \"a\\0b\"\n", "", 0, "", "steps: expected a whole number" },
    { "data.text: ", "[", 100000, "\n", "a list inside the list" },
    { "data.text: [", "[", 1, "]]\n", "a list inside the list" },
    { "", "{", 50000, "\n", "expected" },
    { "", "? ", 50000, "\n", "expected" },
    { "", "- ", 50000, "x\n", "found a list" },
    { "model: {width: ", "9", 400, "}\n", "model.width: expected a whole number" },
    { "model: {width: ", "9", 100000, "}\n", "model.width: expected a whole number" },
    { "", "x", 100000, ": 1\n", ":1:" },
    { "steps: -1\n", "", 0, "", "steps: expected a whole number from 1" },
    { "steps: 1.5\n", "", 0, "", "steps: expected a whole number" },
    { "steps: [1]\n", "", 0, "", "steps: expected a whole number" },
    { "optimizer: {lr: .inf}\n", "", 0, "", "optimizer.lr: expected a number" },
    { "optimizer: {lr: .nan}\n", "", 0, "", "optimizer.lr: expected a number" },
    { "optimizer: 3\n", "", 0, "", "optimizer: expected a section" },
    { "steps: 1\n---\nsteps: 2\n", "", 0, "", "a second document" },
    { "%YAML 9.9\n---\nsteps: 1\n", "", 0, "", "no YAML" },
};

static void check_yaml(const char *what, const gal_buf *text, const char *says) {
    const char *dir = fresh("yaml");
    char path[700], out[720];
    put_file(dir, "c.yaml", text->data, text->len);
    (void)snprintf(path, sizeof path, "%s/c.yaml", dir);
    (void)snprintf(out, sizeof out, "%s/run", dir);
    gal_train_config c;
    gal_diag why = { 0 };
    CHECK_OK(gal_train_config_defaults(&c, diag));
    const char *const all[MOST_SAYS] = { "c.yaml", says };
    library_begin();
    library_refused(what, gal_settings_read(&GAL_TRAIN_SETTINGS, &c, path, &why), &why, all);
    gal_train_config_free(&c);
    program(what, path, 3, all, (const char *const[]){ "train", "%", "-o", out, NULL });
    assert_false(gal_exists(out));
}

static void test_yaml(void **state) {
    (void)state;
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(YAML); i++) {
        gal_buf_clear(&b);
        gal_buf_puts(&b, YAML[i].before);
        repeat(&b, YAML[i].unit, YAML[i].times);
        gal_buf_puts(&b, YAML[i].after);
        check_yaml(YAML[i].times ? YAML[i].unit : YAML[i].before, &b, YAML[i].says);
    }
    gal_buf_clear(&b);
    gal_buf_add(&b, "steps: 1\0\nseed: 2\n", 18);
    check_yaml("a NUL", &b, "byte 8: no YAML");
    gal_buf_clear(&b);
    for (uint64_t i = 0; i < 4096; i++) gal_buf_putc(&b, (char)gal_rng_below(3, 1, i, 256));
    check_yaml("noise", &b, "no YAML");
    gal_buf_free(&b);
}

/* ---- NumPy -------------------------------------------------------------------------------------------------------
 */

#define DESCR "'descr': '<f4', "
#define ORDER "'fortran_order': False, "

static const struct npy {
    const char *header, *says;
} NPY[] = {
    { "{" DESCR ORDER "'shape': (3,), }", "expected 12 bytes of data for this shape, found 8" },
    { "{" DESCR ORDER "'shape': (1,), }", "expected 4 bytes" },
    { "{" DESCR ORDER "'shape': (9223372036854775807,), }", "damaged header" },
    { "{" DESCR ORDER "'shape': (9223372036854775808,), }", "damaged header" },
    { "{" DESCR ORDER "'shape': (4294967296, 4294967296), }", "overflows 63 bits" },
    { "{" DESCR ORDER "'shape': (2305843009213693951,), }", "expected 9223372036854775804 bytes of data" },
    { "{" DESCR ORDER "'shape': (-2,), }", "damaged header" },
    { "{" DESCR ORDER "'shape': (2.0,), }", "damaged header" },
    { "{" DESCR ORDER "'shape': (1,1,1,1,1,1,1,1,2), }", "at most 8 dimensions" },
    { "{" DESCR ORDER "'shape': [2], }", "damaged header" },
    { "{" DESCR ORDER "'shape': 2, }", "damaged header" },
    { "{" DESCR ORDER "}", "no shape" },
    { "{" DESCR "'fortran_order': True, 'shape': (2,), }", "expected C order" },
    { "{" DESCR "'fortran_order': 0, 'shape': (2,), }", "damaged header" },
    { "{'descr': '>f4', " ORDER "'shape': (2,), }", ">f4" },
    { "{'descr': '|O', " ORDER "'shape': (2,), }", "|O" },
    { "{'descr': [('a', '<f4')], " ORDER "'shape': (2,), }", "damaged header" },
    { "{'descr': '\\x3cf4', " ORDER "'shape': (2,), }", "damaged header" },
    { "{'descr': '<f4" ORDER, "damaged header" },
    { "{" ORDER "'shape': (2,), }", "expected elements of" },
    { "{" DESCR ORDER "'shape': (2,), 'shape': (2,), }", "damaged header" },
    { "{" DESCR ORDER "'shape': (2,), 'more': 1, }", "damaged header" },
    { "{" DESCR ORDER "'shape': (2,)", "damaged header" },
    { "[]", "'{'" },
    { "", "'{'" },
};

static void npy_refused(const char *what, const char *bytes, size_t n, const char *says) {
    gal_npy a;
    gal_diag diag = { 0 };
    char *copy = gal_alloc(n);
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    library_begin();
    gal_err err = gal_npy_parse(&a, copy, n, "a.npy", &diag);
    gal_free(copy);
    library_refused(what, err, &diag, (const char *const[MOST_SAYS]){ "a.npy", says });
}

static void test_npy(void **state) {
    (void)state;
    gal_buf b = { 0 };
    for (int version = 1; version <= 2; version++)
        for (size_t i = 0; i < GAL_LEN(NPY); i++) {
            size_t n = strlen(NPY[i].header);
            gal_buf_clear(&b);
            gal_buf_puts(&b, "\x93NUMPY");
            gal_buf_add(&b, (const char[2]){ (char)version, 0 }, 2);
            gal_buf_add(&b, (const char[4]){ (char)n, (char)(n >> 8), 0, 0 }, version == 1 ? 2 : 4);
            gal_buf_puts(&b, NPY[i].header);
            gal_buf_add(&b, "\0\0\0\0\0\0\0", 8);
            npy_refused(NPY[i].header, b.data, b.len, NPY[i].says);
        }
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } HEADS[] = { { "\x93NUMPX\x01\x00\x02\x00", 10, "expected a .npy file" },
                  { "\x93NUMPY\x03\x00\xff\xff", 10, "version" },
                  { "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12, "4294967295 bytes, the file only" },
                  { "\x93NUMPY\x01\x01\x02\x00", 10, "version" } };
    for (size_t i = 0; i < GAL_LEN(HEADS); i++) npy_refused("a head", HEADS[i].bytes, HEADS[i].n, HEADS[i].says);
    /* every prefix of a good one */
    gal_buf_clear(&b);
    gal_npy_header(&b, GAL_NPY_F32, 1, (const int64_t[]){ 2 });
    gal_buf_add(&b, "\0\0\0\0\0\0\0", 8);
    for (size_t n = 0; n < b.len; n++) npy_refused("an array cut short", b.data, n, "");
    gal_buf_free(&b);
}

int bad_texts(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary_cut),
        cmocka_unit_test(test_vocabulary_specials),
        cmocka_unit_test(test_garbage_to_train_on),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_npy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
