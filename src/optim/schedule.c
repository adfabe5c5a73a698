/* schedule.c - see schedule.h. SPDX-License-Identifier: Apache-2.0 */
#include "optim/schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

double gal_schedule_lr(const gal_schedule *s, int64_t step) {
    if (step <= s->warmup) return s->lr * (double)step / (double)s->warmup;
    if (step >= s->steps) return s->lr * s->final_fraction;
    double done = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return s->lr * (s->final_fraction + (1.0 - s->final_fraction) * 0.5 * (1.0 + cos(PI * done)));
}

static bool same(double a, double b) { return !(a < b) && !(a > b); }

bool gal_schedule_same(const gal_schedule *a, const gal_schedule *b) {
    return same(a->lr, b->lr) && a->warmup == b->warmup && a->steps == b->steps &&
           same(a->final_fraction, b->final_fraction);
}

void gal_schedule_print(const gal_schedule *s, gal_buf *out) {
    gal_buf_printf(out, "%lld steps, warm-up %lld, peak %g, last %g", (long long)s->steps, (long long)s->warmup,
                   s->lr, s->lr * s->final_fraction);
}
