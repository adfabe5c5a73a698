/* main_bench.c - bench_kernels [LEVEL]: times the large cases of the kernels' table on one thread, or with the level
 * "cuda" on a GPU. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda_level.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const kt_family *families[] = {
        &KT_GEMM, &KT_CODED, &KT_ROWS, &KT_ATTEND, &KT_ACT, &KT_MOE, &KT_LOSS, &KT_OPTIM
    };
    int found = 0;
    if (argc > 1 && !strcmp(argv[1], "cuda")) {
        if (!cl_open()) return 2;
        for (size_t f = 0; f < GAL_LEN(families); f++) cl_bench(families[f]);
        return 0;
    }
    for (int i = 0; i < kt_levels(); i++) {
        if (argc > 1 && strcmp(argv[1], kt_level(i)->name) != 0) continue;
        found++;
        for (size_t f = 0; f < GAL_LEN(families); f++) kt_bench(families[f], i);
    }
    if (found) return 0;
    fprintf(stderr, "bench_kernels: this processor has no level '%s'\n", argv[1]);
    return 2;
}
