/* cuda_level.c - see cuda_level.h. SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cuda_level.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gal_cuda *gpu;
static unsigned char *slab, *image; /* a variant's arrays end to end, there and here */
static size_t slab_bytes;
static gal_diag why;

gal_cuda *cl_open(void) {
    static bool tried;
    if (tried) return gpu;
    tried = true;
    if (gal_cuda_open(&gpu, 0, &why))
        printf("skipped: %s\n", why.text);
    else
        printf("level cuda: %s, %.1f GB free\n", gal_cuda_name(gpu), (double)gal_cuda_memory_available(gpu) * 1e-9);
    return gpu;
}

/* ---- arrays there and back ---------------------------------------------------------------------------------------
 */

static size_t place_of(const kt *t, int block) {
    size_t at = 0;
    for (int i = 0; i < block; i++) at += (t->array_bytes[i] + 255) / 256 * 256;
    return at;
}

static bool make_room(size_t bytes) {
    if (bytes <= slab_bytes) return true;
    gal_cuda_free(gpu, slab);
    free(image);
    slab_bytes = bytes + (1 << 20);
    slab = gal_cuda_alloc(gpu, slab_bytes);
    image = calloc(1, slab_bytes);
    return slab && image;
}

/* A word of the arguments that points into an array becomes the device's pointer. */
static void translate(const kt *t, unsigned char *args) {
    memcpy(args, t->args, KT_ARGS_BYTES);
    for (size_t i = 0; i + sizeof(uintptr_t) <= KT_ARGS_BYTES; i += sizeof(uintptr_t)) {
        uintptr_t p;
        memcpy(&p, args + i, sizeof p);
        for (int b = 0; b < t->blocks; b++) {
            uintptr_t from = (uintptr_t)t->block[b];
            if (p < from || p - from >= t->array_bytes[b]) continue;
            uintptr_t there = (uintptr_t)slab + place_of(t, b) + (p - from);
            memcpy(args + i, &there, sizeof there);
            break;
        }
    }
}

static bool is_output(const kt *t, int block) {
    const unsigned char *b = t->block[block];
    for (int i = 0; i < t->outs; i++) {
        const unsigned char *p = t->out[i].p;
        if (p >= b && p < b + t->array_bytes[block]) return true;
    }
    return false;
}

static bool upload(const kt *t) {
    for (int b = 0; b < t->blocks; b++)
        if (t->array_bytes[b]) memcpy(image + place_of(t, b), t->block[b], t->array_bytes[b]);
    return !gal_cuda_upload(gpu, slab, image, place_of(t, t->blocks), &why);
}

static bool download(kt *t) {
    if (gal_cuda_wait(gpu, &why) || gal_cuda_download(gpu, image, slab, place_of(t, t->blocks), &why)) return false;
    for (int b = 0; b < t->blocks; b++) {
        if (!t->array_bytes[b]) continue;
        if (is_output(t, b))
            memcpy(t->block[b], image + place_of(t, b), t->array_bytes[b]);
        else if (memcmp(t->block[b], image + place_of(t, b), t->array_bytes[b]) != 0)
            kt_fail(t, "cuda", "writes to an input");
    }
    return true;
}

/* ---- running -----------------------------------------------------------------------------------------------------
 */

static gal_cuda_graph *capture(gal_kernel_id id, const unsigned char *args) {
    gal_cuda_graph *g = NULL;
    if (gal_cuda_capture_begin(gpu, &why)) return NULL;
    gal_diag end = { 0 };
    gal_err err = gal_cuda_launch(gpu, id, args, &why);
    if (gal_cuda_capture_end(gpu, &g, err ? &end : &why) || err) { /* the first failure is the one told */
        gal_cuda_graph_free(g);
        return NULL;
    }
    return g;
}

/* What the outputs hold after a launch, or after g's; NULL: it failed. */
static unsigned char *run(kt *t, const unsigned char *args, const gal_cuda_graph *g) {
    kt_reset_outputs(t);
    if (!upload(t)) return NULL;
    if (g ? gal_cuda_graph_launch(gpu, g, &why) : gal_cuda_launch(gpu, t->c->id, args, &why)) return NULL;
    if (!download(t)) return NULL;
    kt_check_guards(t, "cuda");
    return kt_outputs(t);
}

void cl_check(kt *t) {
    _Alignas(64) unsigned char args[KT_ARGS_BYTES];
    static const char *const WAYS[] = { "cuda", "cuda again", "cuda, captured" };
    kt_set_up(t);
    unsigned char *want = kt_reference(t), *first = NULL;
    gal_cuda_graph *g = NULL;
    why = (gal_diag){ 0 };
    if (!make_room(place_of(t, t->blocks))) {
        kt_fail(t, "cuda", "no memory there for its arrays");
        slab_bytes = 0;
    }
    translate(t, args);
    for (int way = 0; way < 3 && !t->failed; way++) {
        if (way == 2 && !(g = capture(t->c->id, args))) kt_fail(t, WAYS[way], why.text);
        unsigned char *got = t->failed ? NULL : run(t, args, g);
        if (!got) kt_fail(t, WAYS[way], why.text);
        if (got && way == 0) kt_compare(t, WAYS[way], got, want);
        if (got && first && memcmp(first, got, kt_outputs_bytes(t)) != 0)
            kt_fail(t, WAYS[way], "other bytes than the first time");
        if (way == 0)
            first = got;
        else
            free(got);
    }
    gal_cuda_graph_free(g);
    free(first);
    free(want);
    kt_tear_down(t);
}

/* ---- timing ------------------------------------------------------------------------------------------------------
 */

/* Launches are short beside their own cost: many at a time are timed. */
static double time_launches(gal_kernel_id id, const unsigned char *args) {
    double best = (double)INFINITY;
    for (int turn = 0, n = 1; turn < 6; turn++) {
        double from = kt_now_s();
        for (int i = 0; i < n; i++)
            if (gal_cuda_launch(gpu, id, args, &why)) return 0;
        if (gal_cuda_wait(gpu, &why)) return 0;
        double each = (kt_now_s() - from) / n;
        if (turn > 0) best = fmin(best, each); /* the first loads the kernel */
        n = (int)fmax(1, fmin(1000, 0.02 / each));
    }
    return best;
}

void cl_bench(const kt_family *f) {
    _Alignas(64) unsigned char args[KT_ARGS_BYTES];
    for (size_t i = 0; i < f->n; i++) {
        const kt_case *c = &f->cases[i];
        for (int dt = 0; c->bench && dt < (c->vary & KT_F32 ? 1 : 2); dt++) {
            kt t = { .c = c, .dt = dt ? GAL_BF16 : GAL_F32, .wdt = dt ? GAL_BF16 : GAL_F32, .scale = 1.0 };
            kt_set_up(&t);
            kt_reset_outputs(&t);
            bool ok = make_room(place_of(&t, t.blocks)) && upload(&t);
            translate(&t, args);
            double best = ok ? time_launches(c->id, args) : 0;
            if (best > 0)
                kt_print_speed(&t, "cuda", best);
            else
                printf("%-12s %-34s failed: %s\n", "cuda", c->name, why.text);
            kt_tear_down(&t);
        }
    }
}
