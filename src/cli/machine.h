/* machine.h - what this machine can do at best: reading, and dot products in f32, bf16 and int8, as the chosen level
 * would do them. Every other speed can be given as a part of these. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CLI_MACHINE_H
#define GAL_CLI_MACHINE_H

#include "core/dev.h"

typedef struct gal_machine_figure {
    gal_peak_id id;
    const char *from; /* READ: "memory", "L1", "L2" or "L3"; "" for arithmetic */
    size_t bytes;     /* READ: what each pass reads; a thread's own part in the caches */
    int threads;
    const char *how;
    double median, best; /* bytes or operations a second */
} gal_machine_figure;

enum { GAL_MACHINE_REPEATS = 15, GAL_MACHINE_ROOM = 7 };

/* One thread count of a machine: up to GAL_MACHINE_ROOM figures into out, *n of them. Takes about `repeats` times
 * 60 ms where each has a processor. caches: the caches too. GAL_ENOMEM. */
gal_err gal_machine_measure(gal_machine_figure *out, size_t *n, const gal_kernel_table *table, int threads,
                            int repeats, bool caches, gal_diag *diag);

/* Of so many threads those that can run at once, which together do what all of them do. */
int gal_machine_at_once(int threads);

#endif
