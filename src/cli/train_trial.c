/* train_trial.c - see train_trial.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/train_trial.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/io.h"
#include "cli/targets.h"
#include "train/batch.h"
#include "train/find_lr.h"
#include "train/replay.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDER_ROOM = 1024 };

/* For what must be made on the way and nobody keeps. */
static gal_err make_folder(char folder[FOLDER_ROOM], const char *what, gal_diag *diag) {
    const char *place = getenv("TMPDIR");
    int n = snprintf(folder, FOLDER_ROOM, "%s/galerne-%s-XXXXXX", place && *place ? place : "/tmp", what);
    if (n < 0 || (size_t)n >= FOLDER_ROOM || !mkdtemp(folder))
        return gal_fail(diag, GAL_EIO, "%s: %s", folder, strerror(errno));
    return GAL_OK;
}

static gal_err print(gal_cli *cli, gal_buf *b) {
    gal_err err = b->oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b->data, 1, b->len, stdout);
    gal_buf_free(b);
    return err;
}

/* JSON has no word for what is no number. */
static void json_number(gal_buf *b, const char *key, double x) {
    gal_buf_printf(b, isfinite(x) ? "\"%s\": %.17g" : "\"%s\": null", key, x);
}

/* ---- a step again ------------------------------------------------------------------------------------------------
 */

static const char *verdict(const gal_replayed *r) {
    if (!r->recorded) return r->spike ? "a spike, not recorded in the run" : "not recorded in the run";
    if (!r->same) return "differs from what the run recorded";
    return r->spike ? "a spike that was not applied, as recorded, to the bit" : "as recorded, to the bit";
}

static void replay_text(gal_buf *b, const gal_replayed *r) {
    gal_buf_printf(b, "step %lld, from %s%lld\n", (long long)r->step, r->from ? "the checkpoint of step " : "step ",
                   (long long)r->from);
    gal_buf_printf(b, "loss           %.9g nats/token\n", r->loss);
    gal_buf_printf(b, "gradient norm  %.9g\n", r->grad_norm);
    gal_buf_printf(b, "learning rate  %.9g\n", r->lr);
    gal_buf_printf(b, "text           epoch %lld, rows %lld to %lld\n", (long long)r->sample.epoch,
                   (long long)r->sample.row, (long long)(r->sample.row + r->sample.rows - 1));
    for (size_t i = 0; i < r->n_norms; i++) {
        gal_buf_printf(b, "%s%-32s gradient %-12.6g", i ? "               " : "norms          ", r->norms[i].part,
                       r->norms[i].grad);
        if (!r->spike) gal_buf_printf(b, " update %.6g", r->norms[i].update);
        gal_buf_putc(b, '\n');
    }
    gal_buf_printf(b, "verdict        %s", verdict(r));
    if (r->differs[0]) gal_buf_printf(b, ": %s", r->differs);
    if (r->differs[0] && r->unsure)
        gal_buf_puts(b, " (the run does not say what was set at that step, and later settings were taken)");
    if (r->recorded_on[0]) gal_buf_printf(b, " (the run was on %s)", r->recorded_on);
    gal_buf_putc(b, '\n');
}

static void replay_json(gal_buf *b, const gal_replayed *r) {
    gal_buf_printf(b, "{\"step\": %lld, \"from\": %lld, ", (long long)r->step, (long long)r->from);
    json_number(b, "loss_nats", r->loss);
    gal_buf_puts(b, ", ");
    json_number(b, "grad_norm", r->grad_norm);
    gal_buf_printf(b, ", \"lr\": %.17g, \"epoch\": %lld, \"row\": %lld, \"rows\": %lld, \"norms\": [", r->lr,
                   (long long)r->sample.epoch, (long long)r->sample.row, (long long)r->sample.rows);
    for (size_t i = 0; i < r->n_norms; i++) {
        gal_buf_puts(b, i ? ", {\"part\": " : "{\"part\": ");
        gal_buf_json(b, r->norms[i].part, strlen(r->norms[i].part));
        gal_buf_puts(b, ", ");
        json_number(b, "grad_norm", r->norms[i].grad);
        gal_buf_puts(b, ", ");
        json_number(b, "update_norm", r->spike ? (double)NAN : r->norms[i].update);
        gal_buf_putc(b, '}');
    }
    gal_buf_printf(b, "], \"spike\": %s, \"recorded\": %s, \"same\": %s, \"settings_known\": %s, \"differs\": ",
                   r->spike ? "true" : "false", r->recorded ? "true" : "false", r->same ? "true" : "false",
                   r->unsure ? "false" : "true");
    gal_buf_json(b, r->differs, strlen(r->differs));
    gal_buf_puts(b, "}\n");
}

gal_err gal_cli_replay(gal_cli *cli, const gal_train_config *c, const gal_train_options *o) {
    gal_replayed r;
    gal_buf b = { 0 };
    gal_err err = gal_train_replay(c, o, gal_cli_int(cli, "replay"), &r, &cli->diag);
    if (err) return err;
    (cli->json ? replay_json : replay_text)(&b, &r);
    err = print(cli, &b);
    if (!err && r.recorded && !r.same)
        err = gal_fail(&cli->diag, GAL_EFAIL, "step %lld: %s is not what %s recorded%s", (long long)r.step, r.differs,
                       o->run, r.unsure ? ", which does not say what was set at that step" : "");
    gal_replayed_free(&r);
    return err;
}

/* ---- the rate ----------------------------------------------------------------------------------------------------
 */

