/* eval.c - see eval.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/eval.h"

#include "base/util.h"
#include "cli/io.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

const char *const GAL_CLI_CONVENTIONS[] = { "strided", "llama.cpp", NULL };
const char *const GAL_CLI_EVAL_DTYPES[] = { "f32", "bf16", NULL };

#define TERMINAL_EVERY_S 0.1
#define PLAIN_EVERY_S 5.0
enum { BAR = 20, IDS_LIMIT = 1 << 30 };

static gal_err open_ids(gal_cli_text *t, gal_cli *cli) {
    bool in = strcmp(t->name, "-") == 0;
    gal_err err = in ? gal_cli_read_stdin(&t->in, &cli->diag) : gal_read_file(&t->in, t->name, IDS_LIMIT, &cli->diag);
    if (in) t->name = "standard input";
    if (!err) err = gal_cli_ids(&t->ids, t->in.len ? t->in.data : "", t->in.len, GAL_EINPUT, t->name, &cli->diag);
    gal_buf_free(&t->in);
    t->text = (gal_eval_text){ .ids = t->ids.data, .n_ids = t->ids.len };
    return err;
}

/* A plain file is mapped, so that one larger than memory can be read; a compressed one is held. */
static gal_err open_file(gal_cli_text *t, gal_cli *cli) {
    static const uint8_t ZSTD_FRAME[4] = { 0x28, 0xb5, 0x2f, 0xfd };
    gal_err err = gal_map_open(&t->map, t->name, &cli->diag);
    if (err) return err;
    t->text = (gal_eval_text){ .text = (const char *)t->map.data, .bytes = t->map.bytes };
    if (t->map.bytes < sizeof ZSTD_FRAME || memcmp(t->map.data, ZSTD_FRAME, sizeof ZSTD_FRAME) != 0) return GAL_OK;
    char *path = (char *)(uintptr_t)t->name; /* only read */
    err = gal_corpus_read(&t->corpus, &path, 1, &(gal_reader_options){ .format = GAL_TEXT_PLAIN }, &cli->diag);
    t->text = (gal_eval_text){ .text = t->corpus.text.data, .bytes = t->corpus.text.len };
    return err;
}

gal_err gal_cli_text_open(gal_cli_text *t, gal_cli *cli, const char *file) {
    bool ids = gal_cli_given(cli, "ids");
    if (ids && file) return gal_cli_usage(cli, "--ids and the file %s exclude each other", file);
    if (!ids && !file) return gal_cli_usage(cli, "expected a text FILE or --ids FILE");
    t->name = ids ? gal_cli_string(cli, "ids") : file;
    if (ids) return open_ids(t, cli);
    gal_err err;
    if (strcmp(file, "-") == 0) {
        t->name = "standard input";
        err = gal_cli_read_stdin(&t->in, &cli->diag);
        t->text = (gal_eval_text){ .text = t->in.data, .bytes = t->in.len };
    } else {
        err = open_file(t, cli);
    }
    if (!err && t->text.bytes == 0) err = gal_fail(&cli->diag, GAL_EINPUT, "%s: the text is empty", t->name);
    return err;
}

void gal_cli_text_close(gal_cli_text *t) {
    gal_map_close(&t->map);
    gal_corpus_free(&t->corpus);
    gal_buf_free(&t->in);
    gal_ids_free(&t->ids);
}

/* ---- progress ----------------------------------------------------------------------------------------------------
 */

static int show(void *user, double share, int64_t tokens, double mean) {
    gal_cli_watch *w = user;
    double now = gal_now_s();
    if (w->began_s == 0.0) w->began_s = w->shown_s = now;
    bool terminal = isatty(STDERR_FILENO) != 0;
    double every = terminal ? (w->shown ? TERMINAL_EVERY_S : 0.5) : PLAIN_EVERY_S;
    if (!w->cli->quiet && now - w->shown_s > every) {
        char bar[BAR + 1];
        double left = share > 0.0 ? (now - w->began_s) * (1.0 - share) / share : 0.0;
        for (int i = 0; i < BAR; i++) bar[i] = i < (int)(share * BAR) ? '#' : '.';
        bar[BAR] = 0;
        if (terminal) fprintf(stderr, "\r[%s] ", bar);
        fprintf(stderr, "%.0f %%, %" PRId64 " tokens, %.4f %s, %.0f s left", 100.0 * share, tokens, mean, w->what,
                left);
        fputs(terminal ? "  \x1b[K" : "\n", stderr);
        fflush(stderr);
        w->shown_s = now;
        w->shown = true;
    }
    return gal_cli_interrupted() > 0;
}

