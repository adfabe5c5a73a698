/* cmd_data.c - `galerne data`: text to token shards, and what is in one. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/targets.h"
#include "data/shards.h"
#include "data/tokenise.h"
#include "formats/gguf.h"

#include <string.h>
#include <unistd.h>

#define TERMINAL_EVERY_S 0.1
#define PLAIN_EVERY_S 5.0

/* ---- tokenize ----------------------------------------------------------------------------------------------------
 */

typedef struct watch {
    const gal_cli *cli;
    bool terminal, line_open;
    double began_s, shown_s;
} watch;

static void show(watch *w, const gal_tokenise_state *s, double now) {
    const double seconds = GAL_MAX(now - w->began_s, 1e-9), tokens = (double)GAL_MAX(s->tokens, (uint64_t)1);
    if (w->terminal) fputc('\r', stderr);
    if (s->read.total_bytes)
        fprintf(stderr, "%3.0f %%  ", 100.0 * (double)s->read.file_bytes / (double)s->read.total_bytes);
    fprintf(stderr, "%.1f MB of text, %.1f MB/s  %llu documents, %llu tokens, %.0f tokens/s, %.3f bytes/token",
            (double)s->text_bytes / 1e6, (double)s->text_bytes / seconds / 1e6, (unsigned long long)s->documents,
            (unsigned long long)s->tokens, (double)s->tokens / seconds, (double)s->text_bytes / tokens);
    if (s->read.bad_lines) fprintf(stderr, ", %llu lines skipped", (unsigned long long)s->read.bad_lines);
    fputs(w->terminal ? "  \x1b[K" : "\n", stderr);
    w->line_open = w->terminal;
    fflush(stderr);
}

static bool on_progress(void *user, const gal_tokenise_state *s) {
    watch *w = user;
    const double now = gal_now_s();
    if (s && !w->cli->quiet && now - w->shown_s >= (w->terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S)) {
        w->shown_s = now;
        show(w, s, now);
    }
    return gal_cli_interrupted() > 0;
}

static gal_err report(const watch *w, const char *out, const gal_tokenise_state *s) {
    const double seconds = GAL_MAX(gal_now_s() - w->began_s, 1e-9);
    if (s->read.bad_lines && !w->cli->quiet)
        fprintf(stderr, "%llu of %llu lines were skipped, first: %s\n", (unsigned long long)s->read.bad_lines,
                (unsigned long long)s->read.lines, s->read.first_bad.text);
    if (s->read.invalid)
        fprintf(stderr,
                "warning: %llu of %llu documents hold what is no UTF-8 and reads as U+FFFD, the first at %s; "
                "--invalid refuse ends there\n",
                (unsigned long long)s->read.invalid, (unsigned long long)s->documents, s->read.first_invalid.text);
    if (!w->cli->json) {
        if (!w->cli->quiet) fprintf(stderr, "%s: %llu shards\n", out, (unsigned long long)s->shards);
        return GAL_OK;
    }
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"output\": ");
    gal_buf_json(&b, out, strlen(out));
    gal_buf_printf(&b,
                   ", \"shards\": %llu, \"documents\": %llu, \"tokens\": %llu, \"text_bytes\": %llu, "
                   "\"skipped_lines\": %llu, \"invalid_documents\": %llu, \"seconds\": %.3f}\n",
                   (unsigned long long)s->shards, (unsigned long long)s->documents, (unsigned long long)s->tokens,
                   (unsigned long long)s->text_bytes, (unsigned long long)s->read.bad_lines,
                   (unsigned long long)s->read.invalid, seconds);
    const bool whole = !b.oom;
    if (whole) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return whole ? GAL_OK : GAL_ENOMEM;
}

/* The output is none of the inputs. */
static gal_err check_output(gal_cli *cli, const char *out, bool folder) {
    gal_err err = GAL_OK;
    for (int i = 1; !err && i < cli->n_operands; i++) {
        const gal_input text = { "text", cli->operands[i] };
        err = folder ? gal_cli_spare_inputs(cli, out, GAL_LAYOUT_ANY, &text, 1)
                     : gal_cli_output_file(cli, "-o", out, GAL_LAYOUT_ANY, &text, 1);
    }
    return err;
}

/* Shards name it as a training does, which keeps the vocabulary of a GGUF file as a file of its own. */
static gal_err open_vocabulary(gal_tokenizer **out, const char *path, gal_diag *diag) {
    gal_err err = gal_cli_open_tokenizer(out, path, GAL_LAYOUT_ANY, diag);
    return err || !gal_is_gguf(path) ? err : gal_tokenizer_hash_as_file(*out, diag);
}

