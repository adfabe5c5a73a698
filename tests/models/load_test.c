/* load_test.c - models from folders and into folders: rotary frequencies, first values, what is refused and how.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "support/check.h"
#include "support/npz.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void tiny(gal_config *c) {
    gal_config_defaults(c);
    c->V = 19;
    c->D = 6;
    c->L = 2;
    c->H = 2;
    c->G = 1;
    c->K = 4;
    c->F = 10;
    c->max_positions = 32;
}

static gal_model *new_tiny(gal_dtype dtype, uint64_t seed, bool tied) {
    gal_config c;
    tiny(&c);
    c.tied = tied;
    gal_model *m = NULL;
    CHECK_OK(gal_model_build(&m, &c, diag));
    CHECK_OK(gal_model_init(m, dtype, seed, diag));
    return m;
}

/* The frequencies and the factor of every golden model, within two units in the last place: the two powf() differ. */
static void test_rope(void **state) {
    (void)state;
    static const char *const names[] = { "base", "window", "tied", "nemo", "layers", "yarn" };
    for (size_t i = 0; i < GAL_LEN(names); i++) {
        char path[128];
        gal_config c;
        gal_rope_spec s;
        npz z;
        (void)snprintf(path, sizeof path, "tests/golden/mistral-%s/config.json", names[i]);
        CHECK_OK(gal_config_read(&c, path, diag));
        (void)snprintf(path, sizeof path, "tests/golden/mistral-%s/golden.npz", names[i]);
        CHECK_OK(npz_open(&z, path, diag));
        CHECK_OK(gal_rope_spec_of(&s, &c, diag));
        const gal_npy *freq = npz_find(&z, "inv_freq"), *scale = npz_find(&z, "rope_scale");
        assert_true(freq && scale && freq->count == s.size / 2);
        for (int64_t j = 0; j < freq->count; j++) {
            double want = (double)((const float *)freq->data)[j], got = (double)s.inv_freq[j];
            if (fabs(want - got) > 2 * (double)FLT_EPSILON * want)
                fail_msg("%s: frequency %d: %.9g, expected %.9g", names[i], (int)j, got, want);
        }
        double want = (double)((const float *)scale->data)[0];
        assert_true(fabs(want - (double)s.mscale) <= (double)FLT_EPSILON * want);
        gal_rope_spec_free(&s);
        gal_config_free(&c);
        npz_close(&z);
    }
}

static void test_table(void **state) {
    (void)state;
    gal_model *m = new_tiny(GAL_F32, 1, false);
    assert_int_equal(m->n_weights, 3 + 2 * 9);
    assert_int_equal(gal_model_params(m), 2 * 19 * 6 + 6 + 2 * (2 * 6 + 6 * (8 + 4 + 4 + 8) + 3 * 6 * 10));
    const gal_w *k = gal_model_weight(m, "model.layers.1.self_attn.k_proj.weight");
    assert_non_null(k);
    assert_int_equal(k->dim[0], 4);
    assert_int_equal(k->dim[1], 6);
    assert_null(gal_model_weight(m, "model.layers.2.self_attn.k_proj.weight"));
    gal_model_free(m);
    m = new_tiny(GAL_F32, 1, true);
    assert_int_equal(m->n_weights, 2 + 2 * 9);
    assert_null(gal_model_weight(m, "lm_head.weight"));
    gal_model_free(m);
    gal_model_free(NULL);

    gal_config c;
    tiny(&c);
    c.K = 5;
    gal_diag diag = { 0 };
    assert_int_equal(gal_model_build(&m, &c, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "head_dim"));
}

/* First values depend on seed and place alone, have the right spread, and norms start at 1. */
static void test_init(void **state) {
    (void)state;
    gal_config c;
    tiny(&c);
    c.V = 4000;
    gal_model *a = NULL;
    CHECK_OK(gal_model_build(&a, &c, diag));
    CHECK_OK(gal_model_init(a, GAL_F32, 7, diag));
    const gal_w *e = gal_model_weight(a, "model.embed_tokens.weight");
    double sum = 0, square = 0, n = (double)gal_wcount(e);
    for (int64_t i = 0; i < gal_wcount(e); i++) {
        double x = (double)((const float *)e->data)[i];
        sum += x;
        square += x * x;
    }
    /* Five standard errors of a mean and of a variance. */
    assert_true(fabs(sum / n) <= 5 * 0.02 / sqrt(n));
    assert_true(fabs(square / n - 0.0004) <= 5 * 0.0004 * sqrt(2 / n));
    const gal_w *norm = gal_model_weight(a, "model.norm.weight");
    for (int64_t i = 0; i < gal_wcount(norm); i++) assert_true(fabs((double)((float *)norm->data)[i] - 1) <= 0);
    gal_model_free(a);

    gal_model *b = new_tiny(GAL_F32, 7, false), *d = new_tiny(GAL_F32, 8, false), *h = new_tiny(GAL_BF16, 7, false);
    gal_model *again = new_tiny(GAL_F32, 7, false);
    for (size_t i = 0; i < b->n_weights; i++) {
        const gal_w *w = &b->weights[i];
        assert_memory_equal(w->data, again->weights[i].data, gal_wbytes(w));
        assert_true(w->role == GAL_W_NORM || memcmp(w->data, d->weights[i].data, gal_wbytes(w)) != 0);
        for (int64_t k = 0; k < gal_wcount(w); k++)
            assert_int_equal(((const uint16_t *)h->weights[i].data)[k], gal_f32_to_bf16(((const float *)w->data)[k]));
    }
    gal_model_free(b);
    gal_model_free(d);
    gal_model_free(h);
    gal_model_free(again);
}

