/* nfkc.h - normalisers of SentencePiece by name, and the table of rules that a model file carries for them.
 *
 * A rule is a few code points and what they become. At each place of a text the longest rule counts; a character
 * without one stays. So NFKC is told by rules for single code points and for the sequences that compose to one, as
 * SentencePiece builds them (builder.cc): of what combining marks in another order are, it does not know.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_NFKC_H
#define GAL_TEXT_NFKC_H

#include "base/buf.h"

/* The order of the names in settings and options. */
typedef enum gal_normalizer {
    GAL_NORMALIZER_IDENTITY,
    GAL_NORMALIZER_NFKC,
    GAL_NORMALIZER_NMT_NFKC /* the same, and controls vanish or become spaces, as do line ends */
} gal_normalizer;
#define GAL_NORMALIZER_NAMES "identity nfkc nmt_nfkc"
extern const char *const GAL_NORMALIZERS[]; /* the same, ended by NULL */

/* Appends the table of rules as the format has it (precompiled_charsmap); nothing for the identity. */
gal_err gal_normalizer_table(gal_buf *out, gal_normalizer n, gal_diag *diag);

/* nfkc_table.c   Records, the last of which is 0: a code point with the number of code points of its NFKC from bit 21
 * (0: itself) and of its NFKD from bit 26 (0: as its NFKC), then these. Syllables of Hangul are not listed. */
extern const uint32_t gal__nfkc_table[];

/* A set of rules while it is made. {0} is an empty one. */
typedef struct gal__rule {
    size_t at;      /* of its code points, and of what they become, in gal__rules.points */
    uint32_t n, to; /* how many; to may be 0: they vanish */
    bool dropped;   /* others say the same */
} gal__rule;
typedef struct gal__rules {
    uint32_t *points;
    size_t n_points, points_cap;
    gal__rule *rules;
    size_t len, cap;
    uint32_t *slots; /* by the code points: index + 1, 0 free; at most half full */
    size_t mask;
} gal__rules;
enum { GAL__RULE_POINTS = 32, GAL__KEY_POINTS = 7 }; /* no rule has more, and none more on its left */

/* nfkc.c   The rule of these n code points; NULL: none. */
const gal__rule *gal__rule_find(const gal__rules *r, const uint32_t *points, size_t n);
void gal__rules_free(gal__rules *r);
/* charsmap_make.c   Appends the table of rules that are not dropped. */
gal_err gal__rules_print(gal_buf *out, const gal__rules *r, gal_diag *diag);

#endif
