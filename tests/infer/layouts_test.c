/* layouts_test.c - models in the layouts in which they are published, against the reference's logits: FP8 weights
 * with a scale a tensor and a block, Mistral's own layout, a text model inside a model of pictures. Folders of
 * others:
 * ../shared/fixtures, skipped where they are not; ours: tests/golden. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "infer/lm.h"
#include "infer/vocab_config.h"
#include "support/check.h"
#include "support/npz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE 2e-4 /* f32 against the reference's own f32 (mistral.md 2) */

typedef struct rows {
    const float *want;
    int64_t at, V;
    double worst;
} rows;

static gal_err compare(void *user, const float *x, int64_t n, gal_diag *diag) {
    rows *r = user;
    (void)diag;
    for (int64_t i = 0; i < n * r->V; i++) {
        double d = fabs((double)x[i] - (double)r->want[r->at + i]);
        if (!(d <= r->worst)) r->worst = d;
    }
    r->at += n * r->V;
    return GAL_OK;
}

static void check_logits(const char *folder, const char *layout) {
    char path[300];
    npz z;
    gal_lm *lm = NULL;
    gal_lm_info info;
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.layout = layout;
    o.cache = GAL_F32;
    if (!gal_is_dir(folder)) {
        print_message("skipped: %s is not here\n", folder);
        skip(); /* a fixture of others: a clone of this repository alone lacks it */
    }
    (void)snprintf(path, sizeof path, "%s/golden.npz", folder);
    CHECK_OK(npz_open(&z, path, diag));
    CHECK_OK(gal_lm_open(&lm, folder, &o, diag));
    gal_lm_get_info(lm, &info);
    const gal_npy *ids = npz_find(&z, "ids"), *want = npz_find(&z, "logits");
    assert_true(ids && ids->type == GAL_NPY_I64 && ids->ndim == 2 && want && want->type == GAL_NPY_F32);
    assert_int_equal(want->count, ids->count * info.vocab);
    int64_t B = ids->dim[0], T = ids->dim[1];
    int32_t *narrow = gal_alloc_array((size_t)T, sizeof *narrow);
    assert_non_null(narrow);
    rows r = { .want = want->data, .V = info.vocab };
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < T; i++) narrow[i] = (int32_t)((const int64_t *)ids->data)[b * T + i];
        CHECK_OK(gal_lm_logits(lm, narrow, (size_t)T, compare, &r, diag));
    }
    assert_int_equal(r.at, want->count);
    print_message("%s: largest difference %.2e\n", folder, r.worst);
    if (!(r.worst <= TOLERANCE)) fail_msg("%s: largest difference %g", folder, r.worst);
    gal_free(narrow);
    gal_lm_close(lm);
    npz_close(&z);
}

static void logits(void **state) { check_logits(*state, NULL); }

/* Both copies of one model in one folder, as Ministral 3 comes. */
static void both_copies(void **state) {
    (void)state;
    check_logits("tests/golden/ministral-fp8", "hf");
    check_logits("tests/golden/ministral-fp8", "own");
}

enum { FIRST = 5, ALL = FIRST + 256 };

/* without: a byte that has no piece; -1: all have. */
static void put_pieces(gal_gguf_writer *w, int without) {
    static const char *pieces[ALL] = { "<unk>", "<s>", "</s>", "\xe2\x96\x81", "a" };
    static float scores[ALL] = { 0, 0, 0, -1, -2 };
    static int32_t types[ALL] = { 2, 3, 3, 1, 1 };
    static char bytes[256][8];
    for (int i = 0; i < 256; i++) {
        (void)snprintf(bytes[i], sizeof bytes[i], "%s0x%02X>", i == without ? "" : "<", (unsigned)i);
        pieces[FIRST + i] = bytes[i];
        types[FIRST + i] = i == without ? 1 : 6;
    }
    gal_gguf_put_string(w, "tokenizer.ggml.model", "llama", 5);
    gal_gguf_put_strings(w, "tokenizer.ggml.tokens", pieces, NULL, ALL);
    gal_gguf_put_numbers(w, "tokenizer.ggml.scores", GAL_GGUF_F32, scores, ALL);
    gal_gguf_put_numbers(w, "tokenizer.ggml.token_type", GAL_GGUF_I32, types, ALL);
}

