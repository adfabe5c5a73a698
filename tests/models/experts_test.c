/* experts_test.c - one small Mixtral in every spelling of its experts (mixtral.md 7): apart and in one tensor, in
 * Hugging Face's layout, Mistral's own and GGUF files; and files that hold something else. The same logits from each
 * as the reference implementation has of the first. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "golden.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "tests/golden/mixtral-base"
#define TOLERANCE 2e-4
enum { ITEMS = 64, OUTER = 3, BEFORE = 7 }; /* weights outside of layers; of a layer, before its experts */

typedef struct item {
    char name[96];
    int ndim;
    int64_t dim[3];
    float *data;
} item;

typedef struct file {
    item item[ITEMS];
    size_t n;
    char dir[64], path[128];
    gal_config config; /* of the layout to be written */
} file;

/* How the experts of a layer lie. */
typedef enum form { APART, STACKED, JOINED } form;

static item *add(file *f, const char *name, int ndim, int64_t d0, int64_t d1, int64_t d2) {
    assert_true(f->n < ITEMS);
    item *it = &f->item[f->n++];
    *it = (item){ .ndim = ndim, .dim = { d0, d1, d2 } };
    (void)snprintf(it->name, sizeof it->name, "%s", name);
    it->data = gal_alloc_array((size_t)(d0 * (ndim > 1 ? d1 : 1) * (ndim > 2 ? d2 : 1)), sizeof *it->data);
    assert_non_null(it->data);
    return it;
}

/* Rows of q and k as the layouts with pairs side by side have them (mistral.md 5). */
static void copy_rows(float *to, const gal_w *w, bool pairs) {
    int64_t rows = w->dim[0], cols = w->ndim > 1 ? w->dim[1] : 1, size = pairs ? w->rotary : 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = r;
        if (size) from = r / size * size + r % size % 2 * (size / 2) + r % size / 2;
        memcpy(to + r * cols, (const float *)w->data + from * cols, (size_t)cols * sizeof *to);
    }
}

static void copy_one(file *f, const gal_w *w, const char *name) {
    item *it = add(f, name, w->ndim, w->dim[0], w->ndim > 1 ? w->dim[1] : 0, 0);
    copy_rows(it->data, w, f->config.layout != GAL_LAYOUT_HF);
}

/* Matrices number `first` of each expert, and below them, in each, those number `second` (-1: none), as one tensor.
 */
static void stack(file *f, const gal_w *experts, const char *name, int first, int second) {
    const int64_t E = f->config.experts, rows = experts[first].dim[0], cols = experts[first].dim[1];
    const int64_t parts = second < 0 ? 1 : 2, size = rows * cols;
    item *it = add(f, name, 3, E, parts * rows, cols);
    for (int64_t e = 0; e < E; e++) {
        memcpy(it->data + e * parts * size, experts[3 * e + first].data, (size_t)size * sizeof *it->data);
        if (second >= 0)
            memcpy(it->data + (e * parts + 1) * size, experts[3 * e + second].data, (size_t)size * sizeof *it->data);
    }
}

/* Every weight of m in a layout, the experts in a form: their order in a table is gate, down, up. */
static void fill(file *f, const gal_model *m, gal_layout layout, form how) {
    gal_model *named = NULL;
    gal_config c;
    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/galerne-experts-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    CHECK_OK(gal_config_copy(&c, &m->config, diag));
    c.layout = layout;
    f->config = c;
    CHECK_OK(gal_model_build(&named, &c, diag));
    size_t layer = BEFORE + 3 * (size_t)f->config.experts;
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        size_t l = (i - OUTER) / layer, in = (i - OUTER) % layer;
        bool expert = i >= OUTER && in >= BEFORE, hf = layout == GAL_LAYOUT_HF;
        char name[96];
        (void)snprintf(name, sizeof name, "%s", named->weights[i].name);
        if (hf && how != APART && i >= OUTER && in == BEFORE - 1)
            (void)snprintf(name, sizeof name, "model.layers.%zu.mlp.gate.weight", l);
        if (!expert || how == APART) copy_one(f, w, name);
        if (!expert || how == APART || in > BEFORE) continue;
        const char *const STEMS[] = { "gate", "down", "up" };
        for (int k = 0; k < 3; k++) {
            (void)snprintf(name, sizeof name, "blk.%zu.ffn_%s_exps.weight", l, STEMS[k]);
            if (how == STACKED) stack(f, w, name, k, -1);
        }
        if (how == STACKED) continue;
        (void)snprintf(name, sizeof name,
                       hf ? "model.layers.%zu.mlp.experts.gate_up_proj" : "blk.%zu.ffn_gate_up_exps.weight", l);
        stack(f, w, name, 0, 2);
        (void)snprintf(name, sizeof name,
                       hf ? "model.layers.%zu.mlp.experts.down_proj" : "blk.%zu.ffn_down_exps.weight", l);
        stack(f, w, name, 1, -1);
    }
    gal_model_free(named);
}

