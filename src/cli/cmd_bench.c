/* cmd_bench.c - `galerne bench`: of a model (bench_model.c), or of what the machine can do at best, as a table or one
 * JSON object. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/sampling.h"

#include <string.h>

static const struct {
    const char *what, *unit;
} KINDS[GAL_PEAK_COUNT] = {
    [GAL_PEAK_READ] = { "read", "GB/s" },
    [GAL_PEAK_F32] = { "f32 dot product", "GFLOP/s" },
    [GAL_PEAK_BF16] = { "bf16 dot product", "GFLOP/s" },
    [GAL_PEAK_I8] = { "int8 dot product", "Gop/s" },
};

static void print_figure(const gal_machine_figure *f) {
    char size[32], what[80];
    if (f->id == GAL_PEAK_READ)
        (void)snprintf(what, sizeof what, "read %s (%s%s)", f->from, gal_cli_bytes_text(size, sizeof size, f->bytes),
                       strcmp(f->from, "memory") ? " a thread" : "");
    else
        (void)snprintf(what, sizeof what, "%s", KINDS[f->id].what);
    printf("%-30s %7d %10.1f %10.1f %-8s %s\n", what, f->threads, f->median * 1e-9, f->best * 1e-9, KINDS[f->id].unit,
           f->how);
}

static void json_figure(gal_buf *b, const gal_machine_figure *f, bool first) {
    static const char *const types[] = { "", "f32", "bf16", "int8" };
    gal_buf_printf(b, "%s{\"what\": \"%s\", ", first ? "" : ", ", f->id == GAL_PEAK_READ ? "read" : "dot");
    if (f->id == GAL_PEAK_READ)
        gal_buf_printf(b, "\"from\": \"%s\", \"bytes\": %zu, ", f->from, f->bytes);
    else
        gal_buf_printf(b, "\"type\": \"%s\", ", types[f->id]);
    gal_buf_printf(b, "\"threads\": %d, \"unit\": \"%s\", \"median\": %.6g, \"best\": %.6g, \"how\": ", f->threads,
                   KINDS[f->id].unit, f->median * 1e-9, f->best * 1e-9);
    gal_buf_json(b, f->how, strlen(f->how));
    gal_buf_puts(b, "}");
}

/* 1, 2, 4, ... and the number itself. */
static int next_threads(int t, int most) { return t == most ? most + 1 : GAL_MIN(2 * t, most); }

static gal_err measure_machine(gal_cli *cli) {
    gal_dev *dev = NULL;
    gal_buf b = { 0 };
    gal_machine_figure f[GAL_MACHINE_ROOM];
    gal_cli_catch_interrupts();
    gal_err err = gal_dev_open(&dev, &cli->device, &cli->diag);
    if (err) return err;
    int most = gal_pool_threads(dev->pool), repeats = GAL_MACHINE_REPEATS;
    if (gal_cli_given(cli, "repeats")) repeats = (int)gal_cli_int(cli, "repeats");
    gal_buf_printf(&b, "{\"level\": \"%s\", \"threads\": %d, \"repeats\": %d, \"figures\": [", dev->table.name, most,
                   repeats);
    if (!cli->json) {
        printf("level %s, %d threads, median and best of %d repetitions\n", dev->table.name, most, repeats);
        printf("%-30s %7s %10s %10s\n", "", "threads", "median", "best");
    }
    for (int t = 1; !err && t <= most; t = next_threads(t, most)) {
        size_t n = 0;
        err = gal_machine_measure(f, &n, &dev->table, t, repeats, true, &cli->diag);
        for (size_t i = 0; !err && i < n; i++) {
            json_figure(&b, &f[i], t == 1 && i == 0);
            if (!cli->json) print_figure(&f[i]);
        }
        if (!err && gal_cli_interrupted()) err = gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    }
    gal_buf_puts(&b, "]}\n");
    if (!err && b.oom) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the report");
    if (!err && cli->json) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    gal_dev_close(dev);
    return err;
}

static gal_err run(gal_cli *cli) {
    static const char *const OF_MODEL[] = { "prefill", "decode", "batch", "start", "prompt", "vs", "draft", "lora" };
    const bool machine = gal_cli_given(cli, "machine");
    for (size_t i = 0; machine && i < GAL_LEN(OF_MODEL); i++)
        if (gal_cli_given(cli, OF_MODEL[i]))
            return gal_cli_usage(cli, "--machine and --%s exclude each other", OF_MODEL[i]);
    if (machine && cli->n_operands) return gal_cli_usage(cli, "--machine takes no MODEL");
    if (!machine && !cli->n_operands) return gal_cli_usage(cli, "expected a MODEL or --machine");
    return machine ? measure_machine(cli) : gal_bench_run_model(cli);
}

