/* hf_steps.c - normalizer, pre_tokenizer, decoder and post_processor of a tokenizer.json: what is known becomes rules
 * and steps, anything else is refused with its key and type. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/hf.h"

#include <stdio.h>
#include <string.h>

static const char SPACE[] = "\xe2\x96\x81"; /* U+2581 */

typedef struct walk {
    gal__hf *h;
    gal__hf_file *f;
    const char *part; /* "normalizer" */
    gal_err err;
    int depth;
} walk;

static void refuse(walk *w, const char *key, const char *expected, const gal__value *v) {
    char found[80] = "nothing";
    if (w->err) return;
    if (v && (v->type == GAL__STRING || v->type == GAL__WHOLE || v->type == GAL__REAL))
        (void)snprintf(found, sizeof found, "\"%.60s\"", v->text.s);
    else if (v)
        (void)snprintf(found, sizeof found, "%s", gal__type_name(v));
    w->err = gal_fail(w->f->diag, GAL_EINPUT, "%s: %s.%s: expected %s, found %s", w->f->name, w->part, key, expected,
                      found);
}

static void no_memory(walk *w) {
    if (!w->err) w->err = gal_fail(w->f->diag, GAL_ENOMEM, "%s: no memory for its %s", w->f->name, w->part);
}

static gal__string type_of(walk *w, const gal__value *v) {
    const gal__value *type = gal__member(v, "type");
    if (type && type->type == GAL__STRING) return type->text;
    refuse(w, "type", "a name", type);
    return (gal__string){ "", 0 };
}

/* A member that is true or false; absent or null: as it usually is. */
static bool flag(walk *w, const gal__value *v, const char *key, bool usual) {
    const gal__value *m = gal__member(v, key);
    if (!m || m->type == GAL__NULL) return usual;
    if (m->type != GAL__TRUE && m->type != GAL__FALSE) refuse(w, key, "true or false", m);
    return m->type == GAL__TRUE;
}

static gal__string string_of(walk *w, const gal__value *v, const char *key) {
    const gal__value *m = gal__member(v, key);
    gal__string s = { "", 0 };
    if (!m || m->type != GAL__STRING)
        refuse(w, key, "a string", m);
    else if (!gal__pool_string(&w->h->pool, &s, m->text.s, m->text.n))
        no_memory(w);
    return s;
}

/* The elements of a Sequence's list, NULL for other types. */
static const gal__value *list_of(walk *w, const gal__value *v, const char *key) {
    const gal__value *m = gal__member(v, key);
    if (!m || m->type != GAL__ARRAY) refuse(w, key, "an array", m);
    if (++w->depth > 8) refuse(w, key, "sequences at most 8 deep", m);
    return w->err || !m ? NULL : m->first;
}

/* "pattern": {"String": s} or {"Regex": s}. */
static gal__string pattern_of(walk *w, const gal__value *v, bool *regex) {
    const gal__value *m = gal__member(v, "pattern");
    *regex = m && gal__member(m, "Regex");
    if (!m || (!*regex && !gal__member(m, "String"))) {
        refuse(w, "pattern", "a String or a Regex", m);
        return (gal__string){ "", 0 };
    }
    return string_of(w, m, *regex ? "Regex" : "String");
}

/* ---- normalizer --------------------------------------------------------------------------------------------------
 */

static void add_rule(walk *w, gal__rule r) {
    if (w->h->n_rules == GAL__HF_RULES)
        refuse(w, "normalizers", "at most 16 of them", NULL);
    else
        w->h->rules[w->h->n_rules++] = r;
}

/* The regular expressions that converters write. */
static void add_replace(walk *w, const gal__value *v) {
    static const struct {
        const char *from, *to;
        gal__rule_kind kind;
    } KNOWN[] = { { "\\A\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81", GAL__RULE_DOUBLE },
                  { "\\A +| +\\z", "", GAL__RULE_TRIM },
                  { " {2,}", " ", GAL__RULE_RUNS } };
    bool regex = false;
    gal__rule r = { GAL__RULE_REPLACE, pattern_of(w, v, &regex), string_of(w, v, "content") };
    if (w->err) return;
    if (!regex && r.from.n == 0) refuse(w, "pattern", "a string that is not empty", NULL);
    for (size_t i = 0; regex && i < GAL_LEN(KNOWN); i++)
        if (gal__is(r.from, KNOWN[i].from) && gal__is(r.to, KNOWN[i].to)) {
            r.kind = KNOWN[i].kind;
            regex = false;
        }
    if (regex)
        w->err = gal_fail(w->f->diag, GAL_EINPUT, "%s: %s.pattern: the Regex '%.60s' is not supported", w->f->name,
                          w->part, r.from.s);
    if (!w->err) add_rule(w, r);
}

