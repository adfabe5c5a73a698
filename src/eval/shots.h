/* shots.h - which records stand with their answers before a question, as lm-evaluation-harness 0.4.13 chooses them:
 * the first ones, or Python's random.Random(seed).sample(), drawn for one question after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_SHOTS_H
#define GAL_EVAL_SHOTS_H

#include "base/err.h"

/* Python's generator: MT19937, seeded as its random.seed() does with a whole number. */
typedef struct gal_python_random {
    uint32_t state[624];
    int at;
} gal_python_random;
void gal_python_seed(gal_python_random *r, uint32_t seed);
uint64_t gal_python_below(gal_python_random *r, uint64_t n); /* randrange(n), 0 < n <= 2^32 */
/* sample(range(n), count) into out, count <= n. */
gal_err gal_python_sample(gal_python_random *r, size_t n, size_t count, uint32_t *out, gal_diag *diag);

/* What a question may take: `count` of n records. same(user, i): record i is the question itself; NULL: none is. */
typedef struct gal_shots_how {
    size_t n, count;
    bool random;
    bool (*same)(void *user, size_t i);
    void *user;
} gal_shots_how;
/* Into out[count + 1], which has room for one more than are wanted. r moves on where they are random. GAL_EINPUT: too
 * few records; what stands in messages. */
gal_err gal_shots_choose(const gal_shots_how *how, gal_python_random *r, uint32_t *out, const char *what,
                         gal_diag *diag);

#endif
