/* own_config.c - params.json, the description of a model in Mistral's own layout (formats.md 3), into gal_config.
 * Refuses by name what this library would compute wrongly: other kinds of models, latent attention, experts of
 * another kind than Mixtral's, other quantised weights. What belongs to pictures or sound around the text model is
 * left out, and c->wrapper says so. Unknown keys are ignored, `lora` too: it speaks of adapters, which lie in files
 * of their own. Invariant: what it returns has passed gal_config_check(). SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/json_keys.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The object under a key as keys of its own; obj NULL: absent. prefix has room for "key." */
static gal__keys inner(gal__keys *r, const char *key, char prefix[32]) {
    const json_t *v = gal__key_get(r, key);
    if (v && !json_is_object(v)) gal__key_fail(r, key, "expected an object, found %s", gal__json_kind(v));
    (void)snprintf(prefix, 32, "%s.", key);
    return (gal__keys){ .obj = json_is_object(v) ? v : NULL, .path = r->path, .prefix = prefix, .diag = r->diag };
}

static double real_needed(gal__keys *r, const char *key, double lo, double hi) {
    if (!gal__key_get(r, key)) gal__key_fail(r, key, "expected a number from %g to %g, the key is missing", lo, hi);
    return gal__key_real(r, key, lo, hi, lo);
}

/* Models that are something else, by what they say of themselves. */
static void read_kind(gal__keys *r) {
    char shown[GAL__SHOW];
    const char *type = gal__key_text(r, "model_type", "transformer");
    if (!r->err && strcmp(type, "transformer") != 0)
        gal__key_fail(r, "model_type", "expected \"transformer\", found \"%s\"", gal__show(shown, type));
    if (gal__key_get(r, "qk_nope_head_dim"))
        gal__key_fail(r, "qk_nope_head_dim",
                      "a model with latent attention (MLA) is not supported: expected heads of one head_dim");
    const char *act = gal__key_text(r, "activation", "silu");
    if (!r->err && strcmp(act, "silu") != 0)
        gal__key_fail(r, "activation", "expected \"silu\", found \"%s\"", gal__show(shown, act));
    if (gal__key_truth(r, "use_biases", false))
        gal__key_fail(r, "use_biases", "expected false: this family has no biases");
    if (!gal__key_truth(r, "causal", true)) gal__key_fail(r, "causal", "expected true: this family looks back only");
}

static void read_sizes(gal__keys *r, gal_config *c) {
    c->D = gal__key_whole(r, "dim", 1, GAL_MAX_WIDTH, 0);
    c->L = gal__key_whole(r, "n_layers", 1, GAL_MAX_LAYERS, 0);
    c->K = gal__key_whole(r, "head_dim", 2, GAL_MAX_WIDTH, 0);
    c->F = gal__key_whole(r, "hidden_dim", 1, GAL_MAX_WIDTH, 0);
    c->H = gal__key_whole(r, "n_heads", 1, GAL_MAX_WIDTH, 0);
    if (!r->err) c->G = gal__key_whole(r, "n_kv_heads", 1, c->H, 0);
    c->eps = real_needed(r, "norm_eps", 0, 1);
    c->V = gal__key_whole(r, "vocab_size", 1, GAL_MAX_VOCAB, 0);
    c->tied = gal__key_truth(r, "tied_embeddings", false);
    /* Some files have both; the smaller one is what the model was made for. */
    int64_t p = gal__key_whole(r, "max_position_embeddings", 1, GAL_MAX_POSITIONS, 128000),
            s = gal__key_whole(r, "max_seq_len", 1, GAL_MAX_POSITIONS, p);
    c->max_positions = gal__key_get(r, "max_position_embeddings") ? GAL_MIN(p, s) : s;
    const char *dtype = gal__key_text(r, "dtype", "bfloat16");
    c->dtype = strcmp(dtype, "float32") == 0 ? GAL_F32 : strcmp(dtype, "float16") == 0 ? GAL_F16 : GAL_BF16;
}

