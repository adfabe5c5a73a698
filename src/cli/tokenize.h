/* tokenize.h - what the files of `galerne tokenize` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_TOKENIZE_H
#define GAL_CLI_TOKENIZE_H

#include "cli/cli.h"
#include "text/tokenizer.h"

/* cmd_tokenize.c: {"error": ...}, a line of --jsonl. */
void gal_cli_print_line_error(const char *text);
void gal_cli_print_line_ids(const gal_ids *ids);
/* tokenize_chat.c: --chat. body: of one conversation; NULL: a line each from standard input (--jsonl). */
gal_err gal_cli_tokenize_chat(gal_cli *cli, const gal_tokenizer *t, const gal_buf *body);

#endif
