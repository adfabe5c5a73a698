/* data_test.c - documents, shards that are refused byte by byte, and the order of rows. SPDX-License-Identifier:
 * Apache-2.0 */
#include "support/check.h"

#include "base/mem.h"
#include "data/order.h"
#include "text/bpe_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[256];
static gal_tokenizer *tok;
static gal_corpus corpus;
static const gal_reader_options PLAIN;

static const char TEXT[] = "#@ id=1\nthe cat sat on the mat\nand the dog sat on the cat\n#@ id=2\n\xc3\xa9t\xc3\xa9\n"
                           "#@ id=3\n#@ id=4\na dog and a cat and a mat and the mat and the cat sat on the dog\n";

static char *path_of(const char *name) {
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    put_file(folder, "text.txt", TEXT, sizeof TEXT - 1);
    gal_buf model = { 0 };
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = 300;
    o.take_possible = true;
    char *path = path_of("text.txt");
    CHECK_OK(gal_corpus_read(&corpus, &path, 1, &(gal_reader_options){ .separator = "#@ " }, diag));
    CHECK_OK(gal_bpe_train(&model, TEXT, sizeof TEXT - 1, &o, diag));
    CHECK_OK(gal_tokenizer_open_bytes(&tok, model.data, model.len, "test", diag));
    gal_buf_free(&model);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gal_tokenizer_free(tok);
    gal_corpus_free(&corpus);
    remove_folder(folder);
    return 0;
}

static void documents(void **state) {
    (void)state;
    assert_int_equal(corpus.n_docs, 3); /* the empty one is gone */
    assert_memory_equal(corpus.text.data + corpus.docs[1].at, "\xc3\xa9t\xc3\xa9\n", 6);
    gal_corpus c = { 0 };
    size_t first = 0;
    char *path = path_of("text.txt");
    CHECK_OK(gal_corpus_read(&c, &path, 1, &PLAIN, diag));
    assert_int_equal(c.n_docs, 1);
    CHECK_OK(gal_corpus_split(&c, 0.5, &first, diag));
    assert_int_equal(first, 1);
    assert_int_equal(c.n_docs, 2);
    assert_int_equal(gal_corpus_bytes(&c, 0, 2), sizeof TEXT - 1);
    gal_corpus_free(&c);
    put_file(folder, "empty.txt", "", 0);
    gal_diag diag = { 0 };
    path = path_of("empty.txt");
    assert_int_equal(gal_corpus_read(&c, &path, 1, &PLAIN, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "empty.txt"));
}

static void shard_round_trip(void **state) {
    (void)state;
    gal_shard s;
    gal_ids ids = { 0 };
    CHECK_OK(gal_shard_write(path_of("a.shard"), &corpus, 0, corpus.n_docs, tok, diag));
    CHECK_OK(gal_shard_open(&s, path_of("a.shard"), NULL, diag));
    assert_int_equal(s.n_docs, 3);
    assert_int_equal(s.elem, 2);
    assert_int_equal(s.text_bytes, gal_corpus_bytes(&corpus, 0, 3));
    for (int64_t i = 0; i < 3; i++) {
        const gal_document *d = &corpus.docs[i];
        ids.len = 0;
        CHECK_OK(
            gal_encode(tok, NULL, corpus.text.data + d->at, d->bytes, GAL_ENCODE_BOS | GAL_ENCODE_EOS, &ids, diag));
        assert_int_equal(gal_shard_doc(&s, i + 1) - gal_shard_doc(&s, i), ids.len);
        for (size_t k = 0; k < ids.len; k++) {
            int64_t at = gal_shard_doc(&s, i) + (int64_t)k;
            assert_int_equal(gal_shard_token(&s, at), ids.data[k]);
            assert_int_equal(gal_shard_doc_of(&s, at), i);
        }
    }
    gal_ids_free(&ids);
    gal_shard_close(&s);
}

/* Every byte of the file changed, every length cut: none is opened. */
static void shard_damage(void **state) {
    (void)state;
    gal_buf whole = { 0 };
    gal_shard s;
    CHECK_OK(gal_shard_write(path_of("b.shard"), &corpus, 0, corpus.n_docs, tok, diag));
    CHECK_OK(gal_read_file(&whole, path_of("b.shard"), 1 << 20, diag));
    for (size_t i = 0; i < whole.len; i++) {
        gal_diag diag = { 0 };
        whole.data[i] = (char)(whole.data[i] ^ 0x41);
        put_file(folder, "bad.shard", whole.data, whole.len);
        whole.data[i] = (char)(whole.data[i] ^ 0x41);
        if (gal_shard_open(&s, path_of("bad.shard"), NULL, &diag) != GAL_EINPUT) fail_msg("byte %zu changed", i);
        assert_non_null(strstr(diag.text, "bad.shard"));
    }
    for (size_t n = 0; n < whole.len; n += 7) {
        put_file(folder, "bad.shard", whole.data, n);
        assert_int_equal(gal_shard_open(&s, path_of("bad.shard"), NULL, NULL), GAL_EINPUT);
    }
    uint8_t other[32] = { 1 };
    gal_diag why = { 0 };
    assert_int_equal(gal_shard_open(&s, path_of("b.shard"), other, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "another tokenizer"));
    why = (gal_diag){ 0 };
    CHECK_OK(gal_shard_open(&s, path_of("b.shard"), NULL, diag));
    CHECK_OK(gal_shard_made_from(&s, "b.shard", &corpus, 0, corpus.n_docs, diag));
    assert_int_equal(gal_shard_made_from(&s, "b.shard", &corpus, 1, 1, &why), GAL_EINPUT);
    gal_shard_close(&s);
    assert_non_null(strstr(why.text, "another text"));
    gal_buf_free(&whole);
}

