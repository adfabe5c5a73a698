/* own.c - a model as training takes it: weights of its own, in f32, with the names and the order of rows of Hugging
 * Face's layout, in which checkpoints are; what adapters add is merged into them. And the numbers of a weight with
 * what adapters add, a stretch of a row at a time. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/lora.h"
#include "tensor/blocks.h"

#include <string.h>

static float number(const gal_w *w, int64_t at) {
    float x;
    gal_convert(&x, GAL_F32, (const uint8_t *)w->data + (size_t)at * gal_dtype_bytes(w->dtype), w->dtype, 1);
    return x;
}

/* out += scale B A, of the same stretch of the row. */
static void add_adapter(const gal_lora *l, int64_t row, int64_t from, int64_t n, float *out) {
    const int64_t rank = l->a->dim[0], cols = l->a->dim[1];
    float a[256];
    for (int64_t k = 0; k < rank; k++) {
        const float b = (float)l->scale * number(l->b, row * rank + k);
        for (int64_t at = 0; at < n; at += (int64_t)GAL_LEN(a)) {
            const int64_t some = GAL_MIN(n - at, (int64_t)GAL_LEN(a));
            const size_t place = (size_t)(k * cols + from + at) * gal_dtype_bytes(l->a->dtype);
            gal_convert(a, GAL_F32, (const uint8_t *)l->a->data + place, l->a->dtype, some);
            for (int64_t i = 0; i < some; i++) out[at + i] += b * a[i];
        }
    }
}

void gal_lora_read(const gal_w *w, int64_t row, int64_t from, int64_t n, float *out) {
    const int64_t cols = w->dim[w->ndim - 1];
    if (w->dtype == GAL_BLOCKS) {
        gal_code_read(&w->code, w->data, cols, row, from, n, out);
    } else {
        const uint8_t *p = (const uint8_t *)w->data + (size_t)(row * cols + from) * gal_dtype_bytes(w->dtype);
        gal_convert(out, GAL_F32, p, w->dtype, n);
    }
    for (const gal_lora *l = w->lora; l; l = l->next) add_adapter(l, row, from, n, out);
}

static gal_err take(gal_w *to, const gal_w *from, gal_layout layout, gal_diag *diag) {
    const int64_t cols = from->dim[from->ndim - 1], rows = gal_wcount(from) / cols;
    float *x = gal_alloc_array((size_t)gal_wcount(from), sizeof *x);
    if (!x)
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %lld weights", from->name, (long long)gal_wcount(from));
    for (int64_t r = 0; r < rows; r++)
        gal_lora_read(from, gal_model_row(from, layout, GAL_LAYOUT_HF, r), 0, cols, x + r * cols);
    to->data = x;
    to->dtype = GAL_F32;
    to->owned = true;
    return GAL_OK;
}

/* The same model with the baseline that m lacks. */
static gal_err with_baseline(gal_model **out, const gal_model *m, gal_diag *diag) {
    gal_config c = { 0 };
    gal_err err = gal_config_copy(&c, &m->config, diag);
    c.no_baseline = false;
    if (!err) err = gal_model_build(out, &c, diag);
    gal_config_free(&c);
    return err;
}

gal_err gal_model_own(gal_model **model, uint64_t seed, gal_diag *diag) {
    gal_model *m = *model, *same = NULL, *more = NULL;
    GAL_ASSERT(!m->dev);
    gal_err err = gal_model_names(&same, m, GAL_LAYOUT_HF, diag);
    if (!err && m->config.no_baseline) err = with_baseline(&more, same, diag);
    gal_model *own = more ? more : same;
    size_t at = 0; /* in m, whose weights come in the same order */
    for (size_t i = 0; !err && i < own->n_weights; i++) {
        const bool there = at < m->n_weights && strcmp(own->weights[i].name, same->weights[at].name) == 0;
        err = there ? take(&own->weights[i], &m->weights[at], m->config.layout, diag)
                    : gal_model_draw(own, i, GAL_F32, seed, diag);
        at += there;
    }
    if (more) gal_model_free(same);
    if (err) {
        gal_model_free(own);
        return err;
    }
    GAL_ASSERT(at == m->n_weights);
    own->config.dtype = GAL_F32;
    gal_model_free(m);
    *model = own;
    return GAL_OK;
}
