/* far.c - see far.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/far.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, PIECES = 4096 };
static const size_t ROOM = (size_t)1 << 32; /* reserved addresses; memory only where it is used */

typedef struct piece {
    size_t at, bytes;
    bool used;
} piece;

typedef struct launched {
    gal_kernel_id id;
    void *args;
    size_t bytes;
} launched;

typedef struct graph {
    launched *list;
    size_t count, room;
} graph;

typedef struct far_device {
    gal_kernel_table table;
    gal_pool *pool; /* the gal_dev's */
    char *base;
    size_t top, limit, used; /* bytes of the reserved addresses that were ever given out */
    piece *pieces;           /* [n_pieces] in the order of their addresses */
    size_t n_pieces;
    graph *capturing;
    far_counts counts;
} far_device;

_Noreturn static void die(const char *what, int id) {
    (void)fprintf(stderr, "far device: %s (kernel %d)\n", what, id);
    abort();
}

static void open_memory(far_device *d) {
    if (d->top && mprotect(d->base, d->top, PROT_READ | PROT_WRITE)) die("mprotect failed", -1);
}

/* Where a processor is emulated, changing the rights of so many pages at every launch takes minutes: there the memory
 * stays open, and only the plain builds notice a host that touches it. */
static void close_memory(far_device *d) {
#ifdef GAL_THIN_TESTS
    (void)d;
#else
    if (d->top && mprotect(d->base, d->top, PROT_NONE)) die("mprotect failed", -1);
#endif
}

/* ---- memory ------------------------------------------------------------------------------------------------------
 */

static void *far_take(void *self, size_t bytes) {
    far_device *d = self;
    if (d->capturing) die("memory taken during a capture", -1);
    if (bytes > ROOM / 2) return NULL;
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE, i = 0;
    if (d->limit && d->used + whole > d->limit) return NULL;
    while (i < d->n_pieces && (d->pieces[i].used || d->pieces[i].bytes < whole)) i++;
    if (i == PIECES || (i == d->n_pieces && d->top + whole > ROOM)) return NULL;
    if (i == d->n_pieces) {
        d->pieces[d->n_pieces++] = (piece){ d->top, whole, false };
        d->top += whole;
    }
    piece *p = &d->pieces[i];
    p->used = true;
    d->used += p->bytes;
    d->counts.taken++;
    return d->base + p->at; /* untouched pages are zero */
}

static piece *piece_of(far_device *d, const void *at) {
    size_t where = (size_t)((const char *)at - d->base);
    if ((const char *)at < d->base || where >= d->top) return NULL;
    for (size_t i = 0; i < d->n_pieces; i++)
        if (where - d->pieces[i].at < d->pieces[i].bytes) return d->pieces[i].used ? &d->pieces[i] : NULL;
    return NULL;
}

static void far_give(void *self, void *at) {
    far_device *d = self;
    piece *p = piece_of(d, at);
    if (!p || d->base + p->at != (char *)at) die("memory given back that was not taken", -1);
    if (d->capturing) die("memory given back during a capture", -1);
    if (madvise(at, p->bytes, MADV_DONTNEED)) die("madvise failed", -1);
    p->used = false;
    d->used -= p->bytes;
    d->counts.taken--;
}

static uint64_t far_available(void *self) {
    const far_device *d = self;
    return (d->limit ? d->limit : ROOM) - d->used;
}

/* All of [at, at + bytes) must be one piece's. */
static void check_range(far_device *d, const void *at, size_t bytes, const char *what) {
    const piece *p = piece_of(d, at);
    if (!p || (size_t)((const char *)at - d->base) - p->at + bytes > p->bytes) die(what, -1);
    if (d->capturing) die("a transfer during a capture", -1);
}

static gal_err far_upload(void *self, void *to, const void *from, size_t bytes, gal_diag *diag) {
    far_device *d = self;
    (void)diag;
    check_range(d, to, bytes, "an upload to memory that is not the device's");
    if (piece_of(d, from)) die("an upload from the device's memory", -1);
    d->counts.uploads++;
    open_memory(d);
    memcpy(to, from, bytes);
    close_memory(d);
    return GAL_OK;
}

