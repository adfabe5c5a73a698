/* rows_body.h - kernels that go row by row: RMSNorm, LayerNorm and their gradients, biases, GELU, rotary positions,
 * embedding, gathering, the store of keys and values, cross entropy; over the vector of vec_*.h. Included by rows_*.c
 * after map_body.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_ROWS_BODY_H
#define GAL_KERNELS_CPU_ROWS_BODY_H

#include "tensor/blocks.h"

#include <math.h>

enum {
    STORE_PART = 256, /* numbers that become blocks at a time */
    ROWS_COLS = 64,   /* columns of a chunk, where columns are cut */
    ROWS_SUM = 64     /* rows that are added up in f32 before they join the total: the error grows with the blocks */
};

/* Rows of a chunk: about MAP_ITEMS elements. */
static int64_t rows_of(int64_t d) { return GAL_MAX(1, MAP_ITEMS / GAL_MAX(1, d)); }
static int64_t rows_pieces(int64_t n, int64_t d) { return v_ceil_div(n, rows_of(d)); }
VINLINE map_span rows_part(int64_t n, int64_t d, int64_t chunk) {
    int64_t rows = rows_of(d);
    return (map_span){ chunk * rows, GAL_MIN(n, (chunk + 1) * rows) };
}

static bool norm_ours(const gal_k_rms_norm *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t norm_chunks(const void *args) {
    const gal_k_rms_norm *a = args;
    return norm_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_RMS_NORM, args);
}
VINLINE void norm_body(const gal_k_rms_norm *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        V sum = v_zero();
        for (int64_t i = 0; i < a->d; i += VL) {
            V x = v_get(a->x, dt, n * a->d + i, v_left(a->d, i));
            sum = v_fma(x, x, sum);
        }
        double mean = (double)v_hsum(sum) / (double)a->d;
        float inv = (float)(1.0 / sqrt(mean + a->eps));
        if (a->inv) ((float *)a->inv)[n] = inv;
        V f = v_set1(inv);
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i);
            V x = v_cast(v_mul(v_get(a->x, dt, n * a->d + i, m), f), dt);
            v_put(a->y, dt, n * a->d + i, m, v_mul(x, v_get(a->w, a->wdt, i, m)));
        }
    }
}
static void norm_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_rms_norm *a = args;
    if (!norm_ours(a)) {
        v_ref_run(GAL_K_RMS_NORM, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        norm_body(a, chunk, GAL_F32);
    } else {
        norm_body(a, chunk, GAL_BF16);
    }
}

static bool norm_dx_ours(const gal_k_rms_norm_dx *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t norm_dx_chunks(const void *args) {
    const gal_k_rms_norm_dx *a = args;
    return norm_dx_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_RMS_NORM_DX, args);
}
VINLINE void norm_dx_body(const gal_k_rms_norm_dx *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        V sum = v_zero();
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V wdy = v_mul(v_get(a->w, a->wdt, i, m), v_get(a->dy, dt, at, m));
            sum = v_fma(wdy, v_get(a->x, dt, at, m), sum);
        }
        float inv = ((const float *)a->inv)[n];
        double mean = (double)v_hsum(sum) / (double)a->d;
        V f = v_set1(inv), c = v_set1((float)((double)inv * (double)inv * mean));
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V wdy = v_mul(v_get(a->w, a->wdt, i, m), v_get(a->dy, dt, at, m));
            V dx = v_mul(f, v_fnma(v_get(a->x, dt, at, m), c, wdy));
            v_put(a->dx, dt, at, m, a->accumulate ? v_add(dx, v_get(a->dx, dt, at, m)) : dx);
        }
    }
}
static void norm_dx_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_rms_norm_dx *a = args;
    if (!norm_dx_ours(a)) {
        v_ref_run(GAL_K_RMS_NORM_DX, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        norm_dx_body(a, chunk, GAL_F32);
    } else {
        norm_dx_body(a, chunk, GAL_BF16);
    }
}

