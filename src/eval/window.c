/* window.c - see window.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/window.h"

/* As far back as the context reaches from the last token that counts. */
static void reach_back(const gal_windows *how, gal_window *w) {
    w->put_bos = how->bos;
    w->from = GAL_MAX(w->end - how->context - (how->bos ? 0 : 1), (int64_t)0);
}

void gal_window_next(const gal_windows *how, gal_window *w) {
    GAL_ASSERT(how->context > 1 && how->stride > 0 && how->stride <= how->context);
    if (how->convention == GAL_AS_LLAMA_CPP) {
        int64_t at = w->end; /* windows lie side by side */
        *w = (gal_window){
            .from = at, .first = at + how->context / 2 + 1, .end = at + how->context, .replace_bos = how->bos
        };
        return;
    }
    bool begins = w->end == 0;
    w->first = begins ? (how->bos ? 0 : 1) : w->end;
    w->end = w->first + (begins ? how->context : how->stride);
    reach_back(how, w);
}

bool gal_window_clip(const gal_windows *how, gal_window *w, int64_t n) {
    if (w->end <= n) return true;
    if (how->convention == GAL_AS_LLAMA_CPP || w->first >= n) return false;
    w->end = n;
    reach_back(how, w);
    return true;
}
