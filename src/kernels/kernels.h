/* kernels.h - the list of kernels and the arguments of each. A kernel is a pure function of its arguments on plain
 * pointers: no allocation, no globals, no environment, no logging.
 *
 * A kernel is cut into chunks by its arguments alone; chunks write disjoint bytes, and sums that cross chunks are
 * added in a fixed order. Only a product is told the number of threads, and gives the same bytes for any. Levels
 * (ref, sse42, avx, avx2, avx512, neon) fill a table of these; what a level leaves out is taken from ref, which is
 * the definition: plain C, every sum in double.
 *
 * Types: "dt" is the type of the activations (f32, bf16, or f64 on ref). Statistics and weight gradients are
 * gal_stat_dtype(dt): f32, or f64 where dt is f64. All arrays are row-major and dense unless strides are given.
 * An "accumulate" flag adds to what the output holds instead of replacing it. Outputs never overlap inputs unless
 * the comment says "in place". SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_KERNELS_H
#define GAL_KERNELS_KERNELS_H

#include "tensor/tensor.h"

typedef enum gal_kernel_id {
    GAL_K_GEMM,
    GAL_K_QUANTISE,
    GAL_K_GEMM_I8,
    GAL_K_PACK,
    GAL_K_EMBED,
    GAL_K_EMBED_GRAD,
    GAL_K_RMS_NORM,
    GAL_K_RMS_NORM_DX,
    GAL_K_RMS_NORM_DW,
    GAL_K_LAYER_NORM,
    GAL_K_LAYER_NORM_DX,
    GAL_K_LAYER_NORM_DW,
    GAL_K_ROPE_TABLE,
    GAL_K_ROPE,
    GAL_K_SINUSOID,
    GAL_K_ATTEND,
    GAL_K_ATTEND_JOIN,
    GAL_K_ATTEND_GRAD,
    GAL_K_KV_STORE,
    GAL_K_SWIGLU,
    GAL_K_SWIGLU_GRAD,
    GAL_K_ADD,
    GAL_K_MUL,
    GAL_K_SILU,
    GAL_K_SILU_GRAD,
    GAL_K_GELU,
    GAL_K_GELU_GRAD,
    GAL_K_ADD_ROW,
    GAL_K_SUM_ROWS,
    GAL_K_SOFTMAX,
    GAL_K_SOFTMAX_GRAD,
    GAL_K_COPY,
    GAL_K_FILL,
    GAL_K_GATHER_ROWS,
    GAL_K_SINKHORN,
    GAL_K_HASH,
    GAL_K_ROUTE,
    GAL_K_ROUTE_SORT,
    GAL_K_ROUTE_GRAD,
    GAL_K_ROUTE_SUMS,
    GAL_K_ROUTE_LOSS,
    GAL_K_ROUTE_POLICY,
    GAL_K_EXPERT_ADD,
    GAL_K_EXPERT_GELU,
    GAL_K_EXPERT_GELU_GRAD,
    GAL_K_EXPERT_SUM,
    GAL_K_EXPERTS,
    GAL_K_EXPERTS_I8,
    GAL_K_COMBINE,
    GAL_K_COMBINE_GRAD,
    GAL_K_XENT,
    GAL_K_XENT_GRAD,
    GAL_K_WSUM,
    GAL_K_WSUM_GRAD,
    GAL_K_SUM_SQUARES,
    GAL_K_CLIP,
    GAL_K_ADAMW,
    GAL_K_SGD,
    GAL_K_FACTOR_ROWS,
    GAL_K_FACTOR_COLS,
    GAL_K_FACTOR_SQUARES,
    GAL_K_FACTOR_SCALE,
    GAL_K_FACTOR_UPDATE,
    GAL_K_EMA,
    GAL_K_COUNT
} gal_kernel_id;

typedef struct gal_kernel {
    int64_t (*chunks)(const void *args);
    void (*run)(const void *args, int64_t chunk, void *scratch); /* scratch: base/pool.h */
} gal_kernel;

/* What a processor can do at best, as loops that do nothing else: the limits that the speed of kernels is a part of.
 */
typedef enum gal_peak_id {
    GAL_PEAK_READ, /* bytes of memory read */
    GAL_PEAK_F32,  /* dot products; a multiply-add is two operations */
    GAL_PEAK_BF16, /* ... of bf16, summed in f32 */
    GAL_PEAK_I8,   /* ... of int8, summed in int32 */
    GAL_PEAK_COUNT
} gal_peak_id;
enum { GAL_PEAK_INPUT_BYTES = 512, GAL_PEAK_SINK_BYTES = 64 };
typedef struct gal_peak {
    /* rounds > 0. x: rounds * per_round bytes for READ, else GAL_PEAK_INPUT_BYTES that hold finite numbers in the
     * type. sink receives 4-byte sums, at most GAL_PEAK_SINK_BYTES of them: in all what was read as int32, or the
     * products. So no work can be left out. */
    void (*run)(const void *x, int64_t rounds, void *sink);
    int64_t per_round; /* bytes or operations */
    const char *how;   /* the instructions, for people */
} gal_peak;

