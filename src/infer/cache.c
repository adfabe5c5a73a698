/* cache.c - see cache.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/cache.h"

#include "base/mem.h"
#include "tensor/blocks.h"

#include <string.h>

enum { FIRST_ROOM = 64 };

struct gal_cache {
    gal_dev *dev;
    int64_t L, G, K, sequences, limit, room;
    gal_dtype dtype;
    int64_t *window;     /* [L] 0: none */
    gal_kv_layer *layer; /* [L] */
    int64_t *length;     /* [sequences] */
};

static int64_t layer_window(const gal_config *c, int64_t l) {
    return c->layer_full && c->layer_full[l] ? 0 : c->window;
}

static int64_t slots_for(int64_t window, int64_t tokens) {
    return window > 0 ? GAL_MIN(window + GAL_CACHE_SPARE, tokens) : tokens;
}

/* Bytes of one token in one layer's keys and values. Sizes are below 2^20 each (formats/config.h). */
static uint64_t slot_bytes(int64_t G, int64_t K, gal_dtype dtype) {
    return 2 * (uint64_t)G * gal_dtype_span(dtype, K);
}

uint64_t gal_cache_bytes_for(const gal_config *config, gal_dtype dtype, int64_t sequences, int64_t tokens) {
    uint64_t slots = 0;
    for (int64_t l = 0; l < config->L; l++) slots += (uint64_t)slots_for(layer_window(config, l), tokens);
    uint64_t one = slot_bytes(config->G, config->K, dtype) * (uint64_t)sequences;
    uint64_t keys = slots > UINT64_MAX / GAL_MAX(one, 1) ? UINT64_MAX : slots * one;
    uint64_t row = (uint64_t)(config->H * config->K) * (uint64_t)config->L * sizeof(float); /* below 2^35 */
    uint64_t rows = (uint64_t)gal_relative_rows(config, tokens);
    uint64_t relative = rows > UINT64_MAX / row ? UINT64_MAX : rows * row;
    return keys > UINT64_MAX - relative ? UINT64_MAX : keys + relative;
}

int64_t gal_relative_rows(const gal_config *config, int64_t tokens) {
    if (!config->relative) return 0;
    return config->max_distance ? GAL_MIN(tokens, config->max_distance + 1) : tokens;
}

void gal_cache_set_relative(gal_cache *c, int64_t layer, const void *r, int64_t distances) {
    c->layer[layer].r = r;
    c->layer[layer].distances = distances;
}

uint64_t gal_cache_bytes_seen(const gal_config *config, gal_dtype dtype, int64_t tokens) {
    uint64_t keys = 0;
    for (int64_t l = 0; l < config->L; l++) {
        const int64_t window = layer_window(config, l);
        keys += (uint64_t)(window > 0 ? GAL_MIN(window, tokens) : tokens);
    }
    return keys * slot_bytes(config->G, config->K, dtype);
}

