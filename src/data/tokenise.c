/* tokenise.c - see tokenise.h. Three batches of text go round: one is read into, one is encoded, slot by slot, one is
 * written; each round is one job of a pool, whose first chunk reads, whose second writes and whose others encode.
 *
 * Invariant: where text is divided among slots never shows: a long document is cut only where its ids allow it
 * (gal_encode_cut()). SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenise.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/util.h"
#include "data/shard.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_EVERY_S 0.1
#define UNFINISHED ".unfinished-"
#define REMOVED ".removed-"

enum {
    SLOT = 1 << 17,          /* bytes of text at which a slot is full */
    SLOTS_A_THREAD = 8,      /* in a batch: enough for threads of different pace, 1 MiB a thread */
    MOST_DOCUMENT = 1 << 26, /* bytes that are encoded at once where a vocabulary allows no cut: some 30 each */
    READ = 0,
    WRITE = 1,
    FIRST_SLOT = 2 /* chunks of a round */
};

typedef struct part {
    size_t end, ids_end; /* in the slot's text and ids */
    bool begins, ends;   /* a document */
} part;

typedef struct slot {
    gal_buf text;
    part *parts;
    size_t n_parts, cap_parts;
    gal_ids ids;
    gal_err err;
    gal_diag diag;
} slot;

typedef struct batch {
    slot *slots; /* [n_slots] */
    size_t n;    /* with text in them */
} batch;

typedef struct works {
    const gal_tokenise_options *o;
    const gal_tokenizer *t;
    unsigned begins, ends; /* flags of encoding */
    size_t n_slots, n_threads;
    gal_pool *pool;
    gal_token_scratch **scratch; /* [n_threads] */
    atomic_flag *taken;          /* which of them somebody uses */
    batch batches[3], *reading, *encoding, *writing;

    const char *first; /* of the files */
    size_t n_files;
    gal_reader *reader;
    gal_buf carry; /* of a document that goes on in the next batch */
    bool inside, ended;
    gal_err read_err, write_err;
    gal_diag read_diag, write_diag;

    gal_shard_maker maker;
    size_t slot, part; /* the next to be written, of `writing` */
    bool full, done;   /* the shard; everything */
    double shown_s;
    gal_tokenise_state state, before; /* before: of shards that are whole */
    uint64_t before_bytes;            /* of the files, that had been read when this shard began */
} works;

/* ---- reading -----------------------------------------------------------------------------------------------------
 */

static void open_slot(slot *s) {
    gal_buf_clear(&s->text);
    s->n_parts = s->ids.len = 0;
    s->err = GAL_OK;
    s->diag = (gal_diag){ 0 };
}

static gal_err close_part(slot *s, size_t end, bool begins, bool ends, gal_diag *diag) {
    if (gal_grow((void **)&s->parts, &s->cap_parts, s->n_parts + 1, sizeof *s->parts))
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu documents", s->n_parts + 1);
    s->parts[s->n_parts++] = (part){ .end = end, .begins = begins, .ends = ends };
    return GAL_OK;
}

/* Of the part that is open in a slot. */
typedef struct open_part {
    size_t begin;  /* in the slot's text */
    size_t try_at; /* how long it may become before a place for a cut is looked for */
    bool begins;   /* the document */
} open_part;

/* Closes the part at the last place where it can be cut, if there is one; carry gets the rest. */
static gal_err cut_part(works *w, slot *s, open_part *p, bool *cut, gal_diag *diag) {
    const size_t n = s->text.len - p->begin;
    size_t at = gal_encode_cut(w->t, s->text.data + p->begin, n);
    *cut = at > 0;
    if (!at) {
        p->try_at = 2 * n;
        if (n < MOST_DOCUMENT) return GAL_OK;
        return gal_fail(
            diag, GAL_EINPUT,
            "document %llu: %zu bytes without a place where this vocabulary allows a cut; the limit is %d, and "
            "a separator (or lines of JSON) parts a text into documents",
            (unsigned long long)gal_reader_so_far(w->reader)->documents, n, MOST_DOCUMENT);
    }
    gal_buf_clear(&w->carry);
    gal_buf_add(&w->carry, s->text.data + p->begin + at, n - at);
    if (w->carry.oom) return gal_fail(diag, GAL_ENOMEM, "no memory for %zu bytes of text", n - at);
    gal_err err = close_part(s, p->begin + at, p->begins, false, diag);
    p->begins = false;
    return err;
}

