/* budget.c - a format for each weight under a limit on bytes, by measured error.
 *
 * Of every weight some rows are quantised in each format that fits them. The error of a format is noise over signal,
 *     sum m (x - y)^2 / sum m x^2,    m the importance of the column, 1 without an importance matrix:
 * with m the mean of squares of the inputs it is the share of what the weight's product puts out that is noise, which
 * can be compared between weights of any size. Their sum, each times what the weight's part of the model counts, is
 * made small: from the smallest formats on, the step that takes away the most error for each byte goes first, along
 * the lower convex hull of (bytes, error) of each weight. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "convert/internal.h"
#include "convert/names.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of a weight that are looked at, and of a piece of work. */
enum { SAMPLE = 1 << 17, GROUP = 1 << 14, FORMATS = 12 };
_Static_assert((SAMPLE + GROUP) * 2 * sizeof(float) <= GAL_SCRATCH_BYTES, "a row of a sample and its blocks fit");

static const uint32_t TRIED[] = { GAL_BLOCK_Q2_K, GAL_BLOCK_Q3_K, GAL_BLOCK_IQ4_XS, GAL_BLOCK_Q4_K, GAL_BLOCK_Q5_K,
                                  GAL_BLOCK_Q6_K, GAL_BLOCK_Q8_0, GAL_BLOCK_IQ4_NL, GAL_BLOCK_Q5_0, GAL_BLOCK_Q5_1 };
_Static_assert(GAL_LEN(TRIED) + 2 <= FORMATS, "and two more: 16 bits, and as it lies");

typedef struct option {
    uint32_t type;
    uint64_t bytes;
    double error;
} option;

/* What gets one format: a tensor, or all experts of a layer's matrix where each is a tensor of its own. */
typedef struct unit {
    option options[FORMATS]; /* [count] from few bytes to many, then only those of the hull */
    size_t count, chosen, tensors;
    bool done;
} unit;

typedef struct budget {
    gal_quantise *q;
    unit *units;
    size_t n_units, *unit_of; /* [q->count], of those that are weights */
    float *sample;            /* [rows, columns] of a tensor */
    const float *means;       /* [rows, columns] */
    uint64_t align;           /* of tensors in the file, for what they take there; 1: only their own bytes count */
} budget;

/* ---- measuring --------------------------------------------------------------------------------------------------
 */

typedef struct trial {
    const budget *b;
    const uint32_t *types;
    int64_t rows, columns, of_group, groups; /* rows of a group */
    double *noise;                           /* [types, groups] */
} trial;

static void run_trial(const void *args, int64_t chunk, void *scratch) {
    const trial *t = args;
    uint32_t type = t->types[chunk / t->groups];
    int64_t first = chunk % t->groups * t->of_group, rows = GAL_MIN(t->rows - first, t->of_group);
    const float *x = t->b->sample + first * t->columns, *m = t->b->means ? t->b->means + first * t->columns : NULL;
    float *y = scratch;
    uint8_t *blocks = (uint8_t *)(y + t->columns);
    double noise = 0.0;
    for (int64_t r = 0; r < rows; r++, x += t->columns) {
        gal_block_quantise_weighted(type, x, m, blocks, 1, t->columns);
        gal_block_dequantise(type, blocks, y, t->columns);
        for (int64_t j = 0; j < t->columns; j++) {
            double d = (double)x[j] - (double)y[j];
            noise += m ? (double)m[j] * d * d : d * d;
        }
        if (m) m += t->columns;
    }
    t->noise[chunk] = noise;
}

/* Rows spread over the tensor, with what their columns count beside them. Returns how many. */
static int64_t take_sample(budget *b, size_t i, const float *means, float *of_rows, int64_t columns) {
    const gal_quantise_tensor *t = &b->q->tensors[i];
    int64_t whole = gal__quantise_columns(t), all = gal__quantise_elements(t) / whole;
    int64_t rows = GAL_MIN(all, GAL_MAX(SAMPLE / whole, (int64_t)1)), of_matrix = all / gal__quantise_matrices(t);
    for (int64_t r = 0; r < rows; r++) {
        int64_t row = r * all / rows;
        gal__quantise_read(b->q, i, row * whole, columns, b->sample + r * columns);
        if (means) memcpy(of_rows + r * columns, means + row / of_matrix * whole, (size_t)columns * sizeof *means);
    }
    b->means = means ? of_rows : NULL;
    return rows;
}

