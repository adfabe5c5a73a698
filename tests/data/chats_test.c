/* chats_test.c - conversations in rows: what each row holds, its masks and targets, what is cut, left out and
 * refused, and shards that are damaged. SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/chats.h"
#include "data/order.h"

#include <stdio.h>
#include <string.h>

enum { ROW = 8 };

static char folder[256];
static gal_tokenizer *tok;

static int setup(void **state) {
    (void)state;
    make_folder(folder);
    CHECK_OK(gal_tokenizer_open(&tok, "tests/golden/text/chat.json", diag));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gal_tokenizer_free(tok);
    remove_folder(folder);
    return 0;
}

static char *path_of(const char *name) {
    static char path[4][400];
    static int turn;
    char *s = path[turn++ % 4];
    (void)snprintf(s, sizeof path[0], "%s/%s", folder, name);
    return s;
}

/* A line's letters become ids from 30 on: capitals are learned, '!' is an error. */
static gal_err letters(void *user, const char *body, size_t n, gal_ids *ids, gal_buf *learned, gal_diag *diag) {
    (void)user;
    for (size_t i = 0; i < n; i++) {
        const bool capital = body[i] >= 'A' && body[i] <= 'Z';
        if (body[i] == '!') return gal_fail(diag, GAL_EINPUT, "no letter");
        gal_err err = gal_ids_add(ids, 30 + (body[i] | 32) - 'a', diag);
        if (err) return err;
        gal_buf_putc(learned, capital);
    }
    return learned->oom ? gal_fail(diag, GAL_ENOMEM, "no memory") : GAL_OK;
}

static gal_err write(const char *name, const char *lines, bool skip, uint64_t first, uint64_t end,
                     gal_chats_result *r, gal_diag *why) {
    const gal_chats_options o = { .encode = letters, .sequence = ROW, .skip_long = skip, .first = first, .end = end };
    put_file(folder, "lines", lines, strlen(lines));
    char *from = path_of("lines");
    return gal_chats_write(path_of(name), &from, 1, tok, &o, r, why);
}

/* A row as letters: "ab|cd" is two conversations, targets are capitals, '.' is what fills. */
static void check_row(gal_shards *s, int64_t row, const char *want) {
    int32_t ids[2 * ROW], pos[2 * ROW], start[2 * ROW], target[2 * ROW];
    int64_t targets = 0, count = 0;
    char got[3 * ROW], *w = got;
    const gal_row to = { ids, pos, start, target, ROW }; /* the second of a batch */
    CHECK_OK(gal_shards_row(s, row * ROW, ROW, GAL_PACKING_MASKED, to, &targets, diag));
    for (int64_t i = ROW; i < 2 * (int64_t)ROW; i++) {
        assert_int_equal(pos[i], i - start[i]);
        if (pos[i] == 0 && i > ROW) *w++ = '|';
        const bool learned = i > ROW && target[i - 1] >= 0;
        if (learned) assert_int_equal(target[i - 1], ids[i]);
        *w++ = ids[i] < 30 ? '.' : (char)(ids[i] - 30 + (learned ? 'A' : 'a'));
        count += target[i] >= 0;
    }
    *w = 0;
    assert_string_equal(got, want);
    assert_int_equal(count, targets);
    assert_int_equal(target[2 * ROW - 1], -1); /* the next row begins with another conversation */
}

static void open_it(gal_shards *s, const char *name) {
    char *path = path_of(name);
    CHECK_OK(gal_shards_open(s, &path, 1, NULL, diag));
}

static void packing(void **state) {
    (void)state;
    gal_chats_result r;
    gal_shards s = { 0 };
    /* Of five letters and of three fill a row; of four begins one, of two goes where it leaves least. The first token
     * is never a target; a conversation without one is no part of the shard. */
    CHECK_OK(
        write("a.shard", "abCDE\n\nabcD\nquiet\nAbC\nxY\nabcdefghiJ\nabcdEfghij\n", false, 0, UINT64_MAX, &r, diag));
    open_it(&s, "a.shard");
    assert_int_equal(r.conversations, 5);
    assert_int_equal(r.silent, 2);
    assert_int_equal(r.cut, 1);
    assert_int_equal(r.skipped, 0);
    assert_int_equal(r.targets, 3 + 1 + 1 + 1 + 1);
    assert_int_equal(r.tokens, 5 + 4 + 3 + 2 + 8);
    assert_int_equal(s.n_docs, 5);
    assert_int_equal(s.n_targets, 7);
    assert_int_equal(s.row, ROW);
    assert_int_equal(s.shards[0].version, 3);
    check_row(&s, 0, "abCDE|abC");
    check_row(&s, 1, "abcD|xY..");
    check_row(&s, 2, "abcdEfgh");
    assert_int_equal(s.n_tokens, 3 * ROW);
    gal_shards_close(&s);
    CHECK_OK(write("a.shard", "abC\nabcdefghiJ\nabcdEfghij\n", true, 0, UINT64_MAX, &r, diag));
    assert_int_equal(r.skipped, 2);
    assert_int_equal(r.conversations, 1);
    /* A part of the lines. */
    CHECK_OK(write("a.shard", "aB\naaB\naaaB\n", true, 1, 2, &r, diag));
    assert_int_equal(r.tokens, 3);
}

