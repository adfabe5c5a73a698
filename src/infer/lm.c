/* lm.c - the public handle: opens a folder, owns weights, tokenizer, device and engine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "infer/lm.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "infer/sample.h"
#include "models/lora.h"

#include <stdio.h>
#include <string.h>

enum { TRIES = 100 };

void gal_lm_options_init(gal_lm_options *options) {
    *options = (gal_lm_options){ .compute = GAL_F32, .cache = GAL_F16, .draft_tokens = GAL_GUESS_DEFAULT };
}

gal_err gal_lm_adapt(gal_model *m, const gal_lm_adapter *adapters, size_t n, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n; i++) err = gal_lora_load(m, adapters[i].path, adapters[i].strength, diag);
    return err;
}

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    const gal_lm_options *o = user;
    return o->progress && o->progress(o->user, done, total);
}

static gal_err bring(gal_model *m, gal_dev *dev, const gal_lm_options *options, bool pack_later, gal_diag *diag) {
    gal_lm_options o = *options;
    if (o.repack && (o.exact || o.no_mmap))
        return gal_fail(diag, GAL_EUSAGE, "repack and %s: expected one of them, for it packs nothing",
                        o.exact ? "exact" : "no-mmap");
    const bool mirrors = gal_pool_mirrors(dev->pool) > 1; /* copies are made in memory, for each node */
    if (o.repack && mirrors)
        return gal_fail(diag, GAL_EUSAGE,
                        "repack and numa mirror: expected one of them on a machine of several nodes");
    gal_bring how = { .read = o.no_mmap != 0, .pool = dev->pool, .progress = on_progress, .user = &o };
    const bool fits = gal_model_mapped_bytes(m) <= gal_memory_available(), packs = !dev->far && !o.exact;
    /* A file that was asked for is looked at as a whole: a damaged one is to be made anew. */
    const gal_side side = { o.repack_dir, fits, pack_later && fits && !o.repack, on_progress, &o };
    gal_err err = packs && !o.no_mmap && !mirrors ? gal_model_side_open(m, dev, &side, diag) : GAL_OK;
    if (err || (m->side.data && !side.later)) return err; /* what else the model has is small, or read row by row */
    if (how.read || fits) err = gal_model_bring(m, &how, diag);
    if (err) return err;
    if (o.repack) err = gal_model_side_write(m, dev, &side, diag);
    if (!err && dev->far) return gal_model_to_device(m, dev, diag);
    return err || !packs || (pack_later && !mirrors) ? err : gal_model_pack(m, dev, on_progress, &o, diag);
}

gal_err gal_lm_bring(gal_model *m, gal_dev *dev, const gal_lm_options *options, gal_diag *diag) {
    return bring(m, dev, options, false, diag);
}

/* In place a product is slower where it has few rows, and nothing else: the prompt need not wait, and of a token or
 * two nobody would have the use of it. */
enum { PACK_STEPS = 16 }; /* a step packs so little that a text that streams does not stutter */
static bool pack_on(void *user) {
    gal_lm *lm = user;
    if (!lm->pack_bytes) return false;
    const uint64_t done = gal_model_pack_some(lm->model, lm->dev, lm->pack_bytes);
    if (!done || !gal_model_to_pack(lm->model, lm->dev)) lm->pack_bytes = 0;
    return done > 0;
}

void gal_lm_settle(gal_lm *lm) {
    if (lm->pack_bytes) (void)gal_model_pack_some(lm->model, lm->dev, UINT64_MAX);
    lm->pack_bytes = 0;
    if (lm->draft) gal_lm_settle(lm->draft);
}

/* What a folder has in the way of vocabularies, by its files' names; whether one is good is for opening it to say. */
typedef struct vocabularies {
    bool model, tekken, json; /* tokenizer.model and its versions, tekken.json, tokenizer.json */
} vocabularies;

static gal_err look_for_vocabularies(vocabularies *v, const char *dir, gal_diag *diag) {
    char **names = NULL;
    size_t count = 0;
    *v = (vocabularies){ 0 };
    gal_err err = gal_list_dir(dir, &names, &count, diag);
    for (size_t i = 0; !err && i < count; i++) {
        v->model |= gal_tokenizer_file_version(names[i]) > 0;
        v->tekken |= strcmp(names[i], "tekken.json") == 0;
        v->json |= strcmp(names[i], "tokenizer.json") == 0;
    }
    gal_free_names(names, count);
    return err;
}

