/* cgroup.h - what this process may use of the machine's memory and time, after the limits of a container.
 * Linux reads /proc and /sys; elsewhere only what POSIX offers. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_CGROUP_H
#define GAL_BASE_CGROUP_H

#include <stdint.h>

uint64_t gal__memory_left(void); /* bytes; UINT64_MAX if nothing is known */
/* Processors' worth of time, rounded up, at least 1; INT_MAX: no limit. root as in sysfile.h. */
int gal__quota(const char *root);
uint64_t gal__read_bytes(void); /* that this process had read from disks; 0 if nothing is known */

#endif
