/* adafactor.c - Adafactor (Shazeer and Stern, arXiv:1804.04235): of the squared gradient only means of rows and
 * columns are kept, updates are clipped to a root mean square of 1 (their d), decay is decoupled. beta2 is the
 * paper's 1 - t^-0.8. The rate is the schedule's; with `relative` it is a part of each weight's own size (their alpha
 * = max(1e-3, RMS) rho). Momentum only where asked for. A vector counts as a matrix of one column, whose estimate is
 * that of its rows. SPDX-License-Identifier: Apache-2.0 */
#include "optim/optim.h"

#include <math.h>
#include <string.h>

enum { ROWS, COLS, MOMENTUM };

static int64_t rows_of(const gal_w *w) { return w->dim[0]; }
static int64_t cols_of(const gal_w *w) { return gal_wcount(w) / w->dim[0]; }
static int64_t parts_of(const gal_w *w) { return (gal_wcount(w) + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK; }

static int shape(const gal_optim_options *o, const gal_w *w, int k, int64_t dim[GAL_MAX_DIMS]) {
    if (k == MOMENTUM) {
        memcpy(dim, w->dim, sizeof w->dim);
        return o->momentum > 0 ? w->ndim : 0;
    }
    dim[0] = k == ROWS ? rows_of(w) : cols_of(w);
    return 1;
}

/* [2] numbers, [parts] sums of u, [parts] of w, then the inverse factors. */
static size_t scratch_bytes(const gal_optim_options *o, const gal_w *w) {
    (void)o;
    return (size_t)(2 + 2 * parts_of(w)) * sizeof(double) + (size_t)(rows_of(w) + cols_of(w)) * sizeof(float);
}

static void numbers(const gal_optim_options *o, int64_t t, gal_opt_step *step) {
    (void)o;
    step->beta2 = (float)(1.0 - pow((double)t, -0.8));
}

static void update(gal_ctx *cx, const gal_optim *o, const gal_optim_slot *s, const gal_k_update *shared) {
    const gal_w *w = s->w;
    double *number = s->scratch, *of_u = number + 2, *of_w = of_u + parts_of(w);
    float *inverse = (void *)(of_w + parts_of(w));
    gal_k_factor f = { .u = *shared,
                       .r = s->state[ROWS],
                       .c = s->state[COLS],
                       .ri = inverse,
                       .ci = inverse + rows_of(w),
                       .partial = of_u,
                       .wpartial = o->options.relative ? of_w : NULL,
                       .number = number,
                       .rows = rows_of(w),
                       .cols = cols_of(w) };
    f.u.m = s->state[MOMENTUM];
    if (o->options.relative) {
        gal_k_sum_squares sum = { .partial = of_w, .x = s->master, .dt = s->master_dt, .count = f.u.count };
        gal_launch(cx, GAL_K_SUM_SQUARES, &sum, sizeof sum);
    }
    gal_launch(cx, GAL_K_FACTOR_ROWS, &f, sizeof f);
    gal_launch(cx, GAL_K_FACTOR_COLS, &f, sizeof f);
    gal_launch(cx, GAL_K_FACTOR_SQUARES, &f, sizeof f);
    gal_launch(cx, GAL_K_FACTOR_SCALE, &f, sizeof f);
    gal_launch(cx, GAL_K_FACTOR_UPDATE, &f, sizeof f);
}

const gal_optim_kind gal__optim_adafactor = { .name = "adafactor",
                                              .states = { "r", "c", "m" },
                                              .shape = shape,
                                              .scratch_bytes = scratch_bytes,
                                              .numbers = numbers,
                                              .update = update };
