/* session_test.c - every way through the cache gives the logits of one pass without it; recorded equals eager; the
 * number of threads changes nothing; packed sequences equal single ones. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "support/far.h"
#include "support/thin.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 64, W = 8 };

static const char *const LEVELS[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon" };

static const struct {
    int64_t window;
    bool mixed;
} MODELS[] = { { 0, false }, { W, false }, { W, true }, { 1, false } };

static float *rows(int64_t n) {
    float *p = calloc((size_t)(n * TINY_V), sizeof *p);
    assert_non_null(p);
    return p;
}

static void test_chunks(void **state) {
    (void)state;
    static const int64_t CHUNKS[] = { 1, 3, 7, W, W + 1, 2 * W + 3, N };
    int32_t ids[N];
    tiny_ids(ids, N, 5);
    float *want = rows(N), *got = rows(N);
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 1);
        if (!dev) continue;
        for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
            gal_model *m = tiny_model(MODELS[i].window, MODELS[i].mixed);
            tiny_reference(dev, m, ids, N, want);
            for (size_t j = 0; j < GAL_LEN(CHUNKS); j++) {
                gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .chunk = N });
                tiny_feed(e, 0, ids, N, CHUNKS[j], got);
                tiny_close(got, want, N * TINY_V);
                gal_engine_free(e);
            }
            gal_model_free(m);
        }
        gal_dev_close(dev);
    }
    free(want);
    free(got);
}

/* 200 single tokens: the cache grows twice and plans are made anew. */
static void test_recorded_is_eager(void **state) {
    (void)state;
    enum { LONG = 200 };
    int32_t ids[LONG];
    tiny_ids(ids, LONG, 6);
    float *eager = rows(LONG), *recorded = rows(LONG);
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 1 + (int)(v > 0));
        if (!dev) continue;
        for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
            gal_model *m = tiny_model(MODELS[i].window, MODELS[i].mixed);
            gal_engine *a = tiny_engine(dev, m, (gal_engine_options){ .eager = true });
            gal_engine *b = tiny_engine(dev, m, (gal_engine_options){ .chunk = 5 });
            tiny_feed(a, 0, ids, LONG, 1, eager);
            tiny_feed(b, 0, ids, LONG, 1, recorded);
            assert_memory_equal(eager, recorded, LONG * TINY_V * sizeof *eager);
            assert_int_equal(gal_engine_replays(a), 0);
            assert_true(gal_engine_replays(b) >= LONG - 5);
            /* A prefill in between moves the arenas about; the plan must still hold. */
            assert_true(gal_engine_truncate(b, 0, 0));
            tiny_feed(b, 0, ids, 100, 5, recorded);
            tiny_feed(b, 0, ids + 100, LONG - 100, 1, recorded + 100 * TINY_V);
            tiny_close(recorded, eager, LONG * TINY_V);
            gal_engine_free(a);
            gal_engine_free(b);
            gal_model_free(m);
        }
        gal_dev_close(dev);
    }
    free(eager);
    free(recorded);
}

static void test_threads(void **state) {
    (void)state;
    int32_t ids[N];
    tiny_ids(ids, N, 7);
    float *one = rows(N), *many = rows(N);
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        for (int threads = 1; threads <= 3; threads++) {
            gal_dev *dev = tiny_dev(LEVELS[v], threads);
            if (!dev) break;
            gal_model *m = tiny_model(W, true);
            gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .chunk = N });
            float *out = threads == 1 ? one : many;
            tiny_feed(e, 0, ids, N / 2, 11, out);
            tiny_feed(e, 0, ids + N / 2, N / 2, 1, out + N / 2 * TINY_V);
            if (threads > 1) assert_memory_equal(one, many, N * TINY_V * sizeof *one);
            gal_engine_free(e);
            gal_model_free(m);
            gal_dev_close(dev);
        }
    }
    free(one);
    free(many);
}

/* A device whose memory is closed to the host gives the CPU's bytes: prompts in chunks, decoding recorded and eager,
 * a cache that grows twice, two number formats. A replayed token is one upload, one launch, one download. */
