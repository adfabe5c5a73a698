/* quantise_write.c - the file: each tensor read in f32, quantised and written a batch at a time, while the pool
 * already makes the next batch. Invariant: at most two batches are in memory. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/internal.h"
#include "formats/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Numbers: a piece fits into a processor's second cache; a batch is enough work for several threads. A row that is
 * longer than LONGEST is cut. */
enum { PIECE = 1 << 15, LONGEST = 1 << 20, BATCH = 1 << 21, COPY_BYTES = 8 << 20 };
_Static_assert(LONGEST % 256 == 0 && LONGEST <= BATCH, "pieces are whole blocks, and batches whole pieces");
_Static_assert(LONGEST * sizeof(float) <= GAL_SCRATCH_BYTES, "a piece fits into a thread's buffer");

/* What can be wrong with numbers. */
enum { NOT_FINITE = 1, TOO_LARGE = 2 };

/* A tensor being written, and the batch of it that the pool is at. */
typedef struct batch {
    const gal_quantise *q;
    size_t index;
    uint32_t type;
    int64_t from, count, piece; /* numbers of the tensor; of a piece: whole rows, or a part of a long one */
    int64_t columns, of_matrix; /* numbers of a row and of a matrix */
    const float *means;         /* [matrices, columns] what an error in each column counts; NULL: all alike */
    uint8_t *out;
    atomic_int *wrong;
    /* The batch before it, which the first chunk writes. */
    gal_sink *sink;
    const uint8_t *ready;
    size_t ready_bytes;
    gal_err *written;
} batch;

static size_t bytes_of(uint32_t type, int64_t n) { return (size_t)gal__quantise_bytes_of(type, n); }

/* The largest of |x|; NaN and infinities are larger than all else, as their bits are. */
static float largest(const float *x, int64_t n) {
    enum { TOGETHER = 64 }; /* a loop of a fixed length becomes vectors */
    int32_t most[TOGETHER] = { 0 };
    for (int64_t i = 0; i < n; i += TOGETHER) {
        int32_t bits[TOGETHER] = { 0 };
        memcpy(bits, x + i, (size_t)GAL_MIN(n - i, (int64_t)TOGETHER) * sizeof *bits);
        for (int j = 0; j < TOGETHER; j++) {
            int32_t b = bits[j] & INT32_MAX;
            most[j] = b > most[j] ? b : most[j];
        }
    }
    for (int j = 1; j < TOGETHER; j++) most[0] = GAL_MAX(most[0], most[j]);
    float f;
    memcpy(&f, &most[0], sizeof f);
    return f;
}

/* By whole rows of one matrix where that is possible: their columns count as they do in it. */
static void quantise_rows(const batch *b, const float *x, int64_t at, int64_t n) {
    while (n > 0) {
        int64_t column = at % b->columns, left = b->of_matrix - at % b->of_matrix;
        int64_t rows = column || n < b->columns ? 0 : GAL_MIN(n, left) / b->columns;
        int64_t cols = rows ? b->columns : GAL_MIN(n, b->columns - column);
        const float *means = b->means + at / b->of_matrix * b->columns + column;
        int64_t done = GAL_MAX(rows, (int64_t)1) * cols;
        gal_block_quantise_weighted(b->type, x, means, b->out + bytes_of(b->type, at - b->from), done / cols, cols);
        x += done;
        at += done;
        n -= done;
    }
}

/* Scales of blocks are f16, and none is larger than the largest number. Where one could be too large all the same,
 * the numbers are read back: that costs little, for it is rare. */
