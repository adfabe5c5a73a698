/* cmd_convert.c - `galerne convert`: a model from one layout of files into another. SPDX-License-Identifier:
 * Apache-2.0 */
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/merged.h"
#include "convert/convert.h"

#include <string.h>
#include <unistd.h>

typedef struct watch {
    const gal_cli *cli;
    double began_s, shown_s;
    bool shown;
} watch;

static bool show(void *user, uint64_t done, uint64_t total) {
    watch *w = user;
    double now = gal_now_s();
    bool whole = done >= total;
    if (!w->cli->quiet && isatty(STDERR_FILENO) && (whole ? w->shown : now - w->shown_s > 0.1)) {
        double part = (double)done / (double)total, left_s = (now - w->began_s) * (1.0 - part) / part;
        char a[40], b[40];
        if (whole)
            fprintf(stderr, "\r%60s\r", "");
        else
            fprintf(stderr, "\rconverting: %s of %s, %.0f s left   ", gal_cli_bytes_text(a, sizeof a, done),
                    gal_cli_bytes_text(b, sizeof b, total), left_s);
        w->shown_s = now;
        w->shown = true;
    }
    return gal_cli_interrupted() > 0;
}

static void note(void *user, const char *line) {
    const watch *w = user;
    if (!w->cli->quiet) fprintf(stderr, "note: %s\n", line);
}

static void making(void *user, const char *folder) {
    (void)user;
    gal_cli_remove_at_fault(folder);
}

/* "5G", "400M", "1.5e9": bytes, in thousands. */
static bool read_size(const char *text, uint64_t *out) {
    static const char UNITS[] = "kMGT";
    char digits[32];
    size_t n = strlen(text);
    double x, scale = 1;
    if (n == 0 || n >= sizeof digits) return false;
    memcpy(digits, text, n + 1);
    if (digits[n - 1] == 'B') digits[--n] = 0;
    const char *unit = n ? strchr(UNITS, digits[n - 1] == 'K' ? 'k' : digits[n - 1]) : NULL;
    if (unit) digits[--n] = 0;
    for (const char *u = UNITS; unit && u <= unit; u++) scale *= 1000;
    if (!gal_parse_f64(digits, &x) || !(x * scale >= 1 && x * scale < 1e18)) return false;
    *out = (uint64_t)(x * scale);
    return true;
}

static gal_err read_options(gal_cli *cli, gal_convert_options *o) {
    static const char *const DTYPES[] = { "same", "f32", "f16", "bf16" };
    const char *to = cli->operands[1], *dtype = gal_cli_string(cli, "dtype"),
               *size = gal_cli_string(cli, "shard-size");
    size_t n = strlen(to);
    o->from = gal_cli_layout(cli);
    (void)gal_layout_named(&o->to, gal_cli_string(cli, "to")); /* one of the table's choices */
    if (o->to == GAL_LAYOUT_ANY) o->to = n > 5 && strcmp(to + n - 5, ".gguf") == 0 ? GAL_LAYOUT_GGUF : GAL_LAYOUT_HF;
    for (size_t i = 0; i < GAL_LEN(DTYPES); i++)
        if (strcmp(dtype, DTYPES[i]) == 0) o->dtype = (gal_convert_dtype)i;
    o->force = gal_cli_given(cli, "force");
    o->requantise = gal_cli_given(cli, "requantise");
    if (o->requantise && o->dtype != GAL_CONVERT_SAME)
        return gal_cli_usage(cli, "--requantise keeps each tensor's type: it excludes --dtype %s", dtype);
    if (o->n_adapters && gal_cli_given(cli, "dtype") && o->dtype == GAL_CONVERT_SAME && !o->requantise)
        return gal_cli_usage(cli, "--dtype same: with --lora say --requantise, or another type");
    if (o->requantise && !gal_cli_given(cli, "text") && !gal_cli_given(cli, "ids"))
        return gal_cli_usage(cli, "--requantise loses digits: --text FILE or --ids FILE measures how much that was");
    if (!read_size(size, &o->shard_bytes))
        return gal_cli_usage(cli, "--shard-size: expected bytes, as 5G or 400M, found '%s'", size);
    return GAL_OK;
}

/* m NULL: nothing was measured. */
static gal_err report(gal_cli *cli, const gal_convert_result *r, const gal_merged *m, double seconds) {
    char a[40], b[40], kl[160] = "";
    if (m && cli->json)
        (void)snprintf(kl, sizeof kl, ", \"kl\": %.9g, \"kl_99\": %.9g, \"same_top\": %.9g, \"tokens\": %lld", m->kl,
                       m->kl_99, m->agree, (long long)m->tokens);
    if (cli->json)
        printf(
            "{\"tensors\": %zu, \"kept\": %zu, \"merged\": %zu, \"rounded\": %zu, \"files\": %zu, \"bytes\": %llu, "
            "\"parameters\": %lld%s}\n",
            r->tensors, r->kept, r->merged, r->rounded, r->files, (unsigned long long)r->bytes, (long long)r->params,
            kl);
    else if (!cli->quiet)
        printf("%s: %s parameters, %s in %zu tensors, %zu of them bit for bit; %zu file%s, %.1f s\n",
               cli->operands[1], gal_cli_count_text(a, sizeof a, r->params),
               gal_cli_bytes_text(b, sizeof b, r->bytes), r->tensors, r->kept, r->files, r->files == 1 ? "" : "s",
               seconds);
    if (m && !cli->json)
        printf("KL from base and adapter: %.4g nats a token, 99th percentile %.4g; the same id most likely at %.2f "
               "%% of "
               "%lld tokens\n",
               m->kl, m->kl_99, 100 * m->agree, (long long)m->tokens);
    return GAL_OK;
}

