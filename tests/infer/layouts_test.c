/* layouts_test.c - models in the layouts in which they are published, against the reference's logits: FP8 weights
 * with a scale a tensor and a block, Mistral's own layout, a text model inside a model of pictures. Folders of
 * others:
 * ../shared/fixtures, skipped where they are not; ours: tests/golden. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "infer/lm.h"
#include "support/check.h"
#include "support/npz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE 2e-4 /* f32 against the reference's own f32 (mistral.md 2) */

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

static void check_logits(const char *folder) {
    char path[300];
    npz z;
    gal_lm *lm = NULL;
    gal_lm_info info;
    if (!gal_is_dir(folder)) {
        print_message("skipped: %s is not here\n", folder);
        skip();
    }
    (void)snprintf(path, sizeof path, "%s/golden.npz", folder);
    CHECK_OK(npz_open(&z, path, diag));
    CHECK_OK(gal_lm_open(&lm, folder, NULL, diag));
    gal_lm_get_info(lm, &info);
    const gal_npy *ids = npz_find(&z, "ids"), *want = npz_find(&z, "logits");
    assert_true(ids && ids->type == GAL_NPY_I64 && ids->ndim == 2 && want && want->type == GAL_NPY_F32);
    assert_int_equal(want->count, ids->count * info.vocab);
    int64_t B = ids->dim[0], T = ids->dim[1];
    int32_t *narrow = gal_alloc_array((size_t)T, sizeof *narrow);
    assert_non_null(narrow);
    rows r = { .want = want->data, .V = info.vocab };
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < T; i++) narrow[i] = (int32_t)((const int64_t *)ids->data)[b * T + i];
        CHECK_OK(gal_lm_logits(lm, narrow, (size_t)T, compare, &r, diag));
    }
    assert_int_equal(r.at, want->count);
    print_message("%s: largest difference %.2e\n", folder, r.worst);
    if (!(r.worst <= TOLERANCE)) fail_msg("%s: largest difference %g", folder, r.worst);
    gal_free(narrow);
    gal_lm_close(lm);
    npz_close(&z);
}

static void logits(void **state) { check_logits(*state); }

static const char *const FOLDERS[] = {
    "../shared/fixtures/mistral-fp8-hf",  "../shared/fixtures/mistral-fp8-block",
    "../shared/fixtures/mistral-fp8-own", "../shared/fixtures/mistral3-wrapper",
    "../shared/fixtures/ministral3-yarn",
};

int main(void) {
    struct CMUnitTest tests[GAL_LEN(FOLDERS)];
    for (size_t i = 0; i < GAL_LEN(FOLDERS); i++)
        tests[i] = (struct CMUnitTest){ FOLDERS[i], logits, NULL, NULL, (void *)(uintptr_t)FOLDERS[i] };
    return cmocka_run_group_tests_name("layouts", tests, NULL, NULL);
}