static double signal_of(const budget *b, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (b->means ? (double)b->means[i] : 1.0) * (double)b->sample[i] * (double)b->sample[i];
    return sum;
}

static float largest_of(const budget *b, int64_t n) {
    float most = 0.0F;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(b->sample[i]));
    return most;
}

/* How much a weight's noise over signal moves what the model says: measured as divergence of the logits over noise,
 * each part quantised alone, in a trained model of four layers (dev/LOG.md, 2026-11-28), which two formats gave
 * alike. The head's noise is that of the logits; all others share the residual stream with the 2 L + 1 terms that it
 * is the sum of. The first layer, on which all others build, and the last one count for more. */
static double weight_of(const gal_quantise *q, const char *name) {
    static const struct {
        const char *part;
        double weight;
    } PARTS[] = { { ".attn_q.", 0.05 },  { ".attn_k.", 0.05 }, { ".attn_v.", 0.08 }, { ".attn_output.", 0.08 },
                  { ".ffn_gate", 0.19 }, { ".ffn_up", 0.15 },  { ".ffn_down", 0.5 } };
    int64_t layer = gal_recipe_layer(name), layers = q->model.layers;
    double terms = 2.0 * (double)layers + 1.0, weight = 0.15;
    if (layer < 0) {
        bool embed = strcmp(name, "token_embd.weight") == 0;
        return (embed ? 0.8 : 0.0) + (!embed || q->model.tied ? terms : 0.0);
    }
    for (size_t i = 0; i < GAL_LEN(PARTS); i++)
        if (strstr(name, PARTS[i].part)) weight = PARTS[i].weight;
    return weight * (layer == 0 || layer == layers - 1 ? 2.0 : 1.0);
}

/* Adds tensor i's noise over signal in each format to its unit's. */
static gal_err measure(budget *b, size_t i, float *of_rows, gal_diag *diag) {
    gal_quantise *q = b->q;
    const gal_quantise_tensor *t = &q->tensors[i];
    unit *u = &b->units[b->unit_of[i]];
    uint32_t types[FORMATS];
    double noise[FORMATS * (SAMPLE / GROUP + 1)];
    float *means = NULL;
    int64_t unreached = 0, columns = GAL_MIN(gal__quantise_columns(t), (int64_t)SAMPLE);
    gal_err err = gal__quantise_means(q, i, &means, &unreached, diag);
    if (err || !gal__quantise_elements(t)) return err;
    trial r = { .b = b, .types = types, .columns = columns, .noise = noise };
    r.rows = take_sample(b, i, means, of_rows, columns);
    r.of_group = GAL_MAX(GROUP / columns, (int64_t)1);
    r.groups = (r.rows + r.of_group - 1) / r.of_group;
    for (; (r.groups + 1) * FORMATS > (int64_t)GAL_LEN(noise); r.groups = (r.rows + r.of_group - 1) / r.of_group)
        r.of_group *= 2;
    size_t n = 0;
    for (size_t k = 0; k < u->count; k++)
        if (u->options[k].type != t->from) types[n++] = u->options[k].type;
    gal_pool_run(q->o.pool, run_trial, &r, (int64_t)n * r.groups);
    double signal = signal_of(b, r.rows * columns);
    float most = largest_of(b, r.rows * columns);
    for (size_t k = 0, at = 0; k < u->count; k++) {
        if (u->options[k].type == t->from) continue;
        double sum = gal_block_reaches(u->options[k].type, most) ? 0.0 : (double)INFINITY;
        for (int64_t g = 0; g < r.groups; g++) sum += noise[(int64_t)at * r.groups + g];
        u->options[k].error += signal > 0.0 ? weight_of(q, t->name) / (double)u->tensors * sum / signal : 0.0;
        at++;
    }
    gal_free(means);
    if (!isfinite(signal)) return gal__quantise_refuse(q, i, diag);
    return gal__quantise_look(q, t->name, 0) ? gal_fail(diag, GAL_EINTERRUPTED, "interrupted") : GAL_OK;
}

