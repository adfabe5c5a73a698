/* law.h - the loss of a model as a law of its parameters and its tokens, and how a law divides a budget between them
 * (Hoffmann et al., arXiv:2203.15556, equations 2 and 4). Nats per token; natural logarithms.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_MODELS_LAW_H
#define GAL_MODELS_LAW_H

#include <stddef.h>

/* L(N, D) = E + A / N^alpha + B / D^beta; all positive. */
typedef struct gal_law {
    const char *name, *source;
    double E, A, B, alpha, beta;
} gal_law;

/* Published ones: "hoffmann" (the unrounded numbers of the paper's source), "besiroglu" (arXiv:2404.10102, its point
 * estimate, which takes back that the first fit stopped early). */
extern const gal_law GAL_LAWS[];
extern const size_t GAL_N_LAWS;

double gal_law_loss(const gal_law *law, double params, double tokens);

/* The smallest loss with flops = 6 N D. */
typedef struct gal_optimum {
    double params, tokens, loss;
} gal_optimum;
gal_optimum gal_law_optimum(const gal_law *law, double flops);

#endif
