/* yarn.c - what YaRN multiplies cosine and sine with (arXiv:2309.00071, section 3.4), as the files' numbers say it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "formats/config.h"

#include <math.h>

double gal_yarn_magnitude(double factor, double weight) {
    return factor <= 1 ? 1.0 : 0.1 * weight * log(factor) + 1.0;
}

double gal_yarn_scale(const gal_config *c) {
    if (c->rope_attention_factor > 0) return c->rope_attention_factor;
    if (c->rope_mscale > 0 && c->rope_mscale_all_dim > 0)
        return gal_yarn_magnitude(c->rope_factor, c->rope_mscale) /
               gal_yarn_magnitude(c->rope_factor, c->rope_mscale_all_dim);
    return gal_yarn_magnitude(c->rope_factor, 1.0);
}
