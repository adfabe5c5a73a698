/* chat_tool.c - see chat.h. Owns the processes that it starts: none outlives its call but one that leaves its
 * process group. SPDX-License-Identifier: Apache-2.0 */
#include "cli/chat.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/util.h"
#include "cli/child.h"
#include "text/json_tree.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- which there are ----------------------------------------------------------------------------------------------
 */

const gal_chat_tool *gal_chat_toolbox_find(const gal_chat_toolbox *b, const char *name) {
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->tool[i].name, name) == 0) return &b->tool[i];
    return NULL;
}

static bool defined(const gal__value *list, const char *name) {
    for (const gal__value *v = list ? list->first : NULL; v; v = v->next) {
        const gal__value *f = v->type == GAL__OBJECT ? gal__member(v, "function") : NULL,
                         *n = f && f->type == GAL__OBJECT ? gal__member(f, "name") : NULL;
        if (n && n->type == GAL__STRING && strcmp(n->text.s, name) == 0) return true;
    }
    return false;
}

/* The file's definitions, and a plain one for each program that has none there. */
static gal_err define(gal_chat_toolbox *b, gal_cli *cli, gal_talk *talk, const gal__value *list) {
    gal_buf out = { 0 };
    gal_buf_putc(&out, '[');
    for (const gal__value *v = list ? list->first : NULL; v; v = v->next) {
        if (out.len > 1) gal_buf_puts(&out, ", ");
        gal__tree_print(&out, v);
    }
    for (size_t i = 0; i < b->n; i++) {
        if (defined(list, b->tool[i].name)) continue;
        if (out.len > 1) gal_buf_puts(&out, ", ");
        gal_buf_puts(&out, "{\"type\": \"function\", \"function\": {\"name\": ");
        gal_buf_json(&out, b->tool[i].name, strlen(b->tool[i].name));
        gal_buf_puts(&out, ", \"description\": \"\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}");
    }
    gal_buf_putc(&out, ']');
    gal_err err = out.oom ? gal_fail(&cli->diag, GAL_ENOMEM, "no memory for tools")
                          : gal_talk_tools(talk, out.data, &cli->diag);
    if (!err && out.len > 2 && !gal_talk_uses_tools(talk))
        err = gal_cli_usage(cli, "template %s has no tools", gal_talk_template_name(talk));
    gal_buf_free(&out);
    return err;
}

static gal_err read_definitions(gal_chat_toolbox *b, gal_cli *cli, gal_talk *talk, const char *path) {
    gal_buf text = { 0 };
    gal__pool pool;
    gal__pool_init(&pool);
    gal__value *tree = NULL;
    gal_err err = gal_read_file(&text, path, GAL__TREE_BYTES, &cli->diag);
    if (!err) err = gal__tree_read(&tree, &pool, text.data ? text.data : "", text.len, true, path, &cli->diag);
    const gal__value *list = tree;
    if (tree && tree->type == GAL__OBJECT) list = gal__member(tree, "tools");
    if (!err && (!list || list->type != GAL__ARRAY))
        err = gal_fail(&cli->diag, GAL_EINPUT, "%s: expected a list of tools, or an object that has one as \"tools\"",
                       path);
    if (!err) err = define(b, cli, talk, list);
    gal__pool_free(&pool);
    gal_buf_free(&text);
    return err;
}

gal_err gal_chat_toolbox_open(gal_chat_toolbox *b, gal_cli *cli, gal_talk *talk) {
    const char *file = gal_cli_string(cli, "tools");
    b->timeout_s = gal_cli_float(cli, "tool-timeout");
    const size_t n = gal_cli_count(cli, "tool");
    if (n > GAL_CHAT_TOOLS_MOST) return gal_cli_usage(cli, "--tool: at most %d programs", GAL_CHAT_TOOLS_MOST);
    for (size_t i = 0; i < n; i++) {
        const char *given = gal_cli_nth(cli, "tool", i), *equals = strchr(given, '=');
        if (!equals || equals == given || !equals[1])
            return gal_cli_usage(cli, "--tool: expected NAME=PROGRAM, found %s", given);
        char *name = gal_strdup(given);
        if (!name) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for tools");
        name[equals - given] = 0;
        b->tool[b->n++] = (gal_chat_tool){ name, equals + 1 };
        if (gal_chat_toolbox_find(b, name) != &b->tool[b->n - 1])
            return gal_cli_usage(cli, "--tool: %s is given twice", name);
    }
    if (file) return read_definitions(b, cli, talk, file);
    return b->n ? define(b, cli, talk, NULL) : GAL_OK;
}

