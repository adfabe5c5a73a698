/* attend.cu - attention of packed rows, with and without a cache, and its gradient.
 *
 * Forward, many rows: a block takes a tile of rows of one head and walks over tiles of 32 keys in shared memory, with
 * the softmax taken on the way. A warp owns some of the rows; for scores a lane is a key, for sums it is some
 * columns.
 * Forward, few rows (decoding): a block takes one row of one head and a part of its keys; the parts are merged in
 * order. How many parts is a function of the arguments, so a captured graph does what a launch does.
 * Gradient: two walks, one for each row's dq, one for each key's dk and dv, with the same two products of tiles.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

enum { KEYS = 32, WARPS = 8, THREADS = WARPS * 32, HEAD_MAX = 256, FEW_ROWS = 32, FEW_WARPS = 4, PARTS_MAX = 64 };
enum { HEADS_MAX = 1024 };

/* Rows that a warp owns, for heads padded to KP numbers; bounded by registers and shared memory. */
__host__ __device__ constexpr int rows_of_warp(int kp) { return kp <= 128 ? 4 : 2; }
__host__ __device__ constexpr int keys_of_warp(int kp) { return kp <= 128 ? 4 : 1; }

/* Floats between rows of a tile that lanes read along: an odd number of 16 bytes, so that no bank is hit twice. */
__host__ __device__ constexpr int stride_of(int kp) { return kp + 4; }

template <int R> struct alignas(4 * R) few { float v[R]; };

/* ---- tiles in shared memory ---------------------------------------------------------------------------- */

/* count rows of KP floats, LD apart; row(i) is where row i begins, or -1: zeros. Zeros beyond size as well. */
template <int KP, int LD, class Row>
__device__ __forceinline__ void load_rows(float *to, int count, const void *p, gal_dtype dt, int64_t size, bool wide,
                                          Row row) {
    for (int e = (int)threadIdx.x; e < count * (KP / 8); e += THREADS) {
        int r = e / (KP / 8), i = e % (KP / 8) * 8;
        int64_t at = row(r);
        float x[8] = { 0 };
        if (at >= 0 && i < size) gal__get8(x, p, dt, at + i, size - i, wide);
        float4 *y = (float4 *)(to + r * LD + i);
        y[0] = make_float4(x[0], x[1], x[2], x[3]);
        y[1] = make_float4(x[4], x[5], x[6], x[7]);
    }
}

/* s[r] = own row r . the lane's row. */
template <int R, int KP>
__device__ __forceinline__ void dots(float (&s)[R], const float *own, const float *lanes_row) {
    for (int r = 0; r < R; r++) s[r] = 0.0f;
#pragma unroll 4
    for (int d = 0; d < KP; d += 4) {
        float4 b = *(const float4 *)(lanes_row + d);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float4 a = *(const float4 *)(own + r * KP + d);
            s[r] = fmaf(a.x, b.x, s[r]);
            s[r] = fmaf(a.y, b.y, s[r]);
            s[r] = fmaf(a.z, b.z, s[r]);
            s[r] = fmaf(a.w, b.w, s[r]);
        }
    }
}

/* acc[r] += sum over j of weight[j].v[r] * row j of the tile; a lane has columns lane, lane + 32, ... */
template <int R, int KP>
__device__ __forceinline__ void weigh(float (&acc)[R][KP / 32], const few<R> *weight, const float *tile, int lane) {
#pragma unroll 4
    for (int j = 0; j < KEYS; j++) {
        few<R> w = weight[j];
#pragma unroll
        for (int c = 0; c < KP / 32; c++) {
            float v = tile[j * stride_of(KP) + c * 32 + lane];
#pragma unroll
            for (int r = 0; r < R; r++) acc[r][c] = fmaf(w.v[r], v, acc[r][c]);
        }
    }
}

template <int KP>
__device__ __forceinline__ void store_row(void *p, gal_dtype dt, int64_t at, const float *x, int64_t size, int lane,
                                          bool accumulate) {
#pragma unroll
    for (int c = 0; c < KP / 32; c++) {
        int i = c * 32 + lane;
        if (i < size) gal__put(p, dt, at + i, accumulate ? x[c] + gal__get(p, dt, at + i) : x[c]);
    }
}

