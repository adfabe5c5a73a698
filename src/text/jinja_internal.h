/* jinja_internal.h - what the files of the template language share: tokens, tree, values, the state of a rendering.
 * Errors stick in the state (gal__j_fail); functions then give an undefined value and nothing, and loops look at
 * j->err. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_JINJA_INTERNAL_H
#define GAL_TEXT_JINJA_INTERNAL_H

#include "text/jinja.h"

/* ---- tokens (jinja_lex.c) -----------------------------------------------------------------------------------------
 */

typedef enum gal__jtok {
    GAL__T_END,
    GAL__T_DATA,
    GAL__T_PRINT, /* {{ */
    GAL__T_PRINT_END,
    GAL__T_BLOCK, /* {% */
    GAL__T_BLOCK_END,
    GAL__T_NAME,
    GAL__T_STRING,
    GAL__T_INT,
    GAL__T_REAL,
    GAL__T_OP
} gal__jtok;

typedef struct gal__jtoken {
    gal__jtok kind;
    int line, column;
    gal__string text; /* of data and strings what they say, of the others as they are spelled */
} gal__jtoken;

/* ---- tree -------------------------------------------------------------------------------------------------------
 */

typedef enum gal__jnode_kind {
    GAL__N_CONST, /* value */
    GAL__N_NAME,  /* name */
    GAL__N_LIST,  /* list: elements */
    GAL__N_TUPLE,
    GAL__N_DICT,    /* list: key, value, key, value */
    GAL__N_ATTR,    /* a . name */
    GAL__N_ITEM,    /* a [ b ] */
    GAL__N_SLICE,   /* a : b : c, inside an item; each may be NULL */
    GAL__N_CALL,    /* a ( list ) */
    GAL__N_FILTER,  /* a | name ( list ); a NULL: what a block holds */
    GAL__N_TEST,    /* a is name ( list ) */
    GAL__N_KEYWORD, /* name = a, in arguments */
    GAL__N_NOT,
    GAL__N_NEG,
    GAL__N_POS,
    GAL__N_AND,
    GAL__N_OR,
    GAL__N_COND,         /* a if b else c; c NULL: none */
    GAL__N_COMPARE,      /* a, then list of OPERAND */
    GAL__N_OPERAND,      /* op, a */
    GAL__N_BINARY,       /* a op b */
    GAL__N_CONCAT,       /* list */
    GAL__N_FIELD,        /* name . name2 as a target of set */
    GAL__N_DATA,         /* value */
    GAL__N_PRINT,        /* a */
    GAL__N_IF,           /* a, list; otherwise: an IF of elif, or the list of else */
    GAL__N_ELSE,         /* list */
    GAL__N_FOR,          /* a in b if c, list; otherwise */
    GAL__N_SET,          /* a = b */
    GAL__N_SET_BLOCK,    /* a, b: filters or NULL, list */
    GAL__N_MACRO,        /* name, args: KEYWORD with a NULL where there is no default; list */
    GAL__N_FILTER_BLOCK, /* b: filters, list */
    GAL__N_WITH,         /* args: SET; list */
    GAL__N_SCOPE,        /* list: generation */
    GAL__N_BREAK,
    GAL__N_CONTINUE
} gal__jnode_kind;

typedef enum gal__jop {
    GAL__O_ADD,
    GAL__O_SUB,
    GAL__O_MUL,
    GAL__O_DIV,
    GAL__O_FLOOR,
    GAL__O_MOD,
    GAL__O_POW,
    GAL__O_EQ,
    GAL__O_NE,
    GAL__O_LT,
    GAL__O_LE,
    GAL__O_GT,
    GAL__O_GE,
    GAL__O_IN,
    GAL__O_NOT_IN
} gal__jop;

/* ---- values (jinja_value.c) -------------------------------------------------------------------------------------
 */

typedef enum gal__jkind {
    GAL__J_ABSENT, /* an argument that was not given */
    GAL__J_UNDEFINED,
    GAL__J_NONE,
    GAL__J_BOOL,
    GAL__J_INT,
    GAL__J_REAL,
    GAL__J_BIG, /* a whole number beyond 64 bits, as it was spelled: it can be printed and compared with itself */
    GAL__J_TEXT,
    GAL__J_SEQ,
    GAL__J_DICT,
    GAL__J_SPACE, /* namespace() */
    GAL__J_MACRO,
    GAL__J_GLOBAL, /* a function of ours, by name */
    GAL__J_METHOD, /* of a value */
    GAL__J_LOOP
} gal__jkind;