static void make_piece(const batch *b, int64_t piece, float *x) {
    int64_t at = piece * b->piece, n = GAL_MIN(b->count - at, b->piece);
    uint8_t *out = b->out + bytes_of(b->type, at);
    gal__quantise_read(b->q, b->index, b->from + at, n, x);
    float most = largest(x, n);
    if (!isfinite(most) || !gal_block_reaches(b->type, most)) {
        atomic_fetch_or(b->wrong, isfinite(most) ? TOO_LARGE : NOT_FINITE);
        return;
    }
    if (b->means)
        quantise_rows(b, x, b->from + at, n);
    else
        gal_block_quantise(b->type, x, out, n);
    if (most <= 65504.0F) return;
    gal_block_dequantise(b->type, out, x, n);
    if (!gal_all_finite(x, n)) atomic_fetch_or(b->wrong, TOO_LARGE);
}

static void run_chunk(const void *args, int64_t chunk, void *scratch) {
    const batch *b = args;
    if (chunk > 0)
        make_piece(b, chunk - 1, scratch);
    else if (b->ready_bytes)
        *b->written = gal_sink_write(b->sink, b->ready, b->ready_bytes);
}

typedef struct writing {
    gal_quantise *q;
    size_t index;
    uint8_t *const *buffers; /* two, of a batch each */
} writing;

static gal_err interrupted(gal_diag *diag) {
    return gal_fail(diag, GAL_EINTERRUPTED, "interrupted; no file was written");
}

static gal_err fail_numbers(const gal_quantise *q, size_t i, int wrong, gal_diag *diag) {
    char shown[GAL__SHOW];
    const gal_quantise_tensor *t = &q->tensors[i];
    (void)gal__show(shown, t->name);
    if (wrong & NOT_FINITE)
        return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": expected finite numbers, found NaN or infinity",
                        q->path, shown);
    const bool block = gal_block_info_of(t->type)->elements > 1;
    return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": a number is too large for %s%s", q->path, shown,
                    gal_gguf_type_name(t->type),
                    block ? ": the scale of its block exceeds 65504, the largest f16" : "");
}

gal_err gal__quantise_refuse(const gal_quantise *q, size_t i, gal_diag *diag) {
    return fail_numbers(q, i, NOT_FINITE, diag);
}

/* From one batch to the next the buffers change places: one is written, the other filled. */
static gal_err run_batches(const writing *w, batch b, gal_diag *diag) {
    gal_quantise *q = w->q;
    const gal_quantise_tensor *t = &q->tensors[w->index];
    int64_t total = gal__quantise_elements(t), most = BATCH / b.piece * b.piece;
    atomic_int wrong = 0;
    gal_err err = GAL_OK;
    b.wrong = &wrong;
    b.written = &err;
    for (int turn = 0; !err && (b.from < total || b.ready_bytes); turn = !turn) {
        b.count = GAL_MIN(total - b.from, most);
        b.out = w->buffers[turn];
        gal_pool_run(q->o.pool, run_chunk, &b, 1 + (b.count + b.piece - 1) / b.piece);
        if (atomic_load(&wrong)) return fail_numbers(q, w->index, atomic_load(&wrong), diag);
        b.from += b.count;
        b.ready = b.out;
        b.ready_bytes = bytes_of(t->type, b.count);
        if (gal__quantise_look(q, t->name, gal__quantise_bytes_of(t->from, b.count))) return interrupted(diag);
    }
    return err;
}

static gal_err quantise(const writing *w, gal_sink *s, gal_diag *diag) {
    const gal_quantise_tensor *t = &w->q->tensors[w->index];
    int64_t columns = gal__quantise_columns(t), elements = gal__quantise_elements(t), unreached = 0;
    float *means = NULL;
    if (!elements) return GAL_OK;
    gal_err err = gal__quantise_means(w->q, w->index, &means, &unreached, diag);
    if (err) return err;
    batch b = { .q = w->q,
                .index = w->index,
                .type = t->type,
                .columns = columns,
                .of_matrix = elements / gal__quantise_matrices(t),
                .piece = columns > LONGEST ? LONGEST : columns * GAL_MAX(PIECE / columns, (int64_t)1),
                .means = means,
                .sink = s };
    err = run_batches(w, b, diag);
    gal_free(means);
    return err;
}