/* ---- forward, many rows -------------------------------------------------------------------------------- */

/* Sums of R rows over the keys seen so far. */
template <int R, int NC> struct running {
    float max[R], sum[R], o[R][NC];
    __device__ __forceinline__ void clear() {
        for (int r = 0; r < R; r++) {
            max[r] = -INFINITY;
            sum[r] = 0.0f;
            for (int c = 0; c < NC; c++) o[r][c] = 0.0f;
        }
    }
    /* A score from each lane and row, -inf where the key is not seen: becomes the key's weight; what was summed under
     * an older maximum shrinks. */
    __device__ __forceinline__ void see(float (&s)[R]) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            float m = fmaxf(max[r], gal__warp_max(s[r])), shrink = m == -INFINITY ? 1.0f : expf(max[r] - m);
            s[r] = s[r] == -INFINITY ? 0.0f : expf(s[r] - m);
            sum[r] = fmaf(sum[r], shrink, gal__warp_sum(s[r]));
            max[r] = m;
            for (int c = 0; c < NC; c++) o[r][c] *= shrink;
        }
    }
};

template <int KP> struct attend_tile { /* a block's shared memory */
    enum { R = rows_of_warp(KP), ROWS = WARPS * R };
    float q[ROWS][KP], kv[KEYS][stride_of(KP)];
    few<R> weight[WARPS][KEYS];
};

/* One tile of keys: row(j) is where key j begins, seen(r) whether the warp's row r sees the lane's key. */
template <int KP, class Row, class Seen>
__device__ __forceinline__ void see_keys(attend_tile<KP> *t, running<rows_of_warp(KP), KP / 32> *run, float scale,
                                         const void *k, const void *v, gal_dtype dt, int64_t size, bool wide, Row row,
                                         Seen seen) {
    constexpr int R = rows_of_warp(KP), LD = stride_of(KP);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float s[R];
    __syncthreads(); /* the last tile is read */
    load_rows<KP, LD>(&t->kv[0][0], KEYS, k, dt, size, wide, row);
    __syncthreads();
    dots<R, KP>(s, t->q[warp * R], t->kv[lane]);
    for (int r = 0; r < R; r++) s[r] = seen(r) ? s[r] * scale : -INFINITY;
    run->see(s);
    for (int r = 0; r < R; r++) t->weight[warp][lane].v[r] = s[r];
    __syncthreads();
    load_rows<KP, LD>(&t->kv[0][0], KEYS, v, dt, size, wide, row);
    __syncthreads();
    weigh<R, KP>(run->o, t->weight[warp], &t->kv[0][0], lane);
}

/* First row of this batch that row n sees. */
__device__ __forceinline__ int first_row(const int32_t *start, int64_t window, int n) {
    int s = start[n];
    return window > 0 && n - window + 1 > s ? (int)(n - window + 1) : s;
}

