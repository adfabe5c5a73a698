/* rows_simd_test.c - kernels over rows and elements of each level against ref: tails, types, magnitudes, special
 * values. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/rows_support.h"
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t lengths[] = { 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257 };
static const gal_dtype acts[] = { GAL_F32, GAL_BF16 };
static const double sizes[] = { 1e-3, 1.0, 30.0 };

/* Runs one kernel on ref and on the level with its outputs in turn, and compares them. */
typedef struct output {
    void **at; /* field of the arguments */
    gal_dtype dt;
    int64_t n;
    double absolute, relative;
} output;

static void compare(const gal_kernel_table *t, gal_kernel_id id, const char *name, const void *args,
                    const output *out, int outs) {
    void *want[4], *got[4];
    char what[120];
    for (int i = 0; i < outs; i++) { /* what the field holds is the initial content: for kernels that add */
        want[i] = rows_copy(out[i].dt, *out[i].at, out[i].n);
        got[i] = rows_copy(out[i].dt, *out[i].at, out[i].n);
    }
    for (int i = 0; i < outs; i++) *out[i].at = want[i];
    rows_run(rows_ref(), id, args);
    for (int i = 0; i < outs; i++) *out[i].at = got[i];
    rows_run(t, id, args);
    for (int i = 0; i < outs; i++) {
        (void)snprintf(what, sizeof what, "%s %s output %d of %lld numbers of type %d", t->name, name, i,
                       (long long)out[i].n, (int)out[i].dt);
        rows_close(what, got[i], want[i], out[i].dt, out[i].n, out[i].absolute, out[i].relative);
    }
}
#define COMPARE(t, id, args, ...)                                                                                    \
    compare(t, id, #id, args, (const output[]){ __VA_ARGS__ }, (int)GAL_LEN(((const output[]){ __VA_ARGS__ })))

/* One unit in the last place of what is stored, and `ops` roundings of f32 inside. */
static double rounding(gal_dtype dt, double ops) { return 2 * rows_eps(dt) + ops * 0x1p-24; }

static void check_maps(const gal_kernel_table *t, gal_dtype dt, int64_t n, double size) {
    double r = rounding(dt, 12), slope = 12 * 0x1p-24 * 2 * size; /* 1 + g (1 - s) may cancel near g = -1.28 */
    gal_k_swiglu s = {
        .y = rows_zeros(dt, n), .g = rows_random(dt, n, size), .u = rows_random(dt, n, size), .dt = dt, .count = n
    };
    COMPARE(t, GAL_K_SWIGLU, &s, { &s.y, dt, n, 0, r });
    gal_k_swiglu_grad g = { .dg = rows_zeros(dt, n),
                            .du = rows_zeros(dt, n),
                            .dy = rows_random(dt, n, 1.0),
                            .g = s.g,
                            .u = s.u,
                            .dt = dt,
                            .count = n };
    COMPARE(t, GAL_K_SWIGLU_GRAD, &g, { &g.dg, dt, n, slope, r }, { &g.du, dt, n, 0, r });
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        gal_k_map m = { .y = rows_random(dt, n, size),
                        .a = s.g,
                        .b = s.u,
                        .dt = dt,
                        .count = n,
                        .value = size,
                        .accumulate = accumulate != 0 };
        COMPARE(t, GAL_K_ADD, &m, { &m.y, dt, n, 0, r });
        /* Without FMA the product is rounded before the sum, which may cancel. */
        COMPARE(t, GAL_K_MUL, &m, { &m.y, dt, n, accumulate * 0x1p-24 * size * size, r });
        COMPARE(t, GAL_K_SILU, &m, { &m.y, dt, n, 0, r });
        COMPARE(t, GAL_K_SILU_GRAD, &m, { &m.y, dt, n, slope + 0x1p-23 * size, r });
        COMPARE(t, GAL_K_FILL, &m, { &m.y, dt, n, 0, 0 });
    }
    static const gal_dtype types[] = { GAL_F32, GAL_BF16, GAL_F16, GAL_F64 };
    for (size_t i = 0; i < 16; i++) {
        gal_dtype to = types[i / 4], from = types[i % 4];
        gal_k_map c = { .y = rows_zeros(to, n), .a = rows_random(from, n, size), .dt = to, .adt = from, .count = n };
        COMPARE(t, GAL_K_COPY, &c, { &c.y, to, n, 0, 0 });
    }
}