/* y += sum_n of terms, down a chunk of columns: x, dy x inv, or dy (x - mean) inv. */
typedef struct column_sums {
    void *y;
    const void *x, *dy;
    const float *mean, *inv;
    gal_dtype dt; /* of y */
    int64_t n, d;
    bool accumulate;
} column_sums;
typedef enum column_term { COLUMN_PLAIN, COLUMN_SCALED, COLUMN_CENTRED } column_term;
VINLINE void column_sums_body(const column_sums *a, int64_t chunk, const gal_dtype dt, const column_term term) {
    int64_t from = chunk * ROWS_COLS, cols = GAL_MIN(a->d - from, ROWS_COLS);
    V total[ROWS_COLS / VL];
    for (int j = 0; j < ROWS_COLS / VL; j++) total[j] = v_zero();
    for (int64_t n0 = 0; n0 < a->n; n0 += ROWS_SUM) {
        V sum[ROWS_COLS / VL];
        for (int j = 0; j < ROWS_COLS / VL; j++) sum[j] = v_zero();
        for (int64_t n = n0; n < GAL_MIN(a->n, n0 + ROWS_SUM); n++) {
            const V mean = v_set1(term == COLUMN_CENTRED ? a->mean[n] : 0.0F);
            const V inv = v_set1(term == COLUMN_PLAIN ? 1.0F : a->inv[n]);
            for (int j = 0; j < ROWS_COLS / VL && j * VL < cols; j++) {
                int64_t m = v_left(cols, j * VL), at = n * a->d + from + j * VL;
                V x = v_get(a->x, dt, at, m);
                if (term == COLUMN_CENTRED) x = v_sub(x, mean);
                sum[j] = term == COLUMN_PLAIN ? v_add(sum[j], x)
                                              : v_fma(v_mul(x, inv), v_get(a->dy, dt, at, m), sum[j]);
            }
        }
        for (int j = 0; j < ROWS_COLS / VL; j++) total[j] = v_add(total[j], sum[j]);
    }
    for (int j = 0; j < ROWS_COLS / VL && j * VL < cols; j++) {
        int64_t m = v_left(cols, j * VL), at = from + j * VL;
        v_put(a->y, a->dt, at, m, a->accumulate ? v_add(total[j], v_get(a->y, a->dt, at, m)) : total[j]);
    }
}

static int64_t norm_dw_chunks(const void *args) {
    const gal_k_rms_norm_dw *a = args;
    return v_act(a->dt) ? v_ceil_div(a->d, ROWS_COLS) : v_ref_chunks(GAL_K_RMS_NORM_DW, args);
}
VINLINE void norm_dw_body(const gal_k_rms_norm_dw *a, int64_t chunk, const gal_dtype dt) {
    const column_sums c = { a->dw, a->x, a->dy, NULL, a->inv, GAL_F32, a->n, a->d, true };
    column_sums_body(&c, chunk, dt, COLUMN_SCALED);
}
static void norm_dw_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_rms_norm_dw *a = args;
    MAP_BY_TYPE(GAL_K_RMS_NORM_DW, norm_dw_body);
}

/* ---- LayerNorm ---------------------------------------------------------------------------------------------------
 */

static bool layer_ours(const gal_k_layer_norm *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t layer_chunks(const void *args) {
    const gal_k_layer_norm *a = args;
    return layer_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_LAYER_NORM, args);
}
/* x - mean where a row has numbers: right of them it would not be 0. */
VINLINE V layer_centred(const void *x, const gal_dtype dt, int64_t at, int64_t m, V mean) {
    V c = v_sub(v_get(x, dt, at, m), mean);
    return m == VL ? c : v_range(c, 0, m, v_zero());
}
VINLINE void layer_body(const gal_k_layer_norm *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        V sum = v_zero(), squares = v_zero();
        for (int64_t i = 0; i < a->d; i += VL) sum = v_add(sum, v_get(a->x, dt, n * a->d + i, v_left(a->d, i)));
        const float mean = (float)((double)v_hsum(sum) / (double)a->d);
        for (int64_t i = 0; i < a->d; i += VL) {
            V c = layer_centred(a->x, dt, n * a->d + i, v_left(a->d, i), v_set1(mean));
            squares = v_fma(c, c, squares);
        }
        const float inv = (float)(1.0 / sqrt((double)v_hsum(squares) / (double)a->d + a->eps));
        if (a->inv) {
            ((float *)a->mean)[n] = mean;
            ((float *)a->inv)[n] = inv;
        }
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i);
            V z = v_mul(v_sub(v_get(a->x, dt, n * a->d + i, m), v_set1(mean)), v_set1(inv));
            v_put(a->y, dt, n * a->d + i, m, v_fma(z, v_get(a->w, a->wdt, i, m), v_get(a->b, a->wdt, i, m)));
        }
    }
}
static void layer_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_layer_norm *a = args;
    if (!layer_ours(a)) {
        v_ref_run(GAL_K_LAYER_NORM, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        layer_body(a, chunk, GAL_F32);
    } else {
        layer_body(a, chunk, GAL_BF16);
    }
}

