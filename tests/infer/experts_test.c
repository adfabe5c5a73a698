/* experts_test.c - models with experts through the engine: every number of experts used, one token and many,
 * sequences that do not know of each other, any number of threads, recorded and not; and what the routers are seen to
 * choose. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "infer/routing.h"
#include "support/check.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

enum { N = 23, E = 6 };

static gal_model *sparse(int64_t experts, int64_t used) {
    gal_config c;
    gal_model *m = NULL;
    gal_config_defaults(&c);
    memcpy(c.model_type, "mixtral", sizeof "mixtral");
    c.V = TINY_V;
    c.D = TINY_D;
    c.L = TINY_L;
    c.H = 3;
    c.G = 1;
    c.K = 10;
    c.F = 37;
    c.experts = experts;
    c.experts_used = used;
    c.max_positions = 128;
    c.init_range = 0.3; /* experts that differ, and routers with an opinion */
    CHECK_OK(gal_model_build(&m, &c, diag));
    CHECK_OK(gal_model_init(m, GAL_F32, 77, diag));
    return m;
}

static void run_through(const gal_model *m, int threads, bool eager, int64_t chunk, float *out) {
    int32_t ids[N];
    gal_dev *dev = tiny_dev(NULL, threads);
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .eager = eager });
    tiny_ids(ids, N, 3);
    tiny_feed(e, 0, ids, N, chunk, out);
    if (chunk == 1) assert_int_equal(gal_engine_replays(e) > 0, !eager);
    gal_engine_free(e);
    gal_dev_close(dev);
}

static void every_number_used(void **state) {
    (void)state;
    static float whole[N * TINY_V], some[N * TINY_V], other[N * TINY_V];
    for (int64_t used = 1; used <= E; used++) {
        gal_model *m = sparse(E, used);
        int32_t ids[N];
        gal_dev *dev = tiny_dev(NULL, 2);
        tiny_ids(ids, N, 3);
        tiny_reference(dev, m, ids, N, whole);
        gal_dev_close(dev);
        run_through(m, 1, false, 1, some); /* a token at a time: most experts have no rows; replayed with others */
        tiny_close(some, whole, N * TINY_V);
        run_through(m, 1, true, 1, other);
        assert_memory_equal(some, other, sizeof some);
        run_through(m, 2, false, 1, other);
        assert_memory_equal(some, other, sizeof some);
        run_through(m, 7, false, 1, other);
        assert_memory_equal(some, other, sizeof some);
        run_through(m, 1, false, N, some);
        tiny_close(some, whole, N * TINY_V);
        run_through(m, 7, false, N, other);
        assert_memory_equal(some, other, sizeof some);
        run_through(m, 2, false, 5, other);
        tiny_close(other, whole, N * TINY_V);
        gal_model_free(m);
    }
}

/* Rows of two sequences in each step, each as if it were alone. */
static void sequences_apart(void **state) {
    (void)state;
    static float alone[2][N * TINY_V];
    int32_t ids[2][N];
    gal_model *m = sparse(E, 2);
    gal_dev *dev = tiny_dev(NULL, 2);
    for (int s = 0; s < 2; s++) {
        tiny_ids(ids[s], N, 40 + (uint64_t)s);
        tiny_reference(dev, m, ids[s], N, alone[s]);
    }
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .sequences = 2 });
    for (int64_t i = 0; i < N; i++) {
        const gal_slice slices[] = { { 0, &ids[0][i], 1 }, { 1, &ids[1][i], 1 } };
        const float *logits = NULL;
        CHECK_OK(gal_engine_step(e, slices, 2, false, &logits, diag));
        for (int s = 0; s < 2; s++) tiny_close(logits + s * TINY_V, alone[s] + i * TINY_V, TINY_V);
    }
    gal_engine_free(e);
    gal_dev_close(dev);
    gal_model_free(m);
}

static bool loses_patience(void *user, int64_t done, int64_t total) {
    assert_true(done == 0 && total == N);
    return ++*(int *)user == 10;
}

/* Within the first sequence. */
static void interrupted(void **state) {
    (void)state;
    int32_t ids[N];
    int asked = 0;
    gal_model *m = sparse(E, 2);
    gal_dev *dev = tiny_dev(NULL, 2);
    gal_routing r;
    const gal_routing_options o = { .chunk = N, .bos = -1, .stop = loses_patience, .user = &asked };
    tiny_ids(ids, N, 9);
    assert_int_equal(gal_routing_study(&r, dev, m, ids, N, &o, NULL), GAL_EINTERRUPTED);
    assert_int_equal(asked, 10);
    gal_dev_close(dev);
    gal_model_free(m);
}

/* What the taps of one whole pass say, counted plainly. */
typedef struct seen {
    int32_t choice[TINY_L][N * 2];
    int layers;
} seen;

static void on_tensor(void *user, const char *name, int index, const gal_t *t) {
    seen *s = user;
    if (strcmp(name, "choice") != 0) return;
    assert_int_equal(gal_count(t), N * 2);
    memcpy(s->choice[index], t->data, sizeof s->choice[index]);
    s->layers++;
}

