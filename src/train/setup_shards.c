/* setup_shards.c - training on token shards that are there: a list of them, or a mixture of sources with weights.
 * Owns nothing; makes files only in the run directory. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- what is trained on ------------------------------------------------------------------------------------------
 */

static gal_err open_mixture(gal_trainer *t, const uint8_t tokenizer[32], gal_diag *diag) {
    const gal_train_config *g = t->config;
    const size_t n = g->data.mixture.n;
    gal_mix_part *parts = gal_alloc_array(n, sizeof *parts);
    gal_train_source *sources = gal_alloc_array(n, sizeof *sources);
    gal_err err = parts && sources ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for %zu sources", n);
    for (size_t i = 0; !err && i < n; i++) {
        gal_train_source *s = &sources[i];
        err = gal_train_source_at(s, g, i, "configuration", diag);
        parts[i] = (gal_mix_part){ .name = g->data.preset == GAL_PRESET_NONE ? s->path : s->label,
                                   .weight = s->weight,
                                   .paths = &s->path,
                                   .n_paths = 1 };
    }
    if (!err) err = gal_mix_open(&t->train, parts, n, tokenizer, diag);
    gal_free(parts);
    gal_free(sources);
    return err;
}

static gal_err open_valid(gal_trainer *t, const uint8_t tokenizer[32], gal_diag *diag) {
    const gal_train_config *g = t->config;
    gal_err err = GAL_OK;
    if (g->data.valid_shards.n) {
        char **paths = NULL;
        size_t n = 0;
        err = gal_shards_find(g->data.valid_shards.v, g->data.valid_shards.n, &paths, &n, diag);
        if (!err) err = gal_shards_open(&t->valid, paths, n, tokenizer, diag);
        if (!err) err = gal_shards_bounded_by(&t->valid, t->tok, diag);
        gal_free_names(paths, n);
        return err;
    }
    if (!g->data.valid.n) return GAL_OK;
    bool text = true;
    for (size_t i = 0; i < g->data.valid.n; i++) text = text && gal_is_file(g->data.valid.v[i]);
    if (t->resuming && !text) return gal__train_setup_shard(t, &t->valid, "valid.shard", NULL, 0, 0, diag);
    const gal_reader_options o = { .separator = g->data.separator, .field = g->data.field };
    gal_corpus v = { 0 };
    err = gal_corpus_read(&v, g->data.valid.v, g->data.valid.n, &o, diag);
    if (!err) err = gal__train_setup_shard(t, &t->valid, "valid.shard", &v, 0, v.n_docs, diag);
    gal_corpus_free(&v);
    return err;
}

gal_err gal__train_setup_shards(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *g = t->config;
    uint8_t tokenizer[32];
    gal_err err = gal__train_setup_tokenizer(t, NULL, 0, diag);
    if (err) return err;
    gal_tokenizer_sha256(t->tok, tokenizer);
    if (g->data.mixture.n) {
        err = open_mixture(t, tokenizer, diag);
    } else {
        const gal_mix_part all = {
            .name = g->data.train.v[0], .weight = 1, .paths = g->data.train.v, .n_paths = g->data.train.n
        };
        err = gal_mix_open(&t->train, &all, 1, tokenizer, diag);
    }
    for (size_t i = 0; !err && i < t->train.n; i++)
        err = gal_shards_bounded_by(&t->train.sources[i].shards, t->tok, diag);
    return err ? err : open_valid(t, tokenizer, diag);
}

/* ---- rows --------------------------------------------------------------------------------------------------------
 */

gal_err gal__train_setup_rows(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *g = t->config;
    gal_err err = gal_mix_order(&t->train, (uint64_t)g->seed, g->batch.sequence, (gal_packing)g->data.packing, diag);
    if (err || g->data.text.n || g->data.chat.n) return err;
    const double rows = gal_train_config_tokens(g) / (double)g->batch.sequence;
    for (size_t i = 0; i < t->train.n; i++) {
        const gal_mix_source *s = &t->train.sources[i];
        gal__train_note(t, "source %.400s: %lld tokens in %zu shards, weight %.2f %%, %.3g epochs in %lld steps",
                        s->name, (long long)s->shards.n_tokens, s->shards.n, 100 * s->weight,
                        gal_mix_epochs(&t->train, i, rows), (long long)g->steps);
    }
    return GAL_OK;
}

/* How many rows came from each source by now, as facts of the metrics. */
static gal_err note_rows(gal_trainer *t, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && t->train.n > 1 && i < t->train.n; i++) {
        char key[40], value[40];
        (void)snprintf(key, sizeof key, "rows_of_source_%zu", i);
        (void)snprintf(value, sizeof value, "%llu", (unsigned long long)gal_mix_rows_of(&t->train, &t->place, i));
        err = gal_metrics_fact(t->metrics, key, value, diag);
        (void)snprintf(key, sizeof key, "source_%zu", i);
        if (!err) err = gal_metrics_fact(t->metrics, key, t->train.sources[i].name, diag);
    }
    return err;
}

gal_err gal__train_check_data(gal_trainer *t, gal_diag *diag) {
    gal_buf notes = { 0 };
    gal_feed_rest(t->feed); /* its thread reads marks that are about to change */
    gal_err err = gal_mix_unchanged(&t->train, &notes, diag);
    if (!err) err = gal_shards_unchanged(&t->valid, &notes, diag);
    char *save = notes.data;
    while (save && *save) {
        size_t n = strcspn(save, "\n");
        gal__train_note(t, "%.*s", (int)GAL_MIN(n, (size_t)900), save);
        save += n + (save[n] == '\n');
    }
    gal_buf_free(&notes);
    return err ? err : note_rows(t, diag);
}