static bool layer_dx_ours(const gal_k_layer_norm_dx *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t layer_dx_chunks(const void *args) {
    const gal_k_layer_norm_dx *a = args;
    return layer_dx_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_LAYER_NORM_DX, args);
}
VINLINE void layer_dx_body(const gal_k_layer_norm_dx *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        const V mean = v_set1(((const float *)a->mean)[n]), inv = v_set1(((const float *)a->inv)[n]);
        V sum = v_zero(), product = v_zero();
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V g = v_mul(v_get(a->w, a->wdt, i, m), v_get(a->dy, dt, at, m)); /* 0 right of the row */
            sum = v_add(sum, g);
            product = v_fma(g, v_mul(v_sub(v_get(a->x, dt, at, m), mean), inv), product);
        }
        const V mean_g = v_set1((float)((double)v_hsum(sum) / (double)a->d)),
                mean_gz = v_set1((float)((double)v_hsum(product) / (double)a->d));
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V g = v_mul(v_get(a->w, a->wdt, i, m), v_get(a->dy, dt, at, m));
            V z = v_mul(v_sub(v_get(a->x, dt, at, m), mean), inv);
            V dx = v_mul(inv, v_fnma(z, mean_gz, v_sub(g, mean_g)));
            v_put(a->dx, dt, at, m, a->accumulate ? v_add(dx, v_get(a->dx, dt, at, m)) : dx);
        }
    }
}
static void layer_dx_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_layer_norm_dx *a = args;
    if (!layer_dx_ours(a)) {
        v_ref_run(GAL_K_LAYER_NORM_DX, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        layer_dx_body(a, chunk, GAL_F32);
    } else {
        layer_dx_body(a, chunk, GAL_BF16);
    }
}

static int64_t layer_dw_chunks(const void *args) {
    const gal_k_layer_norm_dw *a = args;
    return v_act(a->dt) ? v_ceil_div(a->d, ROWS_COLS) : v_ref_chunks(GAL_K_LAYER_NORM_DW, args);
}
VINLINE void layer_dw_body(const gal_k_layer_norm_dw *a, int64_t chunk, const gal_dtype dt) {
    const column_sums c = { a->dw, a->x, a->dy, a->mean, a->inv, GAL_F32, a->n, a->d, true };
    column_sums_body(&c, chunk, dt, COLUMN_CENTRED);
}
static void layer_dw_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_layer_norm_dw *a = args;
    MAP_BY_TYPE(GAL_K_LAYER_NORM_DW, layer_dw_body);
}

/* ---- a vector that meets every row -------------------------------------------------------------------------------
 */

static bool add_row_ours(const gal_k_add_row *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t add_row_chunks(const void *args) {
    const gal_k_add_row *a = args;
    return add_row_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_ADD_ROW, args);
}
VINLINE void add_row_body(const gal_k_add_row *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++)
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            v_put(a->y, dt, at, m, v_add(v_get(a->x, dt, at, m), v_get(a->b, a->wdt, i, m)));
        }
}
static void add_row_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_add_row *a = args;
    if (!add_row_ours(a)) {
        v_ref_run(GAL_K_ADD_ROW, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        add_row_body(a, chunk, GAL_F32);
    } else {
        add_row_body(a, chunk, GAL_BF16);
    }
}

