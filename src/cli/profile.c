/* profile.c - see profile.h. Launches are summed in rows of equal kernel, phase and sizes; the trace keeps single
 * ones up to a limit and says when it is full. SPDX-License-Identifier: Apache-2.0 */
#include "cli/profile.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/machine.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_EVENTS = 200000, PEAK_REPEATS = 5 };

typedef struct row {
    gal_kernel_id id;
    bool backward;
    gal_cost cost; /* flops and bytes: sums */
    int64_t calls;
    double s, busy_s;
} row;

/* thread 0: the launch itself; from 1 on what a thread did of it. */
typedef struct event {
    double begin_s, end_s;
    uint32_t row;
    int16_t layer, thread;
} event;

struct gal_profile {
    gal_watch watch;
    const char *trace; /* the file; NULL: none */
    row *rows;
    event *events;
    size_t n_rows, room_rows, n_events, room_events;
    double begin_s, end_s; /* first launch's begin, last one's end */
    int threads;
    bool oom, full;
};

/* ---- taking notes ----------------------------------------------------------------------------------------------
 */

static row *row_of(gal_profile *p, const gal_span *s, const gal_cost *cost) {
    for (size_t i = 0; i < p->n_rows; i++) {
        row *r = &p->rows[i];
        if (r->id == s->id && r->backward == s->place.backward && r->cost.compute == cost->compute &&
            strcmp(r->cost.what, cost->what) == 0)
            return r;
    }
    if (gal_grow((void **)&p->rows, &p->room_rows, p->n_rows + 1, sizeof *p->rows)) return NULL;
    row *r = &p->rows[p->n_rows++];
    *r = (row){ .id = s->id, .backward = s->place.backward, .cost = *cost };
    r->cost.flops = r->cost.bytes = 0;
    return r;
}

static void add_event(gal_profile *p, event e) {
    if (p->n_events >= MAX_EVENTS) p->full = true;
    if (p->full || p->oom) return;
    p->oom = gal_grow((void **)&p->events, &p->room_events, p->n_events + 1, sizeof e) != 0;
    if (!p->oom) p->events[p->n_events++] = e;
}

static void launched(void *user, const gal_span *s) {
    gal_profile *p = user;
    gal_cost cost = { .compute = GAL_F32 };
    /* Attention is counted from arrays, which the host cannot read on every device. */
    bool arrays = s->id == GAL_K_ATTEND || s->id == GAL_K_ATTEND_GRAD;
    if (s->threads || !arrays) gal_kernel_cost(&cost, s->id, s->args);
    row *r = row_of(p, s, &cost);
    if (!r) p->oom = true;
    if (!r) return;
    r->calls++;
    r->s += s->end_s - s->begin_s;
    r->cost.flops += cost.flops;
    r->cost.bytes += cost.bytes;
    event e = { s->begin_s, s->end_s, (uint32_t)(r - p->rows), (int16_t)s->place.layer, 0 };
    if (p->trace) add_event(p, e);
    for (int i = 0; i < s->threads; i++) {
        const gal_busy *b = &s->busy[i];
        r->busy_s += b->busy_s;
        e = (event){ b->begin_s, b->end_s, e.row, e.layer, (int16_t)(i + 1) };
        if (p->trace && b->chunks) add_event(p, e);
    }
    if (p->begin_s <= 0) p->begin_s = s->begin_s;
    p->end_s = s->end_s;
    p->threads = s->threads;
}

/* ---- its life ------------------------------------------------------------------------------------------------- */

gal_err gal_profile_new(gal_profile **out, gal_cli *cli) {
    const char *trace = gal_cli_string(cli, "trace");
    if (!trace && !gal_cli_given(cli, "profile")) return GAL_OK;
    gal_profile *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a profile");
    p->trace = trace;
    p->watch = (gal_watch){ launched, p, gal_alloc_array(GAL_MAX_THREADS, sizeof(gal_busy)) };
    if (!p->watch.busy) {
        gal_free(p);
        return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a profile");
    }
    /* A file that cannot be written is said before the work, not after. */
    gal_err err = trace ? gal_write_file(trace, "[]\n", 3, &cli->diag) : GAL_OK;
    if (err) {
        gal_profile_free(p);
        return err;
    }
    *out = p;
    return GAL_OK;
}

void gal_profile_free(gal_profile *p) {
    if (!p) return;
    gal_free(p->watch.busy);
    gal_free(p->rows);
    gal_free(p->events);
    gal_free(p);
}

const gal_watch *gal_profile_watch(gal_profile *p) { return p ? &p->watch : NULL; }

