/* mirror_test.c - packed weights once for each node of a made-up machine: the same numbers as with one copy, each
 * thread reading its node's. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/numa.h"
#include "infer/lm.h"
#include "models/load.h"
#include "support/check.h"
#include "tensor/pack.h"

#include <string.h>

enum { IDS = 40, NODES = 2, THREADS = 4 };

/* A machine of two nodes, made of this one's processors, which may be shared. */
static gal_dev *two_nodes(void) {
    static gal_topology t;
    gal_dev *dev = NULL;
    const gal_device_options options = { .threads = 1 };
    CHECK_OK(gal_dev_open(&dev, &options, diag));
    gal_topology_read(&t, "");
    const gal_memory_node real = t.node[0];
    t.nodes = NODES;
    for (int i = 0; i < NODES; i++) {
        t.node[i] = real;
        t.node[i].cpus = t.usable;
        t.node[i].cores = 1;
    }
    t.cores = NODES;
    gal_pool_free(dev->pool);
    CHECK_OK(gal_pool_new_on(&dev->pool, THREADS, &t, true, diag));
    gal_pool_mirror(dev->pool);
    assert_int_equal(gal_pool_mirrors(dev->pool), NODES);
    return dev;
}

static void need_packing(gal_dev *dev) {
    if (gal__packing_helps(dev)) return;
    gal_dev_close(dev);
    print_message("skipped: the products of this processor read blocks as they are\n");
    skip(); /* ref, chosen or alone: there are no copies that could differ */
}

/* Three ids at a time, then one by one, which is recorded. */
static float *logits_on(gal_dev *dev, const gal_model *m) {
    gal_engine *e = NULL;
    const gal_engine_options options = { .compute = GAL_F32, .cache = GAL_F32, .sequences = 1 };
    const int64_t V = m->config.V;
    CHECK_OK(gal_engine_new(&e, dev, m, &options, diag));
    float *out = gal_alloc_array((size_t)(IDS * V), sizeof *out);
    assert_non_null(out);
    for (int32_t i = 0; i < IDS;) {
        const int32_t ids[3] = { i % (int32_t)V, (i + 1) * 7 % (int32_t)V, (i + 2) * 5 % (int32_t)V };
        const gal_slice s = { 0, ids, i < 27 ? 3 : 1 };
        const float *x = NULL;
        CHECK_OK(gal_engine_step(e, &s, 1, true, &x, diag));
        memcpy(out + i * V, x, (size_t)(s.n * V) * sizeof *out);
        i += (int32_t)s.n;
    }
    gal_engine_free(e);
    return out;
}

static void the_same_bytes(void **state) {
    static const char *const MODELS[] = { "tests/golden/gguf-mixed", "tests/golden/gguf-mistral3-q",
                                          "../shared/fixtures/gguf/moe-Q4_K.gguf" };
    (void)state;
    gal_dev *plain = NULL, *dev = two_nodes();
    need_packing(dev);
    const gal_device_options options = { .threads = 2 };
    CHECK_OK(gal_dev_open(&plain, &options, diag));
    for (size_t k = 0; k < GAL_LEN(MODELS); k++) {
        gal_model *a = NULL, *b = NULL;
        if (strncmp(MODELS[k], "../", 3) == 0 && !gal_exists(MODELS[k])) { /* not in this repository */
            print_message("skipped: no %s\n", MODELS[k]);
            continue;
        }
        CHECK_OK(gal_model_load(&a, MODELS[k], diag));
        CHECK_OK(gal_model_load(&b, MODELS[k], diag));
        CHECK_OK(gal_model_pack(a, plain, NULL, NULL, diag));
        CHECK_OK(gal_model_pack(b, dev, NULL, NULL, diag));
        size_t packed = 0;
        for (size_t i = 0; i < a->n_weights; i++) {
            const gal_w *x = &a->weights[i], *y = &b->weights[i];
            assert_int_equal(x->packed != NULL, y->packed != NULL);
            if (!x->packed) continue;
            const size_t bytes = gal_pack_bytes(x->code.block, x->dim[0], x->dim[1]);
            assert_true(x->code.mirror == 0 && y->code.mirror >= bytes);
            for (size_t n = 0; n < NODES; n++)
                assert_memory_equal((const char *)y->packed + n * y->code.mirror, x->packed, bytes);
            packed++;
        }
        assert_true(packed > 0);
        float *one = logits_on(plain, a), *two = logits_on(dev, b);
        assert_memory_equal(one, two, IDS * (size_t)a->config.V * sizeof *one);
        gal_free(one);
        gal_free(two);
        gal_model_free(a);
        gal_model_free(b);
    }
    gal_dev_close(plain);
    gal_dev_close(dev);
}

