/* op_run.c - sets a case up on a device and runs it. SPDX-License-Identifier: Apache-2.0 */
#include "ops/op_cases.h"

#include "base/mem.h"
#include "base/rng.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

static double number(uint64_t stream, int64_t i) {
    double x = gal_rng_normal(11, stream, (uint64_t)i);
    return (double)gal_bf16_to_f32(gal_f64_to_bf16(x));
}

static void put(void *p, gal_dtype dt, int64_t i, double x) {
    gal_convert((char *)p + i * (int64_t)gal_dtype_bytes(dt), dt, &x, GAL_F64, 1);
}

static double get(const void *p, gal_dtype dt, int64_t i) {
    double x;
    gal_convert(&x, GAL_F64, (const char *)p + i * (int64_t)gal_dtype_bytes(dt), dt, 1);
    return x;
}

/* A matrix scaled so that products with it keep their size; a vector near 1. */
static void make_weight(gal_w *w, gal_dtype dt, int64_t rows, int64_t cols, uint64_t stream, double scale) {
    *w = (gal_w){
        .role = cols ? GAL_W_LINEAR : GAL_W_NORM, .dtype = dt, .ndim = cols ? 2 : 1, .dim = { rows, cols }
    };
    int64_t n = gal_wcount(w);
    w->data = gal_alloc(gal_wbytes(w));
    assert_non_null(w->data);
    for (int64_t i = 0; i < n; i++) put(w->data, dt, i, cols ? number(stream, i) * scale : 1 + number(stream, i) / 4);
}

static void make_step(op *o) {
    unsigned how = o->c->step;
    int64_t n = o->c->n ? o->c->n : OP_N, begin = 0, length = how & OP_DOCUMENTS ? 5 : n;
    int64_t vocabulary = o->c->w[0][0];
    assert_int_equal(gal_step_init(&o->st, o->dev, n, NULL), GAL_OK);
    gal_step *st = &o->st;
    st->n = n;
    st->row_len = how & OP_SHORT_ROWS ? n / 2 : n;
    for (int64_t i = 0; i < n; i++) {
        if (i - begin == length || i % st->row_len == 0) {
            begin = i;
            if (i && how & OP_DOCUMENTS) length = length > 1 ? length - 2 : 4;
        }
        st->start[i] = (int32_t)begin;
        st->pos[i] = (int32_t)(i - begin);
        st->ids[i] = (int32_t)(how & OP_REPEATED_IDS ? (i * i + 1) % vocabulary : i);
        st->weight[i] = (float)number(1000, i);
        st->target[i] = how & OP_MASKED && i % 3 == 1 ? -1 : (int32_t)gal_rng_below(5, 6, (uint64_t)i, 7);
    }
    if (how & OP_SOME_ROWS)
        for (int i = 0; i < 3; i++) st->out_rows[st->n_out++] = (int32_t)(1 + i * 4);
    for (int64_t i = 0; i < n && i < (int64_t)GAL_LEN(o->lo); i++) {
        o->lo[i] = (int32_t)(i / 4);
        o->hi[i] = (int32_t)GAL_MIN(n, i + 1 + i % 3);
    }
}

void op_open(op *o, const op_case *c, const char *cpu, gal_dtype dt) {
    memset(o, 0, sizeof *o);
    o->c = c;
    o->dt = dt;
    gal_diag diag = { 0 };
    gal_err err = gal_dev_open(&o->dev, &(gal_device_options){ .cpu = cpu, .threads = 1 }, &diag);
    if (err) print_error("%s: %s\n", c->name, diag.text);
    assert_int_equal(err, GAL_OK);
    assert_int_equal(gal_ctx_new(&o->cx, o->dev, dt, NULL), GAL_OK);
    make_step(o);
    for (int i = 0; i < OP_WEIGHTS && c->w[i][0]; i++) {
        gal_w *w = &o->w[o->weights++];
        /* Rows of activations have variance 1, products too. */
        double scale = c->w[i][0] == o->st.n ? 1 : 1 / sqrt((double)GAL_MAX(1, c->w[i][1]));
        make_weight(w, dt, c->w[i][0], c->w[i][1], (uint64_t)i, scale);
        w->group = 1;
        w->grad = gal_alloc_array((size_t)gal_wcount(w), gal_dtype_bytes(gal_stat_dtype(dt)));
        assert_non_null(w->grad);
    }
    for (int j = 0; j < OP_MAX_HEAD / 2; j++) o->inv_freq[j] = (float)pow(100.0, -(double)j / 8);
    for (int64_t i = 0; i < (int64_t)GAL_LEN(o->pad); i++) put(o->pad, gal_stat_dtype(dt), i, number(2000, i));
}

