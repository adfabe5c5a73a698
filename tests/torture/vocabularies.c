/* vocabularies.c - the stage of vocabularies in JSON: each kind is opened, encodes, decodes, is compared and written.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stages.h"

#include "base/mem.h"
#include "support/test.h"
#include "text/tokenizer.h"

#include <string.h>

static gal_err use(const gal_tokenizer *t, gal_diag *diag) {
    static const char LINE[] = " the grey sea, NOTE 12 <tag> gulls [gap] b c \xe2\x82\xac\xff";
    static const char WANT[] = "the grey sea,"; /* what comes then, some of them change */
    gal_ids ids = { 0 };
    gal_buf back = { 0 };
    gal_err err = gal_encode(t, NULL, LINE, sizeof LINE - 1, GAL_ENCODE_BOS, &ids, diag);
    if (err) assert_int_equal(ids.len, 0);
    if (!err) err = gal_decode(t, ids.data, ids.len, &back, diag);
    if (!err) assert_non_null(strstr(back.data, WANT));
    gal_ids_free(&ids);
    gal_buf_free(&back);
    return err;
}

static gal_err write(const gal_tokenizer *t, gal_diag *diag) {
    gal_buf json = { 0 };
    gal_tokenizer *twin = NULL;
    gal_difference d = { .id = -1 };
    gal_diag why = { 0 };
    gal_err err = gal_tokenizer_print_hf(t, &json, &why);
    if (err == GAL_EINPUT) { /* this kind cannot be */
        gal_buf_free(&json);
        return GAL_OK;
    }
    if (err) err = gal_fail(diag, err, "%s", why.text);
    if (!err) err = gal_tokenizer_open_bytes(&twin, json.data, json.len, "twin", diag);
    if (!err) err = gal_tokenizer_difference(&d, t, twin, diag);
    if (!err) assert_int_equal(d.what.len, 0);
    if (!err && !gal_tokenizer_same(t, t, diag)) err = GAL_ENOMEM;
    gal_buf_free(&d.what);
    gal_buf_free(&json);
    gal_tokenizer_free(twin);
    return err;
}

gal_err stages_vocabularies(gal_diag *diag) {
    static const char *const FILES[] = { "tiny-tekken", "hf-bytes", "hf-prefix", "hf-legacy", "hf-metaspace" };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < GAL_LEN(FILES) && !err; i++) {
        char path[80];
        gal_tokenizer *t = NULL;
        (void)snprintf(path, sizeof path, "tests/golden/text/%s.json", FILES[i]);
        err = gal_tokenizer_open(&t, path, diag);
        if (err) {
            assert_null(t);
            return err;
        }
        err = use(t, diag);
        if (!err) err = write(t, diag);
        gal_tokenizer_free(t);
    }
    return err;
}
