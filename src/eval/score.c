/* score.c - see score.h. Sequence 0 to batch - 1 of the engine are the parts that are at work, the last one holds
 * what all of them begin with. SPDX-License-Identifier: Apache-2.0 */
#include "eval/score.h"

#include "base/mem.h"
#include "eval/walk.h"

#include <math.h>
#include <string.h>

/* Rows of a step: so many that what is done once for all of them hardly counts. */
enum { STEP_ROWS = 256, LOGITS_BYTES = 16 << 20, FEWEST_ROWS = GAL_TRY_MOST };

struct gal_scorer {
    gal_dev *dev;
    gal_engine *engine;
    int64_t V, batch, rows;
    int64_t chunk, scored;             /* most rows of a step; of one whose logits are wanted */
    gal_ids held[GAL_SCORE_BATCH + 1]; /* what each sequence holds */
};

/* A part at work: what is left of it to read, and what came of it. */
typedef struct at_work {
    const gal_part *p;
    int64_t at, end; /* rows of it that are read; to read in this stage */
    double sum;
    bool greedy;
    size_t leader; /* whose beginning it copies; itself: nobody's */
} at_work;

static int64_t common(const gal_ids *held, const int32_t *ids, int64_t n) {
    int64_t i = 0;
    n = GAL_MIN(n, (int64_t)held->len);
    while (i < n && held->data[i] == ids[i]) i++;
    return i;
}

gal_err gal_scorer_new(gal_scorer **out, gal_dev *dev, const gal_model *m, const gal_score_options *o,
                       gal_diag *diag) {
    GAL_ASSERT(o->batch >= 1 && o->batch <= GAL_SCORE_BATCH && o->context >= 1);
    gal_scorer *s = gal_alloc(sizeof *s);
    if (!s) return gal_fail(diag, GAL_ENOMEM, "no memory for an evaluation");
    s->dev = dev;
    s->V = m->config.V;
    s->batch = o->batch;
    s->chunk = GAL_MAX(GAL_MIN((int64_t)STEP_ROWS, o->context), (int64_t)GAL_TRY_MOST);
    s->scored = GAL_MIN(s->chunk, GAL_MAX((int64_t)LOGITS_BYTES / (s->V * (int64_t)sizeof(float)), FEWEST_ROWS));
    for (;;) {
        const gal_engine_options eo = { .compute = o->compute,
                                        .cache = GAL_F32,
                                        .sequences = s->batch + 1,
                                        .context = o->context,
                                        .chunk = s->chunk,
                                        .exact = o->exact };
        gal_diag why = { 0 };
        gal_err err = gal_engine_new(&s->engine, dev, m, &eo, &why);
        if (err == GAL_ENOMEM && s->batch > 1) {
            s->batch /= 2;
            continue;
        }
        if (err) {
            gal_free(s);
            return gal_fail(diag, err, "%s", why.text);
        }
        break;
    }
    gal_engine_interrupt(s->engine, o->stop, o->user);
    *out = s;
    return GAL_OK;
}

void gal_scorer_free(gal_scorer *s) {
    if (!s) return;
    gal_engine_free(s->engine);
    for (size_t i = 0; i < GAL_LEN(s->held); i++) gal_ids_free(&s->held[i]);
    gal_free(s);
}

int64_t gal_scorer_batch(const gal_scorer *s) { return s->batch; }
int64_t gal_scorer_rows(const gal_scorer *s) { return s->rows; }

/* ---- beginnings ---------------------------------------------------------------------------------------------------
 */

static gal_err note(gal_scorer *s, int64_t sequence, const int32_t *ids, int64_t n, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (int64_t i = 0; i < n && !err; i++) err = gal_ids_add(&s->held[sequence], ids[i], diag);
    return err;
}

static void forget(gal_scorer *s, int64_t sequence) {
    (void)gal_engine_truncate(s->engine, sequence, 0);
    s->held[sequence].len = 0;
}

/* Leaves in a sequence what it has in common with n ids; how many of them it holds then. */
static int64_t keep(gal_scorer *s, int64_t sequence, const int32_t *ids, int64_t n) {
    const int64_t same = common(&s->held[sequence], ids, n);
    if (!gal_engine_truncate(s->engine, sequence, same)) {
        forget(s, sequence);
        return 0;
    }
    s->held[sequence].len = (size_t)same;
    return same;
}