template <int KP>
static __global__ void __launch_bounds__(THREADS) attend_tiles_kernel(gal_k_attend a, bool wide, bool cache_wide) {
    constexpr int R = rows_of_warp(KP), ROWS = WARPS * R;
    extern __shared__ float4 shared[];
    attend_tile<KP> *t = (attend_tile<KP> *)shared;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    /* The last rows see most keys: they begin first. */
    int from = (int)(gridDim.x - 1 - blockIdx.x) * ROWS, to = (int)GAL_MIN(a.n, (int64_t)from + ROWS);
    int h = (int)blockIdx.y, g = h / (int)(a.heads / a.kv_heads), mine = from + warp * R;
    float scale = (float)a.scale;
    load_rows<KP, KP>(&t->q[0][0], ROWS, a.q, a.dt, a.size, wide,
                      [&](int r) -> int64_t { return from + r < to ? ((from + r) * a.heads + h) * a.size : -1; });
    running<R, KP / 32> run;
    run.clear();
    for (int d = from; a.ck && d < to;) { /* the documents of this tile: d the first row of each */
        int start = a.start[d], next = d + 1;
        while (next < to && a.start[next] == start) next++;
        int end = a.pos[start], first = a.window > 0 ? (int)GAL_MAX(0, a.pos[d] - a.window + 1) : 0;
        int64_t base = (a.seq[d] * a.kv_heads + g) * a.slots;
        for (int p0 = first; p0 < end; p0 += KEYS) {
            auto row = [&](int j) -> int64_t { return p0 + j < end ? (base + (p0 + j) % a.slots) * a.size : -1; };
            auto seen = [&](int r) {
                int n = mine + r, p = p0 + lane;
                return n >= d && n < next && p < end && (a.window <= 0 || a.pos[n] - p < a.window);
            };
            see_keys<KP>(t, &run, scale, a.ck, a.cv, a.cdt, a.size, cache_wide, row, seen);
        }
        d = next;
    }
    int lo[R];
    for (int r = 0; r < R; r++) lo[r] = mine + r < to ? first_row(a.start, a.window, mine + r) : 0;
    for (int j0 = first_row(a.start, a.window, from); j0 < to; j0 += KEYS) {
        auto row = [&](int j) -> int64_t { return j0 + j < to ? ((j0 + j) * a.kv_heads + g) * a.size : -1; };
        auto seen = [&](int r) { return mine + r < to && j0 + lane >= lo[r] && j0 + lane <= mine + r; };
        see_keys<KP>(t, &run, scale, a.k, a.v, a.dt, a.size, wide, row, seen);
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        if (mine + r >= to) continue;
        int64_t at = (mine + r) * a.heads + h;
        for (int c = 0; c < KP / 32; c++) run.o[r][c] /= run.sum[r];
        store_row<KP>(a.o, a.dt, at * a.size, run.o[r], a.size, lane, false);
        if (a.lse && lane == 0) ((float *)a.lse)[at] = run.max[r] + logf(run.sum[r]);
    }
}

/* ---- forward, few rows --------------------------------------------------------------------------------- */

/* Keys [from, to) of a list, 32 at a time for each warp; row(t) is where key t begins. */
template <gal_dtype DT, int NC, class Row>
__device__ __forceinline__ void walk(running<1, NC> *run, const float *q, float scale, const void *k, const void *v,
                                     int size, bool wide, int from, int to, Row row) {
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    for (int t0 = from + warp * 32; t0 < to; t0 += FEW_WARPS * 32) {
        float s[1] = { -INFINITY };
        if (t0 + lane < to) {
            int64_t at = row(t0 + lane);
            s[0] = 0.0f;
#pragma unroll 2
            for (int i = 0; i < size; i += 8) {
                float x[8];
                gal__get8(x, k, DT, at + i, size - i, wide);
#pragma unroll
                for (int e = 0; e < 8; e++) s[0] = fmaf(q[i + e], x[e], s[0]);
            }
            s[0] *= scale;
        }
        run->see(s);
        int keys = GAL_MIN(32, to - t0);
#pragma unroll 4
        for (int j = 0; j < keys; j++) {
            float w = __shfl_sync(0xffffffffu, s[0], j);
            int64_t at = row(t0 + j);
#pragma unroll
            for (int c = 0; c < NC; c++)
                if (c * 32 + lane < size) run->o[0][c] = fmaf(w, gal__get(v, DT, at + c * 32 + lane), run->o[0][c]);
        }
    }
}

template <int NC, class Row>
__device__ __forceinline__ void walk_any(running<1, NC> *run, const float *q, float scale, const void *k,
                                         const void *v, gal_dtype dt, int size, bool wide, int from, int to,
                                         Row row) {
    if (dt == GAL_F32)
        walk<GAL_F32, NC>(run, q, scale, k, v, size, wide, from, to, row);
    else if (dt == GAL_BF16)
        walk<GAL_BF16, NC>(run, q, scale, k, v, size, wide, from, to, row);
    else
        walk<GAL_F16, NC>(run, q, scale, k, v, size, wide, from, to, row);
}

/* A part's sums: its largest score, the sum of exponentials, the weighted values [KP]. */
template <int NC> struct part_sums { float max, sum, o[NC * 32]; };

/* Of some parts, in order: the largest score and the sum of exponentials; column i of the values in *o. */
template <int NC>
__device__ __forceinline__ void merge(const part_sums<NC> *part, int parts, int i, float *max, float *sum, float *o) {
    float m = -INFINITY, all = 0.0f, x = 0.0f;
    for (int p = 0; p < parts; p++) m = fmaxf(m, part[p].max);
    for (int p = 0; p < parts && m > -INFINITY; p++) { /* a part without keys: exp(-inf) = 0 */
        float shrink = expf(part[p].max - m);
        all = fmaf(part[p].sum, shrink, all);
        x = fmaf(part[p].o[i], shrink, x);
    }
    *max = m;
    *sum = all;
    *o = x;
}

