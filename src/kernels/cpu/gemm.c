/* gemm.c - cuts matrix products into chunks: tiles of C. Every number of C is summed in the same order however C is
 * cut, so the cut may follow the number of threads and results repeat all the same. Refuses nothing: products in f64
 * (and types that the levels do not have) go to ref with ref's chunks. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/gemm.h"

#include "base/pool.h"

_Static_assert((size_t)(GAL__GEMM_FEW + 1) * GAL__GEMM_FEW_K * 4 <= GAL_SCRATCH_BYTES,
               "rows of A and a column of B out of blocks must fit");

static bool is_input(gal_dtype dt) { return dt == GAL_F32 || dt == GAL_BF16 || dt == GAL_F16; }

static bool is_ours(const gal_k_gemm *args) {
    for (int i = 0; i < args->count; i++) {
        const gal_gemm *g = &args->p[i];
        bool out = g->c.dt == GAL_F32 || g->c.dt == GAL_BF16;
        bool compute = g->compute == GAL_F32 || g->compute == GAL_BF16;
        if (!out || !compute || !is_input(g->a.dt)) return false;
        if (!is_input(g->b.dt) && (g->b.dt != GAL_BLOCKS || g->c.cs != 1)) return false;
    }
    return true;
}

static gal_kernel ref_kernel(void) {
    gal_kernel_table t = { 0 };
    gal_ref_fill(&t);
    return t.k[GAL_K_GEMM];
}

static gal_mat turned(const gal_mat *m) { return (gal_mat){ m->p, m->dt, m->cs, m->rs, m->code, NULL }; }

/* Columns of C become contiguous wherever rows were: C^T = B^T A^T. */
static gal_gemm with_dense_rows(const gal_gemm *g) {
    gal_gemm t = *g;
    if (g->c.cs == 1 || g->c.rs != 1) return t;
    t.m = g->n;
    t.n = g->m;
    t.a = turned(&g->b);
    t.b = turned(&g->a);
    t.c = turned(&g->c);
    return t;
}

/* Laid out as weights and activations of a linear layer are. */
static bool weights(const gal_gemm *g) { return g->b.rs == 1 && g->a.cs == 1 && g->c.cs == 1; }

static bool is_few(const gal_gemm *g, gal_alike alike, const gal__gemm_level *lv) {
    const int64_t most = alike == GAL_ALIKE_MANY ? 0 : alike == GAL_ALIKE_ONE ? (int64_t)GAL_ALIKE_ROWS : lv->few;
    return g->m <= most && g->k <= GAL__GEMM_FEW_K && weights(g);
}

/* Where rows are to be alike, and are many or k is too long for run_few(), tiles are: their blocks of k are the same
 * for all. */
static bool is_some(const gal_gemm *g, gal_alike alike, const gal__gemm_level *lv) {
    if (alike == GAL_ALIKE_MANY || (alike == GAL_ALIKE_ONE && g->m <= GAL_ALIKE_ROWS)) return false;
    return g->m <= lv->some && weights(g) && !is_few(g, alike, lv);
}

static bool all_few(const gal_k_gemm *args, const gal__gemm_level *lv) {
    for (int i = 0; i < args->count; i++) {
        const gal_gemm g = with_dense_rows(&args->p[i]);
        if (!is_few(&g, args->alike, lv)) return false;
    }
    return true;
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many tiles along m and n. */
typedef struct cut {
    int64_t tm, tn;
} cut;

/* Strips of B's columns: enough bytes that a chunk's start does not count, and some chunks for every thread. */
static cut cut_few_rows(const gal_gemm *g) {
    int64_t strip = (1 << 17) / (g->k > 0 ? g->k : 1);
    strip = strip < 8 ? 8 : strip > 256 ? 256 : strip;
    strip = smaller(strip, g->n > 128 ? g->n / 16 : 8);
    return (cut){ 1, ceil_div(g->n, strip) };
}

/* A is made words again for every strip, which costs least for wide ones; but four strips a thread share the work
 * more evenly, unless they would be narrower than a few groups of columns. */
static cut cut_some_rows(const gal_gemm *g, int threads) {
    enum { NARROW = 48 };
    const int64_t wanted = 4 * (threads > 0 ? threads : 8), fewest = ceil_div(g->n, GAL__GEMM_STRIP);
    return (cut){ 1, smaller(GAL_MAX(wanted, fewest), ceil_div(g->n, NARROW)) };
}

/* Tiles of r x c cost, for each step of k, r c multiply-adds and (r + c) numbers to pack: about a cycle each, because
 * packing waits for memory. Large tiles pack less; small ones spread better over threads, and the last to end is
 * waited for a shorter time, a quarter of a tile. The cut with the smallest time of a launch of `count` such products
 * wins; where nobody says how many threads there are, some numbers of them are weighed. */
static cut cut_tiles(const gal_gemm *g, int count, int threads, const gal__gemm_level *lv) {
    static const unsigned rows[] = { 48, 64, 96, 128, 160, 192, 256, 336, 512, 688, GAL__GEMM_MT };
    static const unsigned cols[] = { 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768 };
    const unsigned mul = (unsigned)(g->compute == GAL_BF16 ? lv->bf16 : lv->f32), pack = 64;
    const int64_t nr = lv->nr, panels = ceil_div(g->n, nr);
    const int few = threads > 0 ? threads : 2, many = threads > 0 ? threads : 8;
    cut best = { 1, 1 };
    uint64_t best_cost = UINT64_MAX;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t tm = ceil_div(g->m, rows[i]);
        uint64_t r = (uint64_t)ceil_div(g->m, tm);
        for (size_t j = 0; j < sizeof cols / sizeof *cols && (int)cols[j] <= lv->nt; j++) {
            int64_t tn = ceil_div(panels, smaller(panels, cols[j] / nr));
            uint64_t c = (uint64_t)(ceil_div(panels, tn) * nr), tile = r * c * mul + (r + c) * pack, cost = 0;
            for (int t = few; t <= many; t *= 2)
                cost += ((uint64_t)ceil_div(tm * tn * count, t) * tile + tile / 4) * (uint64_t)t;
            if (cost >= best_cost) continue;
            best_cost = cost;
            best = (cut){ tm, tn };
        }
    }
    return best;
}

