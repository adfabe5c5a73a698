/* decode.c - ids back to text, at once and one by one. Both walk the same machine, so they cannot differ.
 *
 *   id -> decoder (byte runs, the space before the text) -> held -> stop strings, whole characters -> shown
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"

#include <string.h>

typedef struct decoder {
    const gal_tokenizer *t;
    char bytes[4]; /* of a run of byte pieces that may still become a character */
    size_t count;
    bool strip;       /* a leading space would be the one put before the text */
    bool started;     /* some text was given */
    bool first;       /* no token was */
    uint32_t leading; /* spaces that the text still loses at its beginning */
} decoder;

static const char REPLACEMENT[] = "\xef\xbf\xbd";

/* Bytes that one U+FFFD stands for: in pieces of bytes the longest beginning of a character, as the reference library
 * has it there, else each by itself. */
static size_t bad_bytes(const decoder *d) {
    size_t n = d->t->bytes_are_text ? d->count : 1;
    while (n > 1 && gal_utf8_complete(d->bytes, n) > 0) n--;
    return n;
}

/* Gives out the characters of the run; at its end also the bytes that never became one. */
static void give_bytes(decoder *d, bool end, gal_buf *out) {
    uint32_t cp;
    while (d->count) {
        int len = gal_utf8_next(d->bytes, d->count, &cp);
        if (len == 0 && !end && gal_utf8_complete(d->bytes, d->count) == 0) return;
        gal_buf_add(out, len ? d->bytes : REPLACEMENT, (size_t)(len ? len : 3));
        d->started = true;
        const size_t used = len ? (size_t)len : bad_bytes(d);
        d->count -= used;
        memmove(d->bytes, d->bytes + used, d->count);
    }
}

/* spaces: what U+2581 becomes. */
static void give_piece(const char *p, size_t n, const char *spaces, gal_buf *out) {
    for (size_t i = 0; i < n;) {
        if (n - i >= GAL__SPACE_BYTES && memcmp(p + i, GAL__SPACE, GAL__SPACE_BYTES) == 0) {
            gal_buf_puts(out, spaces);
            i += GAL__SPACE_BYTES;
        } else {
            gal_buf_putc(out, p[i++]);
        }
    }
}

/* As the file says it. */
static void give_as_said(const decoder *d, const char *p, size_t n, gal_buf *out) {
    const gal__decoding *how = &d->t->decoding;
    give_piece(p, n, !how->spaces ? GAL__SPACE : how->bare && d->first ? "" : " ", out);
}

/* As SentencePiece does. */
static void give_text(decoder *d, const char *p, size_t n, gal_buf *out) {
    bool space = n >= GAL__SPACE_BYTES && memcmp(p, GAL__SPACE, GAL__SPACE_BYTES) == 0;
    if (d->strip && space) {
        p += GAL__SPACE_BYTES;
        n -= GAL__SPACE_BYTES;
        if (!d->t->remove_extra_whitespaces) d->strip = false; /* with it, all leading spaces go */
    }
    d->started = d->started || n > 0;
    give_piece(p, n, " ", out);
}

static void give_id(decoder *d, int32_t id, gal_buf *out) {
    const gal_tokenizer *t = d->t;
    size_t n, m = 0;
    const char *p = gal__piece(t, id, &n), *changed = t->hf ? gal__hf_shown(t->hf, id, &m) : NULL;
    const uint8_t type = t->types[id];
    if (changed) {
        p = changed;
        n = m;
    }
    if (type == GAL_PIECE_BYTE && (!t->decoding.said || t->decoding.bytes)) {
        d->bytes[d->count++] = (char)gal__byte_of_piece(p, n);
        give_bytes(d, false, out);
        d->first = false;
        return;
    }
    if (t->bytes_are_text && (type == GAL_PIECE_NORMAL || type == GAL_PIECE_USER)) {
        for (size_t i = 0; i < n; i++) {
            d->bytes[d->count++] = p[i];
            give_bytes(d, false, out);
        }
        return;
    }
    give_bytes(d, true, out);
    if (d->started) d->strip = false;
    if (type == GAL_PIECE_CONTROL) return;
    if (type == GAL_PIECE_UNKNOWN) {
        d->started = d->started || t->unk_surface[0];
        gal_buf_puts(out, t->unk_surface);
    } else if (t->decoding.said) {
        give_as_said(d, p, n, out);
    } else {
        give_text(d, p, n, out);
    }
    d->first = d->first && type == GAL_PIECE_UNKNOWN && !t->unk_surface[0];
}

/* Takes spaces away where the text, given from place `before` on, begins. */
static void strip(decoder *d, size_t before, gal_buf *out) {
    size_t n = 0;
    if (!d->leading || out->oom || out->len == before) return;
    for (; d->leading && before + n < out->len && out->data[before + n] == ' '; n++) d->leading--;
    if (before + n < out->len) d->leading = 0;
    memmove(out->data + before, out->data + before + n, out->len - before - n);
    out->len -= n;
    out->data[out->len] = 0;
}