/* Fills a slot; *more false: the text has ended, and nothing may be in it. */
static gal_err fill_slot(works *w, slot *s, bool *more, gal_diag *diag) {
    open_part p = { .try_at = SLOT, .begins = !w->inside };
    gal_err err = GAL_OK;
    open_slot(s);
    gal_buf_add(&s->text, w->carry.data, w->carry.len);
    gal_buf_clear(&w->carry);
    while (!err) {
        gal_piece piece;
        bool cut = false;
        err = gal_reader_next(w->reader, &piece, more, diag);
        if (err || !*more) break;
        gal_buf_add(&s->text, piece.text, piece.bytes);
        if (s->text.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for %zu bytes of text", s->text.len);
        w->inside = !piece.ends;
        if (!err && piece.ends) {
            err = close_part(s, s->text.len, p.begins, true, diag);
            if (s->text.len >= SLOT) break;
            p = (open_part){ .begin = s->text.len, .try_at = SLOT, .begins = true };
        } else if (!err && s->text.len - p.begin >= p.try_at) {
            err = cut_part(w, s, &p, &cut, diag);
            if (cut) break;
        }
    }
    return err;
}

static void read_batch(works *w) {
    batch *b = w->reading;
    bool more = true;
    b->n = 0;
    while (!w->read_err && more && b->n < w->n_slots) {
        slot *s = &b->slots[b->n];
        w->read_err = fill_slot(w, s, &more, &w->read_diag);
        b->n += s->n_parts > 0;
    }
    w->ended = !more;
}

/* ---- encoding ----------------------------------------------------------------------------------------------------
 */

/* There are as many as threads, so that one is free. */
static gal_token_scratch **take_scratch(works *w, size_t *which) {
    for (size_t i = 0;; i = (i + 1) % w->n_threads)
        if (!atomic_flag_test_and_set(&w->taken[i])) {
            *which = i;
            return &w->scratch[i];
        }
}

static void encode_slot(works *w, slot *s) {
    size_t which, at = 0;
    gal_token_scratch **scratch = take_scratch(w, &which);
    if (!*scratch) s->err = gal_token_scratch_new(scratch, w->t, &s->diag);
    for (size_t i = 0; !s->err && i < s->n_parts; i++) {
        part *p = &s->parts[i];
        unsigned flags = (p->begins ? w->begins : (unsigned)GAL_ENCODE_CONTINUES) | (p->ends ? w->ends : 0u);
        s->err = gal_encode(w->t, *scratch, s->text.data + at, p->end - at, flags, &s->ids, &s->diag);
        p->ids_end = s->ids.len;
        at = p->end;
    }
    atomic_flag_clear(&w->taken[which]);
}

/* ---- writing -----------------------------------------------------------------------------------------------------
 */

static gal_err write_part(works *w, const slot *s, const part *p, size_t at, size_t ids_at, gal_diag *diag) {
    gal_shard_maker *m = &w->maker;
    gal_err err = p->begins ? gal_shard_maker_document(m, diag) : GAL_OK;
    gal_shard_maker_text(m, s->text.data + at, p->end - at);
    if (!err) err = gal_shard_maker_ids(m, s->ids.data + ids_at, p->ids_end - ids_at, diag);
    if (p->ends) gal_shard_maker_document_ends(m);
    return err;
}

/* What is left of the batch that is being written, as far as this shard takes it. */
static void write_batch(works *w) {
    const batch *b = w->writing;
    for (; !w->write_err && w->slot < b->n; w->slot++, w->part = 0) {
        const slot *s = &b->slots[w->slot];
        w->write_err = s->err;
        if (s->err) w->write_diag = s->diag;
        for (; !w->write_err && w->part < s->n_parts; w->part++) {
            const part *p = &s->parts[w->part];
            w->full = p->begins && w->maker.n_docs && w->o->shard_tokens && w->maker.tokens >= w->o->shard_tokens;
            if (w->full) return;
            const part *last = w->part ? p - 1 : NULL;
            w->write_err = write_part(w, s, p, last ? last->end : 0, last ? last->ids_end : 0, &w->write_diag);
        }
    }
}

/* ---- rounds ------------------------------------------------------------------------------------------------------
 */

static void run_chunk(const void *args, int64_t chunk, void *scratch) {
    works *w = *(works *const *)args;
    (void)scratch;
    if (chunk == READ) {
        if (!w->ended) read_batch(w);
    } else if (chunk == WRITE) {
        write_batch(w);
    } else {
        encode_slot(w, &w->encoding->slots[chunk - FIRST_SLOT]);
    }
}

static void count(works *w) {
    w->state.read = *gal_reader_so_far(w->reader);
    w->state.tokens = w->before.tokens + w->maker.tokens;
    w->state.documents = w->before.documents + w->maker.n_docs;
    w->state.text_bytes = w->before.text_bytes + w->maker.text_bytes;
}

/* What the file will come to, for the message when the disk is full. */
static void expect(const works *w) {
    const gal_reader_state *r = gal_reader_so_far(w->reader);
    const double done = (double)gal_sink_offset(w->maker.sink), before = (double)w->before_bytes;
    const double read = (double)r->file_bytes - before, left = (double)r->total_bytes - before;
    const double most = (double)w->o->shard_tokens * w->maker.elem;
    if (!r->total_bytes || read <= 0) return;
    const double all = done * left / read;
    gal_sink_expect(w->maker.sink, (uint64_t)(w->o->shard_tokens ? GAL_MIN(all, most) : all));
}

static gal_err tell(works *w, gal_diag *diag) {
    const double now = gal_now_s();
    if (!w->o->progress || now - w->shown_s < PROGRESS_EVERY_S) return GAL_OK;
    w->shown_s = now;
    count(w);
    return w->o->progress(w->o->user, &w->state) ? gal_fail(diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

static gal_err one_round(works *w, gal_diag *diag) {
    batch *free_one = w->writing;
    w->writing = w->encoding;
    w->encoding = w->reading;
    w->reading = free_one;
    free_one->n = 0;
    w->slot = w->part = 0;
    w->done = w->ended && w->writing->n == 0 && w->encoding->n == 0;
    if (w->done) return GAL_OK;
    works *args = w;
    gal_pool_run(w->pool, run_chunk, &args, FIRST_SLOT + (int64_t)w->encoding->n);
    /* What was read before an error comes first: the error that is told does not depend on when it was met. */
    if (w->write_err) return gal_fail(diag, w->write_err, "%s", w->write_diag.text);
    if (w->read_err) return gal_fail(diag, w->read_err, "%s", w->read_diag.text);
    expect(w);
    return tell(w, diag);
}

static gal_err emit(gal_sink *sink, void *user, gal_diag *diag) {
    works *w = user;
    gal_err err = gal_shard_maker_begin(&w->maker, w->t, sink, diag);
    if (err) return err;
    w->full = false;
    w->before_bytes = gal_reader_so_far(w->reader)->file_bytes;
    write_batch(w); /* the rest of the last round's */
    if (w->write_err) err = gal_fail(diag, w->write_err, "%s", w->write_diag.text);
    while (!err && !w->full && !w->done) err = one_round(w, diag);
    if (!err && w->maker.n_docs == 0)
        err = gal_fail(diag, GAL_EINPUT, "%s%s: expected text, found none (%llu bytes read)", w->first,
                       w->n_files > 1 ? " and others" : "",
                       (unsigned long long)gal_reader_so_far(w->reader)->file_bytes);
    if (!err) err = gal_shard_maker_end(&w->maker, diag);
    return err;
}

/* ---- where it goes -----------------------------------------------------------------------------------------------
 */

static gal_err write_file(works *w, const char *path, gal_diag *diag) {
    gal_err err = gal_write_atomic(path, emit, w, diag);
    if (err) return err;
    w->state.shards++;
    count(w);
    w->before = w->state;
    return GAL_OK;
}

static gal_err write_folder(works *w, const char *dir, const char *name, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_err err = gal_make_dirs(dir, diag);
    while (!err && !w->done) {
        gal_buf_clear(&path);
        gal_buf_printf(&path, "%s/%s-%05llu.shard", dir, name, (unsigned long long)w->state.shards);
        err = path.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir) : write_file(w, path.data, diag);
    }
    gal_buf_free(&path);
    return err;
}

/* The folder that is there may go: it is empty, or force says so and there is nothing in it but shards. */
static gal_err check_folder(const char *dir, bool force, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0;
    if (!gal_exists(dir)) return GAL_OK;
    if (!gal_is_dir(dir)) return gal_fail(diag, GAL_EINPUT, "%s: is a file, expected a folder to make", dir);
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    if (!err && n && !force)
        err = gal_fail(diag, GAL_EINPUT, "%s: is there already and not empty; --force replaces it", dir);
    for (size_t i = 0; !err && i < n; i++) {
        size_t len = strlen(names[i]);
        if (len < 6 || strcmp(names[i] + len - 6, ".shard") != 0)
            err = gal_fail(diag, GAL_EINPUT, "%s: holds %s, so that it is not replaced", dir, names[i]);
    }
    gal_free_names(names, n);
    return err;
}

static gal_err put_folder(const char *making, const char *old, const char *dir, gal_diag *diag) {
    const bool there = gal_exists(dir);
    gal_err err = there ? gal_remove_tree(old, diag) : GAL_OK;
    if (!err && there) err = gal_rename(dir, old, diag);
    if (!err) err = gal_rename(making, dir, diag);
    if (err && there && !gal_exists(dir)) (void)gal_rename(old, dir, NULL);
    if (!err && there) err = gal_remove_tree(old, diag);
    return err;
}

static gal_err make_folder(works *w, const char *out, gal_diag *diag) {
    gal_buf dir = { 0 }, making = { 0 }, old = { 0 };
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    gal_buf_add(&dir, out, n);
    const char *slash = dir.data ? strrchr(dir.data, '/') : NULL, *name = slash ? slash + 1 : dir.data;
    const int before = slash ? (int)(slash + 1 - dir.data) : 0;
    gal_err err = GAL_OK;
    if (name && (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
        err = gal_fail(diag, GAL_EUSAGE, "%s: expected the name of a folder to make", out);
    gal_buf_printf(&making, "%.*s" UNFINISHED "%s", before, dir.data ? dir.data : "", name ? name : "");
    gal_buf_printf(&old, "%.*s" REMOVED "%s", before, dir.data ? dir.data : "", name ? name : "");
    if (!err && (dir.oom || making.oom || old.oom)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", out);
    /* One that was killed between two renamings left the folder under its other name. */
    if (!err && !gal_exists(dir.data) && gal_exists(old.data)) err = gal_rename(old.data, dir.data, diag);
    if (!err) err = check_folder(dir.data, w->o->force, diag);
    if (!err) err = gal_remove_tree(making.data, diag); /* of a run that was killed */
    if (!err) {
        err = write_folder(w, making.data, name, diag);
        if (!err) err = put_folder(making.data, old.data, dir.data, diag);
        if (err) (void)gal_remove_tree(making.data, NULL);
    }
    gal_buf_free(&dir);
    gal_buf_free(&making);
    gal_buf_free(&old);
    return err;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------
 */

static bool wants_stop(void *user) {
    const works *w = user;
    return w->o->progress && w->o->progress(w->o->user, NULL);
}

static void works_free(works *w) {
    gal_reader_close(w->reader);
    gal_pool_free(w->pool);
    for (size_t i = 0; w->scratch && i < w->n_threads; i++) gal_token_scratch_free(w->scratch[i]);
    gal_free(w->scratch);
    gal_free(w->taken);
    for (size_t b = 0; b < GAL_LEN(w->batches); b++) {
        slot *s = w->batches[b].slots;
        for (size_t i = 0; s && i < w->n_slots; i++) {
            gal_buf_free(&s[i].text);
            gal_free(s[i].parts);
            gal_ids_free(&s[i].ids);
        }
        gal_free(s);
    }
    gal_buf_free(&w->carry);
    gal_shard_maker_free(&w->maker);
}

static gal_err works_open(works *w, const char *const *paths, size_t n, gal_diag *diag) {
    gal_reader_options read = w->o->read;
    read.stop = wants_stop;
    read.user = w;
    gal_err err = gal_reader_open(&w->reader, paths, n, &read, diag);
    if (!err) err = gal_pool_new(&w->pool, w->o->threads, diag);
    if (err) return err;
    w->n_threads = (size_t)gal_pool_threads(w->pool);
    w->n_slots = w->n_threads * SLOTS_A_THREAD;
    w->scratch = gal_alloc_array(w->n_threads, sizeof *w->scratch);
    w->taken = gal_alloc_array(w->n_threads, sizeof *w->taken);
    bool ok = w->scratch && w->taken;
    for (size_t i = 0; ok && i < w->n_threads; i++) atomic_flag_clear(&w->taken[i]);
    for (size_t b = 0; ok && b < GAL_LEN(w->batches); b++) {
        w->batches[b].slots = gal_alloc_array(w->n_slots, sizeof(slot));
        ok = w->batches[b].slots != NULL;
    }
    if (!ok) return gal_fail(diag, GAL_ENOMEM, "no memory for %zu batches of text", GAL_LEN(w->batches));
    w->reading = &w->batches[0];
    w->encoding = &w->batches[1];
    w->writing = &w->batches[2];
    w->begins = gal_tokenizer_bos(w->t) >= 0 && !w->o->no_bos ? GAL_ENCODE_BOS : 0u;
    w->ends = gal_tokenizer_eos(w->t) >= 0 ? GAL_ENCODE_EOS : 0u;
    return GAL_OK;
}

gal_err gal_tokenise(const char *out, const char *const *paths, size_t n, const gal_tokenizer *t,
                     const gal_tokenise_options *options, gal_tokenise_state *result, gal_diag *diag) {
    works w = { .o = options, .t = t, .first = n ? paths[0] : "", .n_files = n };
    gal_err err = GAL_OK;
    if (!options->folder && gal_exists(out) && gal_is_file(out) && !options->force)
        return gal_fail(diag, GAL_EINPUT, "%s: is there already; --force replaces it", out);
    err = works_open(&w, paths, n, diag);
    if (!err) err = options->folder ? make_folder(&w, out, diag) : write_file(&w, out, diag);
    if (!err) *result = w.state;
    works_free(&w);
    return err;
}
