/* io.h - what several commands read: standard input, ids, lines from a person. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_IO_H
#define GAL_CLI_IO_H

#include "base/buf.h"
#include "cli/cli.h"
#include "galerne/model.h"
#include "models/model.h"
#include "text/tokenizer.h"

/* All of standard input into b. GAL_EINPUT if it cannot be read or holds more than 1 GiB. */
gal_err gal_cli_read_stdin(gal_buf *b, gal_diag *diag);
/* Ids in text, separated by spaces or commas; at least one. err and what: how to call what is no id. */
gal_err gal_cli_ids(gal_ids *ids, const char *text, size_t n, gal_err err, const char *what, gal_diag *diag);
/* The ids of an option: its text, or standard input when that is "-". */
gal_err gal_cli_ids_option(gal_cli *cli, const char *option, gal_ids *ids);
/* The ids of all the text in a file, "-": standard input, no token added; *bos: the beginning-of-sequence token that
 * belongs before it, -1: none. t may be NULL, for a model (its path) without a tokenizer: GAL_EINPUT, as for an empty
 * text; instead: what else the user can give, or NULL. */
gal_err gal_cli_text_ids(gal_cli *cli, gal_ids *ids, int32_t *bos, const char *path, const gal_tokenizer *t,
                         const char *model, const char *instead);
/* "7,241,732,096" and "6.7 GiB" into text of at least 32 bytes. */
const char *gal_cli_count_text(char *text, size_t room, int64_t n);
const char *gal_cli_bytes_text(char *text, size_t room, uint64_t bytes);

/* How far a model's weights have come from their files, on one line of a terminal's standard error, once it has taken
 * a while; Ctrl-C stops. For gal_lm_options.progress; user: a gal_reading that begins with its command alone. */
typedef struct gal_reading {
    const gal_cli *cli;
    double began_s, shown_s;
} gal_reading;
int gal_cli_show_reading(void *user, uint64_t done, uint64_t total);
/* What --repack does, for the commands that open a model to compute with it. */
#define GAL_REPACK_HELP                                                                                              \
    "keep the weights as this machine's products want them in a file beside the model, or in ~/.cache/galerne "      \
    "where "                                                                                                         \
    "that folder cannot be written, and map it from then on: processes share that memory, and nothing is "           \
    "rearranged while the first tokens are made. A damaged one is made anew. Remove it at any time"
/* $XDG_CACHE_HOME/galerne or ~/.cache/galerne, which need not be there; NULL: neither is known. Valid as long as cli.
 */
const char *gal_cli_cache_folder(gal_cli *cli);
/* The option of every command that takes a MODEL: which layout to read of a folder that has several. */
#define GAL_LAYOUT_OPTION                                                                                            \
    {                                                                                                                \
        .name = "layout", .kind = GAL_V_CHOICE, .value = "LAYOUT", .choices = GAL_CLI_LAYOUTS,                       \
        .help =                                                                                                      \
            "which layout to read of a folder that has several: Hugging Face's, Mistral's own, a GGUF file; the "    \
            "first of these that is there with its weights. Where weights have an index, the files that it names "   \
            "are read and no others"                                                                                 \
    }
extern const char *const GAL_CLI_LAYOUTS[];
gal_layout gal_cli_layout(const gal_cli *cli);

/* The vocabulary of a file or folder with one, of a GGUF file, or of a run directory, whose newest checkpoint has
 * one.
 */
gal_err gal_cli_open_tokenizer(gal_tokenizer **out, const char *path, gal_layout layout, gal_diag *diag);

bool gal_cli_ends_with(const char *name, const char *end);

/* What a command reads, for the check that its output is none of it. path NULL or "-": nothing. */
typedef struct gal_input {
    const char *what, *path; /* "model", "text" */
} gal_input;
/* GAL_EUSAGE before any work, with a message that names the input: output is one of them by whatever name, a part of
 * a split GGUF file, or a file that is there in an input's folder (but for kinds that no folder is read for: GGUF
 * files beside another layout, arrays, matrices in .dat); or a folder that holds one. layout: as --layout says. */
gal_err gal_cli_spare_inputs(gal_cli *cli, const char *output, gal_layout layout, const gal_input *inputs, size_t n);
/* The same of a file to write, which may be no folder and not "-" either: option is "-o" or what else it is called.
 */
gal_err gal_cli_output_file(gal_cli *cli, const char *option, const char *output, gal_layout layout,
                            const gal_input *inputs, size_t n);

/* The option of commands that compute with a MODEL: adapters to add to it. */
#define GAL_LORA_OPTION                                                                                              \
    {                                                                                                                \
        .name = "lora", .kind = GAL_V_STRING, .value = "DIR[:SCALE]", .repeat = true,                                \
        .help = "add the low-rank adapter in this folder (PEFT's layout or Mistral's own), times SCALE"              \
    }
enum { GAL_CLI_LORAS = 8 };
typedef struct gal_loras {
    gal_lm_adapter list[GAL_CLI_LORAS];
    size_t n;
    char *path[GAL_CLI_LORAS];
} gal_loras; /* {0} to begin */
gal_err gal_cli_loras(gal_cli *cli, gal_loras *out);
void gal_cli_loras_free(gal_loras *l);
/* Adds them to inputs, which have room; returns how many there are then. */
size_t gal_cli_lora_inputs(const gal_loras *l, gal_input *inputs, size_t n);

/* What a model's files gave rise to: warnings always, notes (of tensors that nobody asked for) unless --quiet. */
void gal_cli_warn(const gal_cli *cli, const gal_model *m);

/* auto_threads.c   Puts a number into cli->device.threads where it is GAL_CLI_AUTO: bench MODEL tries and remembers
 * the best, other commands ask what is remembered, and otherwise it is 0. */
gal_err gal_cli_auto_threads(gal_cli *cli);

#endif