static void put_vocabulary(gal_gguf_writer *w) { put_pieces(w, -1); }

/* Whatever a file gives a meaning by its id has to be a piece. */
static void special_ids(void **state) {
    (void)state;
    static const char *const KEYS[] = { "tokenizer.ggml.bos_token_id",     "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.padding_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.fim_mid_token_id" };
    for (size_t i = 0; i < 2 * GAL_LEN(KEYS); i++) {
        char folder[256], path[400];
        gal_gguf_writer *w = NULL;
        gal_tokenizer *t = NULL;
        gal_diag why = { 0 };
        bool good = i % 2;
        make_folder(folder);
        (void)snprintf(path, sizeof path, "%s/v.gguf", folder);
        CHECK_OK(gal_gguf_writer_new(&w, diag));
        put_vocabulary(w);
        gal_gguf_put_u32(w, KEYS[i / 2], good ? ALL - 1 : ALL);
        CHECK_OK(gal_gguf_write(w, path, diag));
        assert_int_equal(gal_gguf_tokenizer(&t, path, &why), good ? GAL_OK : GAL_EINPUT);
        if (!good && !(strstr(why.text, KEYS[i / 2]) && strstr(why.text, ": expected an id below 261, found 261")))
            fail_msg("%s", why.text);
        gal_tokenizer_free(t);
        gal_gguf_writer_free(w);
        remove_folder(folder);
    }
}

/* tokenizer.ggml.add_bos_token says whether prompts begin with bos; absent, they do. */
static void beginning(void **state) {
    (void)state;
    for (int said = -1; said <= 1; said++) {
        char folder[256], path[400];
        gal_gguf_writer *w = NULL;
        gal_tokenizer *t = NULL;
        gal_ids ids = { 0 };
        make_folder(folder);
        (void)snprintf(path, sizeof path, "%s/v.gguf", folder);
        CHECK_OK(gal_gguf_writer_new(&w, diag));
        put_vocabulary(w);
        if (said >= 0) gal_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", said);
        CHECK_OK(gal_gguf_write(w, path, diag));
        CHECK_OK(gal_gguf_tokenizer(&t, path, diag));
        CHECK_OK(gal_prompt_encode(t, "a", 1, &ids, diag));
        assert_int_equal(gal_tokenizer_begins(t), said != 0);
        assert_int_equal(ids.data[0], said != 0 ? 1 : 3);
        assert_int_equal(ids.len, said != 0 ? 3 : 2);
        gal_ids_free(&ids);
        gal_tokenizer_free(t);
        gal_gguf_writer_free(w);
        remove_folder(folder);
    }
}

/* What begins and ends texts may be a piece of any type; a folder made of the file says so beside the SentencePiece
 * file, which cannot. */
