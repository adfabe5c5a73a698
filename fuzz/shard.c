/* shard.c - a token shard: as it is, and once more with its hashes made right, so that the engine gets past them to
 * what the numbers say. What opens can be walked. SPDX-License-Identifier: Apache-2.0 */
#include "data/shard.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.shard";

static void try_bytes(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_shard s;
    gal_err err = gal_shard_open_bytes(&s, data, n, NAME, NULL, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return;
    }
    err = gal_shard_check(&s, 0, s.n_tokens, &diag);
    GAL_ASSERT(!err); /* a small one was looked at as a whole */
    int64_t last = 0;
    for (int64_t i = 0; i < s.n_docs; i++) {
        int64_t at = gal_shard_doc(&s, i), end = gal_shard_doc(&s, i + 1);
        GAL_ASSERT(!s.row || end == at || (end - 1) / s.row == at / s.row);
        GAL_ASSERT(at == last && end >= at && end <= s.n_tokens);
        if (end > at) GAL_ASSERT(gal_shard_doc_of(&s, at) == i && gal_shard_doc_of(&s, end - 1) == i);
        last = end;
    }
    for (int64_t i = 0; i < s.n_tokens; i++) {
        int32_t id = gal_shard_token(&s, i);
        GAL_ASSERT(id >= 0 && id <= s.largest_id && id < s.vocab);
        (void)gal_shard_learned(&s, i);
    }
    (void)gal_shard_check_all(&s, NULL, NULL, &diag);
    gal_shard_close(&s);
}

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* As much as the sizes in the header allow. */
static void sign(uint8_t *p, size_t n) {
    uint64_t chunk = get(p + GAL__AT_CHUNK, 8), elem = get(p + GAL__AT_ELEM, 4), docs = get(p + GAL__AT_DOCS, 8);
    uint64_t tokens = get(p + GAL__AT_TOKENS, 8);
    if (get(p + GAL__AT_VERSION, 4) == 1)
        gal_sha256_of(p + GAL_SHARD_HEADER, n - GAL_SHARD_HEADER, p + GAL__AT_CONTENTS);
    const uint64_t version = get(p + GAL__AT_VERSION, 4);
    if ((version == 2 || version == 3) && tokens <= n && docs <= n && elem <= 4 && chunk) {
        uint64_t marks = version == 3 ? (tokens + 63) / 64 * 8 : 0;
        uint64_t data = (tokens * elem + 7) / 8 * 8 + marks + (docs + 1) * 8, sums = (data - 1) / chunk + 1;
        if (data <= n - GAL_SHARD_HEADER && sums <= (n - GAL_SHARD_HEADER - data) / 8) {
            uint8_t *first = p + GAL_SHARD_HEADER, *to = first + data;
            for (uint64_t i = 0; i < sums; i++) {
                uint64_t sum = gal__shard_sum(first + i * chunk, (size_t)GAL_MIN(chunk, data - i * chunk));
                for (int k = 0; k < 8; k++) to[8 * i + (uint64_t)k] = (uint8_t)(sum >> (8 * k));
            }
            gal_sha256_of(to, (size_t)sums * 8, p + GAL__AT_SUMS);
        }
    }
    gal_sha256_of(p, GAL__AT_SELF, p + GAL__AT_SELF);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint8_t *copy = gal_alloc(n); /* aligned, and with an end of its own */
    GAL_ASSERT(copy);
    if (n) memcpy(copy, data, n);
    try_bytes(copy, n);
    if (n >= GAL_SHARD_HEADER) {
        sign(copy, n);
        try_bytes(copy, n);
    }
    gal_free(copy);
    return 0;
}
