/* cmd_train.c - `galerne train`: a training from a YAML file, with a line that tells how it goes. On a terminal the
 * line is drawn over and over; elsewhere one is printed every few seconds. The first Ctrl-C says so, saves and leaves
 * with 130, a second one leaves at once. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/numa.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/screen.h"
#include "cli/train_trial.h"
#include "galerne/infer.h"
#include "train/loop.h"

#include <stdlib.h>
#include <string.h>

#define TERMINAL_EVERY_S 0.1
#define PLAIN_EVERY_S 5.0

typedef struct watch {
    gal_cli *cli;
    const gal_train_config *config;
    const char *run;
    bool terminal, line_open;
    int line_of; /* interruptions before the line was drawn: one more has ended it */
    int64_t steps_seen;
    double shown;
    gal_train_event last, valid; /* the latest step and evaluation; their texts are not kept */
    bool has_valid;
    gal_buf checkpoint;
    gal_profile *profile; /* NULL: none is wanted */
} watch;

/* What Ctrl-C is answered with, by whether the first step is made. On a terminal it takes the line's place. */
static void answer_interrupts(const watch *w, bool stepping) {
    static const char SETTING_UP[] = "\r\x1b[Kstopping before the next step; Ctrl-C again stops at once\n",
                      STEPPING[] =
                          "\r\x1b[Kstopping after this step, and saving; Ctrl-C again stops at once, without "
                          "saving\n";
    const char *text = stepping ? STEPPING : SETTING_UP;
    if (!w->cli->quiet) gal_cli_say_at_interrupt(w->terminal ? text : text + sizeof "\r\x1b[K" - 1);
}

static void close_line(watch *w) {
    if (w->line_open && w->line_of == gal_cli_interrupted()) fputc('\n', stderr);
    w->line_open = false;
}

/* Something else is to be said: it takes the line's place, and the line goes on below. */
static void clear_line(watch *w) {
    if (w->line_open) fputs("\r\x1b[K", stderr);
    w->line_open = false;
}

static void show_step(watch *w, const gal_train_event *e) {
    double now = gal_now_s();
    bool last = e->step == e->steps;
    if (!last && now - w->shown < (w->terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S)) return;
    w->shown = now;
    char line[GAL_PROGRESS_BYTES];
    (void)gal_cli_progress(line, e, w->terminal ? gal_cli_width(stderr) : 0);
    w->line_of = gal_cli_interrupted(); /* before: a signal may come with the line */
    /* In one write and without being cleared before: it does not flicker. */
    fprintf(stderr, w->terminal ? "\r%s\x1b[K" : "%s\n", line);
    w->line_open = w->terminal;
    if (last) close_line(w); /* it stays */
    fflush(stderr);
}

/* ---- samples -----------------------------------------------------------------------------------------------------
 */

static int take_text(void *user, int32_t id, const char *text, size_t bytes) {
    (void)id;
    gal_buf_add(user, text, bytes);
    return gal_cli_interrupted() > 0;
}

