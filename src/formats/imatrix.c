/* imatrix.c - see imatrix.h: entries in memory, and both kinds of files read. Refuses what cannot be a mean of
 * squares. SPDX-License-Identifier: Apache-2.0 */
#include "formats/imatrix.h"

#include "base/mem.h"
#include "formats/gguf_internal.h"
#include "formats/json.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void gal_imatrix_free(gal_imatrix *m) {
    for (size_t i = 0; i < m->n; i++) {
        gal_free(m->entries[i].name);
        gal_free(m->entries[i].sums);
        gal_free(m->entries[i].counts);
    }
    for (size_t i = 0; i < m->n_datasets; i++) gal_free(m->datasets[i]);
    gal_free(m->entries);
    gal_free(m->datasets);
    *m = (gal_imatrix){ 0 };
}

gal_err gal_imatrix_add(gal_imatrix *m, const char *name, size_t n_sums, size_t n_counts, gal_imatrix_entry **out,
                        gal_diag *diag) {
    GAL_ASSERT(n_counts > 0 && n_sums % n_counts == 0);
    gal_imatrix_entry e = { .name = gal_strdup(name),
                            .n_sums = n_sums,
                            .n_counts = n_counts,
                            .sums = gal_alloc_array(n_sums, sizeof(float)),
                            .counts = gal_alloc_array(n_counts, sizeof(float)) };
    void *entries = m->entries;
    if (!e.name || !e.sums || !e.counts || gal_grow(&entries, &m->room, m->n + 1, sizeof e)) {
        gal_free(e.name);
        gal_free(e.sums);
        gal_free(e.counts);
        return gal_fail(diag, GAL_ENOMEM, "no memory for an importance matrix");
    }
    m->entries = entries;
    m->entries[m->n] = e;
    *out = &m->entries[m->n++];
    return GAL_OK;
}

gal_err gal_imatrix_add_dataset(gal_imatrix *m, const char *name, size_t n, gal_diag *diag) {
    void *datasets = m->datasets;
    char *copy = gal_strndup(name, n);
    if (!copy || gal_grow(&datasets, &m->datasets_room, m->n_datasets + 1, sizeof copy)) {
        gal_free(copy);
        return gal_fail(diag, GAL_ENOMEM, "no memory for an importance matrix");
    }
    m->datasets = datasets;
    m->datasets[m->n_datasets++] = copy;
    return GAL_OK;
}

gal_imatrix_entry *gal_imatrix_get(gal_imatrix *m, const char *name) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->entries[i].name, name) == 0) return &m->entries[i];
    return NULL;
}

const gal_imatrix_entry *gal_imatrix_find(const gal_imatrix *m, const char *name) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->entries[i].name, name) == 0) return &m->entries[i];
    return NULL;
}

gal_err gal_imatrix_means(const gal_imatrix_entry *e, int64_t matrices, int64_t columns, float *out,
                          int64_t *unreached, const char *path, gal_diag *diag) {
    char shown[GAL__SHOW];
    GAL_ASSERT(matrices > 0 && columns > 0);
    size_t want = (size_t)matrices * (size_t)columns;
    if (e->n_sums != want || (e->n_counts != 1 && e->n_counts != (size_t)matrices))
        return gal_fail(diag, GAL_EINPUT,
                        "%s: weight \"%s\": expected %" PRId64 " x %" PRId64
                        " values, as the model has, found %zu x %zu",
                        path, gal__show(shown, e->name), matrices, columns, e->n_counts, e->n_sums / e->n_counts);
    *unreached = 0;
    for (size_t i = 0; i < (size_t)matrices; i++) {
        float count = e->counts[e->n_counts == 1 ? 0 : i];
        *unreached += !(count > 0.0f);
        for (size_t j = i * (size_t)columns; j < (i + 1) * (size_t)columns; j++)
            out[j] = count > 0.0f ? e->sums[j] / count : 1.0f;
    }
    return GAL_OK;
}

