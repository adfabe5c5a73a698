/* chosen_test.c - of a model with experts a decoding step touches the chosen ones' bytes alone: each weight of an
 * expert has pages of its own, and those of the others cannot be read while the step runs. Every level, weights in
 * f32, bf16 and blocks, these packed and in place, as small integers and exact; recorded steps and replayed ones.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/mem.h"
#include "support/check.h"
#include "support/thin.h"
#include "tensor/pack.h"
#include "tiny.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXPERTS = 5, USED = 2, LAYERS = 2, STEPS = 4, THREADS = 2 };
enum { FINE, TOUCHED, FAILED }; /* what the process that ran the steps says */

static gal_model *sparse(gal_dtype type) {
    gal_config c;
    gal_model *m = NULL;
    gal_config_defaults(&c);
    memcpy(c.model_type, "mixtral", sizeof "mixtral");
    c.V = TINY_V;
    c.D = 256;
    c.L = LAYERS;
    c.H = 8;
    c.G = 2;
    c.K = 32;
    c.F = 256;
    c.experts = EXPERTS;
    c.experts_used = USED;
    c.max_positions = 64;
    c.init_range = 0.3;
    CHECK_OK(gal_model_build(&m, &c, diag));
    CHECK_OK(gal_model_init(m, type, 77, diag));
    return m;
}

/* Pages of an expert's weight: its numbers, as they are or packed. */
typedef struct pages {
    int layer, expert;
    void *at;
    size_t bytes;
} pages;

typedef struct steps {
    pages pages[LAYERS * EXPERTS * 3];
    int n;
    int32_t choice[STEPS][LAYERS][USED];
    int step;
} steps;

static void *mapped(steps *s, const gal_w *w, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    pages p = { .bytes = (bytes + page - 1) / page * page };
    if (sscanf(w->name, "model.layers.%d.block_sparse_moe.experts.%d.", &p.layer, &p.expert) != 2 ||
        s->n == (int)GAL_LEN(s->pages))
        fail_msg("%s: no weight of an expert's", w->name);
    p.at = mmap(NULL, p.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p.at, MAP_FAILED);
    s->pages[s->n++] = p;
    return p.at;
}

/* Experts' weights move into pages. Packed: their blocks lie there as well, where nobody may read them. */
static void move(steps *s, gal_model *m, bool packed) {
    for (size_t i = 0; i < m->n_weights; i++) {
        gal_w *w = &m->weights[i];
        if (!w->of_expert) continue;
        const size_t bytes = gal_wbytes(w);
        if (packed) {
            const int64_t groups = (w->dim[0] + GAL_PACK_ROWS - 1) / GAL_PACK_ROWS;
            w->packed = mapped(s, w, gal_pack_bytes(w->code.block, w->dim[0], w->dim[1]));
            gal_pack(w->code.block, w->data, w->dim[0], w->dim[1], 0, groups, w->packed);
            continue;
        }
        void *to = mapped(s, w, bytes);
        memcpy(to, w->data, bytes);
        gal_free(w->data);
        w->data = to;
        w->owned = false;
    }
    assert_int_equal(s->n, GAL_LEN(s->pages));
}

static bool chosen(const steps *s, int step, int layer, int expert) {
    for (int j = 0; j < USED; j++)
        if (s->choice[step][layer][j] == expert) return true;
    return false;
}

/* Only the chosen ones' pages of this step can be read from now on; with one_less not even those of one of them. */
static void allow(const steps *s, int step, bool one_less) {
    for (int i = 0; i < s->n; i++) {
        const pages *p = &s->pages[i];
        bool may = chosen(s, step, p->layer, p->expert);
        if (one_less && p->layer == LAYERS - 1 && p->expert == s->choice[step][p->layer][USED - 1]) may = false;
        if (mprotect(p->at, p->bytes, may ? PROT_READ : PROT_NONE)) fail_msg("mprotect fails");
    }
}

static void on_tensor(void *user, const char *name, int index, const gal_t *t) {
    steps *s = user;
    if (strcmp(name, "choice") != 0) return;
    assert_int_equal(gal_count(t), USED);
    memcpy(s->choice[s->step][index], t->data, sizeof s->choice[s->step][index]);
}

static void on_fault(int signal) {
    (void)signal;
    _exit(TOUCHED);
}

