/* quantise_test.c - a model in fewer bits: formats and substitutes, mixtures, bytes, and what must leave no file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "convert/quantise.h"
#include "support/check.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct tensor {
    const char *name;
    uint32_t type;
    int ndim;
    int64_t dim[3];
    float bad; /* 0, or what its tenth number is */
} tensor;

static int64_t count_of(const tensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->dim[d];
    return n;
}

static float *numbers(const tensor *t, uint64_t stream) {
    int64_t n = count_of(t);
    float *x = gal_alloc_array((size_t)n, sizeof *x);
    assert_non_null(x);
    uint32_t u = (uint32_t)stream + 1;
    for (int64_t i = 0; i < n; i++) {
        u = u * 1664525u + 1013904223u;
        x[i] = (float)(u >> 8) / 16777216.0f - 0.5f;
    }
    if (t->bad != 0 && n > 9) x[9] = t->bad;
    return x;
}

/* A file of such tensors, with the numbers of stream i in tensor i. */
static void make_model(const char *path, const tensor *t, size_t n, uint32_t heads, uint32_t kv_heads) {
    gal_gguf_writer *w = NULL;
    void *data[64] = { 0 };
    CHECK_OK(gal_gguf_writer_new(&w, diag));
    gal_gguf_put_string(w, "general.architecture", "llama", 5);
    gal_gguf_put_u32(w, "llama.attention.head_count", heads);
    gal_gguf_put_u32(w, "llama.attention.head_count_kv", kv_heads);
    gal_gguf_put_u32(w, "general.file_type", 0);
    gal_gguf_put_string(w, "general.name", "a name", 6);
    gal_gguf_put_string(w, "quantize.imatrix.file", "x", 1);
    assert_true(n <= GAL_LEN(data));
    for (size_t i = 0; i < n; i++) {
        float *x = numbers(&t[i], i);
        if (t[i].type != GAL_BLOCK_F32) {
            uint16_t *h = gal_alloc_array((size_t)count_of(&t[i]), sizeof *h);
            assert_non_null(h);
            gal_convert(h, t[i].type == GAL_BLOCK_F16 ? GAL_F16 : GAL_BF16, x, GAL_F32, count_of(&t[i]));
            gal_free(x);
            data[i] = h;
        } else {
            data[i] = x;
        }
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){
                   .name = t[i].name, .type = t[i].type, .ndim = t[i].ndim, .dim = t[i].dim, .data = data[i] });
    }
    CHECK_OK(gal_gguf_write(w, path, diag));
    gal_gguf_writer_free(w);
    for (size_t i = 0; i < n; i++) gal_free(data[i]);
}

typedef struct place {
    char folder[256], from[300], to[300];
    gal_pool *pool;
} place;

static void enter(place *p, int threads) {
    make_folder(p->folder);
    (void)snprintf(p->from, sizeof p->from, "%s/from.gguf", p->folder);
    (void)snprintf(p->to, sizeof p->to, "%s/to.gguf", p->folder);
    CHECK_OK(gal_pool_new(&p->pool, threads, diag));
}

static void leave(place *p) {
    gal_pool_free(p->pool);
    remove_folder(p->folder);
}

/* Nothing but the source is there: no half file under whatever name. */
static void only_source(const place *p) {
    char **names = NULL;
    size_t n = 0;
    CHECK_OK(gal_list_dir(p->folder, &names, &n, diag));
    assert_int_equal(n, 1);
    assert_string_equal(names[0], "from.gguf");
    gal_free_names(names, n);
}

/* ---- formats ----------------------------------------------------------------------------------------------------
 */

#define F32 GAL_BLOCK_F32
#define F16 GAL_BLOCK_F16
#define BF16 GAL_BLOCK_BF16

static const tensor ODD[] = {
    { "token_embd.weight", BF16, 2, { 6, 256 }, 0 },
    { "output.weight", BF16, 2, { 6, 256 }, 0 },
    { "output_norm.weight", F16, 1, { 256 }, 0 },
    { "blk.0.attn_q.weight", BF16, 2, { 4, 96 }, 0 },
    { "blk.0.attn_k.weight", F32, 2, { 4, 48 }, 0 },
    { "blk.0.attn_v.weight", BF16, 2, { 4, 48 }, 0 },
    { "blk.0.ffn_gate_inp.weight", BF16, 2, { 3, 256 }, 0 },
    { "blk.0.ffn_up_exps.weight", F16, 3, { 3, 5, 64 }, 0 },
    { "blk.0.attn_q.bias", F16, 1, { 64 }, 0 },
    { "other", F16, 2, { 4, 32 }, 0 },
};

