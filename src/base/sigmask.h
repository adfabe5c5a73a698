/* sigmask.h - threads that meet no signal from outside: those belong to the thread that starts them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_BASE_SIGMASK_H
#define GAL_BASE_SIGMASK_H

#include <signal.h>

/* A thread that is started between the two calls has every signal blocked that comes from outside. What an
 * instruction raises is its own thread's, and blocked it would end the process past any handler. */
void gal_sigmask_hold(sigset_t *before);
void gal_sigmask_back(const sigset_t *before);

#endif
