/* chat_commands.c - lines of `galerne chat` that begin with a slash, one table. None of them ends the program but
 * /exit: what is wrong with one is said. SPDX-License-Identifier: Apache-2.0 */
#include "cli/chat.h"
#include "cli/io.h"
#include "cli/screen.h"

#include "base/file.h"
#include "base/util.h"
#include "infer/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *next_word(const char *s, char *word, size_t room) {
    size_t n = 0;
    while (*s == ' ' || *s == '\t') s++;
    while (*s && *s != ' ' && *s != '\t' && *s != '=' && n + 1 < room) word[n++] = *s++;
    word[n] = 0;
    while (*s == ' ' || *s == '\t' || *s == '=') s++;
    return s;
}

/* ---- conversations in files ---------------------------------------------------------------------------------------
 */

/* What the model remembers lies beside a conversation. */
static const char *cache_name(gal_buf *b, const char *path) {
    gal_buf_printf(b, "%s.cache", path);
    return b->oom ? NULL : b->data;
}

/* What /save and --prompt-cache may write over: nothing, or what they wrote before (it begins with these bytes). */
gal_err gal_chat_may_write(const gal_chat_room *r, const char *path, const char *begins, gal_diag *diag) {
    char head[32] = { 0 };
    if (!gal_exists(path)) return GAL_OK;
    FILE *f = gal_is_file(path) ? fopen(path, "rb") : NULL;
    const size_t n = f ? fread(head, 1, strlen(begins), f) : 0;
    if (f) (void)fclose(f);
    if (n == strlen(begins) && memcmp(head, begins, n) == 0) return GAL_OK;
    return gal_fail(diag, GAL_EUSAGE, "%s: is %s; choose another name", path,
                    gal_within(path, r->cli->operands[0]) ? "a part of the model"
                                                          : "there and was not written by this");
}

static gal_err save(gal_chat_room *r, const char *path, gal_diag *diag) {
    gal_buf b = { 0 }, beside = { 0 };
    uint64_t bytes = 0;
    char size[40];
    gal_err err = gal_talk_print(r->talk, &b, diag);
    if (!err) err = gal_chat_may_write(r, path, GAL_TALK_BEGINS, diag);
    if (!err) err = gal_write_file(path, b.data, b.len, diag);
    if (!err) gal_chat_note(&r->screen, "(saved %zu messages in %s)", gal_talk_count(r->talk), path);
    const bool keeps = r->keeps_cache && r->lm->held.len;
    if (!err && keeps && !cache_name(&beside, path)) err = gal_fail(diag, GAL_ENOMEM, "no memory for a path");
    if (!err && keeps) err = gal_chat_may_write(r, beside.data, GAL_CACHE_BEGINS, diag);
    if (!err && keeps) err = gal_lm_save_cache(r->lm, beside.data, &bytes, diag);
    if (!err && keeps)
        gal_chat_note(&r->screen, "(what the model remembers: %s in %s)",
                      gal_cli_bytes_text(size, sizeof size, bytes), beside.data);
    gal_buf_free(&b);
    gal_buf_free(&beside);
    return err;
}

void gal_chat_recall(gal_chat_room *r, const char *path) {
    gal_diag why = { 0 };
    if (gal_exists(path) && gal_lm_load_cache(r->lm, path, &why))
        gal_chat_note(&r->screen, "(not used: %s)", why.text);
}

gal_err gal_chat_load(gal_chat_room *r, const char *path, gal_diag *diag) {
    gal_buf b = { 0 }, beside = { 0 };
    gal_err err = gal_read_file(&b, path, (size_t)1 << 26, diag);
    if (!err) err = gal_talk_read(r->talk, b.data ? b.data : "", b.len, path, diag);
    if (!err && r->keeps_cache && cache_name(&beside, path)) gal_chat_recall(r, beside.data);
    gal_buf_free(&b);
    gal_buf_free(&beside);
    return err;
}

/* ---- commands -----------------------------------------------------------------------------------------------------
 */

static gal_err do_system(gal_chat_room *r, const char *text, gal_diag *diag) {
    gal_buf b = { 0 };
    gal_err err = GAL_OK;
    if (*text) {
        const bool none = strcmp(text, "\"\"") == 0;
        err = gal_talk_system(r->talk, none ? NULL : text, strlen(text), diag);
        if (!err) gal_chat_note(&r->screen, none ? "(no system message)" : "(system message set)");
    } else if (gal_talk_count(r->talk) && strcmp(gal_talk_role(r->talk, 0), "system") == 0) {
        err = gal_talk_text(r->talk, 0, &b, diag);
        gal_cli_print_safe(stderr, GAL_SAFE_TEXT, b.data ? b.data : "", b.len);
        fputc('\n', stderr);
    } else {
        gal_chat_note(&r->screen, "(no system message)");
    }
    gal_buf_free(&b);
    return err;
}

