/* lines.c - lines and longer messages from a person. Owns the editor, its history and what was pasted; refuses
 * nothing: without libedit, and where standard input is no terminal, it reads plain lines. Prompts go to standard
 * error, so that standard output holds results only. SPDX-License-Identifier: Apache-2.0 */
#define _XOPEN_SOURCE 700 /* wcwidth() */
#include "cli/lines.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/pastes.h"
#include "cli/tty.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef GAL_HAVE_EDIT
#include <histedit.h>
#include <sys/ioctl.h>
#include <wchar.h>
#endif

enum { HISTORY_LINES = 1000, MOST_PASTED = 1 << 26, BLOCK = 4096 };

struct gal_lines {
    const char *prompt;
    char *history_path;
    char *line; /* plain lines: of getline() */
    size_t room;
    gal_buf text, message;
    bool terminal, had_text;
    const char *(*word)(size_t i); /* that Tab completes; NULL: none */
    gal_pastes pastes; /* each stands in the edited line as its mark: a line's editor has no room for it */
#ifdef GAL_HAVE_EDIT
    char in[BLOCK]; /* read from the terminal, not looked at yet: [in_at, in_n) */
    size_t in_at, in_n;
    gal_buf ahead; /* characters for the editor, from ahead_at on */
    size_t ahead_at;
    wchar_t *seen; /* the line as the editor had it before the last key */
    size_t seen_n, seen_cap, cursor;
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

/* ---- what stands on the screen
 * -------------------------------------------------------------------------------------
 */

static int columns(void) {
    struct winsize w;
    return ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col : 80;
}

/* A place on the screen, and where one character more leads: as the editor draws it. */
typedef struct place {
    int row, col;
} place;

static void step(place *p, wchar_t c, int width) {
    int w = c == '\t' ? 8 - p->col % 8 : c < 0x20 || c == 0x7f ? 2 : wcwidth(c);
    if (w < 0) w = c > 0xfff ? 8 : 7; /* \U+1234 */
    if (p->col + w > width) *p = (place){ p->row + 1, 0 };
    p->col += w;
    if (p->col >= width) *p = (place){ p->row + 1, 0 };
}

/* Rows between the prompt's and that of the first n characters' end. */
static int rows(const gal_lines *l, const wchar_t *line, size_t n) {
    const int width = columns();
    place p = { 0, 0 };
    for (const char *s = l->prompt; *s;) {
        uint32_t cp = 0;
        const int len = gal_utf8_next(s, strlen(s), &cp);
        step(&p, len > 0 ? (wchar_t)cp : '?', width);
        s += len > 0 ? len : 1;
    }
    for (size_t i = 0; i < n; i++) step(&p, line[i], width);
    return p.row;
}

/* The line anew, where it stood with the cursor after before characters, or (below 0) where the cursor is. */
static void redraw(gal_lines *l, const wchar_t *line, long before) {
    const int up = before > 0 ? rows(l, line, (size_t)before) : 0;
    if (up) fprintf(stderr, "\x1b[%dA", up);
    fputs(before < 0 ? "\r" : "\r\x1b[J", stderr);
    el_resize(l->edit);
    (void)el_set(l->edit, EL_REFRESH);
}

/* The cursor on the line's last row, so that what others write stands below it. */
static void leave(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    const int down = rows(l, info->buffer, (size_t)(info->lastchar - info->buffer)) -
                     rows(l, info->buffer, (size_t)(info->cursor - info->buffer));
    if (down > 0) fprintf(stderr, "\x1b[%dB", down);
    (void)fflush(stderr);
}

/* ---- marks --------------------------------------------------------------------------------------------------------
 * A mark goes as a whole and the cursor is never within it: after each key the line is compared with what it was. */

/* Characters of the mark that begins here; 0: none. */
static size_t mark_at(const gal_lines *l, const wchar_t *line, size_t n) {
    char s[GAL_MARK_ROOM];
    size_t len = 0;
    if (!n || line[0] != '[') return 0;
    for (; len < n && len < sizeof s && line[len] < 0x80; len++) s[len] = (char)line[len];
    const gal_paste *found = gal_pastes_at(&l->pastes, s, len);
    return found ? strlen(found->mark) : 0;
}

static bool in_mark(const gal_lines *l, const wchar_t *line, size_t n, size_t from, size_t to) {
    for (size_t i = 0, len; i < n && i < to; i += len ? len : 1)
        if ((len = mark_at(l, line + i, n - i)) && i + len > from) return true;
    return false;
}

/* Takes [from, to) out; the cursor is left at from. */
static void take_out(gal_lines *l, size_t from, size_t to) {
    const LineInfoW *info = el_wline(l->edit);
    (void)el_cursor(l->edit, (int)((long)to - (info->cursor - info->buffer)));
    el_deletestr(l->edit, (int)(to - from));
}

/* What is left of a mark that stood at [mark, end) of the line as it was; the same characters are at the beginning
 * (front) and at the end (back) of both lines. */
static bool drop_rest(gal_lines *l, size_t mark, size_t end, size_t front, size_t back) {
    const LineInfoW *info = el_wline(l->edit);
    const size_t n = (size_t)(info->lastchar - info->buffer), until = l->seen_n - back, now = n - back;
    const size_t before = mark < front ? front - mark : 0, after = end > until ? end - until : 0;
    if (end <= front || mark >= until) return false;
    if ((before && in_mark(l, info->buffer, n, front - before, front)) ||
        (after && in_mark(l, info->buffer, n, now, now + after)))
        return false; /* another mark now */
    if (after) take_out(l, now, now + after);
    if (before) take_out(l, front - before, front);
    if (before) (void)el_cursor(l->edit, (int)(now - front));
    return before || after;
}

static bool mend(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    const size_t n = (size_t)(info->lastchar - info->buffer), most = n < l->seen_n ? n : l->seen_n;
    size_t front = 0, back = 0;
    while (front < most && l->seen[front] == info->buffer[front]) front++;
    if (front == n && n == l->seen_n) return false;
    while (back < most - front && l->seen[l->seen_n - 1 - back] == info->buffer[n - 1 - back]) back++;
    for (size_t i = 0, len; i < l->seen_n; i += len ? len : 1)
        if ((len = mark_at(l, l->seen + i, l->seen_n - i)) && drop_rest(l, i, i + len, front, back)) return true;
    return false;
}

/* Out of a mark, the way it came. */
static bool skip(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    const size_t n = (size_t)(info->lastchar - info->buffer), at = (size_t)(info->cursor - info->buffer);
    for (size_t i = 0, len; i < at; i += len ? len : 1) {
        if (!(len = mark_at(l, info->buffer + i, n - i)) || at >= i + len) continue;
        const size_t to = at < l->cursor ? i : i + len;
        (void)el_cursor(l->edit, (int)((long)to - (long)at));
        return true;
    }
    return false;
}

static void remember(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    const size_t n = (size_t)(info->lastchar - info->buffer);
    void *p = l->seen;
    l->seen_n = 0;
    if (n > l->seen_cap && gal_grow(&p, &l->seen_cap, n, sizeof *l->seen) != 0) return;
    l->seen = p;
    if (n) memcpy(l->seen, info->buffer, n * sizeof *l->seen);
    l->seen_n = n;
    l->cursor = (size_t)(info->cursor - info->buffer);
}

static void keep_marks(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    const size_t n = (size_t)(info->lastchar - info->buffer);
    const long at = info->cursor - info->buffer;
    if (!l->pastes.n) return;
    /* a search writes below the line, and owns it until it is done */
    if (n && wmemchr(info->buffer, '\n', n)) return;
    const int up = rows(l, info->buffer, (size_t)at);
    bool changed = mend(l);
    changed = skip(l) || changed;
    if (changed) {
        if (up) fprintf(stderr, "\x1b[%dA", up);
        redraw(l, info->buffer, 0);
    }
    remember(l);
}

/* ---- input --------------------------------------------------------------------------------------------------------
 * A terminal that was asked to (2004) puts ESC [200~ before what is pasted and ESC [201~ after it. */

static const char BEGIN_PASTE[] = "\x1b[200~", END_PASTE[] = "\x1b[201~";
enum { MARK_BYTES = 6 };

static void after_signal(gal_lines *l) {
    const LineInfoW *info = el_wline(l->edit);
    if (gal_tty_continued())
        redraw(l, info->buffer, -1);
    else if (gal_tty_resized())
        redraw(l, info->buffer, info->cursor - info->buffer);
}

/* One byte within that time (below 0: whenever): 1; 0: not in time, or never any more (*ended); below 0: a line's
 * reading ends here. */
static int next_byte(gal_lines *l, char *c, int milliseconds, bool *ended) {
    *ended = false;
    while (l->in_at == l->in_n) {
        after_signal(l);
        if (gal_cli_interrupted()) {
            errno = EINTR;
            return -1;
        }
        const int waits = gal_tty_wait(milliseconds);
        if (waits < 0) continue;
        if (waits == 0) return 0;
        const ssize_t n = read(STDIN_FILENO, l->in, sizeof l->in);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        *ended = n <= 0;
        if (n <= 0) return (int)n;
        l->in_at = 0;
        l->in_n = (size_t)n;
    }
    *c = l->in[l->in_at++];
    return 1;
}

enum { KEYS_MS = 50 /* keys of one name come together */, PASTE_MS = 1000 };

/* Up to the end mark. One short line of plain characters is typed as it stands. Below 0: given up. */
static int read_paste(gal_lines *l) {
    gal_buf text = { 0 };
    char c = 0;
    bool ended = false, alone = false;
    while (!text.oom) {
        const int got = next_byte(l, &c, PASTE_MS, &ended);
        if (got < 0 || ended) {
            gal_buf_free(&text);
            return -1;
        }
        /* After a pause one key alone is the person's, who gives up a paste whose end was lost. */
        if (got && alone && l->in_at == l->in_n && gal_tty_means((unsigned char)c) == SIGINT) {
            gal_buf_free(&text);
            gal_tty_act(SIGINT);
            errno = EINTR;
            return -1;
        }
        alone = !got;
        if (!got) continue;
        if (text.len < MOST_PASTED) gal_buf_putc(&text, c);
        if (text.len < MARK_BYTES || c != '~') continue;
        if (memcmp(text.data + text.len - MARK_BYTES, END_PASTE, MARK_BYTES) != 0) continue;
        text.data[text.len -= MARK_BYTES] = 0;
        break;
    }
    gal_paste_clean(&text);
    if (gal_paste_is_plain(&text)) {
        gal_buf_add(&l->ahead, text.data ? text.data : "", text.len);
    } else {
        const char *mark = gal_pastes_add(&l->pastes, &text, el_line(l->edit)->buffer);
        if (mark) gal_buf_puts(&l->ahead, mark);
        if (!mark) el_beep(l->edit);
    }
    gal_buf_free(&text);
    return 0;
}

/* After an ESC: the beginning of a paste, or a key, which is the editor's. */
static int look_for_paste(gal_lines *l) {
    size_t n = 1;
    char c = 0x1b;
    bool ended;
    gal_buf_putc(&l->ahead, c);
    while (n < MARK_BYTES) {
        const int got = next_byte(l, &c, KEYS_MS, &ended);
        if (got <= 0) return got;
        gal_buf_putc(&l->ahead, c);
        if (c != BEGIN_PASTE[n]) return 0;
        n++;
    }
    gal_buf_clear(&l->ahead);
    return read_paste(l);
}

/* Takes a character off what is ahead. 0: more bytes are needed. */
static int take_ahead(gal_lines *l, uint32_t *cp) {
    while (l->ahead_at < l->ahead.len) {
        const char *s = l->ahead.data + l->ahead_at;
        const size_t n = l->ahead.len - l->ahead_at;
        const uint8_t c = (uint8_t)s[0];
        const int len = gal_utf8_next(s, n, cp);
        const size_t needs = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
        bool good = n < needs;
        for (size_t i = 1; i < n && i < needs; i++) good = good && ((uint8_t)s[i] & 0xc0) == 0x80;
        if (len <= 0 && good) return 0;
        l->ahead_at += len > 0 ? (size_t)len : 1; /* no character begins so: it goes */
        if (len > 0) return 1;
    }
    gal_buf_clear(&l->ahead);
    l->ahead_at = 0;
    return 0;
}

static bool asks_for_pastes(const gal_lines *l) {
    const char *term = getenv("TERM");
    return l->terminal && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

/* One character for the editor. */
static int next_character(EditLine *edit, wchar_t *out) {
    gal_lines *l = lines_of(edit);
    gal_tty_editing(true, asks_for_pastes(l));
    if (l->ahead_at == l->ahead.len) keep_marks(l);
    for (;;) {
        uint32_t cp = 0;
        if (take_ahead(l, &cp)) {
            const int means = gal_tty_means(cp);
            if (means) {
                leave(l);
                if (means == SIGTSTP) fputs("\r\n", stderr); /* not every shell begins a line */
                gal_tty_act(means);
                if (means == SIGTSTP) continue;
                errno = EINTR;
                return -1;
            }
            *out = (wchar_t)cp;
            return 1;
        }
        char c;
        bool ended;
        int got = next_byte(l, &c, -1, &ended);
        if (got <= 0) return got;
        if (!l->ahead.len && c == 0x1b)
            got = look_for_paste(l);
        else
            gal_buf_putc(&l->ahead, c);
        if (got < 0 || l->ahead.oom) return -1;
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

/* A mark of another session means nothing: such lines are neither kept nor brought back. */
static void drop_marked(History *history_of) {
    HistEvent ev;
    int got = history(history_of, &ev, H_FIRST);
    while (got == 0) {
        union {
            const char *as;
            char *ours;
        } line; /* H_DEL gives the line to its caller */
        HistEvent gone;
        const bool marked = gal_pastes_marked(ev.str);
        if (marked && history(history_of, &gone, H_DEL, ev.num) != 0) return;
        line.as = marked ? gone.str : NULL;
        free(line.ours); /* libedit took it from malloc() */
        got = marked ? history(history_of, &ev, H_FIRST) : history(history_of, &ev, H_NEXT);
    }
}

static void open_editor(gal_lines *l) {
    HistEvent ev;
    /* The editor drops what the locale's character set lacks: outside of UTF-8 that would be every accent. */
    const char *locale = setlocale(LC_CTYPE, "");
    if (!locale || MB_CUR_MAX == 1) (void)setlocale(LC_CTYPE, "C.UTF-8");
    gal_tty_open();
    l->edit = el_init("galerne", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return;
    (void)history(l->history, &ev, H_SETSIZE, HISTORY_LINES);
    (void)history(l->history, &ev, H_SETUNIQUE, 1);
    if (l->history_path) (void)history(l->history, &ev, H_LOAD, l->history_path);
    drop_marked(l->history);
    (void)el_set(l->edit, EL_CLIENTDATA, l);
    (void)el_set(l->edit, EL_PROMPT, prompt_of);
    (void)el_set(l->edit, EL_EDITOR, "emacs");
    (void)el_set(l->edit, EL_HIST, history, l->history);
    (void)el_set(l->edit, EL_GETCFN, next_character);
    /* el_set() would make copies that nobody frees */
    (void)el_wset(l->edit, EL_ADDFN, L"galerne-complete", L"Complete a command", complete);
    (void)el_set(l->edit, EL_BIND, "^I", "galerne-complete", NULL);
    (void)el_source(l->edit, NULL); /* ~/.editrc, if there is one */
    /* Bytes stay bytes: what is pasted may hold those of keys. */
    static const char *const PLAIN[] = { "-isig", "-ixon", "-ixoff", "-icrnl", "-inlcr" };
    for (size_t i = 0; i < GAL_LEN(PLAIN); i++) (void)el_set(l->edit, EL_SETTY, "-d", PLAIN[i], NULL);
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

static const char *finish_line(gal_lines *l, const char *line, size_t len, size_t *n) {
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
    gal_buf_clear(&l->text);
    gal_buf_add(&l->text, line, len);
    gal_buf_puts(&l->text, "");
    *n = len;
    return l->text.oom ? NULL : (l->text.data ? l->text.data : "");
}

#ifdef GAL_HAVE_EDIT
static const char *edited_line(gal_lines *l, size_t *n) {
    int len = 0;
    gal_tty_fresh();
    l->seen_n = 0;
    const char *line = el_gets(l->edit, &len);
    if (!line || len <= 0) {
        const LineInfo *info = el_line(l->edit);
        l->had_text = gal_cli_terminated() || (info && info->lastchar > info->buffer);
        gal_tty_editing(false, false);
        return NULL;
    }
    gal_tty_editing(false, false);
    HistEvent ev;
    if (len > 1) (void)history(l->history, &ev, H_ENTER, line);
    return finish_line(l, line, (size_t)len, n);
}
#endif

const char *gal_lines_next(gal_lines *l, const char *prompt, size_t *n) {
    l->prompt = prompt;
    l->had_text = gal_cli_terminated();
    *n = 0;
    if (l->had_text) return NULL;
#ifdef GAL_HAVE_EDIT
    if (l->edit && l->history) return edited_line(l, n);
#endif
    if (l->terminal) fputs(prompt, stderr);
    ssize_t len = getline(&l->line, &l->room, stdin);
    if (len <= 0) clearerr(stdin); /* of a terminal: Ctrl-C is no end */
    return len > 0 ? finish_line(l, l->line, (size_t)len, n) : NULL;
}

static const char QUOTES[] = "\"\"\"";

const char *gal_lines_message(gal_lines *l, const char *prompt, const char *more, size_t *n) {
    gal_buf *m = &l->message;
    bool quoted = false;
    gal_buf_clear(m);
    for (bool first = true;; first = false) {
        size_t len = 0;
        const char *line = gal_lines_next(l, first ? prompt : more, &len);
        if (!line && (first || l->terminal)) return NULL;
        if (!line) break; /* a pipe's end ends what is open */
        if (!first) gal_buf_putc(m, '\n');
        if (first && strncmp(line, QUOTES, 3) == 0) {
            quoted = true;
            line += 3;
            len -= 3;
        }
        gal_pastes_expand(&l->pastes, line, len, m);
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
    if (l->history) drop_marked(l->history);
    if (l->history && l->history_path) (void)history(l->history, &ev, H_SAVE, l->history_path);
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
    gal_free(l->seen);
    gal_buf_free(&l->ahead);
#endif
    free(l->line); /* getline() took it from malloc() */
    gal_pastes_free(&l->pastes);
    gal_free(l->history_path);
    gal_buf_free(&l->text);
    gal_buf_free(&l->message);
    gal_free(l);
}
