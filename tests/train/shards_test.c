/* shards_test.c - trainings on token shards and mixtures: the bytes of a text's training, whatever gathers the rows,
 * stopped and resumed; shards that are others, change or go away. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/tokenise.h"
#include "text/bpe_train.h"
#include "train/loop.h"

#include <stdio.h>
#include <string.h>

static char folder[256];

static const char *in(const char *name) {
    static char text[8][600];
    static int turn;
    char *s = text[turn++ % 8];
    (void)snprintf(s, sizeof text[0], "%s/%s", folder, name);
    return s;
}

static void make_text(const char *name, uint64_t seed, uint64_t words) {
    static const char *const WORDS[] = { "sea",  "wind",  "salt",   "gull", "the", "a",    "over",  "grey",
                                         "boat", "sails", "slowly", "home", "and", "rain", "falls", "on" };
    gal_buf text = { 0 };
    for (uint64_t i = 0; i < words; i++) {
        uint64_t r = gal_rng_below(seed, 2, i, 300);
        if (r == 0) gal_buf_puts(&text, "\n#@ doc\n");
        gal_buf_puts(&text, WORDS[r % GAL_LEN(WORDS)]);
        gal_buf_putc(&text, r % 11 == 0 ? '\n' : ' ');
    }
    assert_false(text.oom);
    put_file(folder, name, text.data, text.len);
    gal_buf_free(&text);
}

static void make_shards(const char *out, const char *text, const char *vocabulary, uint64_t shard_tokens) {
    gal_tokenizer *t = NULL;
    const char *const from[] = { in(text) };
    const gal_tokenise_options o = { .read = { .separator = "#@ " },
                                     .threads = 2,
                                     .folder = shard_tokens > 0,
                                     .shard_tokens = shard_tokens,
                                     .force = true };
    gal_tokenise_state s;
    CHECK_OK(gal_tokenizer_open(&t, in(vocabulary), diag));
    CHECK_OK(gal_tokenise(in(out), from, 1, t, &o, &s, diag));
    gal_tokenizer_free(t);
}

static void make_vocabulary(const char *name, const char *text, int32_t size) {
    gal_buf bytes = { 0 }, model = { 0 };
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = size;
    o.take_possible = true;
    CHECK_OK(gal_read_file(&bytes, in(text), 1 << 20, diag));
    CHECK_OK(gal_bpe_train(&model, bytes.data, bytes.len, &o, diag));
    put_file(folder, name, model.data, model.len);
    gal_buf_free(&bytes);
    gal_buf_free(&model);
}

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    make_text("a.txt", 1, 3000);
    make_text("b.txt", 2, 2000);
    make_vocabulary("t.model", "a.txt", 300);
    make_vocabulary("other.model", "b.txt", 290);
    make_shards("a.shard", "a.txt", "t.model", 0);
    make_shards("b", "b.txt", "t.model", 700);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_folder(folder);
    return 0;
}

typedef struct listener {
    int64_t stop_at, act_at, step;
    void (*act)(void);
    gal_buf notes;
} listener;

static void on_event(void *user, const gal_train_event *e) {
    listener *l = user;
    if (e->kind == GAL_TRAIN_NOTE) gal_buf_printf(&l->notes, "%s\n", e->text);
    if (e->kind != GAL_TRAIN_STEP) return;
    l->step = e->step;
    if (l->act && e->step == l->act_at) l->act();
}

static bool wants_stop(void *user) {
    const listener *l = user;
    return l->stop_at && l->step >= l->stop_at;
}

enum { MOST_SET = 30 };
/* With settings ended by NULL; l may be NULL. */
static gal_err train(const char *name, bool resume, listener *l, gal_diag *diag, const char *const *settings) {
    static const char *const BASE[] = { "model.width=24",    "model.layers=2",   "model.heads=3",
                                        "model.kv_heads=1",  "batch.rows=2",     "batch.sequence=24",
                                        "steps=8",           "save.every=2",     "save.keep=9",
                                        "optimizer.lr=1e-2", "device.threads=2", "batch.accumulate=2" };
    const char *set[MOST_SET];
    char run[600], vocabulary[700];
    size_t n = 0;
    (void)snprintf(run, sizeof run, "%s", in(name));
    (void)snprintf(vocabulary, sizeof vocabulary, "tokenizer.path=%s", in("t.model"));
    for (size_t i = 0; !resume && i < GAL_LEN(BASE); i++) set[n++] = BASE[i];
    if (!resume) set[n++] = vocabulary;
    for (size_t i = 0; settings[i]; i++) set[n++] = settings[i];
    listener own = { 0 };
    gal_train_options o = {
        .run = run, .resume = resume, .progress = on_event, .stop = wants_stop, .user = l ? l : &own
    };
    gal_err err = gal_train(NULL, set, n, &o, diag);
    gal_buf_free(&own.notes);
    return err;
}
#define SET(...)                                                                                                     \
    (const char *const[]) { __VA_ARGS__, NULL }

