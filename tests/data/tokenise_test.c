/* tokenise_test.c - text to shards: the same bytes for any number of threads, those of a corpus in memory; whole or
 * not at all. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/shards.h"
#include "data/tokenise.h"

#include <stdio.h>
#include <string.h>

static char folder[256], large[300], lines[300];
static gal_tokenizer *tok;

static char *in(const char *name) {
    static char text[4][600];
    static int turn;
    char *s = text[turn++ % 4];
    (void)snprintf(s, sizeof text[0], "%s/%s", folder, name);
    return s;
}

/* Documents of every length: some are longer than several slots, one has no place for a cut. */
static int setup(void **state) {
    (void)state;
    gal_buf text = { 0 }, json = { 0 };
    make_folder(folder);
    for (uint64_t i = 0; i < 60; i++) {
        gal_buf doc = { 0 };
        uint64_t words = gal_rng_below(1, 1, i, i % 9 == 0 ? 120000 : 400);
        for (uint64_t k = 0; k < words; k++) {
            uint64_t r = gal_rng_below(2, i, k, 5000);
            gal_buf_printf(&doc, "%s%llu%s", r % 3 ? "sea" : "wind ", (unsigned long long)r,
                           r % 17 == 0 ? "\n"
                           : r % 5     ? " "
                                       : "  ");
        }
        if (i == 31)
            for (int k = 0; k < 300000; k++) gal_buf_putc(&doc, (char)('a' + k % 26));
        gal_buf_printf(&text, "#@ %llu\n", (unsigned long long)i);
        gal_buf_add(&text, doc.data, doc.len);
        if (text.data[text.len - 1] != '\n') {
            gal_buf_putc(&text, '\n');
            gal_buf_putc(&doc, '\n');
        }
        gal_buf_puts(&json, "{\"id\": 7, \"text\": ");
        gal_buf_json(&json, doc.len ? doc.data : "", doc.len);
        gal_buf_puts(&json, "}\n");
        gal_buf_free(&doc);
    }
    assert_false(text.oom || json.oom);
    put_file(folder, "large.txt", text.data, text.len);
    put_file(folder, "lines.jsonl", json.data, json.len);
    put_file(folder, "empty.txt", "", 0);
    (void)snprintf(large, sizeof large, "%s/large.txt", folder);
    (void)snprintf(lines, sizeof lines, "%s/lines.jsonl", folder);
    gal_buf_free(&text);
    gal_buf_free(&json);
    CHECK_OK(gal_tokenizer_open(&tok, "tests/golden/text/tiny.model", diag));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gal_tokenizer_free(tok);
    remove_folder(folder);
    return 0;
}

static void same_bytes(void **state) {
    (void)state;
    static const int THREADS[] = { 1, 2, 7 };
    const gal_reader_options read = { .separator = "#@ " };
    gal_corpus c = { 0 };
    char *path = large;
    CHECK_OK(gal_corpus_read(&c, &path, 1, &read, diag));
    CHECK_OK(gal_shard_write(in("whole.shard"), &c, 0, c.n_docs, tok, diag));
    for (size_t i = 0; i < GAL_LEN(THREADS); i++) {
        const char *const from[2][1] = { { large }, { lines } };
        for (size_t k = 0; k < 2; k++) {
            gal_tokenise_options o = { .read = read, .threads = THREADS[i], .force = true };
            gal_tokenise_state s;
            CHECK_OK(gal_tokenise(in("made.shard"), from[k], 1, tok, &o, &s, diag));
            same_file(in("made.shard"), in("whole.shard"));
            assert_int_equal(s.documents, c.n_docs);
            assert_int_equal(s.text_bytes, gal_corpus_bytes(&c, 0, c.n_docs));
        }
    }
    gal_corpus_free(&c);
}

