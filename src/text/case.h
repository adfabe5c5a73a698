/* case.h - upper and lower case of characters above ASCII, as Python's str has it (case_table.c), in rising order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_CASE_H
#define GAL_TEXT_CASE_H

#include <stddef.h>
#include <stdint.h>

typedef struct gal__case_run { /* first, first + step, ... last become themselves + delta */
    uint32_t first, last;
    int32_t step, delta;
} gal__case_run;

typedef struct gal__case_long { /* one that becomes several */
    uint32_t cp;
    char text[10];
} gal__case_long;

extern const gal__case_run gal__case_upper[], gal__case_lower[], gal__case_title[];
extern const gal__case_long gal__case_upper_long[], gal__case_lower_long[], gal__case_title_long[];
extern const size_t gal__case_upper_runs, gal__case_lower_runs, gal__case_title_runs;
extern const size_t gal__case_upper_longs, gal__case_lower_longs, gal__case_title_longs;

#endif
