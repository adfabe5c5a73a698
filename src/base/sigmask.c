/* sigmask.c - see sigmask.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/sigmask.h"

#include "base/err.h"

void gal_sigmask_hold(sigset_t *before) {
    static const int OWN[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
    sigset_t all;
    (void)sigfillset(&all);
    for (size_t i = 0; i < GAL_LEN(OWN); i++) (void)sigdelset(&all, OWN[i]);
    (void)pthread_sigmask(SIG_SETMASK, &all, before);
}

void gal_sigmask_back(const sigset_t *before) { (void)pthread_sigmask(SIG_SETMASK, before, NULL); }
