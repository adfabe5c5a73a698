/* test_tokenizer.c - vocabularies: the reference library's ids, what is refused, damaged files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "text/vectors.h"

#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/text/"
#define SHARED "../shared/data/tokenizers/"

static void golden_ids(void **state) {
    (void)state;
    static const char *const NAMES[] = { "tiny", "rules-unknown", "rules-bytes" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        gal_tokenizer *t = NULL;
        gal_diag diag = { 0 };
        gal_buf path = { 0 };
        gal_buf_printf(&path, GOLDEN "%s.model", NAMES[i]);
        if (gal_tokenizer_open(&t, path.data, &diag)) fail_msg("%s", diag.text);
        gal_buf_clear(&path);
        gal_buf_printf(&path, GOLDEN "%s.jsonl", NAMES[i]);
        assert_int_equal(check_vectors(t, path.data), 77);
        gal_buf_free(&path);
        gal_tokenizer_free(t);
    }
}

static void official_ids(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int version, size, inst;
    } FILES[] = { { "tokenizer.model.v1", 1, 32000, -1 },
                  { "mistral_instruct_tokenizer_240216.model.v2", 2, 32768, 3 },
                  { "mistral_instruct_tokenizer_240323.model.v3", 3, 32768, 3 },
                  { "mistral_instruct_tokenizer_241114.model.v7", 7, 32768, 3 } };
    if (!gal_is_file(SHARED "tokenizer.model.v1")) {
        print_message("skipped: no " SHARED "\n");
        skip();
    }
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_tokenizer *t = NULL;
        gal_diag diag = { 0 };
        gal_buf path = { 0 };
        gal_buf_printf(&path, SHARED "%s", FILES[i].model);
        if (gal_tokenizer_open(&t, path.data, &diag)) fail_msg("%s", diag.text);
        assert_int_equal(gal_tokenizer_version(t), FILES[i].version);
        assert_int_equal(gal_tokenizer_size(t), FILES[i].size);
        assert_int_equal(gal_tokenizer_unk(t), 0);
        assert_int_equal(gal_tokenizer_bos(t), 1);
        assert_int_equal(gal_tokenizer_eos(t), 2);
        assert_int_equal(gal_tokenizer_pad(t), -1);
        assert_int_equal(gal_tokenizer_find(t, "[INST]", 6), FILES[i].inst);
        gal_buf_clear(&path);
        gal_buf_printf(&path, SHARED "vectors/spm-v%d.jsonl", FILES[i].version);
        assert_int_equal(check_vectors(t, path.data), 231);
        gal_buf_free(&path);
        gal_tokenizer_free(t);
    }
    /* The folder holds v1, v2, v3 and v7 side by side. */
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, SHARED, NULL), GAL_OK);
    assert_int_equal(gal_tokenizer_version(t), 7);
    gal_tokenizer_free(t);
}

/* Written out again, a vocabulary gives the same ids; and the same bytes from then on. */
static void printed(void **state) {
    (void)state;
    static const char *const NAMES[] = { "tiny", "rules-unknown", "rules-bytes" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        gal_tokenizer *t = NULL, *again = NULL;
        gal_buf path = { 0 }, first = { 0 }, second = { 0 };
        gal_diag diag = { 0 };
        gal_buf_printf(&path, GOLDEN "%s.model", NAMES[i]);
        if (gal_tokenizer_open(&t, path.data, &diag) || gal_tokenizer_print_spm(t, &first, &diag) ||
            gal_tokenizer_open_bytes(&again, first.data, first.len, "printed", &diag) ||
            gal_tokenizer_print_spm(again, &second, &diag))
            fail_msg("%s", diag.text);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.data, second.data, first.len);
        assert_int_equal(gal_tokenizer_bos(again), gal_tokenizer_bos(t));
        assert_int_equal(gal_tokenizer_eos(again), gal_tokenizer_eos(t));
        assert_int_equal(gal_tokenizer_pad(again), gal_tokenizer_pad(t));
        assert_int_equal(gal_tokenizer_adds_space(again), gal_tokenizer_adds_space(t));
        assert_int_equal(gal_tokenizer_joins_spaces(again), gal_tokenizer_joins_spaces(t));
        gal_buf_clear(&path);
        gal_buf_printf(&path, GOLDEN "%s.jsonl", NAMES[i]);
        assert_int_equal(check_vectors(again, path.data), 77);
        gal_buf_free(&path);
        gal_buf_free(&first);
        gal_buf_free(&second);
        gal_tokenizer_free(t);
        gal_tokenizer_free(again);
    }
}