static gal_err far_download(void *self, void *to, const void *from, size_t bytes, gal_diag *diag) {
    far_device *d = self;
    (void)diag;
    check_range(d, from, bytes, "a download from memory that is not the device's");
    if (piece_of(d, to)) die("a download to the device's memory", -1);
    d->counts.downloads++;
    open_memory(d);
    memcpy(to, from, bytes);
    close_memory(d);
    return GAL_OK;
}

/* ---- kernels -----------------------------------------------------------------------------------------------------
 */

/* Where the arguments of a kernel hold addresses. */
typedef struct shape {
    size_t bytes;
    size_t pointer[14];
    int count;
} shape;

#define P(field) offsetof(ARGS, field)
#define SHAPE(id, n, ...) [id] = { sizeof(ARGS), { __VA_ARGS__ }, n }

static const shape SHAPES[GAL_K_COUNT] = {
#define ARGS gal_k_embed
    SHAPE(GAL_K_EMBED, 3, P(y), P(table), P(ids)),
#undef ARGS
#define ARGS gal_k_embed_grad
    SHAPE(GAL_K_EMBED_GRAD, 3, P(dtable), P(dy), P(ids)),
#undef ARGS
#define ARGS gal_k_rms_norm
    SHAPE(GAL_K_RMS_NORM, 4, P(y), P(inv), P(x), P(w)),
#undef ARGS
#define ARGS gal_k_rms_norm_dx
    SHAPE(GAL_K_RMS_NORM_DX, 5, P(dx), P(dy), P(x), P(w), P(inv)),
#undef ARGS
#define ARGS gal_k_rms_norm_dw
    SHAPE(GAL_K_RMS_NORM_DW, 4, P(dw), P(dy), P(x), P(inv)),
#undef ARGS
#define ARGS gal_k_layer_norm
    SHAPE(GAL_K_LAYER_NORM, 6, P(y), P(mean), P(inv), P(x), P(w), P(b)),
#undef ARGS
#define ARGS gal_k_layer_norm_dx
    SHAPE(GAL_K_LAYER_NORM_DX, 6, P(dx), P(dy), P(x), P(w), P(mean), P(inv)),
#undef ARGS
#define ARGS gal_k_layer_norm_dw
    SHAPE(GAL_K_LAYER_NORM_DW, 5, P(dw), P(dy), P(x), P(mean), P(inv)),
#undef ARGS
#define ARGS gal_k_sinusoid
    SHAPE(GAL_K_SINUSOID, 1, P(table)),
#undef ARGS
#define ARGS gal_k_gelu
    SHAPE(GAL_K_GELU, 4, P(y), P(x), P(b), P(dy)),
    SHAPE(GAL_K_GELU_GRAD, 4, P(y), P(x), P(b), P(dy)),
#undef ARGS
#define ARGS gal_k_add_row
    SHAPE(GAL_K_ADD_ROW, 3, P(y), P(x), P(b)),
#undef ARGS
#define ARGS gal_k_sum_rows
    SHAPE(GAL_K_SUM_ROWS, 2, P(y), P(x)),
#undef ARGS
#define ARGS gal_k_rope_table
    SHAPE(GAL_K_ROPE_TABLE, 4, P(table), P(qscale), P(pos), P(inv_freq)),
#undef ARGS
#define ARGS gal_k_rope
    SHAPE(GAL_K_ROPE, 4, P(q), P(k), P(table), P(qscale)),
#undef ARGS
#define ARGS gal_k_attend
    SHAPE(GAL_K_ATTEND, 13, P(o), P(lse), P(q), P(k), P(v), P(start), P(pos), P(seq), P(ck), P(cv), P(part), P(qr),
          P(r)),
    SHAPE(GAL_K_ATTEND_JOIN, 13, P(o), P(lse), P(q), P(k), P(v), P(start), P(pos), P(seq), P(ck), P(cv), P(part),
          P(qr), P(r)),
#undef ARGS
#define ARGS gal_k_attend_grad
    SHAPE(GAL_K_ATTEND_GRAD, 14, P(dq), P(dk), P(dv), P(dout), P(o), P(lse), P(q), P(k), P(v), P(start), P(dqr),
          P(dr), P(qr), P(r)),
#undef ARGS
#define ARGS gal_k_kv_store
    SHAPE(GAL_K_KV_STORE, 6, P(ck), P(cv), P(k), P(v), P(pos), P(seq)),
#undef ARGS
#define ARGS gal_k_swiglu
    SHAPE(GAL_K_SWIGLU, 3, P(y), P(g), P(u)),
#undef ARGS
#define ARGS gal_k_swiglu_grad
    SHAPE(GAL_K_SWIGLU_GRAD, 5, P(dg), P(du), P(dy), P(g), P(u)),
#undef ARGS
#define ARGS gal_k_map
    SHAPE(GAL_K_ADD, 3, P(y), P(a), P(b)),
    SHAPE(GAL_K_MUL, 3, P(y), P(a), P(b)),
    SHAPE(GAL_K_SILU, 3, P(y), P(a), P(b)),
    SHAPE(GAL_K_SILU_GRAD, 3, P(y), P(a), P(b)),
    SHAPE(GAL_K_COPY, 3, P(y), P(a), P(b)),
    SHAPE(GAL_K_FILL, 3, P(y), P(a), P(b)),
#undef ARGS
#define ARGS gal_k_softmax
    SHAPE(GAL_K_SOFTMAX, 5, P(y), P(x), P(dy), P(lo), P(hi)),
    SHAPE(GAL_K_SOFTMAX_GRAD, 5, P(y), P(x), P(dy), P(lo), P(hi)),
#undef ARGS
#define ARGS gal_k_gather_rows
    SHAPE(GAL_K_GATHER_ROWS, 3, P(y), P(x), P(rows)),
#undef ARGS
#define ARGS gal_k_route
    SHAPE(GAL_K_ROUTE, 7, P(choice), P(weight), P(prob), P(lse), P(logits), P(add), P(noise)),
#undef ARGS
#define ARGS gal_k_route_sort
    SHAPE(GAL_K_ROUTE_SORT, 4, P(offset), P(row), P(place), P(choice)),
#undef ARGS
#define ARGS gal_k_route_sums
    SHAPE(GAL_K_ROUTE_SUMS, 7, P(sums), P(prob), P(lse), P(choice), P(target), P(place), P(made)),
#undef ARGS
#define ARGS gal_k_route_loss
    SHAPE(GAL_K_ROUTE_LOSS, 2, P(loss), P(sums)),
#undef ARGS
#define ARGS gal_k_route_grad
    SHAPE(GAL_K_ROUTE_GRAD, 9, P(dlogits), P(dweight), P(weight), P(choice), P(prob), P(lse), P(target), P(sums),
          P(logits)),
#undef ARGS
#define ARGS gal_k_route_policy
    SHAPE(GAL_K_ROUTE_POLICY, 8, P(dlogits), P(dvalue), P(prob), P(value), P(loss), P(choice), P(target), P(sums)),
#undef ARGS
#define ARGS gal_k_sinkhorn
    SHAPE(GAL_K_SINKHORN, 5, P(f), P(g), P(made), P(logits), P(work)),
#undef ARGS
#define ARGS gal_k_hash
    SHAPE(GAL_K_HASH, 2, P(choice), P(ids)),
#undef ARGS
#define ARGS gal_k_expert_rows /* as long as its vectors are many */
    SHAPE(GAL_K_EXPERT_ADD, 4, P(y), P(x), P(dy), P(offset)),
    SHAPE(GAL_K_EXPERT_GELU, 4, P(y), P(x), P(dy), P(offset)),
    SHAPE(GAL_K_EXPERT_GELU_GRAD, 4, P(y), P(x), P(dy), P(offset)),
    SHAPE(GAL_K_EXPERT_SUM, 4, P(y), P(x), P(dy), P(offset)),
#undef ARGS
#define ARGS gal_k_combine
    SHAPE(GAL_K_COMBINE, 5, P(y), P(x), P(add), P(weight), P(place)),
#undef ARGS
#define ARGS gal_k_combine_grad
    SHAPE(GAL_K_COMBINE_GRAD, 6, P(dx), P(dweight), P(dy), P(x), P(weight), P(place)),
#undef ARGS
#define ARGS gal_k_experts /* as long as its matrices are many */
    SHAPE(GAL_K_EXPERTS, 9, P(offset), P(p[0].a.p), P(p[0].b.p), P(p[0].c.p), P(p[0].add), P(p[1].a.p), P(p[1].b.p),
          P(p[1].c.p), P(p[1].add)),
    SHAPE(GAL_K_EXPERTS_I8, 9, P(offset), P(p[0].a.p), P(p[0].b.p), P(p[0].c.p), P(p[0].add), P(p[1].a.p),
          P(p[1].b.p), P(p[1].c.p), P(p[1].add)),
#undef ARGS
#define ARGS gal_k_xent
    SHAPE(GAL_K_XENT, 5, P(logits), P(loss), P(lse), P(dloss), P(target)),
    SHAPE(GAL_K_XENT_GRAD, 5, P(logits), P(loss), P(lse), P(dloss), P(target)),
#undef ARGS
#define ARGS gal_k_wsum
    SHAPE(GAL_K_WSUM, 4, P(y), P(x), P(dy), P(weight)),
    SHAPE(GAL_K_WSUM_GRAD, 4, P(y), P(x), P(dy), P(weight)),
#undef ARGS
#define ARGS gal_k_sum_squares
    SHAPE(GAL_K_SUM_SQUARES, 2, P(partial), P(x)),
#undef ARGS
#define ARGS gal_k_clip
    SHAPE(GAL_K_CLIP, 2, P(st), P(partial)),
#undef ARGS
#define ARGS gal_k_update
    SHAPE(GAL_K_ADAMW, 7, P(w), P(m), P(v), P(work), P(grad), P(moved), P(st)),
    SHAPE(GAL_K_SGD, 7, P(w), P(m), P(v), P(work), P(grad), P(moved), P(st)),
#undef ARGS
#define ARGS gal_k_factor
#define FACTOR(id)                                                                                                   \
    SHAPE(id, 13, P(u.w), P(u.m), P(u.work), P(u.grad), P(u.moved), P(u.st), P(r), P(c), P(ri), P(ci), P(partial),   \
          P(wpartial), P(number))
    FACTOR(GAL_K_FACTOR_ROWS),
    FACTOR(GAL_K_FACTOR_COLS),
    FACTOR(GAL_K_FACTOR_SQUARES),
    FACTOR(GAL_K_FACTOR_SCALE),
    FACTOR(GAL_K_FACTOR_UPDATE),
#undef ARGS
#define ARGS gal_k_ema
    SHAPE(GAL_K_EMA, 2, P(ema), P(w)),
#undef ARGS
#define ARGS gal_k_gemm /* the products that are not there hold NULL */
    SHAPE(GAL_K_GEMM, 12, P(p[0].a.p), P(p[0].b.p), P(p[0].c.p), P(p[0].add), P(p[1].a.p), P(p[1].b.p), P(p[1].c.p),
          P(p[1].add), P(p[2].a.p), P(p[2].b.p), P(p[2].c.p), P(p[2].add)),
#undef ARGS
};

