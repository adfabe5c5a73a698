/* jinja.c - a template, and after a byte 0 its variables as JSON: it renders within its limits, or says why not; the
 * same each time; and no byte of a variable that came from outside is taken for the template's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja.h"

#include "fuzz.h"

static const uint8_t OUTSIDE = 77;

static gal_err render(gal__pool *pool, gal__jtext *out, const char *source, size_t n, const char *context, size_t m,
                      gal_diag *why) {
    gal__jinja *j = NULL;
    gal__value *tree = NULL;
    const struct tm now = { .tm_year = 125, .tm_mday = 1 };
    gal__pool_init(pool);
    gal_err err = gal__tree_read(&tree, pool, context, m, false, "t", why);
    if (!err) err = gal__jinja_new(&j, pool, source, n, "t", why);
    for (const gal__value *v = !err && tree && tree->type == GAL__OBJECT ? tree->first : NULL; v && !err; v = v->next)
        err = gal__jinja_set_tree(j, v->key.s, v, OUTSIDE);
    if (!err) gal__jinja_now(j, &now);
    if (!err) err = gal__jinja_render(j, out);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char FALLBACK[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a <b> \\u00e9\"}, {\"role\": \"x\", "
        "\"content\": [1, 2.5, null, {\"k\": \"v\"}]}], \"tools\": null, \"a\": \"abc\", \"n\": 3}";
    const char *s = n ? (const char *)data : "";
    const char *cut = n ? memchr(s, 0, n) : NULL;
    const size_t source = cut ? (size_t)(cut - s) : n;
    const char *context = cut ? cut + 1 : FALLBACK;
    const size_t m = cut ? n - source - 1 : sizeof FALLBACK - 1;
    gal__pool one, two;
    gal__jtext a = { 0 }, b = { 0 };
    gal_diag why = { 0 };
    gal_err err = render(&one, &a, s, source, context, m, &why);
    if (err) {
        FUZZ_REFUSED(err, why, "t");
    } else {
        GAL_ASSERT(a.n <= GAL__JINJA_TEXT);
        for (size_t i = 0; i < a.n; i++) {
            const uint8_t from = a.from ? a.from[i] : a.origin;
            GAL_ASSERT(from == GAL__FROM_TEMPLATE || from == GAL__FROM_RUN || from == OUTSIDE);
            /* A byte that the source does not have anywhere cannot be its own, but for escapes and case. */
            if (from == GAL__FROM_TEMPLATE && (uint8_t)a.s[i] >= 0x80)
                GAL_ASSERT(memchr(s, '\\', source) || memchr(s, '|', source) || memchr(s, '.', source) ||
                           memchr(s, a.s[i], source));
        }
        gal_err again = render(&two, &b, s, source, context, m, &why);
        GAL_ASSERT(!again && a.n == b.n && (!a.n || memcmp(a.s, b.s, a.n) == 0));
        gal__pool_free(&two);
    }
    gal__pool_free(&one);
    return 0;
}
