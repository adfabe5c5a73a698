/* optim.c - see optim.h. SPDX-License-Identifier: Apache-2.0 */
#include "optim/optim.h"

#include "base/mem.h"

#include <string.h>

/* In the order of GAL_OPTIM_NAMES. */
static const gal_optim_kind *const KINDS[] = { &gal__optim_adamw, &gal__optim_adam, &gal__optim_sgd,
                                               &gal__optim_adafactor };

const gal_optim_kind *gal_optim_kind_at(int i) { return i >= 0 && i < (int)GAL_LEN(KINDS) ? KINDS[i] : NULL; }

gal_dtype gal_precision_compute(gal_precision p) { return p == GAL_PRECISION_F32 ? GAL_F32 : GAL_BF16; }

static int64_t pieces(const gal_w *w, int64_t piece) { return (gal_wcount(w) + piece - 1) / piece; }
static int64_t partials_of(const gal_w *w) { return pieces(w, GAL_SUM_CHUNK); }
static int64_t moved_of(const gal_w *w) { return pieces(w, GAL_MOVED_CHUNK); }

/* The CPU's products round f32 as they pack it, so that there a copy in bf16 would only take room. */
static bool has_copy(const gal_dev *dev, const gal_w *w, gal_precision p) {
    return p == GAL_PRECISION_BF16 && dev->far && !gal_w_is_vector(w);
}
/* Scales and biases are few, and rounding them would cost more than it saves. */
static bool is_bf16_alone(const gal_w *w, gal_precision p) { return p > GAL_PRECISION_BF16 && !gal_w_is_vector(w); }
static bool is_rounded(const gal_dev *dev, const gal_w *w, gal_precision p) {
    return is_bf16_alone(w, p) || has_copy(dev, w, p);
}

static int state_shape(const gal_optim_options *o, const gal_w *w, int k, int64_t dim[GAL_MAX_DIMS]) {
    if (k >= GAL_OPTIM_STATES || !o->kind->states[k]) return 0;
    if (o->kind->shape) return o->kind->shape(o, w, k, dim);
    memcpy(dim, w->dim, sizeof w->dim);
    return w->ndim;
}

static size_t count_of(int ndim, const int64_t *dim) {
    size_t n = ndim > 0;
    for (int i = 0; i < ndim; i++) n *= (size_t)dim[i];
    return n;
}

static size_t scratch_of(const gal_optim_options *o, const gal_w *w) {
    return o->kind->scratch_bytes ? o->kind->scratch_bytes(o, w) : 0;
}

uint64_t gal_optim_bytes(const gal_dev *dev, const gal_w *weights, size_t n, const gal_optim_options *o) {
    uint64_t sum = 0;
    int64_t dim[GAL_MAX_DIMS];
    for (size_t i = 0; i < n; i++) {
        const gal_w *w = &weights[i];
        uint64_t count = (uint64_t)gal_wcount(w);
        sum += count * sizeof(float) + (uint64_t)(partials_of(w) + moved_of(w)) * sizeof(double) + scratch_of(o, w);
        for (int k = 0; k < GAL_OPTIM_STATES; k++) sum += count_of(state_shape(o, w, k, dim), dim) * sizeof(float);
        if (is_rounded(dev, w, o->precision)) sum += count * gal_dtype_bytes(GAL_BF16);
        if (o->ema > 0) sum += count * sizeof(float);
    }
    return sum;
}

double gal_optim_bytes_a_parameter(const gal_dev *dev, const gal_w *weights, size_t n, const gal_optim_options *o) {
    double sum = (double)gal_optim_bytes(dev, weights, n, o), params = 0;
    for (size_t i = 0; i < n; i++) {
        params += (double)gal_wcount(&weights[i]);
        if (!is_bf16_alone(&weights[i], o->precision)) sum += (double)gal_wcount(&weights[i]) * sizeof(float);
    }
    return sum / GAL_MAX(params, 1.0);
}

/* ---- making ------------------------------------------------------------------------------------------------------
 */

static gal_err copy_numbers(gal_optim *o, void *to, gal_dtype to_dt, const void *from, gal_dtype from_dt, int64_t n,
                            gal_diag *diag) {
    gal_k_map copy = { .y = to, .a = from, .dt = to_dt, .adt = from_dt, .count = n };
    return gal_dev_launch(o->dev, GAL_K_COPY, &copy, sizeof copy, diag);
}

