/* schedule.c - see schedule.h. SPDX-License-Identifier: Apache-2.0 */
#include "optim/schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

static int64_t first_of(const gal_ramp *r) { return GAL_MAX(r->first, (int64_t)1); }

int64_t gal_ramp_batches(const gal_ramp *r, int64_t step) {
    int64_t batches = first_of(r);
    for (int i = 0; i < r->n && r->at[i].from <= step; i++) batches = r->at[i].batches;
    return batches;
}

int64_t gal_ramp_total(const gal_ramp *r, int64_t steps) {
    int64_t sum = 0, from = 1, batches = first_of(r);
    for (int i = 0; i < r->n && r->at[i].from <= steps; i++) {
        sum += (r->at[i].from - from) * batches;
        from = r->at[i].from;
        batches = r->at[i].batches;
    }
    return sum + (steps - from + 1) * batches;
}

int64_t gal_ramp_most(const gal_ramp *r) {
    int64_t most = first_of(r);
    for (int i = 0; i < r->n; i++) most = GAL_MAX(most, r->at[i].batches);
    return most;
}

static int64_t cycle_of(const gal_schedule *s) { return s->cycle > 0 ? s->cycle : s->steps; }
static int64_t decay_of(const gal_schedule *s) {
    return GAL_MIN(s->decay > 0 ? s->decay : GAL_MAX(s->steps / 10, (int64_t)1), s->steps - s->warmup);
}

/* How much of the way from step `from` to step `to` is made, 0 to 1. */
static double way(const gal_schedule *s, int64_t from, int64_t to, int64_t step) {
    if (step >= to) return 1.0;
    if (step <= from) return 0.0;
    int64_t begin = gal_ramp_total(&s->ramp, from);
    return (double)(gal_ramp_total(&s->ramp, step) - begin) / (double)(gal_ramp_total(&s->ramp, to) - begin);
}

double gal_schedule_lr(const gal_schedule *s, int64_t step) {
    double done;
    if (s->warmup > 0 && step <= s->warmup)
        return s->first_lr + (s->lr - s->first_lr) * (double)step / (double)s->warmup;
    switch (s->curve) {
    case GAL_CURVE_COSINE:
        if (step >= cycle_of(s)) return s->lr * s->final_fraction;
        done = way(s, s->warmup, cycle_of(s), step);
        return s->lr * (s->final_fraction + (1.0 - s->final_fraction) * 0.5 * (1.0 + cos(PI * done)));
    case GAL_CURVE_WSD:
        done = way(s, s->steps - decay_of(s), s->steps, step);
        return s->lr * (1.0 - (1.0 - s->final_fraction) * (s->root ? sqrt(done) : done));
    case GAL_CURVE_LINEAR:
        return s->lr * (1.0 - (1.0 - s->final_fraction) * way(s, s->warmup, s->steps, step));
    case GAL_CURVE_CONSTANT:
    default:
        return s->lr;
    }
}

void gal_schedule_print(const gal_schedule *s, gal_buf *out) {
    static const char *const NAMES[] = { "cosine", "warm-up, stable, decay", "constant", "linear" };
    gal_buf_printf(out, "%lld steps, %s, warm-up %lld, peak %g, last %g", (long long)s->steps, NAMES[s->curve],
                   (long long)s->warmup, s->lr, gal_schedule_lr(s, s->steps));
    if (s->curve == GAL_CURVE_COSINE && cycle_of(s) != s->steps)
        gal_buf_printf(out, ", cycle of %lld", (long long)cycle_of(s));
    if (s->curve == GAL_CURVE_WSD) gal_buf_printf(out, ", decay over %lld", (long long)decay_of(s));
    for (int i = 0; i < s->ramp.n; i++)
        gal_buf_printf(out, ", %lld batches a step from step %lld", (long long)s->ramp.at[i].batches,
                       (long long)s->ramp.at[i].from);
}
