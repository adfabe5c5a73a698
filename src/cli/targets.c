/* targets.c - see targets.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/targets.h"

#include "cli/screen.h"

static bool is_text(const gal_tokenizer *t, int32_t id) {
    const gal_piece_type type = gal_tokenizer_type(t, id);
    return type != GAL_PIECE_CONTROL && type != GAL_PIECE_UNKNOWN;
}

/* A run of which all or nothing is learned: texts as a whole, since a character may be several tokens. */
static gal_err print_run(const gal_tokenizer *t, const int32_t *ids, size_t n, gal_buf *text, gal_diag *diag) {
    for (size_t i = 0; i < n;) {
        size_t k = i, bytes;
        while (k < n && is_text(t, ids[k])) k++;
        gal_buf_clear(text);
        gal_err err = k > i ? gal_decode(t, ids + i, k - i, text, diag) : GAL_OK;
        if (!err && text->oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a text");
        if (err) return err;
        if (text->len) gal_cli_print_safe(stdout, GAL_SAFE_TEXT, text->data, text->len);
        while (k < n && !is_text(t, ids[k])) {
            const char *piece = gal_tokenizer_piece(t, ids[k], &bytes);
            const size_t first = k;
            while (k < n && ids[k] == ids[first]) k++;
            gal_cli_print_safe(stdout, GAL_SAFE_LINE, piece, bytes);
            if (k - first > 1) printf(" (%zu times)", k - first); /* what fills a row */
        }
        i = k;
    }
    return GAL_OK;
}

gal_err gal_cli_print_targets(const gal_tokenizer *t, const int32_t *ids, const uint8_t *learned, size_t n,
                              gal_diag *diag) {
    const bool colour = gal_cli_colours(stdout);
    gal_buf text = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n;) {
        size_t end = i;
        while (end < n && (learned[end] != 0) == (learned[i] != 0)) end++;
        if (learned[i]) fputs(colour ? "\x1b[1;32m" : "[[", stdout);
        err = print_run(t, ids + i, end - i, &text, diag);
        if (learned[i]) fputs(colour ? "\x1b[0m" : "]]", stdout);
        i = end;
    }
    putchar('\n');
    gal_buf_free(&text);
    return err;
}
