/* bench_text.c - speed of training a vocabulary and of encoding line by line, on one thread. Not part of the product.
 *   build/bench_text [TEXT_FILE [VOCAB_SIZE [MODEL_FILE]]]   (without MODEL_FILE the trained vocabulary encodes)
 *   build/bench_text --serve VOCABULARY    opens it, prints seconds; then for each line of standard input, "whole
 * FILE" or "lines FILE", encodes that file: seconds of the processor, ids (bench/text.py)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TURNS = 3, RUN = 10000000 };

static int failed(const gal_diag *diag) {
    fprintf(stderr, "bench_text: %s\n", diag->text);
    return 1;
}

static double encode_lines(const gal_tokenizer *t, gal_token_scratch *s, const gal_map *text, gal_ids *ids,
                           size_t *tokens) {
    double start = gal_now_s();
    *tokens = 0;
    for (size_t i = 0; i < text->bytes;) {
        const uint8_t *p = text->data + i, *end = memchr(p, '\n', text->bytes - i);
        size_t n = end ? (size_t)(end - p) : text->bytes - i;
        ids->len = 0;
        if (gal_encode(t, s, (const char *)p, n, 0, ids, NULL)) return 0.0;
        *tokens += ids->len;
        i += n + 1;
    }
    return gal_now_s() - start;
}

static double processor_s(void) {
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int serve(const char *vocabulary) {
    gal_diag diag = { 0 };
    gal_tokenizer *t = NULL;
    gal_token_scratch *s = NULL;
    gal_ids ids = { 0 };
    char line[4096];
    double start = processor_s();
    gal_err err = gal_tokenizer_open(&t, vocabulary, &diag);
    printf("%.6f\n", processor_s() - start);
    (void)fflush(stdout);
    if (!err) err = gal_token_scratch_new(&s, t, &diag);
    while (!err && fgets(line, sizeof line, stdin)) {
        gal_buf text = { 0 };
        line[strcspn(line, "\n")] = 0;
        err = gal_read_file(&text, line + 6, (size_t)1 << 32, &diag); /* after "whole " or "lines " */
        if (err) break;
        const gal_map map = { .data = (const uint8_t *)text.data, .bytes = text.len };
        size_t tokens = 0;
        ids.len = 0;
        start = processor_s();
        if (line[0] == 'l')
            (void)encode_lines(t, s, &map, &ids, &tokens);
        else
            err = gal_encode(t, s, text.data, text.len, 0, &ids, &diag);
        printf("%.6f %zu\n", processor_s() - start, line[0] == 'l' ? tokens : ids.len);
        (void)fflush(stdout);
        gal_buf_free(&text);
    }
    gal_ids_free(&ids);
    gal_token_scratch_free(s);
    gal_tokenizer_free(t);
    return err ? failed(&diag) : 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) return serve(argv[2]);
    gal_diag diag = { 0 };
    gal_map text = { 0 };
    gal_buf model = { 0 };
    gal_bpe_options o;
    int64_t size = 480;
    gal_bpe_options_init(&o);
    if (argc > 2 && !gal_parse_i64(argv[2], &size)) return 2;
    o.vocab_size = (int32_t)size;
    if (gal_map_open(&text, argc > 1 ? argv[1] : "tests/golden/text/corpus.txt", &diag)) return failed(&diag);
    for (int turn = 0; turn < TURNS; turn++) {
        gal_buf_clear(&model);
        double start = gal_now_s();
        if (gal_bpe_train(&model, (const char *)text.data, text.bytes, &o, &diag)) return failed(&diag);
        printf("train   %7.3f s  %lld pieces, %.1f MB\n", gal_now_s() - start, (long long)size,
               (double)text.bytes / 1e6);
    }
    gal_tokenizer *t = NULL;
    gal_token_scratch *s = NULL;
    gal_ids ids = { 0 };
    gal_err err = argc > 3 ? gal_tokenizer_open(&t, argv[3], &diag)
                           : gal_tokenizer_open_bytes(&t, model.data, model.len, "trained", &diag);
    if (err || gal_token_scratch_new(&s, t, &diag)) return failed(&diag);
    for (int turn = 0; turn < TURNS; turn++) {
        size_t tokens;
        double took = encode_lines(t, s, &text, &ids, &tokens);
        printf("encode  %7.1f MB/s  %zu tokens, %.2f bytes each\n", (double)text.bytes / took / 1e6, tokens,
               (double)text.bytes / (double)tokens);
    }
    char *run = gal_alloc(RUN);
    if (!run) return 4;
    memset(run, 'a', RUN);
    double start = gal_now_s();
    ids.len = 0;
    if (gal_encode(t, s, run, RUN, 0, &ids, &diag)) return failed(&diag);
    printf("one letter %d times: %.2f s\n", RUN, gal_now_s() - start);
    gal_free(run);
    gal_ids_free(&ids);
    gal_token_scratch_free(s);
    gal_tokenizer_free(t);
    gal_buf_free(&model);
    gal_map_close(&text);
    return 0;
}