/* ---- what may stand in a file -----------------------------------------------------------------------------------
 */

static gal_err check_values(const float *x, size_t n, const char *what, const char *name, const char *path,
                            gal_diag *diag) {
    char shown[GAL__SHOW];
    for (size_t i = 0; i < n; i++)
        if (!(x[i] >= 0.0f) || isinf(x[i]))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: weight \"%s\": expected finite numbers from 0 on, found %g as number %zu of its %s",
                            path, gal__show(shown, name), (double)x[i], i, what);
    return GAL_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const gal_imatrix_entry *const *)a)->name, (*(const gal_imatrix_entry *const *)b)->name);
}

static gal_err check_entries(const gal_imatrix *m, const char *path, gal_diag *diag) {
    char shown[GAL__SHOW];
    if (!m->n) return gal_fail(diag, GAL_EINPUT, "%s: expected an importance matrix, found no weights in it", path);
    const gal_imatrix_entry **sorted = gal_alloc_array(m->n, sizeof *sorted);
    if (!sorted) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    for (size_t i = 0; i < m->n; i++) sorted[i] = &m->entries[i];
    qsort(sorted, m->n, sizeof *sorted, by_name);
    gal_err err = GAL_OK;
    for (size_t i = 0; i < m->n && !err; i++) {
        const gal_imatrix_entry *e = sorted[i];
        if (i && strcmp(sorted[i - 1]->name, e->name) == 0)
            err = gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\" is there twice", path, gal__show(shown, e->name));
        if (!err) err = check_values(e->sums, e->n_sums, "sums", e->name, path, diag);
        if (!err) err = check_values(e->counts, e->n_counts, "counts", e->name, path, diag);
        for (size_t j = 0; j < e->n_counts && !err; j++)
            if (e->counts[j] > 0.0f && e->counts[j] < 1.0f)
                err = gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\": expected counts of rows, found %g", path,
                               gal__show(shown, e->name), (double)e->counts[j]);
    }
    gal_free(sorted);
    return err;
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------
 */

/* "WEIGHT" of "WEIGHT.in_sum2"; false: another tensor. */
static bool weight_of(char name[GAL_GGUF_NAME + 1], const char *tensor, const char *suffix) {
    size_t n = strlen(tensor), s = strlen(suffix);
    if (n <= s || strcmp(tensor + n - s, suffix) != 0) return false;
    memcpy(name, tensor, n - s);
    name[n - s] = 0;
    return true;
}

static gal_err take_pair(gal_imatrix *m, const gal_gguf_tensor *sums, const gal_gguf_tensor *counts, const char *name,
                         const char *path, gal_diag *diag) {
    char shown[GAL__SHOW];
    (void)gal__show(shown, name);
    if (!counts)
        return gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\": expected its .counts beside .in_sum2, found none", path,
                        shown);
    if (sums->type != GAL_BLOCK_F32 || counts->type != GAL_BLOCK_F32)
        return gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\": expected sums and counts in F32, found %s and %s", path,
                        shown, gal_gguf_type_name(sums->type), gal_gguf_type_name(counts->type));
    size_t n = (size_t)(sums->bytes / sizeof(float)), k = (size_t)(counts->bytes / sizeof(float));
    if (!n || !k || n % k != 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: weight \"%s\": expected as many sums for each count, found %zu sums and %zu counts",
                        path, shown, n, k);
    gal_imatrix_entry *e = NULL;
    gal_err err = gal_imatrix_add(m, name, n, k, &e, diag);
    if (err) return err;
    memcpy(e->sums, sums->data, n * sizeof *e->sums);
    memcpy(e->counts, counts->data, k * sizeof *e->counts);
    return GAL_OK;
}

