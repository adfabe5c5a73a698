/* names.c - see names.h. Owns no state. SPDX-License-Identifier: Apache-2.0 */
#include "convert/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Up to seven digits and the dot behind them; *s moves past both. */
static bool number(int64_t *out, const char **s) {
    int64_t n = 0;
    int digits = 0;
    for (; **s >= '0' && **s <= '9' && digits < 7; (*s)++, digits++) n = 10 * n + (**s - '0');
    if (digits == 0 || **s != '.') return false;
    (*s)++;
    *out = n;
    return true;
}

gal_name gal_name_of(const char *name) {
    gal_name n = { -1, -1, "", name };
    const char *s = name + 4;
    if (strncmp(name, "blk.", 4) != 0 || !number(&n.layer, &s)) return n;
    n.rest = s;
    const size_t kind = strcspn(s, ".");
    if (s[kind] != '.' || kind >= sizeof n.kind) return n;
    memcpy(n.kind, s, kind);
    s += kind + 1;
    int64_t expert = -1;
    if (number(&expert, &s) && strcmp(s, "weight") == 0) n.expert = expert;
    return n;
}

bool gal_name_is_expert(const gal_name *n) { return n->layer >= 0 && n->expert >= 0 && n->kind[0]; }

bool gal_name_of_experts(const gal_name *n) {
    static const char ALL[] = "_exps";
    const size_t len = strlen(n->kind), end = strlen(ALL);
    return gal_name_is_expert(n) || (len > end && strcmp(n->kind + len - end, ALL) == 0);
}

void gal_name_stacked(char out[GAL_GGUF_NAME + 1], const gal_name *n) {
    (void)snprintf(out, GAL_GGUF_NAME + 1, "blk.%" PRId64 ".%s_exps.weight", n->layer, n->kind);
}
