/* chat.h - the parts of `galerne chat`: what a person sees, programs that act as tools, what is typed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_CHAT_H
#define GAL_CLI_CHAT_H

#include "base/buf.h"
#include "cli/cli.h"
#include "infer/talk.h"

/* ---- what a person sees (chat_view.c) -----------------------------------------------------------------------------
 * Answers go to standard output, all else to standard error. */

typedef enum gal_thinking { GAL_THINKING_SHOW, GAL_THINKING_FOLD, GAL_THINKING_HIDE } gal_thinking;
extern const char *const GAL_THINKING_NAMES[];  /* ended by NULL */
extern const char *const GAL_WHEN_FULL_NAMES[]; /* by gal_when_full */

typedef struct gal_chat_screen {
    bool terminal, colours; /* of standard output */
    bool quiet;             /* no counts */
    bool json;              /* answers are printed as objects at their ends */
    gal_thinking thinking;
    /* of the answer under way */
    bool thinks, spoke;
    char last; /* byte of text */
    int64_t tokens, thought;
    double thought_s, began_s, shown_s;
    gal_buf thoughts; /* of the last answer, for unfolding */
} gal_chat_screen;

void gal_chat_screen_open(gal_chat_screen *s, const gal_cli *cli);
void gal_chat_screen_close(gal_chat_screen *s);
gal_talk_view gal_chat_screen_view(gal_chat_screen *s); /* for gal_talk_ask() */
void gal_chat_screen_begin(gal_chat_screen *s);
void gal_chat_screen_end(gal_chat_screen *s);
/* A line that is none of the model's: dim where there are colours. */
void gal_chat_note(const gal_chat_screen *s, const char *fmt, ...) GAL_PRINTF(2, 3);
/* "-> name(arguments)" and "<- result". */
void gal_chat_show_call(const gal_chat_screen *s, const char *name, const char *arguments);
void gal_chat_show_result(const gal_chat_screen *s, const char *text, size_t n);
/* What the answer cost, in a line that fits the terminal. */
void gal_chat_count(const gal_chat_screen *s, const gal_talk *talk, const gal_talk_answer *a, int64_t context);

/* ---- programs that act as tools (chat_tool.c) ---------------------------------------------------------------------
 */

enum { GAL_CHAT_TOOLS_MOST = 32, GAL_TOOL_BYTES = 1 << 20 };
typedef struct gal_chat_tool {
    char *name;
    const char *program;
} gal_chat_tool;
typedef struct gal_chat_toolbox {
    gal_chat_tool tool[GAL_CHAT_TOOLS_MOST];
    size_t n;
    double timeout_s;
} gal_chat_toolbox; /* {0} to begin */

/* --tool NAME=PROGRAM, --tool-timeout; definitions of --tools FILE, and plain ones for names that the file lacks, go
 * into the conversation. Who defines no tool leaves it as it is. */
gal_err gal_chat_toolbox_open(gal_chat_toolbox *b, gal_cli *cli, gal_talk *talk);
void gal_chat_toolbox_free(gal_chat_toolbox *b);
/* NULL: nobody named a program for it. */
const gal_chat_tool *gal_chat_toolbox_find(const gal_chat_toolbox *b, const char *name);
/* Runs the program without a shell, the arguments on its standard input; its standard output, whole, is the result. A
 * program that cannot be run, fails, takes too long or says too much gives {"error": ...}: the model is to know.
 * GAL_EINTERRUPTED after Ctrl-C; GAL_ENOMEM. */
gal_err gal_chat_tool_run(const gal_chat_toolbox *b, const gal_chat_tool *t, const char *arguments, gal_buf *result,
                          gal_diag *diag);

/* ---- what is typed (chat_repl.c) ----------------------------------------------------------------------------------
 */

typedef struct gal_chat_room {
    gal_cli *cli;
    gal_lm *lm;
    gal_talk *talk;
    gal_talk_how how;
    gal_chat_screen screen;
    gal_chat_toolbox tools;
    struct gal_lines *lines; /* NULL: nobody is there to be asked */
    bool keeps_cache;        /* /save writes what the model remembers beside the conversation */
    bool again;              /* an answer is asked for that there is already: it stays if none comes */
    int64_t refused;         /* questions without an answer so far */
} gal_chat_room;

/* The answer to the conversation as it stands, with the tools that it calls. A question that got no answer is taken
 * back, and that is said. An error ends the program. */
gal_err gal_chat_answer(gal_chat_room *r);
/* Lines until the end of input. */
gal_err gal_chat_loop(gal_chat_room *r);
/* chat_commands.c   A line that begins with a slash. *leave: it was the last. */
const char *gal_chat_command_name(size_t i); /* NULL after the last */
gal_err gal_chat_command(gal_chat_room *r, const char *line, bool *leave);
/* --load and /load: the conversation of a file and, if there is one that fits, the cache beside it. */
gal_err gal_chat_load(gal_chat_room *r, const char *path, gal_diag *diag);
/* GAL_EUSAGE: the file is a part of the model, or there and does not begin so. */
gal_err gal_chat_may_write(const gal_chat_room *r, const char *path, const char *begins, gal_diag *diag);
/* A prompt cache, if the file is there; one that does not fit is named and not used. */
void gal_chat_recall(gal_chat_room *r, const char *path);

#endif
