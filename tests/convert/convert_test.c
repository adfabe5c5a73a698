/* convert_test.c - models through all three layouts and back: the same bytes of every tensor, the same logits; what
 * is refused; nothing left of what was stopped. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "convert/convert.h"
#include "formats/gguf.h"
#include "infer/lm.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/"
#define SHARED "../shared/fixtures/"
#define TOLERANCE 2e-4 /* between layouts sums go over a head's numbers in another order (mistral.md 2) */
enum { IDS = 40 };

static char folder[256];

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

/* A path in the test's folder; the last few stay valid. */
static const char *at(const char *name) {
    static char paths[8][400];
    static size_t next;
    char *p = paths[next++ % GAL_LEN(paths)];
    (void)snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static gal_err convert(const char *from, const char *to, gal_layout layout, gal_convert_dtype dtype,
                       gal_convert_result *r, gal_diag *diag) {
    gal_convert_options o;
    gal_convert_options_init(&o);
    o.to = layout;
    o.dtype = dtype;
    o.force = true;
    return gal_convert_model(from, to, &o, r, diag);
}

static void convert_ok(const char *from, const char *to, gal_layout layout) {
    gal_diag diag = { 0 };
    if (convert(from, to, layout, GAL_CONVERT_SAME, NULL, &diag)) fail_msg("%s to %s: %s", from, to, diag.text);
}

/* ---- what is compared -------------------------------------------------------------------------------------------
 */

static gal_err keep(void *user, const float *x, int64_t n, gal_diag *diag) {
    gal_buf *b = user;
    (void)diag;
    gal_buf_add(b, x, (size_t)n * sizeof *x);
    return GAL_OK;
}

typedef struct wide {
    gal_buf *out;
    int64_t vocab;
} wide;

static gal_err keep_rows(void *user, const float *rows, int64_t n, gal_diag *diag) {
    wide *w = user;
    return keep(w->out, rows, n * w->vocab, diag);
}

static void logits_of(const char *path, gal_buf *out) {
    gal_lm *lm = NULL;
    gal_lm_info info;
    int32_t ids[IDS];
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.exact = 1;
    CHECK_OK(gal_lm_open(&lm, path, &o, diag));
    gal_lm_get_info(lm, &info);
    for (int i = 0; i < IDS; i++) ids[i] = (int32_t)((i * 37 + 11) % info.vocab);
    gal_buf_clear(out);
    wide w = { out, info.vocab };
    CHECK_OK(gal_lm_logits(lm, ids, IDS, keep_rows, &w, diag));
    gal_lm_close(lm);
}

static void check_same_logits(const char *a, const char *b) {
    gal_buf x = { 0 }, y = { 0 };
    logits_of(a, &x);
    logits_of(b, &y);
    assert_int_equal(x.len, y.len);
    if (memcmp(x.data, y.data, x.len) != 0) fail_msg("%s and %s: logits differ", a, b);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

static void check_near_logits(const char *a, const char *b) {
    gal_buf x = { 0 }, y = { 0 };
    double worst = 0;
    logits_of(a, &x);
    logits_of(b, &y);
    assert_int_equal(x.len, y.len);
    for (size_t i = 0; i < x.len; i += sizeof(float)) {
        float p, q;
        memcpy(&p, x.data + i, sizeof p);
        memcpy(&q, y.data + i, sizeof q);
        double d = fabs((double)p - (double)q);
        if (!(d <= worst)) worst = d;
    }
    if (!(worst <= TOLERANCE)) fail_msg("%s and %s: largest difference %g", a, b, worst);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* Two models of one layout: every weight has the same name, format and bytes. */
static void check_same_weights(const char *a, const char *b) {
    gal_model *x = NULL, *y = NULL;
    CHECK_OK(gal_model_load(&x, a, diag));
    CHECK_OK(gal_model_load(&y, b, diag));
    assert_int_equal(x->n_weights, y->n_weights);
    for (size_t i = 0; i < x->n_weights; i++) {
        const gal_w *v = &x->weights[i], *w = &y->weights[i];
        assert_string_equal(v->name, w->name);
        if (v->dtype != w->dtype) fail_msg("%s: %s, %s", v->name, gal_dtype_name(v->dtype), gal_dtype_name(w->dtype));
        assert_int_equal(gal_wbytes(v), gal_wbytes(w));
        if (memcmp(v->data, w->data, gal_wbytes(v)) != 0) fail_msg("%s: bytes differ", v->name);
    }
    gal_model_free(x);
    gal_model_free(y);
}

static void check_same_file(const char *a, const char *b) {
    gal_buf x = { 0 }, y = { 0 };
    CHECK_OK(gal_read_file(&x, a, 1 << 28, diag));
    CHECK_OK(gal_read_file(&y, b, 1 << 28, diag));
    if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0) fail_msg("%s and %s differ", a, b);
    gal_buf_free(&x);
    gal_buf_free(&y);
}

/* ---- round trips ------------------------------------------------------------------------------------------------
 */

static void through_gguf(const char *hf) {
    convert_ok(hf, at("g.gguf"), GAL_LAYOUT_GGUF);
    convert_ok(at("g.gguf"), at("hf"), GAL_LAYOUT_HF);
    convert_ok(at("g.gguf"), at("again.gguf"), GAL_LAYOUT_GGUF);
    check_same_weights(hf, at("hf"));
    check_same_logits(hf, at("hf"));
    check_near_logits(hf, at("g.gguf"));
    check_same_file(at("g.gguf"), at("again.gguf"));
    convert_ok(at("hf"), at("again.gguf"), GAL_LAYOUT_GGUF);
    check_same_file(at("g.gguf"), at("again.gguf"));
}

static void through_own(const char *hf) {
    convert_ok(hf, at("own"), GAL_LAYOUT_OWN);
    convert_ok(at("own"), at("back"), GAL_LAYOUT_HF);
    check_same_weights(hf, at("back"));
    check_same_logits(hf, at("back"));
    check_near_logits(hf, at("own"));
    convert_ok(at("own"), at("from-own.gguf"), GAL_LAYOUT_GGUF);
    check_same_logits(at("own"), at("from-own.gguf"));
    check_same_weights(at("g.gguf"), at("from-own.gguf"));
    convert_ok(at("g.gguf"), at("from-gguf"), GAL_LAYOUT_OWN);
    check_same_weights(at("own"), at("from-gguf"));
    check_same_logits(at("own"), at("from-gguf"));
}

static void round_trips(void **state) {
    (void)state;
    static const char *const NAMES[] = { "mistral-base", "mistral-window", "mistral-tied", "mistral-nemo",
                                         "mixtral-base" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[100];
        (void)snprintf(path, sizeof path, GOLDEN "%s", NAMES[i]);
        through_gguf(path);
        through_own(path);
    }
}

/* What params.json cannot say is refused; a GGUF file can. */
static void beyond_params(void **state) {
    (void)state;
    static const char *const NAMES[] = { "layers", "yarn" };
    static const char *const SAYS[] = { "\"linear\" scaling", "attention factor" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[100];
        gal_diag diag = { 0 };
        (void)snprintf(path, sizeof path, GOLDEN "mistral-%s", NAMES[i]);
        through_gguf(path);
        assert_int_equal(convert(path, at("refused"), GAL_LAYOUT_OWN, GAL_CONVERT_SAME, NULL, &diag), GAL_EINPUT);
        assert_non_null(strstr(diag.text, SAYS[i]));
        assert_false(gal_exists(at("refused")));
        assert_false(gal_exists(at(".unfinished-refused")));
    }
}

static void of_others(void **state) {
    (void)state;
    static const char *const NAMES[] = { "mistral-base", "mistral-window",  "mistral-tied",    "mistral-nemo",
                                         "mistral-bf16", "mistral-sharded", "ministral3-yarn", "gguf/dense-hf",
                                         "mistral-f16",  "mixtral-base",    "mixtral-window",  "gguf/moe-hf" };
    if (!gal_is_dir(SHARED)) {
        print_message("skipped: no " SHARED "\n");
        skip(); /* fixtures of others, which a clone of this repository alone lacks; round_trips has our own */
    }
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[100];
        (void)snprintf(path, sizeof path, SHARED "%s", NAMES[i]);
        through_gguf(path);
        through_own(path);
    }
}

/* FP8 weights and a text model inside a model of pictures: as f32 in each layout, with the numbers that FP8 and scale
 * mean; as bf16 where nothing is asked. */
static void widened(const char *path) {
    static const gal_layout TO[] = { GAL_LAYOUT_HF, GAL_LAYOUT_OWN, GAL_LAYOUT_GGUF };
    static const char *const NAMES[] = { "f8-hf", "f8-own", "f8.gguf" };
    for (size_t i = 0; i < GAL_LEN(TO); i++) {
        gal_model *m = NULL;
        CHECK_OK(convert(path, at(NAMES[i]), TO[i], GAL_CONVERT_F32, NULL, diag));
        check_near_logits(path, at(NAMES[i]));
        convert_ok(path, at(NAMES[i]), TO[i]);
        CHECK_OK(gal_model_load(&m, at(NAMES[i]), diag));
        for (size_t k = 0; k < m->n_weights; k++)
            if (m->weights[k].dtype == GAL_BLOCKS) fail_msg("%s: %s is in blocks", path, m->weights[k].name);
        gal_model_free(m);
    }
}

static void fp8(void **state) {
    (void)state;
    static const char *const NAMES[] = { SHARED "mistral-fp8-hf", SHARED "mistral-fp8-block",
                                         SHARED "mistral-fp8-own", SHARED "mistral3-wrapper" };
    widened(GOLDEN "own-fp8");
    widened(GOLDEN "ministral-fp8");
    widened(GOLDEN "mixtral-fp8");
    if (!gal_is_dir(SHARED)) {
        print_message("skipped: no " SHARED "\n");
        skip(); /* fixtures of others; our own models were converted above */
    }
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) widened(NAMES[i]);
}

