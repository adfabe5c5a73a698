/* declare.c - weight tables: the letters of a shape become numbers, a line becomes a weight and a field that points
 * to it. SPDX-License-Identifier: Apache-2.0 */
#include "models/model.h"

#include <stdio.h>
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

/* pattern with its one "%d" replaced; a name without one is copied. */
static void layer_name(char *out, size_t room, const char *pattern, int layer) {
    const char *mark = strstr(pattern, "%d");
    if (mark)
        (void)snprintf(out, room, "%.*s%d%s", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        (void)snprintf(out, room, "%s", pattern);
}

gal_err gal_model_declare(gal_model *m, const gal_wspec *table, size_t count, int layer, void *fields,
                          gal_diag *diag) {
    for (size_t i = 0; i < count; i++) {
        char name[160];
        int64_t dim[GAL_MAX_DIMS];
        layer_name(name, sizeof name, table[i].name, layer);
        int ndim = resolve(&m->config, table[i].shape, dim);
        gal_w *w = gal_model_add_weight(m, name, table[i].role, ndim, dim, diag);
        if (!w) return GAL_ENOMEM;
        memcpy((char *)fields + table[i].offset, &w, sizeof w);
    }
    return GAL_OK;
}
