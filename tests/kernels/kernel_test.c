/* kernel_test.c - see kernel_test.h. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_test.h"
#include "support/thin.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

enum { GUARD = 64 };

static bool always(void) { return true; }
#if defined(__x86_64__)
static bool has_sse42(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3"); }
static bool has_avx(void) { return __builtin_cpu_supports("avx"); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx_vnni(void) {
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
static bool has_vnni(void) { return __builtin_cpu_supports("avx512vnni"); }
static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static bool has_bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#elif defined(__aarch64__)
static bool has_dot(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
static bool has_i8mm(void) { return has_dot() && getauxval(AT_HWCAP2) & HWCAP2_I8MM; }
#endif

/* Unlike the device's, a level appears with and without what some processors have on top of it: one with both tests
 * both. A level is those before it that are here, with some kernels replaced. */
static const struct {
    const char *name;
    bool (*here)(void);
    void (*fill)(gal_kernel_table *t);
} LEVELS[] = {
    { "ref", always, gal_ref_fill },
#if defined(__x86_64__)
    { "sse42", has_sse42, gal_sse42_fill },
    { "avx", has_avx, gal_avx_fill },
    { "avx2", has_avx2, gal_avx2_fill },
    { "avx2+vnni", has_avx_vnni, gal_avx_vnni_fill },
    { "avx512", has_avx512, gal_avx512_fill },
    { "avx512+vnni", has_vnni, gal_avx512_vnni_fill },
    { "avx512+bf16", has_bf16, gal_avx512_bf16_fill },
#elif defined(__aarch64__)
    { "neon", always, gal_neon_fill },
    { "neon+dot", has_dot, gal_neon_dot_fill },
    { "neon+i8mm", has_i8mm, gal_neon_i8mm_fill },
#endif
};

static gal_kernel_table tables[GAL_LEN(LEVELS)];
static int n_tables;

static void find_levels(void) {
    if (n_tables) return;
    gal_kernel_table t = { 0 };
    for (size_t i = 0; i < GAL_LEN(LEVELS); i++) {
        if (!LEVELS[i].here()) continue;
        LEVELS[i].fill(&t);
        t.name = LEVELS[i].name;
        tables[n_tables++] = t;
    }
}

int kt_levels(void) {
    find_levels();
    return n_tables;
}

const gal_kernel_table *kt_level(int i) {
    find_levels();
    return &tables[i];
}

/* ---- data -------------------------------------------------------------------------------------------------------
 */

static uint64_t next(kt *t) { /* xorshift64* */
    uint64_t x = t->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    t->random = x;
    return x * 0x2545f4914f6cdd1du;
}

double kt_uniform(kt *t) { return (double)(next(t) >> 11) * 0x1p-52 - 1.0; }
int64_t kt_below(kt *t, int64_t n) { return (int64_t)(next(t) >> 33) % n; }

double kt_get(const void *p, gal_dtype dt, int64_t i) {
    double x, aligned = 0; /* outputs of several formats are kept end to end */
    size_t bytes = gal_dtype_bytes(dt);
    memcpy(&aligned, (const char *)p + (size_t)i * bytes, bytes);
    gal_convert(&x, GAL_F64, &aligned, dt, 1);
    return x;
}

void kt_put(void *p, gal_dtype dt, int64_t i, double x) {
    gal_convert((char *)p + i * (int64_t)gal_dtype_bytes(dt), dt, &x, GAL_F64, 1);
}

static void *keep(kt *t, void *p, size_t array_bytes) {
    if (!p || t->blocks == KT_BLOCKS) abort();
    t->array_bytes[t->blocks] = array_bytes;
    t->block[t->blocks++] = p;
    return p;
}

/* n elements of `bytes`, `shift` elements off a boundary, between guards. */
static void *guarded(kt *t, size_t bytes, int64_t n, int64_t shift) {
    size_t front = GUARD + (size_t)shift * bytes, all = (front + (size_t)n * bytes + GUARD + 63) / 64 * 64;
    unsigned char *block = keep(t, aligned_alloc(64, all), all);
    memset(block, 0xff, all);
    return block + front;
}

