/* gemm.h - private to kernels/cpu: what the levels' matrix products share. gemm.c cuts a launch into tiles of C and
 * finds the tile of a chunk; a level computes one tile (gemm_body.h), or one strip of a product with few rows of A
 * (gemm_rows.h) or some (gemm_dots.h). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_H
#define GAL_KERNELS_CPU_GEMM_H

#include "kernels/cpu/unroll.h"
#include "kernels/experts.h"

enum {
    GAL__GEMM_MT = 960,        /* most rows of a tile */
    GAL__GEMM_FEW = 8,         /* most rows of A that run_few() takes at once, ... */
    GAL__GEMM_FEW_K = 1 << 16, /* ... and most of k: as f32 they must fit the scratch, 2 MiB */
    GAL__GEMM_AHEAD = 8192,    /* bytes of B that it fetches ahead */
    GAL__GEMM_SOME = 64,       /* most rows of A that run_some() takes: from about 96 on packing B is faster; ... */
    GAL__GEMM_STRIP = 512      /* ... and most columns */
};

/* Rows [i0, i1) and columns [j0, j1) of C. */
typedef struct gal__tile {
    int64_t i0, i1, j0, j1;
} gal__tile;

typedef void (*gal__tile_fn)(const gal_gemm *g, const gal__tile *t, void *scratch);

typedef struct gal__gemm_level {
    int nr;        /* columns of the block of C held in registers */
    int nt;        /* most columns of a tile */
    int f32, bf16; /* 64ths of a cycle that a multiply-add takes */
    /* Up to `few` rows of A the product is bound by reading B: run_few(); 3 where run_some() takes four at a time. Up
     * to `some` it does not pay to pack B: run_some(); 0: it always does, because numbers of 16 bits take long to
     * widen, which packing does once for all rows (avx, sse42), or nobody has measured it (neon). */
    int few, some;
    gal__tile_fn run_tile, run_few, run_some;
} gal__gemm_level;

/* Which piece of n chunk i is, where reading weights is what takes long. Threads that take turns each go through a
 * part of them as it lies in memory, so that what is fetched ahead of a chunk's end is what its thread needs next. */
GAL__INLINE int64_t gal__side_by_side(int64_t i, int64_t n, int threads) {
    if (threads <= 1) return i;
    const int64_t t = i % threads;
    return t * (n / threads) + GAL_MIN(t, n % threads) + i / threads;
}

int64_t gal__gemm_chunks(const gal_k_gemm *args, const gal__gemm_level *level);
void gal__gemm_run(const gal_k_gemm *args, int64_t chunk, void *scratch, const gal__gemm_level *level);

/* The bf16 level takes f32 products from avx512. */
extern const gal__gemm_level gal__gemm_avx512;

#endif
