/* safetensors_set_test.c - folders of weights: one file, shards with an index, and what is wrong with some.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/safetensors.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

static const float VALUES[] = { 1, 2, 3, 4 };
static const int64_t TWO[] = { 2 };

static void put_shard(const char *folder, const char *file, const char *first, const char *second) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    gal_st_item items[] = { { first, GAL_ST_F32, GAL_ST_F32, 1, TWO, VALUES, NULL, NULL },
                            { second, GAL_ST_F32, GAL_ST_F32, 1, TWO, VALUES + 2, NULL, NULL } };
    CHECK_OK(gal_safetensors_write(path, items, 2, NULL, 0, diag));
}

static void put_index(const char *folder, const char *text) {
    put_file(folder, "model.safetensors.index.json", text, strlen(text));
}

static void test_shards(void **state) {
    (void)state;
    char folder[256];
    make_folder(folder);
    put_shard(folder, "m-1.safetensors", "a", "c");
    put_shard(folder, "m-2.safetensors", "b", "left over");
    put_index(folder,
              "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\","
              "\"c\":\"m-1.safetensors\"}}");
    gal_st_set *s = NULL;
    CHECK_OK(gal_st_set_open(&s, folder, "model", diag));
    assert_int_equal(gal_st_set_count(s), 3);
    assert_string_equal(gal_st_set_at(s, 1)->name, "b");
    float got[2];
    memcpy(got, gal_st_set_find(s, "c")->data, sizeof got);
    assert_memory_equal(got, VALUES + 2, sizeof got);
    assert_null(gal_st_set_find(s, "left over"));
    assert_int_equal(gal_st_set_notes(s), 1);
    assert_non_null(strstr(gal_st_set_note(s, 0), "left over"));
    assert_non_null(strstr(gal_st_set_note(s, 0), "m-2.safetensors"));
    gal_st_set_close(s);
    remove_folder(folder);
}

static void test_single(void **state) {
    (void)state;
    char folder[256];
    make_folder(folder);
    gal_st_set *s = NULL;
    gal_diag why = { 0 };
    assert_int_equal(gal_st_set_open(&s, folder, "model", &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "model.safetensors.index.json"));
    put_shard(folder, "model.safetensors", "x", "y");
    CHECK_OK(gal_st_set_open(&s, folder, "model", diag));
    assert_int_equal(gal_st_set_count(s), 2);
    assert_non_null(gal_st_set_find(s, "y"));
    gal_st_set_close(s);
    remove_folder(folder);
}

/* An index wins over a model in one file beside it, which it may name itself. */
static void test_both(void **state) {
    (void)state;
    char folder[256];
    make_folder(folder);
    gal_st_set *s = NULL;
    put_shard(folder, "model.safetensors", "a", "b");
    put_shard(folder, "m-1.safetensors", "b", "a");
    put_index(folder, "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}");
    CHECK_OK(gal_st_set_open(&s, folder, "model", diag));
    float got[2];
    memcpy(got, gal_st_set_find(s, "a")->data, sizeof got);
    assert_memory_equal(got, VALUES + 2, sizeof got);
    assert_int_equal(gal_st_set_notes(s), 1);
    assert_non_null(strstr(gal_st_set_note(s, 0), "/model.safetensors is not in model.safetensors.index.json"));
    gal_st_set_close(s);
    put_index(folder, "{\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"model.safetensors\"}}");
    CHECK_OK(gal_st_set_open(&s, folder, "model", diag));
    assert_int_equal(gal_st_set_notes(s), 0);
    gal_st_set_close(s);
    remove_folder(folder);
}

static void test_bad_indexes(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        { "[]", "expected a JSON object" },
        { "{}", "weight_map" },
        { "{\"weight_map\":[]}", "a list" },
        { "{\"weight_map\":{\"a\":1}}", "an integer" },
        { "{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "\"gone.safetensors\"" },
        { "{\"weight_map\":{\"a\":\"\"}}", "plain name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "plain name" },
        { "{\"weight_map\":{\"a\":\"../m-1.safetensors\"}}", "plain name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "plain name" },
        { "{\"weight_map\":{\"a\":\"d/m-1.safetensors\"}}", "plain name" },
        { "{\"weight_map\":{\"a\":\"m-1.safetensors\\u0000x\"}}", "JSON" },
        { "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"a\":\"m-1.safetensors\"}}", "duplicate" },
        { "{\"weight_map\":{\"b\":\"m-1.safetensors\"}}", "not found there" },
        { "{\"weight_map\":{\"a\":\"damaged.safetensors\"}}", "damaged.safetensors" },
    };
    char folder[256];
    make_folder(folder);
    put_shard(folder, "m-1.safetensors", "a", "c");
    put_file(folder, "damaged.safetensors", "1234567", 7);
    for (size_t i = 0; i < GAL_LEN(bad); i++) {
        put_index(folder, bad[i][0]);
        gal_st_set *s = NULL;
        gal_diag diag = { 0 };
        if (gal_st_set_open(&s, folder, "model", &diag) != GAL_EINPUT) fail_msg("accepted: %s", bad[i][0]);
        if (!strstr(diag.text, bad[i][1])) fail_msg("no \"%s\" in: %s", bad[i][1], diag.text);
    }
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_bad_indexes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
