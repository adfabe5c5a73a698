/* parts_test.c - text models inside models of pictures and sound: under every form of their names, with their numbers
 * unchanged; what is left out is counted, and what nobody knows is refused. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, NAME = 160 };

typedef struct scene {
    char folder[256];
    gal_model *m; /* the text model by itself */
    char names[MOST][NAME];
    gal_st_item items[MOST];
    size_t count;
} scene;

static const float ZEROS[16];
static const int64_t TWO_BY_TWO[] = { 2, 2 };

static void add(scene *s, const char *name) {
    assert_true(s->count < MOST);
    s->items[s->count++] = (gal_st_item){ name, GAL_ST_F32, GAL_ST_F32, 2, TWO_BY_TWO, ZEROS, NULL, NULL };
}

/* The weights under names in which `drop` at the beginning becomes `prefix`; head: the last weight's own name. */
static void open_scene(scene *s, gal_layout layout, bool tied, const char *drop, const char *prefix,
                       const char *head) {
    gal_config c;
    *s = (scene){ 0 };
    gal_config_defaults(&c);
    c.layout = layout;
    c.V = 11;
    c.D = 8;
    c.F = 12;
    c.L = 2;
    c.H = 2;
    c.G = 1;
    c.K = 4;
    c.tied = tied;
    make_folder(s->folder);
    CHECK_OK(gal_model_build(&s->m, &c, diag));
    CHECK_OK(gal_model_init(s->m, GAL_F32, 5, diag));
    for (size_t i = 0; i < s->m->n_weights; i++) {
        const gal_w *w = &s->m->weights[i];
        bool is_head = strcmp(w->name, "lm_head.weight") == 0;
        if (is_head && head)
            (void)snprintf(s->names[i], NAME, "%s", head);
        else if (strncmp(w->name, drop, strlen(drop)) == 0)
            (void)snprintf(s->names[i], NAME, "%s%s", prefix, w->name + strlen(drop));
        else
            (void)snprintf(s->names[i], NAME, "%s", w->name);
        s->items[s->count++] = (gal_st_item){ s->names[i], GAL_ST_F32, GAL_ST_F32, w->ndim,
                                              w->dim,      w->data,    NULL,       NULL };
    }
}

static void close_scene(scene *s) {
    gal_model_free(s->m);
    remove_folder(s->folder);
}

static void write_weights(const scene *s, const char *file) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, file);
    CHECK_OK(gal_safetensors_write(path, s->items, s->count, NULL, 0, diag));
}

#define SIZES                                                                                                        \
    "\"vocab_size\": 11, \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": 2, "                  \
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 4"

static void write_config(const scene *s, const char *file, const char *text) {
    put_file(s->folder, file, text, strlen(text));
}

/* Loads, and finds every number of the text model in its place. */
static gal_model *load_same(const scene *s) {
    gal_model *m = NULL;
    CHECK_OK(gal_model_load(&m, s->folder, diag));
    assert_int_equal(m->n_weights, s->m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++) {
        assert_string_equal(m->weights[i].name, s->m->weights[i].name);
        assert_memory_equal(m->weights[i].data, s->m->weights[i].data, gal_wbytes(&m->weights[i]));
    }
    return m;
}

static void refuse(const scene *s, const char *says) {
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_load(&m, s->folder, &diag) != GAL_EINPUT) fail_msg("accepted; expected: %s", says);
    if (!strstr(diag.text, says)) fail_msg("no \"%s\" in: %s", says, diag.text);
}