static bool sum_rows_ours(const gal_k_sum_rows *a) { return v_act(a->dt) && v_act(a->xdt); }
static int64_t sum_rows_chunks(const void *args) {
    const gal_k_sum_rows *a = args;
    return sum_rows_ours(a) ? v_ceil_div(a->d, ROWS_COLS) : v_ref_chunks(GAL_K_SUM_ROWS, args);
}
VINLINE void sum_rows_body(const gal_k_sum_rows *a, int64_t chunk, const gal_dtype xdt) {
    const column_sums c = { a->y, a->x, NULL, NULL, NULL, a->dt, a->n, a->d, a->accumulate };
    column_sums_body(&c, chunk, xdt, COLUMN_PLAIN);
}
static void sum_rows_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_sum_rows *a = args;
    if (!sum_rows_ours(a)) {
        v_ref_run(GAL_K_SUM_ROWS, args, chunk, scratch);
    } else if (a->xdt == GAL_F32) {
        sum_rows_body(a, chunk, GAL_F32);
    } else {
        sum_rows_body(a, chunk, GAL_BF16);
    }
}

static bool gelu_ours(const gal_k_gelu *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t gelu_chunks(const void *args) {
    const gal_k_gelu *a = args;
    return gelu_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_GELU, args);
}
/* 1 + tanh(z) = 2 sigmoid(2 z). Where x^2 is cut the function is 0 or x already, and its slope does not overflow. */
VINLINE void gelu_body(const gal_k_gelu *a, int64_t chunk, const gal_dtype dt, const bool slope) {
    const V one = v_set1(1.0F), outer = v_set1(1.5957691216F), cube = v_set1(0.044715F), three = v_set1(0.134145F);
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++)
        for (int64_t i = 0; i < a->d; i += VL) {
            int64_t m = v_left(a->d, i), at = n * a->d + i;
            V x = v_add(v_get(a->x, dt, at, m), v_get(a->b, a->wdt, i, m)), rest;
            V square = v_min(v_set1(1e4F), v_mul(x, x));
            V part = v_sigmoid(v_mul(v_mul(outer, x), v_fma(cube, square, one)), &rest);
            V y = v_mul(x, part);
            if (slope) {
                V inner = v_mul(outer, v_fma(three, square, one));
                y = v_mul(v_get(a->dy, dt, at, m), v_fma(v_mul(y, rest), inner, part));
            }
            v_put(a->y, dt, at, m, y);
        }
}
VINLINE void gelu_by_type(const void *args, int64_t chunk, void *scratch, const bool slope) {
    const gal_k_gelu *a = args;
    if (!gelu_ours(a)) {
        v_ref_run(slope ? GAL_K_GELU_GRAD : GAL_K_GELU, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        gelu_body(a, chunk, GAL_F32, slope);
    } else {
        gelu_body(a, chunk, GAL_BF16, slope);
    }
}
static void gelu_run(const void *args, int64_t chunk, void *scratch) { gelu_by_type(args, chunk, scratch, false); }
static void gelu_grad_run(const void *args, int64_t chunk, void *scratch) {
    gelu_by_type(args, chunk, scratch, true);
}

/* The same with a vector for each expert and its sorted rows. */
static int64_t expert_rows_chunks(const void *args) {
    const gal_k_expert_rows *a = args;
    return rows_pieces(a->rows, a->d);
}
static void expert_rows_run(gal_kernel_id id, const gal_k_expert_rows *a, int64_t chunk, void *scratch) {
    map_span s = rows_part(a->rows, a->d, chunk);
    for (int64_t e = 0; e < a->experts; e++) {
        const int64_t from = GAL_MAX(s.from, a->offset[e]), rows = GAL_MIN(s.to, a->offset[e + 1]) - from;
        if (rows <= 0 || !a->b[e]) continue;
        const size_t at = (size_t)(from * a->d) * gal_dtype_bytes(a->dt);
        void *y = (char *)a->y + at;
        const void *x = (const char *)a->x + at, *dy = a->dy ? (const char *)a->dy + at : NULL;
        const gal_k_add_row add = { y, x, a->b[e], a->dt, a->wdt, rows, a->d };
        const gal_k_gelu gelu = { y, x, a->b[e], dy, a->dt, a->wdt, rows, a->d };
        if (id == GAL_K_EXPERT_ADD) {
            for (int64_t i = 0; i < add_row_chunks(&add); i++) add_row_run(&add, i, scratch);
        } else {
            for (int64_t i = 0; i < gelu_chunks(&gelu); i++)
                gelu_by_type(&gelu, i, scratch, id == GAL_K_EXPERT_GELU_GRAD);
        }
    }
}
static void expert_add_run(const void *args, int64_t chunk, void *scratch) {
    expert_rows_run(GAL_K_EXPERT_ADD, args, chunk, scratch);
}
static void expert_gelu_run(const void *args, int64_t chunk, void *scratch) {
    expert_rows_run(GAL_K_EXPERT_GELU, args, chunk, scratch);
}
static void expert_gelu_grad_run(const void *args, int64_t chunk, void *scratch) {
    expert_rows_run(GAL_K_EXPERT_GELU_GRAD, args, chunk, scratch);
}
static int64_t expert_sum_pieces(const gal_k_expert_rows *a) { return v_ceil_div(a->d, ROWS_COLS); }
static bool expert_sum_ours(const gal_k_expert_rows *a) { return v_act(a->dt) && v_act(a->wdt); }
static int64_t expert_sum_chunks(const void *args) {
    const gal_k_expert_rows *a = args;
    return expert_sum_ours(a) ? a->experts * expert_sum_pieces(a) : v_ref_chunks(GAL_K_EXPERT_SUM, args);
}
static void expert_sum_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_expert_rows *a = args;
    if (!expert_sum_ours(a)) {
        v_ref_run(GAL_K_EXPERT_SUM, args, chunk, scratch);
        return;
    }
    const int64_t e = chunk / expert_sum_pieces(a), from = a->offset[e], rows = a->offset[e + 1] - from;
    if (rows == 0 || !a->b[e]) return;
    const gal_k_sum_rows sum = { a->b[e], v_at(a->x, a->dt, from * a->d), a->wdt, a->dt, rows, a->d, true };
    sum_rows_run(&sum, chunk % expert_sum_pieces(a), scratch);
}