static void test_save_and_load(void **state) {
    (void)state;
    static const gal_dtype types[] = { GAL_F32, GAL_BF16, GAL_F16 };
    for (size_t t = 0; t < GAL_LEN(types); t++) {
        char folder[256];
        make_folder(folder);
        gal_model *a = new_tiny(types[t], 3, t == 1), *b = NULL;
        CHECK_OK(gal_model_save(a, folder, diag));
        CHECK_OK(gal_model_load(&b, folder, diag));
        assert_int_equal(b->n_weights, a->n_weights);
        assert_int_equal(b->n_notes, 0);
        assert_int_equal(b->config.dtype, types[t]);
        for (size_t i = 0; i < a->n_weights; i++) {
            assert_int_equal(b->weights[i].dtype, types[t]);
            assert_false(b->weights[i].owned); /* they lie in the mapped file */
            assert_memory_equal(a->weights[i].data, b->weights[i].data, gal_wbytes(&a->weights[i]));
        }
        gal_model_free(a);
        gal_model_free(b);
        remove_folder(folder);
    }
}

/* Loading must fail, and say all of it. */
static void refuse(const char *folder, const char *says, const char *also) {
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_load(&m, folder, &diag) != GAL_EINPUT) fail_msg("accepted; expected: %s", says);
    if (!strstr(diag.text, says) || !strstr(diag.text, also))
        fail_msg("no \"%s\" or \"%s\" in: %s", says, also, diag.text);
}

/* Writes the weights of m with `changed` of them replaced by (dtype, ndim, dim, data), or left out if dtype is none.
 */
static void put_weights(const char *folder, const gal_model *m, size_t changed, const gal_st_item *with,
                        const gal_st_item *extra) {
    gal_st_item items[64];
    size_t n = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        gal_st_item it = { w->name, GAL_ST_F32, GAL_ST_F32, w->ndim, w->dim, w->data, NULL, NULL };
        if (i == changed && with) it = *with;
        if (i != changed || with) items[n++] = it;
    }
    if (extra) items[n++] = *extra;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    CHECK_OK(gal_safetensors_write(path, items, n, NULL, 0, diag));
}

static void test_refused(void **state) {
    (void)state;
    char folder[256], path[512];
    make_folder(folder);
    (void)snprintf(path, sizeof path, "%s/gone", folder);
    refuse(path, "no such file or folder", "gone");
    put_file(folder, "file", "x", 1);
    (void)snprintf(path, sizeof path, "%s/file", folder);
    refuse(path, "found a file", "file");
    refuse(folder, "not a model", "config.json");
    put_file(folder, "params.json", "{}", 2);
    refuse(folder, "params.json", "dim");
    put_file(folder, "config.json", "{", 1);
    refuse(folder, "config.json", "JSON");

    gal_model *m = new_tiny(GAL_F32, 5, false);
    CHECK_OK(gal_model_save(m, folder, diag));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    CHECK_OK(gal_remove_tree(path, diag));
    refuse(folder, "no weights here", "model.safetensors.index.json");

    size_t at = 4;
    const gal_w *w = &m->weights[at];
    put_weights(folder, m, at, NULL, NULL);
    refuse(folder, w->name, "missing");
    const int64_t turned[] = { w->dim[1], w->dim[0] };
    gal_st_item it = { w->name, GAL_ST_F32, GAL_ST_F32, w->ndim, turned, w->data, NULL, NULL };
    put_weights(folder, m, at, &it, NULL);
    refuse(folder, w->name, "expected shape [");
    const int64_t flat[] = { gal_wcount(w) };
    it = (gal_st_item){ w->name, GAL_ST_F32, GAL_ST_F32, 1, flat, w->data, NULL, NULL };
    put_weights(folder, m, at, &it, NULL);
    refuse(folder, w->name, "expected shape [");
    it = (gal_st_item){ w->name, GAL_ST_F8_E4M3, GAL_ST_F8_E4M3, w->ndim, w->dim, w->data, NULL, NULL };
    put_weights(folder, m, at, &it, NULL);
    refuse(folder, w->name, "F8_E4M3");
    gal_model_free(m);
    remove_folder(folder);
}

