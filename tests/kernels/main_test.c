/* main_test.c - every kernel at every level against the reference. SPDX-License-Identifier: Apache-2.0 */
#include "core/dev.h"
#include "kernels/kernel_test.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check_family(void **state, const kt_family *f) {
    (void)state;
    kt_test(f);
}

static void gemm(void **state) { check_family(state, &KT_GEMM); }
static void blocks(void **state) { check_family(state, &KT_CODED); }
static void rows(void **state) { check_family(state, &KT_ROWS); }
static void attend(void **state) { check_family(state, &KT_ATTEND); }
static void act(void **state) { check_family(state, &KT_ACT); }
static void moe(void **state) { check_family(state, &KT_MOE); }
static void loss(void **state) { check_family(state, &KT_LOSS); }
static void optim(void **state) { check_family(state, &KT_OPTIM); }

/* Every kernel has a case. */
static void covered(void **state) {
    (void)state;
    const kt_family *families[] = {
        &KT_GEMM, &KT_CODED, &KT_ROWS, &KT_ATTEND, &KT_ACT, &KT_MOE, &KT_LOSS, &KT_OPTIM
    };
    bool seen[GAL_K_COUNT] = { false };
    for (size_t f = 0; f < GAL_LEN(families); f++)
        for (size_t i = 0; i < families[f]->n; i++)
            if (!families[f]->cases[i].bench) seen[families[f]->cases[i].id] = true;
    for (int i = 0; i < GAL_K_COUNT; i++) {
        if (!seen[i]) print_error("kernel %d has no case\n", i);
        assert_true(seen[i]);
    }
}

/* What one level has of its own all have: no processor falls back to ref for a part. Only levels that are here are
 * asked: their tables are filled with their instructions. */
static void whole(void **state) {
    static const struct {
        const char *name;
        void (*fill)(gal_kernel_table *t);
    } LEVELS[] = {
        { "sse42", gal_sse42_fill }, { "avx", gal_avx_fill }, { "avx2", gal_avx2_fill }, { "avx512", gal_avx512_fill }
    };
    gal_kernel_table here, ref = { 0 }, first, t;
    int seen = 0;
    (void)state;
    gal_ref_fill(&ref);
    for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
        if (!gal_dev_table(&here, LEVELS[l].name)) continue;
        t = ref;
        LEVELS[l].fill(&t);
        if (seen++ == 0) first = t;
        for (int i = 0; i < GAL_K_COUNT; i++) {
            const bool own = t.k[i].run != ref.k[i].run, other = first.k[i].run != ref.k[i].run;
            if (own != other) print_error("kernel %d: not at every level up to %s\n", i, LEVELS[l].name);
            assert_int_equal(own, other);
        }
        assert_ptr_not_equal(t.k[GAL_K_GEMM_I8].run, ref.k[GAL_K_GEMM_I8].run);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covered), cmocka_unit_test(whole),  cmocka_unit_test(gemm), cmocka_unit_test(blocks),
        cmocka_unit_test(rows),    cmocka_unit_test(attend), cmocka_unit_test(act),  cmocka_unit_test(moe),
        cmocka_unit_test(loss),    cmocka_unit_test(optim),
    };
    for (int i = 0; i < kt_levels(); i++) print_message("level %s\n", kt_level(i)->name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
