/* safetensors.c - one file of tensors: whatever opens lies inside the bytes, and is written and read again to the
 * same. SPDX-License-Identifier: Apache-2.0 */
#include "formats/safetensors.h"

#include "fuzz.h"

static const char NAME[] = "fuzz.safetensors";

static bool same(const gal_st_tensor *a, const gal_st_tensor *b) {
    if (strcmp(a->name, b->name) != 0 || a->dtype != b->dtype || a->ndim != b->ndim || a->bytes != b->bytes)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return a->bytes == 0 || memcmp(a->data, b->data, (size_t)a->bytes) == 0;
}

static void round_trip(const gal_safetensors *s) {
    gal_diag diag = { 0 };
    size_t n = gal_safetensors_count(s);
    gal_st_item *items = gal_alloc_array(n, sizeof *items);
    GAL_ASSERT(items);
    for (size_t i = 0; i < n; i++) {
        const gal_st_tensor *t = gal_safetensors_at(s, i);
        items[i] = (gal_st_item){
            .name = t->name, .dtype = t->dtype, .from = t->dtype, .ndim = t->ndim, .dim = t->dim, .data = t->data
        };
    }
    gal_buf out = { 0 };
    gal_safetensors *again = NULL;
    gal_err err = gal_safetensors_print(&out, items, n, NULL, 0, NAME, &diag);
    if (!err) err = gal_safetensors_parse(&again, out.data, out.len, NAME, &diag);
    if (err) gal__abort("written, but not read again: %s", diag.text);
    GAL_ASSERT(gal_safetensors_count(again) == n);
    for (size_t i = 0; i < n; i++) GAL_ASSERT(same(gal_safetensors_at(s, i), gal_safetensors_at(again, i)));
    gal_safetensors_close(again);
    gal_buf_free(&out);
    gal_free(items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    gal_diag diag = { 0 };
    gal_safetensors *s = NULL;
    gal_err err = gal_safetensors_parse(&s, data, n, NAME, &diag);
    if (err) {
        FUZZ_REFUSED(err, diag, NAME);
        return 0;
    }
    for (size_t i = 0; i < gal_safetensors_count(s); i++) {
        const gal_st_tensor *t = gal_safetensors_at(s, i);
        GAL_ASSERT(t->data >= data && t->offset <= n && t->bytes <= n - t->offset);
        GAL_ASSERT(gal_safetensors_find(s, t->name) == t);
    }
    (void)gal_safetensors_meta(s, "format");
    round_trip(s);
    gal_safetensors_close(s);
    return 0;
}

#ifdef GAL_FUZZING
/* An engine does not know that the first eight bytes count the header's. Mostly they are put right after a change. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed) {
    n = LLVMFuzzerMutate(data, n, room);
    if (seed % 8 == 0) return n;
    size_t end = n;
    while (end > 8 && data[end - 1] != '}') end--;
    if (end <= 8) return n;
    for (size_t i = 0; i < 8; i++) data[i] = (uint8_t)((end - 8) >> (8 * i));
    return n;
}
#endif
