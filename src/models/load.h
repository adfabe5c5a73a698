/* load.h - private to models/: what loading from each kind of file shares. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_LOAD_H
#define GAL_MODELS_LOAD_H

#include "models/model.h"

/* GAL_EINPUT with file, tensor, both shapes unless w has that shape. */
gal_err gal__check_shape(const gal_w *w, const char *file, int ndim, const int64_t *dim, gal_diag *diag);
/* load_gguf.c */
gal_err gal__load_gguf(gal_model **out, const char *path, gal_diag *diag);

#endif
