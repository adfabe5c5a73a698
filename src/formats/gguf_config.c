/* gguf_config.c - a model's sizes and options from the metadata of a GGUF file (formats.md 4.2). Refuses by name what
 * would be computed wrongly. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/json_keys.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Errors stick: after the first one, readers give their fallbacks. */
typedef struct reader {
    const gal_gguf *g;
    const char *path;
    char arch[32];
    gal_diag *diag;
    gal_err err;
} reader;

enum { KEY = 96 };

/* "llama.embedding_length" of "embedding_length". */
static const char *key_of(const reader *r, char key[KEY], const char *name) {
    (void)snprintf(key, KEY, "%s.%s", r->arch, name);
    return key;
}

static void out_of_range(reader *r, const char *key, double low, double high, double found) {
    r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s: expected a number from %.10g to %.10g, found %.10g", r->path, key,
                      low, high, found);
}

static int64_t whole_of(reader *r, const char *key, int64_t low, int64_t high, int64_t fallback) {
    uint64_t v = 0;
    bool found = false;
    if (r->err) return fallback;
    r->err = gal_gguf_uint(r->g, key, &v, fallback < 0 ? NULL : &found, r->diag);
    if (r->err || (!found && fallback >= 0)) return fallback;
    if (v > (uint64_t)high || (int64_t)v < low) out_of_range(r, key, (double)low, (double)high, (double)v);
    return (int64_t)v;
}

/* fallback -1: the key must be there. */
static int64_t whole(reader *r, const char *name, int64_t low, int64_t high, int64_t fallback) {
    char key[KEY];
    return whole_of(r, key_of(r, key, name), low, high, fallback);
}

/* The decimal number of fewest digits that rounds to x: what somebody wrote before it became an f32, 1e-05 and not
 * 9.99999974737875e-06. */
static double as_written(float x) {
    double size = fabs((double)x);
    if (!(size > 0) || !isfinite(size)) return (double)x;
    int top = (int)floor(log10(size));
    for (int digits = 1; digits <= 9; digits++) {
        int down = digits - 1 - top; /* so many places behind the point */
        double scale = pow(10, abs(down)), v = (double)x;
        v = down >= 0 ? round(v * scale) / scale : round(v / scale) * scale;
        if (!((float)v < x) && !((float)v > x)) return v;
    }
    return (double)x;
}

/* fallback NaN: the key must be there. */
static double real_of(reader *r, const char *key, double low, double high, double fallback) {
    double v = fallback;
    bool found = false;
    if (r->err) return fallback;
    r->err = gal_gguf_float(r->g, key, &v, isnan(fallback) ? NULL : &found, r->diag);
    if (r->err || (!found && !isnan(fallback))) return fallback;
    if (!(v >= low && v <= high)) out_of_range(r, key, low, high, v);
    return gal_gguf_get(r->g, key)->type == GAL_GGUF_F32 ? as_written((float)v) : v;
}

static double real(reader *r, const char *name, double low, double high, double fallback) {
    char key[KEY];
    return real_of(r, key_of(r, key, name), low, high, fallback);
}

/* One number for all layers, or a list with the same number for each. */
static int64_t same_for_all(reader *r, const char *name, int64_t layers, int64_t high, int64_t fallback) {
    char key[KEY];
    const gal_gguf_value *v = gal_gguf_get(r->g, key_of(r, key, name));
    if (r->err || !v || v->type != GAL_GGUF_ARRAY) return whole(r, name, 1, high, fallback);
    if (!gal_gguf_is(v, GAL_GGUF_UINTS) || v->count != (uint64_t)layers) {
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s: expected %" PRId64 " whole numbers, a layer each, found %" PRIu64 " values",
                          r->path, key, layers, v->count);
        return fallback;
    }
    uint64_t first = gal_gguf_uint_at(v, 0);
    for (uint64_t i = 1; i < v->count && !r->err; i++)
        if (gal_gguf_uint_at(v, i) != first)
            r->err = gal_fail(r->diag, GAL_EINPUT,
                              "%s: %s: layers of different numbers of heads are not supported: expected one number, "
                              "found %" PRIu64 " and %" PRIu64,
                              r->path, key, first, gal_gguf_uint_at(v, i));
    if (!r->err && (first < 1 || first > (uint64_t)high)) out_of_range(r, key, 1, (double)high, (double)first);
    return (int64_t)first;
}

