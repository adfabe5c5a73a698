/* test.h - what every test program includes: cmocka with the headers that it wants before it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEST_H
#define GAL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#endif
