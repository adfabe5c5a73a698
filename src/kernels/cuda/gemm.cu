/* gemm.cu - matrix products, each by the first way that can do it:
 *   few rows   up to 4 rows against weights whose lines run along k, up to 8 where cuBLASLt would want them wider: a
 *              warp makes a column, weights are read once in whatever type they have. What decoding does.
 *   cuBLASLt   f32 with f32 into f32, bf16 with bf16 into f32 or bf16, sums in f32 (no TF32). Operands of another
 *              type are converted into the workspace first. A bf16 C with something to add has its sums there too, in
 *              f32: cuBLASLt may round the product before it adds. Too small a workspace: C is made in parts.
 *   tiles      anything else: any strides and types, sums in f32.
 * The algorithm of a shape is what cuBLASLt's heuristics name first, among those that add parts of k in f32 and in a
 * fixed order; it is looked up once and kept. Which way is taken depends on shapes, types, strides and alignments
 * alone, so results repeat. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda/cuda.cuh"

/* FEW and MOST: rows that are few, and the most that may be. */
enum { GROUP = 8, WARPS = 8, THREADS = WARPS * 32, FEW = 4, MOST = 8 };

/* One number of C from its sum. */
__device__ __forceinline__ void finish(const gal_gemm &g, int64_t i, int64_t j, float sum) {
    int64_t at = i * g.c.rs + j * g.c.cs;
    if (g.add) sum += gal__get(g.add, g.c.dt, at);
    if (g.accumulate) sum += gal__get(g.c.p, g.c.dt, at);
    gal__put(g.c.p, g.c.dt, at, sum);
}

/* ---- few rows ------------------------------------------------------------------------------------------ */

/* Eight numbers as they lie in memory: several are fetched before the first is needed. */
template <gal_dtype DT> struct raw8 {
    uint4 u[DT == GAL_F32 ? 2 : 1];
    __device__ __forceinline__ void fetch(const void *p, int64_t i) {
        if constexpr (DT == GAL_F32) {
            const uint4 *q = (const uint4 *)((const float *)p + i);
            u[0] = __ldg(q), u[1] = __ldg(q + 1);
        } else {
            u[0] = __ldg((const uint4 *)((const unsigned short *)p + i));
        }
    }
    __device__ __forceinline__ void unpack(float (&x)[GROUP]) const {
        if constexpr (DT == GAL_F32) {
            const unsigned v[GROUP] = { u[0].x, u[0].y, u[0].z, u[0].w, u[1].x, u[1].y, u[1].z, u[1].w };
            for (int k = 0; k < GROUP; k++) x[k] = __uint_as_float(v[k]);
        } else {
            gal__two_halves(x, u[0].x, DT);
            gal__two_halves(x + 2, u[0].y, DT);
            gal__two_halves(x + 4, u[0].z, DT);
            gal__two_halves(x + 6, u[0].w, DT);
        }
    }
};

/* sum[i] += eight products of row i of A and the weights w, from k on. */
template <int M>
__device__ __forceinline__ void multiply8(float (&sum)[M], const gal_gemm &g, float (&w)[GROUP], int64_t k,
                                          bool wide) {
    bool bf16 = g.compute == GAL_BF16;
    if (bf16 && g.b.dt != GAL_BF16)
        for (int e = 0; e < GROUP; e++) w[e] = gal__round_bf16(w[e]);
#pragma unroll
    for (int i = 0; i < M; i++) {
        if (i >= g.m) break;
        float x[GROUP];
        gal__get8(x, g.a.p, g.a.dt, i * g.a.rs + k, g.k - k, wide);
        if (bf16 && g.a.dt != GAL_BF16)
            for (int e = 0; e < GROUP; e++) x[e] = gal__round_bf16(x[e]);
#pragma unroll
        for (int e = 0; e < GROUP; e++) sum[i] = fmaf(x[e], w[e], sum[i]);
    }
}

