/* rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). A number is a function of (seed, stream, index) alone: the same after resume, on any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_RNG_H
#define GAL_BASE_RNG_H

#include <stdint.h>

void gal_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index);
double gal_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index); /* in [0, 1), 53 bits */
double gal_rng_normal(uint64_t seed, uint64_t stream, uint64_t index);  /* mean 0, variance 1 (Box-Muller) */
/* In [0, n), n > 0, without bias beyond 2^-64. */
uint64_t gal_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);

#endif
