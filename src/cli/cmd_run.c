/* cmd_run.c - `galerne run`: continues a prompt from -p, from ids, from standard input, or line by line from a
 * person. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/profile.h"
#include "infer/lm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where tokens go: streamed to standard output, or collected for --json. */
typedef struct show {
    bool json, text; /* text: there is a vocabulary */
    gal_buf collected, ids;
    int64_t shown;
    char last; /* byte of text */
} show;

static int on_token(void *user, int32_t id, const char *text, size_t bytes) {
    show *s = user;
    if (s->json) {
        if (id >= 0) gal_buf_printf(&s->ids, "%s%d", s->ids.len ? ", " : "", id);
        gal_buf_add(&s->collected, text, bytes);
        return s->ids.oom || s->collected.oom;
    }
    if (s->text) {
        (void)fwrite(text, 1, bytes, stdout);
        if (bytes) s->last = text[bytes - 1];
    } else if (id >= 0) {
        printf("%s%d", s->shown++ ? " " : "", id);
    }
    (void)fflush(stdout);
    return ferror(stdout); /* a reader that has gone needs no more */
}

/* Seeds that --seed takes; JSON readers keep whole numbers of this size exactly. */
#define SEEDS 9000000000000000u

static double rate(int64_t n, double seconds) { return seconds > 0.0 ? (double)n / seconds : 0.0; }

/* Each number of the sampling and where it is from: a flag, else what the model's makers say, else built in. */
static void put_sampling(gal_buf *b, const gal_cli *cli, const gal_lm *lm, const gal_sampling *s) {
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

static void print_json(const gal_cli *cli, const gal_lm *lm, const show *s, const gal_generate_result *r,
                       const gal_sampling *how, const gal_disk_use *disk) {
    gal_buf b = { 0 };
    if (s->text) {
        gal_buf_puts(&b, "{\"text\": ");
        gal_buf_json(&b, s->collected.len ? s->collected.data : "", s->collected.len);
    } else {
        gal_buf_puts(&b, "{\"text\": null");
    }
    gal_buf_printf(&b, ", \"ids\": [%s], \"prompt_tokens\": %lld, \"tokens\": %lld, \"stop\": \"%s\"",
                   s->ids.len ? s->ids.data : "", (long long)r->prompt_tokens, (long long)r->tokens,
                   gal_stop_reason_name(r->stop));
    gal_buf_printf(&b, ", \"open_s\": %.6f, \"prompt_s\": %.6f, \"generate_s\": %.6f, \"tokens_per_s\": %.3f",
                   lm->open_s, r->prompt_s, r->generate_s, rate(r->tokens, r->generate_s));
    put_sampling(&b, cli, lm, how);
    gal_buf_printf(&b, ", \"disk_read_bytes\": %llu, \"page_faults\": %llu", (unsigned long long)disk->read_bytes,
                   (unsigned long long)disk->faults);
    gal_buf_printf(&b, ", \"seed\": %llu}\n", (unsigned long long)how->seed);
    if (b.data) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
}

/* What weights that were not in memory cost: nothing is said where all were. */
static void print_disk(const gal_lm *lm, const gal_generate_result *r, const gal_disk_use *d) {
    char all[40], each[40], mapped[40], left[40];
    uint64_t bytes = gal_model_mapped_bytes(lm->model), available = gal_memory_available();
    int64_t tokens = GAL_MAX(r->prompt_tokens + r->tokens, (int64_t)1);
    if (!bytes || !d->faults) return;
    fprintf(stderr, "%s read from disk meanwhile (%s a token), %llu page faults",
            gal_cli_bytes_text(all, sizeof all, d->read_bytes),
            gal_cli_bytes_text(each, sizeof each, d->read_bytes / (uint64_t)tokens), (unsigned long long)d->faults);
    if (bytes > available)
        fprintf(stderr, ": %s of mapped weights are more than the %s that are free",
                gal_cli_bytes_text(mapped, sizeof mapped, bytes), gal_cli_bytes_text(left, sizeof left, available));
    fputc('\n', stderr);
}

static void print_statistics(const gal_cli *cli, const gal_lm *lm, const gal_generate_result *r,
                             const gal_disk_use *disk) {
    if (cli->quiet) return;
    fprintf(stderr, "%lld prompt tokens in %.2f s (%.1f tokens/s), %lld tokens in %.2f s (%.1f tokens/s)\n",
            (long long)r->prompt_tokens, r->prompt_s, rate(r->prompt_tokens, r->prompt_s), (long long)r->tokens,
            r->generate_s, rate(r->tokens, r->generate_s));
    if (r->stop == GAL_STOP_CONTEXT) {
        fprintf(stderr, "stopped: the context of %lld tokens is full\n", (long long)gal_engine_context(lm->engine));
    }
    print_disk(lm, r, disk);
}

/* From `count` bytes of text, or, where text is NULL, from as many ids. */
static gal_err one_prompt(gal_cli *cli, gal_lm *lm, const gal_generate_options *o, const char *text,
                          const int32_t *ids, size_t count) {
    show s = { .json = cli->json, .text = lm->tokenizer != NULL, .last = '\n' };
    gal_generate_result r = { 0 };
    const gal_disk_use before = gal_disk_used();
    gal_err err = text ? gal_lm_generate(lm, text, count, o, on_token, &s, &r, &cli->diag)
                       : gal_lm_generate_ids(lm, ids, count, o, on_token, &s, &r, &cli->diag);
    if (!err && (s.ids.oom || s.collected.oom)) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the text");
    const gal_disk_use now = gal_disk_used(),
                       disk = { now.read_bytes - before.read_bytes, now.faults - before.faults };
    if (!err && s.json) print_json(cli, lm, &s, &r, &o->sampling, &disk);
    if (!err && !s.json && (s.last != '\n' || s.shown)) putchar('\n');
    (void)fflush(stdout);
    if (!err) print_statistics(cli, lm, &r, &disk);
    if (!err && gal_cli_interrupted()) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    gal_buf_free(&s.ids);
    gal_buf_free(&s.collected);
    return err;
}

/* $XDG_STATE_HOME/galerne/history or ~/.local/state/galerne/history; NULL when there is no place for it. */
static const char *history_path(gal_buf *b) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && state[0] == '/') {
        gal_buf_printf(b, "%s/galerne", state);
    } else if (home && home[0] == '/') {
        gal_buf_printf(b, "%s/.local/state/galerne", home);
    } else {
        return NULL;
    }
    if (b->oom || gal_make_dirs(b->data, NULL)) return NULL;
    gal_buf_puts(b, "/history");
    return b->oom ? NULL : b->data;
}

