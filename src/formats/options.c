/* options.c - see options.h. Owns the check and the printing of single values; options_yaml.c walks the events.
 * Invariant: a field is changed only after its value passed every check. SPDX-License-Identifier: Apache-2.0 */
#include "formats/options_internal.h"

#include "base/mem.h"
#include "base/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void *field_of(void *config, const gal_setting *s) { return (char *)config + s->offset; }
static const void *field_in(const void *config, const gal_setting *s) { return (const char *)config + s->offset; }

/* ---- finding keys ------------------------------------------------------------------------------------------------
 */

const gal_setting *gal_settings_find(const gal_settings *t, const char *key) {
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->rows[i].key, key) == 0) return &t->rows[i];
    return NULL;
}

int gal_settings_said(const gal_settings *t, const void *config, const char *key) {
    const gal_setting *s = gal_settings_find(t, key);
    return s && t->said ? ((const uint8_t *)config + t->said)[s - t->rows] : GAL_SAID_NOWHERE;
}

void gal__settings_note(const gal_settings *t, void *config, const gal_setting *s, int said) {
    if (t->said) ((uint8_t *)config + t->said)[s - t->rows] = (uint8_t)said;
}

bool gal_settings_applies(const gal_settings *t, const void *config, const gal_setting *row) {
    return !t->applies || t->applies(config, row);
}

bool gal__settings_is_section(const gal_settings *t, const char *key) {
    size_t n = strlen(key);
    for (size_t i = 0; i < t->count; i++)
        if (strncmp(t->rows[i].key, key, n) == 0 && t->rows[i].key[n] == '.') return true;
    return false;
}

/* Edit distance of short keys, by rows; long ones count as far. */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 63 };
    size_t na = strlen(a), nb = strlen(b), row[LONGEST + 1];
    if (na > LONGEST || nb > LONGEST) return LONGEST;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = GAL_MIN(change, GAL_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[nb];
}

const char *gal__settings_nearest(const gal_settings *t, const char *key) {
    const char *best = NULL, *last = strrchr(key, '.');
    size_t least = 4;
    for (size_t i = 0; i < t->count; i++) {
        size_t d = distance(key, t->rows[i].key);
        /* The right name in the wrong section is the commonest mistake of all. */
        const char *name = strrchr(t->rows[i].key, '.');
        name = name ? name + 1 : t->rows[i].key;
        if (strcmp(last ? last + 1 : key, name) == 0) d = GAL_MIN(d, (size_t)1);
        if (d < least) {
            least = d;
            best = t->rows[i].key;
        }
    }
    return best;
}

/* First parts of all keys, once each, in the table's order. */
static void list_sections(const gal_settings *t, gal_buf *b) {
    const char *before = "";
    size_t before_len = 0;
    for (size_t i = 0; i < t->count; i++) {
        const char *key = t->rows[i].key;
        size_t len = strcspn(key, ".");
        if (len == before_len && memcmp(key, before, len) == 0) continue;
        if (before_len) gal_buf_puts(b, ", ");
        gal_buf_add(b, key, len);
        before = key;
        before_len = len;
    }
}

gal_err gal__settings_unknown(const gal_settings *t, const char *key, const gal__place *at, gal_diag *diag) {
    const char *near = gal__settings_nearest(t, key);
    if (near) return gal_fail(diag, at->err, "%s: unknown key %s; did you mean %s?", at->text, key, near);
    gal_buf known = { 0 };
    list_sections(t, &known);
    gal_err err = gal_fail(diag, at->err, "%s: unknown key %s; expected one of %s", at->text, key,
                           known.data ? known.data : "the table's");
    gal_buf_free(&known);
    return err;
}

/* ---- values ------------------------------------------------------------------------------------------------------
 */

/* The shortest form of at least so many digits that reads back to the same number. */
static void print_number(double x, int digits, gal_buf *out) {
    char text[40];
    for (; digits <= 17; digits++) {
        double back = 0;
        (void)snprintf(text, sizeof text, "%.*g", digits, x);
        /* A locale may write a comma; the file has a point. */
        for (char *c = text; *c; c++)
            if (*c == ',') *c = '.';
        if (gal_parse_f64(text, &back) && !(back < x) && !(back > x)) break;
    }
    gal_buf_puts(out, text);
}

