/* cost.c - names of kernels, and what a launch has to do at least, counted from its arguments. Owns no measurement;
 * what moves once is counted once, whatever a cache really did. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"
#include "tensor/blocks.h"

#include <stdio.h>
#include <string.h>

static const char *const NAMES[GAL_K_COUNT] = {
    [GAL_K_GEMM] = "gemm",
    [GAL_K_QUANTISE] = "quantise",
    [GAL_K_GEMM_I8] = "gemm_i8",
    [GAL_K_PACK] = "pack",
    [GAL_K_EMBED] = "embed",
    [GAL_K_EMBED_GRAD] = "embed_grad",
    [GAL_K_RMS_NORM] = "rms_norm",
    [GAL_K_RMS_NORM_DX] = "rms_norm_dx",
    [GAL_K_RMS_NORM_DW] = "rms_norm_dw",
    [GAL_K_LAYER_NORM] = "layer_norm",
    [GAL_K_LAYER_NORM_DX] = "layer_norm_dx",
    [GAL_K_LAYER_NORM_DW] = "layer_norm_dw",
    [GAL_K_ROPE_TABLE] = "rope_table",
    [GAL_K_ROPE] = "rope",
    [GAL_K_SINUSOID] = "sinusoid",
    [GAL_K_ATTEND] = "attend",
    [GAL_K_ATTEND_JOIN] = "attend_join",
    [GAL_K_ATTEND_GRAD] = "attend_grad",
    [GAL_K_KV_STORE] = "kv_store",
    [GAL_K_SWIGLU] = "swiglu",
    [GAL_K_SWIGLU_GRAD] = "swiglu_grad",
    [GAL_K_ADD] = "add",
    [GAL_K_MUL] = "mul",
    [GAL_K_SILU] = "silu",
    [GAL_K_SILU_GRAD] = "silu_grad",
    [GAL_K_GELU] = "gelu",
    [GAL_K_GELU_GRAD] = "gelu_grad",
    [GAL_K_ADD_ROW] = "add_row",
    [GAL_K_SUM_ROWS] = "sum_rows",
    [GAL_K_SOFTMAX] = "softmax",
    [GAL_K_SOFTMAX_GRAD] = "softmax_grad",
    [GAL_K_COPY] = "copy",
    [GAL_K_FILL] = "fill",
    [GAL_K_GATHER_ROWS] = "gather_rows",
    [GAL_K_SINKHORN] = "sinkhorn",
    [GAL_K_HASH] = "hash",
    [GAL_K_ROUTE] = "route",
    [GAL_K_ROUTE_SORT] = "route_sort",
    [GAL_K_ROUTE_GRAD] = "route_grad",
    [GAL_K_ROUTE_SUMS] = "route_sums",
    [GAL_K_ROUTE_LOSS] = "route_loss",
    [GAL_K_ROUTE_POLICY] = "route_policy",
    [GAL_K_EXPERT_ADD] = "expert_add",
    [GAL_K_EXPERT_GELU] = "expert_gelu",
    [GAL_K_EXPERT_GELU_GRAD] = "expert_gelu_grad",
    [GAL_K_EXPERT_SUM] = "expert_sum",
    [GAL_K_EXPERTS] = "experts",
    [GAL_K_EXPERTS_I8] = "experts_i8",
    [GAL_K_COMBINE] = "combine",
    [GAL_K_COMBINE_GRAD] = "combine_grad",
    [GAL_K_XENT] = "xent",
    [GAL_K_XENT_GRAD] = "xent_grad",
    [GAL_K_WSUM] = "wsum",
    [GAL_K_WSUM_GRAD] = "wsum_grad",
    [GAL_K_SUM_SQUARES] = "sum_squares",
    [GAL_K_CLIP] = "clip",
    [GAL_K_ADAMW] = "adamw",
    [GAL_K_SGD] = "sgd",
    [GAL_K_FACTOR_ROWS] = "factor_rows",
    [GAL_K_FACTOR_COLS] = "factor_cols",
    [GAL_K_FACTOR_SQUARES] = "factor_squares",
    [GAL_K_FACTOR_SCALE] = "factor_scale",
    [GAL_K_FACTOR_UPDATE] = "factor_update",
    [GAL_K_EMA] = "ema",
};

const char *gal_kernel_name(gal_kernel_id id) { return NAMES[id]; }

static double mat_bytes(const gal_mat *m, int64_t n) {
    return m->dt == GAL_BLOCKS ? (double)gal_code_bytes(m->code, n) : (double)n * (double)gal_dtype_bytes(m->dt);
}

static double size_of(gal_dtype dt) { return (double)gal_dtype_bytes(dt); }

static bool same_size(const gal_gemm *a, const gal_gemm *b) { return a->m == b->m && a->n == b->n && a->k == b->k; }

static void gemm_cost(gal_cost *c, const gal_k_gemm *a, bool i8) {
    size_t at = 0;
    const int each = i8 && a->twice ? 2 : 1; /* rows of a for each of c */
    c->compute = i8 ? GAL_BLOCKS : a->p[0].compute;
    for (int i = 0, n = 1; i < a->count; i += n) {
        const gal_gemm *g = &a->p[i];
        for (n = 1; i + n < a->count && same_size(g, g + n);) n++;
        double rows = (double)g->m, cols = (double)g->n, k = (double)g->k;
        c->flops += 2 * each * rows * cols * k * n;
        c->bytes += n * (i8 ? each * rows * (double)gal_i8_row_bytes(g->k) : rows * k * size_of(g->a.dt)) +
                    n * (mat_bytes(&g->b, g->k * g->n) +
                         rows * cols * size_of(g->c.dt) * (1 + g->accumulate + (g->add != NULL)));
        char part[96], times[16] = "";
        if (n > 1) (void)snprintf(times, sizeof times, " (%d)", n);
        int w = snprintf(part, sizeof part, "%s%lldx%lldx%lld%s", i ? " + " : "", (long long)g->m, (long long)g->n,
                         (long long)g->k, times);
        if (w < 0 || at + (size_t)w >= sizeof c->what) continue; /* sizes that no machine has */
        memcpy(c->what + at, part, (size_t)w + 1);
        at += (size_t)w;
    }
}