/* A GGUF file's kind of vocabulary; "" if it has none, or if there is no such file. */
static void vocabulary_of_file(char kind[24], const char *path) {
    gal_gguf *g = NULL;
    const char *s = "";
    size_t n = 0;
    bool found = false;
    if (!gal_gguf_open(&g, path, NULL)) (void)gal_gguf_string(g, "tokenizer.ggml.model", &s, &n, &found, NULL);
    (void)snprintf(kind, 24, "%.*s", (int)GAL_MIN(n, (size_t)23), s);
    gal_gguf_close(g);
}

/* Why it cannot be opened, in the words of who tried. */
static void why_not(char text[GAL_LM_WHY], const char *path, bool file) {
    gal_tokenizer *t = NULL;
    gal_diag why = { 0 };
    gal_err err = file ? gal_gguf_tokenizer(&t, path, &why) : gal_tokenizer_open(&t, path, &why);
    (void)snprintf(text, GAL_LM_WHY, "its vocabulary is not supported: %.500s", err ? why.text : "unknown");
    gal_tokenizer_free(t);
}

const char *gal_lm_no_tokenizer(char text[GAL_LM_WHY], const char *dir) {
    vocabularies v;
    char kind[24] = "";
    if (gal_is_file(dir)) {
        vocabulary_of_file(kind, dir);
        bool none = !kind[0] || strcmp(kind, "none") == 0 || strcmp(kind, "no_vocab") == 0;
        int byte = none ? -1 : gal_gguf_missing_byte(dir);
        if (byte >= 0)
            (void)snprintf(text, GAL_LM_WHY, "its vocabulary has no piece for byte 0x%02X", (unsigned)byte);
        else if (none)
            (void)snprintf(text, GAL_LM_WHY, "no tokenizer here (no tokenizer.ggml.model)");
        else
            why_not(text, dir, true);
    } else if (!look_for_vocabularies(&v, dir, NULL) && (v.model || v.tekken || v.json)) {
        why_not(text, dir, false);
    } else {
        (void)snprintf(text, GAL_LM_WHY,
                       "no tokenizer here (expected tekken.json, tokenizer.model or tokenizer.json)");
    }
    return text;
}

/* Without one that is supported a model still takes ids. */
static gal_err load_tokenizer(gal_tokenizer **out, const char *dir, gal_diag *diag) {
    vocabularies v;
    char kind[24] = "";
    gal_err err;
    if (gal_is_file(dir)) {
        gal_diag why = { 0 };
        err = gal_gguf_tokenizer(out, dir, &why);
        if (err == GAL_EINPUT) vocabulary_of_file(kind, dir);
        if (strcmp(kind, "gpt2") == 0 || (err == GAL_EINPUT && gal_gguf_missing_byte(dir) >= 0)) return GAL_OK;
        return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
    }
    err = look_for_vocabularies(&v, dir, diag);
    if (err || (!v.model && !v.tekken && !v.json)) return err;
    gal_diag why = { 0 };
    err = gal_tokenizer_open(out, dir, &why);
    if (err == GAL_EINPUT && !v.model && !v.tekken) return GAL_OK; /* others have vocabularies of many kinds */
    return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}

/* Says which of the makers' wishes about sampling are passed over. */
static gal_err note_unused(gal_model *m, const gal_gguf *g, const char *path, gal_diag *diag) {
    static const char PREFIX[] = "general.sampling.";
    static const char *const USED[] = { "temp", "top_k", "top_p", "min_p", "penalty_repeat" };
    gal_buf b = { 0 };
    char shown[GAL__SHOW];
    for (size_t i = 0; i < gal_gguf_keys(g); i++) {
        const char *key = gal_gguf_key_at(g, i)->key;
        bool used = strncmp(key, PREFIX, sizeof PREFIX - 1) != 0;
        for (size_t k = 0; k < GAL_LEN(USED) && !used; k++) used = strcmp(key + sizeof PREFIX - 1, USED[k]) == 0;
        if (!used) gal_buf_printf(&b, "%s%s", b.len ? ", " : ": not used: ", gal__show(shown, key));
    }
    gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for a note", path) : GAL_OK;
    if (!err && b.len) err = gal_model_add_note(m, path, b.data, diag);
    gal_buf_free(&b);
    return err;
}