static gal_err copy(gal_scorer *s, int64_t from, int64_t to, gal_diag *diag) {
    s->held[to].len = 0;
    gal_err err = gal_engine_fork(s->engine, from, to, diag);
    if (!err) err = note(s, to, s->held[from].data, (int64_t)s->held[from].len, diag);
    if (err) forget(s, to);
    return err;
}

/* One step of rows of the parts at hand, each from where it is to its end; *any false: nothing was left to read. */
static gal_err step(gal_scorer *s, at_work *w, int64_t n, bool all_rows, gal_slice *slices, size_t *n_slices,
                    const float **logits, gal_diag *diag) {
    int64_t room = all_rows ? s->scored : s->chunk;
    *n_slices = 0;
    for (int64_t i = 0; i < n && room; i++) {
        const int64_t rows = GAL_MIN(GAL_MIN(room, w[i].end - w[i].at), gal_engine_many_most(s->engine, i));
        if (rows <= 0) continue;
        slices[(*n_slices)++] = (gal_slice){ i, w[i].p->ids + w[i].at, rows };
        room -= rows;
    }
    if (!*n_slices) return GAL_OK;
    gal_err err = gal_engine_many(s->engine, slices, *n_slices, all_rows, logits, diag);
    for (size_t i = 0; i < *n_slices && !err; i++) {
        w[slices[i].sequence].at += slices[i].n;
        s->rows += slices[i].n;
        err = note(s, slices[i].sequence, slices[i].ids, slices[i].n, diag);
    }
    return err;
}

/* What the parts begin with that have something before them, in the last sequence. */
static gal_err read_root(gal_scorer *s, const at_work *w, int64_t n, int64_t *shared, gal_diag *diag) {
    const gal_part *p = w[0].p;
    GAL_ASSERT(n > 0 && p);
    int64_t same = p->first - 1;
    for (int64_t i = 1; i < n; i++) {
        const gal_ids one = { .data = w[i].p->ids, .len = (size_t)(w[i].p->first - 1) };
        if (!same) {
            p = w[i].p;
            same = p->first - 1;
        } else if (one.len) {
            same = common(&one, p->ids, same);
            if (!same) break;
        }
    }
    gal_err err = GAL_OK;
    /* More than they have in common stays, for those that come after. */
    int64_t at = common(&s->held[s->batch], p->ids, same);
    if (at < same) at = keep(s, s->batch, p->ids, same);
    while (at < same && !err) {
        const float *logits;
        const gal_slice slice = { s->batch, p->ids + at,
                                  GAL_MIN(gal_engine_many_most(s->engine, s->batch), same - at) };
        err = gal_engine_many(s->engine, &slice, 1, false, &logits, diag);
        if (!err) err = note(s, s->batch, slice.ids, slice.n, diag);
        s->rows += slice.n;
        at += slice.n;
    }
    *shared = same;
    return err;
}

/* Reads all but the last token before what is scored, for each part; what was read before stays, as far as it is of
 * use, and of parts that begin alike the first one's is copied. */
static gal_err read_beginnings(gal_scorer *s, at_work *w, int64_t n, gal_diag *diag) {
    int64_t shared = 0;
    gal_slice slices[GAL_SCORE_BATCH];
    size_t n_slices = 0;
    const float *logits;
    gal_err err = read_root(s, w, n, &shared, diag);
    for (int64_t i = 0; i < n && !err; i++) {
        const gal_part *p = w[i].p;
        const int64_t wanted = p->first - 1;
        w[i].leader = (size_t)i;
        for (int64_t j = 0; j < i && w[i].leader == (size_t)i && wanted > shared; j++)
            if (w[j].p->first == p->first && memcmp(w[j].p->ids, p->ids, (size_t)wanted * sizeof *p->ids) == 0)
                w[i].leader = w[j].leader;
        w[i].at = w[i].end = wanted;
        if (w[i].leader != (size_t)i) continue;
        w[i].at = keep(s, i, p->ids, wanted);
        if (w[i].at >= GAL_MIN(shared, wanted)) continue;
        err = copy(s, s->batch, i, diag);
        if (!err) w[i].at = keep(s, i, p->ids, wanted);
    }
    do {
        if (!err) err = step(s, w, n, false, slices, &n_slices, &logits, diag);
    } while (!err && n_slices);
    for (int64_t i = 0; i < n && !err; i++)
        if (w[i].leader != (size_t)i && keep(s, i, w[i].p->ids, w[i].end) < w[i].end)
            err = copy(s, (int64_t)w[i].leader, i, diag);
    return err;
}

