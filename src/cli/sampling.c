/* sampling.c - see sampling.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/sampling.h"

#include "base/util.h"
#include "cli/screen.h"

#include <string.h>
#include <unistd.h>

const char *const GAL_CLI_DTYPES[] = { "f32", "bf16", NULL };
const char *const GAL_CLI_CACHES[] = { "f16", "f32", "bf16", "q8_0", "q4_0", NULL };

gal_dtype gal_cli_cache_type(const gal_cli *cli) {
    const char *name = gal_cli_string(cli, "cache");
    for (int t = 0; t < GAL_DTYPES; t++)
        if (strcmp(name, gal_dtype_name((gal_dtype)t)) == 0) return (gal_dtype)t;
    return GAL_F16; /* never: the parser knows these names alone */
}

const char *const GAL_CLI_SPECULATE[] = {
    [GAL_SPECULATE_OFF] = "off", [GAL_SPECULATE_LOOKUP] = "lookup", [GAL_SPECULATE_DRAFT] = "draft", NULL
};

gal_err gal_cli_speculation(gal_cli *cli, gal_lm_options *lo) {
    const char *how = gal_cli_string(cli, "speculate");
    lo->draft = gal_cli_string(cli, "draft");
    lo->speculate = lo->draft ? GAL_SPECULATE_DRAFT : GAL_SPECULATE_OFF;
    for (int i = 0; how && GAL_CLI_SPECULATE[i]; i++)
        if (strcmp(how, GAL_CLI_SPECULATE[i]) == 0) lo->speculate = (gal_speculate)i;
    lo->draft_tokens = gal_cli_int(cli, "draft-tokens");
    if (lo->speculate == GAL_SPECULATE_DRAFT && !lo->draft)
        return gal_cli_usage(cli, "--speculate draft needs --draft MODEL, the model that guesses");
    if (lo->draft && lo->speculate != GAL_SPECULATE_DRAFT)
        return gal_cli_usage(cli, "--draft and --speculate %s exclude each other", how);
    if (gal_cli_given(cli, "draft-tokens") && lo->speculate == GAL_SPECULATE_OFF)
        return gal_cli_usage(cli, "--draft-tokens belongs to --speculate lookup or --draft MODEL");
    return GAL_OK;
}

void gal_cli_print_guesses(gal_buf *b, const gal_generate_result *r) {
    const int64_t made = r->tokens - 1 + (r->stop == GAL_STOP_EOS); /* by passes: the first came with the prompt */
    gal_buf_printf(b, "%lld of %lld guesses accepted (%.1f %%), %.2f tokens a pass", (long long)r->accepted,
                   (long long)r->proposed, r->proposed ? 100.0 * (double)r->accepted / (double)r->proposed : 0.0,
                   r->passes ? (double)made / (double)r->passes : 0.0);
}

gal_err gal_cli_lm_options(gal_cli *cli, gal_lm_options *lo, gal_reading *reading, gal_loras *loras) {
    gal_lm_options_init(lo);
    lo->device = cli->device;
    lo->context = gal_cli_int(cli, "context");
    lo->compute = strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0 ? GAL_BF16 : GAL_F32;
    lo->cache = gal_cli_cache_type(cli);
    lo->eager = gal_cli_given(cli, "eager");
    lo->exact = gal_cli_given(cli, "exact");
    lo->no_mmap = gal_cli_given(cli, "no-mmap");
    lo->repack = gal_cli_given(cli, "repack");
    lo->repack_dir = gal_cli_cache_folder(cli);
    lo->layout = gal_cli_string(cli, "layout");
    lo->progress = gal_cli_show_reading;
    lo->user = reading;
    gal_err err = gal_cli_loras(cli, loras);
    lo->adapters = loras->list;
    lo->n_adapters = loras->n;
    return err;
}

/* Seeds that --seed takes; JSON readers keep whole numbers of this size exactly. */
#define SEEDS 9000000000000000u

gal_err gal_cli_generate_options(gal_cli *cli, const gal_lm *lm, gal_generate_options *o, const char **stops) {
    gal_generate_options_init(o, lm);
    gal_sampling *s = &o->sampling;
    if (gal_cli_given(cli, "temperature")) s->temperature = gal_cli_float(cli, "temperature");
    if (gal_cli_given(cli, "top-k")) s->top_k = gal_cli_int(cli, "top-k");
    if (gal_cli_given(cli, "top-p")) s->top_p = gal_cli_float(cli, "top-p");
    if (gal_cli_given(cli, "min-p")) s->min_p = gal_cli_float(cli, "min-p");
    if (gal_cli_given(cli, "repetition-penalty")) s->repetition_penalty = gal_cli_float(cli, "repetition-penalty");
    if (gal_cli_given(cli, "greedy")) s->temperature = 0.0;
    s->seed = (uint64_t)gal_cli_int(cli, "seed");
    if (!gal_cli_given(cli, "seed")) s->seed = ((uint64_t)gal_unix_time_s() * 1000003u + (uint64_t)getpid()) % SEEDS;
    if (gal_cli_given(cli, "max-tokens")) o->max_tokens = gal_cli_int(cli, "max-tokens");
    o->ignore_eos = gal_cli_given(cli, "ignore-eos");
    o->n_stops = gal_cli_count(cli, "stop");
    if (o->n_stops > GAL_CLI_STOPS) return gal_cli_usage(cli, "--stop: at most %d strings", GAL_CLI_STOPS);
    for (size_t i = 0; i < o->n_stops; i++) stops[i] = gal_cli_nth(cli, "stop", i);
    o->stops = stops;
    if (o->n_stops && !lm->tokenizer) {
        return gal_cli_usage(cli, "--stop needs a tokenizer, and %s has none", cli->operands[0]);
    }
    return GAL_OK;
}

void gal_cli_print_sampling(gal_buf *b, const gal_cli *cli, const gal_lm *lm, const gal_sampling *s) {
    const gal_generation *g = &lm->defaults;
    const struct {
        const char *name, *option;
        double value;
        bool model;
    } NUMBERS[] = {
        { "temperature", gal_cli_given(cli, "greedy") ? "greedy" : "temperature", s->temperature,
          g->temperature >= 0.0 || g->do_sample == 0 },
        { "top_k", "top-k", (double)s->top_k, g->top_k >= 0 },
        { "top_p", "top-p", s->top_p, g->top_p > 0.0 },
        { "min_p", "min-p", s->min_p, g->min_p >= 0.0 },
        { "repetition_penalty", "repetition-penalty", s->repetition_penalty, g->repetition_penalty > 0.0 },
    };
    gal_buf_puts(b, ", \"sampling\": {");
    for (size_t i = 0; i < GAL_LEN(NUMBERS); i++)
        gal_buf_printf(b, "%s\"%s\": {\"value\": %.9g, \"from\": \"%s\"}", i ? ", " : "", NUMBERS[i].name,
                       NUMBERS[i].value,
                       gal_cli_given(cli, NUMBERS[i].option) ? "flag"
                       : NUMBERS[i].model                    ? "model"
                                                             : "built-in");
    gal_buf_puts(b, "}");
}

void gal_cli_tell(const gal_cli *cli, const gal_lm *lm, gal_told *told) {
    for (int i = 0; lm; lm = lm->draft, i++) {
        const gal_model *m = lm->model;
        if (!told->before) gal_cli_warn(cli, m);
        for (size_t n = told->notes[i]; told->before && n < m->n_notes && !cli->quiet; n++)
            gal_cli_complain(NULL, m->notes[n]);
        told->notes[i] = m->n_notes;
    }
    told->before = true;
}
