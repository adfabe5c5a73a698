/* session.c - see session.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/session.h"

#include "base/mem.h"
#include "infer/relative.h"
#include "tensor/pack.h"

#include <string.h>

enum { PLAN_ROWS = 16 };
_Static_assert((int)GAL_TRY_MOST <= (int)GAL_ALIKE_ROWS && (int)GAL_TRY_MOST <= (int)PLAN_ROWS &&
                   (int)GAL_TRY_MOST <= (int)GAL_ATTEND_SPLIT,
               "tokens that are tried are recorded, and their caches cut as those of single ones");

/* A recorded decoding step of so many rows, and where it leaves its logits. */
typedef struct recorded {
    gal_plan *plan;
    const float *logits;
    bool rounds; /* bf16 */
} recorded;

struct gal_engine {
    const gal_model *model;
    gal_ctx *cx;
    gal_cache *cache;
    gal_relative relative;
    gal_step st;
    int64_t sequences, context, chunk;
    uint64_t limit_bytes; /* of the cache */
    bool eager;
    bool rounds;                      /* bf16, see `exact` */
    uint8_t *in_step;                 /* [sequences] occurs in the step being made */
    recorded plans[2][PLAN_ROWS + 1]; /* of sequences; of tokens of one */
    float *fetched;                   /* logits of a far device */
    size_t fetched_room;
    int64_t replays;
    bool (*moves)(void *user);
    void *user;
    bool stepped;
};

/* ---- the limit
 * ----------------------------------------------------------------------------------------------------- */

/* Memory that a cache may take: what is free, less weights that are mapped and will be read in, less a tenth for
 * activations. A model larger than memory still runs, from its file: then an eighth of memory goes to the cache. */
static uint64_t cache_budget(gal_dev *dev, const gal_model *m) {
    uint64_t free_bytes = gal_dev_available(dev), mapped = gal_model_mapped_bytes(m);
    uint64_t rest = free_bytes - GAL_MIN(mapped, free_bytes - free_bytes / 8);
    return rest - rest / 10;
}

/* A text may be longer than those of training where somebody asks for it. */
int64_t gal_engine_most(const gal_config *c) { return c->relative ? GAL_MAX_POSITIONS : c->max_positions; }

static gal_err choose_context(gal_engine *e, gal_dev *dev, const gal_engine_options *o, gal_diag *diag) {
    const gal_config *c = &e->model->config;
    int64_t most = o->beyond ? GAL_MAX_POSITIONS : o->context ? gal_engine_most(c) : c->max_positions;
    uint64_t budget = cache_budget(dev, e->model);
    int64_t fits = gal_cache_tokens_in(c, o->cache, o->sequences, most, budget);
    int64_t want = o->context ? o->context : GAL_MAX(fits, 1);
    uint64_t need = gal_cache_bytes_for(c, o->cache, o->sequences, want);
    if (want > most) {
        return gal_fail(
            diag, GAL_ENOMEM,
            "a context of %lld tokens (%llu bytes of keys and values) was asked for; the model's positions "
            "end at %lld (%llu bytes)",
            (long long)want, (unsigned long long)need, (long long)most,
            (unsigned long long)gal_cache_bytes_for(c, o->cache, o->sequences, most));
    }
    if (want > fits) {
        return gal_fail(
            diag, GAL_ENOMEM,
            "a context of %lld tokens needs %llu bytes of keys and values; %llu bytes are free, which hold "
            "%lld tokens",
            (long long)want, (unsigned long long)need, (unsigned long long)budget, (long long)fits);
    }
    e->context = want;
    e->limit_bytes = need;
    return GAL_OK;
}

static gal_err check_room(const gal_engine *e, int64_t length, gal_diag *diag) {
    if (length <= e->context) return GAL_OK;
    const gal_config *c = &e->model->config;
    uint64_t need = gal_cache_bytes_for(c, gal_cache_layers(e->cache)->dtype, e->sequences, length);
    return gal_fail(diag, GAL_ENOMEM,
                    "%lld tokens (%llu bytes of keys and values) do not fit: the context is %lld tokens (%llu bytes)",
                    (long long)length, (unsigned long long)need, (long long)e->context,
                    (unsigned long long)e->limit_bytes);
}

/* So many rows that what is done once for all of them does not count: taking weights apart, which takes less time for
 * products of small integers. More would only take memory. */
static int64_t rows_at_once(const gal_model *m, bool exact) {
    for (size_t i = 0; !exact && i < m->n_weights; i++)
        if (m->weights[i].dtype == GAL_BLOCKS && gal_pieces_of(m->weights[i].code.block)) return 256;
    return 512;
}

