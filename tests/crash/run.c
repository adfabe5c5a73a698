/* run.c - see run.h. SPDX-License-Identifier: Apache-2.0 */
#include "crash/run.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/util.h"
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BYTES = 1 << 26, WORDS = 40 };

char spot[256];
static gal_buf printed;

static const char CONFIG[] = "model: { width: 32, layers: 2, heads: 2, kv_heads: 1, hidden: 64, context: 64 }\n"
                             "data: { text: text.txt, valid_fraction: 0.1 }\n"
                             "tokenizer: { train_size: 300 }\n"
                             "batch: { rows: 2, sequence: 32 }\n"
                             "optimizer: { lr: 1e-2 }\n"
                             "device: { threads: 1 }\n";

int spot_setup(void **state) {
    (void)state;
    static const char *const WORD[] = { "sea", "wind", "salt", "gull", "the", "a", "over", "grey", "boat", "sails" };
    gal_buf text = { 0 };
    /* A kill leaves the same behind on a disk of memory, where a thousand syncs cost nothing. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
    make_folder(spot);
    for (uint64_t i = 0; i < 6000; i++) {
        uint64_t r = gal_rng_below(1, 2, i, 400);
        gal_buf_puts(&text, WORD[r % GAL_LEN(WORD)]);
        gal_buf_putc(&text, r % 11 == 0 ? '\n' : ' ');
    }
    assert_false(text.oom);
    put_file(spot, "text.txt", text.data, text.len);
    put_file(spot, "c.yaml", CONFIG, sizeof CONFIG - 1);
    gal_buf_free(&text);
    return 0;
}

int spot_teardown(void **state) {
    (void)state;
    gal_buf_free(&printed);
    remove_folder(spot);
    return 0;
}

const char *at(const char *fmt, ...) {
    static char path[8][600];
    static unsigned next;
    char *p = path[next++ % 8];
    va_list ap;
    int n = snprintf(p, 600, "%s/", spot);
    va_start(ap, fmt);
    (void)vsnprintf(p + n, 600 - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

void sleep_s(double s) {
    struct timespec t = { .tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9) };
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

/* ---- processes ---------------------------------------------------------------------------------------------------
 */

pid_t start(const char *words) {
    static char program[] = GALERNE;
    char text[1000], *argv[WORDS] = { program };
    int n = 1;
    (void)snprintf(text, sizeof text, "%s", words);
    for (char *p = text; *p && n < WORDS - 1;) {
        size_t len = strcspn(p, " ");
        bool end = p[len] == 0;
        p[len] = 0;
        if (len) argv[n++] = p;
        p += len + !end;
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing running */
        int fd = open(at("out"), O_WRONLY | O_CREAT | O_TRUNC, 0666), null = open("/dev/null", O_RDONLY);
        if (fd < 0 || null < 0 || chdir(spot) != 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(99);
        execv(program, argv);
        _exit(98);
    }
    return pid;
}

int finish(pid_t pid) {
    int status = 0;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    assert_int_equal(got, pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run(const char *words) { return finish(start(words)); }

const char *output(void) {
    if (gal_read_file(&printed, at("out"), MAX_BYTES, NULL)) return "";
    gal_buf_putc(&printed, 0);
    return printed.data;
}

bool log_holds(const char *run, const char *text) {
    gal_buf b = { 0 };
    bool found = false;
    if (!gal_read_file(&b, at("%s/log.txt", run), MAX_BYTES, NULL)) {
        gal_buf_putc(&b, 0);
        found = b.data && strstr(b.data, text);
    }
    gal_buf_free(&b);
    return found;
}

void wait_for_log(pid_t pid, const char *run, const char *text) {
    for (double end = gal_now_s() + 300; gal_now_s() < end;) {
        if (log_holds(run, text)) return;
        siginfo_t info = { 0 };
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid)
            fail_msg("%s: ended before its log held '%s': %s", run, text, output());
        sleep_s(0.001);
    }
    (void)kill(pid, SIGKILL);
    fail_msg("%s: no '%s' in the log", run, text);
}

bool stop(pid_t pid) {
    siginfo_t info = { 0 };
    (void)kill(pid, SIGSTOP);
    int bad;
    do bad = waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT);
    while (bad && errno == EINTR);
    return info.si_code == CLD_STOPPED;
}

/* ---- comparing ---------------------------------------------------------------------------------------------------
 */

static void same_checkpoint(const char *run, const char *whole, const char *step) {
    static const char *const FILES[] = { "config.json",     "generation_config.json", "model.safetensors",
                                         "tokenizer.model", "optimizer.safetensors",  "trainer.json",
                                         "manifest.json" };
    for (size_t i = 0; i < GAL_LEN(FILES); i++)
        same_file(at("%s/checkpoints/%s/%s", run, step, FILES[i]), at("%s/checkpoints/%s/%s", whole, step, FILES[i]));
}

long check_checkpoints(const char *run, const char *whole) {
    char **names = NULL;
    size_t n = 0;
    long newest = -1;
    if (!exists(at("%s/checkpoints", run))) return -1;
    CHECK_OK(gal_list_dir(at("%s/checkpoints", run), &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], "step-", 5) != 0) continue;
        same_checkpoint(run, whole, names[i]);
        newest = GAL_MAX(newest, strtol(names[i] + 5, NULL, 10));
    }
    gal_free_names(names, n);
    return newest;
}

