/* tokenize_chat.c - `galerne tokenize --chat`: conversations to ids, and how they look.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/screen.h"
#include "cli/tokenize.h"
#include "infer/chat_template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A line for each run of one kind, its tokens with a bar between them. */
static void show(const gal_tokenizer *t, const gal_chat_format *f, const gal_ids *ids, const gal_chat_spans *spans) {
    static const struct {
        const char *name, *colour;
    } KINDS[] = {
        [GAL_CHAT_CONTROL] = { "control", "35" },  [GAL_CHAT_SYSTEM] = { "system", "33" },
        [GAL_CHAT_USER] = { "user", "32" },        [GAL_CHAT_ASSISTANT] = { "assistant", "36" },
        [GAL_CHAT_THINKING] = { "thinking", "2" }, [GAL_CHAT_TOOLS] = { "tools", "34" },
        [GAL_CHAT_CALL] = { "call", "31" },        [GAL_CHAT_RESULT] = { "result", "94" },
        [GAL_CHAT_LITERAL] = { "template", "90" },
    };
    const bool colour = gal_cli_colours(stdout);
    for (size_t i = 0; i < spans->len; i++) {
        const gal_chat_span *s = &spans->data[i];
        const size_t end = i + 1 < spans->len ? s[1].begin : ids->len;
        printf("%-10s ", KINDS[s->kind].name);
        for (size_t k = s->begin; k < end; k++) {
            size_t n;
            const char *piece = gal_tokenizer_piece(t, ids->data[k], &n);
            if (k > s->begin) fputs(colour ? "\x1b[2m|\x1b[0m" : "|", stdout);
            if (colour) printf("\x1b[%sm", KINDS[s->kind].colour);
            gal_cli_print_safe(stdout, GAL_SAFE_LINE, piece, n);
            if (colour) fputs("\x1b[0m", stdout);
        }
        putchar('\n');
    }
    printf("%zu tokens, template %s\n", ids->len, gal_chat_format_name(f));
}

static gal_err one(gal_cli *cli, const gal_tokenizer *t, const gal_chat_format *f, const gal_buf *body) {
    gal_ids ids = { 0 };
    gal_chat_spans spans = { 0 };
    gal_err err = gal_chat_format_encode(f, t, body->len ? body->data : "", body->len, &ids, &spans, &cli->diag);
    if (!err && gal_cli_given(cli, "show")) {
        show(t, f, &ids, &spans);
    } else if (!err && gal_cli_given(cli, "count")) {
        printf(cli->json ? "{\"count\": %zu}\n" : "%zu\n", ids.len);
    } else if (!err && cli->json) {
        fputs("{\"ids\": [", stdout);
        for (size_t i = 0; i < ids.len; i++) printf("%s%d", i ? ", " : "", ids.data[i]);
        printf("], \"count\": %zu}\n", ids.len);
    } else if (!err) {
        for (size_t i = 0; i < ids.len; i++) printf("%s%d", i ? " " : "", ids.data[i]);
        putchar('\n');
    }
    gal_ids_free(&ids);
    gal_chat_spans_free(&spans);
    return err;
}

static gal_err lines(gal_cli *cli, const gal_tokenizer *t, const gal_chat_format *f) {
    gal_ids ids = { 0 };
    gal_chat_spans spans = { 0 };
    char *line = NULL;
    size_t room = 0;
    gal_err err = GAL_OK;
    const bool shows = gal_cli_given(cli, "show");
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a program may wait for each answer */
    errno = 0;
    for (ssize_t n; !ferror(stdout) && (n = getline(&line, &room, stdin)) >= 0;) {
        gal_diag why = { 0 };
        ids.len = spans.len = 0;
        if (gal_chat_format_encode(f, t, line, (size_t)n, &ids, shows ? &spans : NULL, &why))
            gal_cli_print_line_error(why.text);
        else if (shows)
            show(t, f, &ids, &spans);
        else
            gal_cli_print_line_ids(&ids);
    }
    if (ferror(stdin)) err = gal_fail(&cli->diag, GAL_EINPUT, "standard input: %s", strerror(errno));
    free(line); /* getline() took it from malloc() */
    gal_ids_free(&ids);
    gal_chat_spans_free(&spans);
    return err;
}

gal_err gal_cli_tokenize_chat(gal_cli *cli, const gal_tokenizer *t, const gal_buf *body) {
    gal_chat_format *f = NULL;
    gal_err err = gal_chat_format_open(&f, t, cli->operands[0], gal_cli_string(cli, "template"), &cli->diag);
    if (!err) err = body ? one(cli, t, f, body) : lines(cli, t, f);
    gal_chat_format_free(f);
    return err;
}
