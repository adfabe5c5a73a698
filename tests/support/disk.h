/* disk.h - small disks of a test's own. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_DISK_H
#define GAL_TESTS_DISK_H

#include <stdbool.h>

/* From here on this process (of one thread) mounts without anybody seeing it: as root, or in a user namespace. */
bool disk_alone(void);
/* A tmpfs of a size ("64k") at a folder. */
bool disk_mount(const char *path, const char *size);

#endif
