/* convert.c - see convert.h: what may be written where, and the result made beside its place. Invariant: at `to` is
 * what was there, or the whole result. SPDX-License-Identifier: Apache-2.0 */
#include "convert/convert.h"

#include "base/mem.h"
#include "convert/job.h"

#include <stdio.h>
#include <string.h>

/* Names of what is in the making and of what is on its way out; a killed run's are cleared away by the next. */
#define UNFINISHED ".unfinished-"
#define REMOVED ".removed-"
#define FILE_INSIDE "model.gguf" /* a file, while it is made */

void gal_convert_options_init(gal_convert_options *o) {
    *o = (gal_convert_options){ .from = GAL_LAYOUT_ANY, .shard_bytes = GAL_CONVERT_SHARD_BYTES };
}

void gal__job_note(const gal__job *j, const char *fmt, ...) {
    char line[1024];
    if (!j->o->note) return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= 0) j->o->note(j->o->user, line);
}

/* ---- places -----------------------------------------------------------------------------------------------------
 */

/* Where the result comes to lie, and the names beside it. */
typedef struct place {
    gal_buf to, parent, making, old;
    bool there;
} place;

static void place_free(place *p) {
    gal_buf_free(&p->to);
    gal_buf_free(&p->parent);
    gal_buf_free(&p->making);
    gal_buf_free(&p->old);
}

static gal_err place_of(place *p, const char *to, gal_diag *diag) {
    size_t n = strlen(to);
    while (n > 1 && to[n - 1] == '/') n--;
    gal_buf_add(&p->to, to, n);
    if (p->to.oom || !p->to.data) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", to);
    const char *slash = strrchr(p->to.data, '/'), *name = slash ? slash + 1 : p->to.data;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return gal_fail(diag, GAL_EUSAGE, "%s: expected the name of a file or folder to make", to);
    gal_buf_add(&p->parent, slash ? p->to.data : ".", slash ? (size_t)GAL_MAX(slash - p->to.data, 1) : 1);
    gal_buf_printf(&p->making, "%s/" UNFINISHED "%s", p->parent.data ? p->parent.data : "", name);
    gal_buf_printf(&p->old, "%s/" REMOVED "%s", p->parent.data ? p->parent.data : "", name);
    if (p->parent.oom || p->making.oom || p->old.oom) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", to);
    p->there = gal_exists(p->to.data);
    return GAL_OK;
}

/* What force may replace: a GGUF file for a file; a folder with a model in it for a folder. */
static gal_err check_there(const place *p, const gal_convert_options *o, gal_diag *diag) {
    const char *to = p->to.data;
    bool folder = gal_is_dir(to), file = o->to == GAL_LAYOUT_GGUF;
    if (!p->there) return GAL_OK;
    if (folder && file) return gal_fail(diag, GAL_EINPUT, "%s: is a folder, expected a file to write", to);
    if (!folder && !file) return gal_fail(diag, GAL_EINPUT, "%s: is a file, expected a folder to make", to);
    if (file) {
        if (o->force && gal_is_file(to)) return gal_gguf_may_replace(to, diag);
        return gal_fail(diag, GAL_EINPUT, "%s: is there already; --force replaces it", to);
    }
    char **names = NULL;
    size_t n = 0;
    bool model = false;
    gal_err err = gal_list_dir(to, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++)
        model |= strcmp(names[i], "config.json") == 0 || strcmp(names[i], "params.json") == 0;
    gal_free_names(names, n);
    if (err || n == 0) return err;
    if (!o->force) return gal_fail(diag, GAL_EINPUT, "%s: is there already and not empty; --force replaces it", to);
    if (model) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: holds no model, so that it is not replaced", to);
}

/* Neither may the result take the source's place nor contain it. */
static gal_err check_source(const place *p, const gal_source *s, gal_diag *diag) {
    const gal_model *m = gal_source_model(s);
    const char *last = NULL;
    bool inside = gal_within(gal_source_path(s), p->to.data);
    for (size_t i = 0; !inside && i < m->n_weights; i++) {
        const char *file = m->weights[i].file;
        if (!file || (last && strcmp(file, last) == 0)) continue;
        inside = gal_within(file, p->to.data);
        last = file;
    }
    if (!inside) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: is the model itself or holds it: expected another place to write to",
                    p->to.data);
}

/* A little more than the numbers, for headers, vocabulary and the rest. */
static gal_err check_room(const place *p, const gal__job *j, gal_diag *diag) {
    uint64_t available = 0, need = j->total + (1 << 20);
    if (!gal_disk_available(p->parent.data, &available) || available >= need) return GAL_OK;
    return gal_fail(diag, GAL_EIO, "%s: the disk is full: about %llu bytes are needed, %llu bytes are available",
                    p->to.data, (unsigned long long)need, (unsigned long long)available);
}