/* Continues the configuration's prompts with a checkpoint, into RUN/samples/step-N.txt. */
static gal_err write_samples(watch *w, const char *checkpoint, int64_t step, gal_diag *diag) {
    const gal_train_config *c = w->config;
    gal_lm *lm = NULL;
    gal_lm_options lo;
    gal_generate_options go;
    gal_buf text = { 0 }, path = { 0 };
    gal_lm_options_init(&lo);
    lo.device = (gal_device_options){ .cpu = c->device.cpu[0] ? c->device.cpu : NULL,
                                      .threads = (int)c->device.threads,
                                      .device = c->device.name,
                                      .numa = c->device.numa == GAL_NUMA_ONE ? "one" : "auto" };
    gal_err err = gal_lm_open(&lm, checkpoint, &lo, diag);
    if (!err) {
        gal_generate_options_init(&go, lm);
        go.sampling.temperature = c->sample.temperature;
        go.sampling.seed = (uint64_t)c->seed;
        go.max_tokens = c->sample.tokens;
    }
    for (size_t i = 0; !err && i < c->sample.prompts.n; i++) {
        const char *prompt = c->sample.prompts.v[i];
        gal_buf_puts(&text, prompt);
        err = gal_lm_generate(lm, prompt, strlen(prompt), &go, take_text, &text, NULL, diag);
        gal_buf_puts(&text, "\n\n");
    }
    gal_buf_printf(&path, "%s/samples", w->run);
    if (!err && !path.oom) err = gal_make_dirs(path.data, diag);
    gal_buf_printf(&path, "/step-%lld.txt", (long long)step);
    if (!err && (path.oom || text.oom)) err = gal_fail(diag, GAL_ENOMEM, "no memory for samples");
    if (!err && gal_cli_interrupted())
        err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted"); /* half a text is none */
    if (!err) err = gal_write_file(path.data, text.data, text.len, diag);
    if (!err && !w->cli->quiet) fprintf(stderr, "%.*s\n", (int)GAL_MIN(text.len - 2, (size_t)2000), text.data);
    gal_lm_close(lm);
    gal_buf_free(&text);
    gal_buf_free(&path);
    return err;
}

/* ---- events ------------------------------------------------------------------------------------------------------
 */

static void keep(gal_train_event *to, const gal_train_event *e) {
    *to = *e;
    to->text = to->path = "";
}

static void on_event(void *user, const gal_train_event *e) {
    watch *w = user;
    bool quiet = w->cli->quiet;
    switch (e->kind) {
    case GAL_TRAIN_NOTE:
        clear_line(w);
        if (!quiet) fprintf(stderr, "%s\n", e->text);
        break;
    case GAL_TRAIN_STEP:
        keep(&w->last, e);
        /* What is measured begins after the rehearsal and the first step, which is recorded. */
        if (!w->steps_seen) answer_interrupts(w, true);
        if (e->steps > 1 && ++w->steps_seen == 1) gal_profile_restart(w->profile);
        if (!quiet) show_step(w, e);
        break;
    case GAL_TRAIN_EVAL:
        keep(&w->valid, e);
        w->has_valid = true;
        clear_line(w);
        if (!quiet)
            fprintf(stderr, "step %lld  validation %.4f nats/token  %.4f bits/byte\n", (long long)e->step,
                    e->valid_nats, e->valid_bits_per_byte);
        if (w->config->sample.prompts.n) {
            gal_diag why = { 0 };
            if (write_samples(w, e->path, e->step, &why) && !quiet) fprintf(stderr, "no samples: %s\n", why.text);
        }
        break;
    case GAL_TRAIN_SAVED:
        gal_buf_clear(&w->checkpoint);
        gal_buf_puts(&w->checkpoint, e->path);
        break;
    }
}

static void report(watch *w) {
    const gal_train_event *e = &w->last;
    const char *checkpoint = w->checkpoint.data ? w->checkpoint.data : "";
    if (!w->cli->json) {
        if (!w->cli->quiet) fprintf(stderr, "%s: %s; curve in %s/plots/loss.png\n", w->run, checkpoint, w->run);
        return;
    }
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"run\": ");
    gal_buf_json(&b, w->run, strlen(w->run));
    gal_buf_puts(&b, ", \"checkpoint\": ");
    gal_buf_json(&b, checkpoint, strlen(checkpoint));
    gal_buf_printf(&b, ", \"step\": %lld, \"steps\": %lld, \"tokens\": %lld, \"loss_nats\": %.17g",
                   (long long)e->step, (long long)e->steps, (long long)e->tokens, e->loss);
    if (w->has_valid)
        gal_buf_printf(&b, ", \"valid_nats\": %.17g, \"valid_bits_per_byte\": %.17g", w->valid.valid_nats,
                       w->valid.valid_bits_per_byte);
    gal_buf_puts(&b, "}\n");
    if (!b.oom) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
}

/* ---- the command -------------------------------------------------------------------------------------------------
 */

