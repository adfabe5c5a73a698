/* starve.h - memory that fails when a test wants it to. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_STARVE_H
#define GAL_TESTS_STARVE_H

#include <stddef.h>

/* For gal_set_alloc_hook(), with a counted as user: call number fail_at (0: none) gets nothing. */
typedef struct counted {
    size_t calls, fail_at, held; /* held: blocks that are not freed yet */
} counted;
void *fail_one(void *user, void *ptr, size_t old_bytes, size_t bytes);

#endif