/* One table a level. */
typedef struct gal_kernel_table {
    const char *name;
    gal_kernel k[GAL_K_COUNT];
    gal_peak peak[GAL_PEAK_COUNT];
} gal_kernel_table;

void gal_ref_fill(gal_kernel_table *t);
void gal_sse42_fill(gal_kernel_table *t);       /* empty bodies where the compiler has no such target */
void gal_avx_fill(gal_kernel_table *t);         /* on top of sse42; neither FMA nor integers of 256 bits */
void gal_avx2_fill(gal_kernel_table *t);        /* with FMA and F16C */
void gal_avx_vnni_fill(gal_kernel_table *t);    /* on top of avx2, where the processor has it */
void gal_avx512_fill(gal_kernel_table *t);      /* AVX-512 F, BW, DQ, VL */
void gal_avx512_vnni_fill(gal_kernel_table *t); /* on top of avx512, where the processor has it */
void gal_avx512_bf16_fill(gal_kernel_table *t); /* on top of avx512, where the processor has it */
void gal_neon_fill(gal_kernel_table *t);        /* 64-bit ARM: every such processor has it */
void gal_neon_dot_fill(gal_kernel_table *t);    /* on top of neon, where the processor has dot products */
void gal_neon_i8mm_fill(gal_kernel_table *t);   /* on top of those, where it has products of int8 matrices */

/* A matrix with strides in elements; transposing is swapping them. Blocks lie along the stride that is 1; the other
 * stride is the length of a row of blocks. */
typedef struct gal_mat {
    void *p; /* inputs are never written */
    gal_dtype dt;
    int64_t rs, cs;
    const gal_code *code; /* where dt is GAL_BLOCKS */
    const void *packed;   /* the same numbers as tensor/pack.h has them, or NULL. GEMM_I8 alone reads it */
} gal_mat;

/* C[m, n] = sum_k A[m, k] B[k, n]  (+ add[m, n], same type and strides as C)  (+ C if accumulate).
 * compute F32: products and sums in f32 (ref: double). BF16: A and B are first rounded to bf16, products summed in
 * f32. F64: double throughout. C is rounded once. B may be in blocks, whose numbers are those of tensor/blocks.h. Up
 * to three independent products in one launch. */
enum { GAL_GEMM_MAX = 3, GAL_ALIKE_ROWS = 16 };
/* What a row's bytes follow from besides itself. GEMM_I8's never from more. */
typedef enum gal_alike {
    GAL_ALIKE_NOT,  /* how many rows there are */
    GAL_ALIKE_ONE,  /* nothing, up to GAL_ALIKE_ROWS rows: they are those of a row alone */
    GAL_ALIKE_MANY, /* nothing, whatever the number of rows: they are those of one among many */
} gal_alike;
typedef struct gal_gemm {
    int64_t m, n, k;
    gal_mat a, b, c;
    const void *add; /* NULL: none; may be C itself */
    gal_dtype compute;
    bool accumulate;
} gal_gemm;
typedef struct gal_k_gemm {
    int count;
    int threads;     /* that share the launch; 0: nobody knows. A hint for the cut */
    bool twice;      /* of GEMM_I8: as its QUANTISE was */
    gal_alike alike; /* of GEMM */
    gal_gemm p[GAL_GEMM_MAX];
} gal_k_gemm;

/* Activations as small integers. x [n, d], d a multiple of GAL_I8_BLOCK, is cut into units of GAL_I8_UNIT columns
 * (the last one may have fewer); of each unit all rows follow one another, and a row of c columns is int8 q[c],
 *
 *     f32 scale[c / 32], sum[c / 32]; int32 bias[c / 32]     of 32 neighbours of the row
 *     f32 sum16[c / 16]; int32 bias16[c / 16]                of 16
 *
 * scale = max |x| / 127, q = x (127 / max |x|) to the nearest, halves to even; bias = GAL_I8_START - 128 (q[0] + ..),
 * sum = scale (q[0] + ..), floats in f32, the same bytes at every level. What is not q or scale is what products with
 * weights need that have a minimum or an offset. A sum of products that starts at GAL_I8_START has the bits of the
 * f32 1.5 2^23 + sum, without a conversion. Numbers below GAL_I8_LEAST in size are 0 where nothing
 * larger is beside them; where one is not finite the scale is NaN, and so is every product with it. twice: row n is
 * followed by one like it of what is left, x - scale q, so 2 n rows in all; together nearly x. */
