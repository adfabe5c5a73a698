/* bad.c - see bad.h. SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

#include "base/asan.h"
#include "infer/lm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char work[256];
static size_t largest; /* request since library_begin() */

/* ---- files -------------------------------------------------------------------------------------------------------
 */

static const char *in(const char *dir, const char *name) {
    static char path[4][600];
    static int turn;
    turn = (turn + 1) % 4;
    assert_in_range(snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name), 1, 599);
    return path[turn];
}

void slurp(gal_buf *b, const char *dir, const char *name) {
    CHECK_OK(gal_read_file(b, in(dir, name), 1 << 28, diag));
}

const char *fresh(const char *name) {
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", work, name);
    CHECK_OK(gal_remove_tree(path, diag));
    CHECK_OK(gal_make_dirs(path, diag));
    return path;
}

const char *copy_of(const char *from, const char *name) {
    const char *dir = fresh(name);
    char **names = NULL;
    size_t n = 0;
    gal_buf b = { 0 };
    CHECK_OK(gal_list_dir(from, &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], "golden.npz") == 0 || !gal_is_file(in(from, names[i]))) continue;
        slurp(&b, from, names[i]);
        put_file(dir, names[i], b.data, b.len);
    }
    gal_free_names(names, n);
    gal_buf_free(&b);
    return dir;
}

void swap(const char *dir, const char *file, const char *old, const char *by) {
    gal_buf b = { 0 }, out = { 0 };
    slurp(&b, dir, file);
    size_t n = strlen(old), at = 0;
    while (at + n <= b.len && memcmp(b.data + at, old, n) != 0) at++;
    if (at + n > b.len) fail_msg("%s: no \"%s\" to replace", file, old);
    gal_buf_add(&out, b.data, at);
    gal_buf_puts(&out, by);
    gal_buf_add(&out, b.data + at + n, b.len - at - n);
    size_t length = strlen(file), ending = strlen(".safetensors");
    if (length > ending && strcmp(file + length - ending, ".safetensors") == 0) {
        uint64_t header = 0;
        for (int i = 7; i >= 0; i--) header = header << 8 | (uint8_t)out.data[i];
        header = header - n + strlen(by);
        for (int i = 0; i < 8; i++) out.data[i] = (char)(header >> (8 * i));
    }
    assert_false(out.oom);
    put_file(dir, file, out.data, out.len);
    gal_buf_free(&b);
    gal_buf_free(&out);
}

static void make_folder_there(const char *path) { assert_int_equal(mkdir(path, 0777), 0); }
static void make_pipe(const char *path) { assert_int_equal(mkfifo(path, 0666), 0); }
static void make_loop(const char *path) { assert_int_equal(symlink(path, path), 0); }
static void make_zero(const char *path) { assert_int_equal(symlink("/dev/zero", path), 0); }
static void make_dangling(const char *path) { assert_int_equal(symlink("nowhere", path), 0); }

