/* place.c - where a model's weights lie: in host memory and mapped files, or in the memory of a far device.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/lora.h"

bool gal_model_is_on(const gal_model *m, const gal_dev *dev) { return m->dev == (dev->far ? dev : NULL); }

static gal_err upload(void **to, const gal_w *w, gal_dev *dev, gal_diag *diag) {
    const bool wide = w->dtype == GAL_BLOCKS;
    const size_t bytes = wide ? (size_t)gal_wcount(w) * sizeof(float) : gal_wbytes(w);
    *to = gal_dev_take(dev, bytes);
    if (!*to)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for weight %s: %zu bytes, %llu are available", dev->name,
                        w->name, bytes, (unsigned long long)gal_dev_available(dev));
    if (!wide) return gal_dev_upload(dev, *to, w->data, bytes, diag);
    float *copy = gal_alloc(bytes); /* its kernels know no blocks */
    if (!copy) return gal_fail(diag, GAL_ENOMEM, "no memory for weight %s: %zu bytes", w->name, bytes);
    gal_wread(w, 0, gal_wcount(w) / w->dim[w->ndim - 1], copy);
    gal_err err = gal_dev_upload(dev, *to, copy, bytes, diag);
    gal_free(copy);
    return err;
}

/* Uploads all or none, into a table of places on the device. */
static gal_err upload_all(void **far, gal_w *w, size_t n, gal_dev *dev, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n; i++) err = upload(&far[i], &w[i], dev, diag);
    for (size_t i = 0; err && i < n; i++) {
        gal_dev_give(dev, far[i]);
        far[i] = NULL;
    }
    return err;
}

static void move(gal_w *w, void *const *far, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (w[i].owned) gal_free(w[i].data);
        w[i].data = far[i];
        if (w[i].dtype == GAL_BLOCKS) w[i].dtype = GAL_F32;
        w[i].file = NULL;
        w[i].owned = true;
    }
}

gal_err gal_model_to_device(gal_model *m, gal_dev *dev, gal_diag *diag) {
    if (gal_model_is_on(m, dev)) return GAL_OK;
    GAL_ASSERT(!m->dev && dev->far);
    size_t count = m->n_weights;
    for (const gal_adapter *a = m->adapters; a; a = a->next) count += 2 * a->count;
    void **far = gal_alloc_array(count, sizeof *far), **at = far;
    if (!far) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", count);
    gal_err err = upload_all(far, m->weights, m->n_weights, dev, diag);
    at += m->n_weights;
    for (const gal_adapter *a = m->adapters; a && !err; at += 2 * a->count, a = a->next)
        err = upload_all(at, a->weights, 2 * a->count, dev, diag);
    if (err) {
        for (size_t i = 0; i < count; i++) gal_dev_give(dev, far[i]);
        gal_free(far);
        return err;
    }
    move(m->weights, far, m->n_weights);
    at = far + m->n_weights;
    for (gal_adapter *a = m->adapters; a; at += 2 * a->count, a = a->next) move(a->weights, at, 2 * a->count);
    gal_free(far);
    m->dev = dev;
    if (m->files) m->files_free(m->files);
    m->files = NULL;
    return GAL_OK;
}
