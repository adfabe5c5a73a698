/* i8_test.c - a number of C has the same bytes whichever rows of A it is computed with, and whether weights are
 * packed or lie as in their file: every level takes another way for one row, a few and many. SPDX-License-Identifier:
 * Apache-2.0 */
#include "kernels/kernel_test.h"
#include "tensor/pack.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 19, MOST_N = 45 };

static void launch(const gal_kernel *k, const void *args) {
    void *scratch = aligned_alloc(64, GAL_SCRATCH_BYTES);
    assert_non_null(scratch);
    memset(scratch, 0xff, GAL_SCRATCH_BYTES); /* NaN: what is read before it is written shows */
    const int64_t chunks = k->chunks(args);
    for (int64_t c = 0; c < chunks; c++) k->run(args, c, scratch);
    free(scratch);
}

typedef struct operands {
    gal_code code;
    int64_t n, k;
    float *x;
    void *weight, *packed;
} operands;

/* y [m, n]: rows `from` on. */
static void product(const gal_kernel_table *t, const operands *o, int64_t from, int64_t m, bool twice, bool packed,
                    float *y) {
    const int64_t each = twice ? 2 : 1;
    void *q = malloc((size_t)(each * m) * gal_i8_row_bytes(o->k));
    assert_non_null(q);
    const gal_k_quantise quantise = { q, o->x + from * o->k, GAL_F32, m, o->k, twice };
    launch(&t->k[GAL_K_QUANTISE], &quantise);
    const gal_k_gemm g = { .count = 1,
                           .threads = (int)(m % 4), /* deals chunks in another order */
                           .twice = twice,
                           .p = { { .m = m,
                                    .n = o->n,
                                    .k = o->k,
                                    .a = { .p = q, .rs = each * m },
                                    .b = { o->weight, GAL_BLOCKS, 1, o->k, &o->code, packed ? o->packed : NULL },
                                    .c = { y, GAL_F32, o->n, 1, NULL, NULL },
                                    .compute = GAL_F32 } } };
    launch(&t->k[GAL_K_GEMM_I8], &g);
    free(q);
}

/* NaN of whatever bits: random scales are some. */
static bool equal(const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

static void check(const gal_kernel_table *t, const operands *o, bool twice) {
    float together[MOST * MOST_N], some[MOST * MOST_N];
    product(t, o, 0, MOST, twice, true, together);
    for (int64_t m = 1; m <= MOST; m++)
        for (int packed = 0; packed < 2; packed++) {
            const int64_t from = MOST - m;
            memset(some, 0, sizeof some);
            product(t, o, from, m, twice, packed, some);
            const bool same = equal(some, together + from * o->n, m * o->n);
            if (!same)
                print_error("%s, %s, n %d, k %d%s: %d rows %s differ\n", t->name, gal_code_name(&o->code), (int)o->n,
                            (int)o->k, twice ? ", twice" : "", (int)m, packed ? "packed" : "in place");
            assert_true(same);
        }
}

static void rows_do_not_matter(void **state) {
    /* k 288 for blocks of 32: not whole units. n: whole groups of sixteen, the last of which ends where the weight
     * does, and more or less than half of one. */
    static const struct {
        int64_t n, k;
    } SHAPES[] = { { MOST_N, 512 }, { MOST_N, 256 }, { MOST_N, 288 }, { 40, 512 },
                   { 3, 256 },      { 18, 288 },     { 32, 512 } };
    (void)state;
    unsigned seed = 1;
    for (uint32_t f = 0; f < GAL_BLOCK_F8_E4M3; f++)
        for (size_t i = 0; i < GAL_LEN(SHAPES) && gal_pieces_of(f); i++) {
            operands o = { .code = { .block = f }, .n = SHAPES[i].n, .k = SHAPES[i].k };
            if (o.k % gal_block_info_of(f)->elements) continue;
            const size_t bytes = gal_code_bytes(&o.code, o.k * o.n);
            o.x = malloc((size_t)(MOST * o.k) * sizeof *o.x);
            o.weight = malloc(bytes);
            o.packed = aligned_alloc(64, (gal_pack_bytes(f, o.n, o.k) + 63) / 64 * 64);
            assert_true(o.x && o.weight && o.packed);
            for (int64_t j = 0; j < MOST * o.k; j++) {
                seed = seed * 1664525u + 1013904223u;
                o.x[j] = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
            }
            for (size_t j = 0; j < bytes; j++) {
                seed = seed * 1664525u + 1013904223u;
                ((uint8_t *)o.weight)[j] = (uint8_t)(seed >> 24);
            }
            gal_pack(f, o.weight, o.n, o.k, 0, (o.n + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS, o.packed);
            for (int l = 1; l < kt_levels(); l++) /* the reference reads blocks as they are */
                for (int twice = 0; twice < 2; twice++) check(kt_level(l), &o, twice);
            free(o.x);
            free(o.weight);
            free(o.packed);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_do_not_matter) };
    return cmocka_run_group_tests_name("kernels_i8", tests, NULL, NULL);
}
