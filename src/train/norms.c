/* norms.c - norms of gradient and update by layer: weights whose names have "layers.N." belong together, every other
 * weight is a part of its own. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static void part_of(const gal_w *w, char *out, size_t room) {
    const char *at = strstr(w->name, "layers.");
    size_t digits = at ? strspn(at + strlen("layers."), "0123456789") : 0;
    const char *from = digits ? at : w->name;
    size_t n = GAL_MIN(digits ? strlen("layers.") + digits : strlen(from), room - 1);
    memcpy(out, from, n);
    out[n] = 0;
}

gal_err gal__train_norms(gal_trainer *t, gal_metric_norm **out, size_t *count, gal_diag *diag) {
    size_t n = t->n_trained, parts = 0;
    double *grad = gal_alloc_array(n, sizeof *grad), *moved = gal_alloc_array(n, sizeof *moved);
    gal_metric_norm *norms = gal_alloc_array(n, sizeof *norms);
    gal_err err = grad && moved && norms ? gal_optim_squares(t->opt, grad, moved, diag)
                                         : gal_fail(diag, GAL_ENOMEM, "no memory for the norms of %zu weights", n);
    for (size_t i = 0; !err && i < n; i++) {
        char part[sizeof norms->part];
        part_of(&t->trained[i], part, sizeof part);
        size_t at = 0;
        while (at < parts && strcmp(norms[at].part, part) != 0) at++;
        if (at == parts) memcpy(norms[parts++].part, part, sizeof part);
        norms[at].grad += grad[i];
        norms[at].update += moved[i];
    }
    for (size_t i = 0; !err && i < parts; i++) {
        norms[i].grad = sqrt(norms[i].grad);
        norms[i].update = sqrt(norms[i].update);
    }
    gal_free(grad);
    gal_free(moved);
    if (err) {
        gal_free(norms);
        return err;
    }
    *out = norms;
    *count = parts;
    return GAL_OK;
}
