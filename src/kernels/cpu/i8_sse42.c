/* i8_sse42.c - products of small integers of the level sse42. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/i8_sse.h"

void gal__sse42_i8_fill(gal_kernel_table *t) { i8_fill(t); }
