/* merge_list.c - the merges of a vocabulary of bytes as a list: as its file has them, or, where the ids of what is
 * made tell the order (Tekken), every way in which a piece is two others, by the piece and then by its parts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "text/internal.h"

#include <stdlib.h>

static gal_err no_memory(const gal_tokenizer *t, gal_diag *diag) {
    return gal_fail(diag, GAL_ENOMEM, "no memory for the merges of %d pieces", (int)t->size);
}

static gal_err add(gal_merges *m, int32_t left, int32_t right, int32_t id, const gal_tokenizer *t, gal_diag *diag) {
    void *p = m->at;
    if (m->len == m->cap && gal_grow(&p, &m->cap, m->len + 1, sizeof *m->at) != 0) return no_memory(t, diag);
    m->at = p;
    m->at[m->len++] = (gal_merge){ left, right, id };
    return GAL_OK;
}

static int by_parts(const void *a, const void *b) {
    const gal_merge *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static gal_err split_pieces(gal_merges *m, const gal_tokenizer *t, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (int32_t id = 0; id < t->size && !err; id++) {
        if (t->types[id] != GAL_PIECE_NORMAL) continue;
        size_t n;
        const char *s = gal__piece(t, id, &n);
        const size_t first = m->len;
        for (size_t i = 1; i < n && !err; i++) {
            const int32_t left = gal__table_find(t, &t->text, s, i);
            const int32_t right = left < 0 ? -1 : gal__table_find(t, &t->text, s + i, n - i);
            if (right >= 0) err = add(m, left, right, id, t, diag);
        }
        if (m->len > first + 1) qsort(m->at + first, m->len - first, sizeof *m->at, by_parts);
    }
    return err;
}

static int by_rank(const void *a, const void *b) {
    const gal__pair *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static gal_err listed(gal_merges *m, const gal_tokenizer *t, gal_diag *diag) {
    size_t n = 0;
    gal__pair *all = gal_alloc_array(t->pairs.mask + 1, sizeof *all);
    if (!all) return no_memory(t, diag);
    for (size_t i = 0; i <= t->pairs.mask; i++)
        if (t->pairs.slots[i].left >= 0) all[n++] = t->pairs.slots[i];
    qsort(all, n, sizeof *all, by_rank);
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i++) err = add(m, all[i].left, all[i].right, all[i].id, t, diag);
    gal_free(all);
    return err;
}

gal_err gal_tokenizer_merges(const gal_tokenizer *t, gal_merges *out, gal_diag *diag) {
    *out = (gal_merges){ 0 };
    gal_err err = t->pairs.slots ? listed(out, t, diag) : t->bytes_are_text ? split_pieces(out, t, diag) : GAL_OK;
    if (err) gal_merges_free(out);
    return err;
}

void gal_merges_free(gal_merges *m) {
    gal_free(m->at);
    *m = (gal_merges){ 0 };
}

bool gal__same_merges(const gal_tokenizer *a, const gal_tokenizer *b, gal_diag *what) {
    gal_merges x, y = { 0 };
    if (!a->pairs.slots && !b->pairs.slots) return true; /* the pieces tell all */
    gal_err err = gal_tokenizer_merges(a, &x, what);
    if (!err) err = gal_tokenizer_merges(b, &y, what);
    size_t i = 0;
    const size_t common = GAL_MIN(x.len, y.len);
    while (!err && i < common && x.at[i].left == y.at[i].left && x.at[i].right == y.at[i].right) i++;
    if (!err && i < common) {
        err = gal_fail(what, GAL_EINPUT, "merge %zu joins ids %d and %d in the first and %d and %d in the second", i,
                       (int)x.at[i].left, (int)x.at[i].right, (int)y.at[i].left, (int)y.at[i].right);
    } else if (!err && x.len != y.len) {
        err = gal_fail(what, GAL_EINPUT, "%zu merges in the first, %zu in the second", x.len, y.len);
    }
    gal_merges_free(&x);
    gal_merges_free(&y);
    return !err;
}

/* In a list that scores could stand for, the merges of one piece come one after another, and every way is there. */
static gal_err compare_scores(const gal_tokenizer *t, const gal_merges *m, gal_diag *diag) {
    gal_merges all = { 0 };
    gal_err err = split_pieces(&all, t, diag);
    if (!err && all.len != m->len)
        err = gal_fail(diag, GAL_EINPUT, "%zu merges, where its pieces join in %zu ways: scores cannot say that",
                       m->len, all.len);
    gal_merges_free(&all);
    for (size_t i = 1; !err && i < m->len; i++)
        if (m->at[i].id != m->at[i - 1].id && t->scores[m->at[i].id] >= t->scores[m->at[i - 1].id])
            err = gal_fail(diag, GAL_EINPUT, "the merges of piece %d are not together: scores cannot say that",
                           (int)m->at[i].id);
    return err;
}

gal_err gal_tokenizer_by_scores(const gal_tokenizer *t, gal_diag *diag) {
    gal_merges m;
    if (t->bytes_are_text) return gal_fail(diag, GAL_EINPUT, "pieces of bytes have no scores");
    if (t->hf || t->each_unknown)
        return gal_fail(diag, GAL_EINPUT, "text is prepared or cut by steps that are not SentencePiece's");
    if (!t->pairs.slots) return GAL_OK;
    if (t->unk < 0)
        return gal_fail(diag, GAL_EINPUT, "no piece stands for what is unknown, as SentencePiece needs one");
    gal_err err = gal_tokenizer_merges(t, &m, diag);
    if (!err) err = compare_scores(t, &m, diag);
    gal_merges_free(&m);
    return err;
}