static bool rope_ours(const gal_k_rope *a) {
    return v_act(a->dt) && a->size % 2 == 0 && a->size * 8 <= GAL_SCRATCH_BYTES;
}
static int64_t rope_width(const gal_k_rope *a) { return (a->heads + a->kv_heads) * a->size; }
static int64_t rope_chunks(const void *args) {
    const gal_k_rope *a = args;
    return rope_ours(a) ? rows_pieces(a->n, rope_width(a)) : v_ref_chunks(GAL_K_ROPE, args);
}
/* Heads of a row: interleaved, with the factors c c and -s s of each pair spread out. */
VINLINE void rope_pairs(void *x, const gal_dtype dt, int64_t at, int64_t heads, int64_t size, const float *cc,
                        const float *ss) {
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < size; i += VL) {
            int64_t m = v_left(size, i), p = at + h * size + i;
            V y = v_get(x, dt, p, m);
            v_put(x, dt, p, m, v_fma(y, v_loadm(cc + i, m), v_mul(v_swap_pairs(y), v_loadm(ss + i, m))));
        }
    }
}
VINLINE void rope_halves(void *x, const gal_dtype dt, int64_t at, int64_t heads, int64_t size, const float *cs,
                         const float *sn, float sign, float scale) {
    int64_t half = size / 2;
    V f = v_set1(scale), g = v_set1(scale * sign);
    for (int64_t i = 0; i < half; i += VL) {
        int64_t m = v_left(half, i);
        V c = v_mul(v_get(cs, GAL_F32, i, m), f), s = v_mul(v_get(sn, GAL_F32, i, m), g);
        for (int64_t h = 0; h < heads; h++) {
            int64_t p = at + h * size + i;
            V x0 = v_get(x, dt, p, m), x1 = v_get(x, dt, p + half, m);
            v_put(x, dt, p, m, v_fnma(x1, s, v_mul(x0, c)));
            v_put(x, dt, p + half, m, v_fma(x0, s, v_mul(x1, c)));
        }
    }
}
VINLINE void rope_row(void *x, const gal_k_rope *a, const gal_dtype dt, int64_t n, int64_t heads, float scale,
                      float *spread) {
    const float *c = (const float *)a->table + n * a->size, *s = c + a->size / 2;
    float sign = a->inverse ? -1.0F : 1.0F;
    int64_t at = n * heads * a->size;
    if (!a->interleaved) {
        rope_halves(x, dt, at, heads, a->size, c, s, sign, scale);
        return;
    }
    for (int64_t j = 0; j < a->size / 2; j++) {
        spread[2 * j] = spread[2 * j + 1] = scale * c[j];
        spread[a->size + 2 * j] = -sign * scale * s[j];
        spread[a->size + 2 * j + 1] = sign * scale * s[j];
    }
    rope_pairs(x, dt, at, heads, a->size, spread, spread + a->size);
}
VINLINE void rope_body(const gal_k_rope *a, int64_t chunk, const gal_dtype dt, float *scratch) {
    map_span s = rows_part(a->n, rope_width(a), chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        rope_row(a->q, a, dt, n, a->heads, a->qscale ? ((const float *)a->qscale)[n] : 1.0F, scratch);
        if (a->k) rope_row(a->k, a, dt, n, a->kv_heads, 1.0F, scratch);
    }
}
static void rope_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_rope *a = args;
    if (!rope_ours(a)) {
        v_ref_run(GAL_K_ROPE, args, chunk, scratch);
    } else if (a->dt == GAL_F32) {
        rope_body(a, chunk, GAL_F32, scratch);
    } else {
        rope_body(a, chunk, GAL_BF16, scratch);
    }
}

