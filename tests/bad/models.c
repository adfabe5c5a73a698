/* models.c - model folders: weights, shards, config.json. SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

#include "base/rng.h"
#include "infer/lm.h"

#include <unistd.h>

static const char GOOD[] = "tests/golden/mistral-base", SHARDS[] = "tests/golden/mistral-tied";
static const char *const INSPECT[] = { "inspect", "%", NULL };

static void refused(const char *what, const char *dir, const char *const *says) {
    model_refused(what, dir, says);
    program(what, dir, 3, says, INSPECT);
}

/* ---- one thing replaced ------------------------------------------------------------------------------------------
 */

#define NORM "\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[40],\"data_offsets\":["
#define ST "model.safetensors"
#define CONFIG "config.json"
#define DOWN "model.layers.0.mlp.down_proj.weight"

static const struct swapped {
    const char *file, *old, *by;
    const char *says[MOST_SAYS]; /* besides the file that was changed, unless another is named */
} SWAPPED[] = {
    { ST,
      "\"shape\":[40,108]",
      "\"shape\":[108,40]",
      { "\"" DOWN "\"", "expected shape [40, 108]", "found [108, 40]" } },
    { ST, "\"shape\":[40,108]", "\"shape\":[4320]", { "\"" DOWN "\"", "expected shape [40, 108]", "found [4320]" } },
    { ST, "\"shape\":[40,108]", "\"shape\":[40,107]", { "\"" DOWN "\"", "expected 17120 bytes", "found 17280" } },
    { ST,
      "\"shape\":[40,108]",
      "\"shape\":[9223372036854775808]",
      { "\"shape\"[0]", "expected", "9223372036854775808" } },
    { ST, "\"shape\":[40,108]", "\"shape\":[9223372036854775807]", { "\"" DOWN "\"", "overflow 64 bits" } },
    { ST, "\"shape\":[40,108]", "\"shape\":[4294967296,4294967296]", { "\"" DOWN "\"", "overflows 63 bits" } },
    { ST, "[42080,59360]", "[42080,9223372036854775807]", { "\"" DOWN "\"", "9223372036854775807" } },
    { ST, "[42080,59360]", "[42080,18446744073709551615]", { "\"data_offsets\"[1]", "expected" } },
    { ST, "[42080,59360]", "[42076,59356]", { "\"" DOWN "\"", "expected its data at byte", "overlaps" } },
    { ST, "[42080,59360]", "[42084,59364]", { "\"" DOWN "\"", "expected its data at byte", "a hole" } },
    { ST, "[42080,59360]", "[-1,17279]", { "\"" DOWN "\"", "two integers >= 0" } },
    { ST, "mlp.down_proj", "mlp.up_proj", { "duplicate" } },
    { ST, "mlp.down_proj", "mlp.drown_proj", { "\"" DOWN "\"", "[40, 108]", "missing", CONFIG } },
    { ST,
      "\"dtype\":\"F32\",\"shape\":[40,108]",
      "\"dtype\":\"I32\",\"shape\":[40,108]",
      { "\"" DOWN "\"", "F32", "found I32" } },
    { ST,
      "\"dtype\":\"F32\",\"shape\":[40,108]",
      "\"dtype\":\"F16\",\"shape\":[80,108]",
      { "\"" DOWN "\"", "expected shape" } },
    { ST, "{\"format\":\"pt\"}", "{\"format\":1}", { "__metadata__", "an integer" } },
    { ST, "{\"__metadata__\"", " {\"__metadata__\"", { "byte 8", "'{'" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": 0", { "hidden_size", "from 1 to", "found 0" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": -40", { "hidden_size", "from 1 to", "found -40" } },
    { CONFIG,
      "\"hidden_size\": 40",
      "\"hidden_size\": 40.0",
      { "hidden_size", "expected an integer", "found a number" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": \"40\"", { "hidden_size", "found a string" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": [40]", { "hidden_size", "found a list" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": true", { "hidden_size", "found true" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": null", { "hidden_size", "missing" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": 1e999", { "JSON" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": 9223372036854775808", { "\"hidden_size\"", "expected" } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": 1048576", { "tensor", "expected shape", "1048576", ST } },
    { CONFIG, "\"hidden_size\": 40", "\"hidden_size\": 40, \"hidden_size\": 41", { "duplicate" } },
    { CONFIG, "\"hidden_size\": 40", "\"head_dim\": 0, \"hidden_size\": 40", { NULL } },
    { CONFIG,
      "\"num_hidden_layers\": 2",
      "\"num_hidden_layers\": 1000000000",
      { "num_hidden_layers", "to 4096", "found 1000000000" } },
    { CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4096", { "model.layers.2.", "missing", CONFIG } },
    { CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": -1", { "num_hidden_layers", "found -1" } },
    { CONFIG,
      "\"vocab_size\": 131",
      "\"vocab_size\": 16777216",
      { "tensor", "expected shape [16777216, 40]", "found [131, 40]", ST } },
    { CONFIG,
      "\"vocab_size\": 131",
      "\"vocab_size\": 130",
      { "tensor", "expected shape [130, 40]", "found [131, 40]", ST } },
    { CONFIG, "{", "{{", { "JSON", "byte" } },
    { CONFIG, "}", "", { "JSON" } },
    { CONFIG, "\"mistral\"", "\"mixtral\"", { "block_sparse_moe.gate.weight", "missing" } },
    { CONFIG, "\"mistral\"", "\"\xff\"", { "JSON", "0xff" } },
    { CONFIG, "\"mistral\"", "\"a\\u0000b\"", { "JSON" } },
    { "generation_config.json", "{", "{\"eos_token_id\": \"x\", ", { NULL } },
    { "generation_config.json", "{", "{\"top_p\": 2, ", { "top_p", "from 0 to 1", "found 2" } },
};

static void test_swapped(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(SWAPPED); i++) {
        const struct swapped *c = &SWAPPED[i];
        const char *dir = copy_of(GOOD, "model");
        swap(dir, c->file, c->old, c->by);
        const char *says[MOST_SAYS + 1] = { c->file };
        for (size_t k = 0; k < MOST_SAYS && c->says[k]; k++) {
            bool other = strcmp(c->says[k], ST) == 0 || strcmp(c->says[k], CONFIG) == 0;
            says[other ? 0 : k + 1] = c->says[k];
        }
        model_refused(c->by, dir, says);
        program(c->by, dir, 3, says, (const char *const[]){ "run", "%", "--ids", "1", NULL });
    }
}

/* ---- headers -----------------------------------------------------------------------------------------------------
 */

static size_t header_end(const gal_buf *file) {
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | (uint8_t)file->data[i];
    return 8 + (size_t)n;
}

static void put_header(const char *dir, uint64_t length, const gal_buf *json) {
    gal_buf b = { 0 };
    for (int i = 0; i < 8; i++) gal_buf_putc(&b, (char)(length >> (8 * i)));
    gal_buf_add(&b, json->data, json->len);
    assert_false(b.oom);
    put_file(dir, ST, b.data, b.len);
    gal_buf_free(&b);
}

static void test_headers(void **state) {
    (void)state;
    static const struct {
        uint64_t length;
        const char *says;
    } LIES[] = { { (uint64_t)1 << 63, "9223372036854775808" },
                 { UINT64_MAX, "18446744073709551615" },
                 { 99999999, "99999999 bytes, expected at most 2" },
                 { 3, "3 bytes, expected at most 2" },
                 { 1, "JSON" },
                 { 0, "'{'" } };
    const char *dir = copy_of(GOOD, "model");
    gal_buf json = { 0 };
    gal_buf_puts(&json, "{}");
    for (size_t i = 0; i < GAL_LEN(LIES); i++) {
        put_header(dir, LIES[i].length, &json);
        refused("header length", dir, (const char *const[MOST_SAYS]){ ST, LIES[i].says });
    }
    /* Nested 10^5 deep, and as wide as a megabyte can be. */
    static const char *const UNITS[] = { "[", "{\"a\":", "{},", "[],", "0,", "\"\",", "{\"a\":0}," };
    static const size_t TIMES[] = { 100000, 100000, 300000, 300000, 500000, 300000, 100000 };
    for (size_t i = 0; i < GAL_LEN(UNITS); i++) {
        gal_buf_clear(&json);
        gal_buf_puts(&json, "{\"a\":[");
        for (size_t k = 0; k < TIMES[i]; k++) gal_buf_puts(&json, UNITS[i]);
        gal_buf_puts(&json, "0]}");
        put_header(dir, json.len, &json);
        refused(UNITS[i], dir, (const char *const[MOST_SAYS]){ ST, "JSON" });
        put_file(dir, CONFIG, json.data, json.len);
        refused(UNITS[i], dir, (const char *const[MOST_SAYS]){ CONFIG });
        dir = copy_of(GOOD, "model");
    }
    gal_buf_free(&json);
}

/* ---- cut short ---------------------------------------------------------------------------------------------------
 */

/* The weights alone, without a device: thousands of times. */
static void weights_refused(const char *what, const char *dir, const char *const *says) {
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    library_begin();
    library_refused(what, gal_model_load(&m, dir, &diag), &diag, says);
}

/* Every byte of the header, and 200 places after it; the program tries a few of them. */
static void test_truncated(void **state) {
    (void)state;
    const char *dir = copy_of(GOOD, "model");
    gal_buf b = { 0 };
    slurp(&b, GOOD, ST);
    size_t header = header_end(&b);
    char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", dir, ST);
    static const char *const SAYS[MOST_SAYS] = { ST };
    /* Backwards, so that one file gets ever shorter. */
    uint64_t at = b.len;
    for (size_t i = 0; i < 200; i++) {
        at -= 1 + gal_rng_below(5, 1, i, (b.len - header) / 100);
        if (at <= header || at > b.len) break;
        assert_int_equal(truncate(path, (off_t)at), 0);
        weights_refused("cut in the data", dir, SAYS);
        if (i % 50 == 0) program("cut in the data", dir, 3, SAYS, INSPECT);
    }
    for (size_t n = header + 1; n-- > 0;) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        weights_refused("cut in the header", dir, SAYS);
        if (n % 211 == 0) program("cut in the header", dir, 3, SAYS, INSPECT);
    }
    gal_buf_free(&b);
}

/* ---- files that are none -----------------------------------------------------------------------------------------
 */

static void test_specials(void **state) {
    (void)state;
    static const char *const FILES[] = { CONFIG, ST, "generation_config.json" };
    for (size_t f = 0; f < GAL_LEN(FILES); f++)
        for (size_t i = 0; i < N_SPECIALS; i++) {
            if (SPECIALS[i].as_user && geteuid() == 0) {
                if (f == 0) print_message("skipped: %s: root reads everything\n", SPECIALS[i].what);
                continue;
            }
            const char *dir = copy_of(GOOD, "model");
            char path[700];
            (void)snprintf(path, sizeof path, "%s/%s", dir, FILES[f]);
            assert_int_equal(unlink(path), 0);
            SPECIALS[i].make(path);
            const char *const says[MOST_SAYS] = { FILES[f], SPECIALS[i].says };
            model_refused(SPECIALS[i].what, dir, says);
            program(SPECIALS[i].what, dir, 3, says, (const char *const[]){ "run", "%", "--ids", "1", NULL });
        }
    static const char *const EMPTY[] = { CONFIG, ST, "generation_config.json" };
    for (size_t f = 0; f < GAL_LEN(EMPTY); f++) {
        const char *dir = copy_of(GOOD, "model");
        put_file(dir, EMPTY[f], "", 0);
        model_refused("an empty file", dir, (const char *const[MOST_SAYS]){ EMPTY[f] });
    }
    /* MODEL itself */
    char path[700];
    for (size_t i = 1; i < N_SPECIALS; i++) {
        if (SPECIALS[i].as_user) continue;
        (void)snprintf(path, sizeof path, "%s/none", fresh("operand"));
        SPECIALS[i].make(path);
        refused(SPECIALS[i].what, path, (const char *const[MOST_SAYS]){ "none" });
        program(SPECIALS[i].what, path, 3, (const char *const[MOST_SAYS]){ "none" },
                (const char *const[]){ "tokenize", "%", "x", NULL });
    }
}

/* ---- shards ------------------------------------------------------------------------------------------------------
 */

static void test_index(void **state) {
    (void)state;
#define INDEX "model.safetensors.index.json"
#define FIRST "\"model-00001-of-00009.safetensors\""
    static const struct {
        const char *old, *by;
        const char *says[MOST_SAYS];
    } CASES[] = {
        { FIRST,
          "\"../model-00001-of-00009.safetensors\"",
          { INDEX, "model.embed_tokens.weight", "plain name", "../model" } },
        { FIRST, "\"/etc/passwd\"", { INDEX, "model.embed_tokens.weight", "plain name", "/etc/passwd" } },
        { FIRST, "\"..\"", { INDEX, "model.embed_tokens.weight", "plain name" } },
        { FIRST, "\"\"", { INDEX, "model.embed_tokens.weight", "plain name" } },
        { FIRST,
          "\"model-00010-of-00009.safetensors\"",
          { INDEX, "model-00010", "model.embed_tokens.weight", "missing" } },
        { FIRST, "\"config.json\"", { "config.json", "safetensors" } },
        { FIRST,
          "\"model-00002-of-00009.safetensors\"",
          { INDEX, "model.embed_tokens.weight", "model-00002", "not found there" } },
        { FIRST, "1", { INDEX, "model.embed_tokens.weight", "a file name", "an integer" } },
        { FIRST, "null", { INDEX, "model.embed_tokens.weight", "a file name", "null" } },
        { "\"weight_map\": {", "\"weight_map\": [], \"x\": {", { INDEX, "weight_map", "a list" } },
        { "\"weight_map\"", "\"weight_mop\"", { INDEX, "weight_map", "nothing" } },
        { "\"model.embed_tokens.weight\"", "\"model.norm.weight\"", { INDEX, "duplicate" } },
        { "{", "[", { INDEX } },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const char *dir = copy_of(SHARDS, "shards");
        swap(dir, INDEX, CASES[i].old, CASES[i].by);
        refused(CASES[i].by, dir, CASES[i].says);
    }
    const char *dir = copy_of(SHARDS, "shards");
    put_file(dir, "model-00005-of-00009.safetensors", "", 0);
    refused("an empty shard", dir, (const char *const[MOST_SAYS]){ "model-00005-of-00009.safetensors", "0 bytes" });
}

/* ---- what is said but not refused --------------------------------------------------------------------------------
 */

static void put_number(const char *dir, size_t place, uint32_t bits) {
    gal_buf b = { 0 };
    slurp(&b, dir, ST);
    size_t header = header_end(&b);
    for (size_t i = 0; i < 4; i++) b.data[header + place + i] = (char)(bits >> (8 * i));
    put_file(dir, ST, b.data, b.len);
    gal_buf_free(&b);
}

static void test_not_finite(void **state) {
    (void)state;
    const char *dir = copy_of(GOOD, "model");
    put_number(dir, 42080 + 4 * 17, 0x7fc00000); /* NaN and minus infinity in down_proj */
    put_number(dir, 42080 + 4 * 20, 0xff800000);
    static const char *const SAYS[MOST_SAYS] = { "model.safetensors: tensor \"" DOWN "\"",
                                                 "1 NaN and 1 infinite among 4320", "index 17" };
    program("NaN", dir, 0, SAYS, INSPECT);
    program("NaN", dir, 0, SAYS, (const char *const[]){ "inspect", "%", "--quiet", "--json", NULL });
    char out[600];
    (void)snprintf(out, sizeof out, "%s/out.npy", work);
    program("NaN", dir, 0, SAYS, (const char *const[]){ "logits", "%", "--ids", "1 2", "-o", out, NULL });
    gal_lm *lm = NULL;
    gal_generate_options o;
    gal_diag why = { 0 };
    CHECK_OK(gal_lm_open(&lm, dir, NULL, diag));
    assert_non_null(gal_lm_warning(lm, 0));
    for (size_t i = 0; i < 3; i++) assert_non_null(strstr(gal_lm_warning(lm, 0), SAYS[i]));
    assert_null(gal_lm_warning(lm, 1));
    gal_generate_options_init(&o, lm);
    assert_int_equal(gal_lm_generate_ids(lm, (const int32_t[]){ 1 }, 1, &o, NULL, NULL, NULL, &why), GAL_EINPUT);
    for (size_t i = 0; i < 3; i++) assert_non_null(strstr(why.text, SAYS[i]));
    gal_lm_close(lm);
    /* A row of the embedding that no id reads stops nothing; the warning is there all the same. */
    dir = copy_of(GOOD, "model");
    put_number(dir, 20960 + 4 * 40 * 130, 0x7f800000);
    static const char *const ROW[MOST_SAYS] = { "warning: ", "model.embed_tokens.weight", "1 infinite among 5240",
                                                "5200" };
    program("infinity", dir, 0, ROW,
            (const char *const[]){ "run", "%", "--ids", "1 2", "--max-tokens", "1", "--greedy", NULL });
}

static void test_extra_tensor(void **state) {
    (void)state;
    const char *dir = copy_of(GOOD, "model");
    swap(dir, ST, "{\"__metadata__\"",
         "{\"extra\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"__metadata__\"");
    program("an extra tensor", dir, 3, (const char *const[MOST_SAYS]){ ST, "\"extra\"", "expected the" }, INSPECT);
    program("an extra tensor", dir, 3, (const char *const[MOST_SAYS]){ ST, "\"extra\"", "belongs to no weight" },
            (const char *const[]){ "run", "%", "--ids", "1 2", "--max-tokens", "1", NULL });
}

int bad_models(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swapped),      cmocka_unit_test(test_headers), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_specials),     cmocka_unit_test(test_index),   cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_extra_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
