/* moments.c - see moments.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/moments.h"

#include <math.h>

void gal_moments_add(gal_moments *m, double x, double y) {
    double dx = x - m->x, dy = y - m->y, n = (double)++m->n;
    m->x += dx / n;
    m->y += dy / n;
    m->xx += dx * (x - m->x);
    m->yy += dy * (y - m->y);
    m->xy += dx * (y - m->y);
}

double gal_moments_error(const gal_moments *m) {
    if (m->n < 2) return (double)NAN;
    return sqrt(m->xx / (double)(m->n - 1) / (double)m->n);
}

/* r = mean x / mean y; to first order the error of r is that of the mean of (x - r y) / mean y, and the mean of
 * x - r y is 0. */
double gal_moments_ratio(const gal_moments *m, double *error) {
    double r = m->y > 0.0 ? m->x / m->y : (double)NAN;
    double rest = m->xx - 2.0 * r * m->xy + r * r * m->yy; /* sum of (x - r y)^2 */
    *error = m->n < 2 ? (double)NAN : sqrt(fmax(rest, 0.0) / (double)(m->n - 1) / (double)m->n) / m->y;
    return r;
}
