/* side_write.c - makes the file of packed weights (model.h; the file: side.h), one weight in memory at a time. After
 * a failure no file is left, but one of before. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/side.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Of the file at a time, whole huge pages: the system then keeps the file in such pages, and its map has them, too.
 */
enum { STAGE = 16 << 20 };

typedef struct writer {
    const gal_model *m;
    gal_dev *dev;
    const gal_side *how;
    uint8_t *room; /* for the largest packed weight and zeros behind it */
    uint8_t *stage;
    size_t held; /* bytes in stage */
    uint64_t bytes;
    uint64_t *hash;
    size_t n;
    uint8_t head[GAL__SIDE_HEAD];
} writer;

static gal_err put(writer *w, gal_sink *sink, const void *bytes, size_t n) {
    const uint8_t *from = bytes;
    gal_err err = GAL_OK;
    while (n && !err) {
        const size_t part = GAL_MIN(n, STAGE - w->held);
        memcpy(w->stage + w->held, from, part);
        w->held += part;
        from += part;
        n -= part;
        if (w->held < STAGE) continue;
        err = gal_sink_write(sink, w->stage, STAGE);
        w->held = 0;
    }
    return err;
}

static gal_err put_weight(writer *w, const gal_w *weight, gal_sink *sink, gal_diag *diag) {
    const size_t n = gal__side_bytes_of(weight);
    gal__slices s = { 0 };
    gal__pack_into(w->room, weight, w->dev);
    memset(w->room + n, 0, gal__side_padded(n) - n);
    gal_err err = gal__slices_add(&s, w->room, n, diag);
    if (!err) gal__slices_hash(&s, w->dev);
    for (size_t i = 0; i < s.n && !err; i++) w->hash[w->n++] = s.list[i].hash;
    gal_free(s.list);
    if (!err) err = put(w, sink, w->room, gal__side_padded(n));
    if (!err && w->how->progress && w->how->progress(w->how->user, gal_sink_offset(sink), w->bytes))
        err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    return err;
}

static gal_err emit(gal_sink *sink, void *user, gal_diag *diag) {
    writer *w = user;
    gal_sink_expect(sink, w->bytes);
    gal_err err = put(w, sink, w->head, GAL__SIDE_HEAD);
    for (size_t i = 0; i < w->m->n_weights && !err; i++)
        if (gal__packs(w->m, &w->m->weights[i])) err = put_weight(w, &w->m->weights[i], sink, diag);
    const uint64_t sum = gal__side_sum(w->head, w->hash, w->n);
    if (!err) err = put(w, sink, w->hash, 8 * w->n);
    if (!err) err = put(w, sink, &sum, sizeof sum);
    return err ? err : gal_sink_write(sink, w->stage, w->held);
}