static void read_normalizer(walk *w, const gal__value *v) { /* NOLINT(misc-no-recursion): at most 8 deep */
    const gal__string type = type_of(w, v);
    if (w->err) return;
    if (gal__is(type, "Sequence")) {
        for (const gal__value *e = list_of(w, v, "normalizers"); e && !w->err; e = e->next) read_normalizer(w, e);
        w->depth--;
    } else if (gal__is(type, "Prepend")) {
        add_rule(w, (gal__rule){ .kind = GAL__RULE_PREPEND, .to = string_of(w, v, "prepend") });
    } else if (gal__is(type, "Replace")) {
        add_replace(w, v);
    } else {
        refuse(w, "type", "Sequence, Prepend or Replace", gal__member(v, "type"));
    }
}

/* ---- pre_tokenizer -----------------------------------------------------------------------------------------------
 */

static gal__step *add_step(walk *w, gal__step_kind kind) {
    if (w->h->n_steps == GAL__HF_STEPS) refuse(w, "pretokenizers", "at most 16 of them", NULL);
    if (w->err) return NULL;
    gal__step *s = &w->h->steps[w->h->n_steps++];
    *s = (gal__step){ .kind = kind };
    return s;
}

static void add_pattern(walk *w, const char *pattern, size_t n, gal__how how, bool invert) {
    gal__step *s = add_step(w, GAL__STEP_SPLIT);
    if (!s) return;
    s->how = how;
    s->invert = invert;
    w->err = gal__split_new(&s->pattern, pattern, n, w->f->name, w->f->diag);
}

static void read_split(walk *w, const gal__value *v) {
    static const char *const HOW[] = { "Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext" };
    const gal__value *behavior = gal__member(v, "behavior");
    bool regex;
    const gal__string p = pattern_of(w, v, &regex);
    const bool invert = flag(w, v, "invert", false);
    size_t how = 0;
    while (how < GAL_LEN(HOW) && !(behavior && behavior->type == GAL__STRING && gal__is(behavior->text, HOW[how])))
        how++;
    if (how == GAL_LEN(HOW)) refuse(w, "behavior", "Isolated, Removed, Contiguous or MergedWith...", behavior);
    if (!w->err && p.n == 0) refuse(w, "pattern", "one that is not empty", NULL);
    if (w->err) return;
    if (regex) {
        add_pattern(w, p.s, p.n, (gal__how)how, invert);
        return;
    }
    gal__step *s = add_step(w, GAL__STEP_SPLIT);
    if (!s) return;
    s->literal = p;
    s->how = (gal__how)how;
    s->invert = invert;
}

static void read_metaspace(walk *w, const gal__value *v) {
    const gal__value *scheme = gal__member(v, "prepend_scheme"), *as = gal__member(v, "replacement");
    gal__step *s = add_step(w, GAL__STEP_SPACES);
    if (!s) return;
    if (!as || !gal__is(as->text, SPACE)) refuse(w, "replacement", "U+2581", as);
    s->cut = flag(w, v, "split", true);
    s->scheme = flag(w, v, "add_prefix_space", true) ? GAL__ALWAYS : GAL__NEVER; /* as it was said before */
    if (!scheme || scheme->type == GAL__NULL) return;
    if (gal__is(scheme->text, "first"))
        s->scheme = GAL__FIRST;
    else if (gal__is(scheme->text, "never"))
        s->scheme = GAL__NEVER;
    else if (gal__is(scheme->text, "always"))
        s->scheme = GAL__ALWAYS;
    else
        refuse(w, "prepend_scheme", "first, always or never", scheme);
}

