/* cuda.h - the place of CUDA among the kernels: memory, transfers and launches of one GPU. Builds without CUDA link
 * no_cuda/no_cuda.c, where nothing opens and the reason is said.
 *
 * Pointers in kernel arguments (kernels.h) are the device's. One stream: everything happens in the order of the
 * calls, and results repeat to the bit (no float atomics, fixed split of sums). One thread uses a gal_cuda.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CUDA_H
#define GAL_KERNELS_CUDA_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gal_cuda gal_cuda;             /* a GPU with its stream and workspace */
typedef struct gal_cuda_graph gal_cuda_graph; /* launches that were captured once */

/* GAL_EDEVICE with the reason: built without CUDA, no driver, no such GPU. index counts from 0. */
gal_err gal_cuda_open(gal_cuda **out, int index, gal_diag *diag);
void gal_cuda_close(gal_cuda *c);             /* NULL is allowed */
const char *gal_cuda_name(const gal_cuda *c); /* the GPU's */

/* Memory of the device, aligned to 256 bytes, zeroed; NULL when there is none. */
void *gal_cuda_alloc(gal_cuda *c, size_t bytes);
void gal_cuda_free(gal_cuda *c, void *p);
uint64_t gal_cuda_memory_available(gal_cuda *c); /* bytes */

/* Ordered after everything launched before. Upload returns when the host memory may change; download when it holds
 * the values. */
gal_err gal_cuda_upload(gal_cuda *c, void *device, const void *host, size_t bytes, gal_diag *diag);
gal_err gal_cuda_download(gal_cuda *c, void *host, const void *device, size_t bytes, gal_diag *diag);

/* Queues a kernel; args as in kernels.h, copied. */
gal_err gal_cuda_launch(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag);
/* Waits, and reports what failed on the device since the last time. */
gal_err gal_cuda_wait(gal_cuda *c, gal_diag *diag);

/* Between begin and end launches are captured, not run; nothing is allocated or transferred meanwhile. */
gal_err gal_cuda_capture_begin(gal_cuda *c, gal_diag *diag);
gal_err gal_cuda_capture_end(gal_cuda *c, gal_cuda_graph **out, gal_diag *diag);
gal_err gal_cuda_graph_launch(gal_cuda *c, const gal_cuda_graph *g, gal_diag *diag);
void gal_cuda_graph_free(gal_cuda_graph *g); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
