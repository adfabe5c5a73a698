/* bad.h - damaged inputs: a good folder is copied, one thing in it is damaged, and both the library and the program
 * must refuse it with the right words, quickly, and without taking memory on the file's word.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_TESTS_BAD_H
#define GAL_TESTS_BAD_H

#include "support/check.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MOST_SAYS = 4, MOST_ARGS = 12 };
/* What refusing may cost: the largest request of the library (a device's first block is 4 MiB, the weights
 * of 4,096 layers have a table of 5), all memory that the
 * program may ask for (thread stacks and libraries included), processor time, and time in which one that waits for a
 * pipe is told from a machine that is busy. */
enum { MOST_REQUEST = 6 << 20, MOST_DATA = 64 << 20, MOST_CPU_S = 10, MOST_WAIT_S = 120 };

extern char work[256]; /* a folder for this program; case folders lie in it */

/* The bytes of a file into b (cleared first). */
void slurp(gal_buf *b, const char *dir, const char *name);
/* work/NAME, empty or as a copy of a folder; the path is valid until the next call. */
const char *fresh(const char *name);
const char *copy_of(const char *from, const char *name);
/* Replaces the first `old` in dir/file; in a safetensors file within the header, whose length is put right. */
void swap(const char *dir, const char *file, const char *old, const char *by);

/* Runs the program with arguments ended by NULL ("%" stands for dir) and checks: the code, and for another than 0 one
 * line that begins with "galerne: " and holds all of says, within that memory and time. what names the case. */
void program(const char *what, const char *dir, int code, const char *const *says, const char *const *args);
/* The same without a limit of memory, for work that is done. */
void works(const char *what, int code, const char *const *args);
/* What the library did, between begin and end: the error, the message, the largest request. */
void library_begin(void);
void library_refused(const char *what, gal_err err, const gal_diag *diag, const char *const *says);
/* Opens a model folder: must be refused. */
void model_refused(const char *what, const char *dir, const char *const *says);

/* A file that is none. */
typedef struct special {
    const char *what;
    void (*make)(const char *path); /* nothing is there yet */
    const char *says;
    bool as_user; /* cannot be tried by root */
} special;
extern const special SPECIALS[];
extern const size_t N_SPECIALS;

int bad_gguf(void), bad_models(void), bad_texts(void), bad_runs(void);

#endif
