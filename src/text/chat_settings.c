/* chat_settings.c - what a Tekken file says about the settings that a prompt may carry, and about images.
 * SPDX-License-Identifier: Apache-2.0 */
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

void gal__images_read(gal__json *j, gal__images *i) {
    const char *key;
    size_t n;
    bool first = true;
    int64_t patch = 0, side = 0, merge = 1;
    if (gal__json_null(j) || !gal__json_enter(j, '{')) return;
    while (gal__json_member(j, &first, &key, &n)) {
        int64_t *to = is(key, n, "image_patch_size")     ? &patch
                      : is(key, n, "max_image_size")     ? &side
                      : is(key, n, "spatial_merge_size") ? &merge
                                                         : NULL;
        if (to)
            (void)gal__json_whole(j, to);
        else
            gal__json_skip(j);
    }
    if (j->err) return;
    if (patch < 1 || merge < 1 || side < 1 || patch > 65536 || merge > 65536 || patch * merge > INT32_MAX ||
        side > GAL__IMAGE_ROW * patch * merge || side > INT32_MAX) {
        (void)gal__json_fail(j, "image: image_patch_size %lld, spatial_merge_size %lld and max_image_size %lld",
                             (long long)patch, (long long)merge, (long long)side);
        return;
    }
    *i = (gal__images){ (int)(patch * merge), (int)side };
}
