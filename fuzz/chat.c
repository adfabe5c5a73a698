/* chat.c - a body of a chat request: what a template takes gives ids of the vocabulary with its beginning once, the
 * same each time; what it does not has a reason. JSON that was read prints to what reads and prints the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/chat.h"
#include "text/internal.h"
#include "text/json_tree.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static const char *const CONTROL[] = {
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[ARGS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[CALL_ID]",
    "[SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
    "[/SYSTEM_PROMPT]",
    "[THINK]",
    "[/THINK]",
    "[MODEL_SETTINGS]",
    "[IMG]",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[/MODEL_SETTINGS]",
    "[BEGIN_AUDIO]",
    "[AUDIO]",
    "[PREFIX]",
    "[SUFFIX]",
};

/* All templates' control pieces, and bytes. */
static gal_tokenizer *vocabulary(void) {
    enum { CONTROLS = GAL_LEN(CONTROL), COUNT = 1 + CONTROLS + 256 };
    static char bytes[256][8];
    const char *pieces[COUNT] = { "<unk>" };
    float scores[COUNT] = { 0 };
    uint8_t types[COUNT] = { GAL_PIECE_UNKNOWN };
    for (int i = 0; i < CONTROLS; i++) {
        pieces[1 + i] = CONTROL[i];
        types[1 + i] = GAL_PIECE_CONTROL;
    }
    for (int i = 0; i < 256; i++) {
        (void)snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        pieces[1 + CONTROLS + i] = bytes[i];
        types[1 + CONTROLS + i] = GAL_PIECE_BYTE;
    }
    const gal_vocab v = { .count = COUNT, .pieces = pieces, .scores = scores, .types = types, .byte_fallback = true };
    gal_tokenizer *t = NULL;
    gal_diag diag = { 0 };
    if (gal_tokenizer_from_vocab(&t, &v, "fuzz", &diag)) gal__abort("%s", diag.text);
    t->settings = (gal__settings){ .present = true, .efforts_known = true, .efforts = 1 | 1 << 4 };
    t->images = (gal__images){ .patch = 16, .side = 64 };
    t->sounds = (gal__sounds){ .rate = 8000, .chunk = 800, .window = 400, .hop = 100, .hops = 2, .pads = -1 };
    return t;
}

static void encode(const gal_tokenizer *t, int version, const char *s, size_t n) {
    gal_ids ids = { 0 }, again = { 0 };
    gal_chat_spans spans = { 0 };
    gal_diag why = { 0 };
    gal_err err = gal_chat_encode(t, version, s, n, &ids, &spans, &why);
    if (err) {
        GAL_ASSERT(err == GAL_EINPUT && why.text[0] && ids.len == 0 && spans.len == 0);
    } else {
        size_t bos = 0;
        for (size_t i = 0; i < ids.len; i++) {
            GAL_ASSERT(ids.data[i] >= 0 && ids.data[i] < gal_tokenizer_size(t));
            bos += ids.data[i] == gal_tokenizer_bos(t);
        }
        GAL_ASSERT(bos == 1 && ids.data[0] == gal_tokenizer_bos(t) && spans.len > 0);
        err = gal_chat_encode(t, version, s, n, &again, NULL, NULL);
        GAL_ASSERT(!err && again.len == ids.len && memcmp(again.data, ids.data, ids.len * sizeof *ids.data) == 0);
    }
    gal_ids_free(&ids);
    gal_ids_free(&again);
    gal_chat_spans_free(&spans);
}

static void print(gal_buf *out, const char *s, size_t n) {
    gal__pool p;
    gal__value *v = NULL;
    gal__pool_init(&p);
    gal_err err = gal__tree_read(&v, &p, s, n, false, "fuzz", NULL);
    GAL_ASSERT(!err || err == GAL_EINPUT);
    if (v) gal__tree_print(out, v);
    gal__pool_free(&p);
}

/* The bytes themselves as a file of audio, in the body that holds them. */
static void hear(const gal_tokenizer *t, const uint8_t *data, size_t n) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    gal_buf b = { 0 };
    gal_buf_puts(
        &b, "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_audio\", \"input_audio\": \"");
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = GAL_MIN(n - i, (size_t)3);
        const unsigned v = (unsigned)data[i] << 16 | (left > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                           (left > 2 ? data[i + 2] : 0);
        for (size_t k = 0; k < 4; k++) gal_buf_putc(&b, k > left ? '=' : DIGITS[v >> (18 - 6 * k) & 63]);
    }
    gal_buf_puts(&b, "\"}]}]}");
    encode(t, 13, b.data, b.len);
    gal_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_tokenizer *t = vocabulary();
    const char *s = n ? (const char *)data : "";
    gal_buf once = { 0 }, twice = { 0 };
    print(&once, s, n);
    if (once.len) print(&twice, once.data, once.len);
    GAL_ASSERT(once.len == twice.len && (!once.len || memcmp(once.data, twice.data, once.len) == 0));
    gal_buf_free(&once);
    gal_buf_free(&twice);
    static const int VERSIONS[] = { 1, 2, 3, 7, 11, 13, 15 };
    for (size_t i = 0; i < GAL_LEN(VERSIONS); i++) encode(t, VERSIONS[i], s, n);
    if (n >= 4 && (memcmp(s, "RIF", 3) == 0 || memcmp(s, "RF64", 4) == 0 || memcmp(s, "fLaC", 4) == 0 ||
                   memcmp(s, ".snd", 4) == 0 || memcmp(s, "dns.", 4) == 0))
        hear(t, data, n);
    gal_tokenizer_free(t);
    return 0;
}
