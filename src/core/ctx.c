/* ctx.c - the context: sticky error, step arenas, launches, taps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "core/internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAL_META_CHUNK = 256 << 10, GAL_DATA_CHUNK = 4 << 20 };

static void *take_data(void *dev, size_t bytes) { return gal_dev_take(dev, bytes); }
static void give_data(void *dev, void *p) { gal_dev_give(dev, p); }

gal_err gal_ctx_new(gal_ctx **out, gal_dev *dev, gal_dtype compute, gal_diag *diag) {
    GAL_ASSERT(compute == GAL_F32 || compute == GAL_BF16 || compute == GAL_F64);
    gal_ctx *cx = gal_alloc(sizeof *cx);
    if (!cx) return gal_fail(diag, GAL_ENOMEM, "no memory for a context");
    cx->dev = dev;
    cx->compute = compute;
    gal_arena_init(&cx->meta, GAL_META_CHUNK);
    gal_arena_init(&cx->data, GAL_DATA_CHUNK);
    if (dev->far) gal_arena_init_from(&cx->data, GAL_DATA_CHUNK, &(gal_arena_source){ take_data, give_data, dev });
    *out = cx;
    return GAL_OK;
}

void gal_ctx_free(gal_ctx *cx) {
    if (!cx) return;
    gal_plan_free(cx->recording);
    gal_free(cx->tape.nodes);
    for (size_t i = 0; i < cx->n_constants; i++) {
        gal_free(cx->constants[i].host);
        gal_dev_give(cx->dev, cx->constants[i].far);
    }
    gal_free(cx->constants);
    gal_arena_free(&cx->meta);
    gal_arena_free(&cx->data);
    gal_free(cx);
}

gal_dev *gal_ctx_dev(const gal_ctx *cx) { return cx->dev; }
gal_dtype gal_ctx_compute(const gal_ctx *cx) { return cx->compute; }
void gal_set_quantised(gal_ctx *cx, gal_integers how) { cx->quantised = how; }
void gal_set_bf16(gal_ctx *cx, bool on) { cx->takes_bf16 = on; }
bool gal_may_overwrite(const gal_ctx *cx) { return !cx->tape.on && !cx->dev->far; }
bool gal_takes_bf16(const gal_ctx *cx) { return cx->takes_bf16 && !cx->tape.on; }
gal_integers gal_quantised(const gal_ctx *cx) { return cx->tape.on ? GAL_INTEGERS_NONE : cx->quantised; }
void gal_set_alike(gal_ctx *cx, gal_alike alike) { cx->alike = alike; }
gal_alike gal_rows_alike(const gal_ctx *cx) { return cx->alike; }
bool gal_ok(const gal_ctx *cx) { return cx->err == GAL_OK; }
size_t gal_ctx_peak_bytes(const gal_ctx *cx) { return cx->meta.peak_bytes + cx->data.peak_bytes; }

gal_err gal_ctx_reserve(gal_ctx *cx, size_t bytes, gal_diag *diag) {
    if (gal_arena_reserve(&cx->data, bytes)) return GAL_OK;
    return gal_fail(diag, GAL_ENOMEM, "no memory for %zu bytes of activations", bytes);
}

void gal_step_begin(gal_ctx *cx) {
    cx->err = GAL_OK;
    cx->diag = (gal_diag){ 0 };
    cx->tape.on = false;
    cx->tape.count = 0;
    gal_arena_reset(&cx->meta);
    gal_arena_reset(&cx->data);
}

gal_err gal_step_end(gal_ctx *cx, gal_diag *diag) {
    cx->tape.on = false;
    return cx->err ? gal_fail(diag, cx->err, "%s", cx->diag.text) : GAL_OK;
}

void gal_ctx_fail(gal_ctx *cx, gal_err err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!cx->err) cx->err = gal_failv(&cx->diag, err, fmt, ap);
    va_end(ap);
}

/* "f32 [3, 16]" */
static void describe(char *out, size_t room, const gal_t *t) {
    gal_buf b = { 0 };
    gal_buf_printf(&b, "%s [", gal_dtype_name(t->dtype));
    for (int d = 0; d < t->ndim; d++) gal_buf_printf(&b, "%s%lld", d ? ", " : "", (long long)t->dim[d]);
    gal_buf_puts(&b, "]");
    (void)snprintf(out, room, "%s", b.data ? b.data : "?");
    gal_buf_free(&b);
}

void gal__bad_shapes(const char *op, const char *cond, const gal_t *a, const gal_t *b) {
    char left[128] = "NULL", right[128] = "NULL";
    if (a) describe(left, sizeof left, a);
    if (b) describe(right, sizeof right, b);
    gal__abort("%s: shapes do not fit: %s: %s, %s", op, cond, left, right);
}

