/* thin.h - a long series of rows as a few points, in one pass and without knowing its length before.
 *
 * A point stands for a run of neighbouring rows: where it begins and ends, how many rows, and of each column mean,
 * least and largest. The largest keep every spike in sight, the means let who smooths the curve afterwards get what
 * the rows themselves would have given; a choice of rows by their looks (largest triangles) has neither. All points
 * but the last stand for `width` rows, a power of two; when there is no more room, neighbours are put together in
 * pairs. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_THIN_H
#define GAL_TRAIN_THIN_H

#include "base/err.h"

enum { GAL_THIN_LEAST = 2, GAL_THIN_MOST = 1 << 16 };

typedef struct gal_thin_span {
    int64_t first, last; /* steps */
    int64_t rows;
} gal_thin_span;

typedef struct gal_thin_value {
    double sum, low, high; /* of the rows that have a finite number here */
    int64_t rows;          /* how many these are; 0: the others mean nothing */
} gal_thin_value;

typedef struct gal_thin {
    size_t columns, most; /* most: of points; even */
    int64_t width, rows;
    size_t n;
    gal_thin_span *spans;   /* [n] */
    gal_thin_value *values; /* [n][columns] */
    size_t cap_spans, cap_values;
} gal_thin;

/* most: from GAL_THIN_LEAST to GAL_THIN_MOST, an odd one counts as one less. Takes no memory yet. */
void gal_thin_init(gal_thin *t, size_t columns, size_t most);
/* values: [columns], what is not finite counts as absent. False: no memory; all is as it was. */
bool gal_thin_add(gal_thin *t, int64_t step, const double *values);
void gal_thin_free(gal_thin *t); /* leaves {0} */

#endif