static void check_types(const gal_quantise *q, const uint32_t *want) {
    for (size_t i = 0; i < GAL_LEN(ODD); i++)
        if (gal_quantise_at(q, i)->type != want[i])
            fail_msg("%s: expected %s, found %s", ODD[i].name, gal_gguf_type_name(want[i]),
                     gal_gguf_type_name(gal_quantise_at(q, i)->type));
}

static void substitutes(void **state) {
    (void)state;
    static const uint32_t Q4K[] = {
        GAL_BLOCK_Q4_K, GAL_BLOCK_Q4_K, F32, GAL_BLOCK_Q5_0, F16, BF16, F32, GAL_BLOCK_Q5_0, F32, F16
    };
    static const uint32_t Q6K[] = {
        GAL_BLOCK_Q6_K, GAL_BLOCK_Q6_K, F32, GAL_BLOCK_Q8_0, F16, BF16, F32, GAL_BLOCK_Q8_0, F32, F16
    };
    static const uint32_t XS[] = {
        GAL_BLOCK_IQ4_XS, GAL_BLOCK_Q6_K, F32, GAL_BLOCK_IQ4_NL, F16, BF16, F32, GAL_BLOCK_IQ4_NL, F32, F16
    };
    place p;
    gal_quantise *q = NULL;
    enter(&p, 1);
    make_model(p.from, ODD, GAL_LEN(ODD), 4, 4);
    gal_quantise_options o = { .pool = p.pool };
    CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
    CHECK_OK(gal_quantise_recipe(q, "Q4_K", false, diag));
    check_types(q, Q4K);
    CHECK_OK(gal_quantise_recipe(q, "q6_k", false, diag));
    check_types(q, Q6K);
    CHECK_OK(gal_quantise_recipe(q, "IQ4_XS", false, diag));
    check_types(q, XS);
    CHECK_OK(gal_quantise_recipe(q, "MXFP4", false, diag));
    assert_int_equal(gal_quantise_at(q, 3)->type, GAL_BLOCK_MXFP4);
    assert_int_equal(gal_quantise_at(q, 4)->type, F16);
    gal_quantise_free(q);

    gal_diag why = { 0 };
    o.strict = true;
    CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
    assert_int_equal(gal_quantise_recipe(q, "Q4_K", false, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "tensor \"blk.0.attn_q.weight\": expected rows that are a multiple of 256 for "
                                     "Q4_K, found 96 columns (without --strict: Q5_0)"));
    assert_int_equal(gal_quantise_recipe(q, "Q9", false, NULL), GAL_EUSAGE);
    gal_quantise_free(q);
    leave(&p);
}

