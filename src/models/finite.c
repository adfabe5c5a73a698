/* finite.c - weights that are no numbers: NaN and infinities, which a damaged file or a training gone wrong leaves.
 * Says so and refuses nothing: a weight that is never read does no harm. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/model.h"
#include "tensor/blocks.h"

#include <inttypes.h>
#include <math.h>

enum { MOST_NAMED = 16, SCAN_PART = 1024 };

typedef struct found {
    int64_t nan, infinite, first; /* first: index of the first of either */
} found;

/* The bits of the exponent are all ones in NaN and infinities and nowhere else; NaN has a fraction, too. A look at
 * whole parts, a count that compilers make vectors of, is all that a sound weight costs. */
#define LOOK(name, type)                                                                                             \
    static bool name(const type *x, type exponent) {                                                                 \
        type bad = 0;                                                                                                \
        for (int i = 0; i < SCAN_PART; i++) bad |= (type)((x[i] & exponent) == exponent);                            \
        return bad != 0;                                                                                             \
    }
LOOK(part_is_bad16, uint16_t)
LOOK(part_is_bad32, uint32_t)

#define SCAN(type, part_is_bad, exponent, fraction)                                                                  \
    do {                                                                                                             \
        const type *x = w->data;                                                                                     \
        for (int64_t at = 0; at < n; at += SCAN_PART) {                                                              \
            const int64_t end = GAL_MIN(at + SCAN_PART, n);                                                          \
            if (end - at == SCAN_PART && !part_is_bad(x + at, exponent)) continue;                                   \
            for (int64_t i = at; i < end; i++) {                                                                     \
                if ((x[i] & (exponent)) != (exponent)) continue;                                                     \
                if (f.nan + f.infinite == 0) f.first = i;                                                            \
                *((x[i] & (fraction)) ? &f.nan : &f.infinite) += 1;                                                  \
            }                                                                                                        \
        }                                                                                                            \
    } while (0)

static void scan_row(found *f, const float *x, int64_t n, int64_t from) {
    if (gal_all_finite(x, n)) return;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) continue;
        if (f->nan + f->infinite == 0) f->first = from + i;
        *(isnan(x[i]) ? &f->nan : &f->infinite) += 1;
    }
}

/* In blocks it is the scales that can be no numbers. */
static found scan_blocks(const gal_w *w) {
    found f = { 0, 0, -1 };
    float part[SCAN_PART];
    const int64_t cols = w->dim[w->ndim - 1], rows = gal_wcount(w) / cols;
    for (int64_t r = 0; r < rows; r++) {
        if (gal_code_row_finite(&w->code, w->data, cols, r)) continue;
        for (int64_t c = 0; c < cols; c += SCAN_PART) {
            int64_t n = GAL_MIN(cols - c, SCAN_PART);
            gal_code_read(&w->code, w->data, cols, r, c, n, part);
            scan_row(&f, part, n, r * cols + c);
        }
    }
    return f;
}

static found scan(const gal_w *w) {
    if (w->dtype == GAL_BLOCKS) return scan_blocks(w);
    found f = { 0, 0, -1 };
    int64_t n = gal_wcount(w);
    if (w->dtype == GAL_F32) SCAN(uint32_t, part_is_bad32, 0x7f800000u, 0x7fffffu);
    if (w->dtype == GAL_BF16) SCAN(uint16_t, part_is_bad16, 0x7f80u, 0x7fu);
    if (w->dtype == GAL_F16) SCAN(uint16_t, part_is_bad16, 0x7c00u, 0x3ffu);
    return f;
}

static void print(const gal_w *w, const found *f, gal_buf *out) {
    gal_buf_printf(out, "%s: tensor \"%s\": expected finite numbers, found ", w->file ? w->file : "model", w->name);
    if (f->nan) gal_buf_printf(out, "%" PRId64 " NaN%s", f->nan, f->infinite ? " and " : "");
    if (f->infinite) gal_buf_printf(out, "%" PRId64 " infinite", f->infinite);
    gal_buf_printf(out, " among %" PRId64 ", the first at index %" PRId64, gal_wcount(w), f->first);
}

/* Whether every text meets what was found. Not so where a row is read for its own token alone or a matrix for those
 * that an expert gets; and an infinity in what gives scores, the router and the head, may make one so small that it
 * is never chosen. From anywhere else it spreads to all that follows. */
static bool met_by_all(const gal_model *m, const gal_w *w, const found *f) {
    const gal_config *c = &m->config;
    const bool embed = w->role == GAL_W_EMBED, linear = w->role == GAL_W_LINEAR;
    if (w->of_expert || (embed && !c->tied)) return false;
    return f->nan || !(embed || (linear && (w->dim[0] == c->V || (c->experts && w->dim[0] == c->experts))));
}

gal_err gal_model_check_finite(gal_model *m, gal_diag *diag) {
    if (m->finite_checked) return GAL_OK;
    if (!m->warnings) m->warnings = gal_alloc_array(MOST_NAMED + 1, sizeof *m->warnings);
    if (!m->warnings) return gal_fail(diag, GAL_ENOMEM, "no memory for warnings");
    size_t more = 0;
    for (size_t i = 0; i <= m->n_weights; i++) {
        gal_buf text = { 0 };
        if (i < m->n_weights) {
            found f = scan(&m->weights[i]);
            if (f.nan + f.infinite == 0) continue;
            if (!m->spoilt && met_by_all(m, &m->weights[i], &f)) m->spoilt = &m->weights[i];
            more += m->n_warnings == MOST_NAMED;
            if (m->n_warnings == MOST_NAMED) continue;
            print(&m->weights[i], &f, &text);
        } else if (more) {
            gal_buf_printf(&text, "%zu more tensors hold numbers that are not finite", more);
        } else {
            break;
        }
        if (text.oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a warning");
        m->warnings[m->n_warnings++] = text.data;
    }
    m->finite_checked = true;
    return GAL_OK;
}

bool gal_all_finite(const float *x, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++) bad += !isfinite(x[i]);
    return bad == 0;
}
