/* bring.h - bringing a mapped file into memory before it is needed, with someone looking on. Refuses a file that is
 * shorter than its mapping. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_BRING_H
#define GAL_BASE_BRING_H

#include "base/file.h"
#include "base/pool.h"

/* How, and how far. The counts go on over several files. */
typedef struct gal_bring {
    bool read;      /* into memory of this process's own, which replaces the mapping at the same address */
    gal_pool *pool; /* shares the work */
    /* Called now and then from the caller's thread; true stops with GAL_EINTERRUPTED. NULL: nobody looks. */
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    uint64_t done, total; /* bytes */
} gal_bring;

/* Without `read`, a file of which nearly all is in memory already is left alone: entering its pages ahead of their
 * use costs more than the faults do (dev/LOG.md). path: of m's file. On failure m is still a mapping that may be
 * closed, its contents undefined where `read` is set. */
gal_err gal_map_bring(gal_map *m, const char *path, gal_bring *how, gal_diag *diag);

#endif