static bool embed_ours(const gal_k_embed *a) { return v_act(a->dt) && v_float(a->wdt); }
static int64_t embed_chunks(const void *args) {
    const gal_k_embed *a = args;
    return embed_ours(a) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_EMBED, args);
}
static void embed_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_embed *a = args;
    if (!embed_ours(a)) {
        v_ref_run(GAL_K_EMBED, args, chunk, scratch);
        return;
    }
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t n = s.from; n < s.to; n++)
        v_convert(a->y, a->dt, n * a->d, a->table, a->wdt, a->ids[n] * a->d, a->d);
}

/* y[to + i] += x[from + i] */
VINLINE void add_to_row(void *y, const gal_dtype ydt, int64_t to, const void *x, const gal_dtype dt, int64_t from,
                        int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        int64_t m = v_left(n, i);
        v_put(y, ydt, to + i, m, v_add(v_get(y, ydt, to + i, m), v_get(x, dt, from + i, m)));
    }
}

static int64_t embed_grad_chunks(const void *args) {
    const gal_k_embed_grad *a = args;
    return v_act(a->dt) ? v_ceil_div(a->d, ROWS_COLS) : v_ref_chunks(GAL_K_EMBED_GRAD, args);
}
VINLINE void embed_grad_body(const gal_k_embed_grad *a, int64_t chunk, const gal_dtype dt) {
    int64_t from = chunk * ROWS_COLS, cols = GAL_MIN(a->d - from, ROWS_COLS);
    for (int64_t n = 0; n < a->n; n++) {
        add_to_row(a->dtable, GAL_F32, a->ids[n] * a->d + from, a->dy, dt, n * a->d + from, cols);
    }
}
static void embed_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_embed_grad *a = args;
    MAP_BY_TYPE(GAL_K_EMBED_GRAD, embed_grad_body);
}

