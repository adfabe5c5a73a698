/* generate.c - see generate.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/generate.h"

#include "base/util.h"
#include "infer/sample.h"

#include <stdio.h>
#include <string.h>

gal_err gal_prompt_encode(const gal_tokenizer *t, const char *text, size_t bytes, gal_ids *ids, gal_diag *diag) {
    unsigned flags = gal_tokenizer_begins(t) ? GAL_ENCODE_BOS : 0;
    gal_err err = gal_encode(t, NULL, text, bytes, flags, ids, diag);
    if (err) return err;
    if (ids->len == 0) return gal_fail(diag, GAL_EUSAGE, "the prompt is empty");
    return GAL_OK;
}

const char *gal_stop_reason_name(gal_stop_reason stop) {
    switch (stop) {
    case GAL_STOP_EOS:
        return "eos";
    case GAL_STOP_STRING:
        return "string";
    case GAL_STOP_TOKENS:
        return "tokens";
    case GAL_STOP_CONTEXT:
        return "context";
    case GAL_STOP_CALLER:
        return "caller";
    }
    return "unknown";
}

static bool is_eos(const gal_generator *g, const gal_generate_options *o, int32_t id) {
    for (int32_t i = 0; !o->ignore_eos && i < g->n_eos; i++) {
        if (g->eos[i] == id) return true;
    }
    return false;
}

/* One generation under way. */
typedef struct run {
    const gal_generator *g;
    const gal_generate_options *o;
    gal_sampler *sampler;
    gal_stream *stream; /* NULL: no text */
    gal_token_fn fn;
    void *user;
    gal_generate_result r;
    gal_ids text; /* the prompt and all tokens since, where somebody asks for them */
    int32_t id;   /* the last token, which the cache does not have yet */
    bool done;    /* it was the last one: r.stop says why */
} run;

static bool wants_text(const run *u) { return u->g->held || u->g->ahead; }

/* The next token, given its logits and position: guess i, if it stays, or another one. */
static gal_err choose(run *u, const float *logits, int64_t position, const gal_guess *guess, int64_t i, bool *stays,
                      gal_diag *diag) {
    *stays = false;
    if (!u->g->ahead) return gal_sample(u->sampler, logits, position, &u->id, diag);
    return gal_speculation_check(u->g->ahead, u->sampler, u->o->sampling.seed, logits, position, guess, i, &u->id,
                                 stays, diag);
}

/* Shows and counts the token at a position. */
static gal_err take(run *u, int64_t position, gal_diag *diag) {
    const int32_t id = u->id;
    gal_err err = GAL_OK;
    u->done = true;
    if (is_eos(u->g, u->o, id)) {
        u->r.stop = GAL_STOP_EOS;
        return GAL_OK;
    }
    u->r.tokens++;
    (void)gal_sampler_saw(u->sampler, id);
    if (wants_text(u)) err = gal_ids_add(&u->text, id, diag);
    const char *text = "";
    size_t bytes = 0;
    if (!err && u->stream) err = gal_stream_feed(u->stream, id, &text, &bytes, diag);
    if (err) return err;
    u->r.stop = GAL_STOP_CALLER;
    if (u->fn(u->user, id, text, bytes)) return GAL_OK;
    u->r.stop = GAL_STOP_STRING;
    if (u->stream && gal_stream_stopped(u->stream) >= 0) return GAL_OK;
    u->r.stop = GAL_STOP_TOKENS;
    if (u->r.tokens >= u->o->max_tokens) return GAL_OK;
    u->r.stop = GAL_STOP_CONTEXT;
    if (position >= gal_engine_context(u->g->engine)) return GAL_OK;
    u->r.stop = GAL_STOP_CALLER;
    if (u->g->stop && u->g->stop(u->g->user)) return GAL_OK;
    u->done = false;
    return GAL_OK;
}

/* Ids that the prompt and what is held have in common; the last of a prompt is always read anew. */
static int64_t shared(const gal_ids *held, const int32_t *ids, int64_t n) {
    int64_t most = held ? GAL_MIN((int64_t)held->len, n - 1) : 0, same = 0;
    while (same < most && held->data[same] == ids[same]) same++;
    return same;
}

/* What the cache still has of a prompt; a ring may have lost what comes before the place where they part. */
static int64_t keep(run *u, const int32_t *ids, int64_t n) {
    int64_t same = shared(u->g->held, ids, n);
    if (same > gal_cache_length(gal_engine_cache(u->g->engine), 0)) same = 0;
    if (!gal_engine_truncate(u->g->engine, 0, same)) {
        (void)gal_engine_truncate(u->g->engine, 0, 0);
        same = 0;
    }
    return same;
}

/* Writes down what the cache holds, whatever happened. */
static gal_err note_held(run *u, gal_diag *diag) {
    gal_ids *held = u->g->held;
    if (!held) return GAL_OK;
    int64_t length = gal_cache_length(gal_engine_cache(u->g->engine), 0);
    gal_err err = GAL_OK;
    held->len = 0;
    for (int64_t i = 0; i < GAL_MIN((int64_t)u->text.len, length) && !err; i++)
        err = gal_ids_add(held, u->text.data[i], diag);
    if (err) held->len = 0;
    return err;
}

/* A step that is stopped half way empties a ring that is full: what is to be kept waits for its end. */
static void wait_or_not(run *u, int64_t rows) {
    const bool lossy = u->g->held && gal_cache_overwrites(gal_engine_cache(u->g->engine), 0, rows);
    gal_engine_interrupt(u->g->engine, lossy ? NULL : u->g->stop, u->g->user);
}