enum { GAL_I8_BLOCK = 32, GAL_I8_HALF = 16, GAL_I8_UNIT = 256, GAL_I8_OFFSET = 128, GAL_I8_START = 0x4b400000 };
#define GAL_I8_LEAST 1e-30f
/* Bytes of one row. */
static inline size_t gal_i8_row_bytes(int64_t d) {
    return (size_t)(d + 3 * (d / GAL_I8_BLOCK * 4) + 2 * (d / GAL_I8_HALF * 4));
}
typedef struct gal_k_quantise {
    void *q;
    const void *x;
    gal_dtype dt;
    int64_t n, d;
    bool twice;
} gal_k_quantise;

/* GAL_K_GEMM_I8: gal_k_gemm where a.p points to what QUANTISE made, of a.rs rows in all (with twice 2 for each of x),
 * and a.cs is the first of them that is multiplied; b is in blocks (not FP8) with b.rs = 1, and c.cs = 1; no
 * accumulate. Products of the integers are exact, what blocks and rows are scaled with is applied in f32. twice: a
 * row of C is the sum of both rows' products. */

/* A weight [rows, cols] in blocks, as tensor/pack.h rearranges it. The format is one that gal_pieces_of() knows. */
typedef struct gal_k_pack {
    void *packed;
    const void *weight;
    uint32_t block;
    int64_t rows, cols;
} gal_k_pack;

/* y[n, :] = table[ids[n], :]. table [V, D] of type wdt, y [N, D]. ids are checked by the caller. */
typedef struct gal_k_embed {
    void *y;
    gal_dtype dt;
    const void *table;
    gal_dtype wdt;
    const gal_code *code; /* where wdt is GAL_BLOCKS */
    const int32_t *ids;
    int64_t n, d;
} gal_k_embed;

/* dtable[ids[n], :] += dy[n, :], rows in order of n. dtable [V, D] of gal_stat_dtype(dt). Chunks cut the columns. */
typedef struct gal_k_embed_grad {
    void *dtable;
    const void *dy;
    gal_dtype dt;
    const int32_t *ids;
    int64_t n, d;
} gal_k_embed_grad;

/* y = cast(x * inv) * w, inv = 1 / sqrt(mean(x^2) + eps); mistral.md 4.1: normalise in f32, cast to dt, then scale in
 * dt. x y [N, D], w [D] of type wdt, inv [N] or NULL. */
typedef struct gal_k_rms_norm {
    void *y, *inv;
    const void *x, *w;
    gal_dtype dt, wdt;
    int64_t n, d;
    double eps;
} gal_k_rms_norm;

/* dx (+)= inv * (w dy - x inv^2 mean(x w dy)).  Chunks cut the rows. */
typedef struct gal_k_rms_norm_dx {
    void *dx;
    const void *dy, *x, *w, *inv;
    gal_dtype dt, wdt;
    int64_t n, d;
    bool accumulate;
} gal_k_rms_norm_dx;

/* dw += sum_n dy * x * inv, rows in order.  dw [D] of gal_stat_dtype(dt). Chunks cut the columns. */
typedef struct gal_k_rms_norm_dw {
    void *dw;
    const void *dy, *x, *inv;
    gal_dtype dt;
    int64_t n, d;
} gal_k_rms_norm_dw;

/* y = (x - mean) inv w + b, inv = 1 / sqrt(mean((x - mean)^2) + eps) (arXiv:1607.06450), rounded once. x y [N, D], w
 * b [D] of type wdt, mean inv [N] or NULL. */
typedef struct gal_k_layer_norm {
    void *y, *mean, *inv;
    const void *x, *w, *b;
    gal_dtype dt, wdt;
    int64_t n, d;
    double eps;
} gal_k_layer_norm;

/* With g = w dy and z = (x - mean) inv:  dx (+)= inv (g - mean(g) - z mean(g z)).  Chunks cut the rows. */
typedef struct gal_k_layer_norm_dx {
    void *dx;
    const void *dy, *x, *w, *mean, *inv;
    gal_dtype dt, wdt;
    int64_t n, d;
    bool accumulate;
} gal_k_layer_norm_dx;

/* dw += sum_n dy z, rows in order.  dw [D] of gal_stat_dtype(dt). Chunks cut the columns. */
typedef struct gal_k_layer_norm_dw {
    void *dw;
    const void *dy, *x, *mean, *inv;
    gal_dtype dt;
    int64_t n, d;
} gal_k_layer_norm_dw;

/* table[n] = { m cos(p f_0) .. m cos(p f_{K/2-1}), m sin(p f_0) .. }, p = pos[n], the angle rounded to f32 as the
 * reference implementations do; qscale[n] = 1 + beta ln(1 + floor(p / original)) (mistral.md 12), or NULL.
 * table [N, K] and qscale [N] of gal_stat_dtype(dt); inv_freq [K / 2]. */
typedef struct gal_k_rope_table {
    void *table, *qscale;
    gal_dtype dt;
    const int32_t *pos;
    const float *inv_freq;
    float mscale, beta, original;
    int64_t n, size;
} gal_k_rope_table;

