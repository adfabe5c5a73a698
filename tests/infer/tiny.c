/* tiny.c - see tiny.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

gal_model *tiny_model(int64_t window, bool mixed) {
    gal_config c;
    gal_config_defaults(&c);
    (void)snprintf(c.model_type, sizeof c.model_type, "mistral");
    c.V = TINY_V;
    c.D = TINY_D;
    c.L = TINY_L;
    c.H = 3;
    c.G = 1;
    c.K = 10;
    c.F = 37;
    c.max_positions = 300;
    c.window = window;
    c.init_range = 0.3;
    if (mixed) {
        c.layer_full = gal_alloc(TINY_L);
        assert_non_null(c.layer_full);
        c.layer_full[1] = 1;
    }
    gal_model *m = NULL;
    gal_diag diag = { 0 };
    if (gal_model_build(&m, &c, &diag) || gal_model_init(m, GAL_F32, 11, &diag)) fail_msg("%s", diag.text);
    return m;
}

gal_dev *tiny_dev(const char *level, int threads) {
    gal_dev *dev = NULL;
    gal_device_options o = { .cpu = level, .threads = threads };
    return gal_dev_open(&dev, &o, NULL) ? NULL : dev;
}

gal_engine *tiny_engine(gal_dev *dev, const gal_model *m, gal_engine_options o) {
    gal_engine *e = NULL;
    gal_diag diag = { 0 };
    if (!o.sequences) o.sequences = 1;
    if (gal_engine_new(&e, dev, m, &o, &diag)) fail_msg("%s", diag.text);
    return e;
}

void tiny_blocks(gal_model *m, uint32_t block) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if ((w->role != GAL_W_LINEAR && w->role != GAL_W_RESIDUAL) || strstr(w->name, ".gate.")) continue;
        const int64_t n = gal_wcount(w);
        const gal_code code = { .block = block };
        void *blocks = gal_alloc(gal_code_bytes(&code, n));
        assert_true(blocks && w->dtype == GAL_F32 && w->owned);
        gal_block_quantise(block, w->data, blocks, n);
        gal_free(w->data);
        w->data = blocks;
        w->dtype = GAL_BLOCKS;
        w->code = code;
    }
}

void tiny_ids(int32_t *ids, int64_t n, uint64_t seed) {
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)gal_rng_below(seed, 1, (uint64_t)i, TINY_V);
}

void tiny_reference(gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n, float *out) {
    gal_ctx *cx = NULL;
    gal_step st;
    assert_int_equal(gal_ctx_new(&cx, dev, GAL_F32, NULL), GAL_OK);
    assert_int_equal(gal_step_init(&st, dev, n, NULL), GAL_OK);
    st.n = st.row_len = n;
    for (int64_t i = 0; i < n; i++) {
        st.ids[i] = ids[i];
        st.pos[i] = (int32_t)i;
    }
    gal_step_begin(cx);
    const gal_t *t = m->family->logits(cx, m, &st);
    assert_int_equal(gal_step_end(cx, NULL), GAL_OK);
    memcpy(out, t->data, (size_t)(n * m->config.V) * sizeof *out);
    gal_step_free(&st);
    gal_ctx_free(cx);
}

void tiny_feed(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, int64_t chunk, float *out) {
    for (int64_t at = 0; at < n; at += chunk) {
        gal_slice s = { sequence, ids + at, GAL_MIN(chunk, n - at) };
        const float *rows = NULL;
        gal_diag diag = { 0 };
        if (gal_engine_step(e, &s, 1, true, &rows, &diag)) fail_msg("%s", diag.text);
        memcpy(out + at * TINY_V, rows, (size_t)(s.n * TINY_V) * sizeof *out);
    }
}

void tiny_close(const float *a, const float *b, int64_t count) {
    float max = 0.0f;
    for (int64_t i = 0; i < count; i++) max = fmaxf(max, fabsf(b[i]));
    assert_true(max > 0.1f); /* a model whose logits say nothing would hide mistakes */
    float bound = FLT_EPSILON * (float)(TINY_L * TINY_D) * max;
    for (int64_t i = 0; i < count; i++) {
        if (!(fabsf(a[i] - b[i]) <= bound)) {
            fail_msg("row %lld, id %lld: %.9g, expected %.9g within %.3g", (long long)(i / TINY_V),
                     (long long)(i % TINY_V), (double)a[i], (double)b[i], (double)bound);
        }
    }
}
