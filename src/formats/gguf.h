/* gguf.h - GGUF files (formats.md 4.1), versions 2 and 3: metadata and tensors, mapped and checked by every rule
 * before anything is used; and written, version 3.
 *
 *   "GGUF", u32 version, u64 tensors, u64 keys     all numbers little-endian
 *   keys x     { string key; u32 type; value }     a string: u64 length, bytes
 *   tensors x  { string name; u32 n; u64 ne[n]; u32 type; u64 offset }
 *   zeros to a multiple of the alignment, then the data: each tensor padded to the alignment, in the order above
 *
 * What is open stays valid until closed; values and tensors point into the mapped file. Messages name the file, the
 * byte offset, the tensor or key, what was expected and what was found.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_GGUF_H
#define GAL_FORMATS_GGUF_H

#include "base/bring.h"

enum { GAL_GGUF_DIMS = 4, GAL_GGUF_NAME = 63 }; /* at most; bytes of a tensor's name */

typedef struct gal_gguf gal_gguf;

/* A file that begins as one does. */
bool gal_is_gguf(const char *path);
/* Whether a GGUF file may be written to path: it may replace another one and an empty file; GAL_EINPUT: any other
 * file. Devices and the like are written to, folders are for the writing to refuse. */
gal_err gal_gguf_may_replace(const char *path, gal_diag *diag);
/* Of a split file ("name-00001-of-00003.gguf") any part may be named: all parts are opened. */
gal_err gal_gguf_open(gal_gguf **out, const char *path, gal_diag *diag);
/* One file from memory, which is borrowed until closed; a part of a split file stays alone. path is for messages. */
gal_err gal_gguf_parse(gal_gguf **out, const void *bytes, size_t n, const char *path, gal_diag *diag);
void gal_gguf_close(gal_gguf *g);
/* Brings all parts into memory (base/bring.h); tensors and values keep their addresses. */
gal_err gal_gguf_bring(gal_gguf *g, gal_bring *how, gal_diag *diag);
/* GAL_EINPUT if a part became shorter since it was opened (gal_map_check). */
gal_err gal_gguf_check(const gal_gguf *g, gal_diag *diag);
uint64_t gal_gguf_bytes(const gal_gguf *g); /* of all parts */
size_t gal_gguf_parts(const gal_gguf *g);
uint32_t gal_gguf_version(const gal_gguf *g);

/* gguf_config.c: what the metadata say of the model; path is for messages. */
struct gal_config;
gal_err gal_gguf_config(struct gal_config *out, const gal_gguf *g, const char *path, gal_diag *diag);
/* The token id of a key into *out, -1 where the key is absent; GAL_EINPUT unless it is below limit. */
gal_err gal_gguf_id(const gal_gguf *g, const char *key, int64_t limit, int32_t *out, const char *path,
                    gal_diag *diag);
/* The same of every id that the metadata give a meaning, but for padding_token_id: fine-tunes have one beyond their
 * rows, and nothing looks it up. */
gal_err gal_gguf_check_ids(const gal_gguf *g, int64_t limit, const char *path, gal_diag *diag);
/* The makers' sampling (general.sampling.*) and the ids that end a text. */
struct gal_generation;
gal_err gal_gguf_generation(struct gal_generation *out, const gal_gguf *g, const char *path, gal_diag *diag);

/* ---- tensors -----------------------------------------------------------------------------------------------------
 */

typedef struct gal_gguf_tensor {
    const char *name; /* 1 to 63 bytes of UTF-8 */
    const char *file; /* path of the file that holds it */
    uint32_t type;    /* ggml's number */
    int ndim;         /* 0: a scalar, one element */
    /* Row-major, the last one contiguous: the file's numbers in reverse. Each >= 0; 1 beyond ndim. */
    int64_t dim[GAL_GGUF_DIMS];
    const uint8_t *data;    /* [bytes], aligned as the file has it */
    uint64_t bytes, offset; /* offset of data in the file */
} gal_gguf_tensor;