/* The exceptions of mixtures: layers by number, in a model of 16 whose heads share key-value heads by four. */
static void mixtures(void **state) {
    (void)state;
    const gal_recipe_model dense = { .layers = 16, .heads = 8, .kv_heads = 2 };
    const gal_recipe_model eight = { .layers = 16, .heads = 8, .kv_heads = 2, .experts = 8 };
    const gal_recipe_model weighted = { .layers = 16, .heads = 8, .kv_heads = 8, .weighted = true };
    const gal_recipe *m = gal_recipe_find("q4_k_m"), *s = gal_recipe_find("Q4_K_S"), *zero = gal_recipe_find("Q4_0");
    assert_true(m && s && zero);
    for (int l = 0; l < 16; l++) {
        char v[64], down[64], of_eight[64];
        (void)snprintf(v, sizeof v, "blk.%d.attn_v.weight", l);
        (void)snprintf(down, sizeof down, "blk.%d.ffn_down.weight", l);
        (void)snprintf(of_eight, sizeof of_eight, "blk.%d.ffn_down.3.weight", l);
        bool more = l < 2 || l >= 14 || l == 4 || l == 7 || l == 10 || l == 13;
        uint32_t want = more ? GAL_BLOCK_Q6_K : GAL_BLOCK_Q4_K;
        assert_int_equal(gal_recipe_format(m, &dense, v, 256), want);
        assert_int_equal(gal_recipe_format(m, &dense, down, 256), want);
        assert_int_equal(gal_recipe_format(m, &eight, of_eight, 256), want);
        assert_int_equal(gal_recipe_format(m, &eight, v, 256), GAL_BLOCK_Q8_0);
        assert_int_equal(gal_recipe_format(s, &dense, v, 256), l < 4 ? GAL_BLOCK_Q5_K : GAL_BLOCK_Q4_K);
        assert_int_equal(gal_recipe_format(s, &dense, down, 256), l < 2 ? GAL_BLOCK_Q5_K : GAL_BLOCK_Q4_K);
        assert_int_equal(gal_recipe_format(zero, &dense, down, 256), GAL_BLOCK_Q4_0);
        assert_int_equal(gal_recipe_format(zero, &weighted, down, 256), l < 2 ? GAL_BLOCK_Q4_1 : GAL_BLOCK_Q4_0);
    }
    const gal_recipe_model tied = { .layers = 16, .heads = 8, .kv_heads = 2, .tied = true };
    assert_int_equal(gal_recipe_format(m, &dense, "output.weight", 256), GAL_BLOCK_Q6_K);
    assert_int_equal(gal_recipe_format(m, &dense, "output.weight", 96), GAL_BLOCK_Q8_0);
    assert_int_equal(gal_recipe_format(m, &dense, "token_embd.weight", 256), GAL_BLOCK_Q4_K);
    assert_int_equal(gal_recipe_format(m, &tied, "token_embd.weight", 256), GAL_BLOCK_Q6_K);
    assert_int_equal(gal_recipe_format(gal_recipe_find("Q8_0"), &dense, "output.weight", 256), GAL_BLOCK_Q8_0);
    assert_int_equal(gal_recipe_format(gal_recipe_find("Q2_K"), &dense, "blk.3.attn_v.weight", 256), GAL_BLOCK_Q4_K);
    assert_int_equal(gal_recipe_format(m, &eight, "blk.3.attn_output.weight", 256), GAL_BLOCK_Q5_K);
}

/* llama.cpp gives the values of its "70B" more bits; a case more or less and it is another model. */
static void eighty_layers(void **state) {
    (void)state;
    const gal_recipe_model large = { .layers = 80, .heads = 64, .kv_heads = 8, .llama = true };
    static const struct {
        const char *recipe;
        uint32_t large, other; /* of values in the middle: there, and where one thing is different */
    } CASES[] = {
        { "Q2_K", GAL_BLOCK_Q5_K, GAL_BLOCK_Q4_K },   { "Q3_K_S", GAL_BLOCK_Q5_K, GAL_BLOCK_Q3_K },
        { "Q3_K_M", GAL_BLOCK_Q5_K, GAL_BLOCK_Q4_K }, { "Q4_K_S", GAL_BLOCK_Q5_K, GAL_BLOCK_Q4_K },
        { "Q4_K_M", GAL_BLOCK_Q5_K, GAL_BLOCK_Q4_K }, { "Q4_0", GAL_BLOCK_Q4_0, GAL_BLOCK_Q4_0 },
        { "Q4_K", GAL_BLOCK_Q4_K, GAL_BLOCK_Q4_K },
    };
    static const char V[] = "blk.41.attn_v.weight";
    gal_recipe_model others[4] = { large, large, large, large };
    others[0].layers = 81;
    others[1].kv_heads = 64;
    others[2].llama = false;
    others[3].experts = 8;
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const gal_recipe *r = gal_recipe_find(CASES[i].recipe);
        assert_non_null(r);
        assert_int_equal(gal_recipe_format(r, &large, V, 256), CASES[i].large);
        assert_int_equal(gal_recipe_format(r, &large, "blk.41.ffn_up.weight", 256), r->base);
        assert_int_equal(gal_recipe_format(r, &others[0], V, 256), CASES[i].other);
        assert_int_equal(gal_recipe_format(r, &others[2], V, 256), CASES[i].other);
        if (i > 0) assert_int_equal(gal_recipe_format(r, &others[1], V, 256), CASES[i].other);
        if (!r->pure) assert_int_equal(gal_recipe_format(r, &others[3], V, 256), GAL_BLOCK_Q8_0);
    }
    assert_int_equal(gal_recipe_format(gal_recipe_find("Q2_K"), &others[1], V, 256), GAL_BLOCK_Q3_K);
    assert_int_equal(gal_recipe_format(gal_recipe_find("Q4_K_M"), &large, "blk.0.attn_v.weight", 256),
                     GAL_BLOCK_Q6_K);
}

