/* fault.c - see fault.h. Built with GAL_FAULTS only. SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <errno.h>

static gal_fault_hook the_hook;
static void *the_user;

void gal_set_fault_hook(gal_fault_hook hook, void *user) {
    the_hook = hook;
    the_user = user;
}

bool gal_fault_move(gal_fault_kind kind, size_t *n) {
    int why = the_hook ? the_hook(the_user, kind) : 0;
    if (why == GAL_FAULT_SHORT && *n > 1) *n /= 2;
    if (why <= 0) return false;
    errno = why;
    return true;
}

bool gal_fault(gal_fault_kind kind) {
    size_t whole = 0;
    return gal_fault_move(kind, &whole);
}
