/* quantise.c - see quantise.h: the model that is quantised, and what each of its tensors becomes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "convert/internal.h"
#include "formats/json.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int64_t gal__quantise_elements(const gal_quantise_tensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->dim[d];
    return n;
}

int64_t gal__quantise_columns(const gal_quantise_tensor *t) { return t->ndim ? t->dim[t->ndim - 1] : 1; }

int64_t gal__quantise_matrices(const gal_quantise_tensor *t) {
    int64_t n = 1;
    for (int d = 0; d + 2 < t->ndim; d++) n *= t->dim[d];
    return n;
}

static bool is_float(uint32_t type) {
    return type == GAL_BLOCK_F32 || type == GAL_BLOCK_F16 || type == GAL_BLOCK_BF16;
}

/* ---- the model --------------------------------------------------------------------------------------------------
 */

/* "llama.block_count" of whatever architecture; the first of a list, a layer each. 0: absent. */
static gal_err read_number(const gal_gguf *g, const char *arch, const char *name, int64_t *out, gal_diag *diag) {
    char key[160];
    uint64_t x = 0;
    bool found = false;
    gal_err err = GAL_OK;
    (void)snprintf(key, sizeof key, "%s.%s", arch, name);
    const gal_gguf_value *v = gal_gguf_get(g, key);
    if (v && v->type == GAL_GGUF_ARRAY && v->count && gal_gguf_is(v, GAL_GGUF_UINTS))
        x = gal_gguf_uint_at(v, 0);
    else
        err = gal_gguf_uint(g, key, &x, &found, diag);
    *out = (int64_t)GAL_MIN(x, (uint64_t)1 << 40);
    return err;
}

static gal_err read_sizes(gal_recipe_model *m, const gal_quantise *q, gal_diag *diag) {
    if (q->source) {
        const gal_config *c = gal_source_config(q->source);
        *m = (gal_recipe_model){ .layers = c->L,
                                 .heads = c->H,
                                 .kv_heads = c->G,
                                 .experts = c->experts,
                                 .llama = strcmp(gal_gguf_architecture(c), "llama") == 0 };
        return GAL_OK;
    }
    const char *s = NULL;
    char arch[64];
    size_t n = 0;
    gal_err err = gal_gguf_string(q->file, "general.architecture", &s, &n, NULL, diag);
    if (err) return err;
    (void)snprintf(arch, sizeof arch, "%.*s", (int)GAL_MIN(n, sizeof arch - 1), s);
    m->llama = strcmp(arch, "llama") == 0;
    err = read_number(q->file, arch, "block_count", &m->layers, diag);
    if (!err) err = read_number(q->file, arch, "attention.head_count", &m->heads, diag);
    if (!err) err = read_number(q->file, arch, "attention.head_count_kv", &m->kv_heads, diag);
    if (!err) err = read_number(q->file, arch, "expert_count", &m->experts, diag);
    return err;
}

static gal_err read_model(gal_quantise *q, gal_diag *diag) {
    gal_recipe_model *m = &q->model;
    gal_err err = read_sizes(m, q, diag);
    if (m->kv_heads == 0) m->kv_heads = m->heads;
    m->weighted = q->o.imatrix != NULL;
    m->tied = true;
    for (size_t i = 0; i < q->count; i++) {
        int64_t layer = gal_recipe_layer(q->tensors[i].name);
        m->layers = GAL_MAX(m->layers, layer + 1);
        if (strcmp(q->tensors[i].name, "output.weight") == 0) m->tied = false;
    }
    return err;
}

uint64_t gal__quantise_bytes_of(uint32_t type, int64_t n) {
    if (type == GAL_BLOCK_F8_E4M3) return (uint64_t)n;
    const gal_block_info *info = gal_block_info_of(type);
    return (uint64_t)(n / info->elements) * info->bytes;
}

