/* setup_vocab.c - the run's vocabulary: learnt from its text, or taken from a path - a file, the folder of a model, a
 * GGUF file, from inside - into a file of the run's own, which checkpoints keep. SPDX-License-Identifier: Apache-2.0
 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "infer/lm.h"
#include "infer/vocab_config.h"
#include "text/bpe_train.h"

#include <string.h>

enum { TOKENIZER_MAX_BYTES = 1 << 28, TOLD_MAX_BYTES = 1 << 26, MOST_HOPS = 3 };

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

/* ---- where one lies ----------------------------------------------------------------------------------------------
 */

/* What a folder without a vocabulary stands for: a run's checkpoint, the one GGUF file in it, an adapter's base. */
static gal_err behind(const char *dir, gal_buf *next, gal_diag *diag) {
    gal_diag why = { 0 };
    gal_err err = gal_lora_base(dir, next, &why);
    if (!err && !next->len) err = gal_model_find(dir, next, &why);
    if (err) gal_buf_clear(next);
    return err == GAL_ENOMEM ? gal_fail(diag, err, "%s", why.text) : GAL_OK;
}

static gal_err none_in(const char *path, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT,
                    "%s: expected tekken.json, tokenizer.model or tokenizer.json in this folder, found none", path);
}

gal_err gal__train_vocabulary(const char *path, gal_buf *at, gal_buf *file, gal_diag *diag) {
    gal_buf next = { 0 };
    gal_err err = GAL_OK;
    gal_buf_puts(at, path);
    for (int hops = 0; !err && hops < MOST_HOPS; hops++) {
        if (at->oom || file->oom || next.oom) {
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
        } else if (gal_is_dir(at->data)) {
            err = gal_tokenizer_in(file, at->data, diag);
        } else {
            gal_buf_puts(file, at->data);
        }
        if (err || file->len) break;
        gal_buf_clear(&next);
        err = behind(at->data, &next, diag);
        if (err || !next.len || strcmp(next.data, at->data) == 0) break;
        gal_buf_clear(at);
        gal_buf_puts(at, next.data);
    }
    gal_buf_free(&next);
    if (!err && (at->oom || file->oom)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    return err || file->len ? err : none_in(path, diag);
}

/* ---- the run's own -----------------------------------------------------------------------------------------------
 */

gal_err gal__train_tell(const gal_trainer *t, const gal_tokenizer *inside, int version, const char *sections,
                        gal_diag *diag) {
    gal_buf text = { 0 };
    json_t *o = inside ? gal_vocab_config(inside, gal_tokenizer_begins(inside), false) : json_object();
    bool bad = !o;
    if (version < 0) {
        (void)json_object_del(o, "galerne_chat_version");
        (void)json_object_del(o, "galerne_chat_tekken");
    }
    if (version > 0) bad |= json_object_set_new(o, "galerne_chat_version", json_integer(version)) != 0;
    if (sections) bad |= json_object_set_new(o, "galerne_chat_tekken", json_string(sections)) != 0;
    gal_err err = bad ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for " GAL__TRAIN_TOLD, t->dir)
                      : gal__json_print(o, &text, GAL__TRAIN_TOLD, diag);
    if (!err) err = gal__run_write(t, GAL__TRAIN_TOLD, &text, diag);
    json_decref(o);
    gal_buf_free(&text);
    return err;
}

/* The kind of the vocabulary and whether texts begin with BOS; of a tekken.json nothing. What templates need is for
 * the run's own file to say: a version would rule where it says none. */
static json_t *plain_config(const gal_tokenizer *tok) {
    const bool tekken = strcmp(gal_tokenizer_file(tok), "tekken.json") == 0;
    json_t *o = tekken ? json_object() : gal_vocab_config(tok, gal_tokenizer_begins(tok), false);
    (void)json_object_del(o, "galerne_chat_version");
    (void)json_object_del(o, "galerne_chat_tekken");
    return o;
}

gal_err gal__train_told(const gal_trainer *t, gal_buf *out, gal_diag *diag) {
    gal_buf path = { 0 };
    json_t *own = NULL, *o = plain_config(t->tok);
    gal_err err = o && gal_path_join(&path, t->dir, GAL__TRAIN_TOLD)
                      ? GAL_OK
                      : gal_fail(diag, GAL_ENOMEM, "%s: no memory for " GAL__TRAIN_TOLD, t->dir);
    if (!err && gal_is_file(path.data)) err = gal__json_read(&own, path.data, TOLD_MAX_BYTES, diag);
    if (!err && own && json_object_update(o, own))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for " GAL__TRAIN_TOLD, t->dir);
    if (!err && json_object_size(o)) err = gal__json_print(o, out, path.data, diag);
    json_decref(own);
    json_decref(o);
    gal_buf_free(&path);
    return err;
}

/* The vocabulary inside a GGUF file, as files that open to the same: those that galerne convert makes. */
static gal_err unwrap(gal_trainer *t, const char *gguf, gal_diag *diag) {
    gal_tokenizer *inside = NULL;
    gal_buf path = { 0 };
    gal_diag what = { 0 };
    gal_err err = gal_lm_load(NULL, &inside, NULL, &path, gguf, diag);
    if (!err && !inside)
        err = gal_fail(diag, GAL_EINPUT, "%s: no vocabulary that is understood is inside: expected tokenizer.path",
                       gguf);
    const bool bytes = !err && gal_tokenizer_of_bytes(inside);
    const char *name = bytes ? "tokenizer.json" : "tokenizer.model";
    if (!err)
        err = bytes ? gal_tokenizer_print_hf(inside, &t->tok_bytes, diag)
                    : gal_tokenizer_print_spm(inside, &t->tok_bytes, diag);
    if (!err) err = gal__train_tell(t, inside, 0, NULL, diag);
    if (!err) err = gal__run_write(t, name, &t->tok_bytes, diag);
    if (!err && !gal_path_join(&path, t->dir, name)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    if (!err) err = gal_tokenizer_open(&t->tok, path.data, diag);
    if (!err && !gal_tokenizer_same(inside, t->tok, &what))
        err = gal_fail(diag, GAL_EINPUT, "%s: no file of its own holds its vocabulary: %s: expected tokenizer.path",
                       gguf, what.text);
    if (!err && gal_tokenizer_eos(inside) != gal_tokenizer_eos(t->tok))
        err = gal_fail(
            diag, GAL_EINPUT,
            "%s: no file of its own holds its vocabulary: texts end with id %d, which is no control piece: "
            "expected tokenizer.path",
            gguf, (int)gal_tokenizer_eos(inside));
    gal_tokenizer_free(inside);
    gal_buf_free(&path);
    return err;
}

/* What an attempt that failed has left of how it talks. */
static gal_err forget_talk(const gal_trainer *t, gal_diag *diag) {
    static const char *const NAMES[] = { GAL__TRAIN_TEMPLATE, GAL__TRAIN_TOLD };
    gal_buf path = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < GAL_LEN(NAMES); i++)
        err = gal_path_join(&path, t->dir, NAMES[i]) ? gal_remove_tree(path.data, diag)
                                                     : gal_fail(diag, GAL_ENOMEM, "%s: no memory", t->dir);
    gal_buf_free(&path);
    return err;
}

/* Of a tokenizer.json what lies beside it says which pieces begin and end a text; the run keeps that in words of its
 * own, so that it goes on with the same vocabulary. */
static gal_err obey_beside(gal_trainer *t, const char *file, gal_diag *diag) {
    gal_buf text = { 0 };
    gal_tokenizer_free(t->tok);
    t->tok = NULL;
    gal_err err = gal_tokenizer_open(&t->tok, file, diag);
    if (!err) err = gal__train_told(t, &text, diag);
    if (!err) err = gal__run_write(t, GAL__TRAIN_TOLD, &text, diag);
    gal_buf_free(&text);
    return err;
}

/* A run keeps a SentencePiece file as it is, and opens that alone: what the folder says of its ends must not be lost.
 */
static gal_err check_ends(const gal_trainer *t, const char *folder, gal_diag *diag) {
    gal_tokenizer *whole = NULL;
    if (!gal_is_dir(folder) || strcmp(gal_tokenizer_file(t->tok), "tokenizer.model") != 0) return GAL_OK;
    gal_err err = gal_tokenizer_open(&whole, folder, diag);
    if (err) return err;
    const bool bos = gal_tokenizer_bos(whole) == gal_tokenizer_bos(t->tok);
    if (!bos || gal_tokenizer_eos(whole) != gal_tokenizer_eos(t->tok))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: tokenizer_config.json: %s: is another than tokenizer.model's, which a training keeps "
                       "alone: expected the same in both",
                       folder, bos ? "eos_token" : "bos_token");
    gal_tokenizer_free(whole);
    return err;
}

