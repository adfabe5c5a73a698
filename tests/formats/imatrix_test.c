/* imatrix_test.c - importance matrices: both kinds of files, what they mean, damaged ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "gguf_make.h"
#include "support/check.h"
#include "tensor/blocks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A dense weight of four columns, three experts of two of which the second was never reached. */
static void make(gal_imatrix *m) {
    static const float DENSE[] = { 8, 4, 0, 2 }, EXPERTS[] = { 3, 6, 0, 0, 10, 5 }, COUNTS[] = { 3, 0, 5 };
    gal_imatrix_entry *e = NULL;
    *m = (gal_imatrix){ .chunks = 2, .chunk_size = 4 };
    CHECK_OK(gal_imatrix_add(m, "blk.0.attn_q.weight", 4, 1, &e, diag));
    memcpy(e->sums, DENSE, sizeof DENSE);
    e->counts[0] = 8;
    CHECK_OK(gal_imatrix_add(m, "blk.0.ffn_up_exps.weight", 6, 3, &e, diag));
    memcpy(e->sums, EXPERTS, sizeof EXPERTS);
    memcpy(e->counts, COUNTS, sizeof COUNTS);
    CHECK_OK(gal_imatrix_add_dataset(m, "a text.txt", 10, diag));
}

static void check_means(const gal_imatrix *m) {
    static const float DENSE[] = { 1, 0.5f, 0, 0.25f }, EXPERTS[] = { 1, 2, 1, 1, 2, 1 };
    float x[6];
    int64_t unreached = 9;
    const gal_imatrix_entry *e = gal_imatrix_find(m, "blk.0.attn_q.weight");
    assert_non_null(e);
    CHECK_OK(gal_imatrix_means(e, 1, 4, x, &unreached, "m", diag));
    for (size_t i = 0; i < 4; i++) assert_true(fabsf(x[i] - DENSE[i]) < 1e-6f);
    assert_int_equal(unreached, 0);
    e = gal_imatrix_find(m, "blk.0.ffn_up_exps.weight");
    assert_non_null(e);
    CHECK_OK(gal_imatrix_means(e, 3, 2, x, &unreached, "m", diag));
    for (size_t i = 0; i < 6; i++) assert_true(fabsf(x[i] - EXPERTS[i]) < 1e-6f);
    assert_int_equal(unreached, e->n_counts == 3 ? 1 : 0); /* the older kind has lost that */
}

static void both_kinds(void **state) {
    (void)state;
    char folder[256], path[300];
    gal_imatrix m, again = { 0 };
    make(&m);
    make_folder(folder);
    for (int kind = 0; kind < 2; kind++) {
        (void)snprintf(path, sizeof path, "%s/m%d", folder, kind);
        CHECK_OK(gal_imatrix_write(&m, (gal_imatrix_kind)kind, path, diag));
        CHECK_OK(gal_imatrix_read(&again, path, diag));
        check_means(&again);
        assert_int_equal(again.n, 2);
        assert_int_equal(again.chunks, 2);
        assert_int_equal(again.chunk_size, kind == GAL_IMATRIX_GGUF ? 4 : 0);
        assert_int_equal(again.n_datasets, 1);
        assert_string_equal(again.datasets[0], "a text.txt");
        assert_null(gal_imatrix_find(&again, "blk.0.attn_k.weight"));
        gal_imatrix_free(&again);
    }
    gal_imatrix_free(&m);
    remove_folder(folder);
}

static void other_sizes(void **state) {
    (void)state;
    gal_imatrix m;
    float x[6];
    int64_t unreached;
    make(&m);
    gal_diag diag = { 0 };
    assert_int_equal(gal_imatrix_means(&m.entries[0], 1, 5, x, &unreached, "m.dat", &diag), GAL_EINPUT);
    assert_string_equal(
        diag.text, "m.dat: weight \"blk.0.attn_q.weight\": expected 1 x 5 values, as the model has, found 1 x 4");
    assert_int_equal(gal_imatrix_means(&m.entries[1], 2, 3, x, &unreached, "m.dat", NULL), GAL_EINPUT);
    gal_imatrix_free(&m);
}

