/* gopher.c - Gopher (arXiv:2112.11446; gopher.md 2), and Chinchilla (arXiv:2203.15556), which is the same with other
 * sizes.
 *
 *     h = x + Wo attend(q + u, q + v, k, r) + bo,  q, k, v = Wq n + bq, ...,  n = norm(x),  r = Wr R
 *     y = h + Wdown gelu(Wup m + bup) + bdown,     m = norm(h)
 *
 * Positions are distances (Transformer-XL): a key m positions back has the score ((q + u) k + (q + v) r_m) / sqrt(K),
 * R the sinusoids of distances; so texts longer than those of training can be read. The embedding is the head, too.
 * The same code trains (no cache, tape on), prefills and decodes; relative keys of a cache are made once
 * (gal_family.relative). SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/model.h"

#include <math.h>

typedef struct layer {
    gal_w *attn_norm, *wq, *bq, *wk, *bk, *wv, *bv, *wr, *u, *v, *wo, *bo, *mlp_norm;
    gal_w *attn_norm_bias, *mlp_norm_bias;  /* NULL: norms by the root mean square */
    gal_w *up, *up_bias, *down, *down_bias; /* or */
    gal_w *router, *value_up, *value_down;
    gal_moe_spec moe; /* experts 0: dense */
} layer;

typedef struct expert {
    gal_w *up, *up_bias, *down, *down_bias;
} expert;

typedef struct net {
    gal_w *embed, *norm, *norm_bias;
    layer *layers;       /* [L] */
    gal_w **matrices;    /* [L, 4, E] of experts: ups, their biases, downs, theirs */
    const gal_config *c; /* the model's */
} net;

/* What the layers of one step share. */
typedef struct run {
    const net *m;
    gal_t *distances; /* [M, D] sinusoids; NULL: there is a cache, with relative keys beside it */
} run;

#define LAYER_LINE(field, hf, gguf, shape, role)                                                                     \
    { offsetof(layer, field), { "model.layers.%d." hf, "layers.%d." hf, "blk.%d." gguf }, shape, role }

static const gal_wspec LAYER[] = {
    LAYER_LINE(attn_norm, "input_norm.weight", "attn_norm.weight", "D", GAL_W_NORM),
    LAYER_LINE(wq, "attn.q_proj.weight", "attn_q.weight", "H*K,D", GAL_W_LINEAR),
    LAYER_LINE(bq, "attn.q_proj.bias", "attn_q.bias", "H*K", GAL_W_BIAS),
    LAYER_LINE(wk, "attn.k_proj.weight", "attn_k.weight", "H*K,D", GAL_W_LINEAR),
    LAYER_LINE(bk, "attn.k_proj.bias", "attn_k.bias", "H*K", GAL_W_BIAS),
    LAYER_LINE(wv, "attn.v_proj.weight", "attn_v.weight", "H*K,D", GAL_W_LINEAR),
    LAYER_LINE(bv, "attn.v_proj.bias", "attn_v.bias", "H*K", GAL_W_BIAS),
    LAYER_LINE(wr, "attn.r_proj.weight", "attn_rel.weight", "H*K,D", GAL_W_LINEAR),
    LAYER_LINE(u, "attn.u", "attn_rel_u", "H,K", GAL_W_BIAS),
    LAYER_LINE(v, "attn.v", "attn_rel_v", "H,K", GAL_W_BIAS),
    LAYER_LINE(wo, "attn.o_proj.weight", "attn_output.weight", "D,H*K", GAL_W_RESIDUAL),
    LAYER_LINE(bo, "attn.o_proj.bias", "attn_output.bias", "D", GAL_W_BIAS),
    LAYER_LINE(mlp_norm, "post_attn_norm.weight", "ffn_norm.weight", "D", GAL_W_NORM),
};
static const gal_wspec LAYER_NORM[] = {
    LAYER_LINE(attn_norm_bias, "input_norm.bias", "attn_norm.bias", "D", GAL_W_BIAS),
    LAYER_LINE(mlp_norm_bias, "post_attn_norm.bias", "ffn_norm.bias", "D", GAL_W_BIAS),
};
static const gal_wspec DENSE[] = {
    LAYER_LINE(up, "mlp.up_proj.weight", "ffn_up.weight", "F,D", GAL_W_LINEAR),
    LAYER_LINE(up_bias, "mlp.up_proj.bias", "ffn_up.bias", "F", GAL_W_BIAS),
    LAYER_LINE(down, "mlp.down_proj.weight", "ffn_down.weight", "D,F", GAL_W_RESIDUAL),
    LAYER_LINE(down_bias, "mlp.down_proj.bias", "ffn_down.bias", "D", GAL_W_BIAS),
};
static const gal_wspec ROUTER[] = {
    LAYER_LINE(router, "moe.router.weight", "ffn_gate_inp.weight", "E,D", GAL_W_LINEAR),
};
static const gal_wspec BASELINE[] = {
    LAYER_LINE(value_up, "moe.value_up.weight", "ffn_value_up.weight", "B,D", GAL_W_LINEAR),
    LAYER_LINE(value_down, "moe.value_down.weight", "ffn_value_down.weight", "1,B", GAL_W_LINEAR),
};
#define EXPERT_LINE(field, name, gguf, shape, role)                                                                  \
    {                                                                                                                \
        offsetof(expert, field),                                                                                     \
            { "model.layers.%d.moe.experts.%e." name, "layers.%d.moe.experts.%e." name, "blk.%d." gguf }, shape,     \
            role                                                                                                     \
    }