static void what_is_chosen(void **state) {
    (void)state;
    static float logits[N * TINY_V];
    int32_t ids[N];
    gal_model *m = sparse(E, 2);
    gal_dev *dev = tiny_dev(NULL, 2);
    seen s = { .layers = 0 };
    gal_routing r;
    const gal_routing_options o = { .chunk = N, .bos = -1 };
    tiny_ids(ids, N, 9);
    CHECK_OK(gal_routing_study(&r, dev, m, ids, N, &o, diag));
    gal_engine *e = tiny_engine(dev, m, (gal_engine_options){ .eager = true });
    gal_engine_tap(e, on_tensor, &s);
    tiny_feed(e, 0, ids, N, N, logits);
    gal_engine_free(e);
    assert_int_equal(s.layers, TINY_L);
    assert_true(r.tokens == N && r.pairs == N - 1 && r.experts == E && r.used == 2 && r.layers == TINY_L);
    for (int l = 0; l < TINY_L; l++) {
        const gal_routing_layer *x = &r.layer[l];
        const int32_t *c = s.choice[l];
        int64_t first[E] = { 0 }, second[E] = { 0 }, same = 0, common = 0;
        double sum = 0;
        for (int n = 0; n < N; n++, c += 2) {
            assert_true(c[0] != c[1]);
            first[c[0]]++;
            second[c[1]]++;
            if (n == 0) continue;
            same += c[0] == c[-2];
            common += c[0] == c[-2] || c[0] == c[-1] || c[1] == c[-2] || c[1] == c[-1];
        }
        assert_memory_equal(x->first, first, sizeof first);
        assert_memory_equal(x->second, second, sizeof second);
        for (int i = 0; i < E; i++) {
            assert_int_equal(x->any[i], first[i] + second[i]);
            sum += x->probability[i];
        }
        assert_true(fabs(sum - 1) < 1e-12 && x->entropy > 0 && x->entropy < log((double)E));
        assert_int_equal(x->same_first, same);
        assert_int_equal(x->same_any, common);
        assert_int_equal(x->not_finite, 0);
    }
    gal_routing_free(&r);
    gal_dev_close(dev);
    gal_model_free(m);
    assert_true(fabs(gal_routing_random_first(8) - 0.125) < 1e-15);
    assert_true(fabs(gal_routing_random_any(8, 2) - (1 - 6.0 / 8 * 5 / 7)) < 1e-15); /* 46.43 % */
    assert_true(fabs(gal_routing_random_any(4, 3) - 1) < 1e-15);
}

/* In sequences of a few tokens, each behind a token that is not counted. */
static void short_sequences(void **state) {
    (void)state;
    int32_t ids[N];
    gal_model *m = sparse(E, 3);
    gal_dev *dev = tiny_dev(NULL, 1);
    gal_routing r;
    const gal_routing_options o = { .chunk = 5, .bos = 1 };
    tiny_ids(ids, N, 9);
    CHECK_OK(gal_routing_study(&r, dev, m, ids, N, &o, diag));
    assert_true(r.tokens == N && r.pairs == N - 6); /* 5 sequences of 4 tokens, one of 3 */
    for (int l = 0; l < TINY_L; l++) {
        int64_t sum = 0;
        for (int i = 0; i < E; i++) sum += r.layer[l].any[i];
        assert_int_equal(sum, 3 * N);
    }
    gal_routing_free(&r);
    gal_dev_close(dev);
    gal_model_free(m);
}

/* A router that is damaged: its layer is known, and what it made does not pass for a result. */
static void not_finite(void **state) {
    (void)state;
    static float logits[N * TINY_V];
    int32_t ids[N];
    gal_model *m = sparse(E, 2);
    gal_dev *dev = tiny_dev(NULL, 2);
    gal_routing r;
    const gal_routing_options o = { .chunk = N, .bos = -1 };
    tiny_ids(ids, N, 9);
    gal_w *w = gal_model_weight(m, "model.layers.2.block_sparse_moe.gate.weight");
    assert_non_null(w);
    ((float *)w->data)[TINY_D] = NAN; /* of expert 1 */
    CHECK_OK(gal_routing_study(&r, dev, m, ids, N, &o, diag));
    assert_true(r.layer[0].not_finite == 0 && r.layer[1].not_finite == 0 && r.layer[2].not_finite == N);
    assert_int_equal(r.layer[2].where, 0);
    gal_routing_free(&r);
    tiny_reference(dev, m, ids, N, logits);
    assert_true(isnan(logits[0]));
    gal_dev_close(dev);
    gal_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_number_used), cmocka_unit_test(sequences_apart),
                                        cmocka_unit_test(what_is_chosen),    cmocka_unit_test(interrupted),
                                        cmocka_unit_test(short_sequences),   cmocka_unit_test(not_finite) };
    return cmocka_run_group_tests_name("experts through the engine", tests, NULL, NULL);
}
