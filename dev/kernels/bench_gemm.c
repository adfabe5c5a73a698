/* bench_gemm.c - speed of matrix products at the shapes that training and decoding meet, each level next to OpenBLAS
 * (loaded if the machine has it). The contestants take turns within a row, and the best turn counts, so that a busy
 * machine harms all alike. Not part of the product.   build/bench_gemm [threads [turns [filter]]]
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "base/util.h"
#include "kernels/kernels.h"

typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*threads_fn)(int n);

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
enum { AVX2, AVX512, BF16, LEVELS };

static struct {
    sgemm_fn sgemm;
    gal_kernel k[LEVELS];
    bool here[LEVELS];
    gal_pool *pool;
    int threads, turns;
    void *a, *b, *c;
} bench;

typedef struct shape {
    const char *name;
    int64_t m, n, k;
    bool ta, tb; /* stored transposed: A [k, m], B [n, k] */
} shape;

/* A linear layer with rows N, in I, out O: forward X W^T, dX = dY W, dW = dY^T X. */
#define LINEAR(name, N, I, O)                                                                                        \
    { name " forward", N, O, I, false, true }, { name " dX", N, I, O, false, false }, {                              \
        name " dW", O, I, N, true, false                                                                             \
    }

static const shape train_shapes[] = {
    LINEAR("288x288", 2048, 288, 288),    LINEAR("288->768", 2048, 288, 768),
    LINEAR("768->288", 2048, 768, 288),   LINEAR("288->8192", 2048, 288, 8192),
    LINEAR("768x768", 2048, 768, 768),    LINEAR("768->2048", 2048, 768, 2048),
    LINEAR("2048->768", 2048, 2048, 768), LINEAR("768->32000", 2048, 768, 32000),
};
static const shape decode_shapes[] = {
    { "4096x4096 m=1", 1, 4096, 4096, false, true },    { "4096->14336 m=1", 1, 14336, 4096, false, true },
    { "14336->4096 m=1", 1, 4096, 14336, false, true }, { "4096x4096 m=4", 4, 4096, 4096, false, true },
    { "4096x4096 m=8", 8, 4096, 4096, false, true },
};

static void open_all(void) {
    gal_kernel_table t;
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
    if (lib) {
        threads_fn set;
        *(void **)&bench.sgemm = dlsym(lib, "cblas_sgemm");
        *(void **)&set = dlsym(lib, "openblas_set_num_threads");
        if (set) set(bench.threads);
    }
    memset(&t, 0, sizeof t);
    gal_ref_fill(&t);
#if defined(__x86_64__)
    bench.here[AVX2] = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bench.here[AVX512] = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl");
    bench.here[BF16] = bench.here[AVX512] && __builtin_cpu_supports("avx512bf16");
#endif
    if (bench.here[AVX2]) gal_avx2_fill(&t);
    bench.k[AVX2] = t.k[GAL_K_GEMM];
    if (bench.here[AVX512]) gal_avx512_fill(&t);
    bench.k[AVX512] = t.k[GAL_K_GEMM];
    if (bench.here[BF16]) gal_avx512_bf16_fill(&t);
    bench.k[BF16] = t.k[GAL_K_GEMM];
}

static double run_ours(const shape *s, int level, gal_dtype dt) {
    gal_k_gemm g = { .count = 1 };
    gal_mat a = { bench.a, dt, s->ta ? 1 : s->k, s->ta ? s->m : 1 };
    gal_mat b = { bench.b, dt, s->tb ? 1 : s->n, s->tb ? s->k : 1 };
    gal_dtype out = s->ta ? GAL_F32 : dt; /* gradients of weights are f32 */
    g.p[0] = (gal_gemm){ s->m, s->n, s->k, a, b, { bench.c, out, s->n, 1 }, NULL, dt, s->ta };
    double t = gal_now_s();
    gal_pool_run(bench.pool, bench.k[level].run, &g, bench.k[level].chunks(&g));
    return gal_now_s() - t;
}

