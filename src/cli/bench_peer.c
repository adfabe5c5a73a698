/* bench_peer.c - engines other than galerne: llama.cpp through its Python package, which answers line by line, and
 * programs with llama-bench's options, which are started anew for each measurement. Neither outlives the benchmark.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/bench.h"
#include "text/json_tree.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_BYTES = 1 << 20, WAIT_MS = 100, WORDS = 48, OURS = 16, WARM_ROWS = 512, GONE_TRIES = 10 };

/* ---- what both do -------------------------------------------------------------------------------------------------
 */

/* The last line of what a program said of an error, for a message: "" if it said nothing. */
static const char *last_words(gal_buf *errors) {
    while (errors->len && strchr("\r\n ", errors->data[errors->len - 1])) errors->data[--errors->len] = 0;
    if (!errors->len) return "";
    const char *line = strrchr(errors->data, '\n');
    return line ? line + 1 : errors->data;
}

/* It has closed its output: what it ends with is known soon, unless it goes on for reasons of its own. */
static bool await_end(gal_child *c) {
    for (int i = 0; !gal_child_ended(c) && i < GONE_TRIES * WAIT_MS / 10; i++) (void)usleep(10000);
    return gal_child_ended(c);
}

static gal_err gone(const char *name, gal_child *c, gal_buf *errors, gal_diag *diag) {
    gal_buf rest = { 0 };
    for (int i = 0; i < GONE_TRIES && c->err >= 0 && gal_child_read(c, &rest, errors, WAIT_MS); i++)
        gal_buf_clear(&rest);
    gal_buf_free(&rest);
    const bool ended = await_end(c);
    gal_child_end(c);
    const char *said = last_words(errors), *colon = said[0] ? ": " : "";
    if (!ended) return gal_fail(diag, GAL_EFAIL, "%s: closed its output and did not end%s%.400s", name, colon, said);
    if (WIFSIGNALED(c->status))
        return gal_fail(diag, GAL_EFAIL, "%s: ended by signal %d%s%.400s", name, WTERMSIG(c->status), colon, said);
    return gal_fail(diag, GAL_EFAIL, "%s: ended with code %d%s%.400s", name, WEXITSTATUS(c->status), colon, said);
}