static gal_err write_to(const char *path, const gal_model *m, gal_dev *dev, const uint8_t key[32],
                        const uint8_t contents[32], const gal_side *how, gal_diag *diag) {
    uint64_t hashes = 0;
    size_t most = 0;
    writer *w = gal_alloc(sizeof *w);
    if (!w) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to write it", path);
    *w = (writer){ .m = m, .dev = dev, .how = how, .bytes = gal__side_file_bytes(m, &hashes) };
    for (size_t i = 0; i < m->n_weights; i++)
        if (gal__packs(m, &m->weights[i])) most = GAL_MAX(most, gal__side_padded(gal__side_bytes_of(&m->weights[i])));
    w->room = gal_alloc(most);
    w->stage = gal_alloc(GAL_MIN(w->bytes, (uint64_t)STAGE));
    w->hash = gal_alloc_array((size_t)hashes, sizeof *w->hash);
    memcpy(w->head, GAL__SIDE_MAGIC, GAL__SIDE_MAGIC_BYTES);
    memcpy(w->head + GAL__SIDE_AT_BYTES, &w->bytes, sizeof w->bytes);
    memcpy(w->head + GAL__SIDE_AT_KEY, key, 32);
    memcpy(w->head + GAL__SIDE_AT_CONTENTS, contents, 32);
    gal_err err = w->room && w->stage && w->hash
                      ? gal_write_atomic(path, emit, w, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its largest weight", path);
    gal_free(w->room);
    gal_free(w->stage);
    gal_free(w->hash);
    gal_free(w);
    return err;
}

/* Beside the model there is no use for files of earlier states. What cannot be removed stays. */
static void remove_earlier(const char *folder, const char *model, const char *kept) {
    char **names = NULL;
    size_t count = 0;
    gal_buf path = { 0 };
    if (gal_list_dir(folder, &names, &count, NULL)) return;
    for (size_t i = 0; i < count; i++) {
        gal_map map = { 0 };
        if (!gal__side_is(names[i], model) || strcmp(names[i], kept) == 0) continue;
        if (!gal_path_join(&path, folder, names[i]) || gal_map_open(&map, path.data, NULL)) continue;
        const bool ours = map.bytes >= GAL__SIDE_HEAD &&
                          memcmp(map.data, GAL__SIDE_MAGIC, GAL__SIDE_MAGIC_BYTES) == 0;
        gal_map_close(&map);
        if (ours) (void)gal_remove_tree(path.data, NULL);
    }
    gal_free_names(names, count);
    gal_buf_free(&path);
}

/* Where the file goes: folder, and its whole path. *beside: the model's own folder takes it. */
static gal_err place(gal_buf *folder, gal_buf *path, bool *beside, const char *file, const uint8_t contents[32],
                     const gal_side *how, gal_diag *diag) {
    char digits[GAL__SIDE_DIGITS + 1], name[GAL__SIDE_DIGITS + 32];
    gal_buf full = { 0 };
    gal_diag why = { 0 };
    gal_hex(digits, contents, GAL__SIDE_DIGITS / 2);
    (void)snprintf(name, sizeof name, ".%s%s", digits, GAL__SIDE_ENDING);
    gal_err err = gal__side_folder(folder, file, diag);
    gal_buf_printf(&full, "%s%s", gal__side_base(file), name);
    if (!err && (full.oom || !gal_path_join(path, folder->data, full.data)))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a path", file);
    *beside = !err && gal_check_parent(path->data, &why) == GAL_OK;
    if (!err && !*beside && !how->elsewhere) err = gal_fail(diag, why.err, "%s", why.text);
    if (!err && !*beside) err = gal_make_dirs(how->elsewhere, diag);
    if (!err && !*beside) {
        gal_buf_clear(folder);
        gal_buf_puts(folder, how->elsewhere);
        if (folder->oom || !gal_path_join(path, how->elsewhere, full.data))
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a path", file);
    }
    gal_buf_free(&full);
    return err;
}

/* After writing: the model must be what it was before it was read. */
static gal_err take_up(gal_model *m, gal_dev *dev, const char *path, const char *file, const uint8_t key[32],
                       const gal_side *how, gal_diag *diag) {
    uint8_t now[32];
    char text[96];
    const char *why = NULL;
    if (!gal__side_key(now, m, false) || memcmp(now, key, 32) != 0) {
        (void)gal_remove_tree(path, NULL);
        return gal_fail(diag, GAL_EINPUT, "%s: changed while its weights were packed", file);
    }
    uint64_t hashes;
    (void)snprintf(text, sizeof text, ": packed weights written, %" PRIu64 " bytes",
                   gal__side_file_bytes(m, &hashes));
    gal_err err = gal__side_attach(m, dev, path, key, how, &why, diag);
    if (!err && why) return gal_fail(diag, GAL_EINPUT, "%s: just written, but %s", path, why);
    return err ? err : gal_model_add_note(m, path, text, diag);
}

gal_err gal_model_side_write(gal_model *m, gal_dev *dev, const gal_side *how, gal_diag *diag) {
    const gal_w *first = gal__side_first(m);
    uint8_t key[32], contents[32];
    gal_buf folder = { 0 }, path = { 0 };
    bool beside = false;
    if (m->side.data) return GAL_OK;
    if (dev->far || !gal__packing_helps(dev))
        return gal_model_add_note(m, "repack", ": what computes here takes weights as they lie in their file", diag);
    if (!first) return gal_model_add_note(m, "repack", ": no weights in blocks that are packed", diag);
    if (!gal__side_key(key, m, true))
        return gal_fail(diag, GAL_EINPUT, "%s: another file has its name by now", first->file);
    gal_err err = gal__side_contents(contents, m, dev, diag);
    if (!err) err = place(&folder, &path, &beside, first->file, contents, how, diag);
    struct stat st;
    if (!err && stat(path.data, &st) == 0 && !S_ISREG(st.st_mode)) /* a pipe would be waited for */
        err = gal_fail(diag, GAL_EIO, "%s: expected a regular file, or none", path.data);
    if (!err) err = write_to(path.data, m, dev, key, contents, how, diag);
    if (!err) err = take_up(m, dev, path.data, first->file, key, how, diag);
    if (!err && beside) remove_earlier(folder.data, gal__side_base(first->file), gal__side_base(path.data));
    gal_buf_free(&folder);
    gal_buf_free(&path);
    return err;
}
