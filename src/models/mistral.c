/* mistral.c - Mistral 7B and its family (arXiv:2310.06825; mistral.md 4, 12), Mixtral (arXiv:2401.04088; mixtral.md).
 *
 *     h = x + Wo attend(rope(Wq n), rope(Wk n), Wv n),  n = rms_norm(x)
 *     y = h + Wdown (silu(Wgate m) * (Wup m)),          m = rms_norm(h)
 *     Mixtral: y = h + the same of k experts that a router chooses for each token (ops/moe.c)
 *
 * Grouped key-value heads, sliding window, rotary positions (YaRN and query scaling in Ministral 3). The same code
 * trains (no cache, tape on), prefills and decodes. Weights have the names and the row order of the layout that they
 * lie in. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/model.h"

#include <math.h>

typedef struct layer {
    gal_w *attn_norm, *wq, *wk, *wv, *wo, *mlp_norm;
    gal_w *gate, *up, *down; /* or */
    gal_w *router;
    gal_moe_spec moe; /* experts 0: dense */
} layer;

typedef struct expert {
    gal_w *gate, *up, *down;
} expert;

typedef struct net {
    gal_w *embed, *norm, *head;
    layer *layers;    /* [L] */
    gal_w **matrices; /* [L, 3, E] of experts: gates, ups, downs */
    gal_rope_spec rope;
    const gal_config *c; /* the model's */
} net;

/* What the layers of one step share. */
typedef struct run {
    const net *m;
    gal_rope_angles angles;
} run;

#define LAYER_LINE(field, hf, own, gguf, shape, role)                                                                \
    { offsetof(layer, field), { "model.layers.%d." hf, "layers.%d." own, "blk.%d." gguf }, shape, role }

static const gal_wspec LAYER[] = {
    LAYER_LINE(attn_norm, "input_layernorm.weight", "attention_norm.weight", "attn_norm.weight", "D", GAL_W_NORM),
    LAYER_LINE(wq, "self_attn.q_proj.weight", "attention.wq.weight", "attn_q.weight", "H*R,D", GAL_W_LINEAR),
    LAYER_LINE(wk, "self_attn.k_proj.weight", "attention.wk.weight", "attn_k.weight", "G*R,D", GAL_W_LINEAR),
    LAYER_LINE(wv, "self_attn.v_proj.weight", "attention.wv.weight", "attn_v.weight", "G*K,D", GAL_W_LINEAR),
    LAYER_LINE(wo, "self_attn.o_proj.weight", "attention.wo.weight", "attn_output.weight", "D,H*K", GAL_W_RESIDUAL),
    LAYER_LINE(mlp_norm, "post_attention_layernorm.weight", "ffn_norm.weight", "ffn_norm.weight", "D", GAL_W_NORM),
};
static const gal_wspec DENSE[] = {
    LAYER_LINE(gate, "mlp.gate_proj.weight", "feed_forward.w1.weight", "ffn_gate.weight", "F,D", GAL_W_LINEAR),
    LAYER_LINE(up, "mlp.up_proj.weight", "feed_forward.w3.weight", "ffn_up.weight", "F,D", GAL_W_LINEAR),
    LAYER_LINE(down, "mlp.down_proj.weight", "feed_forward.w2.weight", "ffn_down.weight", "D,F", GAL_W_RESIDUAL),
};
static const gal_wspec ROUTER[] = {
    LAYER_LINE(router, "block_sparse_moe.gate.weight", "feed_forward.gate.weight", "ffn_gate_inp.weight", "E,D",
               GAL_W_LINEAR),
};
#define EXPERT_LINE(field, w, gguf, shape, role)                                                                     \
    {                                                                                                                \
        offsetof(expert, field),                                                                                     \
            { "model.layers.%d.block_sparse_moe.experts.%e." w ".weight",                                            \
              "layers.%d.feed_forward.experts.%e." w ".weight", "blk.%d." gguf ".%e.weight" },                       \
            shape, role                                                                                              \
    }
static const gal_wspec EXPERT[] = {
    EXPERT_LINE(gate, "w1", "ffn_gate", "F,D", GAL_W_LINEAR),
    EXPERT_LINE(down, "w2", "ffn_down", "D,F", GAL_W_RESIDUAL),
    EXPERT_LINE(up, "w3", "ffn_up", "F,D", GAL_W_LINEAR),
};
static const gal_wspec OUTER[] = {
    { offsetof(net, embed),
      { "model.embed_tokens.weight", "tok_embeddings.weight", "token_embd.weight" },
      "V,D",
      GAL_W_EMBED },
    { offsetof(net, norm), { "model.norm.weight", "norm.weight", "output_norm.weight" }, "D", GAL_W_NORM },
    /* absent if tied: the last line */
    { offsetof(net, head), { "lm_head.weight", "output.weight", "output.weight" }, "V,D", GAL_W_LINEAR },
};

