/* mix.c - see mix.h. SPDX-License-Identifier: Apache-2.0 */
#include "data/mix.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/util.h"
#include "formats/json.h"

#include <math.h>
#include <string.h>

#define STREAM_BEGIN UINT64_C(0x6f72646572000003) /* beside those of order.c */
#define STREAM_SOURCE UINT64_C(0x6f72646572000004)
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* 2^64 / golden ratio, odd: every x is met once in 2^64 rows */

double gal_massivetext_weight(const char *subset, bool chinchilla, const char **names) {
    /* Percent of the rows: table 2 of Rae et al. (2021), table A1 of Hoffmann et al. (2022). */
    static const struct {
        const char *name;
        double gopher, chinchilla;
    } SUBSETS[] = { { "MassiveWeb", 48, 45 }, { "Books", 27, 30 }, { "C4", 10, 10 },
                    { "News", 10, 10 },       { "GitHub", 3, 4 },  { "Wikipedia", 2, 1 } };
    if (names) *names = "MassiveWeb, Books, C4, News, GitHub, Wikipedia";
    for (size_t i = 0; i < GAL_LEN(SUBSETS); i++)
        if (strcmp(SUBSETS[i].name, subset) == 0) return chinchilla ? SUBSETS[i].chinchilla : SUBSETS[i].gopher;
    return 0;
}

/* ---- opening -----------------------------------------------------------------------------------------------------
 */

/* Where each interval ends: partial sums in units of 2^-64 of all. */
static gal_err divide(gal_mix *m, gal_diag *diag) {
    double all = 0, sum = 0;
    for (size_t i = 0; i < m->n; i++) all += m->sources[i].weight;
    for (size_t i = 0; i < m->n; i++) {
        gal_mix_source *s = &m->sources[i];
        const double before = sum;
        sum += s->weight;
        if (!(s->weight > 0) || !isfinite(all) || !(sum / all > before / all))
            return gal_fail(diag, GAL_EINPUT,
                            "%s: expected a weight above 0 that counts beside the others', found %g", s->name,
                            s->weight);
        double end = ldexp(sum / all, 64);
        s->until = end < 18446744073709551615.0 ? (uint64_t)end : UINT64_MAX;
        s->weight /= all;
    }
    m->sources[m->n - 1].until = UINT64_MAX;
    return GAL_OK;
}

static void add_up(gal_mix *m) {
    gal_sha256 h;
    gal_sha256_init(&h);
    for (size_t i = 0; i < m->n; i++) {
        const gal_mix_source *s = &m->sources[i];
        uint8_t until[8];
        for (size_t k = 0; k < 8; k++) until[k] = (uint8_t)(s->until >> (8 * k));
        gal_sha256_add(&h, until, sizeof until);
        gal_sha256_add(&h, s->shards.contents, 32);
        m->n_tokens += s->shards.n_tokens;
        m->n_docs += s->shards.n_docs;
        m->text_bytes += GAL_MIN(s->shards.text_bytes, INT64_MAX - m->text_bytes);
        m->largest_id = GAL_MAX(m->largest_id, s->shards.largest_id);
    }
    gal_sha256_end(&h, m->contents);
    if (m->n == 1) memcpy(m->contents, m->sources[0].shards.contents, 32);
}

static gal_err open_part(gal_mix_source *s, const gal_mix_part *p, const uint8_t tokenizer[32], gal_diag *diag) {
    char **paths = NULL;
    size_t n = 0;
    s->weight = p->weight;
    s->name = gal_strdup(p->name);
    if (!s->name) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", p->name);
    gal_err err = gal_shards_find(p->paths, p->n_paths, &paths, &n, diag);
    if (!err) err = gal_shards_open(&s->shards, paths, n, tokenizer, diag);
    gal_free_names(paths, n);
    return err;
}

gal_err gal_mix_open(gal_mix *out, const gal_mix_part *parts, size_t n, const uint8_t tokenizer[32], gal_diag *diag) {
    gal_mix m = { .sources = gal_alloc_array(n, sizeof *m.sources), .n = n };
    if (n > GAL_MIX_SOURCES || n == 0) {
        gal_free(m.sources);
        return gal_fail(diag, GAL_EINPUT, "a mixture: expected 1 to %d sources, found %zu", GAL_MIX_SOURCES, n);
    }
    gal_err err = m.sources ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory for %zu sources", n);
    size_t shards = 0;
    for (size_t i = 0; !err && i < n; i++) {
        err = open_part(&m.sources[i], &parts[i], tokenizer, diag);
        shards += m.sources[i].shards.n;
        if (!err && shards > GAL_SHARDS_MOST)
            err = gal_fail(diag, GAL_EINPUT, "%s: more than %d shards in all; fewer and larger ones are needed",
                           parts[i].name, GAL_SHARDS_MOST);
    }
    if (!err) err = divide(&m, diag);
    if (err) {
        gal_mix_close(&m);
        return err;
    }
    add_up(&m);
    *out = m;
    return GAL_OK;
}

gal_err gal_mix_of_one(gal_mix *out, gal_shards *shards, const char *name, gal_diag *diag) {
    gal_mix m = { .sources = gal_alloc_array(1, sizeof *m.sources), .n = 1 };
    if (m.sources) m.sources->name = gal_strdup(name);
    if (!m.sources || !m.sources->name) {
        gal_free(m.sources);
        return gal_fail(diag, GAL_ENOMEM, "%s: no memory", name);
    }
    m.sources->weight = 1;
    m.sources->until = UINT64_MAX;
    m.sources->shards = *shards;
    *shards = (gal_shards){ 0 };
    add_up(&m);
    *out = m;
    return GAL_OK;
}