static int64_t gather_chunks(const void *args) {
    const gal_k_gather_rows *a = args;
    return v_act(a->dt) ? rows_pieces(a->n, a->d) : v_ref_chunks(GAL_K_GATHER_ROWS, args);
}
VINLINE void gather_body(const gal_k_gather_rows *a, int64_t chunk, const gal_dtype dt) {
    map_span s = rows_part(a->n, a->d, chunk);
    for (int64_t i = s.from; i < s.to; i++) {
        if (a->scatter) {
            add_to_row(a->y, dt, a->rows[i] * a->d, a->x, dt, i * a->d, a->d);
        } else {
            v_convert(a->y, dt, i * a->d, a->x, dt, a->rows[i] * a->d, a->d);
        }
    }
}
static void gather_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_gather_rows *a = args;
    MAP_BY_TYPE(GAL_K_GATHER_ROWS, gather_body);
}

static bool store_ours(const gal_k_kv_store *a) {
    return v_act(a->dt) && (v_float(a->cdt) || gal_dtype_in_blocks(a->cdt));
}
/* v_convert(), whose result may lie in blocks. */
static void store_row(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from, int64_t n) {
    if (v_float(dt)) {
        v_convert(y, dt, to, x, xdt, from, n);
        return;
    }
    float part[STORE_PART];
    for (int64_t i = 0; i < n; i += STORE_PART) {
        const int64_t some = GAL_MIN(n - i, (int64_t)STORE_PART);
        v_convert(part, GAL_F32, 0, x, xdt, from + i, some);
        gal_block_quantise(gal_dtype_block(dt), part, (char *)y + gal_dtype_span(dt, to + i), some);
    }
}
static int64_t store_chunks(const void *args) {
    const gal_k_kv_store *a = args;
    return store_ours(a) ? rows_pieces(a->n, 2 * a->kv_heads * a->size) : v_ref_chunks(GAL_K_KV_STORE, args);
}
static void store_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_kv_store *a = args;
    if (!store_ours(a)) {
        v_ref_run(GAL_K_KV_STORE, args, chunk, scratch);
        return;
    }
    map_span s = rows_part(a->n, 2 * a->kv_heads * a->size, chunk);
    for (int64_t n = s.from; n < s.to; n++) {
        /* Rows of a sequence are consecutive: a later one that takes the same slot lies `slots` rows on. */
        if (a->slots < a->n - n && a->seq[n + a->slots] == a->seq[n]) continue;
        for (int64_t g = 0; g < a->kv_heads; g++) {
            int64_t from = (n * a->kv_heads + g) * a->size;
            int64_t to = ((a->seq[n] * a->kv_heads + g) * a->slots + a->pos[n] % a->slots) * a->size;
            store_row(a->ck, a->cdt, to, a->k, a->dt, from, a->size);
            store_row(a->cv, a->cdt, to, a->v, a->dt, from, a->size);
        }
    }
}