/* The weight in bf16, in the place of its f32 or beside it. */
static gal_err round_weight(gal_optim *o, gal_optim_slot *s, gal_diag *diag) {
    gal_w *w = s->w;
    void *rounded = gal_dev_take_array(o->dev, (size_t)gal_wcount(w), gal_dtype_bytes(GAL_BF16));
    if (!rounded) return gal_fail(diag, GAL_ENOMEM, "no memory for %s in bf16", w->name);
    gal_err err = copy_numbers(o, rounded, GAL_BF16, w->data, GAL_F32, gal_wcount(w), diag);
    if (!err) err = gal_dev_wait(o->dev, diag);
    if (err) {
        gal_dev_give(o->dev, rounded);
        return err;
    }
    s->work = w->data = rounded;
    s->work_dt = w->dtype = GAL_BF16;
    if (has_copy(o->dev, w, o->options.precision)) return GAL_OK;
    gal_dev_give(o->dev, s->master);
    s->master = rounded;
    s->master_dt = GAL_BF16;
    return GAL_OK;
}

static void add_pool(gal_optim *o, const char *state, const gal_w *w, float *data, int ndim, const int64_t *dim) {
    gal_optim_pool *p = &o->pool[o->n_pools++];
    *p = (gal_optim_pool){ .state = state, .w = w, .data = data, .ndim = ndim };
    memcpy(p->dim, dim, (size_t)ndim * sizeof *dim);
}

static float decay_of(const gal_w *w, const gal_optim_options *p) {
    return gal_w_is_vector(w) ? 0.0f : (float)p->weight_decay;
}

static gal_err slot_init(gal_optim *o, gal_optim_slot *s, gal_w *w, gal_diag *diag) {
    const gal_optim_options *p = &o->options;
    gal_dev *dev = o->dev;
    s->w = w;
    s->master = s->work = w->data;
    s->master_dt = s->work_dt = GAL_F32;
    s->decay = decay_of(w, p);
    gal_err err = is_rounded(dev, w, p->precision) ? round_weight(o, s, diag) : GAL_OK;
    if (err) return err;
    w->grad = gal_dev_take_array(dev, (size_t)gal_wcount(w), sizeof(float));
    bool ok = w->grad != NULL;
    for (int k = 0; ok && k < GAL_OPTIM_STATES; k++) {
        int64_t dim[GAL_MAX_DIMS];
        int ndim = state_shape(p, w, k, dim);
        if (!ndim) continue;
        s->state[k] = gal_dev_take_array(dev, count_of(ndim, dim), sizeof(float));
        ok = s->state[k] != NULL;
        if (ok) add_pool(o, p->kind->states[k], w, s->state[k], ndim, dim);
    }
    if (ok && scratch_of(p, w)) ok = (s->scratch = gal_dev_take(dev, scratch_of(p, w))) != NULL;
    if (ok && p->ema > 0) ok = (s->ema = gal_dev_take_array(dev, (size_t)gal_wcount(w), sizeof(float))) != NULL;
    if (!ok) return gal_fail(diag, GAL_ENOMEM, "no memory for gradient and states of %s", w->name);
    return s->ema ? copy_numbers(o, s->ema, GAL_F32, s->master, s->master_dt, gal_wcount(w), diag) : GAL_OK;
}

static bool take_tables(gal_optim *o, const gal_w *weights, size_t n) {
    o->step_at = o->dev->far ? gal_dev_take(o->dev, sizeof *o->step_at) : &o->step;
    for (size_t i = 0; i < n; i++) {
        o->n_partial += partials_of(&weights[i]);
        o->n_moved += moved_of(&weights[i]);
    }
    o->slot = gal_alloc_array(n, sizeof *o->slot);
    o->pool = gal_alloc_array(n * (GAL_OPTIM_STATES + 1), sizeof *o->pool);
    o->partial = gal_dev_take_array(o->dev, (size_t)o->n_partial, sizeof *o->partial);
    o->moved = gal_dev_take_array(o->dev, (size_t)o->n_moved, sizeof *o->moved);
    return o->step_at && o->slot && o->pool && o->partial && o->moved;
}