/* A number, a list, null, or the text of one of them; under one of two names. */
static void read_window(gal__keys *r, gal_config *c) {
    const json_t *a = gal__key_get(r, "sliding_window"), *b = gal__key_get(r, "_sliding_window");
    if (a && b) gal__key_fail(r, "_sliding_window", "expected it or sliding_window, found both");
    const char *key = b ? "_sliding_window" : "sliding_window", *s = json_string_value(a ? a : b);
    if (!s) {
        gal__key_window(r, key, a ? a : b, c);
        return;
    }
    char shown[GAL__SHOW];
    json_error_t e;
    json_t *v = strcmp(s, "None") == 0 || !s[0]
                    ? json_null()
                    : json_loadb(s, strlen(s), JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
    if (v && !json_is_string(v))
        gal__key_window(r, key, v, c);
    else if (!v && gal_json_no_memory(&e, s, strlen(s)))
        r->err = r->err ? r->err : gal_fail(r->diag, GAL_ENOMEM, "%s: %s: no memory", r->path, key);
    else
        gal__key_fail(r, key, "expected an integer, a list or null as text, found \"%s\"", gal__show(shown, s));
    json_decref(v);
}

/* Of a file without rope_theta: what its makers meant (mistral.md 4.3). The first Mistral 7B is told by its window.
 */
static double assumed_theta(const gal_config *c) { return c->window == 4096 && c->V == 32000 ? 1e4 : 1e6; }

static void read_rope(gal__keys *r, gal_config *c) {
    char prefix[32];
    c->theta_assumed = !gal__key_get(r, "rope_theta");
    c->rope_theta = gal__key_real(r, "rope_theta", 1, 1e30, assumed_theta(c));
    gal__keys y = inner(r, "yarn", prefix);
    if (y.obj) {
        (void)snprintf(c->rope_type, sizeof c->rope_type, "yarn");
        c->rope_original = gal__key_whole(&y, "original_max_position_embeddings", 1, GAL_MAX_POSITIONS, 0);
        c->rope_factor = real_needed(&y, "factor", 1e-6, 1e6);
        c->rope_beta_fast = gal__key_real(&y, "beta", 1e-6, 1e6, 32);
        c->rope_beta_slow = gal__key_real(&y, "alpha", 1e-6, 1e6, 1);
        if (!y.err && c->rope_beta_fast < c->rope_beta_slow)
            gal__key_fail(&y, "beta", "expected at least alpha = %g, found %g", c->rope_beta_slow, c->rope_beta_fast);
        /* false: cosine and sine keep their size, which others write as an attention factor of 1 */
        if (!gal__key_truth(&y, "apply_scale", true)) c->rope_attention_factor = 1.0;
        if (!r->err) r->err = y.err;
    }
    gal__keys q = inner(r, "llama_4_scaling", prefix);
    if (q.obj) {
        c->query_beta = real_needed(&q, "beta", 0, 100);
        c->query_original = gal__key_whole(&q, "original_max_position_embeddings", 1, GAL_MAX_POSITIONS, 0);
        if (!r->err) r->err = q.err;
    }
    if (!r->err && !(c->rope_theta > 1))
        gal__key_fail(r, "rope_theta", "expected a number above 1, found %g", c->rope_theta);
    if (y.obj || q.obj) (void)snprintf(c->model_type, sizeof c->model_type, "ministral3");
}

static void read_weights(gal__keys *r) {
    char prefix[32], shown[GAL__SHOW];
    gal__keys q = inner(r, "quantization", prefix);
    if (!q.obj || json_object_size(q.obj) == 0) return;
    const char *method = gal__key_text(&q, "quant_method", NULL), *format = gal__key_text(&q, "qformat_weight", NULL),
               *act = gal__key_text(&q, "qscheme_act", "TENSOR");
    if (method)
        gal__key_fail(&q, "quant_method",
                      "weights quantised by \"%s\" are not supported: expected qformat_weight \"fp8_e4m3\"",
                      gal__show(shown, method));
    else if (!format || strcmp(format, "fp8_e4m3") != 0)
        gal__key_fail(&q, "qformat_weight", "expected \"fp8_e4m3\", found %s%s%s", format ? "\"" : "",
                      format ? gal__show(shown, format) : "nothing", format ? "\"" : "");
    /* How activations were rounded when the weights were made; ours are not. */
    if (!q.err && strcmp(act, "TENSOR") != 0 && strcmp(act, "NO_SCALES") != 0)
        gal__key_fail(&q, "qscheme_act", "expected \"TENSOR\" or \"NO_SCALES\", found \"%s\"", gal__show(shown, act));
    if (!r->err) r->err = q.err;
}

static void read_wrapper(gal__keys *r, gal_config *c) {
    static const char *const PARTS[] = { "vision_encoder", "multimodal" };
    char prefix[32];
    for (size_t i = 0; i < GAL_LEN(PARTS); i++) {
        gal__keys p = inner(r, PARTS[i], prefix);
        if (p.obj && json_object_size(p.obj)) (void)snprintf(c->wrapper, sizeof c->wrapper, "%s", PARTS[i]);
    }
}

/* Every layer has experts and nothing beside them, or none has. */
static void read_experts(gal__keys *r, gal_config *c) {
    static const struct {
        const char *key;
        int64_t most; /* without meaning another model */
    } PLAIN[] = { { "route_every_n", 1 },
                  { "first_k_dense_replace", 0 },
                  { "num_shared_experts", 0 },
                  { "num_expert_groups", 1 },
                  { "num_expert_groups_per_tok", 1 } };
    char prefix[32];
    gal__keys m = inner(r, "moe", prefix);
    if (!m.obj || json_object_size(m.obj) == 0 || r->err) return;
    c->experts = gal__key_whole(&m, "num_experts", 1, GAL_MAX_EXPERTS, 0);
    c->experts_used = gal__key_whole(&m, "num_experts_per_tok", 1, m.err ? GAL_MAX_EXPERTS : c->experts, 0);
    c->F = gal__key_whole(&m, "expert_hidden_dim", 1, GAL_MAX_WIDTH, c->F);
    c->router_balance = 0.02; /* of the models that were published so */
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++)
        if (gal__key_whole(&m, PLAIN[i].key, INT32_MIN, INT32_MAX, 0) > PLAIN[i].most)
            gal__key_fail(&m, PLAIN[i].key,
                          "expected experts in every layer, in one group, and no others beside them");
    double scale = gal__key_real(&m, "routed_scale", 0, 1e6, 1);
    if (scale < 1 || scale > 1) gal__key_fail(&m, "routed_scale", "expected 1, found %g", scale);
    if (c->query_beta > 0) gal__key_fail(&m, "num_experts", "experts beside llama_4_scaling are not supported");
    (void)snprintf(c->model_type, sizeof c->model_type, "mixtral");
    if (!r->err) r->err = m.err;
}

