/* json.h - reading JSON files with a bound on their size and a message that says where they break. Internal to
 * formats. Refuses duplicate keys, invalid UTF-8, U+0000 in strings, and nesting beyond jansson's 2048 levels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_JSON_H
#define GAL_FORMATS_JSON_H

#include "base/buf.h"

#include <jansson.h>

/* The object that bytes hold. path and base (offset of bytes in the file) are for the message only. */
gal_err gal__json_parse(json_t **out, const char *bytes, size_t n, const char *path, size_t base, gal_diag *diag);
/* The object that a file of at most max_bytes holds. */
gal_err gal__json_read(json_t **out, const char *path, size_t max_bytes, gal_diag *diag);
/* The same with whole numbers of any size, as reals: tokenizer_config.json says 10^30 where it means no limit. */
gal_err gal__json_read_reals(json_t **out, const char *path, size_t max_bytes, gal_diag *diag);
/* Whether json_loadb() failed for a lack of memory, which jansson does not always say in so many words. */
bool gal_json_no_memory(const json_error_t *e, const char *bytes, size_t n);
/* A member that is a whole number from 0 to 2^53: far above any run, and far enough from 2^63 that what is added to
 * it later fits. prefix: where the object lies, for the message ("mixture: "). */
gal_err gal_json_count(const json_t *from, const char *prefix, const char *key, const char *path, int64_t *out,
                       gal_diag *diag);
/* Text from a file, fit for a one-line message: control characters become '?', long text is cut with "...". */
enum { GAL__SHOW = 96 };
const char *gal__show(char buf[GAL__SHOW], const char *s);
/* "a string", "null", ... for messages. */
const char *gal__json_kind(const json_t *v);
/* Appends v with two-space indentation and a newline at the end. */
gal_err gal__json_print(const json_t *v, gal_buf *out, const char *path, gal_diag *diag);

#endif