static gal_err defaults_of_file(gal_generation *out, gal_model *m, const char *path, gal_diag *diag) {
    gal_gguf *g = NULL;
    gal_err err = gal_gguf_open(&g, path, diag);
    if (!err) err = gal_gguf_generation(out, g, path, diag);
    if (!err && m) err = note_unused(m, g, path, diag);
    gal_gguf_close(g);
    return err;
}

/* m: gets notes, and its vocabulary has the ids; NULL: nobody is told or asked. */
static gal_err load_defaults(gal_generation *g, gal_model *m, const char *dir, gal_diag *diag) {
    gal_generation_defaults(g);
    if (gal_is_file(dir)) return defaults_of_file(g, m, dir, diag);
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    if (!gal_path_join(&path, dir, "generation_config.json")) {
        err = gal_fail(diag, GAL_ENOMEM, "no memory for a path");
    } else if (gal_exists(path.data)) {
        err = gal_generation_read(g, path.data, diag);
        if (!err && m) err = gal_generation_check(g, m->config.V, path.data, diag);
    }
    gal_buf_free(&path);
    return err;
}

/* Published models often have rows to spare; ids without text are never drawn. Pieces without a row are refused when
 * a text has one, with both counts, and nothing needs to be said before. */
static gal_err compare_sizes(gal_model *m, const gal_tokenizer *t, const char *dir, gal_diag *diag) {
    char text[160];
    int64_t pieces = gal_tokenizer_size(t), rows = m->config.V;
    if (pieces >= rows) return GAL_OK;
    (void)snprintf(
        text, sizeof text,
        ": the vocabulary has %lld pieces, the embedding %lld rows: the last ids have no text and are never drawn",
        (long long)pieces, (long long)rows);
    return gal_model_add_note(m, dir, text, diag);
}

/* Where vocabulary and sampling of a model lie: in its folder, or, of an adapter that stands for itself and its base,
 * with the base. */
static gal_err beside(gal_buf *at, const char *dir, gal_layout layout, gal_diag *diag) {
    gal_buf base = { 0 };
    gal_err err = gal_lora_base(dir, &base, diag);
    if (!err && base.len)
        err = gal_model_find_as(base.data, layout, at, diag);
    else if (!err)
        gal_buf_puts(at, dir);
    gal_buf_free(&base);
    return err || !at->oom ? err : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
}

gal_err gal_lm_vocabulary(const gal_lm *lm, gal_buf *where, gal_diag *diag) {
    vocabularies v;
    if (gal_is_file(lm->dir.data)) return beside(where, lm->dir.data, GAL_LAYOUT_ANY, diag);
    gal_err err = look_for_vocabularies(&v, lm->dir.data, diag);
    if (err || !(v.model || v.tekken || v.json)) return err ? err : beside(where, lm->dir.data, GAL_LAYOUT_ANY, diag);
    gal_buf_puts(where, lm->dir.data);
    return where->oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", lm->dir.data) : GAL_OK;
}

/* One try; parts that were loaded stay, also on failure. */
static gal_err load_parts(gal_model **model, gal_tokenizer **tokenizer, gal_generation *defaults, const char *dir,
                          gal_layout layout, gal_diag *diag) {
    gal_buf at = { 0 };
    gal_err err = model ? gal_model_load_as(model, dir, layout, diag) : GAL_OK;
    if (!err) err = beside(&at, dir, layout, diag);
    /* A training's vocabulary lies with its adapter. */
    if (!err && tokenizer && strcmp(at.data, dir) != 0) err = load_tokenizer(tokenizer, dir, diag);
    if (!err && tokenizer && !*tokenizer) err = load_tokenizer(tokenizer, at.data, diag);
    if (!err && model && tokenizer && *tokenizer) err = compare_sizes(*model, *tokenizer, dir, diag);
    if (!err && defaults) err = load_defaults(defaults, model ? *model : NULL, at.data, diag);
    gal_buf_free(&at);
    /* What seems to be absent may be so because the folder is being removed. */
    if (!err && !gal_exists(dir)) err = gal_fail(diag, GAL_EINPUT, "%s: removed while it was read", dir);
    return err;
}

