/* chat_view.c - see chat.h. Invariant: nothing that a model says reaches a terminal but as characters to show.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/chat.h"

#include "base/util.h"
#include "cli/sampling.h"
#include "cli/screen.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const GAL_WHEN_FULL_NAMES[] = { [GAL_FULL_STOP] = "stop", [GAL_FULL_DROP] = "drop", NULL };
const char *const GAL_THINKING_NAMES[] = { "show", "fold", "hide", NULL };

static const char DIM[] = "\x1b[2m", PLAIN[] = "\x1b[0m";

void gal_chat_screen_open(gal_chat_screen *s, const gal_cli *cli) {
    *s = (gal_chat_screen){ .terminal = gal_cli_is_terminal(stdout),
                            .colours = gal_cli_colours(stdout),
                            .quiet = cli->quiet,
                            .json = cli->json,
                            .last = '\n' };
    s->thinking = s->terminal ? GAL_THINKING_SHOW : GAL_THINKING_HIDE;
}

void gal_chat_screen_close(gal_chat_screen *s) { gal_buf_free(&s->thoughts); }

static void put(const gal_chat_screen *s, const char *text, size_t n) {
    if (s->terminal)
        gal_cli_print_safe(stdout, GAL_SAFE_TEXT, text, n);
    else
        (void)fwrite(text, 1, n, stdout);
}

/* The line that a folded thought has while it lasts. */
static void show_fold(gal_chat_screen *s, bool last) {
    const double now = gal_now_s();
    if (!s->terminal || s->thinking != GAL_THINKING_FOLD || (!last && now - s->shown_s < 0.2)) return;
    s->shown_s = now;
    if (!last)
        fprintf(stdout, "\r%s[thinking: %lld tokens]%s", s->colours ? DIM : "", (long long)s->thought,
                s->colours ? PLAIN : "");
    else
        fprintf(stdout, "\r%s[thought: %lld tokens, %.1f s; /thinking]%s\n", s->colours ? DIM : "",
                (long long)s->thought, s->thought_s, s->colours ? PLAIN : "");
    gal_cli_flush();
}

static void begin_thought(gal_chat_screen *s) {
    s->thinks = true;
    s->began_s = gal_now_s();
    if (s->thinking != GAL_THINKING_SHOW || s->json) return;
    if (s->spoke && s->last != '\n') fputc('\n', stdout);
    fputs(s->colours ? DIM : "[thinking] ", stdout);
}

static void end_thought(gal_chat_screen *s) {
    if (!s->thinks) return;
    s->thinks = false;
    s->thought_s += gal_now_s() - s->began_s;
    if (s->json) return;
    if (s->thinking == GAL_THINKING_SHOW) fputs(s->colours ? "\x1b[0m\n\n" : "\n[/thinking]\n\n", stdout);
    show_fold(s, true);
    s->last = '\n';
}

static void on_text(void *user, gal_reply_kind kind, const char *text, size_t n) {
    gal_chat_screen *s = user;
    if (kind == GAL_REPLY_THINKING) {
        if (!s->thinks) begin_thought(s);
        gal_buf_add(&s->thoughts, text, n);
        if (s->thinking == GAL_THINKING_SHOW && !s->json) put(s, text, n);
    } else {
        end_thought(s);
        if (kind == GAL_REPLY_TEXT && !s->json) {
            put(s, text, n);
            s->spoke = true;
            s->last = text[n - 1];
        }
    }
    gal_cli_flush();
}

static void on_token(void *user, int64_t tokens) {
    gal_chat_screen *s = user;
    s->tokens = tokens;
    if (!s->thinks) return;
    s->thought++;
    if (!s->json) show_fold(s, false);
}

gal_talk_view gal_chat_screen_view(gal_chat_screen *s) {
    return (gal_talk_view){ .text = on_text, .token = on_token, .user = s };
}

void gal_chat_screen_begin(gal_chat_screen *s) {
    s->thinks = s->spoke = false;
    s->last = '\n';
    s->tokens = s->thought = 0;
    s->thought_s = s->shown_s = 0.0;
    gal_buf_clear(&s->thoughts);
}

void gal_chat_screen_end(gal_chat_screen *s) {
    end_thought(s);
    if (s->spoke && s->last != '\n') fputc('\n', stdout);
    gal_cli_flush();
}

void gal_chat_note(const gal_chat_screen *s, const char *fmt, ...) {
    gal_buf b = { 0 };
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gal_buf_puts(&b, text);
    gal_cli_flush();
    const bool dim = s->colours && isatty(STDERR_FILENO);
    if (dim) fputs(DIM, stderr);
    gal_cli_print_safe(stderr, GAL_SAFE_TEXT, b.data ? b.data : "", b.len);
    fputs(dim ? "\x1b[0m\n" : "\n", stderr);
    gal_buf_free(&b);
}

static void show_arrow(const gal_chat_screen *s, const char *arrow, const char *a, const char *b, size_t n,
                       const char *end) {
    const bool dim = s->colours && isatty(STDERR_FILENO);
    gal_cli_flush();
    fprintf(stderr, "%s%s ", dim ? "\x1b[36m" : "", arrow);
    gal_cli_print_safe(stderr, GAL_SAFE_LINE, a, strlen(a));
    gal_cli_print_safe(stderr, GAL_SAFE_LINE, b, n);
    fprintf(stderr, "%s%s\n", end, dim ? PLAIN : "");
}

void gal_chat_show_call(const gal_chat_screen *s, const char *name, const char *arguments) {
    gal_buf b = { 0 };
    gal_buf_printf(&b, "%s(", name);
    show_arrow(s, "->", b.data ? b.data : name, arguments, strlen(arguments), ")");
    gal_buf_free(&b);
}

enum { SHOWN_RESULT = 400 };

void gal_chat_show_result(const gal_chat_screen *s, const char *text, size_t n) {
    size_t shown = n > SHOWN_RESULT ? gal_utf8_complete(text, SHOWN_RESULT) : n;
    show_arrow(s, "<-", "", text, shown, shown < n ? " ..." : "");
}

void gal_chat_count(const gal_chat_screen *s, const gal_talk *talk, const gal_talk_answer *a, int64_t context) {
    if (s->quiet || s->json) return;
    const gal_generate_result *r = &a->result;
    const double speed = r->generate_s > 0.0 ? (double)r->tokens / r->generate_s : 0.0,
                 full = 100.0 * (double)gal_talk_used(talk) / (double)context;
    const long long in = (long long)(r->prompt_tokens - a->cached), out = (long long)r->tokens;
    if (gal_cli_width(stderr) >= 70)
        gal_chat_note(s, "[%lld tokens in, %lld out, %.1f tokens/s, %.1f %% of %lld used]", in, out, speed, full,
                      (long long)context);
    else
        gal_chat_note(s, "[%lld in, %lld out, %.1f/s, %.0f %%]", in, out, speed, full);
    if (!r->proposed) return;
    gal_buf b = { 0 };
    gal_cli_print_guesses(&b, r);
    gal_chat_note(s, "[%s]", b.data ? b.data : "");
    gal_buf_free(&b);
}
