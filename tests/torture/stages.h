/* stages.h - the parts of the scenario that is run under failures: each from a known state, so that the number of the
 * failing allocation or call counts within one part. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_STAGES_H
#define GAL_TESTS_STAGES_H

#include "base/err.h"

typedef struct stage {
    const char *name;
    int quick; /* runs in the quick suite for each way in which allocations fail, at most; a part for calls */
    /* Without failures: brings the folder (and the stage's objects) to its known state. */
    void (*prepare)(void);
    /* Under failures. */
    gal_err (*run)(gal_diag *diag);
    /* Without failures: what holds after success, or after a failure; frees what is left. again: also that the same
     * objects and the same folder now succeed, which may take a while. */
    void (*after)(gal_err err, bool again);
} stage;

extern const stage STAGES[];
extern const size_t N_STAGES;

/* Makes the folder, the reference files and the models that the stages begin from. */
void stages_open(void);
void stages_close(void);
gal_err stages_vocabularies(gal_diag *diag); /* vocabularies.c */
/* Why the stage that runs may succeed although something failed; NULL: nothing was said of that. */
extern const char *stages_got_over;
/* No temporary anywhere in the folder, and every checkpoint that can be seen is whole. removing_failed: files could
 * not be removed, so temporaries may lie there. */
void stages_check_files(bool removing_failed);

#endif
