/* own_config_test.c - params.json: every key, its odd spellings, every refusal. SPDX-License-Identifier: Apache-2.0
 */
#include "formats/config.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const PLAIN[][2] = {
    { "dim", "40" },         { "n_layers", "4" },     { "head_dim", "10" },
    { "hidden_dim", "108" }, { "n_heads", "4" },      { "n_kv_heads", "2" },
    { "norm_eps", "1e-5" },  { "vocab_size", "131" }, { "rope_theta", "10000.0" },
};

/* A plain file with one more line, whose keys replace the plain ones; "-KEY" leaves one out. */
static gal_err read_with(const char *extra, gal_config *c, gal_diag *diag) {
    char key[80];
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"unknown\": [1, {}]");
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++) {
        (void)snprintf(key, sizeof key, "\"%s\":", PLAIN[i][0]);
        if (!strstr(extra, key) && !(extra[0] == '-' && strcmp(extra + 1, PLAIN[i][0]) == 0))
            gal_buf_printf(&b, ",\n%s %s", key, PLAIN[i][1]);
    }
    if (extra[0] && extra[0] != '-') gal_buf_printf(&b, ",\n%s", extra);
    gal_buf_puts(&b, "}");
    gal_err err = gal_own_config_parse(c, b.data, b.len, "params.json", diag);
    if (err && strncmp(diag->text, "params.json: ", 13) != 0) fail_msg("no file in: %s", diag->text);
    gal_buf_free(&b);
    return err;
}

static bool near(double a, double b) { return fabs(a - b) < 1e-9; }

static void plain(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("", &c, diag));
    assert_true(c.layout == GAL_LAYOUT_OWN);
    assert_string_equal(c.model_type, "mistral");
    assert_true(c.D == 40 && c.L == 4 && c.K == 10 && c.F == 108 && c.H == 4 && c.G == 2 && c.V == 131);
    assert_true(near(c.eps, 1e-5) && near(c.rope_theta, 1e4) && !c.theta_assumed && !c.tied && c.window == 0);
    assert_true(c.max_positions == 128000 && c.bos == 1 && c.n_eos == 1 && c.eos[0] == 2);
    assert_string_equal(c.rope_type, "default");
    assert_string_equal(c.wrapper, "");
}

static void windows(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int64_t window;
        const char *full; /* a letter a layer; NULL: no list */
    } CASES[] = {
        { "\"sliding_window\": 7", 7, NULL },
        { "\"sliding_window\": null", 0, NULL },
        { "\"_sliding_window\": 9", 9, NULL },
        { "\"_sliding_window\": 9, \"sliding_window\": null", 9, NULL },
        { "\"sliding_window\": \"4096\"", 4096, NULL },
        { "\"sliding_window\": \"null\"", 0, NULL },
        { "\"sliding_window\": \"None\"", 0, NULL },
        { "\"sliding_window\": \"\"", 0, NULL },
        { "\"sliding_window\": [null, 6]", 6, "y.y." },
        { "\"_sliding_window\": [null, 6, 6, 6]", 6, "y..." },
        { "\"_sliding_window\": \"[6, null]\"", 6, ".y.y" },
        { "\"sliding_window\": [5]", 5, NULL },
        { "\"sliding_window\": [null]", 0, NULL },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_config c;
        CHECK_OK(read_with(CASES[i].line, &c, diag));
        if (c.window != CASES[i].window || !c.layer_full != !CASES[i].full)
            fail_msg("%s: window %d", CASES[i].line, (int)c.window);
        for (int l = 0; CASES[i].full && l < 4; l++) assert_int_equal(c.layer_full[l], CASES[i].full[l] == 'y');
        gal_config_free(&c);
    }
}

