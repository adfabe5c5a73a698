/* reader.c - text, lines of JSON and archives, read as documents: three times, once as told by content and once each
 * with a separator and as lines of JSON that may be damaged. SPDX-License-Identifier: Apache-2.0 */
#include "data/reader.h"
#include "base/hash.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.text";

/* What a bomb unpacks to is not read to its end. */
enum { ENOUGH = 1 << 24 };

static void try_options(const uint8_t *data, size_t n, const gal_reader_options *o) {
    gal_diag diag = { 0 };
    gal_reader *r = NULL;
    gal_piece p;
    bool more = true, inside = false;
    uint64_t bytes = 0, documents = 0;
    gal_err err = gal_reader_open_bytes(&r, data, n, NAME, o, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return;
    }
    while (!err && bytes < ENOUGH) {
        err = gal_reader_next(r, &p, &more, &diag);
        if (err || !more) break;
        GAL_ASSERT(p.bytes || (p.ends && inside));
        bytes += p.bytes;
        if (p.bytes)
            GAL_ASSERT(gal_hash64(p.text, p.bytes, 0) == gal_hash64(p.text, p.bytes, 0)); /* all can be read */
        documents += !inside;
        inside = !p.ends;
    }
    const gal_reader_state *s = gal_reader_so_far(r);
    if (err) FUZZ_REFUSED(err, diag, NAME);
    GAL_ASSERT(s->text_bytes == bytes && s->documents == documents && s->bad_lines <= s->lines);
    GAL_ASSERT(err || !inside || bytes >= ENOUGH);
    gal_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    try_options(data, n, &(gal_reader_options){ .format = GAL_TEXT_AUTO });
    try_options(data, n, &(gal_reader_options){ .format = GAL_TEXT_PLAIN, .separator = "#@ " });
    try_options(data, n, &(gal_reader_options){ .format = GAL_TEXT_JSONL, .field = "body", .skip_bad = true });
    return 0;
}
