/* numbers.c - the numbers of one conversion: in which type each tensor is written, and they themselves, a piece at a
 * time. Invariant: what keeps its type keeps its bits. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/job.h"

#include <math.h>

enum { PIECE = 1 << 18 }; /* numbers; whole blocks of every format */

static bool plain(uint32_t type) { return type == GAL_BLOCK_F32 || type == GAL_BLOCK_F16 || type == GAL_BLOCK_BF16; }

static gal_dtype dtype_of(uint32_t type) {
    return type == GAL_BLOCK_F32 ? GAL_F32 : type == GAL_BLOCK_F16 ? GAL_F16 : GAL_BF16;
}

static size_t bytes_of(uint32_t type, int64_t n) {
    const gal_block_info *info = gal_block_info_of(type);
    return (size_t)(n / info->elements) * info->bytes;
}

/* ---- types ------------------------------------------------------------------------------------------------------
 */

/* Of a matrix. */
static uint32_t matrix_type(const gal__job *j, uint32_t from) {
    switch (j->o->dtype) {
    case GAL_CONVERT_F32:
        return GAL_BLOCK_F32;
    case GAL_CONVERT_F16:
        return GAL_BLOCK_F16;
    case GAL_CONVERT_BF16:
        return GAL_BLOCK_BF16;
    case GAL_CONVERT_SAME:
        break;
    }
    if (j->result.merged && !j->o->requantise) return GAL_BLOCK_BF16;
    bool holds = j->o->to == GAL_LAYOUT_GGUF && gal_block_info_of(from);
    return plain(from) || holds ? from : GAL_BLOCK_BF16;
}

/* How many of n numbers are others in 16 bits. */
static int64_t count_rounded(const float *x, const void *narrow, int64_t n, gal_dtype type) {
    float back[256];
    int64_t count = 0;
    for (int64_t at = 0; at < n; at += (int64_t)GAL_LEN(back)) {
        const int64_t some = GAL_MIN(n - at, (int64_t)GAL_LEN(back));
        gal_convert(back, GAL_F32, (const uint8_t *)narrow + (size_t)at * gal_dtype_bytes(type), type, some);
        for (int64_t k = 0; k < some; k++)
            count += back[k] < x[at + k] || back[k] > x[at + k] || isnan(back[k]) != isnan(x[at + k]);
    }
    return count;
}

/* A vector out of a GGUF file was widened, perhaps, to get into it. */
static uint32_t vector_type(const gal__job *j, size_t i, uint32_t main) {
    const gal_source_tensor *t = gal_source_at(j->s, i);
    bool widened = gal_source_model(j->s)->config.layout == GAL_LAYOUT_GGUF && t->type == GAL_BLOCK_F32;
    if (j->o->to == GAL_LAYOUT_GGUF) return GAL_BLOCK_F32;
    if (j->o->dtype != GAL_CONVERT_SAME || !widened || main == GAL_BLOCK_F32) return matrix_type(j, t->type);
    int64_t n = gal_source_elements(t);
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t some = GAL_MIN(n - at, (int64_t)PIECE);
        gal_source_read(j->s, i, at, some, j->x);
        gal_convert(j->bytes, dtype_of(main), j->x, GAL_F32, some);
        if (count_rounded(j->x, j->bytes, some, dtype_of(main))) return t->type;
    }
    return main;
}

/* The type of the first matrix, which is the embedding. */
static uint32_t main_type(const gal__job *j) {
    for (size_t i = 0; i < gal_source_count(j->s); i++)
        if (gal_source_at(j->s, i)->ndim > 1) return matrix_type(j, gal_source_at(j->s, i)->type);
    return GAL_BLOCK_F32;
}

gal_dtype gal__job_dtype(const gal__job *j) { return plain(main_type(j)) ? dtype_of(main_type(j)) : GAL_BF16; }

uint64_t gal__job_bytes(const gal__job *j, size_t i) {
    return bytes_of(j->types[i], gal_source_elements(gal_source_at(j->s, i)));
}