gal_t *gal_wrap(gal_ctx *cx, void *data, gal_dtype dtype, int ndim, const int64_t *dim) {
    GAL_ASSERT(ndim >= 0 && ndim <= GAL_MAX_DIMS);
    if (cx->err) return NULL;
    gal_t *t = gal_arena_take(&cx->meta, sizeof *t);
    if (!t) {
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory for a tensor's handle");
        return NULL;
    }
    *t = (gal_t){ .data = data, .dtype = dtype, .ndim = ndim };
    for (int i = 0; i < ndim; i++) t->dim[i] = dim[i];
    return t;
}

gal_t *gal_new(gal_ctx *cx, gal_dtype dtype, int ndim, const int64_t *dim) {
    gal_t *t = gal_wrap(cx, NULL, dtype, ndim, dim);
    if (!t) return NULL;
    size_t bytes = (size_t)gal_count(t) * gal_dtype_bytes(dtype);
    t->data = gal_arena_take(&cx->data, bytes);
    if (t->data) return t;
    gal_ctx_fail(cx, GAL_ENOMEM, "no memory for %zu bytes of activations (%zu in use)", bytes, cx->data.live_bytes);
    return NULL;
}

gal_t *gal_new2(gal_ctx *cx, gal_dtype dtype, int64_t rows, int64_t cols) {
    return gal_new(cx, dtype, 2, (int64_t[]){ rows, cols });
}

gal_t *gal_like(gal_ctx *cx, const gal_t *x) { return x ? gal_new(cx, x->dtype, x->ndim, x->dim) : NULL; }

void *gal_step_memory(gal_ctx *cx, size_t bytes) {
    void *p = cx->err ? NULL : gal_arena_take(&cx->meta, bytes);
    if (p)
        memset(p, 0, bytes);
    else
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory for %zu bytes of a step", bytes);
    return p;
}

const void *gal_constant(gal_ctx *cx, const void *host, size_t bytes) {
    if (cx->err || !cx->dev->far) return host;
    for (size_t i = 0; i < cx->n_constants; i++) {
        const gal_copied *c = &cx->constants[i];
        if (c->bytes == bytes && memcmp(c->host, host, bytes) == 0) return c->far;
    }
    gal_copied c = { gal_alloc(bytes), gal_dev_take(cx->dev, bytes), bytes };
    if (!c.host || !c.far || gal_grow((void **)&cx->constants, &cx->constants_room, cx->n_constants + 1, sizeof c)) {
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory for %zu bytes of constants", bytes);
    } else {
        memcpy(c.host, host, bytes);
        cx->err = gal_dev_upload(cx->dev, c.far, host, bytes, &cx->diag);
    }
    if (cx->err) {
        gal_free(c.host);
        gal_dev_give(cx->dev, c.far);
        return NULL;
    }
    cx->constants[cx->n_constants++] = c;
    return c.far;
}

void gal_set_interrupt(gal_ctx *cx, gal_interrupt_fn fn, void *user) {
    cx->interrupt = fn;
    cx->interrupt_user = user;
}

bool gal__goes_on(gal_ctx *cx) {
    if (!cx->err && cx->interrupt && cx->interrupt(cx->interrupt_user))
        gal_ctx_fail(cx, GAL_EINTERRUPTED, "interrupted");
    return !cx->err;
}

void gal_launch(gal_ctx *cx, gal_kernel_id id, const void *args, size_t bytes) {
    if (cx->err) return;
    if (cx->recording && !gal__plan_add(cx->recording, cx->dev, id, args, bytes)) {
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory to record a step");
        return;
    }
    if (cx->recording && cx->dev->far) return; /* computed when the recording ends */
    if (!gal__goes_on(cx)) return;
    cx->err = gal_dev_launch(cx->dev, id, args, bytes, &cx->diag);
}

void gal_set_tap(gal_ctx *cx, gal_tap_fn fn, void *user) {
    cx->tap = fn;
    cx->tap_user = user;
}

void gal_tap(gal_ctx *cx, const char *name, int index, const gal_t *t) {
    if (cx->tap && !cx->err && !(cx->recording && cx->dev->far)) cx->tap(cx->tap_user, name, index, t);
}

void gal_set_input_tap(gal_ctx *cx, gal_input_tap_fn fn, void *user) {
    cx->input_tap = fn;
    cx->input_tap_user = user;
}

bool gal_input_tapped(const gal_ctx *cx) { return cx->input_tap && !cx->err && !cx->dev->far; }

void gal_tap_input(gal_ctx *cx, const gal_w *w, const gal_t *x, int64_t first, int64_t rows) {
    if (gal_input_tapped(cx)) cx->input_tap(cx->input_tap_user, w, x, first, rows);
}
