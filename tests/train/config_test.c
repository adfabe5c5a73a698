/* config_test.c - run configuration: what is refused, where and with which words; what is accepted; the dump reads
 * back. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/file.h"
#include "train/loop.h"

#include <stdio.h>
#include <string.h>

static gal_err parse(gal_train_config *c, const char *text, gal_diag *diag) {
    gal_err err = gal_train_config_defaults(c, diag);
    if (err) return err;
    err = gal_settings_parse(&GAL_TRAIN_SETTINGS, c, text, strlen(text), "run.yaml", NULL, diag);
    if (err) gal_train_config_free(c);
    return err;
}

static const struct {
    const char *text;
    const char *words[4]; /* each must stand in the message */
} BAD[] = {
    { "steps: 10\noptimiser:\n  lr: 1\n", { "run.yaml:2:1", "unknown key optimiser", "expected one of" } },
    { "optimizer:\n  lrr: 1e-3\n", { "run.yaml:2:3", "optimizer.lrr", "did you mean optimizer.lr?" } },
    { "lr: 1e-3\n", { "run.yaml:1:1", "unknown key lr", "did you mean optimizer.lr?" } },
    { "steps: ten\n", { "run.yaml:1:8", "steps", "a whole number from 1", "\"ten\"" } },
    { "steps: 1.5\n", { "run.yaml:1:8", "steps", "whole number" } },
    { "steps: 0\n", { "run.yaml:1:8", "steps", "from 1 to" } },
    { "steps: \"10\"\n", { "run.yaml:1:8", "steps", "whole number" } },
    { "steps: 0x10\n", { "run.yaml:1:8", "steps" } },
    { "steps:\n", { "run.yaml:1:", "steps", "no value" } },
    { "steps: [1, 2]\n", { "run.yaml:1:8", "steps", "a list" } },
    { "steps: 5\nseed: 1\nsteps: 6\n", { "run.yaml:3:8", "steps", "given twice", "line 1" } },
    { "optimizer:\n  lr: -1\n", { "run.yaml:2:7", "optimizer.lr", "from 0 to 100", "-1" } },
    { "ema:\n  decay: 1\n", { "run.yaml:2:10", "ema.decay", "from 0 to 0.999999999, found \"1\"" } },
    { "optimizer:\n  beta2: 1\n", { "run.yaml:2:10", "optimizer.beta2", "from 0 to 0.9999999, found \"1\"" } },
    { "optimizer:\n  lr: nan\n", { "run.yaml:2:7", "optimizer.lr" } },
    { "optimizer:\n  lr: {a: 1}\n", { "run.yaml:2:7", "optimizer.lr", "a section" } },
    { "optimizer: 3\n", { "run.yaml:1:12", "optimizer", "a section of keys" } },
    { "eager: yes\n", { "run.yaml:1:8", "eager", "true or false", "yes" } },
    { "precision: f16\n", { "run.yaml:1:12", "precision", "one of: f32 bf16 bf16_pure bf16_stochastic", "f16" } },
    { "data:\n  text: [a, [b]]\n", { "run.yaml:2:13", "data.text", "a list inside" } },
    { "data:\n  mixture: [\"2:a\", b]\n", { "run.yaml:2:20", "data.mixture", "LABEL:PATH", "\"b\"" } },
    { "data:\n  mixture: \":b\"\n", { "run.yaml:2:12", "LABEL:PATH" } },
    { "data:\n  mixture: \"a:\"\n", { "run.yaml:2:12", "LABEL:PATH" } },
    { "data:\n  packing: loose\n", { "run.yaml:2:12", "one of: masked plain" } },
    { "a: &x 1\n", { "run.yaml:1:", "unknown key a" } },
    { "steps: &x 1\n", { "run.yaml:1:8", "anchors" } },
    { "steps: 1\n---\nsteps: 2\n", { "run.yaml:2:", "second document" } },
    { "- 1\n", { "run.yaml:1:1", "key: value" } },
    { "just words\n", { "run.yaml:1:1", "key: value" } },
    { "steps: [1\n", { "run.yaml:", "steps" } },
    { "steps: 1\n\tseed: 2\n", { "run.yaml:", "no YAML" } },
};

static void refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        gal_train_config c;
        gal_diag diag = { 0 };
        gal_err err = parse(&c, BAD[i].text, &diag);
        if (err != GAL_EINPUT) fail_msg("accepted: %s", BAD[i].text);
        for (size_t k = 0; k < GAL_LEN(BAD[i].words) && BAD[i].words[k]; k++)
            if (!strstr(diag.text, BAD[i].words[k])) fail_msg("no \"%s\" in \"%s\"", BAD[i].words[k], diag.text);
    }
}

