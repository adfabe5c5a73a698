/* hf_config_test.c - config.json and generation_config.json: both styles, every refusal, writing and reading back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/config.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A plain config with one more line; a key given again replaces the plain one. */
static gal_err read_with(const char *extra, gal_config *c, gal_diag *diag) {
    static const char *const plain[][2] = {
        { "model_type", "\"mistral\"" },     { "vocab_size", "131" },      { "hidden_size", "40" },
        { "intermediate_size", "108" },      { "num_hidden_layers", "4" }, { "num_attention_heads", "4" },
        { "num_key_value_heads", "2" },      { "head_dim", "10" },         { "rms_norm_eps", "1e-5" },
        { "max_position_embeddings", "64" }, { "rope_theta", "10000.0" },
    };
    char folder[256], path[512], key[80];
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"unknown\": [1, {}]");
    for (size_t i = 0; i < GAL_LEN(plain); i++) {
        (void)snprintf(key, sizeof key, "\"%s\":", plain[i][0]);
        if (!strstr(extra, key) && !(extra[0] == '-' && strcmp(extra + 1, plain[i][0]) == 0))
            gal_buf_printf(&b, ",\n%s %s", key, plain[i][1]);
    }
    if (extra[0] && extra[0] != '-') gal_buf_printf(&b, ",\n%s", extra);
    gal_buf_puts(&b, "}");
    make_folder(folder);
    put_file(folder, "config.json", b.data, b.len);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    gal_err err = gal_config_read(c, path, diag);
    if (err && !strstr(diag->text, "config.json")) fail_msg("no file in: %s", diag->text);
    gal_buf_free(&b);
    remove_folder(folder);
    return err;
}

static bool near(double a, double b) { return a - b < 1e-9 && b - a < 1e-9; }

static void test_plain(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("", &c, diag));
    assert_string_equal(c.model_type, "mistral");
    assert_int_equal(c.V, 131);
    assert_int_equal(c.D, 40);
    assert_int_equal(c.F, 108);
    assert_int_equal(c.L, 4);
    assert_int_equal(c.H, 4);
    assert_int_equal(c.G, 2);
    assert_int_equal(c.K, 10);
    assert_int_equal(c.window, 0);
    assert_null(c.layer_full);
    assert_false(c.tied);
    assert_true(near(c.eps, 1e-5) && near(c.rope_theta, 1e4));
    assert_string_equal(c.rope_type, "default");
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos[0], 2);
    assert_int_equal(c.pad, -1);
    assert_int_equal(c.dtype, GAL_F32);
    gal_config_free(&c);
}

static void test_variants(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"head_dim\": null", &c, diag));
    assert_int_equal(c.K, 10);
    CHECK_OK(read_with("-head_dim", &c, diag));
    assert_int_equal(c.K, 10);
    CHECK_OK(read_with("\"num_key_value_heads\": null", &c, diag));
    assert_int_equal(c.G, 4);
    CHECK_OK(read_with("-num_key_value_heads", &c, diag));
    assert_int_equal(c.G, 4);
    CHECK_OK(read_with("-rms_norm_eps", &c, diag));
    assert_true(near(c.eps, 1e-6));
    CHECK_OK(read_with("-rope_theta", &c, diag));
    assert_true(near(c.rope_theta, 1e4));
    CHECK_OK(read_with("\"sliding_window\": null", &c, diag));
    assert_int_equal(c.window, 0);
    CHECK_OK(read_with("\"sliding_window\": 0", &c, diag));
    assert_int_equal(c.window, 0);
    CHECK_OK(read_with("\"sliding_window\": 7", &c, diag));
    assert_int_equal(c.window, 7);
    assert_null(c.layer_full);
    CHECK_OK(read_with("\"eos_token_id\": [2, 5, 7], \"bos_token_id\": null, \"pad_token_id\": 4000", &c, diag));
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos[2], 7);
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.pad, 4000); /* fine-tunes have such */
    CHECK_OK(read_with("\"eos_token_id\": null", &c, diag));
    assert_int_equal(c.n_eos, 0);
    CHECK_OK(read_with("\"torch_dtype\": \"bfloat16\", \"tie_word_embeddings\": true", &c, diag));
    assert_int_equal(c.dtype, GAL_BF16);
    assert_true(c.tied);
    CHECK_OK(read_with("\"dtype\": \"float16\"", &c, diag));
    assert_int_equal(c.dtype, GAL_F16);
    CHECK_OK(read_with("\"quantization_config\": null, \"architectures\": [\"MistralForCausalLM\"]", &c, diag));
}

