/* thin.h - sweeps over many combinations, where a processor is emulated and each costs a hundred times as much
 * (GAL_THIN_TESTS, tests/CMakeLists.txt). SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_THIN_H
#define TESTS_SUPPORT_THIN_H

/* Whether to leave out combination i of a sweep: never, or all but every `keep`-th where the sweeps are thin. */
#ifdef GAL_THIN_TESTS
#define THIN_SKIP(i, keep) ((i) % (keep) != 0)
#else
#define THIN_SKIP(i, keep) ((void)(i), 0)
#endif

#endif
