/* shards.c - see shards.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/shards.h"

#include "base/mem.h"

#include <fnmatch.h>
#include <string.h>

/* ---- finding -----------------------------------------------------------------------------------------------------
 */

typedef struct found {
    char **v;
    size_t n, cap;
} found;

static gal_err keep(found *f, const char *path, gal_diag *diag) {
    if (f->n >= GAL_SHARDS_MOST)
        return gal_fail(diag, GAL_EINPUT, "%s: more than %d shards; fewer and larger ones are needed", path,
                        GAL_SHARDS_MOST);
    char *copy = gal_strdup(path);
    if (!copy || gal_grow((void **)&f->v, &f->cap, f->n + 1, sizeof *f->v)) {
        gal_free(copy);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory for its name", path);
    }
    f->v[f->n++] = copy;
    return GAL_OK;
}

static gal_err keep_matches(found *f, const char *dir, const char *pattern, gal_diag *diag) {
    char **names = NULL;
    size_t n = 0, before = f->n;
    gal_buf path = { 0 };
    gal_err err = gal_list_dir(dir, &names, &n, diag);
    for (size_t i = 0; !err && i < n; i++) {
        if (fnmatch(pattern, names[i], FNM_PERIOD) != 0) continue;
        err = gal_path_join(&path, dir, names[i]) ? keep(f, path.data, diag)
                                                  : gal_fail(diag, GAL_ENOMEM, "%s: no memory", dir);
    }
    if (!err && f->n == before)
        err = gal_fail(diag, GAL_EINPUT, "%s: expected shards, found no file like %s", dir, pattern);
    gal_free_names(names, n);
    gal_buf_free(&path);
    return err;
}

static gal_err keep_pattern(found *f, const char *path, gal_diag *diag) {
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? gal_strdup(".") : gal_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!dir) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_err err = keep_matches(f, dir, slash ? slash + 1 : path, diag);
    gal_free(dir);
    return err;
}

gal_err gal_shards_find(char *const *given, size_t n, char ***paths, size_t *count, gal_diag *diag) {
    found f = { 0 };
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < n; i++) {
        const char *slash = strrchr(given[i], '/'), *name = slash ? slash + 1 : given[i];
        if (gal_is_dir(given[i])) {
            err = keep_matches(&f, given[i], "*.shard", diag);
        } else if (strpbrk(name, "*?[") && !gal_is_file(given[i])) {
            err = keep_pattern(&f, given[i], diag);
        } else if (!gal_is_file(given[i])) {
            err = gal_fail(
                diag, GAL_EINPUT,
                "%s: expected token shards, found no such file; galerne data tokenize makes them from text",
                given[i]);
        } else {
            err = keep(&f, given[i], diag);
        }
    }
    if (err) {
        gal_free_names(f.v, f.n);
        return err;
    }
    *paths = f.v;
    *count = f.n;
    return GAL_OK;
}

/* ---- opening -----------------------------------------------------------------------------------------------------
 */

static gal_err open_all(gal_shards *s, char *const *paths, const uint8_t tokenizer[32], gal_diag *diag) {
    gal_err err = GAL_OK;
    gal_sha256 all;
    gal_sha256_init(&all);
    for (size_t i = 0; !err && i < s->n; i++) {
        gal_shard *one = &s->shards[i];
        s->paths[i] = gal_strdup(paths[i]);
        err = s->paths[i] ? gal_shard_open(one, paths[i], tokenizer, diag)
                          : gal_fail(diag, GAL_ENOMEM, "%s: no memory for its name", paths[i]);
        if (err) break;
        (void)gal_maps_stamp_at(one->map.data, false, &s->stamps[i]);
        gal_sha256_add(&all, one->contents, 32);
        s->first[i] = s->n_tokens;
        s->n_tokens += one->n_tokens; /* each is below 2^62 bytes, and of these there are 4,000 at most */
        s->n_docs += one->n_docs;
        s->text_bytes += GAL_MIN(one->text_bytes, INT64_MAX - s->text_bytes);
        s->largest_id = GAL_MAX(s->largest_id, one->largest_id);
        s->n_targets += one->n_targets;
        if (i && one->row != s->row)
            err = gal_fail(diag, GAL_EINPUT,
                           "%s: expected rows of %lld tokens, as in %s, found %lld (0: no shard of conversations)",
                           paths[i], (long long)s->row, paths[0], (long long)one->row);
        s->row = one->row;
    }
    s->first[s->n] = s->n_tokens;
    gal_sha256_end(&all, s->contents);
    if (!err && s->n == 1) memcpy(s->contents, s->shards[0].contents, 32);
    return err;
}

