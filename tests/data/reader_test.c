/* reader_test.c - documents of plain text, of lines of JSON and of archives: the same however the bytes are packed
 * and cut, and damage is refused with its place. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/util.h"
#include "data/reader.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static char folder[256];

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

/* Documents, one after another, each ended by the byte 1. */
static gal_err collect(gal_reader *r, gal_buf *out, gal_reader_state *so_far, gal_diag *diag) {
    gal_piece p;
    bool more = true, inside = false;
    gal_err err = GAL_OK;
    gal_buf_clear(out);
    gal_buf_puts(out, "");
    while (!err) {
        err = gal_reader_next(r, &p, &more, diag);
        if (err || !more) break;
        assert_true(p.bytes <= GAL_READER_PIECE);
        assert_true(p.bytes || (p.ends && inside));
        gal_buf_add(out, p.text, p.bytes);
        if (p.ends) gal_buf_putc(out, 1);
        inside = !p.ends;
    }
    assert_false(!err && inside);
    if (so_far) *so_far = *gal_reader_so_far(r);
    gal_reader_close(r);
    return err;
}

static gal_err read_bytes(const void *bytes, size_t n, const gal_reader_options *o, gal_buf *out,
                          gal_reader_state *so_far, gal_diag *diag) {
    gal_reader *r = NULL;
    char *copy = gal_alloc(n); /* ends where the bytes end */
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    gal_err err = gal_reader_open_bytes(&r, copy, n, "some.file", o, diag);
    if (!err) err = collect(r, out, so_far, diag);
    gal_free(copy);
    return err;
}

static void expect(const char *text, size_t n, const gal_reader_options *o, const char *documents) {
    gal_buf out = { 0 };
    CHECK_OK(read_bytes(text, n, o, &out, NULL, diag));
    if (strcmp(out.data ? out.data : "", documents) != 0)
        fail_msg("expected %s\nfound %s", documents, out.data ? out.data : "");
    gal_buf_free(&out);
}

static void refused(const void *bytes, size_t n, const gal_reader_options *o, const char *says) {
    gal_buf out = { 0 };
    gal_diag why = { 0 };
    assert_int_equal(read_bytes(bytes, n, o, &out, NULL, &why), GAL_EINPUT);
    if (!strstr(why.text, "some.file") || !strstr(why.text, says))
        fail_msg("expected '%s', found '%s'", says, why.text);
    gal_buf_free(&out);
}

#define TEXT(s) s, sizeof s - 1
static const gal_reader_options AUTO, HASH = { .separator = "#@ " };

static void plain(void **state) {
    (void)state;
    expect(TEXT(""), &AUTO, "");
    expect(TEXT("one\ntwo"), &AUTO, "one\ntwo\1");
    expect(TEXT("#@ a\none\n#@ b\n#@ c\ntwo\n"), &HASH, "one\n\1two\n\1");
    expect(TEXT("before\n#@ a\none #@ not\n #@ not\n#@"), &HASH, "before\n\1one #@ not\n #@ not\n#@\1");
    expect(TEXT("#@ only"), &HASH, "");
    expect(TEXT("x\n#@ a line that has no end"), &HASH, "x\n\1");
    expect(TEXT("{ a brace }\n"), &AUTO, "{ a brace }\n\1");
    expect(TEXT("\xef\xbb\xbfx"), &AUTO, "\xef\xbb\xbfx\1");
}

/* What looks like a separator where a piece ends in the middle of a line is none. */
static void middle_of_a_line(void **state) {
    (void)state;
    gal_buf text = { 0 }, want = { 0 };
    for (int i = 0; i < GAL_READER_PIECE; i++) gal_buf_putc(&text, 'x');
    gal_buf_puts(&text, "#@ none\n");
    gal_buf_add(&want, text.data, text.len);
    gal_buf_puts(&text, "#@ one\nlast");
    gal_buf_puts(&want, "\1last\1");
    expect(text.data, text.len, &HASH, want.data);
    gal_buf_free(&text);
    gal_buf_free(&want);
}