static const gal_wspec EXPERT[] = {
    EXPERT_LINE(up, "up_proj.weight", "ffn_up.%e.weight", "F,D", GAL_W_LINEAR),
    EXPERT_LINE(up_bias, "up_proj.bias", "ffn_up.%e.bias", "F", GAL_W_BIAS),
    EXPERT_LINE(down, "down_proj.weight", "ffn_down.%e.weight", "D,F", GAL_W_RESIDUAL),
    EXPERT_LINE(down_bias, "down_proj.bias", "ffn_down.%e.bias", "D", GAL_W_BIAS),
};
static const gal_wspec OUTER[] = {
    { offsetof(net, embed),
      { "model.embed_tokens.weight", "embed_tokens.weight", "token_embd.weight" },
      "V,D",
      GAL_W_EMBED },
    { offsetof(net, norm), { "model.norm.weight", "norm.weight", "output_norm.weight" }, "D", GAL_W_NORM },
    /* absent without layer_norm: the last line */
    { offsetof(net, norm_bias), { "model.norm.bias", "norm.bias", "output_norm.bias" }, "D", GAL_W_BIAS },
};

static gal_t *norm(gal_ctx *cx, gal_t *x, const gal_w *w, const gal_w *b, double eps) {
    return b ? gal_layer_norm(cx, x, w, b, eps) : gal_rms_norm(cx, x, w, eps);
}

static gal_t *attention(gal_ctx *cx, const run *r, const layer *w, int l, gal_t *n, const gal_step *st) {
    const gal_config *c = r->m->c;
    const gal_attend_spec spec = { .heads = c->H, .kv_heads = c->H, .size = c->K, .scale = 1.0 / sqrt((double)c->K) };
    gal_t *q, *k, *v;
    gal_qkv(cx, n, w->wq, w->wk, w->wv, &q, &k, &v); /* [N, H K] each */
    gal_bias(cx, q, w->bq);
    gal_bias(cx, k, w->bk);
    gal_bias(cx, v, w->bv);
    gal_t *rel = r->distances ? gal_linear(cx, r->distances, w->wr) : NULL; /* [M, H K] */
    return gal_attend_relative(cx, gal_add_row(cx, q, w->u), gal_add_row(cx, q, w->v), k, v, rel, &spec, st, l);
}

static gal_t *block(gal_ctx *cx, const void *model, int l, gal_t *x, const gal_step *st) {
    const run *r = model;
    const layer *w = &r->m->layers[l];
    const double eps = r->m->c->eps;
    gal_t *a = attention(cx, r, w, l, norm(cx, x, w->attn_norm, w->attn_norm_bias, eps), st);
    x = gal_linear_add(cx, a, w->wo, x);
    gal_bias(cx, x, w->bo);
    gal_t *n = norm(cx, x, w->mlp_norm, w->mlp_norm_bias, eps);
    if (w->moe.experts) return gal_moe(cx, n, &w->moe, x, st, l);
    x = gal_linear_add(cx, gal_gelu(cx, n, w->up, w->up_bias), w->down, x);
    gal_bias(cx, x, w->down_bias);
    return x;
}

/* Distances that are told apart among `most`. */
static int64_t told_apart(const gal_config *c, int64_t most) {
    return c->max_distance ? GAL_MIN(most, c->max_distance + 1) : most;
}

/* After the last norm, the rows whose logits are wanted. [n_out, D] */
static gal_t *hidden(gal_ctx *cx, const net *m, const gal_step *st) {
    run *r = gal_step_memory(cx, sizeof *r);
    if (!r) return NULL;
    *r = (run){ .m = m };
    if (!st->kv) r->distances = gal_sinusoid(cx, 0, told_apart(m->c, st->row_len ? st->row_len : st->n), m->c->D);
    gal_t *x = gal_embed(cx, m->embed, st);
    for (int l = 0; l < (int)m->c->L; l++) {
        gal_tap(cx, "hidden", l, x);
        x = gal_block(cx, block, r, l, x, st);
    }
    x = norm(cx, gal_out_rows(cx, x, st), m->norm, m->norm_bias, m->c->eps);
    gal_tap(cx, "hidden", (int)m->c->L, x);
    return x;
}

