/* cache_file.c - see lm.h. A file is
 *
 *   8 bytes    "GALKV 3\n"
 *   32         fingerprint of model and options
 *   8          number of ids n, little-endian like all
 *   4 n        ids
 *   ...        for each layer and head its keys, then its values (gal_cache_run)
 *   8          gal_hash_bulk of all before, piece by piece
 *
 * Everything else that it depends on (sizes, layers, types) is in the fingerprint. SPDX-License-Identifier:
 * Apache-2.0
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "infer/lm.h"

#include <string.h>

static const char MAGIC[8] = { 'G', 'A', 'L', 'K', 'V', ' ', '3', '\n' };
enum { HEAD = 8 + 32 + 8 };

/* The model, and how it computes: keys and values of another format or precision would not be the same. */
static gal_err fingerprint(const gal_lm *lm, uint8_t out[32], gal_diag *diag) {
    uint8_t model[32];
    const uint8_t how[] = { (uint8_t)lm->options.compute, (uint8_t)lm->options.cache, (uint8_t)lm->options.exact };
    gal_err err = gal_model_fingerprint(lm->model, model, diag);
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_sha256_add(&h, model, sizeof model);
    gal_sha256_add(&h, how, sizeof how);
    gal_sha256_end(&h, out);
    return err;
}

/* ---- writing ------------------------------------------------------------------------------------------------------
 */

typedef struct writer {
    const gal_lm *lm;
    gal_sink *sink;
    uint64_t hash;
    char *run;
    uint8_t head[HEAD];
} writer;

static gal_err put(writer *w, const void *bytes, size_t n) {
    w->hash = gal_hash_bulk(bytes, n, w->hash);
    return gal_sink_write(w->sink, bytes, n);
}

static gal_err emit(gal_sink *sink, void *user, gal_diag *diag) {
    writer *w = user;
    const gal_cache *c = gal_engine_cache(w->lm->engine);
    const gal_config *config = &w->lm->model->config;
    const gal_ids *held = &w->lm->held;
    w->sink = sink;
    gal_err err = put(w, w->head, sizeof w->head);
    if (!err) err = put(w, held->data, held->len * sizeof *held->data);
    for (int64_t l = 0; l < config->L && !err; l++) {
        for (int64_t i = 0; i < 2 * config->G && !err; i++) {
            const gal_cache_run run = { .layer = l, .head = i / 2, .values = i % 2 == 1 };
            err = gal_cache_copy_out(c, run, w->run, diag);
            if (!err) err = put(w, w->run, gal_cache_run_bytes(c, l, 0));
        }
    }
    const uint64_t hash = w->hash;
    return err ? err : gal_sink_write(sink, &hash, sizeof hash);
}

static size_t longest_run(const gal_lm *lm) {
    size_t most = 1;
    for (int64_t l = 0; l < lm->model->config.L; l++)
        most = GAL_MAX(most, gal_cache_run_bytes(gal_engine_cache(lm->engine), l, 0));
    return most;
}

static uint64_t file_bytes(const gal_lm *lm, size_t ids) {
    uint64_t n = HEAD + sizeof(int32_t) * (uint64_t)ids + 8;
    for (int64_t l = 0; l < lm->model->config.L; l++)
        n += 2 * (uint64_t)lm->model->config.G * gal_cache_run_bytes(gal_engine_cache(lm->engine), l, 0);
    return n;
}