static gal_err do_save(gal_chat_room *r, const char *text, gal_diag *diag) {
    if (!*text) return gal_fail(diag, GAL_EUSAGE, "/save needs the name of a file");
    return save(r, text, diag);
}

static gal_err do_load(gal_chat_room *r, const char *text, gal_diag *diag) {
    if (!*text) return gal_fail(diag, GAL_EUSAGE, "/load needs the name of a file");
    gal_err err = gal_chat_load(r, text, diag);
    if (err) return err;
    gal_chat_note(&r->screen, "(%zu messages from %s)", gal_talk_count(r->talk), text);
    return gal_talk_waits(r->talk) ? gal_chat_answer(r) : GAL_OK;
}

static gal_err do_undo(gal_chat_room *r, const char *text, gal_diag *diag) {
    gal_buf b = { 0 };
    (void)text;
    gal_err err = GAL_OK;
    size_t i = gal_talk_count(r->talk);
    while (i > 0 && strcmp(gal_talk_role(r->talk, i - 1), "user") != 0) i--;
    if (i) err = gal_talk_text(r->talk, i - 1, &b, diag);
    if (!err && gal_talk_undo(r->talk)) {
        const size_t shown = b.len > 60 ? gal_utf8_complete(b.data, 60) : b.len;
        gal_chat_note(&r->screen, "(taken back: %.*s%s)", (int)shown, b.data ? b.data : "",
                      shown < b.len ? "..." : "");
    } else if (!err) {
        gal_chat_note(&r->screen, "(nothing to take back)");
    }
    gal_buf_free(&b);
    return err;
}

static gal_err do_regenerate(gal_chat_room *r, const char *text, gal_diag *diag) {
    (void)text;
    size_t i = gal_talk_count(r->talk);
    while (i > 0 && strcmp(gal_talk_role(r->talk, i - 1), "user") != 0) i--;
    if (!i) return gal_fail(diag, GAL_EUSAGE, "/regenerate: no question was asked yet");
    r->again = i < gal_talk_count(r->talk);
    if (r->again && r->how.generate.sampling.temperature <= 0.0)
        gal_chat_note(&r->screen, "(temperature is 0: the answer will be the same)");
    gal_buf before = { 0 };
    gal_err err = r->again ? gal_talk_print(r->talk, &before, diag) : GAL_OK;
    if (!err) {
        const int64_t refused = r->refused;
        gal_talk_cut(r->talk, i);
        r->how.generate.sampling.seed++;
        err = gal_chat_answer(r);
        if (!err && r->again && r->refused != refused)
            err = gal_talk_read(r->talk, before.data, before.len, "the conversation", diag);
    }
    r->again = false;
    gal_buf_free(&before);
    return err;
}

static gal_err do_clear(gal_chat_room *r, const char *text, gal_diag *diag) {
    (void)text;
    (void)diag;
    size_t keep = 0;
    while (keep < gal_talk_count(r->talk) && strcmp(gal_talk_role(r->talk, keep), "system") == 0) keep++;
    gal_talk_cut(r->talk, keep);
    gal_chat_note(&r->screen, keep ? "(a new conversation; the system message stays)" : "(a new conversation)");
    return GAL_OK;
}

/* How many tokens each kind of text takes. */
static gal_err do_tokens(gal_chat_room *r, const char *text, gal_diag *diag) {
    static const char *const KINDS[] = {
        [GAL_CHAT_CONTROL] = "control",   [GAL_CHAT_SYSTEM] = "system",     [GAL_CHAT_USER] = "user",
        [GAL_CHAT_ASSISTANT] = "answers", [GAL_CHAT_THINKING] = "thinking", [GAL_CHAT_TOOLS] = "tools",
        [GAL_CHAT_CALL] = "calls",        [GAL_CHAT_RESULT] = "results",
    };
    gal_ids ids = { 0 };
    gal_chat_spans spans = { 0 };
    size_t count[GAL_LEN(KINDS)] = { 0 };
    (void)text;
    gal_err err = gal_talk_count(r->talk) ? gal_talk_ids(r->talk, &ids, &spans, diag) : GAL_OK;
    for (size_t i = 0; i < spans.len && !err; i++)
        count[spans.data[i].kind] += (i + 1 < spans.len ? spans.data[i + 1].begin : ids.len) - spans.data[i].begin;
    for (size_t k = 0; k < GAL_LEN(KINDS) && !err; k++)
        if (count[k]) gal_chat_note(&r->screen, "%9zu %s", count[k], KINDS[k]);
    const long long context = gal_engine_context(r->lm->engine);
    if (!err)
        gal_chat_note(&r->screen, "%9zu of %lld (%.1f %%)", ids.len, context,
                      100.0 * (double)ids.len / (double)context);
    gal_ids_free(&ids);
    gal_chat_spans_free(&spans);
    return err;
}

