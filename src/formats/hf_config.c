/* hf_config.c - config.json into gal_config. Refuses by name what this library would compute wrongly: other families,
 * other kinds of experts than Mixtral's, weights quantised in other ways than FP8, other activations, other kinds of
 * rope, biases. Invariant: what it returns has passed gal_config_check(). Messages name the file, the key, what was
 * expected and what was found. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "formats/config.h"
#include "formats/json_keys.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_EXPERTS_IN_ALL = 1 << 16 };

void gal_config_defaults(gal_config *c) {
    *c = (gal_config){ .model_type = "mistral",
                       .eps = 1e-5,
                       .rope_theta = 1e4,
                       .rope_type = "default",
                       .rope_factor = 1.0,
                       .rope_beta_fast = 32.0,
                       .rope_beta_slow = 1.0,
                       .rope_truncate = true,
                       .routed_every = 1,
                       .max_positions = 4096,
                       .init_range = 0.02,
                       .bos = 1,
                       .eos = { 2 },
                       .n_eos = 1,
                       .pad = -1,
                       .dtype = GAL_F32 };
}

void gal_config_free(gal_config *c) {
    gal_free(c->layer_full);
    gal_free(c->rope_divisors);
    c->layer_full = NULL;
    c->rope_divisors = NULL;
}

gal_err gal_config_copy(gal_config *out, const gal_config *c, gal_diag *diag) {
    gal_config copy = *c;
    size_t divisors = c->rope_divisors ? (size_t)(c->K / 2) : 0;
    copy.layer_full = c->layer_full ? gal_alloc((size_t)c->L) : NULL;
    copy.rope_divisors = divisors ? gal_alloc_array(divisors, sizeof *copy.rope_divisors) : NULL;
    if ((c->layer_full && !copy.layer_full) || (divisors && !copy.rope_divisors)) {
        gal_config_free(&copy);
        return gal_fail(diag, GAL_ENOMEM, "no memory for the kinds of %" PRId64 " layers", c->L);
    }
    if (c->layer_full) memcpy(copy.layer_full, c->layer_full, (size_t)c->L);
    if (divisors) memcpy(copy.rope_divisors, c->rope_divisors, divisors * sizeof *copy.rope_divisors);
    *out = copy;
    return GAL_OK;
}

static gal_err check_experts(const gal_config *c, const char *where, const gal__config_names *n, gal_diag *diag) {
    bool mixtral = strcmp(c->model_type, "mixtral") == 0, gopher = strcmp(c->model_type, "gopher") == 0;
    if (c->experts < 0 || c->experts > GAL_MAX_EXPERTS || (mixtral && !c->experts))
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected %d to %d, found %" PRId64, where, n->prefix, n->experts,
                        mixtral, GAL_MAX_EXPERTS, c->experts);
    if (c->experts ? c->experts_used < 1 || c->experts_used > c->experts : c->experts_used != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected 1 to the number of experts %" PRId64 ", found %" PRId64,
                        where, n->prefix, n->experts_used, c->experts, c->experts_used);
    if (c->experts * c->L > MAX_EXPERTS_IN_ALL)
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected at most %d in all layers, found %" PRId64, where,
                        n->prefix, n->experts, MAX_EXPERTS_IN_ALL, c->experts * c->L);
    if (c->experts && !mixtral && !gopher)
        return gal_fail(diag, GAL_EINPUT, "%s: experts in a \"%s\": expected them in \"mixtral\" or \"gopher\"",
                        where, c->model_type);
    if (c->relative != gopher || (c->router != GAL_ROUTER_TOP && !gopher))
        return gal_fail(diag, GAL_EINPUT, "%s: expected relative positions and their routers in \"gopher\" alone",
                        where);
    if (c->experts && c->query_beta > 0)
        return gal_fail(diag, GAL_EINPUT, "%s: experts together with a scaling of queries are not supported", where);
    return GAL_OK;
}

gal_err gal__config_check(const gal_config *c, const char *where, const gal__config_names *n, gal_diag *diag) {
    char product[96];
    const struct {
        const char *prefix, *what;
        int64_t x, lo, hi;
    } ranges[] = {
        { n->prefix, n->vocab, c->V, 1, GAL_MAX_VOCAB },
        { n->prefix, n->width, c->D, 1, GAL_MAX_WIDTH },
        { n->prefix, n->layers, c->L, 1, GAL_MAX_LAYERS },
        { n->prefix, n->heads, c->H, 1, GAL_MAX_WIDTH },
        { n->prefix, n->kv_heads, c->G, 1, c->H },
        { n->prefix, n->head_size, c->K, 2, GAL_MAX_WIDTH },
        { n->prefix, n->hidden, c->F, 1, GAL_MAX_WIDTH },
        { n->prefix, n->positions, c->max_positions, 1, GAL_MAX_POSITIONS },
        { n->prefix, n->window, c->window, 0, GAL_MAX_POSITIONS },
        { n->prefix, n->original, c->rope_original, 0, GAL_MAX_POSITIONS },
        { "", product, c->H > GAL_MAX_WIDTH ? 0 : c->H * GAL_MIN(c->K, GAL_MAX_WIDTH + 1), 1, GAL_MAX_WIDTH },
    };
    (void)snprintf(product, sizeof product, "%s%s x %s%s", n->prefix, n->heads, n->prefix, n->head_size);
    for (size_t i = 0; i < GAL_LEN(ranges); i++)
        if (ranges[i].x < ranges[i].lo || ranges[i].x > ranges[i].hi)
            return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected %" PRId64 " to %" PRId64 ", found %" PRId64, where,
                            ranges[i].prefix, ranges[i].what, ranges[i].lo, ranges[i].hi, ranges[i].x);
    if (c->K % 2 && !c->relative)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: %s%s: expected an even number (rotary positions turn pairs), found %" PRId64, where,
                        n->prefix, n->head_size, c->K);
    if (c->H % c->G)
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected a divisor of %s%s = %" PRId64 ", found %" PRId64, where,
                        n->prefix, n->kv_heads, n->prefix, n->heads, c->H, c->G);
    if (!(c->eps > 0 && c->eps < 1))
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected a number between 0 and 1, found %g", where, n->prefix,
                        n->eps, c->eps);
    if (!(c->rope_theta > 1 && c->rope_theta <= 1e30))
        return gal_fail(diag, GAL_EINPUT, "%s: %s%s: expected a number above 1, at most 1e30, found %g", where,
                        n->prefix, n->theta, c->rope_theta);
    if (!(c->init_range >= 0 && c->init_range <= 100))
        return gal_fail(diag, GAL_EINPUT, "%s: initializer_range: expected 0 to 100, found %g", where, c->init_range);
    gal_err err = check_experts(c, where, n, diag);
    return err || !c->relative ? err : gal__gopher_check(c, where, diag);
}

gal_err gal_config_check(const gal_config *c, const char *where, gal_diag *diag) {
    static const gal__config_names MISTRAL = { .prefix = "",
                                               .vocab = "vocab_size",
                                               .width = "hidden_size",
                                               .layers = "num_hidden_layers",
                                               .heads = "num_attention_heads",
                                               .kv_heads = "num_key_value_heads",
                                               .head_size = "head_dim",
                                               .hidden = "intermediate_size",
                                               .positions = "max_position_embeddings",
                                               .window = "sliding_window",
                                               .original = "original_max_position_embeddings",
                                               .eps = "rms_norm_eps",
                                               .theta = "rope_theta",
                                               .experts = "num_local_experts",
                                               .experts_used = "num_experts_per_tok" };
    gal__config_names names = MISTRAL;
    if (c->relative) {
        names.eps = "norm_eps";
        names.experts = "num_experts";
    }
    return gal__config_check(c, where, &names, diag);
}

/* FP8 weights (formats.md 2): their blocks. Which tensors are FP8 the weights' files tell. */
static void read_quantisation(gal__keys *r, gal_config *c) {
    const json_t *v = gal__key_get(r, "quantization_config"), *size;
    char shown[GAL__SHOW];
    if (!v || r->err) return;
    if (!json_is_object(v)) {
        gal__key_fail(r, "quantization_config", "expected an object, found %s", gal__json_kind(v));
        return;
    }
    gal__keys q = { .obj = v, .path = r->path, .prefix = "quantization_config.", .diag = r->diag };
    const char *method = gal__key_text(&q, "quant_method", "?");
    if (!q.err && strcmp(method, "fp8") != 0)
        gal__key_fail(&q, "quant_method",
                      "weights quantised by \"%s\" are not supported: expected \"fp8\", or a model that is not "
                      "quantised",
                      gal__show(shown, method));
    size = gal__key_get(&q, "weight_block_size");
    c->fp8_block[0] = c->fp8_block[1] = -1;
    for (size_t i = 0; size && i < 2; i++) {
        const json_t *e = json_array_get(size, i);
        c->fp8_block[i] = json_is_integer(e) ? json_integer_value(e) : 0;
        if (json_array_size(size) != 2 || c->fp8_block[i] < 1 || c->fp8_block[i] > GAL_MAX_WIDTH)
            gal__key_fail(&q, "weight_block_size", "expected null or two integers from 1 to %" PRId64 ", found %s",
                          GAL_MAX_WIDTH, json_is_array(size) ? "others" : gal__json_kind(size));
    }
    r->err = q.err;
}

