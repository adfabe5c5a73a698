/* spm_model.c - reads a SentencePiece model file (a protocol buffer; ids of fields in the format's definition). Owns
 * the arrays of pieces; refuses damaged files and every rule that encoding lacks, naming it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "text/internal.h"

#include <math.h>
#include <string.h>

typedef struct reader {
    const uint8_t *base, *p, *end;
    const char *name;
    gal_diag *diag;
} reader;

typedef struct field {
    uint32_t number, wire;
    uint64_t value;       /* wire types 0, 1 and 5 */
    const uint8_t *bytes; /* wire type 2 */
    size_t n;
} field;

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static gal_err damaged(const reader *r, const char *what) {
    return gal_fail(r->diag, GAL_EINPUT, "%s: not a SentencePiece model, or a damaged one: %s at byte %zu", r->name,
                    what, (size_t)(r->p - r->base));
}

static gal_err read_varint(reader *r, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->p == r->end) return damaged(r, "a number is cut short");
        uint8_t b = *r->p++;
        if (shift == 63 && b > 1) return damaged(r, "a number above 64 bits");
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return GAL_OK;
        }
    }
    return damaged(r, "a number above 64 bits");
}

static gal_err read_fixed(reader *r, size_t bytes, uint64_t *out) {
    if ((size_t)(r->end - r->p) < bytes) return damaged(r, "a number is cut short");
    uint64_t v = 0;
    for (size_t i = bytes; i-- > 0;) v = v << 8 | r->p[i];
    r->p += bytes;
    *out = v;
    return GAL_OK;
}

static gal_err read_field(reader *r, field *f) {
    uint64_t key = 0, n = 0;
    gal_err err = read_varint(r, &key);
    if (err) return err;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) return damaged(r, "an impossible field number");
    *f = (field){ .number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7) };
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(r, &f->value);
    case WIRE_64:
        return read_fixed(r, 8, &f->value);
    case WIRE_32:
        return read_fixed(r, 4, &f->value);
    case WIRE_BYTES:
        err = read_varint(r, &n);
        if (err) return err;
        if (n > (size_t)(r->end - r->p)) return damaged(r, "a field is longer than the bytes left");
        f->bytes = r->p;
        f->n = (size_t)n;
        r->p += n;
        return GAL_OK;
    default:
        return damaged(r, "an unknown wire type");
    }
}

/* A known field must have the wire type of its definition. */
static gal_err expect(const reader *r, const field *f, uint32_t wire) {
    return f->wire == wire ? GAL_OK : damaged(r, "a known field has the wrong wire type");
}

static gal_err read_piece(gal__spm *m, reader *r) {
    float score = 0.0F;
    uint64_t type = GAL_PIECE_NORMAL;
    const uint8_t *s = NULL;
    size_t n = 0;
    while (r->p < r->end) {
        field f;
        gal_err err = read_field(r, &f);
        if (err) return err;
        if (f.number > 3) continue;
        static const uint32_t WIRES[] = { 0, WIRE_BYTES, WIRE_32, WIRE_VARINT };
        err = expect(r, &f, WIRES[f.number]);
        if (err) return err;
        if (f.number == 1) {
            s = f.bytes;
            n = f.n;
        } else if (f.number == 2) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else {
            type = f.value;
        }
    }
    if (type < GAL_PIECE_NORMAL || type > GAL_PIECE_BYTE) return damaged(r, "a piece of unknown type");
    size_t i = m->vocab.count;
    if (i >= GAL__MAX_PIECES)
        return gal_fail(r->diag, GAL_EINPUT, "%s: more than %d pieces", r->name, GAL__MAX_PIECES);
    if (i == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 1024;
        void *p[4] = { gal_realloc(m->pieces, cap * sizeof *m->pieces) };
        if (p[0]) m->pieces = p[0];
        if ((p[1] = gal_realloc(m->lengths, cap * sizeof *m->lengths)) != NULL) m->lengths = p[1];
        if ((p[2] = gal_realloc(m->scores, cap * sizeof *m->scores)) != NULL) m->scores = p[2];
        if ((p[3] = gal_realloc(m->types, cap * sizeof *m->types)) != NULL) m->types = p[3];
        if (!p[0] || !p[1] || !p[2] || !p[3]) return gal_fail(r->diag, GAL_ENOMEM, "no memory for %zu pieces", cap);
        m->cap = cap;
    }
    m->pieces[i] = s ? (const char *)s : "";
    m->lengths[i] = n;
    m->scores[i] = score;
    m->types[i] = (uint8_t)type;
    m->vocab.count = i + 1;
    return GAL_OK;
}

static gal_err keep_string(char **out, const field *f, const reader *r) {
    gal_free(*out);
    *out = gal_strndup((const char *)f->bytes, f->n);
    return *out ? GAL_OK : gal_fail(r->diag, GAL_ENOMEM, "no memory for a name");
}

typedef struct spec {
    uint64_t model_type, whitespace_suffix, byte_fallback, dummy_prefix, remove_spaces, escape;
    const uint8_t *charsmap;
    size_t charsmap_bytes, denormalizer_bytes;
    bool has_trainer, has_normalizer;
} spec;

