/* load_fp8.c - weights published in FP8 (formats.md 2, quantization_config): a number is an E4M3 number times a scale
 * of its tensor, of its row, or of its block. Refuses a weight whose scale is missing, ambiguous, of another shape or
 * not finite: without its scale every product would be off by a factor and nothing would fail. Which weights are FP8
 * the file's types tell, so modules_to_not_convert needs no look. Scales of activations are of no use here, where
 * activations keep their precision. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/load.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 128 }; /* where a file has blocks and its description gives no size */

/* Beside "X.weight": "X." and one of these. */
static const char *const SCALES[] = { "weight_scale_inv", "weight_scale", "scale_weight", "qscale_weight" };

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

bool gal__beside_fp8(const gal_st_set *set, const char *name) {
    static const char *const ACTIVATIONS[] = { ".activation_scale", "_activation_scale", ".input_scale",
                                               ".qscale_act" };
    for (size_t i = 0; i < GAL_LEN(ACTIVATIONS); i++)
        if (ends_with(name, ACTIVATIONS[i])) return true;
    if (strstr(name, "_fake_quantizer.")) return true;
    for (size_t i = 0; i < GAL_LEN(SCALES); i++) {
        char weight[256]; /* no weight of ours has a longer name */
        size_t n = strlen(name), k = strlen(SCALES[i]);
        if (!ends_with(name, SCALES[i]) || n <= k || name[n - k - 1] != '.') continue;
        if (n - k + sizeof "weight" > sizeof weight) continue;
        memcpy(weight, name, n - k);
        memcpy(weight + n - k, "weight", sizeof "weight");
        const gal_st_tensor *t = gal_st_set_find(set, weight);
        if (t && t->dtype == GAL_ST_F8_E4M3) return true;
    }
    return false;
}

/* The one scale of a weight. */
static gal_err find_scale(const gal_st_tensor **out, const gal_st_tensor *t, const gal_st_set *set, gal_diag *diag) {
    gal_buf name = { 0 };
    gal_err err = GAL_OK;
    size_t base = strlen(t->name) - (ends_with(t->name, ".weight") ? strlen("weight") : 0);
    *out = NULL;
    for (size_t i = 0; i < GAL_LEN(SCALES) && !err; i++) {
        gal_buf_clear(&name);
        gal_buf_add(&name, t->name, base);
        gal_buf_puts(&name, SCALES[i]);
        const gal_st_tensor *s = name.oom ? NULL : gal_st_set_find(set, name.data);
        if (name.oom)
            err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for the name of a scale", t->file);
        else if (s && *out)
            err = gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected one scale, found \"%s\" and \"%s\"",
                           t->file, t->name, (*out)->name, s->name);
        if (s) *out = s;
    }
    gal_buf_free(&name);
    if (!err && !*out)
        err = gal_fail(
            diag, GAL_EINPUT,
            "%s: tensor \"%s\" is FP8 (F8_E4M3), but its scale is missing: looked for \"%.*s%s\", \"...%s\", "
            "\"...%s\" and \"...%s\"",
            t->file, t->name, (int)base, t->name, SCALES[0], SCALES[1], SCALES[2], SCALES[3]);
    return err;
}

static int64_t parts(int64_t n, int64_t block) { return (n + block - 1) / block; }

static bool has_shape(const gal_st_tensor *s, int64_t rows, int64_t cols) {
    return s->ndim == 2 && s->dim[0] == rows && s->dim[1] == cols;
}