static void variants(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"max_seq_len\": 512", &c, diag));
    assert_int_equal(c.max_positions, 512);
    CHECK_OK(read_with("\"max_position_embeddings\": 262144", &c, diag));
    assert_int_equal(c.max_positions, 262144);
    CHECK_OK(read_with("\"max_position_embeddings\": 262144, \"max_seq_len\": 32768", &c, diag));
    assert_int_equal(c.max_positions, 32768);
    CHECK_OK(
        read_with("\"tied_embeddings\": true, \"model_type\": \"transformer\", \"activation\": \"silu\", \"dtype\": "
                  "\"float16\", \"lora\": {\"rank\": 64, \"scaling\": 2.0}, \"causal\": true",
                  &c, diag));
    assert_true(c.tied && c.dtype == GAL_F16);
    CHECK_OK(
        read_with("\"quantization\": {\"qformat_weight\": \"fp8_e4m3\", \"qscheme_act\": \"NO_SCALES\"}, \"moe\": "
                  "null, \"yarn\": null",
                  &c, diag));
    assert_true(c.fp8_block[0] == 0);
    CHECK_OK(read_with("\"vision_encoder\": {\"hidden_size\": 32, \"image_token_id\": 10}", &c, diag));
    assert_string_equal(c.wrapper, "vision_encoder");
    CHECK_OK(
        read_with("\"multimodal\": {\"whisper_model_args\": {\"encoder_args\": {\"causal\": false}}}", &c, diag));
    assert_string_equal(c.wrapper, "multimodal");
    /* Without rope_theta: the first Mistral 7B meant 1e4, all later ones 1e6. */
    CHECK_OK(read_with("-rope_theta", &c, diag));
    assert_true(near(c.rope_theta, 1e6) && c.theta_assumed);
    CHECK_OK(read_with("\"rope_theta\": null, \"sliding_window\": 4096, \"vocab_size\": 32000", &c, diag));
    assert_true(near(c.rope_theta, 1e4) && c.theta_assumed);
}

static void yarn(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with(
        "\"yarn\": {\"original_max_position_embeddings\": 16384, \"factor\": 16, \"beta\": 24, \"alpha\": 2, "
        "\"apply_scale\": false}, \"llama_4_scaling\": {\"original_max_position_embeddings\": 8192, "
        "\"beta\": 0.1}",
        &c, diag));
    assert_string_equal(c.rope_type, "yarn");
    assert_string_equal(c.model_type, "ministral3");
    assert_true(c.rope_original == 16384 && near(c.rope_factor, 16) && near(c.rope_beta_fast, 24) &&
                near(c.rope_beta_slow, 2) && near(c.query_beta, 0.1) && c.query_original == 8192);
    assert_true(near(gal_yarn_scale(&c), 1));
    CHECK_OK(read_with("\"yarn\": {\"original_max_position_embeddings\": 16384, \"factor\": 16}", &c, diag));
    assert_true(near(c.rope_beta_fast, 32) && near(c.rope_beta_slow, 1) && near(c.query_beta, 0));
    assert_true(near(gal_yarn_scale(&c), 0.1 * log(16.0) + 1));
}

static void experts(void **state) {
    (void)state;
    gal_config c;
    CHECK_OK(read_with("\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2}", &c, diag));
    assert_string_equal(c.model_type, "mixtral");
    assert_true(c.experts == 8 && c.experts_used == 2 && c.F == 108);
    CHECK_OK(read_with("\"moe\": {\"num_experts\": 4, \"num_experts_per_tok\": 1, \"expert_hidden_dim\": 36, "
                       "\"route_every_n\": 1, \"first_k_dense_replace\": 0, \"routed_scale\": 1.0, "
                       "\"num_shared_experts\": 0, \"num_expert_groups\": 1, \"num_expert_groups_per_tok\": 1}",
                       &c, diag));
    assert_true(c.experts == 4 && c.experts_used == 1 && c.F == 36);
}

