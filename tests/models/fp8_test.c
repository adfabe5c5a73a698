/* fp8_test.c - FP8 weights: every E4M3 number, every shape and name of a scale, what is ignored beside them, and what
 * is refused. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "support/check.h"
#include "tensor/f8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The numbers by the definition: sign, exponent with bias 7, three bits of fraction, no infinities. */
static void numbers(void **state) {
    (void)state;
    for (int i = 0; i < 256; i++) {
        int exponent = (i >> 3) & 15, fraction = i & 7;
        double want = exponent ? (1 + fraction / 8.0) * pow(2, exponent - 7) : fraction / 8.0 * pow(2, -6);
        double got = (double)gal_e4m3_to_f32((uint8_t)i);
        if ((i & 127) == 127) {
            assert_true(isnan(got));
            continue;
        }
        if (i & 128) want = -want;
        if (got < want || got > want || !signbit(got) != !signbit(want))
            fail_msg("0x%02x: %g, expected %g", i, got, want);
    }
    assert_true(gal_e4m3_to_f32(0x7e) >= 448 && gal_e4m3_to_f32(0x7e) <= 448);
    assert_true(gal_e4m3_to_f32(0x01) >= 0x1p-9f && gal_e4m3_to_f32(0x01) <= 0x1p-9f);
}

enum { ROWS = 150, COLS = 140 }; /* of the weight that is FP8; blocks of 128 have ragged edges */

typedef struct layout {
    const char *name; /* of the scale, after "mlp.down_proj." */
    gal_st_dtype dtype;
    int ndim;
    int64_t dim[3];
    int64_t block[2]; /* that one number is for */
} layout;

typedef struct scene {
    char folder[256];
    gal_model *m;
    uint8_t *bytes; /* [ROWS, COLS] */
    float *scale;   /* more than enough numbers */
    size_t at;      /* which weight is FP8 */
} scene;

static void open_scene(scene *s) {
    gal_config c;
    *s = (scene){ 0 };
    gal_config_defaults(&c);
    c.V = 7;
    c.D = ROWS;
    c.F = COLS;
    c.L = 1;
    c.H = c.G = 1;
    c.K = 4;
    make_folder(s->folder);
    CHECK_OK(gal_model_build(&s->m, &c, diag));
    CHECK_OK(gal_model_init(s->m, GAL_F32, 1, diag));
    CHECK_OK(gal_model_save(s->m, s->folder, diag));
    while (strcmp(s->m->weights[s->at].name, "model.layers.0.mlp.down_proj.weight") != 0) s->at++;
    s->bytes = gal_alloc(ROWS * COLS);
    s->scale = gal_alloc_array(ROWS * COLS, sizeof *s->scale);
    assert_true(s->bytes && s->scale);
    for (int i = 0; i < ROWS * COLS; i++) {
        uint8_t x = (uint8_t)gal_rng_below(3, 1, (uint64_t)i, 256);
        s->bytes[i] = (x & 127) == 127 ? 0x3c : x;
        s->scale[i] = (float)(1 + gal_rng_below(3, 2, (uint64_t)i, 64)) / 1024; /* exact in 16 bits, too */
    }
}

static void close_scene(scene *s) {
    gal_model_free(s->m);
    gal_free(s->bytes);
    gal_free(s->scale);
    remove_folder(s->folder);
}

/* Writes the model with that weight in FP8, the extra tensors (ended by a NULL name) beside it. */
static void write_fp8(const scene *s, const gal_st_item *extra) {
    gal_st_item items[64];
    char path[400];
    size_t n = 0;
    for (size_t i = 0; i < s->m->n_weights; i++) {
        const gal_w *w = &s->m->weights[i];
        items[n++] = (gal_st_item){ w->name, GAL_ST_F32, GAL_ST_F32, w->ndim, w->dim, w->data, NULL, NULL };
        if (i != s->at) continue;
        items[n - 1].dtype = items[n - 1].from = GAL_ST_F8_E4M3;
        items[n - 1].data = s->bytes;
    }
    for (; extra->name; extra++) items[n++] = *extra;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", s->folder);
    CHECK_OK(gal_safetensors_write(path, items, n, NULL, 0, diag));
}

