/* count_test.c - counters against the tables that papers printed, the released runs of the routed models, and models
 * that are there. Numbers are typed from the papers and the data; none is what the counter said.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/safetensors.h"
#include "models/law.h"
#include "models/model.h"
#include "models/presets.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CURVES "../shared/data/scaling/curves.csv.gz"

static gal_size gopher(int64_t d, int64_t f, int64_t k, int64_t h, int64_t l) {
    return (gal_size){ .V = 32000,
                       .D = d,
                       .L = l,
                       .H = h,
                       .G = h,
                       .K = k,
                       .F = f,
                       .relative = true,
                       .bias = true,
                       .tied = true,
                       .sequence = 2048 };
}

static gal_params params_of(const gal_size *s, gal_counting how) {
    gal_params p;
    CHECK_OK(gal_size_check(s, "test", diag));
    CHECK_OK(gal_count_params(&p, s, how, diag));
    return p;
}

static gal_flops flops_of(const gal_size *s, gal_counting how) {
    gal_flops f;
    CHECK_OK(gal_count_flops(&f, s, how, diag));
    return f;
}

static const gal_preset *preset(const char *name) {
    const gal_preset *p = gal_preset_named(name);
    if (!p) fail_msg("no preset %s", name);
    return p;
}

/* Half a unit of the last digit that is printed. */
static void near(double got, double want, double digit, const char *what) {
    if (!(fabs(got - want) <= digit / 2)) fail_msg("%s: %.6g, expected %.6g", what, got, want);
}

/* ---- Chinchilla --------------------------------------------------------------------------------------------------
 */

/* Table A9: millions of parameters, d_model, ffw, kv size, heads, layers. */
static const int A9[][6] = {
    { 44, 512, 2048, 64, 8, 8 },         { 57, 576, 2304, 64, 9, 9 },         { 74, 640, 2560, 64, 10, 10 },
    { 90, 640, 2560, 64, 10, 13 },       { 106, 640, 2560, 64, 10, 16 },      { 117, 768, 3072, 64, 12, 12 },
    { 140, 768, 3072, 64, 12, 15 },      { 163, 768, 3072, 64, 12, 18 },      { 175, 896, 3584, 64, 14, 14 },
    { 196, 896, 3584, 64, 14, 16 },      { 217, 896, 3584, 64, 14, 18 },      { 251, 1024, 4096, 64, 16, 16 },
    { 278, 1024, 4096, 64, 16, 18 },     { 306, 1024, 4096, 64, 16, 20 },     { 425, 1280, 5120, 128, 10, 18 },
    { 489, 1280, 5120, 128, 10, 21 },    { 509, 1408, 5632, 128, 11, 18 },    { 552, 1280, 5120, 128, 10, 24 },
    { 587, 1408, 5632, 128, 11, 21 },    { 632, 1536, 6144, 128, 12, 19 },    { 664, 1408, 5632, 128, 11, 24 },
    { 724, 1536, 6144, 128, 12, 22 },    { 816, 1536, 6144, 128, 12, 25 },    { 893, 1792, 7168, 128, 14, 20 },
    { 1018, 1792, 7168, 128, 14, 23 },   { 1143, 1792, 7168, 128, 14, 26 },   { 1266, 2048, 8192, 128, 16, 22 },
    { 1424, 2176, 8704, 128, 17, 22 },   { 1429, 2048, 8192, 128, 16, 25 },   { 1593, 2048, 8192, 128, 16, 28 },
    { 1609, 2176, 8704, 128, 17, 25 },   { 1731, 2304, 9216, 128, 18, 24 },   { 1794, 2176, 8704, 128, 17, 28 },
    { 2007, 2304, 9216, 128, 18, 28 },   { 2283, 2304, 9216, 128, 18, 32 },   { 2298, 2560, 10240, 128, 20, 26 },
    { 2639, 2560, 10240, 128, 20, 30 },  { 2980, 2560, 10240, 128, 20, 34 },  { 3530, 2688, 10752, 128, 22, 36 },
    { 3802, 2816, 11264, 128, 22, 36 },  { 4084, 2944, 11776, 128, 22, 36 },  { 4516, 3072, 12288, 128, 24, 36 },
    { 6796, 3584, 14336, 128, 28, 40 },  { 9293, 4096, 16384, 128, 32, 42 },  { 11452, 4352, 17408, 128, 32, 47 },
    { 12295, 4608, 18432, 128, 36, 44 }, { 12569, 4608, 18432, 128, 32, 47 }, { 13735, 4864, 19456, 128, 32, 47 },
    { 14940, 4992, 19968, 128, 32, 49 }, { 16183, 5120, 20480, 128, 40, 47 },
};

