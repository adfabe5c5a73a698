/* cmd_tokenize.c - `galerne tokenize`: encodes, decodes, counts, and trains a vocabulary.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/tokenize.h"
#include "data/reader.h"
#include "text/bpe_train.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned encode_flags(const gal_cli *cli) {
    return (gal_cli_given(cli, "bos") ? (unsigned)GAL_ENCODE_BOS : 0u) |
           (gal_cli_given(cli, "eos") ? (unsigned)GAL_ENCODE_EOS : 0u);
}

static void print_ids(const gal_cli *cli, const gal_ids *ids) {
    if (cli->json) fputs("{\"ids\": [", stdout);
    for (size_t i = 0; i < ids->len; i++) printf("%s%d", i ? (cli->json ? ", " : " ") : "", ids->data[i]);
    if (cli->json) printf("], \"count\": %zu}", ids->len);
    putchar('\n');
}

/* ---- lines of JSON
 * ------------------------------------------------------------------------------------------------- */

void gal_cli_print_line_error(const char *text) {
    gal_buf b = { 0 };
    gal_buf_puts(&b, "{\"error\": ");
    gal_buf_json(&b, text, strlen(text));
    printf("%s}\n", b.oom ? "{\"error\": \"no memory\"" : b.data);
    gal_buf_free(&b);
}

void gal_cli_print_line_ids(const gal_ids *ids) {
    fputs("{\"ids\": [", stdout);
    for (size_t i = 0; i < ids->len; i++) printf("%s%d", i ? ", " : "", ids->data[i]);
    fputs("]}\n", stdout);
}

/* Text may hold U+0000: strings of known length. */
static json_t *parse_line(const char *line, size_t n, char *why, size_t why_room) {
    json_error_t e;
    json_t *root = json_loadb(line, n, JSON_ALLOW_NUL, &e);
    if (!root) {
        (void)snprintf(why, why_room, "not JSON: %.160s (byte %d)", e.text, e.position);
    } else if (!json_is_object(root)) {
        (void)snprintf(why, why_room, "expected an object, {\"text\": ...} or {\"ids\": [...]}");
        json_decref(root);
        root = NULL;
    }
    return root;
}

static void encode_line(const gal_cli *cli, const gal_tokenizer *t, gal_token_scratch *scratch, const json_t *root,
                        gal_ids *ids) {
    const json_t *text = json_object_get(root, "text");
    gal_diag why = { 0 };
    ids->len = 0;
    if (!json_is_string(text)) {
        gal_cli_print_line_error("expected \"text\" with a string");
    } else if (gal_encode(t, scratch, json_string_value(text), json_string_length(text), encode_flags(cli), ids,
                          &why)) {
        gal_cli_print_line_error(why.text);
    } else {
        gal_cli_print_line_ids(ids);
    }
}

static void decode_line(const gal_tokenizer *t, const json_t *root, gal_ids *ids, gal_buf *text) {
    const json_t *list = json_object_get(root, "ids");
    gal_diag why = { 0 };
    gal_err err = json_is_array(list) ? GAL_OK : gal_fail(&why, GAL_EINPUT, "expected \"ids\" with an array");
    ids->len = 0;
    gal_buf_clear(text);
    for (size_t i = 0; !err && i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t x = json_is_integer(id) ? json_integer_value(id) : -1;
        if (x < 0 || x > INT32_MAX) {
            err = gal_fail(&why, GAL_EINPUT, "ids[%zu] is no token id", i);
        } else {
            err = gal_ids_add(ids, (int32_t)x, &why);
        }
    }
    if (!err) err = gal_decode(t, ids->data, ids->len, text, &why);
    if (err || text->oom) {
        gal_cli_print_line_error(err ? why.text : "no memory");
        return;
    }
    gal_buf out = { 0 };
    gal_buf_puts(&out, "{\"text\": ");
    gal_buf_json(&out, text->len ? text->data : "", text->len);
    gal_buf_puts(&out, "}\n");
    if (out.oom) {
        gal_cli_print_line_error("no memory");
    } else {
        (void)fwrite(out.data, 1, out.len, stdout);
    }
    gal_buf_free(&out);
}