/* ---- formats, files ---------------------------------------------------------------------------------------------
 */

static void shards(void **state) {
    (void)state;
    gal_convert_options o;
    gal_convert_result r;
    gal_convert_options_init(&o);
    o.to = GAL_LAYOUT_HF;
    o.shard_bytes = 30000;
    CHECK_OK(gal_convert_model(GOLDEN "mistral-base", at("shards"), &o, &r, diag));
    assert_true(r.files > 3 && r.tensors == r.kept);
    assert_true(gal_is_file(at("shards/model.safetensors.index.json")));
    assert_false(gal_exists(at("shards/model.safetensors")));
    check_same_weights(GOLDEN "mistral-base", at("shards"));
    o.to = GAL_LAYOUT_OWN;
    CHECK_OK(gal_convert_model(at("shards"), at("own-shards"), &o, NULL, diag));
    assert_true(gal_is_file(at("own-shards/consolidated.safetensors.index.json")));
    check_near_logits(GOLDEN "mistral-base", at("own-shards"));
}

static void dtypes(void **state) {
    (void)state;
    gal_convert_result r;
    gal_model *m = NULL;
    CHECK_OK(convert(GOLDEN "mistral-base", at("f16"), GAL_LAYOUT_HF, GAL_CONVERT_F16, &r, diag));
    assert_int_equal(r.kept, 0);
    CHECK_OK(gal_model_load(&m, at("f16"), diag));
    for (size_t i = 0; i < m->n_weights; i++) assert_int_equal(m->weights[i].dtype, GAL_F16);
    assert_int_equal(m->config.dtype, GAL_F16);
    gal_model_free(m);
    CHECK_OK(convert(at("f16"), at("wide"), GAL_LAYOUT_HF, GAL_CONVERT_F32, &r, diag));
    check_same_logits(at("f16"), at("wide"));
    /* Vectors of a GGUF file stay f32. */
    CHECK_OK(convert(at("f16"), at("b.gguf"), GAL_LAYOUT_GGUF, GAL_CONVERT_BF16, &r, diag));
    CHECK_OK(gal_model_load(&m, at("b.gguf"), diag));
    for (size_t i = 0; i < m->n_weights; i++)
        assert_int_equal(m->weights[i].dtype, m->weights[i].ndim > 1 ? GAL_BF16 : GAL_F32);
    gal_model_free(m);
}