static void test_a9(void **state) {
    (void)state;
    assert_int_equal(GAL_LEN(A9), 50);
    for (size_t i = 0; i < GAL_LEN(A9); i++) {
        const int *r = A9[i];
        char name[40];
        gal_size s = gopher(r[1], r[2], r[3], r[4], r[5]);
        const gal_params p = params_of(&s, GAL_COUNT_CHINCHILLA);
        if ((p.total + 500000) / 1000000 != r[0])
            fail_msg("row %d of A9: %lld parameters, expected %d million", (int)i, (long long)p.total, r[0]);
        (void)snprintf(name, sizeof name, "chinchilla-%dm", r[0]);
        const gal_preset *found = preset(name);
        assert_int_equal(found->counting, GAL_COUNT_CHINCHILLA);
        const gal_size *t = &found->size;
        assert_true(t->D == s.D && t->F == s.F && t->K == s.K && t->H == s.H && t->G == s.G && t->L == s.L);
        assert_true(t->V == s.V && t->relative && t->tied && !t->gated && t->sequence == 2048);
    }
}

/* Table A4: layers, d_model, ffw, heads, kv size; the paper's ratio to 6 N D; ours without and with the embedding's
 * and the logits' terms, from an implementation of the formulas apart from this one, whose N has 4 D of vectors in a
 * layer, as Gopher's count. */
static const struct {
    int l, d, f, h, k;
    double paper, layers, all;
} A4[] = {
    { 10, 640, 2560, 10, 64, 1.03, 1.026, 1.581 },   { 20, 1024, 4096, 16, 64, 1.10, 1.102, 1.316 },
    { 24, 1280, 5120, 10, 128, 1.08, 1.084, 1.232 }, { 26, 1792, 7168, 14, 128, 1.04, 1.045, 1.145 },
    { 28, 2048, 8192, 16, 128, 1.03, 1.033, 1.116 }, { 40, 3584, 14336, 28, 128, 0.99, 0.994, 1.028 },
};

static void test_a4(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(A4); i++) {
        gal_size s = gopher(A4[i].d, A4[i].f, A4[i].k, A4[i].h, A4[i].l);
        const double n = (double)params_of(&s, GAL_COUNT_GOPHER).total;
        const double a9 = (double)params_of(&s, GAL_COUNT_CHINCHILLA).total;
        const gal_flops f = flops_of(&s, GAL_COUNT_CHINCHILLA);
        const double layers = GAL_PASSES_TRAIN * gal_flops_per_token(&f, true) / 6;
        const double all = GAL_PASSES_TRAIN * gal_flops_per_token(&f, false) / 6;
        near(layers / n, A4[i].layers, 0.001, "layers");
        near(all / n, A4[i].all, 0.001, "all terms");
        /* Its two digits, and one in the third. */
        near(layers / n, A4[i].paper, 0.01 + 0.002, "the paper's ratio");
        near(layers / a9, A4[i].paper, 0.01 + 0.002, "the paper's ratio, N of A9");
    }
}

/* Appendix F term by term: 12 tokens of a model whose sizes are all different. */
static void test_terms(void **state) {
    (void)state;
    gal_size s = gopher(10, 14, 3, 2, 5);
    s.V = 7;
    s.sequence = 12;
    const gal_flops f = flops_of(&s, GAL_COUNT_CHINCHILLA);
    assert_int_equal(f.term[GAL_TERM_EMBED], 2 * 12 * 7 * 10);
    assert_int_equal(f.term[GAL_TERM_QKV], 5 * 2 * 3 * 12 * 10 * 6);
    assert_int_equal(f.term[GAL_TERM_LOGITS], 5 * 2 * 12 * 12 * 6);
    assert_int_equal(f.term[GAL_TERM_SOFTMAX], 5 * 3 * 2 * 12 * 12);
    assert_int_equal(f.term[GAL_TERM_SUM], 5 * 2 * 12 * 12 * 6);
    assert_int_equal(f.term[GAL_TERM_OUTPUT], 5 * 2 * 12 * 6 * 10);
    assert_int_equal(f.term[GAL_TERM_DENSE], 5 * 2 * 12 * (10 * 14 + 10 * 14));
    assert_int_equal(f.term[GAL_TERM_HEAD], 2 * 12 * 10 * 7);
    assert_int_equal(f.term[GAL_TERM_RELATIVE] + f.term[GAL_TERM_RELATIVE_LOGITS] + f.term[GAL_TERM_NORMS], 0);
    assert_int_equal(f.total, f.layers + 2 * (2 * 12 * 7 * 10));
    /* What our file multiplies: no product with the embedding, but the relative positions. */
    const gal_flops e = flops_of(&s, GAL_COUNT_EXACT);
    assert_int_equal(e.term[GAL_TERM_EMBED], 0);
    assert_int_equal(e.total, f.total - 2 * 12 * 7 * 10 + 5 * 2 * 12 * 10 * 6 + 5 * 2 * 12 * 12 * 6);
    assert_true(gal_flops_per_token(&f, false) == (double)f.total / 12);
}

