/* npz.h - NumPy's .npz archives (zip files of .npy arrays), for golden data. Test code only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_NPZ_H
#define GAL_TESTS_NPZ_H

#include "formats/npy.h"

typedef struct npz {
    size_t count;
    char **names; /* without ".npy" */
    gal_npy *arrays;
} npz;

gal_err npz_open(npz *out, const char *path, gal_diag *diag);
void npz_close(npz *z);
const gal_npy *npz_find(const npz *z, const char *name); /* NULL: none */

#endif