static void ends_of_any_type(void **state) {
    (void)state;
    char folder[256], path[400];
    gal_gguf_writer *w = NULL;
    gal_tokenizer *t = NULL, *own = NULL;
    gal_buf spm = { 0 }, text = { 0 };
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/v.gguf", folder);
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    put_vocabulary(w);
    gal_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 4);
    gal_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 0);
    CHECK_OK(gal_gguf_write(w, path, diag));
    gal_gguf_writer_free(w);
    CHECK_OK(gal_gguf_tokenizer(&t, path, diag));
    json_t *config = gal_vocab_config(t, true, false);
    CHECK_OK(gal__json_print(config, &text, "tokenizer_config.json", diag));
    CHECK_OK(gal_tokenizer_print_spm(t, &spm, diag));
    put_file(folder, "tokenizer.model", spm.data, spm.len);
    put_file(folder, "tokenizer_config.json", text.data, text.len);
    CHECK_OK(gal_tokenizer_open(&own, folder, diag));
    for (int i = 0; i < 2; i++) {
        gal_ids ids = { 0 };
        const gal_tokenizer *x = i ? own : t;
        assert_int_equal(gal_tokenizer_bos(x), 4);
        assert_int_equal(gal_tokenizer_eos(x), 0);
        assert_true(gal_tokenizer_begins(x));
        CHECK_OK(gal_encode(x, NULL, "a", 1, GAL_ENCODE_BOS | GAL_ENCODE_EOS, &ids, diag));
        assert_true(ids.len == 4 && ids.data[0] == 4 && ids.data[1] == 3 && ids.data[2] == 4 && ids.data[3] == 0);
        gal_ids_free(&ids);
    }
    gal_tokenizer_free(own);
    /* Where the file itself says a BOS and EOS, what lies beside it does not take their place, and no name need be a
     * piece. */
    static const char BESIDE[] =
        "{\"bos_token\": {\"content\": \"a\", \"special\": true}, \"eos_token\": \"<gone>\"}";
    gal_buf model = { 0 };
    CHECK_OK(gal_read_file(&model, "tests/golden/text/tiny.model", 1 << 20, diag));
    put_file(folder, "tokenizer.model", model.data, model.len);
    put_file(folder, "tokenizer_config.json", BESIDE, sizeof BESIDE - 1);
    CHECK_OK(gal_tokenizer_open(&own, folder, diag));
    assert_int_equal(gal_tokenizer_bos(own), 1);
    assert_int_equal(gal_tokenizer_eos(own), 2);
    gal_tokenizer_free(own);
    gal_tokenizer_free(t);
    json_decref(config);
    gal_buf_free(&model);
    gal_buf_free(&spm);
    gal_buf_free(&text);
    remove_folder(folder);
}

/* A golden GGUF file again, with further keys. */
static void write_with(const char *path, void (*put)(gal_gguf_writer *w)) {
    gal_gguf *g = NULL;
    gal_gguf_writer *w = NULL;
    CHECK_OK(gal_gguf_open(&g, "tests/golden/gguf-mistral3/model.gguf", diag));
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    for (size_t i = 0; i < gal_gguf_keys(g); i++) gal_gguf_put_value(w, gal_gguf_key_at(g, i));
    put(w);
    for (size_t i = 0; i < gal_gguf_count(g); i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = t->name, .type = t->type, .ndim = t->ndim, .dim = t->dim, .data = t->data });
    }
    CHECK_OK(gal_gguf_write(w, path, diag));
    gal_gguf_writer_free(w);
    gal_gguf_close(g);
}

static void put_gpt2(gal_gguf_writer *w) {
    gal_gguf_put_string(w, "tokenizer.ggml.model", "gpt2", 4);
    gal_gguf_put_f32(w, "general.sampling.xtc_probability", 0.5f);
    gal_gguf_put_i32(w, "general.sampling.mirostat", 2);
}

static void put_without_a_byte(gal_gguf_writer *w) { put_pieces(w, 10); }

/* A vocabulary that has no piece for a byte cannot be read: ids go in and out, and what is missing is said. */
static void a_byte_missing(void **state) {
    (void)state;
    char folder[256], path[400];
    gal_lm *lm = NULL;
    gal_tokenizer *t = NULL;
    gal_diag why = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.gguf", folder);
    write_with(path, put_vocabulary);
    assert_int_equal(gal_gguf_missing_byte(path), -1);
    CHECK_OK(gal_lm_open(&lm, path, NULL, diag));
    assert_non_null(lm->tokenizer);
    gal_lm_close(lm);
    write_with(path, put_without_a_byte);
    assert_int_equal(gal_gguf_missing_byte(path), 10);
    assert_int_equal(gal_gguf_tokenizer(&t, path, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "m.gguf: the vocabulary inside has no piece for byte 0x0A"));
    CHECK_OK(gal_lm_open(&lm, path, NULL, diag));
    assert_null(lm->tokenizer);
    why = (gal_diag){ 0 };
    assert_int_equal(gal_lm_encode(lm, "a", 1, &ids, &n, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "m.gguf: its vocabulary has no piece for byte 0x0A; give ids"));
    gal_lm_close(lm);
    remove_folder(folder);
}