static gal_err tokenize(gal_cli *cli) {
    static const char *const FORMATS[] = { "auto", "plain", "jsonl" };
    const char *out = gal_cli_string(cli, "output"), *vocabulary = gal_cli_string(cli, "tokenizer");
    if (!out) return gal_cli_usage(cli, "tokenize needs -o FILE.shard or -o FOLDER");
    if (!vocabulary) return gal_cli_usage(cli, "tokenize needs --tokenizer PATH");
    if (cli->n_operands < 2) return gal_cli_usage(cli, "tokenize needs files to read; - is standard input");
    const bool folder = !gal_cli_ends_with(out, ".shard");
    if (!folder && gal_cli_given(cli, "shard-tokens"))
        return gal_cli_usage(cli, "--shard-tokens makes several shards: expected a folder with -o, found %s", out);
    gal_err err = check_output(cli, out, folder);
    if (err) return err;
    watch w = { .cli = cli, .terminal = isatty(STDERR_FILENO) != 0, .began_s = gal_now_s(), .shown_s = gal_now_s() };
    gal_tokenise_options o = { .threads = (int)GAL_MAX(cli->device.threads, 0),
                               .folder = folder,
                               .shard_tokens = folder ? (uint64_t)gal_cli_int(cli, "shard-tokens") : 0,
                               .no_bos = gal_cli_given(cli, "no-bos"),
                               .force = gal_cli_given(cli, "force"),
                               .progress = on_progress,
                               .user = &w };
    o.read = (gal_reader_options){ .separator = gal_cli_string(cli, "separator"),
                                   .field = gal_cli_string(cli, "field"),
                                   .skip_bad = gal_cli_given(cli, "skip-bad"),
                                   .refuse_invalid = strcmp(gal_cli_string(cli, "invalid"), "refuse") == 0 };
    for (size_t i = 0; i < GAL_LEN(FORMATS); i++)
        if (strcmp(gal_cli_string(cli, "format"), FORMATS[i]) == 0) o.read.format = (gal_text_format)i;
    gal_tokenizer *t = NULL;
    gal_tokenise_state result = { 0 };
    err = open_vocabulary(&t, vocabulary, &cli->diag);
    gal_cli_catch_interrupts();
    gal_cli_go_on_after_interrupts(true);
    if (!err) err = gal_tokenise(out, cli->operands + 1, (size_t)cli->n_operands - 1, t, &o, &result, &cli->diag);
    if (!err && !cli->quiet) show(&w, &result, gal_now_s());
    if (w.line_open) fputc('\n', stderr);
    if (!err) err = report(&w, out, &result);
    gal_tokenizer_free(t);
    return err;
}

/* ---- inspect -----------------------------------------------------------------------------------------------------
 */

static bool stop_checking(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return gal_cli_interrupted() > 0;
}

static void print_facts(const gal_shard *s, const char *path) {
    char hex[65], a[32], b[32];
    printf("%s\n", path);
    printf("  tokens      %s of %d bytes, ids to %lld of a vocabulary of %lld\n",
           gal_cli_count_text(a, sizeof a, s->n_tokens), s->elem, (long long)s->largest_id, (long long)s->vocab);
    printf("  documents   %s\n", gal_cli_count_text(a, sizeof a, s->n_docs));
    if (s->row)
        printf("  targets     %s, in rows of %lld tokens\n", gal_cli_count_text(a, sizeof a, s->n_targets),
               (long long)s->row);
    printf("  text        %s bytes, %.3f bytes/token\n", gal_cli_count_text(b, sizeof b, s->text_bytes),
           (double)s->text_bytes / (double)GAL_MAX(s->n_tokens, (int64_t)1));
    gal_hex(hex, s->tokenizer, 32);
    printf("  tokenizer   SHA-256 %s\n", hex);
    gal_hex(hex, s->source, 32);
    printf("  source      SHA-256 %s\n", hex);
    gal_hex(hex, s->contents, 32);
    printf("  contents    SHA-256 %s, whole\n", hex);
}

static gal_err print_json(const gal_shard *s, const char *path, gal_diag *diag) {
    char tokenizer[65], source[65], contents[65];
    gal_buf b = { 0 };
    gal_hex(tokenizer, s->tokenizer, 32);
    gal_hex(source, s->source, 32);
    gal_hex(contents, s->contents, 32);
    gal_buf_puts(&b, "{\"shard\": ");
    gal_buf_json(&b, path, strlen(path));
    gal_buf_printf(
        &b,
        ", \"version\": %d, \"tokens\": %lld, \"documents\": %lld, \"token_bytes\": %d, "
        "\"largest_id\": %lld, \"vocabulary\": %lld, \"text_bytes\": %lld, \"row_tokens\": %lld, \"targets\": %lld, "
        "\"tokenizer_sha256\": \"%s\", "
        "\"source_sha256\": \"%s\", \"contents_sha256\": \"%s\"}\n",
        s->version, (long long)s->n_tokens, (long long)s->n_docs, s->elem, (long long)s->largest_id,
        (long long)s->vocab, (long long)s->text_bytes, (long long)s->row, (long long)s->n_targets, tokenizer, source,
        contents);
    const bool whole = !b.oom;
    if (whole) (void)fwrite(b.data, 1, b.len, stdout);
    gal_buf_free(&b);
    return whole ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for the report");
}