static int64_t xent_chunks(const void *args) {
    const gal_k_xent *a = args;
    return a->dt == GAL_F32 ? rows_pieces(a->r, a->v) : v_ref_chunks(GAL_K_XENT, args);
}
static double xent_sum(const float *x, int64_t v, V max) { /* sum of exp(x - max), blocks of f32 added in double */
    double sum = 0.0;
    for (int64_t j = 0; j < v; j += 1024) {
        int64_t end = GAL_MIN(v, j + 1024);
        V s = v_zero();
        for (int64_t i = j; i < end; i += VL) {
            int64_t m = v_left(end, i);
            V e = v_exp(v_sub(v_get(x, GAL_F32, i, m), max));
            s = v_add(s, m == VL ? e : v_range(e, 0, m, v_zero()));
        }
        sum += (double)v_hsum(s);
    }
    return sum;
}
static void xent_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_xent *a = args;
    if (a->dt != GAL_F32) {
        v_ref_run(GAL_K_XENT, args, chunk, scratch);
        return;
    }
    map_span s = rows_part(a->r, a->v, chunk);
    for (int64_t r = s.from; r < s.to; r++) {
        const float *x = (const float *)a->logits + r * a->v;
        V vm = v_set1(-INFINITY);
        for (int64_t i = 0; i < a->v; i += VL) {
            int64_t m = v_left(a->v, i);
            vm = v_max(v_range(v_get(x, GAL_F32, i, m), 0, m, v_set1(-INFINITY)), vm); /* a NaN is passed over */
        }
        float max = v_hmax(vm);
        double lse = (double)max + log(xent_sum(x, a->v, v_set1(max)));
        ((float *)a->lse)[r] = (float)lse;
        ((float *)a->loss)[r] = a->target[r] < 0 ? 0.0F : (float)(lse - (double)x[a->target[r]]);
    }
}
static void xent_grad_run(const void *args, int64_t chunk, void *scratch) {
    const gal_k_xent *a = args;
    if (a->dt != GAL_F32) {
        v_ref_run(GAL_K_XENT_GRAD, args, chunk, scratch);
        return;
    }
    map_span s = rows_part(a->r, a->v, chunk);
    for (int64_t r = s.from; r < s.to; r++) {
        float *x = (float *)a->logits + r * a->v;
        if (a->target[r] < 0) {
            memset(x, 0, (size_t)a->v * sizeof *x);
            continue;
        }
        float dloss = ((const float *)a->dloss)[r], lse = ((const float *)a->lse)[r], at = x[a->target[r]];
        V vl = v_set1(lse), d = v_set1(dloss);
        for (int64_t i = 0; i < a->v; i += VL) {
            int64_t m = v_left(a->v, i);
            v_put(x, GAL_F32, i, m, v_mul(d, v_exp(v_sub(v_get(x, GAL_F32, i, m), vl))));
        }
        x[a->target[r]] = dloss * expm1f(at - lse);
    }
}

static void rows_fill(gal_kernel_table *t) {
    t->k[GAL_K_RMS_NORM] = (gal_kernel){ norm_chunks, norm_run };
    t->k[GAL_K_RMS_NORM_DX] = (gal_kernel){ norm_dx_chunks, norm_dx_run };
    t->k[GAL_K_RMS_NORM_DW] = (gal_kernel){ norm_dw_chunks, norm_dw_run };
    t->k[GAL_K_LAYER_NORM] = (gal_kernel){ layer_chunks, layer_run };
    t->k[GAL_K_LAYER_NORM_DX] = (gal_kernel){ layer_dx_chunks, layer_dx_run };
    t->k[GAL_K_LAYER_NORM_DW] = (gal_kernel){ layer_dw_chunks, layer_dw_run };
    t->k[GAL_K_ADD_ROW] = (gal_kernel){ add_row_chunks, add_row_run };
    t->k[GAL_K_SUM_ROWS] = (gal_kernel){ sum_rows_chunks, sum_rows_run };
    t->k[GAL_K_GELU] = (gal_kernel){ gelu_chunks, gelu_run };
    t->k[GAL_K_GELU_GRAD] = (gal_kernel){ gelu_chunks, gelu_grad_run };
    t->k[GAL_K_EXPERT_ADD] = (gal_kernel){ expert_rows_chunks, expert_add_run };
    t->k[GAL_K_EXPERT_GELU] = (gal_kernel){ expert_rows_chunks, expert_gelu_run };
    t->k[GAL_K_EXPERT_GELU_GRAD] = (gal_kernel){ expert_rows_chunks, expert_gelu_grad_run };
    t->k[GAL_K_EXPERT_SUM] = (gal_kernel){ expert_sum_chunks, expert_sum_run };
    t->k[GAL_K_ROPE] = (gal_kernel){ rope_chunks, rope_run };
    t->k[GAL_K_EMBED] = (gal_kernel){ embed_chunks, embed_run };
    t->k[GAL_K_EMBED_GRAD] = (gal_kernel){ embed_grad_chunks, embed_grad_run };
    t->k[GAL_K_GATHER_ROWS] = (gal_kernel){ gather_chunks, gather_run };
    t->k[GAL_K_KV_STORE] = (gal_kernel){ store_chunks, store_run };
    t->k[GAL_K_XENT] = (gal_kernel){ xent_chunks, xent_run };
    t->k[GAL_K_XENT_GRAD] = (gal_kernel){ xent_chunks, xent_grad_run };
}

#endif