static double run_blas(const shape *s) {
    double t = gal_now_s();
    bench.sgemm(ROW_MAJOR, s->ta ? TRANS : NO_TRANS, s->tb ? TRANS : NO_TRANS, (int)s->m, (int)s->n, (int)s->k, 1.0F,
                bench.a, (int)(s->ta ? s->m : s->k), bench.b, (int)(s->tb ? s->k : s->n), s->ta ? 1.0F : 0.0F,
                bench.c, (int)s->n);
    return gal_now_s() - t;
}

/* The numbers 1/64 .. 2 in the type: no denormals, no overflow. */
static void fill(void *p, gal_dtype dt, int64_t n) {
    float row[128];
    for (int i = 0; i < 128; i++) row[i] = (float)(i % 2 ? i + 1 : -i - 1) / 64.0F;
    for (int64_t i = 0; i < n; i += 128)
        gal_convert((char *)p + (size_t)i * gal_dtype_bytes(dt), dt, row, GAL_F32, n - i < 128 ? n - i : 128);
}

static void race(const shape *s, bool decode) {
    enum { BLAS, F32_AVX2, F32_AVX512, BF16_AVX512, BF16_DOT, CONTESTANTS };
    double best[CONTESTANTS];
    for (int i = 0; i < CONTESTANTS; i++) best[i] = 1e30;
    /* Large products need fewer turns. */
    double giga = (double)(s->m * s->n * s->k) * 2e-9;
    int turns = giga > 4 ? 2 + (int)((double)bench.turns / giga) : bench.turns;
    for (int half = 0; half < 2; half++) {
        gal_dtype dt = half ? GAL_BF16 : GAL_F32;
        fill(bench.a, dt, s->m * s->k);
        fill(bench.b, dt, s->k * s->n);
        fill(bench.c, GAL_F32, s->m * s->n);
        for (int turn = 0; turn < turns; turn++)
            for (int i = 0; i < CONTESTANTS; i++) {
                int level = i == F32_AVX2 ? AVX2 : i == BF16_DOT ? BF16 : AVX512;
                if ((i >= BF16_AVX512) != (half == 1) || (i == BLAS ? !bench.sgemm : !bench.here[level])) continue;
                double t = i == BLAS ? run_blas(s) : run_ours(s, level, dt);
                if (t < best[i]) best[i] = t;
            }
    }
    printf("%-20s", s->name);
    for (int i = 0; i < CONTESTANTS; i++) {
        double work = decode ? (double)(s->n * s->k) * (i >= BF16_AVX512 ? 2 : 4)
                             : 2.0 * (double)(s->m * s->n * s->k);
        printf(" %9.1f", work / best[i] * 1e-9);
    }
    printf("   %5.2f %5.2f\n", best[BLAS] / best[F32_AVX512], best[F32_AVX512] / best[BF16_DOT]);
}

int main(int argc, char **argv) {
    bench.threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    bench.turns = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 7;
    const char *filter = argc > 3 ? argv[3] : "";
    open_all();
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    bench.a = gal_alloc((size_t)2048 * 32000 * 4);
    bench.b = gal_alloc((size_t)4096 * 14336 * 4);
    bench.c = gal_alloc((size_t)2048 * 32000 * 4);
    if (gal_pool_new(&bench.pool, bench.threads, NULL) != GAL_OK || !bench.a || !bench.b || !bench.c) return 4;
    printf("GFLOP/s, %d threads, best of %d\n", bench.threads, bench.turns);
    printf("%-20s %9s %9s %9s %9s %9s   f32/blas bf16/f32\n", "in->out, 2048 rows", "openblas", "f32 avx2", "f32 512",
           "bf16 512", "bf16 dot");
    for (size_t i = 0; i < sizeof train_shapes / sizeof *train_shapes; i++)
        if (strstr(train_shapes[i].name, filter)) race(&train_shapes[i], false);
    printf("GB/s of B\n");
    for (size_t i = 0; i < sizeof decode_shapes / sizeof *decode_shapes; i++)
        if (strstr(decode_shapes[i].name, filter)) race(&decode_shapes[i], true);
    gal_pool_free(bench.pool);
    gal_free(bench.a);
    gal_free(bench.b);
    gal_free(bench.c);
    return 0;
}
