/* kernel_test.h - one table of cases for every kernel: run at each level against the reference, and timed.
 *
 * A case is set up once for each combination of types, scale and alignment that it names. Every array lies between
 * guards of 0xff bytes (a NaN in every float format, so that reading them spoils the result); outputs start with
 * random contents, and what a kernel does not write must stay. An output may differ from the reference by abs[i] (set
 * by the case from lengths and magnitudes)  +  one unit in the last place of its type. Chunks are run forwards and
 * backwards: the bytes must be equal. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_KERNELS_KERNEL_TEST_H
#define TESTS_KERNELS_KERNEL_TEST_H

#include "base/pool.h"
#include "kernels/kernels.h"

enum { KT_OUTS = 6, KT_BLOCKS = 48, KT_ARGS_BYTES = 1024, KT_PARAMS = 9 };

#define KT_U 0x1p-24 /* relative error of one f32 operation */

typedef struct kt kt;

/* What a case is run over besides its own numbers. */
enum { KT_WDT = 1, KT_ACC = 2, KT_SCALE = 4, KT_F32 = 8 /* f32 only */, KT_GPU = 16 /* timed on a GPU only */ };

typedef struct kt_case {
    const char *name;
    gal_kernel_id id;
    void (*setup)(kt *t, const int64_t *p);
    int64_t p[KT_PARAMS];
    unsigned vary;
    bool bench; /* too large for the test: only timed */
} kt_case;

typedef struct kt_out {
    void *p;
    gal_dtype dt;
    int64_t n;
    double *abs;  /* [n] allowed difference before rounding; starts at 0 */
    double *half; /* [n] and besides for levels whose products are of bf16 pairs; NULL: nothing */
    double *want; /* [n] the exact result, for the reference itself; NULL: the reference is trusted here */
    bool exact;   /* no rounding allowed either */
    unsigned char *initial;
} kt_out;

struct kt {
    const kt_case *c;
    gal_dtype dt, wdt;
    bool accumulate;
    double scale;  /* of the inputs */
    int64_t shift; /* elements by which arrays are off a 64-byte boundary */
    uint64_t random;
    _Alignas(64) unsigned char args[KT_ARGS_BYTES];
    kt_out out[KT_OUTS];
    int outs;
    void *block[KT_BLOCKS];
    size_t array_bytes[KT_BLOCKS]; /* of a block that a kernel may see, with its guards; 0: the harness's own */
    int blocks;
    double flops, bytes; /* of one run, for the benchmark */
    bool failed;
};

typedef struct kt_family {
    const char *name;
    const kt_case *cases;
    size_t n;
} kt_family;
extern const kt_family KT_GEMM, KT_CODED, KT_ROWS, KT_ATTEND, KT_ACT, KT_MOE, KT_LOSS, KT_OPTIM;

/* Levels that this processor has, ref first; 0 .. kt_levels() - 1. */
int kt_levels(void);
const gal_kernel_table *kt_level(int i);

double kt_uniform(kt *t);           /* in [-1, 1) */
int64_t kt_below(kt *t, int64_t n); /* in [0, n) */
double kt_get(const void *p, gal_dtype dt, int64_t i);
void kt_put(void *p, gal_dtype dt, int64_t i, double x);
void *kt_in(kt *t, gal_dtype dt, int64_t n, double scale);       /* random, about normal with this deviation */
int32_t *kt_ints(kt *t, int64_t n);                              /* zeroed */
double *kt_doubles(kt *t, int64_t n);                            /* zeroed */
kt_out *kt_result(kt *t, gal_dtype dt, int64_t n, double scale); /* an output with random contents */
void kt_args(kt *t, const void *args, size_t bytes);
#define KT_ARGS(t, type, ...) kt_args(t, &(type){ __VA_ARGS__ }, sizeof(type))

void kt_run(const gal_kernel *k, const void *args, void *scratch, bool backwards);
/* The reference's kernel, while a case is being set up. */
void kt_run_ref(gal_kernel_id id, const void *args);

/* The steps of a check. A variant is a case with types, scale and alignment chosen; check sees each of a family. */
void kt_each(const kt_family *f, void (*check)(kt *t)); /* fails the test after the last of them, if one failed */
void kt_set_up(kt *t);
void kt_tear_down(kt *t);
void kt_reset_outputs(kt *t);
unsigned char *kt_outputs(const kt *t); /* what the outputs hold, all in a row; to be freed */
size_t kt_outputs_bytes(const kt *t);
/* want NULL: the exact results of the case, where it has them. */
void kt_compare(kt *t, const char *level, const unsigned char *got, const unsigned char *want);
void kt_check_guards(kt *t, const char *level);
void kt_fail(kt *t, const char *level, const char *what); /* prints the first of a variant, and a few of a case */
/* What the reference makes of a variant that is set up, after comparing it with the exact results. */
unsigned char *kt_reference(kt *t);

void kt_test(const kt_family *f);
void kt_bench(const kt_family *f, int level);
double kt_now_s(void);
void kt_print_speed(const kt *t, const char *level, double best_s);

#endif
