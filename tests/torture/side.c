/* side.c - the file of packed weights beside a model, under failures: whole or not there, and what cannot be read is
 * done without. SPDX-License-Identifier: Apache-2.0 */
#include "side.h"

#include "base/file.h"
#include "models/model.h"
#include "stages.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#define EARLIER "model.gguf.0123456789abcdef.packed"

static char dir[300], model[320], earlier[340];
static gal_buf bytes;

static void make(const char *folder) {
    (void)snprintf(dir, sizeof dir, "%s/side", folder);
    (void)snprintf(model, sizeof model, "%s/model.gguf", dir);
    (void)snprintf(earlier, sizeof earlier, "%s/%s", dir, EARLIER);
    CHECK_OK(gal_remove_tree(dir, diag));
    CHECK_OK(gal_make_dirs(dir, diag));
    CHECK_OK(gal_read_file(&bytes, "tests/golden/gguf-mixed/model.gguf", 1 << 24, diag));
    put_file(dir, "model.gguf", bytes.data, bytes.len);
    gal_buf_free(&bytes);
}

/* Opens model and device; then opens the file and takes the weights from it, or writes it. *uses: the model has it.
 */
static gal_err go(bool write, bool *uses, gal_diag *diag) {
    const gal_device_options options = { .threads = 1 };
    const gal_side how = { .brings = true, .later = !write };
    gal_model *m = NULL;
    gal_dev *dev = NULL;
    gal_err err = gal_dev_open(&dev, &options, diag);
    if (!err) err = gal_model_load(&m, model, diag);
    if (!err) err = write ? gal_model_side_write(m, dev, &how, diag) : gal_model_side_open(m, dev, &how, diag);
    if (!err && !write) (void)gal_model_pack_some(m, dev, UINT64_MAX);
    *uses = !err && m->side.data && !m->side_spoilt;
    gal_model_free(m);
    gal_dev_close(dev);
    return err;
}

void prepare_side(const char *folder) {
    static char head[4096] = "GALPK 1\n";
    make(folder);
    put_file(dir, EARLIER, head, sizeof head);
}

gal_err run_side(gal_diag *diag) {
    bool uses;
    gal_err err = go(true, &uses, diag);
    if (!err && gal_exists(earlier)) stages_got_over = "a file of an earlier state stays";
    return err;
}

static size_t files(void) {
    char **names = NULL;
    size_t count = 0;
    CHECK_OK(gal_list_dir(dir, &names, &count, diag));
    gal_free_names(names, count);
    return count;
}

void after_side(gal_err err, bool again) {
    bool uses = false;
    const size_t others = 1 + (size_t)gal_exists(earlier), found = files();
    /* After an error: what was written and then could not be looked at, or whose folder could not be synced, may lie
     * there; then it is whole. */
    assert_true(found == others + 1 || (err && found == others));
    CHECK_OK(go(false, &uses, diag));
    assert_int_equal(uses, found > others);
    if (err && again) CHECK_OK(go(true, &uses, diag));
}

void prepare_side_open(const char *folder) {
    bool uses;
    make(folder);
    CHECK_OK(go(true, &uses, diag));
}

gal_err run_side_open(gal_diag *diag) {
    bool uses;
    gal_err err = go(false, &uses, diag);
    if (!err && !uses) stages_got_over = "weights are packed in memory then";
    return err;
}

void after_side_open(gal_err err, bool again) {
    bool uses = false;
    (void)err;
    (void)again;
    CHECK_OK(go(false, &uses, diag));
    assert_true(uses);
}
