/* cmd_chat.c - `galerne chat`: a conversation with a model, at a terminal, in a pipe, or one question.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/sampling.h"
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>

/* Mistakes that can be told without loading a model. */
static gal_err check(gal_cli *cli) {
    const char *p = gal_cli_string(cli, "prompt");
    if (p && !p[0]) return gal_cli_usage(cli, "the prompt is empty");
    for (size_t i = 0; i < gal_cli_count(cli, "tool"); i++) {
        const char *given = gal_cli_nth(cli, "tool", i), *equals = strchr(given, '=');
        if (!equals || equals == given || !equals[1])
            return gal_cli_usage(cli, "--tool: expected NAME=PROGRAM, found %s", given);
    }
    return GAL_OK;
}

/* What the command line says of the conversation. */
static gal_err begin(gal_chat_room *r) {
    gal_cli *cli = r->cli;
    const char *load = gal_cli_string(cli, "load"), *system = gal_cli_string(cli, "system"),
               *effort = gal_cli_string(cli, "reasoning-effort"), *thinking = gal_cli_string(cli, "thinking");
    r->keeps_cache = !gal_cli_given(cli, "no-cache");
    gal_err err = load ? gal_chat_load(r, load, &cli->diag) : GAL_OK;
    if (!err && system) err = gal_talk_system(r->talk, system[0] ? system : NULL, strlen(system), &cli->diag);
    if (!err && effort) err = gal_talk_effort(r->talk, effort, &cli->diag);
    if (!err) err = gal_chat_toolbox_open(&r->tools, cli, r->talk);
    for (int i = 0; thinking && GAL_THINKING_NAMES[i]; i++)
        if (strcmp(thinking, GAL_THINKING_NAMES[i]) == 0) r->screen.thinking = (gal_thinking)i;
    r->how.when_full = strcmp(gal_cli_string(cli, "when-full"), GAL_WHEN_FULL_NAMES[GAL_FULL_DROP]) == 0
                           ? GAL_FULL_DROP
                           : GAL_FULL_STOP;
    r->how.reserve = gal_cli_int(cli, "reserve");
    if (!gal_cli_given(cli, "max-tokens") && r->lm->defaults.max_new_tokens < 0) r->how.generate.max_tokens = 0;
    return err;
}

static gal_err talk(gal_chat_room *r) {
    gal_cli *cli = r->cli;
    const char *p = gal_cli_string(cli, "prompt");
    if (p) {
        gal_err err = gal_talk_say(r->talk, "user", p, strlen(p), &cli->diag);
        if (!err) err = gal_chat_answer(r);
        if (!err && gal_cli_interrupted()) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
        return err;
    }
    gal_buf history = { 0 };
    gal_err err = gal_lines_open(&r->lines, gal_lines_history(&history, "chat-history"), &cli->diag);
    if (!err) gal_lines_complete(r->lines, gal_chat_command_name);
    if (!err && gal_lines_terminal(r->lines) && !cli->quiet)
        gal_chat_note(&r->screen, "%s, template %s, %lld tokens of context. /help lists commands.", cli->operands[0],
                      gal_talk_template_name(r->talk), (long long)gal_engine_context(r->lm->engine));
    if (!err && gal_talk_waits(r->talk)) err = gal_chat_answer(r);
    if (!err) err = gal_chat_loop(r);
    gal_lines_close(r->lines);
    gal_buf_free(&history);
    return err;
}

