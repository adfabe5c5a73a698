/* host.c - see host.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/host.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { LONGEST = 255 }; /* of a name, as the name system has it */

/* ":80" or nothing. */
static bool is_port(const char *s) {
    if (!*s) return true;
    return *s == ':' && s[1] && strlen(s + 1) <= 5 && s[1 + strspn(s + 1, "0123456789")] == 0;
}

static bool is_address(int family, const char *s) {
    struct in6_addr room;
    return inet_pton(family, s, &room) == 1;
}

bool gal__http_host_fits(const char *header, const char *listens) {
    char name[LONGEST + 1];
    if (!header) return false;
    bool bracket = header[0] == '[';
    size_t n = strcspn(header + bracket, bracket ? "]" : ":");
    const char *rest = header + bracket + n;
    if (!n || n > LONGEST || (bracket && *rest != ']') || !is_port(rest + bracket)) return false;
    memcpy(name, header + bracket, n);
    name[n] = 0;
    if (bracket) return is_address(AF_INET6, name);
    if (is_address(AF_INET, name) || strcasecmp(name, "localhost") == 0) return true;
    static const char BELOW[] = ".localhost";
    if (n >= sizeof BELOW && strcasecmp(name + n - (sizeof BELOW - 1), BELOW) == 0) return true;
    return listens && strcasecmp(name, listens) == 0;
}
