/* setup.c - from a configuration to a trainer: vocabulary, token shards, weights, optimiser. Makes files only in the
 * run directory (and in data.shards, where one is given). SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/numa.h"
#include "formats/gguf.h"
#include "infer/lm.h"
#include "text/bpe_train.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_MAX_BYTES = 1 << 28 };

/* ---- vocabulary --------------------------------------------------------------------------------------------------
 */

static gal_err train_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_docs, gal_diag *diag) {
    gal_bpe_options options;
    gal_bpe_trainer *b = NULL;
    gal_bpe_options_init(&options);
    options.vocab_size = (int32_t)t->config->tokenizer.train_size;
    options.memory_bytes = (uint64_t)t->config->tokenizer.memory_mib << 20;
    options.normalizer = (gal_normalizer)t->config->tokenizer.normalizer;
    options.sample_seed = (uint64_t)t->config->seed;
    options.take_possible = true; /* a small text gives a small vocabulary; the note says how small */
    gal_err err = gal_bpe_trainer_new(&b, &options, diag);
    while (!err) {
        for (size_t i = 0; !err && i < n_docs; i++)
            err = gal_bpe_trainer_add(b, c->text.data + c->docs[i].at, c->docs[i].bytes, diag);
        if (!err) err = gal_bpe_trainer_run(b, &t->tok_bytes, diag);
        if (err || !gal_bpe_trainer_again(b)) break;
    }
    if (!err) {
        gal_bpe_lines lines = gal_bpe_trainer_lines(b);
        if (lines.counted < lines.all)
            gal__train_note(t, "tokenizer: %llu of %llu lines counted, drawn by seed, within %lld MiB of memory",
                            (unsigned long long)lines.counted, (unsigned long long)lines.all,
                            (long long)t->config->tokenizer.memory_mib);
    }
    if (!err && t->tok_bytes.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a vocabulary");
    gal_bpe_trainer_free(b);
    return err;
}

/* Of the file that a path means: itself, or the first of a folder's vocabularies; from gets its name. */
static gal_err read_tokenizer(gal_trainer *t, const char *path, gal_buf *from, gal_diag *diag) {
    static const char *const NAMES[] = { "tekken.json",        "tokenizer.model.v7", "tokenizer.model.v3",
                                         "tokenizer.model.v2", "tokenizer.model.v1", "tokenizer.model",
                                         "tokenizer.json" };
    if (!gal_is_dir(path)) {
        gal_buf_puts(from, path);
        return gal_read_file(&t->tok_bytes, path, TOKENIZER_MAX_BYTES, diag);
    }
    gal_err err = GAL_OK;
    bool found = false;
    for (size_t i = 0; !err && !found && i < GAL_LEN(NAMES); i++) {
        if (!gal_path_join(from, path, NAMES[i])) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
        found = !err && gal_is_file(from->data);
    }
    if (found)
        err = gal_read_file(&t->tok_bytes, from->data, TOKENIZER_MAX_BYTES, diag);
    else if (!err)
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: expected tekken.json, tokenizer.model or tokenizer.json in this folder, found none",
                       path);
    return err;
}

static gal_err open_tokenizer(gal_trainer *t, const char *name, gal_diag *diag) {
    gal_err err = gal_tokenizer_open_bytes(&t->tok, t->tok_bytes.data, t->tok_bytes.len, name, diag);
    return err ? err : gal__train_token_bytes(t, diag);
}

/* The vocabulary inside a GGUF file, as a file of its own that opens to the same. */
static gal_err unwrap_tokenizer(gal_trainer *t, const char *path, gal_diag *diag) {
    gal_tokenizer *inside = NULL, *own = NULL;
    gal_buf at = { 0 };
    gal_diag what = { 0 };
    gal_err err = gal_lm_load(NULL, &inside, NULL, &at, path, diag);
    if (!err && !inside)
        err = gal_fail(diag, GAL_EINPUT, "%s: no vocabulary that is understood is inside: expected tokenizer.path",
                       path);
    if (!err)
        err = gal_tokenizer_of_bytes(inside) ? gal_tokenizer_print_hf(inside, &t->tok_bytes, diag)
                                             : gal_tokenizer_print_spm(inside, &t->tok_bytes, diag);
    if (!err && t->tok_bytes.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for its vocabulary", path);
    if (!err) err = gal_tokenizer_open_bytes(&own, t->tok_bytes.data, t->tok_bytes.len, path, diag);
    if (!err && !gal_tokenizer_same(inside, own, &what))
        err = gal_fail(diag, GAL_EINPUT, "%s: no file of its own holds its vocabulary: %s: expected tokenizer.path",
                       path, what.text);
    gal_tokenizer_free(own);
    gal_tokenizer_free(inside);
    gal_buf_free(&at);
    return err;
}

static gal_err new_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_train, gal_diag *diag) {
    const gal_train_config *g = t->config;
    const bool own = !g->tokenizer.path[0] && !g->init[0];
    const char *from = own ? t->dir : g->tokenizer.path[0] ? g->tokenizer.path : g->init;
    gal_buf path = { 0 };
    gal_err err = own                 ? train_tokenizer(t, c, n_train, diag)
                  : gal_is_gguf(from) ? unwrap_tokenizer(t, from, diag)
                                      : read_tokenizer(t, from, &path, diag);
    if (!err) err = open_tokenizer(t, path.len ? path.data : from, diag);
    if (!err && !gal_path_join(&path, t->dir, gal_tokenizer_file(t->tok)))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err) err = gal_write_file(path.data, t->tok_bytes.data, t->tok_bytes.len, diag);
    gal_buf_free(&path);
    return err;
}

