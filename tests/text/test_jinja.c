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

static void refused(const char *source, const char *why) {
    gal__pool pool;
    gal__jtext out = { 0 };
    gal_diag diag = { 0 };
    static const char CONTEXT[] = "{\"a\": 1, \"s\": \"text\", \"d\": {\"k\": 1}, \"l\": [1, 2]}";
    const double begin = gal_now_s();
    gal_err err = render(&pool, &out, source, strlen(source), CONTEXT, sizeof CONTEXT - 1, &diag);
    if (why ? err != GAL_EINPUT || !strstr(diag.text, why) : err && err != GAL_EINPUT)
        fail_msg("%.200s: %d %s, expected %s", source, err, diag.text, why ? why : "an end");
    gal__pool_free(&pool);
    const double took = gal_now_s() - begin;
    if (took > 1) print_message("%.1f s: %.100s\n", took, source);
    assert_true(took < 60); /* on a quiet machine below 2, under a sanitizer more */
}

static void messages(void **state) {
    (void)state;
    refused("x\n  {{ a.b.c }}", "t:2:10: 'b' is undefined, and has no attributes");
    refused("{{ nope() }}", "t:1:8: 'nope' is undefined, and is called");
    refused("{% include 'x' %}", "t:1:4: expected a tag that is supported");
    refused("{{ s | foo }}", "t:1:8: filter 'foo' is not supported");
    refused("{{ s is foo }}", "test 'foo' is not supported");
    refused("{{ s.encode() }}", "'.encode()' of a str is not supported");
    refused("{{ l.append(3) }}", "'.append()' would change a list, which is refused");
    refused("{{ s.__class__ }}", "t:1:6: expected a name; those that begin with '__' are refused");
    refused("{{ s['__class__'] }}", "'__class__': names that begin with '__' are refused");
    refused("{{ l | map('attr', '__class__') | list }}", "filter 'attr' is not supported");
    refused("{{ l | map(attribute='__class__') | list }}", "names that begin with '__' are refused");
    refused("{{ '%s' % s }}", "'%' after a str is not supported");
    refused("{% for x in l recursive %}{% endfor %}", "recursive loops are not supported");
    refused("{% macro m() %}{{ caller() }}{% endmacro %}", "varargs, kwargs and caller are not supported");
    refused("{{ f(*l) }}", "'*' and '**' before one are not supported");
    refused("{{ range }}", "a function cannot be printed");
    refused("{{ l | map('string') }}", "a generator cannot be printed");
    refused("{{ 9223372036854775807 + 1 }}", "a whole number beyond 64 bits");
    refused("{{ a | tojson(nope=1) }}", "tojson: no argument is named 'nope'");
    refused("{{ s | replace('a') }}", "replace: argument 'new' is missing");
    refused("{{ s | trim('a', 'b') }}", "trim: expected at most 1 argument, found 2");
    refused("{{ l | tojson(indent=100000) }}", "an indent of more than 1000");
    refused("\xff", "not UTF-8");
}

static char *repeated(const char *before, const char *what, int times, const char *after) {
    gal_buf b = { 0 };
    gal_buf_puts(&b, before);
    for (int i = 0; i < times; i++) gal_buf_puts(&b, what);
    gal_buf_puts(&b, after);
    assert_false(b.oom);
    return b.data;
}

static void nested(const char *before, const char *what, const char *after, const char *why) {
    gal_buf b = { .data = repeated(before, what, 20000, after) };
    refused(b.data, why);
    gal_buf_free(&b);
}