/* A text model inside one of pictures or sound: *r goes on with text_config, to which some keys of the whole belong,
 * too. Plain configs are left as they are. */
static void enter_wrapper(gal__keys *r, gal_config *c) {
    static const char *const WRAPPERS[] = { "mistral3", "voxtral", "llava" };
    static const char *const SHARED[] = { "dtype",        "torch_dtype",  "tie_word_embeddings",
                                          "bos_token_id", "eos_token_id", "pad_token_id" };
    char shown[GAL__SHOW];
    const json_t *text = gal__key_get(r, "text_config");
    const char *type = gal__key_text(r, "model_type", NULL);
    if (!text || !type || r->err) return;
    for (size_t i = 0; i < GAL_LEN(WRAPPERS); i++)
        if (strcmp(type, WRAPPERS[i]) == 0) (void)snprintf(c->wrapper, sizeof c->wrapper, "%s", WRAPPERS[i]);
    if (!c->wrapper[0])
        gal__key_fail(r, "model_type",
                      "expected \"mistral3\", \"voxtral\" or \"llava\" around a text_config, found \"%s\"",
                      gal__show(shown, type));
    else if (!json_is_object(text))
        gal__key_fail(r, "text_config", "expected an object, found %s", gal__json_kind(text));
    if (r->err) return;
    json_t *inner = (json_t *)(uintptr_t)text; /* r's own tree, which is ours */
    bool fits = true;
    for (size_t i = 0; i < GAL_LEN(SHARED); i++) {
        json_t *v = json_object_get(r->obj, SHARED[i]);
        if (v && !json_object_get(inner, SHARED[i])) fits = fits && json_object_set(inner, SHARED[i], v) == 0;
    }
    /* Their classes' own defaults, and a Llama that computes as a Mistral does. */
    const json_t *own = json_object_get(inner, "model_type");
    bool llama = json_is_string(own) && strcmp(json_string_value(own), "llama") == 0;
    if (!own || (llama && strcmp(c->wrapper, "voxtral") == 0))
        fits = fits && json_object_set_new(inner, "model_type", json_string("mistral")) == 0;
    if (!fits) r->err = gal_fail(r->diag, GAL_ENOMEM, "%s: text_config: no memory", r->path);
    r->obj = inner;
    r->prefix = "text_config.";
}