static int leftovers_of(const char *dir) {
    char **names = NULL;
    size_t n = 0;
    int found = 0;
    if (gal_list_dir(dir, &names, &n, NULL)) return 0;
    for (size_t i = 0; i < n; i++)
        if (strstr(names[i], ".tmp.") || strncmp(names[i], ".", 1) == 0) found++;
    gal_free_names(names, n);
    return found;
}

int leftovers(const char *run) {
    return leftovers_of(at("%s", run)) + leftovers_of(at("%s/checkpoints", run)) + leftovers_of(at("%s/data", run)) +
           leftovers_of(at("%s/plots", run));
}

typedef struct numbers {
    gal_metric_step *steps;
    gal_metric_eval *evals;
    size_t n_steps, n_evals;
} numbers;

static numbers read_numbers(const char *run) {
    gal_metrics *m = NULL;
    numbers n = { 0 };
    CHECK_OK(gal_metrics_open(&m, at("%s/metrics.sqlite", run), false, diag));
    CHECK_OK(gal_metrics_steps(m, &n.steps, &n.n_steps, diag));
    CHECK_OK(gal_metrics_evals(m, &n.evals, &n.n_evals, diag));
    gal_metrics_close(m);
    return n;
}

static bool same_number(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

static void same_numbers(const char *run, const char *whole) {
    numbers a = read_numbers(run), b = read_numbers(whole);
    if (a.n_steps != b.n_steps || a.n_evals != b.n_evals)
        fail_msg("%s: %zu steps and %zu evaluations, expected %zu and %zu", run, a.n_steps, a.n_evals, b.n_steps,
                 b.n_evals);
    for (size_t i = 0; i < a.n_steps; i++) {
        const gal_metric_step *x = &a.steps[i], *y = &b.steps[i];
        if (x->step != y->step || x->tokens != y->tokens || !same_number(x->loss, y->loss) ||
            !same_number(x->lr, y->lr) || !same_number(x->grad_norm, y->grad_norm))
            fail_msg("%s: the numbers of step %ld differ", run, (long)y->step);
    }
    for (size_t i = 0; i < a.n_evals; i++) {
        const gal_metric_eval *x = &a.evals[i], *y = &b.evals[i];
        if (x->step != y->step || x->tokens != y->tokens || x->bytes != y->bytes || !same_number(x->nats, y->nats))
            fail_msg("%s: the evaluation of step %ld differs", run, (long)y->step);
    }
    gal_free(a.steps);
    gal_free(a.evals);
    gal_free(b.steps);
    gal_free(b.evals);
}

void same_end(const char *run, const char *whole, long step) {
    char name[40];
    (void)snprintf(name, sizeof name, "step-%ld", step);
    same_checkpoint(run, whole, name);
}

void same_run(const char *run, const char *whole, long step) {
    same_end(run, whole, step);
    if (check_checkpoints(run, whole) != step) fail_msg("%s: expected step %ld to be the last", run, step);
    same_numbers(run, whole);
    if (exists(at("%s/checkpoints/best.json", whole)))
        same_file(at("%s/checkpoints/best.json", run), at("%s/checkpoints/best.json", whole));
    if (leftovers(run)) fail_msg("%s: %d temporaries are left", run, leftovers(run));
}
