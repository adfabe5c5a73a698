/* gguf_config_test.c - a model's sizes from the metadata of a GGUF file: read, fallen back on, refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"
#include "formats/gguf.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
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
    static const char *const MORE[] = { "llama.expert_count",
                                        "llama.attention.sliding_window",
                                        "llama.attention.key_length",
                                        "llama.attention.value_length",
                                        "llama.rope.dimension_count",
                                        "llama.rope.scaling.type",
                                        "llama.rope.scale_linear",
                                        "llama.attention.temperature_scale",
                                        "llama.vocab_size",
                                        "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id",
                                        "tokenizer.ggml.unknown_token_id",
                                        "tokenizer.ggml.padding_token_id",
                                        "tokenizer.ggml.fim_pre_token_id",
                                        "tokenizer.ggml.fim_rep_token_id",
                                        "llama.rope.scaling.attn_factor",
                                        "llama.attention.sliding_window_pattern",
                                        "llama.attention.scale",
                                        "llama.attention.causal",
                                        "llama.attn_logit_softcapping",
                                        "llama.logit_scale" };
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
    CHECK_OK(read_with(&c, &(change){ "llama.attention.scale", F32, 0.25, NULL }, diag));
    assert_true(fabs(c.attn_scale - 0.25) < 1e-9);
    CHECK_OK(read_with(&c, &(change){ "llama.logit_scale", U32, 1, NULL }, diag));
    CHECK_OK(read_with(&c, &(change){ "llama.rope.scale_linear", F32, 4, NULL }, diag));
    assert_string_equal(c.rope_type, "linear");
    assert_true(fabs(c.rope_factor - 4) < 1e-6);
    CHECK_OK(read_with(&c, &(change){ "llama.rope.scaling.type", TEXT, 0, "none" }, diag));
    assert_string_equal(c.rope_type, "default");
    CHECK_OK(read_with(&c, &(change){ "llama.rope.scaling.type", TEXT, 0, "yarn" }, diag));
    assert_string_equal(c.rope_type, "yarn");
    CHECK_OK(read_with(&c, &(change){ "llama.attention.temperature_scale", F32, 0.1, NULL }, diag));
    assert_string_equal(c.model_type, "ministral3");
    assert_true(fabs(c.query_beta - 0.1) < 1e-15); /* as it was written, not the f32 nearest to it */
    CHECK_OK(read_with(&c, &(change){ "tokenizer.ggml.eot_token_id", U32, 5, NULL }, diag));
    assert_true(c.n_eos == 2 && c.eos[0] == 2 && c.eos[1] == 5);
    CHECK_OK(read_with(&c, &(change){ "tokenizer.ggml.fim_pre_token_id", U32, 5, NULL }, diag));
    /* Beyond the rows, and what some writers have for none. */
    CHECK_OK(read_with(&c, &(change){ "tokenizer.ggml.padding_token_id", U32, 6, NULL }, diag));
    CHECK_OK(read_with(&c, &(change){ "tokenizer.ggml.padding_token_id", U32, 4294967295.0, NULL }, diag));
    assert_int_equal(c.pad, -1);
}

static void write_and_read(gal_config *out, const gal_config *c, const gal_generation *g, gal_generation *made) {
    gal_gguf_writer *w = NULL;
    gal_gguf *file = NULL;
    gal_buf bytes = { 0 };
    const float zero[1] = { 0 };
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    CHECK_OK(gal_gguf_put_config(w, c, FILE_NAME, diag));
    if (g) gal_gguf_put_generation(w, g);
    if (!c->tied)
        gal_gguf_put_tensor(w, &(gal_gguf_item){ "output.weight", 0, 1, (const int64_t[]){ 1 }, zero, NULL, NULL });
    CHECK_OK(gal_gguf_print(w, &bytes, FILE_NAME, diag));
    CHECK_OK(gal_gguf_parse(&file, bytes.data, bytes.len, FILE_NAME, diag));
    CHECK_OK(gal_gguf_config(out, file, FILE_NAME, diag));
    if (g) CHECK_OK(gal_gguf_generation(made, file, FILE_NAME, diag));
    gal_gguf_close(file);
    gal_gguf_writer_free(w);
    gal_buf_free(&bytes);
}

#define SAME(field) assert_true(!(a.field < b.field) && !(a.field > b.field))

/* What config.json of each golden model says comes back, to the last bit. */
static void written(void **state) {
    (void)state;
    static const char *const NAMES[] = { "base", "window", "tied", "nemo", "layers", "yarn" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        gal_config a, b;
        char path[100];
        (void)snprintf(path, sizeof path, "tests/golden/mistral-%s/config.json", NAMES[i]);
        CHECK_OK(gal_config_read(&a, path, diag));
        write_and_read(&b, &a, NULL, NULL);
        assert_string_equal(a.model_type, b.model_type);
        assert_string_equal(a.rope_type, b.rope_type);
        assert_true(a.V == b.V && a.D == b.D && a.L == b.L && a.H == b.H && a.G == b.G && a.K == b.K && a.F == b.F);
        assert_true(a.max_positions == b.max_positions && a.window == b.window && a.tied == b.tied);
        assert_int_equal(!a.layer_full, !b.layer_full);
        for (int64_t l = 0; a.layer_full && l < a.L; l++) assert_int_equal(a.layer_full[l], b.layer_full[l]);
        SAME(eps);
        SAME(rope_theta);
        SAME(rope_factor);
        SAME(rope_beta_fast);
        SAME(rope_beta_slow);
        SAME(query_beta);
        double one = gal_yarn_scale(&a), other = gal_yarn_scale(&b);
        assert_true(!(one < other) && !(one > other));
        if (strcmp(a.rope_type, "yarn") == 0) assert_int_equal(a.rope_original, b.rope_original);
        gal_config_free(&a);
        gal_config_free(&b);
    }
}