/* Rotates q [N, H, K] and k [N, G, K] in place by the table; q is also multiplied by qscale where given. k may be
 * NULL. interleaved: pairs (2j, 2j+1), else (j, j + K/2) (mistral.md 5). inverse: by the negative angle (the
 * gradient). */
typedef struct gal_k_rope {
    void *q, *k;
    gal_dtype dt;
    const void *table, *qscale;
    int64_t n, heads, kv_heads, size;
    bool interleaved, inverse;
} gal_k_rope;

/* table[m, :] = { sin(p w_0) .., cos(p w_0) .. }, p = first + m, w_t = 10000^(-2 t / D): sines first, then cosines
 * (Transformer-XL, arXiv:1901.02860). table [M, D] of type dt, D even. */
typedef struct gal_k_sinusoid {
    void *table;
    gal_dtype dt;
    int64_t first, m, d;
} gal_k_sinusoid;

/* Attention of each row n over keys of its own document: o = softmax(scale q k^T) v with query head h reading
 * key-value head h / (H / G), exact for any length. rows of this batch: j in [start[n], n] with n - j < window cached
 * keys, only if ck is not NULL: positions p in [0, pos[start[n]]) with pos[n] - p < window, of cache sequence seq[n],
 * in slot p mod slots. window 0: no limit. q o [N, H, K], k v [N, G, K], lse [N, H] or NULL: log of the sum of
 * exponentials, for the gradient. ck cv [sequences, G, slots, K] of type cdt, which may lie in blocks
 * (gal_dtype_in_blocks) where K is whole blocks. start[n] <= n; rows of a document are consecutive and pos grows
 * by 1. part, or NULL: room in which ATTEND may leave what it makes of pieces of the cached keys, where there are at
 * most GAL_ATTEND_SPLIT rows; then o and lse of these rows are what ATTEND_JOIN, with the same arguments, makes of
 * them. r, or NULL: relative positions, where H = G; a key that lies m positions back has the score
 * scale (q k + qr r[min(m, M - 1)]), with qr [N, H, K] and r [M, H, K] of type dt (arXiv:1901.02860, 3.3; gopher.md
 * 2.2). */
enum { GAL_ATTEND_SPLIT = 16, GAL_ATTEND_PIECES = 16 };
typedef struct gal_k_attend {
    void *o, *lse;
    const void *q, *k, *v;
    gal_dtype dt;
    int64_t n, heads, kv_heads, size, window;
    double scale;
    const int32_t *start, *pos, *seq;
    const void *ck, *cv;
    gal_dtype cdt;
    int64_t slots;
    float *part; /* [N, H, GAL_ATTEND_PIECES, K + 2] */
    const void *qr, *r;
    int64_t distances; /* M */
} gal_k_attend;

/* dq dk dv (+)= gradients of attend without a cache. row_len divides n: no document crosses a multiple of it; chunks
 * are (multiple of row_len, key-value head). Where r is given dqr (+)= qr's gradient, and dr receives that of r,
 * [N / row_len, M, H, K] in gal_stat_dtype(dt): a part of each chunk, to be summed over the first dimension. */
typedef struct gal_k_attend_grad {
    void *dq, *dk, *dv;
    const void *dout, *o, *lse, *q, *k, *v;
    gal_dtype dt;
    int64_t n, heads, kv_heads, size, window, row_len;
    double scale;
    const int32_t *start;
    bool accumulate;
    void *dqr, *dr;
    const void *qr, *r;
    int64_t distances;
} gal_k_attend_grad;

/* Writes row n's keys and values to slot pos[n] mod slots of sequence seq[n]; of a sequence's rows only the last
 * `slots` are written. k v [N, G, K]; ck cv as in attend. Blocks are those of gal_block_quantise(). */
typedef struct gal_k_kv_store {
    void *ck, *cv;
    gal_dtype cdt;
    const void *k, *v;
    gal_dtype dt;
    const int32_t *pos, *seq;
    int64_t n, kv_heads, size, slots;
} gal_k_kv_store;

/* y = silu(g) * u, y may be g; the gradient: dg (replaced), du (replaced). [count] each. */
typedef struct gal_k_swiglu {
    void *y;
    const void *g, *u;
    gal_dtype dt;
    int64_t count;
} gal_k_swiglu;
typedef struct gal_k_swiglu_grad {
    void *dg, *du;
    const void *dy, *g, *u;
    gal_dtype dt;
    int64_t count;
} gal_k_swiglu_grad;

/* ADD y = a + b; MUL y = a * b (+ y if accumulate); SILU y = silu(a); SILU_GRAD y (+)= b * silu'(a);
 * COPY y = a with conversion from adt to dt; FILL y = value. y may be a or b (in place). [count] each. */