static gal_err take_metadata(gal_imatrix *m, const gal_gguf *g, const char *path, gal_diag *diag) {
    const char *type = NULL;
    size_t n = 0;
    bool found = false;
    gal_err err = gal_gguf_string(g, "general.type", &type, &n, &found, diag);
    if (!err && found && (n != 7 || memcmp(type, "imatrix", 7) != 0)) {
        char shown[GAL__SHOW], text[64];
        (void)snprintf(text, sizeof text, "%.*s", (int)GAL_MIN(n, sizeof text - 1), type);
        return gal_fail(diag, GAL_EINPUT, "%s: general.type: expected \"imatrix\", found \"%s\"", path,
                        gal__show(shown, text));
    }
    static const char *const KEYS[] = { "imatrix.chunk_count", "imatrix.chunk_size" };
    uint32_t *const to[] = { &m->chunks, &m->chunk_size };
    for (size_t i = 0; i < GAL_LEN(KEYS) && !err; i++) {
        uint64_t x = 0;
        err = gal_gguf_uint(g, KEYS[i], &x, &found, diag);
        if (!err && x > INT32_MAX)
            err = gal_fail(diag, GAL_EINPUT, "%s: %s: expected a number below 2^31, found %" PRIu64, path, KEYS[i],
                           x);
        if (!err) *to[i] = (uint32_t)x;
    }
    const gal_gguf_value *v = NULL;
    found = false;
    if (!err) err = gal_gguf_array(g, "imatrix.datasets", GAL_GGUF_STRINGS, &v, &found, diag);
    for (uint64_t i = 0; found && i < v->count && !err; i++) {
        const char *s = gal_gguf_string_at(v, i, &n);
        err = gal_imatrix_add_dataset(m, s, n, diag);
    }
    return err;
}

static gal_err take_gguf(gal_imatrix *m, const gal_gguf *g, const char *path, gal_diag *diag) {
    char name[GAL_GGUF_NAME + 1], other[GAL_GGUF_NAME + 16], shown[GAL__SHOW];
    gal_err err = take_metadata(m, g, path, diag);
    for (size_t i = 0; i < gal_gguf_count(g) && !err; i++) {
        const gal_gguf_tensor *t = gal_gguf_at(g, i);
        if (weight_of(name, t->name, ".in_sum2")) {
            (void)snprintf(other, sizeof other, "%s.counts", name);
            err = take_pair(m, t, gal_gguf_find(g, other), name, path, diag);
        } else if (weight_of(name, t->name, ".counts")) {
            (void)snprintf(other, sizeof other, "%s.in_sum2", name);
            if (!gal_gguf_find(g, other))
                err = gal_fail(diag, GAL_EINPUT,
                               "%s: weight \"%s\": expected its .in_sum2 beside .counts, found none", path,
                               gal__show(shown, name));
        }
    }
    return err;
}

/* ---- the older kind ---------------------------------------------------------------------------------------------
 */

/* What is left of the file. */
typedef struct reader {
    const uint8_t *p;
    size_t left;
    const char *path;
    gal_diag *diag;
} reader;

static gal_err cut(const reader *r, const char *what) {
    return gal_fail(r->diag, GAL_EINPUT,
                    "%s: expected an importance matrix; %s does not fit into the %zu bytes that are left", r->path,
                    what, r->left);
}

static gal_err take_number(reader *r, int64_t low, int64_t *out, const char *what) {
    if (r->left < 4) return cut(r, what);
    int32_t x;
    memcpy(&x, r->p, sizeof x);
    r->p += 4;
    r->left -= 4;
    *out = x;
    if (x >= low) return GAL_OK;
    return gal_fail(r->diag, GAL_EINPUT,
                    "%s: expected an importance matrix with %s from %" PRId64 " on, found %" PRId32, r->path, what,
                    low, x);
}

static gal_err take_name(reader *r, char name[GAL_GGUF_NAME + 1]) {
    int64_t n = 0;
    gal_err err = take_number(r, 1, &n, "the length of a name");
    if (err) return err;
    if ((uint64_t)n > r->left) return cut(r, "a name");
    const char *why = gal__gguf_bad_name((const char *)r->p, (uint64_t)n, GAL_GGUF_NAME);
    if (why)
        return gal_fail(r->diag, GAL_EINPUT,
                        "%s: expected an importance matrix with names of 1 to %d bytes of UTF-8, found one that %s",
                        r->path, GAL_GGUF_NAME, why);
    memcpy(name, r->p, (size_t)n);
    name[n] = 0;
    r->p += n;
    r->left -= (size_t)n;
    return GAL_OK;
}