static void order(void **state) {
    (void)state;
    gal_chats_result r;
    gal_shards s = { 0 };
    gal_order o;
    gal_order_state at = { 0 };
    gal_diag why = { 0 }, other = { 0 };
    int32_t ids[ROW], pos[ROW], start[ROW], target[ROW];
    CHECK_OK(write("o.shard", "abcdefgA\nabcdefgB\nabcdefgC\nabcdefgD\nabcdefgE\n", false, 0, UINT64_MAX, &r, diag));
    open_it(&s, "o.shard");
    CHECK_OK(gal_order_init(&o, &s, 7, ROW, GAL_PACKING_MASKED, "o", diag));
    assert_int_equal(gal_order_rows(&o, 0), 5);
    for (int epoch = 0; epoch < 3; epoch++) { /* each conversation once, whole */
        int seen = 0;
        for (int i = 0; i < 5; i++) {
            int64_t targets = 0;
            CHECK_OK(gal_order_next(&o, &at, (gal_row){ ids, pos, start, target, 0 }, &targets, diag));
            assert_int_equal(targets, 1);
            assert_int_equal(ids[0], 30);
            seen |= 1 << (target[ROW - 2] - 30);
        }
        assert_int_equal(seen, 31);
    }
    assert_int_equal(gal_order_init(&o, &s, 7, ROW + 1, GAL_PACKING_MASKED, "o", &why), GAL_EINPUT);
    assert_non_null(strstr(why.text, "batch.sequence 8, found 9"));
    assert_int_equal(gal_order_init(&o, &s, 7, ROW, GAL_PACKING_PLAIN, "o", &other), GAL_EINPUT);
    assert_non_null(strstr(other.text, "masked"));
    gal_shards_close(&s);
}

static void refused(void **state) {
    (void)state;
    gal_chats_result r;
    gal_diag why = { 0 }, other = { 0 };
    assert_int_equal(write("r.shard", "abC\n\nab!\n", false, 0, UINT64_MAX, &r, &why), GAL_EINPUT);
    assert_false(r.nothing);
    assert_non_null(strstr(why.text, "lines:3: no letter"));
    assert_false(gal_is_file(path_of("r.shard")));
    assert_int_equal(write("r.shard", "abc\nA\nabcdefghI\n", false, 0, UINT64_MAX, &r, &other), GAL_EINPUT);
    assert_non_null(strstr(other.text, "nothing to learn"));
    assert_true(r.nothing);
    assert_int_equal(r.silent, 3);
    assert_int_equal(write("r.shard", "", false, 0, UINT64_MAX, &r, &why), GAL_EINPUT);
    assert_false(gal_is_file(path_of("r.shard")));
}

static bool enough(void *user) {
    int *left = user;
    return (*left)-- == 0;
}

/* Asked before each conversation, in both ways of reading them. */
static void interrupted(void **state) {
    (void)state;
    static const char LINES[] = "abC\nabD\nabE\n";
    gal_chats_result r;
    uint8_t sha[32];
    uint64_t count = 0;
    char path[400], *from = path;
    put_file(folder, "lines", LINES, sizeof LINES - 1);
    (void)snprintf(path, sizeof path, "%s/lines", folder);
    for (int i = 0; i < 5; i++) {
        int left = i, more = i;
        gal_chats_options o = { .encode = letters, .sequence = ROW, .end = UINT64_MAX, .stop = enough };
        gal_diag why = { 0 };
        o.stop_user = &left;
        const gal_err want = i < 4 ? GAL_EINTERRUPTED : GAL_OK;
        assert_int_equal(gal_chats_write(path_of("i.shard"), &from, 1, tok, &o, &r, &why), want);
        assert_int_equal(gal_is_file(path_of("i.shard")), !want);
        o.stop_user = &more;
        why = (gal_diag){ 0 };
        assert_int_equal(gal_chats_source(&from, 1, &o, &count, sha, &why), want);
    }
    assert_int_equal(count, 3);
}

/* Any byte that is another, and any shorter file, is refused. */
static void damage(void **state) {
    (void)state;
    gal_chats_result r;
    gal_buf file = { 0 };
    gal_shard s;
    CHECK_OK(write("d.shard", "abCDE\nabC\nxY\n", false, 0, UINT64_MAX, &r, diag));
    CHECK_OK(gal_read_file(&file, path_of("d.shard"), 1 << 20, diag));
    CHECK_OK(gal_shard_open_bytes(&s, file.data, file.len, "d", NULL, diag));
    gal_shard_close(&s);
    for (size_t i = 0; i < file.len; i++) {
        gal_diag why = { 0 };
        file.data[i] ^= 4;
        assert_int_equal(gal_shard_open_bytes(&s, file.data, file.len, "d", NULL, &why), GAL_EINPUT);
        file.data[i] ^= 4;
        assert_int_equal(gal_shard_open_bytes(&s, file.data, i, "d", NULL, &why), GAL_EINPUT);
    }
    /* Numbers that are wrong under a right hash. */
    static const struct {
        int at;
        char value;
        const char *says;
    } WRONG[] = { { GAL__AT_ROW, 0, "rows" },
                  { GAL__AT_ROW, 7, "rows" },
                  { GAL__AT_ROW, 4, "one row" },
                  { GAL__AT_TARGETS, 99, "targets" } };
    for (size_t i = 0; i < GAL_LEN(WRONG); i++) {
        gal_diag why = { 0 };
        const char old = file.data[WRONG[i].at];
        file.data[WRONG[i].at] = WRONG[i].value;
        gal_sha256_of(file.data, GAL__AT_SELF, (uint8_t *)file.data + GAL__AT_SELF);
        assert_int_equal(gal_shard_open_bytes(&s, file.data, file.len, "d", NULL, &why), GAL_EINPUT);
        if (!strstr(why.text, WRONG[i].says)) fail_msg("%s", why.text);
        file.data[WRONG[i].at] = old;
    }
    gal_buf_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(packing), cmocka_unit_test(order), cmocka_unit_test(refused),
                                        cmocka_unit_test(interrupted), cmocka_unit_test(damage) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