/* One line out for each line in, in order; what is wrong with a line is said in its place. */
static gal_err lines(gal_cli *cli, const gal_tokenizer *t, bool decode) {
    gal_token_scratch *scratch = NULL;
    gal_ids ids = { 0 };
    gal_buf text = { 0 };
    char *line = NULL;
    size_t room = 0;
    gal_err err = gal_token_scratch_new(&scratch, t, &cli->diag);
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a program may wait for each answer */
    errno = 0;
    for (ssize_t n; !err && !ferror(stdout) && (n = getline(&line, &room, stdin)) >= 0;) {
        char why[256];
        json_t *root = parse_line(line, (size_t)n, why, sizeof why);
        if (!root) {
            gal_cli_print_line_error(why);
        } else if (decode) {
            decode_line(t, root, &ids, &text);
        } else {
            encode_line(cli, t, scratch, root, &ids);
        }
        json_decref(root);
    }
    if (!err && ferror(stdin)) err = gal_fail(&cli->diag, GAL_EINPUT, "standard input: %s", strerror(errno));
    free(line); /* getline() took it from malloc() */
    gal_buf_free(&text);
    gal_ids_free(&ids);
    gal_token_scratch_free(scratch);
    return err;
}

/* ---- one text
 * ------------------------------------------------------------------------------------------------------ */

/* The operands after the first, joined by spaces, or standard input as it is. */
static gal_err read_text(gal_cli *cli, gal_buf *b) {
    if (cli->n_operands < 2) return gal_cli_read_stdin(b, &cli->diag);
    for (int i = 1; i < cli->n_operands; i++) {
        if (i > 1) gal_buf_putc(b, ' ');
        gal_buf_puts(b, cli->operands[i]);
    }
    return b->oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the text") : GAL_OK;
}

static gal_err encode(gal_cli *cli, const gal_tokenizer *t) {
    gal_buf text = { 0 };
    gal_ids ids = { 0 };
    gal_err err = read_text(cli, &text);
    if (!err) err = gal_encode(t, NULL, text.len ? text.data : "", text.len, encode_flags(cli), &ids, &cli->diag);
    if (!err && gal_cli_given(cli, "count")) {
        printf(cli->json ? "{\"count\": %zu}\n" : "%zu\n", ids.len);
    } else if (!err) {
        print_ids(cli, &ids);
    }
    gal_ids_free(&ids);
    gal_buf_free(&text);
    return err;
}

static gal_err decode(gal_cli *cli, const gal_tokenizer *t) {
    gal_buf given = { 0 }, text = { 0 }, json = { 0 };
    gal_ids ids = { 0 };
    gal_err err = read_text(cli, &given);
    if (!err) {
        err = gal_cli_ids(&ids, given.len ? given.data : "", given.len, cli->n_operands < 2 ? GAL_EINPUT : GAL_EUSAGE,
                          "tokenize: --decode", &cli->diag);
    }
    if (!err) err = gal_decode(t, ids.data, ids.len, &text, &cli->diag);
    if (!err && cli->json) {
        gal_buf_puts(&json, "{\"text\": ");
        gal_buf_json(&json, text.len ? text.data : "", text.len);
        gal_buf_puts(&json, "}");
    }
    const gal_buf *out = cli->json ? &json : &text;
    if (!err && (text.oom || json.oom)) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the text");
    if (!err) {
        if (out->len) (void)fwrite(out->data, 1, out->len, stdout);
        putchar('\n');
    }
    gal_ids_free(&ids);
    gal_buf_free(&json);
    gal_buf_free(&text);
    gal_buf_free(&given);
    return err;
}

static gal_err chat(gal_cli *cli, const gal_tokenizer *t) {
    gal_buf body = { 0 };
    const bool jsonl = gal_cli_given(cli, "jsonl");
    gal_err err = jsonl ? GAL_OK : read_text(cli, &body);
    if (!err) err = gal_cli_tokenize_chat(cli, t, jsonl ? NULL : &body);
    gal_buf_free(&body);
    return err;
}

/* ---- training
 * ------------------------------------------------------------------------------------------------------ */

static bool show_progress(void *user, double fraction) {
    const gal_cli *cli = user;
    if (!cli->quiet && isatty(STDERR_FILENO)) fprintf(stderr, "\rlearning merges: %3.0f %%", 100.0 * fraction);
    return gal_cli_interrupted() == 0;
}

/* A document comes in pieces that end anywhere; words are counted in whole lines. */
static gal_err add_documents(gal_cli *cli, gal_bpe_trainer *trainer, gal_reader *r) {
    gal_buf held = { 0 };
    gal_piece p;
    bool more = true, begins = true;
    gal_err err = GAL_OK;
    while (!err) {
        err = gal_reader_next(r, &p, &more, &cli->diag);
        if (err || !more) break;
        size_t n = p.bytes;
        while (!p.ends && n && p.text[n - 1] != '\n') n--;
        if (n == 0 && !p.ends) {
            gal_buf_add(&held, p.text, p.bytes);
            continue;
        }
        gal_buf_add(&held, p.text, n);
        if (held.oom) err = gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a line of more than %zu bytes", held.len);
        if (!err)
            err = begins ? gal_bpe_trainer_add(trainer, held.data, held.len, &cli->diag)
                         : gal_bpe_trainer_add_more(trainer, held.data, held.len, &cli->diag);
        begins = p.ends;
        gal_buf_clear(&held);
        gal_buf_add(&held, p.text + n, p.bytes - n);
    }
    gal_buf_free(&held);
    return err;
}

