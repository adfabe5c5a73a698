/* no_cuda.c - stands where CUDA's kernels would, in builds without them. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda.h"

bool gal_cuda_present(void) { return false; }

gal_err gal_cuda_fill(gal_kernel_table *t, gal_diag *diag) {
    (void)t;
    return gal_fail(diag, GAL_EDEVICE, "cuda: no such device: built without CUDA");
}
