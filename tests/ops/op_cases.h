/* op_cases.h - one table of small computations over every op: checked against finite differences, against composites,
 * and at every level against the reference.
 *
 * Whatever an op reads is a weight here: activations are rows of an embedding, so that their gradients can be read
 * like any weight's. Each case ends in a scalar. The numbers of weights are exact in bf16, so that every type holds
 * the same. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_OPS_OP_CASES_H
#define TESTS_OPS_OP_CASES_H

#include "ops/ops.h"

enum { OP_WEIGHTS = 16, OP_SEEN = 3, OP_N = 12, OP_MAX_HEAD = 64 };

typedef struct op op;

/* What a case's step looks like besides a single document with all targets. */
enum {
    OP_DOCUMENTS = 1,
    OP_MASKED = 2,
    OP_REPEATED_IDS = 4,
    OP_SOME_ROWS = 8,
    OP_SHORT_ROWS = 16,
    OP_LARGE = 32 /* f64 only; not where sweeps are thin */
};

typedef struct op_case {
    const char *name;
    /* The scalar; composite: by the definition from simpler ops, where there is one. */
    gal_t *(*build)(op *o, gal_ctx *cx, bool composite);
    int64_t w[OP_WEIGHTS][2]; /* rows and columns; columns 0: a vector */
    unsigned step;
    int64_t a[8]; /* the case's own numbers */
    bool has_composite;
    int samples;   /* numbers of each weight to differentiate by; 0: the default */
    int roundings; /* of a value on its way from a weight to the scalar and back */
    int64_t n;     /* rows; 0: OP_N */
} op_case;

struct op {
    const op_case *c;
    gal_dtype dt;
    gal_dev *dev;
    gal_ctx *cx;
    gal_step st;
    gal_w w[OP_WEIGHTS];
    int weights;
    gal_w reduce[OP_SEEN]; /* what a result is multiplied with to become one number a row */
    float inv_freq[OP_MAX_HEAD / 2];
    gal_rope_angles angles; /* of the step's blocks */
    int32_t lo[64], hi[64];
    gal_w *matrices[4][OP_WEIGHTS]; /* of experts */
    gal_lora lora[4];
    gal_moe_spec moe[2]; /* of two layers, the same weights */
    gal_balance balance;
    double sums[64];       /* of balance */
    double pad[64 * 64];   /* room for the widest type */
    double *seen[OP_SEEN]; /* results on the way, as f64 */
    int64_t n_seen[OP_SEEN];
    int slots;
    bool keep_seen;
};

extern const op_case OP_CASES[];
extern const size_t OP_CASE_COUNT;

void op_open(op *o, const op_case *c, const char *cpu, gal_dtype dt);
void op_close(op *o);
double op_loss(op *o, bool composite); /* forward only */
/* Forward and backward; gradients start at zero and end in o->w[i].grad. */
double op_backward(op *o, bool composite, bool recompute);
double op_grad(const op *o, int w, int64_t i);
double op_grad_max(const op *o, int w); /* largest magnitude in a weight's gradient */
int64_t op_longest(const op_case *c);   /* terms of the longest sum in a case */

/* For build functions (op_cases.c). */
gal_t *op_x(op *o, gal_ctx *cx, int w);
gal_t *op_reduce(op *o, gal_ctx *cx, gal_t *y);

#endif