/* Families that are something else, by what they say of themselves. */
static void read_family(gal__keys *r, gal_config *c) {
    static const char *const OURS[] = { "mistral", "ministral", "ministral3", "mixtral", "gopher" };
#define EXPECTED "expected \"mistral\", \"ministral\", \"ministral3\", \"mixtral\" or \"gopher\", "
    char shown[GAL__SHOW];
    const char *type = gal__key_text(r, "model_type", NULL);
    if (!r->err && !type) gal__key_fail(r, "model_type", EXPECTED "the key is missing");
    if (r->err) return;
    for (size_t i = 0; i < GAL_LEN(OURS); i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a missing type set r->err above */
        if (strcmp(type, OURS[i]) == 0) memcpy(c->model_type, OURS[i], strlen(OURS[i]) + 1);
    if (!c->model_type[0]) gal__key_fail(r, "model_type", EXPECTED "found \"%s\"", gal__show(shown, type));
    const json_t *a = json_array_get(gal__key_get(r, "architectures"), 0);
    const char *arch = json_string_value(a), *tail = "ForCausalLM";
    if (arch && (strlen(arch) < strlen(tail) || strcmp(arch + strlen(arch) - strlen(tail), tail) != 0))
        gal__key_fail(r, "architectures", "expected a causal language model (\"...ForCausalLM\"), found \"%s\"",
                      gal__show(shown, arch));
    if (strcmp(c->model_type, "gopher") == 0) return;
    const char *act = gal__key_text(r, "hidden_act", "silu");
    if (!r->err && strcmp(act, "silu") != 0)
        gal__key_fail(r, "hidden_act", "expected \"silu\", found \"%s\"", gal__show(shown, act));
    if (gal__key_truth(r, "attention_bias", false))
        gal__key_fail(r, "attention_bias", "expected false: this family has no biases");
    if (gal__key_truth(r, "mlp_bias", false))
        gal__key_fail(r, "mlp_bias", "expected false: this family has no biases");
}

/* Mixtral: every layer has experts, and nothing beside them. */
static void read_experts(gal__keys *r, gal_config *c) {
    static const struct {
        const char *key;
        int64_t most; /* without meaning another model */
    } PLAIN[] = { { "first_k_dense_replace", 0 },           { "n_shared_experts", 0 },    { "num_shared_experts", 0 },
                  { "shared_expert_intermediate_size", 0 }, { "decoder_sparse_step", 1 }, { "moe_layer_freq", 1 } };
    if (strcmp(c->model_type, "mixtral") != 0 || r->err) return;
    const char *key = gal__key_get(r, "num_local_experts") ? "num_local_experts" : "num_experts";
    c->experts = gal__key_whole(r, key, 1, GAL_MAX_EXPERTS, 8);
    c->experts_used = gal__key_whole(r, "num_experts_per_tok", 1, GAL_MAX_EXPERTS, 2);
    c->router_balance = gal__key_real(r, "router_aux_loss_coef", 0, 1e6, 0.001);
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++)
        if (gal__key_whole(r, PLAIN[i].key, INT32_MIN, INT32_MAX, 0) > PLAIN[i].most)
            gal__key_fail(r, PLAIN[i].key, "expected experts in every layer, and no others beside them");
    if (json_array_size(gal__key_get(r, "mlp_only_layers")))
        gal__key_fail(r, "mlp_only_layers", "expected no layers without experts");
    if (!r->err && c->experts_used > c->experts)
        gal__key_fail(r, "num_experts_per_tok", "expected at most %s = %" PRId64 ", found %" PRId64, key, c->experts,
                      c->experts_used);
}

