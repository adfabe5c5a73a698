/* setup_chat.c - training on conversations (data.chat): their template, and the run's own shards of them. Makes files
 * only in the run directory. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/mem.h"
#include "base/util.h"
#include "data/chats.h"
#include "formats/gguf.h"
#include "infer/chat_template.h"
#include "infer/lm.h"

#include <string.h>
#include <time.h>

typedef struct speaker {
    gal_chat_format *format; /* NULL until it is needed */
    gal_tokenizer *told;     /* the vocabulary as its folder has it, or NULL */
    bool inside;             /* ... or its GGUF file */
    const gal_tokenizer *tok;
    struct tm now; /* of the whole reading: a template may write the date */
} speaker;

static gal_err encode(void *user, const char *body, size_t n, gal_ids *ids, gal_buf *learned, gal_diag *diag) {
    const speaker *s = user;
    return gal_chat_format_learn(s->format, s->tok, &s->now, body, n, ids, learned, diag);
}

static void note_result(gal_trainer *t, const char *what, const gal_chats_result *r) {
    const double room = (double)r->rows * (double)t->config->batch.sequence;
    gal__train_note(t,
                    "%s: %llu conversations in %lld rows, %.1f %% of them filled; %lld of %lld tokens are targets; "
                    "longer than batch.sequence: %llu cut, %llu left out; without a target: %llu",
                    what, (unsigned long long)r->conversations, (long long)r->rows, 100 * (double)r->tokens / room,
                    (long long)r->targets, (long long)r->tokens, (unsigned long long)r->cut,
                    (unsigned long long)r->skipped, (unsigned long long)r->silent);
}

static bool all_there(const gal_strings *paths) {
    bool there = true;
    for (size_t i = 0; i < paths->n; i++) there = there && gal_is_file(paths->v[i]);
    return there;
}

/* What lies beside the vocabulary's file says of BOS what that alone does not. */
static bool begins_otherwise(const gal_trainer *t, const speaker *s) {
    return gal_tokenizer_begins(s->told) != gal_tokenizer_begins(t->tok);
}

/* A run's folder, and its checkpoints, say the template themselves where they can: a Jinja template lies in them,
 * and which of Mistral's it goes by where the vocabulary's file does not say that; and whether prompts begin
 * with BOS where that does not. */
static gal_err keep_format(gal_trainer *t, const speaker *s, gal_diag *diag) {
    const gal_chat_format *f = s->format;
    const gal_buf *source = gal_chat_format_source(f);
    const char *file = gal_tokenizer_file(t->tok);
    const bool pieces = strcmp(file, "tokenizer.model") == 0, other = begins_otherwise(t, s);
    if (source->len) {
        /* A version would rule. */
        gal_err err = s->inside || other ? gal__train_tell(t, s->told, -1, NULL, diag) : GAL_OK;
        return err ? err : gal__run_write(t, GAL__TRAIN_TEMPLATE, source, diag);
    }
    if (pieces && !gal_tokenizer_told(s->told)) return other ? gal__train_tell(t, s->told, 0, NULL, diag) : GAL_OK;
    if (!pieces && strcmp(file, "tokenizer.json") != 0) return GAL_OK;
    return gal__train_tell(t, s->told, gal_chat_format_version(f), gal_tokenizer_sections(s->told), diag);
}

/* Whether what the run's folder says leads to the same template. */
static void note_format(gal_trainer *t, const gal_chat_format *f) {
    const gal_buf *source = gal_chat_format_source(f);
    gal_tokenizer *tok = NULL;
    gal_chat_format *there = NULL;
    gal_err err = gal_tokenizer_open(&tok, t->dir, NULL);
    if (!err) err = gal_chat_format_open(&there, tok, t->dir, NULL, NULL);
    if (err || !gal_chat_format_same(f, there))
        gal__train_note(t, "the run's vocabulary alone does not say that: talk with it by --template %s",
                        source->len ? "jinja" : gal_chat_format_name(f));
    gal_chat_format_free(there);
    gal_tokenizer_free(tok);
}