/* M: g.m or the next power of two. wide: all lines of A and B begin at 16 bytes. */
template <int M, gal_dtype BT>
static __global__ void __launch_bounds__(THREADS) few_rows_kernel(gal_gemm g, bool wide) {
    enum { AHEAD = BT == GAL_F32 ? 2 : 4, STEP = 32 * GROUP };
    int64_t j = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32, row = j * g.b.cs;
    int lane = (int)threadIdx.x % 32;
    if (j >= g.n) return; /* the whole warp */
    float sum[M] = { 0 }, w[GROUP];
    int64_t k = lane * GROUP;
    for (; wide && k + (AHEAD - 1) * STEP + GROUP <= g.k; k += AHEAD * STEP) {
        raw8<BT> raw[AHEAD];
#pragma unroll
        for (int s = 0; s < AHEAD; s++) raw[s].fetch(g.b.p, row + k + s * STEP);
#pragma unroll
        for (int s = 0; s < AHEAD; s++) {
            raw[s].unpack(w);
            multiply8<M>(sum, g, w, k + s * STEP, true);
        }
    }
    for (; k < g.k; k += STEP) {
        gal__get8(w, g.b.p, BT, row + k, g.k - k, wide);
        multiply8<M>(sum, g, w, k, wide);
    }
#pragma unroll
    for (int i = 0; i < M; i++) {
        float all = gal__warp_sum(sum[i]);
        if (lane == 0 && i < g.m) finish(g, i, j, all);
    }
}

static bool few_rows(const gal_gemm *g) {
    return g->m <= MOST && (g->b.rs == 1 || g->k == 1) && (g->a.cs == 1 || g->k == 1);
}

template <int M> static void launch_few_rows(gal_cuda *c, const gal_gemm *g, bool wide) {
    unsigned blocks = (unsigned)gal__pieces(g->n, WARPS);
    if (g->b.dt == GAL_F32)
        few_rows_kernel<M, GAL_F32><<<blocks, THREADS, 0, c->stream>>>(*g, wide);
    else if (g->b.dt == GAL_BF16)
        few_rows_kernel<M, GAL_BF16><<<blocks, THREADS, 0, c->stream>>>(*g, wide);
    else
        few_rows_kernel<M, GAL_F16><<<blocks, THREADS, 0, c->stream>>>(*g, wide);
}

static void multiply_few_rows(gal_cuda *c, const gal_gemm *g) {
    bool wide = gal__wide(g->a.p) && gal__wide(g->b.p) && g->a.rs % GROUP == 0 && g->b.cs % GROUP == 0;
    if (g->m == 1)
        launch_few_rows<1>(c, g, wide);
    else if (g->m == 2)
        launch_few_rows<2>(c, g, wide);
    else if (g->m <= FEW)
        launch_few_rows<FEW>(c, g, wide);
    else
        launch_few_rows<MOST>(c, g, wide);
}

/* ---- tiles --------------------------------------------------------------------------------------------- */

enum { TILE = 64, DEPTH = 16, PAD = 4, EACH = 4 };
static_assert(TILE * TILE == THREADS * EACH * EACH, "a thread makes 4 x 4 numbers");

/* [DEPTH][TILE] of an operand; stride: along the tile, kstride: along k. Zeros beyond its end. */
static __device__ void load_tile(float (*to)[TILE + PAD], const gal_mat &a, int64_t at, int64_t n, int64_t stride,
                                 int64_t k, int64_t depth, int64_t kstride, bool bf16) {
    bool along_k = kstride <= stride; /* neighbours in memory go to neighbouring threads */
    for (int e = (int)threadIdx.x; e < TILE * DEPTH; e += THREADS) {
        int i = along_k ? e / DEPTH : e % TILE, d = along_k ? e % DEPTH : e / TILE;
        float x = 0.0f;
        if (at + i < n && k + d < depth) x = gal__get(a.p, a.dt, (at + i) * stride + (k + d) * kstride);
        to[d][i] = bf16 ? gal__round_bf16(x) : x;
    }
}