/* The bytes of the older kind, by hand: what its readers elsewhere expect. */
static void put_older(gal_buf *b, const char *name, int32_t calls, const float *x, int32_t n) {
    put(b, 4, strlen(name));
    gal_buf_add(b, name, strlen(name));
    put(b, 4, (uint32_t)calls);
    put(b, 4, (uint32_t)n);
    gal_buf_add(b, x, (size_t)n * sizeof *x);
}

static void older_bytes(void **state) {
    (void)state;
    static const float DENSE[] = { 2, 1, 0, 0.5f }, EXPERTS[] = { 2, 4, 2, 2, 4, 2 };
    gal_imatrix m;
    gal_buf want = { 0 }, got = { 0 };
    make(&m);
    put(&want, 4, 2);
    put_older(&want, "blk.0.attn_q.weight", 2, DENSE, 4);
    put_older(&want, "blk.0.ffn_up_exps.weight", 2, EXPERTS, 6);
    put(&want, 4, 2);
    put(&want, 4, 10);
    gal_buf_puts(&want, "a text.txt");
    CHECK_OK(gal_imatrix_print(&m, GAL_IMATRIX_OLDER, &got, "m", diag));
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    gal_buf_free(&got);
    gal_buf_free(&want);
    gal_imatrix_free(&m);
}

static void refused(const void *bytes, size_t n, const char *why) {
    gal_imatrix m = { 0 };
    gal_diag diag = { 0 };
    uint8_t *copy = gal_alloc(n); /* ends where a sanitizer watches */
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    assert_int_equal(gal_imatrix_parse(&m, copy, n, "bad.dat", &diag), GAL_EINPUT);
    if (!strstr(diag.text, "bad.dat") || !strstr(diag.text, why))
        fail_msg("expected \"%s\", found \"%s\"", why, diag.text);
    assert_null(m.entries);
    gal_free(copy);
}

/* No prefix is a matrix, but for the one that ends where chunks and text may begin. */
static void cut_anywhere(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        gal_imatrix m;
        gal_buf b = { 0 };
        make(&m);
        CHECK_OK(gal_imatrix_print(&m, (gal_imatrix_kind)kind, &b, "m", diag));
        /* The padding behind the last tensor may be missing: three counts of 32 bytes. */
        size_t end = kind == GAL_IMATRIX_GGUF ? b.len - 20 : b.len;
        for (size_t n = 0; n < end; n++)
            if (kind == GAL_IMATRIX_GGUF || n != b.len - 18) refused(b.data, n, "");
        gal_buf_putc(&b, 'x');
        if (kind == GAL_IMATRIX_OLDER)
            refused(b.data, b.len, "expected a text's name of 10 bytes at the end, found 11");
        gal_buf_free(&b);
        gal_imatrix_free(&m);
    }
}

static void older_damaged(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint64_t bytes;
        const char *why;
    } CASES[] = {
        { 0, 0, "a number of weights from 1 on, found 0" },
        { 0, 0xffffffff, "a number of weights from 1 on, found -1" },
        { 0, 3, "names of 1 to 63 bytes" }, /* what follows is no entry */
        { 4, 0x7fffffff, "a name does not fit into the" },
        { 4, 0, "the length of a name from 1 on, found 0" },
        { 4, 64, "names of 1 to 63 bytes" },
        { 8, 0, "names of 1 to 63 bytes" }, /* NUL inside */
        { 27, 0xffffffff, "a number of calls from 0 on, found -1" },
        { 31, 0x7fffffff, "a row of values does not fit into the" },
        { 31, 0, "a number of values from 1 on, found 0" },
        { 35, 0x7fc00000,
          "weight \"blk.0.attn_q.weight\": expected finite numbers from 0 on, found nan as number 0" },
        { 39, 0x7f800000, "found inf as number 1 of its sums" },
        { 43, 0xbf800000, "found -1 as number 2 of its sums" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_imatrix m;
        gal_buf b = { 0 };
        make(&m);
        CHECK_OK(gal_imatrix_print(&m, GAL_IMATRIX_OLDER, &b, "m", diag));
        uint32_t x = (uint32_t)CASES[i].bytes;
        memcpy(b.data + CASES[i].at, &x, sizeof x);
        refused(b.data, b.len, CASES[i].why);
        gal_buf_free(&b);
        gal_imatrix_free(&m);
    }
    gal_buf b = { 0 };
    static const float ONE[] = { 1 };
    put(&b, 4, 2);
    put_older(&b, "a", 1, ONE, 1);
    put_older(&b, "a", 1, ONE, 1);
    refused(b.data, b.len, "weight \"a\" is there twice");
    gal_buf_free(&b);
}

