/* step.c - one optimiser step as four recorded segments: gradients to zero, a batch forward and backward (repeated),
 * the gradient's norm, update. Invariant: a replayed segment computes the bytes that it would compute eagerly.
 *
 * Each target's loss weighs 1 / (targets of the whole step), so a step is the mean over its targets however its rows
 * are dealt to batches. The routers' own losses are means over rows of a batch: each batch counts for its share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <string.h>

static int64_t batch_tokens(const gal_trainer *t) { return t->config->batch.rows * t->config->batch.sequence; }

/* Batches of the coming step. Where there are routers, what is recorded of a batch has their shares in it. */
static void set_batches(gal_trainer *t) {
    int64_t batches = gal_ramp_batches(&t->schedule.ramp, t->step + 1);
    if (batches == t->batches) return;
    t->batches = batches;
    if (t->router_sum) {
        t->balance.balance = gal_train_balance(t->config, t->model->config.router) / (double)batches;
        t->balance.z = (t->model->config.router == GAL_ROUTER_TOP ? t->config->router.z : 0) / (double)batches;
        t->balance.factor = 1.0 / (double)(batches * t->balance.layers);
        gal_plan_free(t->batch_plan);
        t->batch_plan = NULL;
    }
}

/* Routers' losses, plans and policies are of training alone: evaluation leaves st.balance out. */
static gal_err router_memory(gal_trainer *t, gal_diag *diag) {
    const gal_config *m = &t->model->config;
    const gal_train_config *c = t->config;
    if (!m->experts) return GAL_OK;
    t->balance = (gal_balance){ .layers = m->L / m->routed_every,
                                .experts = m->experts,
                                .per_layer = c->router.per_layer,
                                .capacity = c->router.capacity,
                                .tolerance = c->router.tolerance,
                                .iterations = c->router.iterations,
                                .policy = c->router.policy,
                                .baseline = c->router.baseline,
                                .entropy = c->router.entropy,
                                .top_p = c->router.top_p };
    t->balance.loss = &t->row_loss;
    size_t sums = (size_t)(t->balance.layers * gal_route_width(m->experts));
    t->balance.sums = gal_dev_take_array(t->dev, sums, sizeof *t->balance.sums);
    t->router_sum = gal_dev_take_array(t->dev, 2, sizeof *t->router_sum);
    t->balance.noise = t->noise = gal_dev_take(t->dev, sizeof *t->noise);
    if (t->balance.sums && t->router_sum && t->noise) return gal__loads_new(t, diag);
    return gal_fail(diag, GAL_ENOMEM, "no memory for the balance of experts");
}

gal_err gal__train_step_memory(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *c = t->config;
    gal_err err = gal_step_init(&t->st, t->dev, batch_tokens(t), diag);
    if (err) return err;
    t->st.row_len = c->batch.sequence;
    t->st.n = t->st.room;
    t->loss_sum = gal_dev_take(t->dev, sizeof *t->loss_sum);
    if (!t->loss_sum) return gal_fail(diag, GAL_ENOMEM, "no memory for a number");
    err = router_memory(t, diag);
    if (err) return err;
    err = gal_feed_new(&t->feed, &t->train, c->batch.sequence, c->batch.rows, gal_ramp_most(&t->schedule.ramp),
                       c->data.prefetch, diag);
    if (!err && c->data.prefetch && !gal_feed_is_ahead(t->feed))
        gal__train_note(t, "rows are gathered between steps: no thread can be started");
    return err;
}

/* ---- segments ----------------------------------------------------------------------------------------------------
 */

typedef void (*segment_fn)(gal_trainer *t);

static void zero_segment(gal_trainer *t) {
    gal_optim_zero(t->cx, t->opt);
    gal_k_map fill = { .y = t->loss_sum, .dt = GAL_F32, .adt = GAL_F32, .count = 1 };
    gal_launch(t->cx, GAL_K_FILL, &fill, sizeof fill);
    if (!t->router_sum) return;
    fill = (gal_k_map){
        .y = t->router_sum, .dt = GAL_F32, .adt = GAL_F32, .count = 4
    }; /* two doubles of zero bits */
    gal_launch(t->cx, GAL_K_FILL, &fill, sizeof fill);
}