gal_err gal__train_setup_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_train, gal_diag *diag) {
    if (!t->resuming) return new_tokenizer(t, c, n_train, diag);
    gal_buf file = { 0 };
    gal_err err = read_tokenizer(t, t->dir, &file, diag);
    if (!err) err = open_tokenizer(t, file.len ? file.data : t->dir, diag);
    gal_buf_free(&file);
    return err;
}

/* ---- shards ------------------------------------------------------------------------------------------------------
 */

gal_err gal__train_setup_shard(gal_trainer *t, gal_shards *out, const char *name, const gal_corpus *c, size_t first,
                               size_t n, gal_diag *diag) {
    const char *shared = t->config->data.shards;
    gal_buf dir = { 0 }, path = { 0 };
    uint8_t tokenizer[32];
    gal_tokenizer_sha256(t->tok, tokenizer);
    if (shared[0])
        gal_buf_puts(&dir, shared);
    else
        gal_buf_printf(&dir, "%s/data", t->dir);
    gal_err err = !dir.oom && gal_path_join(&path, dir.data, name)
                      ? gal_make_dirs(dir.data, diag)
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory", name);
    /* In a fresh run's own folder lies at most what an attempt that failed left behind. */
    bool there = !err && gal_is_file(path.data) && (t->resuming || shared[0]);
    if (!err && !there && !c)
        err = gal_fail(diag, GAL_EINPUT, "%s: the run's token shard is missing, and so is its text", path.data);
    if (!err && !there) err = gal_shard_write(path.data, c, first, n, t->tok, diag);
    gal_shards s = { 0 };
    if (!err) err = gal_shards_open(&s, &path.data, 1, tokenizer, diag);
    if (!err && c && there) err = gal_shard_made_from(&s.shards[0], path.data, c, first, n, diag);
    if (err)
        gal_shards_close(&s);
    else
        *out = s;
    gal_buf_free(&dir);
    gal_buf_free(&path);
    return err;
}

static gal_err train_shard(gal_trainer *t, const char *name, const gal_corpus *c, size_t first, size_t n,
                           gal_diag *diag) {
    gal_shards s = { 0 };
    const char *text = t->config->data.text.n ? t->config->data.text.v[0] : t->dir;
    gal_err err = gal__train_setup_shard(t, &s, name, c, first, n, diag);
    if (!err) err = gal_mix_of_one(&t->train, &s, text, diag);
    gal_shards_close(&s);
    return err;
}

static gal_err too_small(const gal_trainer *t, size_t bytes, size_t docs, gal_diag *diag) {
    const gal_train_config *g = t->config;
    return gal_fail(diag, GAL_EINPUT,
                    "%s: too small to train on: %zu bytes of text in %zu documents, and one row of "
                    "batch.sequence %lld needs %lld tokens",
                    g->data.text.v[0], bytes, docs, (long long)g->batch.sequence, (long long)g->batch.sequence + 1);
}

/* With the corpora in hand. v: validation corpus, or NULL for the end of c. */
static gal_err setup_from_corpora(gal_trainer *t, gal_corpus *c, gal_corpus *v, gal_diag *diag) {
    const gal_train_config *g = t->config;
    size_t n_train = c->n_docs, bytes = gal_corpus_bytes(c, 0, c->n_docs);
    /* A document has at most its bytes, a first space, BOS and EOS as tokens. */
    if (bytes + 3 * c->n_docs < (size_t)g->batch.sequence + 1) return too_small(t, bytes, c->n_docs, diag);
    gal_err err = GAL_OK;
    if (!v && g->data.valid_fraction > 0) err = gal_corpus_split(c, g->data.valid_fraction, &n_train, diag);
    if (err) return err;
    size_t n_valid = v ? v->n_docs : c->n_docs - n_train;
    err = gal__train_setup_tokenizer(t, c, n_train, diag);
    if (!err) err = train_shard(t, "train.shard", c, 0, n_train, diag);
    if (!err && n_valid)
        err = gal__train_setup_shard(t, &t->valid, "valid.shard", v ? v : c, v ? 0 : n_train, n_valid, diag);
    return err;
}