static bool guards_whole(const kt_out *o, int64_t shift) {
    size_t bytes = gal_dtype_bytes(o->dt), front = GUARD + (size_t)shift * bytes;
    const unsigned char *p = o->p;
    for (size_t i = 1; i <= front; i++)
        if (*(p - i) != 0xff) return false;
    for (size_t i = 0; i < GUARD; i++)
        if (p[(size_t)o->n * bytes + i] != 0xff) return false;
    return true;
}

static void fill_random(kt *t, void *p, gal_dtype dt, int64_t n, double scale) {
    for (int64_t i = 0; i < n; i++) /* the sum of three has variance 1 */
        kt_put(p, dt, i, (kt_uniform(t) + kt_uniform(t) + kt_uniform(t)) * scale);
}

void *kt_in(kt *t, gal_dtype dt, int64_t n, double scale) {
    void *p = guarded(t, gal_dtype_bytes(dt), n, t->shift);
    fill_random(t, p, dt, n, scale);
    return p;
}

int32_t *kt_ints(kt *t, int64_t n) {
    int32_t *p = guarded(t, sizeof *p, n, 0);
    memset(p, 0, (size_t)n * sizeof *p);
    return p;
}

double *kt_doubles(kt *t, int64_t n) { return keep(t, calloc((size_t)n + 1, sizeof(double)), 0); }

kt_out *kt_result(kt *t, gal_dtype dt, int64_t n, double scale) {
    if (t->outs == KT_OUTS) abort();
    kt_out *o = &t->out[t->outs++];
    size_t bytes = (size_t)n * gal_dtype_bytes(dt);
    *o = (kt_out){ .p = guarded(t, gal_dtype_bytes(dt), n, t->shift), .dt = dt, .n = n, .abs = kt_doubles(t, n) };
    fill_random(t, o->p, dt, n, scale);
    o->initial = keep(t, malloc(bytes + 1), 0);
    memcpy(o->initial, o->p, bytes);
    return o;
}

void kt_args(kt *t, const void *args, size_t bytes) {
    if (bytes > sizeof t->args) abort();
    memcpy(t->args, args, bytes);
}

/* ---- running ----------------------------------------------------------------------------------------------------
 */

static void *scratch_of_thread(void) {
    static void *scratch;
    if (!scratch) scratch = aligned_alloc(64, GAL_SCRATCH_BYTES);
    if (!scratch) abort();
    return scratch;
}

void kt_run(const gal_kernel *k, const void *args, void *scratch, bool backwards) {
    int64_t n = k->chunks(args);
    for (int64_t i = 0; i < n; i++) k->run(args, backwards ? n - 1 - i : i, scratch);
}

void kt_run_ref(gal_kernel_id id, const void *args) { kt_run(&kt_level(0)->k[id], args, scratch_of_thread(), false); }

void kt_reset_outputs(kt *t) {
    for (int i = 0; i < t->outs; i++)
        memcpy(t->out[i].p, t->out[i].initial, (size_t)t->out[i].n * gal_dtype_bytes(t->out[i].dt));
}

/* Bytes of an output in a copy: each begins where any format may. */
static size_t room_of(const kt_out *o) { return ((size_t)o->n * gal_dtype_bytes(o->dt) + 7) / 8 * 8; }

size_t kt_outputs_bytes(const kt *t) {
    size_t bytes = 0;
    for (int i = 0; i < t->outs; i++) bytes += room_of(&t->out[i]);
    return bytes;
}

unsigned char *kt_outputs(const kt *t) {
    size_t at = 0;
    unsigned char *copy = calloc(kt_outputs_bytes(t) + 1, 1);
    if (!copy) abort();
    for (int i = 0; i < t->outs; i++) {
        memcpy(copy + at, t->out[i].p, (size_t)t->out[i].n * gal_dtype_bytes(t->out[i].dt));
        at += room_of(&t->out[i]);
    }
    return copy;
}

