/* lines.c - lines from a terminal. Owns the editor and its history; refuses nothing: without libedit it reads plain
 * lines. Prompts go to standard error, so that standard output holds results only. SPDX-License-Identifier:
 * Apache-2.0 */
#include "cli/io.h"

#include "base/mem.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#ifdef GAL_HAVE_EDIT
#include <histedit.h>
#endif

enum { HISTORY_LINES = 1000 };

struct gal_lines {
    const char *prompt;
    char *history_path;
    char *line; /* plain lines: of getline() */
    size_t room;
    gal_buf text;
#ifdef GAL_HAVE_EDIT
    EditLine *edit;
    History *history;
#endif
};

#ifdef GAL_HAVE_EDIT
static const char *prompt_of(EditLine *edit) {
    void *data = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &data);
    return data ? ((const gal_lines *)data)->prompt : "";
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
    (void)el_source(l->edit, NULL); /* ~/.editrc, if there is one */
}
#endif

gal_err gal_lines_open(gal_lines **out, const char *prompt, const char *history, gal_diag *diag) {
    gal_lines *l = gal_alloc(sizeof *l);
    if (!l) return gal_fail(diag, GAL_ENOMEM, "no memory for a line editor");
    l->prompt = prompt;
    l->history_path = history ? gal_strdup(history) : NULL;
#ifdef GAL_HAVE_EDIT
    open_editor(l);
#endif
    *out = l;
    return GAL_OK;
}

static const char *finish_line(gal_lines *l, const char *line, size_t n) {
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
    gal_buf_clear(&l->text);
    gal_buf_add(&l->text, line, n);
    gal_buf_puts(&l->text, "");
    return l->text.oom ? NULL : (l->text.data ? l->text.data : "");
}

const char *gal_lines_next(gal_lines *l) {
#ifdef GAL_HAVE_EDIT
    if (l->edit && l->history) {
        int n = 0;
        const char *line = el_gets(l->edit, &n);
        if (!line || n <= 0) return NULL;
        HistEvent ev;
        if (n > 1) (void)history(l->history, &ev, H_ENTER, line);
        return finish_line(l, line, (size_t)n);
    }
#endif
    fputs(l->prompt, stderr);
    ssize_t n = getline(&l->line, &l->room, stdin);
    return n > 0 ? finish_line(l, l->line, (size_t)n) : NULL;
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
    gal_free(l->history_path);
    gal_buf_free(&l->text);
    gal_free(l);
}