/* A file says which of them it is. */
static void eighty_in_a_file(void **state) {
    (void)state;
    static const tensor T[] = { { "blk.41.attn_v.weight", F16, 2, { 8, 256 }, 0 },
                                { "blk.79.attn_norm.weight", F32, 1, { 256 }, 0 } };
    for (uint32_t kv_heads = 1; kv_heads <= 8; kv_heads *= 8) {
        place p;
        gal_quantise *q = NULL;
        enter(&p, 1);
        make_model(p.from, T, GAL_LEN(T), 8, kv_heads);
        gal_quantise_options o = { .pool = p.pool };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_recipe(q, "Q4_K_S", false, diag));
        assert_int_equal(gal_quantise_at(q, 0)->type, kv_heads == 1 ? GAL_BLOCK_Q5_K : GAL_BLOCK_Q4_K);
        gal_quantise_free(q);
        leave(&p);
    }
}

/* ---- bytes ------------------------------------------------------------------------------------------------------
 */

/* Rows of one batch and more; a long row; experts. */
static const tensor BIG[] = {
    { "token_embd.weight", F32, 2, { 600, 4096 }, 0 },
    { "blk.0.ffn_up.weight", F32, 2, { 2, 1200000 - 1200000 % 256 }, 0 },
    { "blk.0.ffn_down_exps.weight", F32, 3, { 3, 41, 768 }, 0 },
    { "blk.0.attn_norm.weight", F32, 1, { 256 }, 0 },
};

static void compare_tensor(const gal_gguf *g, size_t i, uint32_t type, const float *means, int64_t matrices) {
    const tensor *t = &BIG[i];
    const gal_gguf_tensor *got = gal_gguf_find(g, t->name);
    int64_t n = count_of(t), columns = t->dim[t->ndim - 1], rows = n / columns / matrices;
    float *x = numbers(t, i);
    assert_non_null(got);
    assert_int_equal(got->type, type);
    uint8_t *want = gal_alloc((size_t)got->bytes);
    assert_non_null(want);
    size_t of_matrix = (size_t)got->bytes / (size_t)matrices;
    for (int64_t m = 0; m < matrices; m++)
        gal_block_quantise_weighted(type, x + m * rows * columns, means ? means + m * columns : NULL,
                                    want + (size_t)m * of_matrix, rows, columns);
    assert_memory_equal(got->data, want, got->bytes);
    gal_free(want);
    gal_free(x);
}

static void add_means(gal_imatrix *m, const tensor *t, size_t matrices, size_t skip) {
    gal_imatrix_entry *e = NULL;
    size_t columns = (size_t)t->dim[t->ndim - 1];
    CHECK_OK(gal_imatrix_add(m, t->name, matrices * columns, matrices, &e, diag));
    for (size_t i = 0; i < matrices * columns; i++) e->sums[i] = (float)(1 + i * 7 % 13);
    for (size_t i = 0; i < matrices; i++) e->counts[i] = i == skip ? 0 : 2;
}

static void whole_bytes(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        place p;
        gal_quantise *q = NULL;
        gal_gguf *g = NULL;
        gal_imatrix im = { .chunks = 3 };
        bool weighted = round == 2;
        enter(&p, round == 0 ? 1 : 3);
        make_model(p.from, BIG, GAL_LEN(BIG), 4, 4);
        if (weighted) add_means(&im, &BIG[2], 3, 1);
        gal_quantise_options o = { .pool = p.pool,
                                   .imatrix = weighted ? &im : NULL,
                                   .imatrix_path = "some/where.gguf" };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        assert_int_equal(gal_quantise_importance_of(q)->unreached, weighted ? 1 : 0);
        assert_int_equal(gal_quantise_importance_of(q)->missing, weighted ? 1 : 0); /* the embedding is looked up */
        CHECK_OK(gal_quantise_recipe(q, "Q4_0", true, diag));
        CHECK_OK(gal_quantise_write(q, p.to, diag));
        gal_quantise_free(q);
        CHECK_OK(gal_gguf_open(&g, p.to, diag));
        float means[3 * 768];
        for (size_t i = 0; i < GAL_LEN(means); i++) means[i] = i / 768 == 1 ? 1.0f : (float)(1 + i * 7 % 13) / 2.0f;
        compare_tensor(g, 0, GAL_BLOCK_Q4_0, NULL, 1);
        compare_tensor(g, 1, GAL_BLOCK_Q4_0, NULL, 1);
        compare_tensor(g, 2, GAL_BLOCK_Q4_0, weighted ? means : NULL, 3);
        compare_tensor(g, 3, F32, NULL, 1);
        uint64_t x = 0;
        CHECK_OK(gal_gguf_uint(g, "general.file_type", &x, NULL, diag));
        assert_int_equal(x, 2);
        CHECK_OK(gal_gguf_uint(g, "general.quantization_version", &x, NULL, diag));
        assert_int_equal(x, 2);
        assert_non_null(gal_gguf_get(g, "general.name"));
        assert_true((gal_gguf_get(g, "quantize.imatrix.file") != NULL) == weighted);
        gal_gguf_close(g);
        gal_imatrix_free(&im);
        leave(&p);
    }
}

