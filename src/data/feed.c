/* feed.c - see feed.h. Two sets of rows: one is the caller's, one the thread's while it is `busy`. All that both
 * touch changes under the lock, and the mixture belongs to whoever fills rows. SPDX-License-Identifier: Apache-2.0 */
#include "data/feed.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/util.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

typedef struct filled {
    int32_t *ids, *pos, *start, *target;
    int64_t targets, batches;
    gal_mix_state from, to;
    gal_err err;
    gal_diag diag;
    bool there; /* it holds the rows from `from` on, or why they cannot be had */
} filled;

struct gal_feed {
    const gal_mix *mix;
    int64_t sequence, rows, most; /* batches */
    filled sets[2];
    int mine; /* of the caller */
    bool threaded, busy, end;
    double waited_s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turn;
};

static void fill(const gal_feed *f, filled *s) {
    const int64_t per_batch = f->rows * f->sequence;
    s->to = s->from;
    s->targets = 0;
    s->err = GAL_OK;
    s->diag = (gal_diag){ 0 };
    for (int64_t i = 0; !s->err && i < s->batches * f->rows; i++) {
        const int64_t at = i / f->rows * per_batch;
        gal_row row = { .ids = s->ids + at,
                        .pos = s->pos + at,
                        .start = s->start + at,
                        .target = s->target + at,
                        .base = i % f->rows * f->sequence };
        int64_t targets = 0;
        s->err = gal_mix_next(f->mix, &s->to, row, &targets, &s->diag);
        s->targets += targets;
    }
    if (!s->err) s->err = gal_mix_whole(f->mix, &s->diag); /* before anything is learnt from half a file */
    s->there = true;
}

static void *work(void *user) {
    gal_feed *f = user;
    (void)pthread_mutex_lock(&f->lock);
    for (;;) {
        while (!f->busy && !f->end) (void)pthread_cond_wait(&f->turn, &f->lock);
        if (f->end) break;
        filled *s = &f->sets[1 - f->mine];
        (void)pthread_mutex_unlock(&f->lock);
        fill(f, s);
        (void)pthread_mutex_lock(&f->lock);
        f->busy = false;
        (void)pthread_cond_broadcast(&f->turn);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void start(gal_feed *f) {
    if (gal_fault(GAL_FAULT_THREAD)) return;
    if (pthread_mutex_init(&f->lock, NULL) != 0) return;
    if (pthread_cond_init(&f->turn, NULL) == 0) {
        /* Signals are the caller's; faults of its own are not. */
        static const int OWN[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
        sigset_t all, before;
        (void)sigfillset(&all);
        for (size_t i = 0; i < GAL_LEN(OWN); i++) (void)sigdelset(&all, OWN[i]);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        f->threaded = pthread_create(&f->thread, NULL, work, f) == 0;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!f->threaded) (void)pthread_cond_destroy(&f->turn);
    }
    if (!f->threaded) (void)pthread_mutex_destroy(&f->lock);
}

gal_err gal_feed_new(gal_feed **out, const gal_mix *mix, int64_t sequence, int64_t rows, int64_t batches, bool ahead,
                     gal_diag *diag) {
    gal_feed *f = gal_alloc(sizeof *f);
    size_t n = (size_t)(sequence * rows * batches);
    if (!f) return gal_fail(diag, GAL_ENOMEM, "no memory for the rows of a step: %zu tokens", n);
    *f = (gal_feed){ .mix = mix, .sequence = sequence, .rows = rows, .most = batches };
    bool ok = true;
    for (int i = 0; i < (ahead ? 2 : 1); i++) {
        int32_t **arrays[] = { &f->sets[i].ids, &f->sets[i].pos, &f->sets[i].start, &f->sets[i].target };
        for (size_t k = 0; ok && k < GAL_LEN(arrays); k++) {
            *arrays[k] = gal_alloc_array(n, sizeof **arrays[k]);
            ok = *arrays[k] != NULL;
        }
    }
    if (!ok) {
        gal_feed_free(f);
        return gal_fail(diag, GAL_ENOMEM, "no memory for the rows of a step: %zu tokens", n);
    }
    if (ahead) start(f);
    *out = f;
    return GAL_OK;
}

void gal_feed_free(gal_feed *f) {
    if (!f) return;
    if (f->threaded) {
        (void)pthread_mutex_lock(&f->lock);
        f->end = true;
        (void)pthread_cond_broadcast(&f->turn);
        (void)pthread_mutex_unlock(&f->lock);
        (void)pthread_join(f->thread, NULL);
        (void)pthread_cond_destroy(&f->turn);
        (void)pthread_mutex_destroy(&f->lock);
    }
    for (int i = 0; i < 2; i++) {
        gal_free(f->sets[i].ids);
        gal_free(f->sets[i].pos);
        gal_free(f->sets[i].start);
        gal_free(f->sets[i].target);
    }
    gal_free(f);
}

void gal_feed_rest(gal_feed *f) {
    if (!f->threaded) return;
    (void)pthread_mutex_lock(&f->lock);
    while (f->busy) (void)pthread_cond_wait(&f->turn, &f->lock);
    (void)pthread_mutex_unlock(&f->lock);
}

/* The thread rests. */
static void ask_for(gal_feed *f, const gal_mix_state *from, int64_t batches) {
    (void)pthread_mutex_lock(&f->lock);
    f->sets[1 - f->mine].from = *from;
    f->sets[1 - f->mine].batches = batches;
    f->sets[1 - f->mine].there = false;
    f->busy = true;
    (void)pthread_cond_broadcast(&f->turn);
    (void)pthread_mutex_unlock(&f->lock);
}

gal_err gal_feed_take(gal_feed *f, gal_mix_state *place, int64_t batches, int64_t next, gal_feed_rows *out,
                      gal_diag *diag) {
    GAL_ASSERT(batches > 0 && batches <= f->most && next > 0 && next <= f->most);
    const double began = gal_now_s();
    gal_feed_rest(f);
    filled *s = &f->sets[f->mine], *other = &f->sets[1 - f->mine];
    if (f->threaded && other->there && other->batches == batches && memcmp(&other->from, place, sizeof *place) == 0) {
        f->mine = 1 - f->mine;
        s = other;
    } else {
        s->from = *place;
        s->batches = batches;
        fill(f, s);
    }
    f->waited_s += gal_now_s() - began;
    if (s->err) return gal_fail(diag, s->err, "%s", s->diag.text);
    *place = s->to;
    *out = (gal_feed_rows){ s->ids, s->pos, s->start, s->target, s->targets };
    if (f->threaded) ask_for(f, place, next);
    return GAL_OK;
}

bool gal_feed_is_ahead(const gal_feed *f) { return f->threaded; }

size_t gal_feed_bytes(const gal_feed *f) {
    const size_t tokens = (size_t)(f->most * f->rows * f->sequence);
    return (f->threaded ? 2 : 1) * tokens * 4 * sizeof(int32_t);
}

double gal_feed_waited_s(const gal_feed *f) { return f->waited_s; }
