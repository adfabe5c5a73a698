/* lm_draft.c - guesses for a model: what its options ask for, and the draft model that stands beside it, on the same
 * device, with threads and memory of its own engine. Refuses a draft whose ids mean other pieces of text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "infer/lm.h"

/* Ids that may be drawn. */
static int64_t allowed(const gal_lm *lm) {
    const int64_t rows = lm->model->config.V;
    return lm->tokenizer ? GAL_MIN(rows, (int64_t)gal_tokenizer_size(lm->tokenizer)) : rows;
}

/* A draft without a tokenizer beside a model that has one could mean anything. */
static gal_err check_vocabulary(const gal_lm *lm, const gal_lm *draft, gal_diag *diag) {
    const char *const of = lm->dir.data, *const is = draft->dir.data;
    const long long rows = lm->model->config.V, other = draft->model->config.V;
    if (!lm->tokenizer != !draft->tokenizer)
        return gal_fail(diag, GAL_EINPUT,
                        "%s cannot draft for %s: expected the same vocabulary, and %s has no tokenizer to tell", is,
                        of, lm->tokenizer ? is : of);
    if (!lm->tokenizer) {
        if (rows == other) return GAL_OK;
        return gal_fail(diag, GAL_EINPUT, "%s cannot draft for %s: expected its vocabulary of %lld, found %lld", is,
                        of, rows, other);
    }
    gal_difference d = { 0 };
    gal_err err = gal_tokenizer_difference(&d, lm->tokenizer, draft->tokenizer, diag);
    if (!err && d.what.len)
        err = gal_fail(diag, GAL_EINPUT, "%s cannot draft for %s: its vocabulary is another one: %.300s", is, of,
                       d.what.data);
    gal_buf_free(&d.what);
    return err;
}

gal_err gal_lm_open_draft(gal_lm *lm, gal_diag *diag) {
    gal_lm_options o = lm->options;
    o.context = 0; /* what it can: where that is less, its guesses end before the text does */
    if (gal_dtype_in_blocks(o.cache)) o.cache = GAL_F16; /* its heads may be no whole blocks */
    o.layout = NULL;
    o.adapters = NULL;
    o.n_adapters = 0;
    o.speculate = GAL_SPECULATE_OFF;
    o.draft = NULL;
    gal_err err = gal_lm_open_on(&lm->draft, lm->options.draft, &o, lm->dev, diag);
    return err ? err : check_vocabulary(lm, lm->draft, diag);
}

gal_err gal_lm_speculation(gal_lm *lm, const gal_sampling *how, gal_speculation *s, gal_diag *diag) {
    gal_proposer *from = NULL;
    gal_err err = GAL_OK;
    if (lm->options.speculate == GAL_SPECULATE_OFF) return GAL_OK;
    if (lm->draft) {
        const gal_draft_parts parts = { .engine = lm->draft->engine,
                                        .vocab = lm->draft->model->config.V,
                                        .allowed = allowed(lm),
                                        .how = how,
                                        .held = &lm->draft->held,
                                        .stop = lm->stop,
                                        .user = lm->stop_user };
        err = gal_draft_new(&from, &parts, diag);
    } else {
        err = gal_lookup_new(&from, diag);
    }
    return err ? err : gal_speculation_init(s, from, lm->options.draft_tokens, allowed(lm), diag);
}
