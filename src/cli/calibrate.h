/* calibrate.h - what `imatrix` and `quantize --calibrate` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_CALIBRATE_H
#define GAL_CLI_CALIBRATE_H

#include "cli/cli.h"
#include "convert/calibrate.h"

/* Lets the model read the text of a file, chunk tokens at a time (0: 512, or what the model was made for if that is
 * less) and most of them at most (0: all), with a progress bar. out: {0} before. layout: to read of a folder. bos, if
 * not NULL: whether a token that is not of the text came before each chunk. */
gal_err gal_cli_calibrate(gal_cli *cli, gal_imatrix *out, gal_dev *dev, const char *model, const char *text,
                          int64_t chunk, int64_t most, gal_layout layout, bool *bos);

#endif
