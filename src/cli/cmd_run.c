/* cmd_run.c - `galerne run`: continues a prompt from -p, from ids, from standard input, or line by line from a
 * person. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/lines.h"
#include "cli/profile.h"
#include "cli/sampling.h"
#include "cli/screen.h"
#include "infer/lm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where tokens go: streamed to standard output, or collected for --json. */
typedef struct show {
    bool json, text; /* text: there is a vocabulary */
    bool terminal;   /* which must not obey what a model says */
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
        if (s->terminal)
            gal_cli_print_safe(stdout, GAL_SAFE_TEXT, text, bytes);
        else
            (void)fwrite(text, 1, bytes, stdout);
        if (bytes) s->last = text[bytes - 1];
    } else if (id >= 0) {
        printf("%s%d", s->shown++ ? " " : "", id);
    }
    gal_cli_flush();
    return ferror(stdout); /* a reader that has gone needs no more */
}

static double rate(int64_t n, double seconds) { return seconds > 0.0 ? (double)n / seconds : 0.0; }

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
    gal_buf_printf(&b, ", \"passes\": %lld, \"proposed\": %lld, \"accepted\": %lld", (long long)r->passes,
                   (long long)r->proposed, (long long)r->accepted);
    gal_buf_printf(&b, ", \"open_s\": %.6f, \"prompt_s\": %.6f, \"generate_s\": %.6f, \"tokens_per_s\": %.3f",
                   lm->open_s, r->prompt_s, r->generate_s, rate(r->tokens, r->generate_s));
    gal_cli_print_sampling(&b, cli, lm, how);
    gal_buf_printf(&b, ", \"disk_read_bytes\": %llu, \"page_faults\": %llu", (unsigned long long)disk->read_bytes,
                   (unsigned long long)disk->faults);
    gal_buf_printf(&b, ", \"seed\": %llu}\n", (unsigned long long)how->seed);
    if (b.data) gal_cli_write(b.data, b.len);
    gal_buf_free(&b);
}

/* What weights that were not in memory cost: nothing is said where all were, for the program's own pages come from
 * the disk too at times. */
static void print_disk(const gal_lm *lm, const gal_generate_result *r, const gal_disk_use *d) {
    char all[40], each[40], mapped[40], left[40];
    uint64_t bytes = gal_model_mapped_bytes(lm->model), available = gal_memory_available();
    int64_t tokens = GAL_MAX(r->prompt_tokens + r->tokens, (int64_t)1);
    if (!bytes || !d->faults || d->read_bytes < (uint64_t)1 << 20) return;
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
    if (lm->options.speculate != GAL_SPECULATE_OFF) {
        gal_buf b = { 0 };
        gal_cli_print_guesses(&b, r);
        fprintf(stderr, "%s\n", b.data ? b.data : "");
        gal_buf_free(&b);
    }
    if (r->stop == GAL_STOP_CONTEXT) {
        fprintf(stderr, "stopped: the context of %lld tokens is full\n", (long long)gal_engine_context(lm->engine));
    }
    print_disk(lm, r, disk);
}

/* From `count` bytes of text, or, where text is NULL, from as many ids. */
static gal_err one_prompt(gal_cli *cli, gal_lm *lm, const gal_generate_options *o, const char *text,
                          const int32_t *ids, size_t count) {
    show s = {
        .json = cli->json, .text = lm->tokenizer != NULL, .terminal = gal_cli_is_terminal(stdout), .last = '\n'
    };
    gal_generate_result r = { 0 };
    const gal_disk_use before = gal_disk_used();
    gal_err err = text ? gal_lm_generate(lm, text, count, o, on_token, &s, &r, &cli->diag)
                       : gal_lm_generate_ids(lm, ids, count, o, on_token, &s, &r, &cli->diag);
    if (!err && (s.ids.oom || s.collected.oom)) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the text");
    const gal_disk_use now = gal_disk_used(),
                       disk = { now.read_bytes - before.read_bytes, now.faults - before.faults };
    if (!err && s.json) print_json(cli, lm, &s, &r, &o->sampling, &disk);
    if (!err && !s.json && (s.last != '\n' || s.shown)) putchar('\n');
    gal_cli_flush();
    if (!err) print_statistics(cli, lm, &r, &disk);
    if (!err && gal_cli_interrupted()) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    gal_buf_free(&s.ids);
    gal_buf_free(&s.collected);
    return err;
}

