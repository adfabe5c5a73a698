/* difference.c - where two vocabularies of one model first disagree: pieces by id, what is special, then the ids of a
 * few texts that vocabularies are known to differ in. SPDX-License-Identifier: Apache-2.0 */
#include "text/internal.h"

#include <string.h>

static const char *const PROBES[] = {
    "Hello, world",
    " two  spaces   three    four",
    "a\nb\r\nc\n\n\nd \n e",
    "\ttab\t\ttabs",
    "don't DON'T I'll we've",
    "camelCase HTTPServer snake_case",
    "1234567890 3.14 1,000",
    "if (x != y) { return a->b[i] / 2; } // end",
    "http://example.org/a?b=c&d=%20#e",
    "caf\xc3\xa9 na\xc3\xafve Stra\xc3\x9f",
    "e e\xcc\x81 \xef\xac\x81",
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xce\x93\xce\xb5\xce\xb9\xce\xac",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82 \xe3\x81\x93\xe3\x82\x93",
    "\xd8\xa7\xd9\x84\xd8\xb9\xd8\xb1\xd8\xa8\xd9\x8a\xd8\xa9 \xd7\xa2\xd7\x91\xd7\xa8",
    "\xe0\xa4\xb9\xe0\xa4\xbf\xe0\xa4\xa8\xe0\xa5\x8d\xe0\xa4\xa6\xe0\xa5\x80",
    "\xf0\x9f\x98\x80\xf0\x9f\x87\xab\xf0\x9f\x87\xb7 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7",
    "\xc2\xa0x\xe3\x80\x80y\xe2\x80\x83z",
    "\xe2\x96\x81 literal \xe2\x96\x81\xe2\x96\x81",
    "\x01\x1b[0m\x7f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa        ",
    " ",
    "x ",
};

static bool special(const gal_tokenizer *t, int32_t id) {
    return t->types[id] == GAL_PIECE_CONTROL || t->types[id] == GAL_PIECE_UNKNOWN;
}

static void put_piece(gal_buf *b, const gal_tokenizer *t, int32_t id) {
    size_t n;
    const char *s = gal__piece(t, id, &n);
    gal_buf_json(b, s, n);
}

static bool pieces_differ(gal_difference *d, const gal_tokenizer *a, const gal_tokenizer *b,
                          const char *const of[2]) {
    const int32_t common = GAL_MIN(a->size, b->size);
    for (int32_t id = 0; id < common; id++) {
        size_t n, m;
        const char *x = gal__piece(a, id, &n), *y = gal__piece(b, id, &m);
        const bool same = n == m && memcmp(x, y, n) == 0, sa = special(a, id), sb = special(b, id);
        if (same && sa == sb) continue;
        d->id = id;
        gal_buf_printf(&d->what, "id %d is ", (int)id);
        put_piece(&d->what, a, id);
        if (same) {
            gal_buf_printf(&d->what, ", special in %s alone", of[sb]);
        } else {
            gal_buf_printf(&d->what, " in %s and ", of[0]);
            put_piece(&d->what, b, id);
            gal_buf_printf(&d->what, " in %s", of[1]);
        }
        return true;
    }
    if (a->size == b->size) return false;
    const bool first = a->size > b->size;
    d->id = common;
    gal_buf_printf(&d->what, "id %d is ", (int)common);
    put_piece(&d->what, first ? a : b, common);
    gal_buf_printf(&d->what, " in %s alone: %d pieces in %s, %d in %s", of[!first], (int)a->size, of[0], (int)b->size,
                   of[1]);
    return true;
}

static bool ends_differ(gal_difference *d, const gal_tokenizer *a, const gal_tokenizer *b, const char *const of[2]) {
    const struct {
        const char *what;
        int32_t a, b;
    } ENDS[] = { { "begin", a->bos, b->bos }, { "end", a->eos, b->eos } };
    for (size_t i = 0; i < GAL_LEN(ENDS); i++) {
        if (ENDS[i].a == ENDS[i].b || ENDS[i].a < 0 || ENDS[i].b < 0) continue;
        d->id = ENDS[i].a;
        gal_buf_printf(&d->what, "texts %s with id %d, ", ENDS[i].what, (int)ENDS[i].a);
        put_piece(&d->what, a, ENDS[i].a);
        gal_buf_printf(&d->what, ", in %s and with id %d, ", of[0], (int)ENDS[i].b);
        put_piece(&d->what, b, ENDS[i].b);
        gal_buf_printf(&d->what, ", in %s", of[1]);
        return true;
    }
    return false;
}

/* From the first id that differs on. */
static void put_ids(gal_buf *b, const gal_tokenizer *t, const gal_ids *ids, size_t from, const char *of) {
    gal_buf_puts(b, "[");
    for (size_t i = from; i < ids->len && i < from + 3; i++) {
        gal_buf_printf(b, i > from ? ", %d " : "%d ", (int)ids->data[i]);
        put_piece(b, t, ids->data[i]);
    }
    gal_buf_printf(b, "%s] by %s", ids->len > from + 3 ? ", ..." : "", of);
}

static gal_err texts_differ(gal_difference *d, const gal_tokenizer *a, const gal_tokenizer *b,
                            const char *const of[2], gal_diag *diag) {
    gal_ids x = { 0 }, y = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < GAL_LEN(PROBES) && !err && !d->what.len; i++) {
        const size_t n = strlen(PROBES[i]);
        size_t k = 0;
        x.len = y.len = 0;
        err = gal_encode(a, NULL, PROBES[i], n, 0, &x, diag);
        if (!err) err = gal_encode(b, NULL, PROBES[i], n, 0, &y, diag);
        while (k < x.len && k < y.len && x.data[k] == y.data[k]) k++;
        if (err || (k == x.len && k == y.len)) continue;
        d->id = k < x.len ? x.data[k] : y.data[k];
        gal_buf_puts(&d->what, "the text ");
        gal_buf_json(&d->what, PROBES[i], n);
        gal_buf_printf(&d->what, " is, from its id %zu on, ", k);
        put_ids(&d->what, a, &x, k, of[0]);
        gal_buf_puts(&d->what, " and ");
        put_ids(&d->what, b, &y, k, of[1]);
    }
    gal_ids_free(&x);
    gal_ids_free(&y);
    return err;
}

gal_err gal_tokenizer_difference(gal_difference *d, const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *diag) {
    const char *const of[] = { gal_tokenizer_file(a), gal_tokenizer_file(b) };
    gal_err err = GAL_OK;
    *d = (gal_difference){ .id = -1 };
    if (a->bytes_are_text != b->bytes_are_text)
        gal_buf_printf(&d->what, "the pieces of %s are bytes, those of %s are text", of[b->bytes_are_text],
                       of[a->bytes_are_text]);
    else if (!pieces_differ(d, a, b, of) && !ends_differ(d, a, b, of))
        err = texts_differ(d, a, b, of, diag);
    if (!err && d->what.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for comparing vocabularies");
    if (err) gal_buf_free(&d->what);
    return err;
}