static __global__ void __launch_bounds__(THREADS) tiles_kernel(gal_gemm g, int64_t across) {
    __shared__ __align__(16) float a[DEPTH][TILE + PAD], b[DEPTH][TILE + PAD];
    int64_t i0 = blockIdx.x / across * TILE, j0 = blockIdx.x % across * TILE;
    int ti = (int)threadIdx.x / 16 * EACH, tj = (int)threadIdx.x % 16 * EACH;
    bool bf16 = g.compute == GAL_BF16;
    float sum[EACH][EACH] = { { 0 } };
    for (int64_t k = 0; k < g.k; k += DEPTH) {
        __syncthreads(); /* the last tiles are read */
        load_tile(a, g.a, i0, g.m, g.a.rs, k, g.k, g.a.cs, bf16);
        load_tile(b, g.b, j0, g.n, g.b.cs, k, g.k, g.b.rs, bf16);
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            float4 x = *(const float4 *)&a[d][ti], y = *(const float4 *)&b[d][tj];
            const float xs[EACH] = { x.x, x.y, x.z, x.w }, ys[EACH] = { y.x, y.y, y.z, y.w };
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++) sum[i][j] = fmaf(xs[i], ys[j], sum[i][j]);
        }
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            if (i0 + ti + i < g.m && j0 + tj + j < g.n) finish(g, i0 + ti + i, j0 + tj + j, sum[i][j]);
}

static void multiply_tiles(gal_cuda *c, const gal_gemm *g) {
    int64_t across = gal__pieces(g->n, TILE);
    tiles_kernel<<<(unsigned)(across * gal__pieces(g->m, TILE)), THREADS, 0, c->stream>>>(*g, across);
}

/* ---- cuBLASLt ------------------------------------------------------------------------------------------ */

/* A matrix [rows, cols] as lines without gaps inside: a row each, or a column each. */
typedef struct lines {
    bool columns;
    int64_t count, length, stride;
} lines;

static bool lines_of(const gal_mat *a, int64_t rows, int64_t cols, lines *l) {
    if ((a->cs == 1 || cols == 1) && (a->rs >= cols || rows == 1)) {
        *l = lines{ false, rows, cols, GAL_MAX(a->rs, cols) };
        return true;
    }
    *l = lines{ true, cols, rows, GAL_MAX(a->cs, rows) };
    return (a->rs == 1 || rows == 1) && (a->cs >= rows || cols == 1);
}

/* What a product needs to be known by. cuBLASLt's matrices lie by columns: its product is C^T = B^T A^T. */
typedef struct shape {
    int64_t m, n, k, a_stride, b_stride, c_stride;
    int32_t a_columns, b_columns, ab, c, beta;
    uint32_t a_align, b_align, c_align, add_align;
} shape;

enum { PLANS = 512 };
typedef struct plan {
    shape of;
    bool used, found;
    cublasLtMatmulAlgo_t algo;
    size_t work_bytes;
} plan;
struct gal__cuda_plan {
    plan p[PLANS];
};

gal__cuda_plan *gal__cuda_plans_new(void) { return (gal__cuda_plan *)gal_alloc(sizeof(gal__cuda_plan)); }

static cudaDataType_t type_of(int32_t dt) { return dt == GAL_F32 ? CUDA_R_32F : CUDA_R_16BF; }

static uint32_t alignment(const void *p) {
    uint32_t a = 256;
    while ((uintptr_t)p % a) a /= 2;
    return a;
}

typedef struct descriptors {
    cublasLtMatmulDescOpaque_t op;
    cublasLtMatrixLayoutOpaque_t a, b, c;
} descriptors;

