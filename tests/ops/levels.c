/* levels.c - every op at every level that this processor has, in f32 and bf16, results and gradients against the
 * reference in the same type. SPDX-License-Identifier: Apache-2.0 */
#include "ops/op_cases.h"
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

/* Both sides round each result on the way in the type of activations (a rounding may fall to the other side), and the
 * level's sums round each of their terms in f32. Relative to the largest of the numbers compared. */
static double tolerance(const op_case *c, gal_dtype dt) {
    double unit = dt == GAL_BF16 ? 0x1p-8 : 0x1p-24;
    return (double)c->roundings * unit + (double)(op_longest(c) + 16) * (double)c->roundings * 0x1p-24;
}

static void close_to(const op *o, const char *level, const char *what, int at, double a, double b, double allowed) {
    if (fabs(a - b) <= allowed) return;
    print_error("%s at %s, %s: %s %d is %.9g, reference %.9g, allowed %g\n", o->c->name, level, gal_dtype_name(o->dt),
                what, at, a, b, allowed);
    fail();
}

static void check(const op_case *c, const char *level, gal_dtype dt) {
    op *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    assert_true(a && b);
    op_open(a, c, level, dt);
    op_open(b, c, "ref", dt);
    double la = op_backward(a, false, false), lb = op_backward(b, false, false), rel = tolerance(c, dt), rows = 0;
    for (int64_t i = 0; i < b->st.n; i++) rows += fabs((double)b->st.weight[i]);
    close_to(a, level, "loss", 0, la, lb, rel * rows * fmax(1, fabs(lb)));
    for (int s = 0; s < b->slots; s++) {
        double max = 0;
        for (int64_t i = 0; i < b->n_seen[s]; i++) max = fmax(max, fabs(b->seen[s][i]));
        for (int64_t i = 0; i < b->n_seen[s]; i++)
            close_to(a, level, "result", s, a->seen[s][i], b->seen[s][i], rel * max);
    }
    for (int w = 0; w < b->weights; w++) {
        double most = rel * op_grad_max(b, w);
        for (int64_t i = 0; i < gal_wcount(&b->w[w]); i++)
            close_to(a, level, "gradient of weight", w, op_grad(a, w, i), op_grad(b, w, i), most);
    }
    op_close(a);
    op_close(b);
    free(a);
    free(b);
}

static void level(void **state, const char *name) {
    (void)state;
    gal_kernel_table table;
    if (!gal_dev_table(&table, name)) {
        print_message("this processor has no %s\n", name);
        skip();
    }
    for (size_t i = 0; i < OP_CASE_COUNT; i++) {
        if (OP_CASES[i].step & OP_LARGE) continue;
        check(&OP_CASES[i], name, GAL_F32);
        check(&OP_CASES[i], name, GAL_BF16);
    }
}

static void sse42(void **state) { level(state, "sse42"); }
static void avx(void **state) { level(state, "avx"); }
static void avx2(void **state) { level(state, "avx2"); }
static void avx512(void **state) { level(state, "avx512"); }
static void neon(void **state) { level(state, "neon"); }

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(sse42), cmocka_unit_test(avx), cmocka_unit_test(avx2),
                                        cmocka_unit_test(avx512), cmocka_unit_test(neon) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
