/* progress.c - see progress.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

enum { BAR = 20, PIECE = 340 }; /* a double has up to 309 digits before its point */

/* In the order of the line. */
enum { AS_BAR, STEP, LOSS, BITS, LR, SPEED, LEFT, PIECES };

static void print_time(char *text, size_t room, double s) {
    const double day_s = 86400;
    if (s >= 100 * day_s) { /* also what no number of seconds holds */
        (void)snprintf(text, room, "over 100 d left");
        return;
    }
    long long whole = (long long)(s + 0.5);
    if (whole >= 3600)
        (void)snprintf(text, room, "%lld:%02lld:%02lld left", whole / 3600, whole / 60 % 60, whole % 60);
    else
        (void)snprintf(text, room, "%lld:%02lld left", whole / 60, whole % 60);
}

static void print_bar(char *text, int64_t step, int64_t steps) {
    int done = (int)(BAR * step / GAL_MAX(steps, (int64_t)1));
    text[0] = '[';
    for (int i = 0; i < BAR; i++) text[1 + i] = i < done ? '#' : '.';
    text[1 + BAR] = ']';
    text[2 + BAR] = 0;
}

size_t gal_cli_progress(char *text, const gal_train_event *e, int columns) {
    static const int LEAST_MISSED[] = { AS_BAR, LR, SPEED, BITS, LEFT, LOSS };
    char piece[PIECES][PIECE] = { "" };
    if (columns > 0) print_bar(piece[AS_BAR], e->step, e->steps);
    (void)snprintf(piece[STEP], PIECE, "step %lld/%lld", (long long)e->step, (long long)e->steps);
    (void)snprintf(piece[LOSS], PIECE, "loss %.3f", e->loss);
    (void)snprintf(piece[BITS], PIECE, "%.3f bits/byte", e->bits_per_byte);
    (void)snprintf(piece[LR], PIECE, "lr %.2e", e->lr);
    (void)snprintf(piece[SPEED], PIECE, "%.0f tokens/s", e->tokens_per_s);
    if (e->left_s >= 0) print_time(piece[LEFT], PIECE, e->left_s);
    size_t n = 0, gone = 0;
    for (;;) {
        n = 0;
        for (int i = 0; i < PIECES; i++)
            if (piece[i][0]) n += strlen(piece[i]) + (!n ? 0 : i == STEP ? 1 : 2);
        if (columns <= 0 || n < (size_t)columns || gone == GAL_LEN(LEAST_MISSED)) break;
        piece[LEAST_MISSED[gone++]][0] = 0;
    }
    size_t used = 0;
    for (int i = 0; i < PIECES; i++) {
        if (!piece[i][0]) continue;
        const char *gap = !used ? "" : i == STEP ? " " : "  ";
        used += (size_t)snprintf(text + used, GAL_PROGRESS_BYTES - used, "%s%s", gap, piece[i]);
    }
    if (columns > 0 && used >= (size_t)columns) used = (size_t)columns - 1; /* a step alone is too wide */
    text[used] = 0;
    return used;
}