static bool is_gopher(const reader *r) { return strcmp(r->arch, "gopher") == 0; }

static void read_arch(reader *r) {
    const char *s = NULL;
    size_t n = 0;
    r->err = gal_gguf_string(r->g, "general.architecture", &s, &n, NULL, r->diag);
    if (r->err) return;
    (void)snprintf(r->arch, sizeof r->arch, "%.*s", (int)(n < sizeof r->arch ? n : sizeof r->arch - 1), s);
    for (char *c = r->arch; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    if (strcmp(r->arch, "llama") != 0 && strcmp(r->arch, "mistral3") != 0 && !is_gopher(r))
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: general.architecture: expected \"llama\", \"mistral3\" or \"gopher\", found \"%s\"",
                          r->path, r->arch);
}

static void refuse_key(reader *r, const char *name, const char *why) {
    char key[KEY];
    if (!r->err && gal_gguf_get(r->g, key_of(r, key, name)))
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s: %s", r->path, key, why);
}

static void read_sizes(reader *r, gal_config *c) {
    const gal_gguf_tensor *embed = gal_gguf_find(r->g, "token_embd.weight");
    c->D = whole(r, "embedding_length", 1, GAL_MAX_WIDTH, -1);
    c->L = whole(r, "block_count", 1, GAL_MAX_LAYERS, -1);
    if (r->err) return;
    c->F = same_for_all(r, "feed_forward_length", c->L, GAL_MAX_WIDTH, -1);
    c->H = same_for_all(r, "attention.head_count", c->L, GAL_MAX_WIDTH, -1);
    if (r->err) return;
    c->G = same_for_all(r, "attention.head_count_kv", c->L, c->H, c->H);
    c->V = whole(r, "vocab_size", 1, GAL_MAX_VOCAB, embed && embed->ndim == 2 ? embed->dim[0] : 0);
    c->K = whole(r, "attention.key_length", 2, GAL_MAX_WIDTH, c->D / c->H);
    if (r->err) return;
    if (whole(r, "attention.value_length", 2, GAL_MAX_WIDTH, c->K) != c->K ||
        whole(r, "rope.dimension_count", 2, GAL_MAX_WIDTH, c->K) != c->K)
        r->err = gal_fail(
            r->diag, GAL_EINPUT,
            "%s: expected %s.attention.value_length and %s.rope.dimension_count equal to the head size %" PRId64,
            r->path, r->arch, r->arch, c->K);
    c->max_positions = whole(r, "context_length", 1, GAL_MAX_POSITIONS, -1);
    c->window = whole(r, "attention.sliding_window", 0, GAL_MAX_POSITIONS, 0);
    c->eps = real(r, "attention.layer_norm_rms_epsilon", 0, 1, (double)NAN);
    c->tied = !gal_gguf_find(r->g, "output.weight");
}

/* Every layer has experts and nothing beside them, or none has. Their weights are those of a softmax over the chosen.
 */
static void read_experts(reader *r, gal_config *c) {
    static const struct {
        const char *name;
        int64_t plain;                         /* the value that means what Mixtral does; also when absent */
    } PLAIN[] = { { "expert_gating_func", 1 }, /* softmax */
                  { "expert_shared_count", 0 },
                  { "expert_group_count", 0 },
                  { "leading_dense_block_count", 0 } };
    char key[KEY];
    bool norm = true, found = false;
    if (r->err) return;
    c->experts = whole(r, "expert_count", 0, GAL_MAX_EXPERTS, 0);
    if (!c->experts || r->err) return;
    c->experts_used = whole(r, "expert_used_count", 1, c->experts, -1);
    c->F = same_for_all(r, "expert_feed_forward_length", c->L, GAL_MAX_WIDTH, c->F);
    for (size_t i = 0; i < GAL_LEN(PLAIN) && !r->err; i++) {
        int64_t v = whole(r, PLAIN[i].name, 0, 1 << 20, PLAIN[i].plain);
        if (!r->err && v != PLAIN[i].plain && v > 0)
            r->err = gal_fail(r->diag, GAL_EINPUT,
                              "%s: %s.%s: expected %" PRId64 " (Mixtral's experts), found %" PRId64, r->path, r->arch,
                              PLAIN[i].name, PLAIN[i].plain, v);
    }
    double scale = real(r, "expert_weights_scale", 0, 1e6, 1);
    if (!r->err) r->err = gal_gguf_bool(r->g, key_of(r, key, "expert_weights_norm"), &norm, &found, r->diag);
    if (!r->err && (!norm || (scale > 0 && (scale < 1 || scale > 1))))
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s.expert_weights_norm, expert_weights_scale: expected weights that add up to 1",
                          r->path, r->arch);
    c->router_balance = 0.02; /* of the models that were published so */
    (void)snprintf(c->model_type, sizeof c->model_type, "mixtral");
}