typedef struct gal_k_map {
    void *y;
    const void *a, *b;
    gal_dtype dt, adt; /* adt: COPY only */
    int64_t count;
    double value;
    bool accumulate;
} gal_k_map;

/* GELU y = gelu(x + b), gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (arXiv:1606.08415, the form of
 * GPT-2); GELU_GRAD y = dy gelu'(x + b). y x dy [N, D], y may be x or dy; b [D] of type wdt. */
typedef struct gal_k_gelu {
    void *y;
    const void *x, *b, *dy;
    gal_dtype dt, wdt;
    int64_t n, d;
} gal_k_gelu;

/* y[n, :] = x[n, :] + b[:], y may be x. x y [N, D], b [D] of type wdt. */
typedef struct gal_k_add_row {
    void *y;
    const void *x, *b;
    gal_dtype dt, wdt;
    int64_t n, d;
} gal_k_add_row;

/* y[:] (+)= sum_n x[n, :], rows in order. x [N, D] of type xdt, y [D] of type dt. Chunks cut the columns. */
typedef struct gal_k_sum_rows {
    void *y;
    const void *x;
    gal_dtype dt, xdt;
    int64_t n, d;
    bool accumulate;
} gal_k_sum_rows;

/* y[n, m] = exp(scale x - max) / sum over columns lo[n] <= m < hi[n] (0 elsewhere), N rows in `groups` blocks that
 * share lo and hi: row r uses lo[r % (N / groups)]. The gradient, with the probabilities in x: dx (+)= scale * x *
 * (dy - sum(x dy)). */
typedef struct gal_k_softmax {
    void *y;            /* dx in the gradient */
    const void *x, *dy; /* x: the probabilities in the gradient */
    gal_dtype dt;
    int64_t n, m, groups;
    const int32_t *lo, *hi;
    double scale;
    bool accumulate;
} gal_k_softmax;

/* y[i, :] = x[rows[i], :]; with scatter set, y[rows[i], :] += x[i, :] instead (rows distinct). */
typedef struct gal_k_gather_rows {
    void *y;
    const void *x;
    gal_dtype dt;
    const int32_t *rows;
    int64_t n, d; /* rows of the gathered side */
    bool scatter;
} gal_k_gather_rows;

/* ---- experts (arXiv:2401.04088; mixtral.md 4) --------------------------------------------------------------------
 * E experts, of which each row chooses k. Rows are sorted by expert, so that an expert's rows stand together: R = N k
 * sorted rows. Which rows are whose is read from the device's memory when a kernel runs, so a recorded step can be
 * replayed with other choices. Arrays of floats are of type dt, the logits' own: f32 or f64. */

/* A balanced plan (routed-scaling.md 3.1): of all P [N, E] whose rows add up to 1 / N and whose columns to 1 / E the
 * one of the largest sum_ne P logits + entropy, P = exp(f[n] + logits[n, e] + g[e]), by Sinkhorn's iterations in the
 * logarithm's domain from g = 0:
 *     f[n] = -log N - log sum_e exp(logits + g)        g[e] = -log E - log sum_n exp(logits + f)
 * The rows are exact; it ends when no column is off by more than `tolerance` of itself, or after so many iterations,
 * whose number *made receives. f may be NULL. work: room for faster ways. One chunk. */
enum { GAL_SINKHORN_PAD = 16 };
typedef struct gal_k_sinkhorn {
    void *f, *g; /* [N], [E] */
    int32_t *made;
    const void *logits; /* [N, E] */
    gal_dtype dt;
    int64_t n, experts;
    double tolerance;
    int64_t iterations;
    float *work; /* [E + 1, N rounded up to GAL_SINKHORN_PAD], at 8 bytes, or NULL where N is small */
} gal_k_sinkhorn;

/* choice[n] = ids[n] mod E. */
typedef struct gal_k_hash {
    int32_t *choice;
    const int32_t *ids;
    int64_t n, experts;
} gal_k_hash;

/* What an expert's result is multiplied with, c being the experts that a row chose. */
typedef enum gal_gate {
    GAL_GATE_CHOSEN,  /* softmax(logits[c]) */
    GAL_GATE_ALL,     /* softmax(logits)[c] */
    GAL_GATE_SIGMOID, /* sigmoid(logits[c]) */
    GAL_GATE_ONE
} gal_gate;

/* choice[n, j]: the j-th largest of logits[n, :] + add, of equals the one with the lowest number first; with noise,
 * of logits - log(-log(uniform)), which draws from softmax(logits) without putting back (Gumbel). With top_p below 1
 * it draws from the row's nucleus: as few of the largest of prob[n, :] (of equals the ones with the lowest numbers)
 * as add up to top_p, k at least. weight[n, :]: the gate's of the logits alone, divided by their sum where `whole`;
 * prob[n, :]: softmax of all of them, lse[n]: log of the sum of their exponentials; NULL: not wanted. A row with a
 * NaN among its logits gets weights that are NaN. */
