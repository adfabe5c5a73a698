/* experts.c - where files keep the matrices of experts: one tensor each, as weights are named, or those of all
 * experts of a layer in one (mixtral.md 7). Knows names and places alone; refuses nothing. SPDX-License-Identifier:
 * Apache-2.0 */
#include "models/load.h"

#include <stdio.h>
#include <string.h>

/* "%d" the layer, "%e" the expert. Of a tensor [E, parts F or D, ...] the weight is part `part` of its expert; parts
 * 0: the same tensor under another name. */
static const struct {
    gal_layout layout;
    const char *weight, *tensor;
    int parts, part;
} FORMS[] = {
    { GAL_LAYOUT_HF, "model.layers.%d.block_sparse_moe.gate.weight", "model.layers.%d.mlp.gate.weight", 0, 0 },
    { GAL_LAYOUT_HF, "model.layers.%d.block_sparse_moe.experts.%e.w1.weight",
      "model.layers.%d.mlp.experts.gate_up_proj", 2, 0 },
    { GAL_LAYOUT_HF, "model.layers.%d.block_sparse_moe.experts.%e.w3.weight",
      "model.layers.%d.mlp.experts.gate_up_proj", 2, 1 },
    { GAL_LAYOUT_HF, "model.layers.%d.block_sparse_moe.experts.%e.w2.weight", "model.layers.%d.mlp.experts.down_proj",
      1, 0 },
    { GAL_LAYOUT_GGUF, "blk.%d.ffn_gate.%e.weight", "blk.%d.ffn_gate_exps.weight", 1, 0 },
    { GAL_LAYOUT_GGUF, "blk.%d.ffn_up.%e.weight", "blk.%d.ffn_up_exps.weight", 1, 0 },
    { GAL_LAYOUT_GGUF, "blk.%d.ffn_down.%e.weight", "blk.%d.ffn_down_exps.weight", 1, 0 },
    { GAL_LAYOUT_GGUF, "blk.%d.ffn_gate.%e.weight", "blk.%d.ffn_gate_up_exps.weight", 2, 0 },
    { GAL_LAYOUT_GGUF, "blk.%d.ffn_up.%e.weight", "blk.%d.ffn_gate_up_exps.weight", 2, 1 },
};

typedef struct numbers {
    int layer, expert;
} numbers;

/* Whether name is pattern with numbers in it. */
static bool matches(const char *pattern, const char *name, numbers *out) {
    *out = (numbers){ 0, 0 };
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            if (*name++ != *pattern) return false;
            continue;
        }
        int n = 0, digits = 0;
        for (; *name >= '0' && *name <= '9' && digits < 7; name++, digits++) n = n * 10 + (*name - '0');
        if (!digits || (digits > 1 && name[-digits] == '0')) return false;
        pattern++;
        *(*pattern == 'd' ? &out->layer : &out->expert) = n;
    }
    return !*name;
}

static void print(char out[GAL__PLAIN], const char *pattern, const numbers *n) {
    size_t at = 0;
    for (; *pattern && at + 16 < GAL__PLAIN; pattern++) {
        char number[16];
        if (*pattern != '%') {
            out[at++] = *pattern;
            continue;
        }
        (void)snprintf(number, sizeof number, "%d", *++pattern == 'd' ? n->layer : n->expert);
        memcpy(out + at, number, strlen(number));
        at += strlen(number);
    }
    out[at] = 0;
}

bool gal__stacked_form(const gal_model *m, const gal_w *w, size_t *from, gal__stacked *out) {
    for (size_t i = *from; i < GAL_LEN(FORMS) && m->config.experts; i++) {
        numbers n;
        if (FORMS[i].layout != m->config.layout || !matches(FORMS[i].weight, w->name, &n)) continue;
        *out = (gal__stacked){ .ndim = w->ndim, .dim = { w->dim[0], w->dim[1] } };
        print(out->name, FORMS[i].tensor, &n);
        if (FORMS[i].parts) {
            out->ndim = 3;
            out->dim[0] = m->config.experts;
            out->dim[1] = FORMS[i].parts * w->dim[0];
            out->dim[2] = w->dim[1];
            out->row = ((int64_t)n.expert * FORMS[i].parts + FORMS[i].part) * w->dim[0];
        }
        *from = i + 1;
        return true;
    }
    return false;
}

bool gal__stands_for(const gal_model *m, const char *tensor, size_t *from, char weight[GAL__PLAIN]) {
    for (size_t i = *from; i < GAL_LEN(FORMS) && m->config.experts; i++) {
        numbers n;
        if (FORMS[i].layout != m->config.layout || !matches(FORMS[i].tensor, tensor, &n) || n.layer >= m->config.L)
            continue;
        print(weight, FORMS[i].weight, &n);
        *from = i + 1;
        return true;
    }
    return false;
}
