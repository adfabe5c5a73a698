/* own_config_write.c - gal_config as params.json, Mistral's own description of a model (formats.md 3). Refuses what
 * that file has no words for. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/config.h"
#include "formats/json.h"

#include <string.h>

/* Every setter accepts NULL and reports it: one check at the end is enough. */
typedef struct writer {
    json_t *obj;
    bool oom;
} writer;

static void put(writer *w, const char *key, json_t *v) { w->oom |= json_object_set_new(w->obj, key, v) != 0; }
static void put_int(writer *w, const char *key, int64_t v) { put(w, key, json_integer(v)); }
static void put_real(writer *w, const char *key, double v) { put(w, key, json_real(v)); }

static bool is_type(const gal_config *c, const char *type) { return strcmp(c->rope_type, type) == 0; }

static bool same(double a, double b) { return !((float)a < (float)b) && !((float)a > (float)b); }

static gal_err refuse(const gal_config *c, const char *path, gal_diag *diag) {
    if (c->relative)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: params.json has no words for a \"%s\": expected a folder in Hugging "
                        "Face's layout, or a GGUF file",
                        path, c->model_type);
    if (c->rope_divisors || c->attn_scale > 0)
        return gal_fail(diag, GAL_EINPUT, "%s: params.json has no key for %s", path,
                        c->rope_divisors ? "divisors of rotary frequencies" : "a scale of attention of its own");
    if (!is_type(c, "default") && !is_type(c, "yarn"))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: params.json cannot say \"%s\" scaling of positions: expected none or YaRN", path,
                        c->rope_type);
    if (!is_type(c, "yarn")) return GAL_OK;
    if (!c->rope_truncate)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: params.json cannot say that YaRN's ramp ends between dimensions (truncate: false)",
                        path);
    double scale = gal_yarn_scale(c), usual = gal_yarn_magnitude(c->rope_factor, 1.0);
    if (!same(scale, 1.0) && !same(scale, usual))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: params.json cannot say an attention factor of %.9g: expected 1 or %.9g (YaRN's own)",
                        path, scale, usual);
    return GAL_OK;
}

static void put_window(writer *w, const gal_config *c) {
    if (!c->window) return;
    if (!c->layer_full) {
        put_int(w, "sliding_window", c->window);
        return;
    }
    json_t *list = json_array();
    for (int64_t l = 0; l < c->L; l++)
        w->oom |= json_array_append_new(list, c->layer_full[l] ? json_null() : json_integer(c->window)) != 0;
    put(w, "sliding_window", list);
}

static void put_yarn(writer *w, const gal_config *c) {
    writer y = { .obj = json_object() };
    put_int(&y, "original_max_position_embeddings", c->rope_original ? c->rope_original : c->max_positions);
    put_real(&y, "factor", c->rope_factor);
    put_real(&y, "alpha", c->rope_beta_slow);
    put_real(&y, "beta", c->rope_beta_fast);
    put(&y, "apply_scale", json_boolean(!same(gal_yarn_scale(c), 1.0)));
    w->oom |= y.oom;
    put(w, "yarn", y.obj);
}

static void put_query_scale(writer *w, const gal_config *c) {
    writer q = { .obj = json_object() };
    int64_t original = c->query_original ? c->query_original : c->rope_original ? c->rope_original : c->max_positions;
    put_int(&q, "original_max_position_embeddings", original);
    put_real(&q, "beta", c->query_beta);
    w->oom |= q.oom;
    put(w, "llama_4_scaling", q.obj);
}

static void put_experts(writer *w, const gal_config *c) {
    writer m = { .obj = json_object() };
    put_int(&m, "num_experts", c->experts);
    put_int(&m, "num_experts_per_tok", c->experts_used);
    w->oom |= m.oom;
    put(w, "moe", m.obj);
}

gal_err gal_own_config_print(const gal_config *c, gal_buf *out, const char *path, gal_diag *diag) {
    static const char *const DTYPES[GAL_DTYPES] = { "float32", "bfloat16", "float16", "float64", "int32" };
    gal_err err = gal_config_check(c, path, diag);
    if (!err) err = refuse(c, path, diag);
    if (err) return err;
    writer w = { .obj = json_object() };
    put_int(&w, "dim", c->D);
    put_int(&w, "n_layers", c->L);
    put_int(&w, "head_dim", c->K);
    put_int(&w, "hidden_dim", c->F);
    put_int(&w, "n_heads", c->H);
    put_int(&w, "n_kv_heads", c->G);
    put_real(&w, "norm_eps", c->eps);
    put_int(&w, "vocab_size", c->V);
    put_real(&w, "rope_theta", c->rope_theta);
    put_window(&w, c);
    put_int(&w, "max_seq_len", c->max_positions);
    put_int(&w, "max_position_embeddings", c->max_positions);
    put(&w, "tied_embeddings", json_boolean(c->tied));
    put(&w, "model_type", json_string("transformer"));
    put(&w, "dtype", json_string(DTYPES[c->dtype]));
    if (is_type(c, "yarn")) put_yarn(&w, c);
    if (c->query_beta > 0) put_query_scale(&w, c);
    if (c->experts) put_experts(&w, c);
    err = w.oom ? gal_fail(diag, GAL_ENOMEM, "%s: out of memory while writing JSON", path)
                : gal__json_print(w.obj, out, path, diag);
    json_decref(w.obj);
    return err;
}

gal_err gal_own_config_write(const gal_config *c, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_own_config_print(c, &b, path, diag);
    if (!err) err = gal_write_file(path, b.data, b.len, diag);
    gal_buf_free(&b);
    return err;
}