static void make_unreadable(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

const special SPECIALS[] = {
    { "a folder", make_folder_there, "folder", false },
    { "a pipe", make_pipe, "is a pipe, expected a regular file", false },
    { "a link to itself", make_loop, "Too many levels of symbolic links", false },
    { "a link to /dev/zero", make_zero, "is a character device, expected a regular file", false },
    { "a link to nowhere", make_dangling, "No such file", false },
    { "an unreadable file", make_unreadable, "Permission denied", true },
};
const size_t N_SPECIALS = GAL_LEN(SPECIALS);

/* ---- the program -------------------------------------------------------------------------------------------------
 */

typedef struct outcome {
    int code, signal;
    char err[4096];
} outcome;

/* Sanitizers map shadows of all memory. */
#if GAL_ASAN || defined(__SANITIZE_THREAD__)
#define MAPS_AT_WILL true
#else
#define MAPS_AT_WILL false
#endif

static void child(const char *const *argv, const char *err, bool limited) {
    int null = open("/dev/null", O_RDWR), to = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const struct rlimit none = { 0, 0 }, data = { MOST_DATA, MOST_DATA }, cpu = { MOST_CPU_S, MOST_CPU_S + 1 };
    (void)setrlimit(RLIMIT_CORE, &none);
    if (limited && !MAPS_AT_WILL) (void)setrlimit(RLIMIT_DATA, &data);
    if (null < 0 || to < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(to, 2) < 0) _exit(125);
    (void)setrlimit(RLIMIT_CPU, &cpu);
    (void)alarm(MOST_WAIT_S); /* outlives exec, and ends whoever waits for a pipe */
    (void)execv(GAL_PROGRAM, (char *const *)(uintptr_t)argv);
    _exit(126);
}

static void run(outcome *o, const char *dir, const char *const *args, bool limited) {
    const char *argv[MOST_ARGS + 2] = { "galerne" };
    size_t n = 1;
    for (; *args; args++) {
        assert_true(n <= MOST_ARGS);
        argv[n++] = strcmp(*args, "%") == 0 ? dir : *args;
    }
    const char *err = in(work, "stderr");
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(argv, err, limited);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    *o = (outcome){ .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                    .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0 };
    gal_buf b = { 0 };
    slurp(&b, work, "stderr");
    (void)snprintf(o->err, sizeof o->err, "%s", b.data ? b.data : "");
    gal_buf_free(&b);
}

static void must_say(const char *what, const char *who, const char *text, const char *const *says) {
    for (size_t i = 0; i < MOST_SAYS && says && says[i]; i++)
        if (!strstr(text, says[i])) fail_msg("%s: %s does not say \"%s\": %s", what, who, says[i], text);
}

void program(const char *what, const char *dir, int code, const char *const *says, const char *const *args) {
    outcome o;
    run(&o, dir, args, true);
    if (o.signal == SIGXCPU) fail_msg("%s: more than %d s of processor time", what, MOST_CPU_S);
    if (o.signal == SIGALRM) fail_msg("%s: waits", what);
    if (o.signal) fail_msg("%s: ended by signal %d: %s", what, o.signal, o.err);
    if (o.code != code) fail_msg("%s: code %d, expected %d: %s", what, o.code, code, o.err);
    must_say(what, "the program", o.err, says);
    if (code) {
        const char *nl = strchr(o.err, '\n');
        if (strncmp(o.err, "galerne: ", 9) != 0 || !nl || nl[1])
            fail_msg("%s: expected one line that begins with \"galerne: \": %s", what, o.err);
    }
}

void works(const char *what, int code, const char *const *args) {
    outcome o;
    run(&o, "", args, false);
    if (o.signal || o.code != code)
        fail_msg("%s: code %d, signal %d, expected %d: %s", what, o.code, o.signal, code, o.err);
}

/* ---- the library -------------------------------------------------------------------------------------------------
 */

static void *watch(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    (void)user;
    (void)old_bytes;
    if (bytes > largest) largest = bytes;
    if (bytes == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, bytes);
}

void library_begin(void) { largest = 0; }

void library_refused(const char *what, gal_err err, const gal_diag *diag, const char *const *says) {
    if (err != GAL_EINPUT) fail_msg("%s: %s, expected input: %s", what, gal_err_name(err), diag->text);
    must_say(what, "the library", diag->text, says);
    if (largest > MOST_REQUEST) fail_msg("%s: a request of %zu bytes: %s", what, largest, diag->text);
}

void model_refused(const char *what, const char *dir, const char *const *says) {
    gal_lm *lm = NULL;
    gal_diag diag = { 0 };
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.device.threads = 1;
    o.context = 16;
    library_begin();
    gal_err err = gal_lm_open(&lm, dir, &o, &diag);
    library_refused(what, err, &diag, says);
}

int main(void) {
    gal_set_alloc_hook(watch, NULL);
    make_folder(work);
    int failed = bad_gguf() + bad_models() + bad_texts() + bad_runs();
    remove_folder(work);
    return failed;
}