static unsigned char *run_level(kt *t, const gal_kernel *k, bool backwards) {
    kt_reset_outputs(t);
    /* Nothing may be expected of the scratch: NaN. */
    memset(scratch_of_thread(), 0xff, backwards ? GAL_SCRATCH_BYTES : 1 << 16);
    kt_run(k, t->args, scratch_of_thread(), backwards);
    return kt_outputs(t);
}

/* One unit in the last place at x, and the smallest number above 0. */
static double rounding(gal_dtype dt, double x) {
    switch (dt) {
    case GAL_F32:
        return fabs(x) * 0x1p-23 + 0x1p-149;
    case GAL_BF16:
        return fabs(x) * 0x1p-7 + 0x1p-133;
    case GAL_F16:
        return fabs(x) * 0x1p-10 + 0x1p-24;
    case GAL_F64:
        return fabs(x) * 0x1p-52;
    case GAL_I32:
    case GAL_BLOCKS:
    case GAL_Q8_0:
    case GAL_Q4_0:
    case GAL_DTYPES:
    default:
        return 0;
    }
}

static int failed_variants, failed_of_case;

void kt_fail(kt *t, const char *level, const char *what) {
    if (t->failed) return;
    t->failed = true;
    failed_variants++;
    if (failed_of_case++ >= 4) return;
    print_error("%s at %s, %s, weights %s, scale %g, shift %lld%s: %s\n", t->c->name, level, gal_dtype_name(t->dt),
                gal_dtype_name(t->wdt), t->scale, (long long)t->shift, t->accumulate ? ", accumulate" : "", what);
}

void kt_compare(kt *t, const char *level, const unsigned char *got, const unsigned char *want) {
    size_t at = 0;
    for (int i = 0; i < t->outs; i++) {
        const kt_out *o = &t->out[i];
        const unsigned char *g = got + at, *w = want ? want + at : NULL;
        at += room_of(o);
        if (!w && !o->want) continue;
        for (int64_t k = 0; k < o->n; k++) {
            double x = kt_get(g, o->dt, k), y = w ? kt_get(w, o->dt, k) : o->want[k];
            double allowed = o->exact ? 0 : o->abs[k] + rounding(o->dt, y);
            if (o->half && strstr(level, "bf16")) allowed += o->half[k];
            size_t size = gal_dtype_bytes(o->dt), from = (size_t)k * size;
            if (fabs(x - y) <= allowed || (o->exact && w && !memcmp(g + from, w + from, size))) continue;
            char text[160];
            (void)snprintf(text, sizeof text, "output %d, element %lld of %lld: %.9g, expected %.9g, allowed %.3g", i,
                           (long long)k, (long long)o->n, x, y, allowed);
            kt_fail(t, level, text);
            return;
        }
    }
}

void kt_check_guards(kt *t, const char *level) {
    for (int i = 0; i < t->outs; i++)
        if (!guards_whole(&t->out[i], t->shift)) kt_fail(t, level, "writes outside of an output");
}

static void check_level(kt *t, const gal_kernel_table *table, const unsigned char *want) {
    const gal_kernel *k = &table->k[t->c->id];
    unsigned char *forwards = run_level(t, k, false), *backwards = run_level(t, k, true);
    kt_check_guards(t, table->name);
    kt_compare(t, table->name, forwards, want);
    if (memcmp(forwards, backwards, kt_outputs_bytes(t)) != 0)
        kt_fail(t, table->name, "the order of chunks changes the result");
    free(forwards);
    free(backwards);
}

void kt_set_up(kt *t) {
    t->random = 0x9e3779b97f4a7c15u;
    t->outs = t->blocks = 0;
    t->flops = t->bytes = 0;
    t->c->setup(t, t->c->p);
}

