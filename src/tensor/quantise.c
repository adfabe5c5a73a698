/* quantise.c - numbers into blocks: which quantiser, and what importances count. SPDX-License-Identifier: Apache-2.0
 */
#include "tensor/quantise.h"

#include <float.h>
#include <math.h>
#include <string.h>

const gal__quantisers *gal__quantisers_at(int level) {
#ifdef GAL_TENSOR_AVX2
    if (level == 1 && __builtin_cpu_supports("avx2")) return &gal__quantisers_avx2;
#endif
    return level == 0 ? &gal__quantisers_base : NULL;
}

static gal__weights weights_of(const float *importance, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (importance[i] > 0 && importance[i] <= FLT_MAX) sum += (double)importance[i];
    return (gal__weights){ importance, sum > 0 ? (float)((double)n / sum) : 0 };
}

void gal_block_quantise(uint32_t type, const float *x, void *blocks, int64_t n) {
    gal_block_quantise_weighted(type, x, NULL, blocks, 1, n);
}

void gal_block_quantise_weighted(uint32_t type, const float *x, const float *importance, void *blocks, int64_t rows,
                                 int64_t cols) {
    const gal_block_info *f = gal_block_info_of(type);
    GAL_ASSERT(f && f->writes && cols % f->elements == 0);
    if (type == GAL_BLOCK_F32) {
        memcpy(blocks, x, (size_t)rows * (size_t)cols * sizeof *x);
        return;
    }
    const gal__quantisers *fast = gal__quantisers_at(1), *q = fast ? fast : gal__quantisers_at(0);
    gal__write *write = q->write[type];
    gal__search *search = q->search[type];
    uint8_t *block = blocks;
    int64_t count = cols / f->elements;
    gal__weights weights = { 0 };
    if (importance && search) weights = weights_of(importance, cols);
    for (int64_t r = 0; r < rows; r++, x += cols, block += count * f->bytes) {
        if (search && (importance || !write))
            search(x, importance ? &weights : NULL, block, count);
        else
            write(x, block, count);
    }
}