typedef struct tensor {
    const char *name;
    uint32_t type;
    int64_t dim[2];
} tensor;

static void gguf_refused(const char *type, const tensor *t, size_t n, float value, const char *why) {
    gal_gguf_writer *w = NULL;
    gal_buf b = { 0 };
    static const double zeros[64];
    float values[64];
    for (size_t i = 0; i < GAL_LEN(values); i++) values[i] = value;
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    if (type) gal_gguf_put_string(w, "general.type", type, strlen(type));
    for (size_t i = 0; i < n; i++)
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = t[i].name,
                                 .type = t[i].type,
                                 .ndim = 2,
                                 .dim = t[i].dim,
                                 .data = t[i].type == GAL_BLOCK_F32 ? (void *)values : (const void *)zeros });
    CHECK_OK(gal_gguf_print(w, &b, "m", diag));
    refused(b.data, b.len, why);
    gal_buf_free(&b);
    gal_gguf_writer_free(w);
}

static void gguf_damaged(void **state) {
    (void)state;
    const tensor sums = { "a.in_sum2", GAL_BLOCK_F32, { 2, 3 } }, counts = { "a.counts", GAL_BLOCK_F32, { 2, 1 } };
    const tensor half = { "a.in_sum2", GAL_BLOCK_F16, { 2, 3 } }, four = { "a.counts", GAL_BLOCK_F32, { 4, 1 } };
    const tensor none = { "a.counts", GAL_BLOCK_F32, { 0, 1 } }, other = { "b", GAL_BLOCK_F32, { 1, 1 } };
    gguf_refused("model", (tensor[]){ sums, counts }, 2, 1, "general.type: expected \"imatrix\", found \"model\"");
    gguf_refused("imatrix", &other, 1, 1, "found no weights in it");
    gguf_refused("imatrix", &sums, 1, 1, "weight \"a\": expected its .counts beside .in_sum2, found none");
    gguf_refused("imatrix", &counts, 1, 1, "weight \"a\": expected its .in_sum2 beside .counts, found none");
    gguf_refused(NULL, (tensor[]){ half, counts }, 2, 1, "expected sums and counts in F32, found F16 and F32");
    gguf_refused(NULL, (tensor[]){ sums, four }, 2, 1, "found 6 sums and 4 counts");
    gguf_refused(NULL, (tensor[]){ sums, none }, 2, 1, "found 6 sums and 0 counts");
    gguf_refused(NULL, (tensor[]){ sums, counts }, 2, NAN, "expected finite numbers from 0 on, found ");
    gguf_refused(NULL, (tensor[]){ sums, counts }, 2, -1, "found -1 as number 0 of its sums");
    gguf_refused(NULL, (tensor[]){ sums, counts }, 2, 0.5f, "expected counts of rows, found 0.5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds),   cmocka_unit_test(other_sizes),   cmocka_unit_test(older_bytes),
        cmocka_unit_test(cut_anywhere), cmocka_unit_test(older_damaged), cmocka_unit_test(gguf_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