gal_err gal__job_begin(gal__job *j, gal_diag *diag) {
    size_t count = gal_source_count(j->s);
    j->types = gal_alloc_array(count, sizeof *j->types);
    j->x = gal_alloc_array(PIECE, sizeof *j->x);
    j->bytes = gal_alloc_array(PIECE, sizeof(float));
    if (!j->types || !j->x || !j->bytes) return gal_fail(diag, GAL_ENOMEM, "no memory for a piece of the weights");
    for (size_t i = 0; i < count; i++) j->result.merged += gal_source_at(j->s, i)->merged;
    for (size_t i = 0; i < count; i++) {
        const gal_source_tensor *t = gal_source_at(j->s, i);
        j->types[i] = t->ndim > 1 ? matrix_type(j, t->type) : vector_type(j, i, main_type(j));
        j->total += gal__job_bytes(j, i);
        j->result.kept += j->types[i] == t->type && !t->merged;
        j->result.params += gal_source_elements(t);
    }
    j->result.tensors = count;
    j->result.bytes = j->total;
    return GAL_OK;
}

void gal__job_end(gal__job *j) {
    gal_free(j->types);
    gal_free(j->x);
    gal_free(j->bytes);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------
 */

/* The next n <= PIECE numbers as they are written. */
static void make(gal__stream *s, int64_t n, void *out) {
    const gal__job *j = s->job;
    uint32_t to = j->types[s->i];
    const gal_source_tensor *t = gal_source_at(j->s, s->i);
    if (to == t->type && !t->merged) {
        gal_source_copy(j->s, s->i, s->at, n, out);
        return;
    }
    gal_source_read(j->s, s->i, s->at, n, to == GAL_BLOCK_F32 ? out : j->x);
    if (!plain(to)) {
        gal_block_quantise(to, j->x, out, n);
    } else if (to != GAL_BLOCK_F32) {
        gal_convert(out, dtype_of(to), j->x, GAL_F32, n);
        s->rounded += count_rounded(j->x, out, n, dtype_of(to));
    }
}

static gal_err look(gal__job *j, size_t bytes, gal_diag *diag) {
    j->done += bytes;
    if (!j->o->progress || !j->o->progress(j->o->user, j->done, j->total)) return GAL_OK;
    return gal_fail(diag, GAL_EINTERRUPTED, "interrupted; nothing was written");
}

/* After n more numbers of a tensor. */
static gal_err advance(gal__stream *s, int64_t n, size_t bytes, gal_diag *diag) {
    s->at += n;
    gal_err err = look(s->job, bytes, diag);
    bool last = s->at == gal_source_elements(gal_source_at(s->job->s, s->i));
    if (last) {
        s->job->result.rounded += s->rounded > 0;
        s->job->result.numbers += s->rounded;
    }
    return err || !last ? err : gal_source_done(s->job->s, s->i, diag);
}

gal_err gal__job_emit(gal_sink *sink, void *user, gal_diag *diag) {
    gal__stream *s = user;
    gal__job *j = s->job;
    int64_t all = gal_source_elements(gal_source_at(j->s, s->i));
    gal_err err = GAL_OK;
    for (s->at = 0; !err && s->at < all;) {
        int64_t n = GAL_MIN(all - s->at, (int64_t)PIECE);
        size_t bytes = bytes_of(j->types[s->i], n);
        make(s, n, j->bytes);
        err = gal_sink_write(sink, j->bytes, bytes);
        if (!err) err = advance(s, n, bytes, diag);
    }
    return err;
}

gal_err gal__job_read(void *user, void *to, const void *from, size_t bytes, gal_diag *diag) {
    gal__stream *s = user;
    const gal__job *j = s->job;
    size_t size = bytes_of(j->types[s->i], 1);
    uint8_t *out = to;
    (void)from;
    gal_err err = GAL_OK;
    while (!err && bytes) {
        int64_t n = (int64_t)GAL_MIN(bytes / size, (size_t)PIECE);
        make(s, n, out);
        out += (size_t)n * size;
        bytes -= (size_t)n * size;
        err = advance(s, n, (size_t)n * size, diag);
    }
    return err;
}