/* ---- what can be chosen -----------------------------------------------------------------------------------------
 */

static uint64_t bytes_of(const budget *b, const gal_quantise_tensor *t, uint32_t type) {
    const gal_block_info *info = gal_block_info_of(type);
    uint64_t n = (uint64_t)gal__quantise_elements(t) / info->elements * info->bytes;
    return (n + b->align - 1) / b->align * b->align;
}

static void add_option(unit *u, uint32_t type) {
    for (size_t k = 0; k < u->count; k++)
        if (u->options[k].type == type) return;
    u->options[u->count++] = (option){ .type = type };
}

static void list_options(const budget *b, size_t i) {
    const gal_quantise_tensor *t = &b->q->tensors[i];
    unit *u = &b->units[b->unit_of[i]];
    if (!u->count) {
        for (size_t k = 0; k < GAL_LEN(TRIED); k++) {
            const gal_block_info *info = gal_block_info_of(TRIED[k]);
            bool large = gal__quantise_columns(t) % 256 == 0 && info->elements < 256 && TRIED[k] != GAL_BLOCK_Q8_0;
            if (info->writes && gal__quantise_columns(t) % info->elements == 0 && !large) add_option(u, TRIED[k]);
        }
        if (t->from == GAL_BLOCK_F32) add_option(u, GAL_BLOCK_F16);
        add_option(u, t->from);
    }
    for (size_t k = 0; k < u->count; k++) u->options[k].bytes += bytes_of(b, t, u->options[k].type);
}

/* Experts that lie in tensors of their own belong together. */
static bool same_unit(const char *a, const char *b) {
    const gal_name x = gal_name_of(a), y = gal_name_of(b);
    return gal_name_is_expert(&x) && gal_name_is_expert(&y) && x.layer == y.layer && strcmp(x.kind, y.kind) == 0;
}

static void make_units(budget *b) {
    const gal_quantise *q = b->q;
    for (size_t i = 0; i < q->count; i++) {
        if (!q->tensors[i].covered) continue;
        size_t j = i;
        while (j > 0 && !(q->tensors[j - 1].covered && same_unit(q->tensors[j - 1].name, q->tensors[i].name) &&
                          q->tensors[j - 1].from == q->tensors[i].from))
            j--;
        b->unit_of[i] = j > 0 ? b->unit_of[j - 1] : b->n_units++;
        list_options(b, i);
        b->units[b->unit_of[i]].tensors++;
    }
}

static int by_bytes(const void *a, const void *b) {
    const option *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->error < y->error ? -1 : x->error > y->error;
}

static double slope(const option *a, const option *b) {
    return (a->error - b->error) / (double)(b->bytes - a->bytes);
}

/* Keeps the lower convex hull: each next option has more bytes and less error, and takes away less for each byte.
 * Formats whose scales the numbers exceed have no finite error, and go first; what the unit lies in has one. */