gal_err gal_optim_new(gal_optim **out, gal_dev *dev, gal_w *weights, size_t n, uint32_t set,
                      const gal_optim_options *options, gal_diag *diag) {
    gal_optim *o = gal_alloc(sizeof *o);
    gal_err err = GAL_OK;
    if (o) {
        o->dev = dev;
        o->options = *options;
    }
    if (!o || !take_tables(o, weights, n))
        err = gal_fail(diag, GAL_ENOMEM, "no memory for the optimiser: %llu bytes for gradients and states",
                       (unsigned long long)gal_optim_bytes(dev, weights, n, options));
    double *partial = err ? NULL : o->partial, *moved = err ? NULL : o->moved;
    for (size_t i = 0; !err && i < n; i++) {
        GAL_ASSERT(weights[i].dtype == GAL_F32 && weights[i].owned && !weights[i].grad);
        o->n = i + 1;
        err = slot_init(o, &o->slot[i], &weights[i], diag);
        o->slot[i].partial = partial;
        o->slot[i].moved = moved;
        partial += partials_of(&weights[i]);
        moved += moved_of(&weights[i]);
    }
    /* Averages last: where there are none, a checkpoint has the tensors that it always had. */
    for (size_t i = 0; !err && i < n; i++)
        if (o->slot[i].ema) add_pool(o, "ema", &weights[i], o->slot[i].ema, weights[i].ndim, weights[i].dim);
    if (!err) err = gal_dev_wait(dev, diag);
    if (err) {
        gal_optim_free(o);
        return err;
    }
    for (size_t i = 0; i < n; i++) weights[i].group |= set;
    *out = o;
    return GAL_OK;
}

void gal_optim_free(gal_optim *o) {
    if (!o) return;
    for (size_t i = 0; i < o->n; i++) {
        gal_optim_slot *s = &o->slot[i];
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): n counts slots that exist; gal_alloc() zeroed it */
        for (int k = 0; k < GAL_OPTIM_STATES; k++) gal_dev_give(o->dev, s->state[k]);
        gal_dev_give(o->dev, s->ema);
        gal_dev_give(o->dev, s->scratch);
        gal_dev_give(o->dev, s->w->grad);
        s->w->grad = NULL;
        s->w->data = s->master;
        s->w->dtype = s->master_dt;
        if (s->work != s->master) gal_dev_give(o->dev, s->work);
    }
    gal_free(o->slot);
    gal_free(o->pool);
    gal_dev_give(o->dev, o->partial);
    gal_dev_give(o->dev, o->moved);
    if (o->step_at != &o->step) gal_dev_give(o->dev, o->step_at);
    gal_free(o);
}

static bool same_states(const gal_optim_options *a, const gal_optim_options *b, const gal_w *w) {
    int64_t x[GAL_MAX_DIMS], y[GAL_MAX_DIMS];
    bool same = scratch_of(a, w) == scratch_of(b, w);
    for (int k = 0; k < GAL_OPTIM_STATES; k++) same = same && state_shape(a, w, k, x) == state_shape(b, w, k, y);
    return same;
}

gal_err gal_optim_retune(gal_optim *o, const gal_optim_options *options, gal_diag *diag) {
    const gal_optim_options *old = &o->options;
    bool same = options->kind == old->kind && options->precision == old->precision &&
                (options->ema > 0) == (old->ema > 0);
    for (size_t i = 0; same && i < o->n; i++) same = same_states(old, options, o->slot[i].w);
    if (!same) return gal_fail(diag, GAL_EINPUT, "the optimiser has other states under these options");
    o->options = *options;
    for (size_t i = 0; i < o->n; i++) o->slot[i].decay = decay_of(o->slot[i].w, options);
    return GAL_OK;
}

/* ---- a step ------------------------------------------------------------------------------------------------------
 */

gal_err gal_optim_prepare(gal_optim *o, double lr, gal_diag *diag) {
    const gal_optim_options *p = &o->options;
    o->step.lr = (float)lr;
    o->step.clip = (float)p->clip;
    o->step.momentum = (float)p->momentum;
    o->step.seed = p->seed;
    o->step.t = (uint64_t)(o->t + 1);
    if (p->kind->numbers) p->kind->numbers(p, o->t + 1, &o->step);
    if (o->step_at == &o->step) return GAL_OK;
    return gal_dev_upload(o->dev, o->step_at, &o->step, sizeof o->step, diag);
}