static void lines_of_json(void **state) {
    (void)state;
    static const gal_reader_options BODY = { .field = "body" }, SKIP = { .skip_bad = true },
                                    JSON = { .format = GAL_TEXT_JSONL };
    expect(TEXT("{\"text\": \"a\\n\\u00e9\"}\r\n\n{\"x\": [1, {\"text\": \"no\"}], \"text\": \"b\"}"), &AUTO,
           "a\n\xc3\xa9\1b\1");
    expect(TEXT(" \n {\"text\": \"\"}\n{\"text\":\"c\"}\n"), &AUTO, "c\1");
    expect(TEXT("\xef\xbb\xbf{\"text\": \"a\"}\n"), &AUTO, "a\1");
    expect(TEXT("{\"text\": \"a\", \"body\": \"b\"}\n"), &BODY, "b\1");
    expect(TEXT("{\"text\": \"a\", \"text\": \"b\"}\n"), &AUTO, "b\1");
    expect(TEXT("{\"text\": \"\\ud800\"}\n"), &AUTO, "\xef\xbf\xbd\1");
    refused(TEXT("{\"text\": \"a\"}\n{\"text\": 3}\n"), &AUTO, "line 2: expected a string as \"text\"");
    refused(TEXT("{\"text\": \"a\"}\n\n{\"text\": null}\n"), &AUTO, "line 3: ");
    refused(TEXT("{\"body\": \"a\"}\n"), &AUTO, "line 1: expected an object with \"text\"");
    refused(TEXT("{\"text\": \"a\"} x\n"), &AUTO, "line 1: ");
    refused(TEXT("{\"text\": \"a\"}\n{\"text\": \"b\n"), &AUTO, "line 2: ");
    refused(TEXT("{\"text\": \"a\"}\n[\"b\"]\n"), &AUTO, "line 2: expected an object");
    refused(TEXT("words\n"), &JSON, "line 1: ");
    gal_buf out = { 0 }, longer = { 0 };
    gal_reader_state s;
    gal_buf_puts(&longer, "{\"text\": \"");
    for (int i = 0; i < 600000; i++) gal_buf_putc(&longer, (char)('a' + i % 26));
    gal_buf_puts(&longer, "\"} x\n{\"text\": \"");
    for (int i = 0; i < 2 * GAL_READER_PIECE; i++) gal_buf_putc(&longer, (char)('a' + i % 26));
    gal_buf_puts(&longer, "\"}\n{\"text\": \"b\"}");
    CHECK_OK(read_bytes(longer.data, longer.len, &SKIP, &out, &s, diag));
    assert_int_equal(out.len, 2 * GAL_READER_PIECE + 3);
    assert_string_equal(out.data + 2 * GAL_READER_PIECE, "\1b\1");
    assert_int_equal(s.documents, 2);
    assert_int_equal(s.bad_lines, 1);
    gal_buf_free(&longer);
    CHECK_OK(read_bytes(TEXT("{\"text\": \"a\"}\nbad\n{\"text\": \"b\"}\n{\"t"), &SKIP, &out, &s, diag));
    assert_string_equal(out.data, "a\1b\1");
    assert_int_equal(s.bad_lines, 2);
    assert_int_equal(s.lines, 4);
    assert_int_equal(s.documents, 2);
    assert_non_null(strstr(s.first_bad.text, "line 2: "));
    gal_buf_free(&out);
}

/* ---- archives ----------------------------------------------------------------------------------------------------
 */

/* Text with documents of every length, some longer than a piece, separators where pieces end. */
static void make_text(gal_buf *text, gal_buf *documents, size_t bytes) {
    gal_buf_clear(text);
    gal_buf_clear(documents);
    for (uint64_t i = 0; text->len < bytes; i++) {
        size_t n = (size_t)gal_rng_below(5, 1, i, i % 7 == 0 ? 700000 : 3000);
        gal_buf_printf(text, "#@ %llu\n", (unsigned long long)i);
        size_t at = text->len;
        for (uint64_t k = 0; text->len - at < n; k++) {
            gal_buf_printf(text, "%llx", (unsigned long long)gal_rng_below(i, 2, k, UINT64_MAX));
            gal_buf_putc(text, k % 13 == 0 ? '\n' : ' ');
        }
        if (n) gal_buf_putc(text, '\n');
        gal_buf_add(documents, text->data + at, text->len - at);
        if (n) gal_buf_putc(documents, 1);
    }
    assert_false(text->oom || documents->oom);
}