/* Also where --force would replace what is at OUT. */
static gal_err spare_inputs(gal_cli *cli, const gal_loras *loras) {
    gal_input inputs[3 + GAL_CLI_LORAS] = { { "model", cli->operands[0] },
                                            { "text", gal_cli_string(cli, "text") },
                                            { "list of ids", gal_cli_string(cli, "ids") } };
    return gal_cli_spare_inputs(cli, cli->operands[1], gal_cli_layout(cli), inputs,
                                gal_cli_lora_inputs(loras, inputs, 3));
}

static gal_err run(gal_cli *cli) {
    gal_convert_options o;
    gal_convert_result r = { 0 };
    watch w = { .cli = cli, .began_s = gal_now_s() };
    w.shown_s = w.began_s + 0.4; /* nothing is shown of what is over in a moment */
    gal_convert_options_init(&o);
    gal_loras loras = { 0 };
    gal_err err = gal_cli_loras(cli, &loras);
    o.adapters = loras.list;
    o.n_adapters = loras.n;
    if (!err) err = read_options(cli, &o);
    if (!err) err = spare_inputs(cli, &loras);
    if (err) {
        gal_cli_loras_free(&loras);
        return err;
    }
    o.progress = show;
    o.note = note;
    o.making = making;
    o.user = &w;
    gal_cli_catch_interrupts(); /* so that half a result is removed */
    err = gal_convert_model(cli->operands[0], cli->operands[1], &o, &r, &cli->diag);
    gal_cli_remove_at_fault(NULL);
    if (err && w.shown) fprintf(stderr, "\r%60s\r", "");
    double seconds = gal_now_s() - w.began_s;
    bool wanted = gal_cli_given(cli, "text") || gal_cli_given(cli, "ids");
    gal_merged m;
    if (!err && wanted) err = gal_cli_merged(&m, cli, cli->operands[1], &loras);
    gal_cli_loras_free(&loras);
    return err ? err : report(cli, &r, wanted ? &m : NULL, seconds);
}

static const char *const DTYPES[] = { "same", "f32", "f16", "bf16", NULL };

static const gal_option OPTIONS[] = {
    { .name = "to",
      .kind = GAL_V_CHOICE,
      .value = "LAYOUT",
      .choices = GAL_CLI_LAYOUTS,
      .help = "layout of the result; without it gguf if OUT ends in .gguf, else hf" },
    GAL_LAYOUT_OPTION,
    { .name = "dtype",
      .kind = GAL_V_CHOICE,
      .value = "TYPE",
      .choices = DTYPES,
      .fallback = "same",
      .help = "number format of the result's matrices" },
    { .name = "shard-size",
      .kind = GAL_V_STRING,
      .value = "SIZE",
      .fallback = "5G",
      .help = "most bytes of a file with weights in a folder" },
    { .name = "force", .help = "replace the model that is at OUT: a GGUF file, or a folder with a model in it" },
    { .name = "lora",
      .kind = GAL_V_STRING,
      .value = "DIR[:SCALE]",
      .repeat = true,
      .help = "merge the low-rank adapter in this folder into the weights, times SCALE; the result is bf16 unless "
              "--dtype or --requantise say otherwise" },
    { .name = "text",
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "print how far the result is from model and adapters on this text: KL divergence, in f32" },
    { .name = "ids", .kind = GAL_V_FILE, .value = "FILE", .help = "the same on the token ids in FILE" },
    { .name = "requantise",
      .help = "with --lora: every tensor keeps its type, quantised ones are quantised again; needs --text or --ids" },
};

const gal_command gal_cmd_convert = {
    .name = "convert",
    .summary = "write a model in another layout",
    .operands = "MODEL OUT",
    .min_operands = 2,
    .max_operands = 2,
    .text =
        "Layouts: hf, a folder as Hugging Face's tools have it (config.json); own, a folder as Mistral publishes it "
        "(params.json); gguf, one file with everything in it.\n\n"
        "Numbers keep their bits where the layout has their format; blocks and FP8 become bf16 in folders, "
        "FP8 in GGUF files, too; how many numbers that rounds is said. "
        "Vocabulary, "
        "chat template and sampling defaults go along, between folders also the licence and other files that "
        "belong to a model. What is left out is said. OUT is whole or not there at all.",
    .examples = "galerne convert model model.gguf\n"
                "galerne convert model.gguf model-hf --dtype bf16\n"
                "galerne convert model model-own --to own\n"
                "galerne convert q4.gguf tuned.gguf --lora runs/tuned/checkpoints/step-100 --requantise --text t.txt",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