static void pieces_and_flags(void **state) {
    (void)state;
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, GOLDEN "tiny.model", NULL), GAL_OK);
    size_t n;
    assert_string_equal(gal_tokenizer_piece(t, 3, &n), "<0x00>");
    assert_int_equal(n, 6);
    assert_int_equal(gal_tokenizer_type(t, 3), GAL_PIECE_BYTE);
    assert_int_equal(gal_tokenizer_type(t, 1), GAL_PIECE_CONTROL);
    for (int32_t id = 0; id < gal_tokenizer_size(t); id++) {
        const char *p = gal_tokenizer_piece(t, id, &n);
        assert_int_equal(gal_tokenizer_find(t, p, n), id);
    }
    gal_ids ids = { 0 };
    assert_int_equal(gal_encode(t, NULL, "", 0, GAL_ENCODE_BOS | GAL_ENCODE_EOS, &ids, NULL), GAL_OK);
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.data[0], 1);
    assert_int_equal(ids.data[1], 2);
    gal_buf out = { 0 };
    gal_diag diag = { 0 };
    int32_t bad = gal_tokenizer_size(t);
    assert_int_equal(gal_decode(t, &bad, 1, &out, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "outside the vocabulary"));
    gal_buf file = { 0 };
    uint8_t want[32], got[32];
    assert_int_equal(gal_read_file(&file, GOLDEN "tiny.model", 1 << 20, NULL), GAL_OK);
    gal_sha256_of(file.data, file.len, want);
    gal_tokenizer_sha256(t, got);
    assert_memory_equal(got, want, 32);
    gal_buf_free(&file);
    gal_buf_free(&out);
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
}

/* Every prefix of a model is refused or opens; none may crash. */
static void truncation(void **state) {
    (void)state;
    static const char *const NAMES[] = { GOLDEN "rules-unknown.model", GOLDEN "tiny.model",
                                         GOLDEN "rules-map.model" };
    for (size_t k = 0; k < GAL_LEN(NAMES); k++) {
        gal_buf file = { 0 };
        size_t refused = 0;
        assert_int_equal(gal_read_file(&file, NAMES[k], 1 << 20, NULL), GAL_OK);
        for (size_t n = 0; n < file.len; n++) {
            gal_tokenizer *t = NULL;
            gal_diag diag = { 0 };
            uint8_t *copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees a read beyond it */
            assert_non_null(copy);
            memcpy(copy, file.data, n);
            gal_err err = gal_tokenizer_open_bytes(&t, copy, n, "cut", &diag);
            free(copy);
            assert_true(err == GAL_OK || err == GAL_EINPUT);
            assert_true((err == GAL_OK) == (diag.text[0] == 0));
            refused += err != GAL_OK;
            gal_tokenizer_free(t);
        }
        assert_true(refused > file.len / 2);
        gal_buf_free(&file);
    }
}

static void change_bytes(const char *name) {
    gal_buf file = { 0 };
    assert_int_equal(gal_read_file(&file, name, 1 << 20, NULL), GAL_OK);
    for (uint64_t i = 0; i < 20000; i++) {
        size_t at = (size_t)gal_rng_below(1, 0, i, file.len);
        char old = file.data[at];
        file.data[at] = (char)gal_rng_below(1, 1, i, 256);
        gal_tokenizer *t = NULL;
        gal_err err = gal_tokenizer_open_bytes(&t, file.data, file.len, "changed", NULL);
        assert_true(err == GAL_OK || err == GAL_EINPUT);
        if (!err) {
            gal_ids ids = { 0 };
            gal_buf out = { 0 };
            assert_int_equal(gal_encode(t, NULL, "abc <XY> bbb\xff", 13, 0, &ids, NULL), GAL_OK);
            assert_int_equal(gal_decode(t, ids.data, ids.len, &out, NULL), GAL_OK);
            gal_ids_free(&ids);
            gal_buf_free(&out);
        }
        gal_tokenizer_free(t);
        file.data[at] = old;
    }
    gal_buf_free(&file);
}

static void changed_bytes(void **state) {
    (void)state;
    change_bytes(GOLDEN "rules-unknown.model");
    change_bytes(GOLDEN "rules-map.model");
}

#define HEAD                                                                                                         \
    "\x0a\x09\x0a\x05<unk>\x18\x02"                                                                                  \
    "\x0a\x03\x0a\x01"                                                                                               \
    "a"
#define TRAINER "\x12\x02\x18\x02"
#define BPE TRAINER "\x1a\x00" /* and a normalizer_spec with its defaults */

