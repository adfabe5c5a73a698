/* bench_limits_test.c - what a model's file asks of a machine, against numbers that its shapes give by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/topology.h"
#include "cli/bench.h"
#include "cli/machine.h"
#include "infer/cache.h"
#include "support/test.h"

static const double ENDLESS = 1e30;

static void look(gal_bench_model *m, const char *path) {
    gal_lm_options lo;
    gal_diag diag = { 0 };
    gal_lm_options_init(&lo);
    lo.cache = GAL_F32;
    *m = (gal_bench_model){ 0 };
    if (gal_bench_look(m, path, GAL_LAYOUT_ANY, &lo, &diag)) fail_msg("%s", diag.text);
}

static double limit(const gal_bench_model *m, gal_bench_kind kind, int64_t n, int64_t depth, int64_t batch,
                    double read, double f32, double bf16, double i8) {
    const gal_bench_cell c = { kind, n, depth, batch };
    const double best[GAL_PEAK_COUNT] = { read, f32, bf16, i8 };
    return gal_bench_limit_s(m, &c, best);
}

static void close_to(double found, double want) {
    if (found < want * (1 - 1e-9) || found > want * (1 + 1e-9)) fail_msg("expected %.17g, found %.17g", want, found);
}

/* f32, V 131, D 40, two layers, untied: embeddings are not read, norms are no products. */
static void test_dense(void **state) {
    (void)state;
    gal_bench_model m;
    look(&m, "tests/golden/mistral-base");
    const gal_config *c = &m.config;
    const double embed = (double)(c->V * c->D), norms = (double)((2 * c->L + 1) * c->D);
    const double matrices = (double)m.params - embed - norms, width = (double)(c->H * c->K);
    assert_string_equal(m.format, "f32");
    assert_false(m.gguf);
    assert_true(m.params == 46200 && m.file_bytes == 4 * 46200);
    close_to(gal_bench_token_bytes(&m, 1), 4 * ((double)m.params - embed));
    close_to(gal_bench_token_bytes(&m, 8), 4 * ((double)m.params - embed) / 8);
    /* reading: all weights and the cache, once a step */
    const double cache = (double)gal_cache_bytes_for(c, GAL_F32, 1, 20 + 3);
    close_to(limit(&m, GAL_BENCH_DECODE, 5, 20, 1, 10, ENDLESS, ENDLESS, ENDLESS),
             5 * (4 * ((double)m.params - embed) + cache) / 10);
    close_to(limit(&m, GAL_BENCH_DECODE, 5, 20, 4, 10, ENDLESS, ENDLESS, ENDLESS),
             5 * (4 * ((double)m.params - embed) + 4 * cache) / 10);
    /* computing: in f32, whatever the others do; one token at position 20 sees 21 */
    close_to(limit(&m, GAL_BENCH_DECODE, 1, 20, 4, ENDLESS, 10, 1e9, 1e9),
             4 * (2 * matrices + 4 * width * (double)c->L * 21) / 10);
    /* a prompt of 3: six looks, logits of the last row alone */
    close_to(limit(&m, GAL_BENCH_PREFILL, 3, 0, 1, ENDLESS, 10, 1e9, 1e9),
             (3 * 2 * (matrices - embed) + 2 * embed + 4 * width * (double)c->L * 6) / 10);
    assert_true(limit(&m, GAL_BENCH_PREFILL, 3, 0, 1, 0, 10, 10, 10) == 0);
    assert_true(limit(&m, GAL_BENCH_START, 16, 0, 1, 10, 10, 10, 10) == 0);
    gal_bench_model_free(&m);
}

/* A window bounds what is looked at. */
static void test_window(void **state) {
    (void)state;
    gal_bench_model m;
    look(&m, "tests/golden/mistral-window");
    const double rest = limit(&m, GAL_BENCH_DECODE, 1, 0, 1, ENDLESS, 10, 10, 10);
    const double far = limit(&m, GAL_BENCH_DECODE, 1, 100, 1, ENDLESS, 10, 10, 10);
    const gal_config *c = &m.config;
    close_to(far - rest, 4.0 * (double)(c->H * c->K * c->L * (c->window - 1)) / 10);
    /* Read are the keys and values of the window, not the slots that a ring has to spare. */
    close_to(limit(&m, GAL_BENCH_DECODE, 1, 100, 1, 10, ENDLESS, ENDLESS, ENDLESS),
             (gal_bench_token_bytes(&m, 1) + 2.0 * 4 * (double)(c->G * c->K * c->L * c->window)) / 10);
    gal_bench_model_free(&m);
}

/* Tied and bf16: the embedding is the head; the faster of bf16 and f32 counts. */
static void test_tied(void **state) {
    (void)state;
    gal_bench_model m;
    look(&m, "tests/golden/mistral-tied");
    close_to(gal_bench_token_bytes(&m, 1), (double)m.file_bytes);
    close_to(limit(&m, GAL_BENCH_PREFILL, 9, 0, 1, ENDLESS, 10, 20, 1e9),
             0.5 * limit(&m, GAL_BENCH_PREFILL, 9, 0, 1, ENDLESS, 10, 5, 1e9));
    gal_bench_model_free(&m);
}

/* Two experts of five a token; a batch meets more of them, never more than all. */
static void test_experts(void **state) {
    (void)state;
    gal_bench_model m;
    look(&m, "tests/golden/mixtral-base");
    const gal_config *c = &m.config;
    assert_true(c->experts == 5 && c->experts_used == 2);
    const double expert = 4.0 * (double)(c->L * c->experts * 3 * c->D * c->F);
    const double rest = (double)m.file_bytes - 4.0 * (double)(c->V * c->D) - expert;
    close_to(gal_bench_token_bytes(&m, 1), rest + 0.4 * expert);
    close_to(gal_bench_token_bytes(&m, 2), (rest + 0.64 * expert) / 2);
    close_to(gal_bench_token_bytes(&m, 1000), (rest + expert) / 1000);
    gal_bench_model_free(&m);
}

/* Blocks of small integers: int8. */
static void test_blocks(void **state) {
    (void)state;
    gal_bench_model m;
    look(&m, "tests/golden/gguf-mixed");
    assert_true(m.gguf && m.file_bytes > 400000);
    close_to(limit(&m, GAL_BENCH_PREFILL, 9, 0, 1, ENDLESS, ENDLESS, ENDLESS, 20),
             0.5 * limit(&m, GAL_BENCH_PREFILL, 9, 0, 1, ENDLESS, ENDLESS, ENDLESS, 10));
    assert_true(limit(&m, GAL_BENCH_PREFILL, 9, 0, 1, ENDLESS, ENDLESS, ENDLESS, 10) > 9 * 2.0 * 300000 / 10);
    gal_bench_model_free(&m);
}

/* Threads beyond the processors would only make measuring the machine take longer. */
static void test_threads_at_once(void **state) {
    (void)state;
    gal_topology t;
    gal_topology_read(&t, "");
    assert_int_equal(gal_machine_at_once(1), 1);
    assert_int_equal(gal_machine_at_once(t.processors), t.processors);
    assert_int_equal(gal_machine_at_once(t.processors + 1000), t.processors);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_dense),  cmocka_unit_test(test_window),
                                        cmocka_unit_test(test_tied),   cmocka_unit_test(test_experts),
                                        cmocka_unit_test(test_blocks), cmocka_unit_test(test_threads_at_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
