/* side.c - packed weights in a file, mapped instead of packed at every start (model.h; the file: side.h). A start
 * compares keys, which costs a look at the model's size and times; checksums of a weight are compared before it is
 * used, all of them at opening or each when it is its turn; contents are hashed when the file is written. Invariant:
 * a weight that lies in m->side was found to be whole, unless its model is larger than memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "models/side.h"
#include "base/maps.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SLICE = 4 << 20 };

/* ---- hashes of much data, a slice a chunk ------------------------------------------------------------------------
 */

static size_t slices_of(size_t bytes) { return (bytes + SLICE - 1) / SLICE; }

gal_err gal__slices_add(gal__slices *s, const void *data, size_t bytes, gal_diag *diag) {
    void *items = s->list;
    if (gal_grow(&items, &s->room, s->n + slices_of(bytes), sizeof *s->list))
        return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu hashes", s->n + slices_of(bytes));
    s->list = items;
    for (size_t at = 0; at < bytes; at += SLICE)
        s->list[s->n++] = (gal__slice){ (const uint8_t *)data + at, GAL_MIN(bytes - at, (size_t)SLICE), 0 };
    return GAL_OK;
}

static void hash_slice(const void *args, int64_t chunk, void *scratch) {
    gal__slice *s = &((const gal__slices *)args)->list[chunk];
    (void)scratch;
    s->hash = gal_hash_bulk(s->at, s->n, 0);
}

void gal__slices_hash(const gal__slices *s, gal_dev *dev) { gal_pool_run(dev->pool, hash_slice, s, (int64_t)s->n); }

/* ---- which weights -----------------------------------------------------------------------------------------------
 */

/* What packing makes of one pattern in every format: a part of a group with two units, a group and a part of one, and
 * where that is possible a unit and a part of one. */
static void add_layout(gal_sha256 *h) {
    static const int64_t ROWS[] = { 3, 17, 2 }, COLS[] = { 512, 256, 256 + 160 };
    enum { UNIT = 272 }; /* bytes of 256 numbers, at most */
    uint8_t from[17 * UNIT], to[32 * UNIT];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof from; i++, x = x * 1664525u + 1013904223u) from[i] = (uint8_t)(x >> 24);
    for (uint32_t b = 0; b <= GAL_BLOCK_F8_E4M3; b++) {
        for (size_t i = 0; i < GAL_LEN(ROWS) && gal_pieces_of(b); i++) {
            if (COLS[i] % gal_block_info_of(b)->elements) continue;
            const size_t bytes = gal_pack_bytes(b, ROWS[i], COLS[i]);
            GAL_ASSERT(bytes <= sizeof to);
            gal_pack(b, from, ROWS[i], COLS[i], 0, (ROWS[i] + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS, to);
            gal_sha256_add(h, &b, sizeof b);
            gal_sha256_add(h, to, bytes);
        }
    }
}

/* Some of its numbers: a file system may give another file of the same size the same times. */
static void add_sample(gal_sha256 *h, const gal_w *w) {
    enum { SAMPLE = 4096 };
    const uint64_t hash = gal_hash_bulk(w->data, GAL_MIN(gal_wbytes(w), (size_t)SAMPLE), 0);
    gal_sha256_add(h, &hash, sizeof hash);
}

static void add_shape(gal_sha256 *h, const gal_w *w) {
    const int64_t what[] = { (int64_t)w->code.block, w->dim[0], w->dim[1] };
    gal_sha256_add(h, w->name, strlen(w->name) + 1);
    gal_sha256_add(h, what, sizeof what);
}

bool gal__side_key(uint8_t key[32], const gal_model *m, bool settle) {
    const char *file = NULL;
    gal_map_stamp stamp;
    gal_sha256 h;
    gal_sha256_init(&h);
    add_layout(&h);
    for (size_t i = 0; i < m->n_weights; i++) {
        const gal_w *w = &m->weights[i];
        if (!gal__packs(m, w)) continue;
        add_shape(&h, w);
        add_sample(&h, w);
        if (w->file == file) continue;
        if (!gal_maps_stamp_at(w->data, settle, &stamp)) return false;
        gal_sha256_add(&h, &stamp, sizeof stamp);
        file = w->file;
    }
    gal_sha256_end(&h, key);
    return true;
}

