/* rows_support.h - arrays of any float format, filled from a counter, run through two tables of kernels and compared.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_KERNELS_ROWS_SUPPORT_H
#define GAL_TESTS_KERNELS_ROWS_SUPPORT_H

#include "base/pool.h"
#include "kernels/kernels.h"

/* Exact size from malloc, so that AddressSanitizer sees one byte too far. Freed by rows_free_all(). */
void *rows_zeros(gal_dtype dt, int64_t n);
void *rows_random(gal_dtype dt, int64_t n, double amplitude);
void *rows_copy(gal_dtype dt, const void *x, int64_t n);
int32_t *rows_ints(int64_t n);
void rows_free_all(void);
double rows_get(const void *x, gal_dtype dt, int64_t i);
/* Unit roundoff of a format. */
double rows_eps(gal_dtype dt);

/* Runs all chunks, last first (results must not depend on the order), over a scratch full of NaN. */
void rows_run(const gal_kernel_table *t, gal_kernel_id id, const void *args);
/* |got - want| <= absolute + relative |want| for all; else prints the worst and fails the test. */
void rows_close(const char *what, const void *got, const void *want, gal_dtype dt, int64_t n, double absolute,
                double relative);

/* The levels that this processor has, filled over ref; count in *n. */
const gal_kernel_table *rows_levels(int *n);
const gal_kernel_table *rows_ref(void);

#endif