static void far_is_cpu(const char *level, int64_t window, bool mixed, gal_dtype compute) {
    enum { LONG = 140, PROMPT = 50 };
    int32_t ids[LONG];
    tiny_ids(ids, LONG, 8);
    float *want = rows(LONG), *got = rows(LONG);
    gal_dev *cpu = tiny_dev(level, 1), *far = far_open(level, 2);
    if (cpu) {
        gal_model *m = tiny_model(window, mixed);
        gal_engine_options o = { .compute = compute, .cache = compute, .chunk = 7 };
        gal_engine *e = tiny_engine(cpu, m, o);
        tiny_feed(e, 0, ids, PROMPT, 7, want);
        tiny_feed(e, 0, ids + PROMPT, LONG - PROMPT, 1, want + PROMPT * TINY_V);
        gal_engine_free(e);
        gal_model *there = tiny_model(window, mixed);
        assert_int_equal(gal_model_to_device(there, far, NULL), GAL_OK);
        for (int eager = 0; eager < 2; eager++) {
            o.eager = eager;
            e = tiny_engine(far, there, o);
            tiny_feed(e, 0, ids, PROMPT, 7, got);
            tiny_feed(e, 0, ids + PROMPT, LONG - PROMPT - 1, 1, got + PROMPT * TINY_V);
            far_counts before = far_counted(far), after;
            tiny_feed(e, 0, ids + LONG - 1, 1, 1, got + (LONG - 1) * TINY_V);
            after = far_counted(far);
            assert_memory_equal(got, want, LONG * TINY_V * sizeof *got);
            assert_int_equal(after.uploads - before.uploads, 1);
            assert_int_equal(after.downloads - before.downloads, 1);
            assert_int_equal(after.graph_launches - before.graph_launches, !eager);
            assert_int_equal(after.launches > before.launches, eager);
            gal_engine_free(e);
        }
        gal_model_free(m);
        gal_model_free(there);
    }
    gal_dev_close(cpu);
    gal_dev_close(far);
    free(want);
    free(got);
}

static void test_far(void **state) {
    (void)state;
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 1);
        if (!dev) continue;
        gal_dev_close(dev);
        for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
            if (thin_skip(i, 3)) continue;
            gal_dtype compute = i % 2 == v % 2 ? GAL_F32 : GAL_BF16;
            far_is_cpu(LEVELS[v], MODELS[i].window, MODELS[i].mixed, compute);
        }
    }
}

/* A GPU rounds as it does, but always the same: recorded and eager, twice the same bytes, near the CPU's. */
static void test_cuda(void **state) {
    (void)state;
    enum { LONG = 140, PROMPT = 50 };
    int32_t ids[LONG];
    gal_dev *cpu = tiny_dev(NULL, 1), *gpu = NULL;
    gal_diag why = { 0 };
    if (gal_dev_open(&gpu, &(gal_device_options){ .device = "cuda", .threads = 1 }, &why)) {
        gal_dev_close(cpu);
        print_message("skipped: %s\n", why.text);
        skip();
    }
    tiny_ids(ids, LONG, 8);
    float *want = rows(LONG), *got = rows(LONG), *first = rows(LONG);
    for (size_t i = 0; i < 2 * GAL_LEN(MODELS); i++) {
        gal_dtype compute = i % 2 ? GAL_BF16 : GAL_F32;
        gal_model *here = tiny_model(MODELS[i / 2].window, MODELS[i / 2].mixed);
        gal_model *there = tiny_model(MODELS[i / 2].window, MODELS[i / 2].mixed);
        assert_int_equal(gal_model_to_device(there, gpu, NULL), GAL_OK);
        for (int way = 0; way < 3; way++) { /* recorded twice, then eager */
            gal_engine_options o = { .compute = compute, .cache = compute, .chunk = 7, .eager = way == 2 };
            gal_engine *e = tiny_engine(gpu, there, o);
            float *out = way ? got : first;
            tiny_feed(e, 0, ids, PROMPT, 7, out);
            tiny_feed(e, 0, ids + PROMPT, LONG - PROMPT, 1, out + PROMPT * TINY_V);
            if (way) assert_memory_equal(got, first, LONG * TINY_V * sizeof *got);
            assert_int_equal(gal_engine_replays(e) > 0, way < 2);
            gal_engine_free(e);
        }
        tiny_reference(cpu, here, ids, LONG, want);
        if (compute == GAL_F32) tiny_close(first, want, LONG * TINY_V);
        gal_model_free(here);
        gal_model_free(there);
    }
    gal_dev_close(cpu);
    gal_dev_close(gpu);
    free(want);
    free(got);
    free(first);
}