/* Keys and values become the blocks of gal_block_quantise(), and no other slot is touched. */
static void check_block_store(const gal_kernel_table *t, gal_dtype dt, gal_dtype cdt) {
    enum { ROWS = 9, KV = 2, SIZE = 320, SLOTS = 5, COUNT = 2 * KV * SLOTS * SIZE };
    int32_t *pos = rows_ints(ROWS), *seq = rows_ints(ROWS);
    for (int64_t j = 0; j < ROWS; j++) {
        seq[j] = j < 7;
        pos[j] = (int32_t)(j < 7 ? 4 + j : j);
    }
    gal_k_kv_store s = { .ck = rows_random(cdt, COUNT, 1.0),
                         .cv = rows_random(cdt, COUNT, 1.0),
                         .cdt = cdt,
                         .k = rows_random(dt, ROWS * KV * SIZE, 3.0),
                         .v = rows_random(dt, ROWS * KV * SIZE, 3.0),
                         .dt = dt,
                         .pos = pos,
                         .seq = seq,
                         .n = ROWS,
                         .kv_heads = KV,
                         .size = SIZE,
                         .slots = SLOTS };
    const size_t bytes = gal_dtype_span(cdt, COUNT), row = gal_dtype_span(cdt, SIZE);
    for (int values = 0; values < 2; values++) {
        char *want = malloc(bytes);
        assert_non_null(want);
        memcpy(want, values ? s.cv : s.ck, bytes);
        for (int64_t n = 0; n < ROWS; n++)
            for (int64_t g = 0; g < KV; g++) {
                float x[SIZE];
                for (int64_t i = 0; i < SIZE; i++)
                    x[i] = (float)rows_get(values ? s.v : s.k, dt, (n * KV + g) * SIZE + i);
                gal_block_quantise(gal_dtype_block(cdt), x,
                                   want + (size_t)((seq[n] * KV + g) * SLOTS + pos[n] % SLOTS) * row, SIZE);
            }
        rows_run(t, GAL_K_KV_STORE, &s);
        assert_memory_equal(values ? s.cv : s.ck, want, bytes);
        free(want);
    }
    rows_free_all();
}

static void stores_blocks(void **state) {
    (void)state;
    int n;
    const gal_kernel_table *t = rows_levels(&n);
    for (int l = -1; l < n; l++)
        for (int i = 0; i < 4; i++)
            check_block_store(l < 0 ? rows_ref() : &t[l], i % 2 ? GAL_BF16 : GAL_F32, i / 2 ? GAL_Q4_0 : GAL_Q8_0);
}

static void check_norms(const gal_kernel_table *t, gal_dtype dt, gal_dtype wdt, int64_t d, double size) {
    int64_t n = 21;
    double len = (double)d;
    gal_k_rms_norm a = { .y = rows_zeros(dt, n * d),
                         .inv = rows_zeros(GAL_F32, n),
                         .x = rows_random(dt, n * d, size),
                         .w = rows_random(wdt, d, 1.0),
                         .dt = dt,
                         .wdt = wdt,
                         .n = n,
                         .d = d,
                         .eps = 1e-6 };
    /* The cast between normalising and scaling may fall to the other side: one more unit of dt. */
    COMPARE(t, GAL_K_RMS_NORM, &a, { &a.y, dt, n * d, 0, 2 * rounding(dt, len + 8) },
            { &a.inv, GAL_F32, n, 0, rounding(GAL_F32, len + 8) });
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        gal_k_rms_norm_dx x = { .dx = rows_random(dt, n * d, 1.0),
                                .dy = rows_random(dt, n * d, 1.0),
                                .x = a.x,
                                .w = a.w,
                                .inv = a.inv,
                                .dt = dt,
                                .wdt = wdt,
                                .n = n,
                                .d = d,
                                .accumulate = accumulate != 0 };
        double inv = 0;
        for (int64_t i = 0; i < n; i++) inv = fmax(inv, rows_get(a.inv, GAL_F32, i));
        double xs = size * inv; /* |x inv| is at most that */
        COMPARE(t, GAL_K_RMS_NORM_DX, &x,
                { &x.dx, dt, n * d, (len + 8) * 0x1p-24 * (inv + inv * xs * xs + 1), rounding(dt, 8) });
        gal_k_rms_norm_dw w = {
            .dw = rows_random(GAL_F32, d, 1.0), .dy = x.dy, .x = a.x, .inv = a.inv, .dt = dt, .n = n, .d = d
        };
        COMPARE(t, GAL_K_RMS_NORM_DW, &w,
                { &w.dw, GAL_F32, d, ((double)n + 8) * 0x1p-24 * ((double)n * xs + 1), rounding(GAL_F32, 2) });
    }
}

