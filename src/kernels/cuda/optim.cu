/* optim.cu - the optimisers: sums of squares, clipping, updates (a block takes GAL_MOVED_CHUNK numbers, a thread
 * eight), the factors of Adafactor, moving averages. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256, GROUP = 8 };
static_assert(THREADS * GROUP == GAL_MOVED_CHUNK, "a block sums what moved");

static unsigned blocks_for(int64_t count) { return (unsigned)gal__pieces(count, THREADS * GROUP); }
__device__ __forceinline__ int64_t first_of(void) { return ((int64_t)blockIdx.x * THREADS + threadIdx.x) * GROUP; }

static __global__ void __launch_bounds__(THREADS) squares_kernel(gal_k_sum_squares a) {
    int64_t from = (int64_t)blockIdx.x * GAL_SUM_CHUNK, to = GAL_MIN(a.count, from + GAL_SUM_CHUNK);
    double sum = 0.0;
    for (int64_t i = from + threadIdx.x; i < to; i += THREADS) {
        double x = (double)gal__get(a.x, a.dt, i);
        sum = fma(x, x, sum);
    }
    sum = gal__block_sum(sum);
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS) clip_kernel(gal_k_clip a) {
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < a.n; i += THREADS) sum += a.partial[i];
    sum = gal__block_sum(sum);
    if (threadIdx.x > 0) return;
    double norm = sqrt(sum), clip = (double)a.st->clip;
    a.st->grad_norm = (float)norm;
    a.st->grad_scale = clip > 0 && norm > clip ? (float)(clip / norm) : 1.0f;
}

/* ---- what updates share -------------------------------------------------------------------------------- */

