/* declare.c - weight tables: the letters of a shape become numbers, a line becomes a weight and a field that points
 * to it. SPDX-License-Identifier: Apache-2.0 */
#include "models/model.h"

#include <string.h>

static int64_t letter(const gal_config *c, char l) {
    switch (l) {
    case 'V':
        return c->V;
    case 'D':
        return c->D;
    case 'H':
        return c->H;
    case 'G':
        return c->G;
    case 'K':
    case 'R':
        return c->K;
    case 'F':
        return c->F;
    default:
        gal__assert_failed("a known letter in a weight's shape", __FILE__, __LINE__);
    }
}

/* "H*K,D" -> { H K, D }; the configuration's ranges were checked when it was read, so products fit. */
static int resolve(const gal_config *c, const char *shape, int64_t dim[GAL_MAX_DIMS]) {
    int n = 0;
    dim[0] = 1;
    for (const char *s = shape; *s; s++) {
        if (*s == ',') {
            GAL_ASSERT(n + 1 < GAL_MAX_DIMS);
            dim[++n] = 1;
        } else if (*s != '*') {
            dim[n] *= letter(c, *s);
        }
    }
    return n + 1;
}

/* pattern with its one "%d" replaced; a name without one is copied. NULL when out of memory. */
static const char *layer_name(gal_buf *b, const char *pattern, int layer) {
    gal_buf_clear(b);
    const char *mark = strstr(pattern, "%d");
    if (mark) {
        gal_buf_add(b, pattern, (size_t)(mark - pattern));
        gal_buf_printf(b, "%d", layer);
    }
    gal_buf_puts(b, mark ? mark + 2 : pattern);
    return b->oom ? NULL : b->data;
}

gal_err gal_model_declare(gal_model *m, const gal_wspec *table, size_t count, int layer, void *fields,
                          gal_diag *diag) {
    gal_buf name = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < count && !err; i++) {
        int64_t dim[GAL_MAX_DIMS];
        int ndim = resolve(&m->config, table[i].shape, dim);
        const char *n = layer_name(&name, table[i].name[m->config.layout], layer);
        gal_w *w = n ? gal_model_add_weight(m, n, table[i].role, ndim, dim, diag) : NULL;
        if (w && strchr(table[i].shape, 'R')) w->rotary = m->config.K;
        if (w)
            memcpy((char *)fields + table[i].offset, &w, sizeof w);
        else
            err = gal_fail(diag, GAL_ENOMEM, "no memory for the weights of a model");
    }
    gal_buf_free(&name);
    return err;
}
