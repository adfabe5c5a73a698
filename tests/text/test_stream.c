/* test_stream.c - decoding one id at a time. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/util.h"
#include "support/test.h"
#include "text/tokenizer.h"

#include <string.h>

static gal_tokenizer *open_tiny(void) {
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, "tests/golden/text/tiny.model", NULL), GAL_OK);
    return t;
}

/* What the stream shows for ids, each time whole characters; at[i] is what was shown after id i. */
static void stream_all(const gal_tokenizer *t, const gal_stream_options *o, const int32_t *ids, size_t n,
                       gal_buf *out, int *stopped) {
    gal_stream *s = NULL;
    assert_int_equal(gal_stream_new(&s, t, o, NULL), GAL_OK);
    for (size_t i = 0; i <= n; i++) {
        const char *p;
        size_t m;
        assert_int_equal(i < n ? gal_stream_feed(s, ids[i], &p, &m, NULL) : gal_stream_end(s, &p, &m, NULL), GAL_OK);
        for (size_t k = 0; k < m;) {
            uint32_t cp;
            int len = gal_utf8_next(p + k, m - k, &cp);
            assert_true(len > 0);
            k += (size_t)len;
        }
        gal_buf_add(out, p, m);
    }
    if (stopped) *stopped = gal_stream_stopped(s);
    gal_stream_free(s);
}

static void equals_batch(void **state) {
    (void)state;
    gal_tokenizer *t = open_tiny();
    uint64_t size = (uint64_t)gal_tokenizer_size(t);
    for (uint64_t i = 0; i < 5000; i++) {
        int32_t ids[40];
        size_t n = (size_t)gal_rng_below(1, 0, i, GAL_LEN(ids));
        /* Mostly byte pieces of multi-byte characters, so that runs are often cut. */
        for (size_t k = 0; k < n; k++)
            ids[k] = gal_rng_uniform(2, i, k) < 0.3 ? (int32_t)gal_rng_below(3, i, k, size)
                                                    : (int32_t)(3 + 0x80 + gal_rng_below(4, i, k, 0x80));
        gal_buf batch = { 0 }, stream = { 0 };
        assert_int_equal(gal_decode(t, ids, n, &batch, NULL), GAL_OK);
        stream_all(t, NULL, ids, n, &stream, NULL);
        assert_int_equal(batch.len, stream.len);
        if (batch.len) assert_memory_equal(batch.data, stream.data, batch.len);
        gal_buf_free(&batch);
        gal_buf_free(&stream);
    }
    gal_tokenizer_free(t);
}

static void encode(const gal_tokenizer *t, const char *text, gal_ids *ids) {
    ids->len = 0;
    assert_int_equal(gal_encode(t, NULL, text, strlen(text), 0, ids, NULL), GAL_OK);
}

static void prefix_space(void **state) {
    (void)state;
    gal_tokenizer *t = open_tiny();
    gal_ids ids = { 0 };
    gal_buf out = { 0 };
    encode(t, "the wind", &ids);
    stream_all(t, NULL, ids.data, ids.len, &out, NULL);
    assert_string_equal(out.data, "the wind");
    gal_buf_clear(&out);
    gal_stream_options keep = { .keep_prefix_space = true };
    stream_all(t, &keep, ids.data, ids.len, &out, NULL);
    assert_string_equal(out.data, " the wind");
    gal_buf_free(&out);
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
}

