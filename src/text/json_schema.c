/* json_schema.c - the metaschema of draft 7 as a table: what each keyword's value must be. Keywords that it does not
 * know are allowed, as the metaschema allows them. SPDX-License-Identifier: Apache-2.0 */
#include "text/json_schema.h"

#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <string.h>

typedef enum kind {
    TEXT,
    TRUTH,
    NUMBER,
    POSITIVE,
    COUNT,
    PATTERN,
    ANY_ARRAY,
    SCHEMA,
    SCHEMAS,        /* an array of at least one */
    SCHEMA_OR_LIST, /* items */
    SCHEMA_MAP,
    PATTERN_MAP,
    DEPENDENCIES,
    STRINGS, /* an array without two equal ones */
    TYPES
} kind;

static const struct {
    const char *key;
    kind kind;
} KEYWORDS[] = {
    { "$id", TEXT },
    { "$schema", TEXT },
    { "$ref", TEXT },
    { "$comment", TEXT },
    { "title", TEXT },
    { "description", TEXT },
    { "readOnly", TRUTH },
    { "examples", ANY_ARRAY },
    { "multipleOf", POSITIVE },
    { "maximum", NUMBER },
    { "exclusiveMaximum", NUMBER },
    { "minimum", NUMBER },
    { "exclusiveMinimum", NUMBER },
    { "maxLength", COUNT },
    { "minLength", COUNT },
    { "pattern", PATTERN },
    { "additionalItems", SCHEMA },
    { "items", SCHEMA_OR_LIST },
    { "maxItems", COUNT },
    { "minItems", COUNT },
    { "uniqueItems", TRUTH },
    { "contains", SCHEMA },
    { "maxProperties", COUNT },
    { "minProperties", COUNT },
    { "required", STRINGS },
    { "additionalProperties", SCHEMA },
    { "definitions", SCHEMA_MAP },
    { "properties", SCHEMA_MAP },
    { "patternProperties", PATTERN_MAP },
    { "dependencies", DEPENDENCIES },
    { "propertyNames", SCHEMA },
    { "enum", ANY_ARRAY },
    { "type", TYPES },
    { "format", TEXT },
    { "contentMediaType", TEXT },
    { "contentEncoding", TEXT },
    { "if", SCHEMA },
    { "then", SCHEMA },
    { "else", SCHEMA },
    { "allOf", SCHEMAS },
    { "anyOf", SCHEMAS },
    { "oneOf", SCHEMAS },
    { "not", SCHEMA },
};

static bool wrong(gal_buf *why, gal__string key, const char *expected, const gal__value *v) {
    if (!why->len) {
        gal_buf_printf(why, "'%.*s': expected %s, found ", (int)GAL_MIN(key.n, (size_t)64), key.s ? key.s : "",
                       expected);
        gal_buf found = { 0 };
        if (v->type == GAL__OBJECT || v->type == GAL__ARRAY)
            gal_buf_puts(&found, gal__type_name(v));
        else
            gal__tree_print(&found, v);
        gal_buf_add(why, found.data, GAL_MIN(found.len, (size_t)80));
        gal_buf_free(&found);
    }
    return false;
}

static bool is_number(const gal__value *v) { return v->type == GAL__WHOLE || v->type == GAL__REAL; }

static bool is_count(const gal__value *v) {
    if (!is_number(v)) return false;
    const double x = gal__number(v);
    return v->type == GAL__WHOLE ? *v->text.s != '-' : x >= 0 && x == floor(x) && !isinf(x);
}

/* What PCRE2 takes and Python, which the reference asks, does not: other letters after a backslash, names as in Perl.
 */
static bool is_foreign(gal__string s) {
    for (size_t i = 0; i + 1 < s.n; i++) {
        const char c = s.s[i + 1];
        if (s.s[i] == '(' && c == '?' && i + 3 < s.n && s.s[i + 2] == '<' && s.s[i + 3] != '=' && s.s[i + 3] != '!')
            return true;
        if (s.s[i] != '\\') continue;
        if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && !strchr("AbBdDsSwWZafnrtvxuUN", c)) return true;
        i++;
    }
    return false;
}

static bool is_pattern(gal__string s) {
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = is_foreign(s)
                         ? NULL
                         : pcre2_compile((PCRE2_SPTR)s.s, s.n, PCRE2_UTF | PCRE2_ALT_BSUX, &code, &at, NULL);
    pcre2_code_free(re);
    return re != NULL;
}

static bool is_simple_type(const gal__value *v) {
    static const char *const TYPE[] = { "array", "boolean", "integer", "null", "number", "object", "string" };
    for (size_t i = 0; v->type == GAL__STRING && i < GAL_LEN(TYPE); i++)
        if (gal__is(v->text, TYPE[i])) return true;
    return false;
}