static void blocks(void **state) {
    (void)state;
    const char *mixed = GOLDEN "gguf-mixed/model.gguf";
    gal_gguf *a = NULL, *b = NULL;
    convert_ok(mixed, at("same.gguf"), GAL_LAYOUT_GGUF);
    CHECK_OK(gal_gguf_open(&a, mixed, diag));
    CHECK_OK(gal_gguf_open(&b, at("same.gguf"), diag));
    for (size_t i = 0; i < gal_gguf_count(a); i++) {
        const gal_gguf_tensor *x = gal_gguf_at(a, i), *y = gal_gguf_find(b, x->name);
        assert_true(y && x->type == y->type && x->bytes == y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    assert_int_equal(gal_gguf_keys(a), gal_gguf_keys(b));
    gal_gguf_close(a);
    gal_gguf_close(b);
    CHECK_OK(convert(mixed, at("wide"), GAL_LAYOUT_HF, GAL_CONVERT_F32, NULL, diag));
    check_near_logits(mixed, at("wide"));
    gal_model *m = NULL;
    convert_ok(mixed, at("short"), GAL_LAYOUT_OWN);
    CHECK_OK(gal_model_load(&m, at("short"), diag));
    assert_int_equal(m->weights[0].dtype, GAL_BF16);
    gal_model_free(m);
}

/* ---- what is refused, what is stopped ---------------------------------------------------------------------------
 */

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)user;
    return done > total / 2;
}

static void interrupted(void **state) {
    (void)state;
    static const gal_layout TO[] = { GAL_LAYOUT_HF, GAL_LAYOUT_OWN, GAL_LAYOUT_GGUF };
    for (size_t i = 0; i < GAL_LEN(TO); i++) {
        gal_convert_options o;
        gal_convert_options_init(&o);
        o.to = TO[i];
        o.progress = stop;
        gal_diag why = { 0 };
        assert_int_equal(gal_convert_model(GOLDEN "mistral-base", at("stopped"), &o, NULL, &why), GAL_EINTERRUPTED);
        char **names = NULL;
        size_t n = 0;
        CHECK_OK(gal_list_dir(folder, &names, &n, diag));
        for (size_t k = 0; k < n; k++) assert_null(strstr(names[k], "stopped"));
        gal_free_names(names, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips), cmocka_unit_test(beyond_params), cmocka_unit_test(of_others),
        cmocka_unit_test(shards),      cmocka_unit_test(dtypes),        cmocka_unit_test(blocks),
        cmocka_unit_test(interrupted), cmocka_unit_test(fp8),
    };
    return cmocka_run_group_tests_name("convert", tests, setup, teardown);
}
