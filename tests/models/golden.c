/* golden.c - see golden.h. SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include "base/file.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void golden_open(golden *g, const char *folder) {
    char path[512];
    *g = (golden){ 0 };
    (void)snprintf(path, sizeof path, "%s/model.gguf", folder);
    CHECK_OK(gal_model_load(&g->m, gal_is_file(path) ? path : folder, diag));
    (void)snprintf(path, sizeof path, "%s/golden.npz", folder);
    CHECK_OK(npz_open(&g->z, path, diag));
    const gal_npy *ids = npz_find(&g->z, "ids");
    assert_true(ids && ids->type == GAL_NPY_I64 && ids->ndim == 2);
    g->B = ids->dim[0];
    g->T = ids->dim[1];
    g->V = g->m->config.V;
    g->D = g->m->config.D;
    g->L = g->m->config.L;
    g->ids = ids->data;
    const int64_t dim[] = { g->B, g->T, g->V };
    g->logits = golden_floats(g, "logits", 3, dim);
    assert_non_null(g->logits);
}

void golden_close(golden *g) {
    gal_model_free(g->m);
    npz_close(&g->z);
}

const float *golden_floats(const golden *g, const char *name, int ndim, const int64_t *dim) {
    const gal_npy *a = npz_find(&g->z, name);
    if (!a) return NULL;
    assert_int_equal(a->type, GAL_NPY_F32);
    assert_int_equal(a->ndim, ndim);
    for (int i = 0; i < ndim; i++) assert_int_equal(a->dim[i], dim[i]);
    return a->data;
}

void golden_rows(gal_step *st, const int64_t *ids, int64_t n, int64_t pos, int32_t seq) {
    int64_t first = st->n;
    assert_true(first + n <= st->room);
    for (int64_t i = 0; i < n; i++) {
        st->ids[first + i] = (int32_t)ids[i];
        st->pos[first + i] = (int32_t)(pos + i);
        st->start[first + i] = (int32_t)first;
        st->seq[first + i] = seq;
        st->target[first + i] = -1;
        st->weight[first + i] = 0;
    }
    st->n = first + n;
}

void golden_logits(gal_ctx *cx, const golden *g, const gal_step *st, float *out) {
    CHECK_OK(gal_step_commit(st, diag));
    gal_step_begin(cx);
    gal_t *y = g->m->family->logits(cx, g->m, st);
    CHECK_OK(gal_step_end(cx, diag));
    assert_int_equal(y->dtype, GAL_F32);
    assert_int_equal(gal_count(y), st->n * g->V);
    CHECK_OK(gal_dev_download(gal_ctx_dev(cx), out, y->data, (size_t)(st->n * g->V) * sizeof *out, diag));
}

double largest_difference(const float *a, const float *b, int64_t n, int64_t *at) {
    double most = 0;
    *at = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (d <= most) continue; /* NaN is not <= anything, so it is reported */
        most = d;
        *at = i;
        if (isnan(d)) break;
    }
    return most;
}
