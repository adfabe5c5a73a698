/* bench_gemm.c - speed of matrix products at the shapes that training and decoding meet, beside OpenBLAS and oneDNN
 * (loaded if the machine has them). The contestants take turns within a row, medians count, and between turns there
 * is a pause, because the libraries' threads go on spinning for a while. Not part of the product. build/bench_gemm
 * [threads [turns [filter [level]]]]      filter: a part of a row's name, as "124m" or "dW" SPDX-License-Identifier:
 * Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/util.h"
#include "cli/machine.h"
#include "core/dev.h"

typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*sbgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha, const void *a, int lda,
                          const void *b, int ldb, float beta, float *c, int ldc);
typedef void (*sgemv_fn)(int order, int t, int m, int n, float alpha, const float *a, int lda, const float *x,
                         int incx, float beta, float *y, int incy);
/* oneDNN 2 and 3: row-major; 0 is success. */
typedef int (*dnnl_fn)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const void *a, int64_t lda,
                       const void *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void (*threads_fn)(int n);

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
enum { OURS, BLAS, DNNL, CONTESTANTS };
enum { MAX_TURNS = 64, PAUSE_MS = 30 };
#define LONG_ENOUGH_S 0.004

static struct {
    sgemm_fn sgemm;
    sbgemm_fn sbgemm;
    sgemv_fn sgemv;
    dnnl_fn dnnl_f32, dnnl_bf16;
    gal_kernel_table table;
    gal_pool *pool;
    int threads, turns;
    double peak[2], read; /* f32, bf16: operations a second; bytes a second */
    void *a, *b, *c;
} bench;

/* C[m, n] = A B, `count` times with the same operands in one launch, as the model does it. */
typedef struct shape {
    const char *name;
    int64_t m, n, k;
    bool ta, tb; /* stored transposed: A [k, m], B [n, k] */
    int count;
} shape;

/* A linear layer with rows N, in I, out O: forward X W^T, dX = dY W, dW = dY^T X (added to what is there). */
#define FORWARD(name, N, I, O, count)                                                                                \
    { name " forward", N, O, I, false, true, count }
#define GRADIENTS(name, N, I, O)                                                                                     \
    { name " dX", N, I, O, false, false, 1 }, { name " dW", O, I, N, true, false, 1 }
#define MODEL(name, D, F, V, d, f, v)                                                                                \
    FORWARD(name " qkv 3 x " d "->" d, 2048, D, D, 3), FORWARD(name " wo " d "->" d, 2048, D, D, 1),                 \
        GRADIENTS(name " q, k, v, wo", 2048, D, D), FORWARD(name " gate, up 2 x " d "->" f, 2048, D, F, 2),          \
        GRADIENTS(name " gate, up", 2048, D, F), FORWARD(name " down " f "->" d, 2048, F, D, 1),                     \
        GRADIENTS(name " down", 2048, F, D), FORWARD(name " head " d "->" v, 2048, D, V, 1),                         \
        GRADIENTS(name " head", 2048, D, V)

static const shape train_shapes[] = {
    MODEL("10m", 288, 768, 8192, "288", "768", "8192"),
    MODEL("124m", 768, 2048, 32000, "768", "2048", "32000"),
};
static const shape decode_shapes[] = {
    { "10m 288->768 m=1", 1, 768, 288, false, true, 1 },
    { "124m 768->2048 m=1", 1, 2048, 768, false, true, 1 },
    { "124m 768->32000 m=1", 1, 32000, 768, false, true, 1 },
    { "7b 4096->4096 m=1", 1, 4096, 4096, false, true, 1 },
    { "7b 4096->14336 m=1", 1, 14336, 4096, false, true, 1 },
    { "7b 14336->4096 m=1", 1, 4096, 14336, false, true, 1 },
    { "7b 4096->4096 m=4", 4, 4096, 4096, false, true, 1 },
    { "7b 4096->4096 m=8", 8, 4096, 4096, false, true, 1 },
};

static void *symbol(void *lib, const char *name) { return lib ? dlsym(lib, name) : NULL; }

static void open_libraries(void) {
    /* A core type or cache size forced from outside would slow OpenBLAS down. */
    (void)unsetenv("OPENBLAS_CORETYPE");
    (void)unsetenv("OPENBLAS_L2_SIZE");
    char threads[16];
    (void)snprintf(threads, sizeof threads, "%d", bench.threads);
    (void)setenv("OPENBLAS_NUM_THREADS", threads, 1);
    (void)setenv("OMP_NUM_THREADS", threads, 1);
    void *blas = dlopen("libopenblas.so.0", RTLD_NOW), *dnnl = dlopen("libdnnl.so.3", RTLD_NOW);
    if (!dnnl) dnnl = dlopen("libdnnl.so.2", RTLD_NOW);
    threads_fn set;
    *(void **)&set = symbol(blas, "openblas_set_num_threads");
    *(void **)&bench.sgemm = symbol(blas, "cblas_sgemm");
    *(void **)&bench.sbgemm = symbol(blas, "cblas_sbgemm");
    *(void **)&bench.sgemv = symbol(blas, "cblas_sgemv");
    *(void **)&bench.dnnl_f32 = symbol(dnnl, "dnnl_sgemm");
    *(void **)&bench.dnnl_bf16 = symbol(dnnl, "dnnl_gemm_bf16bf16f32");
    if (set) set(bench.threads);
    if (bench.dnnl_bf16 && bench.dnnl_bf16('N', 'N', 1, 1, 1, 1, bench.a, 1, bench.b, 1, 0, bench.c, 1) != 0) {
        printf("oneDNN has no bf16 products for this processor\n");
        bench.dnnl_bf16 = NULL;
    }
    if (!blas) printf("no OpenBLAS here (libopenblas.so.0)\n");
    if (blas && !bench.sbgemm) printf("this OpenBLAS has no bf16 products (cblas_sbgemm)\n");
    if (!dnnl) printf("no oneDNN here (libdnnl.so.3 or .2)\n");
}