static gal_err do_thinking(gal_chat_room *r, const char *text, gal_diag *diag) {
    (void)text;
    (void)diag;
    const gal_buf *t = &r->screen.thoughts;
    gal_cli_flush();
    if (!t->len) {
        gal_chat_note(&r->screen, "(no thinking in the last answer)");
        return GAL_OK;
    }
    if (r->screen.colours) fputs("\x1b[2m", stderr);
    gal_cli_print_safe(stderr, GAL_SAFE_TEXT, t->data, t->len);
    fputs(r->screen.colours ? "\x1b[0m\n" : "\n", stderr);
    return GAL_OK;
}

static gal_err do_history(gal_chat_room *r, const char *text, gal_diag *diag) {
    gal_err err = GAL_OK;
    (void)text;
    gal_cli_flush();
    for (size_t i = 0; i < gal_talk_count(r->talk) && !err; i++) {
        gal_buf b = { 0 };
        err = gal_talk_text(r->talk, i, &b, diag);
        fprintf(stderr, "%s%s:%s ", r->screen.colours ? "\x1b[1m" : "", gal_talk_role(r->talk, i),
                r->screen.colours ? "\x1b[0m" : "");
        gal_cli_print_safe(stderr, GAL_SAFE_TEXT, b.data ? b.data : "", b.len);
        fputc('\n', stderr);
        gal_buf_free(&b);
    }
    if (!err && !gal_talk_count(r->talk)) gal_chat_note(&r->screen, "(nothing was said yet)");
    return err;
}

static gal_err do_exit(gal_chat_room *r, const char *text, gal_diag *diag) {
    (void)r;
    (void)text;
    (void)diag;
    return GAL_OK;
}

/* ---- settings -----------------------------------------------------------------------------------------------------
 */

static void list_settings(gal_chat_room *r) {
    const gal_generate_options *o = &r->how.generate;
    const gal_sampling *s = &o->sampling;
    const gal_chat_screen *c = &r->screen;
    gal_chat_note(c, "temperature %g", s->temperature);
    gal_chat_note(c, "top_k %lld", (long long)s->top_k);
    gal_chat_note(c, "top_p %g", s->top_p);
    gal_chat_note(c, "min_p %g", s->min_p);
    gal_chat_note(c, "repetition_penalty %g", s->repetition_penalty);
    gal_chat_note(c, "seed %llu", (unsigned long long)s->seed);
    gal_chat_note(c, o->max_tokens > 0 ? "max_tokens %lld" : "max_tokens %lld (to the end of the context)",
                  (long long)o->max_tokens);
    gal_chat_note(c, "when_full %s", GAL_WHEN_FULL_NAMES[r->how.when_full]);
    gal_chat_note(c, "thinking %s", GAL_THINKING_NAMES[c->thinking]);
    if (gal_talk_get_effort(r->talk)) gal_chat_note(c, "reasoning_effort %s", gal_talk_get_effort(r->talk));
}

