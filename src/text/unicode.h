/* unicode.h - the general category of a code point, by Unicode 16.0: the version that the reference tokenizers cut
 * words by (regex-syntax in tiktoken 0.9 and later). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_UNICODE_H
#define GAL_TEXT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* The order of NAMES in tools/make_unicode.py. */
typedef enum gal_category {
    GAL_CN,
    GAL_LU,
    GAL_LL,
    GAL_LT,
    GAL_LM,
    GAL_LO,
    GAL_MN,
    GAL_MC,
    GAL_ME,
    GAL_ND,
    GAL_NL,
    GAL_NO,
    GAL_PC,
    GAL_PD,
    GAL_PS,
    GAL_PE,
    GAL_PI,
    GAL_PF,
    GAL_PO,
    GAL_SM,
    GAL_SC,
    GAL_SK,
    GAL_SO,
    GAL_ZS,
    GAL_ZL,
    GAL_ZP,
    GAL_CC,
    GAL_CF,
    GAL_CS,
    GAL_CO,
    GAL_CATEGORIES
} gal_category;

enum { GAL__CATEGORY_SHIFT = 7 };
extern const uint16_t gal__category_block[0x110000 >> GAL__CATEGORY_SHIFT];
extern const uint8_t gal__category_table[][1 << GAL__CATEGORY_SHIFT];

/* cp < 0x110000. */
static inline gal_category gal_category_of(uint32_t cp) {
    return (gal_category)
        gal__category_table[gal__category_block[cp >> GAL__CATEGORY_SHIFT]][cp & ((1u << GAL__CATEGORY_SHIFT) - 1)];
}

/* The property White_Space. */
static inline bool gal_is_white(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    gal_category c = gal_category_of(cp);
    return cp == 0x85 || c == GAL_ZS || c == GAL_ZL || c == GAL_ZP;
}

#endif