static gal_err add_files(gal_cli *cli, gal_bpe_trainer *trainer) {
    const gal_reader_options o = { .separator = gal_cli_string(cli, "separator"),
                                   .field = gal_cli_string(cli, "field") };
    gal_reader *r = NULL;
    gal_err err = gal_reader_open(&r, cli->operands, (size_t)cli->n_operands, &o, &cli->diag);
    if (!err) err = add_documents(cli, trainer, r);
    gal_reader_close(r);
    return err;
}

static gal_err train(gal_cli *cli) {
    const char *out = gal_cli_string(cli, "output");
    if (!out) return gal_cli_usage(cli, "--train needs -o FILE");
    gal_err err = GAL_OK;
    for (int i = 0; !err && i < cli->n_operands; i++)
        err = strcmp(cli->operands[i], "-") == 0
                  ? gal_cli_usage(cli, "--train may have to read the text twice: expected files, found -")
                  : gal_cli_output_file(cli, "-o", out, GAL_LAYOUT_ANY, &(gal_input){ "text", cli->operands[i] }, 1);
    if (err) return err;
    gal_bpe_options o;
    gal_bpe_options_init(&o);
    o.vocab_size = (int32_t)gal_cli_int(cli, "vocab-size");
    o.character_coverage = gal_cli_float(cli, "character-coverage");
    o.memory_bytes = (uint64_t)gal_cli_int(cli, "memory") << 20;
    o.sample_seed = (uint64_t)gal_cli_int(cli, "seed");
    while (strcmp(GAL_NORMALIZERS[o.normalizer], gal_cli_string(cli, "normalizer")) != 0) o.normalizer++;
    o.progress = show_progress;
    o.user = cli;
    gal_bpe_trainer *trainer = NULL;
    gal_buf model = { 0 };
    gal_cli_catch_interrupts();
    err = gal_bpe_trainer_new(&trainer, &o, &cli->diag);
    while (!err) {
        err = add_files(cli, trainer);
        if (!err) err = gal_bpe_trainer_run(trainer, &model, &cli->diag);
        if (err || !gal_bpe_trainer_again(trainer)) break;
    }
    gal_bpe_lines lines = { 0 };
    if (!err) lines = gal_bpe_trainer_lines(trainer);
    if (lines.counted < lines.all && !cli->quiet)
        fprintf(stderr, "%llu of %llu lines counted, drawn by --seed, to stay within --memory\n",
                (unsigned long long)lines.counted, (unsigned long long)lines.all);
    if (!cli->quiet && isatty(STDERR_FILENO)) fputs("\r                        \r", stderr);
    if (!err) err = gal_write_file(out, model.data, model.len, &cli->diag);
    if (!err && cli->json)
        printf("{\"pieces\": %d, \"bytes\": %zu, \"lines\": %llu, \"lines_counted\": %llu}\n", o.vocab_size,
               model.len, (unsigned long long)lines.all, (unsigned long long)lines.counted);
    gal_buf_free(&model);
    gal_bpe_trainer_free(trainer);
    return err;
}

static gal_err run(gal_cli *cli) {
    bool dec = gal_cli_given(cli, "decode"), jsonl = gal_cli_given(cli, "jsonl"), count = gal_cli_given(cli, "count");
    bool tr = gal_cli_given(cli, "train");
    if (dec + count + tr + gal_cli_given(cli, "encode") > 1) {
        return gal_cli_usage(cli, "--encode, --decode, --count and --train exclude each other");
    }
    const bool talk = gal_cli_given(cli, "chat");
    if (talk && (dec || tr || gal_cli_given(cli, "bos") || gal_cli_given(cli, "eos")))
        return gal_cli_usage(cli, "--chat encodes by a template, which says where tokens begin and end a text; no "
                                  "--decode, --train, --bos and --eos beside it");
    if (!talk && (gal_cli_given(cli, "template") || gal_cli_given(cli, "show")))
        return gal_cli_usage(cli, "--template and --show are for --chat");
    if (tr) return train(cli);
    if (jsonl && (cli->n_operands > 1 || count)) {
        return gal_cli_usage(cli,
                             "--jsonl reads standard input, to encode or decode; no text and no --count beside it");
    }
    gal_tokenizer *t = NULL;
    gal_err err = gal_cli_open_tokenizer(&t, cli->operands[0], gal_cli_layout(cli), &cli->diag);
    if (!err) err = talk ? chat(cli, t) : jsonl ? lines(cli, t, dec) : dec ? decode(cli, t) : encode(cli, t);
    gal_tokenizer_free(t);
    return err;
}