size_t gal_gguf_count(const gal_gguf *g);
const gal_gguf_tensor *gal_gguf_at(const gal_gguf *g, size_t i);           /* as they lie in the file */
const gal_gguf_tensor *gal_gguf_find(const gal_gguf *g, const char *name); /* NULL: none */
const char *gal_gguf_type_name(uint32_t type);                             /* "Q4_K"; "?" if unknown */

/* ---- metadata ----------------------------------------------------------------------------------------------------
 */

typedef enum gal_gguf_type {
    GAL_GGUF_U8,
    GAL_GGUF_I8,
    GAL_GGUF_U16,
    GAL_GGUF_I16,
    GAL_GGUF_U32,
    GAL_GGUF_I32,
    GAL_GGUF_F32,
    GAL_GGUF_BOOL,
    GAL_GGUF_STRING,
    GAL_GGUF_ARRAY,
    GAL_GGUF_U64,
    GAL_GGUF_I64,
    GAL_GGUF_F64,
    GAL_GGUF_TYPES
} gal_gguf_type;

typedef struct gal_gguf_value {
    const char *key;             /* UTF-8 */
    gal_gguf_type type, element; /* element: of an array's elements, never ARRAY; of anything else its type */
    uint64_t count;              /* elements; 1 of anything but an array */
    const uint8_t *data;         /* numbers: as the file has them, little-endian, not aligned */
    const uint8_t **string;      /* strings: [count], where each one's length begins */
} gal_gguf_value;

size_t gal_gguf_keys(const gal_gguf *g);
const gal_gguf_value *gal_gguf_key_at(const gal_gguf *g, size_t i);     /* as they lie in the first file */
const gal_gguf_value *gal_gguf_get(const gal_gguf *g, const char *key); /* NULL: none */

/* What a caller wants of a value. Integers of any width are taken where their numbers fit. */
typedef enum gal_gguf_want {
    GAL_GGUF_UINTS, /* in uint64_t */
    GAL_GGUF_INTS,  /* in int64_t */
    GAL_GGUF_FLOATS,
    GAL_GGUF_BOOLS,
    GAL_GGUF_STRINGS
} gal_gguf_want;

/* One value each. A key that is absent leaves *out alone and sets *found to false; with found NULL it is an error, as
 * is a value that is not what is wanted (GAL_EINPUT with file, key, expected, found). */
gal_err gal_gguf_uint(const gal_gguf *g, const char *key, uint64_t *out, bool *found, gal_diag *diag);
gal_err gal_gguf_int(const gal_gguf *g, const char *key, int64_t *out, bool *found, gal_diag *diag);
gal_err gal_gguf_float(const gal_gguf *g, const char *key, double *out, bool *found, gal_diag *diag);
gal_err gal_gguf_bool(const gal_gguf *g, const char *key, bool *out, bool *found, gal_diag *diag);
/* *out: *n bytes in the file, no NUL after them, of any kind. */
gal_err gal_gguf_string(const gal_gguf *g, const char *key, const char **out, size_t *n, bool *found, gal_diag *diag);
/* An array of which every element is as wanted. */
gal_err gal_gguf_array(const gal_gguf *g, const char *key, gal_gguf_want want, const gal_gguf_value **out,
                       bool *found, gal_diag *diag);

/* Whether all of v's elements are as wanted: then the reader of that name gives element i (< count) of v, in constant
 * time. A value that is no array has one element. */
bool gal_gguf_is(const gal_gguf_value *v, gal_gguf_want want);
uint64_t gal_gguf_uint_at(const gal_gguf_value *v, uint64_t i);
int64_t gal_gguf_int_at(const gal_gguf_value *v, uint64_t i);
double gal_gguf_float_at(const gal_gguf_value *v, uint64_t i);
bool gal_gguf_bool_at(const gal_gguf_value *v, uint64_t i);
const char *gal_gguf_string_at(const gal_gguf_value *v, uint64_t i, size_t *n);

/* ---- writing -----------------------------------------------------------------------------------------------------
 * Keys, then tensors, then the file at once. What the reader would refuse is refused here: the first such thing, or a
 * lack of memory, sticks and comes out of gal_gguf_write(). The same calls give the same bytes: version 3, everything
 * in the order of the calls, aligned to 32 bytes or to what the key general.alignment says.
 */

