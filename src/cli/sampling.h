/* sampling.h - options of the commands that make text: which model and how it is opened, how tokens are chosen.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_SAMPLING_H
#define GAL_CLI_SAMPLING_H

#include "cli/io.h"
#include "infer/lm.h"

enum { GAL_CLI_STOPS = 64 };

#define GAL_SAMPLING_OPTIONS                                                                                         \
    { .name = "max-tokens",                                                                                          \
      .kind = GAL_V_INT,                                                                                             \
      .value = "N",                                                                                                  \
      .min = 0,                                                                                                      \
      .max = 1e9,                                                                                                    \
      .help = "at most this many new tokens; if not given the model's own default, else 256, in a conversation all " \
              "that fits" },                                                                                         \
        { .name = "temperature",                                                                                     \
          .kind = GAL_V_FLOAT,                                                                                       \
          .value = "T",                                                                                              \
          .min = 0,                                                                                                  \
          .max = 100,                                                                                                \
          .help = "0 takes the most likely token; the model's own default, or 0.7" },                                \
        { .name = "greedy", .help = "the same as --temperature 0" },                                                 \
        { .name = "top-k",                                                                                           \
          .kind = GAL_V_INT,                                                                                         \
          .value = "K",                                                                                              \
          .min = 0,                                                                                                  \
          .max = 1e9,                                                                                                \
          .help = "choose among the K most likely tokens; 0: among all" },                                           \
        { .name = "top-p",                                                                                           \
          .kind = GAL_V_FLOAT,                                                                                       \
          .value = "P",                                                                                              \
          .min = 1e-9,                                                                                               \
          .max = 1,                                                                                                  \
          .help = "choose among the most likely tokens whose probabilities sum to P; 1: among all" },                \
        { .name = "min-p",                                                                                           \
          .kind = GAL_V_FLOAT,                                                                                       \
          .value = "P",                                                                                              \
          .min = 0,                                                                                                  \
          .max = 1,                                                                                                  \
          .help = "choose among tokens at least P times as likely as the most likely one" },                         \
        { .name = "repetition-penalty",                                                                              \
          .kind = GAL_V_FLOAT,                                                                                       \
          .value = "X",                                                                                              \
          .min = 1e-3,                                                                                               \
          .max = 1e3,                                                                                                \
          .help = "make tokens that occurred less likely; 1: do not" },                                              \
        { .name = "seed",                                                                                            \
          .kind = GAL_V_INT,                                                                                         \
          .value = "N",                                                                                              \
          .min = 0,                                                                                                  \
          .max = 9e15,                                                                                               \
          .help = "the same seed gives the same text; from the clock if not given" },                                \
        { .name = "stop", .kind = GAL_V_STRING, .value = "TEXT", .repeat = true, .help = "end before this text" }, { \
        .name = "ignore-eos", .help = "go on after the model ends its text"                                          \
    }

extern const char *const GAL_CLI_DTYPES[], *const GAL_CLI_CACHES[];
#define GAL_CACHE_OPTION                                                                                             \
    {                                                                                                                \
        .name = "cache", .kind = GAL_V_CHOICE, .value = "TYPE", .choices = GAL_CLI_CACHES, .fallback = "f16",        \
        .help = "number format of cached keys and values"                                                            \
    }
/* The type that --cache names. */
gal_dtype gal_cli_cache_type(const gal_cli *cli);
#define GAL_MODEL_OPTIONS                                                                                            \
    { .name = "context",                                                                                             \
      .kind = GAL_V_INT,                                                                                             \
      .value = "N",                                                                                                  \
      .min = 0,                                                                                                      \
      .max = 1e9,                                                                                                    \
      .fallback = "0",                                                                                               \
      .help =                                                                                                        \
          "most tokens of prompt and text together; 0: the smaller of the model's maximum and what memory allows" }, \
        { .name = "dtype",                                                                                           \
          .kind = GAL_V_CHOICE,                                                                                      \
          .value = "TYPE",                                                                                           \
          .choices = GAL_CLI_DTYPES,                                                                                 \
          .fallback = "f32",                                                                                         \
          .help = "number format of activations" },                                                                  \
        GAL_CACHE_OPTION,                                                                                            \
        { .name = "exact",                                                                                           \
          .help = "all weights meet activations in f32, keys and values are f32, whatever --dtype and --cache say; " \
                  "else activations are rounded first, to 8 bits for weights in blocks, in prompts to bf16 for "     \
                  "those in bf16" },                                                                                 \
        { .name = "eager", .help = "do not record and replay steps; the text is the same" },                         \
        { .name = "no-mmap", .help = "read the weights into memory instead of mapping their files" },                \
        { .name = "repack", .help = GAL_REPACK_HELP }, GAL_LAYOUT_OPTION, GAL_LORA_OPTION

extern const char *const GAL_CLI_SPECULATE[]; /* by gal_speculate */
#define GAL_SPECULATE_OPTIONS                                                                                        \
    { .name = "speculate",                                                                                           \
      .kind = GAL_V_CHOICE,                                                                                          \
      .value = "HOW",                                                                                                \
      .choices = GAL_CLI_SPECULATE,                                                                                  \
      .help =                                                                                                        \
          "guess tokens ahead and check several in one pass: lookup takes what followed where the text had its "     \
          "last tokens before, draft asks the model of --draft; the text is chosen as without; off if not given" },  \
        { .name = "draft",                                                                                           \
          .kind = GAL_V_FILE,                                                                                        \
          .value = "MODEL",                                                                                          \
          .help = "a smaller model with the same vocabulary, which guesses; --speculate draft may be left out" },    \
    {                                                                                                                \
        .name = "draft-tokens", .kind = GAL_V_INT, .value = "N", .min = 1, .max = GAL_GUESS_MOST, .fallback = "7",   \
        .help = "most tokens guessed at once"                                                                        \
    }

/* What they say goes into the options of a model. */
gal_err gal_cli_speculation(gal_cli *cli, gal_lm_options *lo);
/* "31 of 40 guesses accepted (77.5 %), 4.12 tokens a pass" */
void gal_cli_print_guesses(gal_buf *b, const gal_generate_result *r);

/* The options of GAL_MODEL_OPTIONS; reading begins with its command, loras is {0} and is freed by the caller, both
 * outlive the opening. */
gal_err gal_cli_lm_options(gal_cli *cli, gal_lm_options *lo, gal_reading *reading, gal_loras *loras);
/* The model's defaults, overridden by what the command line gives (GAL_SAMPLING_OPTIONS). stops has GAL_CLI_STOPS
 * places. */
gal_err gal_cli_generate_options(gal_cli *cli, const gal_lm *lm, gal_generate_options *o, const char **stops);
/* Appends ", "sampling": {...}": each number and where it is from: a flag, else what the model's makers say, else
 * built in. */
void gal_cli_print_sampling(gal_buf *b, const gal_cli *cli, const gal_lm *lm, const gal_sampling *s);

/* Of an open model and its draft: what gal_cli_warn() says; called again, the notes that came since, as of a file of
 * packed weights that is damaged. */
typedef struct gal_told {
    bool before;
    size_t notes[2];
} gal_told; /* {0} at first */
void gal_cli_tell(const gal_cli *cli, const gal_lm *lm, gal_told *told);

#endif