/* Where the device has no memory, the message says so and everything is as before. */
static void test_far_without_memory(void **state) {
    (void)state;
    gal_dev *far = far_open("ref", 1);
    gal_model *m = tiny_model(0, false);
    gal_engine *e = NULL;
    gal_diag diag = { 0 };
    far_limit(far, 60000);
    assert_int_equal(gal_model_to_device(m, far, &diag), GAL_ENOMEM);
    assert_non_null(strstr(diag.text, "far"));
    assert_non_null(strstr(diag.text, "bytes"));
    assert_false(gal_model_is_on(m, far));
    assert_int_equal(far_counted(far).taken, 0);
    far_limit(far, 0);
    assert_int_equal(gal_model_to_device(m, far, NULL), GAL_OK);
    far_limit(far, ((uint64_t)1 << 32) - gal_dev_available(far) + 20000);
    diag = (gal_diag){ 0 };
    gal_engine_options o = { .sequences = 1, .context = 300 }; /* 72 kB of keys and values */
    assert_int_equal(gal_engine_new(&e, far, m, &o, &diag), GAL_ENOMEM);
    assert_non_null(strstr(diag.text, "bytes are free"));
    gal_model_free(m);
    gal_dev_close(far);
}

/* Three sequences of unequal lengths, in packed steps of unequal parts, the last ones single tokens (recorded). */
static void test_packed(void **state) {
    (void)state;
    enum { SEQS = 3, STEPS = 16 };
    int32_t ids[SEQS][N];
    int64_t at[SEQS] = { 0 };
    float *want[SEQS], *got[SEQS];
    gal_dev *dev = tiny_dev(NULL, 2);
    gal_model *m = tiny_model(W, true);
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .sequences = SEQS, .chunk = 40 });
    for (int s = 0; s < SEQS; s++) {
        tiny_ids(ids[s], N, 20 + (uint64_t)s);
        want[s] = rows(N);
        got[s] = rows(N);
        tiny_reference(dev, m, ids[s], N, want[s]);
    }
    for (int step = 0; step < STEPS; step++) {
        gal_slice slices[SEQS];
        size_t n = 0;
        for (int s = SEQS; s-- > 0;) { /* not in the order of their numbers */
            int64_t part = step < 4 ? (step * 5 + s * 3) % 13 : 1;
            if (part) slices[n++] = (gal_slice){ s, ids[s] + at[s], part };
        }
        const float *out = NULL;
        assert_int_equal(gal_engine_step(e, slices, n, true, &out, NULL), GAL_OK);
        for (size_t i = 0; i < n; i++) {
            int64_t s = slices[i].sequence;
            memcpy(got[s] + at[s] * TINY_V, out, (size_t)(slices[i].n * TINY_V) * sizeof *out);
            out += slices[i].n * TINY_V;
            at[s] += slices[i].n;
        }
    }
    assert_true(gal_engine_replays(e) > 5);
    for (int s = 0; s < SEQS; s++) {
        assert_true(at[s] > 2 * W);
        tiny_close(got[s], want[s], at[s] * TINY_V);
        free(want[s]);
        free(got[s]);
    }
    gal_engine_free(e);
    gal_model_free(m);
    gal_dev_close(dev);
}

