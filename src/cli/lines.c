/* lines.c - lines and longer messages from a person. Owns the editor, its history and what was pasted; refuses
 * nothing: without libedit, and where standard input is no terminal, it reads plain lines. Prompts go to standard
 * error, so that standard output holds results only. SPDX-License-Identifier: Apache-2.0 */
#include "cli/lines.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef GAL_HAVE_EDIT
#include <histedit.h>
#include <poll.h>
#include <wchar.h>
#endif

enum { HISTORY_LINES = 1000, MOST_PASTED = 1 << 26, PASTE_ROOM = 64 };

/* A paste of several lines stands in the line that is edited as "[paste 1: 12 lines]", and is put in its place at the
 * end: an editor of lines has no room for it, and none of its newlines may end the line. */
typedef struct paste {
    char mark[PASTE_ROOM];
    gal_buf text;
} paste;

struct gal_lines {
    const char *prompt;
    char *history_path;
    char *line; /* plain lines: of getline() */
    size_t room;
    gal_buf text, message;
    bool terminal, had_text;
    const char *(*word)(size_t i); /* that Tab completes; NULL: none */
    paste *pastes;
    size_t n_pastes, pastes_cap;
    gal_buf ahead; /* bytes that were read and belong to the editor */
#ifdef GAL_HAVE_EDIT
    EditLine *edit;
    History *history;
#endif
};

#ifdef GAL_HAVE_EDIT

static gal_lines *lines_of(EditLine *edit) {
    void *data = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static const char *prompt_of(EditLine *edit) {
    const gal_lines *l = lines_of(edit);
    return l ? l->prompt : "";
}

/* ---- pastes -------------------------------------------------------------------------------------------------------
 * A terminal that was asked to (2004) puts ESC [200~ before what is pasted and ESC [201~ after it. */

static const char BEGIN_PASTE[] = "\x1b[200~", END_PASTE[] = "\x1b[201~";
enum { MARK_BYTES = 6 };

static bool read_byte(char *c) { return read(STDIN_FILENO, c, 1) == 1; }

static bool soon(void) { /* keys of one name come together */
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&p, 1, 50) == 1;
}

static void add_paste(gal_lines *l, gal_buf *text) {
    void *p = l->pastes;
    if (l->n_pastes == l->pastes_cap && gal_grow(&p, &l->pastes_cap, l->n_pastes + 1, sizeof *l->pastes) != 0) return;
    l->pastes = p;
    size_t lines = 1;
    for (size_t i = 0; i + 1 < text->len; i++) lines += text->data[i] == '\n';
    paste *made = &l->pastes[l->n_pastes++];
    *made = (paste){ .text = *text };
    *text = (gal_buf){ 0 };
    (void)snprintf(made->mark, sizeof made->mark, "[paste %zu: %zu line%s]", l->n_pastes, lines,
                   lines == 1 ? "" : "s");
    gal_buf_puts(&l->ahead, made->mark);
}

/* Up to the end mark. One line of plain characters is typed as it stands. */
static void read_paste(gal_lines *l) {
    gal_buf text = { 0 };
    char c;
    bool plain = true;
    while (text.len < MOST_PASTED && !text.oom && read_byte(&c)) {
        gal_buf_putc(&text, c == '\r' ? '\n' : c);
        if (text.len < MARK_BYTES || memcmp(text.data + text.len - MARK_BYTES, END_PASTE, MARK_BYTES) != 0) continue;
        text.data[text.len -= MARK_BYTES] = 0;
        break;
    }
    for (size_t i = 0; i < text.len; i++) plain = plain && (uint8_t)text.data[i] >= 0x20 && text.data[i] != 0x7f;
    if (plain)
        gal_buf_add(&l->ahead, text.data ? text.data : "", text.len);
    else
        add_paste(l, &text);
    gal_buf_free(&text);
}

/* After an ESC: the beginning of a paste, or a key, which is the editor's. */
static void look_for_paste(gal_lines *l) {
    size_t n = 1;
    char c = 0x1b;
    gal_buf_clear(&l->ahead);
    gal_buf_putc(&l->ahead, c);
    while (n < MARK_BYTES && soon() && read_byte(&c)) {
        gal_buf_putc(&l->ahead, c);
        if (c != BEGIN_PASTE[n]) return;
        n++;
    }
    if (n < MARK_BYTES) return;
    gal_buf_clear(&l->ahead);
    read_paste(l);
}

