/* plot.c - the loss curve of a run, by PLplot. One thread at a time: PLplot keeps its state in globals.
 * It would end the program when it cannot go on, and ask at the terminal where it lacks a driver: drivers are looked
 * up first, and its exit becomes GAL_EFAIL. SPDX-License-Identifier: Apache-2.0 */
#include "train/plot.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/metrics.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <plplot.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 900, HEIGHT = 600, SMOOTH = 40, MAX_POINTS = 4000 };
enum { BLACK = 1, GRID = 2, LIGHT = 3, BLUE = 4, RED = 5 };

static char abort_text[160];
static jmp_buf escape; /* to draw() */

static void on_abort(const char *why) { (void)snprintf(abort_text, sizeof abort_text, "%s", why ? why : ""); }
/* PLplot ends the program whatever its handler returns. */
static int on_exit_wish(const char *why) {
    on_abort(why && why[0] ? why : "the plotting library gave up");
    longjmp(escape, 1);
}

/* Whether PLplot has a driver of this name; without its drivers' folder it has none. */
static bool has_driver(const char *name) {
    enum { MOST = 128 };
    const char *menus[MOST] = { NULL }, *names[MOST] = { NULL };
    const char **menu = menus, **found = names;
    int n = MOST;
    plgDevs(&menu, &found, &n);
    for (int i = 0; i < n && names[i]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

typedef struct curve {
    PLFLT *x, *y;
    size_t n;
} curve;

typedef struct picture {
    curve raw, smooth, valid;
    PLFLT x0, x1, y0, y1;
    bool logarithmic;
    const char *title;
} picture;

static bool curve_new(curve *c, size_t n) {
    c->x = gal_alloc_array(n + 1, sizeof *c->x);
    c->y = gal_alloc_array(n + 1, sizeof *c->y);
    return c->x && c->y;
}

static void curve_add(curve *c, double x, double y) {
    if (!isfinite(y)) return;
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

static void curve_free(curve *c) {
    gal_free(c->x);
    gal_free(c->y);
}

/* Runs of steps become their mean where there are more than fit. */
static void take_steps(picture *p, const gal_metric_step *rows, size_t n) {
    size_t stride = (n + MAX_POINTS - 1) / MAX_POINTS;
    double mean = 0, weight = 0, keep = 1.0 - 1.0 / (1.0 + (double)n / SMOOTH);
    for (size_t i = 0; i < n; i += GAL_MAX(stride, (size_t)1)) {
        double sum = 0, count = 0;
        size_t end = GAL_MIN(n, i + stride);
        for (size_t k = i; k < end; k++) {
            sum += rows[k].loss;
            count += 1;
            /* Bias-corrected running mean, as Adam's. */
            mean = keep * mean + (1 - keep) * rows[k].loss;
            weight = keep * weight + (1 - keep);
        }
        curve_add(&p->raw, (double)rows[end - 1].step, sum / count);
        curve_add(&p->smooth, (double)rows[end - 1].step, mean / weight);
    }
}

static void range_of(picture *p) {
    const curve *all[] = { &p->raw, &p->valid };
    double low = (double)INFINITY, high = -(double)INFINITY, last = 1;
    for (size_t c = 0; c < GAL_LEN(all); c++) {
        for (size_t i = 0; i < all[c]->n; i++) {
            low = fmin(low, all[c]->y[i]);
            high = fmax(high, all[c]->y[i]);
            last = fmax(last, all[c]->x[i]);
        }
    }
    /* Losses that fall by more than a factor of four hide their end on a linear axis. */
    p->logarithmic = low > 0 && high / low > 4;
    p->x0 = 0;
    p->x1 = last;
    double margin = p->logarithmic ? 0.05 * log10(high / low) : 0.06 * (high - low) + 1e-3;
    p->y0 = p->logarithmic ? log10(low) - margin : fmax(0, low - margin);
    p->y1 = (p->logarithmic ? log10(high) : high) + margin;
    if (!p->logarithmic) return;
    for (size_t i = 0; i < p->raw.n; i++) p->raw.y[i] = log10(p->raw.y[i]);
    for (size_t i = 0; i < p->smooth.n; i++) p->smooth.y[i] = log10(p->smooth.y[i]);
    for (size_t i = 0; i < p->valid.n; i++) p->valid.y[i] = log10(p->valid.y[i]);
}

static void colours(void) {
    static const PLINT RGB[][3] = { { 255, 255, 255 }, { 40, 40, 40 },  { 225, 225, 225 },
                                    { 168, 198, 232 }, { 31, 95, 170 }, { 200, 60, 40 } };
    for (PLINT i = 0; i < (PLINT)GAL_LEN(RGB); i++) plscol0(i, RGB[i][0], RGB[i][1], RGB[i][2]);
}

static void draw_line(const curve *c, PLINT colour, PLFLT width) {
    if (!c->n) return;
    plcol0(colour);
    plwidth(width);
    if (c->n > 1) plline((PLINT)c->n, c->x, c->y);
    plwidth(1);
}

/* Legend in the upper right corner, in coordinates of the plot's box from 0 to 1. */
static void legend(const picture *p) {
    static const struct {
        PLINT colour;
        const char *text;
    } LINES[] = { { LIGHT, "training, each step" }, { BLUE, "training, running mean" }, { RED, "validation" } };
    plvpor(0.11, 0.96, 0.13, 0.90);
    plwind(0, 1, 0, 1);
    for (size_t i = 0; i < GAL_LEN(LINES); i++) {
        if (i == 2 && !p->valid.n) break;
        PLFLT y = 0.95 - 0.06 * (PLFLT)i, x[2] = { 0.62, 0.68 }, ys[2] = { y, y };
        plcol0(LINES[i].colour);
        plwidth(3);
        plline(2, x, ys);
        plwidth(1);
        plcol0(BLACK);
        plptex(0.70, y, 1, 0, 0, LINES[i].text);
    }
}

static gal_err draw(const picture *p, const char *driver, const char *path, gal_diag *diag) {
    abort_text[0] = 0;
    plsexit(on_exit_wish);
    plsabort(on_abort);
    if (setjmp(escape)) return gal_fail(diag, GAL_EFAIL, "%s: %s", path, abort_text);
    if (!has_driver(driver))
        return gal_fail(diag, GAL_EFAIL, "%s: the plotting library has no driver \"%s\" here", path, driver);
    plsdev(driver);
    plsfnam(path);
    plspage(0, 0, WIDTH, HEIGHT, 0, 0);
    colours();
    plinit();
    if (abort_text[0]) {
        plend();
        return gal_fail(diag, GAL_EFAIL, "%s: %s", path, abort_text);
    }
    pladv(0);
    plschr(0, 0.85);
    plvpor(0.11, 0.96, 0.13, 0.90);
    plwind(p->x0, p->x1, p->y0, p->y1);
    plcol0(GRID);
    plbox("gt", 0, 0, p->logarithmic ? "glt" : "gt", 0, 0);
    plcol0(BLACK);
    plbox("bcnst", 0, 0, p->logarithmic ? "bclnstv" : "bcnstv", 0, 0);
    pllab("step", p->logarithmic ? "loss (nats per token, logarithmic)" : "loss (nats per token)", p->title);
    draw_line(&p->raw, LIGHT, 1);
    draw_line(&p->smooth, BLUE, 2.5);
    draw_line(&p->valid, RED, 2.5);
    if (p->valid.n) {
        plcol0(RED);
        plstring((PLINT)p->valid.n, p->valid.x, p->valid.y, "#(728)");
    }
    legend(p);
    plend();
    return abort_text[0] ? gal_fail(diag, GAL_EFAIL, "%s: %s", path, abort_text) : GAL_OK;
}

static gal_err draw_both(const picture *p, const char *run, gal_diag *diag) {
    static const struct {
        const char *driver, *name;
    } KINDS[] = { { "pngcairo", "plots/loss.png" }, { "svg", "plots/loss.svg" } };
    char here[PATH_MAX];
    /* Looking for its drivers, PLplot reads through the NULL that getcwd() gives when the current folder was removed.
     */
    if (!getcwd(here, sizeof here))
        return gal_fail(diag, GAL_EFAIL, "%s: cannot plot: the current folder: %s", run, strerror(errno));
    gal_buf path = { 0 };
    gal_err err = gal_path_join(&path, run, "plots") ? gal_make_dirs(path.data, diag)
                                                     : gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    for (size_t i = 0; !err && i < GAL_LEN(KINDS); i++)
        err = gal_path_join(&path, run, KINDS[i].name) ? draw(p, KINDS[i].driver, path.data, diag)
                                                       : gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    gal_buf_free(&path);
    return err;
}

gal_err gal_plot_run(const char *run, gal_diag *diag) {
    gal_buf path = { 0 }, title = { 0 };
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    gal_metric_eval *evals = NULL;
    size_t n_steps = 0, n_evals = 0;
    picture p = { 0 };
    gal_err err = gal_path_join(&path, run, "metrics.sqlite") ? gal_metrics_open(&m, path.data, false, diag)
                                                              : gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    if (!err) err = gal_metrics_steps(m, &steps, &n_steps, diag);
    if (!err) err = gal_metrics_evals(m, &evals, &n_evals, diag);
    if (!err && n_steps == 0)
        err = gal_fail(diag, GAL_EINPUT, "%s: expected at least one step, found none", path.data);
    if (!err && !(curve_new(&p.raw, n_steps) && curve_new(&p.smooth, n_steps) && curve_new(&p.valid, n_evals)))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu points", run, n_steps);
    const char *slash = strrchr(run, '/');
    gal_buf_printf(&title, "%s: loss", slash && slash[1] ? slash + 1 : run);
    if (!err && title.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", run);
    if (!err) {
        p.title = title.data;
        take_steps(&p, steps, n_steps);
        for (size_t i = 0; i < n_evals; i++) curve_add(&p.valid, (double)evals[i].step, evals[i].nats);
        range_of(&p);
        err = draw_both(&p, run, diag);
    }
    curve_free(&p.raw);
    curve_free(&p.smooth);
    curve_free(&p.valid);
    gal_free(steps);
    gal_free(evals);
    gal_metrics_close(m);
    gal_buf_free(&path);
    gal_buf_free(&title);
    return err;
}
