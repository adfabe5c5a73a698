/* tape.c - the gradient: nodes pushed by ops, walked backwards, and blocks that keep or recompute.
 *
 *   nodes:  [ op | op ] [ block: op op op | end ] [ block ... ] [ op ]      walk <--
 *
 * Invariants: a gradient tensor is made before the memory mark of the block that adds to it, so giving a block's
 * memory back never takes a gradient with it; a block that runs again does the same launches on the same inputs, so
 * its values are the same bytes. SPDX-License-Identifier: Apache-2.0 */
#include "core/internal.h"

#include "base/mem.h"

#include <string.h>

void gal_tape_on(gal_ctx *cx, int recompute) {
    cx->tape.on = true;
    cx->tape.recompute = recompute;
}

bool gal_taping(const gal_ctx *cx) { return cx->tape.on && !cx->err; }

static gal_node *push(gal_ctx *cx) {
    gal_tape *tp = &cx->tape;
    if (gal_grow((void **)&tp->nodes, &tp->room, tp->count + 1, sizeof *tp->nodes)) {
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory for the tape");
        return NULL;
    }
    gal_node *n = &tp->nodes[tp->count++];
    *n = (gal_node){ 0 };
    return n;
}

void gal_tape_push(gal_ctx *cx, gal_vjp vjp, gal_t *y, const void *saved, size_t bytes, gal_t *const *in, int n_in) {
    GAL_ASSERT(n_in <= GAL_TAPE_INPUTS);
    if (!gal_taping(cx)) return;
    void *copy = gal_arena_take(&cx->meta, bytes);
    gal_node *n = copy ? push(cx) : NULL;
    if (!n) {
        gal_ctx_fail(cx, GAL_ENOMEM, "no memory for the tape");
        return;
    }
    if (bytes) memcpy(copy, saved, bytes);
    n->vjp = vjp;
    n->y = y;
    n->saved = copy;
    n->n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        n->in[i] = in[i];
        n->in_version[i] = in[i]->version;
    }
    y->tracked = true;
}

gal_t *gal_grad_of(gal_ctx *cx, gal_t *t, bool *accumulate) {
    *accumulate = false;
    if (cx->err || !t || !t->tracked) return NULL;
    *accumulate = t->grad != NULL;
    if (!t->grad) t->grad = gal_like(cx, t);
    return t->grad;
}

void *gal_wgrad_of(const gal_ctx *cx, const gal_w *w) { return w->group & cx->set ? w->grad : NULL; }

gal_t *gal_stop(gal_ctx *cx, gal_t *x) { return x ? gal_wrap(cx, x->data, x->dtype, x->ndim, x->dim) : NULL; }

static void fill(gal_ctx *cx, gal_t *t, double value) {
    gal_launch(cx, GAL_K_FILL, &(gal_k_map){ .y = t->data, .dt = t->dtype, .count = gal_count(t), .value = value },
               sizeof(gal_k_map));
}

static void copy(gal_ctx *cx, gal_t *to, const gal_t *from) {
    gal_launch(
        cx, GAL_K_COPY,
        &(gal_k_map){ .y = to->data, .a = from->data, .dt = to->dtype, .adt = from->dtype, .count = gal_count(to) },
        sizeof(gal_k_map));
}

static void walk(gal_ctx *cx, size_t to, size_t from);

/* Gradient of a block's input, zeroed so that everything inside accumulates; it lies below the block's mark. */
static void open_input(gal_ctx *cx, gal_t *x) {
    bool has;
    gal_t *g = gal_grad_of(cx, x, &has);
    if (g && !has) fill(cx, g, 0.0);
}

/* Runs the block once more with the tape on and walks what it pushed. */
static void walk_recomputed(gal_ctx *cx, gal_node n) {
    gal_tape *tp = &cx->tape;
    size_t base = tp->count;
    tp->on = true;
    gal_t *y = n.fn(cx, n.model, n.index, n.x, n.st);
    tp->on = false;
    if (!y || cx->err) return;
    y->grad = n.y->grad;
    walk(cx, tp->count, base);
    tp->count = base;
}