template <int NC>
static __global__ void __launch_bounds__(FEW_WARPS * 32)
    attend_row_kernel(gal_k_attend a, bool wide, bool cache_wide, part_sums<NC> *out) {
    __shared__ float q[NC * 32];
    __shared__ part_sums<NC> part[FEW_WARPS];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, size = (int)a.size;
    int n = (int)blockIdx.x, h = (int)blockIdx.y, g = h / (int)(a.heads / a.kv_heads);
    int64_t at = n * a.heads + h;
    for (int i = (int)threadIdx.x; i < NC * 32; i += FEW_WARPS * 32)
        q[i] = i < size ? gal__get(a.q, a.dt, at * size + i) : 0.0f;
    __syncthreads();
    /* All keys of the row as one list, cached ones first; this block's part of it. */
    int first = 0, cached = 0, lo = first_row(a.start, a.window, n);
    int64_t base = 0;
    if (a.ck) {
        first = a.window > 0 ? (int)GAL_MAX(0, a.pos[n] - a.window + 1) : 0;
        cached = GAL_MAX(0, a.pos[a.start[n]] - first);
        base = (a.seq[n] * a.kv_heads + g) * a.slots;
    }
    int keys = cached + n - lo + 1, length = (keys + (int)gridDim.z * 32 - 1) / ((int)gridDim.z * 32) * 32;
    int from = GAL_MIN(keys, (int)blockIdx.z * length), to = GAL_MIN(keys, from + length);
    running<1, NC> run;
    run.clear();
    float scale = (float)a.scale;
    if (from < cached)
        walk_any<NC>(&run, q, scale, a.ck, a.cv, a.cdt, size, cache_wide, from, GAL_MIN(to, cached),
                     [&](int t) -> int64_t { return (base + (first + t) % a.slots) * size; });
    if (to > cached)
        walk_any<NC>(&run, q, scale, a.k, a.v, a.dt, size, wide, GAL_MAX(from, cached), to,
                     [&](int t) -> int64_t { return ((lo + t - cached) * a.kv_heads + g) * size; });
    if (lane == 0) {
        part[warp].max = run.max[0];
        part[warp].sum = run.sum[0];
    }
    for (int c = 0; c < NC; c++) part[warp].o[c * 32 + lane] = run.o[0][c];
    __syncthreads();
    out += at * gridDim.z + blockIdx.z;
    for (int i = (int)threadIdx.x; i < NC * 32; i += FEW_WARPS * 32) {
        float max, sum, o;
        merge<NC>(part, FEW_WARPS, i, &max, &sum, &o);
        if (i == 0) {
            out->max = max;
            out->sum = sum;
        }
        out->o[i] = o;
    }
}

template <int NC> static __global__ void merge_parts_kernel(gal_k_attend a, const part_sums<NC> *part, int parts) {
    int64_t at = blockIdx.x;
    int i = (int)threadIdx.x;
    float max, sum, o;
    merge<NC>(part + at * parts, parts, i, &max, &sum, &o);
    if (i < a.size) gal__put(a.o, a.dt, at * a.size + i, o / sum);
    if (i == 0 && a.lse) ((float *)a.lse)[at] = max + logf(sum);
}

/* ---- gradient ------------------------------------------------------------------------------------------ */

/* delta[n, h] = sum of dout o, what the softmax's own gradient subtracts: a warp each. */
static __global__ void __launch_bounds__(THREADS) delta_kernel(gal_k_attend_grad a, float *delta) {
    int64_t at = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (at >= a.n * a.heads) return;
    float sum = 0.0f;
    for (int64_t i = threadIdx.x % 32; i < a.size; i += 32)
        sum = fmaf(gal__get(a.dout, a.dt, at * a.size + i), gal__get(a.o, a.dt, at * a.size + i), sum);
    sum = gal__warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[at] = sum;
}