/* Every finite number of 16 bits becomes the same number of 32. */
static void halves(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        place p;
        gal_gguf_writer *w = NULL;
        gal_quantise *q = NULL;
        gal_gguf *g = NULL;
        static uint16_t h[65536 - 4];
        int64_t n = 0, dim = 0;
        uint16_t exponent = kind ? 0x7f80 : 0x7c00;
        for (uint32_t u = 0; u < 65536 && n < (int64_t)GAL_LEN(h); u++)
            if ((u & exponent) != exponent) h[n++] = (uint16_t)u;
        dim = n - 5; /* no multiple of anything */
        enter(&p, 1);
        CHECK_OK(gal_gguf_writer_new(&w, diag));
        gal_gguf_put_string(w, "general.architecture", "llama", 5);
        gal_gguf_put_tensor(
            w, &(gal_gguf_item){ .name = "a.bias", .type = kind ? BF16 : F16, .ndim = 1, .dim = &dim, .data = h });
        CHECK_OK(gal_gguf_write(w, p.from, diag));
        gal_quantise_options o = { .pool = p.pool };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_recipe(q, "Q8_0", false, diag));
        CHECK_OK(gal_quantise_write(q, p.to, diag));
        CHECK_OK(gal_gguf_open(&g, p.to, diag));
        float *want = gal_alloc_array((size_t)dim, sizeof *want);
        assert_non_null(want);
        gal_convert(want, GAL_F32, h, kind ? GAL_BF16 : GAL_F16, dim);
        assert_memory_equal(gal_gguf_at(g, 0)->data, want, (size_t)dim * sizeof *want);
        gal_free(want);
        gal_gguf_close(g);
        gal_quantise_free(q);
        gal_gguf_writer_free(w);
        leave(&p);
    }
}

static void other_matrix(void **state) {
    (void)state;
    place p;
    gal_quantise *q = NULL;
    gal_imatrix im = { 0 };
    gal_diag why = { 0 };
    enter(&p, 1);
    make_model(p.from, ODD, GAL_LEN(ODD), 4, 4);
    add_means(&im, &ODD[7], 2, 9);
    gal_quantise_options o = { .pool = p.pool, .imatrix = &im, .imatrix_path = "im.dat" };
    assert_int_equal(gal_quantise_open(&q, p.from, &o, &why), GAL_EINPUT);
    assert_string_equal(why.text, "im.dat: weight \"blk.0.ffn_up_exps.weight\": expected 3 x 64 values, as the model "
                                  "has, found 2 x 64");
    gal_imatrix_free(&im);
    leave(&p);
}

/* ---- under a limit ----------------------------------------------------------------------------------------------
 */

static const tensor LAYERS[] = {
    { "token_embd.weight", BF16, 2, { 64, 256 }, 0 },     { "output.weight", BF16, 2, { 64, 256 }, 0 },
    { "blk.0.attn_q.weight", BF16, 2, { 64, 256 }, 0 },   { "blk.0.ffn_up.0.weight", BF16, 2, { 64, 256 }, 0 },
    { "blk.0.ffn_up.1.weight", BF16, 2, { 64, 256 }, 0 }, { "blk.0.ffn_up.2.weight", BF16, 2, { 64, 256 }, 0 },
    { "blk.0.attn_k.weight", BF16, 2, { 64, 96 }, 0 },    { "blk.0.attn_v.weight", BF16, 2, { 64, 40 }, 0 },
};

