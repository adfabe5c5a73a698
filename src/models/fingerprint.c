/* fingerprint.c - which model this is, for files that belong to one. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "models/lora.h"
#include "models/model.h"

#include <string.h>

enum { STRETCH = 4096, STRETCHES = 4 };

/* Name, shape, format and some of a weight's bytes, evenly spread: all of them where they are few. */
static gal_err add_weight(gal_sha256 *h, const gal_model *m, const gal_w *w, gal_diag *diag) {
    char room[STRETCH];
    const int64_t what[] = { w->dtype, w->dtype == GAL_BLOCKS ? (int64_t)w->code.block : 0, w->ndim };
    const size_t bytes = gal_wbytes(w), all = (size_t)STRETCH * STRETCHES;
    gal_sha256_add(h, w->name, strlen(w->name) + 1);
    gal_sha256_add(h, what, sizeof what);
    gal_sha256_add(h, w->dim, (size_t)w->ndim * sizeof *w->dim);
    for (size_t i = 0; i < STRETCHES && w->data; i++) {
        const size_t from = bytes <= all ? i * STRETCH : (bytes - STRETCH) / (STRETCHES - 1) * i,
                     n = from < bytes ? GAL_MIN(bytes - from, (size_t)STRETCH) : 0;
        const char *p = (const char *)w->data + from;
        if (m->dev && m->dev->far) {
            gal_err err = n ? gal_dev_download(m->dev, room, p, n, diag) : GAL_OK;
            if (err) return err;
            p = room;
        }
        gal_sha256_add(h, p, n);
    }
    return GAL_OK;
}

gal_err gal_model_fingerprint(const gal_model *m, uint8_t out[32], gal_diag *diag) {
    gal_sha256 h;
    gal_buf config = { 0 };
    gal_sha256_init(&h);
    gal_err err = gal_config_print(&m->config, &config, "a model", diag);
    if (!err) gal_sha256_add(&h, config.data, config.len);
    gal_buf_free(&config);
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