/* "none", "linear" or "yarn" into c->rope_type. An absent type with a factor means linear. */
static void read_rope_type(reader *r, gal_config *c) {
    static const char *const OURS[] = { "linear", "yarn" };
    char key[KEY];
    const char *s = NULL;
    size_t n = 0;
    bool found = false;
    c->rope_factor = real(r, "rope.scaling.factor", 1e-3, 1e6, real(r, "rope.scale_linear", 1e-3, 1e6, 1.0));
    if (!r->err) r->err = gal_gguf_string(r->g, key_of(r, key, "rope.scaling.type"), &s, &n, &found, r->diag);
    if (r->err) return;
    bool none = found && n == 4 && memcmp(s, "none", 4) == 0, known = none || !found;
    for (size_t i = 0; found && i < GAL_LEN(OURS); i++) {
        if (strlen(OURS[i]) != n || memcmp(OURS[i], s, n) != 0) continue;
        (void)snprintf(c->rope_type, sizeof c->rope_type, "%s", OURS[i]);
        known = true;
    }
    if (!known)
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s: expected \"none\", \"linear\" or \"yarn\", found \"%.*s\", which is not supported",
                          r->path, key, (int)(n < 40 ? n : 40), s);
    bool one = !(c->rope_factor < 1.0) && !(c->rope_factor > 1.0);
    if (none) c->rope_factor = 1.0;
    if (strcmp(c->rope_type, "linear") == 0 && one) (void)snprintf(c->rope_type, sizeof c->rope_type, "default");
    if (!found && !one) (void)snprintf(c->rope_type, sizeof c->rope_type, "linear");
}

/* What cosine and sine are multiplied with, as the format's first reader computes it (gguf_config_write.c); a
 * yarn_attn_factor is the makers' word on the whole. */
static void read_yarn(reader *r, gal_config *c) {
    c->rope_beta_fast = real(r, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    c->rope_beta_slow = real(r, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    double log = real(r, "rope.scaling.yarn_log_multiplier", 0, 1e3, 0),
           said = real(r, "rope.scaling.yarn_attn_factor", 0, 1e6, 0),
           times = real(r, "rope.scaling.attn_factor", 1e-6, 1e6, 1),
           extend = real(r, "rope.scaling.yarn_ext_factor", -1, 1e6, 1);
    if (log > 0) {
        c->rope_mscale = 1.0;
        c->rope_mscale_all_dim = log;
    }
    if (said > 0)
        c->rope_attention_factor = said;
    else if (times < 1 || times > 1)
        c->rope_attention_factor = gal_yarn_scale(c) * times;
    if (!r->err && extend >= 0 && (extend < 1 || extend > 1))
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s.rope.scaling.yarn_ext_factor: expected 1, found %g", r->path,
                          r->arch, extend);
    if (!r->err && c->rope_beta_fast < c->rope_beta_slow)
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s.rope.scaling.yarn_beta_fast: expected at least yarn_beta_slow = %g, found %g",
                          r->path, r->arch, c->rope_beta_slow, c->rope_beta_fast);
}