/* ---- Gopher ------------------------------------------------------------------------------------------------------
 */

static double training(const char *name, double passes, double tokens) {
    const gal_preset *p = preset(name);
    const gal_flops f = flops_of(&p->size, p->counting);
    return passes * gal_flops_per_token(&f, false) * tokens;
}

/* The published names, and the counts that stand behind them. */
static void test_gopher_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double millions, digit, told, told_digit; /* to the digits that are printed; the name to its own */
    } ROWS[] = {
        { "gopher-44m", 43.66, .01, 44, 1 },   { "gopher-117m", 116.6, .1, 117, 1 },
        { "gopher-417m", 417.3, .1, 417, 1 },  { "gopher-1.4b", 1374, 1, 1400, 100 },
        { "gopher-7.1b", 7111, 1, 7100, 100 }, { "gopher-280b", 279700, 100, 280000, 1000 },
        { "gopher-1m", 1.1, .1, 1, 1 },        { "gopher-3m", 3.2, .1, 3, 1 },
        { "gopher-10m", 9.8, .1, 10, 1 },      { "chinchilla-70b", 70060, 10, 70000, 1000 },
    };
    for (size_t i = 0; i < GAL_LEN(ROWS); i++) {
        const gal_preset *p = preset(ROWS[i].name);
        const double got = (double)params_of(&p->size, p->counting).total / 1e6;
        near(got, ROWS[i].millions, ROWS[i].digit, ROWS[i].name);
        near(got, ROWS[i].told, ROWS[i].told_digit, ROWS[i].name);
    }
    /* With four matrices in attention the names would fail. */
    const gal_preset *p = preset("gopher-280b");
    const gal_params n = params_of(&p->size, p->counting);
    near((double)(n.total - n.part[GAL_PART_RELATIVE]) / 1e9, 258, 1, "without relative positions");
    assert_int_equal(p->batch, 3145728);
    assert_int_equal(p->batch2, 6291456);
    assert_int_equal(p->warmup, 1500);
    assert_true(p->lr == 4e-5);
}

static void test_budgets(void **state) {
    (void)state;
    near(training("chinchilla-70b", GAL_PASSES_TRAIN, 1.4e12), 5.68e23, .01e23, "Chinchilla");
    near(training("gopher-280b", GAL_PASSES_TRAIN, 300e9), 4.75e23, .01e23, "Gopher");
    near(training("gopher-280b", GAL_PASSES_RECOMPUTE, 300e9), 6.34e23, .01e23, "Gopher, recomputed");
    near(training("gopher-280b", GAL_PASSES_RECOMPUTE, 300e9), 6.3e23, .1e23, "Gopher, as appendix F says");
    /* 6 N D of the rounded names, 70 and 280 billion: N is within half a billion of them. */
    near(6.0 * (double)params_of(&preset("chinchilla-70b")->size, GAL_COUNT_CHINCHILLA).total * 1.4e12, 5.88e23,
         .01e23 + 6 * 1e9 * 1.4e12, "6 N D, Chinchilla");
    near(6.0 * (double)params_of(&preset("gopher-280b")->size, GAL_COUNT_GOPHER).total * 300e9, 5.04e23,
         .01e23 + 6 * 1e9 * 300e9, "6 N D, Gopher");
}

/* ---- routed models -----------------------------------------------------------------------------------------------
 */