/* The logits of last rows only are the ones that all rows have. */
static void test_prefill(void **state) {
    (void)state;
    int32_t ids[N];
    tiny_ids(ids, N, 9);
    float *want = rows(N);
    gal_dev *dev = tiny_dev(NULL, 1);
    gal_model *m = tiny_model(W, false);
    tiny_reference(dev, m, ids, N, want);
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .chunk = 7 });
    const float *last = NULL;
    assert_int_equal(gal_engine_prefill(e, 0, ids, N, &last, NULL), GAL_OK);
    tiny_close(last, want + (N - 1) * TINY_V, TINY_V);
    gal_engine_free(e);
    gal_model_free(m);
    gal_dev_close(dev);
    free(want);
}

static void narrow(gal_model *m) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (w->role != GAL_W_LINEAR && w->role != GAL_W_RESIDUAL) continue;
        const int64_t n = gal_wcount(w);
        uint16_t *to = gal_alloc((size_t)n * sizeof *to);
        assert_true(to && w->dtype == GAL_F32 && w->owned);
        for (int64_t j = 0; j < n; j++) to[j] = gal_f32_to_bf16(((const float *)w->data)[j]);
        gal_free(w->data);
        w->data = to;
        w->dtype = GAL_BF16;
    }
}

/* Where weights are in bf16, a prompt's activations are rounded to it, at every level: its logits move, by what 2^-9
 * of each number may do. Neither where all logits are wanted, nor for a single token, nor if it is to be exact. */
static void test_rounded_prompts(void **state) {
    (void)state;
    int32_t ids[N];
    tiny_ids(ids, N, 11);
    float *want = rows(N), *got = rows(N);
    gal_model *m = tiny_model(W, false);
    narrow(m);
    for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
        gal_dev *dev = tiny_dev(LEVELS[l], 1);
        if (!dev) continue;
        tiny_reference(dev, m, ids, N, want);
        const float *last = want + (N - 1) * TINY_V, *p = NULL;
        for (int exact = 0; exact < 2; exact++) {
            gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .exact = exact != 0 });
            tiny_feed(e, 0, ids, N, 7, got); /* the last chunk is a single token */
            tiny_close(got, want, (int64_t)N * TINY_V);
            (void)gal_engine_truncate(e, 0, 0);
            assert_int_equal(gal_engine_prefill(e, 0, ids, N, &p, NULL), GAL_OK);
            float most = 0.0f, moved = 0.0f;
            for (int64_t i = 0; i < TINY_V; i++) {
                most = fmaxf(most, fabsf(last[i]));
                moved = fmaxf(moved, fabsf(p[i] - last[i]));
            }
            if (exact)
                tiny_close(p, last, TINY_V);
            else
                assert_true(moved > 0x1p-15f * most && moved < 0x1p-4f * most);
            gal_engine_free(e);
        }
        gal_dev_close(dev);
    }
    gal_model_free(m);
    free(want);
    free(got);
}

/* Several sequences a step, all logits wanted (in f32) or those of text (in bf16): what was recorded of one is not
 * taken for the other. */
static void test_rounded_steps(void **state) {
    (void)state;
    enum { SEQS = 3, STEPS = 12 };
    int32_t ids[SEQS * STEPS];
    float *recorded = rows(SEQS * STEPS), *eager = rows(SEQS * STEPS);
    gal_dev *dev = tiny_dev(NULL, 1);
    gal_model *m = tiny_model(W, false);
    narrow(m);
    tiny_ids(ids, SEQS * STEPS, 12);
    for (int way = 0; way < 2; way++) {
        gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .sequences = SEQS, .eager = way == 1 });
        for (int i = 0; i < STEPS; i++) {
            const float *p = NULL;
            gal_slice slices[SEQS];
            for (int s = 0; s < SEQS; s++) slices[s] = (gal_slice){ s, ids + i * SEQS + s, 1 };
            assert_int_equal(gal_engine_step(e, slices, SEQS, i / 2 % 2 == 0, &p, NULL), GAL_OK);
            memcpy((way ? eager : recorded) + i * SEQS * TINY_V, p, SEQS * TINY_V * sizeof *p);
        }
        assert_true(way == 1 || gal_engine_replays(e) > 0);
        gal_engine_free(e);
    }
    assert_memory_equal(recorded, eager, SEQS * STEPS * TINY_V * sizeof *eager);
    gal_model_free(m);
    gal_dev_close(dev);
    free(recorded);
    free(eager);
}

