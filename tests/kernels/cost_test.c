/* cost_test.c - what launches have to do at least, against counts by hand; every kernel has a name of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

static void check(gal_kernel_id id, const void *args, double flops, double bytes) {
    gal_cost c;
    gal_kernel_cost(&c, id, args);
    if (c.flops < flops || c.flops > flops || c.bytes < bytes || c.bytes > bytes)
        fail_msg("%s: %g operations, %g bytes, expected %g and %g", gal_kernel_name(id), c.flops, c.bytes, flops,
                 bytes);
}

static void names_differ(void **state) {
    (void)state;
    for (gal_kernel_id i = 0; i < GAL_K_COUNT; i++) {
        assert_non_null(gal_kernel_name(i));
        for (gal_kernel_id j = 0; j < i; j++) assert_string_not_equal(gal_kernel_name(i), gal_kernel_name(j));
    }
}

static void products(void **state) {
    (void)state;
    const gal_gemm f32 = { .m = 3, .n = 5, .k = 7, .a = { .dt = GAL_F32 }, .b = { .dt = GAL_BF16 } };
    gal_k_gemm g = { .count = 3, .p = { f32, f32, f32 } };
    g.p[2].n = 11;
    g.p[2].accumulate = true;
    double two = 2 * (3 * 7 * 4 + 7 * 5 * 2 + 3 * 5 * 4), third = 3 * 7 * 4 + 7 * 11 * 2 + 2 * 3 * 11 * 4;
    check(GAL_K_GEMM, &g, 2 * 2 * 3 * 5 * 7 + 2 * 3 * 11 * 7, two + third);
    gal_cost c;
    gal_kernel_cost(&c, GAL_K_GEMM, &g);
    assert_string_equal(c.what, "3x5x7 (2) + 3x11x7");
}

/* Two documents of 3 and 2 rows: 1 + 2 + 3 + 1 + 2 pairs; with a window of 2 a pair less; with a cache of 4 more keys
 * before the first document 4 more for each of its rows. */
static void attention(void **state) {
    (void)state;
    const int32_t start[] = { 0, 0, 0, 3, 3 }, pos[] = { 4, 5, 6, 0, 1 };
    gal_k_attend a = { .dt = GAL_F32, .n = 5, .heads = 4, .kv_heads = 2, .size = 8, .start = start, .pos = pos };
    double own = 5 * 8 * 2 * (4 + 2) * 4;
    check(GAL_K_ATTEND, &a, 4.0 * 9 * 4 * 8, own);
    a.window = 2;
    check(GAL_K_ATTEND, &a, 4.0 * 8 * 4 * 8, own);
    a.window = 0;
    a.ck = a.cv = start;
    a.cdt = GAL_BF16;
    check(GAL_K_ATTEND, &a, 4.0 * (9 + 3 * 4) * 4 * 8, own + 4 * 2 * 8 * 2 * 2);
    const gal_k_attend_grad g = { .dt = GAL_F32, .n = 5, .heads = 4, .kv_heads = 2, .size = 8, .start = start };
    check(GAL_K_ATTEND_GRAD, &g, 10.0 * 9 * 4 * 8, 2 * own);
}

static void rows(void **state) {
    (void)state;
    float some = 0;
    check(GAL_K_ADD, &(gal_k_map){ .dt = GAL_BF16, .count = 10 }, 0, 60);
    check(GAL_K_COPY, &(gal_k_map){ .dt = GAL_BF16, .adt = GAL_F32, .count = 10 }, 0, 60);
    check(GAL_K_FILL, &(gal_k_map){ .dt = GAL_F32, .count = 10 }, 0, 40);
    check(GAL_K_SWIGLU, &(gal_k_swiglu){ .dt = GAL_F32, .count = 10 }, 0, 120);
    check(GAL_K_RMS_NORM, &(gal_k_rms_norm){ .dt = GAL_F32, .n = 2, .d = 5 }, 0, 80);
    check(GAL_K_XENT, &(gal_k_xent){ .dt = GAL_F32, .r = 2, .v = 5 }, 0, 40);
    check(GAL_K_ADAMW, &(gal_k_update){ .m = &some, .dt = GAL_F32, .wdt = GAL_F32, .count = 10 }, 0, 280);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_differ),
        cmocka_unit_test(products),
        cmocka_unit_test(attention),
        cmocka_unit_test(rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