gal_err gal_lm_load_as(gal_model **model, gal_tokenizer **tokenizer, gal_generation *defaults, gal_buf *dir,
                       const char *path, gal_layout layout, gal_diag *diag) {
    for (int left = TRIES;; left--) {
        gal_model *m = NULL;
        gal_tokenizer *t = NULL;
        gal_err err = gal_model_find_as(path, layout, dir, diag);
        if (err) return err;
        gal_diag why = { 0 };
        err = load_parts(model ? &m : NULL, tokenizer ? &t : NULL, defaults, dir->data, layout, &why);
        if (!err) {
            if (model) *model = m;
            if (tokenizer) *tokenizer = t;
            return GAL_OK;
        }
        gal_tokenizer_free(t);
        gal_model_free(m);
        if (gal_exists(dir->data) || left == 1) return gal_fail(diag, err, "%s", why.text);
    }
}

gal_err gal_lm_load(gal_model **model, gal_tokenizer **tokenizer, gal_generation *defaults, gal_buf *dir,
                    const char *path, gal_diag *diag) {
    return gal_lm_load_as(model, tokenizer, defaults, dir, path, GAL_LAYOUT_ANY, diag);
}

static gal_err check_options(const gal_lm_options *o, gal_layout *layout, gal_diag *diag) {
    if (!gal_layout_named(layout, o->layout))
        return gal_fail(diag, GAL_EUSAGE, "layout: expected \"hf\", \"own\" or \"gguf\", found \"%.40s\"", o->layout);
    if (o->compute != GAL_F32 && o->compute != GAL_BF16)
        return gal_fail(diag, GAL_EUSAGE, "compute: expected f32 or bf16");
    if (o->cache != GAL_F32 && o->cache != GAL_BF16 && o->cache != GAL_F16 && !gal_dtype_in_blocks(o->cache))
        return gal_fail(diag, GAL_EUSAGE, "cache: expected f32, f16, bf16, q8_0 or q4_0");
    if (o->context < 0 || o->chunk < 0) return gal_fail(diag, GAL_EUSAGE, "context and chunk: expected 0 or more");
    if (o->speculate == GAL_SPECULATE_OFF && !o->draft) return GAL_OK;
    if (o->draft_tokens < 1 || o->draft_tokens > GAL_GUESS_MOST)
        return gal_fail(diag, GAL_EUSAGE, "draft_tokens: expected 1 to %d, found %lld", GAL_GUESS_MOST,
                        (long long)o->draft_tokens);
    if ((o->speculate == GAL_SPECULATE_DRAFT) != (o->draft != NULL))
        return gal_fail(diag, GAL_EUSAGE, "a draft model belongs to speculation with one, and to no other");
    return GAL_OK;
}

gal_err gal_lm_open(gal_lm **out, const char *path, const gal_lm_options *options, gal_diag *diag) {
    return gal_lm_open_on(out, path, options, NULL, diag);
}

gal_err gal_lm_open_on(gal_lm **out, const char *path, const gal_lm_options *options, gal_dev *dev, gal_diag *diag) {
    const double begin = gal_now_s();
    gal_lm *lm = gal_alloc(sizeof *lm);
    if (!lm) return gal_fail(diag, GAL_ENOMEM, "no memory for a model");
    gal_lm_options_init(&lm->options);
    if (options) lm->options = *options;
    gal_layout layout;
    if (lm->options.exact) lm->options.compute = lm->options.cache = GAL_F32;
    gal_err err = check_options(&lm->options, &layout, diag);
    lm->dev = dev;
    lm->guest = dev != NULL;
    if (!err && !dev) err = gal_dev_open(&lm->dev, &lm->options.device, diag);
    if (!err) err = gal_lm_load_as(&lm->model, &lm->tokenizer, &lm->defaults, &lm->dir, path, layout, diag);
    if (!err) err = gal_lm_adapt(lm->model, lm->options.adapters, lm->options.n_adapters, diag);
    if (!err) err = bring(lm->model, lm->dev, &lm->options, true, diag);
    if (!err) {
        const uint64_t rest = lm->options.exact ? 0 : gal_model_to_pack(lm->model, lm->dev);
        lm->pack_bytes = (rest + PACK_STEPS - 1) / PACK_STEPS;
        gal_engine_options eo = { .compute = lm->options.compute,
                                  .cache = lm->options.cache,
                                  .sequences = 1,
                                  .context = lm->options.context,
                                  .chunk = lm->options.chunk,
                                  .eager = lm->options.eager != 0,
                                  .exact = lm->options.exact != 0,
                                  .moves = pack_on,
                                  .user = lm };
        err = gal_engine_new(&lm->engine, lm->dev, lm->model, &eo, diag);
    }
    if (!err && lm->options.draft) err = gal_lm_open_draft(lm, diag);
    if (err) {
        gal_lm_close(lm);
        return err;
    }
    lm->open_s = gal_now_s() - begin;
    *out = lm;
    return GAL_OK;
}

