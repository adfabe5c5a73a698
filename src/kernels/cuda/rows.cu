/* rows.cu - what is done row by row: a block takes a row, or a row and a part of its columns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

enum { GROUP = 8, THREADS = 256 };

/* Threads for a row of d: one for each eight numbers, whole warps, at most `most`. */
static unsigned threads_for(int64_t d, int64_t most = THREADS) {
    int64_t t = gal__pieces(d, GROUP * 32) * 32;
    return (unsigned)(t < 32 ? 32 : t > most ? most : t);
}

/* for (i = first of the thread's groups; ...) over a row of d. */
#define EACH_GROUP(i, d) for (int64_t i = (int64_t)threadIdx.x * GROUP; i < (d); i += (int64_t)blockDim.x * GROUP)

/* ---- rows by number ------------------------------------------------------------------------------------ */

static __device__ void copy_row(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from,
                                int64_t d, bool add, bool wide) {
    float a[GROUP], b[GROUP];
    EACH_GROUP(i, d) {
        gal__get8(a, x, xdt, from + i, d - i, wide);
        if (add) {
            gal__get8(b, y, dt, to + i, d - i, wide);
            for (int k = 0; k < GROUP; k++) a[k] += b[k];
        }
        gal__put8(y, dt, to + i, a, d - i, wide);
    }
}

static __global__ void embed_kernel(gal_k_embed e, bool wide) {
    int64_t n = blockIdx.x;
    copy_row(e.y, e.dt, n * e.d, e.table, e.wdt, e.ids[n] * e.d, e.d, false, wide);
}

static __global__ void gather_kernel(gal_k_gather_rows g, bool wide) {
    int64_t i = blockIdx.x, far = g.rows[i] * g.d, near = i * g.d;
    copy_row(g.y, g.dt, g.scatter ? far : near, g.x, g.dt, g.scatter ? near : far, g.d, g.scatter, wide);
}

static __global__ void kv_store_kernel(gal_k_kv_store s, bool wide) {
    int64_t n = blockIdx.x, g = blockIdx.y;
    /* Rows of a sequence are consecutive: a later one that takes the same slot lies `slots` rows on. */
    if (s.slots < s.n - n && s.seq[n + s.slots] == s.seq[n]) return;
    int64_t from = (n * s.kv_heads + g) * s.size;
    int64_t to = ((s.seq[n] * s.kv_heads + g) * s.slots + s.pos[n] % s.slots) * s.size;
    copy_row(s.ck, s.cdt, to, s.k, s.dt, from, s.size, false, wide);
    copy_row(s.cv, s.cdt, to, s.v, s.dt, from, s.size, false, wide);
}

/* A block for each row n and part of the columns. The first row with an id adds all rows that have it, in order; the
 * others have nothing to do. */
enum { EMBED_COLS = THREADS * 4 };
static __global__ void __launch_bounds__(THREADS) embed_grad_kernel(gal_k_embed_grad e) {
    __shared__ unsigned same[THREADS / 32];
    int64_t n = blockIdx.x, col = (int64_t)blockIdx.y * EMBED_COLS + threadIdx.x;
    int32_t id = e.ids[n];
    bool earlier = false;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) earlier |= e.ids[i] == id;
    if (__syncthreads_or(earlier)) return;
    float *row = (float *)e.dtable + id * e.d, sum[4];
    for (int k = 0; k < 4; k++) sum[k] = col + k * THREADS < e.d ? row[col + k * THREADS] : 0.0f;
    for (int64_t base = n; base < e.n; base += THREADS) {
        bool mine = base + threadIdx.x < e.n && e.ids[base + threadIdx.x] == id;
        unsigned mask = __ballot_sync(0xffffffffu, mine);
        __syncthreads(); /* the masks of the last round are read */
        if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = mask;
        __syncthreads();
        for (int w = 0; w < THREADS / 32; w++)
            for (unsigned m = same[w]; m; m &= m - 1) {
                int64_t at = (base + w * 32 + __ffs((int)m) - 1) * e.d;
                for (int k = 0; k < 4; k++)
                    if (col + k * THREADS < e.d) sum[k] += gal__get(e.dy, e.dt, at + col + k * THREADS);
            }
    }
    for (int k = 0; k < 4; k++)
        if (col + k * THREADS < e.d) row[col + k * THREADS] = sum[k];
}

