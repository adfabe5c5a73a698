/* outside.c - a program that knows galerne only as it is installed.
 *     outside version
 *     outside generate FOLDER N ID...     N ids that follow greedily, separated by spaces
 * SPDX-License-Identifier: Apache-2.0 */
#include <galerne/infer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 256 };

static int show(void *user, int32_t id, const char *text, size_t bytes) {
    int *n = user;
    (void)text, (void)bytes;
    if (id >= 0) printf("%s%d", (*n)++ ? " " : "", (int)id);
    return 0;
}

static int generate(int argc, char **argv) {
    int32_t ids[MOST_IDS];
    size_t count = 0;
    gal_diag diag = { 0 };
    gal_lm *lm = NULL;
    for (int i = 4; i < argc && count < MOST_IDS; i++) ids[count++] = (int32_t)strtol(argv[i], NULL, 10);
    gal_err err = gal_lm_open(&lm, argv[2], NULL, &diag);
    if (!err) {
        gal_generate_options options;
        int shown = 0;
        gal_generate_options_init(&options, lm);
        options.sampling.temperature = 0;
        options.ignore_eos = 1;
        options.max_tokens = strtol(argv[3], NULL, 10);
        err = gal_lm_generate_ids(lm, ids, count, &options, show, &shown, NULL, &diag);
        printf("\n");
    }
    gal_lm_close(lm);
    if (err) fprintf(stderr, "outside: %s: %s\n", gal_err_name(err), diag.text);
    return (int)err;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "version") == 0) return puts(gal_version()) < 0;
    if (argc > 4 && strcmp(argv[1], "generate") == 0) return generate(argc, argv);
    fprintf(stderr, "usage: outside version | outside generate FOLDER N ID...\n");
    return 2;
}
