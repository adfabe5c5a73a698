/* questions.h - a task's records as texts and ids: prompts with shots before them, and for each question the parts
 * that are scored. What is scored of a part follows what stands before it as in lm-evaluation-harness 0.4.13: white
 * space at the end of the prompt moves to the continuation, prompt and both together are encoded, the ids beyond the
 * prompt's are the continuation's; too long ones lose their beginning. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_EVAL_QUESTIONS_H
#define GAL_EVAL_QUESTIONS_H

#include "eval/records.h"
#include "eval/task.h"
#include "infer/chat_template.h"

#include <time.h>

/* How what stands before an answer is given: as one text, or as a conversation, with the shots before the question in
 * its turn or in turns of their own. */
typedef enum gal_exam_form { GAL_EXAM_TEXT, GAL_EXAM_ONE_TURN, GAL_EXAM_TURNS } gal_exam_form;

/* How text becomes ids, for one model. */
typedef struct gal_exam_ids {
    const gal_tokenizer *t;
    gal_token_scratch *scratch; /* NULL: taken for each call */
    int64_t context;            /* most rows that the model is given */
    int32_t prefix;             /* stands before what has nothing before it: BOS, or else EOS; -1: neither is there */
    bool bos;                   /* prompts begin with the vocabulary's */
    const gal_chat_format *chat; /* NULL: prompts are text; else a template's, and BOS as of conversations */
    bool turns;                  /* of conversations: shots have their own */
    const struct tm *now;        /* for templates that ask; NULL: the time of each question */
} gal_exam_ids;

typedef struct gal_exam {
    const gal_task *task; /* borrowed */
    gal_records test, others;
    const gal_records *from; /* shots; NULL: none */
    uint32_t *shots;         /* [n_chosen, task->shots.count] */
    size_t n_chosen;         /* questions that have theirs: their own, or one list for all */
} gal_exam;                  /* {0} */

/* Reads a task's records and chooses the shots. The caller closes it, also on failure. */
gal_err gal_exam_open(gal_exam *e, const gal_task *t, gal_diag *diag);
void gal_exam_close(gal_exam *e);

/* One thing that is scored: ids[first], ..., ids[n - 1], each after all before it. */
typedef struct gal_part {
    int32_t *ids;
    int64_t n, first;     /* 0 < first < n; of what is to be continued first = n */
    int64_t bytes, chars; /* of the text that stands for what is scored, for scores per byte and character */
    bool cut;             /* its beginning is lost: it was longer than the context */
} gal_part;

typedef struct gal_question {
    size_t record;
    gal_part *parts; /* of choices with `unconditional`: those, then the same without the prompt */
    size_t n, cap;
    size_t choices; /* of multiple_choice */
    int64_t right;  /* place of the right one */
    gal_buf prompt, answer;
    gal_strings list;     /* choices */
    int64_t bytes, words; /* of perplexity: of the text */
} gal_question;           /* {0} */

/* The text before the answer, or before the contexts of a task that has a continuation. */
gal_err gal_exam_prompt(const gal_exam *e, size_t record, gal_buf *out, gal_diag *diag);
/* GAL_EINPUT with the record's place for an answer that is no choice, an empty choice, and the like. */
gal_err gal_exam_question(const gal_exam *e, size_t record, const gal_exam_ids *how, gal_question *q, gal_diag *diag);
void gal_question_free(gal_question *q);

/* prompt + continuation as ids (above). GAL_EINPUT: nothing of the continuation is left. where: for messages. */
gal_err gal_part_pair(gal_part *p, const gal_exam_ids *how, const char *prompt, size_t prompt_bytes,
                      const char *continuation, size_t bytes, const char *where, gal_diag *diag);
/* Words as lm-evaluation-harness counts them: len(re.split(r"\s+", text)). */
int64_t gal_count_words(const char *text, size_t n);

#endif
