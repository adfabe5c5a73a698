/* test_jinja.c - the template language: what the jinja2 package makes of our templates, what is refused and where,
 * limits, where text comes from. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "support/test.h"
#include "text/jinja.h"

#include <jansson.h>
#include <string.h>

/* One rendering; out stays valid until the pool is freed. */
static gal_err render(gal__pool *pool, gal__jtext *out, const char *source, size_t n, const char *context,
                      size_t context_n, gal_diag *diag) {
    gal__value *tree = NULL;
    gal__jinja *j = NULL;
    gal__pool_init(pool);
    gal_err err = gal__tree_read(&tree, pool, context, context_n, true, "context", diag);
    if (!err) err = gal__jinja_new(&j, pool, source, n, "t", diag);
    for (const gal__value *m = err ? NULL : tree->first; m && !err; m = m->next) {
        const bool special = gal__is(m->key, "bos_token") || gal__is(m->key, "eos_token");
        err = gal__jinja_set_tree(j, m->key.s, m, special ? GAL__FROM_TEMPLATE : GAL__FROM_OUTSIDE);
    }
    const struct tm now = { .tm_year = 125,
                            .tm_mon = 6,
                            .tm_mday = 4,
                            .tm_hour = 15,
                            .tm_min = 5,
                            .tm_sec = 9,
                            .tm_wday = 5,
                            .tm_yday = 184 };
    if (!err) gal__jinja_now(j, &now);
    return err ? err : gal__jinja_render(j, out);
}

static void check(const char *source, size_t n, const char *context, size_t context_n, const char *want,
                  size_t want_n) {
    gal__pool pool;
    gal__jtext out = { 0 };
    gal_diag diag = { 0 };
    gal_err err = render(&pool, &out, source, n, context, context_n, &diag);
    if (!want) {
        if (err != GAL_EINPUT || strncmp(diag.text, "t:", 2) != 0)
            fail_msg("%.*s: taken, gives %.*s", (int)n, source, err ? 0 : (int)out.n, out.s);
    } else if (err) {
        fail_msg("%.*s: %s", (int)n, source, diag.text);
    } else if (out.n != want_n || memcmp(out.s, want, want_n) != 0) {
        fail_msg("%.*s:\n%.*s|\nexpected\n%.*s|", (int)n, source, (int)out.n, out.s, (int)want_n, want);
    }
    gal__pool_free(&pool);
}

static void golden(void **state) {
    (void)state;
    FILE *f = fopen("tests/golden/text/jinja.jsonl", "r");
    assert_non_null(f);
    static char line[1 << 16];
    char *context = NULL;
    size_t lines = 0;
    while (fgets(line, sizeof line, f)) {
        json_error_t why;
        json_t *j = json_loads(line, JSON_ALLOW_NUL, &why);
        if (!j) fail_msg("line %zu: %s", lines, why.text);
        if (!context) {
            context = strdup(json_string_value(json_object_get(j, "context")));
        } else {
            const json_t *t = json_object_get(j, "template"), *out = json_object_get(j, "out");
            check(json_string_value(t), json_string_length(t), context, strlen(context), json_string_value(out),
                  json_string_length(out));
        }
        json_decref(j);
        lines++;
    }
    fclose(f);
    free(context);
    assert_true(lines > 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
