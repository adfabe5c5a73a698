/* core.h - errors, diagnostics, number formats and devices: what every other header of galerne uses.
 *
 * Conventions of the whole library:
 *   - A function that can fail because of the world (a file, memory, a device) returns gal_err and takes a
 *     gal_diag; a diagnostic says what was expected, what was found and where. A caller's bug asserts.
 *   - *out is written only on GAL_OK. What *_new or *_open returns is freed by *_free, which allows NULL.
 *   - The library never prints, never exits and never reads the environment.
 *   - Objects belong to one thread at a time, unless a comment says otherwise.
 *
 * Stable since 0.1. SPDX-License-Identifier: Apache-2.0 */
#ifndef GALERNE_CORE_H
#define GALERNE_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GAL_API __attribute__((visibility("default")))
#else
#define GAL_API
#endif

#define GAL_VERSION_MAJOR 0
#define GAL_VERSION_MINOR 1
#define GAL_VERSION_PATCH 0

/* Errors by what the caller can do about them. The program's exit codes follow from them (docs/exit-codes.md). */
typedef enum gal_err {
    GAL_OK = 0,
    GAL_EFAIL = 1,        /* something else failed; see the diagnostic */
    GAL_EUSAGE = 2,       /* an option or argument that cannot be */
    GAL_EINPUT = 3,       /* a file is missing, unreadable, damaged or of another kind */
    GAL_ENOMEM = 4,       /* no memory, or a request beyond the stated limit */
    GAL_EDEVICE = 5,      /* no such device, or it failed */
    GAL_EIO = 6,          /* writing failed: full disk, no permission */
    GAL_EINTERRUPTED = 7, /* the caller asked to stop, or a callback did */
    GAL_ERECORD = 8,      /* a value was read back inside a recorded segment */
    GAL_EBUSY = 9         /* another process holds it; later it may be free */
} gal_err;

/* Where a failing call leaves its message: one line, no newline at the end. Filled by the first failure; zero it
 * before use. NULL may be passed instead wherever a gal_diag * is asked for. */
typedef struct gal_diag {
    gal_err err;
    char text[1020];
} gal_diag;

/* Number formats of tensors and weights. */
typedef enum gal_dtype {
    GAL_F32 = 0,
    GAL_BF16 = 1,
    GAL_F16 = 2,
    GAL_F64 = 3, /* only on the reference device, for checking gradients */
    GAL_I32 = 4,
    GAL_BLOCKS = 5, /* weights only: small integers with scales, which the weight describes */
    GAL_Q8_0 = 6,   /* cached keys and values only: GGUF's blocks of 32 numbers, 8.5 bits each */
    GAL_Q4_0 = 7,   /* the same with 4.5 bits each */
    GAL_DTYPES = 8
} gal_dtype;

/* "0.1.0"; never NULL. */
GAL_API const char *gal_version(void);

/* A short lower-case name ("input"); never NULL, also for values that are no gal_err. */
GAL_API const char *gal_err_name(gal_err err);

/* "f32", "bf16", ...; never NULL. */
GAL_API const char *gal_dtype_name(gal_dtype dtype);

/* What computes. Results depend on the device and the level, never on the threads. Zero it before filling it in.
 *
 * numa is for machines whose memory is in several nodes; where there is one it does nothing. "auto" spreads the
 * threads over the nodes and takes memory from all of them in turn; "one" keeps both on one node while that has
 * memory; "mirror" is "auto", and weights that are rearranged for the processor are there once for each node, so that
 * each thread reads its own node's memory. The thread that opens the device computes too: it is bound as the others
 * are until it closes the device. */
typedef struct gal_device_options {
    const char *cpu; /* "ref", "sse42", "avx", "avx2", "avx512", "neon", or NULL: the best here */
    /* 0: one for each core that this process may use (of fast and slow ones the fast ones), and no more than a
     * container's limit on its time allows */
    int threads;
    const char *device; /* "cpu", or NULL: the same; "cuda" or "cuda:N": the GPU of that number */
    const char *numa;   /* "auto", or NULL: the same; "one"; "mirror" */
} gal_device_options;

#ifdef __cplusplus
}
#endif
#endif
