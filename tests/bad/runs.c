/* runs.c - run directories: checkpoints, token shards and the rest of what a training goes on from. (Damaged metrics
 * stop nothing: the trainings' own tests.) SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

#include "base/hash.h"
#include "base/rng.h"

#include <unistd.h>

static char good[300], bad[300]; /* run directories; only the first one is whole */

#define STEP "checkpoints/step-4"

static void copy_tree(const char *from, const char *to) {
    char **names = NULL, a[700], b[700];
    size_t n = 0;
    gal_buf bytes = { 0 };
    CHECK_OK(gal_make_dirs(to, diag));
    CHECK_OK(gal_list_dir(from, &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(a, sizeof a, "%s/%s", from, names[i]);
        (void)snprintf(b, sizeof b, "%s/%s", to, names[i]);
        if (gal_is_dir(a)) {
            copy_tree(a, b);
        } else {
            slurp(&bytes, from, names[i]);
            put_file(to, names[i], bytes.data, bytes.len);
        }
    }
    gal_free_names(names, n);
    gal_buf_free(&bytes);
}

static void renew(void) {
    CHECK_OK(gal_remove_tree(bad, diag));
    copy_tree(good, bad);
}

static void resume_refused(const char *what, const char *const *says) {
    program(what, bad, 3, says,
            (const char *const[]){ "train", "--resume", "%", "--set", "steps=6", "--extend", "--quiet", NULL });
}

static int set_up(void **state) {
    (void)state;
    static const char *const WORDS[] = { "sea", "wind", "salt", "gull", "the", "over", "grey", "boat\n" };
    gal_buf b = { 0 };
    for (uint64_t i = 0; i < 4000; i++) {
        gal_buf_puts(&b, WORDS[gal_rng_below(1, 2, i, GAL_LEN(WORDS))]);
        gal_buf_putc(&b, ' ');
    }
    put_file(work, "text.txt", b.data, b.len);
    gal_buf_clear(&b);
    gal_buf_puts(
        &b, "model: { width: 16, layers: 1, heads: 2, hidden: 32 }\ndata: { text: text.txt, valid_fraction: 0.1 }\n"
            "tokenizer: { train_size: 300 }\nbatch: { rows: 2, sequence: 16 }\nsteps: 4\n"
            "save: { every: 4, keep: 1 }\n");
    put_file(work, "c.yaml", b.data, b.len);
    gal_buf_free(&b);
    char config[300];
    (void)snprintf(config, sizeof config, "%s/c.yaml", work);
    (void)snprintf(good, sizeof good, "%s/good", work);
    (void)snprintf(bad, sizeof bad, "%s/bad", work);
    works("a training", 0, (const char *const[]){ "train", config, "-o", good, "--quiet", NULL });
    copy_tree(good, bad);
    works("a copy", 0,
          (const char *const[]){ "train", "--resume", bad, "--set", "steps=6", "--extend", "--quiet", NULL });
    return 0;
}

/* ---- cut short and changed ---------------------------------------------------------------------------------------
 */

static void test_cut_and_flipped(void **state) {
    (void)state;
    static const char *const FILES[] = { STEP "/config.json",
                                         STEP "/generation_config.json",
                                         STEP "/model.safetensors",
                                         STEP "/tokenizer.model",
                                         STEP "/optimizer.safetensors",
                                         STEP "/trainer.json",
                                         STEP "/manifest.json",
                                         "data/train.shard",
                                         "data/valid.shard",
                                         "tokenizer.model",
                                         "config.yaml" };
    gal_buf b = { 0 };
    for (size_t f = 0; f < GAL_LEN(FILES); f++) {
        const char *name = strrchr(FILES[f], '/');
        const char *const says[MOST_SAYS] = { name ? name + 1 : FILES[f] };
        slurp(&b, good, FILES[f]);
        const size_t cuts[] = { 0, 1, b.len / 3, b.len - 1 };
        for (size_t i = 0; i < GAL_LEN(cuts); i++) {
            /* A shorter configuration is a configuration; the last byte of JSON of ours is a newline. */
            if (strcmp(FILES[f], "config.yaml") == 0) continue;
            if (strcmp(says[0], "manifest.json") == 0 && i == 3) continue;
            renew();
            put_file(bad, FILES[f], b.data, cuts[i]);
            resume_refused(FILES[f], says);
        }
        renew();
        b.data[b.len / 2] ^= 0x40;
        b.data[0] ^= 0x40;
        put_file(bad, FILES[f], b.data, b.len);
        resume_refused(FILES[f], says);
        renew();
        char path[700];
        (void)snprintf(path, sizeof path, "%s/%s", bad, FILES[f]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("nowhere", path), 0);
        /* A shard is made anew from the text. */
        if (!strstr(FILES[f], ".shard")) resume_refused(FILES[f], says);
    }
    gal_buf_free(&b);
}

/* ---- whole by their hashes, and yet wrong ------------------------------------------------------------------------
 */

/* The manifest's entry of a file is made true again. */
static void forge_manifest(const char *name, const gal_buf *before) {
    char old[65], now[65], size[2][64], dir[600];
    uint8_t digest[32];
    gal_buf b = { 0 };
    (void)snprintf(dir, sizeof dir, "%s/" STEP, bad);
    slurp(&b, dir, name);
    gal_sha256_of(before->data, before->len, digest);
    gal_hex(old, digest, 32);
    gal_sha256_of(b.data, b.len, digest);
    gal_hex(now, digest, 32);
    (void)snprintf(size[0], sizeof size[0], "\"%s\", \"bytes\": %zu", name, before->len);
    (void)snprintf(size[1], sizeof size[1], "\"%s\", \"bytes\": %zu", name, b.len);
    swap(dir, "manifest.json", old, now);
    swap(dir, "manifest.json", size[0], size[1]);
    gal_buf_free(&b);
}

static void test_forged(void **state) {
    (void)state;
    static const struct {
        const char *file, *old, *by;
        const char *says[MOST_SAYS];
    } CASES[] = {
        { "trainer.json", "\"step\": 4", "\"step\": -4", { "trainer.json", "step", "expected a count" } },
        { "trainer.json", "\"step\": 4", "\"step\": \"4\"", { "trainer.json", "step", "expected a count" } },
        { "trainer.json", "\"step\": 4", "\"step\": 4.5", { "trainer.json", "step", "expected a count" } },
        { "trainer.json",
          "\"step\": 4",
          "\"step\": 9223372036854775807",
          { "trainer.json", "step", "expected a count" } },
        { "trainer.json",
          "\"tokens\": ",
          "\"tokens\": 9223372036854775",
          { "trainer.json", "tokens", "expected a count" } },
        { "trainer.json",
          "\"epoch\": ",
          "\"epoch\": 9223372036854775",
          { "trainer.json", "epoch", "expected a count" } },
        { "trainer.json", "\"row\": ", "\"row\": -", { "trainer.json", "row", "expected a count" } },
        { "trainer.json", "\"schedule\": {", "\"schedule\": 1, \"x\": {", { "trainer.json", "schedule" } },
        { "trainer.json", "\"lr\": ", "\"lr\": null, \"x\": ", { "trainer.json", "schedule" } },
        { "trainer.json", "\"train\": \"", "\"train\": \"0", { "trainer.json", "train", "expected SHA-256" } },
        { "trainer.json", "{", "[{", { "trainer.json" } },
        { "optimizer.safetensors",
          "\"shape\":[16,32]",
          "\"shape\":[32,16]",
          { "optimizer.safetensors", "shape of the model" } },
        { "optimizer.safetensors",
          "\"m.model.norm.weight\"",
          "\"m.model.morn.weight\"",
          { "optimizer.safetensors", "m.model.norm.weight" } },
        { "model.safetensors",
          "\"shape\":[16,32]",
          "\"shape\":[32,16]",
          { "model.safetensors", "shape of the model" } },
        { "config.json", "\"head_dim\": 8", "\"head_dim\": 0", { "config.json", "head_dim", "found 0" } },
        { "config.json",
          "\"num_hidden_layers\": 1",
          "\"num_hidden_layers\": 1000000000",
          { "config.json", "num_hidden_layers" } },
    };
    gal_buf before = { 0 };
    char dir[600];
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        renew();
        (void)snprintf(dir, sizeof dir, "%s/" STEP, bad);
        slurp(&before, dir, CASES[i].file);
        swap(dir, CASES[i].file, CASES[i].old, CASES[i].by);
        forge_manifest(CASES[i].file, &before);
        resume_refused(CASES[i].by, CASES[i].says);
    }
    /* the manifest itself */
    static const struct {
        const char *old, *by, *says;
    } MANIFEST[] = {
        { "\"name\": \"config.json\"", "\"name\": \"../../config.yaml\"", "manifest.json" },
        { "\"name\": \"config.json\"", "\"name\": 3", "manifest.json" },
        { "\"name\": \"config.json\"", "\"name\": \"no such file\"", "no such file" },
        { "\"bytes\": ", "\"bytes\": 9", "config.json: expected 9" },
        { "\"bytes\": ", "\"bytes\": -", "config.json: expected -" },
        { "\"files\": [", "\"files\": [], \"x\": [", "expected a list of files" },
        { "\"files\": [", "\"files\": 7, \"x\": [", "expected a list of files" },
    };
    for (size_t i = 0; i < GAL_LEN(MANIFEST); i++) {
        renew();
        (void)snprintf(dir, sizeof dir, "%s/" STEP, bad);
        swap(dir, "manifest.json", MANIFEST[i].old, MANIFEST[i].by);
        resume_refused(MANIFEST[i].by, (const char *const[MOST_SAYS]){ MANIFEST[i].says });
    }
    gal_buf_free(&before);
}

