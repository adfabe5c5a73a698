/* rehearse.c - before the first step: is there memory and disk for the whole run, and do a step, an evaluation and a
 * save work? What fails after hours fails here instead. SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

static gal_err check_memory(gal_trainer *t, gal_diag *diag) {
    /* Weights, gradients and moments are there already; what comes are the activations. One row is measured, a batch
     * takes at most as many times that. */
    uint64_t row = 0, available = gal_memory_available();
    gal_err err = gal__train_measure_row(t, &row, diag);
    if (err) return err;
    uint64_t batch = row * (uint64_t)t->config->batch.rows;
    uint64_t weights = (uint64_t)gal_model_params(t->model) * sizeof(float);
    uint64_t optimiser = gal_adamw_bytes(t->model->weights, t->model->n_weights, gal_ctx_compute(t->cx));
    if (batch > available)
        return gal_fail(
            diag, GAL_ENOMEM,
            "memory: a batch of %lld rows needs about %llu bytes of activations and logits, "
            "%llu are available (weights take %llu, gradients and optimiser %llu); use fewer batch.rows and "
            "more batch.accumulate, or recompute: true",
            (long long)t->config->batch.rows, (unsigned long long)batch, (unsigned long long)available,
            (unsigned long long)weights, (unsigned long long)optimiser);
    gal__train_note(
        t,
        "memory: weights %.1f MB, gradients and optimiser %.1f MB, activations at most %.1f MB of %.1f MB "
        "available",
        (double)weights / 1e6, (double)optimiser / 1e6, (double)batch / 1e6, (double)available / 1e6);
    return GAL_OK;
}

static gal_err check_disk(gal_trainer *t, gal_diag *diag) {
    struct statvfs fs;
    const gal_train_config *c = t->config;
    /* At most as many as the run still writes; of those the newest save.keep, the best, and the one being written. */
    int64_t left = c->steps - t->step, most = 1;
    if (c->save.every > 0) most += left / c->save.every;
    if (c->eval.every > 0) most += left / c->eval.every;
    int64_t count = GAL_MIN(most, c->save.keep + 2);
    uint64_t need = gal__checkpoint_bytes(t) * (uint64_t)count;
    if (statvfs(t->dir, &fs) != 0) return gal_fail(diag, GAL_EIO, "%s: %s", t->dir, strerror(errno));
    uint64_t available = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    if (need > available)
        return gal_fail(diag, GAL_EIO,
                        "%s: disk: %lld checkpoints need about %llu bytes, %llu are available; use a smaller "
                        "save.keep or another run directory",
                        t->dir, (long long)count, (unsigned long long)need, (unsigned long long)available);
    gal__train_note(t, "disk: checkpoints take at most %.1f MB of %.1f MB available", (double)need / 1e6,
                    (double)available / 1e6);
    return GAL_OK;
}

gal_err gal__train_rehearse(gal_trainer *t, gal_diag *diag) {
    gal_err err = check_memory(t, diag);
    if (!err) err = check_disk(t, diag);
    if (!err) err = gal__train_rehearse_step(t, diag);
    gal__train_score score;
    if (!err && t->has_valid) err = gal__train_evaluate(t, t->config->batch.rows, &score, diag);
    if (err) return err;
    gal_buf path = { 0 };
    gal_buf_printf(&path, "%s/checkpoints/.rehearsal", t->dir);
    err = path.oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a path") : gal__checkpoint_save(t, path.data, diag);
    if (!err) err = gal_remove_tree(path.data, diag);
    gal_buf_free(&path);
    return err;
}
