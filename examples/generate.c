/* generate.c - the shortest useful program: continues a prompt, or ids, and prints the text as it comes.
 *
 *     cc generate.c $(pkg-config --cflags --libs galerne) -o generate
 *     ./generate FOLDER "Once upon a time"
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <galerne/infer.h>

#include <stdio.h>
#include <string.h>

static int show(void *user, int32_t id, const char *text, size_t bytes) {
    (void)user;
    (void)id;
    (void)fwrite(text, 1, bytes, stdout);
    return fflush(stdout); /* anything but 0 stops: nobody reads any more */
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: generate FOLDER PROMPT\n");
        return 2;
    }
    gal_diag diag = { GAL_OK, "" };
    gal_lm *lm = NULL;
    gal_err err = gal_lm_open(&lm, argv[1], NULL, &diag);
    if (!err) {
        gal_generate_options options;
        gal_generate_options_init(&options, lm); /* what the model's makers advise */
        options.sampling.seed = 1;
        options.max_tokens = 100;
        gal_generate_result result;
        err = gal_lm_generate(lm, argv[2], strlen(argv[2]), &options, show, NULL, &result, &diag);
        if (!err) {
            fprintf(stderr, "\n%lld tokens, %.1f a second\n", (long long)result.tokens,
                    (double)result.tokens / result.generate_s);
        }
    }
    if (err) fprintf(stderr, "%s\n", diag.text);
    gal_lm_close(lm);
    return err ? 1 : 0;
}