/* Of a folder, by way of a buffer: rows move. */
static gal_err copy_source(const writing *w, gal_sink *s, gal_diag *diag) {
    gal_quantise *q = w->q;
    const gal_quantise_tensor *t = &q->tensors[w->index];
    const int64_t elements = gal__quantise_elements(t);
    gal_err err = GAL_OK;
    for (int64_t at = 0, n; !err && at < elements; at += n) {
        n = GAL_MIN(elements - at, (int64_t)BATCH);
        gal_source_copy(q->source, w->index, at, n, w->buffers[0]);
        err = gal_sink_write(s, w->buffers[0], bytes_of(t->from, n));
        if (gal__quantise_look(q, t->name, bytes_of(t->from, n))) return interrupted(diag);
    }
    return err;
}

static gal_err copy(const writing *w, gal_sink *s, gal_diag *diag) {
    gal_quantise *q = w->q;
    if (q->source) return copy_source(w, s, diag);
    const gal_gguf_tensor *t = gal_gguf_at(q->file, w->index);
    gal_err err = GAL_OK;
    for (uint64_t at = 0; !err && at < t->bytes; at += COPY_BYTES) {
        uint64_t n = GAL_MIN(t->bytes - at, (uint64_t)COPY_BYTES);
        err = gal_sink_write(s, t->data + at, (size_t)n);
        if (gal__quantise_look(q, t->name, n)) return interrupted(diag);
    }
    return err;
}

static void scan_piece(const void *args, int64_t piece, void *scratch) {
    const batch *b = args;
    int64_t at = piece * PIECE, n = GAL_MIN(b->count - at, (int64_t)PIECE);
    gal__quantise_read(b->q, b->index, at, n, scratch);
    if (!isfinite(largest(scratch, n))) atomic_fetch_or(b->wrong, NOT_FINITE);
}

/* What is copied reaches no format that could refuse it. */
static void warn_copied(const gal_quantise *q, size_t i) {
    char shown[GAL__SHOW];
    const gal_quantise_tensor *t = &q->tensors[i];
    const gal_block_info *info = gal_block_info_of(t->from);
    atomic_int wrong = 0;
    batch b = { .q = q, .index = i, .count = gal__quantise_elements(t), .wrong = &wrong };
    if (!q->o.warn || !info || !info->reads || !b.count) return;
    gal_pool_run(q->o.pool, scan_piece, &b, (b.count + PIECE - 1) / PIECE);
    if (!atomic_load(&wrong)) return;
    gal_buf line = { 0 };
    gal_buf_printf(&line, "%s: tensor \"%s\": expected finite numbers, found NaN or infinity; copied as it is",
                   q->path, gal__show(shown, t->name));
    if (!line.oom) q->o.warn(q->o.user, line.data);
    gal_buf_free(&line);
}