/* config.json with a quantization_config, NULL: without one. */
static void write_config(const scene *s, const char *quantisation) {
    gal_buf b = { 0 };
    CHECK_OK(gal_config_print(&s->m->config, &b, "config.json", diag));
    b.len = (size_t)(strrchr(b.data, '}') - b.data);
    if (quantisation) gal_buf_printf(&b, ", \"quantization_config\": %s", quantisation);
    gal_buf_puts(&b, "}");
    put_file(s->folder, "config.json", b.data, b.len);
    gal_buf_free(&b);
}

static void full_name(char out[128], const char *tail) {
    (void)snprintf(out, 128, "model.layers.0.mlp.down_proj.%s", tail);
}

static void scales(void **state) {
    (void)state;
    static const struct {
        layout l;
        const char *quantisation;
    } CASES[] = {
        { { "weight_scale_inv", GAL_ST_BF16, 0, { 0 }, { ROWS, COLS } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": null}" },
        { { "weight_scale", GAL_ST_F32, 1, { 1 }, { ROWS, COLS } }, NULL },
        { { "scale_weight", GAL_ST_F16, 2, { 1, 1 }, { ROWS, COLS } }, "{\"quant_method\": \"fp8\"}" },
        { { "weight_scale", GAL_ST_F32, 1, { ROWS }, { 1, COLS } }, "{\"quant_method\": \"fp8\"}" },
        { { "weight_scale", GAL_ST_BF16, 2, { ROWS, 1 }, { 1, COLS } }, NULL },
        { { "qscale_weight", GAL_ST_F32, 2, { ROWS, 1 }, { 1, COLS } }, NULL },
        { { "weight_scale_inv", GAL_ST_F32, 2, { 2, 2 }, { 128, 128 } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], \"modules_to_not_convert\": "
          "[\"lm_head\"]}" },
        { { "weight_scale_inv", GAL_ST_F32, 2, { 2, 2 }, { 128, 128 } }, NULL },
        { { "weight_scale_inv", GAL_ST_F32, 2, { 3, 20 }, { 64, 7 } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": [64, 7]}" },
        { { "weight_scale_inv", GAL_ST_F32, 0, { 0 }, { ROWS, COLS } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": [150, 140]}" },
    };
    scene s;
    open_scene(&s);
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const layout *l = &CASES[i].l;
        char name[128], ignored[4][128];
        static const float one = 1;
        full_name(name, l->name);
        full_name(ignored[0], "activation_scale");
        full_name(ignored[1], "input_scale");
        full_name(ignored[2], "qscale_act");
        (void)snprintf(ignored[3], 128, "model.layers.0.self_attn.kv_fake_quantizer.qscale_act");
        gal_st_item extra[6] = { { name, l->dtype, GAL_ST_F32, l->ndim, l->dim, s.scale, NULL, NULL } };
        for (int k = 0; k < 4; k++)
            extra[k + 1] = (gal_st_item){ ignored[k], GAL_ST_F32, GAL_ST_F32, 0, NULL, &one, NULL, NULL };
        write_fp8(&s, extra);
        write_config(&s, CASES[i].quantisation);
        gal_model *m = NULL;
        CHECK_OK(gal_model_load(&m, s.folder, diag));
        const gal_w *w = &m->weights[s.at];
        assert_true(w->dtype == GAL_BLOCKS && !w->owned && strcmp(gal_wformat(w), "F8_E4M3") == 0);
        assert_int_equal(m->n_notes, 0);
        int64_t across = (COLS + l->block[1] - 1) / l->block[1];
        for (int64_t r = 0; r < ROWS; r++) {
            float row[COLS];
            gal_wread(w, r, 1, row);
            for (int64_t c = 0; c < COLS; c++) {
                float want = gal_e4m3_to_f32(s.bytes[r * COLS + c]) *
                             s.scale[r / l->block[0] * across + c / l->block[1]];
                if (memcmp(&row[c], &want, sizeof want) != 0)
                    fail_msg("case %zu: [%d, %d]: %g, expected %g", i, (int)r, (int)c, (double)row[c], (double)want);
            }
        }
        gal_model_free(m);
    }
    close_scene(&s);
}

static void refuse(const scene *s, const gal_st_item *extra, const char *quantisation, const char *says) {
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    write_fp8(s, extra);
    write_config(s, quantisation);
    if (gal_model_load(&m, s->folder, &diag) != GAL_EINPUT) fail_msg("accepted; expected: %s", says);
    if (!strstr(diag.text, says)) fail_msg("no \"%s\" in: %s", says, diag.text);
}

#define BLOCKS "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}"

static void refused(void **state) {
    (void)state;
    static const struct {
        layout l;
        const char *quantisation, *says;
    } CASES[] = {
        { { "weight_scale", GAL_ST_F32, 1, { COLS }, { 0 } }, NULL, "expected one scale, [150] or [150, 1]" },
        { { "weight_scale", GAL_ST_F32, 1, { 2 }, { 0 } }, NULL, "found [2]" },
        { { "weight_scale", GAL_ST_F32, 2, { 1, ROWS }, { 0 } }, NULL, "found [1, 150]" },
        { { "weight_scale", GAL_ST_F32, 2, { 2, 1 }, { 0 } }, NULL, "or [2, 2] (each block of 128 x 128)" },
        { { "weight_scale", GAL_ST_F32, 3, { ROWS, 1, 1 }, { 0 } }, NULL, "found [150, 1, 1]" },
        { { "weight_scale", GAL_ST_F32, 1, { 0 }, { 0 } }, NULL, "found [0]" },
        { { "weight_scale_inv", GAL_ST_F32, 2, { 2, 2 }, { 0 } }, "{\"quant_method\": \"fp8\"}", "found [2, 2]" },
        { { "weight_scale_inv", GAL_ST_F32, 0, { 0 }, { 0 } },
          BLOCKS,
          "expected shape [2, 2], a scale for each block" },
        { { "weight_scale_inv", GAL_ST_F32, 2, { ROWS, 1 }, { 0 } }, BLOCKS, "expected shape [2, 2]" },
        { { "weight_scale_inv", GAL_ST_F32, 2, { 2, 1 }, { 0 } }, BLOCKS, "found [2, 1]" },
        { { "weight_scale_inv", GAL_ST_I32, 0, { 0 }, { 0 } }, NULL, "expected F32, F16, BF16 or F64, found I32" },
        { { "some_scale", GAL_ST_F32, 0, { 0 }, { 0 } }, NULL, "its scale is missing" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } },
          "{\"quant_method\": \"compressed-tensors\"}",
          "quantised by \"compressed-tensors\"" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } }, "{\"quant_method\": \"gptq\"}", "\"gptq\"" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } }, "{\"quant_method\": \"awq\"}", "\"awq\"" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } },
          "{\"quant_method\": \"bitsandbytes\"}",
          "\"bitsandbytes\"" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": [128]}",
          "weight_block_size" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": [0, 128]}",
          "weight_block_size" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } },
          "{\"quant_method\": \"fp8\", \"weight_block_size\": 128}",
          "weight_block_size" },
        { { "weight_scale", GAL_ST_F32, 0, { 0 }, { 0 } }, "[]", "quantization_config: expected an object" },
    };
    scene s;
    char name[128], second[128];
    open_scene(&s);
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const layout *l = &CASES[i].l;
        gal_st_dtype from = l->dtype == GAL_ST_I32 ? GAL_ST_I32 : GAL_ST_F32;
        full_name(name, l->name);
        refuse(&s,
               (const gal_st_item[]){ { name, l->dtype, from, l->ndim, l->dim, s.scale, NULL, NULL },
                                      { NULL, 0, 0, 0, NULL, NULL, NULL, NULL } },
               CASES[i].quantisation, CASES[i].says);
    }
    full_name(name, "weight_scale");
    full_name(second, "weight_scale_inv");
    gal_st_item extra[] = { { name, GAL_ST_F32, GAL_ST_F32, 0, NULL, s.scale, NULL, NULL },
                            { second, GAL_ST_F32, GAL_ST_F32, 0, NULL, s.scale, NULL, NULL },
                            { NULL, 0, 0, 0, NULL, NULL, NULL, NULL } };
    refuse(&s, extra, NULL, "expected one scale, found");
    extra[1].name = NULL;
    static const float bad = NAN;
    extra[0].data = &bad;
    refuse(&s, extra, NULL, "expected finite scales, found");
    extra[0].data = s.scale;
    extra[0].name = "model.layers.0.mlp.up_proj.weight_scale"; /* of a weight that is not FP8 */
    extra[1].name = name;
    refuse(&s, extra, NULL, "\"model.layers.0.mlp.up_proj.weight_scale\" belongs to no weight");
    close_scene(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers), cmocka_unit_test(scales),
                                        cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("fp8", tests, NULL, NULL);
}