/* The same of a shard of conversations, with what is learned of it; ids that are learned have a * behind them. */
static gal_err print_conversation(gal_cli *cli, const gal_shard *s, const gal_tokenizer *t, int64_t n) {
    const int64_t first = gal_shard_doc(s, n), count = gal_shard_doc(s, n + 1) - first;
    int32_t *ids = gal_alloc_array((size_t)count, sizeof *ids);
    uint8_t *learned = gal_alloc((size_t)count);
    gal_err err = ids && learned ? GAL_OK : gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a document");
    for (int64_t i = 0; !err && i < count; i++) {
        ids[i] = gal_shard_token(s, first + i);
        learned[i] = gal_shard_learned(s, first + i);
        if (!t) printf("%s%d%s", i ? " " : "", ids[i], learned[i] ? "*" : "");
    }
    if (!err && t) err = gal_cli_print_targets(t, ids, learned, (size_t)count, &cli->diag);
    if (!err && !t) putchar('\n');
    gal_free(ids);
    gal_free(learned);
    return err;
}

/* Document n as text, or as ids where no vocabulary is given. */
static gal_err print_document(gal_cli *cli, const gal_shard *s, const char *path, const gal_tokenizer *t, int64_t n) {
    if (n >= s->n_docs)
        return gal_fail(&cli->diag, GAL_EINPUT, "%s: --document %lld: the shard has %lld, counted from 0", path,
                        (long long)n, (long long)s->n_docs);
    gal_ids ids = { 0 };
    gal_buf text = { 0 };
    gal_err err = GAL_OK;
    if (s->marks) return print_conversation(cli, s, t, n);
    for (int64_t i = gal_shard_doc(s, n); !err && i < gal_shard_doc(s, n + 1); i++)
        err = gal_ids_add(&ids, gal_shard_token(s, i), &cli->diag);
    if (!err && t) err = gal_decode(t, ids.data, ids.len, &text, &cli->diag);
    if (!err && text.oom) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the text of %zu tokens", ids.len);
    if (!err && t) {
        if (text.len) (void)fwrite(text.data, 1, text.len, stdout);
    } else if (!err) {
        for (size_t i = 0; i < ids.len; i++) printf("%s%d", i ? " " : "", ids.data[i]);
        putchar('\n');
    }
    gal_buf_free(&text);
    gal_ids_free(&ids);
    return err;
}

static gal_err inspect_one(gal_cli *cli, const char *path, const gal_tokenizer *t) {
    uint8_t tokenizer[32];
    gal_shard s;
    if (t) gal_tokenizer_sha256(t, tokenizer);
    gal_err err = gal_shard_open(&s, path, t ? tokenizer : NULL, &cli->diag);
    if (err) return err;
    err = gal_shard_check_all(&s, stop_checking, NULL, &cli->diag);
    if (!err && t) err = gal_shard_bounded_by(&s, path, t, &cli->diag);
    if (!err && gal_cli_given(cli, "document"))
        err = print_document(cli, &s, path, t, gal_cli_int(cli, "document"));
    else if (!err && cli->json)
        err = print_json(&s, path, &cli->diag);
    else if (!err)
        print_facts(&s, path);
    gal_shard_close(&s);
    return err;
}

static gal_err inspect(gal_cli *cli) {
    const char *vocabulary = gal_cli_string(cli, "tokenizer");
    if (cli->n_operands < 2) return gal_cli_usage(cli, "inspect needs shards, or folders of them");
    if (gal_cli_given(cli, "document") && cli->n_operands > 2)
        return gal_cli_usage(cli, "--document N is of one shard, found %d operands", cli->n_operands - 1);
    gal_tokenizer *t = NULL;
    char **paths = NULL;
    size_t n = 0;
    gal_err err = vocabulary ? open_vocabulary(&t, vocabulary, &cli->diag) : GAL_OK;
    if (!err)
        err = gal_shards_find((char *const *)(uintptr_t)(cli->operands + 1), (size_t)cli->n_operands - 1, &paths, &n,
                              &cli->diag);
    gal_cli_catch_interrupts();
    for (size_t i = 0; !err && i < n; i++) err = inspect_one(cli, paths[i], t);
    gal_free_names(paths, n);
    gal_tokenizer_free(t);
    return err;
}