/* One character for the editor. */
static int next_character(EditLine *edit, wchar_t *out) {
    gal_lines *l = lines_of(edit);
    for (;;) {
        uint32_t cp = 0;
        const int len = l->ahead.len ? gal_utf8_next(l->ahead.data, l->ahead.len, &cp) : 0;
        if (len > 0) {
            gal_buf_drop(&l->ahead, (size_t)len);
            *out = (wchar_t)cp;
            return 1;
        }
        if (l->ahead.len >= 4) { /* no character begins so */
            gal_buf_drop(&l->ahead, 1);
            continue;
        }
        char c;
        ssize_t got = read(STDIN_FILENO, &c, 1);
        if (got <= 0) return (int)got;
        if (!l->ahead.len && c == 0x1b)
            look_for_paste(l);
        else
            gal_buf_putc(&l->ahead, c);
        if (l->ahead.oom) return -1;
    }
}

/* Tab: as much of a word as all that begin so have in common. */
static unsigned char complete(EditLine *edit, int key) {
    const gal_lines *l = lines_of(edit);
    const LineInfo *info = el_line(edit);
    const size_t typed = (size_t)(info->cursor - info->buffer);
    const char *first = NULL;
    size_t common = 0, found = 0;
    (void)key;
    for (size_t i = 0; l->word && l->word(i); i++) {
        const char *w = l->word(i);
        if (!typed || strncmp(w, info->buffer, typed) != 0) continue;
        if (!found++) {
            first = w;
            common = strlen(w);
        }
        while (strncmp(first, w, common) != 0) common--;
    }
    if (!found || common < typed) return CC_ERROR;
    gal_buf more = { 0 };
    gal_buf_add(&more, first + typed, common - typed);
    if (found == 1) gal_buf_putc(&more, ' ');
    const bool good = more.len && !more.oom && el_insertstr(edit, more.data) == 0;
    gal_buf_free(&more);
    return good ? CC_REFRESH : CC_ERROR;
}

static void ask_for_pastes(const gal_lines *l, bool on) {
    const char *term = getenv("TERM");
    if (l->terminal && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0)
        fputs(on ? "\x1b[?2004h" : "\x1b[?2004l", stderr);
}

static void open_editor(gal_lines *l) {
    HistEvent ev;
    /* The editor drops what the locale's character set lacks: outside of UTF-8 that would be every accent. */
    const char *locale = setlocale(LC_CTYPE, "");
    if (!locale || MB_CUR_MAX == 1) (void)setlocale(LC_CTYPE, "C.UTF-8");
    l->edit = el_init("galerne", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return;
    (void)history(l->history, &ev, H_SETSIZE, HISTORY_LINES);
    (void)history(l->history, &ev, H_SETUNIQUE, 1);
    if (l->history_path) (void)history(l->history, &ev, H_LOAD, l->history_path);
    (void)el_set(l->edit, EL_CLIENTDATA, l);
    (void)el_set(l->edit, EL_PROMPT, prompt_of);
    (void)el_set(l->edit, EL_EDITOR, "emacs");
    (void)el_set(l->edit, EL_HIST, history, l->history);
    (void)el_set(l->edit, EL_GETCFN, next_character);
    (void)el_set(l->edit, EL_ADDFN, "galerne-complete", "Complete a command", complete);
    (void)el_set(l->edit, EL_BIND, "^I", "galerne-complete", NULL);
    (void)el_source(l->edit, NULL); /* ~/.editrc, if there is one */
}
#endif

const char *gal_lines_history(gal_buf *b, const char *name) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && state[0] == '/') {
        gal_buf_printf(b, "%s/galerne", state);
    } else if (home && home[0] == '/') {
        gal_buf_printf(b, "%s/.local/state/galerne", home);
    } else {
        return NULL;
    }
    if (b->oom || gal_make_dirs(b->data, NULL)) return NULL;
    gal_buf_printf(b, "/%s", name);
    return b->oom ? NULL : b->data;
}

gal_err gal_lines_open(gal_lines **out, const char *history, gal_diag *diag) {
    gal_lines *l = gal_alloc(sizeof *l);
    if (!l) return gal_fail(diag, GAL_ENOMEM, "no memory for a line editor");
    l->history_path = history ? gal_strdup(history) : NULL;
    l->terminal = isatty(STDIN_FILENO) == 1;
#ifdef GAL_HAVE_EDIT
    if (l->terminal) open_editor(l);
#endif
    *out = l;
    return GAL_OK;
}