static void check_rope(const gal_kernel_table *t, gal_dtype dt, int64_t size, bool interleaved, bool inverse) {
    int64_t n = 19, heads = 5, kv = 2;
    gal_k_rope a = { .q = rows_random(dt, n * heads * size, 4.0),
                     .k = rows_random(dt, n * kv * size, 4.0),
                     .dt = dt,
                     .table = rows_random(GAL_F32, n * size, 1.0),
                     .qscale = rows_random(GAL_F32, n, 2.0),
                     .n = n,
                     .heads = heads,
                     .kv_heads = kv,
                     .size = size,
                     .interleaved = interleaved,
                     .inverse = inverse };
    double e = 4 * 0x1p-24 * 16;
    COMPARE(t, GAL_K_ROPE, &a, { &a.q, dt, n * heads * size, e, rounding(dt, 2) },
            { &a.k, dt, n * kv * size, e, rounding(dt, 2) });
    a.k = NULL;
    a.qscale = NULL;
    COMPARE(t, GAL_K_ROPE, &a, { &a.q, dt, n * heads * size, e, rounding(dt, 2) });
}

static void check_rows(const gal_kernel_table *t, gal_dtype dt, gal_dtype wdt, int64_t d) {
    int64_t n = 300, v = 40;
    int32_t *ids = rows_ints(n), *some = rows_ints(v / 2);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 7 + i / 9) % v);
    for (int64_t i = 0; i < v / 2; i++) some[i] = (int32_t)(v - 1 - 2 * i);
    gal_k_embed e = { .y = rows_zeros(dt, n * d),
                      .dt = dt,
                      .table = rows_random(wdt, v * d, 1.0),
                      .wdt = wdt,
                      .ids = ids,
                      .n = n,
                      .d = d };
    COMPARE(t, GAL_K_EMBED, &e, { &e.y, dt, n * d, 0, 0 });
    gal_k_embed_grad g = { .dtable = rows_random(GAL_F32, v * d, 1.0),
                           .dy = rows_random(dt, n * d, 1.0),
                           .dt = dt,
                           .ids = ids,
                           .n = n,
                           .d = d };
    COMPARE(t, GAL_K_EMBED_GRAD, &g, { &g.dtable, GAL_F32, v * d, 0, 0 }); /* the same sums in the same order */
    for (int scatter = 0; scatter < 2; scatter++) {
        gal_k_gather_rows r = { .y = rows_random(dt, v * d, 1.0),
                                .x = rows_random(dt, v * d, 1.0),
                                .dt = dt,
                                .rows = some,
                                .n = v / 2,
                                .d = d,
                                .scatter = scatter != 0 };
        COMPARE(t, GAL_K_GATHER_ROWS, &r, { &r.y, dt, v * d, 0, 0 });
    }
    static const int64_t slots[] = { 1, 4, 100 };
    for (size_t i = 0; i < GAL_LEN(slots);
         i++) { /* two sequences of 30 and 11 rows; the ring is shorter than a chunk */
        int64_t rows = 41, kv = 2, count = 2 * kv * slots[i] * d;
        int32_t *pos = rows_ints(rows), *seq = rows_ints(rows);
        for (int64_t j = 0; j < rows; j++) {
            seq[j] = j < 30 ? 1 : 0;
            pos[j] = (int32_t)(j < 30 ? 5 + j : j - 30);
        }
        gal_k_kv_store s = { .ck = rows_random(wdt, count, 1.0),
                             .cv = rows_random(wdt, count, 1.0),
                             .cdt = wdt,
                             .k = rows_random(dt, rows * kv * d, 1.0),
                             .v = rows_random(dt, rows * kv * d, 1.0),
                             .dt = dt,
                             .pos = pos,
                             .seq = seq,
                             .n = rows,
                             .kv_heads = kv,
                             .size = d,
                             .slots = slots[i] };
        COMPARE(t, GAL_K_KV_STORE, &s, { &s.ck, wdt, count, 0, 0 }, { &s.cv, wdt, count, 0, 0 });
    }
}

