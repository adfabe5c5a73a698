/* pack_test.c - weights of an open model are packed from its second step on, a part before each; every step gives the
 * bytes that it gives with all of them packed at once. SPDX-License-Identifier: Apache-2.0 */
#include "infer/lm.h"
#include "models/load.h"
#include "support/check.h"

#include <string.h>

#define GOLDEN "tests/golden/gguf-mixed"
enum { STEPS = 20, VOCAB = 480, CHUNK = 8 };

static size_t packed(const gal_lm *lm) {
    size_t n = 0;
    for (size_t i = 0; i < lm->model->n_weights; i++) n += lm->model->weights[i].packed != NULL;
    return n;
}
static size_t to_pack(const gal_lm *lm) {
    size_t n = 0;
    for (size_t i = 0; i < lm->model->n_weights; i++) n += gal__packs(lm->model, &lm->model->weights[i]);
    return n;
}

static gal_lm *open_lm(void) {
    gal_lm_options o;
    gal_lm *lm = NULL;
    gal_lm_options_init(&o);
    o.device.threads = 2;
    CHECK_OK(gal_lm_open(&lm, GOLDEN, &o, diag));
    return lm;
}

static void logits(gal_lm *lm, int step, float out[VOCAB]) {
    int32_t ids[CHUNK];
    const float *from = NULL;
    const int64_t n = step == 0 ? CHUNK : 1; /* a prompt, then token by token */
    assert_int_equal(lm->model->config.V, VOCAB);
    for (int i = 0; i < CHUNK; i++) ids[i] = (step * 37 + i * 11) % VOCAB;
    CHECK_OK(gal_engine_prefill(lm->engine, 0, ids, n, &from, diag));
    memcpy(out, from, VOCAB * sizeof *out);
}

static void test_same_bytes(void **state) {
    float a[VOCAB], b[VOCAB];
    (void)state;
    gal_lm *at_once = open_lm(), *later = open_lm();
    const size_t all = to_pack(later);
    assert_int_equal(packed(later), 0);
    gal_lm_settle(at_once);
    if (gal__packing_helps(later->dev)) {
        assert_true(all > 4);
        assert_int_equal(packed(at_once), all);
    }
    size_t before = 0;
    for (int i = 0; i < STEPS; i++) {
        logits(at_once, i, a);
        logits(later, i, b);
        assert_memory_equal(a, b, sizeof a);
        if (i == 0) assert_int_equal(packed(later), 0);
        if (i == 1 && gal__packing_helps(later->dev)) assert_in_range(packed(later), 1, all - 1);
        assert_true(packed(later) >= before);
        before = packed(later);
    }
    if (gal__packing_helps(later->dev)) assert_int_equal(packed(later), all);
    gal_lm_close(at_once);
    gal_lm_close(later);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bytes) };
    return cmocka_run_group_tests_name("infer_pack", tests, NULL, NULL);
}
