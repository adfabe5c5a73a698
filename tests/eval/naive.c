/* naive.c - see naive.h. SPDX-License-Identifier: Apache-2.0 */
#include "naive.h"

#include "../infer/tiny.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

void naive_row(gal_dev *dev, const gal_model *m, const int32_t *ids, int64_t from, int64_t at, int32_t bos,
               bool replaced, float *row) {
    int32_t input[512];
    int64_t n = 0, V = m->config.V;
    if (bos >= 0) input[n++] = bos;
    if (bos >= 0 && replaced) from++;
    for (; from < at; from++) input[n++] = ids[from];
    assert_true(n > 0 && n <= 512);
    float *all = gal_alloc_array((size_t)(n * V), sizeof *all);
    assert_non_null(all);
    tiny_reference(dev, m, input, n, all);
    memcpy(row, all + (n - 1) * V, (size_t)V * sizeof *row);
    gal_free(all);
}

/* Written from the description, not from window.c: a token belongs to the first window that reaches it. */
int64_t naive_from(const gal_walk_options *o, int64_t at, int64_t n) {
    int64_t N = o->windows.context, S = o->windows.stride;
    if (o->windows.convention == GAL_AS_LLAMA_CPP) {
        int64_t begin = at / N * N;
        return begin + N <= n && at - begin > N / 2 ? begin : -1;
    }
    int64_t lead = o->windows.bos ? 0 : 1; /* tokens that nothing predicts */
    if (at < lead) return -1;
    int64_t end = lead + N;
    while (end <= at) end += S;
    if (end > n) end = n;
    int64_t from = end - N - lead;
    return from > 0 ? from : 0;
}

double naive_loss(const float *row, int64_t V, int32_t id) {
    long double sum = 0;
    for (int64_t i = 0; i < V; i++) sum += expl((long double)row[i]);
    return (double)(logl(sum) - (long double)row[id]);
}
