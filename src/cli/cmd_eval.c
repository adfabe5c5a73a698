/* cmd_eval.c - `galerne eval`: tasks on a model. After Ctrl-C it prints what is known, says that it is a part, keeps
 * it and leaves with 130; the same command goes on from there. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/eval.h"
#include "cli/eval_report.h"
#include "cli/io.h"
#include "infer/lm.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_EVERY_S 0.1
#define PLAIN_EVERY_S 5.0

/* All that a run holds. */
typedef struct session {
    gal_cli *cli;
    gal_cli_task *tasks;
    size_t n, cap;
    gal_dev *dev;
    gal_model *m;
    gal_tokenizer *t;
    gal_generation defaults;
    gal_buf dir, results;
    gal_loras loras;
    gal_answer_file *file;
    gal_chat_format *chat;
    uint8_t fingerprint[32];
    int32_t eos[GAL_MAX_EOS];
    double began_s, shown_s;
    double from; /* share of the running task that was known before */
    bool shown;
} session;

/* ---- which tasks --------------------------------------------------------------------------------------------------
 */

static gal_err add_task(session *s, const char *path) {
    void *tasks = s->tasks;
    if (gal_grow(&tasks, &s->cap, s->n + 1, sizeof *s->tasks))
        return gal_fail(&s->cli->diag, GAL_ENOMEM, "no memory for tasks");
    s->tasks = tasks;
    gal_cli_task *k = &s->tasks[s->n++];
    *k = (gal_cli_task){ 0 };
    gal_err err = gal_task_read(&k->task, path, &s->cli->diag);
    for (size_t i = 0; i + 1 < s->n && !err; i++)
        if (strcmp(s->tasks[i].task.name, k->task.name) == 0)
            err = gal_fail(&s->cli->diag, GAL_EINPUT, "%s: name: %s is %s's, too", path, k->task.name,
                           s->tasks[i].task.path);
    return err;
}

/* All of a folder, in the order of their names. */
static gal_err add_folder(session *s, const char *dir) {
    char **names = NULL;
    size_t count = 0, found = 0;
    gal_buf path = { 0 };
    gal_err err = gal_list_dir(dir, &names, &count, &s->cli->diag);
    for (size_t i = 0; i < count && !err; i++) {
        if (!gal_cli_ends_with(names[i], ".yaml")) continue;
        found++;
        err = gal_path_join(&path, dir, names[i]) ? add_task(s, path.data)
                                                  : gal_fail(&s->cli->diag, GAL_ENOMEM, "no memory for a path");
    }
    if (!err && !found) err = gal_fail(&s->cli->diag, GAL_EINPUT, "%s: no task (*.yaml) in this folder", dir);
    gal_free_names(names, count);
    gal_buf_free(&path);
    return err;
}

/* A file, a folder, or the name of a file in --task-dir without its ".yaml". */
static gal_err add_named(session *s, const char *name) {
    if (gal_is_dir(name)) return add_folder(s, name);
    if (strchr(name, '/') || gal_cli_ends_with(name, ".yaml")) return add_task(s, name);
    gal_buf file = { 0 }, path = { 0 };
    const char *dir = gal_cli_string(s->cli, "task-dir");
    gal_buf_printf(&file, "%s.yaml", name);
    gal_err err = file.data && gal_path_join(&path, dir, file.data)
                      ? GAL_OK
                      : gal_fail(&s->cli->diag, GAL_ENOMEM, "no memory for a path");
    if (!err && !gal_exists(path.data))
        err = gal_fail(&s->cli->diag, GAL_EINPUT, "%s: no such task: there is no %s", name, path.data);
    if (!err) err = add_task(s, path.data);
    gal_buf_free(&file);
    gal_buf_free(&path);
    return err;
}

static gal_err read_tasks(session *s) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < gal_cli_count(s->cli, "tasks") && !err; i++) {
        const char *list = gal_cli_nth(s->cli, "tasks", i);
        while (!err && *list) {
            const size_t n = strcspn(list, ",");
            char *name = gal_strndup(list, n);
            if (!name) return gal_fail(&s->cli->diag, GAL_ENOMEM, "no memory for a task's name");
            if (n) err = add_named(s, name);
            gal_free(name);
            list += n + (list[n] == ',');
        }
    }
    if (!err && !s->n) return gal_cli_usage(s->cli, "expected --tasks with a task's file, folder or name");
    for (size_t i = 0; i < s->n && !err; i++)
        err = gal_exam_open(&s->tasks[i].exam, &s->tasks[i].task, &s->cli->diag);
    return err;
}