static const gal__config_names NAMES = { .prefix = "",
                                         .vocab = "vocab_size",
                                         .width = "dim",
                                         .layers = "n_layers",
                                         .heads = "n_heads",
                                         .kv_heads = "n_kv_heads",
                                         .head_size = "head_dim",
                                         .hidden = "hidden_dim",
                                         .positions = "max_seq_len",
                                         .window = "sliding_window",
                                         .original = "yarn.original_max_position_embeddings",
                                         .eps = "norm_eps",
                                         .theta = "rope_theta",
                                         .experts = "moe.num_experts",
                                         .experts_used = "moe.num_experts_per_tok" };

gal_err gal_own_config_parse(gal_config *out, const char *bytes, size_t n, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_err err = gal__json_parse(&root, bytes, n, path, 0, diag);
    if (err) return err;
    gal_config c;
    gal_config_defaults(&c);
    c.layout = GAL_LAYOUT_OWN;
    gal__keys r = { .obj = root, .path = path, .prefix = "", .diag = diag };
    read_kind(&r);
    if (!r.err) read_sizes(&r, &c);
    if (!r.err) read_window(&r, &c);
    if (!r.err) gal__drop_plain_layers(&c);
    if (!r.err) read_rope(&r, &c);
    if (!r.err) read_weights(&r);
    if (!r.err) read_experts(&r, &c);
    if (!r.err) read_wrapper(&r, &c);
    if (!r.err) r.err = gal__config_check(&c, path, &NAMES, diag);
    json_decref(root);
    if (r.err)
        gal_config_free(&c);
    else
        *out = c;
    return r.err;
}

gal_err gal_own_config_read(gal_config *out, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, GAL__CONFIG_BYTES, diag);
    if (!err) err = gal_own_config_parse(out, b.data ? b.data : "", b.len, path, diag);
    gal_buf_free(&b);
    return err;
}