/* ---- normalisation ------------------------------------------------------------------------------------- */

static __global__ void norm_kernel(gal_k_rms_norm a, bool wide) {
    int64_t n = blockIdx.x, row = n * a.d;
    float x[GROUP], w[GROUP], sum = 0.0f;
    EACH_GROUP(i, a.d) {
        gal__get8(x, a.x, a.dt, row + i, a.d - i, wide);
        for (int k = 0; k < GROUP; k++) sum = fmaf(x[k], x[k], sum);
    }
    sum = gal__block_sum(sum);
    float inv = (float)(1.0 / sqrt((double)sum / (double)a.d + a.eps));
    if (a.inv && threadIdx.x == 0) ((float *)a.inv)[n] = inv;
    EACH_GROUP(i, a.d) {
        gal__get8(x, a.x, a.dt, row + i, a.d - i, wide);
        gal__get8(w, a.w, a.wdt, i, a.d - i, wide);
        for (int k = 0; k < GROUP; k++) x[k] = gal__round(x[k] * inv, a.dt) * w[k];
        gal__put8(a.y, a.dt, row + i, x, a.d - i, wide);
    }
}

static __global__ void norm_dx_kernel(gal_k_rms_norm_dx a, bool wide) {
    int64_t row = (int64_t)blockIdx.x * a.d;
    float x[GROUP], w[GROUP], dy[GROUP], sum = 0.0f, inv = ((const float *)a.inv)[blockIdx.x];
    EACH_GROUP(i, a.d) {
        gal__get8(x, a.x, a.dt, row + i, a.d - i, wide);
        gal__get8(w, a.w, a.wdt, i, a.d - i, wide);
        gal__get8(dy, a.dy, a.dt, row + i, a.d - i, wide);
        for (int k = 0; k < GROUP; k++) sum = fmaf(x[k] * w[k], dy[k], sum);
    }
    float mean = gal__block_sum(sum) / (float)a.d;
    EACH_GROUP(i, a.d) {
        gal__get8(x, a.x, a.dt, row + i, a.d - i, wide);
        gal__get8(w, a.w, a.wdt, i, a.d - i, wide);
        gal__get8(dy, a.dy, a.dt, row + i, a.d - i, wide);
        for (int k = 0; k < GROUP; k++) x[k] = inv * (w[k] * dy[k] - x[k] * inv * inv * mean);
        if (a.accumulate) {
            gal__get8(w, a.dx, a.dt, row + i, a.d - i, wide);
            for (int k = 0; k < GROUP; k++) x[k] += w[k];
        }
        gal__put8(a.dx, a.dt, row + i, x, a.d - i, wide);
    }
}

/* Rows are cut into parts, a block for each part and 256 columns; its warps take rows in turn and are added in order.
 * Then the parts are added in order. */
enum { DW_ROWS = 64, DW_PARTS = 128, DW_COLS = THREADS, DW_WARPS = THREADS / 32 };
static_assert(THREADS == 32 * GROUP, "a warp has eight numbers a lane, then a thread adds a column");

