/* template.h - text made from a record, an object of JSON whose members are the template's variables, as
 * lm-evaluation-harness makes prompts: Jinja 2 (text/jinja.h has the part that is understood) with all white space
 * kept, and an error for what the record lacks. Any thread. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_TEMPLATE_H
#define GAL_TEXT_TEMPLATE_H

#include "base/buf.h"

/* Whether a template can be understood at all. name stands in messages, with line and column. */
gal_err gal_template_check(const char *source, const char *name, gal_diag *diag);
/* Whether text is an object of JSON. name stands in messages. */
gal_err gal_record_check(const char *record, size_t n, const char *name, gal_diag *diag);
/* Appends the text. GAL_EINPUT: the template, or what it asks of the record. where: names the record. */
gal_err gal_template_text(const char *source, const char *name, const char *record, size_t n, const char *where,
                          gal_buf *out, gal_diag *diag);

typedef enum gal_template_kind {
    GAL_TEMPLATE_TEXT,  /* one item */
    GAL_TEMPLATE_WHOLE, /* a whole number that fits into 32 bits; one item that spells it */
    GAL_TEMPLATE_LIST,  /* an item for each element: texts as they are, others as they are spelled */
    GAL_TEMPLATE_OTHER  /* no items: an object, null, ... */
} gal_template_kind;
typedef gal_err (*gal_template_item)(void *user, const char *s, size_t n, gal_diag *diag);
/* What a template is of which nothing but one `{{ expression }}` stands there, with its items given to fn in their
 * order; another one is its text. */
gal_err gal_template_value(const char *source, const char *name, const char *record, size_t n, const char *where,
                           gal_template_kind *kind, gal_template_item fn, void *user, gal_diag *diag);

/* White space, as Python's str has it. */
bool gal_white(uint32_t cp);
/* Bytes of UTF-8 text that are left without the white space at its end. */
size_t gal_strip_end(const char *s, size_t n);

#endif
