/* calibrate.c - see calibrate.h. Sums are kept in f64, a row of columns for each weight of the model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "convert/calibrate.h"

#include "base/mem.h"
#include "convert/names.h"
#include "convert/recipe.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of one weight; sums NULL: it was not multiplied yet. */
typedef struct slot {
    double *sums; /* [columns] */
    int64_t rows;
} slot;

typedef struct calibration {
    const gal_model *m;
    slot *slots; /* [m->n_weights] */
    bool no_memory;
    const gal_calibrate_options *o;
    int64_t done, n; /* tokens read, of the text */
} calibration;

static void add_squares(double *sums, const void *data, gal_dtype dtype, int64_t at, int64_t n) {
    const float *f = data;
    const uint16_t *h = data;
    if (dtype == GAL_F32)
        for (int64_t i = 0; i < n; i++) sums[i] += (double)f[at + i] * (double)f[at + i];
    else
        for (int64_t i = 0; i < n; i++) {
            double x = (double)gal_bf16_to_f32(h[at + i]);
            sums[i] += x * x;
        }
}

static void on_weight(void *user, const gal_w *w, const gal_t *x, int64_t first, int64_t rows) {
    calibration *c = user;
    GAL_ASSERT(w >= c->m->weights && w < c->m->weights + c->m->n_weights);
    GAL_ASSERT(x->dtype == GAL_F32 || x->dtype == GAL_BF16);
    slot *s = &c->slots[w - c->m->weights];
    int64_t columns = gal_cols(x);
    if (!s->sums) s->sums = gal_alloc_array((size_t)columns, sizeof *s->sums);
    if (!s->sums) {
        c->no_memory = true;
        return;
    }
    for (int64_t r = first; r < first + rows; r++) add_squares(s->sums, x->data, x->dtype, r * columns, columns);
    s->rows += rows;
}

/* ---- from weights to entries ------------------------------------------------------------------------------------
 */

/* "blk.2.ffn_up.5.weight" is expert 5 of "blk.2.ffn_up_exps.weight", whose name goes into entry. -1: no expert. */
static int64_t expert_of(const char *name, char entry[GAL_GGUF_NAME + 1]) {
    const gal_name n = gal_name_of(name);
    if (!gal_name_is_expert(&n)) return -1;
    gal_name_stacked(entry, &n);
    return n.expert;
}

static int64_t count_experts(const gal_model *named) {
    char entry[GAL_GGUF_NAME + 1];
    int64_t most = -1;
    for (size_t i = 0; i < named->n_weights; i++) most = GAL_MAX(most, expert_of(named->weights[i].name, entry));
    return most + 1;
}

static gal_err take_weight(gal_imatrix *out, const calibration *c, size_t i, const char *name, int64_t experts,
                           gal_diag *diag) {
    const gal_w *w = &c->m->weights[i];
    const slot *s = &c->slots[i];
    char place[GAL_GGUF_NAME + 1];
    int64_t columns = w->dim[w->ndim - 1], expert = expert_of(name, place);
    bool in_layer = gal_recipe_layer(name) >= 0 && gal_recipe_kind_of(name, w->ndim) == GAL_RECIPE_WEIGHT;
    if (!in_layer || (!s->sums && expert < 0)) return GAL_OK;
    size_t matrices = expert < 0 ? 1 : (size_t)experts;
    const char *entry = expert < 0 ? name : place;
    gal_imatrix_entry *e = gal_imatrix_get(out, entry);
    gal_err err = e ? GAL_OK : gal_imatrix_add(out, entry, matrices * (size_t)columns, matrices, &e, diag);
    if (err || !s->sums) return err;
    expert = GAL_MAX(expert, (int64_t)0);
    for (int64_t j = 0; j < columns; j++) {
        if (!isfinite(s->sums[j]) || s->sums[j] > (double)FLT_MAX)
            return gal_fail(diag, GAL_EINPUT, "%s: weight \"%s\": the inputs of column %" PRId64 " are not finite",
                            w->file ? w->file : "model", w->name, j);
        e->sums[expert * columns + j] = (float)s->sums[j];
    }
    e->counts[expert] = (float)s->rows;
    return GAL_OK;
}

/* A family's table declares the same weights in the same order for each layout: their names in GGUF files are those
 * of a model without numbers that is declared in that layout. */
static gal_err take_all(gal_imatrix *out, const calibration *c, gal_diag *diag) {
    gal_config config;
    gal_model *named = NULL;
    gal_err err = gal_config_copy(&config, &c->m->config, diag);
    if (err) return err;
    config.layout = GAL_LAYOUT_GGUF;
    err = gal_model_build(&named, &config, diag);
    if (err) {
        gal_config_free(&config);
        return err;
    }
    GAL_ASSERT(named->n_weights == c->m->n_weights);
    int64_t experts = count_experts(named);
    for (size_t i = 0; i < named->n_weights && !err; i++)
        err = take_weight(out, c, i, named->weights[i].name, experts, diag);
    gal_model_free(named);
    return err;
}

/* ---- the text ---------------------------------------------------------------------------------------------------
 */

static bool interrupted(void *user) {
    const calibration *c = user;
    return c->o->progress && c->o->progress(c->o->user, c->done, c->n);
}

static gal_err read_text(gal_engine *e, calibration *c, const int32_t *ids, int64_t n, const gal_calibrate_options *o,
                         uint32_t *chunks, gal_diag *diag) {
    int32_t *sequence = gal_alloc_array((size_t)o->chunk, sizeof *sequence);
    gal_err err = sequence ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for %" PRId64 " tokens", o->chunk);
    int64_t head = o->bos >= 0;
    if (!err && head) sequence[0] = o->bos;
    for (int64_t at = 0; at < n && !err; at += o->chunk - head) {
        const float *logits;
        int64_t some = GAL_MIN(n - at, o->chunk - head);
        memcpy(sequence + head, ids + at, (size_t)some * sizeof *ids);
        (void)gal_engine_truncate(e, 0, 0);
        err = gal_engine_prefill(e, 0, sequence, some + head, &logits, diag);
        if (!err && c->no_memory) err = gal_fail(diag, GAL_ENOMEM, "no memory for an importance matrix");
        ++*chunks;
        c->done = at + some;
        if (!err && interrupted(c)) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    }
    gal_free(sequence);
    return err;
}

gal_err gal_calibrate(gal_imatrix *out, gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n,
                      const gal_calibrate_options *options, gal_diag *diag) {
    GAL_ASSERT(n > 0 && options->chunk > 1 && !dev->far);
    calibration c = { .m = m, .o = options, .n = n, .slots = gal_alloc_array(m->n_weights, sizeof *c.slots) };
    gal_imatrix made = { .chunk_size = (uint32_t)options->chunk };
    gal_engine *e = NULL;
    gal_engine_options eo = {
        .compute = GAL_F32, .cache = GAL_F32, .sequences = 1, .context = options->chunk, .eager = true
    };
    gal_err err = c.slots ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for an importance matrix");
    if (!err) err = gal_engine_new(&e, dev, m, &eo, diag);
    if (!err) {
        gal_engine_tap_inputs(e, on_weight, &c);
        gal_engine_interrupt(e, interrupted, &c);
        err = read_text(e, &c, ids, n, options, &made.chunks, diag);
    }
    if (!err) err = take_all(&made, &c, diag);
    for (size_t i = 0; c.slots && i < m->n_weights; i++) gal_free(c.slots[i].sums);
    gal_free(c.slots);
    gal_engine_free(e);
    if (err)
        gal_imatrix_free(&made);
    else
        *out = made;
    return err;
}