static void check_xent(const gal_kernel_table *t, int64_t v, double size) {
    int64_t r = 9;
    int32_t *target = rows_ints(r);
    for (int64_t i = 0; i < r; i++) target[i] = (int32_t)(i == 4 ? -1 : (i * 37) % v);
    gal_k_xent a = { .logits = rows_random(GAL_F32, r * v, size),
                     .loss = rows_zeros(GAL_F32, r),
                     .lse = rows_zeros(GAL_F32, r),
                     .dloss = rows_random(GAL_F32, r, 1.0),
                     .dt = GAL_F32,
                     .target = target,
                     .r = r,
                     .v = v };
    /* Each exponential is off by its argument's rounding (2 size eps); sums of 1024 / VL, then exact. */
    double e = (2 * size + 140) * 0x1p-24;
    COMPARE(t, GAL_K_XENT, &a, { &a.loss, GAL_F32, r, e + 2 * size * 0x1p-24, 0x1p-23 },
            { &a.lse, GAL_F32, r, e, 0x1p-23 });
    COMPARE(t, GAL_K_XENT_GRAD, &a,
            { &a.logits, GAL_F32, r * v, 0x1p-125 /* subnormal numbers may be 0 */,
              (3 * size + log((double)v) + 16) * 0x1p-24 });
}

static void check_optim(const gal_kernel_table *t, int64_t n, gal_dtype work, double size) {
    gal_k_sum_squares s = { .x = rows_random(GAL_F32, n, size), .dt = GAL_F32, .count = n };
    int64_t parts = (n + GAL_SUM_CHUNK - 1) / GAL_SUM_CHUNK;
    void *partial = rows_zeros(GAL_F64, parts);
    s.partial = partial;
    rows_run(rows_ref(), GAL_K_SUM_SQUARES, &s);
    s.partial = rows_zeros(GAL_F64, parts);
    rows_run(t, GAL_K_SUM_SQUARES, &s);
    rows_close(t->name, s.partial, partial, GAL_F64, parts, 0, (double)GAL_SUM_CHUNK * DBL_EPSILON);
    const gal_opt_step st = {
        .lr = 0.01F, .beta1 = 0.9F, .beta2 = 0.95F, .eps = 1e-8F, .bias1 = 0.3F, .bias2 = 0.2F, .grad_scale = 0.7F
    };
    float *v = rows_random(GAL_F32, n, size);
    for (int64_t i = 0; i < n; i++) v[i] = v[i] * v[i];
    gal_k_update a = { .w = rows_random(GAL_F32, n, 1.0),
                       .m = rows_random(GAL_F32, n, size),
                       .v = v,
                       .work = rows_zeros(work, n),
                       .grad = s.x,
                       .dt = GAL_F32,
                       .wdt = GAL_F32,
                       .work_dt = work,
                       .st = &st,
                       .count = n,
                       .decay = 0.1F };
    /* m may cancel, and it is as large as size; the step is lr m / bias1 / sqrt(v / bias2), where v holds at least 5
     * % of the gradient's square, but m may be much larger than that: compare relative to the step. */
    COMPARE(t, GAL_K_ADAMW, &a, { &a.m, GAL_F32, n, 4 * 0x1p-24 * size, 0x1p-22 },
            { &a.v, GAL_F32, n, 0, 8 * 0x1p-24 });
    void *w = rows_copy(GAL_F32, a.w, n), *moments = rows_copy(GAL_F32, a.m, n), *v2 = rows_copy(GAL_F32, v, n);
    for (int64_t i = 0; i < n; i++) ((float *)v2)[i] += (float)(size * size);
    a.w = w;
    a.m = moments;
    a.v = v2;
    a.work = rows_zeros(work, n);
    /* Without FMA moments and w are rounded twice where others round once. */
    COMPARE(t, GAL_K_ADAMW, &a, { &a.w, GAL_F32, n, 24 * 0x1p-24, 0x1p-22 }, { &a.m, GAL_F32, n, size, 0 },
            { &a.v, GAL_F32, n, size * size, 0x1p-22 }, { &a.work, work, n, 24 * 0x1p-24, rounding(work, 4) });
    for (int64_t i = 0; i < n; i++) { /* what is computed with is a rounding of what is saved */
        float x = ((const float *)a.w)[i], y;
        gal_convert(&y, work, &x, GAL_F32, 1);
        assert_memory_equal(&y, (const char *)a.work + i * (int64_t)gal_dtype_bytes(work), gal_dtype_bytes(work));
    }
}