/* One run of the released data (columns of curves.csv: github.com/google-deepmind/scaling_laws_for_routing, commit
 * 42da0c3, CC-BY 4.0, copyright 2022 DeepMind Technologies Limited; Clark et al., arXiv:2202.01169). */
typedef struct routed_run {
    int experts, d, blocks, heads, kqv;
    double increase;
    int k;
    char router[16];
    double frequency, total, dense, flops;
} routed_run;

static const routed_run RUNS[] = {
    { 1, 1536, 12, 12, 128, 1, 1, "Dense", 0.5, 368123904, 368123904, 556775937933312 },
    { 1, 512, 6, 8, 32, 1, 1, "Dense", 0.5, 16527360, 16527360, 44563506921472 },
    { 1, 1536, 12, 12, 128, 2, 2, "Dense", 0.5, 481388544, 368123904, 675542521085952 },
    { 1, 640, 10, 12, 64, 4, 4, "Dense", 0.5, 106534400, 57369600, 183055532687360 },
    { 64, 512, 8, 8, 64, 1, 1, "Hash", 0.5, 555892736, 27279360, 72520522792960 },
    { 512, 2048, 24, 16, 128, 1, 1, "Hash", 0.5, 207077179392, 1308819456, 1772258125152256 },
    { 512, 896, 12, 16, 64, 1, 1, "S-Base", 0.5, 19826386944, 132163584, 251329138130944 },
    { 8, 512, 8, 8, 64, 1, 2, "S-Base", 0.5, 86016000, 27279360, 81196356730880 },
    { 512, 2048, 24, 16, 128, 1, 1, "RL-R", 0.5, 207083473920, 1308819456, 1778858416144384 },
    { 2, 512, 6, 8, 32, 1, 1, "RL-R", 0.5, 22920384, 16527360, 44670008688640 },
    { 256, 1536, 12, 12, 128, 1, 1, "Hash", 0.08333333333333333, 5181480960, 368123904, 557188254793728 },
    { 64, 512, 8, 8, 64, 1, 1, "Hash", 0.125, 159432704, 27279360, 72417443577856 },
    { 64, 512, 8, 8, 64, 1, 1, "S-Base", 0.25, 291586048, 27279360, 72451803316224 },
    { 256, 1536, 12, 12, 128, 1, 1, "S-Base", 1.0, 58128408576, 368123904, 561723740258304 },
    { 256, 1536, 12, 12, 128, 1, 4, "S-Base", 0.5, 29248266240, 368123904, 915491606495232 },
};

static void check_run(const routed_run *r, const char *where) {
    gal_size s = gopher(r->d, 4 * (int64_t)r->d, r->kqv, r->heads, r->blocks);
    const int64_t routed = llround(r->frequency * r->blocks);
    if (r->increase > 1) {
        s.experts = s.used = (int64_t)r->increase;
        s.wide = true;
        s.routed = routed;
    } else if (strcmp(r->router, "Dense") != 0) {
        s.experts = r->experts;
        s.used = r->k;
        s.routed = routed;
        s.router = strcmp(r->router, "Hash") == 0     ? GAL_ROUTER_HASH
                   : strcmp(r->router, "S-Base") == 0 ? GAL_ROUTER_SBASE
                                                      : GAL_ROUTER_RLR;
    }
    const gal_params p = params_of(&s, GAL_COUNT_ROUTED);
    const gal_flops f = flops_of(&s, GAL_COUNT_ROUTED);
    /* Whole numbers below 2^53 in the file. A step is 256 sequences of 2048 tokens. */
    if ((double)p.total != r->total || (double)p.dense != r->dense || (double)(256 * f.total) != r->flops)
        fail_msg("%s: %lld, %lld, %lld, expected %.0f, %.0f, %.0f", where, (long long)p.total, (long long)p.dense,
                 (long long)(256 * f.total), r->total, r->dense, r->flops);
    assert_true(f.total % 2048 == 0);
}

static void test_runs(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(RUNS); i++) {
        char where[40];
        (void)snprintf(where, sizeof where, "run %zu of the table", i);
        check_run(&RUNS[i], where);
    }
    static const char *const LABELS[] = { "15m", "25m", "55m", "130m", "370m", "1.3b" };
    static const int64_t N[] = { 16527360, 27279360, 57369600, 132163584, 368123904, 1308819456 };
    for (size_t i = 0; i < GAL_LEN(LABELS); i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "routed-%s", LABELS[i]);
        const gal_preset *p = preset(name);
        assert_int_equal(params_of(&p->size, p->counting).total, N[i]);
        assert_int_equal(p->tokens, 524288 * INT64_C(250000));
    }
}