/* The same of a tokenizer.json: what lies beside it may add to its pieces. */
static gal_err check_kept(const gal_trainer *t, const char *from, gal_diag *diag) {
    gal_tokenizer *kept = NULL;
    gal_diag why = { 0 }, what = { 0 };
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, t->dir, "tokenizer.json")
                      ? gal_tokenizer_open(&kept, path.data, &why)
                      : gal_fail(&why, GAL_ENOMEM, "%s: no memory", t->dir);
    const bool same = !err && gal_tokenizer_same(t->tok, kept, &what);
    gal_tokenizer_free(kept);
    gal_buf_free(&path);
    if (err && err != GAL_EINPUT) return gal_fail(diag, err, "%s", why.text);
    if (same) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT,
                    "%s: what lies beside it adds to its pieces (added_tokens_decoder), and a training keeps "
                    "tokenizer.json alone: expected all of them there",
                    from);
}

static gal_err new_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_train, gal_diag *diag) {
    const char *from = gal__train_vocabulary_from(t);
    gal_buf at = { 0 }, file = { 0 };
    gal_err err = forget_talk(t, diag);
    if (!err && t->config->tokenizer.path[0] && !gal_is_file(from) && !gal_is_dir(from))
        err = gal_fail(diag, GAL_EINPUT,
                       "%s: expected the vocabulary of tokenizer.path, found no such file; galerne tokenize --train "
                       "makes one from text",
                       from);
    if (!err && from[0]) err = gal__train_vocabulary(from, &at, &file, diag);
    if (!err && from[0] && gal_is_gguf(file.data)) {
        err = unwrap(t, file.data, diag);
    } else if (!err) {
        err = from[0] ? gal_read_file(&t->tok_bytes, file.data, TOKENIZER_MAX_BYTES, diag)
                      : train_tokenizer(t, c, n_train, diag);
        if (!err)
            err = gal_tokenizer_open_bytes(&t->tok, t->tok_bytes.data, t->tok_bytes.len,
                                           file.len ? file.data : t->dir, diag);
        if (!err && from[0] && strcmp(gal_tokenizer_file(t->tok), "tokenizer.json") == 0)
            err = obey_beside(t, file.data, diag);
        if (!err && from[0]) err = check_ends(t, at.data, diag);
        if (!err) err = gal__run_write(t, gal_tokenizer_file(t->tok), &t->tok_bytes, diag);
        if (!err && from[0] && strcmp(gal_tokenizer_file(t->tok), "tokenizer.json") == 0)
            err = check_kept(t, file.data, diag);
    }
    if (!err && from[0] && !t->config->data.chat.n) err = gal__train_keep_talk(t, diag);
    gal_buf_free(&at);
    gal_buf_free(&file);
    return err;
}

const char *gal__train_vocabulary_from(const gal_trainer *t) {
    const gal_train_config *g = t->config;
    return g->tokenizer.path[0] ? g->tokenizer.path : g->init;
}

/* Of a run that goes on: its own file, and nothing in its place. */
static gal_err old_tokenizer(gal_trainer *t, gal_diag *diag) {
    gal_buf file = { 0 };
    gal_err err = gal_tokenizer_in(&file, t->dir, diag);
    if (!err && !file.len) err = none_in(t->dir, diag);
    if (!err) err = gal_read_file(&t->tok_bytes, file.data, TOKENIZER_MAX_BYTES, diag);
    if (!err) err = gal_tokenizer_open(&t->tok, file.data, diag);
    gal_buf_free(&file);
    return err;
}

gal_err gal__train_setup_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_train, gal_diag *diag) {
    gal_err err = t->resuming ? old_tokenizer(t, diag) : new_tokenizer(t, c, n_train, diag);
    return err ? err : gal__train_token_bytes(t, diag);
}
