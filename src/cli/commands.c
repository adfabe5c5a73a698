/* commands.c - the list of commands, in the order in which help shows them. SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

const gal_command *const GAL_COMMANDS[] = {
    &gal_cmd_run,     &gal_cmd_chat,    &gal_cmd_train,      &gal_cmd_runs,    &gal_cmd_tokenize,
    &gal_cmd_data,    &gal_cmd_logits,  &gal_cmd_perplexity, &gal_cmd_compare, &gal_cmd_eval,
    &gal_cmd_init,    &gal_cmd_inspect, &gal_cmd_flops,      &gal_cmd_convert, &gal_cmd_quantize,
    &gal_cmd_imatrix, &gal_cmd_bench,   &gal_cmd_help,       &gal_cmd_version, NULL,
};