/* ---- life
 * ---------------------------------------------------------------------------------------------------------- */

gal_err gal_engine_new(gal_engine **out, gal_dev *dev, const gal_model *m, const gal_engine_options *o,
                       gal_diag *diag) {
    GAL_ASSERT(o->sequences > 0 && o->context >= 0 && o->chunk >= 0 && gal_model_is_on(m, dev));
    gal_engine *e = gal_alloc(sizeof *e);
    if (!e) return gal_fail(diag, GAL_ENOMEM, "no memory for an engine");
    e->model = m;
    e->moves = o->moves;
    e->user = o->user;
    e->sequences = o->sequences;
    e->eager = o->eager;
    e->rounds = !o->exact && !m->config.experts;
    gal_err err = gal_cache_check(&m->config, dev, o->cache, diag);
    if (!err) err = choose_context(e, dev, o, diag);
    if (!err) {
        const int64_t rows = o->chunk ? o->chunk : rows_at_once(m, o->exact);
        e->chunk = GAL_MAX(GAL_MIN(rows, e->context), o->sequences);
        e->in_step = gal_alloc((size_t)o->sequences);
        if (!e->in_step) err = gal_fail(diag, GAL_ENOMEM, "no memory for an engine");
    }
    if (!err) err = gal_ctx_new(&e->cx, dev, o->compute, diag);
    if (!err)
        gal_set_quantised(e->cx, o->exact            ? GAL_INTEGERS_NONE
                                 : m->config.experts ? GAL_INTEGERS_TWICE
                                                     : GAL_INTEGERS_ONCE);
    if (!err) err = gal_step_init(&e->st, dev, GAL_MAX(e->chunk, (int64_t)GAL_TRY_MOST), diag);
    if (!err) err = gal_cache_new(&e->cache, dev, &m->config, o->cache, o->sequences, e->context, diag);
    if (err) {
        gal_engine_free(e);
        return err;
    }
    e->st.kv = gal_cache_layers(e->cache);
    err = gal_relative_grow(&e->relative, e->cx, m, e->cache, diag);
    if (err)
        gal_engine_free(e);
    else
        *out = e;
    return err;
}

static void drop_plans(gal_engine *e) {
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < GAL_LEN(e->plans[k]); i++) {
            gal_plan_free(e->plans[k][i].plan);
            e->plans[k][i] = (recorded){ 0 };
        }
    }
}

void gal_engine_free(gal_engine *e) {
    if (!e) return;
    drop_plans(e);
    gal_cache_free(e->cache);
    gal_relative_free(&e->relative);
    gal_step_free(&e->st);
    gal_ctx_free(e->cx);
    gal_free(e->in_step);
    gal_free(e->fetched);
    gal_free(e);
}

int64_t gal_engine_context(const gal_engine *e) { return e->context; }
const gal_cache *gal_engine_cache(const gal_engine *e) { return e->cache; }
int64_t gal_engine_replays(const gal_engine *e) { return e->replays; }

void gal_engine_tap(gal_engine *e, gal_tap_fn fn, void *user) { gal_set_tap(e->cx, fn, user); }
void gal_engine_tap_inputs(gal_engine *e, gal_input_tap_fn fn, void *user) { gal_set_input_tap(e->cx, fn, user); }
void gal_engine_interrupt(gal_engine *e, gal_interrupt_fn fn, void *user) { gal_set_interrupt(e->cx, fn, user); }

bool gal_engine_truncate(gal_engine *e, int64_t sequence, int64_t length) {
    return gal_cache_truncate(e->cache, sequence, length);
}

gal_err gal_engine_restore(gal_engine *e, int64_t sequence, int64_t length, gal_cache **cache, gal_diag *diag) {
    bool grown = false;
    (void)gal_cache_truncate(e->cache, sequence, 0);
    gal_err err = check_room(e, length, diag);
    if (!err) err = gal_cache_restore(e->cache, sequence, length, &grown, diag);
    if (grown) drop_plans(e); /* they hold the old addresses */
    if (!err) err = gal_relative_grow(&e->relative, e->cx, e->model, e->cache, diag);
    *cache = e->cache;
    return err;
}

/* ---- steps
 * --------------------------------------------------------------------------------------------------------- */

static gal_err check_ids(const gal_engine *e, const int32_t *ids, int64_t n, gal_diag *diag) {
    int64_t V = e->model->config.V;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= V) {
            return gal_fail(diag, GAL_EINPUT, "token %lld is %d; the model's vocabulary is 0 to %lld", (long long)i,
                            ids[i], (long long)(V - 1));
        }
    }
    return GAL_OK;
}