/* Matrices of experts that have no rows are not read. */
static void experts_cost(gal_cost *c, const gal_k_experts *a) {
    c->compute = a->integers ? GAL_BLOCKS : a->p[0].compute;
    for (int i = 0; i < a->count; i++) {
        const gal_gemm *g = &a->p[i];
        bool own = g->k == 0; /* the experts' matrices are written */
        double m = (double)g->m, n = (double)g->n, k = (double)g->k, rows = (double)a->rows;
        c->flops += 2 * rows * (own ? m * n : n * k);
        c->bytes += rows * (own ? m * size_of(g->a.dt) + n * size_of(g->b.dt)
                                : (a->integers ? (double)gal_i8_row_bytes(g->k) : k * size_of(g->a.dt)) +
                                      n * size_of(g->c.dt) * (1 + g->accumulate));
        for (int64_t e = 0; e < a->experts; e++) {
            const gal_mat *w = &a->w[i * a->experts + e];
            if (w->p && a->offset[e + 1] > a->offset[e])
                c->bytes += own ? n * m * size_of(w->dt) * (1 + g->accumulate) : mat_bytes(w, g->n * g->k);
        }
    }
    (void)snprintf(c->what, sizeof c->what, "%lld rows", (long long)a->rows);
}

/* Pairs of a row and a key, cached keys included; bytes of the cache, read once a document. */
static void attend_cost(gal_cost *c, const gal_k_attend *a) {
    double pairs = 0, cached_bytes = 0;
    for (int64_t n = 0; n < a->n; n++) {
        int64_t own = n - a->start[n] + 1, cached = 0;
        if (a->window) own = GAL_MIN(own, a->window);
        if (a->ck) {
            int64_t end = a->pos[a->start[n]], first = 0;
            if (a->window) first = GAL_MAX(first, a->pos[n] - a->window + 1);
            cached = GAL_MAX(end - first, (int64_t)0);
            if (n == a->start[n])
                cached_bytes += 2 * (double)(cached * a->kv_heads) * (double)gal_dtype_span(a->cdt, a->size);
        }
        pairs += (double)(own + cached);
    }
    c->flops = 4 * pairs * (double)(a->heads * a->size);
    c->bytes = (double)(a->n * a->size * 2 * (a->heads + a->kv_heads)) * size_of(a->dt) + cached_bytes;
    c->compute = a->dt;
}

