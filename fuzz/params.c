/* params.c - params.json of Mistral's own layout: whatever is read has sizes that fit, and can be said in
 * config.json. SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.json";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_config c, again;
    gal_err err = gal_own_config_parse(&c, (const char *)data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return 0;
    }
    GAL_ASSERT(c.layout == GAL_LAYOUT_OWN && !gal_config_check(&c, NAME, NULL));
    gal_buf text = { 0 };
    err = gal_config_print(&c, &text, NAME, &diag);
    if (!err) err = gal_config_parse(&again, text.data, text.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s\n%s", diag.text, text.data);
    GAL_ASSERT(c.D == again.D && c.L == again.L && c.window == again.window);
    GAL_ASSERT(!c.layer_full || memcmp(c.layer_full, again.layer_full, (size_t)c.L) == 0);
    gal_config_free(&c);
    gal_config_free(&again);
    gal_buf_free(&text);
    return 0;
}