static void refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } BAD[] = {
#define FILE_OF(s) s, sizeof(s) - 1
        { FILE_OF(""), "empty file" },
        { FILE_OF("{\"config\": {\"default_vocab_size\": 1}}"), "config.version" },
        { FILE_OF("GGUF\3\0\0\0"), "GGUF" },
        { FILE_OF("hello"), "not a SentencePiece model" },
        { FILE_OF(HEAD), "trainer_spec" },
        { FILE_OF(HEAD TRAINER), "normalizer_spec" },
        { FILE_OF(HEAD "\x12\x02\x18\x01"), "unigram" },
        { FILE_OF(HEAD "\x12\x02\x18\x03"), "word" },
        { FILE_OF(HEAD BPE "\x1a\x0b\x0a\x04nfkc\x12\x03xyz"), "'nfkc' is damaged: 3 bytes, of which 0" },
        { FILE_OF(HEAD "\x12\x05\x18\x02\xc0\x01\x01"), "treat_whitespace_as_suffix" },
        { FILE_OF(HEAD BPE "\x1a\x02\x28\x00"), "escape_whitespaces" },
        { FILE_OF(HEAD "\x12\x05\x18\x02\x98\x02\x01\x1a\x00"), "no piece for byte 0x00" },
        { FILE_OF(HEAD HEAD BPE), "both" },
        { FILE_OF("\x0a\x03\x0a\x01"
                  "a" BPE),
          "no unknown piece" },
        { FILE_OF(HEAD "\x0a\x03\x0a\x01\xff" BPE), "UTF-8" },
        { FILE_OF(HEAD "\x0a\x08\x0a\x01"
                       "b\x15\x00\x00\xc0\x7f" BPE),
          "score" },
        { FILE_OF(HEAD "\x0a\x02\x0a\x00" BPE), "piece 2 is empty" },
        { FILE_OF(HEAD "\x0a\x02\x08\x01" BPE), "wrong wire type" },
        { FILE_OF(HEAD "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "longer than" },
        { FILE_OF(HEAD "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "64 bits" },
    };
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_tokenizer *t = NULL;
        gal_diag diag = { 0 };
        assert_int_equal(gal_tokenizer_open_bytes(&t, BAD[i].bytes, BAD[i].n, "file", &diag), GAL_EINPUT);
        if (!strstr(diag.text, BAD[i].says)) fail_msg("expected '%s' in: %s", BAD[i].says, diag.text);
        assert_null(t);
    }
    /* What differs from the first of the bad ones by its model type alone, with unknown fields, opens. */
    gal_tokenizer *t = NULL;
    static const char GOOD[] = HEAD BPE "\x9a\x06\x03xyz\xf8\x07\x01";
    assert_int_equal(gal_tokenizer_open_bytes(&t, GOOD, sizeof GOOD - 1, "file", NULL), GAL_OK);
    gal_tokenizer_free(t);
    gal_diag diag = { 0 };
    assert_int_equal(gal_tokenizer_open(&t, "tests/no-such-file", &diag), GAL_EINPUT);
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_tokenizer_open(&t, "src", &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "no vocabulary in this folder"));
}

/* decode(encode(x)) = x for valid text without U+2581; also the same ids whatever the scratch did before. */
static void round_trip(void **state) {
    (void)state;
    gal_tokenizer *t = NULL;
    assert_int_equal(gal_tokenizer_open(&t, GOLDEN "tiny.model", NULL), GAL_OK);
    gal_token_scratch *s = NULL;
    assert_int_equal(gal_token_scratch_new(&s, t, NULL), GAL_OK);
    static const char *const PARTS[] = { " ", "  ", "the", "vocabulary", "\n",     "\t", "é",
                                         "В", "😀",  "1",   "<s>",        "[INST]", "," };
    for (uint64_t i = 0; i < 2000; i++) {
        gal_buf x = { 0 }, y = { 0 };
        gal_ids a = { 0 }, b = { 0 };
        for (uint64_t k = gal_rng_below(2, 0, i, 60); k > 0; k--) {
            uint64_t pick = gal_rng_below(3, i, k, GAL_LEN(PARTS) + 1);
            if (pick < GAL_LEN(PARTS))
                gal_buf_puts(&x, PARTS[pick]);
            else
                gal_buf_putc(&x, 0);
        }
        const char *text = x.data ? x.data : "";
        assert_int_equal(gal_encode(t, s, text, x.len, 0, &a, NULL), GAL_OK);
        assert_int_equal(gal_encode(t, NULL, text, x.len, 0, &b, NULL), GAL_OK);
        assert_int_equal(a.len, b.len);
        if (a.len) assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        assert_int_equal(gal_decode(t, a.data, a.len, &y, NULL), GAL_OK);
        assert_int_equal(y.len, x.len);
        if (x.len) assert_memory_equal(y.data, x.data, x.len);
        gal_buf_free(&x);
        gal_buf_free(&y);
        gal_ids_free(&a);
        gal_ids_free(&b);
    }
    gal_token_scratch_free(s);
    gal_tokenizer_free(t);
}

/* A word of a million letters goes through the heap, whose work is n log n. */
static void one_letter(void **state) {
    (void)state;
    enum { N = 1000000 };
    gal_tokenizer *t = NULL;
    gal_ids ids = { 0 };
    gal_buf out = { 0 };
    char *x = gal_alloc(N);
    assert_non_null(x);
    memset(x, 'e', N);
    assert_int_equal(gal_tokenizer_open(&t, GOLDEN "tiny.model", NULL), GAL_OK);
    assert_int_equal(gal_encode(t, NULL, x, N, 0, &ids, NULL), GAL_OK);
    assert_int_equal(gal_decode(t, ids.data, ids.len, &out, NULL), GAL_OK);
    assert_int_equal(out.len, N);
    assert_memory_equal(out.data, x, N);
    gal_free(x);
    gal_buf_free(&out);
    gal_ids_free(&ids);
    gal_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids), cmocka_unit_test(official_ids),  cmocka_unit_test(pieces_and_flags),
        cmocka_unit_test(truncation), cmocka_unit_test(changed_bytes), cmocka_unit_test(refused_by_name),
        cmocka_unit_test(round_trip), cmocka_unit_test(one_letter),    cmocka_unit_test(printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
