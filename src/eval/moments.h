/* moments.h - means with error bars, of numbers that come one by one: Welford's recurrence, which does not lose a
 * small variance beside a large mean (Knuth, The Art of Computer Programming 2, 4.2.2). The order of the numbers
 * decides the last bits; whoever adds keeps to one order. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_MOMENTS_H
#define GAL_EVAL_MOMENTS_H

#include "base/err.h"

/* Of pairs (x, y); y may stay 0. */
typedef struct gal_moments {
    int64_t n;
    double x, y;       /* means */
    double xx, yy, xy; /* sums of products of the distances from the means */
} gal_moments;         /* {0}: none yet */

void gal_moments_add(gal_moments *m, double x, double y);
/* Standard error of the mean of x: deviation / sqrt(n), the deviation with n - 1. NaN below two numbers. */
double gal_moments_error(const gal_moments *m);
/* sum(x) / sum(y) and its standard error by the delta method. NaN without y, and the error below two numbers. */
double gal_moments_ratio(const gal_moments *m, double *error);

#endif