/* The shards of a run whose text is gone. */
static gal_err setup_from_shards(gal_trainer *t, gal_diag *diag) {
    gal_err err = gal__train_setup_tokenizer(t, NULL, 0, diag);
    if (!err) err = train_shard(t, "train.shard", NULL, 0, 0, diag);
    bool valid = t->config->data.valid.n > 0 || t->config->data.valid_fraction > 0;
    return err || !valid ? err : gal__train_setup_shard(t, &t->valid, "valid.shard", NULL, 0, 0, diag);
}

gal_err gal__train_setup_data(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *g = t->config;
    bool text = true;
    for (size_t i = 0; i < g->data.text.n; i++) text = text && gal_is_file(g->data.text.v[i]);
    for (size_t i = 0; i < g->data.valid.n; i++) text = text && gal_is_file(g->data.valid.v[i]);
    gal_err err = GAL_OK;
    if (g->data.chat.n) {
        err = gal__train_setup_chat(t, diag);
    } else if (!g->data.text.n) {
        err = gal__train_setup_shards(t, diag);
    } else if (t->resuming && !text) {
        gal__train_note(t, "the text is gone; the run's token shards are used as they are");
        err = setup_from_shards(t, diag);
    } else {
        gal_corpus c = { 0 }, v = { 0 };
        const gal_reader_options o = { .separator = g->data.separator, .field = g->data.field };
        err = gal_corpus_read(&c, g->data.text.v, g->data.text.n, &o, diag);
        if (!err && g->data.valid.n) err = gal_corpus_read(&v, g->data.valid.v, g->data.valid.n, &o, diag);
        if (!err) err = setup_from_corpora(t, &c, g->data.valid.n ? &v : NULL, diag);
        gal_corpus_free(&c);
        gal_corpus_free(&v);
    }
    if (err) return err;
    t->has_valid = (t->valid.row ? t->valid.n_targets : t->valid.n_tokens - t->valid.n_docs) > 0;
    if (t->has_valid) err = gal_shards_fit(&t->valid, g->batch.sequence, GAL_PACKING_MASKED, "validation", diag);
    if (err) return err;
    err = gal__train_setup_rows(t, diag);
    if (err) return err;
    gal__train_note(
        t,
        "text: %lld bytes, %lld tokens in %lld documents to train on; %lld bytes, %lld tokens to validate "
        "on; vocabulary %d",
        (long long)t->train.text_bytes, (long long)t->train.n_tokens, (long long)t->train.n_docs,
        (long long)t->valid.text_bytes, (long long)t->valid.n_tokens, (int)gal_tokenizer_size(t->tok));
    return GAL_OK;
}

/* ---- model -------------------------------------------------------------------------------------------------------
 */

static gal_err fresh_model(gal_trainer *t, const char *from, gal_diag *diag) {
    gal_config c = { 0 };
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    if (from) {
        err = gal_path_join(&path, from, "config.json") ? gal_config_read(&c, path.data, diag)
                                                        : gal_fail(diag, GAL_ENOMEM, "%s: no memory", from);
    } else {
        err = gal_train_model_config(&c, t->config, gal_tokenizer_size(t->tok), gal_tokenizer_bos(t->tok),
                                     gal_tokenizer_eos(t->tok), "configuration", diag);
    }
    gal_buf_free(&path);
    if (!err) err = gal_model_build(&t->model, &c, diag);
    if (err) {
        gal_config_free(&c);
        return err;
    }
    uint64_t need = (uint64_t)gal_model_params(t->model) * sizeof(float), available = gal_memory_available();
    if (need > available)
        return gal_fail(diag, GAL_ENOMEM, "memory: %lld weights need %llu bytes, %llu are available",
                        (long long)gal_model_params(t->model), (unsigned long long)need,
                        (unsigned long long)available);
    return gal_model_init(t->model, GAL_F32, (uint64_t)t->config->seed, diag);
}

static gal_err load_init(gal_trainer *t, gal_diag *diag) {
    gal_err err = gal_model_load(&t->model, t->config->init, diag);
    if (!err) err = gal_model_check_finite(t->model, diag); /* every weight is read in training anyway */
    if (!err && t->model->n_warnings) err = gal_fail(diag, GAL_EINPUT, "%s", t->model->warnings[0]);
    if (!err && t->model->adapters)
        err = gal_fail(diag, GAL_EINPUT, "init: %s has adapters: merge them with galerne convert first",
                       t->config->init);
    return err;
}