/* Tensor i of the source, of whatever kind. */
static gal_quantise_tensor source_tensor(const gal_quantise *q, size_t i) {
    gal_quantise_tensor to = { 0 };
    if (q->source) {
        const gal_source_tensor *t = gal_source_at(q->source, i);
        to = (gal_quantise_tensor){ .name = t->name, .ndim = t->ndim, .from = t->type };
        memcpy(to.dim, t->dim, sizeof to.dim);
    } else {
        const gal_gguf_tensor *t = gal_gguf_at(q->file, i);
        to = (gal_quantise_tensor){ .name = t->name, .ndim = t->ndim, .from = t->type };
        memcpy(to.dim, t->dim, sizeof to.dim);
    }
    to.wanted = to.type = to.from;
    to.covered = gal_recipe_kind_of(to.name, to.ndim) == GAL_RECIPE_WEIGHT;
    to.bytes = gal__quantise_bytes_of(to.from, gal__quantise_elements(&to));
    return to;
}

static gal_err take_tensors(gal_quantise *q, gal_diag *diag) {
    q->count = q->source ? gal_source_count(q->source) : gal_gguf_count(q->file);
    q->tensors = gal_alloc_array(q->count, sizeof *q->tensors);
    if (!q->tensors) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for %zu tensors", q->path, q->count);
    if (!q->count) return gal_fail(diag, GAL_EINPUT, "%s: expected a model, found no tensors", q->path);
    for (size_t i = 0; i < q->count; i++) {
        gal_quantise_tensor *t = &q->tensors[i];
        *t = source_tensor(q, i);
        q->total += t->bytes;
        const gal_block_info *info = gal_block_info_of(t->from);
        if (t->covered && info && !info->reads) {
            char shown[GAL__SHOW];
            return gal_fail(diag, GAL_EINPUT, "%s: tensor \"%s\": cannot read weights of format %s", q->path,
                            gal__show(shown, t->name), gal_gguf_type_name(t->from));
        }
    }
    return GAL_OK;
}

gal_err gal_quantise_open(gal_quantise **out, const char *path, const gal_quantise_options *options, gal_diag *diag) {
    gal_quantise *q = gal_alloc(sizeof *q);
    if (!q) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    q->o = *options;
    q->path = gal_strdup(path);
    gal_err err = q->path ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    if (!err && gal_is_dir(path))
        err = gal_source_open(&q->source, path, q->o.layout, GAL_LAYOUT_GGUF, diag);
    else if (!err)
        err = gal_gguf_open(&q->file, path, diag);
    if (!err) err = take_tensors(q, diag);
    if (!err) err = read_model(q, diag);
    if (!err) err = gal__quantise_match(q, diag);
    if (err) {
        gal_quantise_free(q);
        return err;
    }
    *out = q;
    return GAL_OK;
}

void gal_quantise_free(gal_quantise *q) {
    if (!q) return;
    gal_gguf_close(q->file);
    gal_source_close(q->source);
    gal_free(q->tensors);
    gal_free(q->path);
    gal_free(q);
}

/* ---- what each tensor becomes -----------------------------------------------------------------------------------
 */

gal_err gal__quantise_set(gal_quantise *q, size_t i, uint32_t wanted, gal_diag *diag) {
    gal_quantise_tensor *t = &q->tensors[i];
    char shown[GAL__SHOW];
    int64_t columns = gal__quantise_columns(t);
    t->wanted = wanted;
    t->type = gal_recipe_fit(wanted, columns);
    /* Nothing is gained by changing one 16-bit format into the other. */
    if (t->type != wanted && t->type == GAL_BLOCK_F16 && t->from == GAL_BLOCK_BF16) t->type = t->from;
    if (t->type != wanted && q->o.strict)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tensor \"%s\": expected rows that are a multiple of %" PRIu32 " for %s, found %" PRId64
                        " columns (without --strict: %s)",
                        q->path, gal__show(shown, t->name), gal_block_info_of(wanted)->elements,
                        gal_gguf_type_name(wanted), columns, gal_gguf_type_name(t->type));
    return gal_gguf_tensor_bytes(t->type, t->ndim, t->dim, &t->bytes, q->path, t->name, diag);
}

gal_err gal__quantise_rest(gal_quantise *q, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; i < q->count && !err; i++) {
        const gal_quantise_tensor *t = &q->tensors[i];
        bool widen = is_float(t->from) && gal_recipe_kind_of(t->name, t->ndim) == GAL_RECIPE_F32;
        if (!t->covered) err = gal__quantise_set(q, i, widen ? (uint32_t)GAL_BLOCK_F32 : t->from, diag);
    }
    return err;
}