void gal_lines_complete(gal_lines *l, const char *(*word)(size_t i)) { l->word = word; }

bool gal_lines_terminal(const gal_lines *l) { return l->terminal; }
bool gal_lines_had_text(const gal_lines *l) { return l->had_text; }

static const char *finish_line(gal_lines *l, const char *line, size_t n) {
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
    gal_buf_clear(&l->text);
    gal_buf_add(&l->text, line, n);
    gal_buf_puts(&l->text, "");
    return l->text.oom ? NULL : (l->text.data ? l->text.data : "");
}

static void forget_pastes(gal_lines *l) {
    for (size_t i = 0; i < l->n_pastes; i++) gal_buf_free(&l->pastes[i].text);
    l->n_pastes = 0;
}

const char *gal_lines_next(gal_lines *l, const char *prompt) {
    l->prompt = prompt;
    l->had_text = false;
#ifdef GAL_HAVE_EDIT
    if (l->edit && l->history) {
        int n = 0;
        ask_for_pastes(l, true);
        const char *line = el_gets(l->edit, &n);
        ask_for_pastes(l, false);
        if (!line || n <= 0) {
            const LineInfo *info = el_line(l->edit);
            l->had_text = info && info->lastchar > info->buffer;
            return NULL;
        }
        HistEvent ev; /* a mark means nothing later */
        if (n > 1 && !l->n_pastes) (void)history(l->history, &ev, H_ENTER, line);
        return finish_line(l, line, (size_t)n);
    }
#endif
    if (l->terminal) fputs(prompt, stderr);
    ssize_t n = getline(&l->line, &l->room, stdin);
    if (n <= 0) clearerr(stdin); /* of a terminal: Ctrl-C is no end */
    return n > 0 ? finish_line(l, l->line, (size_t)n) : NULL;
}

/* Pastes in the place of their marks. */
static void expand(gal_lines *l, const char *line) {
    while (*line) {
        const paste *found = NULL;
        for (size_t i = 0; i < l->n_pastes && !found; i++)
            if (strncmp(line, l->pastes[i].mark, strlen(l->pastes[i].mark)) == 0) found = &l->pastes[i];
        if (found) {
            gal_buf_add(&l->message, found->text.data ? found->text.data : "", found->text.len);
            line += strlen(found->mark);
        } else {
            gal_buf_putc(&l->message, *line++);
        }
    }
}

static const char QUOTES[] = "\"\"\"";

const char *gal_lines_message(gal_lines *l, const char *prompt, const char *more, size_t *n) {
    gal_buf *m = &l->message;
    bool quoted = false;
    gal_buf_clear(m);
    forget_pastes(l);
    for (bool first = true;; first = false) {
        const char *line = gal_lines_next(l, first ? prompt : more);
        if (!line && (first || l->terminal)) return NULL;
        if (!line) break; /* a pipe's end ends what is open */
        if (!first) gal_buf_putc(m, '\n');
        if (first && strncmp(line, QUOTES, 3) == 0) {
            quoted = true;
            line += 3;
        }
        expand(l, line);
        if (m->oom) return NULL;
        const bool closes = m->len >= 3 && memcmp(m->data + m->len - 3, QUOTES, 3) == 0 && quoted;
        if (closes) {
            m->data[m->len -= 3] = 0;
            break;
        }
        if (quoted) continue;
        if (!m->len || m->data[m->len - 1] != '\\') break;
        m->data[--m->len] = 0; /* the line goes on */
    }
    if (quoted && m->len && m->data[0] == '\n') gal_buf_drop(m, 1);
    if (quoted && m->len && m->data[m->len - 1] == '\n') m->data[--m->len] = 0;
    if (!m->data) gal_buf_puts(m, "");
    *n = m->len;
    return m->oom ? NULL : m->data ? m->data : "";
}

void gal_lines_close(gal_lines *l) {
    if (!l) return;
#ifdef GAL_HAVE_EDIT
    HistEvent ev;
    if (l->history && l->history_path) (void)history(l->history, &ev, H_SAVE, l->history_path);
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
#endif
    free(l->line); /* getline() took it from malloc() */
    forget_pastes(l);
    gal_free(l->pastes);
    gal_free(l->history_path);
    gal_buf_free(&l->text);
    gal_buf_free(&l->message);
    gal_buf_free(&l->ahead);
    gal_free(l);
}
