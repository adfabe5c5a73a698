/* vectors.c - see vectors.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/vectors.h"

#include <jansson.h>
#include <string.h>

static void check_ids(const gal_ids *got, const json_t *want, const char *line) {
    size_t n = json_array_size(want);
    bool same = got->len == n;
    for (size_t i = 0; i < n && same; i++) same = got->data[i] == json_integer_value(json_array_get(want, i));
    if (!same) fail_msg("other ids for %s", line);
}

static void check_stream(const gal_tokenizer *t, const gal_ids *ids, const char *want, size_t n) {
    gal_stream *s = NULL;
    gal_buf all = { 0 };
    assert_int_equal(gal_stream_new(&s, t, NULL, NULL), GAL_OK);
    const char *p;
    size_t m;
    for (size_t i = 0; i < ids->len; i++) {
        assert_int_equal(gal_stream_feed(s, ids->data[i], &p, &m, NULL), GAL_OK);
        gal_buf_add(&all, p, m);
    }
    assert_int_equal(gal_stream_end(s, &p, &m, NULL), GAL_OK);
    gal_buf_add(&all, p, m);
    assert_int_equal(all.len, n);
    if (n) assert_memory_equal(all.data, want, n);
    gal_buf_free(&all);
    gal_stream_free(s);
}

size_t check_vectors(const gal_tokenizer *t, const char *path) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    static char line[1 << 20];
    gal_token_scratch *s = NULL;
    gal_ids ids = { 0 };
    gal_buf text = { 0 };
    size_t lines = 0;
    assert_int_equal(gal_token_scratch_new(&s, t, NULL), GAL_OK);
    while (fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(j);
        const json_t *in = json_object_get(j, "text"), *out = json_object_get(j, "decoded");
        for (int pass = 0; pass < 2; pass++) {
            ids.len = 0;
            assert_int_equal(
                gal_encode(t, pass ? s : NULL, json_string_value(in), json_string_length(in), 0, &ids, NULL), GAL_OK);
            check_ids(&ids, json_object_get(j, "ids"), line);
        }
        gal_buf_clear(&text);
        assert_int_equal(gal_decode(t, ids.data, ids.len, &text, NULL), GAL_OK);
        if (text.len != json_string_length(out) ||
            memcmp(text.len ? text.data : "", json_string_value(out), text.len) != 0)
            fail_msg("decoded '%.*s' for %s", (int)text.len, text.data ? text.data : "", line);
        check_stream(t, &ids, json_string_value(out), json_string_length(out));
        json_decref(j);
        lines++;
    }
    fclose(f);
    gal_buf_free(&text);
    gal_ids_free(&ids);
    gal_token_scratch_free(s);
    return lines;
}
