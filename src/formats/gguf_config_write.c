/* gguf_config_write.c - a model's sizes and options as metadata of a GGUF file (formats.md 4.2), and its makers'
 * sampling. Refuses what the keys cannot say. Invariant: gal_gguf_config() reads a model back that computes the same
 * numbers. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "formats/config.h"
#include "formats/gguf.h"

#include <stdio.h>
#include <string.h>

typedef struct writer {
    gal_gguf_writer *w;
    const char *arch;
} writer;

enum { KEY = 96 };

static const char *key_of(const writer *w, char key[KEY], const char *name) {
    (void)snprintf(key, KEY, "%s.%s", w->arch, name);
    return key;
}

static void put_whole(const writer *w, const char *name, int64_t x) {
    char key[KEY];
    gal_gguf_put_u32(w->w, key_of(w, key, name), (uint32_t)x);
}

static void put_real(const writer *w, const char *name, double x) {
    char key[KEY];
    gal_gguf_put_f32(w->w, key_of(w, key, name), (float)x);
}

static bool is_type(const gal_config *c, const char *type) { return strcmp(c->rope_type, type) == 0; }

/* Its readers know YaRN's numbers and the scaling of queries only under this name; Gopher has one of its own. */
const char *gal_gguf_architecture(const gal_config *c) {
    if (c->relative) return "gopher";
    return is_type(c, "yarn") || c->query_beta > 0 ? "mistral3" : "llama";
}

static bool is_one(double x) { return !((float)x < 1.0F) && !((float)x > 1.0F); }

/* What cosine and sine are multiplied with. Readers have 0.1 ln(factor) + 1, divided by the same with the logarithm
 * weighted by yarn_log_multiplier, where that is there; attn_factor comes on top. A yarn_attn_factor that says it
 * outright is what converters write and only some read. */
static void put_magnitude(const writer *w, const gal_config *c) {
    double want = gal_yarn_scale(c);
    bool pair = !(c->rope_attention_factor > 0) && c->rope_mscale > 0 && c->rope_mscale_all_dim > 0;
    if (!pair && !(c->rope_attention_factor > 0)) return;
    if (is_one(want) || (pair && is_one(c->rope_mscale))) {
        put_real(w, "rope.scaling.yarn_log_multiplier", is_one(want) ? 1.0 : c->rope_mscale_all_dim);
        return;
    }
    put_real(w, "rope.scaling.yarn_attn_factor", want);
    put_real(w, "rope.scaling.attn_factor", want / gal_yarn_magnitude(c->rope_factor, 1.0));
}

static void put_rope(const writer *w, const gal_config *c) {
    char key[KEY];
    int64_t original = c->rope_original ? c->rope_original : c->max_positions;
    put_whole(w, "rope.dimension_count", c->K);
    put_real(w, "rope.freq_base", c->rope_theta);
    if (!is_type(c, "default")) {
        gal_gguf_put_string(w->w, key_of(w, key, "rope.scaling.type"), c->rope_type, strlen(c->rope_type));
        put_real(w, "rope.scaling.factor", c->rope_factor);
    } else if (c->query_beta > 0) { /* an absent type means linear to readers, with a factor of 1 */
        gal_gguf_put_string(w->w, key_of(w, key, "rope.scaling.type"), "none", 4);
    }
    if (is_type(c, "yarn") || c->query_beta > 0) put_whole(w, "rope.scaling.original_context_length", original);
    if (is_type(c, "yarn")) {
        put_real(w, "rope.scaling.yarn_beta_fast", c->rope_beta_fast);
        put_real(w, "rope.scaling.yarn_beta_slow", c->rope_beta_slow);
        put_magnitude(w, c);
    }
    if (c->attn_scale > 0) put_real(w, "attention.scale", c->attn_scale);
    if (!(c->query_beta > 0)) return;
    put_real(w, "attention.temperature_scale", c->query_beta);
    if (c->query_original && c->query_original != original)
        put_whole(w, "attention.temperature_length", c->query_original);
}

/* One bool a layer: whether it has the window. */
static gal_err put_layers(const writer *w, const gal_config *c, const char *path, gal_diag *diag) {
    char key[KEY];
    uint8_t *has = gal_alloc((size_t)c->L);
    if (!has) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the kinds of layers", path);
    for (int64_t l = 0; l < c->L; l++) has[l] = !c->layer_full[l];
    gal_gguf_put_numbers(w->w, key_of(w, key, "attention.sliding_window_pattern"), GAL_GGUF_BOOL, has, (size_t)c->L);
    gal_free(has);
    return GAL_OK;
}

static void put_gopher(const writer *w, const gal_config *c) {
    char key[KEY];
    put_whole(w, "attention.max_distance", c->max_distance);
    gal_gguf_put_bool(w->w, key_of(w, key, "attention.layer_norm"), c->layer_norm);
}

gal_err gal_gguf_put_config(gal_gguf_writer *out, const gal_config *c, const char *path, gal_diag *diag) {
    writer w = { .w = out, .arch = gal_gguf_architecture(c) };
    if (is_type(c, "yarn") && !c->rope_truncate)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: a GGUF file cannot say that YaRN's ramp ends between dimensions (truncate: false)",
                        path);
    if (c->rope_divisors)
        return gal_fail(diag, GAL_EINPUT, "%s: divisors of rotary frequencies are not written", path);
    gal_gguf_put_string(out, "general.architecture", w.arch, strlen(w.arch));
    gal_gguf_put_string(out, "general.type", "model", 5);
    put_whole(&w, "vocab_size", c->V);
    put_whole(&w, "context_length", c->max_positions);
    put_whole(&w, "embedding_length", c->D);
    put_whole(&w, "block_count", c->L);
    put_whole(&w, "feed_forward_length", c->F);
    if (c->experts) {
        put_whole(&w, "expert_count", c->experts);
        put_whole(&w, "expert_used_count", c->experts_used);
    }
    put_whole(&w, "attention.head_count", c->H);
    put_whole(&w, "attention.head_count_kv", c->G);
    put_whole(&w, "attention.key_length", c->K);
    put_whole(&w, "attention.value_length", c->K);
    put_real(&w, "attention.layer_norm_rms_epsilon", c->eps);
    if (c->relative && c->experts)
        return gal_fail(diag, GAL_EINPUT, "%s: a GGUF file cannot hold the experts of a \"%s\"", path, c->model_type);
    if (c->relative) {
        put_gopher(&w, c);
        return GAL_OK;
    }
    if (c->window) put_whole(&w, "attention.sliding_window", c->window);
    gal_err err = c->layer_full ? put_layers(&w, c, path, diag) : GAL_OK;
    if (!err) put_rope(&w, c);
    return err;
}

void gal_gguf_put_generation(gal_gguf_writer *w, const gal_generation *g) {
    double temperature = g->do_sample == 0 ? 0.0 : g->temperature;
    if (g->top_k >= 0) gal_gguf_put_i32(w, "general.sampling.top_k", (int32_t)g->top_k);
    if (g->top_p >= 0) gal_gguf_put_f32(w, "general.sampling.top_p", (float)g->top_p);
    if (g->min_p >= 0) gal_gguf_put_f32(w, "general.sampling.min_p", (float)g->min_p);
    if (temperature >= 0) gal_gguf_put_f32(w, "general.sampling.temp", (float)temperature);
    if (g->repetition_penalty >= 0)
        gal_gguf_put_f32(w, "general.sampling.penalty_repeat", (float)g->repetition_penalty);
}