/* ---- the model ----------------------------------------------------------------------------------------------------
 */

static gal_err open_model(session *s) {
    gal_cli *cli = s->cli;
    gal_err err = gal_cli_loras(cli, &s->loras);
    if (!err)
        err = gal_lm_load_as(&s->m, &s->t, &s->defaults, &s->dir, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = gal_lm_adapt(s->m, s->loras.list, s->loras.n, &cli->diag);
    if (!err && !s->t) {
        char why[GAL_LM_WHY];
        err = gal_fail(&cli->diag, GAL_EINPUT, "%s: %s", s->dir.data, gal_lm_no_tokenizer(why, s->dir.data));
    }
    return err;
}

/* By which template prompts are conversations, if they are to be. */
static gal_err open_template(session *s) {
    gal_cli *cli = s->cli;
    const char *which = gal_cli_string(cli, "chat-template");
    if (!which) return GAL_OK;
    const char *named = strcmp(which, "auto") == 0 ? NULL : which;
    return gal_chat_format_open(&s->chat, s->t, s->dir.data, named, &cli->diag);
}

static gal_err bring_model(session *s) {
    gal_cli *cli = s->cli;
    gal_reading reading = { .cli = cli };
    gal_lm_options lo = { .no_mmap = gal_cli_given(cli, "no-mmap"),
                          .exact = gal_cli_given(cli, "exact"),
                          .repack = gal_cli_given(cli, "repack"),
                          .repack_dir = gal_cli_cache_folder(cli),
                          .progress = gal_cli_show_reading,
                          .user = &reading };
    gal_err err = gal_dev_open(&s->dev, &cli->device, &cli->diag);
    return err ? err : gal_lm_bring(s->m, s->dev, &lo, &cli->diag);
}

/* Where answers are kept. The usual place may be one that cannot be written: then nothing is kept, and it says so. */
static gal_err open_results(session *s) {
    gal_cli *cli = s->cli;
    const char *given = gal_cli_string(cli, "results"), *folder = gal_cli_cache_folder(cli);
    gal_diag why = { 0 };
    gal_err err = GAL_OK;
    if (gal_cli_given(cli, "no-results")) {
        if (given) return gal_cli_usage(cli, "--results and --no-results exclude each other");
        return GAL_OK;
    }
    if (given) {
        gal_buf_puts(&s->results, given);
    } else if (folder) {
        err = gal_make_dirs(folder, &why);
        if (!err && !gal_path_join(&s->results, folder, "eval.sqlite"))
            err = gal_fail(&why, GAL_ENOMEM, "no memory for a path");
    } else {
        err = gal_fail(&why, GAL_EIO, "no home folder");
    }
    if (!err && !s->results.data) err = gal_fail(&why, GAL_ENOMEM, "no memory for a path");
    if (!err) err = gal_answer_file_open(&s->file, s->results.data, &why);
    if (err == GAL_EIO && !given) {
        if (!cli->quiet) fprintf(stderr, "warning: results are not kept: %s\n", why.text);
        gal_buf_free(&s->results);
        return GAL_OK;
    }
    if (err) return gal_fail(&cli->diag, err, "%s", why.text);
    return gal_model_fingerprint(s->m, s->fingerprint, &cli->diag);
}

/* ---- running ------------------------------------------------------------------------------------------------------
 */

static bool show(void *user, const gal_task *t, int64_t done, int64_t of, double share) {
    session *s = user;
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const double now = gal_now_s(), every = terminal ? (s->shown ? TERMINAL_EVERY_S : 0.5) : PLAIN_EVERY_S;
    if (s->began_s <= 0.0) {
        s->began_s = s->shown_s = now;
        s->from = share;
    }
    if (!s->cli->quiet && now - s->shown_s > every) {
        const double part = share - s->from;
        fprintf(stderr, "%s%s: %" PRId64 " of %" PRId64 " questions, %.0f %%", terminal ? "\r" : "", t->name, done,
                of, 100.0 * share);
        if (part > 0.0) fprintf(stderr, ", %.0f s left", (now - s->began_s) / part * (1.0 - share));
        fputs(terminal ? "  \x1b[K" : "\n", stderr);
        fflush(stderr);
        s->shown_s = now;
        s->shown = true;
    }
    return gal_cli_interrupted() > 0;
}

/* The first ids of the first question, and their text. */
static gal_err show_ids(session *s, const gal_suite *suite, gal_cli_task *k) {
    gal_exam_ids how;
    gal_question q = { 0 };
    gal_err err = gal_suite_ids(&how, suite, &s->cli->diag);
    if (!err) err = gal_exam_question(&k->exam, 0, &how, &q, &s->cli->diag);
    const int64_t most = gal_cli_int(s->cli, "show-ids");
    for (int64_t i = 0; !err && i < GAL_MIN(most, q.parts[0].n); i++)
        err = gal_ids_add(&k->shown, q.parts[0].ids[i], &s->cli->diag);
    if (!err) err = gal_decode(s->t, k->shown.data, k->shown.len, &k->shown_text, &s->cli->diag);
    gal_question_free(&q);
    return err;
}

static gal_err run_tasks(session *s, const gal_suite *suite) {
    gal_err err = GAL_OK;
    bool stopped = false;
    for (size_t i = 0; i < s->n && !err && gal_cli_given(s->cli, "show-ids"); i++)
        err = show_ids(s, suite, &s->tasks[i]);
    for (size_t i = 0; i < s->n && !err && !stopped; i++) {
        s->began_s = 0.0;
        err = gal_suite_run(&s->tasks[i].result, suite, &s->tasks[i].exam, &s->cli->diag);
        if (s->shown && isatty(STDERR_FILENO)) fputs("\r\x1b[K", stderr);
        s->shown = false;
        s->tasks[i].ran = !err;
        stopped = s->tasks[i].result.stopped;
    }
    gal_cli_blame(s->cli, err, s->m);
    if (err) return err;
    gal_cli_warn(s->cli, s->m);
    const char *results = s->results.len ? s->results.data : NULL;
    if (s->cli->json)
        gal_cli_print_tasks_json(s->tasks, s->n, suite, results);
    else
        gal_cli_print_tasks(s->tasks, s->n, suite, results);
    return stopped ? gal_fail(&s->cli->diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

static gal_err evaluate(session *s) {
    gal_cli *cli = s->cli;
    const bool exact = gal_cli_given(cli, "exact"), bf16 = strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0;
    const time_t seconds = (time_t)gal_unix_time_s();
    gal_suite suite = { .dev = s->dev,
                        .model = s->m,
                        .t = s->t,
                        .eos = s->eos,
                        .n_eos = gal_lm_eos_of(&s->defaults, s->m, s->t, s->eos),
                        .compute = bf16 && !exact ? GAL_BF16 : GAL_F32,
                        .exact = exact,
                        .no_bos = gal_cli_given(cli, "no-bos"),
                        .chat = s->chat,
                        .one_turn = strcmp(gal_cli_string(cli, "shots-as"), "text") == 0,
                        .batch = gal_cli_int(cli, "batch"),
                        .context = gal_cli_int(cli, "context"),
                        .limit = gal_cli_int(cli, "limit"),
                        .file = s->file,
                        .model_name = cli->operands[0],
                        .fingerprint = s->file ? s->fingerprint : NULL,
                        .fresh = gal_cli_given(cli, "fresh"),
                        .progress = show,
                        .user = s };
    (void)localtime_r(&seconds, &suite.now);
    return run_tasks(s, &suite);
}

static void close_all(session *s) {
    for (size_t i = 0; i < s->n; i++) {
        gal_suite_result_free(&s->tasks[i].result);
        gal_exam_close(&s->tasks[i].exam);
        gal_task_free(&s->tasks[i].task);
        gal_ids_free(&s->tasks[i].shown);
        gal_buf_free(&s->tasks[i].shown_text);
    }
    gal_free(s->tasks);
    gal_answer_file_close(s->file);
    gal_chat_format_free(s->chat);
    gal_tokenizer_free(s->t);
    gal_model_free(s->m);
    gal_dev_close(s->dev);
    gal_buf_free(&s->dir);
    gal_buf_free(&s->results);
    gal_cli_loras_free(&s->loras);
}

static gal_err run(gal_cli *cli) {
    session s = { .cli = cli };
    gal_cli_catch_interrupts();
    const bool talks = gal_cli_given(cli, "chat-template");
    if (!talks && gal_cli_given(cli, "shots-as")) return gal_cli_usage(cli, "--shots-as is for --chat-template");
    if (talks && gal_cli_given(cli, "no-bos"))
        return gal_cli_usage(cli, "--no-bos: with --chat-template the template and the vocabulary say whether "
                                  "conversations begin with BOS");
    gal_err err = read_tasks(&s);
    if (!err) err = open_model(&s);
    if (!err) err = open_template(&s);
    if (!err) err = open_results(&s);
    if (!err) err = bring_model(&s);
    if (!err) err = evaluate(&s);
    close_all(&s);
    return err;
}

static const char *const SHOTS_AS[] = { "turns", "text", NULL };

static const gal_option OPTIONS[] = {
    { .name = "tasks",
      .kind = GAL_V_STRING,
      .value = "TASK[,TASK]",
      .repeat = true,
      .help = "files of tasks, folders of them, or names of files in --task-dir without their .yaml" },
    { .name = "task-dir",
      .kind = GAL_V_DIR,
      .value = "DIR",
      .fallback = "examples/eval",
      .help = "where tasks are that are given by name" },
    { .name = "limit",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = 1e12,
      .help = "the first N questions of each task" },
    { .name = "batch",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = GAL_SCORE_BATCH,
      .fallback = "16",
      .help =
          "texts that go through the model side by side, fewer if memory does not hold them; results do not depend "
          "on it" },
    { .name = "context",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 2,
      .max = 1e9,
      .help = "most tokens that the model sees; longer prompts lose their beginning. 2048 or the model's maximum, if "
              "that is less" },
    { .name = "no-bos", .help = "no beginning of sequence before prompts" },
    { .name = "chat-template",
      .kind = GAL_V_STRING,
      .value = "WHICH",
      .help = "prompts are conversations by a template: auto (the model's), V1 to V15, jinja, or a file that ends in "
              ".jinja; the description is the system's, the question the user's" },
    { .name = "shots-as",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = SHOTS_AS,
      .fallback = "turns",
      .help = "of conversations: shots are turns of their own, or text in the question's turn" },
    { .name = "results",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "SQLite file in which answers are kept; ~/.cache/galerne/eval.sqlite if not given" },
    { .name = "no-results", .help = "keep nothing" },
    { .name = "fresh", .help = "compute again what the results already hold" },
    { .name = "show-ids",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = 1e6,
      .help = "print the first N ids of each task's first question, and their text" },
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = GAL_CLI_EVAL_DTYPES,
      .fallback = "f32",
      .help = "number format of activations; keys and values stay f32" },
    { .name = "exact",
      .help = "weights in blocks meet activations in f32, whatever --dtype says; else these are rounded to 8 bits "
              "first" },
    { .name = "no-mmap", .help = "read the weights into memory instead of mapping their files" },
    { .name = "repack", .help = GAL_REPACK_HELP },
    GAL_LAYOUT_OPTION,
    GAL_LORA_OPTION
};

const gal_command gal_cmd_eval = {
    .name = "eval",
    .summary = "score a model on tasks",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .text =
        "A task is a YAML file: records (lines of JSON, or texts), templates that make questions of them, and what "
        "is "
        "asked: the likeliest of several choices, how likely an answer or a whole text is, or what the model says. "
        "docs/eval.md describes it; scores are those of lm-evaluation-harness.\n\n"
        "Each number has its standard error and an interval of 95 %. Results do not depend on --batch or "
        "--threads.\n\n"
        "Answers are kept by model, task, data and settings: an evaluation that was interrupted goes on where it "
        "stopped, one that was finished prints at once. Ctrl-C prints what is known so far, says so, and leaves with "
        "code 130.\n\n"
        "JSON keys: model, fingerprint, dtype, exact, level, results, tasks: of each task, version, kind, file, "
        "sha256, questions, records, partial, shots, context, bos, known, cut, tokens, rows, seconds, template, "
        "shots_as, measures: of "
        "each value, stderr, low, high; what is not known is null.",
    .examples = "galerne eval model --tasks examples/eval/capitals.yaml\n"
                "galerne eval model.gguf --tasks capitals,novel --limit 100 --json",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
