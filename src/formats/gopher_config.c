/* gopher_config.c - config.json of Gopher and of the routed models beside it (gopher.md 2, routed-scaling.md 2 and
 * 3): a folder layout of our own, for nobody else has published one. docs/formats/gopher.md lists the keys. Refuses
 * by name what this library would compute otherwise. SPDX-License-Identifier: Apache-2.0 */
#include "formats/json_keys.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <string.h>

static const char *const ROUTERS[] = { "top", "sbase", "rlr", "hash" };

const char *gal_router_name(gal_router r) { return ROUTERS[r]; }

/* The one of n words that a key holds; the first where it is absent. */
static size_t one_of(gal__keys *r, const char *key, const char *const *words, size_t n) {
    char shown[GAL__SHOW], list[128] = "";
    const char *found = gal__key_text(r, key, words[0]);
    for (size_t i = 0, at = 0; i < n; i++) {
        if (strcmp(found, words[i]) == 0) return i;
        at += (size_t)snprintf(list + at, sizeof list - at, "%s\"%s\"",
                               !i          ? ""
                               : i + 1 < n ? ", "
                                           : " or ",
                               words[i]);
    }
    gal__key_fail(r, key, "expected %s, found \"%s\"", list, gal__show(shown, found));
    return 0;
}

static void read_experts(gal__keys *r, gal_config *c) {
    static const char *const GATES[] = { "softmax", "sigmoid" };
    c->experts = gal__key_whole(r, "num_experts", 0, GAL_MAX_EXPERTS, 0);
    if (!c->experts) return;
    c->experts_used = gal__key_whole(r, "num_experts_per_tok", 1, GAL_MAX_EXPERTS, 1);
    c->routed_every = gal__key_whole(r, "routed_every", 1, GAL_MAX_LAYERS, 2);
    c->router = GAL_ROUTER_SBASE + (gal_router)one_of(r, "router", ROUTERS + GAL_ROUTER_SBASE, 3);
    c->gate_sigmoid = one_of(r, "gate", GATES, GAL_LEN(GATES)) == 1;
    c->gate_whole = gal__key_truth(r, "norm_topk_prob", false);
}

void gal__gopher_read(gal__keys *r, gal_config *c) {
    static const char *const NORMS[] = { "rms_norm", "layer_norm" };
    static const char *const ACTS[] = { "gelu_tanh", "gelu_new", "gelu_pytorch_tanh" };
    c->relative = true;
    c->tied = gal__key_truth(r, "tie_word_embeddings", true);
    c->eps = gal__key_real(r, "norm_eps", 0, 1, 1e-6);
    c->layer_norm = one_of(r, "norm", NORMS, GAL_LEN(NORMS)) == 1;
    (void)one_of(r, "hidden_act", ACTS, GAL_LEN(ACTS)); /* one function of three names */
    c->max_distance = gal__key_whole(r, "max_relative_distance", 0, GAL_MAX_POSITIONS, 0);
    if (!gal__key_truth(r, "bias", true)) gal__key_fail(r, "bias", "expected true: this family has biases");
    read_experts(r, c);
}

gal_err gal__gopher_check(const gal_config *c, const char *where, gal_diag *diag) {
    if (c->D % 2)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: hidden_size: expected an even number (sines and cosines of distances), found %" PRId64,
                        where, c->D);
    if (c->G != c->H)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: num_key_value_heads: expected num_attention_heads %" PRId64 ", found %" PRId64, where,
                        c->H, c->G);
    if (!c->tied)
        return gal_fail(diag, GAL_EINPUT, "%s: tie_word_embeddings: expected true: this family has one embedding",
                        where);
    if (c->window || c->layer_full)
        return gal_fail(diag, GAL_EINPUT, "%s: sliding_window: expected none in this family", where);
    if (c->experts && (c->routed_every < 1 || c->routed_every > c->L))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: routed_every: expected 1 to num_hidden_layers %" PRId64 ", found %" PRId64, where, c->L,
                        c->routed_every);
    if (c->experts && c->router == GAL_ROUTER_TOP)
        return gal_fail(diag, GAL_EINPUT, "%s: router: expected \"sbase\", \"rlr\" or \"hash\"", where);
    if (c->experts && c->router == GAL_ROUTER_HASH && c->experts_used != 1)
        return gal_fail(diag, GAL_EINPUT, "%s: num_experts_per_tok: expected 1 with router \"hash\", found %" PRId64,
                        where, c->experts_used);
    return GAL_OK;
}

bool gal__gopher_put(json_t *obj, const gal_config *c) {
    int bad = json_object_set_new(obj, "norm", json_string(c->layer_norm ? "layer_norm" : "rms_norm"));
    bad |= json_object_set_new(obj, "norm_eps", json_real(c->eps));
    bad |= json_object_set_new(obj, "hidden_act", json_string("gelu_tanh"));
    bad |= json_object_set_new(obj, "max_relative_distance",
                               c->max_distance ? json_integer(c->max_distance) : json_null());
    bad |= json_object_set_new(obj, "bias", json_true());
    if (!c->experts) return !bad;
    bad |= json_object_set_new(obj, "num_experts", json_integer(c->experts));
    bad |= json_object_set_new(obj, "num_experts_per_tok", json_integer(c->experts_used));
    bad |= json_object_set_new(obj, "routed_every", json_integer(c->routed_every));
    bad |= json_object_set_new(obj, "router", json_string(ROUTERS[c->router]));
    bad |= json_object_set_new(obj, "gate", json_string(c->gate_sigmoid ? "sigmoid" : "softmax"));
    bad |= json_object_set_new(obj, "norm_topk_prob", json_boolean(c->gate_whole));
    return !bad;
}
