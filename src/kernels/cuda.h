/* cuda.h - the place of CUDA among the kernels. Builds without it link no_cuda/no_cuda.c, which says so.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CUDA_H
#define GAL_KERNELS_CUDA_H

#include "kernels/kernels.h"

/* Whether this build has CUDA kernels and a device answers. */
bool gal_cuda_present(void);
/* Fills the table, or GAL_EDEVICE with the reason; the table is then untouched. */
gal_err gal_cuda_fill(gal_kernel_table *t, gal_diag *diag);

#endif