static gal_err interactive(gal_cli *cli, gal_lm *lm, const gal_generate_options *o) {
    gal_buf path = { 0 };
    gal_lines *lines = NULL;
    gal_err err = gal_lines_open(&lines, "> ", history_path(&path), &cli->diag);
    if (!err && !cli->quiet) {
        fprintf(stderr, "Each line is a prompt of its own. Ctrl-C stops the text; at the prompt, Ctrl-C or Ctrl-D "
                        "leaves.\n");
    }
    while (!err) {
        gal_cli_reset_interrupts();
        const char *line = gal_lines_next(lines);
        if (!line || gal_cli_interrupted()) {
            fputc('\n', stderr);
            break;
        }
        if (!line[0]) continue;
        err = one_prompt(cli, lm, o, line, NULL, strlen(line));
        if (err == GAL_EINTERRUPTED || err == GAL_ENOMEM) { /* a prompt that is too long is not the end */
            if (err == GAL_ENOMEM) fprintf(stderr, "galerne: %s\n", cli->diag.text);
            err = GAL_OK;
            cli->diag = (gal_diag){ 0 };
        }
    }
    gal_lines_close(lines);
    gal_buf_free(&path);
    return err;
}

/* The model's defaults, overridden by what the command line gives. */
static gal_err generate_options(gal_cli *cli, const gal_lm *lm, gal_generate_options *o, const char **stops) {
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
    for (size_t i = 0; i < o->n_stops; i++) stops[i] = gal_cli_nth(cli, "stop", i);
    o->stops = stops;
    if (o->n_stops && !lm->tokenizer) {
        return gal_cli_usage(cli, "--stop needs a tokenizer, and %s has none", cli->operands[0]);
    }
    return GAL_OK;
}

