/* memory.c - memory, transfers and launches of a device. On the CPU all of it is plain memory, copies and the thread
 * pool. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/util.h"
#include "core/dev.h"

#include <string.h>

static const gal_far *far_of(const gal_dev *dev) { return dev ? dev->far : NULL; }

void *gal_dev_take(gal_dev *dev, size_t bytes) {
    return far_of(dev) ? dev->far->take(dev->self, GAL_MAX(bytes, (size_t)1)) : gal_alloc(bytes);
}

void *gal_dev_take_array(gal_dev *dev, size_t count, size_t size) {
    return size && count > SIZE_MAX / size ? NULL : gal_dev_take(dev, count * size);
}

void gal_dev_give(gal_dev *dev, void *p) {
    if (!far_of(dev))
        gal_free(p);
    else if (p)
        dev->far->give(dev->self, p);
}

uint64_t gal_dev_available(gal_dev *dev) {
    return far_of(dev) ? dev->far->available(dev->self) : gal_memory_available();
}

gal_err gal_dev_upload(gal_dev *dev, void *to, const void *from, size_t bytes, gal_diag *diag) {
    if (bytes == 0) return GAL_OK;
    if (far_of(dev)) return dev->far->upload(dev->self, to, from, bytes, diag);
    memcpy(to, from, bytes);
    return GAL_OK;
}

gal_err gal_dev_download(gal_dev *dev, void *to, const void *from, size_t bytes, gal_diag *diag) {
    if (bytes == 0) return GAL_OK;
    if (far_of(dev)) return dev->far->download(dev->self, to, from, bytes, diag);
    memcpy(to, from, bytes);
    return GAL_OK;
}

static gal_err watched_launch(gal_dev *dev, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag) {
    const gal_kernel *k = &dev->table.k[id];
    gal_span s = { .id = id, .args = args, .place = dev->place, .busy = dev->watch->busy };
    gal_err err = GAL_OK;
    s.begin_s = gal_now_s();
    if (dev->far) {
        err = dev->far->launch(dev->self, id, args, bytes, diag);
        if (!err) err = dev->far->wait(dev->self, diag);
    } else {
        s.threads = gal_pool_threads(dev->pool);
        gal_pool_run_timed(dev->pool, k->run, args, k->chunks(args), dev->watch->busy);
    }
    s.end_s = gal_now_s();
    if (!err) dev->watch->launched(dev->watch->user, &s);
    return err;
}

gal_err gal_dev_launch(gal_dev *dev, gal_kernel_id id, const void *args, size_t bytes, gal_diag *diag) {
    if (dev->watch) return watched_launch(dev, id, args, bytes, diag);
    if (dev->far) return dev->far->launch(dev->self, id, args, bytes, diag);
    const gal_kernel *k = &dev->table.k[id];
    GAL_ASSERT(k->run && k->chunks);
    gal_pool_run(dev->pool, k->run, args, k->chunks(args));
    return GAL_OK;
}

gal_err gal_dev_wait(gal_dev *dev, gal_diag *diag) { return far_of(dev) ? dev->far->wait(dev->self, diag) : GAL_OK; }
