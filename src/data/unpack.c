/* unpack.c - see unpack.h. Invariant: what was given out is exactly what the archive holds up to there; its end is
 * given out only after the archive's own checks passed. SPDX-License-Identifier: Apache-2.0 */
#include "data/unpack.h"

#include "base/fault.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { HELD = 1 << 18, WAIT_MS = 200, MAGIC = 4, LONGEST_MAGIC = 10, GZIP_OR_FAIL = 15 + 16 };

typedef enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_ZSTD, KIND_GZIP } kind;

struct gal_unpack {
    char *name;
    int fd;     /* -1: from memory */
    bool waits; /* for whoever writes into standard input */
    gal_unpack_stop stop;
    void *user;
    uint64_t size, taken; /* of the file; bytes of it that came into `in` */
    const uint8_t *in;    /* [n] of which [at, n) is still to be looked at */
    uint8_t *own;         /* [HELD], NULL from memory */
    size_t at, n;
    bool ended; /* nothing follows `in` */
    kind kind;
    ZSTD_DCtx *zstd;
    z_stream gzip;
    bool gzip_open, within; /* within a frame or member */
};

/* ---- bytes of the file -------------------------------------------------------------------------------------------
 */

static uint64_t place(const gal_unpack *u) { return u->taken - (u->n - u->at); }

/* A terminal or a pipe may say nothing for long: Ctrl-C shall be heard. */
static gal_err wait_for_input(gal_unpack *u, gal_diag *diag) {
    struct pollfd p = { .fd = u->fd, .events = POLLIN };
    for (;;) {
        if (u->stop && u->stop(u->user)) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        int ready = poll(&p, 1, WAIT_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR)) return GAL_OK; /* read() says what is wrong */
    }
}

/* More of the file behind what is left of `in`; at its end `ended`. */
static gal_err more(gal_unpack *u, gal_diag *diag) {
    if (u->ended || u->fd < 0) {
        u->ended = true;
        return GAL_OK;
    }
    if (u->at) memmove(u->own, u->own + u->at, u->n - u->at);
    u->n -= u->at;
    u->at = 0;
    for (;;) {
        gal_err err = u->waits ? wait_for_input(u, diag) : GAL_OK;
        if (err) return err;
        size_t room = HELD - u->n;
        ssize_t n = gal_fault_move(GAL_FAULT_READ, &room) ? -1 : read(u->fd, u->own + u->n, room);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return gal_fail(diag, GAL_EINPUT, "%s: cannot read: %s", u->name, strerror(errno));
        u->ended = n == 0;
        u->n += (size_t)n;
        u->taken += (uint64_t)n;
        if (u->ended && u->taken < u->size)
            return gal_fail(diag, GAL_EINPUT,
                            "%s: expected the %llu bytes that the file had when it was opened, found %llu: it was "
                            "changed while it was read",
                            u->name, (unsigned long long)u->size, (unsigned long long)u->taken);
        return GAL_OK;
    }
}

/* ---- what kind it is ---------------------------------------------------------------------------------------------
 */

/* "BZh" and the size of blocks; text may begin so, but not with the number that every block has. */
static bool is_bzip2(const uint8_t *p, size_t n) {
    return n >= LONGEST_MAGIC && memcmp(p, "BZh", 3) == 0 && p[3] >= '1' && p[3] <= '9' &&
           memcmp(p + 4, "1AY&SY", 6) == 0;
}

static gal_err tell_kind(gal_unpack *u, gal_diag *diag) {
    static const uint8_t ZSTD_FRAME[MAGIC] = { 0x28, 0xb5, 0x2f, 0xfd }, XZ[MAGIC] = { 0xfd, '7', 'z', 'X' };
    while (u->n - u->at < LONGEST_MAGIC && !u->ended) {
        gal_err err = more(u, diag);
        if (err) return err;
    }
    const uint8_t *p = u->in + u->at;
    size_t n = u->n - u->at;
    u->kind = KIND_PLAIN;
    if (n >= MAGIC && memcmp(p, "PAR1", MAGIC) == 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: a Parquet file, which is not read here: write it as lines of JSON first, as in: duckdb "
                        "-c \"COPY (SELECT text FROM 'FILE.parquet') TO 'FILE.jsonl'\"",
                        u->name);
    const char *other = n >= MAGIC && memcmp(p, XZ, MAGIC) == 0 ? "xz" : is_bzip2(p, n) ? "bzip2" : NULL;
    if (other)
        return gal_fail(
            diag, GAL_EINPUT,
            "%s: compressed by %s, which is not read here: give what it unpacks to, or that by gzip or zstd", u->name,
            other);
    if (n >= MAGIC && memcmp(p, ZSTD_FRAME, MAGIC) == 0) {
        u->kind = KIND_ZSTD;
        u->zstd = ZSTD_createDCtx();
        if (!u->zstd) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", u->name);
    } else if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        u->kind = KIND_GZIP;
    }
    return GAL_OK;
}

