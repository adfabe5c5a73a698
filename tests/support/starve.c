/* starve.c - see starve.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/starve.h"

#include "base/util.h"

#include <stdlib.h>
#include <string.h>

void *fail_one(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    counted *c = user;
    if (bytes == 0) {
        c->held -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (++c->calls == c->fail_at) return NULL;
    c->held += ptr == NULL;
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) abort();
    memset(p, 0, bytes);
    if (ptr) memcpy(p, ptr, GAL_MIN(old_bytes, bytes));
    free(ptr);
    return p;
}