static bool is_strings(const gal__value *v) {
    if (v->type != GAL__ARRAY) return false;
    for (const gal__value *e = v->first; e; e = e->next)
        if (e->type != GAL__STRING) return false;
    return true;
}

/* Of strings. No memory for looking counts as no, with why->oom set. */
static bool all_different(const gal__value *v, gal_buf *why) {
    size_t slots = 16;
    while (slots < 2 * (size_t)v->count) slots *= 2;
    const gal__value **seen = gal_alloc_array(slots, sizeof *seen);
    bool ok = seen != NULL;
    why->oom = why->oom || !ok;
    for (const gal__value *e = v->first; ok && e; e = e->next) {
        uint32_t h = 2166136261u;
        for (size_t i = 0; i < e->text.n; i++) h = (h ^ (uint8_t)e->text.s[i]) * 16777619u;
        size_t at = (h ^ (h >> 15)) & (slots - 1);
        while (seen[at] && (seen[at]->text.n != e->text.n || memcmp(seen[at]->text.s, e->text.s, e->text.n) != 0))
            at = (at + 1) & (slots - 1);
        ok = seen[at] == NULL;
        seen[at] = e;
    }
    gal_free(seen);
    return ok;
}

static bool schema(gal__string key, const gal__value *v, gal_buf *why); /* recursion: as deep as the tree */

static bool each(gal__string key, const gal__value *v, gal_buf *why) {
    for (const gal__value *e = v->first; e; e = e->next)
        if (!schema(v->type == GAL__OBJECT ? e->key : key, e, why)) return false;
    return true;
}

static bool of_maps(gal__string key, kind k, const gal__value *v, gal_buf *why) {
    if (v->type != GAL__OBJECT) return wrong(why, key, "an object of schemas", v);
    for (const gal__value *e = v->first; e; e = e->next) {
        if (k == PATTERN_MAP && !is_pattern(e->key)) return wrong(why, e->key, "a regular expression as its name", e);
        if (k == DEPENDENCIES && e->type == GAL__ARRAY) {
            if (!is_strings(e) || !all_different(e, why)) return wrong(why, e->key, "different strings", e);
        } else if (!schema(e->key, e, why)) {
            return false;
        }
    }
    return true;
}

static bool of_kind(kind k, const gal__value *v, gal_buf *why) {
    const gal__string key = v->key;
    switch (k) {
    case TEXT:
        return v->type == GAL__STRING || wrong(why, key, "a string", v);
    case TRUTH:
        return v->type == GAL__TRUE || v->type == GAL__FALSE || wrong(why, key, "true or false", v);
    case NUMBER:
        return is_number(v) || wrong(why, key, "a number", v);
    case POSITIVE:
        return (is_number(v) && !(gal__number(v) <= 0)) || wrong(why, key, "a number above 0", v);
    case COUNT:
        return is_count(v) || wrong(why, key, "a whole number from 0 on", v);
    case PATTERN:
        return (v->type == GAL__STRING && is_pattern(v->text)) || wrong(why, key, "a regular expression", v);
    case ANY_ARRAY:
        return v->type == GAL__ARRAY || wrong(why, key, "an array", v);
    case SCHEMA:
        return schema(key, v, why);
    case SCHEMA_OR_LIST:
        if (v->type != GAL__ARRAY) return schema(key, v, why);
        return v->first ? each(key, v, why) : wrong(why, key, "at least one schema", v);
    case SCHEMAS:
        if (v->type != GAL__ARRAY || !v->first) return wrong(why, key, "an array of at least one schema", v);
        return each(key, v, why);
    case SCHEMA_MAP:
    case PATTERN_MAP:
    case DEPENDENCIES:
        return of_maps(key, k, v, why);
    case STRINGS:
        return (is_strings(v) && all_different(v, why)) || wrong(why, key, "an array of different strings", v);
    case TYPES:
        if (v->type == GAL__STRING) return is_simple_type(v) || wrong(why, key, "the name of a type", v);
        if (!is_strings(v) || !v->first || !all_different(v, why))
            return wrong(why, key, "different names of types", v);
        for (const gal__value *e = v->first; e; e = e->next)
            if (!is_simple_type(e)) return wrong(why, key, "names of types", e);
        return true;
    }
    return true;
}

static bool schema(gal__string key, const gal__value *v, gal_buf *why) {
    if (v->type == GAL__TRUE || v->type == GAL__FALSE) return true;
    if (v->type != GAL__OBJECT) return wrong(why, key, "a schema, which is an object, true or false", v);
    for (const gal__value *m = v->first; m; m = m->next)
        for (size_t i = 0; i < GAL_LEN(KEYWORDS); i++)
            if (gal__is(m->key, KEYWORDS[i].key) && !of_kind(KEYWORDS[i].kind, m, why)) return false;
    return true;
}

bool gal__schema_valid(const gal__value *v, gal_buf *why) { return schema(v->key, v, why); }
