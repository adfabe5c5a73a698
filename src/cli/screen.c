/* screen.c - see screen.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/screen.h"

#include "base/util.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool gal_cli_is_terminal(FILE *out) { return isatty(fileno(out)) == 1; }

bool gal_cli_colours(FILE *out) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return gal_cli_is_terminal(out) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

void gal_cli_gather_output(void) {
    static char room[1 << 16];
    (void)setvbuf(stdout, room, _IOFBF, sizeof room);
}

void gal_cli_write(const char *s, size_t n) {
    gal_cli_go_on_after_interrupts(true); /* a stream forgets what it was writing when a signal met it */
    (void)fwrite(s, 1, n, stdout);
    (void)fflush(stdout);
    gal_cli_go_on_after_interrupts(false);
}

void gal_cli_flush(void) { gal_cli_write("", 0); }

int gal_cli_width(FILE *out) {
    struct winsize w = { 0 };
    return ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

/* Controls, and marks that change the order or the place of what follows. */
static bool obeyed(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x61c || cp == 0x200e || cp == 0x200f || cp == 0x2028 ||
           cp == 0x2029 || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff ||
           (cp >= 0xe0000 && cp <= 0xe007f);
}

void gal_cli_print_safe(FILE *out, gal_safe how, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        const int len = gal_utf8_next(s + i, n - i, &cp);
        if (!len) {
            fprintf(out, "<%02X>", (unsigned)(uint8_t)s[i++]);
            continue;
        }
        if ((cp == '\n' || cp == '\t') && how == GAL_SAFE_LINE)
            fputs(cp == '\n' ? "\\n" : "\\t", out);
        else if (obeyed(cp) && cp != '\n' && cp != '\t')
            fprintf(out, "\\u%04x", (unsigned)cp);
        else
            (void)fwrite(s + i, 1, (size_t)len, out);
        i += (size_t)len;
    }
}

void gal_cli_complain(const char *who, const char *text) {
    if (who) fprintf(stderr, "%s: ", who);
    gal_cli_print_safe(stderr, GAL_SAFE_LINE, text, strlen(text));
    fputc('\n', stderr);
}
