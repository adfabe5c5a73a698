/* json_tree.h - a JSON text as a tree, for requests: what Python's json module reads, and printed as it prints, byte
 * for byte (", " and ": ", characters as they are, keys in their order, numbers as Python spells them), because
 * prompts hold such text and models were trained on it. Sizes and depth are bounded. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_TEXT_JSON_TREE_H
#define GAL_TEXT_JSON_TREE_H

#include "base/arena.h"
#include "base/buf.h"

enum {
    GAL__TREE_DEPTH = 500,      /* the reference's own limit lies somewhat below 1000 */
    GAL__TREE_VALUES = 1 << 22, /* more is no request */
    GAL__TREE_DIGITS = 4300,    /* of a whole number, as in Python */
    GAL__TREE_BYTES = 64 * 1024 * 1024
};

typedef struct gal__string {
    const char *s; /* NULL: there is none; else ended by a NUL that is not counted */
    size_t n;
} gal__string;

typedef enum gal__type {
    GAL__NULL,
    GAL__FALSE,
    GAL__TRUE,
    GAL__WHOLE,
    GAL__REAL,
    GAL__STRING,
    GAL__ARRAY,
    GAL__OBJECT
} gal__type;

typedef struct gal__value {
    gal__type type;
    uint32_t count;           /* of elements or members */
    struct gal__value *first; /* of those */
    struct gal__value *next;  /* the sibling */
    gal__string key;          /* of a member */
    gal__string text;         /* a string, or a number as Python prints it */
} gal__value;

/* Memory for trees and what is made of them, given back in one piece. {0} with a_init done by gal__pool_init(). */
typedef struct gal__pool {
    gal_arena arena;
    char *at;
    size_t left;
    size_t values; /* made so far */
    bool halves;   /* half a surrogate pair in a string is no error, but U+FFFD */
} gal__pool;
void gal__pool_init(gal__pool *p);
void gal__pool_free(gal__pool *p);
void *gal__pool_take(gal__pool *p, size_t bytes);                               /* zeroed; NULL: no memory */
bool gal__pool_string(gal__pool *p, gal__string *out, const char *s, size_t n); /* a copy; false: no memory */

/* *out NULL with GAL_OK: strict is false and the text is not JSON. An error stands for what is JSON and refused all
 * the same (too deep, too many values or digits, half a surrogate pair unless the pool says halves), and for
 * GAL_ENOMEM. name stands in messages.
 */
gal_err gal__tree_read(gal__value **out, gal__pool *p, const char *s, size_t n, bool strict, const char *name,
                       gal_diag *diag);
/* The member of an object, NULL if there is none. */
const gal__value *gal__member(const gal__value *v, const char *key);
double gal__number(const gal__value *v); /* of GAL__WHOLE and GAL__REAL; may be infinite */
/* "an object", "a string": what stands in messages. */
const char *gal__type_name(const gal__value *v);
bool gal__is(gal__string s, const char *word);

void gal__tree_print(gal_buf *b, const gal__value *v);
void gal__print_string(gal_buf *b, gal__string s);
/* A number as Python's json module spells it, which is as repr() does but for the infinite; its length. */
size_t gal__print_real(double x, char out[40]);

#endif