/* Whatever the limit: it is kept, nearly used up, never worse than a smaller one, and experts stay alike. */
static void limits(void **state) {
    (void)state;
    place p;
    gal_quantise *q = NULL;
    gal_gguf *g = NULL;
    enter(&p, 2);
    make_model(p.from, LAYERS, GAL_LEN(LAYERS), 4, 4);
    gal_quantise_options o = { .pool = p.pool };
    uint64_t before = 0;
    for (double bits = 4.0; bits < 18.0; bits += 0.7) {
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_budget(q, 0, bits, diag));
        uint64_t bytes = gal_quantise_bytes(q);
        double real = 8.0 * (double)bytes / (double)gal_quantise_elements(q);
        assert_true(real <= bits && bytes >= before);
        /* No step is larger than that of the experts from Q8_0 to 16 bits. */
        double step = 7.5 * 3 * 64 * 256 / (double)gal_quantise_elements(q);
        assert_true(real > bits - step || bits > 16.0);
        assert_int_equal(gal_quantise_at(q, 3)->type, gal_quantise_at(q, 4)->type);
        assert_int_equal(gal_quantise_at(q, 3)->type, gal_quantise_at(q, 5)->type);
        assert_int_equal(gal_quantise_at(q, 7)->type, BF16); /* no block fits its rows */
        before = bytes;
        gal_quantise_free(q);
    }
    for (uint64_t bytes = 60000; bytes < 200000; bytes += 14321) {
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_budget(q, bytes, 0, diag));
        CHECK_OK(gal_quantise_write(q, p.to, diag));
        gal_quantise_free(q);
        CHECK_OK(gal_gguf_open(&g, p.to, diag));
        assert_true(gal_gguf_bytes(g) <= bytes);
        gal_gguf_close(g);
    }
    gal_diag why = { 0 };
    CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
    assert_int_equal(gal_quantise_budget(q, 1000, 0, &why), GAL_EUSAGE);
    assert_non_null(strstr(why.text, "cannot be made so small: 1000 bytes are allowed for the file"));
    gal_quantise_free(q);
    leave(&p);
}

/* ---- what leaves no file ----------------------------------------------------------------------------------------
 */

static void numbers_refused(void **state) {
    (void)state;
    static const struct {
        float bad;
        const char *type, *says;
    } CASES[] = {
        { NAN, "Q4_K", "tensor \"blk.0.attn_q.weight\": expected finite numbers, found NaN or infinity" },
        { INFINITY, "F16", "expected finite numbers, found NaN or infinity" },
        { 1e6f, "F16", "tensor \"blk.0.attn_q.weight\": a number is too large for F16" },
        { -1e7f, "Q8_0", "a number is too large for Q8_0: the scale of its block exceeds 65504, the largest f16" },
        { 3e8f, "Q6_K", "a number is too large for Q6_K: the scale" },
        { 1e30f, "Q4_K", "a number is too large for Q4_K: the scale" },
        { 3.4e38f, "BF16", "a number is too large for BF16" },
    };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const tensor t = { "blk.0.attn_q.weight", F32, 2, { 8, 256 }, CASES[i].bad };
        place p;
        gal_quantise *q = NULL;
        gal_diag why = { 0 };
        enter(&p, 2);
        make_model(p.from, &t, 1, 4, 4);
        gal_quantise_options o = { .pool = p.pool };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_recipe(q, CASES[i].type, false, diag));
        assert_int_equal(gal_quantise_write(q, p.to, &why), GAL_EINPUT);
        if (!strstr(why.text, CASES[i].says)) fail_msg("expected \"%s\", found \"%s\"", CASES[i].says, why.text);
        only_source(&p);
        gal_quantise_free(q);
        leave(&p);
    }
}

