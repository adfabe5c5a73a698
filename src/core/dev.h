/* dev.h - a device: a table of kernels and the threads that run them. The CPU's levels are filled in here; CUDA has
 * its place and answers that it is absent in builds without it (kernels/no_cuda). SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_CORE_DEV_H
#define GAL_CORE_DEV_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct gal_dev {
    gal_kernel_table table;
    gal_pool *pool;
} gal_dev;

/* options NULL: the best level, all processors. GAL_EUSAGE: unknown level; GAL_EDEVICE: this processor lacks it. */
gal_err gal_dev_open(gal_dev **out, const gal_device_options *options, gal_diag *diag);
void gal_dev_close(gal_dev *dev);
/* Fills a table with a level by name without opening a device (tests, benchmarks); false if it cannot run here. */
bool gal_dev_table(gal_kernel_table *table, const char *level);

#endif
