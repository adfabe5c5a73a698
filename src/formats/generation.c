/* generation.c - how a model's makers want its tokens drawn: generation_config.json (formats.md 2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "formats/config.h"
#include "formats/json_keys.h"

void gal_generation_defaults(gal_generation *g) {
    *g = (gal_generation){ .bos = -1,
                           .pad = -1,
                           .do_sample = -1,
                           .temperature = -1,
                           .top_p = -1,
                           .min_p = -1,
                           .repetition_penalty = -1,
                           .top_k = -1,
                           .max_new_tokens = -1 };
}

gal_err gal_generation_parse(gal_generation *out, const char *bytes, size_t n, const char *path, gal_diag *diag) {
    json_t *root = NULL;
    gal_err err = gal__json_parse(&root, bytes, n, path, 0, diag);
    if (err) return err;
    gal_generation g;
    gal_generation_defaults(&g);
    gal__keys r = { .obj = root, .path = path, .prefix = "", .diag = diag };
    g.bos = gal__key_token(&r, "bos_token_id", -1);
    g.n_eos = gal__key_token_list(&r, "eos_token_id", g.eos);
    g.pad = gal__key_token(&r, "pad_token_id", -1);
    if (gal__key_get(&r, "do_sample")) g.do_sample = gal__key_truth(&r, "do_sample", false);
    g.temperature = gal__key_real(&r, "temperature", 0, 1e6, -1);
    g.top_p = gal__key_real(&r, "top_p", 0, 1, -1);
    g.min_p = gal__key_real(&r, "min_p", 0, 1, -1);
    g.repetition_penalty = gal__key_real(&r, "repetition_penalty", 1e-6, 1e6, -1);
    if (gal__key_get(&r, "top_k")) g.top_k = gal__key_whole(&r, "top_k", 0, INT32_MAX, 0);
    if (gal__key_get(&r, "max_new_tokens"))
        g.max_new_tokens = gal__key_whole(&r, "max_new_tokens", 0, GAL_MAX_POSITIONS, 0);
    json_decref(root);
    if (!r.err) *out = g;
    return r.err;
}

gal_err gal_generation_read(gal_generation *out, const char *path, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = gal_read_file(&b, path, GAL__CONFIG_BYTES, diag);
    if (!err) err = gal_generation_parse(out, b.data ? b.data : "", b.len, path, diag);
    gal_buf_free(&b);
    return err;
}

gal_err gal_generation_check(const gal_generation *g, int64_t vocab, const char *path, gal_diag *diag) {
    gal__keys r = { .path = path, .prefix = "", .diag = diag };
    gal__key_ids_below(&r, "eos_token_id", g->eos, g->n_eos, vocab);
    return r.err;
}