/* The fields of a line, in place. */
static size_t split(char *line, char **field, size_t room) {
    size_t n = 0;
    for (char *at = line; at && n < room; n++) {
        field[n] = at;
        at = strchr(at, ',');
        if (at) *at++ = 0;
    }
    return n;
}

static int whole(const char *text) { return (int)strtol(text, NULL, 10); }

static void test_all_runs(void **state) {
    (void)state;
    enum { COLUMNS = 22, MOST = 1000 };
    gzFile file = gzopen(CURVES, "rb");
    if (!file) {
        print_message("skipped: %s is not there, %zu runs of it are in the test\n", CURVES, GAL_LEN(RUNS));
        skip();
    }
    static bool seen[MOST];
    char line[2000];
    size_t runs = 0;
    assert_non_null(gzgets(file, line, sizeof line)); /* names */
    while (gzgets(file, line, sizeof line)) {
        char *f[COLUMNS];
        assert_int_equal(split(line, f, COLUMNS), COLUMNS);
        const long id = strtol(f[0], NULL, 10);
        assert_in_range(id, 0, MOST - 1);
        runs += !seen[id];
        seen[id] = true;
        routed_run r = { .experts = whole(f[8]),
                         .d = whole(f[9]),
                         .blocks = whole(f[10]),
                         .heads = whole(f[11]),
                         .kqv = whole(f[12]),
                         .increase = strtod(f[13], NULL),
                         .k = whole(f[14]),
                         .frequency = strtod(f[17], NULL),
                         .total = strtod(f[18], NULL),
                         .dense = strtod(f[19], NULL),
                         .flops = strtod(f[20], NULL) };
        (void)snprintf(r.router, sizeof r.router, "%s", f[15]);
        check_run(&r, f[0]);
    }
    (void)gzclose(file);
    assert_int_equal(runs, 223);
}

/* ---- laws --------------------------------------------------------------------------------------------------------
 */

static void test_laws(void **state) {
    (void)state;
    assert_int_equal(GAL_N_LAWS, 2);
    const gal_law *hoffmann = &GAL_LAWS[0], *again = &GAL_LAWS[1];
    /* Approach 3 takes about 40 billion for Gopher's budget; tokens for each parameter at Chinchilla's, and over the
     * budgets that the replication plots. */
    const gal_optimum gopher_sized = gal_law_optimum(hoffmann, 5.76e23);
    near(gopher_sized.params / 1e9, 40, 1, "parameters");
    const struct {
        const gal_law *law;
        double flops, ratio, digit;
    } ROWS[] = { { hoffmann, 5.88e23, 59, 1 },
                 { again, 5.88e23, 18.3, .1 },
                 { again, 1e18, 25.6, .1 },
                 { again, 1e25, 17.1, .1 } };
    for (size_t i = 0; i < GAL_LEN(ROWS); i++) {
        const gal_optimum o = gal_law_optimum(ROWS[i].law, ROWS[i].flops);
        near(o.tokens / o.params, ROWS[i].ratio, ROWS[i].digit, "tokens for each parameter");
        near(6 * o.params * o.tokens / ROWS[i].flops, 1, 1e-12, "the budget is spent");
        /* No other division of it is better, and the closed form of the frontier's loss agrees. */
        for (double step = 0.5; step < 2.1; step += 0.1)
            assert_true(gal_law_loss(ROWS[i].law, o.params * step, o.tokens / step) >= o.loss);
        const gal_law *l = ROWS[i].law;
        const double sum = l->alpha + l->beta, g = pow(l->alpha * l->A / (l->beta * l->B), 1 / sum);
        const double closed = l->E + (l->A * pow(g, -l->alpha) + l->B * pow(g, l->beta)) *
                                         pow(ROWS[i].flops / 6, -l->alpha * l->beta / sum);
        near(o.loss, closed, 1e-12, "the frontier");
    }
    near(hoffmann->beta / (hoffmann->alpha + hoffmann->beta), 0.4565, .001, "Chinchilla's a");
    near(again->beta / (again->alpha + again->beta), 0.513, .001, "the replication's a");
    near(log(hoffmann->A), 6.0073404, 2e-7, "A");
    near(log(hoffmann->B), 6.0179186, 2e-7, "B");
    near(log(hoffmann->E), 0.5267228, 2e-7, "E");
}

