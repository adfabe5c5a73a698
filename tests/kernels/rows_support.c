/* rows_support.c - see rows_support.h. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/rows_support.h"

#include "tensor/blocks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_ARRAYS = 4096 };
static void *arrays[MAX_ARRAYS];
static int used;
static uint64_t counter;

static void *keep(size_t bytes) {
    assert_true(used < MAX_ARRAYS);
    void *p = calloc(1, bytes ? bytes : 1);
    assert_non_null(p);
    return arrays[used++] = p;
}

static double uniform(void) { /* SplitMix64, in [-1, 1) */
    uint64_t z = counter += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
}

void *rows_zeros(gal_dtype dt, int64_t n) { return keep(gal_dtype_span(dt, n)); }

static void random_block(void *p, gal_dtype dt, int64_t i, double amplitude) {
    float x[32];
    for (size_t j = 0; j < GAL_LEN(x); j++) x[j] = (float)(amplitude * uniform());
    gal_block_quantise(gal_dtype_block(dt), x, (char *)p + gal_dtype_span(dt, i), GAL_LEN(x));
}

void *rows_random(gal_dtype dt, int64_t n, double amplitude) {
    void *p = rows_zeros(dt, n);
    if (gal_dtype_in_blocks(dt)) {
        for (int64_t i = 0; i < n; i += 32) random_block(p, dt, i, amplitude);
        return p;
    }
    for (int64_t i = 0; i < n; i++) {
        double x = amplitude * uniform();
        gal_convert((char *)p + i * (int64_t)gal_dtype_bytes(dt), dt, &x, GAL_F64, 1);
    }
    return p;
}

void *rows_copy(gal_dtype dt, const void *x, int64_t n) {
    void *p = rows_zeros(dt, n);
    memcpy(p, x, gal_dtype_bytes(dt) * (size_t)n);
    return p;
}

int32_t *rows_ints(int64_t n) { return keep(sizeof(int32_t) * (size_t)n); }

void rows_free_all(void) {
    while (used > 0) free(arrays[--used]);
}

double rows_get(const void *x, gal_dtype dt, int64_t i) {
    double d;
    gal_convert(&d, GAL_F64, (const char *)x + i * (int64_t)gal_dtype_bytes(dt), dt, 1);
    return d;
}

double rows_eps(gal_dtype dt) { return dt == GAL_BF16 ? 0x1p-8 : dt == GAL_F16 ? 0x1p-11 : 0x1p-24; }

void rows_run(const gal_kernel_table *t, gal_kernel_id id, const void *args) {
    static void *scratch;
    if (!scratch) scratch = aligned_alloc(64, GAL_SCRATCH_BYTES);
    assert_non_null(scratch);
    for (int64_t c = t->k[id].chunks(args); c-- > 0;) {
        memset(scratch, 0xff, GAL_SCRATCH_BYTES);
        t->k[id].run(args, c, scratch);
    }
}

void rows_close(const char *what, const void *got, const void *want, gal_dtype dt, int64_t n, double absolute,
                double relative) {
    int64_t worst = -1;
    double excess = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double g = rows_get(got, dt, i), w = rows_get(want, dt, i);
        if (isnan(g) && isnan(w)) continue;
        if (isinf(w) && g == w) continue;
        double e = fabs(g - w) - absolute - relative * fabs(w);
        if (!(e <= 0.0) && (worst < 0 || !(e <= excess))) {
            worst = i;
            excess = e;
        }
    }
    if (worst >= 0) {
        fail_msg("%s: element %lld of %lld is %.9g, expected %.9g within %.3g", what, (long long)worst, (long long)n,
                 rows_get(got, dt, worst), rows_get(want, dt, worst),
                 absolute + relative * fabs(rows_get(want, dt, worst)));
    }
}

const gal_kernel_table *rows_ref(void) {
    static gal_kernel_table t;
    if (!t.name) {
        gal_ref_fill(&t);
        t.name = "ref";
    }
    return &t;
}

const gal_kernel_table *rows_levels(int *n) {
    static gal_kernel_table t[4];
    *n = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        gal_ref_fill(&t[*n]);
        gal_sse42_fill(&t[*n]);
        t[(*n)++].name = "sse42";
    }
    if (__builtin_cpu_supports("avx")) {
        gal_ref_fill(&t[*n]);
        gal_avx_fill(&t[*n]);
        t[(*n)++].name = "avx";
    }
    /* every processor with AVX2 has F16C, which clang 14 cannot be asked about */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        gal_ref_fill(&t[*n]);
        gal_avx2_fill(&t[*n]);
        t[(*n)++].name = "avx2";
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        gal_ref_fill(&t[*n]);
        gal_avx512_fill(&t[*n]);
        t[(*n)++].name = "avx512";
    }
#elif defined(__aarch64__)
    gal_ref_fill(&t[*n]);
    gal_neon_fill(&t[*n]);
    t[(*n)++].name = "neon";
#endif
    if (*n == 0) print_message("skipped: this processor has no level beyond ref\n");
    return t;
}