static cublasStatus_t describe(descriptors *d, const shape *s) {
    int32_t ta = s->b_columns ? CUBLAS_OP_T : CUBLAS_OP_N, tb = s->a_columns ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t m = (uint64_t)s->m, n = (uint64_t)s->n, k = (uint64_t)s->k;
    cublasStatus_t e = cublasLtMatmulDescInit(&d->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!e) e = cublasLtMatmulDescSetAttribute(&d->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    if (!e) e = cublasLtMatmulDescSetAttribute(&d->op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    /* Lines of B run along n, or along k if they are columns; of A along k, or along m. */
    if (!e)
        e = cublasLtMatrixLayoutInit(&d->a, type_of(s->ab), s->b_columns ? k : n, s->b_columns ? n : k, s->b_stride);
    if (!e)
        e = cublasLtMatrixLayoutInit(&d->b, type_of(s->ab), s->a_columns ? m : k, s->a_columns ? k : m, s->a_stride);
    if (!e) e = cublasLtMatrixLayoutInit(&d->c, type_of(s->c), n, m, s->c_stride);
    return e;
}

/* found stays false where cuBLASLt has nothing for the shape. */
static cublasStatus_t choose(gal_cuda *c, descriptors *d, plan *p) {
    cublasLtMatmulPreferenceOpaque_t pref;
    /* Never in the output's type, which would round partial sums to bf16. */
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    size_t bytes = GAL__CUDA_LT_BYTES;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t size;
    } set[] = {
        { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes },
        { CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &p->of.b_align, sizeof(uint32_t) },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &p->of.a_align, sizeof(uint32_t) },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &p->of.add_align, sizeof(uint32_t) },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &p->of.c_align, sizeof(uint32_t) },
    };
    cublasStatus_t e = cublasLtMatmulPreferenceInit(&pref);
    for (size_t i = 0; !e && i < GAL_LEN(set); i++)
        e = cublasLtMatmulPreferenceSetAttribute(&pref, set[i].attribute, set[i].value, set[i].size);
    if (e) return e;
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    e = cublasLtMatmulAlgoGetHeuristic(c->lt, &d->op, &d->a, &d->b, &d->c, &d->c, &pref, 1, &result, &count);
    p->used = true;
    p->found = !e && count > 0 && !result.state && result.workspaceSize <= GAL__CUDA_LT_BYTES;
    if (!p->found) return CUBLAS_STATUS_SUCCESS;
    p->algo = result.algo;
    p->work_bytes = result.workspaceSize;
    return CUBLAS_STATUS_SUCCESS;
}

/* The place of a shape in a small hash table; a full neighbourhood gives up its first entry, and what is chosen again
 * later is the same. */
static plan *plan_of(gal__cuda_plan *all, const shape *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ ((const unsigned char *)s)[i]) * 0x100000001b3u;
    plan *first = NULL;
    for (uint64_t i = 0; i < 8; i++) {
        plan *p = &all->p[(h + i) % PLANS];
        if (p->used && !memcmp(&p->of, s, sizeof *s)) return p;
        if (!p->used && !first) first = p;
    }
    if (!first) first = &all->p[h % PLANS];
    memset(first, 0, sizeof *first);
    first->of = *s;
    return first;
}

/* a and b in their final type; *done false: no algorithm for this shape. */
static gal_err multiply_lt(gal_cuda *c, const gal_gemm *g, bool *done, gal_diag *diag) {
    lines a, b, out;
    *done = lines_of(&g->a, g->m, g->k, &a) && lines_of(&g->b, g->k, g->n, &b) && lines_of(&g->c, g->m, g->n, &out);
    if (!*done || out.columns) {
        *done = false;
        return GAL_OK;
    }
    const void *add = g->add ? g->add : g->c.p;
    float alpha = 1.0f, beta = (g->add ? 1.0f : 0.0f) + (g->accumulate ? 1.0f : 0.0f);
    shape s;
    memset(&s, 0, sizeof s); /* it is compared by bytes */
    s.m = g->m, s.n = g->n, s.k = g->k, s.a_stride = a.stride, s.b_stride = b.stride, s.c_stride = out.stride;
    s.a_columns = a.columns, s.b_columns = b.columns, s.ab = g->a.dt, s.c = g->c.dt, s.beta = (int32_t)beta;
    s.a_align = alignment(g->a.p), s.b_align = alignment(g->b.p), s.c_align = alignment(g->c.p);
    s.add_align = alignment(add);
    descriptors d;
    cublasStatus_t e = describe(&d, &s);
    plan *p = plan_of(c->plans, &s);
    if (!e && !p->used) e = choose(c, &d, p);
    *done = p->found;
    if (!e && p->found)
        e = cublasLtMatmul(c->lt, &d.op, &alpha, g->b.p, &d.a, g->a.p, &d.b, &beta, add, &d.c, g->c.p, &d.c, &p->algo,
                           c->lt_work, p->work_bytes, c->stream);
    if (!e) return GAL_OK;
    return gal_fail(diag, GAL_EDEVICE, "cuda: %s: cuBLASLt, %lld x %lld x %lld: %s", c->last, (long long)g->m,
                    (long long)g->n, (long long)g->k, cublasLtGetStatusString(e));
}

/* ---- operands of another type, sums kept apart --------------------------------------------------------- */