/* ---- what files hold ---------------------------------------------------------------------------------------------
 */

/* Mistral 7B and Mixtral from the formulas of their papers' sizes (v0.1, 8x7B, 8x22B). */
static void test_mistral(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t total, active;
    } ROWS[] = { { "mistral-7b", 7241732096, 7241732096 },
                 { "mixtral-8x7b", 46702792704, 12879925248 },
                 { "mixtral-8x22b", 140630071296, 39161468928 } };
    for (size_t i = 0; i < GAL_LEN(ROWS); i++) {
        const gal_preset *p = preset(ROWS[i].name);
        const gal_params n = params_of(&p->size, GAL_COUNT_EXACT);
        assert_int_equal(n.total, ROWS[i].total);
        assert_int_equal(n.active, ROWS[i].active);
    }
    /* The terms of one layer and token at 8,192 tokens, of which each sees 4,096. */
    const gal_flops f = flops_of(&preset("mistral-7b")->size, GAL_COUNT_EXACT);
    const int64_t n = 32 * 8192;
    assert_int_equal(f.term[GAL_TERM_QKV], n * 2 * 4096 * (4096 + 2 * 1024));
    assert_int_equal(f.term[GAL_TERM_LOGITS], n * 2 * 4096 * 4096);
    assert_int_equal(f.term[GAL_TERM_SUM], n * 2 * 4096 * 4096);
    assert_int_equal(f.term[GAL_TERM_SOFTMAX], n * 3 * 32 * 4096);
    assert_int_equal(f.term[GAL_TERM_DENSE], n * 6 * 4096 * 14336);
    assert_int_equal(f.term[GAL_TERM_HEAD], 2 * INT64_C(8192) * 32000 * 4096);
    const gal_flops m = flops_of(&preset("mixtral-8x7b")->size, GAL_COUNT_EXACT);
    assert_int_equal(m.term[GAL_TERM_EXPERTS], 32 * INT64_C(32768) * 2 * 6 * 4096 * 14336);
    assert_int_equal(m.term[GAL_TERM_ROUTERS], 32 * INT64_C(32768) * 2 * 4096 * 8);
    assert_int_equal(m.term[GAL_TERM_DENSE], 0);
}

/* The exact count is what a model of that configuration has. */
static void test_models(void **state) {
    (void)state;
    static const char *const NAMES[] = { "mistral-base", "mistral-tied",   "mistral-window",
                                         "mistral-nemo", "mistral-layers", "mixtral-base" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[128];
        gal_size s;
        gal_model *m = NULL;
        (void)snprintf(path, sizeof path, "tests/golden/%s", NAMES[i]);
        CHECK_OK(gal_model_load(&m, path, diag));
        gal_size_of(&s, &m->config, 17);
        const gal_params p = params_of(&s, GAL_COUNT_EXACT);
        if (p.total != gal_model_params(m))
            fail_msg("%s: %lld, the model has %lld", NAMES[i], (long long)p.total, (long long)gal_model_params(m));
        gal_model_free(m);
    }
}

/* Layers that a window is for and layers that see all, against a count of the pairs one by one. */
static void test_windows(void **state) {
    (void)state;
    uint8_t full[] = { 0, 1, 0, 0 };
    gal_config c;
    gal_config_defaults(&c);
    c.V = 19;
    c.D = 8;
    c.L = 4;
    c.H = 4;
    c.G = 2;
    c.K = 6;
    c.F = 12;
    c.window = 5;
    c.layer_full = full;
    for (int64_t n = 1; n < 12; n++) {
        gal_size s;
        gal_size_of(&s, &c, n);
        assert_int_equal(s.windowed, 3);
        int64_t pairs = 0;
        for (int64_t l = 0; l < 4; l++)
            for (int64_t i = 0; i < n; i++) pairs += full[l] ? n : n < 5 ? n : 5;
        const gal_flops f = flops_of(&s, GAL_COUNT_EXACT);
        assert_int_equal(f.term[GAL_TERM_LOGITS], 2 * pairs * 24);
        assert_int_equal(f.term[GAL_TERM_SOFTMAX], 3 * pairs * 4);
        for (int t = 0; t < GAL_TERMS; t++) assert_true(f.term[t] % n == 0);
    }
}

