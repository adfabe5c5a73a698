/* chat_settings.c - what a Tekken file says about the settings that a prompt may carry. SPDX-License-Identifier:
 * Apache-2.0 */
#include "text/chat_internal.h"
#include "text/internal.h"
#include "text/json_pull.h"

static bool is(const char *s, size_t n, const char *word) { return gal__is((gal__string){ s, n }, word); }

/* The place of a string among the efforts; -1 and an error if it is none. */
static int effort(gal__json *j) {
    const char *s;
    size_t n;
    if (!gal__json_string(j, &s, &n)) return -1;
    for (int i = 0; i < GAL__EFFORTS; i++)
        if (is(s, n, gal__effort_names[i])) return i;
    (void)gal__json_fail(j, "reasoning_effort: \"%.40s\" is no effort that is known", s);
    return -1;
}

static void read_effort(gal__json *j, gal__settings *s) {
    const char *key;
    size_t n;
    bool first = true, first_value = true;
    if (!gal__json_enter(j, '{')) return;
    s->efforts_known = true;
    s->effort = -1;
    while (gal__json_member(j, &first, &key, &n)) {
        if (is(key, n, "values")) {
            if (!gal__json_enter(j, '[')) return;
            while (gal__json_element(j, &first_value)) {
                int i = effort(j);
                if (i >= 0) s->efforts = (uint8_t)(s->efforts | 1 << i);
            }
        } else if (is(key, n, "default")) {
            s->effort = effort(j);
        } else {
            gal__json_skip(j);
        }
    }
    if (!j->err && (s->effort < 0 || !(s->efforts >> s->effort & 1)))
        (void)gal__json_fail(j, "reasoning_effort: its default is not among its values");
}

void gal__settings_read(gal__json *j, gal__settings *s) {
    const char *key;
    size_t n;
    bool first = true;
    if (gal__json_null(j) || !gal__json_enter(j, '{')) return;
    s->present = true;
    while (gal__json_member(j, &first, &key, &n)) {
        if (gal__json_null(j)) continue;
        if (is(key, n, "reasoning_effort")) {
            read_effort(j, s);
        } else {
            s->json_schema = s->json_schema || is(key, n, "json_schema");
            gal__json_skip(j);
        }
    }
}
