/* setup.c - from a configuration to a trainer: token shards, weights, optimiser. Makes files only in the run
 * directory (and in data.shards, where one is given). SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/numa.h"

#include <string.h>

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
    gal_diag other = { 0 };
    gal_err made = !err && c && there ? gal_shard_made_from(&s.shards[0], path.data, c, first, n, &other) : GAL_OK;
    if (made && t->resuming)
        err = gal_fail(diag, made, "%s: a run that is resumed keeps its text, and that is another one now",
                       path.data);
    else if (made)
        err = gal_fail(diag, made, "%s", other.text);
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

static void note_invalid(gal_trainer *t, const gal_corpus *c) {
    if (c->invalid)
        gal__train_note(t,
                        "warning: %llu of %zu documents hold what is no UTF-8 and reads as U+FFFD, the first at %s",
                        (unsigned long long)c->invalid, c->n_docs, c->first_invalid.text);
}

/* With the corpora in hand. v: validation corpus, or NULL for the end of c. */
static gal_err setup_from_corpora(gal_trainer *t, gal_corpus *c, gal_corpus *v, gal_diag *diag) {
    const gal_train_config *g = t->config;
    size_t n_train = c->n_docs, bytes = gal_corpus_bytes(c, 0, c->n_docs);
    /* A document has at most its bytes, a first space, BOS and EOS as tokens. */
    if (bytes + 3 * c->n_docs < (size_t)g->batch.sequence + 1) return too_small(t, bytes, c->n_docs, diag);
    note_invalid(t, c);
    if (v) note_invalid(t, v);
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

gal_err gal__train_check_weights(const gal_trainer *t, gal_diag *diag) {
    uint64_t need = (uint64_t)gal_model_params(t->model) * sizeof(float), available = gal_memory_available();
    if (need <= available) return GAL_OK;
    return gal_fail(diag, GAL_ENOMEM, "memory: %lld weights need %llu bytes, %llu are available",
                    (long long)gal_model_params(t->model), (unsigned long long)need, (unsigned long long)available);
}

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
    err = gal__train_check_weights(t, diag);
    if (err) return err;
    return gal_model_init(t->model, GAL_F32, (uint64_t)t->config->seed, diag);
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
    if (g->lora.rank)
        err = gal__train_setup_adapted(t, diag);
    else if (!from && g->init[0])
        err = gal__train_setup_whole(t, diag);
    else
        err = fresh_model(t, from, diag);
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
    uint64_t need = gal_optim_bytes(t->dev, t->trained, t->n_trained, &o);
    uint64_t available = gal_dev_available(t->dev);
    if (need > available)
        return gal_fail(diag, GAL_ENOMEM,
                        "memory: gradients and states of %lld weights need %llu bytes, %llu are "
                        "available",
                        (long long)gal__train_params(t), (unsigned long long)need, (unsigned long long)available);
    t->schedule = gal_train_schedule(g);
    const uint64_t before = gal_memory_resident();
    err = gal_optim_new(&t->opt, t->dev, t->trained, t->n_trained, GAL__TRAIN_SET, &o, diag);
    const uint64_t after = gal_memory_resident();
    t->states_resident = after > before ? after - before : 0;
    if (!err) err = gal_ctx_new(&t->cx, t->dev, gal_precision_compute(o.precision), diag);
    return err ? err : gal__train_step_memory(t, diag);
}