static void expected(const gal_setting *s, gal_buf *b) {
    switch (s->type) {
    case GAL_S_INT:
        gal_buf_printf(b, "a whole number from %.0f to %.0f", s->min, s->max);
        break;
    case GAL_S_FLOAT:
        gal_buf_puts(b, "a number from ");
        print_number(s->min, 6, b); /* 0.999999999 is not 1 */
        gal_buf_puts(b, " to ");
        print_number(s->max, 6, b);
        break;
    case GAL_S_BOOL:
        gal_buf_puts(b, "true or false");
        break;
    case GAL_S_STRING:
        gal_buf_puts(b, "a text");
        break;
    case GAL_S_PATH:
        gal_buf_puts(b, "a path");
        break;
    case GAL_S_CHOICE:
        gal_buf_printf(b, "one of: %s", s->choices);
        break;
    case GAL_S_STRINGS:
        gal_buf_puts(b, "a text or a list of texts");
        break;
    case GAL_S_PATHS:
        gal_buf_puts(b, "a path or a list of paths");
        break;
    case GAL_S_LABELLED:
        gal_buf_puts(b, "LABEL:PATH or a list of them");
        break;
    }
}

gal_err gal__settings_refuse(const gal_setting *s, const char *found, const gal__place *at, gal_diag *diag) {
    gal_buf want = { 0 };
    expected(s, &want);
    gal_err err = gal_fail(diag, at->err, "%s: %s: expected %s, found %.200s", at->text, s->key,
                           want.data ? want.data : "another value", found);
    gal_buf_free(&want);
    return err;
}

static gal_err refuse_text(const gal_setting *s, const char *text, const gal__place *at, gal_diag *diag) {
    gal_buf found = { 0 };
    gal_buf_json(&found, text, strlen(text));
    gal_err err = gal__settings_refuse(s, found.data ? found.data : "?", at, diag);
    gal_buf_free(&found);
    return err;
}

static bool parse_choice(const gal_setting *s, const char *text, int *out) {
    size_t n = strlen(text);
    int place = 0;
    for (const char *c = s->choices; *c; place++) {
        size_t len = strcspn(c, " ");
        if (len == n && memcmp(c, text, n) == 0) {
            *out = place;
            return true;
        }
        c += len;
        c += strspn(c, " ");
    }
    return false;
}

/* A number as people write it: no hexadecimal, no infinities (gal_parse_f64 is finite only). */
static bool parse_number(const char *text, double *out) {
    return text[strspn(text, "0123456789+-.eE")] == 0 && gal_parse_f64(text, out);
}

/* 1000, and 1e3 too, up to where each whole number has a double of its own. */
static bool parse_whole(const char *text, int64_t *out) {
    double x = 0;
    if (gal_parse_i64(text, out)) return true;
    if (!parse_number(text, &x) || fabs(x) > 9007199254740992.0 || x < floor(x) || x > floor(x)) return false;
    *out = (int64_t)x;
    return true;
}

bool gal__settings_is_list(const gal_setting *s) {
    return s->type == GAL_S_STRINGS || s->type == GAL_S_PATHS || s->type == GAL_S_LABELLED;
}

static char *resolve(const gal_setting *s, const char *text, const char *dir) {
    bool path = s->type == GAL_S_PATH || s->type == GAL_S_PATHS || s->type == GAL_S_LABELLED;
    const char *label = text;
    if (s->type == GAL_S_LABELLED) text = strchr(text, ':') + 1;
    if (!path || !dir || !dir[0] || text[0] == '/' || text[0] == 0) return gal_strdup(label);
    gal_buf b = { 0 }, all = { 0 };
    gal_buf_add(&all, label, (size_t)(text - label));
    if (gal_path_join(&b, dir, text)) gal_buf_puts(&all, b.data);
    char *joined = b.oom || all.oom ? NULL : gal_strdup(all.data);
    gal_buf_free(&b);
    gal_buf_free(&all);
    return joined;
}