/* What may follow the last token, no longer than context and max_tokens have room for. */
static gal_err guess_on(run *u, gal_guess *guess, gal_diag *diag) {
    guess->n = 0;
    if (!u->g->ahead) return GAL_OK;
    const int64_t length = gal_cache_length(gal_engine_cache(u->g->engine), 0);
    const int64_t most = GAL_MIN(gal_engine_context(u->g->engine) - length, u->o->max_tokens - u->r.tokens) - 1;
    return gal_speculation_guess(u->g->ahead, u->text.data, (int64_t)u->text.len, most, guess, diag);
}

/* One step: the last token and guesses of what follows; then all tokens up to the first that is no guess. */
static gal_err one_step(run *u, gal_diag *diag) {
    gal_engine *e = u->g->engine;
    const int64_t length = gal_cache_length(gal_engine_cache(e), 0);
    gal_guess guess;
    const float *logits = NULL;
    gal_err err = guess_on(u, &guess, diag);
    if (err) return err;
    int32_t ids[GAL_TRY_MOST] = { u->id };
    memcpy(ids + 1, guess.ids, (size_t)guess.n * sizeof *ids);
    wait_or_not(u, 1 + guess.n);
    err = gal_engine_try(e, 0, ids, 1 + guess.n, &logits, diag);
    if (err) return err;
    u->r.passes++;
    bool stays = true;
    int64_t i = 0, stayed = 0;
    for (; !err && stays && !u->done && i <= guess.n; i++) {
        err = choose(u, logits + i * u->g->vocab, length + 1 + i, &guess, i, &stays, diag);
        if (err) break;
        stayed += stays;
        err = take(u, length + 1 + i, diag);
    }
    if (guess.n) gal_speculation_learn(u->g->ahead, guess.n, stayed);
    const bool back = gal_engine_truncate(e, 0, length + GAL_MAX(i, (int64_t)1)); /* guesses beyond u->id go */
    GAL_ASSERT(back);
    return err;
}

static gal_err loop(run *u, const int32_t *ids, int64_t n, gal_diag *diag) {
    double start = gal_now_s();
    u->r.prompt_tokens = n;
    const int64_t kept = keep(u, ids, n);
    const float *logits = NULL;
    bool stays;
    if (u->g->kept) *u->g->kept = kept;
    gal_engine_interrupt(u->g->engine, u->g->stop, u->g->user);
    gal_err err = gal_engine_prefill(u->g->engine, 0, ids + kept, n - kept, &logits, diag);
    double ready = gal_now_s();
    u->r.prompt_s = ready - start;
    u->done = u->o->max_tokens <= 0;
    u->r.stop = GAL_STOP_TOKENS;
    const gal_guess none = { .n = 0 };
    if (!err && !u->done) err = choose(u, logits, n, &none, 0, &stays, diag);
    if (!err && !u->done) err = take(u, n, diag);
    while (!err && !u->done) {
        err = one_step(u, diag);
        if (err != GAL_EINTERRUPTED) continue;
        u->r.stop = GAL_STOP_CALLER; /* the text so far is one */
        err = GAL_OK;
        break;
    }
    gal_engine_interrupt(u->g->engine, NULL, NULL);
    const char *text = "";
    size_t bytes = 0;
    if (!err && u->stream) err = gal_stream_end(u->stream, &text, &bytes, diag);
    if (!err && bytes) (void)u->fn(u->user, -1, text, bytes);
    u->r.generate_s = gal_now_s() - ready;
    return err;
}

gal_err gal_generate(const gal_generator *g, const int32_t *ids, int64_t n, bool continues,
                     const gal_generate_options *options, gal_token_fn fn, void *user, gal_generate_result *result,
                     gal_diag *diag) {
    if (n <= 0) return gal_fail(diag, GAL_EUSAGE, "the prompt is empty");
    int64_t known = g->tokenizer ? gal_tokenizer_size(g->tokenizer) : g->vocab;
    for (int64_t i = 0; i < n; i++) { /* before the sampler counts them */
        if (ids[i] < 0 || ids[i] >= g->vocab) {
            char pieces[60] = "";
            if (known > g->vocab)
                (void)snprintf(pieces, sizeof pieces, ", its tokenizer has %lld pieces", (long long)known);
            return gal_fail(diag, GAL_EINPUT, "token %lld is %d; the model's vocabulary is 0 to %lld%s", (long long)i,
                            ids[i], (long long)(g->vocab - 1), pieces);
        }
    }
    run u = { .g = g, .o = options, .fn = fn, .user = user };
    gal_err err = gal_sampler_new(&u.sampler, g->vocab, GAL_MIN(g->vocab, known), &options->sampling, diag);
    if (!err && g->tokenizer) {
        gal_stream_options so = { .keep_prefix_space = continues,
                                  .stops = options->stops,
                                  .stop_count = options->n_stops };
        err = gal_stream_new(&u.stream, g->tokenizer, &so, diag);
    }
    for (int64_t i = 0; !err && i < n; i++) {
        (void)gal_sampler_saw(u.sampler, ids[i]);
        if (wants_text(&u)) err = gal_ids_add(&u.text, ids[i], diag);
    }
    if (!err) {
        err = loop(&u, ids, n, diag);
        gal_err noted = note_held(&u, err ? NULL : diag);
        if (!err) err = noted;
    }
    if (g->ahead) {
        u.r.proposed = g->ahead->proposed;
        u.r.accepted = g->ahead->accepted;
    }
    if (!err && result) *result = u.r;
    gal_ids_free(&u.text);
    gal_stream_free(u.stream);
    gal_sampler_free(u.sampler);
    return err;
}
