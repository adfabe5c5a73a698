/* asan.h - marking memory as out of bounds while AddressSanitizer watches; nothing otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_ASAN_H
#define GAL_BASE_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define GAL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GAL_ASAN 1
#endif
#endif

#ifdef GAL_ASAN
#include <sanitizer/asan_interface.h>
#define GAL_POISON(p, n) __asan_poison_memory_region(p, n)
#define GAL_UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define GAL_ASAN 0
#define GAL_POISON(p, n) ((void)(p), (void)(n))
#define GAL_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#endif
