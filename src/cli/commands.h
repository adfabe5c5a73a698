/* commands.h - every command's table; each lives in cmd_NAME.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_COMMANDS_H
#define GAL_CLI_COMMANDS_H

#include "cli/cli.h"
#include "train/loop.h"

extern const gal_command gal_cmd_bench;
extern const gal_command gal_cmd_chat;
extern const gal_command gal_cmd_compare;
extern const gal_command gal_cmd_convert;
extern const gal_command gal_cmd_eval;
extern const gal_command gal_cmd_flops;
extern const gal_command gal_cmd_data;
extern const gal_command gal_cmd_help;
extern const gal_command gal_cmd_imatrix;
extern const gal_command gal_cmd_init;
extern const gal_command gal_cmd_inspect;
extern const gal_command gal_cmd_logits;
extern const gal_command gal_cmd_perplexity;
extern const gal_command gal_cmd_quantize;
extern const gal_command gal_cmd_run;
extern const gal_command gal_cmd_runs;
extern const gal_command gal_cmd_tokenize;
extern const gal_command gal_cmd_train;
extern const gal_command gal_cmd_version;

gal_err gal_cli_inspect_experts(gal_cli *cli); /* inspect_experts.c: a part of inspect */
/* train_config.c: a training's configuration from a file and --set. */
gal_err gal_cli_train_config(gal_train_config *out, gal_cli *cli, const char *path);
/* Whether it can be, and who is to blame if not: gal_train_config_judge(). */
gal_err gal_cli_judge_config(const gal_train_config *c, gal_cli *cli, const char *path, gal_train_judge *judge,
                             void *user);
/* cmd_init.c: sizes of the fresh model that a training's configuration, the first operand, describes. */
gal_err gal_cli_fresh_config(gal_config *out, gal_cli *cli, const gal_train_config *c);
gal_err gal_cli_runs_serve(gal_cli *cli); /* runs_serve.c: a part of runs */

#endif