static const char *const FLASH[] = { "best", "on", "off", NULL };

static const gal_option OPTIONS[] = {
    { .name = "machine", .help = "what the machine can do at best: reading, and dot products in f32, bf16 and int8" },
    { .name = "prefill",
      .kind = GAL_V_STRING,
      .value = "N,N,..",
      .help = "prompts of so many tokens; 32,128,512,2048 if nothing is chosen" },
    { .name = "decode",
      .kind = GAL_V_STRING,
      .value = "N,N,..",
      .help = "single tokens after so many; 0,2048,8192 if nothing is chosen" },
    { .name = "batch",
      .kind = GAL_V_STRING,
      .value = "N,N,..",
      .help = "single tokens of so many sequences at once; 1,4,16 if nothing is chosen" },
    { .name = "start",
      .help = "seconds from opening the model to the first token, and the memory that it takes; also if nothing is "
              "chosen" },
    { .name = "prompt",
      .letter = 'p',
      .kind = GAL_V_STRING,
      .value = "TEXT",
      .help =
          "the most likely --tokens after this text, guessed ahead as --speculate or --draft says and one by one, "
          "turn by turn" },
    GAL_SPECULATE_OPTIONS,
    { .name = "tokens",
      .kind = GAL_V_INT,
      .value = "N",
      .help = "single tokens, or of a text, in each repetition",
      .fallback = "32",
      .min = 1,
      .max = 1e6 },
    { .name = "repeats",
      .kind = GAL_V_INT,
      .value = "N",
      .help = "repetitions of each measurement; 5 for a MODEL, 15 for the machine if not given",
      .min = 1,
      .max = GAL_BENCH_REPEATS },
    { .name = "limit",
      .kind = GAL_V_FLOAT,
      .value = "SECONDS",
      .help = "none begins a further repetition of what has taken it so long",
      .fallback = "60",
      .min = 0,
      .max = 1e6 },
    { .name = "vs",
      .kind = GAL_V_STRING,
      .value = "PEER",
      .repeat = true,
      .help =
          "take turns with this one on the same file: llama.cpp, through the Python package llama-cpp-python, or a "
          "program with the options of llama-bench and further arguments after blanks, NAME= before it if it is to "
          "have another name" },
    { .name = "python",
      .kind = GAL_V_FILE,
      .value = "PROGRAM",
      .help = "the Python that has the package",
      .fallback = "python3" },
    { .name = "vs-flash",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = FLASH,
      .fallback = "best",
      .help = "flash attention of llama.cpp; best: what a trial before each measurement finds faster" },
    GAL_MODEL_OPTIONS,
};

const gal_command gal_cmd_bench = {
    .name = "bench",
    .summary = "measure the speed of a model, beside other programs, or of this machine",
    .operands = "[MODEL]",
    .max_operands = 1,
    .text =
        "Of a MODEL: tokens a second of prompts and of single tokens, by length, depth and number of sequences; what "
        "part that is of what the machine allows; and the same of others on the same file with as many threads, "
        "turn by turn. A ratio above 1 is in favour of galerne. What does not fit into the model's context is left "
        "out; where lists are given, only they are measured, and must fit. A warm-up goes before and is not counted. "
        "Ids are "
        "fixed, but for those of --prompt: there the text is what the model makes of it.\n\n"
        "The limit of single tokens: all weights that a token meets, and keys and values, are read from memory once. "
        "That of prompts: the operations of products and attention, at the pace of dot products in the fastest type "
        "that the weights allow, which is int8 for blocks of small integers, f32 for f16, the better of bf16 and f32 "
        "for bf16 and FP8. Both from what the machine did just before and after a turn.\n\n"
        "With --machine: reads from memory and from the caches, and the largest number of operations that dot "
        "products "
        "reach with the instructions of the level in use, at 1, 2, 4, ... threads up to --threads. A multiply-add "
        "counts as two operations. Medians say what to expect, the best what is possible: on a machine that does "
        "other things too they differ.\n\n"
        "JSON keys of a MODEL: model, params, format, file_bytes, bytes_per_token, repeats, partial, machine, "
        "engines "
        "(name, about), guesses (of the last turn: passes, proposed, accepted), cells (what, tokens, depth, batch, "
        "unit, limit, results: one for each engine, null where it "
        "has none, with median, min, max, samples, of_limit, of_best, ratio).",
    .examples = "galerne bench model.gguf\n"
                "galerne bench model.gguf --prefill 512 --decode 0,4096 --vs llama.cpp --vs fork=./llama-bench\n"
                "galerne bench model.gguf --draft small.gguf --prompt \"Once upon a time\" --tokens 256\n"
                "galerne bench --machine\n"
                "galerne bench --machine --cpu avx2 --threads 1 --json",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