/* ---- making -----------------------------------------------------------------------------------------------------
 */

/* From where it was made to where it belongs. */
static gal_err put_in_place(const place *p, const char *made, gal_diag *diag) {
    bool swap = p->there && gal_is_dir(p->to.data);
    gal_err err = swap ? gal_remove_tree(p->old.data, diag) : GAL_OK;
    if (!err && swap) err = gal_rename(p->to.data, p->old.data, diag);
    if (!err) {
        err = gal_rename(made, p->to.data, diag);
        if (err && swap) (void)gal_rename(p->old.data, p->to.data, NULL);
    }
    return err || !swap ? err : gal_remove_tree(p->old.data, diag);
}

static gal_err make(gal__job *j, const place *p, gal_diag *diag) {
    bool file = j->o->to == GAL_LAYOUT_GGUF;
    gal_buf made = { 0 };
    gal_err err = gal_remove_tree(p->making.data, diag);
    if (j->o->making) j->o->making(j->o->user, p->making.data);
    if (!err) err = gal_make_dirs(p->making.data, diag);
    if (!err && file && !gal_path_join(&made, p->making.data, FILE_INSIDE))
        err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", p->to.data);
    const char *at = file ? made.data : p->making.data;
    if (!err) err = file ? gal__write_gguf(j, at, diag) : gal__write_folder(j, at, diag);
    if (!err) err = put_in_place(p, at, diag);
    if (!err && file) err = gal_remove_tree(p->making.data, diag);
    if (err) (void)gal_remove_tree(p->making.data, NULL);
    gal_buf_free(&made);
    return err;
}

/* What fails while it is made is known to the user by the name that it was to have. */
static void fail_named(const place *p, bool file, gal_err err, const char *text, gal_diag *diag) {
    static const char INSIDE[] = "/" FILE_INSIDE;
    gal_buf b = { 0 };
    const char *rest = text;
    for (const char *s; (s = strstr(rest, p->making.data)) != NULL;) {
        gal_buf_add(&b, rest, (size_t)(s - rest));
        gal_buf_puts(&b, p->to.data);
        rest = s + p->making.len;
        if (file && strncmp(rest, INSIDE, sizeof INSIDE - 1) == 0) rest += sizeof INSIDE - 1;
    }
    gal_buf_puts(&b, rest);
    (void)gal_fail(diag, err, "%s", b.oom ? text : b.data);
    gal_buf_free(&b);
}

/* Where nobody chose a type; rounding of chosen ones is what was asked for. */
static void note_rounded(const gal__job *j) {
    const gal_convert_result *r = &j->result;
    if (!r->rounded || j->o->dtype != GAL_CONVERT_SAME || j->o->requantise) return;
    gal__job_note(j, "%lld of %lld numbers, in %zu of %zu tensors, were rounded to bf16: --dtype f32 keeps them",
                  (long long)r->numbers, (long long)r->params, r->rounded, r->tensors);
}

gal_err gal_convert_model(const char *from, const char *to, const gal_convert_options *o, gal_convert_result *result,
                          gal_diag *diag) {
    GAL_ASSERT(o->to < GAL_LAYOUTS);
    gal_source *s = NULL;
    place p = { 0 };
    gal__job j = { .o = o };
    gal_diag why = { 0 };
    gal_err err = place_of(&p, to, diag);
    if (!err) err = gal_check_parent(p.to.data, diag);
    if (!err) err = check_there(&p, o, diag);
    if (!err) err = gal_source_open(&s, from, o->from, o->to, diag);
    for (size_t i = 0; i < o->n_adapters && !err; i++)
        err = gal_source_add_lora(s, o->adapters[i].path, o->adapters[i].strength, diag);
    if (!err) err = check_source(&p, s, diag);
    if (!err) {
        j.s = s;
        err = gal__job_begin(&j, diag);
    }
    if (!err) err = check_room(&p, &j, diag);
    for (size_t i = 0; !err && i < gal_source_model(s)->n_notes; i++)
        gal__job_note(&j, "%s", gal_source_model(s)->notes[i]);
    if (!err) {
        err = make(&j, &p, &why);
        if (err) fail_named(&p, o->to == GAL_LAYOUT_GGUF, err, why.text, diag);
        if (!err) note_rounded(&j);
    }
    if (!err && result) *result = j.result;
    gal__job_end(&j);
    gal_source_close(s);
    place_free(&p);
    return err;
}
