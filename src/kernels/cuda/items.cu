/* items.cu - what is done number by number: a thread takes eight.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256, GROUP = 8 };

/* The thread's first element; false beyond the end. */
__device__ __forceinline__ bool my_group(int64_t count, int64_t *i) {
    *i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * GROUP;
    return *i < count;
}

static unsigned blocks_for(int64_t count) { return (unsigned)gal__pieces(count, THREADS * GROUP); }

/* silu(x) = x s; s and 1 - s, each to the last places (a difference from 1 would cancel). */
__device__ __forceinline__ void sigmoid(float x, float *s, float *rest) {
    float e = expf(-fabsf(x)), d = 1.0f / (1.0f + e);
    *s = x >= 0.0f ? d : e * d;
    *rest = x >= 0.0f ? e * d : d;
    if (x != x) *s = *rest = x;
}
__device__ __forceinline__ float silu(float x) {
    float s, rest;
    sigmoid(x, &s, &rest);
    return x * s;
}
__device__ __forceinline__ float silu_slope(float x) {
    float s, rest;
    sigmoid(x, &s, &rest);
    return s * fmaf(x, rest, 1.0f);
}

static __global__ void __launch_bounds__(THREADS) swiglu_kernel(gal_k_swiglu a, bool wide) {
    int64_t i;
    if (!my_group(a.count, &i)) return;
    float g[GROUP], u[GROUP];
    gal__get8(g, a.g, a.dt, i, a.count - i, wide);
    gal__get8(u, a.u, a.dt, i, a.count - i, wide);
    for (int k = 0; k < GROUP; k++) g[k] = silu(g[k]) * u[k];
    gal__put8(a.y, a.dt, i, g, a.count - i, wide);
}

static __global__ void __launch_bounds__(THREADS) swiglu_grad_kernel(gal_k_swiglu_grad a, bool wide) {
    int64_t i;
    if (!my_group(a.count, &i)) return;
    float g[GROUP], u[GROUP], dy[GROUP];
    gal__get8(g, a.g, a.dt, i, a.count - i, wide);
    gal__get8(u, a.u, a.dt, i, a.count - i, wide);
    gal__get8(dy, a.dy, a.dt, i, a.count - i, wide);
    for (int k = 0; k < GROUP; k++) {
        float s = silu(g[k]);
        g[k] = dy[k] * u[k] * silu_slope(g[k]);
        u[k] = dy[k] * s;
    }
    gal__put8(a.dg, a.dt, i, g, a.count - i, wide);
    gal__put8(a.du, a.dt, i, u, a.count - i, wide);
}

/* One of the kernels on gal_k_map. value: FILL's, already rounded. */
template <int ID> static __global__ void __launch_bounds__(THREADS) map_kernel(gal_k_map m, float value, bool wide) {
    int64_t i;
    if (!my_group(m.count, &i)) return;
    int64_t left = m.count - i;
    constexpr bool has_a = ID != GAL_K_FILL, has_b = ID == GAL_K_ADD || ID == GAL_K_MUL || ID == GAL_K_SILU_GRAD;
    constexpr bool adds = ID == GAL_K_MUL || ID == GAL_K_SILU_GRAD;
    float a[GROUP], b[GROUP], y[GROUP];
    if (has_a) gal__get8(a, m.a, ID == GAL_K_COPY ? m.adt : m.dt, i, left, wide);
    if (has_b) gal__get8(b, m.b, m.dt, i, left, wide);
    if (adds && m.accumulate) gal__get8(y, m.y, m.dt, i, left, wide);
    for (int k = 0; k < GROUP; k++) {
        float x = value;
        if (ID == GAL_K_ADD) x = a[k] + b[k];
        if (ID == GAL_K_MUL) x = a[k] * b[k];
        if (ID == GAL_K_SILU) x = silu(a[k]);
        if (ID == GAL_K_SILU_GRAD) x = b[k] * silu_slope(a[k]);
        if (ID == GAL_K_COPY) x = a[k];
        y[k] = adds && m.accumulate ? x + y[k] : x;
    }
    gal__put8(m.y, m.dt, i, y, left, wide);
}

/* dx[n] (+)= *dy weight[n]. */
static __global__ void __launch_bounds__(THREADS) wsum_grad_kernel(gal_k_wsum a) {
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= a.n) return;
    float dx = gal__get(a.dy, a.dt, 0) * a.weight[n];
    if (a.accumulate) dx += gal__get(a.y, a.dt, n);
    gal__put(a.y, a.dt, n, dx);
}

/* ---- launching ----------------------------------------------------------------------------------------- */

static gal_err map(gal_cuda *c, gal_kernel_id id, const gal_k_map *m, gal_diag *diag) {
    bool any = id == GAL_K_COPY || id == GAL_K_FILL;
    gal_err err = any ? gal__cuda_weights(c, m->dt, diag) : gal__cuda_activations(c, m->dt, diag);
    if (!err && id == GAL_K_COPY) err = gal__cuda_weights(c, m->adt, diag);
    if (err || m->count <= 0) return err;
    float value = 0.0f;
    if (id == GAL_K_FILL) { /* rounded once, from double */
        double one = 0.0;
        gal_convert(&one, m->dt, &m->value, GAL_F64, 1);
        gal_convert(&value, GAL_F32, &one, m->dt, 1);
    }
    bool wide = gal__wide(m->y) && gal__wide(m->a) && gal__wide(m->b);
    unsigned blocks = blocks_for(m->count);
    switch (id) {
    case GAL_K_ADD:
        map_kernel<GAL_K_ADD><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
        break;
    case GAL_K_MUL:
        map_kernel<GAL_K_MUL><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
        break;
    case GAL_K_SILU:
        map_kernel<GAL_K_SILU><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
        break;
    case GAL_K_SILU_GRAD:
        map_kernel<GAL_K_SILU_GRAD><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
        break;
    case GAL_K_COPY:
        map_kernel<GAL_K_COPY><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
        break;
    default:
        map_kernel<GAL_K_FILL><<<blocks, THREADS, 0, c->stream>>>(*m, value, wide);
    }
    return GAL_OK;
}

static gal_err swiglu(gal_cuda *c, const gal_k_swiglu *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->count <= 0) return err;
    bool wide = gal__wide(a->y) && gal__wide(a->g) && gal__wide(a->u);
    swiglu_kernel<<<blocks_for(a->count), THREADS, 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err swiglu_grad(gal_cuda *c, const gal_k_swiglu_grad *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->count <= 0) return err;
    bool wide = gal__wide(a->dg) && gal__wide(a->du) && gal__wide(a->dy) && gal__wide(a->g) && gal__wide(a->u);
    swiglu_grad_kernel<<<blocks_for(a->count), THREADS, 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err wsum_grad(gal_cuda *c, const gal_k_wsum *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->n <= 0) return err;
    wsum_grad_kernel<<<(unsigned)gal__pieces(a->n, THREADS), THREADS, 0, c->stream>>>(*a);
    return GAL_OK;
}

gal_err gal__cuda_items(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    switch (id) {
    case GAL_K_SWIGLU:
        return swiglu(c, (const gal_k_swiglu *)args, diag);
    case GAL_K_SWIGLU_GRAD:
        return swiglu_grad(c, (const gal_k_swiglu_grad *)args, diag);
    case GAL_K_WSUM_GRAD:
        return wsum_grad(c, (const gal_k_wsum *)args, diag);
    default:
        return map(c, id, (const gal_k_map *)args, diag);
    }
}