/* runs/NAME of CONFIG's name without its ending. */
static gal_err default_run(gal_buf *out, const char *config, gal_diag *diag) {
    const char *name = strrchr(config, '/');
    name = name ? name + 1 : config;
    const char *dot = strrchr(name, '.');
    gal_buf_puts(out, "runs/");
    gal_buf_add(out, name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
    return out->oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a path") : GAL_OK;
}

/* Assignments in their order; --device, --cpu, --threads and --numa count as the last ones. */
static gal_err load_config(gal_cli *cli, const char *path, gal_train_config *c) {
    bool taken = gal_cli_given(cli, "resume") || gal_cli_given(cli, "replay");
    gal_err err = gal_cli_train_config(c, cli, path);
    if (err) return err;
    gal_buf set = { 0 };
    if (cli->device.device) {
        gal_buf_printf(&set, "device.name=%s", cli->device.device);
        err = set.oom ? GAL_ENOMEM : gal_settings_set(&GAL_TRAIN_SETTINGS, c, set.data, &cli->diag);
        gal_buf_clear(&set);
    }
    if (!err && cli->device.cpu) {
        gal_buf_printf(&set, "device.cpu=%s", cli->device.cpu);
        err = set.oom ? GAL_ENOMEM : gal_settings_set(&GAL_TRAIN_SETTINGS, c, set.data, &cli->diag);
    }
    if (cli->device.threads > 0) c->device.threads = cli->device.threads;
    if (gal_cli_given(cli, "numa"))
        c->device.numa = strcmp(cli->device.numa, "one") == 0 ? GAL_NUMA_ONE : GAL_NUMA_AUTO;
    if (!err) err = gal_cli_judge_config(c, cli, path, gal_train_config_check, &taken);
    gal_buf_free(&set);
    if (err) gal_train_config_free(c);
    return err;
}

static gal_err check_usage(gal_cli *cli) {
    bool resume = gal_cli_given(cli, "resume"), replay = gal_cli_given(cli, "replay"),
         find = gal_cli_given(cli, "find-lr"), show = gal_cli_given(cli, "show-batch");
    static const char *const ALONE[] = { "resume", "output", "extend", "profile", "trace" };
    for (size_t i = 0; (replay || find || show) && i < GAL_LEN(ALONE); i++)
        if (gal_cli_given(cli, ALONE[i]))
            return gal_cli_usage(cli, "--%s makes no run: leave --%s out",
                                 replay ? "replay"
                                 : find ? "find-lr"
                                        : "show-batch",
                                 ALONE[i]);
    if (replay && find) return gal_cli_usage(cli, "--replay STEP and --find-lr exclude each other");
    if (show && (replay || find))
        return gal_cli_usage(cli, "--show-batch and --%s exclude each other", replay ? "replay" : "find-lr");
    if (!show && gal_cli_given(cli, "rows")) return gal_cli_usage(cli, "--rows goes with --show-batch");
    if (replay && !cli->n_operands) return gal_cli_usage(cli, "--replay STEP: expected the run's folder");
    static const char *const SWEEP[] = { "lr-from", "lr-to", "lr-steps" };
    for (size_t i = 0; !find && i < GAL_LEN(SWEEP); i++)
        if (gal_cli_given(cli, SWEEP[i])) return gal_cli_usage(cli, "--%s goes with --find-lr", SWEEP[i]);
    if (resume && cli->n_operands)
        return gal_cli_usage(cli,
                             "--resume goes on with a run's own configuration; change it "
                             "with --set, and leave %s out",
                             cli->operands[0]);
    if (resume && gal_cli_given(cli, "output"))
        return gal_cli_usage(cli, "--resume RUN and -o DIR exclude each other");
    if (!resume && gal_cli_given(cli, "extend")) return gal_cli_usage(cli, "--extend goes with --resume RUN");
    if (!resume && !cli->n_operands) return gal_cli_usage(cli, "expected CONFIG.yaml, or --resume RUN");
    return GAL_OK;
}

static gal_err print_settings(gal_cli *cli) {
    gal_buf b = { 0 };
    gal_settings_list(&GAL_TRAIN_SETTINGS, &b);
    gal_err err = b.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the list") : GAL_OK;
    if (!err) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return err;
}

/* A trace must not take the place of what the training reads. */
static gal_err check_trace(gal_cli *cli, const char *config, const gal_train_config *c) {
    const char *trace = gal_cli_string(cli, "trace");
    const gal_input inputs[] = { { "configuration", config },
                                 { "model to start from", c->init },
                                 { "tokenizer", c->tokenizer.path } };
    if (!trace) return GAL_OK;
    gal_err err = gal_cli_output_file(cli, "--trace", trace, GAL_LAYOUT_ANY, inputs, GAL_LEN(inputs));
    const gal_strings *const lists[] = { &c->data.text,    &c->data.valid, &c->data.train,     &c->data.valid_shards,
                                         &c->data.mixture, &c->data.chat,  &c->data.chat_valid };
    for (size_t k = 0; k < GAL_LEN(lists); k++)
        for (size_t i = 0; !err && i < lists[k]->n; i++) {
            const char *path = lists[k]->v[i], *colon = lists[k] == &c->data.mixture ? strchr(path, ':') : NULL;
            const gal_input text = { "text", colon ? colon + 1 : path };
            err = gal_cli_spare_inputs(cli, trace, GAL_LAYOUT_ANY, &text, 1);
        }
    return err;
}

/* A terminal on which a line can be drawn over. */
static bool draws_lines(void) {
    const char *term = getenv("TERM");
    return gal_cli_is_terminal(stderr) && !(term && strcmp(term, "dumb") == 0);
}

static gal_err make_run(gal_cli *cli, const char *config, const gal_train_config *c, const gal_train_options *o,
                        watch *w) {
    gal_err err = check_trace(cli, config, c);
    if (!err) err = gal_profile_new(&w->profile, cli);
    answer_interrupts(w, false);
    if (!err) err = gal_train_run(c, o, gal_profile_watch(w->profile), &cli->diag);
    gal_cli_say_at_interrupt(NULL);
    close_line(w);
    if (err == GAL_EINTERRUPTED) fprintf(stderr, "galerne: %s\n", cli->diag.text);
    if (!err || (err == GAL_EINTERRUPTED && gal_is_dir(w->run))) report(w);
    if (!err) err = gal_profile_finish(w->profile, cli, c->device.cpu[0] ? c->device.cpu : NULL);
    gal_profile_free(w->profile);
    return err;
}

static gal_err run(gal_cli *cli) {
    if (gal_cli_given(cli, "settings")) return print_settings(cli);
    gal_err err = check_usage(cli);
    if (err) return err;
    bool resume = gal_cli_given(cli, "resume"), replay = gal_cli_given(cli, "replay");
    gal_buf dir = { 0 }, config = { 0 };
    gal_train_config c;
    if (replay) {
        gal_buf_puts(&dir, cli->operands[0]);
        gal_buf_printf(&config, "%s/config.yaml", cli->operands[0]);
    } else if (resume) {
        gal_buf_puts(&dir, gal_cli_string(cli, "resume"));
        gal_buf_printf(&config, "%s/config.yaml", gal_cli_string(cli, "resume"));
    } else {
        gal_buf_puts(&config, cli->operands[0]);
        if (gal_cli_given(cli, "output"))
            gal_buf_puts(&dir, gal_cli_string(cli, "output"));
        else
            err = default_run(&dir, cli->operands[0], &cli->diag);
    }
    if (!err && (dir.oom || config.oom)) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a path");
    while (!err && dir.len > 1 && dir.data[dir.len - 1] == '/') dir.data[--dir.len] = 0;
    if (!err) err = load_config(cli, config.data, &c);
    if (!err) {
        watch w = { .cli = cli, .config = &c, .run = dir.data, .terminal = draws_lines() };
        gal_train_options o = { .run = dir.data,
                                .resume = resume,
                                .extend = gal_cli_given(cli, "extend"),
                                .progress = on_event,
                                .stop = gal_cli_wants_stop,
                                .user = &w };
        gal_cli_catch_interrupts();
        if (replay)
            err = gal_cli_replay(cli, &c, &o);
        else if (gal_cli_given(cli, "show-batch"))
            err = gal_cli_show_batch(cli, &c, &o);
        else if (gal_cli_given(cli, "find-lr"))
            err = gal_cli_find_lr(cli, &c, &o);
        else
            err = make_run(cli, config.data, &c, &o, &w);
        gal_buf_free(&w.checkpoint);
        gal_train_config_free(&c);
    }
    gal_buf_free(&dir);
    gal_buf_free(&config);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "set",
      .kind = GAL_V_STRING,
      .value = "KEY=VALUE",
      .repeat = true,
      .help = "change a setting of the configuration, as optimizer.lr=1e-3" },
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_DIR,
      .value = "DIR",
      .help = "the run directory; without it runs/NAME, NAME as in NAME.yaml" },
    { .name = "resume",
      .kind = GAL_V_DIR,
      .value = "RUN",
      .help = "go on with a run from its newest whole checkpoint" },
    { .name = "settings", .help = "print every setting with its default and meaning, as a Markdown table" },
    { .name = "extend", .help = "with --resume: allow another length or learning rate, and print both curves" },
    { .name = "replay",
      .kind = GAL_V_INT,
      .value = "STEP",
      .min = 1,
      .max = 1e12,
      .help = "make this step of a run again, without writing anything, and compare it with what the run recorded" },
    { .name = "find-lr",
      .help = "no run: steps at growing rates from the first weights, their losses, and a rate to begin with" },
    { .name = "lr-from",
      .kind = GAL_V_FLOAT,
      .value = "RATE",
      .fallback = "1e-6",
      .min = 1e-12,
      .max = 1e3,
      .help = "with --find-lr: the first rate" },
    { .name = "lr-to",
      .kind = GAL_V_FLOAT,
      .value = "RATE",
      .fallback = "1",
      .min = 1e-12,
      .max = 1e3,
      .help = "with --find-lr: the last rate" },
    { .name = "lr-steps",
      .kind = GAL_V_INT,
      .value = "N",
      .fallback = "100",
      .min = 2,
      .max = 100000,
      .help = "with --find-lr: rates that are tried" },
    { .name = "show-batch",
      .help =
          "no run: the first rows as text, what is learned of them in colour or between [[ and ]]; with --json ids" },
    { .name = "rows",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 1 << 20,
      .fallback = "0",
      .help = "with --show-batch: so many rows; 0: a batch" },
    GAL_PROFILE_OPTIONS,
};