/* Whose classes have an epsilon of 1e-5 where the file has none. */
static bool is_newer(const gal_config *c) {
    return strcmp(c->model_type, "ministral3") == 0 || strcmp(c->model_type, "mixtral") == 0;
}

static void read_sizes(gal__keys *r, gal_config *c) {
    c->V = gal__key_whole(r, "vocab_size", 1, GAL_MAX_VOCAB, 0);
    c->D = gal__key_whole(r, "hidden_size", 1, GAL_MAX_WIDTH, 0);
    c->F = gal__key_whole(r, "intermediate_size", 1, GAL_MAX_WIDTH, 0);
    c->L = gal__key_whole(r, "num_hidden_layers", 1, GAL_MAX_LAYERS, 0);
    c->H = gal__key_whole(r, "num_attention_heads", 1, GAL_MAX_WIDTH, 0);
    if (r->err) return;
    c->G = gal__key_whole(r, "num_key_value_heads", 1, c->H, c->H);
    if (!gal__key_get(r, "head_dim") && c->D % c->H)
        gal__key_fail(r, "head_dim",
                      "missing, and hidden_size %" PRId64 " is no multiple of num_attention_heads %" PRId64, c->D,
                      c->H);
    else if (!gal__key_get(r, "head_dim") && c->D / c->H < 2)
        gal__key_fail(r, "head_dim",
                      "missing, and hidden_size / num_attention_heads is %" PRId64 ", expected 2 or more",
                      c->D / c->H);
    else
        c->K = gal__key_whole(r, "head_dim", 2, GAL_MAX_WIDTH, c->D / c->H);
    c->max_positions = gal__key_whole(r, "max_position_embeddings", 1, GAL_MAX_POSITIONS, 131072);
    c->eps = gal__key_real(r, "rms_norm_eps", 0, 1, is_newer(c) ? 1e-5 : 1e-6);
    c->tied = gal__key_truth(r, "tie_word_embeddings", false);
    c->init_range = gal__key_real(r, "initializer_range", 0, 100, 0.02);
    bool gopher = strcmp(c->model_type, "gopher") == 0; /* whose files say what there is */
    c->bos = gal__key_token(r, "bos_token_id", gopher ? -1 : 1);
    if (gopher) c->n_eos = 0;
    if (json_object_get(r->obj, "eos_token_id")) c->n_eos = gal__key_token_list(r, "eos_token_id", c->eos);
    /* What a class has where the file says nothing is none in a smaller vocabulary. */
    if (!json_object_get(r->obj, "bos_token_id") && c->bos >= c->V) c->bos = -1;
    if (!json_object_get(r->obj, "eos_token_id") && c->eos[0] >= c->V) c->n_eos = 0;
    gal__key_ids_below(r, "bos_token_id", &c->bos, 1, c->V);
    gal__key_ids_below(r, "eos_token_id", c->eos, c->n_eos, c->V);
    /* Fine-tunes have one beyond their rows; nothing looks it up. */
    c->pad = gal__key_token(r, "pad_token_id", -1);
    const char *dtype = gal__key_text(r, gal__key_get(r, "dtype") ? "dtype" : "torch_dtype", "float32");
    c->dtype = strcmp(dtype, "bfloat16") == 0 ? GAL_BF16 : strcmp(dtype, "float16") == 0 ? GAL_F16 : GAL_F32;
}