/* Members of `part` bytes of text each. */
static void pack_gzip(gal_buf *out, const char *text, size_t n, size_t part) {
    char piece[1 << 12];
    gal_buf_clear(out);
    for (size_t at = 0; at < n || at == 0; at += part) {
        z_stream z = { 0 };
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = (Bytef *)(uintptr_t)(text + at);
        z.avail_in = (uInt)GAL_MIN(part, n - at);
        int rc = Z_OK;
        while (rc != Z_STREAM_END) {
            z.next_out = (Bytef *)piece;
            z.avail_out = sizeof piece;
            rc = deflate(&z, Z_FINISH);
            assert_true(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
            gal_buf_add(out, piece, sizeof piece - z.avail_out);
        }
        (void)deflateEnd(&z);
    }
    assert_false(out->oom);
}

static void pack_zstd(gal_buf *out, const char *text, size_t n, size_t part) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    char *piece = gal_alloc(ZSTD_compressBound(part));
    assert_true(c && piece);
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    gal_buf_clear(out);
    for (size_t at = 0; at < n || at == 0; at += part) {
        size_t m = ZSTD_compress2(c, piece, ZSTD_compressBound(part), text + at, GAL_MIN(part, n - at));
        assert_false(ZSTD_isError(m));
        gal_buf_add(out, piece, m);
    }
    gal_free(piece);
    ZSTD_freeCCtx(c);
    assert_false(out->oom);
}

typedef void (*pack_fn)(gal_buf *out, const char *text, size_t n, size_t part);
static const pack_fn PACKS[] = { pack_gzip, pack_zstd };

/* Pieces, windows, frames and files end anywhere; documents do not show it. */
static void archives(void **state) {
    (void)state;
    gal_buf text = { 0 }, documents = { 0 }, packed = { 0 }, out = { 0 };
    make_text(&text, &documents, 3000000);
    CHECK_OK(read_bytes(text.data, text.len, &HASH, &out, NULL, diag));
    assert_int_equal(out.len, documents.len);
    assert_memory_equal(out.data, documents.data, documents.len);
    for (size_t i = 0; i < GAL_LEN(PACKS); i++) {
        static const size_t PARTS[] = { 1 << 30, 99991, 333 };
        for (size_t k = 0; k < GAL_LEN(PARTS); k++) {
            const size_t n = PARTS[k] < 1000 ? 60000 : text.len;
            PACKS[i](&packed, text.data, n, PARTS[k] > n ? n : PARTS[k]);
            put_file(folder, "packed", packed.data, packed.len);
            put_file(folder, "plain", text.data, n);
            char a[400], b[400];
            (void)snprintf(a, sizeof a, "%s/packed", folder);
            (void)snprintf(b, sizeof b, "%s/plain", folder);
            const char *one[] = { a, a }, *other[] = { b, b };
            gal_reader *r = NULL;
            gal_buf want = { 0 };
            gal_reader_state s;
            CHECK_OK(gal_reader_open(&r, one, 2, &HASH, diag));
            CHECK_OK(collect(r, &out, &s, diag));
            assert_int_equal(s.file_bytes, s.total_bytes);
            CHECK_OK(gal_reader_open(&r, other, 2, &HASH, diag));
            CHECK_OK(collect(r, &want, NULL, diag));
            assert_int_equal(out.len, want.len);
            assert_memory_equal(out.data, want.data, want.len);
            gal_buf_free(&want);
        }
    }
    gal_buf_free(&text);
    gal_buf_free(&documents);
    gal_buf_free(&packed);
    gal_buf_free(&out);
}

/* Every prefix and every changed byte of an archive: refused, or (a name, a time) the same text. */
static void damaged_archives(void **state) {
    (void)state;
    gal_buf text = { 0 }, documents = { 0 }, packed = { 0 }, out = { 0 };
    for (int i = 0; i < 200; i++) gal_buf_printf(&text, "line %d of a text\n", i * i);
    for (size_t i = 0; i < GAL_LEN(PACKS); i++) {
        PACKS[i](&packed, text.data, text.len, text.len);
        for (size_t n = 4; n < packed.len; n++)
            refused(packed.data, n, &AUTO, i ? "Zstandard data ends" : "gzip data ends");
        for (size_t k = 4; k < packed.len; k++) {
            gal_diag why = { 0 };
            packed.data[k] = (char)(packed.data[k] ^ 0x10);
            gal_err err = read_bytes(packed.data, packed.len, &AUTO, &out, NULL, &why);
            packed.data[k] = (char)(packed.data[k] ^ 0x10);
            if (!err && (out.len != text.len + 1 || memcmp(out.data, text.data, text.len) != 0))
                fail_msg("byte %zu changed: another text", k);
            if (err && (err != GAL_EINPUT || !strstr(why.text, "byte "))) fail_msg("byte %zu: %s", k, why.text);
        }
        gal_buf_puts(&packed, "more");
        refused(packed.data, packed.len, &AUTO, "byte ");
    }
    refused(TEXT("PAR1\x15\x04"), &AUTO, "Parquet");
    refused(TEXT("\xfd"
                 "7zXZ\0\0\4"),
            &AUTO, "xz");
    refused(TEXT("BZh91AY&SY.."), &AUTO, "bzip2");
    expect(TEXT("BZh91 is a text\n"), &AUTO, "BZh91 is a text\n\1");
    gal_buf_free(&text);
    gal_buf_free(&documents);
    gal_buf_free(&packed);
    gal_buf_free(&out);
}