/* exp inside silu over the whole range of floats, infinities and NaN; conversions of special values to the bit. */
static void check_special(const gal_kernel_table *t) {
    static const float specials[] = { 0.0F,     -0.0F,    1e-40F,   88.7F,       89.5F,      -87.0F, -87.4F,
                                      -88.8F,   -103.0F,  -105.0F,  500.0F,      -500.0F,    3e38F,  -3e38F,
                                      INFINITY, 65504.0F, 65520.0F, 1.00390625F, 1.01171875F };
    int64_t n = (int64_t)GAL_LEN(specials);
    gal_k_map m = { .y = rows_zeros(GAL_F32, n), .a = rows_copy(GAL_F32, specials, n), .dt = GAL_F32, .count = n };
    COMPARE(t, GAL_K_SILU, &m, { &m.y, GAL_F32, n, 1e-36, 16 * 0x1p-24 });
    float nan[2] = { NAN, 1.0F };
    m.a = nan;
    m.count = 2;
    rows_run(t, GAL_K_SILU, &m);
    assert_true(isnan(((float *)m.y)[0]) && !isnan(((float *)m.y)[1]));
    for (int i = 0; i < 2; i++) {
        gal_k_map c = {
            .y = rows_zeros(GAL_BF16, n), .a = specials, .dt = i ? GAL_F16 : GAL_BF16, .adt = GAL_F32, .count = n
        };
        COMPARE(t, GAL_K_COPY, &c, { &c.y, c.dt, n, 0, 0 });
        c.a = nan;
        c.count = 2;
        rows_run(t, GAL_K_COPY, &c);
        assert_true(isnan(rows_get(c.y, c.dt, 0)));
    }
}

static void all(void (*check)(const gal_kernel_table *t)) {
    int n;
    const gal_kernel_table *t = rows_levels(&n);
    if (n == 0) skip(); /* a processor with no level but ref, which is what others are compared with */
    for (int l = 0; l < n; l++) {
        check(&t[l]);
        rows_free_all();
    }
}

static void each_map(const gal_kernel_table *t) {
    for (size_t i = 0; i < GAL_LEN(lengths) * 6; i++) {
        check_maps(t, acts[i % 2], lengths[i / 6], sizes[i / 2 % 3]);
        rows_free_all();
    }
    check_maps(t, GAL_F32, 40001, 1.0);
    check_special(t);
}
static void each_row(const gal_kernel_table *t) {
    static const gal_dtype weights[] = { GAL_F32, GAL_BF16, GAL_F16 };
    for (size_t i = 0; i < GAL_LEN(lengths) * 6; i++) {
        check_norms(t, acts[i % 2], weights[i % 3], lengths[i / 6], sizes[i / 2 % 3]);
        check_rows(t, acts[i % 2], weights[i % 3], lengths[i / 6]);
        rows_free_all();
    }
    static const int64_t heads[] = { 2, 8, 16, 24, 48, 64, 82, 128 };
    for (size_t i = 0; i < GAL_LEN(heads) * 8; i++) {
        check_rope(t, acts[i % 2], heads[i / 8], i / 2 % 2 == 0, i / 4 % 2 == 0);
        rows_free_all();
    }
}
static void each_loss(const gal_kernel_table *t) {
    static const double size[] = { 0.1, 5.0, 80.0 };
    static const int64_t widths[] = { 1, 2, 17, 259, 1024, 5003, 131072 };
    for (size_t i = 0; i < GAL_LEN(widths) * 3; i++) {
        if (widths[i / 3] > 100000 && i % 3 != 1) continue;
        check_xent(t, widths[i / 3], size[i % 3]);
        rows_free_all();
    }
}
static void each_optim(const gal_kernel_table *t) {
    static const gal_dtype works[] = { GAL_F32, GAL_BF16, GAL_F16 };
    for (size_t i = 0; i < GAL_LEN(lengths) * 3; i++) {
        check_optim(t, lengths[i / 3], works[i % 3], i % 2 ? 1e-3 : 1.0);
        rows_free_all();
    }
    check_optim(t, 40001, GAL_BF16, 0.1);
}

static void maps_match_ref(void **state) {
    (void)state;
    all(each_map);
}
static void rows_match_ref(void **state) {
    (void)state;
    all(each_row);
}
static void losses_match_ref(void **state) {
    (void)state;
    all(each_loss);
}
static void optimiser_matches_ref(void **state) {
    (void)state;
    all(each_optim);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(maps_match_ref), cmocka_unit_test(rows_match_ref),
                                        cmocka_unit_test(losses_match_ref), cmocka_unit_test(optimiser_matches_ref),
                                        cmocka_unit_test(stores_blocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