/* What is computed again, against its layers counted one by one. */
static void test_every(void **state) {
    (void)state;
    uint8_t full[] = { 0, 1, 0, 0, 1, 0, 1 };
    for (int kind = 0; kind < 2; kind++) { /* windows in some layers; experts in some */
        gal_config c, one;
        gal_config_defaults(&c);
        c.V = 19;
        c.D = 8;
        c.L = 7;
        c.H = 4;
        c.G = kind ? 4 : 2;
        c.K = 6;
        c.F = 12;
        c.window = kind ? 0 : 5;
        c.layer_full = kind ? NULL : full;
        c.experts = kind ? 5 : 0;
        c.experts_used = kind ? 2 : 0;
        c.routed_every = 3;
        for (int64_t every = 1; every <= 8; every++) {
            gal_size s;
            int64_t want = 0;
            for (int64_t l = 0; l < c.L; l += every) {
                one = c;
                one.L = 1;
                one.layer_full = kind ? NULL : full + l;
                one.routed_every = 1;
                if (kind && (l + 1) % 3 != 0) one.experts = one.experts_used = 0;
                gal_size_of(&s, &one, 17);
                want += flops_of(&s, GAL_COUNT_EXACT).layers;
            }
            gal_size_of_every(&s, &c, 17, every);
            assert_int_equal(flops_of(&s, GAL_COUNT_EXACT).layers, want);
        }
    }
}

/* Gopher's and the routed models' exact count is what their files hold. */
static void test_gopher_files(void **state) {
    (void)state;
    static const char *const NAMES[] = { "gopher-base", "gopher-clamp", "routed-sbase", "routed-rlr", "routed-hash" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++) {
        char path[160];
        gal_config c;
        gal_size s;
        gal_safetensors *file = NULL;
        (void)snprintf(path, sizeof path, "tests/golden/%s/config.json", NAMES[i]);
        CHECK_OK(gal_config_read(&c, path, diag));
        gal_size_of(&s, &c, 17);
        (void)snprintf(path, sizeof path, "tests/golden/%s/model.safetensors", NAMES[i]);
        CHECK_OK(gal_safetensors_open(&file, path, diag));
        int64_t count = 0, idle = 0;
        for (size_t k = 0; k < gal_safetensors_count(file); k++) {
            const gal_st_tensor *t = gal_safetensors_at(file, k);
            const int64_t n = (int64_t)(t->bytes / sizeof(float));
            count += n;
            if (strstr(t->name, ".experts.") && !strstr(t->name, ".experts.0.")) idle += n;
            if (strstr(t->name, ".experts.1.")) idle -= n * (c.experts_used - 1);
        }
        gal_safetensors_close(file);
        const gal_params p = params_of(&s, GAL_COUNT_EXACT);
        if (p.total != count || p.active != count - idle)
            fail_msg("%s: %lld and %lld, the file has %lld and %lld", NAMES[i], (long long)p.total,
                     (long long)p.active, (long long)count, (long long)(count - idle));
        /* Everything but biases, gains and embeddings is a product of every token, once. */
        const gal_flops f = flops_of(&s, GAL_COUNT_EXACT);
        const int64_t products = f.term[GAL_TERM_QKV] + f.term[GAL_TERM_RELATIVE] + f.term[GAL_TERM_OUTPUT] +
                                 f.term[GAL_TERM_HEAD];
        assert_int_equal(products, 2 * 17 * (c.L * 5 * c.D * c.H * c.K + c.V * c.D));
        gal_config_free(&c);
    }
    /* A wide layer has one output bias and no router; LayerNorm has twice as many numbers as RMSNorm. */
    gal_size s = gopher(8, 32, 4, 2, 3);
    const int64_t narrow = params_of(&s, GAL_COUNT_EXACT).total;
    s.norm_bias = true;
    assert_int_equal(params_of(&s, GAL_COUNT_EXACT).total, narrow + 3 * 2 * 8 + 8);
    s.experts = s.used = 4;
    s.routed = 2;
    s.wide = true;
    const gal_params wide = params_of(&s, GAL_COUNT_EXACT);
    assert_int_equal(wide.total, narrow + 3 * 2 * 8 + 8 + 2 * 3 * (2 * 8 * 32 + 32));
    assert_int_equal(wide.active, wide.total);
}

/* ---- tables and refusals -----------------------------------------------------------------------------------------
 */