void gal_cli_eval_options(gal_eval_options *o, gal_cli *cli, gal_cli_watch *w) {
    const bool exact = gal_cli_given(cli, "exact"), bf16 = strcmp(gal_cli_string(cli, "dtype"), "bf16") == 0;
    w->cli = cli;
    *o = (gal_eval_options){
        .convention = strcmp(gal_cli_string(cli, "as"), "llama.cpp") == 0 ? GAL_AS_LLAMA_CPP : GAL_STRIDED,
        .context = gal_cli_int(cli, "context"),
        .stride = gal_cli_int(cli, "stride"),
        .no_bos = gal_cli_given(cli, "no-bos"),
        .max_tokens = gal_cli_int(cli, "max-tokens"),
        .compute = bf16 && !exact ? GAL_BF16 : GAL_F32,
        .exact = exact,
        .progress = show,
        .user = w,
    };
}

void gal_cli_watch_end(gal_cli_watch *w, int64_t tokens) {
    double s = gal_now_s() - w->began_s;
    if (w->shown && isatty(STDERR_FILENO)) fputs("\r\x1b[K", stderr);
    if (w->cli->quiet || w->began_s == 0.0) return;
    fprintf(stderr, "%" PRId64 " tokens in %.2f s (%.1f tokens/s)\n", tokens, s, s > 0.0 ? (double)tokens / s : 0.0);
}

/* ---- numbers -----------------------------------------------------------------------------------------------------
 */

void gal_cli_print_error(double x, double error, int digits) {
    printf("%.*f", digits, x);
    if (isfinite(error)) printf(" \u00b1 %.*f", digits, error);
}

void gal_cli_print_json_number(const char *key, double x) {
    if (isfinite(x)) {
        printf("\"%s\": %.9g", key, x);
    } else {
        printf("\"%s\": null", key);
    }
}

void gal_cli_print_how(const gal_cli_text *t, const gal_walk_options *how, const gal_walk_result *walk,
                       int64_t bytes) {
    char a[40], b[40];
    bool llama = how->windows.convention == GAL_AS_LLAMA_CPP;
    printf("tokens      %s of %s", gal_cli_count_text(a, sizeof a, walk->tokens), t->name);
    if (bytes) printf(" (%s bytes)", gal_cli_count_text(b, sizeof b, bytes));
    puts(llama ? ", the second half of each window" : ", each counted once");
    printf("window      %" PRId64 " tokens, stride %" PRId64 ", ", how->windows.context, how->windows.stride);
    if (how->bos >= 0)
        printf("BOS (id %d) %s\n", (int)how->bos, llama ? "in place of the first" : "before each");
    else
        puts("no BOS");
}

void gal_cli_print_how_json(const gal_walk_options *how, const gal_walk_result *walk) {
    bool llama = how->windows.convention == GAL_AS_LLAMA_CPP;
    printf("\"tokens\": %" PRId64 ", \"windows\": %" PRId64 ", \"convention\": \"%s\", ", walk->tokens, walk->windows,
           llama ? "llama.cpp" : "strided");
    printf("\"context\": %" PRId64 ", \"stride\": %" PRId64 ", ", how->windows.context, how->windows.stride);
    if (how->bos >= 0)
        printf("\"bos\": %d, ", (int)how->bos);
    else
        fputs("\"bos\": null, ", stdout);
    printf("\"partial\": %s, \"dtype\": \"%s\", \"exact\": %s", walk->stopped ? "true" : "false",
           gal_dtype_name(how->compute), how->exact ? "true" : "false");
}

void gal_cli_warn_bytes(const gal_cli_text *t, size_t bad, size_t first) {
    if (bad)
        fprintf(stderr, "warning: %s: %zu bytes are not UTF-8, the first is byte %zu; each was read as U+FFFD\n",
                t->name, bad, first);
}

void gal_cli_blame(gal_cli *cli, gal_err err, gal_model *m) {
    if (err != GAL_EFAIL || !m) return;
    gal_diag first = cli->diag;
    if (gal_model_check_finite(m, &(gal_diag){ 0 }) || m->n_warnings == 0) return;
    cli->diag = (gal_diag){ 0 };
    (void)gal_fail(&cli->diag, err, "%s; %s", first.text, m->warnings[0]);
}