/* Several shards are the one, cut between documents. */
static void folders(void **state) {
    (void)state;
    const char *const from[] = { large, lines };
    gal_tokenise_options o = { .read = { .separator = "#@ " }, .threads = 2 };
    gal_tokenise_state s;
    CHECK_OK(gal_tokenise(in("all.shard"), from, 2, tok, &o, &s, diag));
    const uint64_t tokens = s.tokens, documents = s.documents;
    o.folder = true;
    o.shard_tokens = 70000;
    CHECK_OK(gal_tokenise(in("many/"), from, 2, tok, &o, &s, diag));
    assert_true(s.shards > 5);
    assert_int_equal(s.tokens, tokens);
    assert_int_equal(s.documents, documents);
    gal_shards one, many;
    char **paths = NULL, *all = in("all.shard"), *dir = in("many");
    size_t n = 0;
    CHECK_OK(gal_shards_open(&one, &all, 1, NULL, diag));
    CHECK_OK(gal_shards_find(&dir, 1, &paths, &n, diag));
    assert_int_equal(n, s.shards);
    assert_non_null(strstr(paths[0], "/many/many-00000.shard"));
    CHECK_OK(gal_shards_open(&many, paths, n, NULL, diag));
    assert_int_equal(many.n_tokens, (int64_t)tokens);
    for (size_t i = 0; i + 1 < n; i++) {
        const gal_shard *x = &many.shards[i];
        assert_true(x->n_tokens >= 70000 && gal_shard_doc(x, x->n_docs - 1) < 70000);
    }
    enum { SEQ = 257 };
    static int32_t rows[2][4][SEQ];
    for (int64_t at = 0; at < one.n_tokens; at += 200) {
        int64_t a = 0, b = 0;
        const gal_packing packing = at % 400 ? GAL_PACKING_PLAIN : GAL_PACKING_MASKED;
        const gal_row x = { rows[0][0], rows[0][1], rows[0][2], rows[0][3], 0 };
        const gal_row y = { rows[1][0], rows[1][1], rows[1][2], rows[1][3], 0 };
        CHECK_OK(gal_shards_row(&one, at, SEQ, packing, x, &a, diag));
        CHECK_OK(gal_shards_row(&many, at, SEQ, packing, y, &b, diag));
        assert_int_equal(a, b);
        assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    }
    gal_free_names(paths, n);
    gal_shards_close(&one);
    gal_shards_close(&many);
    /* What is there stays, unless force says otherwise. */
    gal_diag why = { 0 };
    assert_int_equal(gal_tokenise(in("many"), from, 1, tok, &o, &s, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "--force"));
    o.force = true;
    CHECK_OK(gal_tokenise(in("many"), from, 1, tok, &o, &s, diag));
    put_file(in("many"), "notes.txt", "x", 1);
    why = (gal_diag){ 0 };
    assert_int_equal(gal_tokenise(in("many"), from, 1, tok, &o, &s, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "notes.txt"));
}

static void expect_nothing_new(size_t before) {
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(folder, &names, &n, diag));
    assert_int_equal(n, before);
    gal_free_names(names, n);
}

static bool stop_at_once(void *user, const gal_tokenise_state *s) {
    (void)user;
    return s != NULL;
}

static void whole_or_not(void **state) {
    (void)state;
    char **names = NULL;
    size_t before = 0;
    gal_tokenise_state s;
    put_file(folder, "bad.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", 24);
    char path[600], nothing[600];
    (void)snprintf(path, sizeof path, "%s", in("bad.jsonl"));
    (void)snprintf(nothing, sizeof nothing, "%s", in("empty.txt"));
    const char *const bad[] = { large, path }, *const empty[] = { nothing };
    CHECK_OK(gal_list_dir(folder, &names, &before, diag));
    gal_free_names(names, before);
    for (int folder_too = 0; folder_too < 2; folder_too++) {
        gal_tokenise_options o = {
            .read = { .separator = "#@ " }, .threads = 2, .folder = folder_too, .shard_tokens = 50000
        };
        gal_diag why = { 0 };
        assert_int_equal(gal_tokenise(in("new"), bad, 2, tok, &o, &s, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "bad.jsonl: line 2: "));
        expect_nothing_new(before);
        why = (gal_diag){ 0 };
        assert_int_equal(gal_tokenise(in("new"), empty, 1, tok, &o, &s, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "expected text, found none"));
        expect_nothing_new(before);
        o.progress = stop_at_once;
        why = (gal_diag){ 0 };
        assert_int_equal(gal_tokenise(in("new"), bad, 1, tok, &o, &s, &why), GAL_EINTERRUPTED);
        expect_nothing_new(before);
        o.progress = NULL;
        o.read.skip_bad = true;
        CHECK_OK(gal_tokenise(in("new"), bad + 1, 1, tok, &o, &s, diag));
        assert_int_equal(s.read.bad_lines, 1);
        assert_int_equal(s.documents, 1);
        CHECK_OK(gal_remove_tree(in("new"), diag));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(folders),
        cmocka_unit_test(whole_or_not),
    };
    return cmocka_run_group_tests_name("tokenise", tests, setup, teardown);
}