const gal_command gal_cmd_train = {
    .name = "train",
    .summary = "train a model as a YAML file says",
    .operands = "[CONFIG.yaml | RUN]",
    .min_operands = 0,
    .max_operands = 1,
    .text =
        "Trains on text, evaluates, and writes a run directory: config.yaml (complete), metrics.sqlite, log.txt, "
        "checkpoints/step-N in Hugging Face layout with the optimiser's state, samples/ and plots/loss.png.\n\n"
        "Ctrl-C makes the step at hand, saves and leaves with code 130; --resume then goes on to the bit. A second "
        "Ctrl-C leaves at once, with what was saved before.\n\n"
        "Steps whose loss or gradient is no number, or with spike.sigmas far above those before, are passed over, "
        "logged in metrics.sqlite with their rows of text, and after spike.skips in a row the run goes back to its "
        "last good checkpoint. --replay STEP RUN makes a step again.\n\n"
        "All settings with their defaults: --settings. A text is given as --set data.text=FILE (plain or lines of "
        "JSON, as they are or compressed); token shards of galerne data as data.train or data.mixture; conversations "
        "as data.chat, of which only "
        "what an assistant says is learned.",
    .examples = "galerne train examples/demo.yaml\n"
                "galerne train examples/mistral-small.yaml --set data.text=novels.txt.zst -o runs/novels\n"
                "galerne train --resume runs/novels\n"
                "galerne train --resume runs/novels --set steps=10000 --extend\n"
                "galerne train --replay 1234 runs/novels\n"
                "galerne train examples/demo.yaml --find-lr\n"
                "galerne train chat.yaml --show-batch --rows 2",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
