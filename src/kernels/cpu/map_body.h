/* map_body.h - kernels that go number by number: SwiGLU, sums, products, copies, over the vector of
 * vec_*.h. Included by rows_*.c. Each body is written for a constant dt and inlined
 * twice. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_MAP_BODY_H
#define GAL_KERNELS_CPU_MAP_BODY_H

enum { MAP_ITEMS = 16384 }; /* elements of a chunk */

static int64_t map_pieces(int64_t count) { return v_ceil_div(count, MAP_ITEMS); }

/* Elements of a chunk: from, and one past the last. */
typedef struct map_span {
    int64_t from, to;
} map_span;
VINLINE map_span map_part(int64_t count, int64_t chunk) {
    return (map_span){ chunk * MAP_ITEMS, GAL_MIN(count, (chunk + 1) * MAP_ITEMS) };
}

/* Runs body(args, chunk, dt) with dt a constant, or ref for other types. */
#define MAP_BY_TYPE(id, body)                                                                                        \
    do {                                                                                                             \
        if (a->dt == GAL_F32) {                                                                                      \
            body(a, chunk, GAL_F32);                                                                                 \
        } else if (a->dt == GAL_BF16) {                                                                              \
            body(a, chunk, GAL_BF16);                                                                                \
        } else {                                                                                                     \
            v_ref_run(id, args, chunk, scratch);                                                                     \
        }                                                                                                            \
    } while (0)

VINLINE void swiglu_body(const gal_k_swiglu *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        V g = v_get(a->g, dt, i, m), u = v_get(a->u, dt, i, m), rest;
        v_put(a->y, dt, i, m, v_mul(v_mul(g, v_sigmoid(g, &rest)), u));
    }
}
static int64_t swiglu_chunks(const void *args) {
    const gal_k_swiglu *a = args;
    return v_act(a->dt) ? map_pieces(a->count) : v_ref_chunks(GAL_K_SWIGLU, args);
}
static void swiglu_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_swiglu *a = args;
    MAP_BY_TYPE(GAL_K_SWIGLU, swiglu_body);
}

VINLINE void swiglu_grad_body(const gal_k_swiglu_grad *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    V one = v_set1(1.0F);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        V g = v_get(a->g, dt, i, m), u = v_get(a->u, dt, i, m), dy = v_get(a->dy, dt, i, m), rest;
        V sg = v_sigmoid(g, &rest);
        V slope = v_mul(sg, v_fma(g, rest, one));
        v_put(a->dg, dt, i, m, v_mul(v_mul(dy, u), slope));
        v_put(a->du, dt, i, m, v_mul(dy, v_mul(g, sg)));
    }
}
static int64_t swiglu_grad_chunks(const void *args) {
    const gal_k_swiglu_grad *a = args;
    return v_act(a->dt) ? map_pieces(a->count) : v_ref_chunks(GAL_K_SWIGLU_GRAD, args);
}
static void swiglu_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_swiglu_grad *a = args;
    MAP_BY_TYPE(GAL_K_SWIGLU_GRAD, swiglu_grad_body);
}

/* Of one type throughout: ADD, MUL, SILU, SILU_GRAD, FILL. */
static int64_t map_chunks(const void *args) {
    const gal_k_map *a = args;
    return v_act(a->dt) ? map_pieces(a->count) : v_ref_chunks(GAL_K_ADD, args); /* ref cuts all maps alike */
}

VINLINE void add_body(const gal_k_map *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        v_put(a->y, dt, i, m, v_add(v_get(a->a, dt, i, m), v_get(a->b, dt, i, m)));
    }
}
static void add_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    MAP_BY_TYPE(GAL_K_ADD, add_body);
}

VINLINE void mul_body(const gal_k_map *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        V x = v_get(a->a, dt, i, m), y = v_get(a->b, dt, i, m);
        v_put(a->y, dt, i, m, a->accumulate ? v_fma(x, y, v_get(a->y, dt, i, m)) : v_mul(x, y));
    }
}
static void mul_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    MAP_BY_TYPE(GAL_K_MUL, mul_body);
}

VINLINE void silu_body(const gal_k_map *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        V x = v_get(a->a, dt, i, m), rest;
        v_put(a->y, dt, i, m, v_mul(x, v_sigmoid(x, &rest)));
    }
}
static void silu_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    MAP_BY_TYPE(GAL_K_SILU, silu_body);
}

VINLINE void silu_grad_body(const gal_k_map *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    V one = v_set1(1.0F);
    for (int64_t i = s.from; i < s.to; i += VL) {
        int64_t m = v_left(s.to, i);
        V x = v_get(a->a, dt, i, m), rest, sg = v_sigmoid(x, &rest);
        V y = v_mul(v_get(a->b, dt, i, m), v_mul(sg, v_fma(x, rest, one)));
        v_put(a->y, dt, i, m, a->accumulate ? v_add(y, v_get(a->y, dt, i, m)) : y);
    }
}
static void silu_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    MAP_BY_TYPE(GAL_K_SILU_GRAD, silu_grad_body);
}

VINLINE void fill_body(const gal_k_map *a, int64_t chunk, const gal_dtype dt) {
    map_span s = map_part(a->count, chunk);
    V x = v_set1((float)a->value);
    for (int64_t i = s.from; i < s.to; i += VL) v_put(a->y, dt, i, v_left(s.to, i), x);
}
static void fill_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    MAP_BY_TYPE(GAL_K_FILL, fill_body);
}

/* y[to + i] = x[from + i] for i < n, converted. Used by COPY, EMBED and KV_STORE. */
static inline void v_convert(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from,
                             int64_t n) {
    if (dt == xdt) {
        memmove(v_atw(y, dt, to), v_at(x, dt, from), (size_t)n * (dt == GAL_F32 ? 4U : 2U));
        return;
    }
    for (int64_t i = 0; i < n; i += VL) {
        int64_t m = v_left(n, i);
        v_put(y, dt, to + i, m, v_get(x, xdt, from + i, m));
    }
}
static bool copy_ours(const gal_k_map *a) { return v_float(a->dt) && v_float(a->adt); }
static int64_t copy_chunks(const void *args) {
    const gal_k_map *a = args;
    return copy_ours(a) ? map_pieces(a->count) : v_ref_chunks(GAL_K_COPY, args);
}
static void copy_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_map *a = args;
    if (!copy_ours(a)) {
        v_ref_run(GAL_K_COPY, args, chunk, scratch);
        return;
    }
    map_span s = map_part(a->count, chunk);
    v_convert(a->y, a->dt, s.from, a->a, a->adt, s.from, s.to - s.from);
}

static void map_fill(gal_kernel_table *t) {
    t->k[GAL_K_SWIGLU] = (gal_kernel){ swiglu_chunks, swiglu_run };
    t->k[GAL_K_SWIGLU_GRAD] = (gal_kernel){ swiglu_grad_chunks, swiglu_grad_run };
    t->k[GAL_K_ADD] = (gal_kernel){ map_chunks, add_run };
    t->k[GAL_K_MUL] = (gal_kernel){ map_chunks, mul_run };
    t->k[GAL_K_SILU] = (gal_kernel){ map_chunks, silu_run };
    t->k[GAL_K_SILU_GRAD] = (gal_kernel){ map_chunks, silu_grad_run };
    t->k[GAL_K_FILL] = (gal_kernel){ map_chunks, fill_run };
    t->k[GAL_K_COPY] = (gal_kernel){ copy_chunks, copy_run };
}

#endif