template <int KP> struct dq_tile {
    enum { R = rows_of_warp(KP), ROWS = WARPS * R };
    float q[ROWS][KP], dout[ROWS][KP], kv[KEYS][stride_of(KP)];
    few<R> ds[WARPS][KEYS];
};

template <int KP>
static __global__ void __launch_bounds__(THREADS) dq_kernel(gal_k_attend_grad a, const float *delta, bool wide) {
    constexpr int R = rows_of_warp(KP), ROWS = WARPS * R, LD = stride_of(KP);
    extern __shared__ float4 shared[];
    dq_tile<KP> *t = (dq_tile<KP> *)shared;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int from = (int)(gridDim.x - 1 - blockIdx.x) * ROWS, to = (int)GAL_MIN(a.n, (int64_t)from + ROWS);
    int h = (int)blockIdx.y, g = h / (int)(a.heads / a.kv_heads), mine = from + warp * R, lo[R];
    float scale = (float)a.scale, lse[R], del[R], s[R], dp[R], dq[R][KP / 32];
    auto query = [&](int r) -> int64_t { return from + r < to ? ((from + r) * a.heads + h) * a.size : -1; };
    load_rows<KP, KP>(&t->q[0][0], ROWS, a.q, a.dt, a.size, wide, query);
    load_rows<KP, KP>(&t->dout[0][0], ROWS, a.dout, a.dt, a.size, wide, query);
    for (int r = 0; r < R; r++) {
        bool in = mine + r < to;
        int64_t at = (mine + r) * a.heads + h;
        lo[r] = in ? first_row(a.start, a.window, mine + r) : 0;
        lse[r] = in ? ((const float *)a.lse)[at] : 0.0f;
        del[r] = in ? delta[at] : 0.0f;
        for (int c = 0; c < KP / 32; c++) dq[r][c] = 0.0f;
    }
    for (int j0 = first_row(a.start, a.window, from); j0 < to; j0 += KEYS) {
        auto row = [&](int j) -> int64_t { return j0 + j < to ? ((j0 + j) * a.kv_heads + g) * a.size : -1; };
        __syncthreads();
        load_rows<KP, LD>(&t->kv[0][0], KEYS, a.v, a.dt, a.size, wide, row);
        __syncthreads();
        dots<R, KP>(dp, t->dout[warp * R], t->kv[lane]);
        __syncthreads();
        load_rows<KP, LD>(&t->kv[0][0], KEYS, a.k, a.dt, a.size, wide, row);
        __syncthreads();
        dots<R, KP>(s, t->q[warp * R], t->kv[lane]);
        for (int r = 0; r < R; r++) {
            bool seen = mine + r < to && j0 + lane >= lo[r] && j0 + lane <= mine + r;
            float p = expf(s[r] * scale - lse[r]);
            t->ds[warp][lane].v[r] = seen ? scale * p * (dp[r] - del[r]) : 0.0f;
        }
        __syncwarp();
        weigh<R, KP>(dq, t->ds[warp], &t->kv[0][0], lane);
    }
#pragma unroll
    for (int r = 0; r < R; r++)
        if (mine + r < to)
            store_row<KP>(a.dq, a.dt, ((mine + r) * a.heads + h) * a.size, dq[r], a.size, lane, a.accumulate);
}

template <int KP> struct dkv_tile {
    enum { R = keys_of_warp(KP), ROWS = WARPS * R };
    float k[ROWS][KP], v[ROWS][KP], q[KEYS][stride_of(KP)], dout[KEYS][stride_of(KP)];
    few<R> p[WARPS][KEYS], ds[WARPS][KEYS];
};