/* ---- likelihoods --------------------------------------------------------------------------------------------------
 */

typedef struct rows_args {
    const float *logits;
    int64_t V;
    const int32_t *const *ids; /* [rows] what should follow each */
    double *nats;
    bool *greedy;
} rows_args;

static void score_row(const void *args, int64_t chunk, void *scratch) {
    const rows_args *a = args;
    const float *row = a->logits + chunk * a->V;
    int64_t best = 0;
    (void)scratch;
    for (int64_t i = 1; i < a->V; i++) best = row[i] > row[best] ? i : best;
    a->nats[chunk] = gal_log_sum_exp(row, a->V) - (double)row[*a->ids[chunk]];
    a->greedy[chunk] = best == *a->ids[chunk];
}

static gal_err take_rows(gal_scorer *s, at_work *w, const gal_slice *slices, size_t n_slices, const float *logits,
                         gal_diag *diag) {
    const int32_t *ids[STEP_ROWS];
    double nats[STEP_ROWS];
    bool greedy[STEP_ROWS];
    const rows_args a = { logits, s->V, ids, nats, greedy };
    int64_t row = 0;
    for (size_t i = 0; i < n_slices; i++)
        for (int64_t j = 0; j < slices[i].n; j++) ids[row++] = slices[i].ids + j + 1;
    gal_pool_run(s->dev->pool, score_row, &a, row);
    row = 0;
    for (size_t i = 0; i < n_slices; i++) {
        at_work *one = &w[slices[i].sequence];
        for (int64_t j = 0; j < slices[i].n; j++, row++) {
            if (!isfinite(nats[row]))
                return gal_fail(diag, GAL_EFAIL, "logits before id %d are not finite", (int)*ids[row]);
            one->sum -= nats[row];
            one->greedy = one->greedy && greedy[row];
        }
    }
    return GAL_OK;
}

static gal_err check_ids(const gal_scorer *s, const gal_part *p, gal_diag *diag) {
    for (int64_t i = 0; i < p->n; i++)
        if (p->ids[i] < 0 || p->ids[i] >= s->V)
            return gal_fail(diag, GAL_EINPUT, "token %lld is %d; the model's vocabulary is 0 to %lld", (long long)i,
                            (int)p->ids[i], (long long)(s->V - 1));
    return GAL_OK;
}

static gal_err run_some(gal_scorer *s, const gal_part *const *parts, int64_t n, gal_scored *results, gal_diag *diag) {
    at_work w[GAL_SCORE_BATCH] = { { 0 } };
    gal_slice slices[GAL_SCORE_BATCH];
    size_t n_slices = 0;
    const float *logits = NULL;
    gal_err err = GAL_OK;
    for (int64_t i = 0; i < n && !err; i++) {
        w[i].p = parts[i];
        w[i].greedy = true;
        GAL_ASSERT(parts[i]->first > 0 && parts[i]->first < parts[i]->n);
        err = check_ids(s, parts[i], diag);
    }
    if (!err) err = read_beginnings(s, w, n, diag);
    for (int64_t i = 0; i < n; i++) w[i].end = w[i].p ? w[i].p->n - 1 : 0;
    while (!err) {
        err = step(s, w, n, true, slices, &n_slices, &logits, diag);
        if (err || !n_slices) break;
        err = take_rows(s, w, slices, n_slices, logits, diag);
    }
    for (int64_t i = 0; i < n && !err; i++) results[i] = (gal_scored){ w[i].sum, w[i].greedy };
    return err;
}

gal_err gal_scorer_run(gal_scorer *s, const gal_part *const *parts, size_t n, gal_scored *results, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i += (size_t)s->batch)
        err = run_some(s, parts + i, (int64_t)GAL_MIN(n - i, (size_t)s->batch), results + i, diag);
    return err;
}

/* ---- saying -------------------------------------------------------------------------------------------------------
 */

typedef struct speaker {
    gal_stream *stream;
    int32_t next; /* -1: it is done */
    int64_t tokens;
} speaker;