static void check_args(far_device *d, gal_kernel_id id, const void *args, size_t bytes) {
    const shape *s = &SHAPES[id];
    size_t all = s->bytes;
    if (id == GAL_K_EXPERTS || id == GAL_K_EXPERTS_I8) {
        const gal_k_experts *a = args;
        all = offsetof(gal_k_experts, w) + sizeof *a->w * (size_t)(a->count * a->experts);
        for (int64_t i = 0; i < a->count * a->experts; i++)
            if (a->w[i].p && !piece_of(d, a->w[i].p)) die("an expert's matrix that is not the device's", (int)id);
    }
    if (id >= GAL_K_EXPERT_ADD && id <= GAL_K_EXPERT_SUM) {
        const gal_k_expert_rows *a = args;
        all = offsetof(gal_k_expert_rows, b) + sizeof *a->b * (size_t)a->experts;
        for (int64_t e = 0; e < a->experts; e++)
            if (a->b[e] && !piece_of(d, a->b[e])) die("an expert's vector that is not the device's", (int)id);
    }
    if (s->count == 0 || all != bytes) die("arguments of an unknown kind", (int)id);
    for (int i = 0; i < s->count; i++) {
        const void *p;
        memcpy(&p, (const char *)args + s->pointer[i], sizeof p);
        if (p && !piece_of(d, p)) die("a kernel was given an address that is not the device's", (int)id);
    }
}

