/* gradcheck.c - every op's gradient against central differences, in f64 on the reference device; recomputed blocks
 * against kept ones. SPDX-License-Identifier: Apache-2.0 */
#include "ops/op_cases.h"
#include "support/test.h"
#include "support/thin.h"
#include "tensor/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 24 };

/* Fourth order: with steps of 1e-3 what is left out is about 1e-12, rounding about 1e-13. */
static double difference(op *o, double *at) {
    static const double PLACES[] = { -2, -1, 1, 2 }, FACTORS[] = { 1, -8, 8, -1 };
    const double step = 1e-3;
    double x = *at, sum = 0;
    for (int i = 0; i < 4; i++) {
        *at = x + PLACES[i] * step;
        sum += FACTORS[i] * op_loss(o, false);
    }
    *at = x;
    return sum / (12 * step);
}

/* Largest relative error; numbers below a thousandth of the weight's largest gradient are held to that. */
static double check_weight(op *o, int w, double *worst_at) {
    int64_t n = gal_wcount(&o->w[w]);
    int samples = o->c->samples ? o->c->samples : SAMPLES;
    double *data = o->w[w].data, worst = 0, floor_of = 1e-3 * op_grad_max(o, w) + 1e-9;
    int64_t step = GAL_MAX(1, n / samples);
    for (int64_t i = 0; i < n; i += step) {
        if (thin_skip((size_t)(i / step), 8)) continue;
        double have = op_grad(o, w, i), want = difference(o, &data[i]);
        double error = fabs(have - want) / fmax(floor_of, fmax(fabs(have), fabs(want)));
        if (!(error <= worst)) {
            worst = error;
            *worst_at = (double)i;
        }
    }
    return worst;
}

static void check_open(op *o, const op_case *c) {
    double loss = op_backward(o, false, false);
    assert_true(isfinite(loss));
    for (int w = 0; w < o->weights; w++) {
        if (!o->w[w].group) continue; /* frozen */
        double at = 0, error = check_weight(o, w, &at);
        assert_true(op_grad_max(o, w) > 0);
        if (!(error <= 1e-6)) print_error("%s: weight %d, number %g: relative error %g\n", c->name, w, at, error);
        assert_true(error <= 1e-6);
    }
}

static void check(const op_case *c) {
    op *o = malloc(sizeof *o);
    assert_non_null(o);
    op_open(o, c, "ref", GAL_F64);
    check_open(o, c);
    op_close(o);
    free(o);
}

/* Puts a weight into blocks, which no gradient changes. */
static void freeze(gal_w *w, uint32_t type) {
    static float scale = 0.015625f;
    int64_t n = gal_wcount(w);
    w->group = 0;
    w->dtype = GAL_BLOCKS;
    w->code = (gal_code){ .block = type };
    if (type == GAL_BLOCK_F8_E4M3) { /* bytes are numbers, but 0x7f and 0xff; one scale for all */
        uint8_t *bytes = w->data;
        for (int64_t i = 0; i < n; i++) bytes[i] = (uint8_t)(i * 37 % 0x7f | i * 0x80);
        w->code.scales = &scale;
        w->code.scale_rows = w->dim[0];
        w->code.scale_cols = w->dim[1];
        w->code.across = 1;
        return;
    }
    float *x = malloc((size_t)n * sizeof *x);
    assert_true(x && w->dim[1] % 32 == 0);
    gal_convert(x, GAL_F32, w->data, GAL_F64, n);
    gal_block_quantise(type, x, w->data, n);
    free(x);
}

/* Gradients flow through a weight in blocks to what is before it and to its adapters; it has none of its own. */
static void through_blocks(void **state) {
    (void)state;
    static const uint32_t TYPES[] = { GAL_BLOCK_Q8_0, GAL_BLOCK_Q4_0, GAL_BLOCK_F8_E4M3 };
    op *o = malloc(sizeof *o);
    assert_non_null(o);
    const op_case *c = NULL;
    for (size_t i = 0; i < OP_CASE_COUNT; i++)
        if (strcmp(OP_CASES[i].name, "linear, adapted twice") == 0) c = &OP_CASES[i];
    assert_non_null(c);
    for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
        op_open(o, c, "ref", GAL_F64);
        freeze(&o->w[1], TYPES[t]);
        check_open(o, c);
        op_close(o);
    }
    free(o);
}

static void gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < OP_CASE_COUNT; i++)
        if (!(OP_CASES[i].step & OP_LARGE) || !thin_skip(1, 2)) check(&OP_CASES[i]);
}

static void recompute(void **state) {
    (void)state;
    static const gal_dtype TYPES[] = { GAL_F32, GAL_BF16, GAL_F64 };
    op *kept = malloc(sizeof *kept), *again = malloc(sizeof *again);
    assert_true(kept && again);
    for (size_t i = 0; i < OP_CASE_COUNT; i++) {
        if (strncmp(OP_CASES[i].name, "blocks", 6) != 0) continue;
        for (size_t t = 0; t < GAL_LEN(TYPES); t++) {
            const char *level = TYPES[t] == GAL_F64 ? "ref" : NULL; /* NULL: the best there is */
            op_open(kept, &OP_CASES[i], level, TYPES[t]);
            op_open(again, &OP_CASES[i], level, TYPES[t]);
            double a = op_backward(kept, false, false), b = op_backward(again, false, true);
            assert_memory_equal(&a, &b, sizeof a);
            for (int w = 0; w < kept->weights; w++)
                assert_memory_equal(kept->w[w].grad, again->w[w].grad,
                                    (size_t)gal_wcount(&kept->w[w]) * gal_dtype_bytes(gal_stat_dtype(TYPES[t])));
            op_close(kept);
            op_close(again);
        }
    }
    free(kept);
    free(again);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(gradients), cmocka_unit_test(recompute),
                                        cmocka_unit_test(through_blocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
