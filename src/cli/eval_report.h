/* eval_report.h - what `galerne eval` prints of tasks: a table, or one object of JSON. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_CLI_EVAL_REPORT_H
#define GAL_CLI_EVAL_REPORT_H

#include "cli/cli.h"
#include "eval/suite.h"

/* A task and what came of it. */
typedef struct gal_cli_task {
    gal_task task;
    gal_exam exam;
    gal_suite_result result;
    gal_ids shown; /* --show-ids: the first ids of the first question */
    gal_buf shown_text;
    bool ran;
} gal_cli_task;

/* Of the tasks that ran. results: the file of answers, NULL: none. */
void gal_cli_print_tasks(const gal_cli_task *tasks, size_t n, const gal_suite *s, const char *results);
void gal_cli_print_tasks_json(const gal_cli_task *tasks, size_t n, const gal_suite *s, const char *results);

#endif