static void run_ours(const shape *s, gal_dtype dt) {
    gal_k_gemm g = { .count = s->count, .threads = bench.threads };
    gal_mat a = { bench.a, dt, s->ta ? 1 : s->k, s->ta ? s->m : 1, NULL, NULL };
    gal_mat b = { bench.b, dt, s->tb ? 1 : s->n, s->tb ? s->k : 1, NULL, NULL };
    gal_dtype out = s->ta ? GAL_F32 : dt; /* gradients of weights are f32 */
    for (int i = 0; i < s->count; i++) {
        char *c = (char *)bench.c + (size_t)(i * s->m * s->n) * gal_dtype_bytes(out);
        g.p[i] = (gal_gemm){ s->m, s->n, s->k, a, b, { c, out, s->n, 1, NULL, NULL }, NULL, dt, s->ta };
    }
    const gal_kernel *k = &bench.table.k[GAL_K_GEMM];
    gal_pool_run(bench.pool, k->run, &g, k->chunks(&g));
}

static void run_blas(const shape *s, gal_dtype dt, float *c) {
    int ta = s->ta ? TRANS : NO_TRANS, tb = s->tb ? TRANS : NO_TRANS, m = (int)s->m, n = (int)s->n, k = (int)s->k;
    int lda = s->ta ? m : k, ldb = s->tb ? k : n;
    float beta = s->ta ? 1.0F : 0.0F;
    if (dt == GAL_BF16)
        bench.sbgemm(ROW_MAJOR, ta, tb, m, n, k, 1.0F, bench.a, lda, bench.b, ldb, beta, c, n);
    else if (m == 1 && bench.sgemv)
        bench.sgemv(ROW_MAJOR, NO_TRANS, n, k, 1.0F, bench.b, ldb, bench.a, 1, 0.0F, c, 1);
    else
        bench.sgemm(ROW_MAJOR, ta, tb, m, n, k, 1.0F, bench.a, lda, bench.b, ldb, beta, c, n);
}

static void run_dnnl(const shape *s, gal_dtype dt, float *c) {
    dnnl_fn fn = dt == GAL_BF16 ? bench.dnnl_bf16 : bench.dnnl_f32;
    (void)fn(s->ta ? 'T' : 'N', s->tb ? 'T' : 'N', s->m, s->n, s->k, 1.0F, bench.a, s->ta ? s->m : s->k, bench.b,
             s->tb ? s->k : s->n, s->ta ? 1.0F : 0.0F, c, s->n);
}

static bool takes_part(int who, gal_dtype dt) {
    if (who == BLAS) return dt == GAL_BF16 ? bench.sbgemm != NULL : bench.sgemm != NULL;
    if (who == DNNL) return dt == GAL_BF16 ? bench.dnnl_bf16 != NULL : bench.dnnl_f32 != NULL;
    return true;
}

static double run_once(const shape *s, int who, gal_dtype dt) {
    double t = gal_now_s();
    if (who == OURS)
        run_ours(s, dt);
    else
        for (int i = 0; i < s->count; i++) {
            float *c = (float *)bench.c + i * s->m * s->n;
            if (who == BLAS)
                run_blas(s, dt, c);
            else
                run_dnnl(s, dt, c);
        }
    return gal_now_s() - t;
}

/* One turn: short products several times, the first of them not counted. */
static double turn(const shape *s, int who, gal_dtype dt) {
    const struct timespec pause = { 0, PAUSE_MS * 1000000 };
    (void)nanosleep(&pause, NULL);
    double first = run_once(s, who, dt);
    if (first > 0.25) return first;
    int n = 0;
    double sum = 0;
    while (n < 1 || sum < LONG_ENOUGH_S) {
        sum += run_once(s, who, dt);
        n++;
    }
    return sum / n;
}

