/* chat_internal.h - a request between its steps. All of it lives in a pool, and is given back in one piece.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_CHAT_INTERNAL_H
#define GAL_TEXT_CHAT_INTERNAL_H

#include "text/chat.h"
#include "text/json_tree.h"

typedef enum gal__role { GAL__SYSTEM, GAL__USER, GAL__ASSISTANT, GAL__TOOL } gal__role;

typedef enum gal__chunk_kind { /* bits, for sets of them */
                               GAL__TEXT = 1,
                               GAL__THINK = 2,
                               GAL__IMAGE = 4,
                               GAL__IMAGE_URL = 8,
                               GAL__AUDIO = 16,
                               GAL__AUDIO_URL = 32
} gal__chunk_kind;
enum { GAL__IMAGES = GAL__IMAGE | GAL__IMAGE_URL, GAL__AUDIOS = GAL__AUDIO | GAL__AUDIO_URL };

typedef struct gal__chunk {
    gal__chunk_kind kind;
    gal__string text;  /* of TEXT and THINK; where it comes from for the others */
    bool open;         /* THINK without its end */
    const char *where; /* in the body; of TEXT NULL */
} gal__chunk;

/* A string, or a list of chunks, or (text.s NULL and not a list) nothing. */
typedef struct gal__content {
    gal__string text;
    bool list;
    gal__chunk *chunks;
    size_t n;
} gal__content;

typedef struct gal__call {
    gal__string id, name;
    const gal__value *arguments; /* JSON, or a string that is none */
} gal__call;

typedef struct gal__message {
    gal__role role;
    gal__content content;
    bool has_calls; /* the list is there, maybe empty */
    gal__call *calls;
    size_t n_calls;
    bool prefix;
    gal__string call_id, name; /* of a tool's result */
} gal__message;

typedef struct gal__function {
    gal__string name, description;
    const gal__value *parameters;
} gal__function;

enum { GAL__EFFORTS = 7 };
extern const char *const gal__effort_names[GAL__EFFORTS];

typedef struct gal__request {
    gal__message *messages;
    size_t n;
    gal__function *tools;
    size_t n_tools;
    int effort; /* -1: not said */
    bool truncate;
    const gal__value *schema; /* of the answer; NULL: none asked for */
    bool any_json;            /* it is to be JSON of any shape */
    bool whole;               /* to learn from: an assistant may have the last word */
    bool fill;                /* no conversation: what is between these two */
    gal__string prompt, suffix;
} gal__request;

/* What the versions do, one row each (chat.c). */
typedef struct gal__template {
    int version;
    uint8_t user, assistant, system, tool; /* kinds of chunks that they may hold */
    bool calls_with_content;               /* an assistant may say something and call tools in one message */
    bool system_in_place; /* system messages are messages; else one text before the first or the last user's */
    bool ids_of_nine;     /* ids of calls are nine letters and digits */
    bool ids_named;       /* ids of calls are something, and not "null" */
    bool ids_paired;      /* results name calls by their ids, each once, and are put in the order of the calls */
    uint8_t sound_without_system; /* kinds of audio in a user's message that exclude system messages */
    bool settings;                /* reasoning_effort */
    const char *chunk_join;       /* between two texts of one message */
    bool plain;                   /* the marks of turns are text like any other */
    bool tools_first;             /* tools and settings stand before the first user's message, not before the last */
    bool forgets;                 /* calls and results before the last user's message are left out */
    bool thinks;                  /* [THINK] */
    enum { GAL__CALLS_NONE, GAL__CALLS_LIST, GAL__CALLS_LIST_IDS, GAL__CALLS_PARTS_IDS, GAL__CALLS_PARTS } calls;
    enum { GAL__RESULT_NONE, GAL__RESULT_LIST, GAL__RESULT_OBJECT, GAL__RESULT_ID, GAL__RESULT_TEXT } result;
} gal__template;

/* A body's own fields: the prompt's, and those of the interface that say how to answer and not what is asked. */
extern const char gal__chat_fields[];
gal_err gal__chat_parse(gal__request *r, gal__pool *p, const char *body, size_t n, gal_diag *diag);
gal_err gal__chat_check(const gal__request *r, const gal__template *t, gal_diag *diag);
/* Joins neighbours, drops system messages where the template has none (system then gets their text), puts a user's
 * message in front where one must be. */
gal_err gal__chat_join(gal__request *r, const gal__template *t, gal__pool *p, gal__string *system, gal_diag *diag);
/* chat_data.c   The bytes of an image or of audio, in the pool. bare: base64 may stand without "data:...". */
gal_err gal__chat_data(const gal__chunk *c, bool bare, gal__pool *pool, const uint8_t **bytes, size_t *n,
                       gal_diag *diag);
/* chat_image.c   How many rows and columns of tokens an image is. */
struct gal__images;
gal_err gal__chat_image(const gal__chunk *c, const struct gal__images *how, gal__pool *pool, int *columns, int *rows,
                        gal_diag *diag);
/* chat_audio.c   How many samples of audio there are at a rate, as soxr resamples it. */
gal_err gal__chat_audio(const gal__chunk *c, int32_t rate, gal__pool *pool, int64_t *samples, gal_diag *diag);
/* chat_flac.c   Samples of a channel; -1: the file does not hold them. */
int64_t gal__flac_samples(const uint8_t *p, size_t n, int32_t *rate, int *channels);
static inline gal_err gal__chat_no_memory(gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for a conversation");
}

#endif
