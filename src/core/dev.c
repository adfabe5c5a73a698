/* dev.c - opening a device, and choosing kernels by what the processor has. The only place that looks at the
 * processor's features.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dev.h"

#include "base/mem.h"
#include "base/numa.h"

#include <stdio.h>
#include <string.h>

#if defined(__AARCH64EL__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>

/* The compilers' own table of features lacks F16C in clang 14. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
static bool has_sse42(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3"); }
static bool has_avx(void) { return has_sse42() && __builtin_cpu_supports("avx"); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
/* The compilers' tables of names lack it in gcc 12. */
static bool has_avx_vnni(void) {
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static bool has_avx512_vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
/* Intel's processors take dot products of bf16 pairs at half the rate of f32 (measured on Sapphire Rapids: 85 and 170
 * GFLOP/s a core), so that rounding and multiplying in f32 is faster there; AMD's at twice the rate. */
static bool has_fast_avx512_bf16(void) {
    return has_avx512() && __builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel");
}
#else
static bool has_sse42(void) { return false; }
static bool has_avx(void) { return false; }
static bool has_avx2(void) { return false; }
static bool has_avx_vnni(void) { return false; }
static bool has_avx512(void) { return false; }
static bool has_avx512_vnni(void) { return false; }
static bool has_fast_avx512_bf16(void) { return false; }
#endif
#if defined(__AARCH64EL__)
static bool has_neon(void) { return true; }
#else
static bool has_neon(void) { return false; }
#endif
/* The kernel's bits (asm/hwcap.h); other systems are taken for the base. */
#if defined(__AARCH64EL__) && defined(__linux__)
static bool has_neon_dot(void) { return getauxval(AT_HWCAP) >> 20 & 1; }
static bool has_neon_i8mm(void) { return has_neon_dot() && getauxval(AT_HWCAP2) >> 13 & 1; }
#else
static bool has_neon_dot(void) { return false; }
static bool has_neon_i8mm(void) { return false; }
#endif

static void fill_avx2(gal_kernel_table *table) {
    gal_avx2_fill(table);
    if (has_avx_vnni()) gal_avx_vnni_fill(table);
}

static void fill_avx512(gal_kernel_table *table) {
    gal_avx512_fill(table);
    if (has_avx512_vnni()) gal_avx512_vnni_fill(table);
    if (has_fast_avx512_bf16()) gal_avx512_bf16_fill(table);
}

static void fill_neon(gal_kernel_table *table) {
    gal_neon_fill(table);
    if (has_neon_dot()) gal_neon_dot_fill(table);
    if (has_neon_i8mm()) gal_neon_i8mm_fill(table);
}

/* A level is those before it that this processor has, with some kernels replaced. */
static const struct {
    const char *name;
    bool (*present)(void);
    void (*fill)(gal_kernel_table *table);
} LEVELS[] = { { "ref", NULL, gal_ref_fill },         { "sse42", has_sse42, gal_sse42_fill },
               { "avx", has_avx, gal_avx_fill },      { "avx2", has_avx2, fill_avx2 },
               { "avx512", has_avx512, fill_avx512 }, { "neon", has_neon, fill_neon } };

static int find_level(const char *name) {
    for (size_t i = 0; i < GAL_LEN(LEVELS); i++)
        if (!strcmp(LEVELS[i].name, name)) return (int)i;
    return -1;
}

static bool level_present(int level) { return !LEVELS[level].present || LEVELS[level].present(); }

static void fill(gal_kernel_table *table, int level) {
    *table = (gal_kernel_table){ 0 };
    for (int i = 0; i <= level; i++)
        if (level_present(i)) LEVELS[i].fill(table);
    table->name = LEVELS[level].name;
}

bool gal_dev_table(gal_kernel_table *table, const char *level) {
    int i = find_level(level);
    if (i < 0 || !level_present(i)) return false;
    fill(table, i);
    return true;
}

static gal_err open_cpu(gal_dev *dev, const gal_device_options *options, gal_diag *diag) {
    const char *name = options ? options->cpu : NULL;
    int level = 0;
    if (name) {
        level = find_level(name);
        if (level < 0)
            return gal_fail(diag, GAL_EUSAGE, "unknown processor level '%s': ref, sse42, avx, avx2, avx512 or neon",
                            name);
        if (!level_present(level))
            return gal_fail(diag, GAL_EDEVICE, "this processor has no %s; leave the level out to take its best",
                            name);
    } else {
        for (int i = 0; i < (int)GAL_LEN(LEVELS); i++)
            if (level_present(i)) level = i;
    }
    fill(&dev->table, level);
    (void)snprintf(dev->name, sizeof dev->name, "%s", dev->table.name);
    return GAL_OK;
}

static const char *other_name;
static gal_dev_fill other_fill;

void gal_dev_add_kind(const char *name, gal_dev_fill fill_dev) {
    other_name = name;
    other_fill = fill_dev;
}

/* "cuda", "cuda:0" to "cuda:99": the GPU's number, else -1. */
static int cuda_index(const char *device) {
    if (strcmp(device, "cuda") == 0) return 0;
    if (strncmp(device, "cuda:", 5) != 0) return -1;
    const char *d = device + 5;
    size_t n = strspn(d, "0123456789");
    if (n < 1 || n > 2 || d[n]) return -1;
    return n == 1 ? d[0] - '0' : (d[0] - '0') * 10 + (d[1] - '0');
}

static gal_err open_device(gal_dev *dev, const gal_device_options *options, gal_diag *diag) {
    const char *device = options && options->device ? options->device : "cpu";
    if (strcmp(device, "cpu") == 0) return open_cpu(dev, options, diag);
    if (other_name && strcmp(device, other_name) == 0) return other_fill(dev, options, diag);
    int index = cuda_index(device);
    if (index < 0) return gal_fail(diag, GAL_EUSAGE, "unknown device '%s': cpu, cuda or cuda:N", device);
    return gal__dev_cuda(dev, index, diag);
}

/* The threads, on the machine or on what is left of it. */
static gal_err open_pool(gal_dev *dev, const gal_device_options *options, gal_diag *diag) {
    const char *numa = options && options->numa ? options->numa : "auto";
    const bool one = strcmp(numa, "one") == 0, mirror = strcmp(numa, "mirror") == 0;
    if (!one && !mirror && strcmp(numa, "auto") != 0)
        return gal_fail(diag, GAL_EUSAGE, "numa: expected auto, one or mirror, found '%s'", numa);
    const int threads = options ? options->threads : 0;
    if (!one) {
        gal_err err = gal_pool_new(&dev->pool, threads, diag);
        if (!err && mirror) gal_pool_mirror(dev->pool);
        return err;
    }
    gal_topology t;
    gal_topology_read(&t, "");
    const bool placed = gal_numa_narrow(&t, GAL_NUMA_ONE);
    return gal_pool_new_on(&dev->pool, threads, &t, placed, diag);
}

gal_err gal_dev_open(gal_dev **out, const gal_device_options *options, gal_diag *diag) {
    gal_dev *dev = gal_alloc(sizeof *dev);
    if (!dev) return gal_fail(diag, GAL_ENOMEM, "no memory for a device");
    gal_err err = open_pool(dev, options, diag);
    if (!err) err = open_device(dev, options, diag);
    if (err) {
        gal_dev_close(dev);
        return err;
    }
    *out = dev;
    return GAL_OK;
}

void gal_dev_close(gal_dev *dev) {
    if (!dev) return;
    if (dev->far) dev->far->close(dev->self);
    gal_pool_free(dev->pool);
    gal_free(dev);
}