static void test_presets(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_N_PRESETS; i++) {
        const gal_preset *p = &GAL_PRESETS[i];
        CHECK_OK(gal_size_check(&p->size, p->name, diag));
        assert_null(gal_counting_misfit(p->counting, &p->size));
        assert_ptr_equal(gal_preset_named(p->name), p); /* so no name is there twice */
        (void)params_of(&p->size, p->counting);
        (void)flops_of(&p->size, p->counting);
    }
    assert_null(gal_preset_named("gopher-45m"));
    gal_counting c;
    for (int i = 0; i < GAL_COUNTS; i++) {
        assert_true(gal_counting_named(&c, gal_counting_name((gal_counting)i)));
        assert_int_equal(c, i);
    }
    assert_false(gal_counting_named(&c, "kaplan"));
}

static void refused(const gal_size *s, const char *what) {
    gal_diag diag = { 0 };
    assert_int_equal(gal_size_check(s, "where", &diag), GAL_EINPUT);
    if (!strstr(diag.text, what)) fail_msg("'%s' does not say '%s'", diag.text, what);
}

static void test_refusals(void **state) {
    (void)state;
    const gal_size good = preset("routed-15m")->size;
    gal_size s = good;
    s.D = 0;
    refused(&s, "width: expected 1 to 1048576, found 0");
    s = good;
    s.V = GAL_MAX_VOCAB + 1;
    refused(&s, "vocabulary");
    s = good;
    s.G = s.H + 1;
    refused(&s, "key-value heads");
    s = good;
    s.sequence = 0;
    refused(&s, "sequence");
    s = good;
    s.experts = 4;
    s.routed = 1;
    refused(&s, "experts of a token: expected 1 to 4, found 0");
    s.used = 5;
    refused(&s, "experts of a token");
    s.used = 2;
    s.wide = true;
    refused(&s, "expected 4 to 4, found 2");
    s.wide = false;
    s.routed = 7;
    refused(&s, "layers with experts: expected 1 to 6, found 7");
    s.routed = 0;
    refused(&s, "layers with experts");
    s.experts = -1;
    refused(&s, "experts: expected 0");
    assert_non_null(gal_counting_misfit(GAL_COUNT_GOPHER, &preset("mistral-7b")->size));
    assert_non_null(gal_counting_misfit(GAL_COUNT_ROUTED, &preset("mixtral-8x7b")->size));
    s = good;
    s.experts = 4;
    assert_non_null(gal_counting_misfit(GAL_COUNT_CHINCHILLA, &s));
    assert_null(gal_counting_misfit(GAL_COUNT_ROUTED, &s));
}

/* The largest sizes that are let in: no count wraps around, the parameters' or the operations'. */
static void test_overflow(void **state) {
    (void)state;
    gal_size s = gopher(GAL_MAX_WIDTH, GAL_MAX_WIDTH, 1 << 10, 1 << 10, GAL_MAX_LAYERS);
    gal_flops f;
    gal_params p;
    gal_diag diag = { 0 };
    s.V = GAL_MAX_VOCAB;
    s.sequence = 2048;
    const gal_params dense = params_of(&s, GAL_COUNT_CHINCHILLA);
    assert_true(dense.total > (INT64_C(1) << 54)); /* 7 * 2^12 * 2^40 and more */
    s.sequence = GAL_MAX_POSITIONS;
    assert_int_equal(gal_count_flops(&f, &s, GAL_COUNT_CHINCHILLA, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "a sequence of 1073741824 tokens takes more than 63 bits"));
    s.sequence = 1;
    s.H = s.G = GAL_MAX_WIDTH;
    s.K = GAL_MAX_WIDTH;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_count_params(&p, &s, GAL_COUNT_EXACT, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "63 bits"));
    s.H = s.G = s.K = 1 << 10;
    s.experts = GAL_SIZE_MAX_EXPERTS;
    s.used = 1;
    s.routed = s.L;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_count_params(&p, &s, GAL_COUNT_ROUTED, &diag), GAL_EINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a9),           cmocka_unit_test(test_a4),           cmocka_unit_test(test_terms),
        cmocka_unit_test(test_budgets),      cmocka_unit_test(test_gopher_names), cmocka_unit_test(test_runs),
        cmocka_unit_test(test_all_runs),     cmocka_unit_test(test_laws),         cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_models),       cmocka_unit_test(test_windows),      cmocka_unit_test(test_every),
        cmocka_unit_test(test_gopher_files), cmocka_unit_test(test_presets),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests_name("count", tests, NULL, NULL);
}