static const gal_option OPTIONS[] = {
    { .name = "encode", .help = "text to ids; the usual case" },
    { .name = "decode", .help = "ids to text" },
    { .name = "count", .help = "print how many tokens the text has" },
    { .name = "bos", .help = "put the beginning-of-sequence token in front" },
    { .name = "eos", .help = "put the end-of-sequence token at the end" },
    { .name = "jsonl",
      .help = "read lines {\"text\": ...} from standard input ({\"ids\": [...]} with --decode) and print a line for "
              "each, "
              "in order: {\"ids\": [...]} ({\"text\": ...}) or {\"error\": ...}" },
    { .name = "chat",
      .help =
          "conversations to ids: an OpenAI-style body (messages, tools, reasoning_effort) instead of a text, one a "
          "line with --jsonl" },
    { .name = "template",
      .kind = GAL_V_STRING,
      .value = "V7",
      .help = "which template --chat follows: one of Mistral's (V1, V2, V3, V7, V11, V13 or V15), jinja (the model's "
              "own), or "
              "a file that ends in .jinja; without it, what a Tekken file says, or the end of a SentencePiece file's "
              "name "
              "(none: V1), else the model's own" },
    { .name = "show",
      .help = "with --chat: print the tokens themselves, a line for each run of one kind, in colours" },
    { .name = "train", .help = "learn a byte-fallback BPE vocabulary from the files that are the operands" },
    { .name = "vocab-size",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 259,
      .max = 16777216,
      .fallback = "32000",
      .help = "pieces of the vocabulary to learn, 3 control pieces and 256 bytes included" },
    { .name = "character-coverage",
      .kind = GAL_V_FLOAT,
      .value = "X",
      .min = 0.001,
      .max = 1,
      .fallback = "0.9995",
      .help = "share of the text's characters that get a piece of their own; rarer ones are spelled in bytes" },
    { .name = "normalizer",
      .kind = GAL_V_CHOICE,
      .value = "NAME",
      .choices = GAL_NORMALIZERS,
      .fallback = "identity",
      .help = "with --train: how text is changed before it is counted, and from then on before it is encoded: not, "
              "to NFKC "
              "(ligatures, full width letters and combining marks as their plain characters), or to NFKC with "
              "controls gone "
              "and line ends as spaces; as SentencePiece calls them" },
    { .name = "memory",
      .kind = GAL_V_INT,
      .value = "MIB",
      .min = 1,
      .max = 1 << 30,
      .fallback = "4096",
      .help = "most memory for --train; of a text with too many different words a part of the "
              "lines is counted, and how many is said" },
    { .name = "seed",
      .kind = GAL_V_INT,
      .value = "N",
      .min = 0,
      .max = 9e15,
      .fallback = "0",
      .help = "which lines --train draws when memory does not hold all" },
    { .name = "field",
      .kind = GAL_V_STRING,
      .value = "NAME",
      .fallback = "text",
      .help = "of lines of JSON that --train reads: the field that is the text" },
    { .name = "separator",
      .kind = GAL_V_STRING,
      .value = "TEXT",
      .fallback = "",
      .help = "lines that begin so part documents, and --train does not count them" },
    { .name = "output",
      .letter = 'o',
      .kind = GAL_V_FILE,
      .value = "FILE",
      .help = "where --train writes the vocabulary" },
    GAL_LAYOUT_OPTION,
};

const gal_command gal_cmd_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids and back, and training of vocabularies",
    .operands = "MODEL_OR_FILE [TEXT...]",
    .min_operands = 1,
    .max_operands = -1,
    .text = "MODEL_OR_FILE is a SentencePiece, a Tekken or a GGUF file, told by its content, or a folder with one. "
            "Without TEXT "
            "(or ids, "
            "with --decode) standard input is read as it is, newlines included.\n\n"
            "With --train the operands are files of text or of lines of JSON, as they are or compressed, and -o says "
            "where the vocabulary goes.",
    .examples = "galerne tokenize model \"Once upon a time\"\n"
                "galerne tokenize tokenizer.model --decode 1 315 837\n"
                "galerne tokenize model --encode --jsonl < texts.jsonl > ids.jsonl\n"
                "galerne tokenize tekken.json --chat --jsonl < bodies.jsonl > ids.jsonl\n"
                "galerne tokenize --train book.txt --vocab-size 4096 -o tokenizer.model",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
