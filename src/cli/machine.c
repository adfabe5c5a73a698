/* machine.c - see machine.h. A figure is the median of repetitions of about 8 ms each, cut into pieces that the
 * threads take as they come, so that one disturbed piece or repetition does not decide.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/machine.h"

#include "base/mem.h"
#include "base/topology.h"
#include "base/util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEAT_S 0.008
enum { PIECES = 8 /* of a repetition, a thread */, MEMORY_PIECE = 1 << 20, MAX_REPEATS = 64 };

typedef struct job {
    const gal_peak *peak;
    const char *x;
    size_t stride; /* between the pieces' inputs; 0: all use the same */
    bool own;      /* read the thread's own buffer instead of x, `passes` times */
    int64_t rounds, passes;
} job;

static void run_piece(const void *args, int64_t piece, void *scratch) {
    const job *j = args;
    const char *x = j->own ? scratch : j->x + (size_t)piece * j->stride;
    char sink[GAL_PEAK_SINK_BYTES];
    for (int64_t i = 0; i < j->passes; i++) j->peak->run(x, j->rounds, sink);
}

static void touch(const void *args, int64_t piece, void *scratch) {
    (void)scratch;
    const job *j = args;
    memset((char *)(uintptr_t)j->x + (size_t)piece * j->stride, 1, j->stride);
}

static double time_of(gal_pool *pool, const job *j, int64_t pieces) {
    double begin = gal_now_s();
    gal_pool_run(pool, run_piece, j, pieces);
    return gal_now_s() - begin;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* amount: bytes or operations of one repetition. */
static void repeat(gal_machine_figure *f, gal_pool *pool, const job *j, int64_t pieces, double amount, int repeats) {
    double s[MAX_REPEATS] = { 0 };
    repeats = GAL_MIN(repeats, (int)MAX_REPEATS);
    for (int i = 0; i < repeats; i++) s[i] = time_of(pool, j, pieces);
    qsort(s, (size_t)repeats, sizeof *s, ascending);
    f->median = amount / s[repeats / 2];
    f->best = amount / s[0];
}

/* How many rounds or passes a piece needs to take its part of a repetition. One piece runs on this thread alone, and
 * the shortest of three trials counts: one that was disturbed would make the work too small to be timed. */
static void calibrate(gal_pool *pool, const job *j, int64_t *count) {
    const double want = REPEAT_S / PIECES;
    for (*count = 1;; *count *= 2) {
        double s = time_of(pool, j, 1);
        for (int i = 1; i < 3; i++) s = GAL_MIN(s, time_of(pool, j, 1));
        if (s < want / 8) continue;
        *count = GAL_MAX((int64_t)((double)*count * want / s), (int64_t)1);
        return;
    }
}

static gal_machine_figure arithmetic(const gal_kernel_table *table, gal_peak_id id, gal_pool *pool, int repeats) {
    _Alignas(64) static const float ones[GAL_PEAK_INPUT_BYTES / sizeof(float)] = { 1 };
    const gal_peak *peak = &table->peak[id];
    gal_machine_figure f = { .id = id, .from = "", .threads = gal_pool_threads(pool), .how = peak->how };
    job j = { .peak = peak, .x = (const char *)ones, .rounds = 1, .passes = 1 };
    int64_t pieces = (int64_t)f.threads * PIECES;
    calibrate(pool, &j, &j.rounds);
    repeat(&f, pool, &j, pieces, (double)peak->per_round * (double)j.rounds * (double)pieces, repeats);
    return f;
}

static gal_machine_figure reading(const gal_kernel_table *table, const char *from, size_t bytes, const char *memory,
                                  gal_pool *pool, int repeats) {
    const gal_peak *peak = &table->peak[GAL_PEAK_READ];
    int threads = gal_pool_threads(pool);
    gal_machine_figure f = {
        .id = GAL_PEAK_READ, .from = from, .bytes = bytes, .threads = threads, .how = peak->how
    };
    job j = { .peak = peak, .x = memory, .own = !memory, .passes = 1 };
    size_t piece = memory ? MEMORY_PIECE : bytes;
    int64_t pieces = memory ? (int64_t)(bytes / piece) : (int64_t)threads * PIECES;
    j.stride = memory ? piece : 0;
    j.rounds = (int64_t)piece / peak->per_round;
    if (!memory) calibrate(pool, &j, &j.passes);
    repeat(&f, pool, &j, pieces, (double)(j.rounds * peak->per_round) * (double)(j.passes * pieces), repeats);
    return f;
}

/* Bytes of a thread's share of a cache; 0: not known. */
static size_t cache_bytes(int level) {
    long n = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = { _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE };
    n = sysconf(names[level - 1]);
#else
    (void)level;
#endif
    return n > 0 ? (size_t)n : 0;
}

/* Half of a cache, so that what else is in there does not count; whole blocks of 4 KiB. */
static size_t measured_bytes(int level, int threads) {
    size_t n = cache_bytes(level) / 2;
    if (level == 3) n = GAL_MIN(n / (size_t)threads, (size_t)GAL_SCRATCH_BYTES);
    n = n / 4096 * 4096;
    return level > 1 && n <= cache_bytes(level - 1) ? 0 : GAL_MIN(n, (size_t)GAL_SCRATCH_BYTES);
}

/* Memory that the last cache cannot hold, as far as there is that much. Systems overstate shared caches. */
static size_t memory_bytes(size_t at_most) {
    size_t want = GAL_MIN(GAL_MAX(4 * cache_bytes(3), at_most / 2), at_most);
    want = GAL_MIN(want, (size_t)(gal_memory_available() / 4));
    return GAL_MAX(want / MEMORY_PIECE * MEMORY_PIECE, (size_t)MEMORY_PIECE);
}

int gal_machine_at_once(int threads) {
    gal_topology t;
    gal_topology_read(&t, "");
    return GAL_MIN(threads, t.processors);
}

gal_err gal_machine_measure(gal_machine_figure *out, size_t *n, const gal_kernel_table *table, int threads,
                            int repeats, bool caches, gal_diag *diag) {
    static const char *const CACHES[] = { "L1", "L2", "L3" };
    gal_pool *pool = NULL;
    gal_err err = gal_pool_new(&pool, threads, diag);
    if (err) return err;
    size_t bytes = memory_bytes((size_t)(caches ? 512 : 256) << 20);
    char *memory = gal_alloc(bytes);
    if (!memory) {
        gal_pool_free(pool);
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu bytes to read", bytes);
    }
    const job fill = { .x = memory, .stride = MEMORY_PIECE };
    gal_pool_run(pool, touch, &fill, (int64_t)(bytes / MEMORY_PIECE));
    *n = 0;
    out[(*n)++] = reading(table, "memory", bytes, memory, pool, repeats);
    gal_free(memory);
    for (int level = 3; caches && level >= 1; level--) {
        size_t part = measured_bytes(level, threads);
        if (part) out[(*n)++] = reading(table, CACHES[level - 1], part, NULL, pool, repeats);
    }
    for (gal_peak_id id = GAL_PEAK_F32; id < GAL_PEAK_COUNT; id++) out[(*n)++] = arithmetic(table, id, pool, repeats);
    gal_pool_free(pool);
    return GAL_OK;
}
