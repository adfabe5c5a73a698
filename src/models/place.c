/* place.c - where a model's weights lie: in host memory and mapped files, or in the memory of a far device.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/model.h"

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

gal_err gal_model_to_device(gal_model *m, gal_dev *dev, gal_diag *diag) {
    if (gal_model_is_on(m, dev)) return GAL_OK;
    GAL_ASSERT(!m->dev && dev->far);
    void **far = gal_alloc_array(m->n_weights, sizeof *far);
    if (!far) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", m->n_weights);
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < m->n_weights; i++) err = upload(&far[i], &m->weights[i], dev, diag);
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (err) {
            gal_dev_give(dev, far[i]);
            continue;
        }
        if (w->owned) gal_free(w->data);
        w->data = far[i];
        if (w->dtype == GAL_BLOCKS) w->dtype = GAL_F32;
        w->file = NULL;
        w->owned = true;
    }
    gal_free(far);
    if (err) return err;
    m->dev = dev;
    if (m->files) m->files_free(m->files);
    m->files = NULL;
    return GAL_OK;
}