static __global__ void __launch_bounds__(THREADS)
    norm_dw_kernel(gal_k_rms_norm_dw a, float *partial, int64_t rows, bool wide) {
    __shared__ float part[DW_WARPS][DW_COLS];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int64_t from = (int64_t)blockIdx.y * rows, to = GAL_MIN(a.n, from + rows);
    int64_t col = (int64_t)blockIdx.x * DW_COLS + lane * GROUP, left = a.d - col;
    float sum[GROUP] = { 0 }, x[GROUP], dy[GROUP];
    for (int64_t n = from + warp; left > 0 && n < to; n += DW_WARPS) {
        float inv = ((const float *)a.inv)[n];
        gal__get8(x, a.x, a.dt, n * a.d + col, left, wide);
        gal__get8(dy, a.dy, a.dt, n * a.d + col, left, wide);
        for (int k = 0; k < GROUP; k++) sum[k] = fmaf(dy[k] * x[k], inv, sum[k]);
    }
    for (int k = 0; k < GROUP; k++) part[warp][lane * GROUP + k] = sum[k];
    __syncthreads();
    int64_t at = (int64_t)blockIdx.x * DW_COLS + threadIdx.x;
    if (at >= a.d) return;
    float all = 0.0f;
    for (int w = 0; w < DW_WARPS; w++) all += part[w][threadIdx.x];
    partial[blockIdx.y * a.d + at] = all;
}

static __global__ void __launch_bounds__(THREADS)
    norm_dw_sum_kernel(gal_k_rms_norm_dw a, const float *partial, int parts) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= a.d) return;
    float sum = 0.0f;
    for (int p = 0; p < parts; p++) sum += partial[p * a.d + at];
    ((float *)a.dw)[at] += sum;
}

/* ---- rotary positions ---------------------------------------------------------------------------------- */

/* Cosine and sine in double, of the angle that was rounded to f32: a table is small. */
static __global__ void __launch_bounds__(THREADS) rope_table_kernel(gal_k_rope_table a) {
    int64_t half = a.size / 2, at = (int64_t)blockIdx.x * THREADS + threadIdx.x, n = at / half, j = at % half;
    if (n >= a.n) return;
    float angle = __fmul_rn((float)a.pos[n], a.inv_freq[j]), *table = (float *)a.table + n * a.size;
    double s, c;
    sincos((double)angle, &s, &c);
    table[j] = (float)((double)a.mscale * c);
    table[half + j] = (float)((double)a.mscale * s);
    if (a.qscale && j == 0) {
        double whole = floor((double)a.pos[n] / (double)a.original);
        ((float *)a.qscale)[n] = (float)(1.0 + (double)a.beta * log(1.0 + whole));
    }
}

/* A thread turns one pair. */
static __global__ void __launch_bounds__(THREADS) rope_kernel(gal_k_rope a) {
    int64_t half = a.size / 2, kv_heads = a.k ? a.kv_heads : 0, heads = a.heads + kv_heads;
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, j = at % half, h = at / half % heads,
            n = at / half / heads;
    if (n >= a.n) return;
    bool key = h >= a.heads;
    void *x = key ? a.k : a.q;
    int64_t head = key ? n * kv_heads + h - a.heads : n * a.heads + h;
    int64_t first = head * a.size + (a.interleaved ? 2 * j : j), second = first + (a.interleaved ? 1 : half);
    const float *table = (const float *)a.table + n * a.size;
    float c = table[j], s = a.inverse ? -table[half + j] : table[half + j];
    float scale = !key && a.qscale ? ((const float *)a.qscale)[n] : 1.0f;
    float x0 = gal__get(x, a.dt, first), x1 = gal__get(x, a.dt, second);
    gal__put(x, a.dt, first, (x0 * c - x1 * s) * scale);
    gal__put(x, a.dt, second, (x0 * s + x1 * c) * scale);
}

/* ---- softmax and losses -------------------------------------------------------------------------------- */

