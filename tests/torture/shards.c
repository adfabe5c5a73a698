/* shards.c - a folder of token shards made anew from lines of JSON in a gzip file and from plain text, then read as a
 * mixture, under failures: the folder is the old one or the new one, whole. SPDX-License-Identifier: Apache-2.0 */
#include "shards.h"

#include "base/file.h"
#include "data/feed.h"
#include "data/tokenise.h"
#include "stages.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

static char dir[300], vocabulary[320], lines[320], plain[320], out[320], removed[330];

/* With one thread, so that the number of what fails means the same thing in every run. */
static gal_err make(const char *const *from, size_t n, bool force, gal_diag *diag) {
    const gal_tokenise_options o = {
        .read = { .separator = "#@ " }, .threads = 1, .folder = true, .shard_tokens = 20, .force = force
    };
    gal_tokenizer *t = NULL;
    gal_tokenise_state s;
    gal_err err = gal_tokenizer_open(&t, vocabulary, diag);
    if (!err) err = gal_tokenise(out, from, n, t, &o, &s, diag);
    gal_tokenizer_free(t);
    return err;
}

void prepare_shards(const char *folder) {
    static const char JSON[] = "{\"text\": \"the grey sea over the salt wind and the sea\"}\n{\"text\": \"gulls\"}\n";
    static const char TEXT[] = "the sea\n#@ 2\nthe wind over the salt sea and the rain on the sails\n";
    char packed[400];
    (void)snprintf(dir, sizeof dir, "%s/shards", folder);
    (void)snprintf(vocabulary, sizeof vocabulary, "%s/ref/tokenizer.model", folder);
    (void)snprintf(lines, sizeof lines, "%s/lines.gz", dir);
    (void)snprintf(plain, sizeof plain, "%s/plain.txt", dir);
    (void)snprintf(out, sizeof out, "%s/made", dir);
    (void)snprintf(removed, sizeof removed, "%s/.removed-made", dir);
    CHECK_OK(gal_remove_tree(dir, diag));
    CHECK_OK(gal_make_dirs(dir, diag));
    put_file(dir, "plain.txt", TEXT, sizeof TEXT - 1);
    (void)snprintf(packed, sizeof packed, "%s", lines);
    gzFile z = gzopen(packed, "wb");
    assert_non_null(z);
    assert_int_equal(gzwrite(z, JSON, sizeof JSON - 1), (int)sizeof JSON - 1);
    assert_int_equal(gzclose(z), Z_OK);
    const char *const first[] = { plain };
    CHECK_OK(make(first, 1, false, diag));
}

static gal_err take_rows(gal_diag *diag) {
    enum { SEQ = 8, ROWS = 2, STEPS = 3 };
    char *path = out;
    const gal_mix_part parts[] = { { "one", 2, &path, 1 }, { "other", 1, &path, 1 } };
    gal_mix m = { 0 };
    gal_feed *f = NULL;
    gal_mix_state at = { 0 };
    gal_buf notes = { 0 };
    gal_err err = gal_mix_open(&m, parts, 2, NULL, diag);
    if (!err) err = gal_mix_order(&m, 1, SEQ, GAL_PACKING_MASKED, diag);
    if (!err) err = gal_feed_new(&f, &m, SEQ, ROWS, 1, false, diag);
    for (int i = 0; !err && i < STEPS; i++) {
        gal_feed_rows rows;
        err = gal_feed_take(f, &at, 1, 1, &rows, diag);
    }
    if (!err) err = gal_mix_unchanged(&m, &notes, diag);
    if (!err && notes.len) stages_got_over = "what cannot be looked at is said to be gone";
    gal_buf_free(&notes);
    gal_feed_free(f);
    gal_mix_close(&m);
    return err;
}

gal_err run_shards(gal_diag *diag) {
    const char *const both[] = { lines, plain };
    gal_err err = make(both, 2, true, diag);
    return err ? err : take_rows(diag);
}

static bool starts_with(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

void after_shards(gal_err err, bool again) {
    char *path = out, **paths = NULL, **names = NULL;
    size_t n = 0, files = 0;
    gal_shards s;
    /* No renaming was possible between the two that exchange them: the old one is beside it. */
    const bool aside = err && !gal_exists(out);
    if (aside) path = removed;
    CHECK_OK(gal_shards_find(&path, 1, &paths, &n, diag));
    CHECK_OK(gal_shards_open(&s, paths, n, NULL, diag));
    assert_true((s.n_docs == 4 && !aside) || (err && s.n_docs == 2));
    gal_shards_close(&s);
    gal_free_names(paths, n);
    CHECK_OK(gal_list_dir(dir, &names, &files, diag));
    for (size_t i = 0; !err && i < files; i++)
        if (starts_with(names[i], ".")) fail_msg("%s was left behind", names[i]);
    gal_free_names(names, files);
    if (again) CHECK_OK(run_shards(diag));
    CHECK_OK(gal_remove_tree(dir, diag));
}