void gal_profile_restart(gal_profile *p) {
    if (!p) return;
    p->n_rows = p->n_events = 0;
    p->begin_s = 0;
    p->full = false;
}

/* ---- the trace ------------------------------------------------------------------------------------------------- */

static const char *phase_of(const row *r) {
    if (r->id >= GAL_K_SUM_SQUARES && r->id <= GAL_K_EMA) return "update"; /* they stand together */
    return r->backward ? "backward" : "forward";
}

static void print_event(gal_buf *b, const gal_profile *p, const event *e) {
    const row *r = &p->rows[e->row];
    gal_buf_printf(b,
                   ",\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 1, \"tid\": %d, \"ts\": %.3f, "
                   "\"dur\": %.3f, \"args\": {\"phase\": \"%s\"",
                   gal_kernel_name(r->id), phase_of(r), e->thread, (e->begin_s - p->begin_s) * 1e6,
                   (e->end_s - e->begin_s) * 1e6, phase_of(r));
    if (e->layer) gal_buf_printf(b, ", \"layer\": %d", e->layer - 1);
    if (r->cost.what[0]) gal_buf_printf(b, ", \"size\": \"%s\"", r->cost.what);
    if (e->thread == 0 && r->cost.flops > 0)
        gal_buf_printf(b, ", \"gflops\": %.2f",
                       r->cost.flops / (double)r->calls / GAL_MAX(e->end_s - e->begin_s, 1e-9) * 1e-9);
    gal_buf_puts(b, "}}");
}

static gal_err emit_trace(gal_sink *sink, void *user, gal_diag *diag) {
    const gal_profile *p = user;
    gal_buf b = { 0 };
    gal_buf_puts(&b, "[{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": 0, \"args\": {\"name\": "
                     "\"launches\"}}");
    for (int i = 1; i <= p->threads; i++)
        gal_buf_printf(&b,
                       ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"args\": {\"name\": "
                       "\"thread %d\"}}",
                       i, i);
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i <= p->n_events; i++) {
        if (i < p->n_events)
            print_event(&b, p, &p->events[i]);
        else
            gal_buf_puts(&b, "]\n");
        if (b.oom) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory for a trace", p->trace);
        if (!err && (b.len > 60000 || i == p->n_events)) {
            err = gal_sink_write(sink, b.data, b.len);
            gal_buf_clear(&b);
        }
    }
    gal_buf_free(&b);
    return err;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

typedef struct peaks {
    double read, f32, bf16, i8; /* a second; 0: not known */
} peaks;

/* The least time that the machine needs for a row's work; 0 where the work is not counted. */
static double least_s(const row *r, const peaks *m) {
    double flops = r->cost.compute == GAL_BF16 ? m->bf16 : r->cost.compute == GAL_BLOCKS ? m->i8 : m->f32, s = 0;
    if (flops > 0) s = r->cost.flops / flops;
    if (m->read > 0) s = GAL_MAX(s, r->cost.bytes / m->read);
    return s;
}

static void print_rate(double amount, double s) {
    if (amount > 0 && s > 0)
        fprintf(stderr, " %9.1f", amount / s * 1e-9);
    else
        fprintf(stderr, " %9s", "-");
}

static void print_row(const gal_profile *p, const row *r, const char *name, double wall_s, const peaks *m) {
    fprintf(stderr, "%-44s %8lld %9.3f %6.1f%%", name, (long long)r->calls, r->s, 100 * r->s / wall_s);
    if (p->threads > 0)
        fprintf(stderr, " %5.0f%%", 100 * r->busy_s / (r->s * p->threads));
    else
        fprintf(stderr, " %6s", "-");
    print_rate(r->cost.flops, r->s);
    print_rate(r->cost.bytes, r->s);
    double least = least_s(r, m);
    if (least > 0)
        fprintf(stderr, " %5.0f%%\n", 100 * least / r->s);
    else
        fprintf(stderr, " %6s\n", "-");
}