static __global__ void softmax_kernel(gal_k_softmax a) {
    int64_t r = blockIdx.x, share = r % (a.n / a.groups), row = r * a.m;
    int64_t lo = GAL_MAX(0, a.lo[share]), hi = GAL_MIN(a.m, (int64_t)a.hi[share]);
    float scale = (float)a.scale, max = -INFINITY, sum = 0.0f;
    for (int64_t m = lo + threadIdx.x; m < hi; m += blockDim.x)
        max = fmaxf(max, scale * gal__get(a.x, a.dt, row + m));
    max = gal__block_max(max);
    for (int64_t m = lo + threadIdx.x; m < hi; m += blockDim.x)
        sum += expf(fmaf(scale, gal__get(a.x, a.dt, row + m), -max));
    sum = gal__block_sum(sum);
    for (int64_t m = threadIdx.x; m < a.m; m += blockDim.x) {
        float x = m >= lo && m < hi ? expf(fmaf(scale, gal__get(a.x, a.dt, row + m), -max)) / sum : 0.0f;
        gal__put(a.y, a.dt, row + m, x);
    }
}

static __global__ void softmax_grad_kernel(gal_k_softmax a) {
    int64_t row = (int64_t)blockIdx.x * a.m;
    float scale = (float)a.scale, sum = 0.0f;
    for (int64_t m = threadIdx.x; m < a.m; m += blockDim.x)
        sum = fmaf(gal__get(a.x, a.dt, row + m), gal__get(a.dy, a.dt, row + m), sum);
    sum = gal__block_sum(sum);
    for (int64_t m = threadIdx.x; m < a.m; m += blockDim.x) {
        float dx = scale * gal__get(a.x, a.dt, row + m) * (gal__get(a.dy, a.dt, row + m) - sum);
        if (a.accumulate) dx += gal__get(a.y, a.dt, row + m);
        gal__put(a.y, a.dt, row + m, dx);
    }
}

static __global__ void __launch_bounds__(1024) xent_kernel(gal_k_xent a, bool wide) {
    int64_t r = blockIdx.x, row = r * a.v;
    float x[GROUP], max = -INFINITY, sum = 0.0f;
    EACH_GROUP(i, a.v) {
        gal__get8(x, a.logits, a.dt, row + i, a.v - i, wide);
        for (int k = 0; k < GROUP; k++)
            if (i + k < a.v) max = fmaxf(max, x[k]);
    }
    max = gal__block_max(max);
    EACH_GROUP(i, a.v) {
        gal__get8(x, a.logits, a.dt, row + i, a.v - i, wide);
        for (int k = 0; k < GROUP; k++) sum += i + k < a.v ? expf(x[k] - max) : 0.0f;
    }
    sum = gal__block_sum(sum);
    if (threadIdx.x > 0) return;
    float lse = max + logf(sum);
    int32_t target = a.target[r];
    gal__put(a.lse, a.dt, r, lse);
    gal__put(a.loss, a.dt, r, target < 0 ? 0.0f : lse - gal__get(a.logits, a.dt, row + target));
}

static __global__ void __launch_bounds__(THREADS) xent_grad_kernel(gal_k_xent a, bool wide) {
    int64_t r = blockIdx.x, row = r * a.v, i = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * GROUP;
    if (i >= a.v) return;
    float x[GROUP], lse = gal__get(a.lse, a.dt, r), dloss = gal__get(a.dloss, a.dt, r);
    int32_t target = a.target[r];
    gal__get8(x, a.logits, a.dt, row + i, a.v - i, wide);
    for (int k = 0; k < GROUP; k++)
        x[k] = target < 0 ? 0.0f : dloss * (expf(x[k] - lse) - (i + k == target ? 1.0f : 0.0f));
    gal__put8(a.logits, a.dt, row + i, x, a.v - i, wide);
}

/* In double, each thread every 256th; then the threads' sums in a fixed tree. */
static __global__ void __launch_bounds__(THREADS) wsum_kernel(gal_k_wsum a) {
    double sum = 0.0;
    for (int64_t n = threadIdx.x; n < a.n; n += THREADS)
        sum = fma((double)gal__get(a.x, a.dt, n), (double)a.weight[n], sum);
    sum = gal__block_sum(sum);
    if (threadIdx.x == 0) gal__put(a.y, a.dt, 0, (float)sum);
}

