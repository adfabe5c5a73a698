/* rope_spec.c - rotary frequencies of a config: plain (RoFormer, arXiv:2104.09864), linear interpolation, and YaRN
 * (arXiv:2309.00071, section 3: "NTK-by-parts" and the attention factor). All steps are single precision in the order
 * of the reference implementation, so that long positions give its angles. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "models/model.h"

#include <math.h>
#include <string.h>

/* The dimension that turns `turns` times within the original context. */
static double dimension_of(double turns, double size, double theta, double original) {
    const double two_pi = 6.283185307179586;
    return size * log(original / (turns * two_pi)) / (2 * log(theta));
}

/* Slow dimensions are interpolated, fast ones kept, with a ramp between low and high. */
static void yarn(gal_rope_spec *s, const gal_config *c, double original) {
    double size = (double)c->K, low = dimension_of(c->rope_beta_fast, size, c->rope_theta, original),
           high = dimension_of(c->rope_beta_slow, size, c->rope_theta, original);
    if (c->rope_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = GAL_MAX(low, 0.0);
    high = GAL_MIN(high, size - 1);
    if (!(low < high) && !(high < low)) high += 0.001; /* no division by zero */
    for (int64_t j = 0; j < c->K / 2; j++) {
        float ramp = ((float)j - (float)low) / (float)(high - low);
        ramp = GAL_MIN(GAL_MAX(ramp, 0.0f), 1.0f);
        float keep = 1.0f - ramp, plain = s->inv_freq[j];
        float p = powf((float)c->rope_theta, (float)(2 * j) / (float)c->K);
        float inter = 1.0f / ((float)c->rope_factor * p);
        s->inv_freq[j] = inter * (1.0f - keep) + plain * keep;
    }
    s->mscale = (float)gal_yarn_scale(c);
}

gal_err gal_rope_spec_of(gal_rope_spec *out, const gal_config *c, gal_diag *diag) {
    GAL_ASSERT(c->K > 0 && c->K % 2 == 0 && c->rope_theta > 0);
    gal_rope_spec s = {
        .size = c->K, .interleaved = c->layout != GAL_LAYOUT_HF, .mscale = 1.0f, .beta = (float)c->query_beta
    };
    s.inv_freq = gal_alloc_array((size_t)(c->K / 2), sizeof *s.inv_freq);
    if (!s.inv_freq) return gal_fail(diag, GAL_ENOMEM, "no memory for the rotary frequencies");
    int64_t original = c->rope_original ? c->rope_original : c->max_positions;
    s.original = (float)(c->query_original ? c->query_original : original);
    for (int64_t j = 0; j < c->K / 2; j++)
        s.inv_freq[j] = 1.0f / powf((float)c->rope_theta, (float)(2 * j) / (float)c->K);
    if (strcmp(c->rope_type, "linear") == 0)
        for (int64_t j = 0; j < c->K / 2; j++) s.inv_freq[j] /= (float)c->rope_factor;
    else if (strcmp(c->rope_type, "yarn") == 0)
        yarn(&s, c, (double)original);
    for (int64_t j = 0; j < c->K / 2 && c->rope_divisors; j++) s.inv_freq[j] /= c->rope_divisors[j];
    *out = s;
    return GAL_OK;
}

void gal_rope_spec_free(gal_rope_spec *s) {
    gal_free(s->inv_freq);
    *s = (gal_rope_spec){ 0 };
}
