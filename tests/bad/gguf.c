/* gguf.c - GGUF files that lie, at every command that reads one: what the container's own tests refuse must be
 * refused through the program, too, and must never reach what it writes. SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static const char GOOD[] = "tests/golden/gguf-mixed", FILE_NAME[] = "model.gguf";

static char out[300], ids[300]; /* what a command would write; a file of ids */

static const char *const COMMANDS[][MOST_ARGS] = {
    { "inspect", "%", NULL }, /* the first is the one for all cases */
    { "run", "%", "--ids", "1 2", "--max-tokens", "1", "--greedy", NULL },
    { "logits", "%", "--ids", "1 2", "-o", out, NULL },
    { "convert", "%", out, "--to", "hf", NULL },
    { "perplexity", "%", "--ids", ids, NULL },
    { "compare", "%", "%", "--ids", ids, NULL },
    /* The last two read no sizes of the model: one copies what it does not know, the other wants words alone. */
    { "quantize", "%", "Q8_0", "-o", out, NULL },
    { "tokenize", "%", "a", NULL },
};

static void refused_by(size_t commands, const char *what, const char *dir, const char *const *says) {
    char path[700];
    (void)snprintf(path, sizeof path, "%s/%s", dir, FILE_NAME);
    for (size_t i = 0; i < commands; i++) {
        program(what, path, 3, says, COMMANDS[i]);
        if (gal_exists(out)) fail_msg("%s: \"%s\" left %s", what, COMMANDS[i][0], out);
    }
}

/* Less of the file than its own table says: the tensors' data end early, or the table does. */
static void cut(void **state) {
    (void)state;
    gal_buf b = { 0 };
    slurp(&b, GOOD, FILE_NAME);
    const size_t at[] = { b.len - 1, b.len - 4096, b.len / 2, 20000, 100, 24, 8, 3 };
    for (size_t i = 0; i < GAL_LEN(at); i++) {
        char what[40];
        (void)snprintf(what, sizeof what, "cut at byte %zu", at[i]);
        const char *dir = fresh("gguf");
        put_file(dir, FILE_NAME, b.data, at[i]);
        if (i == 1) /* the folder stands for its one GGUF file */
            program(what, dir, 3, (const char *const[MOST_SAYS]){ FILE_NAME },
                    (const char *const[]){ "tokenize", "%", "a", NULL });
        refused_by(i < 4 ? GAL_LEN(COMMANDS) : 2, what, dir, (const char *const[MOST_SAYS]){ FILE_NAME });
    }
    gal_buf_free(&b);
}

static void without_keys(void **state) {
    (void)state;
    static const char *const KEYS[] = { "general.architecture",       "llama.embedding_length",
                                        "llama.block_count",          "llama.feed_forward_length",
                                        "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon" };
    for (size_t i = 0; i < GAL_LEN(KEYS); i++) {
        char other[64];
        (void)snprintf(other, sizeof other, "%s", KEYS[i]);
        other[strlen(other) - 1] = '_';
        const char *dir = copy_of(GOOD, "gguf");
        swap(dir, FILE_NAME, KEYS[i], other);
        refused_by(i == 2 ? GAL_LEN(COMMANDS) - 2 : 1, KEYS[i], dir,
                   (const char *const[MOST_SAYS]){ FILE_NAME, KEYS[i] });
    }
}

/* A u32 after its key, and a word of what is said. */
static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t by;
    } CASES[] = {
        { "llama.attention.head_count", 0 },
        { "llama.attention.head_count", 3 },
        { "llama.attention.head_count_kv", 0 },
        { "llama.attention.head_count_kv", 1000 },
        { "llama.block_count", 0 },
        { "llama.block_count", 7 },
        { "llama.block_count", UINT32_MAX },
        { "llama.embedding_length", 0 },
        { "llama.embedding_length", 0x7fffffff },
        { "llama.embedding_length", 128 },
        { "llama.feed_forward_length", 0 },
        { "llama.feed_forward_length", UINT32_MAX },
        { "llama.vocab_size", UINT32_MAX },
        { "llama.context_length", 0 },
    };
    gal_buf b = { 0 };
    for (size_t i = 0; i < GAL_LEN(CASES); i++) {
        const size_t n = strlen(CASES[i].key);
        char what[80];
        (void)snprintf(what, sizeof what, "%s %u", CASES[i].key, CASES[i].by);
        slurp(&b, GOOD, FILE_NAME);
        size_t at = 0;
        while (at + n + 8 < b.len && (memcmp(b.data + at, CASES[i].key, n) != 0 || b.data[at + n] != 4)) at++;
        assert_true(at + n + 8 < b.len); /* the key is there, and is a u32 */
        memcpy(b.data + at + n + 4, &CASES[i].by, sizeof CASES[i].by);
        const char *dir = fresh("gguf");
        put_file(dir, FILE_NAME, b.data, b.len);
        refused_by(1, what, dir, (const char *const[MOST_SAYS]){ FILE_NAME });
    }
    gal_buf_free(&b);
}

int bad_gguf(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(cut), cmocka_unit_test(without_keys),
                                        cmocka_unit_test(sizes) };
    (void)snprintf(out, sizeof out, "%s/out", work);
    (void)snprintf(ids, sizeof ids, "%s/ids.txt", work);
    put_file(work, "ids.txt", "1 2 3", 5);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
