/* device.cu - the GPU itself: opening, memory, transfers, launches by number, captured graphs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

static gal_err failed(gal_diag *diag, const char *what, cudaError_t e) {
    return gal_fail(diag, GAL_EDEVICE, "cuda: %s: %s (%s)", what, cudaGetErrorString(e), cudaGetErrorName(e));
}

gal_err gal__cuda_activations(const gal_cuda *c, gal_dtype dt, gal_diag *diag) {
    if (dt == GAL_F32 || dt == GAL_BF16) return GAL_OK;
    return gal_fail(diag, GAL_EDEVICE, "cuda: %s: activations are f32 or bf16 on a GPU, not %s", c->last,
                    gal_dtype_name(dt));
}

gal_err gal__cuda_weights(const gal_cuda *c, gal_dtype dt, gal_diag *diag) {
    if (dt == GAL_F32 || dt == GAL_BF16 || dt == GAL_F16) return GAL_OK;
    return gal_fail(diag, GAL_EDEVICE, "cuda: %s: numbers are f32, bf16 or f16 on a GPU, not %s", c->last,
                    gal_dtype_name(dt));
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static gal_err set_up(gal_cuda *c, gal_diag *diag) {
    cudaError_t e = cudaSetDevice(c->index);
    if (e) return failed(diag, "opening the device", e);
    if ((e = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking))) return failed(diag, "a stream", e);
    e = cudaMalloc((void **)&c->work, GAL__CUDA_WORK_BYTES + GAL__CUDA_LT_BYTES);
    if (e) return failed(diag, "the workspace of 96 MiB", e);
    c->lt_work = c->work + GAL__CUDA_WORK_BYTES;
    cublasStatus_t s = cublasLtCreate(&c->lt);
    if (s) return gal_fail(diag, GAL_EDEVICE, "cuda: cuBLASLt: %s", cublasLtGetStatusString(s));
    c->plans = gal__cuda_plans_new();
    return c->plans ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the GPU's plans");
}

gal_err gal_cuda_open(gal_cuda **out, int index, gal_diag *diag) {
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    (void)cudaGetLastError(); /* the error is told here, once */
    int driver = 0;
    if (e && !cudaDriverGetVersion(&driver) && driver == 0) /* "the version is insufficient", says e */
        return gal_fail(diag, GAL_EDEVICE, "cuda: no such device: this machine has no NVIDIA driver");
    if (e) return failed(diag, "no such device", e);
    if (index < 0 || index >= count)
        return gal_fail(diag, GAL_EDEVICE, "cuda: no such device: number %d was asked for, this machine has %d",
                        index, count);
    cudaDeviceProp p;
    if ((e = cudaGetDeviceProperties(&p, index))) return failed(diag, "asking for the device's properties", e);
    if (p.major < 8)
        return gal_fail(diag, GAL_EDEVICE, "cuda: %s has compute capability %d.%d, at least 8.0 is needed", p.name,
                        p.major, p.minor);
    gal_cuda *c = (gal_cuda *)gal_alloc(sizeof *c);
    if (!c) return gal_fail(diag, GAL_ENOMEM, "no memory for a device");
    c->index = index;
    c->last = "no kernel";
    memcpy(c->name, p.name, sizeof c->name - 1);
    gal_err err = set_up(c, diag);
    if (err) {
        gal_cuda_close(c);
        return err;
    }
    *out = c;
    return GAL_OK;
}

void gal_cuda_close(gal_cuda *c) {
    if (!c) return;
    (void)cudaSetDevice(c->index);
    if (c->stream) (void)cudaStreamSynchronize(c->stream);
    if (c->lt) (void)cublasLtDestroy(c->lt);
    (void)cudaFree(c->work);
    if (c->stream) (void)cudaStreamDestroy(c->stream);
    gal_free(c->plans);
    gal_free(c);
}

const char *gal_cuda_name(const gal_cuda *c) { return c->name; }

/* ---- memory -------------------------------------------------------------------------------------------- */

void *gal_cuda_alloc(gal_cuda *c, size_t bytes) {
    void *p = NULL;
    if (bytes == 0) bytes = 1;
    (void)cudaSetDevice(c->index);
    if (c->capturing || cudaMalloc(&p, bytes)) {
        (void)cudaGetLastError();
        return NULL;
    }
    if (!cudaMemsetAsync(p, 0, bytes, c->stream)) return p;
    (void)cudaGetLastError();
    (void)cudaFree(p);
    return NULL;
}

void gal_cuda_free(gal_cuda *c, void *p) {
    if (!p) return;
    (void)cudaSetDevice(c->index);
    (void)cudaFree(p); /* waits for what still uses it */
}

uint64_t gal_cuda_memory_available(gal_cuda *c) {
    size_t left = 0, all = 0;
    (void)cudaSetDevice(c->index);
    if (cudaMemGetInfo(&left, &all)) {
        (void)cudaGetLastError();
        return 0;
    }
    return left;
}

static gal_err transfer(gal_cuda *c, void *to, const void *from, size_t bytes, cudaMemcpyKind kind, gal_diag *diag) {
    const char *what = kind == cudaMemcpyHostToDevice ? "upload" : "download";
    if (c->capturing) return gal_fail(diag, GAL_EDEVICE, "cuda: %s while launches are captured", what);
    if (bytes == 0) return GAL_OK;
    cudaError_t e = cudaSetDevice(c->index);
    if (!e) e = cudaMemcpyAsync(to, from, bytes, kind, c->stream);
    if (e) return failed(diag, what, e);
    return gal_cuda_wait(c, diag);
}