/* A shard whose header is signed, and lies. */
static void test_shard_lies(void **state) {
    (void)state;
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *says;
    } LIES[] = {
        { 8, 4, 4, "expected shard version 1 to 3, found 4" },
        { 56, 8, 4095, "expected checksums of" },
        { 56, 8, 8192, "expected" },
        { 12, 4, 0, "tokens of 0 bytes" },
        { 12, 4, 3, "tokens of 3 bytes" },
        { 12, 4, UINT32_MAX, "tokens of 4294967295 bytes" },
        { 16, 8, 0, "expected" },
        { 16, 8, (uint64_t)1 << 63, "9223372036854775808 tokens" },
        { 16, 8, UINT64_MAX, "18446744073709551615 tokens" },
        { 24, 8, (uint64_t)1 << 61, "2305843009213693952 documents" },
        { 24, 8, UINT64_MAX, "18446744073709551615 documents" },
        { 40, 8, 0, "expected an id of at most 0" },
        { 48, 8, 1, "expected an id" },
    };
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(LIES); i++) {
        renew();
        slurp(&b, bad, "data/train.shard");
        for (size_t k = 0; k < LIES[i].bytes; k++) b.data[LIES[i].at + k] = (char)(LIES[i].value >> (8 * k));
        gal_sha256_of(b.data, 224, (uint8_t *)b.data + 224);
        put_file(bad, "data/train.shard", b.data, b.len);
        resume_refused("a shard that lies", (const char *const[MOST_SAYS]){ "train.shard", LIES[i].says });
    }
    gal_buf_free(&b);
}

int bad_runs(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_shard_lies),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