/* The vocabulary's own folder says more than its bytes: by the end of its name, and by what lies beside it. */
static gal_err open_format(gal_trainer *t, speaker *s, gal_diag *diag) {
    const gal_train_config *g = t->config;
    const char *said = g->data.template;
    gal_diag why = { 0 };
    gal_buf at = { 0 }, file = { 0 };
    gal_err err = gal__train_vocabulary(gal__train_vocabulary_from(t), &at, &file, diag);
    gal_buf_clear(&file);
    s->inside = !err && gal_is_gguf(at.data);
    if (!err)
        err = s->inside ? gal_lm_load(NULL, &s->told, NULL, &file, at.data, diag)
                        : gal_tokenizer_open(&s->told, at.data, diag);
    if (!err) err = gal_chat_format_open(&s->format, s->told, at.data, g->data.chat.n && said[0] ? said : NULL, &why);
    const bool by_set = gal_settings_said(&GAL_TRAIN_SETTINGS, g, "data.template") == GAL_SAID_BY_SET;
    if (err == GAL_EUSAGE && by_set)
        err = gal_fail(diag, err, "--set data.template=%.200s: %s", said, why.text);
    else if (err && why.text[0])
        err = gal_fail(diag, err == GAL_EUSAGE ? GAL_EINPUT : err, "data.template: %s", why.text);
    gal_buf_free(&at);
    gal_buf_free(&file);
    return err;
}

static gal_err begin_format(gal_trainer *t, speaker *s, gal_diag *diag) {
    uint8_t a[32], b[32];
    if (s->format) return GAL_OK;
    gal_err err = open_format(t, s, diag);
    if (err) return err;
    gal__train_note(t, "conversations by template %s", gal_chat_format_name(s->format));
    gal_tokenizer_sha256(s->told, a);
    gal_tokenizer_sha256(t->tok, b);
    s->tok = memcmp(a, b, sizeof a) == 0 ? s->told : t->tok; /* shards are of the run's own */
    err = keep_format(t, s, diag);
    if (!err) note_format(t, s->format);
    return err;
}

static void close_format(speaker *s) {
    gal_chat_format_free(s->format);
    gal_tokenizer_free(s->told);
}

gal_err gal__train_keep_talk(gal_trainer *t, gal_diag *diag) {
    speaker s = { 0 };
    gal_diag why = { 0 };
    gal_err err = open_format(t, &s, &why);
    /* A guess from control pieces is made again by whoever talks. */
    if (!err && (gal_chat_format_source(s.format)->len || gal_tokenizer_told(s.told) || begins_otherwise(t, &s)))
        err = keep_format(t, &s, &why);
    close_format(&s);
    return !err || err == GAL_EINPUT ? GAL_OK : gal_fail(diag, err, "%s", why.text);
}

static gal_chats_options options_of(const gal_trainer *t, uint64_t first, uint64_t end, speaker *s) {
    const gal_train_config *g = t->config;
    return (gal_chats_options){ .encode = encode,
                                .user = s,
                                .sequence = g->batch.sequence,
                                .skip_long = g->data.long_chats,
                                .first = first,
                                .end = end,
                                .stop = t->options->stop,
                                .stop_user = t->options->user };
}

/* One that an earlier start of the run made is taken if it is of the same text. may_lack: without a target in it all
 * there is none, and the run goes on. */
