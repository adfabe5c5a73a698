/* internal.h - the inside of a context, for the files of this folder only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CORE_INTERNAL_H
#define GAL_CORE_INTERNAL_H

#include "core/ctx.h"

enum { GAL_TAPE_INPUTS = 6 };

/* One op that ran while the tape was on, or one block that will run again. */
typedef struct gal_node {
    gal_vjp vjp; /* NULL: a block */
    gal_t *y;
    const void *saved;
    int n_in;
    gal_t *in[GAL_TAPE_INPUTS]; /* what the gradient reads, with the version it had */
    uint32_t in_version[GAL_TAPE_INPUTS];
    /* blocks */
    gal_block_fn fn;
    const void *model;
    const gal_step *st;
    gal_t *x;
    int index;
    size_t first; /* kept block: its first node; the walk gives memory back when it has passed it */
    bool recompute;
} gal_node;

typedef struct gal_tape {
    gal_node *nodes;
    size_t count, room;
    bool on;
    int recompute; /* every so manieth block; 0: none */
} gal_tape;

/* Launches logged since gal_record_begin(). Arguments lie in pages that never move. */
typedef struct gal_page gal_page;
typedef struct gal_launched {
    gal_kernel_id id;
    const void *args;
    size_t bytes;
    gal_place place;
} gal_launched;
struct gal_plan {
    gal_job *jobs;      /* the CPU's list */
    gal_launched *list; /* the same for a watch, and for a far device until it is captured */
    size_t count, room, room_jobs;
    gal_page *pages;
    const gal_far *far; /* whose graph it is */
    void *graph;
};

/* A copy of what the host wrote, where kernels of a far device read it. */
typedef struct gal_copied {
    void *host, *far;
    size_t bytes;
} gal_copied;

struct gal_ctx {
    gal_dev *dev;
    gal_dtype compute;
    gal_err err; /* sticky, until the step ends */
    gal_diag diag;
    gal_arena meta, data;
    gal_tape tape;
    gal_plan *recording; /* NULL: not recording */
    gal_copied *constants;
    size_t n_constants, constants_room;
    uint32_t set; /* weights whose gradients the running walk accumulates */
    gal_integers quantised;
    bool takes_bf16;
    gal_alike alike;
    gal_interrupt_fn interrupt;
    void *interrupt_user;
    gal_tap_fn tap;
    void *tap_user;
    gal_input_tap_fn input_tap;
    void *input_tap_user;
};

/* Asks whether the step shall go on; false after any error. */
bool gal__goes_on(gal_ctx *cx);
/* Appends a launch to the plan; false when there is no memory. */
bool gal__plan_add(gal_plan *plan, const gal_dev *dev, gal_kernel_id id, const void *args, size_t bytes);

#endif
