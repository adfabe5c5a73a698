/* profile.h - where the time of a command went: a table by kernel, and a trace that chrome://tracing and Perfetto
 * load. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_PROFILE_H
#define GAL_CLI_PROFILE_H

#include "cli/cli.h"
#include "core/dev.h"

typedef struct gal_profile gal_profile;

/* What --profile and --trace ask for; *out stays NULL where neither is given. */
gal_err gal_profile_new(gal_profile **out, gal_cli *cli);
void gal_profile_free(gal_profile *p);
/* What a device tells of its launches (core/dev.h); NULL for NULL. */
const gal_watch *gal_profile_watch(gal_profile *p);
/* Forgets what came so far: a beginning that is not what is to be measured. NULL is allowed, here and below. */
void gal_profile_restart(gal_profile *p);
/* The table on standard error, the trace into its file. cpu: the level, NULL: the best. Measures the machine's peaks,
 * for the column that compares with them, so call it when the command's memory is free again. */
gal_err gal_profile_finish(gal_profile *p, gal_cli *cli, const char *cpu);

/* The rows of a command's table of options. */
#define GAL_PROFILE_OPTIONS                                                                                          \
    { .name = "profile", .help = "print at the end where the time went, kernel by kernel" }, {                       \
        .name = "trace", .kind = GAL_V_FILE, .value = "FILE",                                                        \
        .help = "like --profile, and write every launch to FILE, for chrome://tracing or Perfetto"                   \
    }

#endif