static void test_experts(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"model_type\": \"mixtral\", \"num_experts\": 6, \"num_experts_per_tok\": 3, "
                       "\"router_aux_loss_coef\": 0.02, \"router_jitter_noise\": 0.0, \"n_shared_experts\": 0",
                       &c, diag));
    assert_string_equal(c.model_type, "mixtral");
    assert_int_equal(c.experts, 6);
    assert_int_equal(c.experts_used, 3);
    assert_true(near(c.router_balance, 0.02));
    CHECK_OK(read_with("\"model_type\": \"mixtral\"", &c, diag)); /* the class's own numbers */
    assert_true(c.experts == 8 && c.experts_used == 2 && near(c.router_balance, 0.001));
    CHECK_OK(read_with("\"num_local_experts\": 8", &c, diag)); /* says nothing of a model without them */
    assert_int_equal(c.experts, 0);
}

static void test_layers(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"sliding_window\": 6, \"layer_types\": [\"full_attention\", \"sliding_attention\", "
                       "\"sliding_attention\", \"full_attention\"]",
                       &c, diag));
    assert_memory_equal(c.layer_full, ((const uint8_t[]){ 1, 0, 0, 1 }), 4);
    gal_config_free(&c);
    CHECK_OK(read_with("\"sliding_window\": [null, 6]", &c, diag));
    assert_int_equal(c.window, 6);
    assert_memory_equal(c.layer_full, ((const uint8_t[]){ 1, 0, 1, 0 }), 4);
    gal_config_free(&c);
    CHECK_OK(read_with("\"sliding_window\": 6, \"layer_types\": [\"sliding_attention\", \"sliding_attention\", "
                       "\"sliding_attention\", \"sliding_attention\"]",
                       &c, diag));
    assert_null(c.layer_full);
}

static void test_rope(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"rope_theta\": 5.0, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 1e6}",
                       &c, diag));
    assert_true(near(c.rope_theta, 1e6));
    CHECK_OK(read_with("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}", &c, diag));
    assert_string_equal(c.rope_type, "linear");
    assert_true(near(c.rope_factor, 4) && near(c.rope_theta, 1e4));
    CHECK_OK(read_with("\"rope_scaling\": null", &c, diag));
    assert_string_equal(c.rope_type, "default");
    CHECK_OK(read_with(
        "\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1e6, \"factor\": 8.0, \"beta_fast\": 24, "
        "\"beta_slow\": 2, \"mscale\": 1.0, \"mscale_all_dim\": 0.5, \"truncate\": false, "
        "\"original_max_position_embeddings\": 16, \"llama_4_scaling_beta\": 0.1}",
        &c, diag));
    assert_string_equal(c.rope_type, "yarn");
    assert_int_equal(c.rope_original, 16);
    assert_true(near(c.rope_factor, 8) && near(c.rope_beta_fast, 24) && near(c.rope_beta_slow, 2) &&
                near(c.rope_mscale, 1) && near(c.rope_mscale_all_dim, 0.5) && near(c.query_beta, 0.1) &&
                !c.rope_truncate);
    CHECK_OK(read_with("\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": null, "
                       "\"original_max_position_embeddings\": 16}",
                       &c, diag));
    assert_true(near(c.rope_factor, 4)); /* 64 / 16 */
    CHECK_OK(read_with("\"llama_4_scaling\": {\"beta\": 0.2, \"original_max_position_embeddings\": 32}", &c, diag));
    assert_true(near(c.query_beta, 0.2));
    assert_int_equal(c.query_original, 32);
}