typedef struct patience {
    int asked, at;
} patience;

static bool loses_it(void *user) {
    patience *p = user;
    return ++p->asked == p->at;
}

/* Within the one chunk of a prompt, while a step is recorded, and before one is replayed. */
static void test_interrupt(void **state) {
    (void)state;
    int32_t ids[N];
    tiny_ids(ids, N, 10);
    gal_dev *dev = tiny_dev(NULL, 1);
    gal_model *m = tiny_model(0, false);
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .chunk = N });
    const float *out = NULL;
    gal_diag diag = { 0 };
    patience p = { .at = 20 };
    gal_engine_interrupt(e, loses_it, &p);
    assert_int_equal(gal_engine_prefill(e, 0, ids, N, &out, &diag), GAL_EINTERRUPTED);
    assert_string_equal(diag.text, "interrupted");
    assert_int_equal(p.asked, 20);
    assert_int_equal(gal_cache_length(gal_engine_cache(e), 0), 0);
    p = (patience){ .at = 20 };
    assert_int_equal(gal_engine_prefill(e, 0, ids, 1, &out, NULL), GAL_EINTERRUPTED);
    assert_int_equal(gal_engine_prefill(e, 0, ids, 1, &out, NULL), GAL_OK);
    p = (patience){ .at = 2 };
    assert_int_equal(gal_engine_prefill(e, 0, ids, 1, &out, NULL), GAL_OK);
    assert_int_equal(p.asked, 1); /* a replay asks once */
    assert_int_equal(gal_engine_prefill(e, 0, ids, 1, &out, NULL), GAL_EINTERRUPTED);
    assert_int_equal(gal_engine_replays(e), 2);
    gal_engine_free(e);
    gal_model_free(m);
    gal_dev_close(dev);
}

static void test_refusals(void **state) {
    (void)state;
    gal_dev *dev = tiny_dev("ref", 1);
    gal_model *m = tiny_model(0, false);
    gal_engine *e = NULL;
    gal_diag diag = { 0 };
    gal_engine_options o = { .sequences = 1, .context = 301 };
    assert_int_equal(gal_engine_new(&e, dev, m, &o, &diag), GAL_ENOMEM);
    assert_non_null(strstr(diag.text, "300"));
    assert_non_null(strstr(diag.text, "bytes"));
    e = tiny_engine(dev, m, (gal_engine_options){ .context = 20 });
    assert_int_equal(gal_engine_context(e), 20);
    int32_t ids[30];
    tiny_ids(ids, 30, 1);
    const float *out = NULL;
    diag = (gal_diag){ 0 };
    assert_int_equal(gal_engine_prefill(e, 0, ids, 21, &out, &diag), GAL_ENOMEM);
    assert_non_null(strstr(diag.text, "bytes"));
    assert_int_equal(gal_cache_length(gal_engine_cache(e), 0), 0);
    assert_int_equal(gal_engine_prefill(e, 0, ids, 20, &out, NULL), GAL_OK);
    assert_true(gal_engine_truncate(e, 0, 5));
    ids[3] = TINY_V;
    assert_int_equal(gal_engine_prefill(e, 0, ids, 4, &out, NULL), GAL_EINPUT);
    ids[3] = -1;
    assert_int_equal(gal_engine_prefill(e, 0, ids, 4, &out, NULL), GAL_EINPUT);
    assert_int_equal(gal_cache_length(gal_engine_cache(e), 0), 5);
    gal_engine_free(e);
    gal_model_free(m);
    gal_dev_close(dev);
}