static gal_err from_stdin(gal_cli *cli, gal_lm *lm, const gal_generate_options *o) {
    gal_buf text = { 0 };
    gal_err err = gal_cli_read_stdin(&text, &cli->diag);
    if (!err && text.len && text.data[text.len - 1] == '\n') text.len--; /* of the line, not of the prompt */
    if (!err && text.len == 0) err = gal_cli_usage(cli, "the prompt on standard input is empty");
    if (!err) err = one_prompt(cli, lm, o, text.data, NULL, text.len);
    gal_buf_free(&text);
    return err;
}

/* Mistakes that can be told without loading a model. */
static gal_err check(gal_cli *cli) {
    bool p = gal_cli_given(cli, "prompt"), ids = gal_cli_given(cli, "ids"), none = gal_cli_given(cli, "unprompted");
    if (p + ids + none > 1) return gal_cli_usage(cli, "--prompt, --ids and --unprompted exclude each other");
    if (p && !gal_cli_string(cli, "prompt")[0]) {
        return gal_cli_usage(cli, "the prompt is empty; --unprompted lets the model begin by itself");
    }
    if (gal_cli_count(cli, "stop") > 64) return gal_cli_usage(cli, "--stop: at most 64 strings");
    return GAL_OK;
}

static gal_err run(gal_cli *cli) {
    gal_ids ids = { 0 };
    gal_lm *lm = NULL;
    gal_err err = check(cli);
    bool from_ids = gal_cli_given(cli, "ids");
    if (!err && from_ids) err = gal_cli_ids_option(cli, "ids", &ids);
    gal_lm_options lo;
    gal_lm_options_init(&lo);
    lo.device = cli->device;
    lo.context = gal_cli_int(cli, "context");
    lo.compute = lo.cache = strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0 ? GAL_BF16 : GAL_F32;
    lo.eager = gal_cli_given(cli, "eager");
    lo.exact = gal_cli_given(cli, "exact");
    lo.no_mmap = gal_cli_given(cli, "no-mmap");
    lo.layout = gal_cli_string(cli, "layout");
    gal_reading reading = { .cli = cli };
    lo.progress = gal_cli_show_reading;
    lo.user = &reading;
    gal_loras loras = { 0 };
    if (!err) err = gal_cli_loras(cli, &loras);
    lo.adapters = loras.list;
    lo.n_adapters = loras.n;
    if (!err) gal_cli_catch_interrupts();
    gal_profile *profile = NULL;
    gal_input inputs[1 + GAL_CLI_LORAS] = { { "model", cli->operands[0] } };
    const char *trace = gal_cli_string(cli, "trace");
    if (!err && trace)
        err = gal_cli_output_file(cli, "--trace", trace, gal_cli_layout(cli), inputs,
                                  gal_cli_lora_inputs(&loras, inputs, 1));
    if (!err) err = gal_profile_new(&profile, cli);
    if (!err) err = gal_lm_open(&lm, cli->operands[0], &lo, &cli->diag);
    if (!err) lm->dev->watch = gal_profile_watch(profile);
    const char *stops[64];
    gal_generate_options o = { 0 };
    if (!err) err = generate_options(cli, lm, &o, stops);
    if (!err) {
        gal_cli_warn(cli, lm->model);
        lm->stop = gal_cli_wants_stop;
        const char *p = gal_cli_string(cli, "prompt");
        if (from_ids) {
            err = one_prompt(cli, lm, &o, NULL, ids.data, ids.len);
        } else if (p) {
            err = one_prompt(cli, lm, &o, p, NULL, strlen(p));
        } else if (gal_cli_given(cli, "unprompted")) {
            err = one_prompt(cli, lm, &o, "", NULL, 0);
        } else if (isatty(STDIN_FILENO)) {
            err = interactive(cli, lm, &o);
        } else {
            err = from_stdin(cli, lm, &o);
        }
    }
    gal_lm_close(lm);
    if (!err) err = gal_profile_finish(profile, cli, cli->device.cpu);
    gal_profile_free(profile);
    gal_ids_free(&ids);
    gal_cli_loras_free(&loras);
    return err;
}

