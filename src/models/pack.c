/* pack.c - weights in blocks rearranged for the processor's products (tensor/pack.h), in memory of the model's own
 * beside its mapped file. Of a weight that was packed the file's pages are let go of, so that memory holds it once;
 * who reads its numbers one by one (rows of an embedding, a fingerprint) finds them in the file as before. Refuses
 * what memory has no room for, and that is no failure: such weights are used where they lie. SPDX-License-Identifier:
 * Apache-2.0 */
#include "tensor/pack.h"
#include "base/maps.h"
#include "base/mem.h"
#include "models/load.h"

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

/* false: no memory for it. */
static bool pack(gal_w *w, gal_dev *dev) {
    void *to = gal_alloc(gal_pack_bytes(w->code.block, w->dim[0], w->dim[1]));
    if (!to) return false;
    gal__pack_into(to, w, dev);
    w->packed = to;
    return true;
}

gal_err gal_model_pack(gal_model *m, gal_dev *dev, bool (*progress)(void *user, uint64_t done, uint64_t total),
                       void *user, gal_diag *diag) {
    uint64_t total = 0, done = 0;
    GAL_ASSERT(!dev->far && !m->dev);
    if (!gal__packing_helps(dev)) return GAL_OK;
    for (size_t i = 0; i < m->n_weights; i++) total += gal__packs(m, &m->weights[i]) ? gal_wbytes(&m->weights[i]) : 0;
    const uint64_t available = gal_memory_available();
    if (total > available - available / 8) return GAL_OK;
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (!gal__packs(m, w)) continue;
        if (!pack(w, dev)) return GAL_OK;
        done += gal_wbytes(w);
        if (progress && progress(user, done, total)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    }
    return GAL_OK;
}