typedef struct way {
    gal_dtype type;
    uint32_t block; /* of GAL_BLOCKS */
    bool packed, exact;
} way;

static gal_model *model_of(const way *w) {
    gal_model *m = sparse(w->type == GAL_BLOCKS ? GAL_F32 : w->type);
    if (w->type == GAL_BLOCKS) tiny_blocks(m, w->block);
    return m;
}

/* In a process of its own, which ends with it. */
static int run(const char *level, const way *w, gal_model *m, bool one_less) {
    static steps s;
    static float want[STEPS][TINY_V];
    gal_dev *dev = tiny_dev(level, THREADS);
    const float *logits = NULL;
    int32_t ids[STEPS];
    move(&s, m, w->packed);
    tiny_ids(ids, STEPS, 3);
    gal_engine_options o = { .compute = w->type == GAL_BF16 ? GAL_BF16 : GAL_F32, .exact = w->exact, .eager = true };
    gal_engine *e = tiny_engine(dev, m, o);
    gal_engine_tap(e, on_tensor, &s);
    for (s.step = 0; s.step < STEPS; s.step++) {
        const gal_slice slice = { 0, &ids[s.step], 1 };
        CHECK_OK(gal_engine_step(e, &slice, 1, false, &logits, diag));
        memcpy(want[s.step], logits, sizeof want[s.step]);
    }
    o.eager = false;
    e = tiny_engine(dev, m, o);
    (void)signal(SIGSEGV, on_fault);
    (void)signal(SIGBUS, on_fault);
    for (int i = 0; i < STEPS; i++) {
        const gal_slice slice = { 0, &ids[i], 1 };
        allow(&s, i, one_less && i == STEPS - 1);
        CHECK_OK(gal_engine_step(e, &slice, 1, false, &logits, diag));
        if (memcmp(want[i], logits, sizeof want[i]) != 0) return FAILED;
    }
    return gal_engine_replays(e) ? FINE : FAILED;
}

static void check(const char *level, const way *w, gal_model *m, bool one_less) {
    static const char *const TELL[] = { [FINE] = "nothing else was read",
                                        [TOUCHED] = "bytes that must not be read were",
                                        [FAILED] = "the steps failed" };
    int status = 0;
    (void)fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(run(level, w, m, one_less));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    const int is = WIFEXITED(status) && WEXITSTATUS(status) < FAILED ? WEXITSTATUS(status) : FAILED;
    if (is != (one_less ? TOUCHED : FINE))
        fail_msg("%s, %s%s%s, %s: %s", level,
                 w->type == GAL_BLOCKS ? gal_block_info_of(w->block)->name : gal_dtype_name(w->type),
                 w->packed ? ", packed" : "", w->exact ? ", exact" : "",
                 one_less ? "one chosen expert must not be read" : "the chosen experts alone may be read", TELL[is]);
}

static void only_the_chosen(void **state) {
    (void)state;
    static const char *const LEVELS[] = { "ref", "sse42", "avx", "avx2", "avx512", "neon" };
    static const way WAYS[] = { { GAL_F32, 0, false, false },
                                { GAL_BF16, 0, false, false },
                                { GAL_BLOCKS, GAL_BLOCK_Q4_K, false, false },
                                { GAL_BLOCKS, GAL_BLOCK_Q4_K, true, false },
                                { GAL_BLOCKS, GAL_BLOCK_Q4_K, false, true },
                                { GAL_BLOCKS, GAL_BLOCK_Q8_0, false, false },
                                { GAL_BLOCKS, GAL_BLOCK_Q8_0, true, false } };
    size_t n = 0;
    for (size_t i = 0; i < GAL_LEN(WAYS); i++) {
        gal_model *m = model_of(&WAYS[i]);
        for (size_t l = 0; l < GAL_LEN(LEVELS); l++) {
            gal_kernel_table t;
            if (!gal_dev_table(&t, LEVELS[l]) || (WAYS[i].packed && l == 0)) continue; /* ref packs nothing */
            if (thin_skip(n++, 3)) continue;
            check(LEVELS[l], &WAYS[i], m, false);
            check(LEVELS[l], &WAYS[i], m, true); /* and this test notices */
        }
        gal_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(only_the_chosen) };
    return cmocka_run_group_tests_name("infer/chosen", tests, NULL, NULL);
}