static const char *const REFUSED[][2] = {
    { "-model_type", "model_type" },
    { "\"model_type\": \"mamba\"", "\"mamba\"" },
    { "\"model_type\": \"mixtral\", \"num_local_experts\": 0", "from 1 to 512, found 0" },
    { "\"model_type\": \"mixtral\", \"num_experts\": 513",
      "num_experts: expected an integer from 1 to 512, found 513" },
    { "\"model_type\": \"mixtral\", \"num_local_experts\": \"8\"", "a string" },
    { "\"model_type\": \"mixtral\", \"num_local_experts\": 4, \"num_experts_per_tok\": 5",
      "at most num_local_experts = 4, found 5" },
    { "\"model_type\": \"mixtral\", \"num_experts_per_tok\": 0", "num_experts_per_tok" },
    { "\"model_type\": \"mixtral\", \"router_aux_loss_coef\": -1", "router_aux_loss_coef" },
    { "\"model_type\": \"mixtral\", \"first_k_dense_replace\": 1",
      "first_k_dense_replace: expected experts in every layer" },
    { "\"model_type\": \"mixtral\", \"n_shared_experts\": 1", "n_shared_experts" },
    { "\"model_type\": \"mixtral\", \"mlp_only_layers\": [0]", "mlp_only_layers" },
    { "\"model_type\": \"mixtral\", \"llama_4_scaling\": {\"beta\": 0.2, \"original_max_position_embeddings\": 32}",
      "scaling of queries" },
    { "\"model_type\": \"mixtral\", \"num_hidden_layers\": 4096, \"num_local_experts\": 128",
      "at most 65536 in all layers" },
    { "\"model_type\": 3", "a string" },
    { "\"model_type\": \"mistral3\", \"text_config\": {}", "text_config" },
    { "\"architectures\": [\"MistralForSequenceClassification\"]", "MistralForSequenceClassification" },
    { "\"quantization_config\": {\"quant_method\": \"awq\"}", "\"awq\"" },
    { "\"quantization_config\": {}", "quantization_config" },
    { "\"hidden_act\": \"gelu\"", "\"gelu\"" },
    { "\"attention_bias\": true", "attention_bias" },
    { "-vocab_size", "vocab_size" },
    { "\"vocab_size\": 0", "vocab_size" },
    { "\"vocab_size\": -5", "found -5" },
    { "\"vocab_size\": 131.0", "an integer" },
    { "\"vocab_size\": \"131\"", "a string" },
    { "\"vocab_size\": 1000000000000", "vocab_size" },
    { "-hidden_size", "hidden_size" },
    { "\"hidden_size\": 4611686018427387904", "hidden_size" },
    { "\"hidden_size\": 41, \"head_dim\": null", "head_dim" },
    { "-intermediate_size", "intermediate_size" },
    { "\"num_hidden_layers\": 1000000000", "found 1000000000" },
    { "\"num_hidden_layers\": 0", "num_hidden_layers" },
    { "\"num_attention_heads\": 0", "num_attention_heads" },
    { "\"num_attention_heads\": 3", "num_key_value_heads" },
    { "\"num_attention_heads\": 1000000, \"num_key_value_heads\": 1", "num_attention_heads x head_dim" },
    { "\"num_key_value_heads\": 3", "num_key_value_heads" },
    { "\"num_key_value_heads\": 8", "num_key_value_heads" },
    { "\"num_key_value_heads\": 0", "num_key_value_heads" },
    { "\"head_dim\": 0", "head_dim" },
    { "\"head_dim\": 9", "even" },
    { "\"head_dim\": -2", "head_dim" },
    { "\"head_dim\": 9223372036854775807", "head_dim" },
    { "\"rms_norm_eps\": 0", "rms_norm_eps" },
    { "\"rms_norm_eps\": \"1e-5\"", "a string" },
    { "\"max_position_embeddings\": 0", "max_position_embeddings" },
    { "\"max_position_embeddings\": 10000000000", "max_position_embeddings" },
    { "\"sliding_window\": -1", "sliding_window" },
    { "\"sliding_window\": \"5\"", "sliding_window" },
    { "\"sliding_window\": [5, null, 5]", "divides" },
    { "\"sliding_window\": [5, 6]", "one window" },
    { "\"layer_types\": [\"full_attention\"]", "layer_types" },
    { "\"sliding_window\": 5, \"layer_types\": [\"full_attention\", \"chunked\", \"full_attention\", "
      "\"full_attention\"]",
      "layer 1" },
    { "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\", \"full_attention\"]",
      "no window" },
    { "\"tie_word_embeddings\": 1", "tie_word_embeddings" },
    { "\"eos_token_id\": [1,2,3,4,5,6,7,8,9]", "at most 8" },
    { "\"eos_token_id\": [\"2\"]", "eos_token_id" },
    { "\"bos_token_id\": 10000000000", "bos_token_id" },
    { "\"eos_token_id\": [2, 131]",
      "config.json: eos_token_id: expected ids below the size of the vocabulary, 131, found 131" },
    { "\"bos_token_id\": 131", "bos_token_id: expected ids below" },
    { "\"rope_theta\": 0", "rope_theta" },
    { "\"rope_theta\": -1e4", "rope_theta" },
    { "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}", "\"llama3\"" },
    { "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 8}", "\"dynamic\"" },
    { "\"rope_scaling\": {\"type\": \"linear\"}", "factor" },
    { "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}", "rope_scaling.factor" },
    { "\"rope_scaling\": 7", "rope_scaling" },
    { "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}", "kinds of layers" },
    { "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 2, \"beta_fast\": 1, \"beta_slow\": 5}",
      "beta_fast" },
    { "\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}", "partial_rotary_factor" },
    { "\"llama_4_scaling\": 1", "llama_4_scaling" },
    { "\"initializer_range\": -1", "initializer_range" },
    { "\"vocab_size\": 131, \"vocab_size\": 131", "duplicate" },
    { "]", "JSON" },
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(REFUSED); i++) {
        gal_config c;
        gal_diag diag = { 0 };
        if (read_with(REFUSED[i][0], &c, &diag) != GAL_EINPUT) fail_msg("accepted: %s", REFUSED[i][0]);
        if (!strstr(diag.text, REFUSED[i][1])) fail_msg("no \"%s\" in: %s", REFUSED[i][1], diag.text);
    }
    gal_config c;
    gal_diag diag = { 0 };
    assert_int_equal(gal_config_read(&c, "/nonexistent/config.json", &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "/nonexistent/config.json"));
}