/* Products of a launch that are as long as g: they are cut for one another. What is longer or shorter is cut as if it
 * were alone, so that either ends on all threads at once. */
static int alike(const gal_gemm *g, const gal_k_gemm *args) {
    int n = 0;
    for (int i = 0; i < args->count; i++) {
        const gal_gemm *p = &args->p[i];
        n += p->k == g->k && (p->m == g->m ? p->n == g->n : p->m == g->n && p->n == g->m);
    }
    return n;
}

static cut cut_of(const gal_gemm *g, const gal_k_gemm *args, const gal__gemm_level *lv) {
    if (g->m <= 0 || g->n <= 0) return (cut){ 0, 0 };
    if (is_few(g, args->alike, lv)) return cut_few_rows(g);
    return is_some(g, args->alike, lv) ? cut_some_rows(g, args->threads)
                                       : cut_tiles(g, alike(g, args), args->threads, lv);
}

/* GAL__GEMM_FEW rows at a time: B comes from the cache when it is read again. */
static void run_few(const gal_gemm *g, const gal__tile *t, void *scratch, const gal__gemm_level *lv) {
    for (int64_t i = 0; i < g->m; i += GAL__GEMM_FEW) {
        gal_gemm p = *g;
        p.m = smaller(g->m - i, GAL__GEMM_FEW);
        p.a.p = (char *)p.a.p + i * p.a.rs * (int64_t)gal_dtype_bytes(p.a.dt);
        const int64_t skip = i * p.c.rs * (int64_t)gal_dtype_bytes(p.c.dt);
        p.c.p = (char *)p.c.p + skip;
        if (p.add) p.add = (const char *)p.add + skip;
        lv->run_few(&p, &(gal__tile){ 0, p.m, t->j0, t->j1 }, scratch);
    }
}

int64_t gal__gemm_chunks(const gal_k_gemm *args, const gal__gemm_level *lv) {
    if (!is_ours(args)) return ref_kernel().chunks(args);
    int64_t chunks = 0;
    for (int i = 0; i < args->count; i++) {
        gal_gemm g = with_dense_rows(&args->p[i]);
        cut c = cut_of(&g, args, lv);
        chunks += c.tm * c.tn;
    }
    return chunks;
}

void gal__gemm_run(const gal_k_gemm *args, int64_t chunk, void *scratch, const gal__gemm_level *lv) {
    if (!is_ours(args)) {
        ref_kernel().run(args, chunk, scratch);
        return;
    }
    if (all_few(args, lv)) chunk = gal__side_by_side(chunk, gal__gemm_chunks(args, lv), args->threads);
    for (int i = 0; i < args->count; i++) {
        gal_gemm g = with_dense_rows(&args->p[i]);
        cut c = cut_of(&g, args, lv);
        if (chunk >= c.tm * c.tn) {
            chunk -= c.tm * c.tn;
            continue;
        }
        /* Neighbouring chunks share the operand that is read once from memory, the other is read for each of them:
         * whichever order reads less. */
        bool share_b = g.n + c.tn * g.m <= g.m + c.tm * g.n;
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): chunk is below tm * tn, so neither is 0 */
        int64_t im = share_b ? chunk % c.tm : chunk / c.tn, in = share_b ? chunk / c.tm : chunk % c.tn;
        const bool few = is_few(&g, args->alike, lv), some = is_some(&g, args->alike, lv);
        int64_t unit = few || some ? 1 : lv->nr, panels = ceil_div(g.n, unit);
        gal__tile t = { .i0 = g.m * im / c.tm, .i1 = g.m * (im + 1) / c.tm };
        t.j0 = panels * in / c.tn * unit;
        t.j1 = smaller(panels * (in + 1) / c.tn * unit, g.n);
        if (few)
            run_few(&g, &t, scratch, lv);
        else if (some)
            lv->run_some(&g, &t, scratch);
        else
            lv->run_tile(&g, &t, scratch);
        return;
    }
}