gal_err gal_optim_read(gal_optim *o, gal_diag *diag) {
    if (o->step_at == &o->step) return GAL_OK;
    return gal_dev_download(o->dev, &o->step, o->step_at, sizeof o->step, diag);
}

void gal_optim_zero(gal_ctx *cx, gal_optim *o) {
    for (size_t i = 0; i < o->n; i++) {
        gal_k_map fill = {
            .y = o->slot[i].w->grad, .dt = GAL_F32, .adt = GAL_F32, .count = gal_wcount(o->slot[i].w)
        };
        gal_launch(cx, GAL_K_FILL, &fill, sizeof fill);
    }
}

void gal_optim_norm(gal_ctx *cx, gal_optim *o) {
    for (size_t i = 0; i < o->n; i++) {
        const gal_optim_slot *s = &o->slot[i];
        gal_k_sum_squares sum = { .partial = s->partial, .x = s->w->grad, .dt = GAL_F32, .count = gal_wcount(s->w) };
        gal_launch(cx, GAL_K_SUM_SQUARES, &sum, sizeof sum);
    }
    gal_k_clip clip = { .st = o->step_at, .partial = o->partial, .n = o->n_partial };
    gal_launch(cx, GAL_K_CLIP, &clip, sizeof clip);
}

void gal_optim_update(gal_ctx *cx, gal_optim *o, bool measure) {
    for (size_t i = 0; i < o->n; i++) {
        const gal_optim_slot *s = &o->slot[i];
        const gal_k_update u = { .w = s->master,
                                 .work = s->work == s->master ? NULL : s->work,
                                 .grad = s->w->grad,
                                 .moved = measure ? s->moved : NULL,
                                 .dt = GAL_F32,
                                 .wdt = s->master_dt,
                                 .work_dt = s->work_dt,
                                 .st = o->step_at,
                                 .count = gal_wcount(s->w),
                                 .decay = s->decay,
                                 .coupled = o->options.kind->coupled,
                                 .chance = o->options.precision == GAL_PRECISION_BF16_STOCHASTIC,
                                 .index = (uint32_t)i };
        o->options.kind->update(cx, o, s, &u);
        if (!s->ema) continue;
        const gal_k_ema ema = {
            .ema = s->ema, .w = s->master, .wdt = s->master_dt, .count = u.count, .decay = o->options.ema
        };
        gal_launch(cx, GAL_K_EMA, &ema, sizeof ema);
    }
}

gal_err gal_optim_squares(gal_optim *o, double *grad, double *moved, gal_diag *diag) {
    double *all = gal_alloc_array((size_t)GAL_MAX(o->n_partial, o->n_moved), sizeof *all);
    gal_err err = all ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for norms");
    for (int k = 0; !err && k < 2; k++) {
        const double *from = k ? o->moved : o->partial, *at = all;
        err = gal_dev_download(o->dev, all, from, (size_t)(k ? o->n_moved : o->n_partial) * sizeof *all, diag);
        for (size_t i = 0; !err && i < o->n; i++) {
            int64_t n = k ? moved_of(o->slot[i].w) : partials_of(o->slot[i].w);
            double sum = 0.0;
            while (n-- > 0) sum += *at++;
            (k ? moved : grad)[i] = sum;
        }
    }
    gal_free(all);
    return err;
}

gal_err gal_optim_refresh(gal_optim *o, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < o->n; i++) {
        const gal_optim_slot *s = &o->slot[i];
        if (s->work == s->master) continue;
        err = copy_numbers(o, s->work, s->work_dt, s->master, s->master_dt, gal_wcount(s->w), diag);
    }
    return err;
}

void gal_optim_show(gal_optim *o, gal_optim_view view) {
    for (size_t i = 0; i < o->n; i++) {
        const gal_optim_slot *s = &o->slot[i];
        GAL_ASSERT(view != GAL_VIEW_EMA || s->ema);
        s->w->data = view == GAL_VIEW_WORK ? s->work : view == GAL_VIEW_MASTER ? s->master : (void *)s->ema;
        s->w->dtype = view == GAL_VIEW_WORK ? s->work_dt : view == GAL_VIEW_MASTER ? s->master_dt : GAL_F32;
    }
}
