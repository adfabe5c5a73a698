/* gguf_set.c - an open file: one part, or all parts of a split one, which lie beside each other as
 * NAME-00001-of-00003.gguf. Refuses a part that is missing or says that it is another, and a tensor that two parts
 * have. Metadata is the first part's. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "formats/gguf_internal.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) {
    const gal_gguf_tensor *x = *(const gal_gguf_tensor *const *)a, *y = *(const gal_gguf_tensor *const *)b;
    return strcmp(x->name, y->name);
}

/* The lists of all parts' tensors. */
static gal_err join(gal_gguf *g, gal_diag *diag) {
    size_t n = 0;
    char shown[GAL__SHOW];
    for (size_t i = 0; i < g->n_parts; i++) n += g->parts[i].n_entries;
    g->tensors = gal_alloc_array(n, sizeof *g->tensors);
    g->by_name = gal_alloc_array(n, sizeof *g->by_name);
    if (!g->tensors || !g->by_name)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for the list of %zu tensors", g->parts[0].path, n);
    for (size_t i = 0; i < g->n_parts; i++)
        for (size_t k = 0; k < g->parts[i].n_entries; k++) g->tensors[g->count++] = &g->parts[i].entries[k].t;
    if (!n) return GAL_OK;
    memcpy(g->by_name, g->tensors, n * sizeof *g->by_name);
    qsort(g->by_name, n, sizeof *g->by_name, by_name);
    for (size_t i = 1; i < n; i++) {
        const gal_gguf_tensor *a = g->by_name[i - 1], *b = g->by_name[i];
        if (strcmp(a->name, b->name) != 0) continue;
        bool apart = strcmp(a->file, b->file) != 0;
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\" is there twice%s%s", a->file, gal__show(shown, a->name),
                        apart ? ", also in " : "", apart ? b->file : "");
    }
    return GAL_OK;
}

/* ---- split files -------------------------------------------------------------------------------------------------
 */

/* How many bytes of path stand before "-00001-of-00003.gguf"; 0: it does not end so, or begins so. */
static size_t stem(const char *path, uint64_t part, uint64_t parts) {
    char end[64];
    int n = snprintf(end, sizeof end, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", part, parts);
    size_t len = strlen(path);
    if (n < 0 || len <= (size_t)n || strcmp(path + len - (size_t)n, end) != 0) return 0;
    return len - (size_t)n;
}

/* What part i says of itself. */
static gal_err check_part(const gal__gguf_part *p, uint64_t i, uint64_t parts, gal_diag *diag) {
    uint64_t no = 0, count = 0;
    gal_err err = gal__gguf_part_uint(p, "split.no", &no, NULL, diag);
    if (!err) err = gal__gguf_part_uint(p, "split.count", &count, NULL, diag);
    if (err) return err;
    if (no != i)
        return gal_fail(diag, GAL_EINPUT, "%s: key \"split.no\": expected %" PRIu64 ", found %" PRIu64, p->path, i,
                        no);
    if (count != parts)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: key \"split.count\": expected %" PRIu64
                        " as in the part that was opened, found %" PRIu64,
                        p->path, parts, count);
    return GAL_OK;
}

static gal_err check_total(const gal_gguf *g, gal_diag *diag) {
    for (size_t i = 0; i < g->n_parts; i++) {
        uint64_t said = 0;
        bool found = false;
        gal_err err = gal__gguf_part_uint(&g->parts[i], "split.tensors.count", &said, &found, diag);
        if (err) return err;
        if (found && said != g->count)
            return gal_fail(
                diag, GAL_EINPUT,
                "%s: key \"split.tensors.count\": expected the %zu tensors of all %zu parts, found %" PRIu64,
                g->parts[i].path, g->count, g->n_parts, said);
    }
    return GAL_OK;
}

/* Opens the others beside the only part, which says that it is one of `count`. */
static gal_err open_others(gal_gguf *g, uint64_t count, gal_diag *diag) {
    gal__gguf_part given = g->parts[0];
    uint64_t no = 0;
    gal_err err = gal__gguf_part_uint(&given, "split.no", &no, NULL, diag);
    if (err) return err;
    if (count > GAL__GGUF_PARTS || no >= count)
        return gal_fail(diag, GAL_EINPUT, "%s: expected a part of at most %d, found split.no %" PRIu64 " of %" PRIu64,
                        given.path, GAL__GGUF_PARTS, no, count);
    size_t n = stem(given.path, no + 1, count);
    if (!n)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: part %" PRIu64 " of %" PRIu64
                        " of a split file: expected a name that ends in -%05" PRIu64 "-of-%05" PRIu64
                        ".gguf, by which the others are found",
                        given.path, no + 1, count, no + 1, count);
    gal__gguf_part *parts = gal_alloc_array((size_t)count, sizeof *parts);
    if (!parts) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %" PRIu64 " parts", given.path, count);
    gal_free(g->parts);
    g->parts = parts;
    g->n_parts = (size_t)count;
    g->parts[no] = given;
    for (uint64_t i = 0; !err && i < count; i++) {
        gal_buf path = { 0 };
        gal_buf_add(&path, given.path, n);
        gal_buf_printf(&path, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", i + 1, count);
        if (path.oom)
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", given.path);
        else if (i != no && !gal_exists(path.data))
            err = gal_fail(diag, GAL_EINPUT, "%s: part %" PRIu64 " of %" PRIu64 ", which belongs to %s, is missing",
                           path.data, i + 1, count, given.path);
        else if (i != no)
            err = gal__gguf_part_open(&g->parts[i], path.data, diag);
        if (!err) err = check_part(&g->parts[i], i, count, diag);
        gal_buf_free(&path);
    }
    return err;
}