static void read_rope(reader *r, gal_config *c) {
    c->rope_theta = real(r, "rope.freq_base", 1e-3, 1e12, 1e4);
    read_rope_type(r, c);
    c->rope_original = whole(r, "rope.scaling.original_context_length", 1, GAL_MAX_POSITIONS, 0);
    c->query_beta = real(r, "attention.temperature_scale", 0, 100, 0);
    c->query_original = whole(r, "attention.temperature_length", 1, GAL_MAX_POSITIONS, 0);
    if (strcmp(c->rope_type, "yarn") == 0)
        read_yarn(r, c);
    else if (real(r, "rope.scaling.attn_factor", 0, 1e6, 1) < 1 || real(r, "rope.scaling.attn_factor", 0, 1e6, 1) > 1)
        refuse_key(r, "rope.scaling.attn_factor", "expected 1 without YaRN");
    c->attn_scale = real(r, "attention.scale", 0, 1e6, 0);
    if (c->query_beta > 0) (void)snprintf(c->model_type, sizeof c->model_type, "ministral3");
}

/* rope_freqs.weight: numbers that the frequencies are divided by. */
static void read_divisors(reader *r, gal_config *c) {
    const gal_gguf_tensor *t = gal_gguf_find(r->g, "rope_freqs.weight");
    int64_t half = c->K / 2;
    if (!t || r->err) return;
    if (t->ndim != 1 || t->dim[0] != half || t->type != GAL_BLOCK_F32) {
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: tensor \"rope_freqs.weight\": expected %" PRId64 " numbers in F32, found %" PRId64
                          " in %s",
                          t->file, half, t->dim[0], gal_gguf_type_name(t->type));
        return;
    }
    c->rope_divisors = gal_alloc_array((size_t)half, sizeof *c->rope_divisors);
    if (!c->rope_divisors) {
        r->err = gal_fail(r->diag, GAL_ENOMEM, "%s: no memory for rope_freqs.weight", t->file);
        return;
    }
    memcpy(c->rope_divisors, t->data, (size_t)half * sizeof *c->rope_divisors);
    for (int64_t j = 0; j < half && !r->err; j++) {
        double d = (double)c->rope_divisors[j];
        if (!(d > 0 && d < 1e30))
            r->err = gal_fail(
                r->diag, GAL_EINPUT,
                "%s: tensor \"rope_freqs.weight\": expected numbers above 0, found %g at index %" PRId64, t->file, d,
                j);
    }
}

/* A key whose meaning is not computed here may say only what its absence says. */
static void neutral(reader *r, const char *name, double value) {
    char key[KEY];
    const gal_gguf_value *v = gal_gguf_get(r->g, key_of(r, key, name));
    double x = value;
    bool number = v && v->type != GAL_GGUF_ARRAY;
    if (r->err || !v) return;
    if (number && gal_gguf_is(v, GAL_GGUF_FLOATS))
        x = gal_gguf_float_at(v, 0);
    else if (number && gal_gguf_is(v, GAL_GGUF_INTS))
        x = (double)gal_gguf_int_at(v, 0);
    else
        number = false;
    if (!number || !(x >= value && x <= value))
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s: expected %g or no such key: it is not supported", r->path,
                          key, value);
}

/* What other models of these architectures have and ours do not. Of the keys of formats.md 4.2 these are passed over:
 * general.name, file_type and quantization_version (each tensor says its type), rope.scaling.finetuned (how it was
 * trained), tokenizer.ggml.pre and merges (of byte-level vocabularies), unknown_token_id (a piece's type tells)
 * and fim_*_token_id (for prompts of another kind), once they are ids of the vocabulary, add_eos_token (a prompt is
 * to be continued). */
static void refuse_others(reader *r) {
    static const struct {
        const char *name;
        double value;
    } KEYS[] = {
        { "attn_logit_softcapping", 0 }, { "final_logit_softcapping", 0 }, { "logit_scale", 1 },
        { "residual_scale", 1 },         { "embedding_scale", 1 },         { "rope.scaling.alpha", 0 },
    };
    char key[KEY];
    bool causal = true, found = false;
    for (size_t i = 0; i < GAL_LEN(KEYS); i++) neutral(r, KEYS[i].name, KEYS[i].value);
    if (!r->err) r->err = gal_gguf_bool(r->g, key_of(r, key, "attention.causal"), &causal, &found, r->diag);
    if (!r->err && !causal)
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s: expected true, found false", r->path, key);
}