static void files(void **state) {
    (void)state;
    char path[400], none[400];
    gal_reader *r = NULL;
    gal_diag why = { 0 };
    (void)snprintf(path, sizeof path, "%s/large", folder);
    (void)snprintf(none, sizeof none, "%s/none", folder);
    const char *const both[] = { path, none };
    gal_buf text = { 0 }, documents = { 0 }, out = { 0 };
    make_text(&text, &documents, 1 << 20);
    put_file(folder, "large", text.data, text.len);
    /* One that is missing is told before the first is read; one that shrinks, when its end comes too early. */
    assert_int_equal(gal_reader_open(&r, both, 2, &AUTO, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "none: "));
    gal_piece p;
    bool more;
    CHECK_OK(gal_reader_open(&r, both, 1, &AUTO, diag));
    CHECK_OK(gal_reader_next(r, &p, &more, diag));
    assert_int_equal(truncate(path, 300000), 0);
    why = (gal_diag){ 0 };
    assert_int_equal(collect(r, &out, NULL, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "large: expected the "));
    const char *const dir[] = { folder };
    why = (gal_diag){ 0 };
    assert_int_equal(gal_reader_open(&r, dir, 1, &AUTO, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "is a folder"));
    gal_buf_free(&text);
    gal_buf_free(&documents);
    gal_buf_free(&out);
}

/* Of a file's last line, which is skipped, nothing comes with the next file. */
static void skipped_at_the_end(void **state) {
    (void)state;
    static const char BAD[] = "{\"text\": \"a\"}\n{\"text\": \"b\"} x\n";
    static const gal_reader_options SKIP = { .skip_bad = true };
    char path[400];
    (void)snprintf(path, sizeof path, "%s/last.jsonl", folder);
    put_file(folder, "last.jsonl", BAD, sizeof BAD - 1);
    const char *const both[] = { path, path };
    gal_reader *r = NULL;
    gal_buf out = { 0 };
    gal_reader_state s;
    CHECK_OK(gal_reader_open(&r, both, 2, &SKIP, diag));
    CHECK_OK(collect(r, &out, &s, diag));
    assert_string_equal(out.data, "a\1a\1");
    assert_int_equal(s.bad_lines, 2);
    gal_buf_free(&out);
}

/* A name may say what an empty or damaged beginning does not. */
static void names(void **state) {
    (void)state;
    static const char *const NAMES[] = { "a.jsonl", "a.JSONL", "a.ndjson" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", folder, NAMES[i]);
        put_file(folder, NAMES[i], "oops\n", 5);
        const char *const one[] = { path };
        gal_reader *r = NULL;
        gal_buf out = { 0 };
        gal_diag why = { 0 };
        CHECK_OK(gal_reader_open(&r, one, 1, &AUTO, diag));
        assert_int_equal(collect(r, &out, NULL, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "line 1: "));
        gal_buf_free(&out);
    }
}

/* Where the document that begins at `from` first is no UTF-8; its end: nowhere. */
static size_t first_bad(const char *text, size_t from, size_t end) {
    uint32_t cp;
    int len = 1;
    for (; from < end && len; from += (size_t)len) {
        len = gal_utf8_next(text + from, end - from, &cp);
        if (!len) return from;
    }
    return end;
}

