/* plot.h - pictures of runs. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_PLOT_H
#define GAL_TRAIN_PLOT_H

#include "base/err.h"

/* Draws the losses of a run from its metrics.sqlite into RUN/plots/loss.png and loss.svg. GAL_EINPUT if there are no
 * metrics, GAL_EFAIL if the plotting library cannot draw. */
gal_err gal_plot_run(const char *run, gal_diag *diag);

#endif