/* Which layers have the window: a bool for each. */
static void read_layers(reader *r, gal_config *c) {
    char key[KEY];
    const gal_gguf_value *v = NULL;
    bool found = false;
    if (r->err) return;
    r->err = gal_gguf_array(r->g, key_of(r, key, "attention.sliding_window_pattern"), GAL_GGUF_BOOLS, &v, &found,
                            r->diag);
    if (r->err || !found) return;
    if (v->count != (uint64_t)c->L || !c->window) {
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s: expected %" PRId64 " bools beside a sliding_window, found %" PRIu64
                          " and a window of %" PRId64,
                          r->path, key, c->L, v->count, c->window);
        return;
    }
    c->layer_full = gal_alloc((size_t)c->L);
    if (!c->layer_full) {
        r->err = gal_fail(r->diag, GAL_ENOMEM, "%s: %s: no memory", r->path, key);
        return;
    }
    for (int64_t l = 0; l < c->L; l++) c->layer_full[l] = !gal_gguf_bool_at(v, (uint64_t)l);
    if (!(c->query_beta > 0)) (void)snprintf(c->model_type, sizeof c->model_type, "ministral");
}

/* An architecture of our own: no other program has one of Gopher (docs/formats/gopher.md). */
static void read_gopher(reader *r, gal_config *c) {
    char key[KEY];
    bool found = false;
    (void)snprintf(c->model_type, sizeof c->model_type, "gopher");
    c->relative = true;
    if (gal_gguf_get(r->g, key_of(r, key, "expert_count")))
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s: expected none in this architecture", r->path, key);
    c->max_distance = whole(r, "attention.max_distance", 0, GAL_MAX_POSITIONS, 0);
    if (!r->err)
        r->err = gal_gguf_bool(r->g, key_of(r, key, "attention.layer_norm"), &c->layer_norm, &found, r->diag);
}

#define BOS "tokenizer.ggml.bos_token_id"
#define EOS "tokenizer.ggml.eos_token_id"
#define EOT "tokenizer.ggml.eot_token_id"
#define EOM "tokenizer.ggml.eom_token_id"
#define PAD "tokenizer.ggml.padding_token_id"

gal_err gal_gguf_id(const gal_gguf *g, const char *key, int64_t limit, int32_t *out, const char *path,
                    gal_diag *diag) {
    uint64_t id = 0;
    bool found = false;
    gal_err err = gal_gguf_uint(g, key, &id, &found, diag);
    /* What some writers put where a vocabulary has no padding. */
    if (found && id == UINT32_MAX && strcmp(key, PAD) == 0) found = false;
    *out = -1;
    if (err || !found) return err;
    if (id >= (uint64_t)GAL_MIN(limit, GAL_MAX_VOCAB))
        return gal_fail(diag, GAL_EINPUT, "%s: %s: expected an id below %" PRId64 ", found %" PRIu64, path, key,
                        limit, id);
    *out = (int32_t)id;
    return GAL_OK;
}

gal_err gal_gguf_check_ids(const gal_gguf *g, int64_t limit, const char *path, gal_diag *diag) {
    static const char *const KEYS[] = { BOS,
                                        EOS,
                                        EOT,
                                        EOM,
                                        "tokenizer.ggml.unknown_token_id",
                                        "tokenizer.ggml.fim_pre_token_id",
                                        "tokenizer.ggml.fim_suf_token_id",
                                        "tokenizer.ggml.fim_mid_token_id",
                                        "tokenizer.ggml.fim_pad_token_id",
                                        "tokenizer.ggml.fim_rep_token_id",
                                        "tokenizer.ggml.fim_sep_token_id" };
    gal_err err = GAL_OK;
    int32_t id;
    for (size_t i = 0; i < GAL_LEN(KEYS) && !err; i++) err = gal_gguf_id(g, KEYS[i], limit, &id, path, diag);
    return err;
}

