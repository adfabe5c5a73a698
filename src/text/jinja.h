/* jinja.h - chat templates: a small, bounded part of Jinja 2, with the meaning that the jinja2 package and
 * transformers' settings give it (trim_blocks, lstrip_blocks, no file, no host, nothing that changes a list or dict).
 *
 *   source -> tokens (jinja_lex.c) -> tree (jinja_parse.c, jinja_expr.c) -> text (jinja_run.c, jinja_eval.c, ...)
 *
 * Every byte of text carries an origin: what the template spells is GAL__FROM_TEMPLATE, what came in from outside
 * keeps the origin that it was given, whatever is done with it. So text of a conversation never becomes a control
 * token.
 *
 * What is outside the part that we have is an error that names the construct and its place, "file:line:column". All
 * values of one rendering live in one pool and are given back in one piece. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_JINJA_H
#define GAL_TEXT_JINJA_H

#include "text/json_tree.h"

#include <time.h>

enum {
    GAL__JINJA_SOURCE = 1 << 20,  /* bytes of a template */
    GAL__JINJA_NESTING = 100,     /* of constructs in one another, and of macros that call one another */
    GAL__JINJA_DEPTH = 1000,      /* of expressions under evaluation */
    GAL__JINJA_VALUE_DEPTH = 600, /* of lists and dicts in one another; a request's may have 500 */
    GAL__JINJA_STEPS = 1000000,
    GAL__JINJA_TEXT = 1 << 24,   /* bytes of any one text, the output included */
    GAL__JINJA_MEMORY = 1 << 28, /* bytes of all values made */
    GAL__JINJA_WORK = 1 << 28,   /* bytes copied, compared and searched */
    GAL__JINJA_RANGE = 100000    /* as jinja2's sandbox has it */
};

enum {
    GAL__FROM_TEMPLATE = 0, /* spelled in the template, or one of the special tokens: may become control tokens */
    GAL__FROM_RUN = 1,      /* made while rendering: numbers, the punctuation of JSON */
    GAL__FROM_OUTSIDE = 2   /* and above: of a conversation, told apart by its reader */
};

/* Text with the origin of each byte; NUL-ended, not counted. from NULL: every byte has `origin`. Bytes of mixed text
 * are few, so a byte for each of them where origins meet is cheap, and all that is done with text (cut, join,
 * replace) is done with its origins in the same way. */
typedef struct gal__jtext {
    const char *s;
    size_t n;
    const uint8_t *from;
    uint8_t origin;
} gal__jtext;

typedef struct gal__jinja gal__jinja;

/* Parses. name stands in messages; source is not needed afterwards, the pool is. */
gal_err gal__jinja_new(gal__jinja **out, gal__pool *pool, const char *source, size_t n, const char *name,
                       gal_diag *diag);
/* The same of a template that is none of a conversation (text/template.h): white space around tags and the last line
 * end stay, and what is undefined can be neither printed nor gone through. */
gal_err gal__jinja_new_plain(gal__jinja **out, gal__pool *pool, const char *source, size_t n, const char *name,
                             gal_diag *diag);
/* Whether some loop of the template goes over a variable or member called `content`: then messages may be lists of
 * parts; a template without one knows text alone. */
bool gal__jinja_reads_parts(const gal__jinja *j);
/* A variable of the template. The tree must outlive the rendering. origin: of a value's text; of numbers and of what
 * is made of them it is GAL__FROM_RUN. */
gal_err gal__jinja_set_tree(gal__jinja *j, const char *name, const gal__value *v, uint8_t origin);
gal_err gal__jinja_set_text(gal__jinja *j, const char *name, const char *s, size_t n, uint8_t origin);
gal_err gal__jinja_set_bool(gal__jinja *j, const char *name, bool truth);
/* The same with a choice of origins for what lies inside: by `origin_of`, asked at each member of an object. */
typedef uint8_t (*gal__jorigin)(void *user, const gal__value *object, const gal__value *member, uint8_t origin);
void gal__jinja_origins(gal__jinja *j, gal__jorigin origin_of, void *user);
/* For strftime_now(); NULL: a template that asks for the date is refused. Borrowed. */
void gal__jinja_now(gal__jinja *j, const struct tm *now);
/* Once. GAL_EINPUT: what the template asks for is not there, is too much, or raise_exception() was called. */
gal_err gal__jinja_render(gal__jinja *j, gal__jtext *out);
/* What the one expression of a template `{{ ... }}` is, as JSON; *is false and nothing is done where the template is
 * more than that. Once, instead of rendering. */
gal_err gal__jinja_value(gal__jinja *j, bool *is, gal__jtext *out);

#endif