/* What is written is read back the same, in all numbers. */
static void test_round_trip(void **state) {
    (void)state;
    uint8_t full[3] = { 1, 0, 1 };
    gal_config a, b;
    gal_config_defaults(&a);
    a.V = 257;
    a.D = 44;
    a.L = 3;
    a.H = 6;
    a.G = 3;
    a.K = 14;
    a.F = 60;
    a.window = 5;
    a.layer_full = full;
    a.tied = true;
    a.n_eos = 2;
    a.eos[1] = 9;
    a.pad = 0;
    a.dtype = GAL_BF16;
    a.eps = 3e-6;
    a.rope_theta = 123456.789;
    a.init_range = 0.013;
    (void)snprintf(a.model_type, sizeof a.model_type, "ministral3");
    (void)snprintf(a.rope_type, sizeof a.rope_type, "yarn");
    a.rope_factor = 7.5;
    a.rope_original = 100;
    a.rope_mscale = 0.9;
    a.rope_mscale_all_dim = 0.8;
    a.query_beta = 0.1;
    a.rope_truncate = false;
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    CHECK_OK(gal_config_write(&a, path, diag));
    CHECK_OK(gal_config_read(&b, path, diag));
    assert_memory_equal(b.layer_full, full, 3);
    assert_string_equal(b.model_type, a.model_type);
    assert_string_equal(b.rope_type, a.rope_type);
    const int64_t whole[][2] = { { a.V, b.V },
                                 { a.D, b.D },
                                 { a.L, b.L },
                                 { a.H, b.H },
                                 { a.G, b.G },
                                 { a.K, b.K },
                                 { a.F, b.F },
                                 { a.max_positions, b.max_positions },
                                 { a.window, b.window },
                                 { a.tied, b.tied },
                                 { a.rope_original, b.rope_original },
                                 { a.rope_truncate, b.rope_truncate },
                                 { a.bos, b.bos },
                                 { a.n_eos, b.n_eos },
                                 { a.eos[1], b.eos[1] },
                                 { a.pad, b.pad },
                                 { a.dtype, b.dtype } };
    for (size_t i = 0; i < GAL_LEN(whole); i++) assert_int_equal(whole[i][0], whole[i][1]);
    const double real[][2] = { { a.eps, b.eps },
                               { a.rope_theta, b.rope_theta },
                               { a.init_range, b.init_range },
                               { a.rope_factor, b.rope_factor },
                               { a.rope_beta_fast, b.rope_beta_fast },
                               { a.rope_mscale, b.rope_mscale },
                               { a.rope_mscale_all_dim, b.rope_mscale_all_dim },
                               { a.rope_attention_factor, b.rope_attention_factor },
                               { a.query_beta, b.query_beta } };
    for (size_t i = 0; i < GAL_LEN(real); i++) assert_memory_equal(&real[i][0], &real[i][1], sizeof(double));
    gal_config_free(&b);

    a.K = 7; /* what would be refused is not written */
    gal_diag diag = { 0 };
    assert_int_equal(gal_config_write(&a, path, &diag), GAL_EINPUT);
    remove_folder(folder);
}