static char mixture[1500], one[700], text[700];

static void prepare(void) {
    (void)snprintf(mixture, sizeof mixture, "data.mixture=[\"3:%s\", \"1:%s\"]", in("a.shard"), in("b"));
    (void)snprintf(one, sizeof one, "data.train=%s", in("a.shard"));
    (void)snprintf(text, sizeof text, "data.text=%s", in("a.txt"));
}

static void same_or_not(const char *a, const char *b, const char *file, bool same) {
    gal_buf x = { 0 }, y = { 0 };
    char path[2][700];
    (void)snprintf(path[0], sizeof path[0], "%s/checkpoints/step-8/%s", in(a), file);
    (void)snprintf(path[1], sizeof path[1], "%s/checkpoints/step-8/%s", in(b), file);
    CHECK_OK(gal_read_file(&x, path[0], 1 << 24, diag));
    CHECK_OK(gal_read_file(&y, path[1], 1 << 24, diag));
    if ((x.len == y.len && memcmp(x.data, y.data, x.len) == 0) != same)
        fail_msg("%s of %s and %s %s", file, a, b, same ? "differ" : "are the same");
    gal_buf_free(&x);
    gal_buf_free(&y);
}

static void same_end(const char *a, const char *b) {
    static const char *const FILES[] = { "model.safetensors", "optimizer.safetensors", "trainer.json" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++) same_or_not(a, b, FILES[i], true);
}

static void refused(const char *name, bool resume, const char *says, const char *const *settings) {
    gal_diag why = { 0 };
    gal_err err = train(name, resume, NULL, &why, settings);
    const bool own = strncmp(why.text, "--set", 5) == 0; /* settings that exclude each other */
    if (err != (own ? GAL_EUSAGE : GAL_EINPUT) || !strstr(why.text, says))
        fail_msg("expected '%s', found '%s'", says, why.text);
}

/* A text's shard, made beforehand, trains as the text does. */
static void like_a_text(void **state) {
    (void)state;
    prepare();
    CHECK_OK(train("text", false, NULL, diag, SET(text, "data.separator=#@ ", "data.valid_fraction=0")));
    CHECK_OK(train("shard", false, NULL, diag, SET(one)));
    same_end("text", "shard");
}

/* Validation on several shards is that on their text. */
static void valid_like_a_text(void **state) {
    (void)state;
    char shards[700], words[700];
    gal_buf a = { 0 }, b = { 0 };
    (void)snprintf(shards, sizeof shards, "data.valid_shards=%s", in("b"));
    (void)snprintf(words, sizeof words, "data.valid=%s", in("b.txt"));
    CHECK_OK(train("by-shards", false, NULL, diag, SET(one, shards, "data.packing=plain")));
    CHECK_OK(train("by-text", false, NULL, diag, SET(one, words, "data.separator=#@ ", "data.packing=plain")));
    CHECK_OK(gal_read_file(&a, in("by-shards/checkpoints/best.json"), 1000, diag));
    CHECK_OK(gal_read_file(&b, in("by-text/checkpoints/best.json"), 1000, diag));
    assert_non_null(strstr(a.data, "nats_per_token"));
    assert_string_equal(a.data, b.data);
    refused("refused", false, "expected one of valid and valid_shards", SET(one, shards, words));
    refused("refused", false, "data.valid_shards: they go with", SET(text, shards));
    gal_buf_free(&a);
    gal_buf_free(&b);
}

static void same_bytes(void **state) {
    (void)state;
    CHECK_OK(train("mixed", false, NULL, diag, SET(mixture)));
    CHECK_OK(train("mixed-behind", false, NULL, diag, SET(mixture, "data.prefetch=false", "device.threads=1")));
    CHECK_OK(train("mixed-eager", false, NULL, diag, SET(mixture, "eager=true", "device.threads=5")));
    same_end("mixed", "mixed-behind");
    same_end("mixed", "mixed-eager");
    CHECK_OK(train("plain", false, NULL, diag, SET(mixture, "data.packing=plain")));
    same_or_not("mixed", "plain", "model.safetensors", false);
}

static void stop_and_resume(void **state) {
    (void)state;
    static const char *const PACKINGS[] = { "data.packing=masked", "data.packing=plain" };
    static const char *const ENDS[] = { "mixed", "plain" };
    for (size_t i = 0; i < 2; i++) {
        listener l = { .stop_at = 3 };
        gal_diag why = { 0 };
        const char *name = i ? "stopped-plain" : "stopped";
        assert_int_equal(train(name, false, &l, &why, SET(mixture, PACKINGS[i])), GAL_EINTERRUPTED);
        assert_non_null(strstr(l.notes.data, "weight 75.00 %"));
        gal_buf_free(&l.notes);
        CHECK_OK(train(name, true, NULL, diag, SET("save.every=0")));
        same_end(ENDS[i], name);
    }
}