static gal_err interactive(gal_cli *cli, gal_lm *lm, const gal_generate_options *o) {
    gal_buf path = { 0 };
    gal_lines *lines = NULL;
    gal_err err = gal_lines_open(&lines, gal_lines_history(&path, "history"), &cli->diag);
    if (!err && !cli->quiet) {
        fprintf(stderr, "Each line is a prompt of its own. Ctrl-C stops the text; at the prompt, Ctrl-C or Ctrl-D "
                        "leaves.\n");
    }
    while (!err) {
        gal_cli_reset_interrupts();
        size_t n = 0;
        const char *line = gal_lines_next(lines, "> ", &n);
        if (!line || gal_cli_interrupted()) {
            fputc('\n', stderr);
            break;
        }
        if (!n) continue;
        err = one_prompt(cli, lm, o, line, NULL, n);
        if (err == GAL_EINTERRUPTED || err == GAL_ENOMEM) { /* a prompt that is too long is not the end */
            if (err == GAL_ENOMEM) gal_cli_complain("galerne", cli->diag.text);
            err = GAL_OK;
            cli->diag = (gal_diag){ 0 };
        }
    }
    gal_lines_close(lines);
    gal_buf_free(&path);
    if (!err && gal_cli_terminated()) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    return err;
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
    return GAL_OK;
}

static gal_err run(gal_cli *cli) {
    gal_ids ids = { 0 };
    gal_lm *lm = NULL;
    gal_err err = check(cli);
    bool from_ids = gal_cli_given(cli, "ids");
    if (!err && from_ids) err = gal_cli_ids_option(cli, "ids", &ids);
    gal_lm_options lo;
    gal_reading reading = { .cli = cli };
    gal_loras loras = { 0 };
    if (!err) err = gal_cli_lm_options(cli, &lo, &reading, &loras);
    if (!err) err = gal_cli_speculation(cli, &lo);
    if (!err) gal_cli_catch_interrupts();
    gal_cli_gather_output();
    gal_profile *profile = NULL;
    gal_told told = { 0 };
    gal_input inputs[1 + GAL_CLI_LORAS] = { { "model", cli->operands[0] } };
    const char *trace = gal_cli_string(cli, "trace");
    if (!err && trace)
        err = gal_cli_output_file(cli, "--trace", trace, gal_cli_layout(cli), inputs,
                                  gal_cli_lora_inputs(&loras, inputs, 1));
    if (!err) err = gal_profile_new(&profile, cli);
    if (!err) err = gal_lm_open(&lm, cli->operands[0], &lo, &cli->diag);
    if (!err) lm->dev->watch = gal_profile_watch(profile);
    const char *stops[GAL_CLI_STOPS];
    gal_generate_options o = { 0 };
    if (!err) err = gal_cli_generate_options(cli, lm, &o, stops);
    if (!err) {
        gal_cli_tell(cli, lm, &told);
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
        gal_cli_tell(cli, lm, &told);
    }
    gal_lm_close(lm);
    if (!err) err = gal_profile_finish(profile, cli, cli->device.cpu);
    gal_profile_free(profile);
    gal_ids_free(&ids);
    gal_cli_loras_free(&loras);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "prompt", .letter = 'p', .kind = GAL_V_STRING, .value = "TEXT", .help = "the text to continue" },
    { .name = "ids",
      .kind = GAL_V_STRING,
      .value = "IDS",
      .help =
          "token ids to continue instead of a text, used as given; - reads them from standard input. Ids are printed "
          "where the model has no tokenizer" },
    { .name = "unprompted", .help = "begin with the beginning-of-sequence token alone" },
    GAL_SAMPLING_OPTIONS,
    GAL_SPECULATE_OPTIONS,
    GAL_MODEL_OPTIONS,
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
        "object is printed at the end: text, ids, prompt_tokens, tokens, stop, passes, proposed, accepted, prompt_s, "
        "generate_s, tokens_per_s, sampling, seed.\n\n"
        "A number of the sampling is the flag's; without one it is what the model's makers say "
        "(generation_config.json, or general.sampling.* of a GGUF file); without that it is built in. With --json, "
        "sampling says which.",
    .examples = "galerne run model -p \"Once upon a time\"\n"
                "galerne run model --temperature 0 --ids \"1 22 333\" --max-tokens 24\n"
                "galerne run model.gguf --draft small.gguf -p \"Once upon a time\"\n"
                "echo \"The sea\" | galerne run runs/demo --top-p 0.9 --seed 7",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