/* Five products where the way forward has two. */
static void attend_grad_cost(gal_cost *c, const gal_k_attend_grad *a) {
    const gal_k_attend forward = { .dt = a->dt,
                                   .n = a->n,
                                   .heads = a->heads,
                                   .kv_heads = a->kv_heads,
                                   .size = a->size,
                                   .window = a->window,
                                   .start = a->start };
    attend_cost(c, &forward);
    c->flops *= 2.5;
    c->bytes *= 2;
}

static double map_bytes(gal_kernel_id id, const gal_k_map *a) {
    double n = (double)a->count, dt = size_of(a->dt), extra = a->accumulate ? dt : 0;
    if (id == GAL_K_COPY) return n * (dt + size_of(a->adt));
    if (id == GAL_K_FILL) return n * dt;
    return n * (dt * (id == GAL_K_SILU ? 2 : 3) + extra);
}

static double row_bytes(gal_kernel_id id, const void *args) {
    union {
        const void *any;
        const gal_k_embed *embed;
        const gal_k_embed_grad *embed_grad;
        const gal_k_rms_norm *norm;
        const gal_k_rms_norm_dx *dx;
        const gal_k_rms_norm_dw *dw;
        const gal_k_rope *rope;
        const gal_k_kv_store *kv;
        const gal_k_gather_rows *gather;
        const gal_k_softmax *softmax;
        const gal_k_combine *combine;
        const gal_k_combine_grad *combine_grad;
        const gal_k_xent *xent;
    } a = { args };
    switch ((int)id) {
    case GAL_K_EMBED:
        return (double)(a.embed->n * a.embed->d) * size_of(a.embed->dt) +
               mat_bytes(&(gal_mat){ .dt = a.embed->wdt, .code = a.embed->code }, a.embed->n * a.embed->d);
    case GAL_K_EMBED_GRAD:
        return (double)(a.embed_grad->n * a.embed_grad->d) *
               (size_of(a.embed_grad->dt) + 2 * size_of(gal_stat_dtype(a.embed_grad->dt)));
    case GAL_K_RMS_NORM:
        return (double)(a.norm->n * a.norm->d) * 2 * size_of(a.norm->dt);
    case GAL_K_RMS_NORM_DX:
        return (double)(a.dx->n * a.dx->d) * (a.dx->accumulate ? 4 : 3) * size_of(a.dx->dt);
    case GAL_K_RMS_NORM_DW:
        return (double)(a.dw->n * a.dw->d) * 2 * size_of(a.dw->dt);
    case GAL_K_ROPE:
        return (double)(a.rope->n * a.rope->size * (a.rope->heads + (a.rope->k ? a.rope->kv_heads : 0))) * 2 *
               size_of(a.rope->dt);
    case GAL_K_KV_STORE:
        return (double)(a.kv->n * a.kv->kv_heads) * 2 *
               ((double)a.kv->size * size_of(a.kv->dt) + (double)gal_dtype_span(a.kv->cdt, a.kv->size));
    case GAL_K_GATHER_ROWS:
        return (double)(a.gather->n * a.gather->d) * 2 * size_of(a.gather->dt);
    case GAL_K_SOFTMAX:
        return (double)(a.softmax->n * a.softmax->m) * 2 * size_of(a.softmax->dt);
    case GAL_K_SOFTMAX_GRAD:
        return (double)(a.softmax->n * a.softmax->m) * 3 * size_of(a.softmax->dt);
    case GAL_K_COMBINE:
        return (double)(a.combine->n * a.combine->d) *
               (double)(a.combine->used + 1 + (a.combine->add != NULL) + a.combine->accumulate) *
               size_of(a.combine->dt);
    case GAL_K_COMBINE_GRAD:
        return (double)(a.combine_grad->n * a.combine_grad->d) * (double)(2 * a.combine_grad->used + 1) *
               size_of(a.combine_grad->dt);
    case GAL_K_XENT:
        return (double)(a.xent->r * a.xent->v) * size_of(a.xent->dt);
    case GAL_K_XENT_GRAD:
        return (double)(a.xent->r * a.xent->v) * 2 * size_of(a.xent->dt);
    default:
        return 0;
    }
}