void gal_lm_close(gal_lm *lm) {
    if (!lm) return;
    gal_lm_close(lm->draft);
    gal_engine_free(lm->engine);
    gal_tokenizer_free(lm->tokenizer);
    gal_model_free(lm->model);
    if (!lm->guest) gal_dev_close(lm->dev);
    gal_buf_free(&lm->dir);
    gal_ids_free(&lm->held);
    gal_free(lm);
}

int32_t gal_lm_eos_of(const gal_generation *g, const gal_model *m, const gal_tokenizer *t, int32_t out[GAL_MAX_EOS]) {
    const gal_config *c = &m->config;
    int32_t n = g->n_eos > 0 ? g->n_eos : c->n_eos;
    const int32_t *from = g->n_eos > 0 ? g->eos : c->eos;
    for (int32_t i = 0; i < n; i++) out[i] = from[i];
    if (n == 0 && t && gal_tokenizer_eos(t) >= 0) out[n++] = gal_tokenizer_eos(t);
    return n;
}

int32_t gal_lm_eos(const gal_lm *lm, int32_t out[GAL_MAX_EOS]) {
    return gal_lm_eos_of(&lm->defaults, lm->model, lm->tokenizer, out);
}

void gal_lm_get_info(const gal_lm *lm, gal_lm_info *info) {
    const gal_config *c = &lm->model->config;
    int32_t eos[GAL_MAX_EOS], n_eos = gal_lm_eos(lm, eos);
    *info = (gal_lm_info){ .params = gal_model_params(lm->model),
                           .layers = c->L,
                           .width = c->D,
                           .vocab = c->V,
                           .tokens = lm->tokenizer ? gal_tokenizer_size(lm->tokenizer) : 0,
                           .max_positions = c->max_positions,
                           .window = c->window,
                           .context = gal_engine_context(lm->engine),
                           .bos = c->bos,
                           .eos = n_eos ? eos[0] : -1 };
    if (lm->tokenizer) info->bos = gal_tokenizer_bos(lm->tokenizer);
}

/* ---- text
 * ---------------------------------------------------------------------------------------------------------- */

static gal_err want_tokenizer(const gal_lm *lm, gal_diag *diag) {
    char why[GAL_LM_WHY];
    if (lm->tokenizer) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: %s; give ids instead of text", lm->dir.data,
                    gal_lm_no_tokenizer(why, lm->dir.data));
}

gal_err gal_lm_encode(const gal_lm *lm, const char *text, size_t bytes, int32_t **ids, size_t *count,
                      gal_diag *diag) {
    gal_ids list = { 0 };
    gal_err err = want_tokenizer(lm, diag);
    if (!err) err = gal_encode(lm->tokenizer, NULL, text, bytes, 0, &list, diag);
    if (!err) {
        *ids = list.data;
        *count = list.len;
        return GAL_OK;
    }
    gal_ids_free(&list);
    return err;
}