/* What adapter_config.json will say. */
static gal_err describe_lora(gal_trainer *t, gal_diag *diag) {
    static const char *const ALL[] = { "q", "k", "v", "o", "up", "down", "gate" };
    const gal_train_config *g = t->config;
    const gal_strings *said = &g->lora.targets;
    gal_lora_config *c = &t->lora;
    *c = (gal_lora_config){ .rank = g->lora.rank, .alpha = g->lora.alpha, .scaling = -1 };
    size_t all = GAL_LEN(ALL) - (t->model->config.relative ? 1 : 0), /* Gopher has no gate */
        n = said->n                    ? said->n
            : t->model->config.experts ? 4
                                       : all;
    char *full = realpath(g->init, NULL);
    c->base = gal_strdup(full ? full : g->init);
    c->targets = gal_alloc_array(n, sizeof *c->targets);
    free(full); /* NOLINT: realpath()'s own */
    bool ok = c->base && c->targets;
    for (; ok && c->n_targets < n; c->n_targets++) {
        char *name = gal_strdup(gal_lora_target(said->n ? said->v[c->n_targets] : ALL[c->n_targets]));
        c->targets[c->n_targets] = name;
        ok = name != NULL;
    }
    return ok ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the description of adapters");
}

/* The model of init stays where and as it lies; its adapters are what is trained. */
static gal_err adapted_model(gal_trainer *t, gal_diag *diag) {
    gal_err err = load_init(t, diag);
    if (!err) err = describe_lora(t, diag);
    if (!err) err = gal_lora_new(t->model, &t->lora, (uint64_t)t->config->seed, diag);
    if (err) return err;
    t->trained = t->model->adapters->weights;
    t->n_trained = 2 * t->model->adapters->count;
    return GAL_OK;
}

int64_t gal__train_params(const gal_trainer *t) {
    int64_t n = 0;
    for (size_t i = 0; i < t->n_trained; i++) n += gal_wcount(&t->trained[i]);
    return n;
}

gal_err gal__train_setup_device(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *g = t->config;
    gal_device_options d = { .cpu = g->device.cpu[0] ? g->device.cpu : NULL,
                             .threads = (int)g->device.threads,
                             .device = g->device.name,
                             .numa = g->device.numa == GAL_NUMA_ONE ? "one" : "auto" };
    gal_err err = gal_dev_open(&t->dev, &d, diag);
    if (!err) t->dev->watch = t->watch;
    return err;
}

gal_err gal__train_setup_model(gal_trainer *t, const char *from, gal_diag *diag) {
    const gal_train_config *g = t->config;
    gal_err err = GAL_OK;
    if (g->lora.rank) {
        err = adapted_model(t, diag);
    } else if (!from && g->init[0]) {
        err = load_init(t, diag);
        if (!err && t->model->config.layout != GAL_LAYOUT_HF)
            err = gal_fail(
                diag, GAL_EINPUT,
                "init: %s: to train all weights, expected Hugging Face's layout (galerne convert makes it); "
                "adapters (lora.rank) train beside any",
                g->init);
        if (!err) err = gal_model_own(t->model, diag); /* loaded ones lie read-only in files */
    } else {
        err = fresh_model(t, from, diag);
    }
    if (err) return err;
    if (!t->trained) {
        t->trained = t->model->weights;
        t->n_trained = t->model->n_weights;
    }
    if (t->model->config.V <= t->train.largest_id || t->model->config.V <= t->valid.largest_id)
        return gal_fail(diag, GAL_EINPUT,
                        "the model has %lld vocabulary entries, the text holds token %lld: the tokenizer "
                        "is not the model's",
                        (long long)t->model->config.V, (long long)GAL_MAX(t->train.largest_id, t->valid.largest_id));
    err = gal_model_to_device(t->model, t->dev, diag);
    if (err) return err;
    const gal_optim_options o = gal_train_optim_options(g);
    uint64_t need = gal_optim_bytes(t->trained, t->n_trained, &o);
    uint64_t available = gal_dev_available(t->dev);
    if (need > available)
        return gal_fail(diag, GAL_ENOMEM,
                        "memory: gradients and states of %lld weights need %llu bytes, %llu are "
                        "available",
                        (long long)gal__train_params(t), (unsigned long long)need, (unsigned long long)available);
    t->schedule = gal_train_schedule(g);
    err = gal_optim_new(&t->opt, t->dev, t->trained, t->n_trained, GAL__TRAIN_SET, &o, diag);
    if (!err) err = gal_ctx_new(&t->cx, t->dev, gal_precision_compute(o.precision), diag);
    return err ? err : gal__train_step_memory(t, diag);
}