static gal_err shard_of(gal_trainer *t, gal_shards *out, const char *name, const gal_strings *files, uint64_t first,
                        uint64_t end, bool may_lack, speaker *s, gal_diag *diag) {
    const gal_chats_options o = options_of(t, first, end, s);
    gal_buf path = { 0 };
    gal_chats_result r = { 0 };
    gal_diag why = { 0 };
    uint8_t tokenizer[32], source[32];
    uint64_t count = 0;
    gal_tokenizer_sha256(t->tok, tokenizer);
    gal_buf_printf(&path, "%s/data", t->dir);
    gal_err err = path.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", name) : gal_make_dirs(path.data, diag);
    gal_buf_printf(&path, "/%s", name);
    if (!err && path.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", name);
    const bool made = !err && t->resuming && gal_is_file(path.data), text = all_there(files);
    if (!err && !made && !text && t->resuming)
        err = gal_fail(diag, GAL_EINPUT, "%s: the run's shard is missing, and so is its text", path.data);
    if (!err && !made) err = begin_format(t, s, diag);
    if (!err && !made) {
        err = gal_chats_write(path.data, files->v, files->n, t->tok, &o, &r, &why);
        if (!err) note_result(t, name, &r);
    }
    if (err && r.nothing && may_lack) {
        gal__train_note(t,
                        "%s: of the conversations that are held out %llu have no target and %llu are too long: "
                        "nothing is validated",
                        name, (unsigned long long)r.silent, (unsigned long long)r.skipped);
        gal_buf_free(&path);
        return GAL_OK;
    }
    if (err && why.err) err = gal_fail(diag, err, "%s", why.text);
    if (!err) err = gal_shards_open(out, &path.data, 1, tokenizer, diag);
    if (!err && made && text) err = gal_chats_source(files->v, files->n, &o, &count, source, diag);
    if (!err && made && text && memcmp(source, out->shards[0].source, 32) != 0)
        err = gal_fail(diag, GAL_EINPUT, "%s: made from other conversations than those in %s now", path.data,
                       files->v[0]);
    gal_buf_free(&path);
    return err;
}

/* Conversations from *border on are those to validate with, where no others are named. */
static gal_err border_of(const gal_trainer *t, uint64_t *border, bool *split, gal_diag *diag) {
    const gal_train_config *g = t->config;
    uint8_t sha[32];
    uint64_t count = 0;
    *border = UINT64_MAX;
    *split = false;
    if (g->data.chat_valid.n || !(g->data.valid_fraction > 0) || !all_there(&g->data.chat)) return GAL_OK;
    const gal_chats_options o = options_of(t, 0, UINT64_MAX, NULL);
    gal_err err = gal_chats_source(g->data.chat.v, g->data.chat.n, &o, &count, sha, diag);
    const uint64_t held = (uint64_t)((double)count * g->data.valid_fraction);
    *split = held > 0 && held < count;
    if (*split) *border = count - held;
    return err;
}

gal_err gal__train_setup_chat(gal_trainer *t, gal_diag *diag) {
    const gal_train_config *g = t->config;
    const time_t seconds = (time_t)gal_unix_time_s();
    gal_shards train = { 0 };
    speaker s = { 0 };
    uint64_t border = UINT64_MAX;
    bool split = false;
    gal_err err = gal__train_setup_tokenizer(t, NULL, 0, diag);
    if (err) return err;
    const bool text = all_there(&g->data.chat) && all_there(&g->data.chat_valid);
    (void)localtime_r(&seconds, &s.now);
    if (!err) err = border_of(t, &border, &split, diag);
    if (!err) err = shard_of(t, &train, "train.shard", &g->data.chat, 0, border, false, &s, diag);
    if (!err) err = gal_mix_of_one(&t->train, &train, g->data.chat.v[0], diag);
    gal_buf valid = { 0 };
    gal_buf_printf(&valid, "%s/data/valid.shard", t->dir);
    if (!err && valid.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err && g->data.chat_valid.n)
        err = shard_of(t, &t->valid, "valid.shard", &g->data.chat_valid, 0, UINT64_MAX, false, &s, diag);
    else if (!err && (split || (t->resuming && !text && gal_is_file(valid.data))))
        err = shard_of(t, &t->valid, "valid.shard", &g->data.chat, border, UINT64_MAX, true, &s, diag);
    gal_buf_free(&valid);
    gal_shards_close(&train);
    close_format(&s);
    return err;
}
