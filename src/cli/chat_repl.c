/* chat_repl.c - the loop of `galerne chat`: what is typed or piped, the answer, the tools it calls.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/chat.h"
#include "cli/lines.h"
#include "cli/sampling.h"
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 16 }; /* of calls after one question */

/* ---- tools --------------------------------------------------------------------------------------------------------
 */

/* What a person says in a tool's place; an empty line: that there is none. *left: they went away instead. */
static gal_err ask_person(gal_chat_room *r, const char *name, gal_buf *result, bool *left) {
    gal_buf prompt = { 0 };
    size_t n = 0;
    gal_buf_printf(&prompt, "result of %s> ", name);
    const char *said = gal_lines_message(r->lines, prompt.data ? prompt.data : "result> ", ". ", &n);
    *left = !said;
    if (said) gal_buf_add(result, said, n);
    gal_buf_free(&prompt);
    return GAL_OK;
}

static gal_err one_call(gal_chat_room *r, const gal_reply_call *call, bool *left) {
    gal_cli *cli = r->cli;
    gal_buf result = { 0 };
    const gal_chat_tool *t = gal_chat_toolbox_find(&r->tools, call->name);
    gal_err err = GAL_OK;
    gal_chat_show_call(&r->screen, call->name, call->arguments);
    if (t)
        err = gal_chat_tool_run(&r->tools, t, call->arguments, &result, &cli->diag);
    else if (r->lines && gal_lines_terminal(r->lines))
        err = ask_person(r, call->name, &result, left);
    if (!err && !t && !result.len && !*left) gal_buf_puts(&result, "{\"error\": \"this tool is not available\"}");
    if (!err && result.oom) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a tool's result");
    if (!err && !*left) {
        gal_chat_show_result(&r->screen, result.data ? result.data : "", result.len);
        err = gal_talk_result(r->talk, call->id, call->name, result.data ? result.data : "", result.len, &cli->diag);
    }
    gal_buf_free(&result);
    return err;
}

static gal_err all_calls(gal_chat_room *r, bool *left) {
    const gal_reply *reply = gal_talk_last(r->talk);
    gal_err err = GAL_OK;
    for (size_t i = 0; i < gal_reply_calls(reply) && !err && !*left; i++) {
        const gal_reply_call call = gal_reply_call_at(reply, i);
        err = one_call(r, &call, left);
    }
    return err;
}

/* ---- an answer ----------------------------------------------------------------------------------------------------
 */

static void take_back(gal_chat_room *r, const char *why) {
    const char *what = "; the answer that there was stays";
    r->refused++;
    if (!r->again) what = gal_talk_undo(r->talk) ? "; the question was taken back" : "";
    gal_chat_note(&r->screen, "(%s%s)", why, what);
}

/* An object a line, for programs. */
static gal_err print_json(gal_chat_room *r, const gal_talk_answer *a) {
    gal_buf b = { 0 };
    const gal_generate_result *g = &a->result;
    gal_buf_puts(&b, "{\"message\": ");
    gal_err err = gal_reply_message(gal_talk_last(r->talk), &b, &r->cli->diag);
    gal_buf_printf(
        &b,
        ", \"stop\": \"%s\", \"prompt_tokens\": %lld, \"cached_tokens\": %lld, \"tokens\": %lld, "
        "\"dropped_messages\": %zu, \"context\": %lld, \"passes\": %lld, \"proposed\": %lld, \"accepted\": %lld, "
        "\"prompt_s\": %.6f, \"generate_s\": %.6f",
        gal_reply_calls(gal_talk_last(r->talk)) ? "tool_calls" : gal_stop_reason_name(g->stop),
        (long long)g->prompt_tokens, (long long)a->cached, (long long)g->tokens, a->dropped,
        (long long)gal_engine_context(r->lm->engine), (long long)g->passes, (long long)g->proposed,
        (long long)g->accepted, g->prompt_s, g->generate_s);
    gal_cli_print_sampling(&b, r->cli, r->lm, &r->how.generate.sampling);
    gal_buf_printf(&b, ", \"seed\": %llu}\n", (unsigned long long)r->how.generate.sampling.seed);
    if (!err && b.oom) err = gal_fail(&r->cli->diag, GAL_ENOMEM, "no memory for the answer");
    if (!err) gal_cli_write(b.data, b.len);
    gal_buf_free(&b);
    return err;
}

/* In the place of an answer: each line of input has one of output. */
static void print_error(const char *why) {
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"error\": ");
    gal_buf_json(&b, why, strlen(why));
    gal_buf_puts(&b, "}\n");
    if (!b.oom) gal_cli_write(b.data, b.len);
    gal_buf_free(&b);
}

