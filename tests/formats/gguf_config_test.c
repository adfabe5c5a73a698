/* gguf_config_test.c - a model's sizes from the metadata of a GGUF file: read, fallen back on, refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"
#include "formats/gguf.h"
#include "support/check.h"

#include <math.h>
#include <string.h>

#define FILE_NAME "test.gguf"

/* One key that differs from a good file: absent, another number, or another text. */
typedef struct change {
    const char *key;
    enum { NOTHING, ABSENT, U32, F32, TEXT, LIST } how;
    double number; /* of a list: its second number */
    const char *text;
} change;

static void put(gal_gguf_writer *w, const change *c, const char *key, double number, const char *text) {
    bool is = c->key && strcmp(c->key, key) == 0;
    if (is && c->how == ABSENT) return;
    if (is && c->how == LIST) {
        uint32_t two[2] = { (uint32_t)number, (uint32_t)c->number };
        gal_gguf_put_numbers(w, key, GAL_GGUF_U32, two, 2);
    } else if (is && c->how != NOTHING) {
        if (c->how == TEXT) gal_gguf_put_string(w, key, c->text, strlen(c->text));
        if (c->how == U32) gal_gguf_put_u32(w, key, (uint32_t)c->number);
        if (c->how == F32) gal_gguf_put_f32(w, key, (float)c->number);
    } else if (text) {
        gal_gguf_put_string(w, key, text, strlen(text));
    } else if (number < 1 || floor(number) < number) {
        gal_gguf_put_f32(w, key, (float)number);
    } else {
        gal_gguf_put_u32(w, key, (uint32_t)number);
    }
}

static gal_err read_with(gal_config *out, const change *c, gal_diag *why) {
    gal_gguf_writer *w = NULL;
    gal_gguf *g = NULL;
    gal_buf bytes = { 0 };
    const float embed[6 * 32] = { 0 };
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    put(w, c, "general.architecture", 0, "llama");
    put(w, c, "llama.embedding_length", 32, NULL);
    put(w, c, "llama.block_count", 2, NULL);
    put(w, c, "llama.feed_forward_length", 48, NULL);
    put(w, c, "llama.attention.head_count", 4, NULL);
    put(w, c, "llama.attention.head_count_kv", 2, NULL);
    put(w, c, "llama.context_length", 100, NULL);
    put(w, c, "llama.attention.layer_norm_rms_epsilon", 1e-6, NULL);
    put(w, c, "llama.rope.freq_base", 1000000.5, NULL);
    put(w, c, "tokenizer.ggml.bos_token_id", 3, NULL);
    static const char *const MORE[] = { "llama.expert_count",         "llama.attention.sliding_window",
                                        "llama.attention.key_length", "llama.attention.value_length",
                                        "llama.rope.dimension_count", "llama.rope.scaling.type",
                                        "llama.rope.scale_linear",    "llama.attention.temperature_scale",
                                        "llama.vocab_size",           "tokenizer.ggml.eos_token_id" };
    for (size_t i = 0; i < GAL_LEN(MORE); i++) /* not in the good file */
        if (c->key && strcmp(c->key, MORE[i]) == 0) put(w, c, MORE[i], 1, NULL);
    gal_gguf_put_tensor(w,
                        &(gal_gguf_item){ "token_embd.weight", 0, 2, (const int64_t[]){ 6, 32 }, embed, NULL, NULL });
    CHECK_OK(gal_gguf_print(w, &bytes, FILE_NAME, diag));
    CHECK_OK(gal_gguf_parse(&g, bytes.data, bytes.len, FILE_NAME, diag));
    gal_err err = gal_gguf_config(out, g, FILE_NAME, why);
    gal_gguf_close(g);
    gal_gguf_writer_free(w);
    gal_buf_free(&bytes);
    return err;
}

static void good(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with(&c, &(change){ 0 }, diag));
    assert_true(c.layout == GAL_LAYOUT_GGUF && c.tied);
    assert_true(c.D == 32 && c.L == 2 && c.F == 48 && c.H == 4 && c.G == 2 && c.K == 8 && c.V == 6);
    assert_true(c.max_positions == 100 && c.window == 0 && c.bos == 3 && c.eos[0] == 2 && c.n_eos == 1 &&
                c.pad == -1);
    assert_true(fabs(c.eps - 1e-6) < 1e-12 && fabs(c.rope_theta - 1000000.5) < 1e-6);
    assert_string_equal(c.rope_type, "default");
}