/* y = x w^T by a thread of so-and-so node. */
static void product(gal_dev *dev, const gal_w *w, int node, const void *q, float *y) {
    const gal_kernel *k = &dev->table.k[GAL_K_GEMM_I8];
    char *scratch = gal_alloc(GAL_SCRATCH_BYTES + sizeof node);
    assert_non_null(scratch);
    memcpy(scratch + GAL_SCRATCH_BYTES, &node, sizeof node);
    const gal_k_gemm args = { .count = 1,
                              .p = { { .m = 1,
                                       .n = w->dim[0],
                                       .k = w->dim[1],
                                       .a = { .p = (void *)(uintptr_t)q, .rs = 1 },
                                       .b = { w->data, GAL_BLOCKS, 1, w->dim[1], &w->code, w->packed },
                                       .c = { .p = y, .dt = GAL_F32, .rs = w->dim[0], .cs = 1 },
                                       .compute = GAL_F32 } } };
    for (int64_t i = 0; i < k->chunks(&args); i++) k->run(&args, i, scratch);
    gal_free(scratch);
}

/* A copy that is wiped out is missed by its own node's threads alone. */
static void each_reads_its_own(void **state) {
    (void)state;
    gal_dev *dev = two_nodes();
    gal_model *m = NULL;
    size_t seen = 0;
    need_packing(dev);
    CHECK_OK(gal_model_load(&m, "tests/golden/gguf-mixed", diag));
    CHECK_OK(gal_model_pack(m, dev, NULL, NULL, diag));
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        if (!w->packed) continue;
        const int64_t rows = w->dim[0], cols = w->dim[1];
        float *x = gal_alloc_array((size_t)cols, sizeof *x), *y = gal_alloc_array((size_t)(3 * rows), sizeof *y);
        void *q = gal_alloc(gal_i8_row_bytes(cols) * 2);
        assert_true(x && y && q);
        for (int64_t c = 0; c < cols; c++) x[c] = (float)(c % 13) - 5.5f;
        const gal_k_quantise quantise = { .q = q, .x = x, .dt = GAL_F32, .n = 1, .d = cols };
        CHECK_OK(gal_dev_launch(dev, GAL_K_QUANTISE, &quantise, sizeof quantise, diag));
        product(dev, w, 0, q, y);
        memset(w->packed, 0, gal_pack_bytes(w->code.block, rows, cols));
        product(dev, w, 1, q, y + rows);
        assert_memory_equal(y, y + rows, (size_t)rows * sizeof *y);
        product(dev, w, 0, q, y + 2 * rows);
        assert_memory_not_equal(y, y + 2 * rows, (size_t)rows * sizeof *y);
        gal_free(x);
        gal_free(y);
        gal_free(q);
        seen++;
    }
    assert_true(seen > 0);
    gal_model_free(m);
    gal_dev_close(dev);
}

/* Copies are in memory: a file of packed weights is not mapped for them. */
static void no_file_beside(void **state) {
    (void)state;
    gal_dev *dev = two_nodes();
    gal_model *m = NULL;
    gal_lm_options o;
    gal_diag why = { 0 };
    need_packing(dev);
    gal_lm_options_init(&o);
    o.repack = 1;
    CHECK_OK(gal_model_load(&m, "tests/golden/gguf-mixed", diag));
    assert_int_equal(gal_lm_bring(m, dev, &o, &why), GAL_EUSAGE);
    assert_non_null(strstr(why.text, "repack and numa mirror"));
    o.repack = 0;
    CHECK_OK(gal_lm_bring(m, dev, &o, diag));
    assert_null(m->side.data);
    gal_model_free(m);
    gal_dev_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_same_bytes), cmocka_unit_test(each_reads_its_own),
                                        cmocka_unit_test(no_file_beside) };
    return cmocka_run_group_tests_name("packed weights for each node", tests, NULL, NULL);
}
