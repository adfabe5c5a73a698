/* adamw.c - see adamw.h. SPDX-License-Identifier: Apache-2.0 */
#include "optim/adamw.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static int64_t partials_of(const gal_w *w) { return (gal_wcount(w) + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK; }
/* Norm scales are few, and rounding them would cost more than it saves. */
static bool has_work_copy(const gal_w *w, gal_dtype work) { return work != GAL_F32 && !gal_w_is_vector(w); }

uint64_t gal_adamw_bytes(const gal_w *weights, size_t n, gal_dtype work) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t count = (uint64_t)gal_wcount(&weights[i]);
        sum += count * 3 * sizeof(float) + (uint64_t)partials_of(&weights[i]) * sizeof(double);
        if (has_work_copy(&weights[i], work)) sum += count * gal_dtype_bytes(work);
    }
    return sum;
}

static bool slot_init(gal_dev *dev, gal_adamw_slot *s, gal_w *w, gal_dtype work, const gal_adamw_options *options) {
    size_t count = (size_t)gal_wcount(w);
    s->w = w;
    s->master = w->data;
    s->decay = gal_w_is_vector(w) ? 0.0f : (float)options->weight_decay;
    s->m = gal_dev_take_array(dev, count, sizeof(float));
    s->v = gal_dev_take_array(dev, count, sizeof(float));
    w->grad = gal_dev_take_array(dev, count, sizeof(float));
    if (!s->m || !s->v || !w->grad) return false;
    if (!has_work_copy(w, work)) return true;
    void *copy = gal_dev_take_array(dev, count, gal_dtype_bytes(work));
    if (!copy) return false;
    s->owns_master = true;
    w->data = copy;
    w->dtype = work;
    return true;
}

gal_err gal_adamw_new(gal_adamw **out, gal_dev *dev, gal_w *weights, size_t n, gal_dtype work, uint32_t set,
                      const gal_adamw_options *options, gal_diag *diag) {
    gal_adamw *o = gal_alloc(sizeof *o);
    bool ok = o != NULL;
    if (ok) {
        o->dev = dev;
        o->options = *options;
        o->step_at = dev->far ? gal_dev_take(dev, sizeof *o->step_at) : &o->step;
        for (size_t i = 0; i < n; i++) o->n_partial += partials_of(&weights[i]);
        o->slot = gal_alloc_array(n, sizeof *o->slot);
        o->partial = gal_dev_take_array(dev, (size_t)o->n_partial, sizeof *o->partial);
        ok = o->step_at && o->slot && o->partial;
    }
    double *partial = ok ? o->partial : NULL;
    for (size_t i = 0; ok && i < n; i++) {
        GAL_ASSERT(weights[i].dtype == GAL_F32 && weights[i].owned && !weights[i].grad);
        o->n = i + 1;
        ok = slot_init(dev, &o->slot[i], &weights[i], work, options);
        o->slot[i].partial = partial;
        partial += partials_of(&weights[i]);
    }
    if (!ok) {
        gal_adamw_free(o);
        return gal_fail(diag, GAL_ENOMEM, "no memory for the optimiser: %llu bytes for gradients and moments",
                        (unsigned long long)gal_adamw_bytes(weights, n, work));
    }
    gal_err err = gal_adamw_refresh(o, diag);
    if (err) {
        gal_adamw_free(o);
        return err;
    }
    for (size_t i = 0; i < n; i++) weights[i].group |= set;
    *out = o;
    return GAL_OK;
}

void gal_adamw_free(gal_adamw *o) {
    if (!o) return;
    for (size_t i = 0; i < o->n; i++) {
        gal_adamw_slot *s = &o->slot[i];
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): n counts slots that exist; gal_alloc() zeroed it */
        gal_dev_give(o->dev, s->m);
        gal_dev_give(o->dev, s->v);
        gal_dev_give(o->dev, s->w->grad);
        s->w->grad = NULL;
        if (s->owns_master) {
            gal_dev_give(o->dev, s->w->data);
            s->w->data = s->master;
            s->w->dtype = GAL_F32;
        }
    }
    gal_free(o->slot);
    gal_dev_give(o->dev, o->partial);
    if (o->step_at != &o->step) gal_dev_give(o->dev, o->step_at);
    gal_free(o);
}