gal_err gal__side_contents(uint8_t out[32], const gal_model *m, gal_dev *dev, gal_diag *diag) {
    gal__slices s = { 0 };
    gal_sha256 h;
    gal_err err = GAL_OK;
    gal_sha256_init(&h);
    add_layout(&h);
    for (size_t i = 0; i < m->n_weights && !err; i++) {
        const gal_w *w = &m->weights[i];
        if (!gal__packs(m, w)) continue;
        add_shape(&h, w);
        err = gal__slices_add(&s, w->data, gal_wbytes(w), diag);
    }
    if (!err) gal__slices_hash(&s, dev);
    for (size_t i = 0; i < s.n && !err; i++) gal_sha256_add(&h, &s.list[i].hash, sizeof s.list[i].hash);
    gal_free(s.list);
    gal_sha256_end(&h, out);
    return err;
}

const gal_w *gal__side_first(const gal_model *m) {
    for (size_t i = 0; i < m->n_weights; i++)
        if (gal__packs(m, &m->weights[i])) return &m->weights[i];
    return NULL;
}

/* Where w lies in the file, and how many hashes are those of weights before it; NULL: behind the last one. */
static uint64_t place_of(const gal_model *m, const gal_w *w, uint64_t *hashes) {
    uint64_t at = GAL__SIDE_HEAD;
    *hashes = 0;
    for (size_t i = 0; i < m->n_weights && &m->weights[i] != w; i++) {
        if (!gal__packs(m, &m->weights[i]) && !m->weights[i].packed) continue;
        at += gal__side_padded(gal__side_bytes_of(&m->weights[i]));
        *hashes += slices_of(gal__side_bytes_of(&m->weights[i]));
    }
    return at;
}

uint64_t gal__side_file_bytes(const gal_model *m, uint64_t *hashes) {
    const uint64_t end = place_of(m, NULL, hashes);
    return end + 8 * *hashes + 8;
}

/* ---- names -------------------------------------------------------------------------------------------------------
 */

const char *gal__side_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool gal__side_is(const char *name, const char *model) {
    const size_t n = strlen(model);
    return strncmp(name, model, n) == 0 && name[n] == '.' &&
           strspn(name + n + 1, "0123456789abcdef") == GAL__SIDE_DIGITS &&
           strcmp(name + n + 1 + GAL__SIDE_DIGITS, GAL__SIDE_ENDING) == 0;
}

gal_err gal__side_folder(gal_buf *b, const char *path, gal_diag *diag) {
    const size_t n = (size_t)(gal__side_base(path) - path);
    gal_buf_clear(b);
    if (n)
        gal_buf_add(b, path, n);
    else
        gal_buf_puts(b, ".");
    return b->oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for a path", path) : GAL_OK;
}

/* ---- reading -----------------------------------------------------------------------------------------------------
 */

typedef struct sums {
    const uint8_t *at, *want;
    size_t bytes;
    atomic_bool *differs;
} sums;

static void check_slice(const void *args, int64_t chunk, void *scratch) {
    const sums *s = args;
    const size_t from = (size_t)chunk * SLICE;
    const uint64_t hash = gal_hash_bulk(s->at + from, GAL_MIN(s->bytes - from, (size_t)SLICE), 0);
    (void)scratch;
    if (memcmp(&hash, s->want + 8 * chunk, 8) != 0) atomic_store(s->differs, true);
}

/* Points w into m->side; false: its checksums, if they are to be compared, are other ones. */
static bool take(const gal_model *m, gal_w *w, gal_dev *dev, bool compare) {
    uint64_t before, all;
    const uint8_t *at = m->side.data + place_of(m, w, &before), *table = m->side.data + place_of(m, NULL, &all);
    atomic_bool differs = false;
    const sums s = { at, table + 8 * before, gal__side_bytes_of(w), &differs };
    if (compare) gal_pool_run(dev->pool, check_slice, &s, (int64_t)slices_of(s.bytes));
    if (atomic_load(&differs)) return false;
    w->packed = (void *)(uintptr_t)at; /* read-only, as mapped weights are */
    return true;
}

static bool take_all(gal_model *m, gal_dev *dev, bool compare) {
    bool good = true;
    for (size_t i = 0; i < m->n_weights && good; i++)
        if (gal__packs(m, &m->weights[i])) good = take(m, &m->weights[i], dev, compare);
    for (size_t i = 0; i < m->n_weights && !good; i++) m->weights[i].packed = NULL;
    return good;
}

bool gal__side_take(gal_model *m, gal_w *w, gal_dev *dev) {
    gal_map_place file;
    if (take(m, w, dev, true)) {
        gal_maps_forget_at(w->data, gal_wbytes(w)); /* it was used there so far */
        return true;
    }
    m->side_spoilt = true;
    if (gal_maps_find(m->side.data, &file))
        (void)gal_model_add_note(m, file.path, ": not used any further: a checksum differs", NULL);
    return false;
}