void kt_tear_down(kt *t) {
    for (int i = 0; i < t->blocks; i++) free(t->block[i]);
}

unsigned char *kt_reference(kt *t) {
    unsigned char *want = run_level(t, &kt_level(0)->k[t->c->id], false);
    kt_compare(t, "ref against the exact result", want, NULL);
    return want;
}

static void check_case(kt *t) {
    kt_set_up(t);
    unsigned char *want = kt_reference(t);
    for (int i = 0; i < kt_levels(); i++) /* what a level took over from ref is checked once, as ref */
        if (i == 0 || kt_level(i)->k[t->c->id].run != kt_level(i - 1)->k[t->c->id].run)
            check_level(t, kt_level(i), want);
    free(want);
    kt_tear_down(t);
}

void kt_each(const kt_family *f, void (*check)(kt *t)) {
    static const gal_dtype WDT[] = { GAL_F32, GAL_BF16, GAL_F16 };
    static const double SCALES[] = { 1.0, 0.01, 30.0 };
    static const int64_t SHIFTS[] = { 0, 1, 3 };
    failed_variants = 0;
    unsigned others = 0; /* combinations but the first of each case and type */
    for (size_t i = 0; i < f->n; i++) {
        const kt_case *c = &f->cases[i];
        failed_of_case = 0;
        if (c->bench) continue;
        for (int dt = 0; dt < (c->vary & KT_F32 ? 1 : 2); dt++)
            for (int w = 0; w < (c->vary & KT_WDT ? 3 : 1); w++)
                for (int acc = 0; acc < (c->vary & KT_ACC ? 2 : 1); acc++)
                    for (int s = 0; s < (c->vary & KT_SCALE ? 3 : 1); s++) {
                        if (w + acc + s > 0 && thin_skip(others++, 11)) continue;
                        kt t = { .c = c, .dt = dt ? GAL_BF16 : GAL_F32, .accumulate = acc, .scale = SCALES[s] };
                        t.wdt = c->vary & KT_WDT ? WDT[w] : t.dt;
                        t.shift = SHIFTS[(i + (size_t)(dt + w + acc + s)) % GAL_LEN(SHIFTS)];
                        check(&t);
                    }
    }
    if (failed_variants) fail_msg("%d variants of %s failed", failed_variants, f->name);
}

void kt_test(const kt_family *f) { kt_each(f, check_case); }

/* ---- timing ------------------------------------------------------------------------------------------------------
 */

double kt_now_s(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

void kt_print_speed(const kt *t, const char *level, double best_s) {
    printf("%-12s %-34s %-5s %9.3f ms %9.2f %s\n", level, t->c->name, gal_dtype_name(t->dt), best_s * 1e3,
           (t->flops > 0 ? t->flops : t->bytes) * 1e-9 / best_s, t->flops > 0 ? "GFLOP/s" : "GB/s");
}

void kt_bench(const kt_family *f, int level) {
    const gal_kernel_table *table = kt_level(level);
    for (size_t i = 0; i < f->n; i++) {
        const kt_case *c = &f->cases[i];
        if (!c->bench || c->vary & KT_GPU) continue;
        for (int dt = 0; dt < (c->vary & KT_F32 ? 1 : 2); dt++) {
            kt t = { .c = c, .dt = dt ? GAL_BF16 : GAL_F32, .scale = 1.0 };
            t.wdt = t.dt;
            kt_set_up(&t);
            double best = (double)INFINITY, begin = kt_now_s();
            for (int run = 0; run < 20 && (run < 2 || kt_now_s() - begin < 0.2); run++) {
                kt_reset_outputs(&t);
                double from = kt_now_s();
                kt_run(&table->k[c->id], t.args, scratch_of_thread(), false);
                best = fmin(best, kt_now_s() - from);
            }
            kt_print_speed(&t, table->name, best);
            kt_tear_down(&t);
        }
    }
}