/* Every way to say how large cosine and sine are gives the same f32. */
static void magnitudes(void **state) {
    (void)state;
    static const double WAYS[][3] = { { 0, 0, 0 },   { 0, 1, 1 },     { 0, 1, 0.5 },      { 0, 0.7, 0.7 },
                                      { 0, 0.7, 1 }, { 1, 0.7, 0.2 }, { 1.3, 0, 0 },      { 0.8, 1, 0.5 },
                                      { 0, 0.9, 0 }, { 0, 0, 0.3 },   { 1.2302585, 0, 0 } };
    for (size_t i = 0; i < GAL_LEN(WAYS); i++) {
        gal_config a, b;
        CHECK_OK(gal_config_read(&a, "tests/golden/mistral-yarn/config.json", diag));
        a.rope_attention_factor = WAYS[i][0];
        a.rope_mscale = WAYS[i][1];
        a.rope_mscale_all_dim = WAYS[i][2];
        write_and_read(&b, &a, NULL, NULL);
        float one = (float)gal_yarn_scale(&a), other = (float)gal_yarn_scale(&b);
        if (one < other || one > other) fail_msg("way %zu: %.9g, %.9g", i, (double)one, (double)other);
        gal_config_free(&a);
        gal_config_free(&b);
    }
    gal_config a;
    gal_gguf_writer *w = NULL;
    gal_diag why = { 0 };
    CHECK_OK(gal_config_read(&a, "tests/golden/mistral-yarn/config.json", diag));
    a.rope_truncate = false;
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    assert_int_equal(gal_gguf_put_config(w, &a, "m", &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "truncate"));
    gal_gguf_writer_free(w);
    gal_config_free(&a);
}

