/* gguf_test.c - GGUF files of others: every kind of block against the reference's float32 computation on the widened
 * weights, ids with the vocabulary inside. Files: ../shared/fixtures/gguf; skipped where they are not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "infer/lm.h"
#include "support/check.h"
#include "support/npz.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "../shared/fixtures/gguf"
#define TOLERANCE 2e-4

/* Files of others, which a clone of this repository alone lacks; parity_test.c reads one of our own everywhere. */
static void need(const char *path) {
    if (gal_exists(path)) return;
    printf("skipped: no %s\n", path);
    skip();
}

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

static void check_logits(const char *name) {
    char path[200];
    npz z;
    gal_lm *lm = NULL;
    gal_lm_info info;
    (void)snprintf(path, sizeof path, FOLDER "/%s.npz", name);
    CHECK_OK(npz_open(&z, path, diag));
    (void)snprintf(path, sizeof path, FOLDER "/%s.gguf", name);
    CHECK_OK(gal_lm_open(&lm, path, NULL, diag));
    gal_lm_get_info(lm, &info);
    const gal_npy *ids = npz_find(&z, "ids"), *want = npz_find(&z, "dequant");
    assert_true(ids && ids->type == GAL_NPY_I64 && want && want->type == GAL_NPY_F32);
    assert_int_equal(want->count, ids->count * info.vocab);
    int32_t *narrow = gal_alloc_array((size_t)ids->count, sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < ids->count; i++) narrow[i] = (int32_t)((const int64_t *)ids->data)[i];
    rows r = { .want = want->data, .V = info.vocab };
    CHECK_OK(gal_lm_logits(lm, narrow, (size_t)ids->count, compare, &r, diag));
    assert_int_equal(r.at, want->count);
    if (!(r.worst <= TOLERANCE)) fail_msg("%s: largest difference %g", name, r.worst);
    gal_free(narrow);
    gal_lm_close(lm);
    npz_close(&z);
}

static void logits_of_every_kind(void **state) {
    (void)state;
    static const char *const NAMES[] = { "dense-F16",  "dense-BF16", "dense-Q8_0",   "dense-Q4_0",  "dense-Q4_1",
                                         "dense-Q5_0", "dense-Q5_1", "dense-Q2_K",   "dense-Q3_K",  "dense-Q4_K",
                                         "dense-Q5_K", "dense-Q6_K", "dense-IQ4_NL", "dense-IQ4_XS" };
    need(FOLDER);
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) check_logits(NAMES[i]);
}

static void ids_of_the_vocabulary_inside(void **state) {
    (void)state;
    need(FOLDER "/tokenize.jsonl");
    gal_buf file = { 0 }, dir = { 0 };
    gal_tokenizer *t = NULL;
    int checked = 0;
    CHECK_OK(gal_read_file(&file, FOLDER "/tokenize.jsonl", 1 << 24, diag));
    gal_buf_putc(&file, 0);
    CHECK_OK(gal_lm_load(NULL, &t, NULL, &dir, FOLDER "/dense-Q8_0.gguf", diag));
    for (char *line = file.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, checked++) {
        json_t *j = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
        const json_t *text = json_object_get(j, "text");
        gal_ids got = { 0 };
        CHECK_OK(gal_encode(t, NULL, json_string_value(text), json_string_length(text), 0, &got, diag));
        const json_t *want = json_object_get(j, "ids");
        assert_int_equal(got.len, json_array_size(want));
        for (size_t i = 0; i < got.len; i++)
            if (got.data[i] != json_integer_value(json_array_get(want, i))) fail_msg("%s: id %zu", line, i);
        gal_ids_free(&got);
        json_decref(j);
    }
    assert_true(checked > 0);
    gal_tokenizer_free(t);
    gal_buf_free(&file);
    gal_buf_free(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(logits_of_every_kind),
                                        cmocka_unit_test(ids_of_the_vocabulary_inside) };
    return cmocka_run_group_tests_name("gguf models", tests, NULL, NULL);
}
