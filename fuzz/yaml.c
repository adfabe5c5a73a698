/* yaml.c - a run configuration over the table of training's settings: what was read is dumped and read again to the
 * same dump. Also an assignment as --set takes it. SPDX-License-Identifier: Apache-2.0 */
#include "train/config.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.yaml";

static void try_file(const char *text, size_t n) {
    gal_diag diag = { 0 };
    gal_train_config c, again;
    gal_err err = gal_train_config_defaults(&c, &diag);
    GAL_ASSERT(!err);
    err = gal_settings_parse(&GAL_TRAIN_SETTINGS, &c, text, n, NAME, NULL, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        gal_train_config_free(&c);
        return;
    }
    gal_buf first = { 0 }, second = { 0 };
    gal_settings_dump(&GAL_TRAIN_SETTINGS, &c, &first);
    err = gal_train_config_defaults(&again, &diag);
    GAL_ASSERT(!err);
    err = gal_settings_parse(&GAL_TRAIN_SETTINGS, &again, first.data, first.len, NAME, NULL, &diag);
    if (err) gal__abort("written, but not read again: %s\n%s", diag.text, first.data);
    gal_settings_dump(&GAL_TRAIN_SETTINGS, &again, &second);
    GAL_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    (void)gal_train_config_check(&c, NAME, NULL, &diag);
    gal_config m;
    diag = (gal_diag){ 0 };
    if (!gal_train_model_config(&m, &c, 300, 1, 2, NAME, &diag)) gal_config_free(&m);
    gal_buf_free(&first);
    gal_buf_free(&second);
    gal_train_config_free(&c);
    gal_train_config_free(&again);
}

/* One line, which holds an assignment, as the file's first. */
static void try_assignment(const char *text, size_t n) {
    const char *end = memchr(text, '\n', n);
    char *line = gal_strndup(text, end ? (size_t)(end - text) : n);
    gal_train_config c;
    gal_diag diag = { 0 };
    GAL_ASSERT(line);
    gal_err err = gal_train_config_defaults(&c, &diag);
    GAL_ASSERT(!err);
    err = gal_settings_set(&GAL_TRAIN_SETTINGS, &c, line, &diag);
    GAL_ASSERT(err == GAL_OK || err == GAL_EUSAGE);
    gal_train_config_free(&c);
    gal_free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    try_file((const char *)data, n);
    if (n && memchr(data, '=', n)) try_assignment((const char *)data, n);
    return 0;
}
