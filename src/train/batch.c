/* batch.c - see batch.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/batch.h"

#include "base/mem.h"
#include "train/trainer.h"

static gal_err gather(gal_batch *b, const gal_mix *mix, gal_diag *diag) {
    const size_t n = (size_t)(b->rows * b->sequence);
    gal_mix_state place = { 0 };
    b->ids = gal_alloc_array(n, sizeof *b->ids);
    b->pos = gal_alloc_array(n, sizeof *b->pos);
    b->start = gal_alloc_array(n, sizeof *b->start);
    b->target = gal_alloc_array(n, sizeof *b->target);
    if (!b->ids || !b->pos || !b->start || !b->target)
        return gal_fail(diag, GAL_ENOMEM, "no memory for %lld rows", (long long)b->rows);
    gal_err err = GAL_OK;
    for (int64_t r = 0; !err && r < b->rows; r++) {
        const gal_row row = { b->ids, b->pos, b->start, b->target, r * b->sequence };
        int64_t targets = 0;
        err = gal_mix_next(mix, &place, row, &targets, diag);
        b->targets += targets;
    }
    return err;
}

gal_err gal_train_batch(gal_batch *out, const gal_train_config *config, const gal_train_options *options,
                        int64_t rows, gal_diag *diag) {
    gal_train_options o = *options;
    o.resume = false;
    *out = (gal_batch){ .rows = rows, .sequence = config->batch.sequence };
    gal_trainer *t = gal__trainer_new(config, &o);
    gal_err err = t ? gal__train_setup_data(t, diag) : gal_fail(diag, GAL_ENOMEM, "no memory for a training");
    if (!err) err = gather(out, &t->train, diag);
    if (!err) {
        out->tok = t->tok;
        t->tok = NULL;
    }
    gal__trainer_free(t, false);
    if (err) gal_batch_free(out);
    return err;
}

void gal_batch_free(gal_batch *b) {
    gal_free(b->ids);
    gal_free(b->pos);
    gal_free(b->start);
    gal_free(b->target);
    gal_tokenizer_free(b->tok);
    *b = (gal_batch){ 0 };
}