static void limits(void **state) {
    (void)state;
    nested("{{ ", "(", "", "in one another");
    nested("{{ ", "[", "", "in one another");
    nested("{{ ", "- ", "1 }}", "in one another");
    nested("{{ ", "not ", "1 }}", "in one another");
    nested("{{ 1", " if 1 else 1", " }}", "in one another");
    nested("{{ 1", "+1", " }}", "in one another");
    nested("{{ s", "|trim", " }}", "in one another");
    nested("{{ s", "[0]", " }}", "in one another");
    nested("", "{% if 1 %}", "", "in one another");
    nested("", "{% for x in l %}", "", "in one another");
    refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "macros call one another");
    refused("{% macro m(x) %}{{ m([m, x]) }}{% endmacro %}{{ m(1) }}", "macros call one another");
    refused("{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
            "lists and dicts in one another");
    refused("{{ 'a' * 1000000000 }}", "a text of more than 16 MiB");
    refused("{{ ['a'] * 1000000000 }}", "MiB");
    refused("{{ range(1000000000000) }}", "range: more than 100000");
    refused("{{ 2 ** 100 }}", "beyond 64 bits");
    refused("{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "16 MiB");
    refused("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "MiB");
    refused("{% for i in range(100000) %}{{ 'a' * 10000 }}{% endfor %}", "MiB");
    refused("{% for i in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}", "takes too long");
    refused("{% for i in range(100000) %}{% for k in range(11) %}{{ k }}{% endfor %}{% endfor %}", "takes too long");
}

/* What costs most within the limits: searching, comparing, counting, all the time. */
static bool full; /* all hostile templates, not a share of them: a minute under the sanitizers */

static void slow(void **state) {
    (void)state;
    static const char LONG[] = "{% set x = 'a' * 10000000 %}";
    static const char *const TURNS[] = {
        "{% set y = 'a' * 8000000 ~ 'b' %}{{ y in x }}",
        "{% set y = 'a' * 4000 ~ 'b' %}{% for i in range(90000) %}{% if y in x %}{% endif %}{% endfor %}",
        "{{ x.replace('a', 'bb') }}",
        "{% for i in range(90000) %}{% set y = x.replace('aab', 'bb') %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.upper() %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x[8345678] %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x[::-1] %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.split('a') %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | length %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.strip('bcdefghijklmnopa') %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.strip('bcdefghijklmnopa' * 100000) %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x ~ i %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.rfind('ba') %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x == x ~ '' %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | tojson %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = {x: i} %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.splitlines() %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.count('aaab') %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | indent %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | title %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | int %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x is lower %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.isdigit() %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x[5:] %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x | wordcount %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = x.startswith(x) %}{% endfor %}",
        "{% for i in range(90000) %}{% set y = range(100000) | list %}{% endfor %}",
        "{% set z = range(100000) %}{% for i in range(90000) %}{% set y = -1 in z %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z == z[:] %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | sort %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z[::-1] %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | sum %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | max %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | join %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | tojson %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | unique %}{% endfor %}",
        "{% set z = range(100000) | list %}{% for i in range(90000) %}{% set y = z | map('string') | list %}{% "
        "endfor %}",
        "{% set z = ['a' * 1000] * 100000 %}{% for i in range(90000) %}{% set y = 'a' * 999 ~ 'b' in z %}{% endfor "
        "%}",
        "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(500) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = "
        "[ns.b, "
        "ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(500) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | "
        "tojson }}",
        "{% set ns = namespace(a={}) %}{% for i in range(500) %}{% set ns.a = {'k': ns.a, 'l': ns.a} %}{% endfor "
        "%}{{ ns.a }}",
    };
    for (size_t i = 0; i < GAL_LEN(TURNS); i += full ? 1 : 7) {
        gal_buf b = { 0 };
        gal_buf_printf(&b, "%s%s", LONG, TURNS[i]);
        refused(b.data, NULL);
        gal_buf_free(&b);
    }
}

static void origins(void **state) {
    (void)state;
    gal__pool pool;
    gal__jtext out = { 0 };
    gal_diag diag = { 0 };
    static const char SOURCE[] = "A{{ s }}{{ 12 }}{{ [s] | tojson }}{{ (s ~ 'B') | upper }}";
    static const char CONTEXT[] = "{\"s\": \"x\xc3\xa9\"}";
    assert_int_equal(render(&pool, &out, SOURCE, sizeof SOURCE - 1, CONTEXT, sizeof CONTEXT - 1, &diag), GAL_OK);
    static const char WANT[] = "Ax\xc3\xa9"
                               "12[\"x\xc3\xa9\"]X\xc3\x89"
                               "B",
                      FROM[] = "02221111222112220";
    assert_int_equal(out.n, sizeof WANT - 1);
    assert_memory_equal(out.s, WANT, out.n);
    for (size_t i = 0; i < out.n; i++) assert_int_equal(out.from[i], FROM[i] - '0');
    gal__pool_free(&pool);
}

int main(int argc, char **argv) {
    full = argc > 1 && strcmp(argv[1], "--full") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden), cmocka_unit_test(messages), cmocka_unit_test(limits),
        cmocka_unit_test(slow),   cmocka_unit_test(origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