static bool need_layers(gal__keys *r, gal_config *c, const char *key) {
    if (r->err) return false;
    if (!c->layer_full) c->layer_full = gal_alloc((size_t)c->L);
    if (!c->layer_full) r->err = gal_fail(r->diag, GAL_ENOMEM, "%s: %s: no memory", r->path, key);
    return !r->err;
}

void gal__key_window(gal__keys *r, const char *key, const json_t *v, gal_config *c) {
    const char *layers = c->layout == GAL_LAYOUT_OWN ? "n_layers" : "num_hidden_layers";
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= GAL_MAX_POSITIONS)
        c->window = json_integer_value(v);
    else if (json_is_integer(v))
        gal__key_fail(r, key, "expected an integer from 0 to %" PRId64 ", found %" PRId64, GAL_MAX_POSITIONS,
                      (int64_t)json_integer_value(v));
    else if (v && !json_is_null(v) && !json_is_array(v))
        gal__key_fail(r, key, "expected an integer, a list or null, found %s", gal__json_kind(v));
    if (!json_is_array(v)) return;
    size_t n = json_array_size(v);
    if (!n || (uint64_t)c->L % n) {
        gal__key_fail(r, key, "expected a list whose length divides %s = %" PRId64 ", found %zu entries", layers,
                      c->L, n);
        return;
    }
    if (!need_layers(r, c, key)) return;
    for (size_t l = 0; l < (size_t)c->L; l++) {
        const json_t *e = json_array_get(v, l % n);
        int64_t w = json_is_integer(e) ? json_integer_value(e) : 0;
        if ((!json_is_integer(e) && !json_is_null(e)) || w < 0 || w > GAL_MAX_POSITIONS)
            gal__key_fail(r, key, "expected windows of 0 to %ld or null, found %s at place %zu",
                          (long)GAL_MAX_POSITIONS, gal__json_kind(e), l % n);
        else if (w && c->window && w != c->window)
            gal__key_fail(r, key, "expected one window for all layers that have one, found %" PRId64 " and %" PRId64,
                          c->window, w);
        if (w) c->window = w;
        c->layer_full[l] = w == 0;
    }
}