/* The numbers 1/64 .. 2 in the type: no denormals, no overflow. */
static void fill(void *p, gal_dtype dt, int64_t n) {
    float row[128];
    for (int i = 0; i < 128; i++) row[i] = (float)(i % 2 ? i + 1 : -i - 1) / 64.0F;
    for (int64_t i = 0; i < n; i += 128)
        gal_convert((char *)p + (size_t)i * gal_dtype_bytes(dt), dt, row, GAL_F32, n - i < 128 ? n - i : 128);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Prints ours, the libraries, ours / best of them, ours / peak. */
static void race_type(const shape *s, bool decode, gal_dtype dt, int turns) {
    double t[CONTESTANTS][MAX_TURNS], rate[CONTESTANTS] = { 0 };
    double work = decode ? (double)(s->n * s->k) * (double)gal_dtype_bytes(dt)
                         : 2.0 * (double)(s->m * s->n * s->k) * s->count;
    fill(bench.a, dt, s->m * s->k);
    fill(bench.b, dt, s->k * s->n);
    fill(bench.c, GAL_F32, s->m * s->n * s->count);
    for (int i = 0; i < turns; i++)
        for (int j = 0; j < CONTESTANTS; j++) {
            int who = i % 2 ? CONTESTANTS - 1 - j : j;
            if (takes_part(who, dt)) t[who][i] = turn(s, who, dt);
        }
    for (int who = 0; who < CONTESTANTS; who++) {
        if (!takes_part(who, dt)) {
            printf(" %8s", "-");
            continue;
        }
        qsort(t[who], (size_t)turns, sizeof(double), ascending);
        rate[who] = work / t[who][turns / 2];
        printf(" %8.1f", rate[who] * 1e-9);
    }
    double rival = GAL_MAX(rate[BLAS], rate[DNNL]);
    if (rival > 0)
        printf(" %5.2f", rate[OURS] / rival);
    else
        printf(" %5s", "-");
    printf(" %4.0f%%", 100 * rate[OURS] / (decode ? bench.read : bench.peak[dt == GAL_BF16]));
}

static void race(const shape *s, bool decode) {
    /* Large products need fewer turns. */
    double giga = (double)(s->m * s->n * s->k) * 2e-9;
    int turns = GAL_MIN(giga > 10 ? (bench.turns + 1) / 2 : bench.turns, (int)MAX_TURNS);
    printf("%-34s", s->name);
    race_type(s, decode, GAL_F32, turns);
    printf("  |");
    race_type(s, decode, GAL_BF16, turns);
    printf("\n");
}

static bool measure_peaks(void) {
    gal_machine_figure f[GAL_MACHINE_ROOM];
    size_t n = 0;
    if (gal_machine_measure(f, &n, &bench.table, bench.threads, 9, false, NULL)) return false;
    for (size_t i = 0; i < n; i++) {
        if (f[i].id == GAL_PEAK_READ) bench.read = f[i].median;
        if (f[i].id == GAL_PEAK_F32) bench.peak[0] = f[i].median;
        if (f[i].id == GAL_PEAK_BF16) bench.peak[1] = f[i].median;
    }
    printf("level %s, %d threads, medians of %d turns; peaks: f32 %.1f, bf16 %.1f GFLOP/s, memory %.1f GB/s\n",
           bench.table.name, bench.threads, bench.turns, bench.peak[0] * 1e-9, bench.peak[1] * 1e-9,
           bench.read * 1e-9);
    return true;
}

static void heading(const char *unit) {
    printf("\n%-34s", unit);
    for (int i = 0; i < 2; i++)
        printf(" %8s %8s %8s %5s %5s%s", i ? "bf16" : "f32", "openblas", "onednn", "ratio", "peak", i ? "\n" : "  |");
}

static bool best_level(const char *level) {
    static const char *const levels[] = { "avx512", "neon", "avx2", "ref" };
    if (level) return gal_dev_table(&bench.table, level);
    for (size_t i = 0; i < GAL_LEN(levels); i++)
        if (gal_dev_table(&bench.table, levels[i])) return true;
    return false;
}

int main(int argc, char **argv) {
    bench.threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    bench.turns = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
    const char *filter = argc > 3 ? argv[3] : "";
    if (bench.threads < 1 || bench.turns < 1 || !best_level(argc > 4 ? argv[4] : NULL)) {
        fprintf(stderr, "usage: bench_gemm [threads [turns [filter [level]]]], a level that this processor has\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    bench.a = gal_alloc((size_t)2048 * 32000 * 4);
    bench.b = gal_alloc((size_t)4096 * 14336 * 4);
    bench.c = gal_alloc((size_t)2048 * 32000 * 4);
    if (gal_pool_new(&bench.pool, bench.threads, NULL) != GAL_OK || !bench.a || !bench.b || !bench.c) return 4;
    open_libraries();
    if (!measure_peaks()) return 4;
    heading("GFLOP/s, 2048 rows");
    for (size_t i = 0; i < GAL_LEN(train_shapes); i++)
        if (strstr(train_shapes[i].name, filter)) race(&train_shapes[i], false);
    heading("GB/s of weights (m = 1: sgemv)");
    for (size_t i = 0; i < GAL_LEN(decode_shapes); i++)
        if (strstr(decode_shapes[i].name, filter)) race(&decode_shapes[i], true);
    gal_pool_free(bench.pool);
    gal_free(bench.a);
    gal_free(bench.b);
    gal_free(bench.c);
    return 0;
}