static gal_err check_slices(gal_engine *e, const gal_slice *slices, size_t n_slices, int64_t *longest,
                            gal_diag *diag) {
    int64_t rows = 0;
    *longest = 0;
    memset(e->in_step, 0, (size_t)e->sequences);
    for (size_t i = 0; i < n_slices; i++) {
        const gal_slice *s = &slices[i];
        GAL_ASSERT(s->sequence >= 0 && s->sequence < e->sequences && s->n > 0 && !e->in_step[s->sequence]);
        e->in_step[s->sequence] = 1;
        GAL_ASSERT(s->n <= e->st.room - rows);
        rows += s->n;
        gal_err err = check_ids(e, s->ids, s->n, diag);
        int64_t length = gal_cache_length(e->cache, s->sequence) + s->n;
        if (!err) err = check_room(e, length, diag);
        if (err) return err;
        *longest = GAL_MAX(*longest, length);
    }
    return GAL_OK;
}

/* What a step is made of. */
typedef struct request {
    const gal_slice *slices;
    size_t n;
    bool all_rows;
    bool apart; /* rows are as if each were a step of its own */
    bool many;  /* and so that their number is of no account: never recorded */
} request;

static void fill_step(gal_engine *e, const request *q) {
    gal_step *st = &e->st;
    int64_t row = 0;
    for (size_t i = 0; i < q->n; i++) {
        const gal_slice *s = &q->slices[i];
        int64_t first = row, pos = gal_cache_length(e->cache, s->sequence);
        for (int64_t j = 0; j < s->n; j++, row++) {
            st->ids[row] = s->ids[j];
            st->pos[row] = (int32_t)(pos + j);
            st->start[row] = (int32_t)(q->apart ? row : first);
            st->seq[row] = (int32_t)s->sequence;
        }
        st->out_rows[i] = (int32_t)(row - 1);
    }
    st->n = st->row_len = row;
    st->n_out = q->all_rows || row == (int64_t)q->n ? 0 : (int64_t)q->n;
    st->apart = q->apart;
}

/* Logits that the host can read; on the CPU they are where they were computed. */
static gal_err fetch(gal_engine *e, const float **logits, int64_t rows, gal_diag *diag) {
    gal_dev *dev = gal_ctx_dev(e->cx);
    if (!dev->far) return GAL_OK;
    size_t count = (size_t)rows * (size_t)e->model->config.V;
    if (gal_grow((void **)&e->fetched, &e->fetched_room, count, sizeof *e->fetched))
        return gal_fail(diag, GAL_ENOMEM, "no memory for %zu logits", count);
    gal_err err = gal_dev_download(dev, e->fetched, *logits, count * sizeof *e->fetched, diag);
    *logits = e->fetched;
    return err;
}

/* Runs the step that was filled in, or replays the one that was recorded for so many rows. */
static gal_err compute(gal_engine *e, const request *q, const float **result, gal_diag *diag) {
    const int64_t rows = e->st.n;
    const bool single = q->apart || rows == (int64_t)q->n,
               rounds = e->rounds && !q->all_rows && !q->apart && rows > 1;
    /* Of rows that are apart a plan has the logits of each. */
    const bool whole = !q->apart || q->all_rows || rows == (int64_t)q->n;
    recorded *r = !e->eager && single && whole && !q->many && rows <= PLAN_ROWS ? &e->plans[q->apart][rows] : NULL;
    if (r && r->plan && r->rounds != rounds) r = NULL; /* as many rows, but computed otherwise */
    gal_err err = GAL_OK;
    gal_step_begin(e->cx);
    gal_set_alike(e->cx, q->many ? GAL_ALIKE_MANY : q->apart ? GAL_ALIKE_ONE : GAL_ALIKE_NOT);
    gal_set_bf16(e->cx, rounds);
    if (r && r->plan) {
        gal_replay(e->cx, r->plan);
        *result = r->logits;
        e->replays++;
    } else {
        gal_plan *plan = NULL;
        if (r) gal_record_begin(e->cx);
        const gal_t *t = e->model->family->logits(e->cx, e->model, &e->st);
        if (r) err = gal_record_end(e->cx, &plan, diag);
        if (t) *result = t->data;
        if (r && !err) *r = (recorded){ plan, *result, rounds };
    }
    gal_err end = gal_step_end(e->cx, diag);
    return err ? err : end;
}