static void numbers(void **state) {
    (void)state;
    gal_train_config c;
    CHECK_OK(parse(&c, "steps: 1e6\noptimizer:\n  lr: 3e-4\n  eps: 0.00001\nbatch.rows: 4\ntokenizer: ~\n", diag));
    assert_int_equal(c.steps, 1000000);
    assert_true(c.optimizer.lr == 3e-4);
    assert_true(c.optimizer.eps == 1e-5);
    assert_int_equal(c.batch.rows, 4);
    gal_train_config_free(&c);
}

static void assignments(void **state) {
    (void)state;
    gal_train_config c;
    CHECK_OK(gal_train_config_defaults(&c, diag));
    CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, "sample.prompts=[one, \"two = 2\"]", diag));
    CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, "precision=bf16", diag));
    CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, "data.separator=#@ ", diag));
    assert_int_equal(c.sample.prompts.n, 2);
    assert_string_equal(c.sample.prompts.v[1], "two = 2");
    assert_int_equal(c.precision, GAL_PRECISION_BF16);
    assert_string_equal(c.data.separator, "#@ ");
    static const char *const WRONG[] = {
        "steps", "steps=", "stepz=3", "optimizer=3", "steps=x", "sample.prompts=[a"
    };
    for (size_t i = 0; i < GAL_LEN(WRONG); i++) {
        gal_diag diag = { 0 };
        assert_int_equal(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, WRONG[i], &diag), GAL_EUSAGE);
        assert_non_null(strstr(diag.text, WRONG[i]));
    }
    gal_train_config_free(&c);
}

/* A label stays as it is, its path is meant from the file's folder. */
static void labels(void **state) {
    (void)state;
    static const char TEXT[] = "data:\n  mixture: [\"0.5:web\", \"Books:/abs/b:c\"]\n";
    gal_train_config c;
    CHECK_OK(gal_train_config_defaults(&c, diag));
    CHECK_OK(gal_settings_parse(&GAL_TRAIN_SETTINGS, &c, TEXT, sizeof TEXT - 1, "run.yaml", "/dir", diag));
    assert_int_equal(c.data.mixture.n, 2);
    assert_string_equal(c.data.mixture.v[0], "0.5:/dir/web");
    assert_string_equal(c.data.mixture.v[1], "Books:/abs/b:c");
    gal_train_config_free(&c);
}

static void dump_reads_back(void **state) {
    (void)state;
    gal_train_config c, d;
    gal_buf first = { 0 }, second = { 0 };
    CHECK_OK(parse(&c,
                   "seed: 9007199254740991\noptimizer:\n  lr: 0.1\n  eps: 1.2345678901234567e-7\n"
                   "data:\n  separator: \"a\\\"\\\\\\n\\u00e9#: \"\n  text: [\"x: y\", '[z']\nprecision: bf16\n",
                   diag));
    gal_settings_dump(&GAL_TRAIN_SETTINGS, &c, &first);
    assert_false(first.oom);
    CHECK_OK(parse(&d, first.data, diag));
    gal_settings_dump(&GAL_TRAIN_SETTINGS, &d, &second);
    assert_string_equal(first.data, second.data);
    assert_string_equal(c.data.separator, d.data.separator);
    assert_true(c.optimizer.eps == d.optimizer.eps);
    for (size_t i = 0; i < GAL_TRAIN_SETTINGS.count; i++) { /* complete */
        const char *key = GAL_TRAIN_SETTINGS.rows[i].key, *dot = strchr(key, '.');
        assert_non_null(strstr(first.data, dot ? dot + 1 : key));
    }
    gal_buf_free(&first);
    gal_buf_free(&second);
    gal_train_config_free(&c);
    gal_train_config_free(&d);
}

/* What is none by default can be none again; the word in quotes, or in a list, is a word. */
static void unsetting(void **state) {
    (void)state;
    static const char *const NONE[] = { "none", "", "[]" };
    gal_train_config c;
    CHECK_OK(parse(&c, "data: { text: none, separator: none, valid: \"none\", field: none }\ninit: none\n", diag));
    assert_int_equal(c.data.text.n, 0);
    assert_string_equal(c.data.separator, "");
    assert_string_equal(c.init, "");
    assert_string_equal(c.data.valid.v[0], "none");
    assert_string_equal(c.data.field, "none");
    for (size_t i = 0; i < GAL_LEN(NONE); i++) {
        char text[80];
        CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, "sample.prompts=[none]", diag));
        assert_int_equal(c.sample.prompts.n, 1);
        (void)snprintf(text, sizeof text, "sample.prompts=%s", NONE[i]);
        CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, text, diag));
        assert_int_equal(c.sample.prompts.n, 0);
    }
    assert_int_equal(gal_settings_said(&GAL_TRAIN_SETTINGS, &c, "data.text"), GAL_SAID_IN_FILE);
    assert_int_equal(gal_settings_said(&GAL_TRAIN_SETTINGS, &c, "sample.prompts"), GAL_SAID_BY_SET);
    assert_int_equal(gal_settings_said(&GAL_TRAIN_SETTINGS, &c, "seed"), GAL_SAID_NOWHERE);
    gal_train_config_free(&c);
}