static gal_err decode_id(decoder *d, int32_t id, gal_buf *out, gal_diag *diag) {
    const size_t before = out->len;
    if (id < 0 || id >= d->t->size)
        return gal_fail(diag, GAL_EINPUT, "id %d is outside the vocabulary of %d pieces", (int)id, (int)d->t->size);
    give_id(d, id, out);
    strip(d, before, out);
    return GAL_OK;
}

static void decode_end(decoder *d, gal_buf *out) {
    const size_t before = out->len;
    give_bytes(d, true, out);
    strip(d, before, out);
}

static decoder decoder_new(const gal_tokenizer *t, bool keep_space) {
    return (decoder){ .t = t,
                      .strip = !keep_space && (t->add_dummy_prefix || t->remove_extra_whitespaces),
                      .first = !keep_space,
                      .leading = keep_space ? 0 : t->decoding.strip };
}

gal_err gal_decode(const gal_tokenizer *t, const int32_t *ids, size_t n, gal_buf *out, gal_diag *diag) {
    decoder d = decoder_new(t, false);
    size_t before = out->len;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i++) err = decode_id(&d, ids[i], out, diag);
    decode_end(&d, out);
    if (!err && out->oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for decoded text");
    if (err && out->len > before) out->len = before;
    if (err && out->data) out->data[out->len] = 0;
    return err;
}

struct gal_stream {
    decoder d;
    gal_buf held; /* decoded; the first `shown` bytes were given out by the last call */
    size_t shown;
    char **stops;
    size_t stop_count;
    int stopped;
};

gal_err gal_stream_new(gal_stream **out, const gal_tokenizer *t, const gal_stream_options *o, gal_diag *diag) {
    gal_stream *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for a stream of text");
    s->d = decoder_new(t, o && o->keep_prefix_space);
    s->stopped = -1;
    size_t count = o ? o->stop_count : 0;
    s->stops = gal_alloc_array(count, sizeof *s->stops);
    for (size_t i = 0; i < count && s->stops; i++) {
        s->stops[i] = gal_strdup(o->stops[i]);
        if (!s->stops[i]) break;
        s->stop_count = i + 1;
    }
    if (!s->stops || s->stop_count != count) {
        gal_stream_free(s);
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu stop strings", count);
    }
    *out = s;
    return GAL_OK;
}

void gal_stream_free(gal_stream *s) {
    if (!s) return;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the count is 0 (gal_alloc) until the array exists */
    for (size_t i = 0; i < s->stop_count; i++) gal_free(s->stops[i]);
    gal_free(s->stops);
    gal_buf_free(&s->held);
    gal_free(s);
}

int gal_stream_stopped(const gal_stream *s) { return s->stopped; }

/* How much of held may be shown: up to the stop string that is whole first, or up to a tail that could become one. */
static size_t showable(gal_stream *s) {
    const char *p = s->held.data;
    size_t n = s->held.len, hold = n, cut = 0, best_end = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->stop_count; k++) {
            size_t m = strlen(s->stops[k]);
            if (m == 0 || memcmp(p + i, s->stops[k], GAL_MIN(m, n - i)) != 0) continue;
            if (m > n - i) {
                hold = GAL_MIN(hold, i);
            } else if (i + m < best_end) {
                best_end = i + m;
                cut = i;
                s->stopped = (int)k;
            }
        }
    }
    return s->stopped >= 0 ? cut : hold;
}

static gal_err show(gal_stream *s, bool end, const char **text, size_t *n, gal_diag *diag) {
    if (s->held.oom) return gal_fail(diag, GAL_ENOMEM, "no memory for decoded text");
    size_t m = s->held.len ? showable(s) : 0;
    if (end && s->stopped < 0) m = s->held.len;
    /* A stop string may begin within a character; the decoder itself gives whole characters only. */
    if (!end && s->stopped < 0 && m) m = gal_utf8_complete(s->held.data, m);
    *text = s->held.data ? s->held.data : "";
    *n = s->shown = m;
    return GAL_OK;
}

gal_err gal_stream_feed(gal_stream *s, int32_t id, const char **text, size_t *n, gal_diag *diag) {
    *text = "";
    *n = 0;
    if (s->stopped >= 0) return GAL_OK;
    gal_buf_drop(&s->held, s->shown);
    s->shown = 0;
    gal_err err = decode_id(&s->d, id, &s->held, diag);
    return err ? err : show(s, false, text, n, diag);
}

gal_err gal_stream_end(gal_stream *s, const char **text, size_t *n, gal_diag *diag) {
    *text = "";
    *n = 0;
    if (s->stopped >= 0) return GAL_OK;
    gal_buf_drop(&s->held, s->shown);
    s->shown = 0;
    decode_end(&s->d, &s->held);
    return show(s, true, text, n, diag);
}
