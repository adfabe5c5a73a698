/* fingerprint.c - which model this is, for files that belong to one. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/mem.h"
#include "models/lora.h"
#include "models/model.h"

#include <string.h>

enum { PIECE = 1 << 22 };

/* All of a weight's bytes; those of a far device come in pieces. */
static gal_err hash_data(uint64_t *out, const gal_model *m, const gal_w *w, gal_diag *diag) {
    const size_t bytes = gal_wbytes(w);
    const bool far = m->dev && m->dev->far;
    char *room = far ? gal_alloc(PIECE) : NULL;
    gal_err err = far && !room ? gal_fail(diag, GAL_ENOMEM, "no memory for a piece of a weight") : GAL_OK;
    *out = 0;
    for (size_t at = 0; at < bytes && w->data && !err; at += PIECE) {
        const size_t n = GAL_MIN(bytes - at, (size_t)PIECE);
        const char *p = (const char *)w->data + at;
        if (far) err = gal_dev_download(m->dev, room, p, n, diag);
        if (!err) *out = gal_hash_bulk(far ? room : p, n, *out);
    }
    if (w->dtype == GAL_BLOCKS && w->code.scales && !err) {
        const int64_t down = (w->dim[0] + w->code.scale_rows - 1) / w->code.scale_rows;
        *out = gal_hash_bulk(w->code.scales, (size_t)(down * w->code.across) * sizeof(float), *out);
    }
    gal_free(room);
    return err;
}

/* Name, shape, format, scales and numbers. */
static gal_err add_weight(gal_sha256 *h, const gal_model *m, const gal_w *w, gal_diag *diag) {
    const int64_t what[] = { w->dtype, w->dtype == GAL_BLOCKS ? (int64_t)w->code.block : 0, w->ndim };
    uint64_t data = 0;
    gal_sha256_add(h, w->name, strlen(w->name) + 1);
    gal_sha256_add(h, what, sizeof what);
    gal_sha256_add(h, w->dim, (size_t)w->ndim * sizeof *w->dim);
    gal_err err = hash_data(&data, m, w, diag);
    gal_sha256_add(h, &data, sizeof data);
    return err;
}

/* As config.json says it, and what that has no key for. */
static gal_err add_config(gal_sha256 *h, const gal_config *c, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_config plain = *c; /* what it owns is c's */
    plain.rope_divisors = NULL;
    plain.attn_scale = 0;
    gal_err err = gal_config_print(&plain, &text, "a model", diag);
    if (!err) gal_sha256_add(h, text.data, text.len);
    if (c->rope_divisors) gal_sha256_add(h, c->rope_divisors, (size_t)(c->K / 2) * sizeof *c->rope_divisors);
    if (c->attn_scale > 0) gal_sha256_add(h, &c->attn_scale, sizeof c->attn_scale);
    gal_buf_free(&text);
    return err;
}

gal_err gal_model_fingerprint(const gal_model *m, uint8_t out[32], gal_diag *diag) {
    gal_sha256 h;
    gal_sha256_init(&h);
    gal_err err = add_config(&h, &m->config, diag);
    for (size_t i = 0; i < m->n_weights && !err; i++) err = add_weight(&h, m, &m->weights[i], diag);
    for (const gal_adapter *a = m->adapters; a && !err; a = a->next) {
        for (size_t i = 0; i < 2 * a->count && !err; i++) err = add_weight(&h, m, &a->weights[i], diag);
        for (size_t i = 0; i < a->count; i++) {
            gal_sha256_add(&h, a->module[i], strlen(a->module[i]) + 1);
            gal_sha256_add(&h, &a->lora[i].scale, sizeof a->lora[i].scale);
        }
    }
    gal_sha256_end(&h, out);
    return err;
}