gal_err gal_lm_save_cache(const gal_lm *lm, const char *path, uint64_t *bytes, gal_diag *diag) {
    if (!lm->held.len) return gal_fail(diag, GAL_EUSAGE, "%s: nothing is remembered yet", path);
    writer w = { .lm = lm, .run = gal_alloc(longest_run(lm)) };
    const uint64_t n = lm->held.len;
    memcpy(w.head, MAGIC, sizeof MAGIC);
    gal_err err = w.run ? fingerprint(lm, w.head + 8, diag) : gal_fail(diag, GAL_ENOMEM, "no memory for a cache");
    memcpy(w.head + 40, &n, sizeof n);
    if (!err) err = gal_write_atomic(path, emit, &w, diag);
    if (!err && bytes) *bytes = file_bytes(lm, lm->held.len);
    gal_free(w.run);
    return err;
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

typedef struct reader {
    const uint8_t *at;
    uint64_t hash;
} reader;

static const uint8_t *take(reader *r, size_t n) {
    const uint8_t *p = r->at;
    r->hash = gal_hash_bulk(p, n, r->hash);
    r->at += n;
    return p;
}

static gal_err check_head(const gal_lm *lm, const gal_map *m, uint64_t *n, const char *path, gal_diag *diag) {
    uint8_t own[32];
    if (m->bytes < HEAD + 8 || memcmp(m->data, MAGIC, sizeof MAGIC) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: not a prompt cache of this version of galerne", path);
    gal_err err = fingerprint(lm, own, diag);
    if (err) return err;
    if (memcmp(m->data + 8, own, sizeof own) != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: made with another model, other adapters or other options", path);
    memcpy(n, m->data + 40, sizeof *n);
    if (*n == 0 || *n > (m->bytes - HEAD) / sizeof(int32_t))
        return gal_fail(diag, GAL_EINPUT, "%s: damaged: %llu ids in %zu bytes", path, (unsigned long long)*n,
                        m->bytes);
    return GAL_OK;
}

static gal_err read_runs(gal_lm *lm, gal_cache *c, reader *r, gal_diag *diag) {
    const gal_config *config = &lm->model->config;
    gal_err err = GAL_OK;
    for (int64_t l = 0; l < config->L && !err; l++) {
        for (int64_t i = 0; i < 2 * config->G && !err; i++) {
            const gal_cache_run run = { .layer = l, .head = i / 2, .values = i % 2 == 1 };
            err = gal_cache_copy_in(c, run, take(r, gal_cache_run_bytes(c, l, 0)), diag);
        }
    }
    return err;
}

static gal_err read_ids(gal_lm *lm, reader *r, uint64_t n, const char *path, gal_diag *diag) {
    const uint8_t *p = take(r, (size_t)n * sizeof(int32_t));
    gal_err err = GAL_OK;
    for (uint64_t i = 0; i < n && !err; i++) {
        int32_t id;
        memcpy(&id, p + i * sizeof id, sizeof id);
        if (id < 0 || id >= lm->model->config.V)
            return gal_fail(diag, GAL_EINPUT, "%s: damaged: id %d", path, (int)id);
        err = gal_ids_add(&lm->held, id, diag);
    }
    return err;
}

static gal_err read_all(gal_lm *lm, const gal_map *m, const char *path, gal_diag *diag) {
    uint64_t n = 0, hash;
    gal_cache *c = NULL;
    reader r = { .at = m->data };
    gal_err err = check_head(lm, m, &n, path, diag);
    if (err) return err;
    if ((int64_t)n > gal_engine_context(lm->engine))
        return gal_fail(diag, GAL_EINPUT, "%s: it has %llu tokens, the context %lld", path, (unsigned long long)n,
                        (long long)gal_engine_context(lm->engine));
    err = gal_engine_restore(lm->engine, 0, (int64_t)n, &c, diag);
    if (!err && file_bytes(lm, (size_t)n) != m->bytes)
        err = gal_fail(diag, GAL_EINPUT, "%s: damaged: expected %llu bytes, found %zu", path,
                       (unsigned long long)file_bytes(lm, (size_t)n), m->bytes);
    if (!err) {
        (void)take(&r, HEAD);
        err = read_ids(lm, &r, n, path, diag);
    }
    if (!err) err = read_runs(lm, c, &r, diag);
    if (err) return err;
    memcpy(&hash, r.at, sizeof hash);
    return hash == r.hash ? GAL_OK : gal_fail(diag, GAL_EINPUT, "%s: damaged: its checksum differs", path);
}

gal_err gal_lm_load_cache(gal_lm *lm, const char *path, gal_diag *diag) {
    gal_map m = { 0 };
    lm->held.len = 0;
    gal_err err = gal_map_open(&m, path, diag);
    if (!err) err = read_all(lm, &m, path, diag);
    gal_map_close(&m);
    if (err) {
        lm->held.len = 0;
        (void)gal_engine_truncate(lm->engine, 0, 0);
    }
    return err;
}