static void absent_or_other(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with(&c, &(change){ "llama.attention.head_count_kv", ABSENT, 0, NULL }, diag));
    assert_int_equal(c.G, 4);
    CHECK_OK(read_with(&c, &(change){ "llama.attention.head_count_kv", LIST, 2, NULL }, diag));
    assert_int_equal(c.G, 2);
    CHECK_OK(read_with(&c, &(change){ "llama.rope.freq_base", ABSENT, 0, NULL }, diag));
    assert_true(fabs(c.rope_theta - 1e4) < 1e-6);
    CHECK_OK(read_with(&c, &(change){ "llama.attention.sliding_window", U32, 7, NULL }, diag));
    assert_int_equal(c.window, 7);
    CHECK_OK(read_with(&c, &(change){ "llama.attention.key_length", U32, 12, NULL }, diag));
    assert_int_equal(c.K, 12);
    CHECK_OK(read_with(&c, &(change){ "llama.rope.scale_linear", F32, 4, NULL }, diag));
    assert_string_equal(c.rope_type, "linear");
    assert_true(fabs(c.rope_factor - 4) < 1e-6);
    CHECK_OK(read_with(&c, &(change){ "llama.rope.scaling.type", TEXT, 0, "none" }, diag));
    assert_string_equal(c.rope_type, "default");
}

static void refused(void **state) {
    (void)state;
    static const struct {
        change c;
        const char *says;
    } CASES[] = {
        { { "general.architecture", ABSENT, 0, NULL }, "general.architecture" },
        { { "general.architecture", U32, 5, NULL }, "general.architecture" },
        { { "general.architecture", TEXT, 0, "qwen2" }, "expected \"llama\" or \"mistral3\", found \"qwen2\"" },
        { { "general.architecture", TEXT, 0, "a name so long that no architecture was ever called by it" }, "found" },
        { { "llama.embedding_length", ABSENT, 0, NULL }, "llama.embedding_length" },
        { { "llama.embedding_length", U32, 0, NULL }, "llama.embedding_length" },
        { { "llama.embedding_length", U32, 4e9, NULL }, "llama.embedding_length" },
        { { "llama.embedding_length", TEXT, 0, "32" }, "llama.embedding_length" },
        { { "llama.block_count", U32, 1e9, NULL }, "found 1000000000" },
        { { "llama.block_count", ABSENT, 0, NULL }, "llama.block_count" },
        { { "llama.feed_forward_length", LIST, 50, NULL }, "found 48 and 50" },
        { { "llama.attention.head_count", U32, 0, NULL }, "llama.attention.head_count" },
        { { "llama.attention.head_count", U32, 4e9, NULL }, "llama.attention.head_count" },
        { { "llama.attention.head_count_kv", U32, 5, NULL }, "llama.attention.head_count_kv" },
        { { "llama.attention.head_count_kv", U32, 3, NULL }, "4" },
        { { "llama.attention.head_count_kv", LIST, 1, NULL }, "found 2 and 1" },
        { { "llama.attention.value_length", U32, 16, NULL }, "head size 8" },
        { { "llama.rope.dimension_count", U32, 4, NULL }, "head size 8" },
        { { "llama.context_length", ABSENT, 0, NULL }, "llama.context_length" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, (double)NAN, NULL },
          "llama.attention.layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, -1, NULL }, "llama.attention.layer_norm_rms_epsilon" },
        { { "llama.rope.freq_base", F32, (double)INFINITY, NULL }, "llama.rope.freq_base" },
        { { "llama.expert_count", U32, 8, NULL }, "experts are not supported yet" },
        { { "llama.rope.scaling.type", TEXT, 0, "yarn" }, "\"yarn\", which is not supported yet" },
        { { "llama.attention.temperature_scale", F32, 0.1, NULL }, "llama.attention.temperature_scale" },
        { { "llama.vocab_size", U32, 0, NULL }, "llama.vocab_size" },
        { { "tokenizer.ggml.eos_token_id", U32, 4e9, NULL }, "tokenizer.ggml.eos_token_id" },
        { { "tokenizer.ggml.bos_token_id", TEXT, 0, "<s>" }, "tokenizer.ggml.bos_token_id" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_config c;
        gal_diag diag = { 0 };
        gal_err err = read_with(&c, &CASES[i].c, &diag);
        if (err != GAL_EINPUT) fail_msg("%s (case %zu): %s", CASES[i].c.key, i, gal_err_name(err));
        if (strncmp(diag.text, FILE_NAME, strlen(FILE_NAME)) != 0 || !strstr(diag.text, CASES[i].says))
            fail_msg("expected '%s' in '%s'", CASES[i].says, diag.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(good), cmocka_unit_test(absent_or_other),
                                        cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("gguf metadata", tests, NULL, NULL);
}
