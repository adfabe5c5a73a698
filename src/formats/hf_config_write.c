/* hf_config_write.c - gal_config as config.json that transformers loads, releases before and from 5 on: the newer
 * keys (rope_parameters, dtype) with the older ones beside them (rope_theta, rope_scaling, torch_dtype), holding the
 * same values. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/config.h"
#include "formats/json_keys.h"

#include <string.h>

/* Every setter accepts NULL and reports it: one check at the end is enough. */
typedef struct writer {
    json_t *obj;
    bool oom;
} writer;

static void put(writer *w, const char *key, json_t *v) { w->oom |= json_object_set_new(w->obj, key, v) != 0; }
static void put_int(writer *w, const char *key, int64_t v) { put(w, key, json_integer(v)); }
static void put_real(writer *w, const char *key, double v) { put(w, key, json_real(v)); }
static void put_text(writer *w, const char *key, const char *v) { put(w, key, json_string(v)); }
static void put_id(writer *w, const char *key, int32_t id) { put(w, key, id < 0 ? json_null() : json_integer(id)); }

static void put_eos(writer *w, const int32_t *ids, int32_t n) {
    if (n < 2) {
        put_id(w, "eos_token_id", n ? ids[0] : -1);
        return;
    }
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++) w->oom |= json_array_append_new(list, json_integer(ids[i])) != 0;
    put(w, "eos_token_id", list);
}

static json_t *rope_object(const gal_config *c, bool *oom) {
    writer w = { .obj = json_object() };
    put_text(&w, "rope_type", c->rope_type);
    put_real(&w, "rope_theta", c->rope_theta);
    if (strcmp(c->rope_type, "default") != 0) put_real(&w, "factor", c->rope_factor);
    if (strcmp(c->rope_type, "yarn") == 0) {
        put_int(&w, "original_max_position_embeddings", c->rope_original ? c->rope_original : c->max_positions);
        put_real(&w, "beta_fast", c->rope_beta_fast);
        put_real(&w, "beta_slow", c->rope_beta_slow);
        if (c->rope_mscale > 0) put_real(&w, "mscale", c->rope_mscale);
        if (c->rope_mscale_all_dim > 0) put_real(&w, "mscale_all_dim", c->rope_mscale_all_dim);
        if (c->rope_attention_factor > 0) put_real(&w, "attention_factor", c->rope_attention_factor);
        if (!c->rope_truncate) put(&w, "truncate", json_false());
    } else if (c->rope_original) {
        put_int(&w, "original_max_position_embeddings", c->rope_original);
    }
    if (strcmp(c->model_type, "ministral3") == 0) put_real(&w, "llama_4_scaling_beta", c->query_beta);
    *oom |= w.oom;
    return w.obj;
}

static void put_layer_types(writer *w, const gal_config *c) {
    json_t *list = json_array();
    for (int64_t l = 0; l < c->L; l++)
        w->oom |= json_array_append_new(list,
                                        json_string(c->layer_full[l] ? "full_attention" : "sliding_attention")) != 0;
    put(w, "layer_types", list);
}

static void put_experts(writer *w, const gal_config *c) {
    if (!c->experts) return;
    put_int(w, "num_local_experts", c->experts);
    put_int(w, "num_experts_per_tok", c->experts_used);
    put_real(w, "router_aux_loss_coef", c->router_balance);
    put_real(w, "router_jitter_noise", 0.0);
    put(w, "output_router_logits", json_false());
}

/* The name under which transformers knows layers of two kinds. */
static const char *type_of(const gal_config *c) {
    return c->layer_full && strcmp(c->model_type, "mistral") == 0 ? "ministral" : c->model_type;
}

static const char *architecture(const char *model_type) {
    if (strcmp(model_type, "ministral") == 0) return "MinistralForCausalLM";
    if (strcmp(model_type, "ministral3") == 0) return "Ministral3ForCausalLM";
    if (strcmp(model_type, "mixtral") == 0) return "MixtralForCausalLM";
    if (strcmp(model_type, "gopher") == 0) return "GopherForCausalLM";
    return "MistralForCausalLM";
}