static void counts_what_is_no_utf8(const char *text, size_t n, const char *separator) {
    const gal_reader_options keep = { .format = GAL_TEXT_PLAIN, .separator = separator },
                             refuse = { .format = GAL_TEXT_PLAIN, .separator = separator, .refuse_invalid = true };
    gal_buf out = { 0 };
    gal_reader_state s = { 0 };
    gal_diag why = { 0 };
    char place[60] = "";
    uint64_t bad = 0;
    const size_t m = strlen(separator);
    for (size_t from = 0; from < n;) {
        size_t end = from, next;
        while (m && end < n &&
               !((end == 0 || text[end - 1] == '\n') && n - end >= m && !memcmp(text + end, separator, m)))
            end++;
        if (!m) end = n;
        const size_t at = first_bad(text, from, end);
        if (at < end && bad++ == 0) (void)snprintf(place, sizeof place, "some.file: byte %zu", at);
        for (next = end; next < n && text[next] != '\n';) next++;
        from = next + 1;
    }
    CHECK_OK(read_bytes(text, n, &keep, &out, &s, diag));
    assert_int_equal(s.invalid, bad);
    assert_string_equal(s.first_invalid.text, place);
    const gal_err err = read_bytes(text, n, &refuse, &out, NULL, &why);
    assert_int_equal(err, bad ? GAL_EINPUT : GAL_OK);
    if (bad && (strncmp(why.text, place, strlen(place)) != 0 || why.text[strlen(place)] != ':'))
        fail_msg("\"%s\", expected %s", why.text, place);
    gal_buf_free(&out);
}

static void invalid_text(void **state) {
    (void)state;
    static const char *const PARTS[] = { "a",        "\xc3\xa9",     "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                         "\n",       "\n# \n",       "\xff",         "\xc3",
                                         "\xe2\x82", "\xf0\x9f\x98", "\x80",         "\xed\xa0\x80" };
    enum { GOOD = 6, ROUNDS = 400 };
    gal_buf text = { 0 };
    uint64_t k = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        gal_buf_clear(&text);
        gal_buf_puts(&text, "");
        /* About the end of a piece, where characters are cut, or short. */
        if (round % 4 == 0)
            for (size_t i = 0; i < GAL_READER_PIECE - 8; i++) gal_buf_putc(&text, 'x');
        for (int i = 0; i < 20; i++, k++) {
            const bool bad = gal_rng_below(5, 1, k, 20) == 0;
            gal_buf_puts(&text, PARTS[gal_rng_below(5, 2, k, bad ? GAL_LEN(PARTS) : GOOD)]);
        }
        assert_false(text.oom);
        counts_what_is_no_utf8(text.data, text.len, "");
        counts_what_is_no_utf8(text.data, text.len, "# ");
    }
    gal_buf_free(&text);
}

/* Halves of surrogate pairs are U+FFFD in the text already; bytes that are no UTF-8 make a damaged line. */
static void invalid_json(void **state) {
    (void)state;
    static const char HALF[] = "{\"text\": \"a\"}\n{\"text\": \"b\\ud800\", \"other\": \"\\ud800\"}\n"
                               "{\"text\": \"c\", \"other\": \"\\udc00\"}\n{\"text\": \"\\ud83d\\ude00\"}\n",
                      BYTES[] = "{\"text\": \"a\xff\"}\n{\"text\": \"b\"}\n";
    gal_buf out = { 0 };
    gal_reader_state s = { 0 };
    gal_reader_options o = { .format = GAL_TEXT_JSONL };
    gal_diag why = { 0 };
    CHECK_OK(read_bytes(HALF, sizeof HALF - 1, &o, &out, &s, diag));
    assert_int_equal(s.documents, 4);
    assert_int_equal(s.invalid, 1);
    assert_string_equal(s.first_invalid.text, "some.file: line 2");
    o.refuse_invalid = true;
    assert_int_equal(read_bytes(HALF, sizeof HALF - 1, &o, &out, NULL, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "some.file: line 2: expected \"text\" in UTF-8, found half a surrogate pair"));
    o.skip_bad = true;
    CHECK_OK(read_bytes(HALF, sizeof HALF - 1, &o, &out, &s, diag));
    assert_true(s.documents == 3 && s.invalid == 0 && s.bad_lines == 1);
    o.refuse_invalid = false;
    CHECK_OK(read_bytes(BYTES, sizeof BYTES - 1, &o, &out, &s, diag));
    assert_true(s.documents == 1 && s.invalid == 0 && s.bad_lines == 1);
    gal_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invalid_text),
        cmocka_unit_test(invalid_json),
        cmocka_unit_test(plain),
        cmocka_unit_test(middle_of_a_line),
        cmocka_unit_test(skipped_at_the_end),
        cmocka_unit_test(lines_of_json),
        cmocka_unit_test(archives),
        cmocka_unit_test(damaged_archives),
        cmocka_unit_test(files),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests_name("reader", tests, setup, teardown);
}