static void run(far_device *d, gal_kernel_id id, const void *args) {
    const gal_kernel *k = &d->table.k[id];
    gal_pool_run(d->pool, k->run, args, k->chunks(args));
}

static gal_err far_launch(void *self, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag) {
    far_device *d = self;
    check_args(d, id, args, bytes);
    graph *g = d->capturing;
    if (g) {
        void *copy = gal_alloc(bytes);
        if (!copy || gal_grow((void **)&g->list, &g->room, g->count + 1, sizeof *g->list)) {
            gal_free(copy);
            return gal_fail(diag, GAL_ENOMEM, "far: no memory");
        }
        memcpy(copy, args, bytes);
        g->list[g->count++] = (launched){ id, copy, bytes };
        return GAL_OK;
    }
    d->counts.launches++;
    open_memory(d);
    run(d, id, args);
    close_memory(d);
    return GAL_OK;
}

static gal_err far_wait(void *self, gal_diag *diag) {
    (void)self;
    (void)diag;
    return GAL_OK;
}

static gal_err far_capture_begin(void *self, gal_diag *diag) {
    far_device *d = self;
    if (d->capturing) die("a capture inside a capture", -1);
    d->capturing = gal_alloc(sizeof *d->capturing);
    return d->capturing ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "far: no memory");
}