typedef struct gal_noise {
    uint64_t seed, stream, first; /* row n draws the numbers (first + n) E .. of a stream (base/rng.h) */
} gal_noise;
typedef struct gal_k_route {
    int32_t *choice;           /* [N, k] */
    void *weight, *prob, *lse; /* [N, k], [N, E], [N] */
    const void *logits;        /* [N, E] */
    gal_dtype dt;
    int64_t n, experts, used;
    const void *add;        /* [E] or NULL */
    const gal_noise *noise; /* or NULL; its `stream` is replaced by the one below */
    uint64_t stream;
    double top_p; /* with noise */
    gal_gate gate;
    bool whole;
} gal_k_route;

/* Expert e has the sorted rows offset[e] .. offset[e + 1] - 1, in the order of n, then j; sorted row r is a copy of
 * row row[r]; place[n, j] is the sorted row of choice[n, j]. Of more rows than `capacity` (0: any number) an expert
 * has the first; place is -1 for the others, and row is 0 beyond the last sorted one. One chunk. */
typedef struct gal_k_route_sort {
    int32_t *offset, *row, *place; /* [E + 1], [R], [N, k] */
    const int32_t *choice;         /* [N, k] */
    int64_t n, experts, used, capacity;
} gal_k_route_sort;

/* What the losses that keep experts in balance need of one layer, and what people want to know: sums
 * [gal_route_width(E)] in double over the rows that count (target[n] >= 0). Without prob and lse (GAL_K_HASH) theirs
 * are 0. A chunk an expert. */
enum {
    GAL_ROUTE_ROWS,       /* their number */
    GAL_ROUTE_LSE,        /* of lse^2 */
    GAL_ROUTE_DROPPED,    /* choices that found no place */
    GAL_ROUTE_ITERATIONS, /* of a plan */
    GAL_ROUTE_TAKEN,      /* of prob of the choices */
    GAL_ROUTE_ERROR,      /* of (value - reward)^2: 0 until ROUTE_POLICY writes it */
    GAL_ROUTE_HEAD
};
/* Then, E numbers each: of prob, choices, and of -prob log prob. */
enum { GAL_ROUTE_PROB, GAL_ROUTE_CHOICES, GAL_ROUTE_ENTROPY, GAL_ROUTE_PARTS };
static inline int64_t gal_route_width(int64_t experts) { return GAL_ROUTE_HEAD + GAL_ROUTE_PARTS * experts; }
static inline int64_t gal_route_at(int64_t experts, int part, int64_t e) {
    return GAL_ROUTE_HEAD + part * experts + e;
}
typedef struct gal_k_route_sums {
    double *sums;
    const void *prob, *lse;
    const int32_t *choice, *target, *place;
    const int32_t *made; /* NULL: no plan */
    gal_dtype dt;
    int64_t n, experts, used;
} gal_k_route_sums;

/* The losses of a step from the sums of all layers (mixtral.md 4, "load-balancing loss"): with f the
 * choices of an expert a row and P its mean probability, over the rows of all layers together,
 *     balance = E sum_e f_e P_e        z = mean lse^2
 * per_layer: the mean over layers of each layer's own balance. loss[0] += balance, loss[1] += z, times scale. */
typedef struct gal_k_route_loss {
    double *loss;
    const double *sums;
    int64_t layers, experts;
    double scale;
    bool per_layer;
} gal_k_route_loss;

/* The gradient of the gate: of softmax over the chosen, dlogits[n, choice[n, j]] = w_j (dw_j - sum_i w_i dw_i) with w
 * = weight, dw = dweight, the others 0; of the others likewise (prob is needed of GAL_GATE_ALL). With sums the
 * gradients of balance times its factor and of z times its factor are added for rows that count; f is a constant. */
typedef struct gal_k_route_grad {
    void *dlogits;                /* [N, E] */
    const void *dweight, *weight; /* [N, k] */
    const int32_t *choice;
    gal_dtype dt;
    int64_t n, experts, used;
    const void *prob, *lse;
    const int32_t *target;
    const double *sums; /* of all layers; NULL: no such losses */
    int64_t layers, layer;
    double balance, z;
    bool per_layer;
    gal_gate gate;
    bool whole;
    const void *logits; /* [N, E]; of GAL_GATE_SIGMOID, whole, alone */
} gal_k_route_grad;

/* REINFORCE (arXiv:2202.01169; routed-scaling.md 3.3): a row's reward is r = -loss[n], what it brings beyond the
 * baseline its advantage A = r - value[n]. Over the rows that count of a layer, with factors that its losses have,
 *     dlogits[n, e] += factor / rows (policy A sum_j (q_e - [e = c_j]) + entropy p_e (log p_e + H))
 *     dvalue[n] = factor / rows 2 baseline (value[n] - r)
 * with p = prob, and q what was drawn from: p, or p of the nucleus of top_p (ROUTE) over its sum there. The first
 * chunk writes sums[GAL_ROUTE_ERROR]. */
