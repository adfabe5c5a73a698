/* quantise_avx2.c - the quantisers for AVX2; no fused multiply-add (tensor/CMakeLists.txt gives no such flag), so
 * that the bytes stay the same. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quantise_levels.h"

const gal__quantisers gal__quantisers_avx2 = QUANTISERS;