/* How many rows and columns of w share a number of s: by what the description says of blocks, else by the shape. */
static gal_err blocks_of(int64_t block[2], const gal_w *w, const gal_st_tensor *s, const int64_t said[2],
                         gal_diag *diag) {
    int64_t rows = w->dim[0], cols = w->dim[1], count = 1, b0 = said[0] > 0 ? said[0] : BLOCK,
            b1 = said[0] > 0 ? said[1] : BLOCK, down = parts(rows, b0), across = parts(cols, b1);
    char shape[GAL__SHAPE_TEXT];
    for (int i = 0; i < s->ndim; i++) count = s->dim[i] == 1 ? count : 0;
    if (count && (said[0] <= 0 || (down == 1 && across == 1))) { /* one number */
        block[0] = rows;
        block[1] = cols;
    } else if (said[0] <= 0 && ((s->ndim == 1 && s->dim[0] == rows) || has_shape(s, rows, 1))) {
        block[0] = 1;
        block[1] = cols;
    } else if (said[0] >= 0 && has_shape(s, down, across)) {
        block[0] = b0;
        block[1] = b1;
    } else if (said[0] > 0) {
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": expected shape [%" PRId64 ", %" PRId64
                        "], a scale for each block of %" PRId64 " x %" PRId64 ", found %s",
                        s->file, s->name, down, across, b0, b1, gal__shape_text(shape, s->ndim, s->dim));
    } else {
        char or_blocks[80] = "";
        if (said[0] == 0)
            (void)snprintf(or_blocks, sizeof or_blocks, " or [%" PRId64 ", %" PRId64 "] (each block of %d x %d)",
                           down, across, BLOCK, BLOCK);
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": expected one scale, [%" PRId64 "] or [%" PRId64
                        ", 1] (each row)%s, found %s",
                        s->file, s->name, rows, rows, or_blocks, gal__shape_text(shape, s->ndim, s->dim));
    }
    return GAL_OK;
}

/* The scales as f32. */
static gal_err read_scales(float **out, const gal_st_tensor *s, int64_t count, gal_diag *diag) {
    gal_dtype dtype;
    if (!gal_st_dtype_ours(s->dtype, &dtype))
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected F32, F16, BF16 or F64, found %s", s->file,
                        s->name, gal_st_dtype_name(s->dtype));
    void *copy = gal_alloc((size_t)s->bytes); /* in the file it may lie anywhere */
    float *scale = gal_alloc_array((size_t)count, sizeof *scale);
    gal_err err = GAL_OK;
    if (copy && scale) {
        memcpy(copy, s->data, (size_t)s->bytes);
        gal_convert(scale, GAL_F32, copy, dtype, count);
        for (int64_t i = 0; i < count && !err; i++)
            if (!isfinite(scale[i]))
                err = gal_fail(diag, GAL_EINPUT,
                               "%s: tensor \"%s\": expected finite scales, found %g at index %" PRId64, s->file,
                               s->name, (double)scale[i], i);
    } else {
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for the scales \"%s\"", s->file, s->name);
    }
    gal_free(copy);
    if (err)
        gal_free(scale);
    else
        *out = scale;
    return err;
}

gal_err gal__take_fp8(gal_w *w, const gal_st_tensor *t, const gal_st_set *set, const int64_t said[2],
                      gal_diag *diag) {
    const gal_st_tensor *s = NULL;
    int64_t block[2] = { 0, 0 };
    float *scale = NULL;
    if (w->ndim != 2)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected FP8 numbers in matrices only", t->file,
                        t->name);
    gal_err err = find_scale(&s, t, set, diag);
    if (!err) err = blocks_of(block, w, s, said, diag);
    if (!err) err = read_scales(&scale, s, parts(w->dim[0], block[0]) * parts(w->dim[1], block[1]), diag);
    if (err) return err;
    w->file = t->file;
    w->dtype = GAL_BLOCKS;
    w->code = (gal_code){ .block = GAL_BLOCK_F8_E4M3,
                          .scales = scale,
                          .scale_rows = block[0],
                          .scale_cols = block[1],
                          .across = parts(w->dim[1], block[1]) };
    w->data = (void *)(uintptr_t)t->data; /* read-only; gal_w has one pointer for both kinds of memory */
    w->owned = false;
    return GAL_OK;
}
