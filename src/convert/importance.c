/* importance.c - what an importance matrix says of a model's weights. Refuses one of another model by its sizes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/internal.h"
#include "convert/names.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdio.h>

/* Files from before experts lay in one tensor have "blk.0.ffn_up.3.weight"; the matrix may have
 * "blk.0.ffn_up_exps.weight" all the same. *expert: which one of it, -1: the whole entry. */
static const gal_imatrix_entry *find(const gal_quantise *q, const char *name, int64_t *expert) {
    const gal_imatrix_entry *e = gal_imatrix_find(q->o.imatrix, name);
    const gal_name n = gal_name_of(name);
    char whole[GAL_GGUF_NAME + 1];
    *expert = -1;
    if (e || !gal_name_is_expert(&n)) return e;
    gal_name_stacked(whole, &n);
    *expert = n.expert;
    return gal_imatrix_find(q->o.imatrix, whole);
}

gal_err gal__quantise_means(const gal_quantise *q, size_t i, float **out, int64_t *unreached, gal_diag *diag) {
    const gal_quantise_tensor *t = &q->tensors[i];
    int64_t expert = -1, matrices = gal__quantise_matrices(t), columns = gal__quantise_columns(t);
    const gal_imatrix_entry *e = q->o.imatrix && t->covered ? find(q, t->name, &expert) : NULL;
    *out = NULL;
    *unreached = 0;
    if (!e || !gal__quantise_elements(t)) return GAL_OK;
    gal_imatrix_entry part = *e;
    if (expert >= 0) {
        size_t of_each = e->n_sums / e->n_counts;
        if ((uint64_t)expert >= e->n_counts) {
            char shown[GAL__SHOW];
            return gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\": expected an expert %" PRId64 ", found %zu experts",
                            q->o.imatrix_path, gal__show(shown, e->name), expert, e->n_counts);
        }
        part = (gal_imatrix_entry){ e->name, of_each, 1, e->sums + of_each * (size_t)expert, e->counts + expert };
    }
    float *means = gal_alloc_array((size_t)matrices * (size_t)columns, sizeof *means);
    if (!means) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", q->path);
    gal_err err = gal_imatrix_means(&part, matrices, columns, means, unreached, q->o.imatrix_path, diag);
    if (err)
        gal_free(means);
    else
        *out = means;
    return err;
}

gal_err gal__quantise_match(gal_quantise *q, gal_diag *diag) {
    gal_quantise_importance *found = &q->importance;
    gal_err err = GAL_OK;
    for (size_t i = 0; q->o.imatrix && i < q->count && !err; i++) {
        const gal_quantise_tensor *t = &q->tensors[i];
        /* Rows of the embedding are looked up, nothing is multiplied; the head is not part of everybody's matrices.
         */
        bool outer = gal_recipe_layer(t->name) < 0;
        float *means = NULL;
        int64_t unreached = 0;
        if (!t->covered) continue;
        err = gal__quantise_means(q, i, &means, &unreached, diag);
        if (!err && !(outer && !means)) {
            found->weights++;
            const gal_name n = gal_name_of(t->name);
            bool experts = gal_name_of_experts(&n);
            found->missing += !means || (!experts && unreached);
            found->experts += means && experts ? gal__quantise_matrices(t) : 0;
            found->unreached += experts ? unreached : 0;
        }
        gal_free(means);
    }
    return err;
}