/* Rules of a normaliser, bytes: llama.cpp's key, which it reads for vocabularies of the kind t5. */
#define GAL_GGUF_CHARSMAP "tokenizer.ggml.precompiled_charsmap"
/* Keys of our own: the version of the templates of conversations (3: V3), and the sections of tekken.json that they
 * need, an object of JSON. */
#define GAL_GGUF_CHAT_VERSION "galerne.chat.version"
#define GAL_GGUF_CHAT_TEKKEN "galerne.chat.tekken"

typedef struct gal_gguf_writer gal_gguf_writer;
gal_err gal_gguf_writer_new(gal_gguf_writer **out, gal_diag *diag);
void gal_gguf_writer_free(gal_gguf_writer *w);

/* Everything is copied. */
void gal_gguf_put_u32(gal_gguf_writer *w, const char *key, uint32_t x);
void gal_gguf_put_u64(gal_gguf_writer *w, const char *key, uint64_t x);
void gal_gguf_put_i32(gal_gguf_writer *w, const char *key, int32_t x);
void gal_gguf_put_f32(gal_gguf_writer *w, const char *key, float x);
void gal_gguf_put_bool(gal_gguf_writer *w, const char *key, bool x);
void gal_gguf_put_string(gal_gguf_writer *w, const char *key, const char *s, size_t n);
/* A number or bool of any type, and arrays of them: little-endian at x, back to back. */
void gal_gguf_put_number(gal_gguf_writer *w, const char *key, gal_gguf_type type, const void *x);
void gal_gguf_put_numbers(gal_gguf_writer *w, const char *key, gal_gguf_type type, const void *x, size_t count);
/* n: their lengths; NULL: they end with a NUL. */
void gal_gguf_put_strings(gal_gguf_writer *w, const char *key, const char *const *s, const size_t *n, size_t count);
/* As another file has it. Keys that begin with "split." say of a file that it is one of several. */
void gal_gguf_put_value(gal_gguf_writer *w, const gal_gguf_value *v);

typedef struct gal_gguf_item {
    const char *name; /* copied, as dim is */
    uint32_t type;
    int ndim;           /* at most GAL_GGUF_DIMS */
    const int64_t *dim; /* in our order, the last one contiguous */
    const void *data;   /* all bytes of it, valid until the file is written; or, NULL, ... */
    /* ... what writes exactly those bytes, in as many pieces as it likes; called once for each file written. */
    gal_err (*emit)(gal_sink *s, void *user, gal_diag *diag);
    void *user;
} gal_gguf_item;
void gal_gguf_put_tensor(gal_gguf_writer *w, const gal_gguf_item *item);
/* The bytes that such a tensor has; GAL_EINPUT if there can be none. path and name: for the message. */
gal_err gal_gguf_tensor_bytes(uint32_t type, int ndim, const int64_t *dim, uint64_t *bytes, const char *path,
                              const char *name, gal_diag *diag);

/* gguf_config_write.c: a model's sizes and options, and its sampling. GAL_EINPUT: no key says what the config does;
 * path is for messages. */
gal_err gal_gguf_put_config(gal_gguf_writer *w, const struct gal_config *c, const char *path, gal_diag *diag);
/* general.architecture of it. */
const char *gal_gguf_architecture(const struct gal_config *c);
void gal_gguf_put_generation(gal_gguf_writer *w, const struct gal_generation *g);

/* Of the file that would be written. */
gal_err gal_gguf_file_bytes(const gal_gguf_writer *w, const char *path, uint64_t *bytes, gal_diag *diag);
/* Whole or not at all (gal_write_atomic). */
gal_err gal_gguf_write(const gal_gguf_writer *w, const char *path, gal_diag *diag);
/* Appends the same bytes to out; path is for messages. */
gal_err gal_gguf_print(const gal_gguf_writer *w, gal_buf *out, const char *path, gal_diag *diag);

#endif