/* Walks nodes to-1 .. from in reverse; each block's temporaries are given back once its first node is passed. */
static void walk(gal_ctx *cx, size_t to, size_t from) {
    for (size_t i = to; i > from && !cx->err; i--) {
        gal_node n = cx->tape.nodes[i - 1]; /* by value: the array may grow while a block runs again */
        if (!n.y->grad) {
            if (!n.vjp && !n.recompute) i = n.first + 1; /* nothing flowed into the block: skip its nodes */
            continue;
        }
        if (n.vjp) {
            for (int k = 0; k < n.n_in; k++) GAL_ASSERT(n.in[k]->version == n.in_version[k]);
            n.vjp(cx, n.y, n.saved);
            continue;
        }
        cx->dev->place.layer = n.index + 1;
        open_input(cx, n.x);
        gal_arena_mark data = gal_arena_here(&cx->data), meta = gal_arena_here(&cx->meta);
        if (n.recompute) {
            walk_recomputed(cx, n);
        } else {
            walk(cx, i - 1, n.first);
            i = n.first + 1;
        }
        gal_arena_rewind(&cx->data, data);
        gal_arena_rewind(&cx->meta, meta);
        cx->dev->place.layer = 0;
    }
}

void gal_backward(gal_ctx *cx, gal_t *loss, uint32_t set) {
    if (cx->err) return;
    GAL_ASSERT(cx->tape.on && loss && gal_count(loss) == 1);
    /* Gradients of an earlier walk stay readable until here. Every tracked tensor is some node's result. */
    for (size_t i = 0; i < cx->tape.count; i++) cx->tape.nodes[i].y->grad = NULL;
    cx->tape.on = false; /* gradients are not themselves recorded on the tape */
    cx->set = set;
    bool has;
    gal_t *g = gal_grad_of(cx, loss, &has);
    cx->dev->place.backward = true;
    if (g) {
        fill(cx, g, 1.0);
        walk(cx, cx->tape.count, 0);
    }
    cx->dev->place.backward = false;
    cx->set = 0;
    cx->tape.on = true;
}

/* Inference: x's memory takes the result, everything above is given back. */
static gal_t *block_inference(gal_ctx *cx, gal_block_fn fn, const void *model, int index, gal_t *x,
                              const gal_step *st) {
    gal_arena_mark data = gal_arena_here(&cx->data), meta = gal_arena_here(&cx->meta);
    gal_t *y = fn(cx, model, index, x, st);
    if (y) {
        GAL_SHAPES(y->dtype == x->dtype && gal_count(y) == gal_count(x), "block", x, y);
        copy(cx, x, y);
        x->version++;
    }
    gal_arena_rewind(&cx->data, data);
    gal_arena_rewind(&cx->meta, meta);
    return y ? x : NULL;
}

static gal_t *block_recompute(gal_ctx *cx, gal_block_fn fn, const void *model, int index, gal_t *x,
                              const gal_step *st) {
    gal_t *out = gal_like(cx, x);
    if (!out) return NULL;
    gal_arena_mark data = gal_arena_here(&cx->data), meta = gal_arena_here(&cx->meta);
    cx->tape.on = false;
    gal_t *y = fn(cx, model, index, x, st);
    cx->tape.on = true;
    if (y) {
        GAL_SHAPES(y->dtype == x->dtype && gal_count(y) == gal_count(x), "block", x, y);
        copy(cx, out, y);
    }
    gal_arena_rewind(&cx->data, data);
    gal_arena_rewind(&cx->meta, meta);
    return y ? out : NULL;
}

static gal_t *block_training(gal_ctx *cx, gal_block_fn fn, const void *model, int index, gal_t *x,
                             const gal_step *st) {
    bool recompute = cx->tape.recompute > 0 && index % cx->tape.recompute == 0;
    size_t first = cx->tape.count;
    gal_t *y = recompute ? block_recompute(cx, fn, model, index, x, st) : fn(cx, model, index, x, st);
    gal_node *n = y ? push(cx) : NULL;
    if (!n) return NULL;
    *n = (gal_node){
        .y = y, .x = x, .fn = fn, .model = model, .st = st, .index = index, .first = first, .recompute = recompute
    };
    y->tracked = true;
    return y;
}

gal_t *gal_block(gal_ctx *cx, gal_block_fn fn, const void *model, int index, gal_t *x, const gal_step *st) {
    if (cx->err || !x) return NULL;
    cx->dev->place.layer = index + 1;
    gal_t *y = (cx->tape.on ? block_training : block_inference)(cx, fn, model, index, x, st);
    cx->dev->place.layer = 0;
    return y;
}