/* Sizes that cannot be, one value at a time. */
static void model_sizes(void **state) {
    (void)state;
    static const struct {
        const char *set, *word;
    } CASES[] = { { "model.heads=3", "divisor of width" },
                  { "model.kv_heads=3", "divisor of heads" },
                  { "model.head_size=7", "even" },
                  { "model.vocab=99", "at least the tokenizer's" } };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        gal_train_config c;
        gal_config m = { 0 };
        gal_diag why = { 0 };
        CHECK_OK(gal_train_config_defaults(&c, diag));
        CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, CASES[i].set, diag));
        assert_int_equal(gal_train_model_config(&m, &c, 300, 1, 2, "run.yaml", &why), GAL_EINPUT);
        if (!strstr(why.text, CASES[i].word)) fail_msg("no \"%s\" in \"%s\"", CASES[i].word, why.text);
        gal_config_free(&m);
        gal_train_config_free(&c);
    }
}

static void examples_load(void **state) {
    (void)state;
    static const char *const FILES[] = { "demo",         "mistral-small",  "mixtral-small",
                                         "gopher-small", "chinchilla-44m", "routed-small",
                                         "rlr-small",    "hash-small",     "mixture" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        gal_train_config c;
        char path[80];
        (void)snprintf(path, sizeof path, "examples/%s.yaml", FILES[i]);
        CHECK_OK(gal_train_config_load(&c, path, NULL, 0, diag));
        CHECK_OK(gal_train_config_check(&c, path, NULL, diag));
        gal_train_config_free(&c);
    }
}

/* What a refusal names as the ends of a range is within the range. */
static void bounds(void **state) {
    (void)state;
    gal_train_config c;
    CHECK_OK(gal_train_config_defaults(&c, diag));
    for (size_t i = 0; i < GAL_TRAIN_SETTINGS.count; i++) {
        const gal_setting *s = &GAL_TRAIN_SETTINGS.rows[i];
        if (s->type != GAL_S_FLOAT && s->type != GAL_S_INT) continue;
        char text[200], from[80], to[80];
        gal_diag why = { 0 };
        (void)snprintf(text, sizeof text, "%s=1e300", s->key);
        assert_int_equal(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, text, &why), GAL_EUSAGE);
        const char *range = strstr(why.text, " from ");
        if (!range || sscanf(range, " from %79[^ ] to %79[^,]", from, to) != 2)
            fail_msg("no range in \"%s\"", why.text);
        (void)snprintf(text, sizeof text, "%s=%s", s->key, from);
        CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, text, diag));
        (void)snprintf(text, sizeof text, "%s=%s", s->key, to);
        CHECK_OK(gal_settings_set(&GAL_TRAIN_SETTINGS, &c, text, diag));
    }
    assert_true((float)c.optimizer.beta1 < 1.0F && (float)c.optimizer.beta2 < 1.0F &&
                (float)c.optimizer.momentum < 1.0F);
    gal_train_config_free(&c);
}

/* docs/settings.md is what `galerne train --settings` prints, after its own first lines. */
static void documented(void **state) {
    (void)state;
    gal_buf list = { 0 }, file = { 0 };
    gal_settings_list(&GAL_TRAIN_SETTINGS, &list);
    CHECK_OK(gal_read_file(&file, "docs/settings.md", 1 << 20, diag));
    if (!strstr(file.data, list.data)) fail_msg("docs/settings.md is not what galerne train --settings prints");
    gal_buf_free(&list);
    gal_buf_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),    cmocka_unit_test(documented),  cmocka_unit_test(numbers),
        cmocka_unit_test(assignments), cmocka_unit_test(labels),      cmocka_unit_test(dump_reads_back),
        cmocka_unit_test(unsetting),   cmocka_unit_test(model_sizes), cmocka_unit_test(examples_load),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests_name("train_config", tests, NULL, NULL);
}