static __global__ void __launch_bounds__(THREADS)
    convert_kernel(void *to, gal_dtype to_dt, int64_t to_stride, gal_mat a, lines l, bool wide) {
    int64_t groups = (l.length + GROUP - 1) / GROUP, at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t line = at / groups, i = at % groups * GROUP;
    if (line >= l.count) return;
    float x[GROUP];
    gal__get8(x, a.p, a.dt, line * l.stride + i, l.length - i, wide);
    gal__put8(to, to_dt, line * to_stride + i, x, l.length - i, true); /* the workspace and its lines are aligned */
}

static size_t converted_bytes(const gal_mat *a, const lines *l, gal_dtype dt) {
    return a->dt == dt ? 0 : (size_t)(l->count * gal__pieces(l->length, 128) * 128) * gal_dtype_bytes(dt);
}

/* a's copy of type dt at c->work + *at; *at moves on. */
static void convert(gal_cuda *c, gal_mat *a, const lines *l, gal_dtype dt, size_t *at) {
    if (a->dt == dt) return;
    int64_t stride = gal__pieces(l->length, GROUP) * GROUP;
    void *to = c->work + *at;
    bool wide = gal__wide(a->p) && l->stride % GROUP == 0;
    int64_t groups = l->count * (stride / GROUP);
    convert_kernel<<<(unsigned)gal__pieces(groups, THREADS), THREADS, 0, c->stream>>>(to, dt, stride, *a, *l, wide);
    *at += converted_bytes(a, l, dt);
    *a = gal_mat{ to, dt, l->columns ? 1 : stride, l->columns ? stride : 1, nullptr, nullptr };
}

/* What cuBLASLt does not round once: a sum and something else into bf16, f32 into bf16, three numbers into one. */
static bool apart(const gal_gemm *g, gal_dtype dt) {
    if (g->c.dt == GAL_F32) return g->add && g->accumulate && g->add != g->c.p;
    return g->add || g->accumulate || dt == GAL_F32;
}

/* C from its sums. wide: the lines of C and of what is added begin at 16 bytes. */
static __global__ void __launch_bounds__(THREADS)
    finish_kernel(gal_gemm g, const float *sums, int64_t stride, bool wide) {
    int64_t groups = stride / GROUP, at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t i = at / groups, j = at % groups * GROUP, to = i * g.c.rs + j;
    if (i >= g.m) return;
    float sum[GROUP], x[GROUP];
    gal__get8(sum, sums, GAL_F32, i * stride + j, g.n - j, true);
    if (!wide || g.n - j < GROUP) {
#pragma unroll
        for (int e = 0; e < GROUP; e++)
            if (j + e < g.n) finish(g, i, j + e, sum[e]);
        return;
    }
    if (g.add) {
        gal__get8(x, g.add, g.c.dt, to, GROUP, true);
        for (int e = 0; e < GROUP; e++) sum[e] += x[e];
    }
    if (g.accumulate) {
        gal__get8(x, g.c.p, g.c.dt, to, GROUP, true);
        for (int e = 0; e < GROUP; e++) sum[e] += x[e];
    }
    gal__put8(g.c.p, g.c.dt, to, sum, GROUP, true);
}

static void finish_all(gal_cuda *c, const gal_gemm *g, const gal_mat *sums) {
    bool wide = g->c.cs == 1 && g->c.rs % GROUP == 0 && gal__wide(g->c.p) && gal__wide(g->add);
    unsigned blocks = (unsigned)gal__pieces(g->m * (sums->rs / GROUP), THREADS);
    finish_kernel<<<blocks, THREADS, 0, c->stream>>>(*g, (const float *)sums->p, sums->rs, wide);
}

static void *moved(const void *p, gal_dtype dt, int64_t elements) {
    return p ? (char *)p + elements * (int64_t)gal_dtype_bytes(dt) : NULL;
}

/* Rows from..to of C, or its columns. */
static gal_gemm part_of(const gal_gemm *g, bool columns, int64_t from, int64_t to) {
    gal_gemm p = *g;
    gal_mat *in = columns ? &p.b : &p.a;
    in->p = moved(in->p, in->dt, from * (columns ? in->cs : in->rs));
    int64_t out = from * (columns ? p.c.cs : p.c.rs);
    p.c.p = moved(p.c.p, p.c.dt, out);
    p.add = moved(p.add, p.c.dt, out);
    *(columns ? &p.n : &p.m) = to - from;
    return p;
}

