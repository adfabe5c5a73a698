/* spm_write.c - writes a vocabulary as a SentencePiece model: one that was trained, or one that is open, however it
 * came. SPDX-License-Identifier: Apache-2.0 */
#include "text/bpe_internal.h"
#include "text/internal.h"

#include <stdio.h>
#include <string.h>

static void put_varint(gal_buf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) gal_buf_putc(b, (char)(v | 0x80));
    gal_buf_putc(b, (char)v);
}

static void put_number(gal_buf *b, uint32_t field, int64_t v) {
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, (uint64_t)v); /* a negative number takes ten bytes */
}

static void put_bytes(gal_buf *b, uint32_t field, const void *s, size_t n) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    gal_buf_add(b, s, n);
}

/* A message made in tmp becomes a field of out; a lack of memory there is one here. */
static void put_message(gal_buf *out, uint32_t field, const gal_buf *tmp) {
    put_bytes(out, field, tmp->data, tmp->len);
    out->oom = out->oom || tmp->oom;
}

static void put_text(gal_buf *b, uint32_t field, const char *s) { put_bytes(b, field, s, strlen(s)); }

static void put_float(gal_buf *b, uint32_t field, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_varint(b, (uint64_t)field << 3 | 5);
    for (int i = 0; i < 4; i++) gal_buf_putc(b, (char)(bits >> (8 * i)));
}

static void put_piece(gal_buf *out, gal_buf *tmp, const char *s, size_t n, float score, gal_piece_type type) {
    gal_buf_clear(tmp);
    put_bytes(tmp, 1, s, n);
    put_float(tmp, 2, score);
    if (type != GAL_PIECE_NORMAL) put_number(tmp, 3, type);
    put_message(out, 1, tmp);
}

/* Field numbers are those of the format's definition (sentencepiece_model.proto). */
static void put_trainer(gal_buf *b, const gal_bpe_options *o, size_t size) {
    put_number(b, 3, 2); /* model_type: BPE */
    put_number(b, 4, (int64_t)size);
    put_float(b, 10, (float)o->character_coverage);
    put_number(b, 20, o->max_piece_chars);
    put_number(b, 21, o->split_scripts);
    put_number(b, 22, 1); /* split_by_whitespace */
    put_number(b, 25, o->split_digits);
    for (size_t i = 0; i < o->control_count; i++) put_text(b, 30, o->control[i]);
    put_number(b, 35, 1); /* byte_fallback */
    put_number(b, 40, 0); /* unk, bos, eos, pad */
    put_number(b, 41, 1);
    put_number(b, 42, 2);
    put_number(b, 43, -1);
    put_text(b, 44, " \xe2\x81\x87 ");
    put_text(b, 45, "<unk>");
    put_text(b, 46, "<s>");
    put_text(b, 47, "</s>");
    put_text(b, 48, "<pad>");
}

static void put_normalizer(gal_buf *out, gal_buf *tmp, const gal__charsmap *m, bool dummy_prefix,
                           bool remove_spaces) {
    size_t n = 0;
    const char *table = m ? gal__charsmap_bytes(m, &n) : "";
    gal_buf_clear(tmp);
    put_text(tmp, 1, m ? gal__charsmap_name(m) : "identity");
    put_bytes(tmp, 2, table, n); /* precompiled_charsmap */
    put_number(tmp, 3, dummy_prefix);
    put_number(tmp, 4, remove_spaces);
    put_number(tmp, 5, 1); /* escape_whitespaces */
    put_message(out, 3, tmp);
}

gal_err gal__spm_write(gal_buf *out, const gal_bpe_options *o, const gal__pieces *p, const gal__charsmap *m,
                       gal_diag *diag) {
    gal_buf tmp = { 0 };
    put_piece(out, &tmp, "<unk>", 5, 0.0F, GAL_PIECE_UNKNOWN);
    put_piece(out, &tmp, "<s>", 3, 0.0F, GAL_PIECE_CONTROL);
    put_piece(out, &tmp, "</s>", 4, 0.0F, GAL_PIECE_CONTROL);
    for (size_t i = 0; i < o->control_count; i++)
        put_piece(out, &tmp, o->control[i], strlen(o->control[i]), 0.0F, GAL_PIECE_CONTROL);
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", byte);
        put_piece(out, &tmp, name, (size_t)n, 0.0F, GAL_PIECE_BYTE);
    }
    size_t merges = p->len - p->chars;
    for (size_t i = 0; i < p->len; i++) {
        const gal__symbol *s = &p->symbols[i < merges ? p->chars + i : i - merges];
        put_piece(out, &tmp, p->bytes.data + s->at, s->bytes, -(float)i, GAL_PIECE_NORMAL);
    }
    gal_buf_clear(&tmp);
    put_trainer(&tmp, o, 3 + o->control_count + 256 + p->len);
    put_message(out, 2, &tmp);
    put_normalizer(out, &tmp, m, true, false);
    gal_buf_free(&tmp);
    return out->oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the model file") : GAL_OK;
}

/* The text of a piece that the trainer's part names; none: the format's default would name one. */
static void put_named(gal_buf *b, uint32_t field, const gal_tokenizer *t, int32_t id) {
    size_t n = 0;
    const char *s = id < 0 ? "" : gal__piece(t, id, &n);
    put_bytes(b, field, s, n);
}

gal_err gal_tokenizer_print_spm(const gal_tokenizer *t, gal_buf *out, gal_diag *diag) {
    gal_buf tmp = { 0 };
    if (t->bytes_are_text || t->pairs.slots)
        return gal_fail(diag, GAL_EINPUT,
                        "a vocabulary of the kind \"%s\" cannot be written as a SentencePiece model", t->kind);
    for (int32_t id = 0; id < t->size; id++) {
        size_t n;
        const char *s = gal__piece(t, id, &n);
        put_piece(out, &tmp, s, n, t->scores[id], (gal_piece_type)t->types[id]);
    }
    gal_buf_clear(&tmp);
    put_number(&tmp, 3, 2); /* model_type: BPE */
    put_number(&tmp, 4, t->size);
    put_number(&tmp, 35, t->byte_fallback);
    const int32_t ids[] = { t->unk, t->bos, t->eos, t->pad };
    for (uint32_t i = 0; i < GAL_LEN(ids); i++) put_number(&tmp, 40 + i, ids[i]);
    put_text(&tmp, 44, t->unk_surface);
    for (uint32_t i = 0; i < GAL_LEN(ids); i++) put_named(&tmp, 45 + i, t, ids[i]);
    put_message(out, 2, &tmp);
    put_normalizer(out, &tmp, t->charsmap, t->add_dummy_prefix, t->remove_extra_whitespaces);
    gal_buf_free(&tmp);
    return out->oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the model file") : GAL_OK;
}
