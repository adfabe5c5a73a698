/* window.h - which tokens a model is given at a time, and which of them count, so that a text longer than the context
 * is measured with every token counted once.
 *
 * A window of N positions moves on by `stride` tokens; the tokens that are new in it count, those before them are
 * context only. With a beginning of sequence (BOS) each window is [BOS, N - 1 tokens] and the text's first token
 * counts too; without one nothing predicts it. The last window ends with the text and reaches back N positions.
 *
 *   text       t0 t1 t2 t3 t4 t5 t6 t7        context 4, stride 2, BOS
 *   window 1   [B  t0 t1 t2] counts t0 to t3
 *   window 2         [B  t2 t3 t4] counts t4, t5
 *   window 3               [B  t4 t5 t6] counts t6, t7
 *
 * The convention of llama.cpp's perplexity tool is another one: whole windows side by side, the first token of each
 * replaced by BOS, and only the second half counts; what is left at the end of the text is dropped.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_WINDOW_H
#define GAL_EVAL_WINDOW_H

#include "base/err.h"

typedef enum gal_convention {
    GAL_STRIDED,
    GAL_AS_LLAMA_CPP /* its text begins with a BOS of its own, where the vocabulary has one */
} gal_convention;

typedef struct gal_windows {
    gal_convention convention;
    int64_t context; /* positions, > 1 */
    int64_t stride;  /* 1 to context; of llama.cpp's convention: context */
    bool bos;        /* a window begins with it */
} gal_windows;

/* One window. The model is given [BOS if put_bos] and the tokens from, from + 1, ..., end - 2 (the first of these
 * replaced by BOS if replace_bos): what follows each is known or counted. Tokens first, ..., end - 1 count. */
typedef struct gal_window {
    int64_t from, first, end;
    bool put_bos, replace_bos;
} gal_window; /* {0}: before the first */

/* From the window before to the next one, as if the text had no end. */
void gal_window_next(const gal_windows *how, gal_window *w);
/* Fits a window to a text of n tokens, which ends in it or before it. False: it is not there. */
bool gal_window_clip(const gal_windows *how, gal_window *w, int64_t n);

/* Rows that the model is given, and how many come before the one that predicts `first`. */
static inline int64_t gal_window_rows(const gal_window *w) { return w->end - w->from - (w->put_bos ? 0 : 1); }
static inline int64_t gal_window_skip(const gal_window *w) { return w->first - w->from - (w->put_bos ? 0 : 1); }

#endif
