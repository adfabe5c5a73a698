/* lora_config.c - see lora_config.h. Refuses by name what this library would compute wrongly: other kinds of
 * adapters, trained biases, whole modules, and initialisations that change the base's weights. Keys of training are
 * ignored.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/lora_config.h"

#include "base/file.h"
#include "base/mem.h"
#include "formats/json_keys.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define OWN_SCALING 2.0 /* what Mistral's own code takes when nobody says (formats.md 2) */

static void free_patterns(gal_lora_pattern *p, size_t n) {
    for (size_t i = 0; i < n; i++) gal_free(p[i].key);
    gal_free(p);
}

void gal_lora_config_free(gal_lora_config *c) {
    free_patterns(c->ranks, c->n_ranks);
    free_patterns(c->alphas, c->n_alphas);
    for (size_t i = 0; i < c->n_targets; i++) gal_free(c->targets[i]);
    gal_free(c->targets);
    gal_free(c->base);
    *c = (gal_lora_config){ 0 };
}

static void no_memory(gal__keys *r) {
    if (!r->err) r->err = gal_fail(r->diag, GAL_ENOMEM, "%s: no memory", r->path);
}

/* A key that is no list, object or truth of its own, or an empty one of these. */
static bool says_nothing(const json_t *v) {
    return !v || json_is_false(v) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v));
}

static void refuse(gal__keys *r, const char *key, const char *what) {
    const json_t *v = gal__key_get(r, key);
    if (!says_nothing(v)) gal__key_fail(r, key, "%s is not supported", what);
}

static void expect_text(gal__keys *r, const char *key, const char *want, const char *fallback) {
    char shown[GAL__SHOW];
    const char *s = gal__key_text(r, key, fallback);
    if (!r->err && strcmp(s, want) != 0)
        gal__key_fail(r, key, "expected \"%s\", found \"%s\"", want, gal__show(shown, s));
}

/* Of these the base stays as it is. Others begin with a part of its weights (their largest singular values, what
 * their rounding loses, ...), which PEFT takes away from the base, when such an adapter is loaded too. */
static void expect_plain_base(gal__keys *r) {
    static const char *const PLAIN[] = { "gaussian", "eva", "orthogonal" };
    static const char KEY[] = "init_lora_weights";
    char shown[GAL__SHOW];
    const json_t *v = gal__key_get(r, KEY);
    if (!v || json_is_boolean(v)) return;
    const char *s = gal__key_text(r, KEY, "");
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++)
        if (strcasecmp(s, PLAIN[i]) == 0) return;
    if (!r->err)
        gal__key_fail(
            r, KEY,
            "expected true, false, \"gaussian\", \"eva\" or \"orthogonal\", found \"%s\": with others (PiSSA, "
            "OLoRA, CorDA, LoftQ, LoRA-GA) an adapter belongs to a base whose weights PEFT changes. Save it "
            "as a plain one, with path_initial_model_for_weight_conversion of PEFT's save_pretrained()",
            gal__show(shown, s));
}

/* Whether a regular expression is the plain name of a module: points stand for themselves as well as for any
 * character. */
static bool is_name(const char *s) {
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] == 0;
}

static void read_patterns(gal__keys *r, const char *key, gal_lora_pattern **out, size_t *n, double lo, double hi) {
    char shown[GAL__SHOW];
    const json_t *o = gal__key_get(r, key);
    const char *k;
    json_t *v;
    if (r->err || says_nothing(o)) return;
    if (!json_is_object(o)) {
        gal__key_fail(r, key, "expected an object, found %s", gal__json_kind(o));
        return;
    }
    *out = gal_alloc_array(json_object_size(o), sizeof **out);
    if (!*out) no_memory(r);
    json_object_foreach((json_t *)(uintptr_t)o, k, v) {
        double x = json_number_value(v);
        if (r->err) return;
        if (!is_name(k)) {
            gal__key_fail(r, key, "expected names of modules, found the pattern \"%s\"", gal__show(shown, k));
        } else if (!json_is_number(v) || !(x >= lo && x <= hi)) {
            gal__key_fail(r, key, "\"%s\": expected a number from %g to %g", gal__show(shown, k), lo, hi);
        } else {
            (*out)[*n].value = x;
            (*out)[*n].key = gal_strdup(k);
            if (!(*out)[(*n)++].key) no_memory(r);
        }
    }
}

static void read_targets(gal__keys *r, gal_lora_config *c) {
    const json_t *v = gal__key_get(r, "target_modules");
    if (r->err || !v || json_is_string(v)) return;
    if (!json_is_array(v)) {
        gal__key_fail(r, "target_modules", "expected a list of names, found %s", gal__json_kind(v));
        return;
    }
    c->targets = gal_alloc_array(json_array_size(v) + 1, sizeof *c->targets);
    if (!c->targets) no_memory(r);
    for (size_t i = 0; !r->err && i < json_array_size(v); i++) {
        const json_t *name = json_array_get(v, i);
        if (!json_is_string(name)) {
            gal__key_fail(r, "target_modules", "expected names, found %s", gal__json_kind(name));
            return;
        }
        c->targets[c->n_targets] = gal_strdup(json_string_value(name));
        if (!c->targets[c->n_targets++]) no_memory(r);
    }
}

