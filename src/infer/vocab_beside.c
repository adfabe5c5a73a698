/* vocab_beside.c - a folder with the makers' own vocabulary and a tokenizer.json of the same: whether they agree.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "infer/lm.h"

#include <string.h>

gal_err gal_lm_vocab_beside(gal_difference *d, bool *there, const char *dir, const gal_tokenizer *t, gal_diag *diag) {
    gal_buf path = { 0 };
    gal_tokenizer *other = NULL;
    gal_diag why = { 0 };
    *d = (gal_difference){ .id = -1 };
    *there = false;
    if (!gal_is_dir(dir) || strcmp(gal_tokenizer_file(t), "tokenizer.json") == 0) return GAL_OK;
    gal_err err = gal_path_join(&path, dir, "tokenizer.json") ? GAL_OK
                                                              : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    if (!err && gal_is_file(path.data)) {
        *there = true;
        err = gal_tokenizer_open(&other, path.data, &why);
        if (!err) {
            err = gal_tokenizer_difference(d, t, other, diag);
        } else if (err == GAL_EINPUT) { /* others may read it */
            gal_buf_printf(&d->what, "it is not read: %s", why.text);
            err = d->what.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir) : GAL_OK;
        } else {
            err = gal_fail(diag, err, "%s", why.text);
        }
    }
    gal_tokenizer_free(other);
    gal_buf_free(&path);
    return err;
}
