/* evaluate.c - loss on validation text, in nats per token and in bits per byte of the text that the tokens stand for.
 * Every token but the first of a document is predicted once, end-of-text tokens included; a row sees at most
 * batch.sequence tokens before it. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define LN2 0.69314718055994530942

gal_err gal__train_token_bytes(gal_trainer *t, gal_diag *diag) {
    int32_t size = gal_tokenizer_size(t->tok);
    t->token_bytes = gal_alloc((size_t)size);
    if (!t->token_bytes) return gal_fail(diag, GAL_ENOMEM, "no memory for %d token lengths", (int)size);
    for (int32_t id = 0; id < size; id++)
        t->token_bytes[id] = (uint8_t)GAL_MIN(gal_tokenizer_text_bytes(t->tok, id), (size_t)UINT8_MAX);
    return GAL_OK;
}

/* Bytes of the batch's targets. The space before a document's first word is the tokenizer's, not the text's. */
static int64_t bytes_of(const gal_trainer *t, const gal_step *st) {
    int64_t sum = 0;
    const bool spaced = gal_tokenizer_adds_space(t->tok);
    int32_t bos = gal_tokenizer_bos(t->tok);
    for (int64_t i = 0; i < st->n; i++) {
        if (st->target[i] < 0) continue;
        sum += t->token_bytes[st->target[i]];
        if (!spaced || st->pos[i] != 0 || st->ids[i] != bos) continue;
        size_t n = 0;
        const char *piece = gal_tokenizer_piece(t->tok, st->target[i], &n);
        sum -= n >= 3 && memcmp(piece, "\xe2\x96\x81", 3) == 0;
    }
    return sum;
}

static gal_err run_batch(gal_trainer *t, gal_diag *diag) {
    gal_err err = gal_step_commit(&t->st, diag);
    if (err) return err;
    gal_step_begin(t->cx);
    if (t->eval_plan) {
        gal_replay(t->cx, t->eval_plan);
        return gal_step_end(t->cx, diag);
    }
    bool record = !t->config->eager;
    if (record) gal_record_begin(t->cx);
    gal_t *loss = t->model->family->loss(t->cx, t->model, &t->st);
    gal_t *sum = gal_weighted_sum(t->cx, loss, &t->st);
    if (sum) {
        gal_k_map copy = { .y = t->loss_sum, .a = sum->data, .dt = GAL_F32, .adt = GAL_F32, .count = 1 };
        gal_launch(t->cx, GAL_K_COPY, &copy, sizeof copy);
    }
    gal_plan *made = NULL;
    err = record ? gal_record_end(t->cx, &made, diag) : GAL_OK;
    gal_err end = gal_step_end(t->cx, diag);
    if (err || end) {
        gal_plan_free(made);
        return err ? err : end;
    }
    t->eval_plan = made;
    return GAL_OK;
}

int64_t gal__train_eval_rows(const gal_trainer *t, int64_t max_rows) {
    const int64_t length = t->config->batch.sequence, rows = (t->valid.n_tokens + length - 1) / length;
    return max_rows > 0 ? GAL_MIN(rows, max_rows) : rows;
}

static gal_err evaluate(gal_trainer *t, int64_t max_rows, gal__train_score *out, gal_diag *diag) {
    const gal_train_config *c = t->config;
    const int64_t rows = gal__train_eval_rows(t, max_rows);
    gal__train_score sum = { 0 };
    for (int64_t first = 0; first < rows; first += c->batch.rows) {
        if (gal__train_stop_wanted(t)) return GAL_EINTERRUPTED; /* the caller knows what to say */
        for (int64_t r = 0; r < c->batch.rows; r++) {
            gal_row row = { t->st.ids, t->st.pos, t->st.start, t->st.target, r * c->batch.sequence };
            /* Rows beyond the last one are filled from beyond the end: nothing there has a target. */
            int64_t at = first + r < rows ? (first + r) * c->batch.sequence : t->valid.n_tokens;
            int64_t targets = 0;
            gal_err err = gal_shards_row(&t->valid, at, c->batch.sequence, GAL_PACKING_MASKED, row, &targets, diag);
            if (err) return err;
            sum.tokens += targets;
        }
        for (int64_t i = 0; i < t->st.n; i++) t->st.weight[i] = t->st.target[i] < 0 ? 0.0f : 1.0f;
        gal_err err = run_batch(t, diag);
        double nats = 0;
        if (!err) err = gal__train_read_loss(t, &nats, diag);
        if (err) return err;
        sum.nats += nats;
        sum.bytes += bytes_of(t, &t->st);
    }
    double total = sum.nats;
    sum.nats = total / (double)GAL_MAX(sum.tokens, (int64_t)1);
    sum.bits_per_byte = total / LN2 / (double)GAL_MAX(sum.bytes, (int64_t)1);
    *out = sum;
    return isfinite(total) ? GAL_OK : gal_fail(diag, GAL_EFAIL, "the validation loss is not a number");
}

gal_err gal__train_evaluate(gal_trainer *t, int64_t max_rows, gal__train_score *out, gal_diag *diag) {
    /* Nothing else replays eval_plan, so it always finds the weights that it was recorded with. */
    if (t->config->ema.evaluate) gal_optim_show(t->opt, GAL_VIEW_EMA);
    gal_err err = evaluate(t, max_rows, out, diag);
    gal_optim_show(t->opt, GAL_VIEW_WORK);
    return err;
}