static const char *const DTYPES[] = { "f32", "bf16", NULL };

static const gal_option OPTIONS[] = {
    { .name = "prompt", .letter = 'p', .kind = GAL_V_STRING, .value = "TEXT", .help = "the text to continue" },
    { .name = "ids",
      .kind = GAL_V_STRING,
      .value = "IDS",
      .help =
          "token ids to continue instead of a text, used as given; - reads them from standard input. Ids are printed "
          "where the model has no tokenizer" },
    { .name = "unprompted", .help = "begin with the beginning-of-sequence token alone" },
    { .name = "max-tokens",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1e9,
      .help = "at most this many new tokens; the model's own default, or 256" },
    { .name = "temperature",
      .kind = GAL_V_FLOAT,
      .value = "T",
      .min = 0,
      .max = 100,
      .help = "0 takes the most likely token; the model's own default, or 0.7" },
    { .name = "greedy", .help = "the same as --temperature 0" },
    { .name = "top-k",
      .kind = GAL_V_INT,
      .value = "K",
      .min = 0,
      .max = 1e9,
      .help = "choose among the K most likely tokens; 0: among all" },
    { .name = "top-p",
      .kind = GAL_V_FLOAT,
      .value = "P",
      .min = 1e-9,
      .max = 1,
      .help = "choose among the most likely tokens whose probabilities sum to P; 1: among all" },
    { .name = "min-p",
      .kind = GAL_V_FLOAT,
      .value = "P",
      .min = 0,
      .max = 1,
      .help = "choose among tokens at least P times as likely as the most likely one" },
    { .name = "repetition-penalty",
      .kind = GAL_V_FLOAT,
      .value = "X",
      .min = 1e-3,
      .max = 1e3,
      .help = "make tokens that occurred less likely; 1: do not" },
    { .name = "seed",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 9e15,
      .help = "the same seed gives the same text; from the clock if not given" },
    { .name = "stop", .kind = GAL_V_STRING, .value = "TEXT", .repeat = true, .help = "end before this text" },
    { .name = "ignore-eos", .help = "go on after the model ends its text" },
    { .name = "context",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1e9,
      .fallback = "0",
      .help =
          "most tokens of prompt and text together; 0: the smaller of the model's maximum and what memory allows" },
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = DTYPES,
      .fallback = "f32",
      .help = "number format of activations, keys and values" },
    { .name = "exact",
      .help = "weights in blocks meet activations in f32, whatever --dtype says; else these are rounded to 8 bits "
              "first" },
    { .name = "eager", .help = "do not record and replay steps; the text is the same" },
    { .name = "no-mmap", .help = "read the weights into memory instead of mapping their files" },
    GAL_LAYOUT_OPTION,
    GAL_LORA_OPTION,
    GAL_PROFILE_OPTIONS,
};

const gal_command gal_cmd_run = {
    .name = "run",
    .summary = "continue a prompt",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .text =
        "MODEL is a folder in Hugging Face's or Mistral's own layout, a GGUF file, or a run directory of galerne "
        "train.\n\n"
        "The prompt comes from -p, from --ids, or from standard input. At a terminal without any of them each line "
        "that "
        "is typed is a prompt of its own.\n\n"
        "The text goes to standard output as it is made; speed goes to standard error at the end. With --json one "
        "object is printed at the end: text, ids, prompt_tokens, tokens, stop, prompt_s, generate_s, tokens_per_s, "
        "sampling, seed.\n\n"
        "A number of the sampling is the flag's; without one it is what the model's makers say "
        "(generation_config.json, or general.sampling.* of a GGUF file); without that it is built in. With --json, "
        "sampling says which.",
    .examples = "galerne run model -p \"Once upon a time\"\n"
                "galerne run model --temperature 0 --ids \"1 22 333\" --max-tokens 24\n"
                "echo \"The sea\" | galerne run runs/demo --top-p 0.9 --seed 7",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
