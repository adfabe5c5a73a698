/* cuda_test.c - every kernel on a GPU against the reference, launched and captured; large products, whose algorithms
 * are not those of small ones. Skipped, with the reason, where there is no GPU. SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/cuda_level.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_family(const kt_family *f) {
    if (!cl_open()) skip();
    kt_each(f, cl_check);
}

static void gemm(void **state) {
    (void)state;
    check_family(&KT_GEMM);
}
static void rows(void **state) {
    (void)state;
    check_family(&KT_ROWS);
}
static void attend(void **state) {
    (void)state;
    check_family(&KT_ATTEND);
}
static void act(void **state) {
    (void)state;
    check_family(&KT_ACT);
}
static void loss(void **state) {
    (void)state;
    check_family(&KT_LOSS);
    check_family(&KT_OPTIM);
}

/* What the GPU does not have is refused by name, and leaves it usable. */
static void refusals(void **state) {
    (void)state;
    gal_cuda *c = cl_open();
    if (!c) skip();
    gal_diag diag = { 0 };
    void *p = gal_cuda_alloc(c, 4096);
    assert_non_null(p);
    gal_k_map m = { .y = p, .a = p, .b = p, .dt = GAL_F64, .adt = GAL_F64, .count = 8 };
    assert_int_equal(gal_cuda_launch(c, GAL_K_ADD, &m, &diag), GAL_EDEVICE);
    assert_non_null(strstr(diag.text, "add"));
    assert_non_null(strstr(diag.text, "f64"));
    diag = (gal_diag){ 0 };
    gal_k_attend a = { .o = p, .q = p, .k = p, .v = p, .n = 1, .heads = 1, .kv_heads = 1, .size = 257 };
    assert_int_equal(gal_cuda_launch(c, GAL_K_ATTEND, &a, &diag), GAL_EDEVICE);
    assert_non_null(strstr(diag.text, "257"));
    diag = (gal_diag){ 0 };
    gal_cuda *other = NULL;
    assert_int_equal(gal_cuda_open(&other, 1000, &diag), GAL_EDEVICE);
    assert_non_null(strstr(diag.text, "1000"));
    diag = (gal_diag){ 0 };
    assert_null(gal_cuda_alloc(c, (size_t)1 << 50));
    m.dt = GAL_F32;
    assert_int_equal(gal_cuda_launch(c, GAL_K_ADD, &m, &diag), GAL_OK);
    assert_int_equal(gal_cuda_wait(c, &diag), GAL_OK);
    gal_cuda_free(c, p);
}

/* ---- large products ----------------------------------------------------------------------------------------------
 */

typedef struct product {
    int64_t m, n, k;
    gal_dtype a, b, c, compute;
    bool a_columns, b_columns, accumulate;
} product;

static const product PRODUCTS[] = {
    { 512, 1024, 1024, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, false },
    { 512, 1024, 1024, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, false, true },
    { 1024, 768, 2048, GAL_BF16, GAL_BF16, GAL_F32, GAL_BF16, true, false, true },
    { 300, 2500, 900, GAL_F32, GAL_BF16, GAL_F32, GAL_BF16, false, true, false },
    { 512, 1024, 1024, GAL_F32, GAL_F32, GAL_F32, GAL_F32, false, true, false },
    { 64, 512, 16384, GAL_F32, GAL_F32, GAL_F32, GAL_F32, true, false, true },
    { 16, 256, 16384, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, false },
    { 257, 511, 333, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, false },
    { 1, 16384, 4096, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, false },
    { 4200, 4096, 40, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, true }, /* its sums: 69 MB, in parts */
    { 8, 8192, 4096, GAL_BF16, GAL_BF16, GAL_BF16, GAL_BF16, false, true, true },
    { 7, 1000, 2000, GAL_F32, GAL_F32, GAL_F32, GAL_F32, false, true, false },
    { 5, 8192, 4096, GAL_F32, GAL_BF16, GAL_F32, GAL_F32, false, true, false },
    { 24, 9000, 4096, GAL_BF16, GAL_F32, GAL_F32, GAL_BF16, false, true, false }, /* B converted: 74 MB, in parts */
    { 17, 5000, 4096, GAL_F32, GAL_BF16, GAL_F32, GAL_F32, false, true, false },  /* 82 MB */
};

static uint32_t seed = 7;
static float uniform(void) {
    seed = seed * 1664525U + 1013904223U;
    return (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
}

static void *random_array(gal_dtype dt, int64_t n) {
    char *p = malloc((size_t)n * gal_dtype_bytes(dt));
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) {
        float x = uniform();
        gal_convert(p + (size_t)i * gal_dtype_bytes(dt), dt, &x, GAL_F32, 1);
    }
    return p;
}

static void *on_gpu(gal_cuda *c, const void *p, int64_t n, gal_dtype dt) {
    gal_diag diag = { 0 };
    void *there = gal_cuda_alloc(c, (size_t)n * gal_dtype_bytes(dt));
    assert_non_null(there);
    assert_int_equal(gal_cuda_upload(c, there, p, (size_t)n * gal_dtype_bytes(dt), &diag), GAL_OK);
    return there;
}

