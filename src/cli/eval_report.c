/* eval_report.c - see eval_report.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/eval_report.h"

#include "base/hash.h"
#include "base/util.h"
#include "cli/eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- a table ------------------------------------------------------------------------------------------------------
 */

static int name_width(const gal_cli_task *tasks, size_t n) {
    size_t most = strlen("task");
    for (size_t i = 0; i < n; i++)
        if (tasks[i].ran) most = GAL_MAX(most, strlen(tasks[i].task.name));
    return (int)most;
}

/* Four digits after the point; of what is far beyond, four that count. */
static const char *number(char text[32], double x) {
    (void)snprintf(text, 32, fabs(x) < 1e5 ? "%.4f" : "%.4g", x);
    return text;
}

static void print_measure(const gal_measure *m) {
    char a[32], b[32];
    printf("%-16s  %9s", m->name, number(a, m->value));
    if (isfinite(m->error)) printf("  \u00b1 %-8s", number(a, m->error));
    if (isfinite(m->low))
        printf("%s  %s to %s", isfinite(m->error) ? "" : "            ", number(a, m->low), number(b, m->high));
    putchar('\n');
}

static void print_task(const gal_cli_task *k, int width) {
    const gal_suite_result *r = &k->result;
    char asked[64];
    (void)snprintf(asked, sizeof asked, "%" PRId64 "%s%.0" PRId64, r->measures.questions,
                   r->measures.questions < r->records ? " of " : "",
                   r->measures.questions < r->records ? r->records : 0);
    if (!r->measures.n) printf("%-*s  %-14s  -\n", width, k->task.name, asked);
    for (size_t i = 0; i < r->measures.n; i++) {
        printf("%-*s  %-14s  ", width, i ? "" : k->task.name, i ? "" : asked);
        print_measure(&r->measures.v[i]);
    }
}

/* The template, where there is one and the task goes by it. */
static const char *template_of(const gal_cli_task *k, const gal_suite *s) {
    return s->chat && k->task.kind != GAL_TASK_PERPLEXITY ? gal_chat_format_name(s->chat) : NULL;
}

static void print_work(const gal_cli_task *k, const gal_suite *s) {
    const gal_suite_result *r = &k->result;
    char a[40], b[40];
    printf("%s: ", k->task.name);
    if (r->stopped) fputs("interrupted, a part; ", stdout);
    if (k->task.shots.count) printf("%" PRId64 " shots, ", k->task.shots.count);
    printf("context %" PRId64 ", ", r->context);
    if (template_of(k, s))
        printf("template %s%s, ", template_of(k, s), s->one_turn && k->task.shots.count ? " with shots as text" : "");
    else
        printf("%s, ", r->bos ? "BOS" : "no BOS");
    printf("%s tokens %s, %s rows computed in %.2f s", gal_cli_count_text(a, sizeof a, r->tokens),
           k->task.kind == GAL_EXACT_MATCH ? "said" : "scored", gal_cli_count_text(b, sizeof b, r->rows), r->seconds);
    if (r->kept) printf("; %" PRId64 " questions were known", r->kept);
    if (r->cut) printf("; %" PRId64 " longer than the context, their beginning cut off", r->cut);
    putchar('\n');
}