static gal_err far_capture_end(void *self, void **out, gal_diag *diag) {
    far_device *d = self;
    (void)diag;
    *out = d->capturing;
    d->capturing = NULL;
    d->counts.captures++;
    return GAL_OK;
}

static gal_err far_graph_launch(void *self, const void *which, gal_diag *diag) {
    far_device *d = self;
    const graph *g = which;
    (void)diag;
    d->counts.graph_launches++;
    for (size_t i = 0; i < g->count; i++) /* what it points to may be gone by now */
        check_args(d, g->list[i].id, g->list[i].args, g->list[i].bytes);
    open_memory(d);
    for (size_t i = 0; i < g->count; i++) run(d, g->list[i].id, g->list[i].args);
    close_memory(d);
    return GAL_OK;
}

static void far_graph_free(void *which) {
    graph *g = which;
    for (size_t i = 0; i < g->count; i++) gal_free(g->list[i].args);
    gal_free(g->list);
    gal_free(g);
}

static void far_close(void *self) {
    far_device *d = self;
    if (d->counts.taken) die("closed before its memory was given back", -1);
    (void)munmap(d->base, ROOM);
    gal_free(d->pieces);
    gal_free(d);
}

static const gal_far FAR = {
    .take = far_take,
    .give = far_give,
    .available = far_available,
    .upload = far_upload,
    .download = far_download,
    .launch = far_launch,
    .wait = far_wait,
    .capture_begin = far_capture_begin,
    .capture_end = far_capture_end,
    .graph_launch = far_graph_launch,
    .graph_free = far_graph_free,
    .close = far_close,
};

/* ---- opening -----------------------------------------------------------------------------------------------------
 */

static gal_err fill(gal_dev *dev, const gal_device_options *options, gal_diag *diag) {
    gal_dev *cpu = NULL; /* tells which level is the best */
    gal_device_options o = { .cpu = options->cpu, .threads = 1 };
    gal_err err = gal_dev_open(&cpu, &o, diag);
    if (err) return err;
    far_device *d = gal_alloc(sizeof *d);
    if (!d) die("no memory", -1);
    d->table = cpu->table;
    gal_dev_close(cpu);
    d->pieces = gal_alloc_array(PIECES, sizeof *d->pieces);
    d->base = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!d->pieces || d->base == MAP_FAILED) die("no memory", -1);
    d->pool = dev->pool;
    dev->far = &FAR;
    dev->self = d;
    (void)snprintf(dev->name, sizeof dev->name, "far (%s)", d->table.name);
    return GAL_OK;
}

void far_use(void) { gal_dev_add_kind("far", fill); }

gal_dev *far_open(const char *level, int threads) {
    far_use();
    gal_dev *dev = NULL;
    gal_device_options o = { .cpu = level, .threads = threads, .device = "far" };
    return gal_dev_open(&dev, &o, NULL) ? NULL : dev;
}

far_counts far_counted(const gal_dev *dev) { return ((const far_device *)dev->self)->counts; }
void far_limit(gal_dev *dev, size_t bytes) { ((far_device *)dev->self)->limit = bytes; }