/* ---- launching ----------------------------------------------------------------------------------------- */

static gal_err embed(gal_cuda *c, const gal_k_embed *e, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, e->dt, diag);
    if (!err) err = gal__cuda_weights(c, e->wdt, diag);
    if (err || e->n <= 0) return err;
    bool wide = gal__wide(e->y) && gal__wide(e->table) && e->d % GROUP == 0;
    embed_kernel<<<(unsigned)e->n, threads_for(e->d), 0, c->stream>>>(*e, wide);
    return GAL_OK;
}

static gal_err embed_grad(gal_cuda *c, const gal_k_embed_grad *e, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, e->dt, diag);
    if (err || e->n <= 0) return err;
    dim3 grid((unsigned)e->n, (unsigned)gal__pieces(e->d, EMBED_COLS));
    embed_grad_kernel<<<grid, THREADS, 0, c->stream>>>(*e);
    return GAL_OK;
}

static gal_err gather(gal_cuda *c, const gal_k_gather_rows *g, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, g->dt, diag);
    if (err || g->n <= 0) return err;
    bool wide = gal__wide(g->y) && gal__wide(g->x) && g->d % GROUP == 0;
    gather_kernel<<<(unsigned)g->n, threads_for(g->d), 0, c->stream>>>(*g, wide);
    return GAL_OK;
}

static gal_err kv_store(gal_cuda *c, const gal_k_kv_store *s, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, s->dt, diag);
    if (!err) err = gal__cuda_weights(c, s->cdt, diag);
    if (err || s->n <= 0) return err;
    bool wide = gal__wide(s->ck) && gal__wide(s->cv) && gal__wide(s->k) && gal__wide(s->v) && s->size % GROUP == 0;
    dim3 grid((unsigned)s->n, (unsigned)s->kv_heads);
    kv_store_kernel<<<grid, threads_for(s->size), 0, c->stream>>>(*s, wide);
    return GAL_OK;
}

static gal_err norm(gal_cuda *c, const gal_k_rms_norm *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (!err) err = gal__cuda_weights(c, a->wdt, diag);
    if (err || a->n <= 0) return err;
    bool wide = gal__wide(a->y) && gal__wide(a->x) && gal__wide(a->w) && a->d % GROUP == 0;
    norm_kernel<<<(unsigned)a->n, threads_for(a->d), 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err norm_dx(gal_cuda *c, const gal_k_rms_norm_dx *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (!err) err = gal__cuda_weights(c, a->wdt, diag);
    if (err || a->n <= 0) return err;
    bool wide = gal__wide(a->dx) && gal__wide(a->dy) && gal__wide(a->x) && gal__wide(a->w) && a->d % GROUP == 0;
    norm_dx_kernel<<<(unsigned)a->n, threads_for(a->d), 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err norm_dw(gal_cuda *c, const gal_k_rms_norm_dw *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->n <= 0 || a->d <= 0) return err;
    int64_t parts = GAL_MIN(gal__pieces(a->n, DW_ROWS), (int64_t)DW_PARTS), rows = gal__pieces(a->n, parts);
    parts = gal__pieces(a->n, rows);
    if ((size_t)(parts * a->d) * sizeof(float) > GAL__CUDA_WORK_BYTES)
        return gal_fail(diag, GAL_EDEVICE, "cuda: %s: rows of %lld are too long", c->last, (long long)a->d);
    bool wide = gal__wide(a->x) && gal__wide(a->dy) && a->d % GROUP == 0;
    dim3 grid((unsigned)gal__pieces(a->d, DW_COLS), (unsigned)parts);
    norm_dw_kernel<<<grid, THREADS, 0, c->stream>>>(*a, (float *)c->work, rows, wide);
    norm_dw_sum_kernel<<<(unsigned)gal__pieces(a->d, THREADS), THREADS, 0, c->stream>>>(*a, (const float *)c->work,
                                                                                        (int)parts);
    return GAL_OK;
}

static gal_err rope_table(gal_cuda *c, const gal_k_rope_table *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    int64_t pairs = a->n * (a->size / 2);
    if (err || pairs <= 0) return err;
    rope_table_kernel<<<(unsigned)gal__pieces(pairs, THREADS), THREADS, 0, c->stream>>>(*a);
    return GAL_OK;
}

static gal_err rope(gal_cuda *c, const gal_k_rope *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    int64_t pairs = a->n * (a->heads + (a->k ? a->kv_heads : 0)) * (a->size / 2);
    if (err || pairs <= 0) return err;
    rope_kernel<<<(unsigned)gal__pieces(pairs, THREADS), THREADS, 0, c->stream>>>(*a);
    return GAL_OK;
}

static gal_err softmax(gal_cuda *c, const gal_k_softmax *a, bool grad, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->n <= 0) return err;
    if (grad)
        softmax_grad_kernel<<<(unsigned)a->n, threads_for(a->m), 0, c->stream>>>(*a);
    else
        softmax_kernel<<<(unsigned)a->n, threads_for(a->m), 0, c->stream>>>(*a);
    return GAL_OK;
}