static void read_byte_level(walk *w, const gal__value *v) {
    if (w->f->byte_level) {
        refuse(w, "type", "ByteLevel once, and last", gal__member(v, "type"));
        return;
    }
    if (flag(w, v, "add_prefix_space", true)) (void)add_step(w, GAL__STEP_PREFIX);
    if (flag(w, v, "use_regex", true))
        add_pattern(w, GAL__PATTERN_GPT2, strlen(GAL__PATTERN_GPT2), GAL__ISOLATED, false);
    w->f->byte_level = true;
}

static void read_pre_tokenizer(walk *w, const gal__value *v) { /* NOLINT(misc-no-recursion): at most 8 deep */
    const gal__string type = type_of(w, v);
    if (w->err) return;
    if (gal__is(type, "Sequence")) {
        for (const gal__value *e = list_of(w, v, "pretokenizers"); e && !w->err; e = e->next)
            read_pre_tokenizer(w, e);
        w->depth--;
        return;
    }
    if (w->f->byte_level) {
        refuse(w, "type", "nothing after ByteLevel", gal__member(v, "type"));
    } else if (gal__is(type, "ByteLevel")) {
        read_byte_level(w, v);
    } else if (gal__is(type, "Split")) {
        read_split(w, v);
    } else if (gal__is(type, "Digits")) {
        const bool each = flag(w, v, "individual_digits", false);
        add_pattern(w, "\\p{N}", 5, each ? GAL__ISOLATED : GAL__CONTIGUOUS, false);
    } else if (gal__is(type, "Metaspace")) {
        read_metaspace(w, v);
    } else {
        refuse(w, "type", "Sequence, ByteLevel, Split, Digits or Metaspace", gal__member(v, "type"));
    }
}

/* ---- decoder, post_processor -------------------------------------------------------------------------------------
 */

static bool count_of(walk *w, const gal__value *v, const char *key, uint32_t most, uint32_t *out) {
    const gal__value *m = gal__member(v, key);
    int64_t n = -1;
    if (m && m->type == GAL__WHOLE) (void)gal_parse_i64(m->text.s, &n);
    if (n < 0 || n > most) refuse(w, key, most ? "0 to 255" : "0", m);
    *out = w->err ? 0 : (uint32_t)n;
    return !w->err;
}

/* Spaces at the ends of the whole text: no others, or text would have to wait for its end. */
static void read_strip(walk *w, const gal__value *v) {
    const gal__value *content = gal__member(v, "content");
    uint32_t start, stop;
    if (!content || !gal__is(content->text, " ")) refuse(w, "content", "a space", content);
    if (!w->f->fused || w->f->decoding.strip) refuse(w, "type", "Strip once, after Fuse", gal__member(v, "type"));
    if (count_of(w, v, "start", 255, &start) && count_of(w, v, "stop", 0, &stop)) w->f->decoding.strip = start;
}

static void read_spaces(walk *w, const gal__value *v, bool metaspace) {
    gal__decoding *d = &w->f->decoding;
    bool regex = false;
    if (d->spaces || d->bytes || w->f->fused)
        refuse(w, "type", "U+2581 to become spaces once, and first", gal__member(v, "type"));
    if (metaspace) {
        const gal__value *as = gal__member(v, "replacement"), *scheme = gal__member(v, "prepend_scheme");
        if (!as || !gal__is(as->text, SPACE)) refuse(w, "replacement", "U+2581", as);
        d->bare = scheme && scheme->type == GAL__STRING ? !gal__is(scheme->text, "never")
                                                        : flag(w, v, "add_prefix_space", true);
    } else {
        const gal__string from = pattern_of(w, v, &regex), to = string_of(w, v, "content");
        if (regex || !gal__is(from, SPACE)) refuse(w, "pattern", "the String U+2581", gal__member(v, "pattern"));
        if (!w->err && !gal__is(to, " ")) refuse(w, "content", "a space", gal__member(v, "content"));
    }
    d->spaces = true;
}