typedef struct gal__jv gal__jv;
typedef struct gal__jseq gal__jseq;
typedef struct gal__jdict gal__jdict;
typedef struct gal__jspace gal__jspace;
typedef struct gal__jmacro gal__jmacro;
typedef struct gal__jmethod gal__jmethod;
typedef struct gal__jloop gal__jloop;
typedef struct gal__jscope gal__jscope;
typedef struct gal__jnode gal__jnode;

struct gal__jv {
    gal__jkind kind;
    union {
        bool truth;
        int64_t i;
        double x;
        const gal__jtext *text; /* also of BIG */
        gal__jseq *seq;
        gal__jdict *dict;
        gal__jspace *space;
        gal__jmacro *macro;
        gal__jmethod *method;
        gal__jloop *loop;
        const char *name; /* of GLOBAL; of UNDEFINED what is missing, or NULL */
    };
};

typedef enum gal__jseq_kind {
    GAL__S_LIST,
    GAL__S_TUPLE,
    GAL__S_RANGE,
    GAL__S_VIEW,     /* keys(), values(), items(): a length and no places */
    GAL__S_GENERATOR /* read once; `at` is what comes next */
} gal__jseq_kind;

struct gal__jseq {
    gal__jseq_kind kind;
    uint16_t depth; /* 1 + the deepest of what lies in it */
    gal__jv *items;
    size_t n, cap, at;
};

typedef struct gal__jentry {
    gal__jv key, value;
} gal__jentry;

struct gal__jdict {
    gal__jentry *entries; /* in their order */
    size_t n, cap;
    uint32_t *slots; /* NULL while there are few; else places + 1 by hash, 0 free */
    size_t mask;
    uint16_t depth;
};

struct gal__jspace {
    gal__jdict fields;
};

struct gal__jmacro {
    const gal__jnode *node;
    gal__jscope *scope;
};

struct gal__jmethod {
    gal__jv self;
    const char *name;
};

struct gal__jloop {
    const gal__jseq *seq;
    size_t at;
    int depth;
};

struct gal__jnode {
    gal__jnode_kind kind;
    gal__jop op;
    int line, column;
    gal__jnode *a, *b, *c, *list, *args, *otherwise, *next;
    const char *name, *name2; /* interned: equal names are equal pointers */
    gal__jv value;
};

typedef struct gal__jvar {
    const char *name;
    gal__jv value;
    struct gal__jvar *next;
} gal__jvar;

struct gal__jscope {
    gal__jscope *up;
    gal__jvar *first;
};

typedef struct gal__jword { /* an interned name */
    struct gal__jword *next;
    size_t n;
    char s[];
} gal__jword;

/* Text under construction; one outside the pool would have to be freed. */
typedef struct gal__jout {
    char *s;
    uint8_t *from; /* NULL while all bytes have `origin` */
    size_t n, cap;
    uint8_t origin;
} gal__jout;

enum { GAL__J_WORDS = 128 };

struct gal__jinja {
    gal__pool *pool;
    gal_diag *diag;
    const char *name;
    gal_err err;
    bool plain;       /* gal__jinja_new_plain() */
    int line, column; /* of what is under evaluation */
    gal__jword *words[GAL__J_WORDS];
    gal__jnode *body;
    const struct tm *now;
    gal__jorigin origin_of;
    void *origin_user;
    gal__jscope globals, *scope;
    gal__jout *out;
    size_t steps, work, memory;
    int depth, macros, loops;
    enum { GAL__J_ON, GAL__J_BREAK, GAL__J_CONTINUE } flow;
};

/* Arguments of a call. */
typedef struct gal__jargs {
    gal__jv *pos;
    size_t n;
    gal__jvar *keywords; /* in their order */
} gal__jargs;

/* jinja_value.c */
gal__jv gal__j_fail(gal__jinja *j, const char *fmt, ...) GAL_PRINTF(2, 3); /* at the place under evaluation */
gal__jv gal__j_failed(gal__jinja *j, gal_err err, const char *fmt, ...) GAL_PRINTF(3, 4);
void *gal__j_take(gal__jinja *j, size_t count, size_t size); /* zeroed; NULL: it failed, and said so */
bool gal__j_work(gal__jinja *j, size_t bytes);               /* false: too much */
bool gal__j_step(gal__jinja *j);
const char *gal__j_intern(gal__jinja *j, const char *s, size_t n);