static gal_err step(gal_engine *e, const request *q, const float **logits, gal_diag *diag) {
    const gal_slice *slices = q->slices;
    const size_t n_slices = q->n;
    GAL_ASSERT(n_slices > 0);
    int64_t longest = 0;
    bool grown = false;
    gal_err err = check_slices(e, slices, n_slices, &longest, diag);
    if (!err && e->moves && e->stepped && e->moves(e->user)) drop_plans(e); /* they hold the old addresses */
    if (!err) err = gal_cache_reserve(e->cache, longest, &grown, diag);
    if (grown) drop_plans(e); /* they hold the old addresses */
    if (!err) err = gal_relative_grow(&e->relative, e->cx, e->model, e->cache, diag);
    if (err) return err;
    fill_step(e, q);
    err = gal_step_commit(&e->st, diag);
    if (err) return err;

    const float *result = NULL;
    err = compute(e, q, &result, diag);
    if (!err) err = fetch(e, &result, e->st.n_out ? e->st.n_out : e->st.n, diag);
    for (size_t i = 0; i < n_slices; i++) {
        if (!err)
            gal_cache_advance(e->cache, slices[i].sequence, slices[i].n);
        else if (gal_cache_overwrites(e->cache, slices[i].sequence, slices[i].n))
            (void)gal_cache_truncate(e->cache, slices[i].sequence, 0);
    }
    if (!err) *logits = result;
    e->stepped = true;
    return err;
}

gal_err gal_engine_step(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows, const float **logits,
                        gal_diag *diag) {
    return step(e, &(request){ .slices = slices, .n = n_slices, .all_rows = all_rows }, logits, diag);
}

gal_err gal_engine_try(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, const float **logits,
                       gal_diag *diag) {
    GAL_ASSERT(n > 0 && n <= GAL_TRY_MOST);
    const gal_slice s = { sequence, ids, n };
    return step(e, &(request){ .slices = &s, .n = 1, .all_rows = true, .apart = n > 1 }, logits, diag);
}

gal_err gal_engine_try_all(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows,
                           const float **logits, gal_diag *diag) {
    int64_t rows = 0;
    for (size_t i = 0; i < n_slices; i++) rows += slices[i].n;
    GAL_ASSERT(rows > 0 && rows <= GAL_TRY_MOST);
    return step(e, &(request){ .slices = slices, .n = n_slices, .all_rows = all_rows, .apart = rows > 1 }, logits,
                diag);
}

int64_t gal_engine_many_most(const gal_engine *e, int64_t sequence) {
    /* A ring that is full has room for few rows that are stored before they are attended. */
    const int64_t before = gal_cache_unwrapped(e->cache) - gal_cache_length(e->cache, sequence);
    return GAL_MIN(GAL_MAX(before, (int64_t)GAL_TRY_MOST), e->chunk);
}

gal_err gal_engine_many(gal_engine *e, const gal_slice *slices, size_t n_slices, bool all_rows, const float **logits,
                        gal_diag *diag) {
    return step(e, &(request){ .slices = slices, .n = n_slices, .all_rows = all_rows, .apart = true, .many = true },
                logits, diag);
}

gal_err gal_engine_fork(gal_engine *e, int64_t from, int64_t to, gal_diag *diag) {
    return gal_cache_fork(e->cache, from, to, diag);
}

/* All checks come before the first chunk, so that a refused prompt leaves the sequence as it was. */
static gal_err check_whole(const gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, gal_diag *diag) {
    GAL_ASSERT(n > 0);
    gal_err err = check_ids(e, ids, n, diag);
    return err ? err : check_room(e, gal_cache_length(e->cache, sequence) + n, diag);
}

gal_err gal_engine_prefill(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, const float **logits,
                           gal_diag *diag) {
    gal_err err = check_whole(e, sequence, ids, n, diag);
    for (int64_t at = 0; !err && at < n; at += e->chunk) {
        gal_slice s = { sequence, ids + at, GAL_MIN(e->chunk, n - at) };
        err = gal_engine_step(e, &s, 1, false, logits, diag);
    }
    return err;
}

gal_err gal_engine_logits(gal_engine *e, int64_t sequence, const int32_t *ids, int64_t n, gal_logits_fn fn,
                          void *user, gal_diag *diag) {
    gal_err err = check_whole(e, sequence, ids, n, diag);
    for (int64_t at = 0; !err && at < n; at += e->chunk) {
        gal_slice s = { sequence, ids + at, GAL_MIN(e->chunk, n - at) };
        const float *rows = NULL;
        err = gal_engine_step(e, &s, 1, true, &rows, diag);
        if (!err) err = fn(user, rows, s.n, diag);
    }
    return err;
}