gal_err gal_cuda_upload(gal_cuda *c, void *device, const void *host, size_t bytes, gal_diag *diag) {
    return transfer(c, device, host, bytes, cudaMemcpyHostToDevice, diag);
}

gal_err gal_cuda_download(gal_cuda *c, void *host, const void *device, size_t bytes, gal_diag *diag) {
    return transfer(c, host, device, bytes, cudaMemcpyDeviceToHost, diag);
}

/* ---- launches ------------------------------------------------------------------------------------------ */

static gal_err dispatch(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    switch (id) {
    case GAL_K_GEMM:
        return gal__cuda_gemm(c, args, diag);
    case GAL_K_ATTEND:
        return gal__cuda_attend(c, args, diag);
    case GAL_K_ATTEND_JOIN: /* attend leaves nothing in pieces here */
        return GAL_OK;
    case GAL_K_ATTEND_GRAD:
        return gal__cuda_attend_grad(c, args, diag);
    case GAL_K_SWIGLU:
    case GAL_K_SWIGLU_GRAD:
    case GAL_K_ADD:
    case GAL_K_MUL:
    case GAL_K_SILU:
    case GAL_K_SILU_GRAD:
    case GAL_K_COPY:
    case GAL_K_FILL:
    case GAL_K_WSUM_GRAD:
        return gal__cuda_items(c, id, args, diag);
    case GAL_K_SUM_SQUARES:
    case GAL_K_CLIP:
    case GAL_K_ADAMW:
    case GAL_K_SGD:
    case GAL_K_FACTOR_ROWS:
    case GAL_K_FACTOR_COLS:
    case GAL_K_FACTOR_SQUARES:
    case GAL_K_FACTOR_SCALE:
    case GAL_K_FACTOR_UPDATE:
    case GAL_K_EMA:
        return gal__cuda_optim(c, id, args, diag);
    default:
        return gal__cuda_rows(c, id, args, diag);
    }
}

gal_err gal_cuda_launch(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    if (id >= GAL_K_COUNT) return gal_fail(diag, GAL_EDEVICE, "cuda: kernel %d does not exist", (int)id);
    c->last = gal_kernel_name(id);
    cudaError_t e = cudaSetDevice(c->index);
    if (e) return failed(diag, c->last, e);
    gal_err err = dispatch(c, id, args, diag);
    e = cudaGetLastError();
    if (err) return err;
    return e ? failed(diag, c->last, e) : GAL_OK;
}

gal_err gal_cuda_wait(gal_cuda *c, gal_diag *diag) {
    cudaError_t e = cudaSetDevice(c->index);
    if (!e) e = cudaStreamSynchronize(c->stream);
    if (!e) return GAL_OK;
    return gal_fail(diag, GAL_EDEVICE, "cuda: %s (%s), by the time of %s", cudaGetErrorString(e), cudaGetErrorName(e),
                    c->last);
}

/* ---- graphs -------------------------------------------------------------------------------------------- */

struct gal_cuda_graph {
    int index;
    cudaGraphExec_t exec;
};

/* Relaxed: loading a kernel for the first time is no operation of the stream, and allowed. */
gal_err gal_cuda_capture_begin(gal_cuda *c, gal_diag *diag) {
    cudaError_t e = cudaSetDevice(c->index);
    if (!e) e = cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeRelaxed);
    if (e) return failed(diag, "beginning a capture", e);
    c->capturing = true;
    return GAL_OK;
}

gal_err gal_cuda_capture_end(gal_cuda *c, gal_cuda_graph **out, gal_diag *diag) {
    cudaGraph_t graph = NULL;
    c->capturing = false;
    cudaError_t e = cudaSetDevice(c->index);
    if (!e) e = cudaStreamEndCapture(c->stream, &graph);
    if (e || !graph) {
        (void)cudaGetLastError();
        return failed(diag, "ending a capture", e ? e : cudaErrorStreamCaptureInvalidated);
    }
    gal_cuda_graph *g = (gal_cuda_graph *)gal_alloc(sizeof *g);
    if (!g) {
        (void)cudaGraphDestroy(graph);
        return gal_fail(diag, GAL_ENOMEM, "no memory for a captured graph");
    }
    g->index = c->index;
    e = cudaGraphInstantiate(&g->exec, graph, 0);
    (void)cudaGraphDestroy(graph);
    if (e) {
        gal_free(g);
        return failed(diag, "making a graph", e);
    }
    *out = g;
    return GAL_OK;
}

gal_err gal_cuda_graph_launch(gal_cuda *c, const gal_cuda_graph *g, gal_diag *diag) {
    c->last = "a graph";
    cudaError_t e = cudaSetDevice(c->index);
    if (!e) e = cudaGraphLaunch(g->exec, c->stream);
    return e ? failed(diag, "launching a graph", e) : GAL_OK;
}

void gal_cuda_graph_free(gal_cuda_graph *g) {
    if (!g) return;
    (void)cudaSetDevice(g->index);
    (void)cudaDeviceSynchronize(); /* it may still run */
    (void)cudaGraphExecDestroy(g->exec);
    gal_free(g);
}
