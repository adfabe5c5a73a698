/* imatrix.c - an importance matrix of either kind: sums and counts fit each other and are finite, and what is written
 * of it is read again to the same. SPDX-License-Identifier: Apache-2.0 */
#include "formats/imatrix.h"

#include "fuzz.h"

#include <math.h>

static const char NAME[] = "fuzz.imatrix";

/* The older kind keeps means, to a rounding; its counts are calls. */
static bool near(float a, float b) { return fabsf(a - b) <= 4e-7f * fmaxf(fabsf(a), fabsf(b)) + 1e-44f; }

static bool same(const gal_imatrix_entry *a, const gal_imatrix_entry *b, gal_imatrix_kind kind) {
    if (strcmp(a->name, b->name) != 0 || a->n_sums != b->n_sums) return false;
    if (kind == GAL_IMATRIX_GGUF)
        return a->n_counts == b->n_counts && memcmp(a->sums, b->sums, a->n_sums * sizeof *a->sums) == 0 &&
               memcmp(a->counts, b->counts, a->n_counts * sizeof *a->counts) == 0;
    for (size_t i = 0; i < a->n_sums; i++) {
        float count = a->counts[i / (a->n_sums / a->n_counts)], was = count > 0.0f ? a->sums[i] / count : 1.0f;
        float is = b->sums[i] / b->counts[0];
        if (!near(was, is) && !(was > 1e29f)) return false; /* sums stop at the largest float */
    }
    return true;
}

static void round_trip(const gal_imatrix *m, gal_imatrix_kind kind) {
    gal_diag diag = { 0 };
    gal_buf out = { 0 };
    gal_imatrix again = { 0 };
    /* A name may be too long to have ".in_sum2" behind it, a text's name no UTF-8, and no weight may be reached. */
    if (gal_imatrix_print(m, kind, &out, NAME, &diag)) {
        GAL_ASSERT(diag.err == GAL_EINPUT);
        gal_buf_free(&out);
        return;
    }
    if (gal_imatrix_parse(&again, out.data, out.len, NAME, &diag))
        gal__abort("written, but not read again: %s", diag.text);
    GAL_ASSERT(again.chunks == m->chunks && (kind == GAL_IMATRIX_OLDER || again.n == m->n));
    for (size_t i = 0; i < again.n; i++)
        GAL_ASSERT(same(gal_imatrix_find(m, again.entries[i].name), &again.entries[i], kind));
    gal_imatrix_free(&again);
    gal_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_imatrix m = { 0 };
    gal_err err = gal_imatrix_parse(&m, data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        GAL_ASSERT(!m.entries && !m.datasets);
        return 0;
    }
    GAL_ASSERT(m.n > 0);
    for (size_t i = 0; i < m.n; i++) {
        const gal_imatrix_entry *e = &m.entries[i];
        GAL_ASSERT(e->n_counts && e->n_sums % e->n_counts == 0 && e->n_sums <= n / sizeof(float));
        for (size_t j = 0; j < e->n_sums; j++) GAL_ASSERT(isfinite(e->sums[j]) && e->sums[j] >= 0.0f);
    }
    round_trip(&m, GAL_IMATRIX_GGUF);
    round_trip(&m, GAL_IMATRIX_OLDER);
    gal_imatrix_free(&m);
    return 0;
}
