/* thin.c - see thin.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/thin.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

void gal_thin_init(gal_thin *t, size_t columns, size_t most) {
    GAL_ASSERT(most >= GAL_THIN_LEAST && most <= GAL_THIN_MOST);
    *t = (gal_thin){ .columns = columns, .most = most & ~(size_t)1, .width = 1 };
}

void gal_thin_free(gal_thin *t) {
    gal_free(t->spans);
    gal_free(t->values);
    *t = (gal_thin){ 0 };
}

static void join(gal_thin_value *to, const gal_thin_value *v) {
    if (!v->rows) return;
    to->low = to->rows ? fmin(to->low, v->low) : v->low;
    to->high = to->rows ? fmax(to->high, v->high) : v->high;
    to->sum += v->sum;
    to->rows += v->rows;
}

static void halve(gal_thin *t) {
    for (size_t i = 0; i < t->n / 2; i++) {
        const gal_thin_span a = t->spans[2 * i], b = t->spans[2 * i + 1];
        t->spans[i] = (gal_thin_span){ a.first, b.last, a.rows + b.rows };
        for (size_t c = 0; c < t->columns; c++) {
            gal_thin_value v = t->values[2 * i * t->columns + c];
            join(&v, &t->values[(2 * i + 1) * t->columns + c]);
            t->values[i * t->columns + c] = v;
        }
    }
    t->n /= 2;
    t->width *= 2;
}

static bool grow(gal_thin *t) {
    void *spans = t->spans, *values = t->values;
    bool ok = !gal_grow(&spans, &t->cap_spans, t->n + 1, sizeof *t->spans);
    t->spans = spans;
    ok = ok && !gal_grow(&values, &t->cap_values, (t->n + 1) * t->columns, sizeof *t->values);
    t->values = values;
    return ok;
}

bool gal_thin_add(gal_thin *t, int64_t step, const double *values) {
    bool full = t->n && t->spans[t->n - 1].rows == t->width;
    if (full && t->n == t->most) halve(t);
    if (!t->n || t->spans[t->n - 1].rows == t->width) {
        if (!grow(t)) return false;
        t->spans[t->n] = (gal_thin_span){ .first = step };
        for (size_t c = 0; c < t->columns; c++) t->values[t->n * t->columns + c] = (gal_thin_value){ 0 };
        t->n++;
    }
    gal_thin_span *span = &t->spans[t->n - 1];
    span->last = step;
    span->rows++;
    t->rows++;
    for (size_t c = 0; c < t->columns; c++)
        if (isfinite(values[c]))
            join(&t->values[(t->n - 1) * t->columns + c], &(gal_thin_value){ values[c], values[c], values[c], 1 });
    return true;
}