static gal_err read_trainer(gal__spm *m, spec *s, reader *r) {
    while (r->p < r->end) {
        field f;
        gal_err err = read_field(r, &f);
        if (err) return err;
        uint64_t *number = f.number == 3    ? &s->model_type
                           : f.number == 24 ? &s->whitespace_suffix
                           : f.number == 35 ? &s->byte_fallback
                                            : NULL;
        char **text = f.number == 44   ? &m->unk_surface
                      : f.number == 46 ? &m->bos
                      : f.number == 47 ? &m->eos
                      : f.number == 48 ? &m->pad
                                       : NULL;
        if (number) {
            err = expect(r, &f, WIRE_VARINT);
            *number = f.value;
        } else if (text) {
            err = expect(r, &f, WIRE_BYTES);
            if (!err) err = keep_string(text, &f, r);
        }
        if (err) return err;
    }
    return GAL_OK;
}

/* name may be NULL. */
static gal_err read_normalizer(spec *s, char **name, reader *r) {
    while (r->p < r->end) {
        field f;
        gal_err err = read_field(r, &f);
        if (err) return err;
        if (f.number < 1 || f.number > 5) continue;
        err = expect(r, &f, f.number <= 2 ? WIRE_BYTES : WIRE_VARINT);
        if (err) return err;
        if (f.number == 1) {
            err = name ? keep_string(name, &f, r) : GAL_OK;
            if (err) return err;
        } else if (f.number == 2) {
            s->charsmap = f.bytes;
            s->charsmap_bytes = f.n;
        } else {
            *(f.number == 3 ? &s->dummy_prefix : f.number == 4 ? &s->remove_spaces : &s->escape) = f.value;
        }
    }
    return GAL_OK;
}

static gal_err check_spec(const spec *s, const reader *r) {
    static const char *const KINDS[] = { "unknown", "unigram", "BPE", "word", "char" };
    if (s->has_trainer && s->model_type != 2)
        return gal_fail(r->diag, GAL_EINPUT, "%s: a SentencePiece %s model (model_type %llu); only BPE is supported",
                        r->name, KINDS[s->model_type < GAL_LEN(KINDS) ? s->model_type : 0],
                        (unsigned long long)s->model_type);
    if (s->denormalizer_bytes > 0)
        return gal_fail(r->diag, GAL_EINPUT, "%s: it has a denormaliser, which is not supported", r->name);
    if (s->whitespace_suffix)
        return gal_fail(r->diag, GAL_EINPUT, "%s: treat_whitespace_as_suffix is set, which is not supported",
                        r->name);
    if (!s->escape)
        return gal_fail(r->diag, GAL_EINPUT, "%s: escape_whitespaces is off, which is not supported", r->name);
    /* Every trainer writes both, after the pieces; without one the format's defaults would give other ids. */
    if (!s->has_trainer || !s->has_normalizer)
        return gal_fail(r->diag, GAL_EINPUT,
                        "%s: expected a %s after the pieces, found the end: the file is cut short", r->name,
                        s->has_trainer ? "normalizer_spec" : "trainer_spec");
    return GAL_OK;
}

gal_err gal__spm_read(gal__spm *m, const uint8_t *bytes, size_t n, const char *name, gal_diag *diag) {
    *m = (gal__spm){ 0 };
    reader r = { bytes, bytes, bytes + n, name, diag };
    spec s = { .model_type = 1, .dummy_prefix = 1, .remove_spaces = 1, .escape = 1 }; /* the format's defaults */
    gal_err err = n ? GAL_OK : gal_fail(diag, GAL_EINPUT, "%s: an empty file", name);
    while (!err && r.p < r.end) {
        field f;
        err = read_field(&r, &f);
        if (err) break;
        if (f.number < 1 || f.number > 5 || f.number == 4) continue;
        err = expect(&r, &f, WIRE_BYTES);
        if (err) break;
        reader sub = { bytes, f.bytes, f.bytes + f.n, name, diag };
        if (f.number == 1) err = read_piece(m, &sub);
        if (f.number == 2) err = read_trainer(m, &s, &sub);
        if (f.number == 3) err = read_normalizer(&s, &m->normalizer, &sub);
        s.has_trainer |= f.number == 2;
        s.has_normalizer |= f.number == 3;
        if (f.number == 5) {
            spec d = { 0 };
            err = read_normalizer(&d, NULL, &sub);
            s.denormalizer_bytes = d.charsmap_bytes;
        }
    }
    if (!err && m->vocab.count == 0) err = damaged(&r, "no pieces");
    if (!err) err = check_spec(&s, &r);
    if (err) {
        gal__spm_free(m);
        return err;
    }
    m->vocab.pieces = m->pieces;
    m->vocab.lengths = m->lengths;
    m->vocab.scores = m->scores;
    m->vocab.types = m->types;
    m->vocab.byte_fallback = s.byte_fallback != 0;
    m->vocab.add_dummy_prefix = s.dummy_prefix != 0;
    m->vocab.remove_extra_whitespaces = s.remove_spaces != 0;
    m->vocab.bos = m->bos && m->bos[0] ? m->bos : NULL;
    m->vocab.eos = m->eos && m->eos[0] ? m->eos : NULL;
    m->vocab.pad = m->pad && m->pad[0] ? m->pad : NULL;
    m->vocab.unk_surface = m->unk_surface;
    m->vocab.normalizer = m->normalizer;
    m->vocab.charsmap = s.charsmap;
    m->vocab.charsmap_bytes = s.charsmap_bytes;
    return GAL_OK;
}

void gal__spm_free(gal__spm *m) {
    gal_free(m->pieces);
    gal_free(m->lengths);
    gal_free(m->scores);
    gal_free(m->types);
    gal_free(m->bos);
    gal_free(m->eos);
    gal_free(m->pad);
    gal_free(m->unk_surface);
    gal_free(m->normalizer);
    *m = (gal__spm){ 0 };
}
