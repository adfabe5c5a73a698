/* recorder.c - a step as a list of (kernel, arguments). Owns the copies of the arguments; refuses nothing but a lack
 * of memory. Invariant: replaying reads and writes the addresses of the recorded run, so it computes the same bytes
 * from the same inputs.
 *
 * The CPU computes while it records. A far device computes when the recording ends: its launches are then captured as
 * one graph, which takes no memory and moves none meanwhile, and the graph is launched.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/internal.h"

#include "base/mem.h"

#include <string.h>

enum { GAL_PAGE_BYTES = 32 << 10 };

struct gal_page {
    gal_page *next;
    size_t used;
    _Alignas(64) unsigned char bytes[GAL_PAGE_BYTES];
};

bool gal__plan_add(gal_plan *plan, const gal_dev *dev, gal_kernel_id id, const void *args, size_t bytes) {
    GAL_ASSERT(bytes <= GAL_PAGE_BYTES);
    if (gal_grow((void **)&plan->list, &plan->room, plan->count + 1, sizeof *plan->list) ||
        gal_grow((void **)&plan->jobs, &plan->room_jobs, plan->count + 1, sizeof *plan->jobs))
        return false;
    if (!plan->pages || plan->pages->used + bytes > GAL_PAGE_BYTES) {
        gal_page *p = gal_alloc(sizeof *p);
        if (!p) return false;
        p->next = plan->pages;
        plan->pages = p;
    }
    void *copy = plan->pages->bytes + plan->pages->used;
    memcpy(copy, args, bytes);
    plan->pages->used += (bytes + 15) / 16 * 16;
    plan->list[plan->count] = (gal_launched){ id, copy, bytes, dev->place };
    plan->jobs[plan->count++] = (gal_job){ dev->table.k[id].run, dev->table.k[id].chunks, copy };
    return true;
}

static void free_arguments(gal_plan *plan) {
    for (gal_page *p = plan->pages, *next; p; p = next) {
        next = p->next;
        gal_free(p);
    }
    gal_free(plan->jobs);
    gal_free(plan->list);
    plan->pages = NULL;
    plan->jobs = NULL;
    plan->list = NULL;
}

static gal_err capture(gal_dev *dev, gal_plan *plan, gal_diag *diag) {
    gal_err err = dev->far->capture_begin(dev->self, diag);
    if (err) return err;
    for (size_t i = 0; !err && i < plan->count; i++)
        err = gal_dev_launch(dev, plan->list[i].id, plan->list[i].args, plan->list[i].bytes, diag);
    gal_err end = dev->far->capture_end(dev->self, &plan->graph, err ? NULL : diag);
    plan->far = dev->far;
    free_arguments(plan);
    return err ? err : end;
}

void gal_record_begin(gal_ctx *cx) {
    GAL_ASSERT(!cx->recording);
    if (cx->err) return;
    cx->recording = gal_alloc(sizeof *cx->recording);
    if (!cx->recording) gal_ctx_fail(cx, GAL_ENOMEM, "no memory to record a step");
}

gal_err gal_record_end(gal_ctx *cx, gal_plan **out, gal_diag *diag) {
    gal_plan *plan = cx->recording;
    cx->recording = NULL;
    gal_dev *dev = cx->dev;
    if (!cx->err && dev->far) {
        if (!dev->watch) cx->err = capture(dev, plan, &cx->diag);
        gal_replay(cx, plan);
    }
    if (cx->err) {
        gal_plan_free(plan);
        return gal_fail(diag, cx->err, "%s", cx->diag.text);
    }
    *out = plan;
    return GAL_OK;
}

void gal_replay(gal_ctx *cx, const gal_plan *plan) {
    GAL_ASSERT(!cx->recording);
    if (!gal__goes_on(cx)) return;
    if (plan->graph) {
        cx->err = cx->dev->far->graph_launch(cx->dev->self, plan->graph, &cx->diag);
        return;
    }
    /* The plan writes where the recorded run did, blocks given back since included. */
    gal_arena_expose(&cx->data);
    if (!cx->dev->watch) {
        gal_pool_run_list(cx->dev->pool, plan->jobs, plan->count);
        return;
    }
    GAL_ASSERT(plan->list || !plan->count);
    for (size_t i = 0; !cx->err && i < plan->count; i++) {
        const gal_launched *l = &plan->list[i];
        cx->dev->place = l->place;
        cx->err = gal_dev_launch(cx->dev, l->id, l->args, l->bytes, &cx->diag);
    }
    cx->dev->place = (gal_place){ 0 };
}

void gal_plan_free(gal_plan *plan) {
    if (!plan) return;
    free_arguments(plan);
    if (plan->graph) plan->far->graph_free(plan->graph);
    gal_free(plan);
}

size_t gal_plan_launches(const gal_plan *plan) { return plan->count; }
