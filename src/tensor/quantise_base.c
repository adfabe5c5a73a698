/* quantise_base.c - the quantisers for every processor. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quantise_levels.h"

const gal__quantisers gal__quantisers_base = QUANTISERS;