int64_t gal_cache_tokens_in(const gal_config *config, gal_dtype dtype, int64_t sequences, int64_t most,
                            uint64_t bytes) {
    int64_t lo = 0, hi = most; /* lo fits */
    while (lo < hi) {
        int64_t mid = lo + (hi - lo + 1) / 2;
        uint64_t need = gal_cache_bytes_for(config, dtype, sequences, mid);
        uint64_t one_layer = need / (uint64_t)GAL_MAX(config->L, 1); /* its old copy, while it grows */
        if (need <= bytes && one_layer <= bytes - need) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

gal_err gal_cache_check(const gal_config *config, const gal_dev *dev, gal_dtype dtype, gal_diag *diag) {
    GAL_ASSERT(dtype == GAL_F32 || dtype == GAL_BF16 || dtype == GAL_F16 || gal_dtype_in_blocks(dtype));
    if (!gal_dtype_in_blocks(dtype)) return GAL_OK;
    const int64_t block = gal_block_info_of(gal_dtype_block(dtype))->elements;
    if (config->K % block)
        return gal_fail(diag, GAL_EUSAGE,
                        "keys and values in %s lie in blocks of %lld numbers; this model's heads have %lld",
                        gal_dtype_name(dtype), (long long)block, (long long)config->K);
    if (dev && dev->far)
        return gal_fail(diag, GAL_EUSAGE, "%s: keys and values are f32, f16 or bf16 there, not %s", dev->name,
                        gal_dtype_name(dtype));
    return GAL_OK;
}

gal_err gal_cache_new(gal_cache **out, gal_dev *dev, const gal_config *config, gal_dtype dtype, int64_t sequences,
                      int64_t limit, gal_diag *diag) {
    GAL_ASSERT(sequences > 0 && limit > 0);
    gal_err bad = gal_cache_check(config, dev, dtype, diag);
    if (bad) return bad;
    gal_cache *c = gal_alloc(sizeof *c);
    if (!c) return gal_fail(diag, GAL_ENOMEM, "no memory for a key-value cache");
    *c = (gal_cache){
        .L = config->L, .G = config->G, .K = config->K, .sequences = sequences, .limit = limit, .dtype = dtype
    };
    c->dev = dev;
    c->window = gal_alloc_array((size_t)c->L, sizeof *c->window);
    c->layer = gal_alloc_array((size_t)c->L, sizeof *c->layer);
    c->length = gal_alloc_array((size_t)sequences, sizeof *c->length);
    gal_err err = c->window && c->layer && c->length
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "no memory for a key-value cache of %lld layers", (long long)c->L);
    for (int64_t l = 0; !err && l < c->L; l++) {
        c->window[l] = layer_window(config, l);
        c->layer[l].dtype = dtype;
    }
    if (!err) err = gal_cache_reserve(c, GAL_MIN(limit, FIRST_ROOM), NULL, diag);
    if (err) {
        gal_cache_free(c);
        return err;
    }
    *out = c;
    return GAL_OK;
}

void gal_cache_free(gal_cache *c) {
    if (!c) return;
    for (int64_t l = 0; c->layer && l < c->L; l++) {
        gal_dev_give(c->dev, c->layer[l].k);
        gal_dev_give(c->dev, c->layer[l].v);
    }
    gal_free(c->layer);
    gal_free(c->window);
    gal_free(c->length);
    gal_free(c);
}

int64_t gal_cache_room(const gal_cache *c) { return c->room; }

uint64_t gal_cache_bytes(const gal_cache *c) {
    uint64_t slots = 0;
    for (int64_t l = 0; l < c->L; l++) slots += (uint64_t)c->layer[l].slots;
    return slots * slot_bytes(c->G, c->K, c->dtype) * (uint64_t)c->sequences;
}

int64_t gal_cache_length(const gal_cache *c, int64_t sequence) {
    GAL_ASSERT(sequence >= 0 && sequence < c->sequences);
    return c->length[sequence];
}

const gal_kv_layer *gal_cache_layers(const gal_cache *c) { return c->layer; }

/* One head's run of slots. */
static gal_err copy_run(gal_cache *c, void *to, const void *from, size_t bytes, gal_diag *diag) {
    if (!c->dev || !c->dev->far) {
        memcpy(to, from, bytes);
        return GAL_OK;
    }
    gal_k_map copy = {
        .y = to, .a = from, .dt = c->dtype, .adt = c->dtype, .count = (int64_t)(bytes / gal_dtype_bytes(c->dtype))
    };
    return gal_dev_launch(c->dev, GAL_K_COPY, &copy, sizeof copy, diag);
}

/* [sequences, G, slots, K] with more slots. A layer that grows has not wrapped, so position p stays in slot p. */
static gal_err grow_layer(gal_cache *c, gal_kv_layer *layer, int64_t slots, gal_diag *diag) {
    size_t row = gal_dtype_span(c->dtype, c->K), heads = (size_t)c->sequences * (size_t)c->G;
    size_t old_run = (size_t)layer->slots * row, new_run = (size_t)slots * row;
    void *both[2] = { gal_dev_take_array(c->dev, heads, new_run), gal_dev_take_array(c->dev, heads, new_run) };
    void **old[2] = { &layer->k, &layer->v };
    gal_err err = GAL_OK;
    if (!both[0] || !both[1])
        err = gal_fail(diag, GAL_ENOMEM, "no memory for a key-value cache of %lld tokens (%zu bytes for one layer)",
                       (long long)slots, 2 * heads * new_run);
    for (int i = 0; i < 2; i++)
        for (size_t h = 0; !err && *old[i] && h < heads; h++)
            err = copy_run(c, (char *)both[i] + h * new_run, (const char *)*old[i] + h * old_run, old_run, diag);
    for (int i = 0; i < 2; i++) {
        gal_dev_give(c->dev, err ? both[i] : *old[i]);
        if (!err) *old[i] = both[i];
    }
    if (err) return err;
    layer->slots = slots;
    return GAL_OK;
}

gal_err gal_cache_reserve(gal_cache *c, int64_t tokens, bool *grown, gal_diag *diag) {
    if (grown) *grown = false;
    if (tokens <= c->room) return GAL_OK;
    if (tokens > c->limit) {
        return gal_fail(diag, GAL_ENOMEM, "a sequence of %lld tokens was asked for; the limit of this cache is %lld",
                        (long long)tokens, (long long)c->limit);
    }
    int64_t room = GAL_MIN(c->limit, GAL_MAX(tokens, c->room > INT64_MAX / 2 ? tokens : 2 * c->room));
    for (int64_t l = 0; l < c->L; l++) {
        int64_t slots = slots_for(c->window[l], room);
        if (slots <= c->layer[l].slots) continue;
        /* A failure leaves some layers larger than others: each is consistent by itself, and the next try goes on. */
        if (grown) *grown = true;
        gal_err err = grow_layer(c, &c->layer[l], slots, diag);
        if (err) return err;
    }
    c->room = room;
    return GAL_OK;
}

void gal_cache_advance(gal_cache *c, int64_t sequence, int64_t n) {
    GAL_ASSERT(sequence >= 0 && sequence < c->sequences && n >= 0 && c->length[sequence] + n <= c->room);
    c->length[sequence] += n;
}

bool gal_cache_overwrites(const gal_cache *c, int64_t sequence, int64_t n) {
    const int64_t length = gal_cache_length(c, sequence) + n;
    for (int64_t l = 0; l < c->L; l++)
        if (length > c->layer[l].slots) return true;
    return false;
}

int64_t gal_cache_unwrapped(const gal_cache *c) {
    int64_t least = INT64_MAX;
    for (int64_t l = 0; l < c->L; l++)
        if (c->window[l] > 0) least = GAL_MIN(least, c->window[l] + GAL_CACHE_SPARE);
    return least;
}

bool gal_cache_truncate(gal_cache *c, int64_t sequence, int64_t length) {
    GAL_ASSERT(sequence >= 0 && sequence < c->sequences && length >= 0);
    int64_t had = c->length[sequence];
    if (length >= had) return length == had;
    for (int64_t l = 0; length > 0 && l < c->L; l++) {
        int64_t w = c->window[l], oldest = had - c->layer[l].slots; /* the oldest position still in the ring */
        if (oldest > 0 && oldest > length - w + 1) return false;    /* position `length` sees length - w + 1 */
    }
    c->length[sequence] = length;
    return true;
}

/* The slots that hold something: all of a ring, else the first ones. */
gal_err gal_cache_fork(gal_cache *c, int64_t from, int64_t to, gal_diag *diag) {
    GAL_ASSERT(from >= 0 && from < c->sequences && to >= 0 && to < c->sequences);
    gal_err err = GAL_OK;
    if (from == to) return GAL_OK;
    c->length[to] = 0;
    for (int64_t l = 0; !err && l < c->L; l++) {
        const gal_kv_layer *layer = &c->layer[l];
        const size_t slot = gal_dtype_span(c->dtype, c->K), run = (size_t)layer->slots * slot;
        const size_t kept = (size_t)GAL_MIN(layer->slots, c->length[from]) * slot;
        char *both[2] = { layer->k, layer->v };
        for (int64_t h = 0; !err && kept && h < 2 * c->G; h++) {
            char *k = both[h / c->G];
            err = copy_run(c, k + (size_t)(to * c->G + h % c->G) * run, k + (size_t)(from * c->G + h % c->G) * run,
                           kept, diag);
        }
    }
    if (!err) c->length[to] = c->length[from];
    return err;
}

/* ---- for files ----------------------------------------------------------------------------------------------------
 */

int64_t gal_cache_kept(const gal_cache *c, int64_t layer, int64_t sequence) {
    return GAL_MIN(c->layer[layer].slots, gal_cache_length(c, sequence));
}

size_t gal_cache_run_bytes(const gal_cache *c, int64_t layer, int64_t sequence) {
    return (size_t)gal_cache_kept(c, layer, sequence) * gal_dtype_span(c->dtype, c->K);
}

static void *run_of(const gal_cache *c, gal_cache_run run) {
    const gal_kv_layer *l = &c->layer[run.layer];
    const size_t slot = gal_dtype_span(c->dtype, c->K);
    return (char *)(run.values ? l->v : l->k) + (size_t)(run.sequence * c->G + run.head) * (size_t)l->slots * slot;
}

gal_err gal_cache_copy_out(const gal_cache *c, gal_cache_run run, void *to, gal_diag *diag) {
    const size_t bytes = gal_cache_run_bytes(c, run.layer, run.sequence);
    if (c->dev && c->dev->far) return gal_dev_download(c->dev, to, run_of(c, run), bytes, diag);
    memcpy(to, run_of(c, run), bytes);
    return GAL_OK;
}

gal_err gal_cache_copy_in(gal_cache *c, gal_cache_run run, const void *from, gal_diag *diag) {
    const size_t bytes = gal_cache_run_bytes(c, run.layer, run.sequence);
    if (c->dev && c->dev->far) return gal_dev_upload(c->dev, run_of(c, run), from, bytes, diag);
    memcpy(run_of(c, run), from, bytes);
    return GAL_OK;
}

gal_err gal_cache_restore(gal_cache *c, int64_t sequence, int64_t length, bool *grown, gal_diag *diag) {
    GAL_ASSERT(gal_cache_length(c, sequence) == 0);
    gal_err err = gal_cache_reserve(c, length, grown, diag);
    if (!err) c->length[sequence] = length;
    return err;
}