static void batch_segment(gal_trainer *t) {
    gal_tape_on(t->cx, gal_train_recompute(t->config));
    t->st.balance = t->router_sum ? &t->balance : NULL;
    gal_t *loss = t->model->family->loss(t->cx, t->model, &t->st);
    gal_t *sum = gal_weighted_sum(t->cx, loss, &t->st);
    gal_backward(t->cx, sum, GAL__TRAIN_SET);
    if (t->router_sum) gal_moe_losses(t->cx, &t->st, t->router_sum, 1.0 / (double)t->batches);
    t->st.balance = NULL;
    if (!sum) return;
    gal_k_map add = { .y = t->loss_sum, .a = t->loss_sum, .b = sum->data, .dt = GAL_F32, .adt = GAL_F32, .count = 1 };
    gal_launch(t->cx, GAL_K_ADD, &add, sizeof add);
}

static void norm_segment(gal_trainer *t) { gal_optim_norm(t->cx, t->opt); }
static void update_segment(gal_trainer *t) { gal_optim_update(t->cx, t->opt, false); }
static void measured_segment(gal_trainer *t) { gal_optim_update(t->cx, t->opt, true); }

static gal_err run_segment(gal_trainer *t, gal_plan **plan, segment_fn fn, gal_diag *diag) {
    gal_step_begin(t->cx);
    if (*plan) {
        gal_replay(t->cx, *plan);
        return gal_step_end(t->cx, diag);
    }
    if (t->config->eager) {
        fn(t);
        return gal_step_end(t->cx, diag);
    }
    gal_plan *made = NULL;
    gal_record_begin(t->cx);
    fn(t);
    gal_err err = gal_record_end(t->cx, &made, diag);
    gal_err end = gal_step_end(t->cx, diag);
    if (err || end) {
        gal_plan_free(made);
        return err ? err : end;
    }
    *plan = made;
    return GAL_OK;
}

void gal__train_forget_plans(gal_trainer *t) {
    gal_plan **plans[] = { &t->zero_plan, &t->batch_plan,     &t->norm_plan,
                           &t->eval_plan, &t->update_plan[0], &t->update_plan[1] };
    for (size_t i = 0; i < GAL_LEN(plans); i++) {
        gal_plan_free(*plans[i]);
        *plans[i] = NULL;
    }
}

/* ---- a step ------------------------------------------------------------------------------------------------------
 */

static gal_err load_batch(gal_trainer *t, const gal_feed_rows *rows, int64_t a, float weight, gal_diag *diag) {
    size_t n = (size_t)t->st.room, at = (size_t)a * n;
    memcpy(t->st.ids, rows->ids + at, n * sizeof(int32_t));
    memcpy(t->st.pos, rows->pos + at, n * sizeof(int32_t));
    memcpy(t->st.start, rows->start + at, n * sizeof(int32_t));
    memcpy(t->st.target, rows->target + at, n * sizeof(int32_t));
    for (size_t i = 0; i < n; i++) t->st.weight[i] = t->st.target[i] < 0 ? 0.0f : weight;
    /* The same however a step's rows are dealt to batches. */
    const gal_noise noise = { .seed = (uint64_t)t->config->seed, .first = (uint64_t)t->tokens + at };
    gal_err err = t->noise ? gal_dev_upload(t->dev, t->noise, &noise, sizeof noise, diag) : GAL_OK;
    return err ? err : gal_step_commit(&t->st, diag);
}

/* The step's rows; those of the next one are gathered meanwhile. */
static gal_err take_rows(gal_trainer *t, gal_mix_state *place, gal_feed_rows *rows, gal_diag *diag) {
    set_batches(t);
    return gal_feed_take(t->feed, place, t->batches, gal_ramp_batches(&t->schedule.ramp, t->step + 2), rows, diag);
}