/* The mirror of dq: a warp owns keys, a lane is a query row. */
template <int KP>
static __global__ void __launch_bounds__(THREADS) dkv_kernel(gal_k_attend_grad a, const float *delta, bool wide) {
    constexpr int R = keys_of_warp(KP), ROWS = WARPS * R, LD = stride_of(KP);
    extern __shared__ float4 shared[];
    dkv_tile<KP> *t = (dkv_tile<KP> *)shared;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int from = (int)blockIdx.x * ROWS, to = (int)GAL_MIN(a.n, (int64_t)from + ROWS), mine = from + warp * R;
    int g = (int)blockIdx.y, rep = (int)(a.heads / a.kv_heads);
    int end = a.window > 0 ? (int)GAL_MIN(a.n, to - 1 + a.window) : (int)a.n; /* rows that may see a key */
    float scale = (float)a.scale, s[R], dp[R], dk[R][KP / 32], dv[R][KP / 32];
    auto key = [&](int r) -> int64_t { return from + r < to ? ((from + r) * a.kv_heads + g) * a.size : -1; };
    load_rows<KP, KP>(&t->k[0][0], ROWS, a.k, a.dt, a.size, wide, key);
    load_rows<KP, KP>(&t->v[0][0], ROWS, a.v, a.dt, a.size, wide, key);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < KP / 32; c++) dk[r][c] = dv[r][c] = 0.0f;
    for (int h = g * rep; h < (g + 1) * rep; h++)
        for (int n0 = from; n0 < end && a.start[n0] < to; n0 += KEYS) { /* documents are consecutive */
            auto row = [&](int j) -> int64_t { return n0 + j < end ? ((n0 + j) * a.heads + h) * a.size : -1; };
            __syncthreads();
            load_rows<KP, LD>(&t->q[0][0], KEYS, a.q, a.dt, a.size, wide, row);
            load_rows<KP, LD>(&t->dout[0][0], KEYS, a.dout, a.dt, a.size, wide, row);
            __syncthreads();
            dots<R, KP>(s, t->k[warp * R], t->q[lane]);
            dots<R, KP>(dp, t->v[warp * R], t->dout[lane]);
            int n = n0 + lane, lo = n < end ? first_row(a.start, a.window, n) : 0;
            float lse = n < end ? ((const float *)a.lse)[n * a.heads + h] : 0.0f;
            float del = n < end ? delta[n * a.heads + h] : 0.0f;
            for (int r = 0; r < R; r++) {
                bool seen = n < end && mine + r >= lo && mine + r <= n;
                float p = seen ? expf(s[r] * scale - lse) : 0.0f;
                t->p[warp][lane].v[r] = p;
                t->ds[warp][lane].v[r] = seen ? scale * p * (dp[r] - del) : 0.0f;
            }
            __syncwarp();
            weigh<R, KP>(dv, t->p[warp], &t->dout[0][0], lane);
            weigh<R, KP>(dk, t->ds[warp], &t->q[0][0], lane);
        }
#pragma unroll
    for (int r = 0; r < R; r++) {
        if (mine + r >= to) continue;
        store_row<KP>(a.dk, a.dt, ((mine + r) * a.kv_heads + g) * a.size, dk[r], a.size, lane, a.accumulate);
        store_row<KP>(a.dv, a.dt, ((mine + r) * a.kv_heads + g) * a.size, dv[r], a.size, lane, a.accumulate);
    }
}

/* ---- launching ----------------------------------------------------------------------------------------- */