void gal_chat_toolbox_free(gal_chat_toolbox *b) {
    for (size_t i = 0; i < b->n; i++) gal_free(b->tool[i].name);
    b->n = 0;
}

/* ---- running one --------------------------------------------------------------------------------------------------
 */

/* Feeds it a text and reads until its output ends, or it does and nothing is left to read. GAL_EFAIL with the reason
 * it is given up for. */
static gal_err converse(gal_child *c, const char *text, double until_s, double timeout_s, gal_buf *result,
                        gal_diag *diag) {
    char some[4096];
    size_t n_text = strlen(text);
    while (c->out >= 0) {
        const double left = until_s - gal_now_s();
        const bool ended = gal_child_ended(c); /* before what it left is read */
        if (gal_cli_interrupted()) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        if (left <= 0.0) return gal_fail(diag, GAL_EFAIL, "no answer within %g s", timeout_s);
        if (!n_text) gal_child_close(&c->in);
        struct pollfd p[2] = { { .fd = c->out, .events = POLLIN }, { .fd = c->in, .events = POLLOUT } };
        const int ready = poll(p, c->in >= 0 ? 2 : 1, ended ? 0 : 20);
        if (ready <= 0 && ended) return GAL_OK; /* a child of its own may hold its output for ever */
        if (ready <= 0) continue;
        if (c->in >= 0 && p[1].revents) {
            const ssize_t n = write(c->in, text, n_text);
            if (n > 0) {
                text += n;
                n_text -= (size_t)n;
            } else if (errno != EAGAIN && errno != EINTR) {
                gal_child_close(&c->in); /* it reads no more, which is its own affair */
                n_text = 0;
            }
        }
        if (!p[0].revents) continue;
        const ssize_t n = read(c->out, some, sizeof some);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) gal_child_close(&c->out);
        if (n > 0) gal_buf_add(result, some, (size_t)n);
        if (result->oom) return gal_fail(diag, GAL_ENOMEM, "no memory for a tool's result");
        if (result->len > GAL_TOOL_BYTES)
            return gal_fail(diag, GAL_EFAIL, "more than %d bytes of output", GAL_TOOL_BYTES);
    }
    return GAL_OK;
}

/* Its end, which may come long after that of its output. */
static gal_err wait_for(gal_child *c, double until_s, double timeout_s, gal_diag *diag) {
    while (!gal_child_ended(c)) {
        if (gal_cli_interrupted()) return gal_fail(diag, GAL_EINTERRUPTED, "interrupted");
        if (gal_now_s() >= until_s) return gal_fail(diag, GAL_EFAIL, "it did not end within %g s", timeout_s);
        (void)poll(NULL, 0, 5);
    }
    if (WIFSIGNALED(c->status)) return gal_fail(diag, GAL_EFAIL, "ended by signal %d", WTERMSIG(c->status));
    if (WEXITSTATUS(c->status) == 127) return gal_fail(diag, GAL_EFAIL, "it could not be run (exit code 127)");
    if (WEXITSTATUS(c->status)) return gal_fail(diag, GAL_EFAIL, "exit code %d", WEXITSTATUS(c->status));
    return GAL_OK;
}

gal_err gal_chat_tool_run(const gal_chat_toolbox *b, const gal_chat_tool *t, const char *arguments, gal_buf *result,
                          gal_diag *diag) {
    gal_child c = GAL_CHILD_NONE;
    const char *const argv[] = { t->program, NULL };
    const double until_s = gal_now_s() + b->timeout_s;
    gal_diag why = { 0 };
    gal_err err = gal_child_start(&c, argv, false, &why);
    if (!err) err = converse(&c, arguments, until_s, b->timeout_s, result, &why);
    gal_child_close(&c.in);
    gal_child_close(&c.out);
    if (!err) err = wait_for(&c, until_s, b->timeout_s, &why);
    gal_child_end(&c); /* given up, or what it started and left */
    if (err == GAL_EFAIL) {
        gal_buf_clear(result);
        gal_buf_puts(result, "{\"error\": ");
        gal_buf_json(result, why.text, strlen(why.text));
        gal_buf_putc(result, '}');
        err = result->oom ? gal_fail(diag, GAL_ENOMEM, "no memory for a tool's result") : GAL_OK;
    } else if (err) {
        (void)gal_fail(diag, err, "%s", why.text);
    }
    while (!err && result->len && strchr("\r\n", result->data[result->len - 1])) result->data[--result->len] = 0;
    return err;
}
