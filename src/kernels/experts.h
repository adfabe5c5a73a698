/* experts.h - products grouped by expert, as many small products of a level's own kind: which rows are whose is known
 * only when a launch runs, so the launch has a number of chunks that follows from its arguments, and each of them
 * takes every so many-th of the pieces that there turn out to be. Numbers of C are summed in the same order however C
 * is cut (kernels.h), so the bytes do not depend on any of it. For the levels' GEMM files. SPDX-License-Identifier:
 * Apache-2.0
 */
#ifndef GAL_KERNELS_EXPERTS_H
#define GAL_KERNELS_EXPERTS_H

#include "kernels/kernels.h"

/* gemm: the level's products. */
int64_t gal__experts_chunks(const gal_k_experts *a, const gal_kernel *gemm);
void gal__experts_run(const gal_k_experts *a, int64_t chunk, void *scratch, const gal_kernel *gemm);

/* GAL_K_EXPERTS of a level whose products are `gemm`, or GAL_K_EXPERTS_I8: name_chunks and name_run. */
#define GAL__EXPERTS_OF(name, gemm)                                                                                  \
    static int64_t name##_chunks(const void *args) { return gal__experts_chunks(args, &(gemm)); }                    \
    static void name##_run(const void *args, int64_t chunk, void *scratch) {                                         \
        gal__experts_run(args, chunk, scratch, &(gemm));                                                             \
    }

#endif
