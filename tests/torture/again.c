/* again.c - see again.h. Of a run that keeps one checkpoint, the last, the way begins at the beginning.
 * SPDX-License-Identifier: Apache-2.0 */
#include "again.h"

#include "support/check.h"
#include "train/loop.h"
#include "train/replay.h"

#include <stdio.h>

gal_err step_again(const char *run, void (*hear)(void *user, const gal_train_event *event), gal_diag *diag) {
    gal_train_config c;
    gal_replayed r;
    char config[300];
    (void)snprintf(config, sizeof config, "%s/config.yaml", run);
    gal_err err = gal_train_config_load(&c, config, NULL, 0, diag);
    if (err) return err;
    err = gal_train_replay(&c, &(gal_train_options){ .run = run, .progress = hear }, 2, &r, diag);
    if (!err) {
        assert_true(r.same);
        gal_replayed_free(&r);
    }
    gal_train_config_free(&c);
    return err;
}
