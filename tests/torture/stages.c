/* stages.c - see stages.h. Each run() frees what it made, succeed or fail, and asserts that an output of a call that
 * failed was not touched. SPDX-License-Identifier: Apache-2.0 */
#include "stages.h"
#include "again.h"
#include "shards.h"
#include "side.h"
#include "talk.h"
#include "tasks.h"

#include "support/check.h"
#include "support/words.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "convert/convert.h"
#include "data/shard.h"
#include "eval/compare.h"
#include "formats/gguf.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "infer/lm.h"
#include "text/bpe_train.h"
#include "train/checkpoint.h"
#include "train/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

static char folder[256];
const char *stages_got_over;

/* What an output holds before a call that may fail. */
#define UNTOUCHED ((void *)(uintptr_t)0x5a5a5a5a)

/* "folder/name"; up to four at a time. */
static const char *in(const char *name) {
    static char text[4][600];
    static int turn;
    char *s = text[turn++ % 4];
    assert_in_range(snprintf(s, sizeof text[0], "%s/%s", folder, name), 1, sizeof text[0] - 1);
    return s;
}

static void read_all(gal_buf *out, const char *path) { CHECK_OK(gal_read_file(out, path, 1 << 26, diag)); }

static void copy_tree(const char *from, const char *to) {
    char **names = NULL;
    size_t n = 0;
    gal_buf bytes = { 0 }, a = { 0 }, b = { 0 };
    CHECK_OK(gal_make_dirs(to, diag));
    CHECK_OK(gal_list_dir(from, &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        assert_non_null(gal_path_join(&a, from, names[i]));
        assert_non_null(gal_path_join(&b, to, names[i]));
        if (gal_is_dir(a.data)) {
            copy_tree(a.data, b.data);
        } else {
            read_all(&bytes, a.data);
            put_file(to, names[i], bytes.data, bytes.len);
        }
    }
    gal_free_names(names, n);
    gal_buf_free(&bytes);
    gal_buf_free(&a);
    gal_buf_free(&b);
}

static void forget(const char *name) { CHECK_OK(gal_remove_tree(in(name), diag)); }

static void check_tree(const char *dir, bool removing_failed) {
    char **names = NULL;
    size_t n = 0;
    gal_buf path = { 0 };
    CHECK_OK(gal_list_dir(dir, &names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        bool unfinished = strstr(names[i], ".tmp.") || strncmp(names[i], ".unfinished", 11) == 0 ||
                          strncmp(names[i], ".rehearsal", 10) == 0;
        if (unfinished && !removing_failed) fail_msg("%s/%s was left behind", dir, names[i]);
        assert_non_null(gal_path_join(&path, dir, names[i]));
        if (unfinished || !gal_is_dir(path.data)) continue;
        /* Reference folders stay as they are: only what stages train in needs the look. */
        if (strcmp(names[i], "ref") == 0 || strcmp(names[i], "half") == 0) continue;
        if (strncmp(names[i], "step-", 5) == 0) CHECK_OK(gal__checkpoint_check(path.data, diag));
        check_tree(path.data, removing_failed);
    }
    gal_free_names(names, n);
    gal_buf_free(&path);
}

void stages_check_files(bool removing_failed) { check_tree(folder, removing_failed); }

static void nothing(void) {}

static void nothing_after(gal_err err, bool again) {
    (void)err;
    (void)again;
}

/* ---- configuration -----------------------------------------------------------------------------------------------
 */

static gal_err run_config(gal_diag *diag) {
    static const char *const SET[] = { "sample.prompts=[one, two]", "steps=12", "data.valid=text.txt" };
    gal_train_config c;
    gal_buf dump = { 0 };
    gal_err err = gal_train_config_load(&c, in("run.yaml"), SET, GAL_LEN(SET), diag);
    if (err) return err;
    err = gal_train_config_judge(&c, in("run.yaml"), SET, GAL_LEN(SET), gal_train_config_check, NULL, diag);
    gal_settings_dump(&GAL_TRAIN_SETTINGS, &c, &dump);
    if (!err && dump.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a dump");
    if (!err) assert_non_null(strstr(dump.data, "steps: 12\n"));
    gal_buf_free(&dump);
    gal_train_config_free(&c);
    return err;
}

/* ---- tokenizer ---------------------------------------------------------------------------------------------------
 */

static gal_buf text;

static gal_err round_trip(const gal_tokenizer *t, gal_diag *diag) {
    static const char LINE[] = "the grey sea, 12 gulls \xe2\x82\xac";
    gal_ids ids = { 0 };
    gal_buf back = { 0 };
    gal_stream *s = NULL;
    const char *stops[] = { "never" };
    const gal_stream_options o = { .stops = stops, .stop_count = 1 };
    gal_err err = gal_encode(t, NULL, LINE, sizeof LINE - 1, GAL_ENCODE_BOS, &ids, diag);
    if (err) assert_int_equal(ids.len, 0);
    if (!err) err = gal_decode(t, ids.data, ids.len, &back, diag);
    if (!err) assert_memory_equal(back.data, LINE, sizeof LINE - 1);
    if (!err) err = gal_stream_new(&s, t, &o, diag);
    const char *piece;
    size_t n;
    for (size_t i = 0; !err && i < ids.len; i++) err = gal_stream_feed(s, ids.data[i], &piece, &n, diag);
    if (!err) err = gal_stream_end(s, &piece, &n, diag);
    gal_stream_free(s);
    gal_ids_free(&ids);
    gal_buf_free(&back);
    return err;
}

static gal_err run_tokenizer(gal_diag *diag) {
    gal_bpe_options o;
    gal_buf model = { 0 };
    gal_tokenizer *t = UNTOUCHED;
    gal_bpe_options_init(&o);
    o.vocab_size = 300;
    o.take_possible = true;
    gal_err err = gal_bpe_train(&model, text.data, GAL_MIN(text.len, (size_t)600), &o, diag);
    if (!err && model.oom) err = gal_fail(diag, GAL_ENOMEM, "no memory for a model");
    if (!err) err = gal_write_file(in("made.model"), model.data, model.len, diag);
    gal_buf_free(&model);
    if (err) return err;
    err = gal_tokenizer_open(&t, in("made.model"), diag);
    if (err) {
        assert_ptr_equal(t, UNTOUCHED);
        return err;
    }
    err = round_trip(t, diag);
    gal_tokenizer_free(t);
    return err;
}

/* ---- corpora and shards ------------------------------------------------------------------------------------------
 */

static gal_err run_data(gal_diag *diag) {
    char plain[300], packed[300];
    (void)snprintf(plain, sizeof plain, "%s/text.txt", folder);
    (void)snprintf(packed, sizeof packed, "%s/text.zst", folder);
    char *paths[] = { plain, packed };
    gal_tokenizer *t = NULL;
    gal_corpus c = { 0 };
    gal_shard s = { 0 };
    size_t first = 0;
    uint8_t hash[32];
    gal_err err = gal_tokenizer_open(&t, in("ref/tokenizer.model"), diag);
    if (!err) err = gal_corpus_read(&c, paths, 2, &(gal_reader_options){ .separator = "#@ " }, diag);
    if (!err) err = gal_corpus_split(&c, 0.1, &first, diag);
    if (!err) err = gal_shard_write(in("made.shard"), &c, 0, first, t, diag);
    if (t) gal_tokenizer_sha256(t, hash);
    if (!err) err = gal_shard_open(&s, in("made.shard"), hash, diag);
    gal_shard_close(&s);
    gal_corpus_free(&c);
    gal_tokenizer_free(t);
    return err;
}

/* ---- arrays, folders, threads ------------------------------------------------------------------------------------
 */

static gal_err run_files(gal_diag *diag) {
    static const float NUMBERS[6] = { 1, 2, 3, 4, 5, 6 };
    static const int64_t DIM[2] = { 2, 3 };
    gal_npy a = { 0 };
    char **names = UNTOUCHED;
    size_t n = 0;
    gal_err err = gal_make_dirs(in("tree/a/b"), diag);
    if (!err) err = gal_npy_write(in("tree/a/x.npy"), GAL_NPY_F32, 2, DIM, NUMBERS, diag);
    if (!err) err = gal_write_file(in("tree/a/b/link"), "x", 1, diag);
    if (!err) err = gal_npy_read(&a, in("tree/a/x.npy"), diag);
    if (!err) assert_memory_equal(a.data, NUMBERS, sizeof NUMBERS);
    gal_npy_free(&a);
    if (!err) {
        err = gal_list_dir(in("tree/a"), &names, &n, diag);
        if (err) assert_ptr_equal(names, UNTOUCHED);
        if (!err) {
            assert_int_equal(n, 2);
            gal_free_names(names, n);
        }
    }
    return err ? err : gal_remove_tree(in("tree"), diag);
}

/* A link stays a link, whatever failed. */
static void prepare_files(void) {
    forget("tree");
    CHECK_OK(gal_make_dirs(in("tree/a/b"), diag));
    put_file(folder, "target", "old", 3);
    assert_int_equal(symlink("../../../target", in("tree/a/b/link")), 0);
}

static void after_files(gal_err err, bool again) {
    (void)again;
    gal_buf b = { 0 };
    char where[300];
    read_all(&b, in("target"));
    if (!err) assert_string_equal(b.data, "x");
    if (b.len != 1) assert_string_equal(b.data, "old");
    if (gal_is_file(in("tree/a/b/link"))) assert_true(readlink(in("tree/a/b/link"), where, sizeof where) > 0);
    gal_buf_free(&b);
    forget("tree");
}

static void add_one(const void *args, int64_t chunk, void *scratch) {
    (void)scratch;
    int *const *to = args;
    (*to)[chunk] += 1;
}

static gal_err run_threads(gal_diag *diag) {
    int counts[64] = { 0 }, *at = counts;
    gal_pool *p = UNTOUCHED;
    gal_err err = gal_pool_new(&p, 4, diag);
    if (err) {
        assert_ptr_equal(p, UNTOUCHED);
        return err;
    }
    gal_pool_run(p, add_one, &at, 64);
    gal_pool_free(p);
    for (int i = 0; i < 64; i++) assert_int_equal(counts[i], 1);
    return GAL_OK;
}

/* ---- GGUF files --------------------------------------------------------------------------------------------------
 */

static const char *const PARTS[] = { "m-00001-of-00002.gguf", "m-00002-of-00002.gguf" };

static gal_err write_part(uint32_t no, gal_diag *diag) {
    static const float NUMBERS[6] = { 1, 2, 3, 4, 5, 6 };
    static const int64_t DIM[2] = { 2, 3 };
    static const char *const WORDS[] = { "sea", "wind", "salt" };
    gal_gguf_writer *w = UNTOUCHED;
    gal_err err = gal_gguf_writer_new(&w, diag);
    if (err) {
        assert_ptr_equal(w, UNTOUCHED);
        return err;
    }
    gal_gguf_put_u32(w, "split.no", no);
    gal_gguf_put_u32(w, "split.count", 2);
    gal_gguf_put_i32(w, "split.tensors.count", 2);
    gal_gguf_put_strings(w, "words", WORDS, NULL, GAL_LEN(WORDS));
    gal_gguf_put_tensor(
        w, &(gal_gguf_item){ .name = no ? "b" : "a", .type = 0, .ndim = 2, .dim = DIM, .data = NUMBERS });
    err = gal_gguf_write(w, in(PARTS[no]), diag);
    gal_gguf_writer_free(w);
    return err;
}

static gal_err run_gguf(gal_diag *diag) {
    gal_gguf *g = UNTOUCHED;
    gal_bring how = { .read = true };
    gal_err err = write_part(0, diag);
    if (!err) err = write_part(1, diag);
    if (!err) err = gal_gguf_open(&g, in(PARTS[1]), diag);
    if (err) {
        assert_ptr_equal(g, UNTOUCHED);
        return err;
    }
    err = gal_pool_new(&how.pool, 2, diag);
    if (!err) err = gal_gguf_bring(g, &how, diag);
    if (!err) {
        const float *x = (const float *)(const void *)gal_gguf_find(g, "b")->data;
        size_t n = 0;
        assert_true(gal_gguf_count(g) == 2 && x[5] == 6);
        assert_memory_equal(gal_gguf_string_at(gal_gguf_get(g, "words"), 2, &n), "salt", 4);
    }
    gal_pool_free(how.pool);
    gal_gguf_close(g);
    return err;
}

/* ---- generating --------------------------------------------------------------------------------------------------
 */

static const char PROMPT[] = "the grey sea";
static gal_lm *lm;
static gal_buf said; /* by the reference run */

static const char *model_folder(void) { return in("ref/checkpoints/step-2"); }

static gal_lm_options lm_options(void) {
    gal_lm_options o;
    gal_lm_options_init(&o);
    o.device = (gal_device_options){ .cpu = "ref", .threads = 1 };
    o.chunk = 3;
    return o;
}

static int hear(void *user, int32_t id, const char *piece, size_t bytes) {
    (void)id;
    gal_buf_add(user, piece, bytes);
    return 0;
}

static gal_err count_rows(void *user, const float *rows, int64_t n_rows, gal_diag *diag) {
    (void)rows;
    (void)diag;
    *(int64_t *)user += n_rows;
    return GAL_OK;
}

/* Generates and looks at logits with an open model; compares the text with the reference's. */
static gal_err speak(gal_diag *diag) {
    static char heard[4096]; /* the listener must not fail for its own lack of memory */
    static const char *const STOPS[] = { "never said" };
    gal_buf out = { .data = heard, .cap = sizeof heard };
    gal_generate_options o;
    int32_t *ids = UNTOUCHED;
    char *back = UNTOUCHED;
    size_t n = 0, bytes = 0;
    int64_t rows = 0;
    gal_generate_options_init(&o, lm);
    o.max_tokens = 12;
    o.ignore_eos = 1;
    o.sampling = (gal_sampling){ .temperature = 0.8, .top_k = 20, .top_p = 0.9, .repetition_penalty = 1.1 };
    o.stops = STOPS;
    o.n_stops = 1;
    gal_err err = gal_lm_generate(lm, PROMPT, sizeof PROMPT - 1, &o, hear, &out, NULL, diag);
    if (err) return err;
    if (!said.data) gal_buf_add(&said, out.data, out.len);
    assert_int_equal(said.len, out.len);
    assert_memory_equal(said.data, out.data, out.len);
    err = gal_lm_encode(lm, PROMPT, sizeof PROMPT - 1, &ids, &n, diag);
    if (err) {
        assert_ptr_equal(ids, UNTOUCHED);
        return err;
    }
    err = gal_lm_logits(lm, ids, n, count_rows, &rows, diag);
    if (!err) {
        assert_int_equal(rows, n);
        err = gal_lm_decode(lm, ids, n, &back, &bytes, diag);
        if (err) assert_ptr_equal(back, UNTOUCHED);
        if (!err) {
            assert_string_equal(back, PROMPT);
            gal_release(back);
        }
    }
    gal_release(ids);
    return err;
}

static gal_err run_open(gal_diag *diag) {
    gal_lm_options o = lm_options();
    o.no_mmap = 1; /* maps, too, before it reads */
    lm = UNTOUCHED;
    gal_err err = gal_lm_open(&lm, in("ref"), &o, diag);
    if (err) assert_ptr_equal(lm, UNTOUCHED);
    if (!err) gal_lm_close(lm);
    lm = NULL;
    return err;
}

/* Layouts of others: params.json with an index, FP8 inside a wrapper, a GGUF file in a folder. */
static gal_err run_layouts(gal_diag *diag) {
    static const char *const FOLDERS[] = { "tests/golden/own-yarn", "tests/golden/own-fp8",
                                           "tests/golden/gguf-mistral3" };
    gal_err err = GAL_OK;
    for (size_t i = 0; i < GAL_LEN(FOLDERS) && !err; i++) {
        gal_model *m = NULL;
        gal_tokenizer *t = NULL;
        gal_generation g;
        gal_buf dir = { 0 };
        err = gal_lm_load(&m, &t, &g, &dir, FOLDERS[i], diag);
        gal_model_free(m);
        gal_tokenizer_free(t);
        gal_buf_free(&dir);
    }
    return err;
}

/* An adapter that stands for itself and its base, and one of the other kind on top. */
static gal_err run_lora(gal_diag *diag) {
    gal_model *m = NULL;
    gal_buf dir = { 0 };
    gal_err err = gal_lm_load(&m, NULL, NULL, &dir, "tests/golden/lora-peft", diag);
    if (!err) err = gal_lm_adapt(m, &(gal_lm_adapter){ "tests/golden/lora-own", 0.5 }, 1, diag);
    gal_model_free(m);
    gal_buf_free(&dir);
    return err;
}

static void prepare_speak(void) {
    gal_lm_options o = lm_options();
    CHECK_OK(gal_lm_open(&lm, model_folder(), &o, diag));
}

/* The handle that failed says the same afterwards. */
static void after_speak(gal_err err, bool again) {
    (void)again;
    if (err) CHECK_OK(speak(diag));
    gal_lm_close(lm);
    lm = NULL;
}

/* ---- measuring a text --------------------------------------------------------------------------------------------
 */

/* A perplexity and a comparison of an open model with itself; both say the same whatever failed before. */
static gal_err measure(gal_diag *diag) {
    static gal_comparison c;
    static double nats;
    const gal_model *const models[2] = { lm->model, lm->model };
    gal_eval_text in = { .text = PROMPT, .bytes = sizeof PROMPT - 1 };
    gal_eval_options o = { .context = 4, .stride = 2 };
    gal_perplexity p;
    gal_err err = gal_perplexity_of(&p, lm->dev, lm->model, lm->tokenizer, &in, &o, diag);
    if (!err) err = gal_compare(&c, lm->dev, models, lm->tokenizer, &in, &o, 3, diag);
    if (err) return err;
    if (nats == 0.0) nats = p.nats; /* the first to get through */
    assert_true(p.nats == nats && c.model[1].nats == nats && c.kl == 0.0);
    return GAL_OK;
}

static void after_measure(gal_err err, bool again) {
    (void)again;
    if (err) CHECK_OK(measure(diag));
    gal_lm_close(lm);
    lm = NULL;
}

/* ---- saving a model ----------------------------------------------------------------------------------------------
 */

/* The reference's weights as two shards with an index. */
static void make_shards(void) {
    gal_st_set *set = NULL;
    gal_buf index = { 0 };
    copy_tree(model_folder(), in("sharded"));
    forget("sharded/model.safetensors");
    CHECK_OK(gal_st_set_open(&set, model_folder(), "model", diag));
    gal_buf_puts(&index, "{\"weight_map\": {");
    for (size_t part = 0; part < 2; part++) {
        gal_st_item items[32];
        size_t n = 0;
        for (size_t i = part; i < gal_st_set_count(set); i += 2) {
            const gal_st_tensor *t = gal_st_set_at(set, i);
            assert_in_range(n, 0, GAL_LEN(items) - 1);
            items[n++] = (gal_st_item){
                .name = t->name, .dtype = t->dtype, .from = t->dtype, .ndim = t->ndim, .dim = t->dim, .data = t->data
            };
            gal_buf_printf(&index, "%s\"%s\": \"part-%zu.safetensors\"", part + i ? ", " : "", t->name, part);
        }
        CHECK_OK(gal_safetensors_write(in(part ? "sharded/part-1.safetensors" : "sharded/part-0.safetensors"), items,
                                       n, NULL, 0, diag));
    }
    gal_buf_puts(&index, "}}");
    put_file(in("sharded"), "model.safetensors.index.json", index.data, index.len);
    gal_buf_free(&index);
    gal_st_set_close(set);
}

static gal_err run_save(gal_diag *diag) {
    gal_model *m = UNTOUCHED;
    gal_err err = gal_model_load(&m, in("sharded"), diag);
    if (err) {
        assert_ptr_equal(m, UNTOUCHED);
        return err;
    }
    err = gal_model_own(&m, 1, diag);
    if (!err) err = gal_model_save(m, in("saved"), diag);
    gal_model_free(m);
    return err;
}

/* The folder holds a whole model before, and after a failure every file in it is the old or the new one. */
static void prepare_save(void) {
    forget("saved");
    copy_tree(model_folder(), in("saved"));
}

static void after_save(gal_err err, bool again) {
    gal_model *m = NULL;
    (void)err;
    (void)again;
    CHECK_OK(gal_model_load(&m, in("saved"), diag));
    gal_model_free(m);
    same_file(in("saved/model.safetensors"), in("ref/checkpoints/step-2/model.safetensors"));
}

/* ---- conversion --------------------------------------------------------------------------------------------------
 */

static void prepare_convert(void) {
    forget("c.gguf");
    forget("c-own");
    CHECK_OK(gal_make_dirs(in("c-hf"), diag));
    put_file(in("c-hf"), "config.json", "old", 3);
}

static gal_err convert(const char *from, const char *to, gal_layout layout, gal_diag *diag) {
    gal_convert_options o;
    gal_convert_options_init(&o);
    o.to = layout;
    o.force = true;
    o.shard_bytes = 5000;
    return gal_convert_model(from, to, &o, NULL, diag);
}

static gal_err run_convert(gal_diag *diag) {
    gal_err err = convert(in("ref"), in("c.gguf"), GAL_LAYOUT_GGUF, diag);
    if (!err) err = convert(in("c.gguf"), in("c-own"), GAL_LAYOUT_OWN, diag);
    return err ? err : convert(in("c-own"), in("c-hf"), GAL_LAYOUT_HF, diag);
}

static bool loads(const char *path) {
    gal_model *m = NULL;
    bool good = gal_model_load(&m, path, NULL) == GAL_OK;
    gal_model_free(m);
    return good;
}

/* Each result is whole or not there; what one replaces is as it was, or out of the way. */
static void after_convert(gal_err err, bool again) {
    gal_buf old = { 0 };
    (void)again;
    if (err && gal_is_file(in("c-hf/config.json"))) read_all(&old, in("c-hf/config.json"));
    bool kept = old.len == 3;
    if (!err || gal_exists(in("c.gguf"))) assert_true(loads(in("c.gguf")));
    if (!err || gal_exists(in("c-own"))) assert_true(loads(in("c-own")));
    if (!err || (gal_exists(in("c-hf")) && !kept)) assert_true(loads(in("c-hf")));
    gal_buf_free(&old);
    forget("c-hf");
    forget(".unfinished-c.gguf");
    forget(".unfinished-c-own");
    forget(".unfinished-c-hf");
    forget(".removed-c-hf");
}

/* ---- training ----------------------------------------------------------------------------------------------------
 */

/* Failures that end in a note of the training instead of an error, and why that is right. */
static const struct {
    const char *note, *why;
} GOT_OVER[] = {
    { "no plot: ", "a run is whole without its picture" },
    { "rows are gathered between steps: ", "they are the same rows" },
    { "the best checkpoint is taken from the metrics: ", "they hold the same numbers" },
};

static bool stepped;

static bool after_a_step(void *user) {
    (void)user;
    return stepped;
}

static void hear_training(void *user, const gal_train_event *e) {
    (void)user;
    stepped = stepped || e->kind == GAL_TRAIN_STEP;
    for (size_t i = 0; e->kind == GAL_TRAIN_NOTE && i < GAL_LEN(GOT_OVER); i++)
        if (strncmp(e->text, GOT_OVER[i].note, strlen(GOT_OVER[i].note)) == 0) stages_got_over = GOT_OVER[i].why;
}

/* init: a model that adapters are trained beside; NULL: a fresh one. */
static gal_err train_beside(const char *init, const char *run, bool resume, bool stop, gal_diag *diag) {
    char list[300], from[300];
    (void)snprintf(from, sizeof from, "init=%s", init ? init : "");
    (void)snprintf(list, sizeof list, "data.text=%s/text.txt", folder);
    const char *set[] = { list,
                          "data.separator=#@ ",
                          "data.valid_fraction=0.1",
                          "tokenizer.train_size=300",
                          "model.width=8",
                          "model.layers=1",
                          "model.heads=2",
                          "model.kv_heads=1",
                          "model.hidden=12",
                          "model.window=9",
                          "batch.rows=1",
                          "batch.sequence=12",
                          "steps=2",
                          "optimizer.lr=1e-2",
                          "eval.every=1",
                          "eval.rows=2",
                          "save.every=1",
                          "save.keep=1",
                          "device.cpu=ref",
                          "device.threads=1",
                          "log.norms_every=2",
                          "ema.decay=0.5",
                          "ema.evaluate=true",
                          init ? "precision=f32" : "precision=bf16",
                          init ? "optimizer.name=adamw" : "optimizer.name=adafactor",
                          init ? "batch.ramp=[]" : "batch.ramp=[2:2]",
                          from,
                          init ? "lora.rank=1" : "lora.rank=0" };
    const gal_train_options o = {
        .run = in(run), .resume = resume, .progress = hear_training, .stop = stop ? after_a_step : NULL
    };
    const size_t n = init ? drop_words(set, GAL_LEN(set), "model.") : GAL_LEN(set);
    stepped = false;
    return gal_train(NULL, set, resume ? 0 : n, &o, diag);
}

static gal_err train(const char *run, bool resume, bool stop, gal_diag *diag) {
    return train_beside(NULL, run, resume, stop, diag);
}

static void same_end(const char *run) {
    static const char *const FILES[] = { "model.safetensors", "optimizer.safetensors", "trainer.json" };
    char a[300], b[300];
    for (size_t i = 0; i < GAL_LEN(FILES); i++) {
        (void)snprintf(a, sizeof a, "%s/%s/checkpoints/step-2/%s", folder, run, FILES[i]);
        (void)snprintf(b, sizeof b, "%s/ref/checkpoints/step-2/%s", folder, FILES[i]);
        same_file(a, b);
    }
}

static bool has_checkpoint(const char *run) {
    gal_buf path = { 0 }, notes = { 0 };
    bool found = !gal__checkpoint_newest(in(run), INT64_MAX, &path, &notes, NULL) && path.len;
    gal_buf_free(&path);
    gal_buf_free(&notes);
    return found;
}

/* Goes on with a run that was born, or begins it again, to the end. */
static void finish(const char *run) {
    char config[300];
    (void)snprintf(config, sizeof config, "%s/%s/config.yaml", folder, run);
    bool resume = gal_is_file(config);
    CHECK_OK(train(run, resume, false, diag));
    same_end(run);
}

static void prepare_train(void) { forget("run"); }
static gal_err run_train(gal_diag *diag) { return train("run", false, false, diag); }

static void after_train(gal_err err, bool again) {
    if (!err) same_end("run");
    if (err && again) finish("run");
}

static void prepare_resume(void) {
    forget("run");
    copy_tree(in("half"), in("run"));
}

static gal_err run_resume(gal_diag *diag) { return train("run", true, false, diag); }

/* The checkpoint from before is there until a newer one is whole. */
static void after_resume(gal_err err, bool again) {
    if (!err) same_end("run");
    assert_true(has_checkpoint("run"));
    if (err && again) finish("run");
}

static gal_err run_again(gal_diag *diag) { return step_again(in("ref"), hear_training, diag); }

static gal_err run_tune(gal_diag *diag) {
    return train_beside(in("ref/checkpoints/step-2"), "tuned", false, false, diag);
}
static gal_err run_tune_on(gal_diag *diag) { return train_beside(NULL, "tuned", true, false, diag); }

static void prepare_tune(void) { forget("tuned"); }
static void prepare_tune_on(void) {
    forget("tuned");
    copy_tree(in("tuned-half"), in("tuned"));
}

static void same_tuned(void) {
    same_file(in("tuned/checkpoints/step-2/adapter_model.safetensors"),
              in("tuned-ref/checkpoints/step-2/adapter_model.safetensors"));
    same_file(in("tuned/checkpoints/step-2/optimizer.safetensors"),
              in("tuned-ref/checkpoints/step-2/optimizer.safetensors"));
}

/* A run that was born goes on to the same adapters. */
static void after_tune(gal_err err, bool again) {
    bool born = gal_is_file(in("tuned/config.yaml"));
    if (err && again && born) CHECK_OK(run_tune_on(diag));
    if (!err || (again && born)) same_tuned();
}

static void prepare_conversation(void) { prepare_talk(folder); }
static void prepare_corpus(void) { prepare_shards(folder); }
static void prepare_evaluation(void) { prepare_tasks(folder); }
static void prepare_packed(void) { prepare_side(folder); }
static void prepare_packed_open(void) { prepare_side_open(folder); }

/* ---- all of them -------------------------------------------------------------------------------------------------
 */

const stage STAGES[] = {
    { "config", 400, nothing, run_config, nothing_after },
    { "tokenizer", 24, nothing, run_tokenizer, nothing_after },
    { "vocabularies", 100, nothing, stages_vocabularies, nothing_after },
    { "data", 100, nothing, run_data, nothing_after },
    { "shards", 60, prepare_corpus, run_shards, after_shards },
    { "files", 400, prepare_files, run_files, after_files },
    { "threads", 100, nothing, run_threads, nothing_after },
    { "gguf", 200, nothing, run_gguf, nothing_after },
    { "open", 60, nothing, run_open, nothing_after },
    { "layouts", 60, nothing, run_layouts, nothing_after },
    { "lora", 60, nothing, run_lora, nothing_after },
    { "generate", 60, prepare_speak, speak, after_speak },
    { "side", 24, prepare_packed, run_side, after_side },
    { "side open", 24, prepare_packed_open, run_side_open, after_side_open },
    { "talk", 60, prepare_conversation, run_talk, after_talk },
    { "measure", 60, prepare_speak, measure, after_measure },
    { "tasks", 60, prepare_evaluation, run_tasks, after_tasks },
    { "save", 60, prepare_save, run_save, after_save },
    { "convert", 120, prepare_convert, run_convert, after_convert },
    { "train", 16, prepare_train, run_train, after_train },
    { "resume", 16, prepare_resume, run_resume, after_resume },
    { "replay", 12, nothing, run_again, nothing_after },
    { "tune", 12, prepare_tune, run_tune, after_tune },
    { "tune on", 12, prepare_tune_on, run_tune_on, after_tune },
};
const size_t N_STAGES = GAL_LEN(STAGES);

static void make_text(void) {
    static const char *const WORDS[] = { "sea",  "wind",  "salt",   "gull", "the", "a",    "over",  "grey",
                                         "boat", "sails", "slowly", "home", "and", "rain", "falls", "on" };
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t r = gal_rng_below(1, 2, i, 400);
        if (i % 100 == 50) gal_buf_puts(&text, "\n#@ doc\n");
        gal_buf_puts(&text, WORDS[r % GAL_LEN(WORDS)]);
        gal_buf_putc(&text, r % 11 == 0 ? '\n' : ' ');
    }
    assert_false(text.oom);
    put_file(folder, "text.txt", text.data, text.len);
    static char packed[1 << 13];
    size_t n = ZSTD_compress(packed, sizeof packed, text.data, text.len, 1);
    assert_false(ZSTD_isError(n));
    put_file(folder, "text.zst", packed, n);
}

void stages_open(void) {
    static const char YAML[] = "# a comment\ndata:\n  text: [text.txt, text.zst]\n  separator: \"#@ \"\nmodel:\n"
                               "  width: 8\nsteps: 1e2\nprecision: bf16\nsample:\n  prompts: [sea, wind]\n";
    /* Thousands of fsync calls belong into memory, where there is such a folder. */
    const char *tmp = getenv("TMPDIR");
    if (!tmp && access("/dev/shm", W_OK) == 0) assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
    make_folder(folder);
    make_text();
    put_file(folder, "run.yaml", YAML, sizeof YAML - 1);
    gal_diag diag0 = { 0 };
    assert_int_equal(train("half", false, true, &diag0), GAL_EINTERRUPTED);
    CHECK_OK(train("ref", false, false, diag));
    assert_int_equal(train_beside(in("ref/checkpoints/step-2"), "tuned-half", false, true, &diag0), GAL_EINTERRUPTED);
    CHECK_OK(train_beside(in("ref/checkpoints/step-2"), "tuned-ref", false, false, diag));
    make_shards();
    prepare_speak();
    CHECK_OK(speak(diag));
    after_speak(GAL_OK, false);
}

void stages_close(void) {
    remove_folder(folder);
    gal_buf_free(&text);
    gal_buf_free(&said);
}
