/* pack.c - weights in blocks rearranged for the processor's products (tensor/pack.h), in memory of the model's own
 * beside its mapped file. Of a weight that was packed the file's pages are let go of, so that memory holds it once;
 * who reads its numbers one by one (rows of an embedding, a fingerprint) finds them in the file as before. Refuses
 * what memory has no room for, and that is no failure: such weights are used where they lie. SPDX-License-Identifier:
 * Apache-2.0 */
#include "tensor/pack.h"
#include "base/maps.h"
#include "base/mem.h"
#include "base/numa.h"
#include "models/side.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Products with it are GEMM_I8's, and it lies in a file that stays mapped. */
bool gal__packs(const gal_model *m, const gal_w *w) {
    return w->dtype == GAL_BLOCKS && !w->owned && !m->files_read && !w->packed && w->ndim == 2 &&
           (w->role != GAL_W_EMBED || m->config.tied) && gal_pieces_of(w->code.block);
}

bool gal__packing_helps(const gal_dev *dev) {
    gal_kernel_table ref = { 0 };
    gal_ref_fill(&ref);
    return dev->table.k[GAL_K_GEMM_I8].run != ref.k[GAL_K_GEMM_I8].run; /* it reads blocks as they are */
}

void gal__pack_into(void *to, const gal_w *w, gal_dev *dev) {
    const gal_k_pack a = { to, w->data, w->code.block, w->dim[0], w->dim[1] };
    const gal_kernel *k = &dev->table.k[GAL_K_PACK];
    gal_pool_run(dev->pool, k->run, &a, k->chunks(&a));
    gal_maps_forget_at(w->data, gal_wbytes(w));
}

typedef struct copies {
    char *to;
    size_t bytes, apart; /* of a copy; from one to the next */
    int64_t parts;       /* of one */
} copies;
enum { PART = 1 << 20 };

static void copy_part(const void *args, int64_t chunk, void *scratch) {
    const copies *c = args;
    const size_t from = (size_t)(chunk % c->parts) * PART;
    (void)scratch;
    memcpy(c->to + (size_t)(1 + chunk / c->parts) * c->apart + from, c->to + from,
           GAL_MIN(c->bytes - from, (size_t)PART));
}

/* Once, or `mirrors` times, each in its node's memory. false: no memory for it. */
static bool pack(gal_w *w, gal_dev *dev, int mirrors) {
    enum { PAGE = 1 << 16 }; /* the largest of any processor: a page is of one node */
    const size_t bytes = gal_pack_bytes(w->code.block, w->dim[0], w->dim[1]);
    const size_t apart = mirrors > 1 ? (bytes + PAGE - 1) / PAGE * PAGE : bytes;
    char *to = gal_alloc(apart * (size_t)mirrors);
    if (!to) return false;
    for (int i = 0; mirrors > 1 && i < mirrors; i++)
        gal_numa_put(to + (size_t)i * apart, apart, gal_pool_mirror_node(dev->pool, i));
    gal__pack_into(to, w, dev);
    const copies c = { to, bytes, apart, (int64_t)((bytes + PART - 1) / PART) };
    if (mirrors > 1) gal_pool_run(dev->pool, copy_part, &c, c.parts * (mirrors - 1));
    w->packed = to;
    w->code.mirror = mirrors > 1 ? apart : 0;
    return true;
}

static uint64_t left(const gal_model *m) {
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_weights; i++) total += gal__packs(m, &m->weights[i]) ? gal_wbytes(&m->weights[i]) : 0;
    return total;
}

/* Whether weights that are left lie there, packed. */
static bool in_side(const gal_model *m) { return m->side.data && !m->side_spoilt; }

uint64_t gal_model_to_pack(const gal_model *m, const gal_dev *dev) {
    if (dev->far || !gal__packing_helps(dev)) return 0;
    const uint64_t total = left(m), available = gal_memory_available();
    return total > available - available / 8 && !in_side(m) ? 0 : total;
}

static bool take_or_pack(gal_model *m, gal_w *w, gal_dev *dev) {
    if (in_side(m)) {
        if (gal__side_take(m, w, dev)) return true;
        if (!gal_model_to_pack(m, dev)) return false;
    }
    return pack(w, dev, 1);
}

uint64_t gal_model_pack_some(gal_model *m, gal_dev *dev, uint64_t bytes) {
    uint64_t done = 0;
    for (size_t i = 0; i < m->n_weights && done < bytes; i++) {
        gal_w *w = &m->weights[i];
        if (!gal__packs(m, w)) continue;
        if (!take_or_pack(m, w, dev)) break;
        done += gal_wbytes(w);
    }
    return done;
}

gal_err gal_model_pack(gal_model *m, gal_dev *dev, bool (*progress)(void *user, uint64_t done, uint64_t total),
                       void *user, gal_diag *diag) {
    uint64_t done = 0;
    GAL_ASSERT(!dev->far && !m->dev);
    if (!gal__packing_helps(dev)) return GAL_OK;
    const uint64_t total = left(m), available = gal_memory_available();
    int mirrors = gal_pool_mirrors(dev->pool);
    if (mirrors > 1 && total > (available - available / 8) / (uint64_t)mirrors) {
        char text[128];
        (void)snprintf(text, sizeof text,
                       "numa mirror: %d copies of %" PRIu64 " bytes, %" PRIu64 " are available: there is one copy",
                       mirrors, total, available);
        mirrors = 1;
        gal_err err = gal_model_add_note(m, text, "", diag);
        if (err) return err;
    }
    if (total > available - available / 8) return GAL_OK;
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (!gal__packs(m, w)) continue;
        if (!pack(w, dev, mirrors)) return GAL_OK;
        done += gal_wbytes(w);
        if (progress && progress(user, done, total)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    }
    return GAL_OK;
}
