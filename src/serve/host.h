/* host.h - whom a request may have been meant for. A page from elsewhere can make its own name point to this machine
 * (DNS rebinding) and would then read what is served here as its own; it cannot change the name that the browser
 * sends along. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_SERVE_HOST_H
#define GAL_SERVE_HOST_H

#include <stdbool.h>

/* header: a Host header, NULL if there was none. Right is what no foreign name server can hand out: a numeric
 * address, localhost and names below it, and the name that the server was told to listen to; each with any port. */
bool gal__http_host_fits(const char *header, const char *listens);

#endif