static void stop_strings(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *stops[3];
        const char *want;
        int stopped;
    } CASES[] = {
        { "one END two", { "END" }, "one ", 0 },   { "one EN two", { "END" }, "one EN two", -1 },
        { "one EN", { "END" }, "one EN", -1 },     { "ENENDx", { "END" }, "EN", 0 },
        { "aab", { "x", "aab", "ab" }, "", 1 },    { "abx", { "abX", "b" }, "a", 1 },
        { "été fini", { "é f" }, "ét", 0 },        { "text", { "" }, "text", -1 },
        { "line\n\nnext", { "\n\n" }, "line", 0 },
    };
    gal_tokenizer *t = open_tiny();
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_ids ids = { 0 };
        gal_buf out = { 0 };
        int stopped;
        gal_stream_options o = { .stops = CASES[i].stops };
        while (o.stop_count < 3 && CASES[i].stops[o.stop_count]) o.stop_count++;
        encode(t, CASES[i].text, &ids);
        stream_all(t, &o, ids.data, ids.len, &out, &stopped);
        assert_string_equal(out.data ? out.data : "", CASES[i].want);
        assert_int_equal(stopped, CASES[i].stopped);
        gal_buf_free(&out);
        gal_ids_free(&ids);
    }
    gal_tokenizer_free(t);
}

/* The first bytes of a character and of a stop string are held back until it is known what they are. */
static void holds_back(void **state) {
    (void)state;
    gal_tokenizer *t = open_tiny();
    const char *const stops[] = { "!!" };
    gal_stream_options o = { .stops = stops, .stop_count = 1 };
    gal_stream *s = NULL;
    const char *p;
    size_t n;
    assert_int_equal(gal_stream_new(&s, t, &o, NULL), GAL_OK);
    static const struct {
        int byte;
        const char *shown;
    } STEPS[] = { { 0xf0, "" }, { 0x9f, "" }, { 0x98, "" }, { 0x80, "😀" }, { '!', "" }, { 'a', "!a" }, { 0xe2, "" } };
    for (size_t i = 0; i < GAL_LEN(STEPS); i++) {
        assert_int_equal(gal_stream_feed(s, 3 + STEPS[i].byte, &p, &n, NULL), GAL_OK);
        assert_int_equal(n, strlen(STEPS[i].shown));
        assert_memory_equal(p, STEPS[i].shown, n);
    }
    assert_int_equal(gal_stream_end(s, &p, &n, NULL), GAL_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(p, "\xef\xbf\xbd", 3);
    gal_stream_free(s);
    gal_tokenizer_free(t);
}

/* However bytes are cut into pieces, the text is the same; and where they are no characters, too. */
static void any_split(void **state) {
    (void)state;
    static const char *const PARTS[] = { "é",        "漢",   "😀",    "a",        " the",
                                         "\xf0\x9f", "\x80", "\xff", "\xe6\xbc", "\xed\xa0\x80" };
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, "tests/golden/text/tiny-tekken.json", NULL), GAL_OK);
    for (uint64_t i = 0; i < 3000; i++) {
        gal_buf bytes = { 0 }, text[3] = { { 0 } };
        for (uint64_t k = gal_rng_below(1, i, 0, 9); k > 0; k--)
            gal_buf_puts(&bytes, PARTS[gal_rng_below(2, i, k, GAL_LEN(PARTS))]);
        for (uint64_t way = 0; way < 3; way++) { /* the last one: a byte a piece */
            gal_ids ids = { 0 };
            for (size_t at = 0; at < bytes.len;) {
                size_t n = way == 2 ? 1
                                    : 1 + (size_t)gal_rng_below(3 + way, i, at, GAL_MIN(bytes.len - at, (size_t)5));
                int32_t id = -1;
                while ((id = gal_tokenizer_find(t, bytes.data + at, n)) < 0) n--; /* each byte is a piece */
                assert_int_equal(gal_ids_add(&ids, id, NULL), GAL_OK);
                at += n;
            }
            stream_all(t, NULL, ids.data, ids.len, &text[way], NULL);
            gal_ids_free(&ids);
        }
        for (int way = 1; way < 3; way++) {
            assert_int_equal(text[way].len, text[0].len);
            if (text[0].len) assert_memory_equal(text[way].data, text[0].data, text[0].len);
        }
        for (int way = 0; way < 3; way++) gal_buf_free(&text[way]);
        gal_buf_free(&bytes);
    }
    gal_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(equals_batch), cmocka_unit_test(prefix_space),
                                        cmocka_unit_test(stop_strings), cmocka_unit_test(holds_back),
                                        cmocka_unit_test(any_split) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