static void keep_hull(unit *u) {
    size_t n = 0, finite = 0;
    for (size_t k = 0; k < u->count; k++)
        if (isfinite(u->options[k].error)) u->options[finite++] = u->options[k];
    u->count = finite;
    qsort(u->options, u->count, sizeof *u->options, by_bytes);
    for (size_t k = 0; k < u->count; k++) {
        const option o = u->options[k];
        if (n && o.error >= u->options[n - 1].error) continue;
        while (n > 1 && slope(&u->options[n - 1], &o) >= slope(&u->options[n - 2], &u->options[n - 1])) n--;
        u->options[n++] = o;
    }
    u->count = n;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------
 */

/* The unit whose next step takes away the most error for each byte; NULL: none is left. */
static unit *steepest(const budget *b) {
    unit *best = NULL;
    double most = 0.0;
    for (size_t i = 0; i < b->n_units; i++) {
        unit *u = &b->units[i];
        if (u->done || u->chosen + 1 >= u->count) continue;
        double s = slope(&u->options[u->chosen], &u->options[u->chosen + 1]);
        if (!best || s > most) {
            best = u;
            most = s;
        }
    }
    return best;
}

static uint64_t spend(const budget *b, uint64_t used, uint64_t limit) {
    for (unit *u; (u = steepest(b));) {
        uint64_t more = u->options[u->chosen + 1].bytes - u->options[u->chosen].bytes;
        if (used <= limit && more <= limit - used) {
            used += more;
            u->chosen++;
        } else {
            u->done = true;
        }
    }
    return used;
}

/* The format with most numbers names the file. */
static uint32_t file_type_of(const gal_quantise *q) {
    uint64_t most = 0;
    uint32_t type = GAL_BLOCK_F16;
    for (size_t i = 0; i < q->count; i++) {
        uint64_t n = 0;
        for (size_t j = 0; j < q->count; j++)
            if (q->tensors[j].covered && q->tensors[j].type == q->tensors[i].type)
                n += (uint64_t)gal__quantise_elements(&q->tensors[j]);
        if (n > most) {
            most = n;
            type = q->tensors[i].type;
        }
    }
    return gal_recipe_file_type(type);
}

static gal_err apply(budget *b, gal_diag *diag) {
    gal_quantise *q = b->q;
    gal_err err = GAL_OK;
    for (size_t i = 0; i < q->count && !err; i++) {
        const unit *u = &b->units[b->unit_of[i]];
        if (q->tensors[i].covered) err = gal__quantise_set(q, i, u->options[u->chosen].type, diag);
    }
    q->file_type = file_type_of(q);
    return err;
}

static gal_err measure_all(budget *b, gal_diag *diag) {
    float *of_rows = gal_alloc_array(2 * (size_t)SAMPLE, sizeof *of_rows);
    gal_err err = of_rows ? GAL_OK : gal_fail(diag, GAL_ENOMEM, "no memory to measure errors");
    for (size_t i = 0; i < b->q->count && !err; i++)
        if (b->q->tensors[i].covered) err = measure(b, i, of_rows, diag);
    gal_free(of_rows);
    for (size_t i = 0; i < b->n_units && !err; i++) keep_hull(&b->units[i]);
    return err;
}

static gal_err choose(budget *b, uint64_t file_bytes, double bits, gal_diag *diag) {
    gal_quantise *q = b->q;
    uint64_t elements = gal_quantise_elements(q), whole = 0;
    gal_err err = apply(b, diag); /* the smallest of each */
    if (!err && file_bytes) err = gal__quantise_file_bytes(q, &whole, diag);
    if (err) return err;
    uint64_t least = file_bytes ? whole : gal_quantise_bytes(q);
    uint64_t limit = file_bytes ? file_bytes : (uint64_t)(bits * (double)elements / 8.0);
    if (least > limit)
        return gal_fail(diag, GAL_EUSAGE,
                        "%s: cannot be made so small: %" PRIu64
                        " bytes are allowed%s, the smallest possible are %" PRIu64 " (%.3f bits per weight)",
                        q->path, limit, file_bytes ? " for the file" : "", least,
                        8.0 * (double)gal_quantise_bytes(q) / (double)GAL_MAX(elements, (uint64_t)1));
    (void)spend(b, least, limit);
    return apply(b, diag);
}

gal_err gal_quantise_budget(gal_quantise *q, uint64_t file_bytes, double bits, gal_diag *diag) {
    GAL_ASSERT(file_bytes || bits > 0.0);
    budget b = { .q = q,
                 .align = 1,
                 .units = gal_alloc_array(q->count, sizeof *b.units),
                 .unit_of = gal_alloc_array(q->count, sizeof *b.unit_of),
                 .sample = gal_alloc_array(2 * (size_t)SAMPLE, sizeof *b.sample) };
    gal_err err = GAL_OK;
    if (!b.units || !b.unit_of || !b.sample) err = gal_fail(diag, GAL_ENOMEM, "%s: no memory", q->path);
    if (!err) err = gal__quantise_rest(q, diag);
    if (!err && file_bytes) {
        b.align = 32;
        bool found;
        if (q->file) err = gal_gguf_uint(q->file, "general.alignment", &b.align, &found, diag);
    }
    if (!err) {
        make_units(&b);
        err = measure_all(&b, diag);
    }
    if (!err) err = choose(&b, file_bytes, bits, diag);
    q->chosen = !err;
    gal_free(b.units);
    gal_free(b.unit_of);
    gal_free(b.sample);
    return err;
}