static void write_params(const file *f) {
    const gal_config *c = &f->config;
    char path[160], text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"dim\": %d, \"n_layers\": %d, \"head_dim\": %d, \"hidden_dim\": %d, \"n_heads\": %d, "
                     "\"n_kv_heads\": %d, \"norm_eps\": %g, \"vocab_size\": %d, \"rope_theta\": %g, "
                     "\"max_seq_len\": %d, \"moe\": {\"num_experts\": %d, \"num_experts_per_tok\": %d}}",
                     (int)c->D, (int)c->L, (int)c->K, (int)c->F, (int)c->H, (int)c->G, c->eps, (int)c->V,
                     c->rope_theta, (int)c->max_positions, (int)c->experts, (int)c->experts_used);
    (void)snprintf(path, sizeof path, "%s/params.json", f->dir);
    CHECK_OK(gal_write_file(path, text, (size_t)n, diag));
}

static void write_all(file *f) {
    char path[160];
    if (f->config.layout == GAL_LAYOUT_GGUF) {
        gal_gguf_writer *w = NULL;
        CHECK_OK(gal_gguf_writer_new(&w, diag));
        CHECK_OK(gal_gguf_put_config(w, &f->config, "m", diag));
        for (size_t i = 0; i < f->n; i++) {
            const item *it = &f->item[i];
            gal_gguf_put_tensor(
                w, &(gal_gguf_item){ .name = it->name, .ndim = it->ndim, .dim = it->dim, .data = it->data });
        }
        (void)snprintf(f->path, sizeof f->path, "%s/model.gguf", f->dir);
        CHECK_OK(gal_gguf_write(w, f->path, diag));
        gal_gguf_writer_free(w);
        return;
    }
    bool own = f->config.layout == GAL_LAYOUT_OWN;
    gal_st_item items[ITEMS];
    gal_st_dtype f32 = gal_st_dtype_of(GAL_F32);
    for (size_t i = 0; i < f->n; i++) {
        const item *it = &f->item[i];
        items[i] = (gal_st_item){
            .name = it->name, .dtype = f32, .from = f32, .ndim = it->ndim, .dim = it->dim, .data = it->data
        };
    }
    (void)snprintf(f->path, sizeof f->path, "%s", f->dir);
    (void)snprintf(path, sizeof path, "%s/%s.safetensors", f->dir, own ? "consolidated" : "model");
    CHECK_OK(gal_safetensors_write(path, items, f->n, NULL, 0, diag));
    if (own) {
        write_params(f);
    } else {
        (void)snprintf(path, sizeof path, "%s/config.json", f->dir);
        CHECK_OK(gal_config_write(&f->config, path, diag));
    }
}

static void drop(file *f) {
    static const char *const NAMES[] = { "model.gguf", "model.safetensors", "consolidated.safetensors", "config.json",
                                         "params.json" };
    char path[160];
    for (size_t i = 0; i < f->n; i++) gal_free(f->item[i].data);
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, NAMES[i]);
        (void)unlink(path);
    }
    (void)rmdir(f->dir);
}

static const struct {
    gal_layout layout;
    form form;
    const char *what;
} SPELLINGS[] = { { GAL_LAYOUT_HF, APART, "Hugging Face, apart" }, { GAL_LAYOUT_HF, JOINED, "Hugging Face, joined" },
                  { GAL_LAYOUT_OWN, APART, "Mistral's own" },      { GAL_LAYOUT_GGUF, STACKED, "GGUF, stacked" },
                  { GAL_LAYOUT_GGUF, JOINED, "GGUF, joined" },     { GAL_LAYOUT_GGUF, APART, "GGUF, apart" } };

static void every_spelling(void **state) {
    (void)state;
    golden g;
    gal_dev *dev = NULL;
    gal_ctx *cx = NULL;
    gal_step st;
    golden_open(&g, FOLDER);
    CHECK_OK(gal_dev_open(&dev, NULL, diag));
    CHECK_OK(gal_ctx_new(&cx, dev, GAL_F32, diag));
    CHECK_OK(gal_step_init(&st, dev, g.B * g.T, diag));
    st.row_len = g.T;
    for (int64_t s = 0; s < g.B; s++) golden_rows(&st, g.ids + s * g.T, g.T, 0, (int32_t)s);
    float *got = gal_alloc_array((size_t)(g.B * g.T * g.V), sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < GAL_LEN(SPELLINGS); i++) {
        file f;
        golden other = g;
        int64_t at;
        fill(&f, g.m, SPELLINGS[i].layout, SPELLINGS[i].form);
        write_all(&f);
        CHECK_OK(gal_model_load(&other.m, f.path, diag));
        assert_string_equal(other.m->config.model_type, "mixtral");
        assert_int_equal(gal_model_mapped_bytes(other.m), 4 * gal_model_params(other.m)); /* nothing was copied */
        golden_logits(cx, &other, &st, got);
        double d = largest_difference(got, g.logits, g.B * g.T * g.V, &at);
        if (!(d <= TOLERANCE)) fail_msg("%s: largest difference %g", SPELLINGS[i].what, d);
        gal_model_free(other.m);
        drop(&f);
    }
    gal_free(got);
    gal_step_free(&st);
    gal_ctx_free(cx);
    gal_dev_close(dev);
    golden_close(&g);
}

