/* peaks_test.c - the loops that measure what a processor can do at best do as much as they say: with every operand 1,
 * the sums count the products. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/dev.h"

enum { ROUNDS = 37 };

/* Sums of floats, or of int32. */
static double total(const void *sink, bool floats) {
    float f[GAL_PEAK_SINK_BYTES / 4];
    int32_t n[GAL_PEAK_SINK_BYTES / 4];
    double sum = 0;
    memcpy(f, sink, sizeof f);
    memcpy(n, sink, sizeof n);
    for (size_t i = 0; i < GAL_LEN(f); i++) sum += floats ? (double)f[i] : (double)n[i];
    return sum;
}

static void counts_what_it_does(void **state) {
    const char *const *level = *state;
    gal_kernel_table t;
    if (!gal_dev_table(&t, *level)) {
        print_message("this processor has no %s\n", *level);
        skip();
    }
    _Alignas(64) static char in[ROUNDS * 4096];
    for (gal_peak_id id = 0; id < GAL_PEAK_COUNT; id++) {
        const gal_peak *p = &t.peak[id];
        _Alignas(64) char sink[GAL_PEAK_SINK_BYTES] = { 0 };
        const float one = 1.0F;
        const int32_t whole = 1;
        const uint16_t half = 0x3f80;
        const int8_t byte = 1;
        const void *value[] = { &whole, &one, &half, &byte };
        const size_t size[] = { sizeof whole, sizeof one, sizeof half, sizeof byte };
        for (size_t i = 0; i < sizeof in; i += size[id]) memcpy(in + i, value[id], size[id]);
        assert_non_null(p->run);
        assert_non_null(p->how);
        assert_true(p->per_round > 0 && p->per_round <= 4096);
        p->run(in, ROUNDS, sink);
        double expected = (double)(p->per_round * ROUNDS) / (id == GAL_PEAK_READ ? 4 : 2);
        double found = total(sink, id == GAL_PEAK_F32 || id == GAL_PEAK_BF16);
        if (found < expected || found > expected)
            fail_msg("%s, peak %d: %g, expected %g", *level, id, found, expected);
    }
}

int main(void) {
    static const char *levels[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon" };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(counts_what_it_does, &levels[0]),
        cmocka_unit_test_prestate(counts_what_it_does, &levels[1]),
        cmocka_unit_test_prestate(counts_what_it_does, &levels[2]),
        cmocka_unit_test_prestate(counts_what_it_does, &levels[3]),
        cmocka_unit_test_prestate(counts_what_it_does, &levels[4]),
        cmocka_unit_test_prestate(counts_what_it_does, &levels[5]),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