static const char *const REFUSED[][2] = {
    { "\"moe\": 8", "moe: expected an object" },
    { "\"moe\": {\"num_experts\": 8}", "moe.num_experts_per_tok" },
    { "\"moe\": {\"num_experts_per_tok\": 2}", "moe.num_experts" },
    { "\"moe\": {\"num_experts\": 0, \"num_experts_per_tok\": 1}", "moe.num_experts" },
    { "\"moe\": {\"num_experts\": 4, \"num_experts_per_tok\": 5}", "moe.num_experts_per_tok" },
    { "\"moe\": {\"num_experts\": 1000000000, \"num_experts_per_tok\": 2}", "moe.num_experts" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"num_shared_experts\": 1}", "num_shared_experts" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"route_every_n\": 2}", "route_every_n" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"first_k_dense_replace\": 1}",
      "first_k_dense_replace" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"num_expert_groups\": 4}", "num_expert_groups" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"routed_scale\": 2.5}", "routed_scale" },
    { "\"moe\": {\"num_experts\": 8, \"num_experts_per_tok\": 2, \"expert_hidden_dim\": 0}", "expert_hidden_dim" },
    { "\"dim\": 0", "dim: expected an integer from 1 to 1048576, found 0" },
    { "\"dim\": -40", "found -40" },
    { "\"dim\": 40.0", "dim: expected an integer, found a number" },
    { "\"dim\": \"40\"", "dim: expected an integer, found a string" },
    { "\"dim\": [40]", "found a list" },
    { "\"dim\": 4611686018427387904", "found 4611686018427387904" },
    { "\"dim\": 99999999999999999999", "number below 2^63" },
    { "\"n_layers\": 1000000000", "n_layers" },
    { "\"n_layers\": 0", "n_layers" },
    { "\"head_dim\": 9", "head_dim: expected an even number" },
    { "\"head_dim\": 0", "head_dim" },
    { "\"head_dim\": 1048576", "n_heads x head_dim" },
    { "\"hidden_dim\": 9223372036854775807", "hidden_dim" },
    { "\"n_heads\": 3", "n_kv_heads: expected a divisor of n_heads = 3" },
    { "\"n_heads\": 1048577", "n_heads" },
    { "\"n_kv_heads\": 8", "n_kv_heads" },
    { "\"n_kv_heads\": 0", "n_kv_heads" },
    { "\"norm_eps\": 0", "norm_eps: expected a number between 0 and 1" },
    { "\"norm_eps\": 1", "norm_eps" },
    { "\"norm_eps\": -1e-5", "norm_eps" },
    { "\"norm_eps\": \"1e-5\"", "norm_eps: expected a number, found a string" },
    { "\"vocab_size\": 0", "vocab_size" },
    { "\"vocab_size\": 1000000000000", "vocab_size" },
    { "\"rope_theta\": 0", "rope_theta" },
    { "\"rope_theta\": 1", "rope_theta" },
    { "\"rope_theta\": true", "rope_theta" },
    { "\"max_seq_len\": 0", "max_seq_len" },
    { "\"max_position_embeddings\": 10000000000", "max_position_embeddings" },
    { "\"tied_embeddings\": 1", "tied_embeddings" },
    { "\"model_type\": \"mamba\"", "model_type: expected \"transformer\", found \"mamba\"" },
    { "\"model_type\": 5", "model_type" },
    { "\"activation\": \"gelu\"", "activation" },
    { "\"use_biases\": true", "use_biases" },
    { "\"causal\": false", "causal" },
    { "\"qk_nope_head_dim\": 64", "qk_nope_head_dim: a model with latent attention (MLA) is not supported" },
    { "\"sliding_window\": -1", "sliding_window" },
    { "\"sliding_window\": 1.5", "sliding_window" },
    { "\"sliding_window\": 99999999999", "sliding_window" },
    { "\"sliding_window\": \"four\"", "found \"four\"" },
    { "\"sliding_window\": \"\\\"7\\\"\"", "sliding_window" },
    { "\"sliding_window\": \"-7\"", "found -7" },
    { "\"sliding_window\": {}", "sliding_window" },
    { "\"sliding_window\": [5, null, 5]", "divides n_layers = 4" },
    { "\"sliding_window\": []", "divides" },
    { "\"sliding_window\": [5, 6]", "one window" },
    { "\"sliding_window\": [5, \"6\"]", "at place 1" },
    { "\"sliding_window\": 5, \"_sliding_window\": 5", "_sliding_window: expected it or sliding_window, found both" },
    { "\"yarn\": 4", "yarn: expected an object" },
    { "\"yarn\": {\"factor\": 4}", "yarn.original_max_position_embeddings" },
    { "\"yarn\": {\"original_max_position_embeddings\": 64}", "yarn.factor" },
    { "\"yarn\": {\"original_max_position_embeddings\": 64, \"factor\": 0}", "yarn.factor" },
    { "\"yarn\": {\"original_max_position_embeddings\": 64, \"factor\": 4, \"beta\": 1, \"alpha\": 9}", "yarn.beta" },
    { "\"yarn\": {\"original_max_position_embeddings\": 64, \"factor\": 4, \"apply_scale\": 0}", "yarn.apply_scale" },
    { "\"llama_4_scaling\": []", "llama_4_scaling: expected an object" },
    { "\"llama_4_scaling\": {\"beta\": 0.1}", "llama_4_scaling.original_max_position_embeddings" },
    { "\"llama_4_scaling\": {\"original_max_position_embeddings\": 8}", "llama_4_scaling.beta" },
    { "\"quantization\": {\"qformat_weight\": \"nvfp4\"}", "quantization.qformat_weight: expected \"fp8_e4m3\"" },
    { "\"quantization\": {\"quant_method\": \"compressed-tensors\"}", "\"compressed-tensors\"" },
    { "\"quantization\": {\"qformat_weight\": \"fp8_e4m3\", \"qscheme_act\": \"CHANNEL\"}", "qscheme_act" },
    { "\"quantization\": {\"bits\": 4}", "qformat_weight: expected \"fp8_e4m3\", found nothing" },
    { "\"quantization\": \"fp8\"", "quantization: expected an object" },
    { "\"vision_encoder\": 1", "vision_encoder" },
    { "\"dim\": 40, \"dim\": 40", "duplicate" },
    { "]", "JSON" },
};

