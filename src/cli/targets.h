/* targets.h - ids as text in which the tokens that are learned stand out. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_TARGETS_H
#define GAL_CLI_TARGETS_H

#include "text/tokenizer.h"

/* To standard output, ended by a newline; control pieces are spelled. learned: for each id a byte. On a terminal what
 * is learned has a colour, elsewhere it stands between [[ and ]]. */
gal_err gal_cli_print_targets(const gal_tokenizer *t, const int32_t *ids, const uint8_t *learned, size_t n,
                              gal_diag *diag);

#endif