static double optim_bytes(gal_kernel_id id, const void *args) {
    if (id == GAL_K_SUM_SQUARES) {
        const gal_k_sum_squares *s = args;
        return (double)s->count * size_of(s->dt);
    }
    if (id == GAL_K_EMA) {
        const gal_k_ema *e = args;
        return (double)e->count * (2 * sizeof(float) + size_of(e->wdt));
    }
    if (id == GAL_K_FACTOR_ROWS || id == GAL_K_FACTOR_COLS || id == GAL_K_FACTOR_SQUARES)
        return (double)((const gal_k_update *)args)->count * sizeof(float);
    /* The gradient, and what is there of weight and states twice. */
    const gal_k_update *a = args; /* gal_k_factor begins with one */
    double states = (a->m ? 2 : 0) + (id == GAL_K_ADAMW ? 2 : 0);
    return (double)a->count *
           ((1 + states) * size_of(a->dt) + 2 * size_of(a->wdt) + (a->work ? size_of(a->work_dt) : 0));
}

void gal_kernel_cost(gal_cost *out, gal_kernel_id id, const void *args) {
    *out = (gal_cost){ .compute = GAL_F32 };
    switch ((int)id) {
    case GAL_K_GEMM:
    case GAL_K_GEMM_I8:
        gemm_cost(out, args, id == GAL_K_GEMM_I8);
        break;
    case GAL_K_EXPERTS:
    case GAL_K_EXPERTS_I8:
        experts_cost(out, args);
        break;
    case GAL_K_QUANTISE: {
        const gal_k_quantise *a = args;
        out->bytes = (double)a->n *
                     ((double)a->d * size_of(a->dt) + (a->twice ? 2 : 1) * (double)gal_i8_row_bytes(a->d));
        break;
    }
    case GAL_K_ATTEND:
        attend_cost(out, args);
        break;
    case GAL_K_ATTEND_GRAD:
        attend_grad_cost(out, args);
        break;
    case GAL_K_SWIGLU: {
        const gal_k_swiglu *a = args;
        out->bytes = (double)a->count * 3 * size_of(a->dt);
        break;
    }
    case GAL_K_SWIGLU_GRAD: {
        const gal_k_swiglu_grad *a = args;
        out->bytes = (double)a->count * 5 * size_of(a->dt);
        break;
    }
    case GAL_K_ADD:
    case GAL_K_MUL:
    case GAL_K_SILU:
    case GAL_K_SILU_GRAD:
    case GAL_K_COPY:
    case GAL_K_FILL:
        out->bytes = map_bytes(id, args);
        break;
    case GAL_K_SUM_SQUARES:
    case GAL_K_ADAMW:
    case GAL_K_SGD:
    case GAL_K_FACTOR_ROWS:
    case GAL_K_FACTOR_COLS:
    case GAL_K_FACTOR_SQUARES:
    case GAL_K_FACTOR_UPDATE:
    case GAL_K_EMA:
        out->bytes = optim_bytes(id, args);
        break;
    default:
        out->bytes = row_bytes(id, args);
        break;
    }
}