static void read_layer_types(gal__keys *r, gal_config *c) {
    const json_t *v = gal__key_get(r, "layer_types");
    if (!v || r->err) return;
    if (!json_is_array(v) || json_array_size(v) != (size_t)c->L) {
        gal__key_fail(r, "layer_types", "expected a list of num_hidden_layers = %" PRId64 " strings, found %s of %zu",
                      c->L, gal__json_kind(v), json_array_size(v));
        return;
    }
    if (!need_layers(r, c, "layer_types")) return;
    for (size_t l = 0; l < (size_t)c->L && !r->err; l++) {
        const char *s = json_string_value(json_array_get(v, l));
        bool full = s && strcmp(s, "full_attention") == 0;
        char shown[GAL__SHOW];
        if (!full && (!s || strcmp(s, "sliding_attention") != 0))
            gal__key_fail(r, "layer_types",
                          "layer %zu: expected \"full_attention\" or \"sliding_attention\", found %s", l,
                          s ? gal__show(shown, s) : gal__json_kind(json_array_get(v, l)));
        else if (!full && !c->window)
            gal__key_fail(r, "layer_types", "layer %zu is \"sliding_attention\", but sliding_window gives no window",
                          l);
        c->layer_full[l] = full;
    }
}

/* No list where the window alone says the same. */
void gal__drop_plain_layers(gal_config *c) {
    if (!c->layer_full || (c->window && memchr(c->layer_full, 1, (size_t)c->L))) return;
    gal_free(c->layer_full);
    c->layer_full = NULL;
}

/* "llama_4_scaling": {"beta", "original_max_position_embeddings"}: the query scaling as earlier files spelled it. */
static void read_query_scale(gal__keys *r, gal_config *c) {
    const json_t *v = gal__key_get(r, "llama_4_scaling");
    if (!v) return;
    if (!json_is_object(v)) {
        gal__key_fail(r, "llama_4_scaling", "expected an object, found %s", gal__json_kind(v));
        return;
    }
    gal__keys q = { .obj = v, .path = r->path, .prefix = "llama_4_scaling.", .diag = r->diag };
    c->query_beta = gal__key_real(&q, "beta", 0, 100, 0);
    c->query_original = gal__key_whole(&q, "original_max_position_embeddings", 1, GAL_MAX_POSITIONS, -1);
    r->err = q.err;
}

static void read_rope_type(gal__keys *r, gal_config *c) {
    static const char *const OURS[] = { "default", "linear", "yarn" };
    char shown[GAL__SHOW];
    const char *type = gal__key_text(r, gal__key_get(r, "rope_type") ? "rope_type" : "type", "default");
    bool known = false;
    for (size_t i = 0; i < GAL_LEN(OURS); i++) {
        if (strcmp(type, OURS[i]) != 0) continue;
        memcpy(c->rope_type, OURS[i], strlen(OURS[i]) + 1);
        known = true;
    }
    if (!known && !r->err)
        gal__key_fail(r, "rope_type", "expected \"default\", \"linear\" or \"yarn\", found \"%s\"",
                      gal__show(shown, type));
}

/* The numbers of one rope object. Releases before 5 keep rope_theta outside of it: c already holds that. */
static void read_rope_numbers(gal__keys *r, gal_config *c) {
    read_rope_type(r, c);
    bool linear = strcmp(c->rope_type, "linear") == 0, yarn = strcmp(c->rope_type, "yarn") == 0;
    c->rope_theta = gal__key_real(r, "rope_theta", 1, 1e30, c->rope_theta);
    if (gal__key_real(r, "partial_rotary_factor", 0, 1, 1) < 1)
        gal__key_fail(r, "partial_rotary_factor", "expected 1 (the whole head turns)");
    if (!gal__key_get(r, "factor") && (linear || (yarn && !gal__key_get(r, "original_max_position_embeddings"))))
        gal__key_fail(r, "factor", "expected a number for rope_type \"%s\", the key is missing", c->rope_type);
    if (gal__key_get(r, "original_max_position_embeddings"))
        c->rope_original = gal__key_whole(r, "original_max_position_embeddings", 1, GAL_MAX_POSITIONS, 0);
    double ratio = c->rope_original ? (double)c->max_positions / (double)c->rope_original : 1.0;
    c->rope_factor = gal__key_real(r, "factor", 1e-6, 1e6, yarn ? ratio : 1.0);
    c->rope_beta_fast = gal__key_real(r, "beta_fast", 0, 1e6, 32);
    c->rope_beta_slow = gal__key_real(r, "beta_slow", 0, 1e6, 1);
    if (!(c->rope_beta_fast > 0)) c->rope_beta_fast = 32; /* as transformers reads a zero */
    if (!(c->rope_beta_slow > 0)) c->rope_beta_slow = 1;
    if (c->rope_beta_fast < c->rope_beta_slow)
        gal__key_fail(r, "beta_fast", "expected at least beta_slow = %g, found %g", c->rope_beta_slow,
                      c->rope_beta_fast);
    c->rope_mscale = gal__key_real(r, "mscale", 0, 1e3, 0);
    c->rope_mscale_all_dim = gal__key_real(r, "mscale_all_dim", 0, 1e3, 0);
    c->rope_attention_factor = gal__key_real(r, "attention_factor", 1e-6, 1e6, 0);
    c->rope_truncate = gal__key_truth(r, "truncate", true);
    c->query_beta = gal__key_real(r, "llama_4_scaling_beta", 0, 100, 0);
}

