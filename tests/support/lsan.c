/* lsan.c - in builds with AddressSanitizer, part of the program and of every test: what the plotting library's font
 * and module loaders keep until the process ends is not ours to free. SPDX-License-Identifier: Apache-2.0 */
#include "galerne/core.h"

GAL_API const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\nleak:libltdl\nleak:libplplot\n"; }

/* Standard error is compared, and what was suppressed is no news. */
GAL_API const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