gal_err gal_shards_open(gal_shards *out, char *const *paths, size_t n, const uint8_t tokenizer[32], gal_diag *diag) {
    gal_shards s = { .n = n };
    s.shards = gal_alloc_array(n, sizeof *s.shards);
    s.paths = gal_alloc_array(n, sizeof *s.paths);
    s.first = gal_alloc_array(n + 1, sizeof *s.first);
    s.stamps = gal_alloc_array(n, sizeof *s.stamps);
    s.used = gal_alloc_array(n, sizeof *s.used);
    s.gone = gal_alloc_array(n, sizeof *s.gone);
    gal_err err = s.shards && s.paths && s.first && s.stamps && s.used && s.gone
                      ? open_all(&s, paths, tokenizer, diag)
                      : gal_fail(diag, GAL_ENOMEM, "no memory for a list of %zu shards", n);
    if (err) {
        gal_shards_close(&s);
        return err;
    }
    *out = s;
    return GAL_OK;
}

gal_err gal_shards_bounded_by(gal_shards *s, const gal_tokenizer *t, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < s->n; i++) err = gal_shard_bounded_by(&s->shards[i], s->paths[i], t, diag);
    return err;
}

void gal_shards_close(gal_shards *s) {
    for (size_t i = 0; s->shards && i < s->n; i++) gal_shard_close(&s->shards[i]);
    for (size_t i = 0; s->paths && i < s->n; i++) gal_free(s->paths[i]);
    gal_free(s->shards);
    gal_free(s->paths);
    gal_free(s->first);
    gal_free(s->stamps);
    gal_free(s->used);
    gal_free(s->gone);
    *s = (gal_shards){ 0 };
}

/* ---- rows --------------------------------------------------------------------------------------------------------
 */

/* A walk over the stream: the shard that token `at` lies in, and in it the document. */
typedef struct cursor {
    const gal_shards *s;
    size_t k;
    const gal_shard *shard; /* NULL: beyond the end */
    int64_t at, end;        /* in the shard: the next token, its end */
    int64_t doc, doc_end;
} cursor;

static void enter_shard(cursor *c, size_t k, int64_t at) {
    while (k < c->s->n && c->s->shards[k].n_tokens == 0) k++;
    c->k = k;
    c->shard = k < c->s->n ? &c->s->shards[k] : NULL;
    if (!c->shard) return;
    c->at = at;
    c->end = c->shard->n_tokens;
    c->doc = gal_shard_doc_of(c->shard, at);
    c->doc_end = gal_shard_doc(c->shard, c->doc + 1);
}

static cursor cursor_at(const gal_shards *s, int64_t at) {
    cursor c = { .s = s };
    size_t low = 0, high = s->n;
    if (at >= s->n_tokens) return c;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->first[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    enter_shard(&c, low, at - s->first[low]);
    return c;
}

/* The token at the cursor, which moves on. *begins: it is the first of its document; *learned: it may be a target.
 * Asserts that there is one. */
static int32_t take(cursor *c, bool *begins, bool *learned) {
    if (c->at == c->end) enter_shard(c, c->k + 1, 0);
    while (c->at >= c->doc_end) { /* a while: documents may be empty */
        c->doc++;
        c->doc_end = gal_shard_doc(c->shard, c->doc + 1);
    }
    *begins = c->at == gal_shard_doc(c->shard, c->doc);
    *learned = gal_shard_learned(c->shard, c->at);
    return gal_shard_token(c->shard, c->at++);
}

static gal_err check_span(gal_shards *s, int64_t at, int64_t n, gal_diag *diag) {
    const int64_t end = GAL_MIN(at + n, s->n_tokens);
    gal_err err = GAL_OK;
    for (size_t k = at < end ? cursor_at(s, at).k : s->n; !err && k < s->n && s->first[k] < end; k++) {
        int64_t from = GAL_MAX(at - s->first[k], (int64_t)0), to = GAL_MIN(end, s->first[k + 1]) - s->first[k];
        s->used[k] = true;
        err = gal_shard_check(&s->shards[k], from, to - from, diag);
    }
    return err;
}

gal_err gal_shards_fit(const gal_shards *s, int64_t sequence, gal_packing packing, const char *name, gal_diag *diag) {
    if (!s->row) return GAL_OK;
    if (s->row != sequence)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: its conversations were packed into rows of %lld tokens: expected batch.sequence %lld, "
                        "found %lld",
                        name, (long long)s->row, (long long)s->row, (long long)sequence);
    if (packing != GAL_PACKING_MASKED)
        return gal_fail(diag, GAL_EINPUT, "%s: conversations: expected data.packing masked, found plain", name);
    if (s->n_targets < 1)
        return gal_fail(diag, GAL_EINPUT, "%s: no token in it is a target: nothing can be learned from it", name);
    return GAL_OK;
}