/* ---- Zstandard ---------------------------------------------------------------------------------------------------
 */

static gal_err read_zstd(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag) {
    ZSTD_outBuffer out = { to, room, 0 };
    gal_err err = GAL_OK;
    while (!err && out.pos == 0) {
        if (u->at == u->n && !u->ended) err = more(u, diag);
        if (err) break;
        if (u->at == u->n && u->ended && !u->within) break;
        ZSTD_inBuffer in = { u->in, u->n, u->at };
        size_t left = ZSTD_decompressStream(u->zstd, &out, &in);
        const bool stuck = in.pos == u->at && out.pos == 0;
        if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", u->name);
        if (ZSTD_isError(left))
            return gal_fail(diag, GAL_EINPUT, "%s: damaged Zstandard data near byte %llu: %s", u->name,
                            (unsigned long long)place(u), ZSTD_getErrorName(left));
        u->at = in.pos;
        u->within = left != 0;
        if (stuck && u->within && u->at == u->n && u->ended)
            return gal_fail(diag, GAL_EINPUT, "%s: Zstandard data ends in the middle, at byte %llu", u->name,
                            (unsigned long long)u->taken);
    }
    *n = out.pos;
    return err;
}

/* ---- gzip --------------------------------------------------------------------------------------------------------
 */

static voidpf take(voidpf user, uInt count, uInt size) {
    (void)user;
    return gal_alloc_array(count, size);
}

static void give(voidpf user, voidpf p) {
    (void)user;
    gal_free(p);
}

/* The next member of the file, if there is one: some programs write many, one after another. */
static gal_err next_member(gal_unpack *u, gal_diag *diag) {
    if (u->at == u->n && u->ended) return GAL_OK;
    const uint64_t at = place(u);
    if (!u->gzip_open) {
        u->gzip.zalloc = take;
        u->gzip.zfree = give;
        u->gzip_open = inflateInit2(&u->gzip, GZIP_OR_FAIL) == Z_OK;
        if (!u->gzip_open) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", u->name);
    } else if (u->in[u->at] != 0x1f) {
        return gal_fail(diag, GAL_EINPUT, "%s: damaged gzip data: something else follows at byte %llu", u->name,
                        (unsigned long long)at);
    } else if (inflateReset(&u->gzip) != Z_OK) {
        return gal_fail(diag, GAL_EINPUT, "%s: damaged gzip data near byte %llu", u->name, (unsigned long long)at);
    }
    u->within = true;
    return GAL_OK;
}

static gal_err inflate_some(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag) {
    u->gzip.next_in = (Bytef *)(uintptr_t)(u->in + u->at); /* read only, whatever its type says */
    u->gzip.avail_in = (uInt)GAL_MIN(u->n - u->at, (size_t)UINT_MAX);
    u->gzip.next_out = (Bytef *)to;
    u->gzip.avail_out = (uInt)GAL_MIN(room, (size_t)UINT_MAX);
    const uInt had = u->gzip.avail_out;
    int rc = inflate(&u->gzip, Z_NO_FLUSH);
    *n = had - u->gzip.avail_out;
    u->at = (size_t)(u->gzip.next_in - u->in);
    if (rc == Z_MEM_ERROR) return gal_fail(diag, GAL_ENOMEM, "%s: no memory to decompress", u->name);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return gal_fail(diag, GAL_EINPUT, "%s: damaged gzip data near byte %llu: %s", u->name,
                        (unsigned long long)place(u), u->gzip.msg ? u->gzip.msg : "no such stream");
    if (rc == Z_STREAM_END) u->within = false;
    if (rc == Z_BUF_ERROR && u->at == u->n && u->ended)
        return gal_fail(diag, GAL_EINPUT, "%s: gzip data ends in the middle, at byte %llu", u->name,
                        (unsigned long long)u->taken);
    return GAL_OK;
}