static void refused(void **state) {
    (void)state;
    gal_config c;
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++) { /* every key that is needed, missing and null */
        char line[80], says[80];
        if (strcmp(PLAIN[i][0], "rope_theta") == 0) continue;
        for (int null = 0; null < 2; null++) {
            gal_diag diag = { 0 };
            (void)snprintf(line, sizeof line, null ? "\"%s\": null" : "-%s", PLAIN[i][0]);
            (void)snprintf(says, sizeof says, "params.json: %s: expected", PLAIN[i][0]);
            if (read_with(line, &c, &diag) != GAL_EINPUT) fail_msg("accepted: %s", line);
            if (!strstr(diag.text, says) || !strstr(diag.text, "missing")) fail_msg("%s: %s", line, diag.text);
        }
    }
    for (size_t i = 0; i < GAL_LEN(REFUSED); i++) {
        gal_diag diag = { 0 };
        if (read_with(REFUSED[i][0], &c, &diag) != GAL_EINPUT) fail_msg("accepted: %s", REFUSED[i][0]);
        if (!strstr(diag.text, REFUSED[i][1])) fail_msg("no \"%s\" in: %s", REFUSED[i][1], diag.text);
    }
    gal_diag diag = { 0 };
    assert_int_equal(gal_own_config_read(&c, "/nonexistent/params.json", &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "/nonexistent/params.json"));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(plain),    cmocka_unit_test(windows),
                                        cmocka_unit_test(variants), cmocka_unit_test(yarn),
                                        cmocka_unit_test(experts),  cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("params.json", tests, NULL, NULL);
}