static void test_generation(void **state) {
    (void)state;
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/generation_config.json", folder);
    static const char text[] =
        "{\"bos_token_id\": 1, \"eos_token_id\": [2, 3], \"pad_token_id\": null, \"do_sample\": true, "
        "\"temperature\": 0.7, \"top_p\": 0.95, \"top_k\": 40, \"max_new_tokens\": 100, \"x\": {}}";
    put_file(folder, "generation_config.json", text, sizeof text - 1);
    gal_generation g, h;
    CHECK_OK(gal_generation_read(&g, path, diag));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(g.bos, 1);
        assert_int_equal(g.n_eos, 2);
        assert_int_equal(g.eos[1], 3);
        assert_int_equal(g.pad, -1);
        assert_int_equal(g.do_sample, 1);
        assert_int_equal(g.top_k, 40);
        assert_int_equal(g.max_new_tokens, 100);
        assert_true(near(g.temperature, 0.7) && near(g.top_p, 0.95) && g.repetition_penalty < 0);
        CHECK_OK(gal_generation_write(&g, path, diag));
        CHECK_OK(gal_generation_read(&h, path, diag));
        g = h;
    }
    static const char *const bad[] = { "{\"temperature\": -1}",
                                       "{\"top_p\": 2}",
                                       "{\"top_k\": 1.5}",
                                       "{\"do_sample\": 1}",
                                       "{\"repetition_penalty\": 0}",
                                       "{\"max_new_tokens\": -3}",
                                       "[]" };
    for (size_t i = 0; i < GAL_LEN(bad); i++) {
        put_file(folder, "generation_config.json", bad[i], strlen(bad[i]));
        gal_diag diag = { 0 };
        if (gal_generation_read(&h, path, &diag) != GAL_EINPUT) fail_msg("accepted: %s", bad[i]);
    }
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_variants),   cmocka_unit_test(test_experts),
        cmocka_unit_test(test_layers),     cmocka_unit_test(test_rope),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