static gal_err xent(gal_cuda *c, const gal_k_xent *a, bool grad, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->r <= 0) return err;
    bool wide = gal__wide(a->logits) && a->v % GROUP == 0;
    dim3 grid((unsigned)a->r, (unsigned)gal__pieces(a->v, THREADS * GROUP));
    if (grad)
        xent_grad_kernel<<<grid, THREADS, 0, c->stream>>>(*a, wide);
    else
        xent_kernel<<<(unsigned)a->r, threads_for(a->v, 1024), 0, c->stream>>>(*a, wide);
    return GAL_OK;
}

static gal_err wsum(gal_cuda *c, const gal_k_wsum *a, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (!err) wsum_kernel<<<1, THREADS, 0, c->stream>>>(*a);
    return err;
}

gal_err gal__cuda_rows(gal_cuda *c, gal_kernel_id id, const void *args, gal_diag *diag) {
    switch (id) {
    case GAL_K_EMBED:
        return embed(c, (const gal_k_embed *)args, diag);
    case GAL_K_EMBED_GRAD:
        return embed_grad(c, (const gal_k_embed_grad *)args, diag);
    case GAL_K_GATHER_ROWS:
        return gather(c, (const gal_k_gather_rows *)args, diag);
    case GAL_K_KV_STORE:
        return kv_store(c, (const gal_k_kv_store *)args, diag);
    case GAL_K_RMS_NORM:
        return norm(c, (const gal_k_rms_norm *)args, diag);
    case GAL_K_RMS_NORM_DX:
        return norm_dx(c, (const gal_k_rms_norm_dx *)args, diag);
    case GAL_K_RMS_NORM_DW:
        return norm_dw(c, (const gal_k_rms_norm_dw *)args, diag);
    case GAL_K_ROPE_TABLE:
        return rope_table(c, (const gal_k_rope_table *)args, diag);
    case GAL_K_ROPE:
        return rope(c, (const gal_k_rope *)args, diag);
    case GAL_K_SOFTMAX:
    case GAL_K_SOFTMAX_GRAD:
        return softmax(c, (const gal_k_softmax *)args, id == GAL_K_SOFTMAX_GRAD, diag);
    case GAL_K_XENT:
    case GAL_K_XENT_GRAD:
        return xent(c, (const gal_k_xent *)args, id == GAL_K_XENT_GRAD, diag);
    case GAL_K_WSUM:
        return wsum(c, (const gal_k_wsum *)args, diag);
    case GAL_K_ROUTE:
        return gal_fail(diag, GAL_EDEVICE,
                        "cuda: models with experts do not run on a GPU yet; --device cpu takes them");
    default:
        return gal_fail(diag, GAL_EDEVICE, "cuda: kernel \"%s\" is not written for a GPU", gal_kernel_name(id));
    }
}