void op_close(op *o) {
    for (int i = 0; i < OP_WEIGHTS; i++) {
        gal_free(o->w[i].data);
        gal_free(o->w[i].grad);
    }
    for (int i = 0; i < OP_SEEN; i++) {
        gal_free(o->reduce[i].data);
        gal_free(o->seen[i]);
    }
    gal_step_free(&o->st);
    gal_ctx_free(o->cx);
    gal_dev_close(o->dev);
}

gal_t *op_x(op *o, gal_ctx *cx, int w) { return gal_embed(cx, &o->w[w], &o->st); }

/* sum over rows and columns of y r^T, r the rows' weights times a vector; keeps what y holds. */
gal_t *op_reduce(op *o, gal_ctx *cx, gal_t *y) {
    if (!y) return NULL;
    int slot = o->slots++;
    assert_true(slot < OP_SEEN);
    gal_w *r = &o->reduce[slot];
    if (!r->data) make_weight(r, o->dt, 1, gal_cols(y), 3000 + (uint64_t)slot, 1);
    if (o->keep_seen) {
        o->n_seen[slot] = gal_count(y);
        if (!o->seen[slot]) o->seen[slot] = gal_alloc_array((size_t)gal_count(y), sizeof(double));
        assert_non_null(o->seen[slot]);
        gal_convert(o->seen[slot], GAL_F64, y->data, y->dtype, gal_count(y));
    }
    gal_t *s;
    if (y->dtype == o->dt) {
        s = gal_linear_f32(cx, y, r);
    } else { /* an f32 result of bf16 inputs: a product of tensors */
        for (int64_t i = 0; i < gal_cols(y); i++) put(&o->pad[2048], y->dtype, i, get(r->data, r->dtype, i));
        s = gal_matmul(cx, y, gal_wrap(cx, &o->pad[2048], y->dtype, 2, (int64_t[]){ 1, gal_cols(y) }), true);
    }
    int64_t rows = gal_rows(y), n = o->st.n;
    if (rows != n && s) s = gal_matmul(cx, gal_wrap(cx, o->pad, s->dtype, 2, (int64_t[]){ n, rows }), s, false);
    return gal_weighted_sum(cx, s, &o->st);
}

static double value(const gal_t *t) { return get(t->data, t->dtype, 0); }

static void end(op *o) {
    gal_diag diag = { 0 };
    gal_err err = gal_step_end(o->cx, &diag);
    if (err) print_error("%s: %s\n", o->c->name, diag.text);
    assert_int_equal(err, GAL_OK);
}

double op_loss(op *o, bool composite) {
    gal_step_begin(o->cx);
    o->slots = 0;
    gal_t *loss = o->c->build(o, o->cx, composite);
    assert_non_null(loss);
    double x = value(loss);
    end(o);
    return x;
}

double op_backward(op *o, bool composite, bool recompute) {
    for (int i = 0; i < o->weights; i++)
        memset(o->w[i].grad, 0, (size_t)gal_wcount(&o->w[i]) * gal_dtype_bytes(gal_stat_dtype(o->dt)));
    gal_step_begin(o->cx);
    gal_tape_on(o->cx, recompute);
    o->slots = 0;
    o->keep_seen = true;
    gal_t *loss = o->c->build(o, o->cx, composite);
    assert_non_null(loss);
    double x = value(loss);
    o->keep_seen = false;
    gal_backward(o->cx, loss, 1);
    end(o);
    return x;
}

double op_grad(const op *o, int w, int64_t i) { return get(o->w[w].grad, gal_stat_dtype(o->dt), i); }

double op_grad_max(const op *o, int w) {
    double max = 0;
    for (int64_t i = 0; i < gal_wcount(&o->w[w]); i++) max = fmax(max, fabs(op_grad(o, w, i)));
    return max;
}

int64_t op_longest(const op_case *c) {
    int64_t longest = c->n ? c->n : OP_N;
    for (int i = 0; i < OP_WEIGHTS; i++) longest = GAL_MAX(longest, GAL_MAX(c->w[i][0], c->w[i][1]));
    return longest;
}