/* 400 elements of C against sums in double, within the bound of gemm_cases.c. */
static int wrong(const product *p, const void *a, const void *b, const void *before, const void *got) {
    int bad = 0;
    for (int s = 0; s < 400; s++) {
        int64_t i = (int64_t)((uniform() + 1) / 2 * (float)p->m) % p->m;
        int64_t j = (int64_t)((uniform() + 1) / 2 * (float)p->n) % p->n;
        double sum = p->accumulate ? kt_get(before, p->c, i * p->n + j) : 0, size = fabs(sum);
        for (int64_t k = 0; k < p->k; k++) {
            double x = kt_get(a, p->a, p->a_columns ? k * p->m + i : i * p->k + k);
            double y = kt_get(b, p->b, p->b_columns ? j * p->k + k : k * p->n + j);
            if (p->compute == GAL_BF16) {
                x = (double)gal_bf16_to_f32(gal_f64_to_bf16(x));
                y = (double)gal_bf16_to_f32(gal_f64_to_bf16(y));
            }
            sum += x * y;
            size += fabs(x * y);
        }
        double ulp = p->c == GAL_BF16 ? 0x1p-7 : 0x1p-23, found = kt_get(got, p->c, i * p->n + j);
        double allowed = (double)(p->k + 3) * KT_U * size + ulp * fabs(sum);
        if (fabs(found - sum) <= allowed) continue;
        if (bad++ < 2)
            print_error("%lld x %lld x %lld at (%lld, %lld): %.9g, expected %.9g, allowed %.3g\n", (long long)p->m,
                        (long long)p->n, (long long)p->k, (long long)i, (long long)j, found, sum, allowed);
    }
    return bad;
}

static bool try_product(gal_cuda *c, const product *p) {
    gal_diag diag = { 0 }, end_diag = { 0 };
    int64_t na = p->m * p->k, nb = p->k * p->n, nc = p->m * p->n;
    size_t bytes = (size_t)nc * gal_dtype_bytes(p->c);
    void *a = random_array(p->a, na), *b = random_array(p->b, nb), *before = random_array(p->c, nc);
    unsigned char *got[3] = { malloc(bytes), malloc(bytes), malloc(bytes) };
    gal_k_gemm k = { .count = 1 };
    k.p[0] = (gal_gemm){ .m = p->m, .n = p->n, .k = p->k, .compute = p->compute, .accumulate = p->accumulate };
    k.p[0].a = (gal_mat){
        on_gpu(c, a, na, p->a), p->a, p->a_columns ? 1 : p->k, p->a_columns ? p->m : 1, NULL, NULL
    };
    k.p[0].b = (gal_mat){
        on_gpu(c, b, nb, p->b), p->b, p->b_columns ? 1 : p->n, p->b_columns ? p->k : 1, NULL, NULL
    };
    k.p[0].c = (gal_mat){ on_gpu(c, before, nc, p->c), p->c, p->n, 1, NULL, NULL };
    gal_cuda_graph *g = NULL;
    gal_err err = gal_cuda_capture_begin(c, &diag); /* first of all: nothing has chosen an algorithm yet */
    if (!err) {
        err = gal_cuda_launch(c, GAL_K_GEMM, &k, &diag);
        gal_err end = gal_cuda_capture_end(c, &g, err ? &end_diag : &diag); /* the first failure is the one told */
        if (!err) err = end;
    }
    for (int way = 0; way < 3 && !err; way++) {
        err = gal_cuda_upload(c, k.p[0].c.p, before, bytes, &diag);
        if (!err) err = way == 0 ? gal_cuda_graph_launch(c, g, &diag) : gal_cuda_launch(c, GAL_K_GEMM, &k, &diag);
        if (!err) err = gal_cuda_download(c, got[way], k.p[0].c.p, bytes, &diag);
    }
    if (err) print_error("%s\n", diag.text);
    bool same = !err && !memcmp(got[0], got[1], bytes) && !memcmp(got[0], got[2], bytes);
    if (!err && !same)
        print_error("%lld x %lld x %lld: other bytes the next time\n", (long long)p->m, (long long)p->n,
                    (long long)p->k);
    int bad = err ? 1 : wrong(p, a, b, before, got[0]);
    gal_cuda_graph_free(g);
    gal_cuda_free(c, k.p[0].a.p);
    gal_cuda_free(c, k.p[0].b.p);
    gal_cuda_free(c, k.p[0].c.p);
    void *all[] = { a, b, before, got[0], got[1], got[2] };
    for (size_t i = 0; i < GAL_LEN(all); i++) free(all[i]);
    return same && !bad;
}

static void large_products(void **state) {
    (void)state;
    gal_cuda *c = cl_open();
    if (!c) skip();
    int bad = 0;
    for (size_t i = 0; i < GAL_LEN(PRODUCTS); i++) bad += !try_product(c, &PRODUCTS[i]);
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),       cmocka_unit_test(rows),   cmocka_unit_test(act),
        cmocka_unit_test(loss),           cmocka_unit_test(attend), cmocka_unit_test(gemm),
        cmocka_unit_test(large_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