static void move(const char *from, const char *to) { CHECK_OK(gal_rename(in(from), in(to), diag)); }

/* Of a run that stopped: shards elsewhere are the same shards, others are not. */
static void other_shards(void **state) {
    (void)state;
    char moved[1500], weights[1500];
    listener l = { .stop_at = 2 };
    gal_diag why = { 0 };
    assert_int_equal(train("half", false, &l, &why, SET(mixture)), GAL_EINTERRUPTED);
    gal_buf_free(&l.notes);
    (void)snprintf(weights, sizeof weights, "data.mixture=[\"3:%s\", \"2:%s\"]", in("a.shard"), in("b"));
    refused("half", true, "train tokens are not those", SET(weights));
    refused("half", true, "data.packing cannot change", SET("data.packing=plain"));
    move("b", "moved");
    refused("half", true, "/b: ", SET("steps=8"));
    (void)snprintf(moved, sizeof moved, "data.mixture=[\"3:%s\", \"1:%s\"]", in("a.shard"), in("moved/*.shard"));
    make_shards("b", "a.txt", "t.model", 700);
    refused("half", true, "train tokens are not those", SET("steps=8"));
    CHECK_OK(train("half", true, NULL, diag, SET(moved)));
    same_or_not("mixed", "half", "model.safetensors", true);
    CHECK_OK(gal_remove_tree(in("b"), diag));
    move("moved", "b");
}

static void other_vocabulary(void **state) {
    (void)state;
    char vocabulary[700];
    (void)snprintf(vocabulary, sizeof vocabulary, "tokenizer.path=%s", in("other.model"));
    refused("refused", false, "a.shard: made from another tokenizer", SET(one, vocabulary));
    refused("refused", false, "tokenizer.path: expected the vocabulary", SET(one, "tokenizer.path="));
    refused("refused", false, "expected one of text, train and mixture", SET(one, text));
    refused("refused", false, "data.preset: it goes with data.mixture", SET(one, "data.preset=massivetext"));
    refused("refused", false, "expected a weight above 0", SET("data.mixture=x:nowhere"));
    refused("refused", false, "one of MassiveWeb, Books",
            SET("data.mixture=Book:nowhere", "data.preset=massivetext"));
    refused("refused", false, "too small to train on", SET(one, "batch.sequence=20000"));
    assert_false(gal_exists(in("refused")));
}

/* ---- while it runs -----------------------------------------------------------------------------------------------
 */

static void change_a_byte(void) {
    gal_buf b = { 0 };
    CHECK_OK(gal_read_file(&b, in("a.shard"), 1 << 24, diag));
    FILE *f = fopen(in("a.shard"), "r+b"); /* in place: the map sees it */
    assert_non_null(f);
    assert_int_equal(fseek(f, 1000, SEEK_SET), 0);
    assert_int_not_equal(fputc(b.data[1000] ^ 1, f), EOF);
    assert_int_equal(fclose(f), 0);
    gal_buf_free(&b);
}

static void hide(void) { move("a.shard", "hidden.shard"); }

static void changed_meanwhile(void **state) {
    (void)state;
    listener l = { .act_at = 5, .act = change_a_byte };
    gal_diag why = { 0 };
    assert_int_equal(train("changed", false, &l, &why, SET(mixture)), GAL_EINPUT);
    assert_non_null(strstr(why.text, "a.shard: the file was changed while it was being trained on"));
    gal_buf_free(&l.notes);
    assert_true(gal_is_dir(in("changed/checkpoints/step-4")));
    assert_false(gal_exists(in("changed/checkpoints/step-6")));
    refused("changed", true, "a.shard: ", SET("steps=8"));
    change_a_byte();
    CHECK_OK(train("changed", true, NULL, diag, SET("steps=8")));
    same_end("mixed", "changed");
}

static void gone_meanwhile(void **state) {
    (void)state;
    listener l = { .act_at = 3, .act = hide };
    CHECK_OK(train("gone", false, &l, diag, SET(mixture)));
    assert_non_null(strstr(l.notes.data, "a.shard is not there any more"));
    gal_buf_free(&l.notes);
    same_end("mixed", "gone");
    refused("gone", true, "a.shard: ", SET("steps=8"));
    move("hidden.shard", "a.shard");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_a_text),       cmocka_unit_test(valid_like_a_text), cmocka_unit_test(same_bytes),
        cmocka_unit_test(stop_and_resume),   cmocka_unit_test(other_shards),      cmocka_unit_test(other_vocabulary),
        cmocka_unit_test(changed_meanwhile), cmocka_unit_test(gone_meanwhile),
    };
    return cmocka_run_group_tests_name("shards", tests, setup, teardown);
}