static void test_extra_and_wide(void **state) {
    (void)state;
    char folder[256];
    make_folder(folder);
    gal_model *m = new_tiny(GAL_F32, 5, true), *b = NULL;
    CHECK_OK(gal_model_save(m, folder, diag));
    static const float numbers[2] = { 1, 2 };
    static const int64_t two[] = { 2 };
    gal_st_item extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq", GAL_ST_F32, GAL_ST_F32, 1, two, numbers, NULL, NULL
    };
    put_weights(folder, m, m->n_weights, NULL, &extra);
    CHECK_OK(gal_model_load(&b, folder, diag));
    assert_int_equal(b->n_notes, 0);
    gal_model_free(b);
    extra.name = "something\nelse";
    put_weights(folder, m, m->n_weights, NULL, &extra);
    refuse(folder, "something?else", "belongs to no weight");

    /* One weight in f64, and an odd number of bytes before the rest: both are copied, with the same values. */
    double *wide = gal_alloc_array((size_t)gal_wcount(&m->weights[2]), sizeof *wide);
    assert_non_null(wide);
    gal_convert(wide, GAL_F64, m->weights[2].data, GAL_F32, gal_wcount(&m->weights[2]));
    gal_st_item it = { m->weights[2].name, GAL_ST_F64, GAL_ST_F64, m->weights[2].ndim,
                       m->weights[2].dim,  wide,       NULL,       NULL };
    put_weights(folder, m, 2, &it, NULL);
    CHECK_OK(gal_model_load(&b, folder, diag));
    assert_int_equal(b->weights[2].dtype, GAL_F32);
    assert_true(b->weights[2].owned);
    assert_memory_equal(b->weights[2].data, m->weights[2].data, gal_wbytes(&m->weights[2]));
    gal_model_free(b);
    gal_free(wide);
    gal_model_free(m);
    remove_folder(folder);
}

/* A header that is not padded puts numbers on odd addresses. */
static void test_unaligned(void **state) {
    (void)state;
    char folder[256], path[512];
    make_folder(folder);
    gal_model *m = new_tiny(GAL_F32, 5, true), *b = NULL;
    CHECK_OK(gal_model_save(m, folder, diag));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    gal_buf file = { 0 };
    CHECK_OK(gal_read_file(&file, path, 1 << 20, diag));
    uint64_t n = 0;
    memcpy(&n, file.data, 8);
    n++; /* one more space */
    gal_buf odd = { 0 };
    gal_buf_add(&odd, &n, 8);
    gal_buf_add(&odd, file.data + 8, (size_t)n - 1);
    gal_buf_putc(&odd, ' ');
    gal_buf_add(&odd, file.data + 7 + n, file.len - 7 - (size_t)n);
    put_file(folder, "model.safetensors", odd.data, odd.len);
    CHECK_OK(gal_model_load(&b, folder, diag));
    for (size_t i = 0; i < m->n_weights; i++) {
        assert_true(b->weights[i].owned);
        assert_memory_equal(b->weights[i].data, m->weights[i].data, gal_wbytes(&m->weights[i]));
    }
    gal_buf_free(&file);
    gal_buf_free(&odd);
    gal_model_free(m);
    gal_model_free(b);
    remove_folder(folder);
}

static void put_checkpoint(const char *run, const char *name, bool whole) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/checkpoints/%s", run, name);
    CHECK_OK(gal_make_dirs(path, diag));
    if (whole) put_file(path, "config.json", "{}", 2);
}

static void expect_found(const char *path, const char *tail) {
    gal_buf dir = { 0 };
    CHECK_OK(gal_model_find(path, &dir, diag));
    assert_true(dir.len >= strlen(tail));
    assert_string_equal(dir.data + dir.len - strlen(tail), tail);
    gal_buf_free(&dir);
}

static void test_find(void **state) {
    (void)state;
    char run[256];
    make_folder(run);
    gal_buf dir = { 0 };
    gal_diag diag = { 0 };
    assert_int_equal(gal_model_find(run, &dir, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "checkpoints"));
    put_checkpoint(run, "best", true);
    expect_found(run, "/checkpoints/best");
    put_checkpoint(run, "step-9", true);
    put_checkpoint(run, "step-10", true);
    put_checkpoint(run, "step-12.tmp", true);
    put_checkpoint(run, "step-", true);
    expect_found(run, "/checkpoints/step-10");
    /* Not whole: to be named when it is loaded, not passed over for an older one. */
    put_checkpoint(run, "step-11", false);
    expect_found(run, "/checkpoints/step-11");
    put_file(run, "config.json", "{}", 2);
    expect_found(run, run);
    gal_buf_free(&dir);
    remove_folder(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope),          cmocka_unit_test(test_table),   cmocka_unit_test(test_init),
        cmocka_unit_test(test_save_and_load), cmocka_unit_test(test_refused), cmocka_unit_test(test_extra_and_wide),
        cmocka_unit_test(test_unaligned),     cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
