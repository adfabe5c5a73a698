/* ctx.h - the heart: context with a sticky error, step arenas, launches, tape, blocks, recorder.
 *
 * Life of a step:
 *     gal_step_begin(cx)            arenas reset, error cleared
 *     ops                           compute now; with gal_tape_on() each also pushes a node
 *     gal_backward(cx, loss, set)   walks the tape, accumulates into the weights of the set
 *     gal_step_end(cx, diag)        the first error of the step, if any
 * After an error every op returns NULL and launches nothing, so nobody checks in between; ops accept NULL inputs
 * then.
 *
 *   meta arena:  [ handles | tape nodes > ]      same order every step, so addresses repeat
 *   data arena:  [ values of block 0 | block 1 | ... > ]
 *                                 ^ mark: rewound after a block in inference; kept or recomputed in training
 *
 * On a far device (dev.h) the data arena lies in its memory: t->data is then an address for kernels alone, and values
 * are read with gal_dev_download(). One thread uses a context. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CORE_CTX_H
#define GAL_CORE_CTX_H

#include "base/arena.h"
#include "core/dev.h"
#include "core/step.h"
#include "tensor/tensor.h"

typedef struct gal_ctx gal_ctx;
typedef struct gal_plan gal_plan;

/* compute: the type of activations, f32 or bf16 (f64 on the reference device). dev is borrowed. */
gal_err gal_ctx_new(gal_ctx **out, gal_dev *dev, gal_dtype compute, gal_diag *diag);
void gal_ctx_free(gal_ctx *cx);
gal_dev *gal_ctx_dev(const gal_ctx *cx);
gal_dtype gal_ctx_compute(const gal_ctx *cx);
/* Whether products with weights in blocks take activations rounded to small integers (ops/linear.c), as other engines
 * do, instead of f32 on the blocks' numbers. Off at first; never while the tape is on. */
typedef enum gal_integers {
    GAL_INTEGERS_NONE,
    GAL_INTEGERS_ONCE, /* 8 bits */
    /* 8 bits, and 8 of what they leave over, outside of experts: what is before a router decides which experts a
     * token meets, and an error there is not small. Costs no reading of weights. */
    GAL_INTEGERS_TWICE
} gal_integers;
void gal_set_quantised(gal_ctx *cx, gal_integers how);
gal_integers gal_quantised(const gal_ctx *cx);
/* Whether products with weights in bf16 take activations rounded to bf16, which processors may multiply faster. Off
 * at first; never while the tape is on. */
void gal_set_bf16(gal_ctx *cx, bool on);
bool gal_takes_bf16(const gal_ctx *cx);
/* Whether an op's result may take the memory of what it alone has made: no gradient will ask for that. */
bool gal_may_overwrite(const gal_ctx *cx);
/* What rows of the step follow from, in their bytes (gal_k_gemm.alike): ONE: they are as if each were a step of its
 * own. */
void gal_set_alike(gal_ctx *cx, gal_alike alike);
gal_alike gal_rows_alike(const gal_ctx *cx);
bool gal_ok(const gal_ctx *cx);               /* no error so far in this step */
size_t gal_ctx_peak_bytes(const gal_ctx *cx); /* high-water mark of the step arenas */
/* Before the first step: room for that many bytes in one piece. */
gal_err gal_ctx_reserve(gal_ctx *cx, size_t bytes, gal_diag *diag);

void gal_step_begin(gal_ctx *cx);
gal_err gal_step_end(gal_ctx *cx, gal_diag *diag);

/* ---- for ops ------------------------------------------------------------------------------------------------- */

/* A new tensor in the step arena, values undefined; NULL after any error. */
gal_t *gal_new(gal_ctx *cx, gal_dtype dtype, int ndim, const int64_t *dim);
gal_t *gal_new2(gal_ctx *cx, gal_dtype dtype, int64_t rows, int64_t cols);
gal_t *gal_like(gal_ctx *cx, const gal_t *x);
/* A tensor over memory that outlives the step. */
gal_t *gal_wrap(gal_ctx *cx, void *data, gal_dtype dtype, int ndim, const int64_t *dim);

/* Plain memory of the step, for what a block must find again during the backward walk; zeroed; NULL after any error.
 */
void *gal_step_memory(gal_ctx *cx, size_t bytes);

/* Numbers that the host wrote, where kernels find them: host itself on the CPU, else a copy on the device, one for
 * each content, which lives as long as the context. NULL after any error. */
const void *gal_constant(gal_ctx *cx, const void *host, size_t bytes);

