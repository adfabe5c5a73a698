/* bench.h - `galerne bench MODEL`: what is measured, by whom, and what the machine would allow at best.
 *
 * A measurement is a cell. Engines take turns at it: galerne, whoever --vs names, all on the same file with as many
 * threads, and where a text is guessed ahead galerne without guesses. Each engine prepares a cell (reads the model,
 * warms up, fills its cache), which is not counted, and then measures it as often as asked. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_CLI_BENCH_H
#define GAL_CLI_BENCH_H

#include "cli/child.h"
#include "cli/io.h"
#include "cli/machine.h"
#include "galerne/infer.h"

enum {
    GAL_BENCH_LIST = 16, /* numbers in one option */
    GAL_BENCH_CELLS = 3 * GAL_BENCH_LIST + 3,
    GAL_BENCH_REPEATS = 64,
    GAL_BENCH_ENGINES = 6, /* galerne, the same without guesses, and four others */
    GAL_BENCH_OTHERS = 4,
    GAL_BENCH_CHUNK = 512,   /* rows of a prompt that other engines compute at once */
    GAL_BENCH_FIRST = 16,    /* tokens of the prompt before the first token */
    GAL_BENCH_CONTEXT = 4096 /* of the measurement of memory */
};

typedef enum gal_bench_kind {
    GAL_BENCH_PREFILL, /* n tokens into an empty cache; logits after the last one. Seconds */
    GAL_BENCH_DECODE,  /* n tokens, one by one, for each of `batch` sequences that hold `depth`. Seconds */
    GAL_BENCH_TEXT,    /* the n most likely tokens after the text of --prompt, guessed ahead. Seconds */
    GAL_BENCH_START, /* from opening the model to the first token after GAL_BENCH_FIRST, in a new process. Seconds */
    GAL_BENCH_MEMORY /* what a new process takes for a full context of n tokens at most. Bytes */
} gal_bench_kind;

typedef struct gal_bench_cell {
    gal_bench_kind kind;
    int64_t n, depth, batch;
} gal_bench_cell;

/* The model as its file has it, before anything is brought or packed. */
typedef struct gal_bench_model {
    gal_buf path; /* the folder or file itself */
    bool gguf;
    char format[32]; /* of most of its numbers */
    gal_config config;
    uint64_t file_bytes; /* of a GGUF file; else of the weights */
    int64_t params;
    double dense_bytes, expert_bytes; /* read for a token: weights that are for all, all experts' */
    double ops[GAL_PEAK_COUNT];       /* products of a token, by the fastest type that they allow */
    double head_ops;                  /* of these those of the logits */
    gal_peak_id head;                 /* and their type */
    gal_dtype cache;
} gal_bench_model;

/* Whether a cell is a rate of tokens; else a process of its own is measured. */
static inline bool gal_bench_is_rate(const gal_bench_cell *c) { return c->kind <= GAL_BENCH_TEXT; }

/* bench_limits.c */
gal_err gal_bench_look(gal_bench_model *m, const char *path, gal_layout layout, const gal_lm_options *lo,
                       gal_diag *diag);
void gal_bench_model_free(gal_bench_model *m);
/* What a decoded token reads of weights when `batch` sequences are decoded at once. */
double gal_bench_token_bytes(const gal_bench_model *m, int64_t batch);
/* Least seconds of a cell by what the machine does in a second; 0: not known. best[GAL_PEAK_READ] is bytes. */
double gal_bench_limit_s(const gal_bench_model *m, const gal_bench_cell *c, const double best[GAL_PEAK_COUNT]);

/* The same ids for every engine: that of a position in a sequence. bench_llama_cpp.py has the formula, too. */
static inline int32_t gal_bench_id(int64_t sequence, int64_t position, int64_t vocab) {
    uint64_t x = ((uint64_t)(sequence * 7919 + position + 1) * 2654435761u) & 0xffffffffu;
    return (int32_t)((x >> 8) % (uint64_t)vocab);
}

typedef struct gal_bench_job {
    gal_cli *cli;
    const gal_lm_options *lo;
    const gal_bench_model *model;
    int threads;
    const char *python, *flash; /* options of the peers */
    int64_t longest;            /* tokens of one sequence in any cell of batch 1 */
    gal_bench_cell cell[GAL_BENCH_CELLS];
    size_t n_cells;
} gal_bench_job;

typedef struct gal_bench_engine {
    char name[64], about[400];
    /* *can false: the engine has no such measurement. */
    gal_err (*prepare)(struct gal_bench_engine *e, const gal_bench_cell *c, bool *can, gal_diag *diag);
    gal_err (*measure)(struct gal_bench_engine *e, const gal_bench_cell *c, double *value, gal_diag *diag);
    void (*free)(struct gal_bench_engine *e);
} gal_bench_engine;

/* job is borrowed by all of them. GAL_EINPUT: what they need is not there. */
gal_err gal_bench_ours(gal_bench_engine **out, const gal_bench_job *job, const char *level, gal_diag *diag);
/* The same open model, whose texts it makes one token by one, and nothing else. ours outlives it. */
gal_err gal_bench_one_by_one(gal_bench_engine **out, gal_bench_engine *ours, gal_diag *diag);
/* How guesses of the last turn went; tokens 0: there were none. */
const gal_generate_result *gal_bench_guesses(const gal_bench_engine *ours);
gal_err gal_bench_llama_cpp(gal_bench_engine **out, const gal_bench_job *job, gal_diag *diag);
/* command: a program that understands llama-bench's options, and further arguments after blanks. */
gal_err gal_bench_program(gal_bench_engine **out, const gal_bench_job *job, const char *command, gal_diag *diag);

/* What one engine did in one cell. */
typedef struct gal_bench_run {
    bool can;
    int turns;
    double value[GAL_BENCH_REPEATS], spent_s;
    double limit_s[GAL_BENCH_REPEATS]; /* by what the machine did just before and after a turn; 0: not known */
} gal_bench_run;

typedef struct gal_bench_report {
    const gal_bench_job *job;
    gal_bench_engine *engine[GAL_BENCH_ENGINES]; /* the first is galerne */
    size_t n_engines, n_done;                    /* cells */
    gal_bench_run run[GAL_BENCH_CELLS][GAL_BENCH_ENGINES];
    const char *level;
    double best[GAL_PEAK_COUNT], least[GAL_PEAK_COUNT]; /* of the machine in the whole run; 0: not measured */
    double unsteady; /* how far its own figures lay apart in this run, as a part of the least */
    bool stopped;    /* before all cells were done */
    int repeats;
} gal_bench_report;

/* bench_report.c */
const char *gal_bench_kind_name(gal_bench_kind kind); /* as in JSON. Static */
void gal_bench_print(const gal_bench_report *r);
gal_err gal_bench_print_json(const gal_bench_report *r, gal_diag *diag);

/* bench_model.c   The command with a MODEL. */
gal_err gal_bench_run_model(gal_cli *cli);

extern const char GAL_BENCH_LLAMA_CPP[]; /* bench_llama_cpp.py, put there by the build */

#endif