gal_err gal_quantise_recipe(gal_quantise *q, const char *name, bool pure, gal_diag *diag) {
    const gal_recipe *r = gal_recipe_find(name);
    gal_recipe alone;
    gal_err err = GAL_OK;
    if (pure) r = gal_recipe_pure(&alone, name) ? &alone : NULL;
    if (!r)
        return gal_fail(diag, GAL_EUSAGE, "%s: no such type: expected %s", name,
                        pure ? "a mixture's name or a block format that can be written, as Q4_K"
                             : gal_recipe_names());
    err = gal__quantise_rest(q, diag);
    for (size_t i = 0; i < q->count && !err; i++) {
        const gal_quantise_tensor *t = &q->tensors[i];
        if (!t->covered) continue;
        uint32_t wanted = gal_recipe_format(r, &q->model, t->name, gal__quantise_columns(t));
        if (!gal_block_info_of(wanted)->writes)
            return gal_fail(diag, GAL_EUSAGE, "%s: this build cannot write %s", name, gal_gguf_type_name(wanted));
        err = gal__quantise_set(q, i, wanted, diag);
    }
    q->file_type = r->file_type;
    q->chosen = !err;
    return err;
}

const gal_quantise_importance *gal_quantise_importance_of(const gal_quantise *q) { return &q->importance; }
size_t gal_quantise_count(const gal_quantise *q) { return q->count; }
const gal_quantise_tensor *gal_quantise_at(const gal_quantise *q, size_t i) { return &q->tensors[i]; }

uint64_t gal_quantise_elements(const gal_quantise *q) {
    uint64_t n = 0;
    for (size_t i = 0; i < q->count; i++) n += (uint64_t)gal__quantise_elements(&q->tensors[i]);
    return n;
}

uint64_t gal_quantise_bytes(const gal_quantise *q) {
    uint64_t n = 0;
    for (size_t i = 0; i < q->count; i++) n += q->tensors[i].bytes;
    return n;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------
 */

/* Loops of a fixed length become vectors. */
enum { TOGETHER = 64 };

static void widen_bf16(const uint16_t *h, float *out) {
    for (int i = 0; i < TOGETHER; i++) out[i] = gal_bf16_to_f32(h[i]);
}

/* The exponent's base moves by a multiplication, which is exact, also for subnormals; infinities and NaN have all
 * ones there, before and after. */
static void widen_f16(const uint16_t *h, float *out) {
    for (int i = 0; i < TOGETHER; i++) {
        union {
            uint32_t u;
            float f;
        } v = { .u = (h[i] & 0x7fffu) << 13 };
        v.f *= 0x1p112f;
        v.u |= ((h[i] & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u) | (h[i] & 0x8000u) << 16;
        out[i] = v.f;
    }
}

static void read_half(const uint8_t *p, bool bf16, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i += TOGETHER) {
        uint16_t h[TOGETHER] = { 0 };
        float rest[TOGETHER], *to = n - i < TOGETHER ? rest : out + i;
        size_t some = (size_t)GAL_MIN(n - i, (int64_t)TOGETHER);
        memcpy(h, p + 2 * i, some * sizeof *h);
        if (bf16)
            widen_bf16(h, to);
        else
            widen_f16(h, to);
        /* cppcheck-suppress uninitvar ; to is rest here, and was written */
        if (to == rest) memcpy(out + i, rest, some * sizeof *rest);
    }
}

void gal__quantise_read(const gal_quantise *q, size_t i, int64_t at, int64_t n, float *out) {
    if (q->source) {
        gal_source_read(q->source, i, at, n, out);
        return;
    }
    const gal_gguf_tensor *t = gal_gguf_at(q->file, i);
    const gal_block_info *info = gal_block_info_of(t->type);
    const uint8_t *p = t->data + at / info->elements * info->bytes;
    if (t->type == GAL_BLOCK_F32)
        memcpy(out, p, (size_t)n * sizeof *out);
    else if (t->type == GAL_BLOCK_F16 || t->type == GAL_BLOCK_BF16)
        read_half(p, t->type == GAL_BLOCK_BF16, out, n);
    else
        gal_block_dequantise(t->type, p, out, n);
}

bool gal__quantise_look(gal_quantise *q, const char *tensor, uint64_t done) {
    q->done += done;
    return q->o.progress && q->o.progress(q->o.user, tensor, q->done, q->total);
}
