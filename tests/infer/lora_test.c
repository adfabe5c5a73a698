/* lora_test.c - low-rank adapters at run time and merged, against the reference's logits with W + scale B A in the
 * place of W (tests/golden/make_lora.py): PEFT's folders and Mistral's own, on a base in each of the three layouts,
 * where rows of q and k stand in another order; strengths; the same on a device whose memory is closed to the host;
 * and every way in which a folder can be wrong. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "convert/convert.h"
#include "formats/lora_config.h"
#include "formats/safetensors.h"
#include "infer/lm.h"
#include "models/lora.h"
#include "support/check.h"
#include "support/far.h"
#include "support/npz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BASE "tests/golden/mistral-base"
#define PEFT "tests/golden/lora-peft"
#define OWN "tests/golden/lora-own"
#define YARN_BASE "tests/golden/mistral-yarn"
#define YARN "tests/golden/lora-yarn"
#define TOLERANCE 2e-4 /* f32 against the reference's own f32 (mistral.md 2) */
#define MERGED 1e-4    /* the same numbers in another order of sums */

static char folder[256];
static const char *at(const char *name) {
    static char path[4][400];
    static int turn;
    turn = (turn + 1) % 4;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

typedef struct rows {
    float *x;
    size_t n;
} rows;

static gal_err keep(void *user, const float *x, int64_t n, gal_diag *diag) {
    rows *r = user;
    (void)diag;
    memcpy(r->x + r->n, x, (size_t)n * 131 * sizeof *x);
    r->n += (size_t)n * 131;
    return GAL_OK;
}

/* Logits of the golden ids of `adapted` by a model; the caller frees x. */
static rows logits(const char *adapted, const char *model, const gal_lm_adapter *a, size_t n, bool far) {
    char path[300];
    npz z;
    gal_lm *lm = NULL;
    gal_lm_options o;
    (void)snprintf(path, sizeof path, "%s/adapted.npz", adapted);
    CHECK_OK(npz_open(&z, path, diag));
    const gal_npy *ids = npz_find(&z, "ids");
    assert_true(ids && ids->type == GAL_NPY_I64 && ids->ndim == 2);
    gal_lm_options_init(&o);
    o.adapters = a;
    o.n_adapters = n;
    o.cache = GAL_F32;
    if (far) o.device.device = "far";
    CHECK_OK(gal_lm_open(&lm, model, &o, diag));
    rows r = { gal_alloc_array((size_t)ids->count * 131, sizeof(float)), 0 };
    int32_t *narrow = gal_alloc_array((size_t)ids->dim[1], sizeof *narrow);
    assert_true(r.x && narrow);
    for (int64_t b = 0; b < ids->dim[0]; b++) {
        for (int64_t i = 0; i < ids->dim[1]; i++)
            narrow[i] = (int32_t)((const int64_t *)ids->data)[b * ids->dim[1] + i];
        CHECK_OK(gal_lm_logits(lm, narrow, (size_t)ids->dim[1], keep, &r, diag));
    }
    gal_free(narrow);
    gal_lm_close(lm);
    npz_close(&z);
    return r;
}

static double apart(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void check_golden(const char *adapted, const char *model, const gal_lm_adapter *a, size_t n, bool far) {
    char path[300];
    npz z;
    rows r = logits(adapted, model, a, n, far);
    (void)snprintf(path, sizeof path, "%s/adapted.npz", adapted);
    CHECK_OK(npz_open(&z, path, diag));
    const gal_npy *want = npz_find(&z, "logits");
    assert_true(want && want->type == GAL_NPY_F32 && (size_t)want->count == r.n);
    double worst = apart(r.x, want->data, r.n);
    print_message("%s on %s: largest difference %.2e\n", adapted, model, worst);
    if (!(worst <= TOLERANCE)) fail_msg("%s on %s: largest difference %g", adapted, model, worst);
    npz_close(&z);
    gal_free(r.x);
}

static void convert(const char *base, const char *to, gal_layout layout, gal_convert_dtype dtype,
                    const gal_lm_adapter *a, size_t n) {
    gal_convert_options o;
    gal_convert_options_init(&o);
    o.to = layout;
    o.dtype = dtype;
    o.adapters = a;
    o.n_adapters = n;
    CHECK_OK(gal_convert_model(base, to, &o, NULL, diag));
}

static const struct {
    const char *name;
    gal_layout layout;
} BASES[] = { { "hf", GAL_LAYOUT_HF }, { "own", GAL_LAYOUT_OWN }, { "m.gguf", GAL_LAYOUT_GGUF } };
static const char *const ADAPTERS[] = { PEFT, OWN };

static void at_run_time(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(BASES); i++) {
        convert(BASE, at(BASES[i].name), BASES[i].layout, GAL_CONVERT_SAME, NULL, 0);
        for (size_t k = 0; k < GAL_LEN(ADAPTERS); k++)
            check_golden(ADAPTERS[k], at(BASES[i].name), &(gal_lm_adapter){ ADAPTERS[k], 1 }, 1, false);
        const char *yarn = BASES[i].layout == GAL_LAYOUT_GGUF ? "yarn.gguf" : "yarn";
        if (BASES[i].layout == GAL_LAYOUT_OWN) continue; /* params.json cannot say that model's mscale */
        convert(YARN_BASE, at(yarn), BASES[i].layout, GAL_CONVERT_SAME, NULL, 0);
        check_golden(YARN, at(yarn), &(gal_lm_adapter){ YARN, 1 }, 1, false);
    }
}

static void far_away(void **state) {
    (void)state;
    for (size_t k = 0; k < GAL_LEN(ADAPTERS); k++)
        check_golden(ADAPTERS[k], BASE, &(gal_lm_adapter){ ADAPTERS[k], 1 }, 1, true);
}

/* Merged in f32 into every layout: what it gives at run time. */
static void merged(void **state) {
    (void)state;
    for (size_t k = 0; k < GAL_LEN(ADAPTERS); k++) {
        const gal_lm_adapter one = { ADAPTERS[k], 0.75 };
        rows want = logits(ADAPTERS[k], BASE, &one, 1, false);
        for (size_t i = 0; i < GAL_LEN(BASES); i++) {
            char name[40];
            (void)snprintf(name, sizeof name, "merged%zu-%s", k, BASES[i].name);
            convert(BASE, at(name), BASES[i].layout, GAL_CONVERT_F32, &one, 1);
            rows have = logits(ADAPTERS[k], at(name), NULL, 0, false);
            assert_int_equal(have.n, want.n);
            double worst = apart(have.x, want.x, want.n);
            print_message("%s: merged beside run time %.2e\n", name, worst);
            if (!(worst <= MERGED)) fail_msg("%s: %g", name, worst);
            gal_free(have.x);
        }
        gal_free(want.x);
    }
}

/* Two of them act together; halves of one make the whole; nothing at strength 0. */
static void several(void **state) {
    (void)state;
    const gal_lm_adapter two[] = { { PEFT, 0.25 }, { PEFT, 0.75 } }, none[] = { { PEFT, 0 }, { OWN, 0 } };
    const gal_lm_adapter both[] = { { PEFT, 1 }, { OWN, -0.5 } };
    check_golden(PEFT, BASE, two, 2, false);
    rows a = logits(PEFT, BASE, none, 2, false), b = logits(PEFT, BASE, NULL, 0, false);
    assert_true(apart(a.x, b.x, a.n) == 0);
    gal_free(a.x);
    a = logits(PEFT, BASE, both, 2, false);
    assert_true(apart(a.x, b.x, a.n) > 0.1);
    gal_free(b.x);
    convert(BASE, at("both"), GAL_LAYOUT_GGUF, GAL_CONVERT_F32, both, 2);
    b = logits(PEFT, at("both"), NULL, 0, false);
    assert_true(apart(a.x, b.x, a.n) <= MERGED);
    gal_free(a.x);
    gal_free(b.x);
}

/* ---- wrong folders ----------------------------------------------------------------------------------------------
 */

typedef struct tensor {
    const char *name;
    int64_t rows, cols;
} tensor;

#define Q "base_model.model.model.layers.0.self_attn.q_proj"
#define E "base_model.model.model.embed_tokens"
#define H "base_model.model.lm_head"
#define CONFIG(more) "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4" more "}"

static void make_adapter(const char *config, const char *file, const tensor *t, size_t n, float value) {
    static float numbers[8192];
    gal_st_item items[8];
    assert_true(n <= GAL_LEN(items));
    for (size_t i = 0; i < GAL_LEN(numbers); i++) numbers[i] = value;
    for (size_t i = 0; i < n; i++) {
        assert_true((size_t)(t[i].rows * t[i].cols) <= GAL_LEN(numbers));
        items[i] = (gal_st_item){ .name = t[i].name,
                                  .dtype = GAL_ST_F32,
                                  .from = GAL_ST_F32,
                                  .ndim = 2,
                                  .dim = (int64_t *)(uintptr_t)&t[i].rows,
                                  .data = numbers };
    }
    (void)gal_remove_tree(at("bad"), NULL);
    CHECK_OK(gal_make_dirs(at("bad"), diag));
    if (config) put_file(at("bad"), "adapter_config.json", config, strlen(config));
    if (file) CHECK_OK(gal_safetensors_write(at(file), items, n, NULL, 0, diag));
}

static void refused(const char *says) {
    gal_lm *lm = NULL;
    gal_lm_options o;
    gal_diag why = { 0 };
    const gal_lm_adapter a = { at("bad"), 1 };
    gal_lm_options_init(&o);
    o.adapters = &a;
    o.n_adapters = 1;
    if (gal_lm_open(&lm, BASE, &o, &why) != GAL_EINPUT) fail_msg("accepted; expected: %s", says);
    if (!strstr(why.text, says)) fail_msg("expected \"%s\" in: %s", says, why.text);
}

static const tensor GOOD[] = { { Q ".lora_A.weight", 2, 40 }, { Q ".lora_B.weight", 40, 2 } };
#define PEFT_FILE "bad/adapter_model.safetensors"

static void wrong_tensors(void **state) {
    (void)state;
    static const struct {
        tensor t[3];
        size_t n;
        const char *says;
    } CASES[] = {
        { { { Q ".lora_A.weight", 2, 40 } }, 1, "q_proj.lora_A.weight\" is alone: its lora_B.weight is missing" },
        { { { Q ".lora_B.weight", 40, 2 } }, 1, "is alone: its lora_A.weight is missing" },
        { { { Q ".lora_A.weight", 2, 41 }, { Q ".lora_B.weight", 40, 2 } },
          2,
          "expected shape [rank, 40] beside \"model.layers.0.self_attn.q_proj.weight\" of [40, 40], found [2, 41]" },
        { { { Q ".lora_A.weight", 2, 40 }, { Q ".lora_B.weight", 39, 2 } }, 2, "expected shape [40, 2] beside" },
        { { { Q ".lora_A.weight", 2, 40 }, { Q ".lora_B.weight", 40, 3 } }, 2, "of [2, 40], found [40, 3]" },
        { { { Q ".lora_A.weight", 3, 40 }, { Q ".lora_B.weight", 40, 3 } },
          2,
          "expected rank 2 as adapter_config.json says, found 3 (shape [3, 40])" },
        { { { "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", 2, 40 } },
          1,
          "the model has no weight \"model.layers.7.self_attn.q_proj\"" },
        { { { "base_model.model.model.norm.lora_A.weight", 2, 40 } }, 1, "the model has no weight \"model.norm\"" },
        { { { "base_model.model.model.embed_tokens.lora_A.weight", 2, 40 } }, 1, "an adapter of the embedding" },
        { { { "base_model.model.model.embed_tokens.lora_embedding_A", 2, 40 } }, 1, "an adapter of the embedding" },
        { { { E ".base_layer.weight", 131, 40 },
            { E ".lora_embedding_A", 2, 131 },
            { E ".lora_embedding_B", 40, 2 } },
          3,
          "embed_tokens.base_layer.weight\": an adapter of the embedding is not supported" },
        { { { H ".base_layer.weight", 130, 40 }, { H ".lora_A.weight", 2, 40 }, { H ".lora_B.weight", 131, 2 } },
          3,
          "expected the shape of the model's weight, [131, 40], found [130, 40]" },
        { { { H ".base_layer.weight", 131, 40 }, { H ".lora_B.weight", 131, 2 } },
          2,
          "lm_head.base_layer.weight\": expected the names of adapters" },
        { { { Q ".lora_magnitude_vector", 1, 40 } }, 1, "(DoRA) is not supported" },
        { { { Q ".weight", 40, 40 } }, 1, "expected the names of adapters" },
        { { { "model.layers.0.self_attn.q_proj.lora_A.weight", 2, 40 } }, 1, "expected the names of adapters" },
        { { { "x", 1, 1 } }, 0, "no adapters" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        make_adapter(CONFIG(), PEFT_FILE, CASES[i].t, CASES[i].n, 0.5f);
        refused(CASES[i].says);
    }
    make_adapter(CONFIG(), PEFT_FILE, GOOD, 2, NAN);
    refused("expected finite numbers");
    make_adapter(NULL, "bad/lora.safetensors", GOOD, 2, 0.5f);
    refused("the model has no weight \"base_model");
    make_adapter(NULL, "bad/lora.safetensors",
                 (tensor[]){ { "layers.0.attention.wq.lora_A.weight", 3, 40 },
                             { "layers.0.attention.wq.lora_B.weight", 40, 3 } },
                 2, 0.5f);
    put_file(at("bad"), "params.json", "{\"lora\": {\"rank\": 2}}", 21);
    refused("expected rank 2 as params.json says, found 3");
}

static void wrong_descriptions(void **state) {
    (void)state;
    static const char *const CASES[][2] = {
        { "{", "adapter_config.json" },
        { "{\"r\": 2}", "lora_alpha: expected a number, the key is missing" },
        { "{\"lora_alpha\": 2}", "r: expected an integer from 1 to 65536, the key is missing" },
        { "{\"r\": 0, \"lora_alpha\": 2}", "r: expected an integer from 1 to 65536, found 0" },
        { "{\"r\": 2, \"lora_alpha\": 2, \"peft_type\": \"LOHA\"}", "peft_type: expected \"LORA\", found \"LOHA\"" },
        { CONFIG(", \"bias\": \"all\""), "bias: expected \"none\", found \"all\"" },
        { CONFIG(", \"use_dora\": true"), "use_dora: an adapter with magnitudes (DoRA) is not supported" },
        { CONFIG(", \"fan_in_fan_out\": true"), "fan_in_fan_out: expected false" },
        { CONFIG(", \"modules_to_save\": [\"lm_head\"]"), "modules_to_save: an adapter with whole modules" },
        { CONFIG(", \"rank_pattern\": {\"^a|b$\": 3}"), "found the pattern \"^a|b$\"" },
        { CONFIG(", \"alpha_pattern\": {\"q_proj\": \"x\"}"), "alpha_pattern: \"q_proj\": expected a number" },
        { CONFIG(", \"rank_pattern\": {\"q_proj\": 3}"), "expected rank 3 as adapter_config.json says, found 2" },
        { CONFIG(", \"init_lora_weights\": \"pissa\""), "\"eva\" or \"orthogonal\", found \"pissa\": with others" },
        { CONFIG(", \"init_lora_weights\": \"pissa_niter_16\""), "found \"pissa_niter_16\"" },
        { CONFIG(", \"init_lora_weights\": \"olora\""), "init_lora_weights: expected true, false, \"gaussian\"" },
        { CONFIG(", \"init_lora_weights\": \"corda\""), "path_initial_model_for_weight_conversion" },
        { CONFIG(", \"init_lora_weights\": \"loftq\""), "a base whose weights PEFT changes" },
        { CONFIG(", \"init_lora_weights\": \"lora_ga\""), "found \"lora_ga\"" },
        { CONFIG(", \"init_lora_weights\": \"tomorrow's\""), "found \"tomorrow's\"" },
        { CONFIG(", \"init_lora_weights\": 1"), "init_lora_weights: expected a string, found" },
        { CONFIG(", \"target_modules\": 7"), "target_modules: expected a list of names" },
        { CONFIG(", \"target_modules\": [7]"), "target_modules: expected names" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        make_adapter(CASES[i][0], PEFT_FILE, GOOD, 2, 0.5f);
        refused(CASES[i][1]);
    }
    make_adapter(NULL, NULL, GOOD, 0, 0);
    refused("not an adapter: looked for adapter_config.json and lora.safetensors");
    make_adapter(CONFIG(), NULL, GOOD, 0, 0);
    refused("no weights here: looked for adapter_model.safetensors");
    (void)gal_remove_tree(at("bad"), NULL);
    refused("expected the folder of an adapter, found no folder");
}

/* However an adapter begins, as long as the base stays as it is. */
static void plain_beginnings(void **state) {
    (void)state;
    static const char *const SAID[] = { "true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\"" };
    for (size_t i = 0; i < GAL_LEN(SAID); i++) {
        char text[120];
        gal_lora_config c;
        (void)snprintf(text, sizeof text, CONFIG(", \"init_lora_weights\": %s"), SAID[i]);
        put_file(folder, "c.json", text, strlen(text));
        CHECK_OK(gal_lora_config_read(&c, at("c.json"), diag));
        gal_lora_config_free(&c);
    }
}

/* PEFT saves a copy of the head beside its adapter, and changes nothing by that; where the embedding is the head,
 * there is nothing that could be adapted alone. */
static void heads(void **state) {
    (void)state;
    static const tensor HEAD[] = { { H ".base_layer.weight", 131, 40 },
                                   { H ".lora_A.weight", 2, 40 },
                                   { H ".lora_B.weight", 131, 2 } };
    char dir[300];
    const gal_lm_adapter bad = { dir, 1 };
    (void)snprintf(dir, sizeof dir, "%s/bad", folder);
    make_adapter(CONFIG(), PEFT_FILE, HEAD + 1, 2, 0.5f);
    rows want = logits(PEFT, BASE, &bad, 1, false);
    make_adapter(CONFIG(), PEFT_FILE, HEAD, 3, 0.5f);
    rows have = logits(PEFT, BASE, &bad, 1, false);
    assert_true(apart(want.x, have.x, want.n) == 0);
    gal_free(want.x);
    gal_free(have.x);
    for (size_t skip = 0; skip < 2; skip++) {
        gal_model *m = NULL;
        gal_diag why = { 0 };
        make_adapter(CONFIG(), PEFT_FILE, HEAD + skip, 3 - skip, 0.5f);
        CHECK_OK(gal_model_load(&m, "tests/golden/mistral-tied", diag));
        assert_int_equal(gal_lora_load(m, dir, 1, &why), GAL_EINPUT);
        gal_model_free(m);
        if (!strstr(why.text, "lm_head.lora_A.weight\": output and embedding are one weight in this model"))
            fail_msg("%s", why.text);
    }
}

/* Of a model with experts: attention is adapted, experts and routers are refused by name. */
static void beside_experts(void **state) {
    (void)state;
    static const char *const NAMES[][2] = {
        { "block_sparse_moe.experts.1.w1", "an adapter of experts or of their router is not supported" },
        { "block_sparse_moe.gate", "an adapter of experts or of their router is not supported" },
        { "mlp.gate_proj", "the model has no weight" },
        { "self_attn.v_proj", NULL },
    };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char a[120], b[120];
        gal_model *m = NULL;
        gal_diag why = { 0 };
        (void)snprintf(a, sizeof a, "base_model.model.model.layers.0.%s.lora_A.weight", NAMES[i][0]);
        (void)snprintf(b, sizeof b, "base_model.model.model.layers.0.%s.lora_B.weight", NAMES[i][0]);
        make_adapter(CONFIG(), PEFT_FILE, (tensor[]){ { a, 2, 24 }, { b, 12, 2 } }, 2, 0.5f);
        CHECK_OK(gal_model_load(&m, "tests/golden/mixtral-base", diag));
        gal_err err = gal_lora_load(m, at("bad"), 1, &why);
        gal_model_free(m);
        if (!NAMES[i][1]) assert_int_equal(err, GAL_OK);
        if (NAMES[i][1] && (err != GAL_EINPUT || !strstr(why.text, NAMES[i][1]))) fail_msg("%s", why.text);
    }
}

/* Factors and ranks as PEFT counts them. */
static void factors(void **state) {
    (void)state;
    gal_lora_config c;
    static const char TEXT[] = CONFIG(", \"use_rslora\": true, \"rank_pattern\": {\"o_proj\": 9}, "
                                      "\"alpha_pattern\": {\"1.mlp.up_proj\": 6, \"mlp.up_proj\": 12, \"proj\": 1}");
    put_file(folder, "c.json", TEXT, strlen(TEXT));
    CHECK_OK(gal_lora_config_read(&c, at("c.json"), diag));
    assert_true(gal_lora_rank(&c, "model.layers.1.self_attn.o_proj") == 9);
    assert_true(gal_lora_rank(&c, "model.layers.1.self_attn.xo_proj") == 2);
    assert_true(gal_lora_scale(&c, "model.layers.1.mlp.up_proj", 4) == 3);
    assert_true(gal_lora_scale(&c, "model.layers.11.mlp.up_proj", 4) == 6);
    assert_true(gal_lora_scale(&c, "model.layers.0.mlp.down_proj", 4) == 2);
    gal_lora_config_free(&c);
}

static int begin(void **state) {
    (void)state;
    make_folder(folder);
    return 0;
}

static int end(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

int main(void) {
    far_use();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_run_time),
        cmocka_unit_test(far_away),
        cmocka_unit_test(merged),
        cmocka_unit_test(several),
        cmocka_unit_test(factors),
        cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(wrong_descriptions),
        cmocka_unit_test(plain_beginnings),
        cmocka_unit_test(heads),
        cmocka_unit_test(beside_experts),
    };
    return cmocka_run_group_tests_name("lora", tests, begin, end);
}