static void read_rope(gal__keys *r, gal_config *c) {
    static const char *const KEYS[] = { "rope_parameters", "rope_scaling" };
    c->rope_theta = gal__key_real(r, "rope_theta", 1, 1e30, strcmp(c->model_type, "mixtral") == 0 ? 1e6 : 1e4);
    if (gal__key_get(r, "original_max_position_embeddings"))
        c->rope_original = gal__key_whole(r, "original_max_position_embeddings", 1, GAL_MAX_POSITIONS, 0);
    const json_t *v = NULL;
    const char *key = NULL;
    for (size_t i = 0; i < GAL_LEN(KEYS) && !v; i++) v = gal__key_get(r, key = KEYS[i]);
    if (!v && strcmp(c->model_type, "ministral3") == 0)
        gal__key_fail(r, "rope_parameters", "expected an object for model_type \"ministral3\", the key is missing");
    if (v && !json_is_object(v)) gal__key_fail(r, key, "expected an object, found %s", gal__json_kind(v));
    if (v && (json_is_object(json_object_get(v, "full_attention")) ||
              json_is_object(json_object_get(v, "sliding_attention"))))
        gal__key_fail(r, key, "different rope parameters for kinds of layers are not supported");
    if (v && !r->err) {
        char prefix[32];
        (void)snprintf(prefix, sizeof prefix, "%s.", key);
        gal__keys in = { .obj = v, .path = r->path, .prefix = prefix, .diag = r->diag };
        read_rope_numbers(&in, c);
        r->err = in.err;
    }
    if (!r->err) read_query_scale(r, c);
}

gal_err gal_config_parse(gal_config *out, const char *bytes, size_t n, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_err err = gal__json_parse(&root, bytes, n, path, 0, diag);
    if (err) return err;
    gal_config c;
    gal_config_defaults(&c);
    memset(c.model_type, 0, sizeof c.model_type);
    gal__keys r = { .obj = root, .path = path, .prefix = "", .diag = diag };
    read_quantisation(&r, &c);
    enter_wrapper(&r, &c);
    if (c.wrapper[0]) read_quantisation(&r, &c);
    if (!r.err) read_family(&r, &c);
    if (!r.err) read_sizes(&r, &c);
    read_experts(&r, &c);
    bool gopher = strcmp(c.model_type, "gopher") == 0;
    if (gopher && !r.err) gal__gopher_read(&r, &c);
    if (!r.err) gal__key_window(&r, "sliding_window", gal__key_get(&r, "sliding_window"), &c);
    if (!r.err) read_layer_types(&r, &c);
    if (!r.err) gal__drop_plain_layers(&c);
    if (!r.err && !gopher) read_rope(&r, &c);
    if (!r.err) r.err = gal_config_check(&c, path, diag);
    json_decref(root);
    if (r.err)
        gal_config_free(&c);
    else
        *out = c;
    return r.err;
}

gal_err gal_config_read(gal_config *out, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, GAL__CONFIG_BYTES, diag);
    if (!err) err = gal_config_parse(out, b.data ? b.data : "", b.len, path, diag);
    gal_buf_free(&b);
    return err;
}