gal_err gal_shards_row(gal_shards *s, int64_t at, int64_t sequence, gal_packing packing, gal_row row,
                       int64_t *targets, gal_diag *diag) {
    const int64_t there = GAL_MAX(GAL_MIN(s->n_tokens - at, sequence + 1), (int64_t)0);
    bool begins = false, learned = false;
    *targets = 0;
    gal_err err = check_span(s, at, there, diag);
    if (err) return err;
    cursor c = cursor_at(s, at);
    int64_t start = row.base;
    int32_t next = there ? take(&c, &begins, &learned) : 0, least = next, most = next;
    for (int64_t i = 0; i < sequence; i++) {
        const int64_t n = row.base + i;
        if (packing == GAL_PACKING_MASKED && (begins || i == there)) start = n;
        row.ids[n] = next;
        row.start[n] = (int32_t)start;
        row.pos[n] = (int32_t)(n - start);
        begins = false;
        const bool follows = i + 1 < there;
        next = follows ? take(&c, &begins, &learned) : 0;
        row.target[n] = follows && learned && !(packing == GAL_PACKING_MASKED && begins) ? next : -1;
        *targets += row.target[n] >= 0;
        least = GAL_MIN(least, next);
        most = GAL_MAX(most, next);
    }
    /* A piece is checked once; a file that is written to meanwhile must not lead out of the embedding. */
    if (least < 0 || most > s->largest_id)
        return gal_fail(diag, GAL_EINPUT, "%s: changed while it was read: tokens %lld to %lld, largest id %lld",
                        s->paths[c.k], (long long)at, (long long)(at + there), (long long)s->largest_id);
    return GAL_OK;
}

/* ---- files that change -------------------------------------------------------------------------------------------
 */

gal_err gal_shards_whole(gal_shards *s, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < s->n; i++) {
        if (!s->used[i]) continue;
        s->used[i] = false;
        err = gal_map_check(&s->shards[i].map, diag);
    }
    return err;
}

static bool same_stamp(const gal_map_stamp *a, const gal_map_stamp *b) {
    return a->bytes == b->bytes && a->modified_s == b->modified_s && a->modified_ns == b->modified_ns &&
           a->changed_s == b->changed_s && a->changed_ns == b->changed_ns;
}

/* Its times say that it was touched: whether its bytes are still the same is another question. */
static gal_err look_again(gal_shard *s, const char *path, gal_diag *diag) {
    gal_diag why = { 0 };
    if (s->seen) memset(s->seen, 0, s->n_chunks);
    s->unchecked = s->n_chunks;
    const uint8_t *h = s->map.data;
    uint8_t own[32];
    gal_sha256_of(h, GAL__AT_SELF, own);
    bool same = memcmp(own, h + GAL__AT_SELF, 32) == 0 && memcmp(h + GAL__AT_CONTENTS, s->contents, 32) == 0;
    if (same && !gal_shard_check_all(s, NULL, NULL, &why)) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT, "%s: the file was changed while it was being trained on%s%s", path,
                    why.text[0] ? ": " : "", why.text);
}

gal_err gal_shards_unchanged(gal_shards *s, gal_buf *notes, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < s->n; i++) {
        gal_map_stamp now;
        err = gal_map_check(&s->shards[i].map, diag);
        if (err) break;
        if (!gal_maps_stamp_at(s->shards[i].map.data, false, &now)) {
            if (!s->gone[i])
                gal_buf_printf(notes,
                               "%s is not there any more, or another file is; the run goes on with what it opened, "
                               "and --resume will need it\n",
                               s->paths[i]);
            s->gone[i] = true;
        } else if (!same_stamp(&now, &s->stamps[i])) {
            err = look_again(&s->shards[i], s->paths[i], diag);
            s->stamps[i] = now;
        }
    }
    return err;
}
