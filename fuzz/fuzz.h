/* fuzz.h - what each target in this folder offers: one function that takes the bytes of a file. It ends the program
 * (an assertion, a sanitizer's report) when something is wrong, and returns 0 otherwise. A target touches no file; an
 * encoder, where one exists, writes what was read, and reading that again must give the same.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FUZZ_H
#define GAL_FUZZ_H

#include "base/err.h"
#include "base/mem.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What holds whenever a parser refuses: the world's error, never another, and a message that names the file. */
#define FUZZ_REFUSED(err, diag, name) GAL_ASSERT((err) == GAL_EINPUT && strstr((diag).text, name))

#endif