typedef struct gal_k_route_policy {
    void *dlogits, *dvalue;          /* [N, E], [N] */
    const void *prob, *value, *loss; /* [N, E], [N], [N] */
    const int32_t *choice, *target;
    gal_dtype dt;
    int64_t n, experts, used;
    double *sums; /* of this layer */
    double factor, policy, baseline, entropy, top_p;
} gal_k_route_policy;

/* A vector of each expert and its sorted rows; what lies behind the last row of the last expert is left alone.
 *     EXPERT_ADD        y = x + b_e            EXPERT_GELU       y = gelu(x + b_e)
 *     EXPERT_GELU_GRAD  y = dy gelu'(x + b_e)  EXPERT_SUM        b_e += sum of its rows of x, in order
 * x y dy [R, D], y may be x or dy; b_e [D] of type wdt (of EXPERT_SUM gal_stat_dtype(dt)), passed over where NULL. */
typedef struct gal_k_expert_rows {
    void *y;
    const void *x, *dy;
    gal_dtype dt, wdt;
    int64_t experts, rows, d;
    const int32_t *offset;    /* [E + 1] */
    void *b[GAL_MAX_EXPERTS]; /* [E]; what lies beyond need not be there */
} gal_k_expert_rows;

/* Up to two products for each expert that has rows, the expert's own matrix w[product * experts + e] in the place of
 * one that p leaves out; p's m or k, whichever is 0, is the number of the expert's rows:
 *     m = 0: C[its rows, n] = A[its rows, k] w[e], where p.b is left out (n numbers of k)
 *     k = 0: w[e] = A[m, its rows] B[its rows, n], where p.c is left out (the gradient of a weight)
 * A matrix whose p is NULL is passed over. GAL_K_EXPERTS_I8: the same with m = 0 of what GEMM_I8 takes, p.a.p
 * pointing to what QUANTISE made of the sorted rows. rows: R; most: rows that one expert can have (N). */
typedef struct gal_k_experts {
    int count, threads; /* of products; as in gal_k_gemm */
    bool integers;      /* of EXPERTS_I8 */
    gal_alike alike;    /* as in gal_k_gemm */
    int64_t experts, rows, most;
    const int32_t *offset; /* [E + 1] */
    gal_gemm p[2];
    gal_mat w[2 * GAL_MAX_EXPERTS]; /* [count, E]; what lies beyond need not be there */
} gal_k_experts;

/* y[n, :] = add[n, :] + sum_j weight[n, j] x[place[n, j], :], in the order of j (+ y if accumulate); a place of -1 is
 * passed over. x [R, D], y and
 * add [N, D] of type dt, weight of wdt. weight NULL: ones; add NULL: zeros. */
typedef struct gal_k_combine {
    void *y;
    const void *x, *add, *weight;
    const int32_t *place;
    gal_dtype dt, wdt;
    int64_t n, d, used;
    bool accumulate;
} gal_k_combine;

/* dx[place[n, j], :] = weight[n, j] dy[n, :];  dweight[n, j] = sum_d dy[n, d] x[place[n, j], d], 0 without a place.
 */
typedef struct gal_k_combine_grad {
    void *dx, *dweight;
    const void *dy, *x, *weight;
    const int32_t *place;
    gal_dtype dt, wdt;
    int64_t n, d, used;
} gal_k_combine_grad;

/* loss[r] = lse[r] - logits[r, target[r]], 0 where target[r] < 0. logits [R, V], lse [R], loss [R] all of type dt,
 * which is f32 or f64. XENT_GRAD, in place: logits = dloss[r] (softmax(logits) - onehot(target)). */
typedef struct gal_k_xent {
    void *logits;
    void *loss, *lse;
    const void *dloss;
    gal_dtype dt;
    const int32_t *target;
    int64_t r, v;
} gal_k_xent;

/* *y = sum_n x[n] weight[n], summed in double in order of n; WSUM_GRAD: dx[n] (+)= *dy weight[n]. x, y, dx of type dt
 * (f32 or f64), weight f32. One chunk. */
typedef struct gal_k_wsum {
    void *y; /* dx in the gradient */
    const void *x, *dy;
    const float *weight;
    gal_dtype dt;
    int64_t n;
    bool accumulate;
} gal_k_wsum;

/* Numbers of one optimiser step, at a fixed address: kernels of a recorded step read them there. */
typedef struct gal_opt_step {
    float lr, beta1, beta2, eps, bias1, bias2; /* bias: 1 - beta^t */
    float clip;                                /* largest global norm of the gradient; 0: no limit */
    float grad_norm;                           /* written by CLIP */
    float grad_scale;                          /* written by CLIP: what every gradient is multiplied with */
    float momentum;
    uint64_t seed, t; /* of rounding by chance: the run's, and the update's number */
} gal_opt_step;

