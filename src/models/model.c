/* model.c - a model's table of weights: building it from a config, finding, counting, drawing first values.
 * Invariant: after gal_model_build() every weight has name, role and shape; data comes from gal_model_init() or
 * load.c. SPDX-License-Identifier: Apache-2.0 */
#include "models/lora.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 1024 }; /* numbers drawn at a time */

static const gal_family *family_of(const char *model_type) {
    static const char *const MISTRAL[] = { "mistral", "ministral", "ministral3", "mixtral" };
    for (size_t i = 0; i < GAL_LEN(MISTRAL); i++)
        if (strcmp(model_type, MISTRAL[i]) == 0) return &gal_mistral;
    return strcmp(model_type, "gopher") == 0 ? &gal_gopher : NULL;
}

gal_err gal_model_build(gal_model **out, gal_config *config, gal_diag *diag) {
    gal_err err = gal_config_check(config, "model", diag);
    if (err) return err;
    const gal_family *family = family_of(config->model_type);
    if (!family) return gal_fail(diag, GAL_EINPUT, "no model family for model_type \"%s\"", config->model_type);
    gal_model *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "no memory for a model");
    m->family = family;
    m->config = *config;
    err = family->declare(m, diag);
    if (err) {
        m->config.layer_full = NULL; /* still the caller's, as the next one */
        m->config.rope_divisors = NULL;
        gal_model_free(m);
        return err;
    }
    GAL_ASSERT(m->n_weights == m->weights_room);
    config->layer_full = NULL;
    config->rope_divisors = NULL;
    *out = m;
    return GAL_OK;
}

/* It may lie in the file beside the model. */
static void drop_packed(const gal_model *m, gal_w *w) {
    const uint8_t *p = w->packed, *side = m->side.data;
    if (!side || p < side || p >= side + m->side.bytes) gal_free(w->packed);
    w->packed = NULL;
    w->code.mirror = 0;
}

void gal_model_free(gal_model *m) {
    if (!m) return;
    gal_lora_free(m->adapters, m->dev);
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (w->owned) gal_dev_give(m->dev, w->data);
        drop_packed(m, w);
        gal_free(w->name);
        gal_free(w->code.scales);
    }
    gal_map_close(&m->side);
    gal_free(m->weights);
    if (m->net && m->family->net_free)
        m->family->net_free(m->net);
    else
        gal_free(m->net);
    if (m->files) m->files_free(m->files);
    for (size_t i = 0; i < m->n_notes; i++) gal_free(m->notes[i]);
    gal_free(m->notes);
    for (size_t i = 0; i < m->n_warnings; i++) gal_free(m->warnings[i]);
    gal_free(m->warnings);
    gal_config_free(&m->config);
    gal_free(m);
}

gal_err gal_model_names(gal_model **out, const gal_model *m, gal_layout layout, gal_diag *diag) {
    gal_config c = { 0 };
    gal_err err = gal_config_copy(&c, &m->config, diag);
    c.layout = layout;
    if (!err) err = gal_model_build(out, &c, diag);
    gal_config_free(&c);
    GAL_ASSERT(err || (*out)->n_weights == m->n_weights);
    return err;
}

/* Rows of rotary pairs: (j, j + half) in Hugging Face's layout, (2j, 2j + 1) in the others (formats.md 3). */
int64_t gal_model_row(const gal_w *w, gal_layout from, gal_layout to, int64_t row) {
    bool halves = from == GAL_LAYOUT_HF, wanted = to == GAL_LAYOUT_HF;
    if (!w->rotary || halves == wanted) return row;
    int64_t size = w->rotary, half = size / 2, head = row / size, k = row % size;
    return head * size + (wanted ? k % half * 2 + k / half : k % 2 * half + k / 2);
}

gal_err gal_model_reserve(gal_model *m, size_t count, gal_diag *diag) {
    GAL_ASSERT(!m->weights);
    m->weights = gal_alloc_array(count, sizeof *m->weights);
    if (!m->weights) return gal_fail(diag, GAL_ENOMEM, "no memory for a table of %zu weights", count);
    m->weights_room = count;
    return GAL_OK;
}

