/* eval.h - what `perplexity` and `compare` share: the text or ids to measure, options, the line that tells how far it
 * has come, numbers with their errors. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_EVAL_H
#define GAL_CLI_EVAL_H

#include "base/file.h"
#include "cli/io.h"
#include "data/corpus.h"
#include "eval/perplexity.h"

/* Lines of a command's table of options. */
extern const char *const GAL_CLI_CONVENTIONS[];
extern const char *const GAL_CLI_EVAL_DTYPES[];
#define GAL_CLI_EVAL_OPTIONS                                                                                         \
    { .name = "context",                                                                                             \
      .kind = GAL_V_INT,                                                                                             \
      .value = "N",                                                                                                  \
      .min = 2,                                                                                                      \
      .max = 1e9,                                                                                                    \
      .help = "tokens that the model sees at a time; if not given, 2048 or the model's maximum if that is less" },   \
        { .name = "stride",                                                                                          \
          .kind = GAL_V_INT,                                                                                         \
          .value = "N",                                                                                              \
          .min = 1,                                                                                                  \
          .max = 1e9,                                                                                                \
          .help = "tokens by which a window moves on, 1 to the context; half the context if not given" },            \
        { .name = "as",                                                                                              \
          .kind = GAL_V_CHOICE,                                                                                      \
          .value = "CONVENTION",                                                                                     \
          .choices = GAL_CLI_CONVENTIONS,                                                                            \
          .fallback = "strided",                                                                                     \
          .help = "llama.cpp: count what its perplexity tool counts, with its context of 512" },                     \
        { .name = "ids",                                                                                             \
          .kind = GAL_V_FILE,                                                                                        \
          .value = "FILE",                                                                                           \
          .help = "measure the token ids in FILE (- for standard input) instead of a text; needs no tokenizer" },    \
        { .name = "no-bos", .help = "no beginning of sequence before a window" },                                    \
        { .name = "max-tokens",                                                                                      \
          .kind = GAL_V_INT,                                                                                         \
          .value = "N",                                                                                              \
          .min = 1,                                                                                                  \
          .max = 1e15,                                                                                               \
          .help = "stop after N counted tokens" },                                                                   \
        { .name = "dtype",                                                                                           \
          .kind = GAL_V_CHOICE,                                                                                      \
          .value = "TYPE",                                                                                           \
          .choices = GAL_CLI_EVAL_DTYPES,                                                                            \
          .fallback = "f32",                                                                                         \
          .help = "number format of activations; keys and values stay f32" },                                        \
        { .name = "exact",                                                                                           \
          .help =                                                                                                    \
              "weights in blocks meet activations in f32, whatever --dtype says; else these are rounded to 8 bits "  \
              "first" },                                                                                             \
        { .name = "no-mmap", .help = "read the weights into memory instead of mapping their files" }, {              \
        .name = "repack", .help = GAL_REPACK_HELP                                                                    \
    }

/* What is measured and where it lies. */
typedef struct gal_cli_text {
    gal_eval_text text;
    const char *name;
    gal_map map;       /* of a plain file */
    gal_corpus corpus; /* of a compressed one */
    gal_buf in;        /* standard input, or a file of ids */
    gal_ids ids;
} gal_cli_text; /* {0} */

/* file: the operand, NULL where there is none; --ids otherwise. GAL_EUSAGE for both or neither. */
gal_err gal_cli_text_open(gal_cli_text *t, gal_cli *cli, const char *file);
void gal_cli_text_close(gal_cli_text *t);

/* Progress on one line of a terminal's standard error. */
typedef struct gal_cli_watch {
    const gal_cli *cli;
    const char *what; /* "nats/token" */
    double began_s, shown_s;
    bool shown;
} gal_cli_watch;
/* The command's options; progress goes to w, which must outlive them. */
void gal_cli_eval_options(gal_eval_options *o, gal_cli *cli, gal_cli_watch *w);
/* Clears the line; then, unless --quiet, tells the speed. */
void gal_cli_watch_end(gal_cli_watch *w, int64_t tokens);

/* "1.2345 ± 0.0012", or "1.2345" where no error is known. */
void gal_cli_print_error(double x, double error, int digits);
/* A number that JSON can hold, else null. */
void gal_cli_print_json_number(const char *key, double x);
/* The lines "tokens" and "window"; of JSON, the keys from "tokens" to "dtype". */
void gal_cli_print_how(const gal_cli_text *t, const gal_walk_options *how, const gal_walk_result *walk,
                       int64_t bytes);
void gal_cli_print_how_json(const gal_walk_options *how, const gal_walk_result *walk);
/* A warning of bytes that are no UTF-8, if there are. */
void gal_cli_warn_bytes(const gal_cli_text *t, size_t bad, size_t first);
/* Of a failure with numbers that are not finite: names the weight that is to blame. */
void gal_cli_blame(gal_cli *cli, gal_err err, gal_model *m);

#endif
