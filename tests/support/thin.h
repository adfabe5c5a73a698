/* thin.h - sweeps over many combinations, where a processor is emulated or a sanitizer watches and each costs ten
 * to a hundred times as much (GAL_THIN_TESTS, tests/CMakeLists.txt). SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_THIN_H
#define TESTS_SUPPORT_THIN_H

#include <stdbool.h>
#include <stddef.h>

/* Whether to leave out combination i of a sweep: never, or all but every `keep`-th where the sweeps are thin. */
static inline bool thin_skip(size_t i, size_t keep) {
#ifdef GAL_THIN_TESTS
    return i % keep != 0;
#else
    (void)i;
    (void)keep;
    return false;
#endif
}

#endif
