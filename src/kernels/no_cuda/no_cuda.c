/* no_cuda.c - stands where CUDA would, in builds without it: nothing opens, so nothing else is ever called.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda.h"

static gal_err absent(gal_diag *diag) {
    return gal_fail(diag, GAL_EDEVICE, "cuda: no such device: built without CUDA");
}

gal_err gal_cuda_open(gal_cuda **out, int index, gal_diag *diag) {
    (void)out;
    (void)index;
    return absent(diag);
}
void gal_cuda_close(gal_cuda *c) { (void)c; }
const char *gal_cuda_name(const gal_cuda *c) {
    (void)c;
    return "none";
}
void *gal_cuda_alloc(gal_cuda *c, size_t bytes) {
    (void)c;
    (void)bytes;
    return NULL;
}
void gal_cuda_free(gal_cuda *c, void *p) {
    (void)c;
    (void)p;
}
uint64_t gal_cuda_memory_available(gal_cuda *c) {
    (void)c;
    return 0;
}
gal_err gal_cuda_upload(gal_cuda *c, void *device, const void *host, size_t bytes, gal_diag *diag) {
    (void)c;
    (void)device;
    (void)host;
    (void)bytes;
    return absent(diag);
}
gal_err gal_cuda_download(gal_cuda *c, void *host, const void *device, size_t bytes, gal_diag *diag) {
    (void)c;
    (void)host;
    (void)device;
    (void)bytes;
    return absent(diag);
}
gal_err gal_cuda_launch(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    (void)c;
    (void)id;
    (void)args;
    return absent(diag);
}
gal_err gal_cuda_wait(gal_cuda *c, gal_diag *diag) {
    (void)c;
    return absent(diag);
}
gal_err gal_cuda_capture_begin(gal_cuda *c, gal_diag *diag) {
    (void)c;
    return absent(diag);
}
gal_err gal_cuda_capture_end(gal_cuda *c, gal_cuda_graph **out, gal_diag *diag) {
    (void)c;
    (void)out;
    return absent(diag);
}
gal_err gal_cuda_graph_launch(gal_cuda *c, const gal_cuda_graph *g, gal_diag *diag) {
    (void)c;
    (void)g;
    return absent(diag);
}
void gal_cuda_graph_free(gal_cuda_graph *g) { (void)g; }
