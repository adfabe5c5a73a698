/* far.h - a device for tests whose memory is closed to the host: pages of its own that cannot be read or written
 * except while one of its own calls runs. Kernels are the CPU's of some level, so bytes must equal the CPU's; whoever
 * touches its memory from outside dies at once, and a kernel that is given a host address ends the test with its
 * name.
 *
 * far_use() makes it known under the device name "far". SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_FAR_H
#define GAL_TESTS_FAR_H

#include "core/dev.h"

void far_use(void);
/* level: NULL for the best. */
gal_dev *far_open(const char *level, int threads);

/* What it was asked for since it was opened. */
typedef struct far_counts {
    int64_t uploads, downloads, launches; /* launches outside graphs */
    int64_t captures, graph_launches;
    int64_t taken; /* pieces of memory that were not given back */
} far_counts;
far_counts far_counted(const gal_dev *dev);
/* The next pieces of memory beyond these bytes are refused; 0: none is. */
void far_limit(gal_dev *dev, size_t bytes);

#endif