static gal_err emit(gal_sink *s, void *user, gal_diag *diag) {
    const writing *w = user;
    const gal_quantise *q = w->q;
    bool same = q->tensors[w->index].type == q->tensors[w->index].from;
    gal_err err = same ? copy(w, s, diag) : quantise(w, s, diag);
    /* What was cut off the source read as zeros, perhaps. */
    if (!err && q->source) err = gal_source_done(q->source, w->index, diag);
    if (!err && q->file && w->index + 1 == q->count) err = gal_gguf_check(q->file, diag);
    if (!err && same) warn_copied(q, w->index);
    return err;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------
 */

/* As they were, but for what says that the file is one of several, or of what it is made; of a folder, made anew. */
static gal_err put_metadata(gal_gguf_writer *w, const gal_quantise *q, gal_diag *diag) {
    gal_err err = q->source ? gal_source_put_metadata(w, q->source, NULL, NULL, diag) : GAL_OK;
    for (size_t i = 0; q->file && i < gal_gguf_keys(q->file); i++) {
        const gal_gguf_value *v = gal_gguf_key_at(q->file, i);
        if (strncmp(v->key, "split.", 6) == 0 || strncmp(v->key, "quantize.imatrix.", 17) == 0 ||
            strcmp(v->key, "general.quantization_version") == 0 || strcmp(v->key, "general.file_type") == 0)
            continue;
        gal_gguf_put_value(w, v);
    }
    gal_gguf_put_u32(w, "general.quantization_version", 2);
    gal_gguf_put_u32(w, "general.file_type", q->file_type);
    const gal_imatrix *m = q->o.imatrix;
    if (!m) return err;
    const char *slash = strrchr(q->o.imatrix_path, '/'), *file = slash ? slash + 1 : q->o.imatrix_path;
    gal_gguf_put_string(w, "quantize.imatrix.file", file, strlen(file));
    if (m->n_datasets) gal_gguf_put_string(w, "quantize.imatrix.dataset", m->datasets[0], strlen(m->datasets[0]));
    gal_gguf_put_u32(w, "quantize.imatrix.entries_count", (uint32_t)GAL_MIN(m->n, (size_t)UINT32_MAX));
    gal_gguf_put_u32(w, "quantize.imatrix.chunks_count", m->chunks);
    return err;
}

static gal_err refuse_source(const gal_quantise *q, const char *path, gal_diag *diag) {
    for (size_t i = 0; i < q->count; i++) {
        const char *file = q->file ? gal_gguf_at(q->file, i)->file : gal_source_model(q->source)->weights[i].file;
        if (file && gal_same_file(file, path))
            return gal_fail(diag, GAL_EUSAGE, "%s: is the model itself (%s): expected another file to write", path,
                            file);
    }
    return GAL_OK;
}

/* all: [count]; NULL: the file will not be written. */
static gal_err make_writer(gal_gguf_writer **out, const gal_quantise *q, writing *all, gal_diag *diag) {
    gal_gguf_writer *w = NULL;
    gal_err err = gal_gguf_writer_new(&w, diag);
    if (err) return err;
    err = put_metadata(w, q, diag);
    for (size_t i = 0; !err && i < q->count; i++) {
        const gal_quantise_tensor *t = &q->tensors[i];
        gal_gguf_put_tensor(w, &(gal_gguf_item){ .name = t->name,
                                                 .type = t->type,
                                                 .ndim = t->ndim,
                                                 .dim = t->dim,
                                                 .emit = emit,
                                                 .user = all ? &all[i] : NULL });
    }
    if (err)
        gal_gguf_writer_free(w);
    else
        *out = w;
    return err;
}

gal_err gal__quantise_file_bytes(const gal_quantise *q, uint64_t *bytes, gal_diag *diag) {
    gal_gguf_writer *w = NULL;
    gal_err err = make_writer(&w, q, NULL, diag);
    if (!err) err = gal_gguf_file_bytes(w, q->path, bytes, diag);
    gal_gguf_writer_free(w);
    return err;
}

gal_err gal_quantise_write(gal_quantise *q, const char *path, gal_diag *diag) {
    GAL_ASSERT(q->chosen);
    gal_gguf_writer *w = NULL;
    uint8_t *buffers[2] = { gal_alloc(BATCH * sizeof(float)), gal_alloc(BATCH * sizeof(float)) };
    writing *all = gal_alloc_array(q->count, sizeof *all);
    gal_err err = refuse_source(q, path, diag);
    if (!err && (!buffers[0] || !buffers[1] || !all)) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    for (size_t i = 0; i < q->count && !err; i++) all[i] = (writing){ q, i, buffers };
    if (!err) err = make_writer(&w, q, all, diag);
    q->done = 0;
    if (!err) err = gal_gguf_write(w, path, diag);
    gal_gguf_writer_free(w);
    gal_free(all);
    gal_free(buffers[0]);
    gal_free(buffers[1]);
    return err;
}
