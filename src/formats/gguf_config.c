/* gguf_config.c - a model's sizes and options from the metadata of a GGUF file (formats.md 4.2). Refuses by name what
 * would be computed wrongly. SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdio.h>
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

static double real(reader *r, const char *name, double low, double high, double fallback) {
    char key[KEY];
    double v = fallback;
    bool found = false;
    if (r->err) return fallback;
    r->err = gal_gguf_float(r->g, key_of(r, key, name), &v, &found, r->diag);
    if (!r->err && found && !(v >= low && v <= high)) out_of_range(r, key, low, high, v);
    return v;
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

static void read_arch(reader *r) {
    const char *s = NULL;
    size_t n = 0;
    r->err = gal_gguf_string(r->g, "general.architecture", &s, &n, NULL, r->diag);
    if (r->err) return;
    (void)snprintf(r->arch, sizeof r->arch, "%.*s", (int)(n < sizeof r->arch ? n : sizeof r->arch - 1), s);
    for (char *c = r->arch; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    if (strcmp(r->arch, "llama") != 0 && strcmp(r->arch, "mistral3") != 0)
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: general.architecture: expected \"llama\" or \"mistral3\", found \"%s\"", r->path,
                          r->arch);
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
    if (whole(r, "expert_count", 0, 1 << 20, 0) > 0)
        r->err = gal_fail(r->diag, GAL_EINPUT, "%s: %s.expert_count: experts are not supported yet", r->path,
                          r->arch);
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
    c->eps = real(r, "attention.layer_norm_rms_epsilon", 0, 1, 1e-5);
    c->tied = !gal_gguf_find(r->g, "output.weight");
}

static void read_rope(reader *r, gal_config *c) {
    char key[KEY];
    const char *s = NULL;
    size_t n = 0;
    bool found = false;
    c->rope_theta = real(r, "rope.freq_base", 1e-3, 1e12, 1e4);
    refuse_key(r, "attention.temperature_scale", "the scaling of queries is not supported yet");
    if (r->err) return;
    double old = real(r, "rope.scale_linear", 1e-3, 1e6, 1.0);
    r->err = gal_gguf_string(r->g, key_of(r, key, "rope.scaling.type"), &s, &n, &found, r->diag);
    if (r->err) return;
    bool linear = found && n == 6 && memcmp(s, "linear", 6) == 0,
         none = !found || (n == 4 && memcmp(s, "none", 4) == 0);
    if (!linear && !none)
        r->err = gal_fail(r->diag, GAL_EINPUT,
                          "%s: %s: expected \"none\" or \"linear\", found \"%.*s\", which is not supported yet",
                          r->path, key, (int)(n < 40 ? n : 40), s);
    c->rope_factor = real(r, "rope.scaling.factor", 1e-3, 1e6, old);
    if (none && found) c->rope_factor = 1.0;
    if (c->rope_factor < 1.0 || c->rope_factor > 1.0) (void)snprintf(c->rope_type, sizeof c->rope_type, "linear");
}

static int32_t id_of(reader *r, const char *key, int32_t fallback) {
    bool absent = !gal_gguf_get(r->g, key);
    return absent ? fallback : (int32_t)whole_of(r, key, 0, GAL_MAX_VOCAB - 1, -1);
}

gal_err gal_gguf_config(gal_config *out, const gal_gguf *g, const char *path, gal_diag *diag) {
    reader r = { .g = g, .path = path, .diag = diag };
    gal_config c;
    gal_config_defaults(&c);
    c.layout = GAL_LAYOUT_GGUF;
    read_arch(&r);
    if (!r.err) read_sizes(&r, &c);
    if (!r.err) read_rope(&r, &c);
    if (r.err) return r.err;
    c.bos = id_of(&r, "tokenizer.ggml.bos_token_id", 1);
    c.eos[0] = id_of(&r, "tokenizer.ggml.eos_token_id", 2);
    c.n_eos = 1;
    c.pad = id_of(&r, "tokenizer.ggml.padding_token_id", -1);
    if (!r.err) r.err = gal_config_check(&c, path, diag);
    if (!r.err) *out = c;
    return r.err;
}
