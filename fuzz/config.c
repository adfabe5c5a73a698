/* config.c - config.json and generation_config.json: the same bytes as either, and what was read is written and read
 * again to the same text. SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.json";

static void try_config(const char *text, size_t n) {
    gal_diag diag = { 0 };
    gal_config c, again;
    gal_err err = gal_config_parse(&c, text, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return;
    }
    gal_buf first = { 0 }, second = { 0 };
    err = gal_config_print(&c, &first, NAME, &diag);
    if (!err) err = gal_config_parse(&again, first.data, first.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s\n%s", diag.text, first.data);
    err = gal_config_print(&again, &second, NAME, &diag);
    GAL_ASSERT(!err && first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    GAL_ASSERT((c.layer_full != NULL) == (again.layer_full != NULL));
    GAL_ASSERT(!c.layer_full || memcmp(c.layer_full, again.layer_full, (size_t)c.L) == 0);
    gal_config_free(&c);
    gal_config_free(&again);
    gal_buf_free(&first);
    gal_buf_free(&second);
}

static void try_generation(const char *text, size_t n) {
    gal_diag diag = { 0 };
    gal_generation g, again;
    gal_err err = gal_generation_parse(&g, text, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return;
    }
    gal_buf first = { 0 }, second = { 0 };
    err = gal_generation_print(&g, &first, NAME, &diag);
    if (!err) err = gal_generation_parse(&again, first.data, first.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s\n%s", diag.text, first.data);
    err = gal_generation_print(&again, &second, NAME, &diag);
    GAL_ASSERT(!err && first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    gal_buf_free(&first);
    gal_buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    try_config((const char *)data, n);
    try_generation((const char *)data, n);
    return 0;
}
