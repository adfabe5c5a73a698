/* cmd_version.c - `galerne version`. SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

static gal_err run(gal_cli *cli) {
    if (cli->json) {
        printf("{\"version\": \"%s\"}\n", gal_version());
    } else {
        printf("galerne %s\n", gal_version());
    }
    return GAL_OK;
}

const gal_command gal_cmd_version = {
    .name = "version",
    .summary = "print the version",
    .operands = "",
    .run = run,
};