static inline gal__jv gal__j_undefined(const char *name) { return (gal__jv){ GAL__J_UNDEFINED, { .name = name } }; }
static inline gal__jv gal__j_none(void) { return (gal__jv){ .kind = GAL__J_NONE }; }
static inline gal__jv gal__j_bool(bool truth) { return (gal__jv){ GAL__J_BOOL, { .truth = truth } }; }
static inline gal__jv gal__j_int(int64_t i) { return (gal__jv){ GAL__J_INT, { .i = i } }; }
static inline gal__jv gal__j_real(double x) { return (gal__jv){ GAL__J_REAL, { .x = x } }; }
static inline gal__jv gal__j_seq(gal__jseq *seq) { return (gal__jv){ GAL__J_SEQ, { .seq = seq } }; }
static inline gal__jv gal__j_dict(gal__jdict *dict) { return (gal__jv){ GAL__J_DICT, { .dict = dict } }; }
static inline bool gal__j_is_text(gal__jv v) { return v.kind == GAL__J_TEXT; }

gal__jv gal__j_text(gal__jinja *j, const char *s, size_t n, uint8_t origin); /* a copy */
gal__jv gal__j_cut(gal__jinja *j, const gal__jtext *t, size_t at, size_t n); /* a part; its bytes are shared */
void gal__j_put(gal__jinja *j, gal__jout *o, const char *s, size_t n, uint8_t origin);
void gal__j_puts(gal__jinja *j, gal__jout *o, const char *s); /* GAL__FROM_RUN */
void gal__j_put_text(gal__jinja *j, gal__jout *o, const gal__jtext *t);
void gal__j_put_part(gal__jinja *j, gal__jout *o, const gal__jtext *t, size_t at, size_t n);
gal__jv gal__j_built(gal__jinja *j, gal__jout *o);

gal__jseq *gal__j_new_seq(gal__jinja *j, gal__jseq_kind kind, size_t room);
void gal__j_add(gal__jinja *j, gal__jseq *s, gal__jv v);
gal__jdict *gal__j_new_dict(gal__jinja *j);
void gal__j_dict_set(gal__jinja *j, gal__jdict *d, gal__jv key, gal__jv value);
const gal__jv *gal__j_dict_get(gal__jinja *j, const gal__jdict *d, gal__jv key); /* NULL: none */
const gal__jv *gal__j_dict_named(gal__jinja *j, const gal__jdict *d, const char *name);
gal__jv gal__j_tree(gal__jinja *j, const gal__value *v, uint8_t origin);

bool gal__j_truth(gal__jv v);
bool gal__j_equal(gal__jinja *j, gal__jv a, gal__jv b);
/* Negative, 0, positive; what cannot be ordered fails. *unordered: NaN is in it, nothing holds. */
int gal__j_compare(gal__jinja *j, gal__jv a, gal__jv b, const char *op, bool *unordered);
bool gal__j_contains(gal__jinja *j, gal__jv box, gal__jv v);
const char *gal__j_type(gal__jv v); /* as Python names it */
/* What a for loop goes over, as a sequence of its own; what was left of a generator is then read. NULL: it failed. */
gal__jseq *gal__j_iterate(gal__jinja *j, gal__jv v);
/* Characters of text. */
size_t gal__j_chars(gal__jinja *j, const gal__jtext *t);
size_t gal__j_char_at(const gal__jtext *t, size_t chars); /* bytes before that character */
size_t gal__j_find(gal__jinja *j, const gal__jtext *t, size_t from, const gal__jtext *what); /* SIZE_MAX: not in it */
size_t gal__j_rfind(gal__jinja *j, const gal__jtext *t, size_t end, const gal__jtext *what);

/* jinja_print.c */
void gal__j_print(gal__jinja *j, gal__jout *o, gal__jv v); /* str() */
void gal__j_repr(gal__jinja *j, gal__jout *o, gal__jv v);
const gal__jtext *gal__j_str(gal__jinja *j, gal__jv v); /* never NULL */
typedef struct gal__jjson {
    int64_t indent;               /* -1: one line */
    const gal__jtext *item, *key; /* separators; NULL: the usual ones */
    bool ascii, sort;
} gal__jjson;
void gal__j_json(gal__jinja *j, gal__jout *o, gal__jv v, const gal__jjson *how);
gal__jv gal__j_strftime(gal__jinja *j, const gal__jtext *format);

