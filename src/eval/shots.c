/* shots.c - see shots.h. MT19937: Matsumoto and Nishimura, ACM TOMACS 8 (1998). SPDX-License-Identifier: Apache-2.0
 */
#include "eval/shots.h"

#include "base/mem.h"

#include <string.h>

enum { N = 624, M = 397 };

void gal_python_seed(gal_python_random *r, uint32_t seed) {
    uint32_t *s = r->state;
    s[0] = 19650218u;
    for (uint32_t i = 1; i < N; i++) s[i] = 1812433253u * (s[i - 1] ^ (s[i - 1] >> 30)) + i;
    /* init_by_array() with the one word of the seed */
    uint32_t i = 1;
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + seed;
        if (++i >= N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i >= N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
    r->at = N;
}

static uint32_t word(gal_python_random *r) {
    uint32_t *s = r->state;
    if (r->at == N) {
        for (int i = 0; i < N; i++) {
            const uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
            s[i] = s[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->at = 0;
    }
    uint32_t y = s[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

uint64_t gal_python_below(gal_python_random *r, uint64_t n) {
    int bits = 0;
    GAL_ASSERT(n > 0 && n <= UINT32_MAX);
    while (bits < 32 && n >> bits) bits++;
    for (;;) {
        const uint64_t x = word(r) >> (32 - bits);
        if (x < n) return x;
    }
}

/* CPython draws from a list that it shrinks, or, of many records, again where one was drawn before. */
gal_err gal_python_sample(gal_python_random *r, size_t n, size_t count, uint32_t *out, gal_diag *diag) {
    size_t most = 21;
    GAL_ASSERT(count <= n && n <= UINT32_MAX);
    if (count > 5) {
        size_t power = 1;
        while (power < 3 * count) power *= 4;
        most += power;
    }
    if (n <= most) {
        uint32_t *pool = gal_alloc_array(n + 1, sizeof *pool);
        if (!pool) return gal_fail(diag, GAL_ENOMEM, "no memory for a choice among %zu records", n);
        for (size_t i = 0; i < n; i++) pool[i] = (uint32_t)i;
        for (size_t i = 0; i < count; i++) {
            const uint64_t j = gal_python_below(r, n - i);
            out[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
        gal_free(pool);
        return GAL_OK;
    }
    for (size_t i = 0; i < count;) {
        const uint32_t x = (uint32_t)gal_python_below(r, n);
        size_t before = 0;
        while (before < i && out[before] != x) before++;
        if (before == i) out[i++] = x;
    }
    return GAL_OK;
}

static gal_err too_few(const gal_shots_how *how, const char *what, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "%s: %zu records; %zu shots%s were asked for", what, how->n, how->count,
                    how->same ? " beside the question itself" : "");
}

/* Drops the question, and what is one too many. */
static size_t drop_same(const gal_shots_how *how, uint32_t *out, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!how->same(how->user, out[i])) out[kept++] = out[i];
    return GAL_MIN(kept, how->count);
}

/* Records that are the same as the question more than once leave too few: again from all others. */
static gal_err choose_again(const gal_shots_how *how, gal_python_random *r, uint32_t *out, const char *what,
                            gal_diag *diag) {
    uint32_t *others = gal_alloc_array(how->n + 1, sizeof *others);
    if (!others) return gal_fail(diag, GAL_ENOMEM, "no memory for a choice among %zu records", how->n);
    size_t n = 0;
    for (size_t i = 0; i < how->n; i++)
        if (!how->same(how->user, i)) others[n++] = (uint32_t)i;
    gal_err err = n < how->count ? too_few(how, what, diag) : gal_python_sample(r, n, how->count, out, diag);
    for (size_t i = 0; !err && i < how->count; i++) out[i] = others[out[i]];
    gal_free(others);
    return err;
}

gal_err gal_shots_choose(const gal_shots_how *how, gal_python_random *r, uint32_t *out, const char *what,
                         gal_diag *diag) {
    const size_t more = how->same ? 1 : 0;
    if (how->count + more > how->n) return too_few(how, what, diag);
    if (how->random) {
        gal_err err = gal_python_sample(r, how->n, how->count + more, out, diag);
        if (err || !how->same || drop_same(how, out, how->count + 1) == how->count) return err;
        return choose_again(how, r, out, what, diag);
    }
    size_t n = 0;
    for (size_t i = 0; i < how->n && n < how->count; i++)
        if (!how->same || !how->same(how->user, i)) out[n++] = (uint32_t)i;
    return n < how->count ? too_few(how, what, diag) : GAL_OK;
}