void gal_cli_print_tasks(const gal_cli_task *tasks, size_t n, const gal_suite *s, const char *results) {
    const int width = name_width(tasks, n);
    for (size_t i = 0; i < n; i++) {
        if (!tasks[i].shown.len) continue;
        printf("%s: question 1 begins with ids", tasks[i].task.name);
        for (size_t k = 0; k < tasks[i].shown.len; k++) printf(" %d", (int)tasks[i].shown.data[k]);
        printf("\n%.*s\n\n", (int)tasks[i].shown_text.len, tasks[i].shown_text.data ? tasks[i].shown_text.data : "");
    }
    printf("%-*s  %-14s  %-16s  %9s  %-10s  %s\n", width, "task", "questions", "measure", "value", "\u00b1 error ",
           "95 %");
    for (size_t i = 0; i < n; i++)
        if (tasks[i].ran) print_task(&tasks[i], width);
    putchar('\n');
    for (size_t i = 0; i < n; i++)
        if (tasks[i].ran) print_work(&tasks[i], s);
    printf("computed    %s%s, %s\n", gal_dtype_name(s->compute), s->exact ? ", exact" : "", s->dev->name);
    if (results) printf("results     %s\n", results);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------
 */

static void print_string(const char *key, const char *text, size_t n) {
    gal_buf b = { 0 };
    gal_buf_json(&b, text, n);
    printf("\"%s\": %s", key, b.data && !b.oom ? b.data : "null");
    gal_buf_free(&b);
}

static void print_measure_json(const gal_measure *m) {
    printf("\"%s\": {", m->name);
    gal_cli_print_json_number("value", m->value);
    fputs(", ", stdout);
    gal_cli_print_json_number("stderr", m->error);
    fputs(", ", stdout);
    gal_cli_print_json_number("low", m->low);
    fputs(", ", stdout);
    gal_cli_print_json_number("high", m->high);
    putchar('}');
}

static void print_task_json(const gal_cli_task *k, const gal_suite *s) {
    const gal_suite_result *r = &k->result;
    char hex[65];
    putchar('{');
    print_string("task", k->task.name, strlen(k->task.name));
    fputs(", ", stdout);
    print_string("version", k->task.version, strlen(k->task.version));
    printf(", \"kind\": \"%s\", ", GAL_TASK_KINDS[k->task.kind]);
    print_string("file", k->task.path, strlen(k->task.path));
    gal_hex(hex, k->task.sha256, 32);
    printf(", \"sha256\": \"%s\", \"questions\": %" PRId64 ", \"records\": %" PRId64, hex, r->measures.questions,
           r->records);
    printf(", \"partial\": %s, \"shots\": %" PRId64 ", \"context\": %" PRId64 ", \"bos\": %s, \"known\": %" PRId64,
           r->stopped ? "true" : "false", k->task.shots.count, r->context, r->bos ? "true" : "false", r->kept);
    printf(", \"cut\": %" PRId64 ", \"tokens\": %" PRId64 ", \"rows\": %" PRId64 ", \"seconds\": %.3f, ", r->cut,
           r->tokens, r->rows, r->seconds);
    if (template_of(k, s)) {
        print_string("template", template_of(k, s), strlen(template_of(k, s)));
        printf(", \"shots_as\": \"%s\", ", s->one_turn ? "text" : "turns");
    } else {
        fputs("\"template\": null, \"shots_as\": null, ", stdout);
    }
    if (k->shown.len) {
        fputs("\"first_ids\": [", stdout);
        for (size_t i = 0; i < k->shown.len; i++) printf("%s%d", i ? ", " : "", (int)k->shown.data[i]);
        fputs("], ", stdout);
        print_string("first_text", k->shown_text.data ? k->shown_text.data : "", k->shown_text.len);
        fputs(", ", stdout);
    }
    fputs("\"measures\": {", stdout);
    for (size_t i = 0; i < r->measures.n; i++) {
        if (i) fputs(", ", stdout);
        print_measure_json(&r->measures.v[i]);
    }
    fputs("}}", stdout);
}

void gal_cli_print_tasks_json(const gal_cli_task *tasks, size_t n, const gal_suite *s, const char *results) {
    char hex[65];
    bool first = true;
    putchar('{');
    print_string("model", s->model_name, strlen(s->model_name));
    if (s->fingerprint) {
        gal_hex(hex, s->fingerprint, 32);
        printf(", \"fingerprint\": \"%s\"", hex);
    }
    printf(", \"dtype\": \"%s\", \"exact\": %s, \"level\": \"%s\", ", gal_dtype_name(s->compute),
           s->exact ? "true" : "false", s->dev->name);
    if (results)
        print_string("results", results, strlen(results));
    else
        fputs("\"results\": null", stdout);
    fputs(", \"tasks\": [", stdout);
    for (size_t i = 0; i < n; i++) {
        if (!tasks[i].ran) continue;
        if (!first) fputs(", ", stdout);
        first = false;
        print_task_json(&tasks[i], s);
    }
    fputs("]}\n", stdout);
}