static gal_err run(gal_cli *cli) {
    gal_chat_room r = { .cli = cli };
    gal_lm_options lo;
    gal_reading reading = { .cli = cli };
    gal_told told = { 0 };
    gal_loras loras = { 0 };
    const char *stops[GAL_CLI_STOPS];
    gal_err err = check(cli);
    const char *cache = gal_cli_string(cli, "prompt-cache");
    if (!err && cache) err = gal_chat_may_write(&r, cache, GAL_CACHE_BEGINS, &cli->diag);
    if (!err) err = gal_cli_lm_options(cli, &lo, &reading, &loras);
    if (!err) err = gal_cli_speculation(cli, &lo);
    if (!err) gal_cli_catch_interrupts();
    gal_cli_gather_output();
    if (!err) err = gal_lm_open(&r.lm, cli->operands[0], &lo, &cli->diag);
    if (!err) {
        gal_cli_tell(cli, r.lm, &told);
        r.lm->stop = gal_cli_wants_stop;
        err = gal_cli_generate_options(cli, r.lm, &r.how.generate, stops);
    }
    if (!err) err = gal_talk_new(&r.talk, r.lm, cli->operands[0], gal_cli_string(cli, "template"), &cli->diag);
    gal_chat_screen_open(&r.screen, cli);
    if (!err) err = begin(&r);
    if (!err && cache && !r.lm->held.len) gal_chat_recall(&r, cache);
    if (!err) err = talk(&r);
    if (!err && cache && r.lm->held.len) err = gal_lm_save_cache(r.lm, cache, NULL, &cli->diag);
    gal_chat_screen_close(&r.screen);
    if (told.before) gal_cli_tell(cli, r.lm, &told);
    gal_chat_toolbox_free(&r.tools);
    gal_talk_free(r.talk);
    gal_lm_close(r.lm);
    gal_cli_loras_free(&loras);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "prompt", .letter = 'p', .kind = GAL_V_STRING, .value = "TEXT", .help = "ask this alone, and end" },
    { .name = "system", .kind = GAL_V_STRING, .value = "TEXT", .help = "the system message" },
    { .name = "load",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "go on with a conversation: JSON with messages, as /save and OpenAI-style programs write it" },
    { .name = "no-cache",
      .help = "conversations are saved and loaded without what the model remembers, which lies in FILE.cache" },
    { .name = "prompt-cache",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "what the model remembers is read from FILE, if it is there, and written to it at the end: a beginning "
              "that is the same next time is not read again" },
    { .name = "template",
      .kind = GAL_V_STRING,
      .value = "NAME",
      .help =
          "V1, V2, V3, V7, V11, V13 or V15, jinja for the model's own Jinja template, or a file that ends in .jinja; "
          "what the model says if not given" },
    { .name = "tools",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "definitions of tools: a JSON list, as OpenAI-style bodies have it" },
    { .name = "tool",
      .kind = GAL_V_STRING,
      .value = "NAME=PROGRAM",
      .repeat = true,
      .help = "run PROGRAM when the model calls NAME: arguments as JSON on its standard input, the result on its "
              "standard output. Without it the result is asked for" },
    { .name = "tool-timeout",
      .kind = GAL_V_FLOAT,
      .value = "S",
      .min = 0.01,
      .max = 86400,
      .fallback = "30",
      .help = "seconds that a tool's program may take" },
    { .name = "reasoning-effort",
      .kind = GAL_V_STRING,
      .value = "EFFORT",
      .help = "none, high or what else the model knows (V15)" },
    { .name = "thinking",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = GAL_THINKING_NAMES,
      .help =
          "what is seen of it: show (dim), fold (a line; /thinking unfolds), hide; show at a terminal, else hide" },
    { .name = "when-full",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = GAL_WHEN_FULL_NAMES,
      .fallback = "stop",
      .help = "when the context is full: stop refuses the question, drop lets the oldest messages go, and says so" },
    { .name = "reserve",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = 1e9,
      .help =
          "tokens of the context that a question must leave for its answer; 64, or a quarter of a small context" },
    GAL_SAMPLING_OPTIONS,
    GAL_SPECULATE_OPTIONS,
    GAL_MODEL_OPTIONS,
};

const gal_command gal_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .text =
        "MODEL is a folder in Hugging Face's or Mistral's own layout, a GGUF file, or a run directory of galerne "
        "train.\n\n"
        "Each line is a message; several lines are pasted, put between \"\"\" and \"\"\", or ended with a "
        "backslash. Lines that begin with a slash are commands, and /help lists them. Ctrl-C stops an answer; at the "
        "prompt it leaves when pressed twice.\n\n"
        "Answers go to standard output, all else to standard error. Without a terminal each line of standard input "
        "is "
        "a message. With --json each answer is an object on a line: message, stop, prompt_tokens, cached_tokens, "
        "tokens, dropped_messages, context, passes, proposed, accepted, prompt_s, generate_s, sampling, seed; a "
        "question without an answer is one with error.\n\n"
        "Nothing of a conversation is left out silently: --when-full says what happens when the context is full.",
    .examples = "galerne chat model.gguf --system \"Answer in French.\"\n"
                "galerne chat model -p \"What is a ridge regression?\" --json\n"
                "galerne chat model --load talk.json\n"
                "galerne chat model --tools tools.json --tool weather=./weather.sh",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