/* Only the scale of a block must fit into f16: up to about `most`, whatever llama.cpp writes too. */
static void large_numbers(void **state) {
    (void)state;
    static const struct {
        const char *type;
        float most;
    } EDGES[] = { { "F16", 65504 },      { "Q8_0", 8.3e6f },   { "Q4_0", 5.2e5f },  { "Q4_1", 9.8e5f },
                  { "Q5_0", 1.04e6f },   { "Q5_1", 2.03e6f },  { "Q2_K", 2.9e6f },  { "Q3_K", 8.3e6f },
                  { "Q4_K", 6.1e7f },    { "Q5_K", 1.27e8f },  { "Q6_K", 2.6e8f },  { "IQ4_NL", 8.3e6f },
                  { "IQ4_XS", 2.66e8f }, { "MXFP4", 1.5e38f }, { "BF16", 3.38e38f } };
    for (size_t i = 0; i < 2 * GAL_LEN(EDGES); i++) {
        bool fits = i % 2 == 0;
        tensor t = { "blk.0.attn_q.weight", F32, 2, { 8, 256 }, EDGES[i / 2].most };
        place p;
        gal_quantise *q = NULL;
        gal_gguf *g = NULL;
        gal_diag why = { 0 };
        float x[256];
        t.bad = fits ? 0.8f * t.bad : t.bad < 1e38f ? 1.3f * t.bad : 3.4e38f;
        enter(&p, 2);
        make_model(p.from, &t, 1, 4, 4);
        gal_quantise_options o = { .pool = p.pool };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        CHECK_OK(gal_quantise_recipe(q, EDGES[i / 2].type, true, diag));
        gal_err err = gal_quantise_write(q, p.to, &why);
        if (err != (fits ? GAL_OK : GAL_EINPUT)) fail_msg("%s, %g: %s", EDGES[i / 2].type, (double)t.bad, why.text);
        if (fits) {
            CHECK_OK(gal_gguf_open(&g, p.to, diag));
            gal_block_dequantise(gal_gguf_at(g, 0)->type, gal_gguf_at(g, 0)->data, x, 256);
            gal_gguf_close(g);
            if (!(fabsf(x[9] - t.bad) <= 0.1f * t.bad)) fail_msg("%s: %g", EDGES[i / 2].type, (double)x[9]);
        } else {
            only_source(&p);
        }
        gal_quantise_free(q);
        leave(&p);
    }
}

/* Under a limit a format whose scales are exceeded is none: 3e6 is too much for Q2_K, 1e6 is not. */
static void large_under_a_limit(void **state) {
    (void)state;
    static const struct {
        float bad;
        double bits;
        const char *type; /* NULL: nothing is as small */
    } CASES[] = { { 1e6f, 3.0, "Q2_K" }, { 3e6f, 3.0, NULL }, { 3e6f, 3.6, "Q3_K" }, { 1e9f, 16.0, NULL } };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const tensor t = { "blk.0.attn_q.weight", F32, 2, { 8, 256 }, CASES[i].bad };
        place p;
        gal_quantise *q = NULL;
        enter(&p, 2);
        make_model(p.from, &t, 1, 4, 4);
        gal_quantise_options o = { .pool = p.pool };
        CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
        assert_int_equal(gal_quantise_budget(q, 0, CASES[i].bits, NULL), CASES[i].type ? GAL_OK : GAL_EUSAGE);
        if (CASES[i].type) {
            assert_string_equal(gal_gguf_type_name(gal_quantise_at(q, 0)->type), CASES[i].type);
            CHECK_OK(gal_quantise_write(q, p.to, diag));
        }
        gal_quantise_free(q);
        leave(&p);
    }
}

static void take_line(void *user, const char *line) {
    gal_buf *lines = user;
    gal_buf_printf(lines, "%s\n", line);
}

/* It is in no format that could refuse it, and no user may learn of it only when the model speaks. */
static void copies_that_are_not_finite_are_named(void **state) {
    (void)state;
    const tensor t[] = { { "output_norm.weight", F32, 1, { 256 }, NAN },
                         { "blk.0.attn_norm.weight", F32, 1, { 256 }, 0 },
                         { "blk.0.attn_q.weight", F32, 2, { 8, 256 }, 0 } };
    place p;
    gal_quantise *q = NULL;
    gal_buf lines = { 0 };
    enter(&p, 2);
    make_model(p.from, t, GAL_LEN(t), 4, 4);
    gal_quantise_options o = { .pool = p.pool, .warn = take_line, .user = &lines };
    CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
    CHECK_OK(gal_quantise_recipe(q, "Q8_0", false, diag));
    CHECK_OK(gal_quantise_write(q, p.to, diag));
    assert_non_null(lines.data);
    assert_non_null(
        strstr(lines.data, "tensor \"output_norm.weight\": expected finite numbers, found NaN or infinity"));
    assert_null(strstr(lines.data, "attn"));
    gal_buf_free(&lines);
    gal_quantise_free(q);
    leave(&p);
}