static void strings_free(gal_strings *l) {
    for (size_t i = 0; i < l->n; i++) gal_free(l->v[i]);
    gal_free(l->v);
    *l = (gal_strings){ 0 };
}

static gal_err strings_add(gal_strings *l, char *text, const gal__place *at, gal_diag *diag) {
    char **v = text ? gal_realloc(l->v, (l->n + 1) * sizeof *v) : NULL;
    if (!v) {
        gal_free(text);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", at->text);
    }
    l->v = v;
    l->v[l->n++] = text;
    return GAL_OK;
}

static gal_err assign_text(const gal_setting *s, void *config, const gal__scalar *v, const gal__place *at,
                           gal_diag *diag) {
    if (strlen(v->text) != v->bytes) return gal__settings_refuse(s, "a text with a zero byte", at, diag);
    if (s->type == GAL_S_LABELLED) {
        const char *colon = strchr(v->text, ':');
        if (!colon || colon == v->text || !colon[1]) return refuse_text(s, v->text, at, diag);
    }
    char *text = resolve(s, v->text, at->dir);
    if (!text) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", at->text);
    if (gal__settings_is_list(s)) {
        gal_strings *l = field_of(config, s);
        if (!v->append) strings_free(l);
        return strings_add(l, text, at, diag);
    }
    char **to = field_of(config, s);
    gal_free(*to);
    *to = text;
    return GAL_OK;
}

gal_err gal__settings_assign(const gal_setting *s, void *config, const gal__scalar *v, const gal__place *at,
                             gal_diag *diag) {
    bool text = s->type == GAL_S_STRING || s->type == GAL_S_PATH || gal__settings_is_list(s);
    if (text) return assign_text(s, config, v, at, diag);
    if (v->quoted && s->type != GAL_S_CHOICE) return refuse_text(s, v->text, at, diag);
    if (v->bytes == 0) return gal__settings_refuse(s, "no value", at, diag);
    double x = 0;
    int64_t whole = 0;
    int place = 0;
    switch (s->type) {
    case GAL_S_INT:
        if (!parse_whole(v->text, &whole) || whole < (int64_t)s->min || whole > (int64_t)s->max)
            return refuse_text(s, v->text, at, diag);
        *(int64_t *)field_of(config, s) = whole;
        break;
    case GAL_S_FLOAT:
        if (!parse_number(v->text, &x) || x < s->min || x > s->max) return refuse_text(s, v->text, at, diag);
        *(double *)field_of(config, s) = x;
        break;
    case GAL_S_BOOL:
        if (strcmp(v->text, "true") != 0 && strcmp(v->text, "false") != 0) return refuse_text(s, v->text, at, diag);
        *(bool *)field_of(config, s) = v->text[0] == 't';
        break;
    case GAL_S_CHOICE:
        if (!parse_choice(s, v->text, &place)) return refuse_text(s, v->text, at, diag);
        *(int *)field_of(config, s) = place;
        break;
    case GAL_S_STRING:
    case GAL_S_PATH:
    case GAL_S_STRINGS:
    case GAL_S_PATHS:
    case GAL_S_LABELLED:
        break; /* above */
    }
    return GAL_OK;
}

void gal__settings_clear_list(const gal_setting *s, void *config) { strings_free(field_of(config, s)); }

bool gal__settings_unsets(const gal_settings *t, const gal_setting *s, const gal__scalar *v) {
    const bool text = s->type == GAL_S_STRING || s->type == GAL_S_PATH || gal__settings_is_list(s);
    if (!t->unset || !text || (s->fallback && s->fallback[0])) return false;
    return v->bytes == 0 || (!v->quoted && strcmp(v->text, "none") == 0);
}

gal_err gal__settings_unset(const gal_setting *s, void *config, const gal__place *at, gal_diag *diag) {
    const gal__scalar nothing = { .text = "" };
    if (!gal__settings_is_list(s)) return assign_text(s, config, &nothing, at, diag);
    gal__settings_clear_list(s, config);
    return GAL_OK;
}

