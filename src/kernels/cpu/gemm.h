/* gemm.h - private to kernels/cpu: what the levels' matrix products share. gemm.c cuts a launch into tiles of C and
 * finds the tile of a chunk; a level computes one tile (gemm_body.h) or one
 * strip of a product with few rows (gemm_rows.h) or some (gemm_dots.h). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_KERNELS_CPU_GEMM_H
#define GAL_KERNELS_CPU_GEMM_H

#include "kernels/experts.h"

#define GAL__INLINE static inline __attribute__((always_inline))
/* Loops over registers must disappear whatever the optimisation level's own limits; one that goes through memory is
 * ROLLED where it is for the processor to see that its loads go on evenly. */
#if defined(__clang__)
#define GAL__UNROLL _Pragma("clang loop unroll(full)")
#define GAL__UNROLL_4 _Pragma("clang loop unroll_count(4)")
#define GAL__ROLLED _Pragma("clang loop unroll(disable)")
#else
#define GAL__UNROLL _Pragma("GCC unroll 16")
#define GAL__UNROLL_4 _Pragma("GCC unroll 4")
#define GAL__ROLLED _Pragma("GCC unroll 1")
#endif

enum {
    GAL__GEMM_MT = 960,         /* most rows of a tile */
    GAL__GEMM_ROWS = 8,         /* most rows of A that rows() takes at once, ... */
    GAL__GEMM_ROWS_K = 1 << 16, /* ... and most of k: as f32 they must fit the scratch, 2 MiB */
    GAL__GEMM_SOME = 64,        /* most rows of A that dots() takes, ... */
    GAL__GEMM_STRIP = 512       /* ... and most columns */
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
    int few;       /* up to so many rows of A the product is bound by reading B: rows() */
    int some;      /* up to so many it does not pay to pack B: dots(); 0: the level has none */
    gal__tile_fn tile, rows, dots;
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