/* What the families of Mistral alone have. */
static void put_mistral(writer *w, const gal_config *c) {
    put_experts(w, c);
    put_text(w, "hidden_act", "silu");
    put(w, "sliding_window", c->window ? json_integer(c->window) : json_null());
    if (c->layer_full) put_layer_types(w, c);
    put_real(w, "rms_norm_eps", c->eps);
    put_real(w, "rope_theta", c->rope_theta);
    put(w, "rope_parameters", rope_object(c, &w->oom));
    if (strcmp(c->rope_type, "default") != 0) put(w, "rope_scaling", rope_object(c, &w->oom));
}

gal_err gal_config_print(const gal_config *c, gal_buf *out, const char *path, gal_diag *diag) {
    gal_err err = gal_config_check(c, path, diag);
    if (err) return err;
    if (c->rope_divisors || c->attn_scale > 0)
        return gal_fail(diag, GAL_EINPUT, "%s: config.json has no key for %s", path,
                        c->rope_divisors ? "divisors of rotary frequencies" : "a scale of attention of its own");
    static const char *const DTYPES[GAL_DTYPES] = { "float32", "bfloat16", "float16", "float64", "int32" };
    writer w = { .obj = json_object() };
    json_t *arch = json_array();
    w.oom |= json_array_append_new(arch, json_string(architecture(type_of(c)))) != 0;
    put(&w, "architectures", arch);
    put_text(&w, "model_type", type_of(c));
    put_int(&w, "vocab_size", c->V);
    put_int(&w, "hidden_size", c->D);
    put_int(&w, "intermediate_size", c->F);
    put_int(&w, "num_hidden_layers", c->L);
    put_int(&w, "num_attention_heads", c->H);
    put_int(&w, "num_key_value_heads", c->G);
    put_int(&w, "head_dim", c->K);
    put_int(&w, "max_position_embeddings", c->max_positions);
    if (c->relative)
        w.oom |= !gal__gopher_put(w.obj, c);
    else
        put_mistral(&w, c);
    put(&w, "tie_word_embeddings", json_boolean(c->tied));
    put_real(&w, "initializer_range", c->init_range);
    put_real(&w, "attention_dropout", 0.0);
    put(&w, "use_cache", json_true());
    put_id(&w, "bos_token_id", c->bos);
    put_eos(&w, c->eos, c->n_eos);
    put_id(&w, "pad_token_id", c->pad);
    put_text(&w, "dtype", DTYPES[c->dtype]);
    put_text(&w, "torch_dtype", DTYPES[c->dtype]);
    err = w.oom ? gal_fail(diag, GAL_ENOMEM, "%s: out of memory while writing JSON", path)
                : gal__json_print(w.obj, out, path, diag);
    json_decref(w.obj);
    return err;
}

gal_err gal_generation_print(const gal_generation *g, gal_buf *out, const char *path, gal_diag *diag) {
    writer w = { .obj = json_object() };
    put_id(&w, "bos_token_id", g->bos);
    put_eos(&w, g->eos, g->n_eos);
    put_id(&w, "pad_token_id", g->pad);
    if (g->do_sample >= 0) put(&w, "do_sample", json_boolean(g->do_sample));
    if (g->temperature >= 0) put_real(&w, "temperature", g->temperature);
    if (g->top_p >= 0) put_real(&w, "top_p", g->top_p);
    if (g->min_p >= 0) put_real(&w, "min_p", g->min_p);
    if (g->repetition_penalty >= 0) put_real(&w, "repetition_penalty", g->repetition_penalty);
    if (g->top_k >= 0) put_int(&w, "top_k", g->top_k);
    if (g->max_new_tokens >= 0) put_int(&w, "max_new_tokens", g->max_new_tokens);
    gal_err err = w.oom ? gal_fail(diag, GAL_ENOMEM, "%s: out of memory while writing JSON", path)
                        : gal__json_print(w.obj, out, path, diag);
    json_decref(w.obj);
    return err;
}

gal_err gal_config_write(const gal_config *c, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_config_print(c, &b, path, diag);
    if (!err) err = gal_write_file(path, b.data, b.len, diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal_generation_write(const gal_generation *g, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_generation_print(g, &b, path, diag);
    if (!err) err = gal_write_file(path, b.data, b.len, diag);
    gal_buf_free(&b);
    return err;
}