/* Sets the sticky error. */
void gal_ctx_fail(gal_ctx *cx, gal_err err, const char *fmt, ...) GAL_PRINTF(3, 4);
/* Aborts with the op's name and the shapes if cond is false: a wrong shape is a caller's bug. */
#define GAL_SHAPES(cond, op, a, b) ((cond) ? (void)0 : gal__bad_shapes(op, #cond, a, b))
_Noreturn void gal__bad_shapes(const char *op, const char *cond, const gal_t *a, const gal_t *b);

/* Asked before each kernel that is run now and once before a replay; true makes the step fail with GAL_EINTERRUPTED.
 * NULL: nobody asks, as at first. */
typedef bool (*gal_interrupt_fn)(void *user);
void gal_set_interrupt(gal_ctx *cx, gal_interrupt_fn fn, void *user);

/* Runs a kernel now, and logs it while recording. Does nothing after an error. args is copied. */
void gal_launch(gal_ctx *cx, gal_kernel_id id, const void *args, size_t bytes);

/* ---- tape ---------------------------------------------------------------------------------------------------- */

/* From here to the end of the step ops push nodes. recompute: every so manieth block, from the first one on, keeps
 * its input only and runs again; 0: none. */
void gal_tape_on(gal_ctx *cx, int recompute);
bool gal_taping(const gal_ctx *cx);

/* An op's gradient: reads y->grad (skipped when nothing flowed there) and accumulates into inputs and weights. */
typedef void (*gal_vjp)(gal_ctx *cx, gal_t *y, const void *saved);
/* Pushes a node; saved (bytes) is copied. in: tensors whose values the gradient will read (checked by version). */
void gal_tape_push(gal_ctx *cx, gal_vjp vjp, gal_t *y, const void *saved, size_t bytes, gal_t *const *in, int n_in);
/* The gradient of t, made on first use; *accumulate tells whether it already holds a part. NULL if t is not tracked.
 */
gal_t *gal_grad_of(gal_ctx *cx, gal_t *t, bool *accumulate);
/* Where w's gradient accumulates, or NULL if it is not in the set being walked. */
void *gal_wgrad_of(const gal_ctx *cx, const gal_w *w);
/* Walks the tape from a scalar loss, once per call; the gradient of loss is 1. Accumulates into weights with
 * w->group & set. */
void gal_backward(gal_ctx *cx, gal_t *loss, uint32_t set);
/* A tensor with x's values through which no gradient flows. */
gal_t *gal_stop(gal_ctx *cx, gal_t *x);

/* ---- blocks -------------------------------------------------------------------------------------------------- */

/* One layer: from x to a tensor of the same shape and type. It may read, besides x, weights, the step, and tensors
 * made outside through which no gradient flows. */
typedef gal_t *(*gal_block_fn)(gal_ctx *cx, const void *model, int index, gal_t *x, const gal_step *st);
/* Runs the block and consumes x. Inference: memory of the block is given back, the result takes x's place.
 * Training: everything is kept, or only x and the block runs again during the backward walk. */
gal_t *gal_block(gal_ctx *cx, gal_block_fn fn, const void *model, int index, gal_t *x, const gal_step *st);

/* ---- recorder ------------------------------------------------------------------------------------------------ */

/* Between begin and end launches run eagerly and are logged; a far device runs them when the recording ends. The plan
 * may be replayed while the context, the weights, the step and the cache keep their addresses. *out is written only
 * on GAL_OK. */
void gal_record_begin(gal_ctx *cx);
gal_err gal_record_end(gal_ctx *cx, gal_plan **out, gal_diag *diag);
void gal_replay(gal_ctx *cx, const gal_plan *plan);
void gal_plan_free(gal_plan *plan);
size_t gal_plan_launches(const gal_plan *plan);

/* ---- looking inside ------------------------------------------------------------------------------------------- */

/* Called by gal_tap() with each named tensor of a step run eagerly; NULL: nobody looks. Values of a far device must
 * be downloaded. */
typedef void (*gal_tap_fn)(void *user, const char *name, int index, const gal_t *t);
void gal_set_tap(gal_ctx *cx, gal_tap_fn fn, void *user);
void gal_tap(gal_ctx *cx, const char *name, int index, const gal_t *t);

/* Called by gal_tap_input() with each weight that is multiplied in a step run eagerly, and rows [first, first + rows)
 * of x, its inputs; NULL: nobody looks. Not on a far device. */
typedef void (*gal_input_tap_fn)(void *user, const gal_w *w, const gal_t *x, int64_t first, int64_t rows);
void gal_set_input_tap(gal_ctx *cx, gal_input_tap_fn fn, void *user);
bool gal_input_tapped(const gal_ctx *cx); /* whether somebody looks */
void gal_tap_input(gal_ctx *cx, const gal_w *w, const gal_t *x, int64_t first, int64_t rows);

#endif