static int slowest_first(const void *a, const void *b) {
    double x = ((const row *)a)->s, y = ((const row *)b)->s;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Rows of one kernel in one; peaks are of the kernel's first type. Returns how many. */
static size_t sum_by_kernel(const gal_profile *p, row out[GAL_K_COUNT]) {
    size_t n = 0;
    for (int id = 0; id < GAL_K_COUNT; id++) {
        row sum = { .id = (gal_kernel_id)id };
        for (size_t i = 0; i < p->n_rows; i++) {
            const row *r = &p->rows[i];
            if (r->id != sum.id) continue;
            sum.calls += r->calls;
            sum.s += r->s;
            sum.busy_s += r->busy_s;
            sum.cost.flops += r->cost.flops;
            sum.cost.bytes += r->cost.bytes;
            sum.cost.compute = r->cost.compute;
        }
        if (sum.calls) out[n++] = sum;
    }
    qsort(out, n, sizeof *out, slowest_first);
    return n;
}

static bool is_product(gal_kernel_id id) { return id == GAL_K_GEMM || id == GAL_K_GEMM_I8; }

static void print_heading(const char *name) {
    fprintf(stderr, "%-44s %8s %9s %7s %6s %9s %9s %6s\n", name, "calls", "seconds", "share", "busy", "GFLOP/s",
            "GB/s", "peak");
}

static gal_err print_table(gal_profile *p, const peaks *m, gal_diag *diag) {
    row kernels[GAL_K_COUNT];
    size_t n = sum_by_kernel(p, kernels);
    double wall = p->end_s - p->begin_s, flops = 0, inside = 0;
    print_heading("kernel");
    for (size_t i = 0; i < n; i++) {
        print_row(p, &kernels[i], gal_kernel_name(kernels[i].id), wall, m);
        flops += kernels[i].cost.flops;
        inside += kernels[i].s;
    }
    fprintf(stderr, "%-44s %8s %9.3f %6.1f%%\n", "between launches", "", wall - inside, 100 * (wall - inside) / wall);
    fprintf(stderr, "%-44s %8s %9.3f %6.1f%% %6s", "all", "", wall, 100.0, "");
    print_rate(flops, wall);
    fputc('\n', stderr);

    row *sorted = gal_alloc_array(p->n_rows, sizeof *sorted);
    if (!sorted) return gal_fail(diag, GAL_ENOMEM, "no memory for a profile");
    memcpy(sorted, p->rows, p->n_rows * sizeof *sorted);
    qsort(sorted, p->n_rows, sizeof *sorted, slowest_first);
    fputc('\n', stderr);
    print_heading("products, m x n x k");
    for (size_t i = 0; i < p->n_rows; i++) {
        char name[160];
        if (!is_product(sorted[i].id) || sorted[i].s < 0.001 * wall) continue;
        (void)snprintf(name, sizeof name, "%-8s %s", phase_of(&sorted[i]), sorted[i].cost.what);
        print_row(p, &sorted[i], name, wall, m);
    }
    gal_free(sorted);
    return GAL_OK;
}

static peaks measure_peaks(const gal_profile *p, const char *cpu) {
    gal_machine_figure f[GAL_MACHINE_ROOM];
    gal_dev *dev = NULL;
    peaks m = { 0 };
    size_t n = 0;
    const gal_device_options o = { .cpu = cpu, .threads = 1 };
    if (p->threads < 1 || gal_dev_open(&dev, &o, NULL)) return m;
    const int threads = gal_machine_at_once(p->threads);
    if (gal_machine_measure(f, &n, &dev->table, threads, PEAK_REPEATS, false, NULL)) n = 0;
    for (size_t i = 0; i < n; i++) {
        if (f[i].id == GAL_PEAK_READ) m.read = f[i].best;
        if (f[i].id == GAL_PEAK_F32) m.f32 = f[i].best;
        if (f[i].id == GAL_PEAK_BF16) m.bf16 = f[i].best;
        if (f[i].id == GAL_PEAK_I8) m.i8 = f[i].best;
    }
    gal_dev_close(dev);
    return m;
}

gal_err gal_profile_finish(gal_profile *p, gal_cli *cli, const char *cpu) {
    if (!p || !p->n_rows) return GAL_OK;
    if (p->oom) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for the profile");
    gal_err err = p->trace ? gal_write_atomic(p->trace, emit_trace, p, &cli->diag) : GAL_OK;
    if (err) return err;
    peaks m = measure_peaks(p, cpu);
    fprintf(stderr,
            "\nprofile: %d threads; peaks now: f32 %.1f, bf16 %.1f, int8 %.1f GFLOP/s, memory %.1f GB/s. share: of "
            "the time from "
            "the first launch to the last. busy: of the threads' time. peak: the least time that these peaks allow, "
            "as a part of the time taken; more than 100%% where caches help\n",
            p->threads, m.f32 * 1e-9, m.bf16 * 1e-9, m.i8 * 1e-9, m.read * 1e-9);
    err = print_table(p, &m, &cli->diag);
    if (!err && p->full) fprintf(stderr, "%s: holds the first %d events, more came\n", p->trace, (int)MAX_EVENTS);
    return err;
}