static void sweep_text(gal_buf *b, const gal_lr_sweep *s) {
    enum { LINES = 25 };
    size_t step = (s->n + LINES - 1) / LINES;
    gal_buf_puts(b, "learning rate      loss  smoothed\n");
    for (size_t i = 0; i < s->n; i++)
        if (i % step == 0 || i + 1 == s->n)
            gal_buf_printf(b, "%13.4g %9.4f %9.4f\n", s->points[i].lr, s->points[i].loss, s->points[i].smooth);
    gal_buf_printf(b, "%s; the smoothed loss is least at %.3g%s\nsuggested: optimizer.lr=%.2g\n",
                   s->diverged ? "the loss left its least value" : "the loss never left its least value", s->best,
                   s->n && s->best <= s->points[0].lr ? ", the first rate: begin lower (--lr-from)" : "",
                   s->suggested);
}

static void sweep_json(gal_buf *b, const gal_lr_sweep *s) {
    gal_buf_puts(b, "{\"points\": [");
    for (size_t i = 0; i < s->n; i++) {
        gal_buf_printf(b, "%s{\"lr\": %.17g, ", i ? ", " : "", s->points[i].lr);
        json_number(b, "loss_nats", s->points[i].loss);
        gal_buf_puts(b, ", ");
        json_number(b, "smooth_nats", s->points[i].smooth);
        gal_buf_putc(b, '}');
    }
    gal_buf_printf(b, "], \"diverged\": %s, \"best_lr\": %.17g, \"suggested_lr\": %.17g}\n",
                   s->diverged ? "true" : "false", s->best, s->suggested);
}

gal_err gal_cli_find_lr(gal_cli *cli, const gal_train_config *c, const gal_train_options *o) {
    double from = gal_cli_float(cli, "lr-from"), to = gal_cli_float(cli, "lr-to");
    if (!(from < to)) return gal_cli_usage(cli, "--lr-from: expected less than --lr-to %g, found %g", to, from);
    char folder[FOLDER_ROOM];
    gal_err err = make_folder(folder, "lr", &cli->diag);
    if (err) return err;
    gal_train_options here = *o;
    gal_lr_sweep s;
    gal_buf b = { 0 };
    here.run = folder;
    gal_cli_remove_at_fault(folder);
    err = gal_train_find_lr(c, &here, from, to, gal_cli_int(cli, "lr-steps"), &s, &cli->diag);
    gal_cli_remove_at_fault(NULL);
    gal_err end = gal_remove_tree(folder, err ? NULL : &cli->diag);
    if (err) return err;
    (cli->json ? sweep_json : sweep_text)(&b, &s);
    err = print(cli, &b);
    gal_lr_sweep_free(&s);
    return err ? err : end;
}

/* ---- the first rows ----------------------------------------------------------------------------------------------
 */

static void json_row(gal_buf *out, const gal_batch *b, const char *key, const int32_t *of, int64_t first,
                     int64_t less, const char *end) {
    gal_buf_printf(out, "\"%s\": [", key);
    for (int64_t i = 0; i < b->sequence; i++)
        gal_buf_printf(out, "%s%lld", i ? ", " : "", (long long)of[first + i] - less);
    gal_buf_printf(out, "]%s", end);
}

static gal_err batch_json(gal_cli *cli, const gal_batch *b) {
    gal_buf out = { 0 };
    gal_err err = GAL_OK;
    for (int64_t r = 0; !err && r < b->rows; r++) {
        const int64_t first = r * b->sequence;
        gal_buf_printf(&out, "{\"row\": %lld, ", (long long)r);
        json_row(&out, b, "ids", b->ids, first, 0, ", ");
        json_row(&out, b, "positions", b->pos, first, 0, ", ");
        json_row(&out, b, "starts", b->start, first, first, ", ");
        json_row(&out, b, "targets", b->target, first, 0, "}\n");
        err = print(cli, &out);
    }
    return err;
}

/* What a row's inputs are, in the colour of a target where the token before it has it as one; a new line for each
 * document, and the last target, which is no input of its row, behind all. */
static gal_err show_row(const gal_batch *b, int64_t r, uint8_t *learned, gal_diag *diag) {
    const int64_t first = r * b->sequence;
    gal_err err = GAL_OK;
    int64_t targets = 0;
    for (int64_t i = 0; i < b->sequence; i++) {
        const bool target = b->target[first + i] >= 0;
        targets += target;
        if (i + 1 < b->sequence) learned[i + 1] = target;
    }
    learned[0] = 0;
    printf("row %lld, %lld of %lld tokens are targets\n", (long long)r, (long long)targets, (long long)b->sequence);
    for (int64_t at = 0; !err && at < b->sequence;) {
        int64_t end = at + 1;
        while (end < b->sequence && b->start[first + end] == b->start[first + at]) end++;
        err = gal_cli_print_targets(b->tok, b->ids + first + at, learned + at, (size_t)(end - at), diag);
        at = end;
    }
    return err;
}

gal_err gal_cli_show_batch(gal_cli *cli, const gal_train_config *c, const gal_train_options *o) {
    char folder[FOLDER_ROOM];
    gal_err err = make_folder(folder, "batch", &cli->diag);
    if (err) return err;
    gal_train_options here = *o;
    gal_batch b = { 0 };
    here.run = folder;
    gal_cli_remove_at_fault(folder);
    const int64_t wanted = gal_cli_int(cli, "rows");
    err = gal_train_batch(&b, c, &here, wanted ? wanted : c->batch.rows, &cli->diag);
    gal_cli_remove_at_fault(NULL);
    gal_err end = gal_remove_tree(folder, err ? NULL : &cli->diag);
    uint8_t *learned = err ? NULL : gal_alloc((size_t)b.sequence);
    if (!err && !learned) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a row");
    if (!err && cli->json) err = batch_json(cli, &b);
    for (int64_t r = 0; !err && !cli->json && r < b.rows; r++) err = show_row(&b, r, learned, &cli->diag);
    gal_free(learned);
    gal_batch_free(&b);
    return err ? err : end;
}
