/* npy.c - a NumPy array: what was read is written and read again to the same. SPDX-License-Identifier: Apache-2.0 */
#include "formats/npy.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.npy";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_npy a, again;
    gal_err err = gal_npy_parse(&a, data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return 0;
    }
    size_t bytes = (size_t)a.count * gal_npy_bytes(a.type);
    GAL_ASSERT(a.ndim >= 0 && a.ndim <= GAL_NPY_DIMS && bytes < n);
    gal_buf out = { 0 };
    gal_npy_header(&out, a.type, a.ndim, a.dim);
    if (bytes) gal_buf_add(&out, a.data, bytes);
    err = gal_npy_parse(&again, out.data, out.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s", diag.text);
    GAL_ASSERT(a.type == again.type && a.ndim == again.ndim && a.count == again.count);
    GAL_ASSERT(memcmp(a.dim, again.dim, (size_t)a.ndim * sizeof *a.dim) == 0);
    GAL_ASSERT(!bytes || memcmp(a.data, again.data, bytes) == 0);
    gal_npy_free(&a);
    gal_npy_free(&again);
    gal_buf_free(&out);
    return 0;
}
