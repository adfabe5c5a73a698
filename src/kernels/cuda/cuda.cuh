/* cuda.cuh - inside cuda/ only: the GPU with its stream and workspace, and numbers of the float formats on the
 * device.
 *
 * Arrays are read and written in groups of eight: one 16-byte access of bf16 or f16, two of f32, where base and row
 * length allow it ("wide"), else one by one. The format is looked up at run time, once for eight numbers. Sums are
 * f32 (double where kernels.h says so) and always in the same order: no atomics, cuts by the arguments alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CUDA_CUDA_CUH
#define GAL_KERNELS_CUDA_CUDA_CUH

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#define _Noreturn [[noreturn]] /* C's word in the headers of C */
extern "C" {
#include "base/mem.h"
#include "kernels/cuda.h"
}
#undef _Noreturn

typedef struct gal__cuda_plan gal__cuda_plan; /* what cuBLASLt chose for a shape (gemm.cu) */

enum : size_t {
    GAL__CUDA_WORK_BYTES = (size_t)64 << 20, /* operands in another type, partial sums */
    GAL__CUDA_LT_BYTES = (size_t)32 << 20    /* cuBLASLt's own */
};

struct gal_cuda {
    int index;
    cudaStream_t stream;
    cublasLtHandle_t lt;
    gal__cuda_plan *plans;
    unsigned char *work, *lt_work; /* contents live as long as one launch */
    bool capturing;
    const char *last; /* the kernel launched last */
    char name[128];
};

/* Launchers; each refuses what the GPU does not have. Errors of the launch itself are looked up by the caller. */
gal_err gal__cuda_gemm(gal_cuda *c, const void *args, gal_diag *diag);
gal_err gal__cuda_attend(gal_cuda *c, const void *args, gal_diag *diag);
gal_err gal__cuda_attend_grad(gal_cuda *c, const void *args, gal_diag *diag);
gal_err gal__cuda_rows(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag);
gal_err gal__cuda_items(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag);
gal_err gal__cuda_optim(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag);
gal__cuda_plan *gal__cuda_plans_new(void);

/* GAL_OK for what activations may be, and for what weights and caches may be. */
gal_err gal__cuda_activations(const gal_cuda *c, gal_dtype dt, gal_diag *diag);
gal_err gal__cuda_weights(const gal_cuda *c, gal_dtype dt, gal_diag *diag);

static inline int64_t gal__pieces(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }
static inline bool gal__wide(const void *p) { return (uintptr_t)p % 16 == 0; } /* NULL too */

/* ---- the device's side --------------------------------------------------------------------------------- */

__device__ __forceinline__ float gal__get(const void *p, gal_dtype dt, int64_t i) {
    if (dt == GAL_F32) return ((const float *)p)[i];
    unsigned short h = ((const unsigned short *)p)[i];
    return dt == GAL_BF16 ? __uint_as_float((unsigned)h << 16) : __half2float(__ushort_as_half(h));
}

__device__ __forceinline__ void gal__put(void *p, gal_dtype dt, int64_t i, float x) {
    if (dt == GAL_F32)
        ((float *)p)[i] = x;
    else
        ((unsigned short *)p)[i] = dt == GAL_BF16 ? __bfloat16_as_ushort(__float2bfloat16_rn(x))
                                                  : __half_as_ushort(__float2half_rn(x));
}

__device__ __forceinline__ float gal__round_bf16(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }
__device__ __forceinline__ float gal__round(float x, gal_dtype dt) { return dt == GAL_BF16 ? gal__round_bf16(x) : x; }

__device__ __forceinline__ void gal__two_halves(float *x, unsigned u, gal_dtype dt) {
    if (dt == GAL_BF16) {
        x[0] = __uint_as_float(u << 16);
        x[1] = __uint_as_float(u & 0xffff0000u);
    } else {
        x[0] = __half2float(__ushort_as_half((unsigned short)u));
        x[1] = __half2float(__ushort_as_half((unsigned short)(u >> 16)));
    }
}

/* x = elements i .. i + 7, zeros from i + left on. wide: the base is aligned to 16 bytes and i a multiple of 8. */
__device__ __forceinline__ void gal__get8(float (&x)[8], const void *p, gal_dtype dt, int64_t i, int64_t left,
                                          bool wide) {
    if (!wide || left < 8) {
#pragma unroll
        for (int k = 0; k < 8; k++) x[k] = k < left ? gal__get(p, dt, i + k) : 0.0f;
    } else if (dt == GAL_F32) {
        const float4 *q = (const float4 *)((const float *)p + i);
        float4 a = q[0], b = q[1];
        x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    } else {
        uint4 u = *(const uint4 *)((const unsigned short *)p + i);
        gal__two_halves(x, u.x, dt);
        gal__two_halves(x + 2, u.y, dt);
        gal__two_halves(x + 4, u.z, dt);
        gal__two_halves(x + 6, u.w, dt);
    }
}

__device__ __forceinline__ unsigned gal__pack(float a, float b, gal_dtype dt) {
    unsigned short x = dt == GAL_BF16 ? __bfloat16_as_ushort(__float2bfloat16_rn(a))
                                      : __half_as_ushort(__float2half_rn(a));
    unsigned short y = dt == GAL_BF16 ? __bfloat16_as_ushort(__float2bfloat16_rn(b))
                                      : __half_as_ushort(__float2half_rn(b));
    return (unsigned)y << 16 | x;
}

__device__ __forceinline__ void gal__put8(void *p, gal_dtype dt, int64_t i, const float (&x)[8], int64_t left,
                                          bool wide) {
    if (!wide || left < 8) {
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (k < left) gal__put(p, dt, i + k, x[k]);
    } else if (dt == GAL_F32) {
        float4 *q = (float4 *)((float *)p + i);
        q[0] = make_float4(x[0], x[1], x[2], x[3]);
        q[1] = make_float4(x[4], x[5], x[6], x[7]);
    } else {
        *(uint4 *)((unsigned short *)p + i) = make_uint4(gal__pack(x[0], x[1], dt), gal__pack(x[2], x[3], dt),
                                                         gal__pack(x[4], x[5], dt), gal__pack(x[6], x[7], dt));
    }
}

/* All lanes get the same bits: each step adds two numbers that both partners hold. */
template <class T> __device__ __forceinline__ T gal__warp_sum(T x) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}
__device__ __forceinline__ float gal__warp_max(float x) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
    return x;
}

/* Over a block of whole warps; called by all its threads, all get the result. */
template <class T> __device__ T gal__block_sum(T x) {
    __shared__ T part[32];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    x = gal__warp_sum(x);
    __syncthreads(); /* the last call's parts are no longer read */
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return gal__warp_sum(lane < (int)blockDim.x / 32 ? part[lane] : (T)0);
}
__device__ static inline float gal__block_max(float x) {
    __shared__ float part[32];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    x = gal__warp_max(x);
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return gal__warp_max(lane < (int)blockDim.x / 32 ? part[lane] : -INFINITY);
}

#endif