static gal_err take_older_entry(gal_imatrix *m, reader *r) {
    char name[GAL_GGUF_NAME + 1];
    int64_t calls = 0, n = 0;
    gal_err err = take_name(r, name);
    if (!err) err = take_number(r, 0, &calls, "a number of calls");
    if (!err) err = take_number(r, 1, &n, "a number of values");
    if (err) return err;
    if ((uint64_t)n > r->left / sizeof(float)) return cut(r, "a row of values");
    gal_imatrix_entry *e = NULL;
    err = gal_imatrix_add(m, name, (size_t)n, 1, &e, r->diag);
    if (err) return err;
    size_t bytes = (size_t)n * sizeof(float);
    memcpy(e->sums, r->p, bytes);
    e->counts[0] = (float)calls;
    r->p += bytes;
    r->left -= bytes;
    return GAL_OK;
}

static gal_err take_older(gal_imatrix *m, reader *r) {
    int64_t entries = 0, x = 0;
    gal_err err = take_number(r, 1, &entries, "a number of weights");
    for (int64_t i = 0; i < entries && !err; i++) err = take_older_entry(m, r);
    if (err || !r->left) return err;
    err = take_number(r, 0, &x, "a number of chunks");
    m->chunks = (uint32_t)x;
    if (!err) err = take_number(r, 0, &x, "the length of a text's name");
    if (err) return err;
    if ((uint64_t)x != r->left)
        return gal_fail(r->diag, GAL_EINPUT,
                        "%s: expected a text's name of %" PRId64 " bytes at the end, found %zu bytes", r->path, x,
                        r->left);
    return x ? gal_imatrix_add_dataset(m, (const char *)r->p, (size_t)x, r->diag) : GAL_OK;
}

/* ---- either -----------------------------------------------------------------------------------------------------
 */

gal_err gal_imatrix_parse(gal_imatrix *out, const void *bytes, size_t n, const char *path, gal_diag *diag) {
    gal_imatrix m = { 0 };
    gal_gguf *g = NULL;
    gal_err err = GAL_OK;
    if (n >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        err = gal_gguf_parse(&g, bytes, n, path, diag);
        if (!err) err = take_gguf(&m, g, path, diag);
        gal_gguf_close(g);
    } else {
        reader r = { bytes, n, path, diag };
        err = take_older(&m, &r);
    }
    if (!err) err = check_entries(&m, path, diag);
    if (err)
        gal_imatrix_free(&m);
    else
        *out = m;
    return err;
}

gal_err gal_imatrix_read(gal_imatrix *out, const char *path, gal_diag *diag) {
    gal_map map;
    gal_err err = gal_map_open(&map, path, diag);
    if (err) return err;
    err = gal_imatrix_parse(out, map.data, map.bytes, path, diag);
    if (!err) {
        err = gal_map_check(&map, diag);
        if (err) gal_imatrix_free(out);
    }
    gal_map_close(&map);
    return err;
}

gal_err gal_imatrix_may_replace(const char *path, gal_diag *diag) {
    gal_map map = { 0 };
    gal_imatrix m = { 0 };
    gal_diag why = { 0 };
    if (!gal_exists(path) || !gal_is_file(path)) return GAL_OK;
    gal_err err = gal_map_open(&map, path, &why);
    if (!err && map.bytes) err = gal_imatrix_parse(&m, map.data, map.bytes, path, &why);
    if (err == GAL_EINPUT && map.bytes)
        (void)gal_fail(diag, err, "%s: is no importance matrix, so that it is not replaced", path);
    gal_imatrix_free(&m);
    gal_map_close(&map);
    return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}