/* As gal_philox(). */
__device__ static void philox(uint32_t (&out)[4], uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint32_t n0 = __umulhi(0xCD9E8D57u, c2) ^ c1 ^ k0, n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ k1;
        c1 = 0xCD9E8D57u * c2;
        c3 = 0xD2511F53u * c0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* x rounded to bf16 by chance, as gal_f32_to_bf16_by(). */
__device__ __forceinline__ float round_by(float x, uint32_t chance) {
    uint32_t u = __float_as_uint(x);
    return (u & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((u + chance) & 0xffff0000u);
}

__device__ __forceinline__ void gradients(float (&g)[GROUP], const float (&w)[GROUP], const gal_k_update &u,
                                          int64_t i, bool wide) {
    gal__get8(g, u.grad, u.dt, i, u.count - i, wide);
    for (int k = 0; k < GROUP; k++) {
        g[k] *= u.st->grad_scale;
        if (u.coupled) g[k] = fmaf(u.decay, w[k], g[k]);
    }
}

/* Takes the step from w, stores it, and sums what moved. Called by all threads of a block. */
__device__ void put_weights(const gal_k_update &u, int64_t i, float (&w)[GROUP], const float (&step)[GROUP], float lr,
                            bool wide) {
    int64_t left = u.count - i;
    float keep = u.coupled ? 1.0f : (float)(1.0 - (double)u.st->lr * (double)u.decay), old[GROUP];
    uint32_t word[4] = { 0, 0, 0, 0 };
    bool chance = u.chance && u.wdt == GAL_BF16;
    if (chance) philox(word, u.st->seed, u.st->t << 24 | u.index, (uint64_t)(i / GROUP));
    double moved = 0.0;
    for (int k = 0; k < GROUP; k++) {
        old[k] = w[k];
        w[k] = fmaf(w[k], keep, -(lr * step[k]));
        w[k] = chance ? round_by(w[k], word[k / 2] >> (k % 2 * 16) & 0xffffu) : gal__round(w[k], u.wdt);
        double d = (double)w[k] - (double)old[k];
        if (k < left) moved = fma(d, d, moved);
    }
    if (left > 0) {
        gal__put8(u.w, u.wdt, i, w, left, wide);
        if (u.work) gal__put8(u.work, u.work_dt, i, w, left, wide);
    }
    if (!u.moved) return;
    moved = gal__block_sum(moved);
    if (threadIdx.x == 0) u.moved[blockIdx.x] = moved;
}

static __global__ void __launch_bounds__(THREADS) adamw_kernel(gal_k_update a, bool wide) {
    int64_t i = first_of(), left = a.count - i;
    const gal_opt_step st = *a.st;
    float new1 = (float)(1.0 - (double)st.beta1), new2 = (float)(1.0 - (double)st.beta2);
    float w[GROUP], m[GROUP], v[GROUP], g[GROUP];
    gal__get8(w, a.w, a.wdt, i, left, wide);
    gal__get8(m, a.m, a.dt, i, left, wide);
    gal__get8(v, a.v, a.dt, i, left, wide);
    gradients(g, w, a, i, wide);
    for (int k = 0; k < GROUP; k++) {
        m[k] = fmaf(st.beta1, m[k], new1 * g[k]);
        v[k] = fmaf(st.beta2, v[k], new2 * g[k] * g[k]);
        g[k] = m[k] / st.bias1 / (sqrtf(v[k] / st.bias2) + st.eps);
    }
    if (left > 0) {
        gal__put8(a.m, a.dt, i, m, left, wide);
        gal__put8(a.v, a.dt, i, v, left, wide);
    }
    put_weights(a, i, w, g, st.lr, wide);
}

static __global__ void __launch_bounds__(THREADS) sgd_kernel(gal_k_update a, bool wide) {
    int64_t i = first_of(), left = a.count - i;
    float momentum = a.st->momentum, w[GROUP], m[GROUP], g[GROUP];
    gal__get8(w, a.w, a.wdt, i, left, wide);
    gradients(g, w, a, i, wide);
    if (a.m) {
        gal__get8(m, a.m, a.dt, i, left, wide);
        for (int k = 0; k < GROUP; k++) {
            m[k] = fmaf(momentum, m[k], g[k]);
            g[k] = a.nesterov ? fmaf(momentum, m[k], g[k]) : m[k];
        }
        if (left > 0) gal__put8(a.m, a.dt, i, m, left, wide);
    }
    put_weights(a, i, w, g, a.st->lr, wide);
}

/* ---- Adafactor ----------------------------------------------------------------------------------------- */

__device__ static void put_factor(const gal_k_factor &a, float *f, float *fi, int64_t i, double sum, int64_t n) {
    double beta2 = (double)a.u.st->beta2, scale = (double)a.u.st->grad_scale;
    double mean = sum * scale * scale / (double)n + GAL_FACTOR_LEAST;
    f[i] = (float)(beta2 * (double)f[i] + (1.0 - beta2) * mean);
    fi[i] = (float)(1.0 / sqrt((double)f[i]));
}

/* A block a row. */
static __global__ void __launch_bounds__(THREADS) factor_rows_kernel(gal_k_factor a) {
    const float *g = (const float *)a.u.grad + (int64_t)blockIdx.x * a.cols;
    double sum = 0.0;
    for (int64_t j = threadIdx.x; j < a.cols; j += THREADS) sum = fma((double)g[j], (double)g[j], sum);
    sum = gal__block_sum(sum);
    if (threadIdx.x == 0) put_factor(a, a.r, a.ri, blockIdx.x, sum, a.cols);
}

/* A warp's width of columns a block, its warps every eighth row each; the sums are added in the order of warps. */
static __global__ void __launch_bounds__(THREADS) factor_cols_kernel(gal_k_factor a) {
    __shared__ double part[THREADS / 32][32];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int64_t j = (int64_t)blockIdx.x * 32 + lane;
    const float *g = (const float *)a.u.grad;
    double sum = 0.0;
    for (int64_t i = warp; i < a.rows && j < a.cols; i += THREADS / 32) {
        double x = (double)g[i * a.cols + j];
        sum = fma(x, x, sum);
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || j >= a.cols) return;
    for (int k = 1; k < THREADS / 32; k++) sum += part[k][lane];
    put_factor(a, a.c, a.ci, j, sum, a.rows);
}

static __global__ void __launch_bounds__(THREADS) factor_squares_kernel(gal_k_factor a) {
    int64_t from = (int64_t)blockIdx.x * GAL_SUM_CHUNK, to = GAL_MIN(a.u.count, from + GAL_SUM_CHUNK);
    const float *g = (const float *)a.u.grad;
    double sum = 0.0;
    for (int64_t i = from + threadIdx.x; i < to; i += THREADS) {
        double x = (double)(g[i] * a.ri[i / a.cols] * a.ci[i % a.cols]);
        sum = fma(x, x, sum);
    }
    sum = gal__block_sum(sum);
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS) factor_scale_kernel(gal_k_factor a) {
    double mean = 0.0, u = 0.0, w = 0.0, count = (double)a.u.count, scale = (double)a.u.st->grad_scale;
    int64_t parts = (a.u.count + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK;
    for (int64_t i = threadIdx.x; i < a.rows; i += THREADS) mean += (double)a.r[i] / (double)a.rows;
    for (int64_t i = threadIdx.x; i < parts; i += THREADS) {
        u += a.partial[i];
        w += a.wpartial ? a.wpartial[i] : 0.0;
    }
    mean = gal__block_sum(mean);
    u = gal__block_sum(u);
    w = gal__block_sum(w);
    if (threadIdx.x > 0) return;
    double rms = scale * sqrt(mean * u / count), rms_w = sqrt(w / count);
    a.number[0] = sqrt(mean) / (rms > 1.0 ? rms : 1.0);
    a.number[1] = !a.wpartial ? 1.0 : rms_w > GAL_FACTOR_LEAST_RMS ? rms_w : GAL_FACTOR_LEAST_RMS;
}

static __global__ void __launch_bounds__(THREADS) factor_update_kernel(gal_k_factor a, bool wide) {
    const gal_k_update &u = a.u;
    int64_t i = first_of(), left = u.count - i;
    float momentum = u.st->momentum, fresh = (float)(1.0 - (double)momentum);
    float size = (float)((double)u.st->grad_scale * a.number[0]), lr = (float)((double)u.st->lr * a.number[1]);
    float w[GROUP], m[GROUP], g[GROUP];
    gal__get8(w, u.w, u.wdt, i, left, wide);
    gal__get8(g, u.grad, GAL_F32, i, left, wide);
    for (int k = 0; k < GROUP; k++)
        g[k] = k < left ? g[k] * a.ri[(i + k) / a.cols] * a.ci[(i + k) % a.cols] * size : 0.0f;
    if (u.m) {
        gal__get8(m, u.m, GAL_F32, i, left, wide);
        for (int k = 0; k < GROUP; k++) g[k] = m[k] = fmaf(momentum, m[k], fresh * g[k]);
        if (left > 0) gal__put8(u.m, GAL_F32, i, m, left, wide);
    }
    put_weights(u, i, w, g, lr, wide);
}

static __global__ void __launch_bounds__(THREADS) ema_kernel(gal_k_ema a, bool wide) {
    int64_t i = first_of(), left = a.count - i;
    if (left <= 0) return;
    float fresh = (float)(1.0 - a.decay), ema[GROUP], w[GROUP];
    gal__get8(ema, a.ema, GAL_F32, i, left, wide);
    gal__get8(w, a.w, a.wdt, i, left, wide);
    for (int k = 0; k < GROUP; k++) ema[k] = fmaf(fresh, w[k] - ema[k], ema[k]);
    gal__put8(a.ema, GAL_F32, i, ema, left, wide);
}

/* ---- launching ----------------------------------------------------------------------------------------- */

static gal_err sum_squares(gal_cuda *c, const gal_k_sum_squares *a, gal_diag *diag) {
    gal_err err = gal__cuda_weights(c, a->dt, diag);
    if (err || a->count <= 0) return err;
    squares_kernel<<<(unsigned)gal__pieces(a->count, GAL_SUM_CHUNK), THREADS, 0, c->stream>>>(*a);
    return GAL_OK;
}

/* GAL_OK and *wide, or the refusal of a type. */
static gal_err check_update(gal_cuda *c, const gal_k_update *u, bool *wide, gal_diag *diag) {
    gal_err err = u->dt == GAL_F32 ? GAL_OK : gal__cuda_activations(c, GAL_F64, diag); /* states are f32 */
    if (!err) err = gal__cuda_weights(c, u->wdt, diag);
    if (!err && u->work) err = gal__cuda_weights(c, u->work_dt, diag);
    *wide = gal__wide(u->w) && gal__wide(u->m) && gal__wide(u->v) && gal__wide(u->grad) && gal__wide(u->work);
    return err;
}

static gal_err update(gal_cuda *c, gal_kernel_id id, const gal_k_update *a, gal_diag *diag) {
    bool wide = false;
    gal_err err = check_update(c, a, &wide, diag);
    if (err || a->count <= 0) return err;
    if (id == GAL_K_ADAMW)
        adamw_kernel<<<blocks_for(a->count), THREADS, 0, c->stream>>>(*a, wide);
    else
        sgd_kernel<<<blocks_for(a->count), THREADS, 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err factor(gal_cuda *c, gal_kernel_id id, const gal_k_factor *a, gal_diag *diag) {
    bool wide = false;
    gal_err err = check_update(c, &a->u, &wide, diag);
    if (err || a->u.count <= 0) return err;
    unsigned parts = (unsigned)gal__pieces(a->u.count, GAL_SUM_CHUNK);
    switch (id) {
    case GAL_K_FACTOR_ROWS:
        factor_rows_kernel<<<(unsigned)a->rows, THREADS, 0, c->stream>>>(*a);
        break;
    case GAL_K_FACTOR_COLS:
        factor_cols_kernel<<<(unsigned)gal__pieces(a->cols, 32), THREADS, 0, c->stream>>>(*a);
        break;
    case GAL_K_FACTOR_SQUARES:
        factor_squares_kernel<<<parts, THREADS, 0, c->stream>>>(*a);
        break;
    case GAL_K_FACTOR_SCALE:
        factor_scale_kernel<<<1, THREADS, 0, c->stream>>>(*a);
        break;
    default:
        factor_update_kernel<<<blocks_for(a->u.count), THREADS, 0, c->stream>>>(*a, wide);
    }
    return GAL_OK;
}

static gal_err ema(gal_cuda *c, const gal_k_ema *a, gal_diag *diag) {
    gal_err err = gal__cuda_weights(c, a->wdt, diag);
    if (err || a->count <= 0) return err;
    bool wide = gal__wide(a->ema) && gal__wide(a->w);
    ema_kernel<<<blocks_for(a->count), THREADS, 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

gal_err gal__cuda_optim(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    switch (id) {
    case GAL_K_SUM_SQUARES:
        return sum_squares(c, (const gal_k_sum_squares *)args, diag);
    case GAL_K_CLIP:
        clip_kernel<<<1, THREADS, 0, c->stream>>>(*(const gal_k_clip *)args);
        return GAL_OK;
    case GAL_K_ADAMW:
    case GAL_K_SGD:
        return update(c, id, (const gal_k_update *)args, diag);
    case GAL_K_EMA:
        return ema(c, (const gal_k_ema *)args, diag);
    default:
        return factor(c, id, (const gal_k_factor *)args, diag);
    }
}