gal_err gal_lm_decode(const gal_lm *lm, const int32_t *ids, size_t count, char **text, size_t *bytes,
                      gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = want_tokenizer(lm, diag);
    if (!err) err = gal_decode(lm->tokenizer, ids, count, &b, diag);
    if (!err && !b.data) gal_buf_puts(&b, "");
    if (!err && b.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a text");
    if (!err) {
        *text = b.data ? b.data : gal_strdup("");
        *bytes = b.len;
        if (*text) return GAL_OK;
        err = gal_fail(diag, GAL_ENOMEM, "no memory for a text");
    }
    gal_buf_free(&b);
    return err;
}

void gal_release(void *memory) { gal_free(memory); }

/* ---- generation
 * ---------------------------------------------------------------------------------------------------- */

void gal_generate_options_init(gal_generate_options *o, const gal_lm *lm) {
    *o = (gal_generate_options){ .max_tokens = 256 };
    gal_sampling *s = &o->sampling;
    gal_sampling_defaults(s);
    if (!lm) return;
    const gal_generation *g = &lm->defaults;
    if (g->temperature >= 0.0) s->temperature = g->temperature;
    if (g->do_sample == 0) s->temperature = 0.0;
    if (g->top_k >= 0) s->top_k = g->top_k;
    if (g->top_p > 0.0) s->top_p = g->top_p;
    if (g->min_p >= 0.0) s->min_p = g->min_p;
    if (g->repetition_penalty > 0.0) s->repetition_penalty = g->repetition_penalty;
    if (g->max_new_tokens >= 0) o->max_tokens = g->max_new_tokens;
}

static gal_err generate(gal_lm *lm, const int32_t *ids, size_t n, const gal_generate_options *options,
                        gal_token_fn fn, void *user, gal_generate_result *result, gal_diag *diag) {
    int32_t eos[GAL_MAX_EOS];
    gal_generator g = { .engine = lm->engine,
                        .tokenizer = lm->tokenizer,
                        .vocab = lm->model->config.V,
                        .eos = eos,
                        .n_eos = gal_lm_eos(lm, eos),
                        .stop = lm->stop,
                        .user = lm->stop_user,
                        .held = lm->keeps ? &lm->held : NULL,
                        .kept = &lm->kept };
    if (!lm->keeps) lm->held.len = 0;
    gal_diag why = { 0 };
    gal_speculation ahead = { 0 };
    gal_err err = gal_lm_speculation(lm, &options->sampling, &ahead, &why);
    if (ahead.from) g.ahead = &ahead;
    if (!err) err = gal_generate(&g, ids, (int64_t)n, true, options, fn, user, result, &why);
    gal_speculation_free(&ahead);
    /* EFAIL: logits that are no numbers. Weights of that kind are the file's fault. */
    if (err == GAL_EFAIL && !gal_model_check_finite(lm->model, NULL) && lm->model->n_warnings)
        return gal_fail(diag, GAL_EINPUT, "%s, because of %s", why.text, lm->model->warnings[0]);
    return err ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}

gal_err gal_lm_generate_ids(gal_lm *lm, const int32_t *ids, size_t count, const gal_generate_options *options,
                            gal_token_fn fn, void *user, gal_generate_result *result, gal_diag *diag) {
    return generate(lm, ids, count, options, fn, user, result, diag);
}

gal_err gal_lm_generate(gal_lm *lm, const char *prompt, size_t bytes, const gal_generate_options *options,
                        gal_token_fn fn, void *user, gal_generate_result *result, gal_diag *diag) {
    gal_ids ids = { 0 };
    gal_err err = want_tokenizer(lm, diag);
    if (!err) err = gal_prompt_encode(lm->tokenizer, prompt, bytes, &ids, diag);
    if (!err) err = generate(lm, ids.data, ids.len, options, fn, user, result, diag);
    gal_ids_free(&ids);
    return err;
}

/* A caller's function, and whether all that went through was finite. */
typedef struct watch {
    gal_logits_fn fn;
    void *user;
    int64_t vocab;
    bool bad;
} watch;

static gal_err pass_on(void *user, const float *rows, int64_t n_rows, gal_diag *diag) {
    watch *w = user;
    w->bad = w->bad || !gal_all_finite(rows, n_rows * w->vocab);
    return w->fn(w->user, rows, n_rows, diag);
}

gal_err gal_lm_logits(gal_lm *lm, const int32_t *ids, size_t count, gal_logits_fn fn, void *user, gal_diag *diag) {
    if (count == 0) return gal_fail(diag, GAL_EUSAGE, "no ids were given");
    watch w = { .fn = fn, .user = user, .vocab = lm->model->config.V };
    (void)gal_engine_truncate(lm->engine, 0, 0);
    lm->held.len = 0;
    gal_err err = gal_engine_logits(lm->engine, 0, ids, (int64_t)count, pass_on, &w, diag);
    return err || !w.bad ? err : gal_model_check_finite(lm->model, diag);
}

const char *gal_lm_warning(const gal_lm *lm, size_t i) {
    return i < lm->model->n_warnings ? lm->model->warnings[i] : NULL;
}
