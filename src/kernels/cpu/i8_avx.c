/* i8_avx.c - products of small integers of the level avx. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_sse.h"

void gal__avx_i8_fill(gal_kernel_table *t) { i8_fill(t); }