static gal_err read_gzip(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag) {
    gal_err err = GAL_OK;
    *n = 0;
    while (!err && *n == 0) {
        if (u->at == u->n && !u->ended) err = more(u, diag);
        if (!err && !u->within) err = next_member(u, diag);
        if (err || !u->within) break;
        err = inflate_some(u, to, room, n, diag);
    }
    return err;
}

/* ---- all of them -------------------------------------------------------------------------------------------------
 */

static gal_err read_plain(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag) {
    if (u->at == u->n) {
        gal_err err = more(u, diag);
        if (err) return err;
    }
    *n = GAL_MIN(room, u->n - u->at);
    if (*n) memcpy(to, u->in + u->at, *n);
    u->at += *n;
    return GAL_OK;
}

gal_err gal_unpack_read(gal_unpack *u, char *to, size_t room, size_t *n, gal_diag *diag) {
    gal_err err = u->kind == KIND_UNKNOWN ? tell_kind(u, diag) : GAL_OK;
    *n = 0;
    if (!err && u->stop && u->stop(u->user)) err = gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
    if (err) return err;
    if (u->kind == KIND_ZSTD) return read_zstd(u, to, room, n, diag);
    if (u->kind == KIND_GZIP) return read_gzip(u, to, room, n, diag);
    return read_plain(u, to, room, n, diag);
}

static gal_err open_regular(gal_unpack *u, const char *path, gal_diag *diag) {
    struct stat st;
    gal_err class = GAL_EINPUT;
    /* Without O_NONBLOCK a pipe that nobody writes to would be waited for. Reading files is not changed by it. */
    do u->fd = gal_fault(GAL_FAULT_OPEN) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (u->fd < 0 && errno == EINTR);
    if (u->fd < 0 || gal_fault(GAL_FAULT_LOOK) || fstat(u->fd, &st) != 0) {
        class = errno == ENOMEM ? GAL_ENOMEM : errno == EMFILE || errno == ENFILE ? GAL_EFAIL : GAL_EINPUT;
        return gal_fail(diag, class, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) return gal_fail(diag, class, "%s: is a folder, expected a file", path);
    if (!S_ISREG(st.st_mode))
        return gal_fail(diag, class, "%s: expected a regular file; a pipe is read as \"-\", standard input", path);
    u->size = (uint64_t)st.st_size;
    return GAL_OK;
}

static gal_err make(gal_unpack **out, const char *name, gal_diag *diag) {
    gal_unpack *u = gal_alloc(sizeof *u);
    if (u) u->name = gal_strdup(name);
    if (!u || !u->name) {
        gal_free(u);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory to read it", name);
    }
    u->fd = -1;
    *out = u;
    return GAL_OK;
}

gal_err gal_unpack_open(gal_unpack **out, const char *path, gal_unpack_stop stop, void *user, gal_diag *diag) {
    const bool standard = strcmp(path, "-") == 0;
    gal_unpack *u = NULL;
    gal_err err = make(&u, standard ? "standard input" : path, diag);
    if (err) return err;
    u->stop = stop;
    u->user = user;
    u->in = u->own = gal_alloc(HELD);
    if (!u->own) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory to read it", u->name);
    if (!err && !standard) err = open_regular(u, path, diag);
    if (!err && standard) {
        u->fd = STDIN_FILENO;
        u->waits = true;
    }
    if (err) {
        gal_unpack_close(u);
        return err;
    }
    *out = u;
    return GAL_OK;
}

gal_err gal_unpack_open_bytes(gal_unpack **out, const void *bytes, size_t n, const char *name, gal_diag *diag) {
    gal_unpack *u = NULL;
    gal_err err = make(&u, name, diag);
    if (err) return err;
    u->in = bytes;
    u->n = n;
    u->size = u->taken = n;
    u->ended = true;
    *out = u;
    return GAL_OK;
}

void gal_unpack_close(gal_unpack *u) {
    if (!u) return;
    if (u->gzip_open) (void)inflateEnd(&u->gzip);
    ZSTD_freeDCtx(u->zstd);
    if (u->fd >= 0 && !u->waits) (void)close(u->fd);
    gal_free(u->own);
    gal_free(u->name);
    gal_free(u);
}

uint64_t gal_unpack_taken(const gal_unpack *u) { return place(u); }
uint64_t gal_unpack_size(const gal_unpack *u) { return u->size; }
const char *gal_unpack_name(const gal_unpack *u) { return u->name; }
