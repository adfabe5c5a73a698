/* law.c - see law.h. SPDX-License-Identifier: Apache-2.0 */
#include "models/law.h"

#include "base/err.h"

#include <math.h>

const gal_law GAL_LAWS[] = {
    /* E, A and B are exp(0.5267228), exp(6.0073404), exp(6.0179186). */
    { "hoffmann", "Chinchilla's approach 3", 1.69337368, 406.401018, 410.722827, 0.33917084, 0.2849083 },
    { "besiroglu", "the replication by Besiroglu et al.", 1.816857, 482.006, 2085.43, 0.347813, 0.365854 },
};
const size_t GAL_N_LAWS = GAL_LEN(GAL_LAWS);

double gal_law_loss(const gal_law *l, double params, double tokens) {
    return l->E + l->A / pow(params, l->alpha) + l->B / pow(tokens, l->beta);
}

gal_optimum gal_law_optimum(const gal_law *l, double flops) {
    const double sum = l->alpha + l->beta, g = pow(l->alpha * l->A / (l->beta * l->B), 1 / sum), product = flops / 6;
    gal_optimum o = { .params = g * pow(product, l->beta / sum), .tokens = pow(product, l->alpha / sum) / g };
    o.loss = gal_law_loss(l, o.params, o.tokens);
    return o;
}
