/* tekken.c - a tekken.json: what opens has sound pieces, encodes any bytes to ids of its own and decodes them, in one
 * go and as a stream, to the same text; written as a tokenizer.json it opens. (To the same ids in vocabularies that
 * were learnt: a list of merges cannot say which of two ways to one piece comes first by place.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "vocabulary.h"

/* What it says of templates is taken by another, and is the same there. */
static void try_told(const gal_tokenizer *t, gal_tokenizer *twin) {
    const char *s = gal_tokenizer_sections(t), *again;
    gal_diag diag = { 0 };
    if (gal_tokenizer_tell(twin, gal_tokenizer_told(t), s, s ? strlen(s) : 0, "told", &diag))
        gal__abort("%s", diag.text);
    again = gal_tokenizer_sections(twin);
    GAL_ASSERT(gal_tokenizer_told(t) == gal_tokenizer_told(twin) && !s == !again && (!s || strcmp(s, again) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_tokenizer *t = vocabulary_of(data, n);
    if (!t) return 0;
    gal_buf json = { 0 };
    gal_diag diag = { 0 };
    gal_tokenizer *twin = NULL;
    gal_err err = t->bytes_are_text ? gal_tokenizer_print_hf(t, &json, &diag) : GAL_EINPUT;
    if (!err && gal_tokenizer_open_bytes(&twin, json.data, json.len, "twin", &diag)) gal__abort("%s", diag.text);
    if (twin) try_told(t, twin);
    try_vocabulary(t, NULL, (const char *)data, n);
    gal_tokenizer_free(twin);
    gal_tokenizer_free(t);
    gal_buf_free(&json);
    return 0;
}