static gal_t *block(gal_ctx *cx, const void *model, int l, gal_t *x, const gal_step *st) {
    const run *r = model;
    const gal_config *c = r->m->c;
    const layer *w = &r->m->layers[l];
    gal_attend_spec spec = { .heads = c->H,
                             .kv_heads = c->G,
                             .size = c->K,
                             .scale = c->attn_scale > 0 ? c->attn_scale : 1.0 / sqrt((double)c->K),
                             .window = c->layer_full && c->layer_full[l] ? 0 : c->window };
    gal_t *q, *k, *v;
    gal_t *n = gal_rms_norm(cx, x, w->attn_norm, c->eps); /* [N, D] */
    gal_qkv(cx, n, w->wq, w->wk, w->wv, &q, &k, &v);      /* [N, H K], [N, G K], [N, G K] */
    gal_rope(cx, q, k, &r->angles);                       /* in place */
    gal_t *a = gal_attend(cx, q, k, v, &spec, st, l);     /* [N, H K] */
    x = gal_linear_add(cx, a, w->wo, x);                  /* [N, D] */
    n = gal_rms_norm(cx, x, w->mlp_norm, c->eps);
    if (w->moe.experts) return gal_moe(cx, n, &w->moe, x, st, l);
    return gal_linear_add(cx, gal_swiglu(cx, n, w->gate, w->up), w->down, x);
}

/* After the last norm, the rows whose logits are wanted. [n_out, D] */
static gal_t *hidden(gal_ctx *cx, const net *m, const gal_step *st) {
    run *r = gal_step_memory(cx, sizeof *r);
    if (!r) return NULL;
    *r = (run){ m, gal_rope_angles_of(cx, &m->rope, st) };
    gal_t *x = gal_embed(cx, m->embed, st);
    for (int l = 0; l < (int)m->c->L; l++) {
        gal_tap(cx, "hidden", l, x);
        x = gal_block(cx, block, r, l, x, st);
    }
    x = gal_rms_norm(cx, gal_out_rows(cx, x, st), m->norm, m->c->eps);
    gal_tap(cx, "hidden", (int)m->c->L, x);
    return x;
}

static gal_t *logits(gal_ctx *cx, const gal_model *model, const gal_step *st) {
    const net *m = model->net;
    return gal_linear_f32(cx, hidden(cx, m, st), m->head);
}

static gal_t *loss(gal_ctx *cx, const gal_model *model, const gal_step *st) {
    const net *m = model->net;
    return gal_cross_entropy(cx, hidden(cx, m, st), m->head, st);
}

static void net_free(void *p) {
    net *m = p;
    if (!m) return;
    gal_rope_spec_free(&m->rope);
    gal_free(m->layers);
    gal_free(m->matrices);
    gal_free(m);
}

static gal_err declare_experts(gal_model *model, net *m, int l, gal_diag *diag) {
    const gal_config *c = m->c;
    layer *w = &m->layers[l];
    gal_w **at = m->matrices + (int64_t)l * 3 * c->experts;
    gal_err err = gal_model_declare(model, ROUTER, GAL_LEN(ROUTER), l, w, diag);
    for (int e = 0; e < (int)c->experts && !err; e++) {
        expert x;
        err = gal_model_declare_expert(model, EXPERT, GAL_LEN(EXPERT), l, e, &x, diag);
        if (err) break;
        at[e] = x.gate;
        at[c->experts + e] = x.up;
        at[2 * c->experts + e] = x.down;
    }
    w->moe = (gal_moe_spec){ .experts = c->experts,
                             .used = c->experts_used,
                             .index = l,
                             .router = w->router,
                             .gate = at,
                             .up = at + c->experts,
                             .down = at + 2 * c->experts };
    return err;
}

gal_err gal_mistral_declare(gal_model *model, gal_diag *diag) {
    const gal_config *c = &model->config;
    size_t outer = GAL_LEN(OUTER) - (c->tied ? 1 : 0), experts = (size_t)c->experts,
           inner = GAL_LEN(LAYER) + (experts ? GAL_LEN(ROUTER) + experts * GAL_LEN(EXPERT) : GAL_LEN(DENSE));
    net *m = gal_alloc(sizeof *m);
    if (!m) return gal_fail(diag, GAL_ENOMEM, "no memory for a model");
    model->net = m; /* freed with the model, whole or not */
    m->c = c;
    m->layers = gal_alloc_array((size_t)c->L, sizeof *m->layers);
    if (experts) m->matrices = gal_alloc_array((size_t)c->L * 3 * experts, sizeof(gal_w *));
    if (!m->layers || (experts && !m->matrices))
        return gal_fail(diag, GAL_ENOMEM, "no memory for %lld layers", (long long)c->L);
    gal_err err = gal_rope_spec_of(&m->rope, c, diag);
    if (!err) err = gal_model_reserve(model, outer + (size_t)c->L * inner, diag);
    if (!err) err = gal_model_declare(model, OUTER, outer, 0, m, diag);
    for (int l = 0; l < (int)c->L && !err; l++) {
        err = gal_model_declare(model, LAYER, GAL_LEN(LAYER), l, &m->layers[l], diag);
        if (!err && !experts) err = gal_model_declare(model, DENSE, GAL_LEN(DENSE), l, &m->layers[l], diag);
        if (!err && experts) err = declare_experts(model, m, l, diag);
    }
    if (c->tied) m->head = m->embed;
    return err;
}

const gal_family gal_mistral = { "mistral", gal_mistral_declare, net_free, logits, loss, NULL };
