/* dev_cuda.c - a GPU as a far device: what kernels/cuda.h offers, under the names that the heart uses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dev.h"
#include "kernels/cuda.h"

#include <stdio.h>

static void *cuda_take(void *self, size_t bytes) { return gal_cuda_alloc(self, bytes); }
static void cuda_give(void *self, void *p) { gal_cuda_free(self, p); }
static uint64_t cuda_available(void *self) { return gal_cuda_memory_available(self); }

static gal_err cuda_upload(void *self, void *to, const void *from, size_t bytes, gal_diag *diag) {
    return gal_cuda_upload(self, to, from, bytes, diag);
}

static gal_err cuda_download(void *self, void *to, const void *from, size_t bytes, gal_diag *diag) {
    return gal_cuda_download(self, to, from, bytes, diag);
}

static gal_err cuda_launch(void *self, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag) {
    (void)bytes; /* follows from the kernel */
    return gal_cuda_launch(self, id, args, diag);
}

static gal_err cuda_wait(void *self, gal_diag *diag) { return gal_cuda_wait(self, diag); }
static gal_err cuda_capture_begin(void *self, gal_diag *diag) { return gal_cuda_capture_begin(self, diag); }

static gal_err cuda_capture_end(void *self, void **graph, gal_diag *diag) {
    gal_cuda_graph *g = NULL;
    gal_err err = gal_cuda_capture_end(self, &g, diag);
    if (!err) *graph = g;
    return err;
}

static gal_err cuda_graph_launch(void *self, const void *graph, gal_diag *diag) {
    return gal_cuda_graph_launch(self, graph, diag);
}

static void cuda_graph_free(void *graph) { gal_cuda_graph_free(graph); }
static void cuda_close(void *self) { gal_cuda_close(self); }

static const gal_far CUDA = {
    .take = cuda_take,
    .give = cuda_give,
    .available = cuda_available,
    .upload = cuda_upload,
    .download = cuda_download,
    .launch = cuda_launch,
    .wait = cuda_wait,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .close = cuda_close,
};

gal_err gal__dev_cuda(gal_dev *dev, int index, gal_diag *diag) {
    gal_cuda *c = NULL;
    gal_err err = gal_cuda_open(&c, index, diag);
    if (err) return err;
    dev->far = &CUDA;
    dev->self = c;
    (void)snprintf(dev->name, sizeof dev->name, "cuda:%d (%s)", index, gal_cuda_name(c));
    return GAL_OK;
}