/* What ids become; steps that would do something else are refused. */
static void read_decoder(walk *w, const gal__value *v) { /* NOLINT(misc-no-recursion): at most 8 deep */
    const gal__string type = type_of(w, v);
    gal__decoding *d = &w->f->decoding;
    if (w->err) return;
    d->said = true;
    if (gal__is(type, "Sequence")) {
        for (const gal__value *e = list_of(w, v, "decoders"); e && !w->err; e = e->next) read_decoder(w, e);
        w->depth--;
    } else if (gal__is(type, "Fuse")) {
        w->f->fused = true;
    } else if (w->f->byte_level) {
        if (!gal__is(type, "ByteLevel") || w->f->fused)
            refuse(w, "type", "ByteLevel, as the pre_tokenizer is", gal__member(v, "type"));
    } else if (gal__is(type, "Replace") || gal__is(type, "Metaspace")) {
        read_spaces(w, v, gal__is(type, "Metaspace"));
    } else if (gal__is(type, "ByteFallback")) {
        if (w->f->fused) refuse(w, "type", "ByteFallback before Fuse", gal__member(v, "type"));
        d->bytes = true;
    } else if (gal__is(type, "Strip")) {
        read_strip(w, v);
    } else {
        refuse(w, "type", "Sequence, Replace, ByteFallback, Fuse, Strip or Metaspace", gal__member(v, "type"));
    }
}

/* "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}] */
static void read_template(walk *w, const gal__value *v) {
    const gal__value *single = gal__member(v, "single");
    if (!single || single->type != GAL__ARRAY) {
        refuse(w, "single", "an array", single);
        return;
    }
    const gal__value *special = single->first ? gal__member(single->first, "SpecialToken") : NULL;
    const gal__value *id = special ? gal__member(special, "id") : NULL;
    w->f->says_begin = true;
    w->f->begins = id && id->type == GAL__STRING;
    if (w->f->begins) w->f->first = id->text;
}

static void read_post(walk *w, const gal__value *v) { /* NOLINT(misc-no-recursion): at most 8 deep */
    const gal__string type = type_of(w, v);
    if (w->err) return;
    if (gal__is(type, "Sequence")) {
        for (const gal__value *e = list_of(w, v, "processors"); e && !w->err; e = e->next) read_post(w, e);
        w->depth--;
    } else if (gal__is(type, "TemplateProcessing")) {
        read_template(w, v);
    } else if (!gal__is(type, "ByteLevel")) {
        refuse(w, "type", "Sequence, TemplateProcessing or ByteLevel", gal__member(v, "type"));
    }
}

static gal_err check(const gal__hf *h, const gal__hf_file *f) {
    bool spaces = false, prefixed = false;
    for (size_t i = 0; i < h->n_rules; i++)
        spaces = spaces || (h->rules[i].kind == GAL__RULE_REPLACE && gal__is(h->rules[i].from, " ") &&
                            gal__is(h->rules[i].to, SPACE));
    for (size_t i = 0; i < h->n_steps; i++) {
        spaces = spaces || h->steps[i].kind == GAL__STEP_SPACES;
        prefixed = prefixed || h->steps[i].kind == GAL__STEP_SPACES;
    }
    if (f->byte_level && (prefixed || f->byte_fallback))
        return gal_fail(f->diag, GAL_EINPUT, "%s: pre_tokenizer: ByteLevel together with %s is not supported",
                        f->name, prefixed ? "Metaspace" : "model.byte_fallback");
    if (!f->byte_level && !spaces)
        return gal_fail(f->diag, GAL_EINPUT,
                        "%s: pre_tokenizer: expected ByteLevel, or U+2581 for spaces (Metaspace, or Replace in the "
                        "normalizer)",
                        f->name);
    return GAL_OK;
}

gal_err gal__hf_steps(gal__hf *h, gal__hf_file *f) {
    walk w = { .h = h, .f = f };
    const struct {
        const char *name;
        const gal__value *v;
        void (*read)(walk *, const gal__value *);
    } PARTS[] = { { "normalizer", f->normalizer, read_normalizer },
                  { "pre_tokenizer", f->pre_tokenizer, read_pre_tokenizer },
                  { "decoder", f->decoder, read_decoder },
                  { "post_processor", f->post_processor, read_post } };
    for (size_t i = 0; i < GAL_LEN(PARTS) && !w.err; i++) {
        w.part = PARTS[i].name;
        if (PARTS[i].v) PARTS[i].read(&w, PARTS[i].v);
    }
    return w.err ? w.err : check(h, f);
}