gal_err gal_mix_order(gal_mix *m, uint64_t seed, int64_t sequence, gal_packing packing, gal_diag *diag) {
    gal_err err = GAL_OK;
    m->begin = gal_rng_below(seed, STREAM_BEGIN, 0, UINT64_MAX);
    m->bytes_per_target = 0;
    for (size_t i = 0; !err && i < m->n; i++) {
        gal_mix_source *s = &m->sources[i];
        /* One shard twice in a mixture shall not give the same rows twice. The first keeps the order that it has
         * alone. */
        uint64_t own = i ? gal_rng_below(seed, STREAM_SOURCE, i, UINT64_MAX) : seed;
        err = gal_order_init(&s->order, &s->shards, own, sequence, packing, s->name, diag);
        int64_t targets = s->shards.row ? s->shards.n_targets
                                        : s->shards.n_tokens - (packing == GAL_PACKING_MASKED ? s->shards.n_docs : 1);
        m->bytes_per_target += s->weight * (double)s->shards.text_bytes / (double)GAL_MAX(targets, (int64_t)1);
    }
    return err;
}

void gal_mix_close(gal_mix *m) {
    for (size_t i = 0; m->sources && i < m->n; i++) {
        gal_shards_close(&m->sources[i].shards);
        gal_free(m->sources[i].name);
    }
    gal_free(m->sources);
    *m = (gal_mix){ 0 };
}

/* ---- rows --------------------------------------------------------------------------------------------------------
 */

size_t gal_mix_source_of(const gal_mix *m, uint64_t row) {
    const uint64_t x = m->begin + row * GOLDEN;
    size_t i = 0;
    while (i + 1 < m->n && x >= m->sources[i].until) i++;
    return i;
}

gal_err gal_mix_next(const gal_mix *m, gal_mix_state *state, gal_row row, int64_t *targets, gal_diag *diag) {
    size_t i = gal_mix_source_of(m, state->row);
    state->row++;
    return gal_order_next(&m->sources[i].order, &state->at[i], row, targets, diag);
}

void gal_mix_pass(const gal_mix *m, gal_mix_state *state) {
    size_t i = gal_mix_source_of(m, state->row);
    state->row++;
    gal_order_pass(&m->sources[i].order, &state->at[i]);
}

gal_err gal_mix_whole(const gal_mix *m, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < m->n; i++) err = gal_shards_whole(&m->sources[i].shards, diag);
    return err;
}

gal_err gal_mix_unchanged(gal_mix *m, gal_buf *notes, gal_diag *diag) {
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < m->n; i++) err = gal_shards_unchanged(&m->sources[i].shards, notes, diag);
    return err;
}

uint64_t gal_mix_rows_of(const gal_mix *m, const gal_mix_state *s, size_t source) {
    uint64_t rows = s->at[source].row;
    for (uint64_t e = 0; e < s->at[source].epoch; e++) rows += (uint64_t)gal_order_rows(&m->sources[source].order, e);
    return rows;
}

double gal_mix_epochs(const gal_mix *m, size_t source, double rows) {
    const gal_mix_source *s = &m->sources[source];
    return rows * s->weight / (double)gal_order_rows(&s->order, 0);
}

/* ---- the place in it ---------------------------------------------------------------------------------------------
 */

json_t *gal_mix_state_json(const gal_mix *m, const gal_mix_state *s) {
    json_t *root = json_object(), *list = json_array();
    bool ok = json_object_set_new(root, "row", json_integer((json_int_t)s->row)) == 0;
    for (size_t i = 0; ok && i < m->n; i++) {
        json_t *one = json_object();
        const char *name = m->sources[i].name; /* a path need not be UTF-8 */
        ok = json_object_set_new(one, "name", json_string(gal_utf8_valid(name, strlen(name)) ? name : "")) == 0 &&
             json_object_set_new(one, "epoch", json_integer((json_int_t)s->at[i].epoch)) == 0 &&
             json_object_set_new(one, "row", json_integer((json_int_t)s->at[i].row)) == 0;
        if (ok)
            ok = json_array_append_new(list, one) == 0;
        else
            json_decref(one);
    }
    if (ok)
        ok = json_object_set_new(root, "sources", list) == 0;
    else
        json_decref(list);
    if (ok) return root;
    json_decref(root);
    return NULL;
}

gal_err gal_mix_state_read(gal_mix_state *out, const gal_mix *m, const json_t *from, const char *path,
                           gal_diag *diag) {
    const json_t *list = json_object_get(from, "sources");
    gal_mix_state s = { 0 };
    if (json_array_size(list) != m->n)
        return gal_fail(diag, GAL_EINPUT, "%s: mixture: expected the places in %zu sources, found %zu", path, m->n,
                        json_array_size(list));
    int64_t epoch = 0, row = 0;
    gal_err err = gal_json_count(from, "mixture: ", "row", path, &row, diag);
    s.row = (uint64_t)row;
    for (size_t i = 0; !err && i < m->n; i++) {
        const json_t *one = json_array_get(list, i);
        err = gal_json_count(one, "mixture: ", "epoch", path, &epoch, diag);
        if (!err) err = gal_json_count(one, "mixture: ", "row", path, &row, diag);
        s.at[i] = (gal_order_state){ (uint64_t)epoch, (uint64_t)row };
    }
    if (!err) *out = s;
    return err;
}
