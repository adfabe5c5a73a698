/* tune.c - see tune.h. Owns the form of the file. SPDX-License-Identifier: Apache-2.0 */
#include "infer/tune.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/sysfile.h"
#include "base/util.h"
#include "infer/lm.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPT = 32, STEPS = 16, TURNS = 3, LINES = 256, FILE_BYTES = 1 << 16 };
#define ENOUGH_S 3.0 /* then one turn has to do */

/* ---- the key -----------------------------------------------------------------------------------------------------
 */

/* What the kernel calls the processor; the first of many lines. */
static void add_processor(gal_sha256 *h, const char *root) {
    static const char *const KEYS[] = { "model name", "CPU part", "Hardware" };
    char text[GAL__SYS_TEXT];
    if (!gal__sys_text(text, root, "proc/cpuinfo")) return;
    for (size_t i = 0; i < GAL_LEN(KEYS); i++) {
        const char *at = strstr(text, KEYS[i]);
        if (at) gal_sha256_add(h, at, strcspn(at, "\n"));
    }
}

static void add_machine(gal_sha256 *h, const char *root) {
    gal_topology t;
    gal_topology_read(&t, root);
    const int32_t numbers[] = { t.processors, t.cores, t.quota, t.nodes };
    gal_sha256_add(h, numbers, sizeof numbers);
}

void gal_tune_key(char key[GAL_TUNE_KEY], const gal_model *m, const char *level, const char *root) {
    const gal_config *c = &m->config;
    int64_t bytes = 0;
    for (size_t i = 0; i < m->n_weights; i++) bytes += (int64_t)gal_wbytes(&m->weights[i]);
    const int64_t numbers[] = { c->V, c->D, c->L, c->H, c->G, c->K, c->F, c->experts, c->experts_used, bytes };
    gal_sha256 h;
    uint8_t sum[32];
    gal_sha256_init(&h);
    add_processor(&h, root);
    add_machine(&h, root);
    gal_sha256_add(&h, level, strlen(level) + 1);
    gal_sha256_add(&h, numbers, sizeof numbers);
    gal_sha256_end(&h, sum);
    gal_hex(key, sum, (GAL_TUNE_KEY - 1) / 2);
}

/* ---- trying ------------------------------------------------------------------------------------------------------
 */

size_t gal_tune_counts(int counts[GAL_TUNE_TRIES], const gal_topology *t) {
    const int all = GAL_MIN(GAL_MIN(t->processors, t->quota), (int)GAL_MAX_THREADS);
    const int cores = GAL_MIN(t->threads, all);
    size_t n = 0;
    for (int i = 1; i < cores; i *= 2) counts[n++] = i;
    counts[n++] = cores;
    if (all > cores) counts[n++] = all;
    return n;
}

static gal_err work(double *seconds, gal_lm *lm, gal_diag *diag) {
    const int64_t V = lm->model->config.V, room = gal_engine_context(lm->engine);
    const int64_t prompt = GAL_MIN(room, (int64_t)PROMPT), end = GAL_MIN(room, prompt + STEPS);
    int32_t ids[PROMPT + STEPS];
    const float *logits;
    for (int64_t i = 0; i < end; i++) ids[i] = (int32_t)((i * 7919 + 3) % V);
    (void)gal_engine_truncate(lm->engine, 0, 0);
    const double begin = gal_now_s();
    gal_err err = gal_engine_prefill(lm->engine, 0, ids, prompt, &logits, diag);
    for (int64_t i = prompt; !err && i < end; i++) err = gal_engine_prefill(lm->engine, 0, ids + i, 1, &logits, diag);
    *seconds = gal_now_s() - begin;
    return err;
}