/* jinja_lex.c, jinja_expr.c, jinja_parse.c */
typedef struct gal__jparser {
    gal__jinja *j;
    const gal__jtoken *at;
    int depth, loops, macros;
    gal__jnode none;
} gal__jparser;
const gal__jtoken *gal__j_lex(gal__jinja *j, const char *source, size_t n);
gal__jnode *gal__jp_node(gal__jparser *p, gal__jnode_kind kind); /* at the current token; never NULL */
void gal__jp_fail(gal__jparser *p, const char *expected);
bool gal__jp_is(const gal__jparser *p, const char *op);
bool gal__jp_named(const gal__jparser *p, const char *name);
bool gal__jp_skip(gal__jparser *p, const char *op);
bool gal__jp_skip_name(gal__jparser *p, const char *name);
const char *gal__jp_name(gal__jparser *p, const char *what);
gal__jnode *gal__jp_expression(gal__jparser *p);
gal__jnode *gal__jp_tuple(gal__jparser *p, bool conditions); /* a, b, c without brackets */
gal__jnode *gal__jp_filters(gal__jparser *p, gal__jnode *first, bool inline_first);
gal__jnode *gal__jp_target(gal__jparser *p, bool fields);
bool gal__jp_enter(gal__jparser *p);
void gal__j_parse(gal__jinja *j, const gal__jtoken *tokens);

/* jinja_run.c */
void gal__j_run(gal__jinja *j, const gal__jnode *list);
void gal__j_assign(gal__jinja *j, const gal__jnode *target, gal__jv v);
void gal__j_set(gal__jinja *j, gal__jscope *scope, const char *name, gal__jv v);
gal__jv gal__j_call_macro(gal__jinja *j, const gal__jmacro *m, const gal__jargs *a);

/* jinja_eval.c */
gal__jv gal__j_eval(gal__jinja *j, const gal__jnode *n);
gal__jargs gal__j_args(gal__jinja *j, const gal__jnode *list);
/* Puts arguments where a list of names has them ("old new count"); what is not given is ABSENT. what: for messages.
 */
bool gal__j_bind(gal__jinja *j, const gal__jargs *a, const char *what, const char *names, int needed, gal__jv *out);
gal__jv gal__j_item(gal__jinja *j, gal__jv v, gal__jv key);
gal__jv gal__j_attr(gal__jinja *j, gal__jv v, const char *name);
gal__jv gal__j_binary(gal__jinja *j, gal__jop op, gal__jv a, gal__jv b);
gal__jv gal__j_path(gal__jinja *j, gal__jv v, const gal__jtext *path); /* "a.b.0" of filters */

/* jinja_methods.c */
bool gal__j_method_known(gal__jv v, const char *name);
gal__jv gal__j_method(gal__jinja *j, const gal__jmethod *m, const gal__jargs *a);
gal__jv gal__j_global(gal__jinja *j, const char *name, const gal__jargs *a);
const char *const *gal__j_globals(void); /* their names, NULL at the end */
gal__jv gal__j_strip(gal__jinja *j, const gal__jtext *t, gal__jv chars, bool left, bool right);
gal__jv gal__j_replace(gal__jinja *j, const gal__jtext *t, const gal__jtext *old, const gal__jtext *by,
                       int64_t count);
typedef enum gal__jcase { GAL__UPPER, GAL__LOWER, GAL__TITLE, GAL__CAPITAL } gal__jcase;
gal__jv gal__j_recase(gal__jinja *j, const gal__jtext *t, gal__jcase how);
bool gal__j_white(uint32_t cp); /* str.isspace() */

/* jinja_filters.c, jinja_lists.c (those over sequences), jinja_tests.c */
gal__jv gal__j_filter(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a);
typedef struct gal__jfilter {
    const char *name, *args;
    int needed;
    gal__jv (*run)(gal__jinja *j, gal__jv v, const gal__jv *a);
} gal__jfilter;
extern const gal__jfilter gal__j_list_filters[];
/* The filters whose arguments are another's: map, select, ... kind is ABSENT in *out for other names. */
bool gal__j_meta_filter(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a, gal__jv *out);
bool gal__j_test(gal__jinja *j, const char *name, gal__jv v, const gal__jargs *a);

#endif