static void read_peft(gal__keys *r, gal_lora_config *c) {
    expect_text(r, "peft_type", "LORA", "LORA");
    c->scaling = -1;
    c->rank = gal__key_whole(r, "r", 1, GAL_LORA_MAX_RANK, 0);
    if (!gal__key_get(r, "lora_alpha")) gal__key_fail(r, "lora_alpha", "expected a number, the key is missing");
    c->alpha = gal__key_real(r, "lora_alpha", -1e9, 1e9, 0);
    c->rslora = gal__key_truth(r, "use_rslora", false);
    if (gal__key_truth(r, "fan_in_fan_out", false))
        gal__key_fail(r, "fan_in_fan_out", "expected false: weights of this family are [out, in]");
    expect_text(r, "bias", "none", "none");
    expect_plain_base(r);
    refuse(r, "use_dora", "an adapter with magnitudes (DoRA)");
    refuse(r, "lora_bias", "an adapter with biases");
    refuse(r, "modules_to_save", "an adapter with whole modules beside it");
    refuse(r, "trainable_token_indices", "an adapter with trained tokens");
    refuse(r, "target_parameters", "an adapter of parameters that are no module's weight");
    refuse(r, "layer_replication", "an adapter that repeats layers");
    refuse(r, "alora_invocation_tokens", "an adapter that acts after certain tokens (aLoRA)");
    read_patterns(r, "rank_pattern", &c->ranks, &c->n_ranks, 1, (double)GAL_LORA_MAX_RANK);
    read_patterns(r, "alpha_pattern", &c->alphas, &c->n_alphas, -1e9, 1e9);
    read_targets(r, c);
    const char *base = gal__key_text(r, "base_model_name_or_path", NULL);
    if (!r->err && base && !(c->base = gal_strdup(base))) no_memory(r);
}

gal_err gal_lora_config_read(gal_lora_config *out, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_lora_config c = { 0 };
    gal_err err = gal__json_read(&root, path, GAL__CONFIG_BYTES, diag);
    if (!err) {
        gal__keys r = { .obj = root, .path = path, .prefix = "", .diag = diag };
        read_peft(&r, &c);
        err = r.err;
    }
    json_decref(root);
    if (err)
        gal_lora_config_free(&c);
    else
        *out = c;
    return err;
}

gal_err gal_lora_params_read(gal_lora_config *out, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_lora_config c = { .scaling = OWN_SCALING };
    gal_err err = path ? gal__json_read(&root, path, GAL__CONFIG_BYTES, diag) : GAL_OK;
    const json_t *o = json_object_get(root, "lora");
    if (!err && o && !json_is_null(o)) {
        gal__keys r = { .obj = o, .path = path, .prefix = "lora.", .diag = diag };
        if (json_is_object(o)) {
            c.rank = gal__key_whole(&r, "rank", 1, GAL_LORA_MAX_RANK, 0);
            c.scaling = gal__key_real(&r, "scaling", 0, 1e9, OWN_SCALING);
            err = r.err;
        } else {
            err = gal_fail(diag, GAL_EINPUT, "%s: lora: expected an object, found %s", path, gal__json_kind(o));
        }
    }
    json_decref(root);
    if (!err) *out = c;
    return err;
}

/* The first pattern that is the module's path or ends it, as PEFT looks for it. */
static const gal_lora_pattern *pattern_of(const gal_lora_pattern *p, size_t n, const char *module) {
    size_t len = strlen(module);
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(p[i].key);
        if (k > len || strcmp(module + len - k, p[i].key) != 0) continue;
        if (k == len || module[len - k - 1] == '.') return &p[i];
    }
    return NULL;
}

int64_t gal_lora_rank(const gal_lora_config *c, const char *module) {
    const gal_lora_pattern *p = pattern_of(c->ranks, c->n_ranks, module);
    return p ? (int64_t)p->value : c->rank;
}

double gal_lora_scale(const gal_lora_config *c, const char *module, int64_t rank) {
    if (c->scaling >= 0) return c->scaling;
    const gal_lora_pattern *p = pattern_of(c->alphas, c->n_alphas, module);
    double alpha = p ? p->value : c->alpha;
    return alpha / (c->rslora ? sqrt((double)rank) : (double)rank);
}

gal_err gal_lora_config_write(const gal_lora_config *c, const char *path, gal_diag *diag) {
    gal_buf out = { 0 };
    json_t *targets = json_array();
    bool ok = targets != NULL;
    for (size_t i = 0; ok && i < c->n_targets; i++)
        ok = json_array_append_new(targets, json_string(c->targets[i])) == 0;
    json_t *root = ok ? json_pack("{s:s, s:s, s:s?, s:I, s:f, s:b, s:O, s:f, s:s, s:b, s:b}", "peft_type", "LORA",
                                  "task_type", "CAUSAL_LM", "base_model_name_or_path", c->base, "r",
                                  (json_int_t)c->rank, "lora_alpha", c->alpha, "use_rslora", (int)c->rslora,
                                  "target_modules", targets, "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", 0,
                                  "inference_mode", 1)
                      : NULL;
    gal_err err = root ? gal__json_print(root, &out, path, diag) : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) err = gal_write_file(path, out.data, out.len, diag);
    json_decref(root);
    json_decref(targets);
    gal_buf_free(&out);
    return err;
}