uint64_t gal__side_sum(const void *head, const void *hashes, uint64_t n) {
    return gal_hash_bulk(hashes, 8 * (size_t)n, gal_hash_bulk(head, GAL__SIDE_HEAD, 0));
}

static const char OTHER_KEY[] = "it is of an earlier state of the model, or of another place of it";

gal_err gal__side_attach(gal_model *m, gal_dev *dev, const char *path, const uint8_t key[32], const gal_side *how,
                         const char **why, gal_diag *diag) {
    uint64_t hashes, sum;
    const uint64_t bytes = gal__side_file_bytes(m, &hashes);
    gal_diag inner = { 0 };
    gal_map map = { 0 };
    *why = "it cannot be read";
    gal_err err = gal_map_open(&map, path, &inner);
    if (err) return err == GAL_ENOMEM ? gal_fail(diag, err, "%s", inner.text) : GAL_OK;
    gal_bring bring = { .pool = dev->pool, .progress = how->progress, .user = how->user, .total = map.bytes };
    if (map.bytes < GAL__SIDE_HEAD || memcmp(map.data, GAL__SIDE_MAGIC, GAL__SIDE_MAGIC_BYTES) != 0) {
        *why = ""; /* of another version, say */
    } else if (memcmp(map.data + GAL__SIDE_AT_KEY, key, 32) != 0) {
        *why = OTHER_KEY;
    } else if (map.bytes != bytes) {
        *why = "its size is wrong";
    } else {
        gal_map_huge(&map);
        memcpy(&sum, map.data + bytes - 8, sizeof sum);
        *why = sum == gal__side_sum(map.data, map.data + bytes - 8 - 8 * hashes, hashes) ? NULL
                                                                                         : "a checksum differs";
        if (!*why && how->brings && !how->later) err = gal_map_bring(&map, path, &bring, &inner);
    }
    if (err == GAL_EINPUT) {
        *why = "it cannot be read";
        err = GAL_OK;
    }
    if (!err && !*why) {
        m->side = map;
        if (how->later || take_all(m, dev, how->brings)) return GAL_OK;
        *why = "a checksum differs";
        m->side = (gal_map){ 0 };
    }
    gal_map_close(&map);
    return err ? gal_fail(diag, err, "%s", inner.text) : GAL_OK;
}

/* Files of the model's name in a folder, until one fits. */
static gal_err look_in(gal_model *m, gal_dev *dev, const char *folder, bool beside, const char *model,
                       const uint8_t key[32], const gal_side *how, gal_diag *diag) {
    char **names = NULL, text[160];
    size_t count = 0;
    gal_buf path = { 0 };
    gal_diag inner = { 0 };
    gal_err err = gal_list_dir(folder, &names, &count, &inner);
    if (err && err != GAL_ENOMEM) return GAL_OK; /* there is no such folder */
    if (err) (void)gal_fail(diag, err, "%s", inner.text);
    for (size_t i = 0; i < count && !err && !m->side.data; i++) {
        const char *why = NULL;
        if (!gal__side_is(names[i], model)) continue;
        if (!gal_path_join(&path, folder, names[i]))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a path", folder);
        if (!err) err = gal__side_attach(m, dev, path.data, key, how, &why, diag);
        if (err || !why || !*why) continue;
        if (why == OTHER_KEY && !beside) continue; /* elsewhere, files of other models may have the name */
        (void)snprintf(text, sizeof text, ": not used: %s", why);
        err = gal_model_add_note(m, path.data, text, diag);
    }
    gal_free_names(names, count);
    gal_buf_free(&path);
    return err;
}

gal_err gal_model_side_open(gal_model *m, gal_dev *dev, const gal_side *how, gal_diag *diag) {
    const gal_w *first = gal__side_first(m);
    uint8_t key[32];
    gal_buf folder = { 0 };
    if (!first || m->side.data || dev->far || !gal__packing_helps(dev) || !gal__side_key(key, m, false))
        return GAL_OK;
    const char *name = gal__side_base(first->file);
    gal_err err = gal__side_folder(&folder, first->file, diag);
    if (!err) err = look_in(m, dev, folder.data, true, name, key, how, diag);
    if (!err && !m->side.data && how->elsewhere) err = look_in(m, dev, how->elsewhere, false, name, key, how, diag);
    gal_buf_free(&folder);
    return err;
}