/* Says how an answer ended, where that is worth a word. */
static void tell_end(gal_chat_room *r, const gal_talk_answer *a) {
    const gal_chat_screen *s = &r->screen;
    const long long context = gal_engine_context(r->lm->engine);
    if (a->dropped)
        gal_chat_note(s,
                      "(the context of %lld tokens was full: the oldest %zu messages are gone from the conversation)",
                      context, a->dropped);
    if (gal_reply_bad_call(gal_talk_last(r->talk)))
        gal_chat_note(s, "(a tool call that could not be read is shown as text)");
    if (a->result.stop == GAL_STOP_CONTEXT)
        gal_chat_note(s, "(the context of %lld tokens is full: the answer ends here%s)", context,
                      r->lines ? "; /undo takes the question back, /set when_full drop lets the oldest messages go"
                               : "");
    if (a->result.stop == GAL_STOP_TOKENS)
        gal_chat_note(s, "(stopped after %lld tokens, as max_tokens says)", (long long)a->result.tokens);
    if (a->result.stop == GAL_STOP_CALLER) gal_chat_note(s, "(stopped)");
    gal_chat_count(s, r->talk, a, context);
}

/* One answer. *more: it called tools, whose results are there now. */
static gal_err one_answer(gal_chat_room *r, bool *more) {
    gal_cli *cli = r->cli;
    gal_talk_answer a;
    const gal_talk_view view = gal_chat_screen_view(&r->screen);
    *more = false;
    gal_chat_screen_begin(&r->screen);
    gal_cli_hush(true);
    gal_err err = gal_talk_ask(r->talk, &r->how, &view, &a, &cli->diag);
    gal_cli_hush(false);
    gal_chat_screen_end(&r->screen);
    if (err) return err;
    if (r->screen.json) err = print_json(r, &a);
    tell_end(r, &a);
    if (!a.said && !err) {
        take_back(r, "the model said nothing");
        return GAL_OK;
    }
    if (err || a.result.stop == GAL_STOP_CALLER || !gal_reply_calls(gal_talk_last(r->talk))) return err;
    bool left = false;
    err = all_calls(r, &left);
    if (!err && left) take_back(r, "no result");
    *more = !err && !left;
    return err;
}

static size_t questions(const gal_talk *talk) {
    size_t n = 0;
    for (size_t i = 0; i < gal_talk_count(talk); i++) n += strcmp(gal_talk_role(talk, i), "user") == 0;
    return n;
}

/* What a question may run into without ending the program. */
static bool survivable(gal_err err) { return err == GAL_EINTERRUPTED || err == GAL_ENOMEM || err == GAL_EINPUT; }

gal_err gal_chat_answer(gal_chat_room *r) {
    gal_cli *cli = r->cli;
    gal_err err = GAL_OK;
    bool more = true;
    for (int round = 0; more && !err; round++) {
        gal_cli_reset_interrupts();
        err = one_answer(r, &more);
        if (!more || err || round + 1 < MOST_ROUNDS) continue;
        take_back(r, "the model went on calling tools");
        break;
    }
    const bool alone = !r->lines; /* one question: its failure is the program's */
    if (!err || alone || !survivable(err)) return err;
    if (err == GAL_EINTERRUPTED) {
        take_back(r, "stopped");
    } else {
        if (r->screen.json) print_error(cli->diag.text);
        gal_cli_complain("galerne", cli->diag.text);
        const bool could_drop = err == GAL_ENOMEM && r->how.when_full == GAL_FULL_STOP && questions(r->talk) > 1;
        take_back(r, could_drop ? "no answer; /set when_full drop lets the oldest messages go" : "no answer");
    }
    cli->diag = (gal_diag){ 0 };
    return GAL_OK;
}

/* ---- the loop -----------------------------------------------------------------------------------------------------
 */

static gal_err question(gal_chat_room *r, const char *text, size_t n) {
    r->again = false;
    gal_err err = gal_talk_say(r->talk, "user", text, n, &r->cli->diag);
    return err ? err : gal_chat_answer(r);
}

static bool blank(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", text[i])) return false;
    return true;
}

gal_err gal_chat_loop(gal_chat_room *r) {
    const bool terminal = gal_lines_terminal(r->lines);
    bool leave = false, warned = false;
    gal_err err = GAL_OK;
    while (!err && !leave && !gal_cli_terminated()) {
        size_t n = 0;
        gal_cli_reset_interrupts();
        const char *text = gal_lines_message(r->lines, "> ", ". ", &n);
        if (!text && gal_cli_interrupted() && terminal) {
            fputc('\n', stderr);
            if (warned) break;
            warned = !gal_lines_had_text(r->lines);
            if (warned) gal_chat_note(&r->screen, "(Ctrl-C again or Ctrl-D leaves)");
            continue;
        }
        if (!text && terminal) fputc('\n', stderr);
        if (!text) break;
        warned = false;
        if (blank(text, n)) continue;
        if (text[0] == '/' && text[1] != '/')
            err = gal_chat_command(r, text, &leave);
        else if (text[0] == '/')
            err = question(r, text + 1, n - 1);
        else
            err = question(r, text, n);
        if (ferror(stdout)) break; /* a reader that has gone needs no more */
    }
    if (!err && (!terminal || gal_cli_terminated()) && gal_cli_interrupted())
        err = gal_fail(&r->cli->diag, GAL_EINTERRUPTED, "interrupted");
    if (!err && !terminal && r->refused && !r->screen.json) /* with --json each of them has its line */
        err = gal_fail(&r->cli->diag, GAL_EFAIL, "%lld of the questions got no answer", (long long)r->refused);
    return err;
}