typedef enum fate { STOP, CUT_A_LITTLE, CUT, INTERRUPT } fate;
typedef struct meddler {
    const place *p;
    fate fate;
    int calls;
} meddler;

/* In the middle of the work. */
static bool meddle(void *user, const char *name, uint64_t done, uint64_t total) {
    meddler *m = user;
    assert_true(name && done <= total);
    if (m->calls++) return false;
    if (m->fate == STOP) return true;
    if (m->fate == CUT) assert_int_equal(truncate(m->p->from, 4096), 0);
    if (m->fate == CUT_A_LITTLE) assert_int_equal(truncate(m->p->from, (off_t)total), 0);
    if (m->fate == INTERRUPT) {
        (void)raise(SIGINT);
        (void)raise(SIGINT);
    }
    return false;
}

static gal_err meddled(const place *p, fate f, gal_diag *why) {
    meddler m = { p, f, 0 };
    gal_quantise *q = NULL;
    gal_quantise_options o = { .pool = p->pool, .progress = meddle, .user = &m };
    CHECK_OK(gal_quantise_open(&q, p->from, &o, diag));
    CHECK_OK(gal_quantise_recipe(q, "Q8_0", false, diag));
    gal_err err = gal_quantise_write(q, p->to, why);
    gal_quantise_free(q);
    return err;
}

static void stopped(void **state) {
    (void)state;
    place p;
    gal_diag why = { 0 }, second = { 0 };
    enter(&p, 2);
    make_model(p.from, BIG, 1, 4, 4);
    assert_int_equal(meddled(&p, STOP, &why), GAL_EINTERRUPTED);
    only_source(&p);
    gal_quantise *q = NULL;
    gal_quantise_options o = { .pool = p.pool };
    CHECK_OK(gal_quantise_open(&q, p.from, &o, diag));
    CHECK_OK(gal_quantise_recipe(q, "Q8_0", false, diag));
    assert_int_equal(gal_quantise_write(q, p.from, &second), GAL_EUSAGE);
    assert_non_null(strstr(second.text, "is the model itself"));
    gal_quantise_free(q);
    leave(&p);
}

/* Within the last page nothing faults: the bytes that are gone read as zeros. */
static void cut_a_little(void **state) {
    (void)state;
    static const tensor SMALL[] = { { "blk.0.attn_q.weight", F32, 2, { 8, 256 }, 0 } };
    place p;
    gal_diag why = { 0 };
    enter(&p, 2);
    make_model(p.from, SMALL, 1, 4, 4);
    assert_int_equal(meddled(&p, CUT_A_LITTLE, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "what was read is not whole"));
    only_source(&p);
    leave(&p);
}

/* As the program is: its handlers end it, and what it had begun is gone. */
static void ended_by(fate f, int code) {
    place p;
    int status = 0;
    enter(&p, 1);
    make_model(p.from, BIG, 1, 4, 4);
    gal_pool_free(p.pool); /* threads do not come along */
    p.pool = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)fclose(stderr);
        gal_cli_catch_faults();
        gal_cli_catch_interrupts();
        gal_diag why = { 0 };
        if (gal_pool_new(&p.pool, 1, &why)) _exit(99);
        (void)meddled(&p, f, &why);
        _exit(98);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
    only_source(&p);
    leave(&p);
}

static void cut_off(void **state) {
    (void)state;
    ended_by(CUT, 3);
}

static void interrupted_twice(void **state) {
    (void)state;
    ended_by(INTERRUPT, 130);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(substitutes),     cmocka_unit_test(mixtures),
        cmocka_unit_test(eighty_layers),   cmocka_unit_test(eighty_in_a_file),
        cmocka_unit_test(whole_bytes),     cmocka_unit_test(other_matrix),
        cmocka_unit_test(halves),          cmocka_unit_test(limits),
        cmocka_unit_test(numbers_refused), cmocka_unit_test(copies_that_are_not_finite_are_named),
        cmocka_unit_test(large_numbers),   cmocka_unit_test(large_under_a_limit),
        cmocka_unit_test(stopped),         cmocka_unit_test(cut_a_little),
        cmocka_unit_test(cut_off),         cmocka_unit_test(interrupted_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