static gal_err check(const gal_buf *out, const char *name, gal_diag *diag) {
    if (out->oom) return gal_fail(diag, GAL_ENOMEM, "no memory for what %s says", name);
    if (out->len > ANSWER_BYTES) return gal_fail(diag, GAL_EFAIL, "%s: says more than %d bytes", name, ANSWER_BYTES);
    return gal_cli_interrupted() ? gal_fail(diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

static gal_err read_json(gal__value **v, gal__pool *pool, const char *s, size_t n, const char *name, gal_diag *diag) {
    gal_diag why = { 0 };
    gal_err err = gal__tree_read(v, pool, s, n, true, name, &why);
    if (!err) return GAL_OK;
    return gal_fail(diag, err == GAL_EINPUT ? GAL_EFAIL : err, "expected JSON as the answer; %s", why.text);
}

static double seconds_of(const gal__value *v) {
    const bool is = v && (v->type == GAL__WHOLE || v->type == GAL__REAL);
    const double x = is ? gal__number(v) : 0;
    return x > 0 && x < 1e30 ? x : 0;
}

static void copy_text(char *to, size_t room, const gal__value *v) {
    (void)snprintf(to, room, "%s", v && v->type == GAL__STRING ? v->text.s : "");
}

/* ---- llama.cpp
 * ------------------------------------------------------------------------------------------------------
 */

typedef struct llama {
    gal_bench_engine base;
    const gal_bench_job *job;
    gal_child child;
    gal_buf out, errors, request;
    gal__pool pool; /* of the answer */
    bool opened;
    bool as_stored; /* how a start, or its memory, is best: with weights as they lie in the file */
} llama;

/* Waits for a line of the child's and reads it. */
static gal_err answer(llama *p, gal_child *c, gal__value **v, gal_diag *diag) {
    gal_err err = GAL_OK;
    const char *end = NULL;
    while (!err && !(end = p->out.len ? memchr(p->out.data, '\n', p->out.len) : NULL)) {
        const bool more = gal_child_read(c, &p->out, &p->errors, WAIT_MS);
        err = check(&p->out, p->base.name, diag);
        if (!err && !more && !(p->out.len && memchr(p->out.data, '\n', p->out.len)))
            err = gone(p->base.name, c, &p->errors, diag);
    }
    if (err) return err;
    const size_t n = (size_t)(end - p->out.data);
    gal__pool_free(&p->pool);
    gal__pool_init(&p->pool);
    err = read_json(v, &p->pool, p->out.data, n, p->base.name, diag);
    gal_buf_drop(&p->out, n + 1);
    if (err) return err;
    const gal__value *why = (*v)->type == GAL__OBJECT ? gal__member(*v, "error") : NULL;
    if ((*v)->type != GAL__OBJECT || why)
        return gal_fail(diag, GAL_EFAIL, "%s: %s", p->base.name,
                        why && why->type == GAL__STRING ? why->text.s : "expected an object as its answer");
    return GAL_OK;
}

static gal_err ask(llama *p, gal_child *c, gal__value **v, gal_diag *diag) {
    if (p->request.oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a request");
    size_t at = 0;
    while (at < p->request.len) { /* a pipe holds far more than one request */
        const ssize_t n = write(c->in, p->request.data + at, p->request.len - at);
        if (n < 0 && errno != EINTR) return gone(p->base.name, c, &p->errors, diag);
        if (n > 0) at += (size_t)n;
    }
    return answer(p, c, v, diag);
}

/* A Python with the package, ready for requests. */
static gal_err begin(llama *p, gal_child *c, gal_diag *diag) {
    const char *const argv[] = { p->job->python, "-c", GAL_BENCH_LLAMA_CPP, NULL };
    gal__value *v = NULL;
    gal_diag why = { 0 };
    gal_buf_clear(&p->out);
    gal_buf_clear(&p->errors);
    if (gal_child_start(c, argv, true, &why)) return gal_fail(diag, GAL_EINPUT, "--vs llama.cpp: %s", why.text);
    gal_err err = answer(p, c, &v, diag);
    if (err) return err;
    const gal__value *missing = gal__member(v, "missing");
    if (missing)
        return gal_fail(diag, GAL_EINPUT,
                        "--vs llama.cpp: %s has no package llama_cpp (llama-cpp-python) that loads; --python names a "
                        "Python that has one: %s",
                        p->job->python, missing->type == GAL__STRING ? missing->text.s : "?");
    char version[64], system[300];
    copy_text(version, sizeof version, gal__member(v, "version"));
    copy_text(system, sizeof system, gal__member(v, "system"));
    (void)snprintf(p->base.about, sizeof p->base.about, "llama-cpp-python %s%s%s", version, system[0] ? ", " : "",
                   system);
    return GAL_OK;
}

static gal_err open_in(llama *p, gal_child *c, gal_diag *diag) {
    const gal_bench_job *j = p->job;
    gal__value *v;
    gal_buf_clear(&p->request);
    gal_buf_puts(&p->request, "{\"do\": \"open\", \"model\": ");
    gal_buf_json(&p->request, j->model->path.data, j->model->path.len);
    gal_buf_printf(&p->request,
                   ", \"vocab\": %lld, \"threads\": %d, \"chunk\": %d, \"longest\": %lld, \"flash\": \"%s\"}\n",
                   (long long)j->model->config.V, j->threads, GAL_BENCH_CHUNK, (long long)j->longest, j->flash);
    return ask(p, c, &v, diag);
}

static void request(llama *p, const char *what, const gal_bench_cell *c) {
    gal_buf_clear(&p->request);
    gal_buf_printf(&p->request,
                   "{\"do\": \"%s\", \"kind\": \"%s\", \"n\": %lld, \"depth\": %lld, \"batch\": %lld, "
                   "\"repack\": %s}\n",
                   what, c->kind == GAL_BENCH_PREFILL ? "prefill" : "decode", (long long)c->n, (long long)c->depth,
                   (long long)c->batch, p->as_stored ? "false" : "true");
}

static gal_err llama_measure(gal_bench_engine *e, const gal_bench_cell *c, double *value, gal_diag *diag) {
    llama *p = (llama *)e;
    gal_child fresh = GAL_CHILD_NONE, *who = !gal_bench_is_rate(c) ? &fresh : &p->child;
    gal__value *v = NULL;
    gal_err err = GAL_OK;
    if (!gal_bench_is_rate(c)) {
        err = begin(p, &fresh, diag);
        if (!err) err = open_in(p, &fresh, diag);
    }
    request(p, c->kind == GAL_BENCH_START ? "start" : c->kind == GAL_BENCH_MEMORY ? "memory" : "measure", c);
    if (!err) err = ask(p, who, &v, diag);
    *value = err ? 0 : seconds_of(gal__member(v, "value"));
    if (!err && *value <= 0 && c->kind != GAL_BENCH_MEMORY)
        err = gal_fail(diag, GAL_EFAIL, "%s: expected a value as its answer", p->base.name);
    gal_child_end(&fresh);
    return err;
}

/* Which of the two settings takes less. */
static gal_err try_both(llama *p, const gal_bench_cell *c, gal_diag *diag) {
    double value[2] = { 0 };
    gal_err err = GAL_OK;
    for (int i = 0; !err && i < 2; i++) {
        p->as_stored = i == 1;
        err = llama_measure(&p->base, c, &value[i], diag);
    }
    p->as_stored = value[1] < value[0];
    return err;
}

static gal_err llama_prepare(gal_bench_engine *e, const gal_bench_cell *c, bool *can, gal_diag *diag) {
    llama *p = (llama *)e;
    gal__value *v;
    *can = c->kind != GAL_BENCH_TEXT;
    if (!*can) return GAL_OK;
    if (!gal_bench_is_rate(c)) return try_both(p, c, diag);
    gal_err err = p->opened ? GAL_OK : open_in(p, &p->child, diag);
    p->opened = true;
    request(p, "prepare", c);
    return err ? err : ask(p, &p->child, &v, diag);
}

static void llama_free(gal_bench_engine *e) {
    llama *p = (llama *)e;
    gal_child_end(&p->child);
    gal__pool_free(&p->pool);
    gal_buf_free(&p->out);
    gal_buf_free(&p->errors);
    gal_buf_free(&p->request);
    gal_free(p);
}

gal_err gal_bench_llama_cpp(gal_bench_engine **out, const gal_bench_job *job, gal_diag *diag) {
    llama *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for a benchmark");
    p->base = (gal_bench_engine){
        .name = "llama.cpp", .prepare = llama_prepare, .measure = llama_measure, .free = llama_free
    };
    p->job = job;
    p->child = GAL_CHILD_NONE;
    gal__pool_init(&p->pool);
    gal_err err = begin(p, &p->child, diag);
    if (err)
        llama_free(&p->base);
    else
        *out = &p->base;
    return err;
}

/* ---- a program like llama-bench ----------------------------------------------------------------------------------
 */

typedef struct program {
    gal_bench_engine base;
    const gal_bench_job *job;
    const char *command;
    char *words;             /* of it, cut at blanks */
    const char *argv[WORDS]; /* of it; then room for ours */
    size_t n_argv;
    bool depth, prompt_first; /* how it decodes at a depth: -d, or as older ones do it, -gp */
} program;

/* What it prints when it is called so, up to its end. */
static gal_err call(program *p, const char *const *argv, gal_buf *out, gal_diag *diag) {
    gal_child c;
    gal_buf errors = { 0 };
    gal_err err = gal_child_start(&c, argv, true, diag);
    if (err) return err;
    gal_child_close(&c.in);
    while (!err && gal_child_read(&c, out, &errors, WAIT_MS)) err = check(out, p->base.name, diag);
    if (!err && (!await_end(&c) || c.status)) err = gone(p->base.name, &c, &errors, diag);
    gal_child_end(&c);
    gal_buf_free(&errors);
    return err;
}

/* The last sample of the last test in its output, in seconds. */
static gal_err last_sample(program *p, const gal_buf *out, double *value, gal_diag *diag) {
    gal__pool pool;
    gal__pool_init(&pool);
    gal__value *v = NULL;
    gal_err err = read_json(&v, &pool, out->len ? out->data : "", out->len, p->base.name, diag);
    const gal__value *test = v && v->type == GAL__ARRAY ? v->first : NULL;
    while (test && test->next) test = test->next;
    const gal__value *s = test && test->type == GAL__OBJECT ? gal__member(test, "samples_ns") : NULL;
    s = s && s->type == GAL__ARRAY ? s->first : NULL;
    while (s && s->next) s = s->next;
    *value = seconds_of(s) * 1e-9;
    if (!err && *value <= 0)
        err = gal_fail(diag, GAL_EFAIL, "%s: expected a list of tests with samples_ns as its output", p->base.name);
    char build[64];
    copy_text(build, sizeof build, err ? NULL : gal__member(test, "build_commit"));
    if (build[0]) (void)snprintf(p->base.about, sizeof p->base.about, "%s, build %s", p->command, build);
    gal__pool_free(&pool);
    return err;
}

static gal_err program_prepare(gal_bench_engine *e, const gal_bench_cell *c, bool *can, gal_diag *diag) {
    const program *p = (const program *)e;
    (void)diag;
    *can = gal_bench_is_rate(c) && c->kind != GAL_BENCH_TEXT && c->batch == 1 &&
           (!c->depth || p->depth || p->prompt_first);
    return GAL_OK;
}

static gal_err program_measure(gal_bench_engine *e, const gal_bench_cell *c, double *value, gal_diag *diag) {
    program *p = (program *)e;
    char n[32], depth[32], both[64], threads[16];
    size_t i = p->n_argv;
    const bool prefill = c->kind == GAL_BENCH_PREFILL, gp = c->depth && !p->depth;
    (void)snprintf(n, sizeof n, "%lld", (long long)c->n);
    (void)snprintf(depth, sizeof depth, "%lld", (long long)c->depth);
    (void)snprintf(both, sizeof both, "%lld,%lld", (long long)c->depth, (long long)c->n);
    (void)snprintf(threads, sizeof threads, "%d", p->job->threads);
    /* It warms up with a single token: a prompt is therefore read twice, unless it is long. */
    const char *ours[] = { "-m", p->job->model->path.data,
                           "-t", threads,
                           "-o", "json",
                           "-r", prefill && c->n <= WARM_ROWS ? "2" : "1",
                           "-p", prefill ? n : "0",
                           "-n", prefill || gp ? "0" : n };
    for (size_t j = 0; j < GAL_LEN(ours); j++) p->argv[i++] = ours[j];
    if (c->depth) {
        p->argv[i++] = gp ? "-gp" : "-d";
        p->argv[i++] = gp ? both : depth;
    }
    p->argv[i] = NULL;
    gal_buf out = { 0 };
    gal_err err = call(p, p->argv, &out, diag);
    if (!err) err = last_sample(p, &out, value, diag);
    gal_buf_free(&out);
    return err;
}

static void program_free(gal_bench_engine *e) {
    program *p = (program *)e;
    gal_free(p->words);
    gal_free(p);
}

/* The name before the command, or the program's; the command: a whole file's name, or a program and arguments. */
static gal_err split(program *p, const char *given, gal_diag *diag) {
    const char *equals = strchr(given, '=');
    const bool named = equals > given && strcspn(given, "/ ") > (size_t)(equals - given);
    p->command = named ? equals + 1 : given;
    p->words = gal_strdup(p->command);
    if (!p->words) return gal_fail(diag, GAL_ENOMEM, "no memory for a benchmark");
    const bool whole = gal_is_file(p->command);
    for (char *at = p->words; *at;) {
        at += whole ? 0 : strspn(at, " ");
        if (!*at) break;
        if (p->n_argv + OURS > WORDS)
            return gal_fail(diag, GAL_EUSAGE, "bench: --vs: at most %d arguments: %s", WORDS - OURS, p->command);
        p->argv[p->n_argv++] = at;
        at += whole ? strlen(at) : strcspn(at, " ");
        if (*at) *at++ = 0;
    }
    if (!p->n_argv)
        return gal_fail(diag, GAL_EUSAGE, "bench: --vs: expected llama.cpp or a program, found '%s'", given);
    const char *slash = strrchr(p->argv[0], '/');
    if (named)
        (void)snprintf(p->base.name, sizeof p->base.name, "%.*s",
                       (int)GAL_MIN((size_t)(equals - given), sizeof p->base.name - 1), given);
    else
        (void)snprintf(p->base.name, sizeof p->base.name, "%s", slash ? slash + 1 : p->argv[0]);
    (void)snprintf(p->base.about, sizeof p->base.about, "%s", p->command);
    return GAL_OK;
}

static gal_err learn(program *p, gal_diag *diag) {
    gal_buf out = { 0 };
    gal_diag why = { 0 };
    const char *const argv[] = { p->argv[0], "--help", NULL };
    gal_err err = call(p, argv, &out, &why);
    const char *help = out.len ? out.data : "";
    p->depth = strstr(help, "-d,") != NULL;
    p->prompt_first = strstr(help, "-gp") != NULL;
    const bool like = strstr(help, "-p,") && strstr(help, "-n,") && strstr(help, "-r,") && strstr(help, "-o,");
    gal_buf_free(&out);
    if (err) return gal_fail(diag, err == GAL_EFAIL ? GAL_EINPUT : err, "--vs %s", why.text);
    if (like) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "--vs %s: expected a program with llama-bench's options -p, -n, -r and -o",
                    p->argv[0]);
}

gal_err gal_bench_program(gal_bench_engine **out, const gal_bench_job *job, const char *command, gal_diag *diag) {
    program *p = gal_alloc(sizeof *p);
    if (!p) return gal_fail(diag, GAL_ENOMEM, "no memory for a benchmark");
    p->base = (gal_bench_engine){ .prepare = program_prepare, .measure = program_measure, .free = program_free };
    p->job = job;
    gal_err err = split(p, command, diag);
    if (!err) err = learn(p, diag);
    if (err)
        program_free(&p->base);
    else
        *out = &p->base;
    return err;
}
