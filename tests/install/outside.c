/* outside.c - a program that knows galerne only as it is installed. SPDX-License-Identifier: Apache-2.0 */
#include <galerne/core.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "version") == 0) return puts(gal_version()) < 0;
    fprintf(stderr, "usage: outside version\n");
    return 2;
}