gal_err gal_settings_defaults(const gal_settings *t, void *config, gal_diag *diag) {
    memset(config, 0, t->bytes);
    for (size_t i = 0; i < t->count; i++) {
        const gal_setting *s = &t->rows[i];
        if (!s->fallback) continue;
        gal__place at = { .text = "default", .err = GAL_EFAIL };
        gal__scalar v = { .text = s->fallback, .bytes = strlen(s->fallback) };
        gal_err err = gal__settings_assign(s, config, &v, &at, diag);
        if (err) {
            gal_settings_free(t, config);
            return err;
        }
    }
    return GAL_OK;
}

void gal_settings_free(const gal_settings *t, void *config) {
    for (size_t i = 0; i < t->count; i++) {
        const gal_setting *s = &t->rows[i];
        if (s->type == GAL_S_STRING || s->type == GAL_S_PATH) gal_free(*(char **)field_of(config, s));
        if (gal__settings_is_list(s)) strings_free(field_of(config, s));
    }
    memset(config, 0, t->bytes);
}

/* ---- writing -----------------------------------------------------------------------------------------------------
 */

void gal_settings_print(const gal_setting *s, const void *config, gal_buf *out) {
    const void *f = field_in(config, s);
    const char *c;
    const gal_strings *l;
    switch (s->type) {
    case GAL_S_INT:
        gal_buf_printf(out, "%lld", (long long)*(const int64_t *)f);
        break;
    case GAL_S_FLOAT:
        print_number(*(const double *)f, 1, out);
        break;
    case GAL_S_BOOL:
        gal_buf_puts(out, *(const bool *)f ? "true" : "false");
        break;
    case GAL_S_STRING:
    case GAL_S_PATH:
        c = *(char *const *)f;
        gal_buf_json(out, c, strlen(c)); /* a JSON string is a YAML string */
        break;
    case GAL_S_CHOICE:
        c = s->choices;
        for (int i = 0; i < *(const int *)f; i++) c += strcspn(c, " ") + 1;
        gal_buf_add(out, c, strcspn(c, " "));
        break;
    case GAL_S_STRINGS:
    case GAL_S_PATHS:
    case GAL_S_LABELLED:
        l = f;
        gal_buf_putc(out, '[');
        for (size_t i = 0; i < l->n; i++) {
            if (i) gal_buf_puts(out, ", ");
            gal_buf_json(out, l->v[i], strlen(l->v[i]));
        }
        gal_buf_putc(out, ']');
        break;
    }
}

void gal_settings_dump(const gal_settings *t, const void *config, gal_buf *out) {
    const char *section = "";
    size_t section_bytes = 0;
    for (size_t i = 0; i < t->count; i++) {
        const gal_setting *s = &t->rows[i];
        if (!gal_settings_applies(t, config, s)) continue;
        const char *dot = strchr(s->key, '.');
        size_t n = dot ? (size_t)(dot - s->key) : 0;
        if (n && (section_bytes != n || memcmp(section, s->key, n) != 0)) {
            section = s->key;
            gal_buf_add(out, section, n);
            gal_buf_puts(out, ":\n");
        }
        section_bytes = n;
        gal_buf_printf(out, "%s%s: ", n ? "  " : "", n ? dot + 1 : s->key);
        gal_settings_print(s, config, out);
        gal_buf_putc(out, '\n');
    }
}

void gal_settings_list(const gal_settings *t, gal_buf *out) {
    gal_buf_puts(out, "| key | expects | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < t->count; i++) {
        const gal_setting *s = &t->rows[i];
        gal_buf_printf(out, "| `%s` | ", s->key);
        expected(s, out);
        gal_buf_printf(out, " | %s%s%s | %s |\n", s->fallback && s->fallback[0] ? "`" : "",
                       s->fallback && s->fallback[0] ? s->fallback : "none", s->fallback && s->fallback[0] ? "`" : "",
                       s->help);
    }
}