/* A model whose vocabulary is of a kind that is not supported yet runs on ids, and says so; so does one whose makers
 * wish for samplers that we do not have. */
static void other_kinds(void **state) {
    (void)state;
    char folder[256], path[400];
    gal_lm *lm = NULL;
    gal_diag why = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/m.gguf", folder);
    write_with(path, put_gpt2);
    CHECK_OK(gal_lm_open(&lm, path, NULL, diag));
    assert_null(lm->tokenizer);
    assert_int_equal(lm->model->n_notes, 1);
    assert_non_null(strstr(lm->model->notes[0], "m.gguf: not used: general.sampling.xtc_probability, "
                                                "general.sampling.mirostat"));
    assert_int_equal(gal_lm_encode(lm, "a", 1, &ids, &n, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "m.gguf: its vocabulary is not supported: "));
    rows r = { .V = 67 };
    float *zeros = gal_alloc_array(2 * 67, sizeof *zeros);
    assert_non_null(zeros);
    r.want = zeros;
    CHECK_OK(gal_lm_logits(lm, (const int32_t[]){ 3, 4 }, 2, compare, &r, diag));
    assert_true(r.at == 2 * 67 && r.worst > 0);
    gal_free(zeros);
    gal_lm_close(lm);
    remove_folder(folder);
}

static void layout_by_name(void **state) {
    (void)state;
    gal_lm_options o;
    gal_lm *lm = NULL;
    gal_diag why = { 0 };
    gal_lm_options_init(&o);
    o.layout = "gguf";
    CHECK_OK(gal_lm_open(&lm, "tests/golden/gguf-mistral3", &o, diag));
    gal_generate_options g;
    gal_generate_options_init(&g, lm);
    assert_true(fabs(g.sampling.temperature - 0.15) < 1e-9 && g.sampling.top_k == 12);
    assert_true(fabs(g.sampling.top_p - 0.9) < 1e-9 && fabs(g.sampling.min_p - 0.02) < 1e-9 &&
                fabs(g.sampling.repetition_penalty - 1.125) < 1e-9);
    gal_lm_close(lm);
    o.layout = "own";
    assert_int_equal(gal_lm_open(&lm, "tests/golden/gguf-mistral3", &o, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "params.json is missing"));
    o.layout = "pth";
    assert_int_equal(gal_lm_open(&lm, "tests/golden/gguf-mistral3", &o, &why), GAL_EUSAGE);
}

static const char *const FOLDERS[] = {
    "../shared/fixtures/mistral-fp8-hf",  "../shared/fixtures/mistral-fp8-block",
    "../shared/fixtures/mistral-fp8-own", "../shared/fixtures/mistral3-wrapper",
    "../shared/fixtures/ministral3-yarn",
};

int main(void) {
    struct CMUnitTest tests[GAL_LEN(FOLDERS) + 7] = {
        cmocka_unit_test(beginning),       cmocka_unit_test(layout_by_name), cmocka_unit_test(other_kinds),
        cmocka_unit_test(a_byte_missing),  cmocka_unit_test(both_copies),    cmocka_unit_test(special_ids),
        cmocka_unit_test(ends_of_any_type)
    };
    for (size_t i = 0; i < GAL_LEN(FOLDERS); i++)
        tests[i + 7] = (struct CMUnitTest){ FOLDERS[i], logits, NULL, NULL, (void *)(uintptr_t)FOLDERS[i] };
    return cmocka_run_group_tests_name("layouts", tests, NULL, NULL);
}
