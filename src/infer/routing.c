/* routing.c - see routing.h. Watches the routers of steps that are run eagerly; refuses nothing of the model, and
 * counts tokens whose logits are not finite apart: what is chosen for them means nothing. SPDX-License-Identifier:
 * Apache-2.0
 */
#include "infer/routing.h"

#include "base/mem.h"
#include "infer/session.h"

#include <math.h>
#include <string.h>

typedef struct study {
    gal_routing *r;
    gal_dev *dev;
    int64_t head, rows; /* of the running sequence: rows before its tokens, all rows */
    float *logits;      /* [rows, E] of the layer at hand */
    int32_t *choice;    /* [rows, k] */
    const gal_routing_options *o;
    int64_t n; /* tokens of the text */
    gal_err err;
    gal_diag *diag;
} study;

double gal_routing_random_first(int64_t experts) { return 1.0 / (double)experts; }

double gal_routing_random_any(int64_t experts, int64_t used) {
    double apart = 1;
    for (int64_t i = 0; i < used; i++)
        apart *= (double)GAL_MAX(experts - used - i, (int64_t)0) / (double)(experts - i);
    return 1 - apart;
}

/* Adds the softmax of one token's logits; false if they are not finite. */
static bool add_token(const study *s, gal_routing_layer *l, const float *x) {
    double p[GAL_MAX_EXPERTS], most = -(double)INFINITY, sum = 0, mean = 0;
    if (!gal_all_finite(x, s->r->experts)) return false;
    for (int64_t e = 0; e < s->r->experts; e++) most = fmax(most, (double)x[e]);
    for (int64_t e = 0; e < s->r->experts; e++) sum += p[e] = exp((double)x[e] - most);
    for (int64_t e = 0; e < s->r->experts; e++) {
        l->probability[e] += p[e] / sum;
        mean += p[e] / sum * ((double)x[e] - most);
    }
    l->entropy += log(sum) - mean;
    return true;
}

static bool in_common(const int32_t *a, const int32_t *b, int64_t used) {
    for (int64_t i = 0; i < used; i++)
        for (int64_t j = 0; j < used; j++)
            if (a[i] == b[j]) return true;
    return false;
}

static void add_layer(const study *s, gal_routing_layer *l) {
    const int64_t k = s->r->used;
    for (int64_t n = s->head; n < s->rows; n++) {
        const int32_t *c = s->choice + n * k;
        if (!add_token(s, l, s->logits + n * s->r->experts)) {
            if (!l->not_finite++) l->where = s->r->tokens + n - s->head;
            continue;
        }
        l->first[c[0]]++;
        if (k > 1) l->second[c[1]]++;
        for (int64_t j = 0; j < k; j++) l->any[c[j]]++;
        if (n == s->head) continue;
        l->same_first += c[0] == c[-k];
        l->same_any += in_common(c, c - k, k);
    }
}

/* A router's logits come before its choices. */
static void on_tensor(void *user, const char *name, int index, const gal_t *t) {
    study *s = user;
    bool choice = strcmp(name, "choice") == 0;
    if (s->err || (!choice && strcmp(name, "router") != 0)) return;
    int64_t layer = 0;
    while (layer < s->r->layers && s->r->layer[layer].block != index) layer++;
    GAL_ASSERT(gal_rows(t) == s->rows && layer < s->r->layers);
    void *to = choice ? (void *)s->choice : (void *)s->logits;
    s->err = gal_dev_download(s->dev, to, t->data, (size_t)gal_count(t) * gal_dtype_bytes(t->dtype), s->diag);
    if (!s->err && choice) add_layer(s, &s->r->layer[layer]);
}