gal_w *gal_model_add_weight(gal_model *m, const char *name, gal_role role, int ndim, const int64_t *dim,
                            gal_diag *diag) {
    GAL_ASSERT(m->n_weights < m->weights_room && ndim >= 1 && ndim <= GAL_MAX_DIMS);
    char *copy = gal_strdup(name);
    if (!copy) {
        (void)gal_fail(diag, GAL_ENOMEM, "no memory for the name of weight %s", name);
        return NULL;
    }
    gal_w *w = &m->weights[m->n_weights++];
    *w = (gal_w){ .name = copy, .role = role, .dtype = m->config.dtype, .ndim = ndim };
    for (int i = 0; i < ndim; i++) {
        GAL_ASSERT(dim[i] > 0);
        w->dim[i] = dim[i];
    }
    return w;
}

gal_w *gal_model_weight(const gal_model *m, const char *name) {
    for (size_t i = 0; i < m->n_weights; i++)
        if (strcmp(m->weights[i].name, name) == 0) return &m->weights[i];
    return NULL;
}

int64_t gal_model_params(const gal_model *m) {
    int64_t n = 0;
    for (size_t i = 0; i < m->n_weights; i++) n += gal_wcount(&m->weights[i]);
    return n;
}

/* What a weight's first numbers are: all the same, or normal with a deviation, cut off or not. */
typedef struct first_values {
    double same, sd;
    bool cut; /* beyond 2 sd, and drawn again */
} first_values;

/* Mistral's: normal(0, init_range), residual projections scaled by 1 / sqrt(2 L). Gopher's: matrices by the number of
 * their inputs, truncated at two deviations, as its authors' library does (gopher.md 2.3). */
static first_values first_of(const gal_config *c, const gal_w *w) {
    if (w->role == GAL_W_NORM || w->role == GAL_W_BIAS) return (first_values){ .same = w->role == GAL_W_NORM };
    if (c->relative && w->role != GAL_W_EMBED)
        return (first_values){ .sd = 1.0 / sqrt((double)w->dim[1]), .cut = true };
    double depth = w->role == GAL_W_RESIDUAL ? sqrt(2.0 * (double)c->L) : 1.0;
    return (first_values){ .sd = c->init_range / depth };
}

/* A normal number of at most two deviations: draws beyond are passed over, each number by a stream of its own. */
static double cut_normal(uint64_t seed, uint64_t stream, uint64_t i) {
    for (uint64_t again = 0;; again++) {
        double x = gal_rng_normal(seed, stream + (again << 40), i);
        if (fabs(x) <= 2.0) return x;
    }
}

/* stream: the weight's place in the table. */
static void draw(gal_w *w, first_values f, uint64_t seed, uint64_t stream) {
    float block[BLOCK];
    int64_t count = gal_wcount(w);
    size_t size = gal_dtype_bytes(w->dtype);
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t n = GAL_MIN(count - i, (int64_t)BLOCK);
        for (int64_t j = 0; j < n; j++) {
            uint64_t at = (uint64_t)(i + j);
            double x = !(f.sd > 0) ? 0 : f.cut ? cut_normal(seed, stream, at) : gal_rng_normal(seed, stream, at);
            block[j] = (float)(f.same + f.sd * x);
        }
        gal_convert((uint8_t *)w->data + (size_t)i * size, w->dtype, block, GAL_F32, n);
    }
}

gal_err gal_model_draw(gal_model *m, size_t i, gal_dtype dtype, uint64_t seed, gal_diag *diag) {
    gal_w *w = &m->weights[i];
    if (w->owned) gal_free(w->data);
    w->dtype = dtype;
    w->owned = false;
    w->data = gal_alloc(gal_wbytes(w));
    if (!w->data) return gal_fail(diag, GAL_ENOMEM, "no memory for weight %s: %zu bytes", w->name, gal_wbytes(w));
    w->owned = true;
    draw(w, first_of(&m->config, w), seed, i);
    return GAL_OK;
}

gal_err gal_model_init(gal_model *m, gal_dtype dtype, uint64_t seed, gal_diag *diag) {
    GAL_ASSERT(!m->dev && (dtype == GAL_F32 || dtype == GAL_BF16 || dtype == GAL_F16 || dtype == GAL_F64));
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < m->n_weights; i++) err = gal_model_draw(m, i, dtype, seed, diag);
    if (!err) m->config.dtype = dtype;
    return err;
}