static item *named(file *f, const char *name) {
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->item[i].name, name) == 0) return &f->item[i];
    fail_msg("no %s", name);
    return NULL;
}

/* A tensor renamed, or of a smaller first dimension. */
static const struct {
    gal_layout layout;
    form form;
    const char *tensor, *name;
    int64_t rows;
    const char *says;
} WRONG[] = {
    { GAL_LAYOUT_HF, APART, "model.layers.1.block_sparse_moe.experts.4.w2.weight", "model.layers.1.other", 0,
      "\"model.layers.1.block_sparse_moe.experts.4.w2.weight\" of shape [24, 20] is missing" },
    { GAL_LAYOUT_HF, APART, "model.layers.0.block_sparse_moe.gate.weight", NULL, 4,
      "\"model.layers.0.block_sparse_moe.gate.weight\": expected shape [5, 24], found [4, 24]" },
    { GAL_LAYOUT_HF, JOINED, "model.layers.0.mlp.experts.gate_up_proj", NULL, 4,
      "\"model.layers.0.mlp.experts.gate_up_proj\": expected shape [5, 40, 24], found [4, 40, 24]" },
    { GAL_LAYOUT_HF, JOINED, "model.layers.0.mlp.experts.down_proj", "model.layers.2.mlp.experts.down_proj", 0,
      "\"model.layers.0.block_sparse_moe.experts.0.w2.weight\" of shape [24, 20] is missing" },
    { GAL_LAYOUT_OWN, APART, "layers.1.feed_forward.experts.0.w1.weight", "layers.1.feed_forward.experts.5.w1.weight",
      0, "\"layers.1.feed_forward.experts.0.w1.weight\"" },
    { GAL_LAYOUT_GGUF, STACKED, "blk.1.ffn_up_exps.weight", NULL, 3,
      "\"blk.1.ffn_up_exps.weight\": expected shape [5, 20, 24], found [3, 20, 24]" },
    { GAL_LAYOUT_GGUF, STACKED, "blk.1.ffn_gate_inp.weight", "blk.1.ffn_gate_inq.weight", 0,
      "\"blk.1.ffn_gate_inp.weight\" is missing" },
    { GAL_LAYOUT_GGUF, APART, "blk.0.ffn_down.3.weight", "blk.0.ffn_down.03.weight", 0,
      "\"blk.0.ffn_down.3.weight\" is missing" },
};

static void wrong_files(void **state) {
    (void)state;
    gal_model *m = NULL, *no = NULL;
    CHECK_OK(gal_model_load(&m, FOLDER, diag));
    for (size_t i = 0; i < GAL_LEN(WRONG); i++) {
        file f;
        gal_diag why = { 0 };
        fill(&f, m, WRONG[i].layout, WRONG[i].form);
        item *it = named(&f, WRONG[i].tensor);
        if (WRONG[i].name) (void)snprintf(it->name, sizeof it->name, "%s", WRONG[i].name);
        if (WRONG[i].rows) it->dim[0] = WRONG[i].rows;
        write_all(&f);
        gal_err err = gal_model_load(&no, f.path, &why);
        if (err != GAL_EINPUT || !strstr(why.text, WRONG[i].says))
            fail_msg("expected '%s' in '%s' (%s)", WRONG[i].says, why.text, gal_err_name(err));
        drop(&f);
    }
    gal_model_free(m);
}

/* Both spellings at once: nobody can tell which is meant. */
static void two_spellings(void **state) {
    (void)state;
    gal_model *m = NULL, *no = NULL;
    file f;
    gal_diag why = { 0 };
    CHECK_OK(gal_model_load(&m, FOLDER, diag));
    fill(&f, m, GAL_LAYOUT_GGUF, APART);
    stack(&f, &m->weights[OUTER + BEFORE], "blk.0.ffn_up_exps.weight", 2, -1);
    write_all(&f);
    assert_int_equal(gal_model_load(&no, f.path, &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "\"blk.0.ffn_up_exps.weight\" belongs to no weight"));
    drop(&f);
    why = (gal_diag){ 0 };
    fill(&f, m, GAL_LAYOUT_HF, APART);
    stack(&f, &m->weights[OUTER + BEFORE], "model.layers.0.mlp.experts.gate_up_proj", 0, 2);
    write_all(&f);
    assert_int_equal(gal_model_load(&no, f.path, &why), GAL_EINPUT);
    if (!strstr(why.text, "gate_up_proj\" belongs to no weight")) fail_msg("%s", why.text);
    drop(&f);
    gal_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_spelling), cmocka_unit_test(wrong_files),
                                        cmocka_unit_test(two_spellings) };
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