/* partial[i] = sum of squares of elements [i * GAL_SUM_CHUNK, ...), in double. CLIP adds partials [n] in order and
 * writes grad_norm and grad_scale of st. grads of type dt (f32 or f64). */
enum { GAL_SUM_CHUNK = 16384 };
typedef struct gal_k_sum_squares {
    double *partial;
    const void *x;
    gal_dtype dt;
    int64_t count;
} gal_k_sum_squares;
typedef struct gal_k_clip {
    gal_opt_step *st;
    const double *partial;
    int64_t n;
} gal_k_clip;

/* What every update of a weight shares. From a step that the kernel defines,
 *   w = w (1 - lr decay) - lr step
 * where the step is made of g = grad * grad_scale; with `coupled`, of g = grad * grad_scale + decay w, and
 * w = w - lr step (decay as a penalty). w [count] is of type wdt: that of dt, or bf16 where no copy in f32 is kept.
 * bf16 is rounded to nearest, or with `chance` up with the probability that keeps the mean: of w as f32 the upper
 * half of bits + r, where r are bits (i % 2) * 16 .. + 15 of word i % 8 / 2 of gal_philox(st->seed,
 * gal_chance_stream(st->t, index), i / 8); what is not finite is rounded to nearest.
 * grad m v [count] f32 (f64 where dt is f64). work, if not NULL, receives w rounded to work_dt. moved, if not NULL:
 * [ceil(count / GAL_MOVED_CHUNK)] sums of squares of what w changed by, as stored. */
enum { GAL_MOVED_CHUNK = 2048 };
typedef struct gal_k_update {
    void *w, *m, *v, *work;
    const void *grad;
    double *moved;
    gal_dtype dt, wdt, work_dt;
    const gal_opt_step *st;
    int64_t count;
    float decay;
    bool coupled, chance;
    bool nesterov;  /* SGD */
    uint32_t index; /* of the weight, below 2^24: its stream of chances */
} gal_k_update;
static inline uint64_t gal_chance_stream(uint64_t t, uint32_t index) { return t << 24 | index; }

/* ADAMW (arXiv:1711.05101; with `coupled` Adam, arXiv:1412.6980):
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  step = (m / bias1) / (sqrt(v / bias2) + eps)
 * SGD:
 *   m = momentum m + g;  step = m, or g + momentum m with `nesterov`;  step = g where m is NULL */

/* Adafactor (arXiv:1804.04235) of a matrix [rows, cols] with g as above, not coupled; r [rows], c [cols]:
 *   FACTOR_ROWS     r = beta2 r + (1 - beta2) (mean over the row of g^2 + 1e-30);  ri = 1 / sqrt(r)
 *   FACTOR_COLS     the same of columns: c, ci
 *   FACTOR_SQUARES  partial[i] = sum of squares of grad ri cj over elements [i * GAL_SUM_CHUNK, ...)
 *   FACTOR_SCALE    number[0] = sqrt(mean r) / max(1, RMS of u), where u = g ri cj sqrt(mean r) is what would be
 *                   added without clipping; number[1] = max(1e-3, RMS of w) from wpartial, 1 where that is NULL
 *   FACTOR_UPDATE   step = number[1] g ri cj number[0];  with m: m = momentum m + (1 - momentum) g ri cj number[0],
 *                   step = number[1] m
 * mean r makes of the two factors the estimate r c / mean r, whose rows and columns have the right means. */
#define GAL_FACTOR_LEAST 1e-30
#define GAL_FACTOR_LEAST_RMS 1e-3
typedef struct gal_k_factor {
    gal_k_update u; /* dt f32; v is not used */
    float *r, *c, *ri, *ci;
    double *partial;        /* [ceil(count / GAL_SUM_CHUNK)] */
    const double *wpartial; /* NULL, or [the same] sums of squares of w */
    double *number;         /* [2] */
    int64_t rows, cols;
} gal_k_factor;

/* ema = ema + (1 - decay) (w - ema), f32; w f32 or bf16. */
typedef struct gal_k_ema {
    float *ema;
    const void *w;
    gal_dtype wdt;
    int64_t count;
    double decay;
} gal_k_ema;

/* ---- names and costs ---------------------------------------------------------------------------------------------
 */

const char *gal_kernel_name(gal_kernel_id id); /* "gemm" */

/* What a launch has to do at least. */
typedef struct gal_cost {
    double flops;      /* a multiply-add is two; 0: not counted */
    double bytes;      /* of the large arrays, each read and written once; 0: not counted */
    gal_dtype compute; /* of the operations; GAL_BLOCKS: of small integers */
    char what[96];     /* gemm: the products' m x n x k; else "" */
} gal_cost;
/* Reads the starts and positions of rows, so args must be the host's. */
void gal_kernel_cost(gal_cost *out, gal_kernel_id id, const void *args);

#endif