static void folders(void **state) {
    (void)state;
    static const struct {
        const char *drop, *prefix, *head, *config, *wrapper;
    } CASES[] = {
        { "", "language_model.", NULL,
          "{\"model_type\": \"mistral3\", \"architectures\": [\"Mistral3ForConditionalGeneration\"], "
          "\"vision_config\": {}, "
          "\"text_config\": {\"model_type\": \"mistral\", " SIZES "}}",
          "mistral3" },
        { "model.", "model.language_model.", "lm_head.weight",
          "{\"model_type\": \"mistral3\", \"tie_word_embeddings\": false, \"text_config\": {" SIZES "}}",
          "mistral3" },
        { "", "language_model.", NULL,
          "{\"model_type\": \"voxtral\", \"architectures\": [\"VoxtralForConditionalGeneration\"], \"audio_config\": "
          "{}, "
          "\"text_config\": {\"model_type\": \"llama\", \"attention_bias\": false, " SIZES "}}",
          "voxtral" },
        { "", "language_model.", NULL,
          "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"mistral\", " SIZES "}}", "llava" },
        { "", "", NULL, "{\"model_type\": \"mistral3\", \"text_config\": {" SIZES "}}", "mistral3" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        scene s;
        open_scene(&s, GAL_LAYOUT_HF, false, CASES[i].drop, CASES[i].prefix, CASES[i].head);
        add(&s, "vision_tower.patch_conv.weight");
        add(&s, "vision_tower.ln_pre.weight");
        add(&s, "multi_modal_projector.linear_1.weight");
        add(&s, "model.audio_tower.conv1.weight");
        write_weights(&s, "model.safetensors");
        write_config(&s, "config.json", CASES[i].config);
        gal_model *m = load_same(&s);
        assert_string_equal(m->config.wrapper, CASES[i].wrapper);
        assert_string_equal(m->config.model_type, "mistral");
        assert_int_equal(m->n_notes, 1);
        const char *const says[] = { "only the text model inside \"", "2 tensors vision_tower.*",
                                     "1 tensor model.audio_tower.*", "1 tensor multi_modal_projector.*" };
        for (size_t k = 0; k < GAL_LEN(says); k++)
            if (!strstr(m->notes[0], says[k])) fail_msg("case %zu: no \"%s\" in: %s", i, says[k], m->notes[0]);
        gal_model_free(m);
        close_scene(&s);
    }
}

/* Nothing is left out without a wrapper, and nothing that nobody knows with one. */
static void unknown(void **state) {
    (void)state;
    scene s;
    open_scene(&s, GAL_LAYOUT_HF, false, "", "", NULL);
    add(&s, "vision_tower.patch_conv.weight");
    write_weights(&s, "model.safetensors");
    write_config(&s, "config.json", "{\"model_type\": \"mistral\", " SIZES "}");
    refuse(&s, "\"vision_tower.patch_conv.weight\" belongs to no weight");
    write_config(&s, "config.json", "{\"model_type\": \"mistral3\", \"text_config\": {" SIZES "}}");
    gal_model_free(load_same(&s));
    add(&s, "language_model.model.layers.2.mlp.up_proj.weight");
    write_weights(&s, "model.safetensors");
    refuse(&s, "\"language_model.model.layers.2.mlp.up_proj.weight\" belongs to no weight");
    s.count--;
    add(&s, "language_model.model.norm.weight"); /* a second one of a weight */
    write_weights(&s, "model.safetensors");
    refuse(&s, "\"language_model.model.norm.weight\" belongs to no weight");
    static const char *const CONFIGS[][2] = {
        { "{\"model_type\": \"qwen2_vl\", \"text_config\": {" SIZES "}}",
          "around a text_config, found \"qwen2_vl\"" },
        { "{\"model_type\": \"mistral3\", \"text_config\": 5}", "text_config: expected an object" },
        { "{\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"gemma\", " SIZES "}}",
          "text_config.model_type: expected" },
        { "{\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"llama\", " SIZES "}}",
          "found \"llama\"" },
        { "{\"model_type\": \"mistral3\", \"text_config\": {}}", "text_config.vocab_size" },
        { "{\"model_type\": \"voxtral\", \"text_config\": {\"model_type\": \"llama\", \"attention_bias\": "
          "true, " SIZES "}}",
          "text_config.attention_bias" },
        { "{\"model_type\": \"mistral3\", \"quantization_config\": {\"quant_method\": \"awq\"}, \"text_config\": "
          "{" SIZES "}}",
          "\"awq\"" },
    };
    for (size_t i = 0; i < GAL_LEN(CONFIGS); i++) {
        write_config(&s, "config.json", CONFIGS[i][0]);
        refuse(&s, CONFIGS[i][1]);
    }
    close_scene(&s);
}

/* What the whole says holds for the text: ids, tied embeddings, FP8. */
static void inherited(void **state) {
    (void)state;
    scene s;
    open_scene(&s, GAL_LAYOUT_HF, true, "", "language_model.", NULL);
    add(&s, "language_model.lm_head.weight");
    write_weights(&s, "model.safetensors");
    write_config(&s, "config.json",
                 "{\"model_type\": \"mistral3\", \"tie_word_embeddings\": true, \"eos_token_id\": [2, 7], \"dtype\": "
                 "\"bfloat16\", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [4, 8]}, "
                 "\"text_config\": {\"bos_token_id\": 3, " SIZES "}}");
    gal_model *m = load_same(&s);
    assert_true(m->config.tied && m->config.n_eos == 2 && m->config.eos[1] == 7 && m->config.bos == 3);
    assert_true(m->config.fp8_block[0] == 4 && m->config.fp8_block[1] == 8 && m->config.dtype == GAL_BF16);
    assert_int_equal(m->n_notes, 1);
    assert_non_null(strstr(m->notes[0], "\"lm_head.weight\" is not used: config.json ties it"));
    gal_model_free(m);
    close_scene(&s);
}

/* Mistral's own layout: pictures beside the text, and sound around its embedding. */
static void own(void **state) {
    (void)state;
#define PARAMS                                                                                                       \
    "{\"dim\": 8, \"n_layers\": 2, \"head_dim\": 4, \"hidden_dim\": 12, \"n_heads\": 2, \"n_kv_heads\": 1, "         \
    "\"norm_eps\": 1e-5, \"vocab_size\": 11"
    static const struct {
        const char *prefix, *params;
    } CASES[] = {
        { "tok_embeddings.", PARAMS ", \"vision_encoder\": {\"hidden_size\": 2}}" },
        { "mm_whisper_embeddings.tok_embeddings.", PARAMS ", \"multimodal\": {\"whisper_model_args\": {\"a\": 1}}}" },
        { "mm_streams_embeddings.embedding_module.tok_embeddings.",
          PARAMS ", \"multimodal\": {\"whisper_model_args\": {\"a\": 1}}}" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        scene s;
        open_scene(&s, GAL_LAYOUT_OWN, false, "tok_embeddings.", CASES[i].prefix, NULL);
        add(&s, "vision_encoder.patch_conv.weight");
        add(&s, "patch_merger.merging_layer.weight");
        add(&s, "mm_whisper_embeddings.whisper_encoder.conv1.weight");
        write_weights(&s, "consolidated.safetensors");
        write_config(&s, "params.json", CASES[i].params);
        gal_model *m = load_same(&s);
        assert_int_equal(m->n_notes, 2); /* rope_theta is missing, too */
        assert_non_null(strstr(m->notes[0], "1 tensor vision_encoder.*, 1 tensor patch_merger.*, 1 tensor "
                                            "mm_whisper_embeddings.*"));
        assert_non_null(strstr(m->notes[1], "params.json: rope_theta is missing; taken as 1e+06"));
        gal_model_free(m);
        write_config(&s, "params.json", PARAMS "}");
        refuse(&s, i ? "\"tok_embeddings.weight\" of shape [11, 8] is missing; params.json asks for it"
                     : "belongs to no weight of the model");
        close_scene(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(folders), cmocka_unit_test(unknown),
                                        cmocka_unit_test(inherited), cmocka_unit_test(own) };
    return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
