/* chats.c - see chats.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/chats.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/shard.h"

#include <string.h>

enum { OPEN_ROWS = 64, OPEN_TOKENS = 1 << 22 }; /* rows that wait for what fits into them; tokens of all of these */

/* ---- lines -------------------------------------------------------------------------------------------------------
 */

typedef struct lines {
    gal_reader *reader;
    gal_buf text;
    uint64_t count; /* that came */
} lines;

static gal_err open_lines(lines *l, char *const *paths, size_t n, gal_diag *diag) {
    const gal_reader_options o = { .format = GAL_TEXT_JSONL, .objects = true };
    *l = (lines){ 0 };
    return gal_reader_open(&l->reader, (const char *const *)paths, n, &o, diag);
}

/* A whole line into text. */
static gal_err next_line(lines *l, bool *more, gal_diag *diag) {
    gal_piece p = { 0 };
    gal_buf_clear(&l->text);
    do {
        gal_err err = gal_reader_next(l->reader, &p, more, diag);
        if (err || !*more) return err;
        gal_buf_add(&l->text, p.text, p.bytes);
    } while (!p.ends);
    l->count++;
    return l->text.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a conversation") : GAL_OK;
}

static gal_err go_on(const gal_chats_options *o, gal_diag *diag) {
    return o->stop && o->stop(o->stop_user) ? gal_fail(diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

static void close_lines(lines *l) {
    gal_reader_close(l->reader);
    gal_buf_free(&l->text);
}

gal_err gal_chats_source(char *const *paths, size_t n, const gal_chats_options *o, uint64_t *count, uint8_t sha[32],
                         gal_diag *diag) {
    lines l;
    gal_sha256 h;
    bool more = true;
    gal_sha256_init(&h);
    gal_err err = open_lines(&l, paths, n, diag);
    while (!err) {
        err = go_on(o, diag);
        if (!err) err = next_line(&l, &more, diag);
        if (err || !more) break;
        if (l.count <= o->first || l.count > o->end) continue;
        uint8_t size[8];
        for (size_t i = 0; i < sizeof size; i++) size[i] = (uint8_t)((uint64_t)l.text.len >> (8 * i));
        gal_sha256_add(&h, l.text.data, l.text.len);
        gal_sha256_add(&h, size, sizeof size);
    }
    gal_sha256_end(&h, sha);
    *count = l.count;
    close_lines(&l);
    return err;
}

/* ---- rows --------------------------------------------------------------------------------------------------------
 */

typedef struct row {
    int32_t *ids;     /* [sequence] */
    uint8_t *learned; /* the same */
    int64_t used;
    int64_t *starts; /* of its conversations */
    size_t n, cap;
} row;

typedef struct packing {
    char *const *paths;
    size_t n_paths;
    const gal_tokenizer *t;
    const gal_chats_options *o;
    gal_chats_result *result;
    gal_shard_maker maker;
    row open[OPEN_ROWS];
    size_t n_open, most_open;
    gal_ids ids;
    gal_buf learned;
    uint64_t target_bytes;
    int32_t filler;
} packing;

static gal_err no_memory(const packing *p, gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for rows of %lld tokens", (long long)p->o->sequence);
}

/* A row is written; what it lacks belongs to its last conversation, behind whose end nobody looks. */
static gal_err write_row(packing *p, row *r, gal_diag *diag) {
    const int64_t all = p->o->sequence;
    for (int64_t i = r->used; i < all; i++) {
        r->ids[i] = p->filler;
        r->learned[i] = 0;
    }
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < r->n; i++) {
        const int64_t from = r->starts[i], to = i + 1 < r->n ? r->starts[i + 1] : all;
        err = gal_shard_maker_document(&p->maker, diag);
        if (!err)
            err = gal_shard_maker_marked(&p->maker, r->ids + from, r->learned + from, (size_t)(to - from), diag);
    }
    p->result->rows++;
    r->used = 0;
    r->n = 0;
    return err;
}

static gal_err open_row(packing *p, row **out, gal_diag *diag) {
    row *r = &p->open[p->n_open];
    if (p->n_open == p->most_open) { /* the fullest one goes */
        r = &p->open[0];
        for (size_t i = 1; i < p->n_open; i++)
            if (p->open[i].used > r->used) r = &p->open[i];
        *out = r;
        return write_row(p, r, diag);
    }
    const size_t n = (size_t)p->o->sequence;
    r->ids = gal_alloc_array(n, sizeof *r->ids);
    r->learned = gal_alloc(n);
    p->n_open++;
    *out = r;
    return r->ids && r->learned ? GAL_OK : no_memory(p, diag);
}

/* Into the row that it leaves least of. */
static gal_err place(packing *p, int64_t n, gal_diag *diag) {
    row *best = NULL;
    for (size_t i = 0; i < p->n_open; i++)
        if (p->open[i].used + n <= p->o->sequence && (!best || p->open[i].used > best->used)) best = &p->open[i];
    gal_err err = best ? GAL_OK : open_row(p, &best, diag);
    if (err) return err;
    void *starts = best->starts;
    if (gal_grow(&starts, &best->cap, best->n + 1, sizeof *best->starts)) return no_memory(p, diag);
    best->starts = starts;
    best->starts[best->n++] = best->used;
    memcpy(best->ids + best->used, p->ids.data, (size_t)n * sizeof *best->ids);
    memcpy(best->learned + best->used, p->learned.data, (size_t)n);
    best->used += n;
    return GAL_OK;
}

/* One line's conversation. */
static gal_err take(packing *p, const lines *l, gal_diag *diag) {
    gal_chats_result *r = p->result;
    gal_diag why = { 0 };
    uint64_t line = 0;
    p->ids.len = 0;
    gal_buf_clear(&p->learned);
    gal_err err = p->o->encode(p->o->user, l->text.data, l->text.len, &p->ids, &p->learned, &why);
    if (err) {
        const char *name = gal_reader_place(l->reader, &line);
        return gal_fail(diag, err, "%s:%llu: %s", name, (unsigned long long)line, why.text);
    }
    gal_shard_maker_text(&p->maker, l->text.data, l->text.len);
    gal_shard_maker_document_ends(&p->maker);
    const bool is_long = (int64_t)p->ids.len > p->o->sequence;
    if (is_long && p->o->skip_long) {
        r->skipped++;
        return GAL_OK;
    }
    const int64_t n = is_long ? p->o->sequence : (int64_t)p->ids.len;
    int64_t targets = 0;
    if (n) p->learned.data[0] = 0; /* nothing stands before it */
    for (int64_t i = 0; i < n; i++) {
        if (!p->learned.data[i]) continue;
        targets++;
        p->target_bytes += gal_tokenizer_text_bytes(p->t, p->ids.data[i]);
    }
    if (!targets) {
        r->silent++;
        return GAL_OK;
    }
    r->conversations++;
    r->cut += is_long;
    r->tokens += n;
    r->targets += targets;
    return place(p, n, diag);
}

static gal_err nothing(packing *p, gal_diag *diag) {
    gal_chats_result *r = p->result;
    r->nothing = true;
    return gal_fail(diag, GAL_EINPUT,
                    "%s: nothing to learn: of its conversations %llu have no token of an assistant's message within "
                    "batch.sequence %lld, and %llu are longer than that and left out",
                    p->paths[0], (unsigned long long)r->silent, (long long)p->o->sequence,
                    (unsigned long long)r->skipped);
}

static gal_err emit(gal_sink *sink, void *user, gal_diag *diag) {
    packing *p = user;
    lines l;
    bool more = true;
    gal_err err = open_lines(&l, p->paths, p->n_paths, diag);
    if (!err) err = gal_shard_maker_begin(&p->maker, p->t, sink, diag);
    if (!err) gal_shard_maker_rows(&p->maker, p->o->sequence);
    while (!err) {
        err = go_on(p->o, diag);
        if (!err) err = next_line(&l, &more, diag);
        if (err || !more || l.count > p->o->end) break;
        if (l.count > p->o->first) err = take(p, &l, diag);
    }
    close_lines(&l);
    for (size_t i = 0; !err && i < p->n_open; i++)
        if (p->open[i].n) err = write_row(p, &p->open[i], diag);
    if (!err && !p->result->targets) err = nothing(p, diag);
    if (err) return err;
    p->maker.text_bytes = p->target_bytes; /* a figure per byte is one of what is learned */
    return gal_shard_maker_end(&p->maker, diag);
}

gal_err gal_chats_write(const char *out, char *const *paths, size_t n, const gal_tokenizer *t,
                        const gal_chats_options *options, gal_chats_result *result, gal_diag *diag) {
    packing *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for rows of %lld tokens", (long long)options->sequence);
    *result = (gal_chats_result){ 0 };
    *p = (packing){ .paths = paths, .n_paths = n, .t = t, .o = options, .result = result };
    p->most_open = (size_t)GAL_MAX(GAL_MIN((int64_t)OPEN_ROWS, OPEN_TOKENS / options->sequence), (int64_t)1);
    p->filler = GAL_MAX(GAL_MAX(gal_tokenizer_pad(t), gal_tokenizer_eos(t)), 0);
    gal_err err = gal_write_atomic(out, emit, p, diag);
    gal_shard_maker_free(&p->maker);
    gal_ids_free(&p->ids);
    gal_buf_free(&p->learned);
    for (size_t i = 0; i < OPEN_ROWS; i++) {
        gal_free(p->open[i].ids);
        gal_free(p->open[i].learned);
        gal_free(p->open[i].starts);
    }
    gal_free(p);
    return err;
}
