/* embed.c - rows by number: embedding, its gradient, gathering and scattering, the store of keys and values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ref/ref.h"
#include "tensor/blocks.h"

static void copy_row(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from, int64_t n) {
    gal_convert((char *)y + to * (int64_t)gal_dtype_bytes(dt), dt,
                (const char *)x + from * (int64_t)gal_dtype_bytes(xdt), xdt, n);
}

/* y[to + i] += x[from + i], each sum rounded. */
static void add_row(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from, int64_t n) {
    double part[GAL_REF_PART];
    for (int64_t at = 0; at < n; at += GAL_REF_PART) {
        int64_t some = GAL_MIN(n - at, GAL_REF_PART);
        gal__ref_load(part, x, xdt, from + at, some);
        gal__ref_store_or_add(y, dt, to + at, part, some, true);
    }
}

static int64_t embed_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_embed *)args)->n, GAL_REF_ROWS);
}

static void unpack_row(const gal_k_embed *e, int64_t n) {
    float part[GAL_REF_PART];
    for (int64_t at = 0; at < e->d; at += GAL_REF_PART) {
        int64_t some = GAL_MIN(e->d - at, GAL_REF_PART);
        gal_code_read(e->code, e->table, e->d, e->ids[n], at, some, part);
        copy_row(e->y, e->dt, n * e->d + at, part, GAL_F32, 0, some);
    }
}

static void embed_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_embed *e = args;
    gal__range r = gal__ref_piece(e->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++)
        if (e->wdt == GAL_BLOCKS)
            unpack_row(e, n);
        else
            copy_row(e->y, e->dt, n * e->d, e->table, e->wdt, e->ids[n] * e->d, e->d);
}

/* Columns are cut, not rows: two rows may add to one line of the table, and their order is fixed. */
static int64_t embed_grad_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_embed_grad *)args)->d, GAL_REF_COLS);
}

static void embed_grad_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_embed_grad *e = args;
    gal__range c = gal__ref_piece(e->d, GAL_REF_COLS, chunk);
    for (int64_t n = 0; n < e->n; n++)
        add_row(e->dtable, gal_stat_dtype(e->dt), e->ids[n] * e->d + c.from, e->dy, e->dt, n * e->d + c.from,
                c.to - c.from);
}

static int64_t gather_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_gather_rows *)args)->n, GAL_REF_ROWS);
}

static void gather_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_gather_rows *g = args;
    gal__range r = gal__ref_piece(g->n, GAL_REF_ROWS, chunk);
    for (int64_t i = r.from; i < r.to; i++) {
        if (g->scatter)
            add_row(g->y, g->dt, g->rows[i] * g->d, g->x, g->dt, i * g->d, g->d);
        else
            copy_row(g->y, g->dt, i * g->d, g->x, g->dt, g->rows[i] * g->d, g->d);
    }
}

static int64_t kv_store_chunks(const void *args) {
    return gal__ref_pieces(((const gal_k_kv_store *)args)->n, GAL_REF_ROWS);
}

/* copy_row(), whose result may lie in blocks. */
static void store_row(void *y, gal_dtype dt, int64_t to, const void *x, gal_dtype xdt, int64_t from, int64_t n) {
    if (!gal_dtype_in_blocks(dt)) {
        copy_row(y, dt, to, x, xdt, from, n);
        return;
    }
    float part[GAL_REF_PART];
    for (int64_t i = 0; i < n; i += GAL_REF_PART) {
        const int64_t some = GAL_MIN(n - i, (int64_t)GAL_REF_PART);
        gal_convert(part, GAL_F32, (const char *)x + gal_dtype_span(xdt, from + i), xdt, some);
        gal_block_quantise(gal_dtype_block(dt), part, (char *)y + gal_dtype_span(dt, to + i), some);
    }
}

static void kv_store_run(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    const gal_k_kv_store *s = args;
    gal__range r = gal__ref_piece(s->n, GAL_REF_ROWS, chunk);
    for (int64_t n = r.from; n < r.to; n++) {
        /* Rows of a sequence are consecutive: a later one that takes the same slot lies `slots` rows on. */
        if (s->slots < s->n - n && s->seq[n + s->slots] == s->seq[n]) continue;
        for (int64_t g = 0; g < s->kv_heads; g++) {
            int64_t from = (n * s->kv_heads + g) * s->size;
            int64_t to = ((s->seq[n] * s->kv_heads + g) * s->slots + s->pos[n] % s->slots) * s->size;
            store_row(s->ck, s->cdt, to, s->k, s->dt, from, s->size);
            store_row(s->cv, s->cdt, to, s->v, s->dt, from, s->size);
        }
    }
}

void gal__ref_fill_embed(gal_kernel_table *t) {
    t->k[GAL_K_EMBED] = (gal_kernel){ embed_chunks, embed_run };
    t->k[GAL_K_EMBED_GRAD] = (gal_kernel){ embed_grad_chunks, embed_grad_run };
    t->k[GAL_K_GATHER_ROWS] = (gal_kernel){ gather_chunks, gather_run };
    t->k[GAL_K_KV_STORE] = (gal_kernel){ kv_store_chunks, kv_store_run };
}
