/* composite.c - each fused op against its definition from simpler ones: results and gradients. In f64 both round in
 * the last place only. SPDX-License-Identifier: Apache-2.0 */
#include "ops/op_cases.h"
#include "support/test.h"
#include "support/thin.h"

#include <math.h>
#include <stdlib.h>

static void close_to(const char *name, const char *what, double a, double b, double allowed) {
    if (!(fabs(a - b) <= allowed))
        print_error("%s: %s %.17g, composite %.17g, allowed %g\n", name, what, a, b, allowed);
    assert_true(fabs(a - b) <= allowed);
}

static void check(const op_case *c, gal_dtype dt) {
    op *fused = malloc(sizeof *fused), *plain = malloc(sizeof *plain);
    assert_true(fused && plain);
    op_open(fused, c, "ref", dt);
    op_open(plain, c, "ref", dt);
    double a = op_backward(fused, false, false), b = op_backward(plain, true, false);
    /* As many roundings of results on the way, and sums as long as the longest. */
    double rel = (double)(c->roundings + op_longest(c)) * (dt == GAL_F64 ? 0x1p-52 : 0x1p-23);
    double rows = 0;
    for (int64_t i = 0; i < fused->st.n; i++) rows += fabs((double)fused->st.weight[i]);
    close_to(c->name, "loss", a, b, rel * rows * fmax(1, fabs(b)));
    for (int s = 0; s < fused->slots; s++) {
        assert_int_equal(fused->n_seen[s], plain->n_seen[s]);
        double max = 0;
        for (int64_t i = 0; i < plain->n_seen[s]; i++) max = fmax(max, fabs(plain->seen[s][i]));
        for (int64_t i = 0; i < plain->n_seen[s]; i++)
            close_to(c->name, "result", fused->seen[s][i], plain->seen[s][i], rel * max);
    }
    for (int w = 0; w < fused->weights; w++) {
        double most = rel * op_grad_max(plain, w);
        for (int64_t i = 0; i < gal_wcount(&fused->w[w]); i++)
            close_to(c->name, "gradient", op_grad(fused, w, i), op_grad(plain, w, i), most);
    }
    op_close(fused);
    op_close(plain);
    free(fused);
    free(plain);
}

static void composites(void **state) {
    (void)state;
    int count = 0;
    for (size_t i = 0; i < OP_CASE_COUNT; i++)
        if (OP_CASES[i].has_composite) {
            bool large = OP_CASES[i].step & OP_LARGE;
            if (!large || !thin_skip(1, 2)) check(&OP_CASES[i], GAL_F64);
            if (!large) check(&OP_CASES[i], GAL_F32);
            count++;
        }
    assert_true(count >= 10);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(composites) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