/* ---- the command -------------------------------------------------------------------------------------------------
 */

/* Options that mean nothing to the other one. */
static gal_err check_options(gal_cli *cli, const char *what) {
    static const char *const OF_TOKENIZE[] = { "output",  "field",        "separator", "format", "skip-bad",
                                               "invalid", "shard-tokens", "no-bos",    "force" };
    const bool reading = strcmp(what, "inspect") == 0;
    for (size_t i = 0; reading && i < GAL_LEN(OF_TOKENIZE); i++)
        if (gal_cli_given(cli, OF_TOKENIZE[i]))
            return gal_cli_usage(cli, "--%s is for data tokenize", OF_TOKENIZE[i]);
    if (!reading && gal_cli_given(cli, "document")) return gal_cli_usage(cli, "--document is for data inspect");
    return GAL_OK;
}

static gal_err run(gal_cli *cli) {
    const char *what = cli->operands[0];
    const bool reading = strcmp(what, "inspect") == 0;
    if (!reading && strcmp(what, "tokenize") != 0)
        return gal_cli_usage(cli, "expected tokenize or inspect, found %.80s", what);
    gal_err err = check_options(cli, what);
    if (err) return err;
    return reading ? inspect(cli) : tokenize(cli);
}

static const char *const FORMAT_NAMES[] = { "auto", "plain", "jsonl", NULL };
static const char *const INVALID[] = { "keep", "refuse", NULL };

static const gal_option OPTIONS[] = {
    { .name = "tokenizer",
      .kind = GAL_V_FILE,
      .value = "PATH",
      .help = "the vocabulary: a file, or a folder, GGUF file or run with one" },
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_FILE,
      .value = "PATH",
      .help = "where tokenize writes: one file, if the name ends in .shard, else a folder to make" },
    { .name = "field",
      .kind = GAL_V_STRING,
      .value = "NAME",
      .fallback = "text",
      .help = "of lines of JSON: the field that is the text" },
    { .name = "separator",
      .kind = GAL_V_STRING,
      .value = "TEXT",
      .fallback = "",
      .help = "of plain text: a line that begins so starts a document and is dropped; without it a file is one" },
    { .name = "format",
      .kind = GAL_V_CHOICE,
      .value = "FORMAT",
      .choices = FORMAT_NAMES,
      .fallback = "auto",
      .help = "what the files hold; auto: lines of JSON where a file begins with an object, or is called so" },
    { .name = "skip-bad", .help = "count damaged lines of JSON instead of ending at the first" },
    { .name = "invalid",
      .kind = GAL_V_CHOICE,
      .value = "HOW",
      .choices = INVALID,
      .fallback = "keep",
      .help =
          "text with what is no UTF-8 (of JSON half a surrogate pair): keep reads it as U+FFFD and tells how many "
          "documents have it, refuse ends at the first" },
    { .name = "shard-tokens",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 1,
      .max = 1e15,
      .fallback = "500000000",
      .help = "of a folder: a shard ends with the document that brings it to so many tokens" },
    { .name = "no-bos",
      .help = "documents do not begin with the beginning-of-sequence token: as Gopher's, they are parted by the "
              "end-of-sequence token alone" },
    { .name = "force", .help = "replace a shard, or a folder of shards, that is there" },
    { .name = "document",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 9e15,
      .help = "inspect prints document N, counted from 0: its text with --tokenizer, its ids without" },
};

const gal_command gal_cmd_data = {
    .name = "data",
    .summary = "make token shards from text, and look into them",
    .operands = "tokenize FILE... | inspect SHARD...",
    .min_operands = 1,
    .max_operands = -1,
    .text =
        "tokenize: reads plain text and lines of JSON, as they are or compressed (Zstandard, gzip; told by content), "
        "\"-\" is standard input, and writes their tokens with --threads in parallel; the bytes do not depend on how "
        "many. What it makes is there whole or not at all.\n\n"
        "inspect: prints what a shard says of itself, once all its checksums are right; of a folder every shard.\n\n"
        "A training reads shards with data.train or data.mixture.",
    .examples = "galerne data tokenize web.jsonl.gz --tokenizer tokenizer.model -o web\n"
                "galerne data tokenize novels.txt.zst --separator '#@ ' --tokenizer tekken.json -o novels.shard\n"
                "galerne data inspect web\n"
                "galerne data inspect novels.shard --tokenizer tekken.json --document 3",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