template <class Kernel> static cudaError_t allow(Kernel kernel, size_t bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

template <int KP> static void attend_tiles(gal_cuda *c, const gal_k_attend *a, bool wide, bool cache_wide) {
    dim3 grid((unsigned)gal__pieces(a->n, attend_tile<KP>::ROWS), (unsigned)a->heads);
    size_t bytes = sizeof(attend_tile<KP>);
    if (allow(attend_tiles_kernel<KP>, bytes)) return; /* the error is found after the launch */
    attend_tiles_kernel<KP><<<grid, THREADS, bytes, c->stream>>>(*a, wide, cache_wide);
}

template <int KP> static void attend_rows(gal_cuda *c, const gal_k_attend *a, bool wide, bool cache_wide) {
    constexpr int NC = KP / 32;
    /* As many blocks as a large GPU runs at once, none with fewer than 128 keys; the longest list decides. */
    int64_t keys = a->n + (a->ck ? a->slots : 0), pairs = a->n * a->heads;
    int64_t parts = GAL_MIN(GAL_MIN(gal__pieces(keys, 128), (int64_t)PARTS_MAX), gal__pieces(1024, pairs));
    part_sums<NC> *sums = (part_sums<NC> *)c->work;
    dim3 grid((unsigned)a->n, (unsigned)a->heads, (unsigned)parts);
    attend_row_kernel<NC><<<grid, FEW_WARPS * 32, 0, c->stream>>>(*a, wide, cache_wide, sums);
    merge_parts_kernel<NC><<<(unsigned)pairs, KP, 0, c->stream>>>(*a, sums, (int)parts);
}
static_assert((FEW_ROWS * HEADS_MAX + 1024) * sizeof(part_sums<HEAD_MAX / 32>) <= GAL__CUDA_WORK_BYTES,
              "all parts fit");

template <int KP> static void attend(gal_cuda *c, const gal_k_attend *a, bool wide, bool cache_wide) {
    if (a->n <= FEW_ROWS)
        attend_rows<KP>(c, a, wide, cache_wide);
    else
        attend_tiles<KP>(c, a, wide, cache_wide);
}

template <int KP> static void attend_grad(gal_cuda *c, const gal_k_attend_grad *a, bool wide) {
    float *delta = (float *)c->work;
    delta_kernel<<<(unsigned)gal__pieces(a->n * a->heads, WARPS), THREADS, 0, c->stream>>>(*a, delta);
    size_t q = sizeof(dq_tile<KP>), kv = sizeof(dkv_tile<KP>);
    if (allow(dq_kernel<KP>, q) || allow(dkv_kernel<KP>, kv)) return;
    dim3 rows((unsigned)gal__pieces(a->n, dq_tile<KP>::ROWS), (unsigned)a->heads);
    dim3 keys((unsigned)gal__pieces(a->n, dkv_tile<KP>::ROWS), (unsigned)a->kv_heads);
    dq_kernel<KP><<<rows, THREADS, q, c->stream>>>(*a, delta, wide);
    dkv_kernel<KP><<<keys, THREADS, kv, c->stream>>>(*a, delta, wide);
}

static gal_err fits(const gal_cuda *c, int64_t n, int64_t heads, int64_t kv_heads, int64_t size, gal_diag *diag) {
    if (size <= 0 || size > HEAD_MAX)
        return gal_fail(diag, GAL_EDEVICE, "cuda: %s: heads of %lld numbers, at most %d on a GPU", c->last,
                        (long long)size, HEAD_MAX);
    if (heads > HEADS_MAX || (size_t)(n * heads) * sizeof(float) > GAL__CUDA_WORK_BYTES)
        return gal_fail(diag, GAL_EDEVICE, "cuda: %s: %lld rows of %lld heads are too many for a GPU's workspace",
                        c->last, (long long)n, (long long)heads);
    GAL_ASSERT(heads % kv_heads == 0);
    return GAL_OK;
}

gal_err gal__cuda_attend(gal_cuda *c, const void *args, gal_diag *diag) {
    const gal_k_attend *a = (const gal_k_attend *)args;
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (!err && a->ck) err = gal__cuda_weights(c, a->cdt, diag);
    if (err || a->n <= 0) return err;
    if ((err = fits(c, a->n, a->heads, a->kv_heads, a->size, diag))) return err;
    bool eights = a->size % 8 == 0, wide = eights && gal__wide(a->q) && gal__wide(a->k) && gal__wide(a->v);
    bool cache_wide = eights && gal__wide(a->ck) && gal__wide(a->cv);
    if (a->size <= 32)
        attend<32>(c, a, wide, cache_wide);
    else if (a->size <= 64)
        attend<64>(c, a, wide, cache_wide);
    else if (a->size <= 128)
        attend<128>(c, a, wide, cache_wide);
    else
        attend<HEAD_MAX>(c, a, wide, cache_wide);
    return GAL_OK;
}

gal_err gal__cuda_attend_grad(gal_cuda *c, const void *args, gal_diag *diag) {
    const gal_k_attend_grad *a = (const gal_k_attend_grad *)args;
    gal_err err = gal__cuda_activations(c, a->dt, diag);
    if (err || a->n <= 0) return err;
    if ((err = fits(c, a->n, a->heads, a->kv_heads, a->size, diag))) return err;
    bool wide = a->size % 8 == 0 && gal__wide(a->q) && gal__wide(a->k) && gal__wide(a->v) && gal__wide(a->dout);
    if (a->size <= 32)
        attend_grad<32>(c, a, wide);
    else if (a->size <= 64)
        attend_grad<64>(c, a, wide);
    else if (a->size <= 128)
        attend_grad<128>(c, a, wide);
    else
        attend_grad<HEAD_MAX>(c, a, wide);
    return GAL_OK;
}
