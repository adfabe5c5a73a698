/* dev.h - where things are computed: the CPU, which is a table of kernels and the threads that run them, or a device
 * whose memory the host cannot touch, which is a table of functions (gal_far). What kernels read and write is taken
 * from the device and filled by uploads; on the CPU it is plain memory, and an upload is a copy.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CORE_DEV_H
#define GAL_CORE_DEV_H

#include "base/pool.h"
#include "kernels/kernels.h"

/* What a device with memory of its own offers; self is the device's. Everything happens in the order of the calls. */
typedef struct gal_far {
    void *(*take)(void *self, size_t bytes); /* zeroed, aligned to 64 bytes; NULL when there is none */
    void (*give)(void *self, void *p);
    uint64_t (*available)(void *self); /* bytes */
    /* Upload returns when the host memory may change; download when it holds the values. */
    gal_err (*upload)(void *self, void *to, const void *from, size_t bytes, gal_diag *diag);
    gal_err (*download)(void *self, void *to, const void *from, size_t bytes, gal_diag *diag);
    /* Queues a kernel; args are copied. What fails later is reported by wait or download. */
    gal_err (*launch)(void *self, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag);
    gal_err (*wait)(void *self, gal_diag *diag);
    /* Launches between begin and end make a graph and do not run; nothing is taken or transferred meanwhile. */
    gal_err (*capture_begin)(void *self, gal_diag *diag);
    gal_err (*capture_end)(void *self, void **graph, gal_diag *diag);
    gal_err (*graph_launch)(void *self, const void *graph, gal_diag *diag);
    void (*graph_free)(void *graph);
    void (*close)(void *self);
} gal_far;

/* Where in a step a launch happens. */
typedef struct gal_place {
    int layer;     /* the block's index counted from 1; 0: outside of the blocks */
    bool backward; /* while the tape is walked, what is computed again there included */
} gal_place;

/* A launch that is over. Times are gal_now_s()'s. */
typedef struct gal_span {
    gal_kernel_id id;
    const void *args;
    gal_place place;
    double begin_s, end_s;
    const gal_busy *busy; /* [threads] what each did of it */
    int threads;          /* 0 on a far device, where arrays in args are the device's */
} gal_span;

/* Somebody is told of each launch. Launches of a recorded step then run one by one, each cut into the same chunks, so
 * that the bytes are the same. While nobody is, a launch pays one test. */
typedef struct gal_watch {
    void (*launched)(void *user, const gal_span *span);
    void *user;
    gal_busy *busy; /* room for GAL_MAX_THREADS */
} gal_watch;

typedef struct gal_dev {
    char name[80];          /* "avx2"; "cuda:0 (what the maker calls it)" */
    gal_kernel_table table; /* of the CPU */
    gal_pool *pool;         /* computes on the CPU; on a far device it only helps the host to read files */
    const gal_far *far;     /* NULL: the CPU */
    void *self;             /* what far's functions take */
    const gal_watch *watch; /* borrowed; NULL: nobody. Set once, before anything is launched */
    gal_place place;
} gal_dev;

/* options NULL: the CPU's best level, all processors. GAL_EUSAGE: no such kind or level of device; GAL_EDEVICE: it is
 * not here. */
gal_err gal_dev_open(gal_dev **out, const gal_device_options *options, gal_diag *diag);
void gal_dev_close(gal_dev *dev); /* after everything that was taken from it was given back */
/* Fills a table with a level by name without opening a device (tests, benchmarks); false if it cannot run here. */
bool gal_dev_table(gal_kernel_table *table, const char *level);

/* memory.c    dev NULL: plain memory, as on the CPU. */
void *gal_dev_take(gal_dev *dev, size_t bytes); /* zeroed, aligned to 64 bytes; NULL when there is none */
void *gal_dev_take_array(gal_dev *dev, size_t count, size_t size);
void gal_dev_give(gal_dev *dev, void *p); /* NULL is allowed */
uint64_t gal_dev_available(gal_dev *dev); /* bytes that can still be taken */
gal_err gal_dev_upload(gal_dev *dev, void *to, const void *from, size_t bytes, gal_diag *diag);
gal_err gal_dev_download(gal_dev *dev, void *to, const void *from, size_t bytes, gal_diag *diag);
/* A kernel outside a step. */
gal_err gal_dev_launch(gal_dev *dev, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag);
gal_err gal_dev_wait(gal_dev *dev, gal_diag *diag); /* until all is computed; reports what failed */

/* dev_cuda.c  A GPU by its number. */
gal_err gal__dev_cuda(gal_dev *dev, int index, gal_diag *diag);

/* A further kind of device under a name of its own: the tests' device, whose memory is closed to the host. One for
 * the process; set it before anything is opened. fill sets far, self and name of a dev that has nothing but its pool.
 */
typedef gal_err (*gal_dev_fill)(gal_dev *dev, const gal_device_options *options, gal_diag *diag);
void gal_dev_add_kind(const char *name, gal_dev_fill fill);

#endif