static gal_err hear(speaker *k, const gal_say_options *how, int32_t id, gal_buf *text, gal_diag *diag) {
    const char *piece;
    size_t n;
    bool ends = false;
    for (int32_t i = 0; i < how->n_eos; i++) ends = ends || how->eos[i] == id;
    k->next = -1;
    if (ends) return GAL_OK;
    gal_err err = gal_stream_feed(k->stream, id, &piece, &n, diag);
    if (err) return err;
    gal_buf_add(text, piece, n);
    k->tokens++;
    if (gal_stream_stopped(k->stream) < 0 && k->tokens < how->max_tokens) k->next = id;
    return GAL_OK;
}

static gal_err most_likely(const float *row, int64_t V, int64_t allowed, int32_t *id, gal_diag *diag) {
    int64_t best = 0;
    for (int64_t i = 0; i < V; i++)
        if (!isfinite(row[i])) return gal_fail(diag, GAL_EFAIL, "the logit of id %lld is not finite", (long long)i);
    for (int64_t i = 1; i < allowed; i++) best = row[i] > row[best] ? i : best;
    *id = (int32_t)best;
    return GAL_OK;
}

/* One step of all who go on. */
static gal_err say_on(gal_scorer *s, speaker *k, int64_t n, bool *any, const gal_say_options *how, gal_buf *texts,
                      gal_diag *diag) {
    gal_slice slices[GAL_SCORE_BATCH];
    size_t n_slices = 0;
    const float *logits = NULL;
    const int64_t allowed = GAL_MIN(s->V, (int64_t)gal_tokenizer_size(how->t));
    for (int64_t i = 0; i < n; i++)
        if (k[i].next >= 0) slices[n_slices++] = (gal_slice){ i, &k[i].next, 1 };
    *any = n_slices > 0;
    if (!*any) return GAL_OK;
    gal_err err = gal_engine_try_all(s->engine, slices, n_slices, true, &logits, diag);
    for (size_t i = 0; i < n_slices && !err; i++) {
        const int64_t at = slices[i].sequence;
        int32_t id = 0;
        err = note(s, at, slices[i].ids, 1, diag);
        if (!err) err = most_likely(logits + (int64_t)i * s->V, s->V, allowed, &id, diag);
        if (!err) err = hear(&k[at], how, id, &texts[at], diag);
        s->rows++;
    }
    return err;
}

static gal_err end_texts(speaker *k, int64_t n, gal_buf *texts, int64_t *tokens, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (int64_t i = 0; i < n && !err; i++) {
        const char *piece;
        size_t bytes;
        err = gal_stream_end(k[i].stream, &piece, &bytes, diag);
        if (err) break;
        gal_buf_add(&texts[i], piece, bytes);
        if (texts[i].oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for what a model says");
        tokens[i] = k[i].tokens;
    }
    return err;
}

static gal_err say_some(gal_scorer *s, const gal_part *const *parts, int64_t n, const gal_say_options *how,
                        gal_buf *texts, int64_t *tokens, gal_diag *diag) {
    at_work w[GAL_SCORE_BATCH] = { { 0 } };
    speaker k[GAL_SCORE_BATCH] = { { 0 } };
    const gal_stream_options so = { .stops = (const char *const *)how->until->v, .stop_count = how->until->n };
    gal_err err = GAL_OK;
    for (int64_t i = 0; i < n && !err; i++) {
        w[i].p = parts[i];
        k[i].next = parts[i]->ids[parts[i]->n - 1];
        err = check_ids(s, parts[i], diag);
        if (!err) err = gal_stream_new(&k[i].stream, how->t, &so, diag);
    }
    if (!err) err = read_beginnings(s, w, n, diag);
    for (bool any = true; any && !err;) err = say_on(s, k, n, &any, how, texts, diag);
    if (!err) err = end_texts(k, n, texts, tokens, diag);
    for (int64_t i = 0; i < n; i++) gal_stream_free(k[i].stream);
    return err;
}

gal_err gal_scorer_say(gal_scorer *s, const gal_part *const *parts, size_t n, const gal_say_options *how,
                       gal_buf *texts, int64_t *tokens, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < n && !err; i += (size_t)s->batch)
        err = say_some(s, parts + i, (int64_t)GAL_MIN(n - i, (size_t)s->batch), how, texts + i, tokens + i, diag);
    return err;
}