static gal_t *logits(gal_ctx *cx, const gal_model *model, const gal_step *st) {
    const net *m = model->net;
    return gal_linear_f32(cx, hidden(cx, m, st), m->embed);
}

static gal_t *loss(gal_ctx *cx, const gal_model *model, const gal_step *st) {
    const net *m = model->net;
    gal_t *each = gal_cross_entropy(cx, hidden(cx, m, st), m->embed, st);
    if (st->balance && st->balance->loss) *st->balance->loss = each; /* what a policy's choices brought */
    return each;
}

static gal_t *relative(gal_ctx *cx, const gal_model *model, int l, int64_t first, int64_t rows) {
    const net *m = model->net;
    return gal_linear(cx, gal_sinusoid(cx, first, rows, m->c->D), m->layers[l].wr);
}

static void net_free(void *p) {
    net *m = p;
    if (!m) return;
    gal_free(m->layers);
    gal_free(m->matrices);
    gal_free(m);
}

static bool is_routed(const gal_config *c, int64_t l) { return c->experts && (l + 1) % c->routed_every == 0; }

static bool has_baseline(const gal_config *c) { return c->router == GAL_ROUTER_RLR && !c->no_baseline; }

static gal_err declare_experts(gal_model *model, net *m, int l, gal_diag *diag) {
    const gal_config *c = m->c;
    layer *w = &m->layers[l];
    gal_w **at = m->matrices + (int64_t)l * 4 * c->experts;
    gal_err err = GAL_OK;
    if (c->router != GAL_ROUTER_HASH) err = gal_model_declare(model, ROUTER, GAL_LEN(ROUTER), l, w, diag);
    if (!err && has_baseline(c)) err = gal_model_declare(model, BASELINE, GAL_LEN(BASELINE), l, w, diag);
    for (int e = 0; e < (int)c->experts && !err; e++) {
        expert x;
        err = gal_model_declare_expert(model, EXPERT, GAL_LEN(EXPERT), l, e, &x, diag);
        if (err) break;
        at[e] = x.up;
        at[c->experts + e] = x.up_bias;
        at[2 * c->experts + e] = x.down;
        at[3 * c->experts + e] = x.down_bias;
    }
    w->moe = (gal_moe_spec){ .experts = c->experts,
                             .used = c->experts_used,
                             .kind = c->router,
                             .sigmoid = c->gate_sigmoid,
                             .whole = c->gate_whole,
                             .index = (l + 1) / c->routed_every - 1,
                             .router = w->router,
                             .value_up = w->value_up,
                             .value_down = w->value_down,
                             .up = at,
                             .up_bias = at + c->experts,
                             .down = at + 2 * c->experts,
                             .down_bias = at + 3 * c->experts };
    return err;
}

/* Lines of one layer's tables. */
static size_t lines_of(const gal_config *c, int64_t l) {
    size_t n = GAL_LEN(LAYER) + (c->layer_norm ? GAL_LEN(LAYER_NORM) : 0);
    if (!is_routed(c, l)) return n + GAL_LEN(DENSE);
    return n + (c->router == GAL_ROUTER_HASH ? 0 : GAL_LEN(ROUTER)) + (has_baseline(c) ? GAL_LEN(BASELINE) : 0) +
           (size_t)c->experts * GAL_LEN(EXPERT);
}

static gal_err declare(gal_model *model, gal_diag *diag) {
    const gal_config *c = &model->config;
    net *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "no memory for a model");
    model->net = m; /* freed with the model, whole or not */
    m->c = c;
    m->layers = gal_alloc_array((size_t)c->L, sizeof *m->layers);
    if (c->experts) m->matrices = gal_alloc_array((size_t)c->L * 4 * (size_t)c->experts, sizeof(gal_w *));
    if (!m->layers || (c->experts && !m->matrices))
        return gal_fail(diag, GAL_ENOMEM, "no memory for %lld layers", (long long)c->L);
    size_t norms = c->layer_norm ? GAL_LEN(LAYER_NORM) : 0, outer = GAL_LEN(OUTER) - (c->layer_norm ? 0 : 1);
    size_t lines = outer;
    for (int64_t l = 0; l < c->L; l++) lines += lines_of(c, l);
    gal_err err = gal_model_reserve(model, lines, diag);
    if (!err) err = gal_model_declare(model, OUTER, outer, 0, m, diag);
    for (int l = 0; l < (int)c->L && !err; l++) {
        layer *w = &m->layers[l];
        err = gal_model_declare(model, LAYER, GAL_LEN(LAYER), l, w, diag);
        if (!err) err = gal_model_declare(model, LAYER_NORM, norms, l, w, diag);
        if (!err)
            err = is_routed(c, l) ? declare_experts(model, m, l, diag)
                                  : gal_model_declare(model, DENSE, GAL_LEN(DENSE), l, w, diag);
    }
    return err;
}

const gal_family gal_gopher = { "gopher", declare, net_free, logits, loss, relative };
