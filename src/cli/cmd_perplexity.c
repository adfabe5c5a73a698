/* cmd_perplexity.c - `galerne perplexity`: how well a model predicts a text. After Ctrl-C it prints what it has, says
 * that it is a part, and leaves with 130. SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/eval.h"
#include "cli/io.h"
#include "infer/lm.h"

#include <math.h>

static void print_text(const gal_cli_text *t, const gal_perplexity *p, const gal_dev *dev) {
    if (p->walk.stopped) puts("partial     interrupted: of the tokens so far");
    fputs("perplexity  ", stdout);
    gal_cli_print_error(p->perplexity, p->perplexity_error, 4);
    if (isfinite(p->bits)) {
        fputs("\nbits/byte   ", stdout);
        gal_cli_print_error(p->bits, p->bits_error, 4);
    }
    fputs("\nnats/token  ", stdout);
    gal_cli_print_error(p->nats, p->nats_error, 4);
    putchar('\n');
    gal_cli_print_how(t, &p->how, &p->walk, p->bytes);
    printf("computed    %s%s, %s\n", gal_dtype_name(p->how.compute), p->how.exact ? ", exact" : "", dev->name);
}

static void print_json(const gal_perplexity *p, const gal_dev *dev) {
    putchar('{');
    gal_cli_print_json_number("perplexity", p->perplexity);
    fputs(", ", stdout);
    gal_cli_print_json_number("perplexity_error", p->perplexity_error);
    fputs(", ", stdout);
    gal_cli_print_json_number("bits_per_byte", p->bits);
    fputs(", ", stdout);
    gal_cli_print_json_number("bits_per_byte_error", p->bits_error);
    fputs(", ", stdout);
    gal_cli_print_json_number("nats_per_token", p->nats);
    fputs(", ", stdout);
    gal_cli_print_json_number("nats_per_token_error", p->nats_error);
    printf(", \"bytes\": %lld, ", (long long)p->bytes);
    gal_cli_print_how_json(&p->how, &p->walk);
    printf(", \"level\": \"%s\"}\n", dev->name);
}

static gal_err measure(gal_cli *cli, gal_dev *dev, gal_model *m, const gal_tokenizer *t, const gal_cli_text *text) {
    gal_eval_options o;
    gal_cli_watch watch = { .what = "nats/token" };
    gal_perplexity p;
    gal_cli_eval_options(&o, cli, &watch);
    gal_err err = gal_perplexity_of(&p, dev, m, t, &text->text, &o, &cli->diag);
    gal_cli_watch_end(&watch, err ? 0 : p.walk.tokens);
    gal_cli_blame(cli, err, m);
    if (err) return err;
    gal_cli_warn(cli, m);
    gal_cli_warn_bytes(text, p.bad_bytes, p.first_bad);
    if (p.walk.tokens == 0) return gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted");
    if (cli->json)
        print_json(&p, dev);
    else
        print_text(text, &p, dev);
    return p.walk.stopped ? gal_fail(&cli->diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

static gal_err run(gal_cli *cli) {
    gal_cli_text text = { 0 };
    gal_dev *dev = NULL;
    gal_model *m = NULL;
    gal_tokenizer *t = NULL;
    gal_buf dir = { 0 };
    gal_loras loras = { 0 };
    gal_cli_catch_interrupts();
    gal_err err = gal_cli_text_open(&text, cli, cli->n_operands > 1 ? cli->operands[1] : NULL);
    if (!err) err = gal_cli_loras(cli, &loras);
    if (!err) err = gal_lm_load_as(&m, &t, NULL, &dir, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = gal_lm_adapt(m, loras.list, loras.n, &cli->diag);
    if (!err && text.text.text && !t) {
        char why[GAL_LM_WHY];
        err = gal_fail(&cli->diag, GAL_EINPUT, "%s: %s; give --ids FILE instead of a text", dir.data,
                       gal_lm_no_tokenizer(why, dir.data));
    }
    if (!err) err = gal_dev_open(&dev, &cli->device, &cli->diag);
    gal_reading reading = { .cli = cli };
    gal_lm_options lo = { .no_mmap = gal_cli_given(cli, "no-mmap"),
                          .exact = gal_cli_given(cli, "exact"),
                          .repack = gal_cli_given(cli, "repack"),
                          .repack_dir = gal_cli_cache_folder(cli),
                          .progress = gal_cli_show_reading,
                          .user = &reading };
    if (!err) err = gal_lm_bring(m, dev, &lo, &cli->diag);
    if (!err) err = measure(cli, dev, m, t, &text);
    gal_tokenizer_free(t);
    gal_model_free(m);
    gal_dev_close(dev);
    gal_buf_free(&dir);
    gal_cli_text_close(&text);
    gal_cli_loras_free(&loras);
    return err;
}

static const gal_option OPTIONS[] = { GAL_CLI_EVAL_OPTIONS, GAL_LAYOUT_OPTION, GAL_LORA_OPTION };

const gal_command gal_cmd_perplexity = {
    .name = "perplexity",
    .summary = "measure how well a model predicts a text",
    .operands = "MODEL [FILE]",
    .min_operands = 1,
    .max_operands = 2,
    .text =
        "Perplexity, bits per byte of text and nats per token, each with its standard error, which takes tokens for "
        "independent and so is a lower bound. FILE is plain text or Zstandard, - for standard input.\n\n"
        "The text is one document. The model sees --context tokens at a time; a window moves on by --stride tokens, "
        "and only those that are new in it count: each token once, with at least context - stride tokens before it, "
        "except at the text's beginning. A small stride is more exact and takes longer. Each window begins with the "
        "vocabulary's beginning of sequence (BOS). Bits per byte can be compared between models of different "
        "vocabularies, perplexity cannot.\n\n"
        "--as llama.cpp counts what the perplexity tool of llama.cpp counts: windows side by side, the first token "
        "of "
        "each replaced by BOS, only the second half of each, the rest at the end dropped; one newline at the end of "
        "the file is dropped too.\n\n"
        "Ctrl-C prints the result of the tokens so far, says so, and leaves with code 130.\n\n"
        "JSON keys: perplexity, bits_per_byte, nats_per_token, each with _error, bytes, tokens, windows, convention, "
        "context, stride, bos, partial, dtype, exact, level; what is not known is null.",
    .examples = "galerne perplexity model text.txt\n"
                "galerne perplexity model.gguf text.txt --context 1024 --stride 256\n"
                "galerne perplexity model.gguf wiki.test.raw --as llama.cpp --json",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
