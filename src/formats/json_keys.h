/* json_keys.h - the keys of one JSON object of a model's description, each checked against a kind and a range. The
 * first error sticks and names the file, the key, what was expected and what was found; readers give their fallback
 * then. Internal to formats. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_JSON_KEYS_H
#define GAL_FORMATS_JSON_KEYS_H

#include "formats/config.h"
#include "formats/json.h"

enum { GAL__CONFIG_BYTES = 1 << 20 }; /* most of a description of a model */

/* prefix: where the object lies, for messages ("rope_parameters."). */
typedef struct gal__keys {
    const json_t *obj;
    const char *path, *prefix;
    gal_diag *diag;
    gal_err err;
} gal__keys;

void gal__key_fail(gal__keys *r, const char *key, const char *fmt, ...) GAL_PRINTF(3, 4);
/* The value, or NULL when absent or null: transformers treats both alike. */
const json_t *gal__key_get(const gal__keys *r, const char *key);
/* lo <= value <= hi, or fallback when absent; without a fallback (fallback < lo) the key is needed. */
int64_t gal__key_whole(gal__keys *r, const char *key, int64_t lo, int64_t hi, int64_t fallback);
double gal__key_real(gal__keys *r, const char *key, double lo, double hi, double fallback);
bool gal__key_truth(gal__keys *r, const char *key, bool fallback);
const char *gal__key_text(gal__keys *r, const char *key, const char *fallback);
/* A token id, -1 for none. Some files write -1 themselves. */
int32_t gal__key_token(gal__keys *r, const char *key, int32_t fallback);
/* One id or a list of them; returns how many. */
int32_t gal__key_token_list(gal__keys *r, const char *key, int32_t ids[GAL_MAX_EOS]);
/* Those ids, of that key, are the vocabulary's. */
void gal__key_ids_below(gal__keys *r, const char *key, const int32_t *ids, int32_t n, int64_t vocab);
/* hf_config.c   A sliding window of any kind: a number, null, or a pattern that repeats down the c->L layers from
 * layer 0, null meaning full attention. v is the value of key. */
void gal__key_window(gal__keys *r, const char *key, const json_t *v, gal_config *c);
/* gopher_config.c   What config.json says of a "gopher" beside its sizes, and what is checked of it. */
void gal__gopher_read(gal__keys *r, gal_config *c);
gal_err gal__gopher_check(const gal_config *c, const char *where, gal_diag *diag);
/* Sets those keys in an object; false: no memory. */
bool gal__gopher_put(json_t *obj, const gal_config *c);
/* gal_config_check() by the names that a description has for its numbers; prefix stands before each of them. */
typedef struct gal__config_names {
    const char *prefix, *vocab, *width, *layers, *heads, *kv_heads, *head_size, *hidden, *positions, *window,
        *original, *eps, *theta, *experts, *experts_used;
} gal__config_names;
gal_err gal__config_check(const gal_config *c, const char *where, const gal__config_names *names, gal_diag *diag);
/* Without c->layer_full where the window alone says the same. */
void gal__drop_plain_layers(gal_config *c);

#endif