gal_err gal_adamw_prepare(gal_adamw *o, double lr, gal_diag *diag) {
    double t = (double)(o->t + 1);
    o->step.lr = (float)lr;
    o->step.beta1 = (float)o->options.beta1;
    o->step.beta2 = (float)o->options.beta2;
    o->step.eps = (float)o->options.eps;
    o->step.bias1 = (float)(1.0 - pow(o->options.beta1, t));
    o->step.bias2 = (float)(1.0 - pow(o->options.beta2, t));
    o->step.clip = (float)o->options.clip;
    if (o->step_at == &o->step) return GAL_OK;
    return gal_dev_upload(o->dev, o->step_at, &o->step, sizeof o->step, diag);
}

gal_err gal_adamw_read(gal_adamw *o, gal_diag *diag) {
    if (o->step_at == &o->step) return GAL_OK;
    return gal_dev_download(o->dev, &o->step, o->step_at, sizeof o->step, diag);
}

void gal_adamw_zero(gal_ctx *cx, gal_adamw *o) {
    for (size_t i = 0; i < o->n; i++) {
        gal_k_map fill = {
            .y = o->slot[i].w->grad, .dt = GAL_F32, .adt = GAL_F32, .count = gal_wcount(o->slot[i].w)
        };
        gal_launch(cx, GAL_K_FILL, &fill, sizeof fill);
    }
}

void gal_adamw_update(gal_ctx *cx, gal_adamw *o) {
    for (size_t i = 0; i < o->n; i++) {
        const gal_adamw_slot *s = &o->slot[i];
        gal_k_sum_squares sum = { .partial = s->partial, .x = s->w->grad, .dt = GAL_F32, .count = gal_wcount(s->w) };
        gal_launch(cx, GAL_K_SUM_SQUARES, &sum, sizeof sum);
    }
    gal_k_clip clip = { .st = o->step_at, .partial = o->partial, .n = o->n_partial };
    gal_launch(cx, GAL_K_CLIP, &clip, sizeof clip);
    for (size_t i = 0; i < o->n; i++) {
        const gal_adamw_slot *s = &o->slot[i];
        gal_k_adamw k = { .w = s->master,
                          .m = s->m,
                          .v = s->v,
                          .work = s->owns_master ? s->w->data : NULL,
                          .grad = s->w->grad,
                          .dt = GAL_F32,
                          .work_dt = s->w->dtype,
                          .st = o->step_at,
                          .count = gal_wcount(s->w),
                          .decay = s->decay };
        gal_launch(cx, GAL_K_ADAMW, &k, sizeof k);
    }
}

gal_err gal_adamw_refresh(gal_adamw *o, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < o->n; i++) {
        const gal_adamw_slot *s = &o->slot[i];
        if (!s->owns_master) continue;
        gal_k_map copy = {
            .y = s->w->data, .a = s->master, .dt = s->w->dtype, .adt = GAL_F32, .count = gal_wcount(s->w)
        };
        err = gal_dev_launch(o->dev, GAL_K_COPY, &copy, sizeof copy, diag);
    }
    return err;
}

/* Swaps pointer and type; the address of the work copy, which recorded steps hold, stays with the slot meanwhile. */
static void swap_master(gal_adamw *o, gal_dtype to) {
    for (size_t i = 0; i < o->n; i++) {
        gal_adamw_slot *s = &o->slot[i];
        if (!s->owns_master) continue;
        void *data = s->w->data;
        s->w->data = s->master;
        s->master = data;
        s->w->dtype = to;
    }
}

void gal_adamw_show_master(gal_adamw *o) { swap_master(o, GAL_F32); }
void gal_adamw_hide_master(gal_adamw *o) { swap_master(o, GAL_BF16); }
