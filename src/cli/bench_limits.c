/* bench_limits.c - what a model's file asks of a machine: bytes to read, operations to do. Numbers of the file alone,
 * so that they are the same however weights are packed later. SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"
#include "infer/cache.h"
#include "infer/lm.h"
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* The fastest type that a weight's products can be computed in without more rounding than ours. BF16 stands for the
 * faster of bf16 and f32. */
static gal_peak_id type_of(const gal_w *w, bool exact) {
    if (w->dtype == GAL_BF16) return GAL_PEAK_BF16;
    if (w->dtype != GAL_BLOCKS || exact) return GAL_PEAK_F32;
    return w->code.block == GAL_BLOCK_F8_E4M3 ? GAL_PEAK_BF16 : GAL_PEAK_I8;
}

static bool is_head(const gal_w *w, bool tied) {
    if (w->role == GAL_W_EMBED) return tied;
    return strcmp(w->name, "output.weight") == 0 || strcmp(w->name, "lm_head.weight") == 0;
}

static void add_weight(gal_bench_model *m, const gal_w *w, bool exact) {
    const gal_config *c = &m->config;
    const bool head = is_head(w, c->tied);
    const gal_peak_id type = type_of(w, exact);
    double bytes = (double)gal_wbytes(w), ops = 2.0 * (double)gal_wcount(w);
    if (w->role == GAL_W_EMBED && !head) return; /* of which one row is read */
    if (gal_w_is_vector(w)) ops = 0;
    if (w->of_expert) {
        m->expert_bytes += bytes;
        ops *= (double)c->experts_used / (double)c->experts;
    } else {
        m->dense_bytes += bytes;
    }
    m->ops[type] += ops;
    if (!head) return;
    m->head_ops = ops;
    m->head = type;
}

static void name_format(gal_bench_model *m, const gal_model *model) {
    double most = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        double sum = 0;
        const char *name = gal_wformat(&model->weights[i]);
        for (size_t j = 0; j < model->n_weights; j++)
            if (strcmp(gal_wformat(&model->weights[j]), name) == 0) sum += (double)gal_wcount(&model->weights[j]);
        if (sum > most) (void)snprintf(m->format, sizeof m->format, "%s", name);
        most = GAL_MAX(most, sum);
        if (most * 2 > (double)m->params) return;
    }
}

gal_err gal_bench_look(gal_bench_model *m, const char *path, gal_layout layout, const gal_lm_options *lo,
                       gal_diag *diag) {
    gal_model *model = NULL;
    gal_err err = gal_lm_load_as(&model, NULL, NULL, &m->path, path, layout, diag);
    if (!err) err = gal_config_copy(&m->config, &model->config, diag);
    if (err) {
        gal_model_free(model);
        return err;
    }
    struct stat st;
    m->cache = lo->exact ? GAL_F32 : lo->cache;
    m->gguf = m->config.layout == GAL_LAYOUT_GGUF;
    m->params = gal_model_params(model);
    for (size_t i = 0; i < model->n_weights; i++) {
        add_weight(m, &model->weights[i], lo->exact != 0);
        m->file_bytes += gal_wbytes(&model->weights[i]);
    }
    if (m->gguf && stat(m->path.data, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size > m->file_bytes)
        m->file_bytes = (uint64_t)st.st_size;
    name_format(m, model);
    gal_model_free(model);
    return GAL_OK;
}

void gal_bench_model_free(gal_bench_model *m) {
    gal_buf_free(&m->path);
    gal_config_free(&m->config);
    *m = (gal_bench_model){ 0 };
}

double gal_bench_token_bytes(const gal_bench_model *m, int64_t batch) {
    const gal_config *c = &m->config;
    double touched = 0; /* of an expert that at least one of the tokens goes to, if they choose evenly */
    if (c->experts) touched = 1.0 - pow(1.0 - (double)c->experts_used / (double)c->experts, (double)batch);
    return (m->dense_bytes + touched * m->expert_bytes) / (double)batch;
}

/* Positions that all layers look at together, summed over tokens at positions [from, from + n). */
static double looks(const gal_config *c, int64_t from, int64_t n) {
    double sum = 0;
    for (int64_t l = 0; l < c->L; l++) {
        const bool full = !c->window || (c->layer_full && c->layer_full[l]);
        for (int64_t p = from; p < from + n; p++) sum += (double)(full ? p + 1 : GAL_MIN(p + 1, c->window));
    }
    return sum;
}

static double fastest(const double best[GAL_PEAK_COUNT], gal_peak_id type) {
    return type == GAL_PEAK_BF16 ? GAL_MAX(best[GAL_PEAK_F32], best[GAL_PEAK_BF16]) : best[type];
}

/* Of `tokens` tokens that see `seen` positions, with logits of `logits` of them. Attention is counted at the pace of
 * the fastest type that the model has: no engine is flattered by a slower one. */
static double ops_s(const gal_bench_model *m, const double best[GAL_PEAK_COUNT], double tokens, double logits,
                    double seen) {
    double s = 0, top = 0;
    for (gal_peak_id t = GAL_PEAK_F32; t < GAL_PEAK_COUNT; t++) {
        double ops = m->ops[t] * tokens;
        if (t == m->head) ops -= m->head_ops * (tokens - logits);
        if (m->ops[t] > 0) top = GAL_MAX(top, fastest(best, t));
        if (ops > 0) s += ops / fastest(best, t);
    }
    return s + 4.0 * (double)(m->config.H * m->config.K) * seen / top;
}

double gal_bench_limit_s(const gal_bench_model *m, const gal_bench_cell *c, const double best[GAL_PEAK_COUNT]) {
    for (int t = 0; t < GAL_PEAK_COUNT; t++)
        if (!(best[t] > 0)) return 0;
    const double n = (double)c->n, batch = (double)c->batch;
    if (c->kind == GAL_BENCH_PREFILL) {
        const double ops = ops_s(m, best, n, 1, looks(&m->config, 0, c->n));
        return GAL_MAX(ops, gal_bench_token_bytes(m, c->n) * n / best[GAL_PEAK_READ]);
    }
    if (c->kind != GAL_BENCH_DECODE) return 0;
    const double cache = (double)gal_cache_bytes_seen(&m->config, m->cache, c->depth + (c->n + 1) / 2);
    const double bytes = batch * n * (gal_bench_token_bytes(m, c->batch) + cache);
    return GAL_MAX(bytes / best[GAL_PEAK_READ],
                   ops_s(m, best, n * batch, n * batch, batch * looks(&m->config, c->depth, c->n)));
}