/* ---- the file ----------------------------------------------------------------------------------------------------
 */

static gal_err begin(gal_gguf **out, const char *path, gal_diag *diag) {
    gal_gguf *g = gal_alloc(sizeof *g);
    if (g) g->parts = gal_alloc(sizeof *g->parts);
    if (!g || !g->parts) {
        gal_free(g);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    }
    g->n_parts = 1;
    *out = g;
    return GAL_OK;
}

gal_err gal_gguf_parse(gal_gguf **out, const void *bytes, size_t n, const char *path, gal_diag *diag) {
    gal_gguf *g;
    gal_err err = begin(&g, path, diag);
    if (err) return err;
    g->parts[0].bytes = bytes;
    g->parts[0].size = n;
    g->parts[0].path = gal_strdup(path);
    err = g->parts[0].path ? gal__gguf_part_parse(&g->parts[0], diag)
                           : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err) err = join(g, diag);
    if (err)
        gal_gguf_close(g);
    else
        *out = g;
    return err;
}

bool gal_is_gguf(const char *path) { return gal_file_begins(path, "GGUF", 4); }

gal_err gal_gguf_may_replace(const char *path, gal_diag *diag) {
    gal_map m = { 0 };
    if (!gal_exists(path) || !gal_is_file(path)) return GAL_OK;
    gal_err err = gal_map_open(&m, path, diag);
    if (!err && m.bytes && (m.bytes < 4 || memcmp(m.data, "GGUF", 4) != 0))
        err = gal_fail(diag, GAL_EINPUT, "%s: is no GGUF file, so that it is not replaced", path);
    gal_map_close(&m);
    return err;
}

gal_err gal_gguf_open(gal_gguf **out, const char *path, gal_diag *diag) {
    gal_gguf *g;
    gal_err err = begin(&g, path, diag);
    if (err) return err;
    uint64_t count = 1;
    bool split = false;
    err = gal__gguf_part_open(&g->parts[0], path, diag);
    if (!err) err = gal__gguf_part_uint(&g->parts[0], "split.count", &count, &split, diag);
    split = count > 1;
    if (!err && split) err = open_others(g, count, diag);
    if (!err) err = join(g, diag);
    if (!err && split) err = check_total(g, diag);
    if (err)
        gal_gguf_close(g);
    else
        *out = g;
    return err;
}

void gal_gguf_close(gal_gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_parts; i++) gal__gguf_part_close(&g->parts[i]);
    gal_free(g->parts);
    gal_free(g->tensors);
    gal_free(g->by_name);
    gal_free(g);
}

gal_err gal_gguf_bring(gal_gguf *g, gal_bring *how, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < g->n_parts; i++) how->total += g->parts[i].map.bytes;
    for (size_t i = 0; !err && i < g->n_parts; i++)
        if (g->parts[i].map.data) err = gal_map_bring(&g->parts[i].map, g->parts[i].path, how, diag);
    return err;
}

gal_err gal_gguf_check(const gal_gguf *g, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < g->n_parts; i++)
        if (g->parts[i].map.data) err = gal_map_check(&g->parts[i].map, diag);
    return err;
}

uint64_t gal_gguf_bytes(const gal_gguf *g) {
    uint64_t n = 0;
    for (size_t i = 0; i < g->n_parts; i++) n += g->parts[i].size;
    return n;
}

size_t gal_gguf_parts(const gal_gguf *g) { return g->n_parts; }
uint32_t gal_gguf_version(const gal_gguf *g) { return g->parts[0].version; }

size_t gal_gguf_count(const gal_gguf *g) { return g->count; }

const gal_gguf_tensor *gal_gguf_at(const gal_gguf *g, size_t i) {
    GAL_ASSERT(i < g->count);
    return g->tensors[i];
}

const gal_gguf_tensor *gal_gguf_find(const gal_gguf *g, const char *name) {
    gal_gguf_tensor key = { .name = name };
    const gal_gguf_tensor *p = &key;
    const gal_gguf_tensor **found = g->count ? bsearch(&p, g->by_name, g->count, sizeof p, by_name) : NULL;
    return found ? *found : NULL;
}

size_t gal_gguf_keys(const gal_gguf *g) { return g->parts[0].n_values; }

const gal_gguf_value *gal_gguf_key_at(const gal_gguf *g, size_t i) {
    GAL_ASSERT(i < g->parts[0].n_values);
    return &g->parts[0].values[i];
}

const gal_gguf_value *gal_gguf_get(const gal_gguf *g, const char *key) { return gal__gguf_part_get(g->parts, key); }