/* One block: the layers, then their arrays. */
static gal_err make(gal_routing *r, const gal_config *c, gal_diag *diag) {
    size_t layers = (size_t)(c->L / c->routed_every), experts = (size_t)c->experts;
    *r = (gal_routing){ .layers = (int64_t)layers, .experts = c->experts, .used = c->experts_used };
    r->layer = gal_alloc_array(layers, sizeof *r->layer);
    r->memory = gal_alloc_array(layers * experts, 3 * sizeof(int64_t) + sizeof(double));
    if (!r->layer || !r->memory) {
        gal_routing_free(r);
        return gal_fail(diag, GAL_ENOMEM, "no memory for the choices of %zu layers", layers);
    }
    int64_t *counts = r->memory;
    double *parts = (double *)(void *)(counts + 3 * layers * experts);
    for (size_t l = 0; l < layers; l++)
        r->layer[l] = (gal_routing_layer){ .block = (int64_t)(l + 1) * c->routed_every - 1,
                                           .first = counts + 3 * l * experts,
                                           .second = counts + (3 * l + 1) * experts,
                                           .any = counts + (3 * l + 2) * experts,
                                           .probability = parts + l * experts };
    return GAL_OK;
}

void gal_routing_free(gal_routing *r) {
    gal_free(r->layer);
    gal_free(r->memory);
    *r = (gal_routing){ 0 };
}

static bool interrupted(void *user) {
    const study *s = user;
    return s->o->stop && s->o->stop(s->o->user, s->r->tokens, s->n);
}

static gal_err read_text(gal_engine *e, study *s, const int32_t *ids, int64_t n, const gal_routing_options *o,
                         gal_diag *diag) {
    int32_t *sequence = gal_alloc_array((size_t)o->chunk, sizeof *sequence);
    gal_err err = sequence ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for %lld tokens", (long long)o->chunk);
    if (!err && s->head) sequence[0] = o->bos;
    for (int64_t at = 0; at < n && !err; at += o->chunk - s->head) {
        const float *logits;
        int64_t some = GAL_MIN(n - at, o->chunk - s->head);
        s->rows = some + s->head;
        memcpy(sequence + s->head, ids + at, (size_t)some * sizeof *ids);
        (void)gal_engine_truncate(e, 0, 0);
        err = gal_engine_prefill(e, 0, sequence, s->rows, &logits, diag);
        if (!err) err = s->err;
        s->r->tokens += some;
        s->r->pairs += some - 1;
    }
    gal_free(sequence);
    return err;
}

gal_err gal_routing_study(gal_routing *out, gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t n,
                          const gal_routing_options *o, gal_diag *diag) {
    GAL_ASSERT(n > 0 && o->chunk > 1 && m->config.experts);
    gal_routing r;
    gal_engine *e = NULL;
    gal_engine_options eo = { .compute = GAL_F32,
                              .cache = GAL_F32,
                              .sequences = 1,
                              .context = o->chunk,
                              .chunk = o->chunk,
                              .eager = true,
                              .exact = o->exact,
                              .beyond = true };
    gal_err err = make(&r, &m->config, diag);
    if (err) return err;
    study s = { .r = &r, .dev = dev, .head = o->bos >= 0, .o = o, .n = n, .diag = diag };
    s.logits = gal_alloc_array((size_t)(o->chunk * r.experts), sizeof *s.logits);
    s.choice = gal_alloc_array((size_t)(o->chunk * r.used), sizeof *s.choice);
    if (!s.logits || !s.choice) err = gal_fail(diag, GAL_ENOMEM, "no memory for the choices of a text");
    if (!err) err = gal_engine_new(&e, dev, m, &eo, diag);
    if (!err) {
        gal_engine_tap(e, on_tensor, &s);
        gal_engine_interrupt(e, interrupted, &s);
        err = read_text(e, &s, ids, n, o, diag);
    }
    for (int64_t l = 0; l < r.layers; l++) {
        gal_routing_layer *x = &r.layer[l];
        double tokens = (double)GAL_MAX(r.tokens - x->not_finite, (int64_t)1);
        x->entropy /= tokens;
        for (int64_t i = 0; i < r.experts; i++) x->probability[i] /= tokens;
    }
    gal_engine_free(e);
    gal_free(s.logits);
    gal_free(s.choice);
    if (err)
        gal_routing_free(&r);
    else
        *out = r;
    return err;
}