/* After a truncation the sequence goes on as if the forgotten part had never been. */
static void test_truncate(void **state) {
    (void)state;
    int32_t ids[N], other[N];
    tiny_ids(ids, N, 30);
    tiny_ids(other, N, 31);
    float *want = rows(N), *got = rows(N);
    gal_dev *dev = tiny_dev(NULL, 1);
    gal_model *m = tiny_model(0, false);
    tiny_reference(dev, m, ids, N, want);
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ 0 });
    tiny_feed(e, 0, ids, 20, 20, got);
    float *waste = rows(N);
    tiny_feed(e, 0, other, 40, 7, waste);
    assert_true(gal_engine_truncate(e, 0, 20));
    tiny_feed(e, 0, ids + 20, N - 20, 9, got + 20 * TINY_V);
    tiny_close(got, want, N * TINY_V);
    gal_engine_free(e);
    gal_model_free(m);
    gal_dev_close(dev);
    free(want);
    free(got);
    free(waste);
}

/* Tokens that are tried several at a time, wrong ones among them that are forgotten again, have the bytes of tokens
 * that come alone: over growth of the cache, rings that wrapped, threads, numbers of f32 and halves. */
static void test_try(void **state) {
    (void)state;
    enum { LONG = 140, MOST = 8 };
    static const gal_dtype CACHES[] = { GAL_F32, GAL_F16, GAL_BF16 };
    int32_t ids[LONG], wrong[LONG];
    tiny_ids(ids, LONG, 12);
    tiny_ids(wrong, LONG, 13);
    float *want = rows(LONG), *got = rows(LONG);
    for (size_t v = 0; v < GAL_LEN(LEVELS); v++) {
        gal_dev *dev = tiny_dev(LEVELS[v], 1 + (int)v % 2);
        if (!dev) continue;
        for (size_t i = 0; i < GAL_LEN(MODELS); i++) {
            if (thin_skip(i, 3)) continue;
            gal_model *m = tiny_model(MODELS[i].window, MODELS[i].mixed);
            gal_engine_options o = { .cache = CACHES[i % GAL_LEN(CACHES)], .eager = i == 1 };
            gal_engine *e = tiny_engine(dev, m, o);
            tiny_feed(e, 0, ids, LONG, 1, want);
            gal_engine_free(e);
            e = tiny_engine(dev, m, o);
            for (int64_t at = 0, n; at < LONG; at += n) {
                const int64_t right = at % 5, most = GAL_MIN(MOST, LONG - at);
                int32_t some[MOST];
                const float *out = NULL;
                n = GAL_MIN(right + 1, most);
                for (int64_t j = 0; j < most; j++) some[j] = j < n ? ids[at + j] : wrong[at + j];
                assert_int_equal(gal_engine_try(e, 0, some, most, &out, NULL), GAL_OK);
                memcpy(got + at * TINY_V, out, (size_t)(n * TINY_V) * sizeof *out);
                assert_true(gal_engine_truncate(e, 0, at + n));
            }
            assert_memory_equal(got, want, LONG * TINY_V * sizeof *got);
            assert_int_equal(gal_engine_replays(e) > 10, !o.eager);
            gal_engine_free(e);
            gal_model_free(m);
        }
        gal_dev_close(dev);
    }
    free(want);
    free(got);
}

/* With an argument, only the tests whose names fit it. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_chunks),
                                        cmocka_unit_test(test_recorded_is_eager),
                                        cmocka_unit_test(test_threads),
                                        cmocka_unit_test(test_packed),
                                        cmocka_unit_test(test_prefill),
                                        cmocka_unit_test(test_rounded_prompts),
                                        cmocka_unit_test(test_rounded_steps),
                                        cmocka_unit_test(test_interrupt),
                                        cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_truncate),
                                        cmocka_unit_test(test_try),
                                        cmocka_unit_test(test_far),
                                        cmocka_unit_test(test_far_without_memory),
                                        cmocka_unit_test(test_cuda) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