static gal_err multiply(gal_cuda *c, const gal_gemm *g, gal_diag *diag);

/* By cuBLASLt in type dt; *done false: it cannot. */
static gal_err multiply_as(gal_cuda *c, const gal_gemm *g, gal_dtype dt, bool *done, gal_diag *diag) {
    lines a, b;
    *done = false;
    if (!lines_of(&g->a, g->m, g->k, &a) || !lines_of(&g->b, g->k, g->n, &b)) return GAL_OK;
    size_t a_bytes = converted_bytes(&g->a, &a, dt), b_bytes = converted_bytes(&g->b, &b, dt), at = 0;
    int64_t stride = gal__pieces(g->n, GROUP) * GROUP;
    size_t sum_bytes = apart(g, dt) ? (size_t)(g->m * stride) * sizeof(float) : 0;
    if (a_bytes + b_bytes + sum_bytes > GAL__CUDA_WORK_BYTES) { /* the halves of C, one after the other */
        bool columns = b_bytes != a_bytes ? b_bytes > a_bytes : g->n > g->m;
        int64_t all = columns ? g->n : g->m, half = gal__pieces(all, 2 * TILE) * TILE;
        if (half >= all) return GAL_OK;
        gal_gemm left = part_of(g, columns, 0, half), right = part_of(g, columns, half, all);
        *done = true;
        gal_err err = multiply(c, &left, diag);
        return err ? err : multiply(c, &right, diag);
    }
    gal_gemm same = *g;
    convert(c, &same.a, &a, dt, &at);
    convert(c, &same.b, &b, dt, &at);
    if (!sum_bytes) return multiply_lt(c, &same, done, diag);
    same.c = gal_mat{ c->work + at, GAL_F32, stride, 1, nullptr, nullptr };
    same.add = NULL, same.accumulate = false;
    gal_err err = multiply_lt(c, &same, done, diag);
    if (!err && *done) finish_all(c, g, &same.c);
    return err;
}

/* C's rows are made its lines: C^T = B^T A^T. */
static gal_gemm by_rows(const gal_gemm *g) {
    if (g->c.cs == 1 || g->c.rs != 1) return *g;
    gal_gemm t = *g;
    t.m = g->n, t.n = g->m;
    t.a = gal_mat{ g->b.p, g->b.dt, g->b.cs, g->b.rs, nullptr, nullptr };
    t.b = gal_mat{ g->a.p, g->a.dt, g->a.cs, g->a.rs, nullptr, nullptr };
    t.c = gal_mat{ g->c.p, g->c.dt, g->c.cs, g->c.rs, nullptr, nullptr };
    return t;
}

static gal_err multiply(gal_cuda *c, const gal_gemm *given, gal_diag *diag) {
    gal_gemm g = by_rows(given);
    if (g.m <= 0 || g.n <= 0) return GAL_OK;
    bool narrow = g.compute == GAL_BF16 || (g.a.dt == GAL_BF16 && g.b.dt == GAL_BF16);
    bool few = few_rows(&g), done = false;
    if (g.k > 0 && !(few && (g.m <= FEW || (!narrow && g.b.dt != GAL_F32)))) {
        gal_err err = multiply_as(c, &g, narrow ? GAL_BF16 : GAL_F32, &done, diag);
        if (err || done) return err;
    }
    if (few)
        multiply_few_rows(c, &g);
    else
        multiply_tiles(c, &g);
    return GAL_OK;
}

static gal_err refused(const gal_cuda *c, const gal_gemm *g, gal_diag *diag) {
    gal_err err = gal__cuda_activations(c, g->c.dt, diag);
    if (!err) err = gal__cuda_activations(c, g->compute, diag);
    if (!err) err = gal__cuda_weights(c, g->a.dt, diag);
    return err ? err : gal__cuda_weights(c, g->b.dt, diag);
}

gal_err gal__cuda_gemm(gal_cuda *c, const void *args, gal_diag *diag) {
    const gal_k_gemm *k = (const gal_k_gemm *)args;
    gal_err err = GAL_OK;
    for (int i = 0; !err && i < k->count; i++) err = refused(c, &k->p[i], diag);
    for (int i = 0; !err && i < k->count; i++) err = multiply(c, &k->p[i], diag);
    return err;
}
