/* task.h - what is asked of a model: a task is a YAML file that names a set of records and says how questions are
 * made of them. One kind a task:
 *
 *   multiple_choice   the choice that is likeliest after the prompt
 *   loglikelihood     how likely the answer is after the prompt, and whether it is what the model would say
 *   perplexity        how likely whole texts are
 *   exact_match       what the model says after the prompt, beside the answer
 *
 * Records are lines of JSON (objects) or texts; templates are Jinja (text/template.h). Everything is checked when a
 * file is read: each message has file, line and key, or the template's place; a key that the kind has no use for is
 * refused. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_TASK_H
#define GAL_EVAL_TASK_H

#include "formats/options.h"

typedef enum gal_task_kind {
    GAL_MULTIPLE_CHOICE,
    GAL_LOGLIKELIHOOD,
    GAL_TASK_PERPLEXITY,
    GAL_EXACT_MATCH
} gal_task_kind;
typedef enum gal_records_format { GAL_RECORDS_AUTO, GAL_RECORDS_JSONL, GAL_RECORDS_TEXT } gal_records_format;
typedef enum gal_shots_from { GAL_SHOTS_OTHER, GAL_SHOTS_SAME_EXCLUDING } gal_shots_from;
typedef enum gal_shots_sampler { GAL_SHOTS_FIRST_N, GAL_SHOTS_RANDOM } gal_shots_sampler;
/* How choices are compared: log-likelihood as it is, per token, per byte or character of the choice, or less that
 * without the prompt. */
typedef enum gal_scoring {
    GAL_SCORE_RAW,
    GAL_SCORE_CHAR,
    GAL_SCORE_BYTE,
    GAL_SCORE_TOKEN,
    GAL_SCORE_UNCONDITIONAL,
    GAL_SCORINGS
} gal_scoring;

enum { GAL_TASK_SETTINGS_MOST = 40 };

typedef struct gal_task {
    char *name, *version;
    int kind; /* gal_task_kind */
    struct {
        char *file, *separator;
        int format;
    } data;
    char *description, *prompt, *delimiter, *answer, *text;
    gal_strings choices; /* one: a template that is a list */
    char *continuation;  /* "": choices are what is scored; else it is, after each of them */
    struct {
        int64_t count, seed;
        char *file, *separator;
        int from, sampler;
    } shots;
    gal_strings scoring;
    gal_strings until;
    int64_t max_tokens;
    struct {
        bool strip, lower, articles, punctuation;
        char *answer, *extract;
        int select;
    } match;
    int64_t bootstrap;
    /* Not in the file. */
    char *path;                           /* of the file */
    uint8_t sha256[32];                   /* of its bytes */
    uint8_t said[GAL_TASK_SETTINGS_MOST]; /* gal_settings_said() */
    bool scores[GAL_SCORINGS];
} gal_task;

extern const gal_settings GAL_TASK_SETTINGS;
extern const char *const GAL_TASK_KINDS[];    /* names */
extern const char *const GAL_SCORING_NAMES[]; /* [GAL_SCORINGS] of the metrics: "acc", "acc_norm", ... */

/* A whole task from its file; GAL_EINPUT with the reason. The caller frees it, also when reading failed. */
gal_err gal_task_read(gal_task *t, const char *path, gal_diag *diag);
/* The same from memory; dir: what paths are relative to. */
gal_err gal_task_parse(gal_task *t, const char *text, size_t bytes, const char *path, const char *dir,
                       gal_diag *diag);
void gal_task_free(gal_task *t);
/* Whether a file of its records is lines of JSON, and not of texts. */
bool gal_task_lines(const gal_task *t, const char *path);

#endif
