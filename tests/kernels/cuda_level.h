/* cuda_level.h - the table's variants on a GPU: all their arrays go there with their guards, the pointers among the
 * arguments are replaced by the device's, and everything comes back. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_KERNELS_CUDA_LEVEL_H
#define TESTS_KERNELS_CUDA_LEVEL_H

#include "kernels/cuda.h"
#include "kernels/kernel_test.h"

/* The first GPU, opened once; NULL, with the reason printed, where there is none. */
gal_cuda *cl_open(void);
/* Launched, launched again, and captured and launched as a graph: right each time, with the same bytes, nothing
 * written outside of outputs. kt_each's check. */
void cl_check(kt *t);
/* Times the large cases. */
void cl_bench(const kt_family *f);

#endif
