/* merged.h - see merged.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_MERGED_H
#define GAL_CLI_MERGED_H

#include "cli/io.h"

typedef struct gal_merged {
    double kl, kl_99, agree; /* nats a token: mean, 99th percentile; part of tokens with the same most likely id */
    int64_t tokens;
} gal_merged;

/* The model at `out`, beside the command's first operand with adapters, on the text or ids of --text or --ids; in
 * f32. */
gal_err gal_cli_merged(gal_merged *r, gal_cli *cli, const char *out, const gal_loras *loras);

#endif
