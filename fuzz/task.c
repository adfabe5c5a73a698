/* task.c - a task file, and after a byte 0 a record: what was read is dumped and read again to the same dump; its
 * templates make something of the record, or say why not. SPDX-License-Identifier: Apache-2.0 */
#include "eval/task.h"

#include "fuzz.h"
#include "text/template.h"

static const char NAME[] = "fuzz.yaml";

static gal_err take(void *user, const char *s, size_t n, gal_diag *diag) {
    size_t *items = user;
    (void)diag;
    GAL_ASSERT(s[n] == 0 || n == 0);
    ++*items;
    return GAL_OK;
}

static void try_record(const gal_task *t, const char *record, size_t n) {
    gal_diag why = { 0 };
    gal_buf out = { 0 };
    size_t items = 0;
    gal_template_kind kind = GAL_TEMPLATE_OTHER;
    gal_err err = gal_template_text(t->prompt, "prompt", record, n, "record", &out, &why);
    if (err) FUZZ_REFUSED(err, why, "record");
    why = (gal_diag){ 0 };
    err = gal_template_value(t->answer, "answer", record, n, "record", &kind, take, &items, &why);
    if (err) FUZZ_REFUSED(err, why, "record");
    GAL_ASSERT(err || kind == GAL_TEMPLATE_LIST || items == (kind != GAL_TEMPLATE_OTHER));
    gal_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const char *s = n ? (const char *)data : "", *cut = n ? memchr(s, 0, n) : NULL;
    const size_t bytes = cut ? (size_t)(cut - s) : n;
    gal_task t = { 0 }, again = { 0 };
    gal_diag why = { 0 };
    gal_err err = gal_task_parse(&t, s, bytes, NAME, NULL, &why);
    if (err) {
        FUZZ_REFUSED(err, why, NAME);
        gal_task_free(&t);
        return 0;
    }
    gal_buf first = { 0 }, second = { 0 };
    gal_settings_dump(&GAL_TASK_SETTINGS, &t, &first);
    err = gal_task_parse(&again, first.data, first.len, NAME, NULL, &why);
    if (err) gal__abort("written, but not read again: %s\n%s", why.text, first.data);
    gal_settings_dump(&GAL_TASK_SETTINGS, &again, &second);
    GAL_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    if (cut) try_record(&t, cut + 1, n - bytes - 1);
    gal_buf_free(&first);
    gal_buf_free(&second);
    gal_task_free(&t);
    gal_task_free(&again);
    return 0;
}
