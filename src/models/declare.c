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
    case 'E':
        return c->experts;
    case 'B': /* of a baseline */
        return GAL_MAX(c->D / 8, (int64_t)1);
    case '1':
        return 1;
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

/* pattern with "%d" replaced by the layer and "%e" by the expert. NULL when out of memory. */
static const char *full_name(gal_buf *b, const char *pattern, int layer, int expert) {
    gal_buf_clear(b);
    for (const char *mark = strchr(pattern, '%'); mark; mark = strchr(pattern, '%')) {
        gal_buf_add(b, pattern, (size_t)(mark - pattern));
        gal_buf_printf(b, "%d", mark[1] == 'd' ? layer : expert);
        pattern = mark + 2;
    }
    gal_buf_puts(b, pattern);
    return b->oom ? NULL : b->data;
}

gal_err gal_model_declare(gal_model *m, const gal_wspec *table, size_t count, int layer, void *fields,
                          gal_diag *diag) {
    return gal_model_declare_expert(m, table, count, layer, 0, fields, diag);
}

gal_err gal_model_declare_expert(gal_model *m, const gal_wspec *table, size_t count, int layer, int expert,
                                 void *fields, gal_diag *diag) {
    gal_buf name = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < count && !err; i++) {
        int64_t dim[GAL_MAX_DIMS];
        int ndim = resolve(&m->config, table[i].shape, dim);
        const char *n = full_name(&name, table[i].name[m->config.layout], layer, expert);
        gal_w *w = n ? gal_model_add_weight(m, n, table[i].role, ndim, dim, diag) : NULL;
        if (w && strchr(table[i].shape, 'R')) w->rotary = m->config.K;
        if (w) w->of_expert = strstr(table[i].name[m->config.layout], "%e") != NULL;
        if (w)
            memcpy((char *)fields + table[i].offset, &w, sizeof w);
        else
            err = gal_fail(diag, GAL_ENOMEM, "no memory for the weights of a model");
    }
    gal_buf_free(&name);
    return err;
}