static gal_err gradients(gal_trainer *t, gal_mix_state *place, int64_t *targets, gal_diag *diag) {
    gal_feed_rows rows;
    gal_err err = take_rows(t, place, &rows, diag);
    if (err) return err;
    *targets = rows.targets;
    /* A step whose rows have no target at all (documents of one token) has a gradient of zero. */
    float weight = (float)(1.0 / (double)GAL_MAX(*targets, (int64_t)1));
    gal__loads_begin(t);
    err = run_segment(t, &t->zero_plan, zero_segment, diag);
    for (int64_t a = 0; !err && a < t->batches; a++) {
        err = load_batch(t, &rows, a, weight, diag);
        if (!err) err = run_segment(t, &t->batch_plan, batch_segment, diag);
        if (!err) err = gal__loads_add(t, diag);
    }
    return err;
}

gal_err gal__train_read_loss(gal_trainer *t, double *out, gal_diag *diag) {
    float sum = 0;
    gal_err err = gal_dev_download(t->dev, &sum, t->loss_sum, sizeof sum, diag);
    *out = (double)sum;
    return err;
}

gal_err gal__train_gradients(gal_trainer *t, double lr, gal__train_numbers *out, gal_diag *diag) {
    *out = (gal__train_numbers){ .lr = lr, .from = t->place, .to = t->place };
    gal_err err = gradients(t, &out->to, &out->targets, diag);
    if (!err) err = gal_optim_prepare(t->opt, lr, diag);
    if (!err) err = run_segment(t, &t->norm_plan, norm_segment, diag);
    if (!err) err = gal__train_read_loss(t, &out->loss, diag);
    if (!err) err = gal_optim_read(t->opt, diag);
    double routers[2] = { 0 };
    if (!err && t->router_sum) err = gal_dev_download(t->dev, routers, t->router_sum, sizeof routers, diag);
    out->grad_norm = (double)t->opt->step.grad_norm;
    out->balance = routers[0];
    out->z = routers[1];
    out->rows = t->batches * t->config->batch.rows;
    return err;
}

gal_err gal__train_apply(gal_trainer *t, bool measure, gal_diag *diag) {
    gal_err err = run_segment(t, &t->update_plan[measure], measure ? measured_segment : update_segment, diag);
    if (!err) t->opt->t++;
    return err;
}

gal_metric_sample gal__train_sample(const gal_trainer *t, int64_t step, const gal__train_numbers *n) {
    const bool mixed = t->train.n > 1;
    return (gal_metric_sample){ .step = step,
                                .epoch = mixed ? 0 : (int64_t)n->from.at[0].epoch,
                                .row = (int64_t)(mixed ? n->from.row : n->from.at[0].row),
                                .rows = n->rows,
                                .returns = t->spikes.returns };
}

void gal__train_pass(gal_trainer *t, const gal__train_numbers *n) {
    t->place = n->to;
    t->step++;
    t->tokens += n->rows * t->config->batch.sequence;
}

gal_err gal__train_rehearse_step(gal_trainer *t, gal_diag *diag) {
    gal_mix_state place = t->place;
    int64_t targets = 0;
    gal_err err = gradients(t, &place, &targets, diag);
    return err ? err : gal_dev_wait(t->dev, diag);
}

gal_err gal__train_measure_rows(gal_trainer *t, int64_t rows, uint64_t *bytes, gal_diag *diag) {
    gal_ctx *whole = t->cx, *cx = NULL;
    gal_mix_state place = t->place;
    gal_feed_rows taken;
    gal_err err = take_rows(t, &place, &taken, diag);
    if (!err) err = gal_ctx_new(&cx, t->dev, gal_ctx_compute(whole), diag);
    if (err) return err;
    int64_t n = t->st.n;
    t->st.n = rows * t->config->batch.sequence;
    t->cx = cx;
    gal_step_begin(cx);
    err = load_batch(t, &taken, 0, 1.0f, diag);
    if (!err) batch_segment(t);
    if (!err) err = gal_step_end(cx, diag);
    if (!err) err = gal_dev_wait(t->dev, diag);
    *bytes = gal_ctx_peak_bytes(cx);
    t->cx = whole;
    t->st.n = n;
    gal_ctx_free(cx);
    return err;
}