static void sampling(void **state) {
    (void)state;
    gal_config a, b;
    gal_generation g, made;
    CHECK_OK(gal_config_read(&a, "tests/golden/mistral-base/config.json", diag));
    gal_generation_defaults(&g);
    write_and_read(&b, &a, &g, &made);
    assert_true(made.temperature < 0 && made.top_p < 0 && made.top_k < 0 && made.repetition_penalty < 0 &&
                made.do_sample < 0 && made.bos < 0 && made.n_eos == 0);
    g.temperature = 0.15;
    g.top_p = 0.9;
    g.top_k = 40;
    g.repetition_penalty = 1.05;
    write_and_read(&b, &a, &g, &made);
    assert_true(made.do_sample == 1 && made.top_k == 40 && fabs(made.temperature - 0.15) < 1e-15 &&
                fabs(made.top_p - 0.9) < 1e-15 && fabs(made.repetition_penalty - 1.05) < 1e-15);
    g.do_sample = 0;
    write_and_read(&b, &a, &g, &made);
    assert_true(made.do_sample == 0 && fabs(made.temperature) < 1e-15);
    gal_config_free(&a);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        change c;
        const char *says;
    } CASES[] = {
        { { "general.architecture", ABSENT, 0, NULL }, "general.architecture" },
        { { "general.architecture", U32, 5, NULL }, "general.architecture" },
        { { "general.architecture", TEXT, 0, "qwen2" },
          "expected \"llama\", \"mistral3\" or \"gopher\", found \"qwen2\"" },
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
        { { "llama.attention.head_count_kv", U32, 3, NULL },
          "llama.attention.head_count_kv: expected a divisor of llama.attention.head_count = 4, found 3" },
        { { "llama.attention.head_count_kv", LIST, 1, NULL }, "found 2 and 1" },
        { { "llama.attention.value_length", U32, 16, NULL }, "head size 8" },
        { { "llama.rope.dimension_count", U32, 4, NULL }, "head size 8" },
        { { "llama.context_length", ABSENT, 0, NULL }, "llama.context_length" },
        { { "llama.attention.layer_norm_rms_epsilon", ABSENT, 0, NULL }, "llama.attention.layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, (double)NAN, NULL },
          "llama.attention.layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, -1, NULL }, "llama.attention.layer_norm_rms_epsilon" },
        { { "llama.attention.layer_norm_rms_epsilon", F32, 0, NULL },
          "llama.attention.layer_norm_rms_epsilon: expected a number between 0 and 1, found 0" },
        { { "llama.attention.key_length", U32, 9, NULL }, "llama.attention.key_length: expected an even number" },
        { { "llama.rope.freq_base", F32, 1, NULL }, "llama.rope.freq_base: expected" },
        { { "llama.rope.freq_base", F32, (double)INFINITY, NULL }, "llama.rope.freq_base" },
        { { "llama.expert_count", U32, 8, NULL }, "llama.expert_used_count" },
        { { "llama.expert_count", U32, 513, NULL }, "from 0 to 512, found 513" },
        { { "llama.rope.scaling.type", TEXT, 0, "longrope" }, "\"longrope\", which is not supported" },
        { { "llama.rope.scaling.attn_factor", F32, 1.5, NULL }, "expected 1 without YaRN" },
        { { "llama.attention.temperature_scale", F32, -0.1, NULL }, "llama.attention.temperature_scale" },
        { { "llama.attention.sliding_window_pattern", LIST, 1, NULL }, "llama.attention.sliding_window_pattern" },
        { { "tokenizer.ggml.eot_token_id", TEXT, 0, "</s>" }, "tokenizer.ggml.eot_token_id" },
        { { "tokenizer.ggml.eos_token_id", U32, 6, NULL },
          "tokenizer.ggml.eos_token_id: expected an id below 6, found 6" },
        { { "tokenizer.ggml.eot_token_id", U32, 6, NULL }, "tokenizer.ggml.eot_token_id: expected an id below 6" },
        { { "tokenizer.ggml.eom_token_id", U32, 6, NULL }, "tokenizer.ggml.eom_token_id: expected an id below 6" },
        { { "tokenizer.ggml.unknown_token_id", U32, 6, NULL }, "tokenizer.ggml.unknown_token_id: expected an id" },
        { { "tokenizer.ggml.unknown_token_id", U32, 4294967295.0, NULL }, "below 6, found 4294967295" },
        { { "tokenizer.ggml.fim_pre_token_id", U32, 6, NULL }, "tokenizer.ggml.fim_pre_token_id: expected an id" },
        { { "tokenizer.ggml.fim_rep_token_id", U32, 6, NULL }, "tokenizer.ggml.fim_rep_token_id: expected an id" },
        { { "llama.vocab_size", U32, 0, NULL }, "llama.vocab_size" },
        { { "llama.attention.scale", TEXT, 0, "1" }, "llama.attention.scale" },
        { { "llama.attention.causal", U32, 0, NULL }, "llama.attention.causal" },
        { { "llama.attn_logit_softcapping", F32, 30, NULL }, "llama.attn_logit_softcapping: expected 0" },
        { { "llama.logit_scale", F32, 0.5, NULL }, "llama.logit_scale: expected 1" },
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

/* rope_freqs.weight: what the frequencies are divided by, and what is refused. */
static void divisors(void **state) {
    (void)state;
    static const struct {
        float numbers[4];
        int64_t count;
        const char *says;
    } CASES[] = {
        { { 1, 2, 4, 8 }, 4, NULL },
        { { 1, 2, 4 }, 3, "expected 4 numbers in F32, found 3" },
        { { 1, 2, 0, 8 }, 4, "above 0, found 0 at index 2" },
        { { 1, NAN, 1, 8 }, 4, "above 0, found" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_gguf_writer *w = NULL;
        gal_gguf *g = NULL;
        gal_buf bytes = { 0 };
        gal_config c, copy;
        gal_diag why = { 0 };
        gal_config_defaults(&c);
        c.V = 6;
        c.D = 32;
        c.L = 2;
        c.F = 48;
        c.H = 4;
        c.G = 2;
        c.K = 8;
        CHECK_OK(gal_gguf_writer_new(&w, diag));
        CHECK_OK(gal_gguf_put_config(w, &c, FILE_NAME, diag));
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ "rope_freqs.weight", 0, 1, &CASES[i].count, CASES[i].numbers, NULL, NULL });
        CHECK_OK(gal_gguf_print(w, &bytes, FILE_NAME, diag));
        CHECK_OK(gal_gguf_parse(&g, bytes.data, bytes.len, FILE_NAME, diag));
        if (CASES[i].says) {
            assert_int_equal(gal_gguf_config(&c, g, FILE_NAME, &why), GAL_EINPUT);
            if (!strstr(why.text, CASES[i].says)) fail_msg("expected '%s' in '%s'", CASES[i].says, why.text);
        } else {
            CHECK_OK(gal_gguf_config(&c, g, FILE_NAME, diag));
            CHECK_OK(gal_config_copy(&copy, &c, diag));
            assert_memory_equal(copy.rope_divisors, CASES[i].numbers, sizeof CASES[i].numbers);
            assert_int_equal(gal_config_print(&c, &bytes, FILE_NAME, &why),
                             GAL_EINPUT); /* config.json cannot say it */
            gal_config_free(&copy);
            gal_config_free(&c);
        }
        gal_gguf_close(g);
        gal_gguf_writer_free(w);
        gal_buf_free(&bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(good),    cmocka_unit_test(absent_or_other),
                                        cmocka_unit_test(refused), cmocka_unit_test(divisors),
                                        cmocka_unit_test(written), cmocka_unit_test(magnitudes),
                                        cmocka_unit_test(sampling) };
    return cmocka_run_group_tests_name("gguf metadata", tests, NULL, NULL);
}