static int32_t id_of(reader *r, const char *key, int32_t fallback) {
    int32_t id = -1;
    if (!r->err && gal_gguf_get(r->g, key)) r->err = gal_gguf_id(r->g, key, GAL_MAX_VOCAB, &id, r->path, r->diag);
    return gal_gguf_get(r->g, key) ? id : fallback;
}

/* The ids that end a text: the end of a sequence, of a turn, of a message. */
static int32_t read_ends(reader *r, int32_t ids[GAL_MAX_EOS], int32_t fallback) {
    static const char *const KEYS[] = { EOS, EOT, EOM };
    int32_t n = 0;
    for (size_t i = 0; i < GAL_LEN(KEYS); i++) {
        int32_t id = id_of(r, KEYS[i], i ? -1 : fallback);
        bool twice = false;
        for (int32_t j = 0; j < n; j++) twice |= ids[j] == id;
        if (id >= 0 && !twice) ids[n++] = id;
    }
    return n;
}

static gal_err check(const reader *r, const gal_config *c) {
    char prefix[KEY];
    const gal__config_names names = { .prefix = key_of(r, prefix, ""),
                                      .vocab = "vocab_size",
                                      .width = "embedding_length",
                                      .layers = "block_count",
                                      .heads = "attention.head_count",
                                      .kv_heads = "attention.head_count_kv",
                                      .head_size = "attention.key_length",
                                      .hidden = "feed_forward_length",
                                      .positions = "context_length",
                                      .window = "attention.sliding_window",
                                      .original = "rope.scaling.original_context_length",
                                      .eps = "attention.layer_norm_rms_epsilon",
                                      .theta = "rope.freq_base",
                                      .experts = "expert_count",
                                      .experts_used = "expert_used_count" };
    return gal__config_check(c, r->path, &names, r->diag);
}

gal_err gal_gguf_config(gal_config *out, const gal_gguf *g, const char *path, gal_diag *diag) {
    reader r = { .g = g, .path = path, .diag = diag };
    gal_config c;
    gal_config_defaults(&c);
    c.layout = GAL_LAYOUT_GGUF;
    read_arch(&r);
    if (!r.err) read_sizes(&r, &c);
    if (!r.err && is_gopher(&r)) read_gopher(&r, &c);
    if (!r.err && !c.relative) read_rope(&r, &c);
    if (!r.err && !c.relative) read_divisors(&r, &c);
    if (!r.err && !c.relative) refuse_others(&r);
    if (!r.err && !c.relative) read_layers(&r, &c);
    if (!c.relative) read_experts(&r, &c);
    if (!r.err) r.err = gal_gguf_check_ids(g, c.V, path, diag);
    c.bos = id_of(&r, BOS, c.relative ? -1 : 1);
    c.n_eos = read_ends(&r, c.eos, c.relative ? -1 : 2);
    c.pad = id_of(&r, PAD, -1);
    if (!r.err) r.err = check(&r, &c);
    if (r.err)
        gal_config_free(&c);
    else
        *out = c;
    return r.err;
}

gal_err gal_gguf_generation(gal_generation *out, const gal_gguf *g, const char *path, gal_diag *diag) {
    reader r = { .g = g, .path = path, .diag = diag };
    gal_generation v;
    gal_generation_defaults(&v);
    v.bos = id_of(&r, BOS, -1);
    v.n_eos = read_ends(&r, v.eos, -1);
    v.pad = id_of(&r, PAD, -1);
    v.temperature = real_of(&r, "general.sampling.temp", 0, 1e6, -1);
    v.top_p = real_of(&r, "general.sampling.top_p", 0, 1, -1);
    v.min_p = real_of(&r, "general.sampling.min_p", 0, 1, -1);
    v.repetition_penalty = real_of(&r, "general.sampling.penalty_repeat", 1e-6, 1e6, -1);
    bool top_k = gal_gguf_get(g, "general.sampling.top_k") != NULL;
    v.top_k = top_k ? whole_of(&r, "general.sampling.top_k", 0, INT32_MAX, 0) : -1;
    if (v.temperature >= 0) v.do_sample = v.temperature > 0;
    if (!r.err) *out = v;
    return r.err;
}
