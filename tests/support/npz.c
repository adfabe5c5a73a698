/* npz.c - see npz.h. Reads the central directory of a zip file, and members that are stored or deflated; refuses
 * everything else (encryption, more than 4 GiB, several disks). SPDX-License-Identifier: Apache-2.0 */
#include "support/npz.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>
#include <zlib.h>

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

/* The raw bytes of a member, inflated if need be; NULL if it cannot be. */
static uint8_t *member(const gal_map *m, const uint8_t *entry, size_t *bytes) {
    uint32_t method = u16(entry + 10), packed = u32(entry + 20), plain = u32(entry + 24), local = u32(entry + 42);
    if (local > m->bytes || m->bytes - local < 30 || u32(m->data + local) != 0x04034b50u) return NULL;
    size_t at = (size_t)local + 30 + u16(m->data + local + 26) + u16(m->data + local + 28);
    if (at > m->bytes || packed > m->bytes - at) return NULL;
    uint8_t *out = gal_alloc(plain);
    *bytes = plain;
    if (out && method == 0 && packed == plain) {
        memcpy(out, m->data + at, plain);
        return out;
    }
    z_stream z;
    memset(&z, 0, sizeof z);
    if (out && method == 8 && inflateInit2(&z, -MAX_WBITS) == Z_OK) {
        z.next_in = (Bytef *)(uintptr_t)(m->data + at);
        z.avail_in = packed;
        z.next_out = out;
        z.avail_out = plain;
        int end = inflate(&z, Z_FINISH);
        bool whole = end == Z_STREAM_END && z.total_out == plain;
        inflateEnd(&z);
        if (whole) return out;
    }
    gal_free(out);
    return NULL;
}

static gal_err add(npz *z, const gal_map *m, const uint8_t *entry, const char *path, gal_diag *diag) {
    size_t name_len = u16(entry + 28), bytes = 0;
    const char *name = (const char *)entry + 46;
    if (name_len > 4 && memcmp(name + name_len - 4, ".npy", 4) == 0) name_len -= 4;
    uint8_t *raw = member(m, entry, &bytes);
    if (!raw) return gal_fail(diag, GAL_EINPUT, "%s: member %.*s is damaged", path, (int)name_len, name);
    z->names[z->count] = gal_strndup(name, name_len);
    gal_err err = gal_npy_parse(&z->arrays[z->count], raw, bytes, path, diag);
    z->count++;
    gal_free(raw);
    return err;
}

static gal_err read_all(npz *z, const gal_map *m, const char *path, gal_diag *diag) {
    size_t end = m->bytes < 22 ? 0 : m->bytes - 22;
    while (end && u32(m->data + end) != 0x06054b50u) end--;
    if (!end) return gal_fail(diag, GAL_EINPUT, "%s: not a zip file", path);
    size_t count = u16(m->data + end + 10), at = u32(m->data + end + 16);
    z->names = gal_alloc_array(count, sizeof *z->names);
    z->arrays = gal_alloc_array(count, sizeof *z->arrays);
    if (!z->names || !z->arrays) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *entry = m->data + at;
        if (at > end || end - at < 46 || u32(entry) != 0x02014b50u)
            return gal_fail(diag, GAL_EINPUT, "%s: damaged directory", path);
        size_t size = 46 + (size_t)u16(entry + 28) + u16(entry + 30) + u16(entry + 32);
        if (size > end - at) return gal_fail(diag, GAL_EINPUT, "%s: damaged directory", path);
        gal_err err = add(z, m, entry, path, diag);
        if (err) return err;
        at += size;
    }
    return GAL_OK;
}

gal_err npz_open(npz *out, const char *path, gal_diag *diag) {
    npz z = { 0 };
    gal_map m = { 0 };
    gal_err err = gal_map_open(&m, path, diag);
    if (!err) err = read_all(&z, &m, path, diag);
    gal_map_close(&m);
    if (err)
        npz_close(&z);
    else
        *out = z;
    return err;
}

void npz_close(npz *z) {
    for (size_t i = 0; i < z->count; i++) {
        gal_free(z->names[i]);
        gal_npy_free(&z->arrays[i]);
    }
    gal_free(z->names);
    gal_free(z->arrays);
    *z = (npz){ 0 };
}

const gal_npy *npz_find(const npz *z, const char *name) {
    for (size_t i = 0; i < z->count; i++)
        if (z->names[i] && strcmp(z->names[i], name) == 0) return &z->arrays[i];
    return NULL;
}