gal_err gal_tune_measure(double *seconds, const char *path, const gal_lm_options *o, int threads, gal_diag *diag) {
    gal_lm_options lo = *o;
    gal_lm *lm = NULL;
    lo.device.threads = threads;
    lo.context = 0;
    gal_err err = gal_lm_open(&lm, path, &lo, diag);
    double best = 0, spent = 0;
    for (int turn = 0; !err && turn <= TURNS && (turn < 2 || spent < ENOUGH_S); turn++) { /* the first warms up */
        double s;
        err = work(&s, lm, diag);
        spent += s;
        if (turn == 1 || (turn > 1 && s < best)) best = s;
    }
    gal_lm_close(lm);
    *seconds = best;
    return err;
}

gal_err gal_tune_model(int *best, const char *path, const gal_lm_options *o, const gal_topology *t,
                       const gal_tune_watch *watch, gal_diag *diag) {
    int counts[GAL_TUNE_TRIES], winner = 0;
    const size_t n = gal_tune_counts(counts, t);
    double least = 0;
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        if (watch && watch->interrupted && watch->interrupted(watch->user))
            return gal_fail(diag, GAL_EINTERRUPTED, "interrupted while numbers of threads were tried");
        gal_err err = gal_tune_measure(&s, path, o, counts[i], diag);
        if (err) return err;
        if (watch && watch->tried) watch->tried(watch->user, counts[i], s);
        if (winner && s > 0.98 * least) continue;
        least = s;
        winner = counts[i];
    }
    *best = winner;
    return GAL_OK;
}

/* ---- the file ----------------------------------------------------------------------------------------------------
 */

/* The threads of a whole line, 0 if it is none. */
static int threads_of(const char *line, size_t n) {
    char text[GAL_TUNE_KEY + 8] = { 0 };
    int64_t threads;
    if (n >= sizeof text || n <= GAL_TUNE_KEY || line[GAL_TUNE_KEY - 1] != ' ' ||
        strspn(line, "0123456789abcdef") != GAL_TUNE_KEY - 1)
        return 0;
    memcpy(text, line, n);
    return gal_parse_i64(text + GAL_TUNE_KEY, &threads) && threads > 0 && threads <= GAL_MAX_THREADS ? (int)threads
                                                                                                     : 0;
}

static bool has_key(const char *line, const char *key) { return memcmp(line, key, GAL_TUNE_KEY - 1) == 0; }

/* The next whole line of a text at *at, which moves behind it; NULL: none is left. */
static const char *next_line(const char **at, size_t *n) {
    const char *line = *at, *end = line ? strchr(line, '\n') : NULL;
    if (!end) return NULL;
    *n = (size_t)(end - line);
    *at = end + 1;
    return line;
}

int gal_tune_recall(const char *path, const char *key) {
    gal_buf b = { 0 };
    int threads = 0;
    if (!gal_read_file(&b, path, FILE_BYTES, NULL)) {
        const char *at = b.data;
        size_t n;
        for (const char *line = next_line(&at, &n); line && !threads; line = next_line(&at, &n))
            if (threads_of(line, n) && has_key(line, key)) threads = threads_of(line, n);
    }
    gal_buf_free(&b);
    return threads;
}

gal_err gal_tune_remember(const char *path, const char *key, int threads, gal_diag *diag) {
    GAL_ASSERT(threads > 0 && strlen(key) == GAL_TUNE_KEY - 1);
    gal_buf old = { 0 }, b = { 0 };
    gal_buf_printf(&b, "%s %d\n", key, threads);
    if (!gal_read_file(&old, path, FILE_BYTES, NULL)) {
        const char *at = old.data;
        size_t n;
        int kept = 1;
        for (const char *line = next_line(&at, &n); line && kept < LINES; line = next_line(&at, &n)) {
            if (!threads_of(line, n) || has_key(line, key)) continue;
            gal_buf_add(&b, line, n + 1);
            kept++;
        }
    }
    gal_err err = b.oom ? gal_fail(diag, GAL_ENOMEM, "%s: no memory for its lines", path)
                        : gal_write_file(path, b.data, b.len, diag);
    gal_buf_free(&old);
    gal_buf_free(&b);
    return err;
}