enum { SEQ = 5 };

static void open_one(gal_shards *out, const char *name) {
    char *path = path_of(name);
    CHECK_OK(gal_shard_write(path, &corpus, 0, corpus.n_docs, tok, diag));
    CHECK_OK(gal_shards_open(out, &path, 1, NULL, diag));
}

static void rows_and_documents(void **state) {
    (void)state;
    gal_shards set;
    int32_t ids[SEQ], pos[SEQ], start[SEQ], target[SEQ];
    gal_row row = { ids, pos, start, target, 0 };
    open_one(&set, "c.shard");
    const gal_shard *s = &set.shards[0];
    int64_t targets = 0, plain = 0, n = 0;
    for (int64_t at = 0; at < s->n_tokens; at += SEQ) {
        CHECK_OK(gal_shards_row(&set, at, SEQ, GAL_PACKING_MASKED, row, &n, diag));
        targets += n;
        for (int64_t i = 0; i < SEQ && at + i < s->n_tokens; i++) {
            int64_t doc = gal_shard_doc_of(s, at + i), begin = gal_shard_doc(s, doc), end = gal_shard_doc(s, doc + 1);
            assert_int_equal(ids[i], gal_shard_token(s, at + i));
            assert_int_equal(start[i], GAL_MAX(begin - at, 0));
            assert_int_equal(pos[i], i - start[i]);
            assert_int_equal(target[i], at + i + 1 < end ? gal_shard_token(s, at + i + 1) : -1);
        }
        CHECK_OK(gal_shards_row(&set, at, SEQ, GAL_PACKING_PLAIN, row, &n, diag));
        plain += n;
        for (int64_t i = 0; i < SEQ && at + i < s->n_tokens; i++) {
            assert_int_equal(ids[i], gal_shard_token(s, at + i));
            assert_int_equal(start[i], 0);
            assert_int_equal(pos[i], i);
            assert_int_equal(target[i], at + i + 1 < s->n_tokens ? gal_shard_token(s, at + i + 1) : -1);
        }
    }
    assert_int_equal(targets, s->n_tokens - s->n_docs); /* every token but the first of a document, once */
    assert_int_equal(plain, s->n_tokens - 1);           /* every token but the first of all */
    gal_shards_close(&set);
}

static void order(void **state) {
    (void)state;
    gal_shards s;
    gal_order o, p;
    open_one(&s, "d.shard");
    CHECK_OK(gal_order_init(&o, &s, 7, SEQ, GAL_PACKING_MASKED, "text", diag));
    CHECK_OK(gal_order_init(&p, &s, 8, SEQ, GAL_PACKING_MASKED, "text", diag));
    enum { ROWS = 60 };
    int32_t a[3][ROWS][SEQ], rest[3][SEQ];
    int64_t n;
    gal_order_state from = { 0 }, again = { 0 }, other = { 0 };
    for (int64_t i = 0; i < ROWS; i++) {
        CHECK_OK(gal_order_next(&o, &from, (gal_row){ a[0][i], rest[0], rest[1], rest[2], 0 }, &n, diag));
        gal_order_state copy = again; /* a state is all that a checkpoint needs */
        CHECK_OK(gal_order_next(&o, &copy, (gal_row){ a[1][i], rest[0], rest[1], rest[2], 0 }, &n, diag));
        again = copy;
        CHECK_OK(gal_order_next(&p, &other, (gal_row){ a[2][i], rest[0], rest[1], rest[2], 0 }, &n, diag));
    }
    assert_memory_equal(a[0], a[1], sizeof a[0]);
    assert_memory_not_equal(a[0], a[2], sizeof a[0]);
    assert_true(from.epoch > 1);
    gal_diag diag = { 0 };
    assert_int_equal(gal_order_init(&o, &s, 7, s.n_tokens, GAL_PACKING_MASKED, "novel.txt", &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "novel.txt: too small"));
    gal_shards_close(&s);
}

static void permutation(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 70; n++) {
        uint8_t seen[70] = { 0 };
        for (uint64_t i = 0; i < n; i++) {
            uint64_t to = gal_permute(i, n, 3, n);
            assert_true(to < n);
            assert_int_equal(seen[to]++, 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),    cmocka_unit_test(shard_round_trip),
        cmocka_unit_test(shard_damage), cmocka_unit_test(rows_and_documents),
        cmocka_unit_test(order),        cmocka_unit_test(permutation),
    };
    return cmocka_run_group_tests_name("data", tests, setup, teardown);
}