static bool choose(const char *value, const char *const *names, int *out) {
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static gal_err set_number(gal_chat_room *r, const char *name, const char *value, gal_diag *diag) {
    gal_sampling s = r->how.generate.sampling;
    double x = 0.0;
    int64_t i = 0;
    const bool real = gal_parse_f64(value, &x) && isfinite(x), whole = gal_parse_i64(value, &i);
    bool known = true, good = real;
    if (strcmp(name, "temperature") == 0)
        s.temperature = x;
    else if (strcmp(name, "top_p") == 0)
        s.top_p = x;
    else if (strcmp(name, "min_p") == 0)
        s.min_p = x;
    else if (strcmp(name, "repetition_penalty") == 0)
        s.repetition_penalty = x;
    else if (strcmp(name, "top_k") == 0)
        s.top_k = i;
    else if (strcmp(name, "seed") == 0)
        s.seed = (uint64_t)i;
    else
        known = strcmp(name, "max_tokens") == 0;
    if (strcmp(name, "top_k") == 0 || strcmp(name, "seed") == 0 || strcmp(name, "max_tokens") == 0)
        good = whole && i >= 0;
    if (!known) return gal_fail(diag, GAL_EUSAGE, "/set: no setting is called %.40s; /set alone lists them", name);
    if (!good) return gal_fail(diag, GAL_EUSAGE, "/set %s: expected a number, found %.40s", name, value);
    gal_err err = gal_sampling_check(&s, diag);
    if (err) return err;
    r->how.generate.sampling = s;
    if (strcmp(name, "max_tokens") == 0) r->how.generate.max_tokens = i;
    return GAL_OK;
}

static gal_err do_set(gal_chat_room *r, const char *text, gal_diag *diag) {
    char name[32], value[64];
    int choice = 0;
    text = next_word(text, name, sizeof name);
    (void)next_word(text, value, sizeof value);
    if (!name[0]) {
        list_settings(r);
        return GAL_OK;
    }
    if (!value[0]) return gal_fail(diag, GAL_EUSAGE, "/set %s: expected a value", name);
    gal_err err = GAL_OK;
    if (strcmp(name, "when_full") == 0) {
        if (!choose(value, GAL_WHEN_FULL_NAMES, &choice))
            return gal_fail(diag, GAL_EUSAGE, "/set when_full: expected stop or drop, found %s", value);
        r->how.when_full = (gal_when_full)choice;
    } else if (strcmp(name, "thinking") == 0) {
        if (!choose(value, GAL_THINKING_NAMES, &choice))
            return gal_fail(diag, GAL_EUSAGE, "/set thinking: expected show, fold or hide, found %s", value);
        r->screen.thinking = (gal_thinking)choice;
    } else if (strcmp(name, "reasoning_effort") == 0) {
        err = gal_talk_effort(r->talk, strcmp(value, "\"\"") == 0 ? NULL : value, diag);
    } else {
        err = set_number(r, name, value, diag);
    }
    if (!err) gal_chat_note(&r->screen, "(%s %s)", name, value);
    return err;
}

/* ---- the table ----------------------------------------------------------------------------------------------------
 */

static gal_err do_help(gal_chat_room *r, const char *text, gal_diag *diag);

static const struct {
    const char *name, *value, *help;
    gal_err (*run)(gal_chat_room *r, const char *text, gal_diag *diag);
} COMMANDS[] = {
    { "/help", "", "this list", do_help },
    { "/system", "TEXT", "set the system message; \"\" for none", do_system },
    { "/save", "FILE", "write the conversation", do_save },
    { "/load", "FILE", "go on with one", do_load },
    { "/undo", "", "take the last question back", do_undo },
    { "/regenerate", "", "another answer to it", do_regenerate },
    { "/clear", "", "begin anew", do_clear },
    { "/history", "", "what was said", do_history },
    { "/tokens", "", "how the context is used", do_tokens },
    { "/thinking", "", "the last answer's thinking", do_thinking },
    { "/set", "NAME VALUE", "temperature, top_p, ...; alone: all", do_set },
    { "/exit", "", "leave (or Ctrl-D)", do_exit },
};

static gal_err do_help(gal_chat_room *r, const char *text, gal_diag *diag) {
    const bool narrow = gal_cli_width(stderr) < 64;
    (void)text;
    (void)diag;
    for (size_t i = 0; i < GAL_LEN(COMMANDS); i++) {
        char left[32];
        (void)snprintf(left, sizeof left, "%s %s", COMMANDS[i].name, COMMANDS[i].value);
        gal_chat_note(&r->screen, narrow ? "%s\n    %s" : "%-18s %s", left, COMMANDS[i].help);
    }
    gal_chat_note(&r->screen, "Several lines: paste them, end a line\nwith \\ or put \"\"\" before and after.");
    gal_chat_note(&r->screen, "// begins a message with a slash.\nCtrl-C stops an answer.");
    return GAL_OK;
}

const char *gal_chat_command_name(size_t i) { return i < GAL_LEN(COMMANDS) ? COMMANDS[i].name : NULL; }

gal_err gal_chat_command(gal_chat_room *r, const char *line, bool *leave) {
    char name[32];
    gal_diag why = { 0 };
    const char *rest = line;
    size_t n = 0;
    while (*rest && *rest != ' ' && *rest != '\t' && *rest != '\n' && n + 1 < sizeof name) name[n++] = *rest++;
    name[n] = 0;
    while (*rest == ' ' || *rest == '\t' || *rest == '\n') rest++;
    if (strcmp(name, "/quit") == 0 || strcmp(name, "/bye") == 0) (void)snprintf(name, sizeof name, "/exit");
    for (size_t i = 0; i < GAL_LEN(COMMANDS); i++) {
        if (strcmp(name, COMMANDS[i].name) != 0) continue;
        gal_err err = COMMANDS[i].run(r, rest, &why);
        *leave = COMMANDS[i].run == do_exit;
        if (err && !why.text[0]) return err; /* of an answer: its message is the program's */
        if (err) gal_cli_complain("galerne", why.text);
        return GAL_OK;
    }
    (void)gal_fail(&why, GAL_EUSAGE, "no command is called %s; /help lists them, // begins a message with a slash",
                   name);
    gal_cli_complain("galerne", why.text);
    return GAL_OK;
}
