/* config.c - the table of a run's settings. Invariant: every field of gal_train_config has exactly one row, so the
 * dump is the complete configuration. SPDX-License-Identifier: Apache-2.0 */
#include "train/config.h"
#include "models/count.h"
#include "models/lora.h"
#include "models/presets.h"
#include "tensor/tensor.h"
#include "text/nfkc.h"

#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(gal_train_config, field)
#define INT(key, field, def, lo, hi, help)                                                                           \
    { key, GAL_S_INT, AT(field), def, lo, hi, NULL, help }
#define FLOAT(key, field, def, lo, hi, help)                                                                         \
    { key, GAL_S_FLOAT, AT(field), def, lo, hi, NULL, help }
#define BOOL(key, field, def, help)                                                                                  \
    { key, GAL_S_BOOL, AT(field), def, 0, 0, NULL, help }
#define CHOICE(key, field, def, choices, help)                                                                       \
    { key, GAL_S_CHOICE, AT(field), def, 0, 0, choices, help }
#define TEXT(key, type, field, def, help)                                                                            \
    { key, type, AT(field), def, 0, 0, NULL, help }

static const gal_setting ROWS[] = {
    TEXT("init", GAL_S_PATH, init, "", "model to start from instead of fresh weights: a folder, a GGUF file, a run"),

    TEXT("model.preset", GAL_S_STRING, model.preset, "",
         "sizes of a published model (galerne flops --list), and its learning rate where that is known; what is said "
         "beside it goes before"),
    CHOICE("model.family", model.family, "mistral", "mistral gopher",
           "mistral (mixtral with experts), or gopher: relative positions, GELU, biases, one embedding"),
    INT("model.vocab", model.vocab, "0", 0, 1 << 24, "entries of the vocabulary; 0: those of the tokenizer"),
    INT("model.width", model.width, "256", 1, 1 << 20, "width of the residual stream"),
    INT("model.layers", model.layers, "4", 1, 1 << 12, "number of blocks"),
    INT("model.heads", model.heads, "4", 1, 1 << 16, "query heads"),
    INT("model.kv_heads", model.kv_heads, "0", 0, 1 << 16,
        "key-value heads, a divisor of heads; 0: as many as heads"),
    INT("model.head_size", model.head_size, "0", 0, 1 << 16, "size of a head, even; 0: width / heads"),
    INT("model.hidden", model.hidden, "0", 0, 1 << 20,
        "hidden width of the feed-forward part; 0: 8/3 of width, 4 of gopher"),
    INT("model.experts", model.experts, "0", 0, GAL_MAX_EXPERTS,
        "feed-forward parts of each layer, of which every token takes a few; 0: one for all"),
    INT("model.experts_used", model.experts_used, "0", 0, GAL_MAX_EXPERTS,
        "experts that a token takes; 0: 2, 1 of gopher"),
    INT("model.window", model.window, "0", 0, 1 << 30,
        "tokens that attention looks back, the own one included; 0: all"),
    INT("model.context", model.context, "0", 0, 1 << 30, "largest position stated in config.json; 0: batch.sequence"),
    FLOAT("model.rope_theta", model.rope_theta, "10000", 1, 1e12, "base of the rotary angles"),
    FLOAT("model.norm_eps", model.norm_eps, "0", 0, 1,
          "added to the mean square in normalisation; 0: 1e-5, 1e-6 of gopher"),
    FLOAT("model.init_range", model.init_range, "0.02", 1e-9, 10, "standard deviation of fresh weights"),
    BOOL("model.tied", model.tied, "false", "the output head shares the embedding; gopher's always does"),
    CHOICE("model.router", model.router, "sbase", "sbase rlr hash",
           "of gopher: the largest logits, in training by a balanced plan; a policy that learns by REINFORCE; the "
           "token's id"),
    INT("model.routed_every", model.routed_every, "2", 1, 1 << 12,
        "of gopher: one of so many layers has the experts, the last"),
    CHOICE("model.gate", model.gate, "softmax", "softmax sigmoid",
           "of sbase: what an expert's result is multiplied with"),
    BOOL("model.gate_whole", model.gate_whole, "false", "of sbase: a token's gates add up to 1"),
    CHOICE("model.norm", model.norm, "rms_norm", "rms_norm layer_norm", "of gopher"),
    INT("model.max_distance", model.max_distance, "0", 0, 1 << 30,
        "of gopher: positions further back are as this one; 0: the last that training meets"),

    TEXT("data.text", GAL_S_PATHS, data.text, NULL,
         "text to train on: plain text or lines of JSON, as they are or in .zst or .gz files"),
    TEXT("data.valid", GAL_S_PATHS, data.valid, NULL, "text to validate on"),
    FLOAT("data.valid_fraction", data.valid_fraction, "0.05", 0, 0.9, "without data.valid: this end of the text"),
    TEXT("data.separator", GAL_S_STRING, data.separator, "",
         "a line that begins so starts a document and is dropped"),
    TEXT("data.field", GAL_S_STRING, data.field, "text", "of lines of JSON: the field that is the text"),
    TEXT("data.train", GAL_S_PATHS, data.train, NULL,
         "instead of data.text: token shards (galerne data tokenize), folders of them, or names with * ? ["),
    TEXT("data.mixture", GAL_S_LABELLED, data.mixture, NULL,
         "instead of data.train: WEIGHT:PATH of each source; rows come from them in the proportion of the weights"),
    CHOICE(
        "data.preset", data.preset, "none", "none massivetext massivetext_chinchilla",
        "labels of data.mixture are subsets of MassiveText, with the weights of Gopher's or Chinchilla's training"),
    TEXT("data.valid_shards", GAL_S_PATHS, data.valid_shards, NULL,
         "beside data.train or data.mixture: shards to validate on"),
    TEXT("data.chat", GAL_S_PATHS, data.chat, NULL,
         "instead of data.text: conversations, a line of JSON with \"messages\" each, as they are or in .zst or .gz "
         "files; of these only what an assistant says is learned"),
    TEXT("data.chat_valid", GAL_S_PATHS, data.chat_valid, NULL,
         "conversations to validate on; without them data.valid_fraction of those of data.chat, from their end"),
    TEXT("data.template", GAL_S_STRING, data.template, "",
         "of conversations: V1 to V15, jinja, or a file that ends in .jinja; empty: the vocabulary's own"),
    CHOICE("data.long", data.long_chats, "cut", "cut skip",
           "conversations longer than batch.sequence: without their end, or left out"),
    CHOICE("data.packing", data.packing, "masked", "masked plain",
           "rows of several documents: masked from one another, or one run of text (evaluation is always masked)"),
    BOOL("data.prefetch", data.prefetch, "true", "gather the next step's rows while a step is computed"),
    TEXT("data.shards", GAL_S_PATH, data.shards, "",
         "folder of token shards to share between runs; empty: the run's"),
    TEXT("tokenizer.path", GAL_S_PATH, tokenizer.path, "", "SentencePiece model; empty: train one on data.text"),
    INT("tokenizer.memory_mib", tokenizer.memory_mib, "4096", 64, 1 << 20,
        "most memory for training a vocabulary, in MiB; of a larger text a part of the lines is counted, drawn by "
        "seed"),
    INT("tokenizer.train_size", tokenizer.train_size, "2048", 300, 1 << 20, "entries of a vocabulary trained here"),
    CHOICE("tokenizer.normalizer", tokenizer.normalizer, "identity", GAL_NORMALIZER_NAMES,
           "of a vocabulary trained here, how text is changed first: not, to NFKC (as Gopher's, whose presets have "
           "it), or "
           "to NFKC with controls and line ends gone, too; as SentencePiece calls them"),

    INT("lora.rank", lora.rank, "0", 0, 1 << 16,
        "train low-rank adapters of this rank beside the model of init, which stays as it is; 0: train the model"),
    FLOAT("lora.alpha", lora.alpha, "16", 1e-9, 1e9, "adapters are scaled by alpha / rank"),
    TEXT("lora.targets", GAL_S_STRINGS, lora.targets, NULL,
         "weights that get one, of q k v o gate up down; none named: all of them"),

    INT("batch.rows", batch.rows, "8", 1, 1 << 20, "rows computed at once"),
    INT("batch.sequence", batch.sequence, "256", 2, 1 << 24, "tokens in a row"),
    INT("batch.accumulate", batch.accumulate, "1", 1, 1 << 20, "batches whose gradients make one step"),
    TEXT("batch.ramp", GAL_S_STRINGS, batch.ramp, NULL,
         "larger steps later on: a list of STEP:BATCHES, batch.accumulate from that step on"),
    INT("steps", steps, "1000", 1, 1e12, "steps of the whole run"),
    INT("seed", seed, "1", 0, 9007199254740992.0, "of weights and order of the text"),
    CHOICE("precision", precision, "f32", "f32 bf16 bf16_pure bf16_stochastic",
           "f32; bf16: products and activations, beside weights in f32; bf16_pure, bf16_stochastic: weights in bf16 "
           "alone, rounded to nearest or by chance"),
    CHOICE("recompute", recompute, "none", "none blocks false true",
           "blocks: keep only the input of a block and compute it again, less memory; true is blocks, false none"),
    INT("recompute_every", recompute_every, "1", 1, 1 << 12, "with recompute: only every N-th block"),
    BOOL("eager", eager, "false", "compute every step anew instead of replaying the recorded one (the same bytes)"),

    FLOAT(
        "router.balance", router.balance, "-1", -1, 1e6,
        "factor of the loss that spreads tokens over experts, which is model.experts_used where they are even; below "
        "0: 0.02 of mixtral, 0.01 of rlr, else 0"),
    FLOAT("router.z", router.z, "0.001", 0, 1e6, "of mixtral: factor of the mean square of the routers' log-sum-exp"),
    FLOAT("router.capacity", router.capacity, "0", 0, 1e6,
          "most tokens of an expert in a batch, as a multiple of its even share; others pass it by. 0: any number"),
    FLOAT("router.tolerance", router.tolerance, "0.01", 0, 1, "of sbase: how far a plan may be from even"),
    INT("router.iterations", router.iterations, "100", 1, 1 << 20, "of sbase: most iterations of a plan"),
    FLOAT("router.policy", router.policy, "0.1", 0, 1e6, "of rlr: factor of the policy's loss"),
    FLOAT("router.baseline", router.baseline, "0.01", 0, 1e6, "of rlr: factor of the baseline's square error"),
    FLOAT("router.entropy", router.entropy, "0", 0, 1e6, "of rlr: factor of the policy's entropy, which it raises"),
    FLOAT("router.top_p", router.top_p, "1", 0, 1,
          "of rlr: a token's experts are drawn from as few of its most probable ones as add up to this, "
          "model.experts_used at least. 1: from all"),
    BOOL("router.per_layer", router.per_layer, "false",
         "balance each layer by itself instead of all of them together"),

    CHOICE("optimizer.name", optimizer.name, "adamw", GAL_OPTIM_NAMES, "how gradients become updates"),
    FLOAT("optimizer.lr", optimizer.lr, "1e-3", 0, 100, "largest learning rate"),
    FLOAT("optimizer.beta1", optimizer.beta1, "0.9", 0, 0.999999, "adamw, adam: decay of the gradient's mean"),
    FLOAT("optimizer.beta2", optimizer.beta2, "0.95", 0, 0.9999999, /* 0.99999998 is 1 as a float */
          "adamw, adam: decay of the squared gradient's mean"),
    FLOAT("optimizer.eps", optimizer.eps, "1e-8", 1e-30, 1, "adamw, adam: added to the root of the squared mean"),
    FLOAT("optimizer.weight_decay", optimizer.weight_decay, "0.1", 0, 100,
          "decay of matrices: adamw and adafactor take it from the weights, times lr; adam and sgd add it to the "
          "gradient"),
    FLOAT("optimizer.momentum", optimizer.momentum, "0", 0, 0.999999,
          "sgd, adafactor: of earlier gradients; 0: none, and no memory for it"),
    BOOL("optimizer.nesterov", optimizer.nesterov, "false", "sgd: look ahead by the momentum"),
    BOOL("optimizer.relative", optimizer.relative, "false",
         "adafactor: lr is a part of each weight's root mean square, of 0.001 at least"),
    FLOAT("optimizer.clip", optimizer.clip, "1", 0, 1e9, "largest global norm of the gradient; 0: no limit"),
    CHOICE("schedule.name", schedule.name, "cosine", "cosine wsd constant linear",
           "the curve after the warm-up; wsd: stays until the last decay_steps"),
    INT("schedule.warmup", schedule.warmup, "0", 0, 1e12, "steps of linear rise from first_lr to lr"),
    FLOAT("schedule.first_lr", schedule.first_lr, "0", 0, 100, "what the warm-up rises from"),
    INT("schedule.cycle_steps", schedule.cycle_steps, "0", 0, 1e12,
        "cosine: step of its end; 0: steps, which is best (arXiv:2203.15556, appendix B)"),
    INT("schedule.decay_steps", schedule.decay_steps, "0", 0, 1e12, "wsd: last steps; 0: a tenth of steps"),
    CHOICE("schedule.decay_shape", schedule.decay_shape, "linear", "linear sqrt", "wsd: a line, or 1 - sqrt"),
    FLOAT("schedule.final_fraction", schedule.final_fraction, "0.1", 0, 1, "lr of the curve's end, as a part of lr"),

    FLOAT("ema.decay", ema.decay, "0", 0, 0.999999999,
          "of a moving average of the weights, which begins as the first ones; 0: none is kept"),
    BOOL("ema.evaluate", ema.evaluate, "false", "evaluate the average instead of the weights"),

    INT("spike.window", spike.window, "100", 2, 10000,
        "losses that a loss is compared with; before there are so many only what is no number is a spike"),
    FLOAT("spike.sigmas", spike.sigmas, "0", 0, 1e6,
          "a loss so many standard deviations above their mean is a spike; 0: only what is no number"),
    INT("spike.skips", spike.skips, "3", 0, 1e6,
        "spikes in a row whose updates are left out; one more returns to the last good checkpoint"),
    INT("spike.returns", spike.returns, "2", 0, 1e6, "most returns of a run, which then ends"),

    INT("log.norms_every", log.norms_every, "0", 0, 1e12,
        "steps between norms of gradient and update by layer in metrics.sqlite; 0: none"),

    INT("eval.every", eval.every, "0", 0, 1e12, "steps between evaluations; 0: only at the end"),
    INT("eval.rows", eval.rows, "0", 0, 1 << 30, "rows of validation text per evaluation; 0: all of it"),
    INT("save.every", save.every, "0", 0, 1e12,
        "steps between checkpoints besides those before evaluations; 0: none"),
    INT("save.keep", save.keep, "2", 1, 1e6, "newest checkpoints kept, besides the best one"),

    TEXT("device.name", GAL_S_STRING, device.name, "cpu", "cpu, cuda, or cuda:N for the GPU of that number"),
    TEXT("device.cpu", GAL_S_STRING, device.cpu, "",
         "ref, sse42, avx, avx2, avx512 or neon; empty: the best of this processor"),
    INT("device.threads", device.threads, "0", 0, 4096,
        "threads; 0: one for each fast core, within a container's limit. Results do not depend on it"),
    CHOICE("device.numa", device.numa, "auto", "auto one",
           "of several memory nodes: all, or one for threads and memory"),
    TEXT("sample.prompts", GAL_S_STRINGS, sample.prompts, NULL, "texts continued after each evaluation"),
    INT("sample.tokens", sample.tokens, "64", 1, 1 << 20, "tokens of each continuation"),
    FLOAT("sample.temperature", sample.temperature, "0.8", 0, 100, "of the continuations; 0: the likeliest token"),
};

static bool of_model(const gal_setting *s) { return strncmp(s->key, "model.", 6) == 0; }

/* Beside init the model is another's, and what the defaults say of it is not so. */
static bool applies(const void *config, const gal_setting *row) {
    return !of_model(row) || !((const gal_train_config *)config)->init[0];
}

_Static_assert(GAL_LEN(ROWS) <= GAL_TRAIN_SETTINGS_MOST, "each row has its place in gal_train_config.said");

const gal_settings GAL_TRAIN_SETTINGS = { .rows = ROWS,
                                          .count = GAL_LEN(ROWS),
                                          .bytes = sizeof(gal_train_config),
                                          .said = AT(said),
                                          .unset = true,
                                          .applies = applies };

gal_err gal_train_config_defaults(gal_train_config *c, gal_diag *diag) {
    return gal_settings_defaults(&GAL_TRAIN_SETTINGS, c, diag);
}

void gal_train_config_free(gal_train_config *c) { gal_settings_free(&GAL_TRAIN_SETTINGS, c); }

static gal_err check_lora(const gal_train_config *c, const char *where, gal_diag *diag) {
    const gal_strings *t = &c->lora.targets;
    for (size_t i = 0; i < t->n; i++) {
        if (!gal_lora_target(t->v[i]))
            return gal_fail(diag, GAL_EINPUT, "%s: lora.targets: expected some of q k v o gate up down, found %s",
                            where, t->v[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(t->v[i], t->v[k]) == 0)
                return gal_fail(diag, GAL_EINPUT, "%s: lora.targets: %s is named twice", where, t->v[i]);
    }
    if (c->lora.rank && !c->init[0])
        return gal_fail(diag, GAL_EINPUT, "%s: lora.rank: adapters need a model to be trained beside: init is empty",
                        where);
    return GAL_OK;
}

static int64_t experts_used(const gal_train_config *c) {
    return c->model.experts_used ? c->model.experts_used : c->model.family == GAL_FAMILY_GOPHER ? 1 : 2;
}

/* `taken`: a run's own file had the section once. */
static gal_err check_init(const gal_train_config *c, bool taken, const char *where, gal_diag *diag) {
    for (size_t i = 0; i < GAL_LEN(ROWS); i++) {
        const gal_setting *s = &ROWS[i];
        if (!of_model(s) || c->said[i] <= (taken ? GAL_SAID_IN_FILE : GAL_SAID_NOWHERE)) continue;
        return gal_fail(diag, GAL_EINPUT,
                        "%s: %s: expected none beside init, whose model is trained as it is: leave it out", where,
                        s->key);
    }
    return GAL_OK;
}

/* `taken`: a run's own file may say of its router what had no effect. */
static gal_err check_router(const gal_train_config *c, bool taken, const char *where, gal_diag *diag) {
    const bool other = c->model.router != 0; /* the first is what a file says that says nothing */
    if (c->model.family == GAL_FAMILY_GOPHER || !c->model.experts || !other || taken) return GAL_OK;
    return gal_fail(diag, GAL_EINPUT,
                    "%s: model.router: expected none but in a gopher (model.family), for a mixtral has its own",
                    where);
}

/* Sizes that must fit one another. */
static gal_err check_model(const gal_train_config *c, const char *where, gal_diag *diag) {
    const bool gopher = c->model.family == GAL_FAMILY_GOPHER;
    const int64_t heads = c->model.heads, groups = c->model.kv_heads ? c->model.kv_heads : heads;
    const int64_t size = c->model.head_size ? c->model.head_size : c->model.width / heads;
    if (!c->model.head_size && c->model.width % heads != 0)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: model.heads: expected a divisor of width %lld (or give head_size), found %lld", where,
                        (long long)c->model.width, (long long)heads);
    if (heads % groups != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: model.kv_heads: expected a divisor of heads %lld, found %lld", where,
                        (long long)heads, (long long)groups);
    if (!gopher && size % 2 != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: model.head_size: expected an even size, found %lld", where,
                        (long long)size);
    if (c->model.experts && experts_used(c) > c->model.experts)
        return gal_fail(diag, GAL_EINPUT, "%s: model.experts_used: expected at most model.experts %lld, found %lld",
                        where, (long long)c->model.experts, (long long)experts_used(c));
    if (gopher && groups != heads)
        return gal_fail(diag, GAL_EINPUT, "%s: model.kv_heads: expected as many as heads in a gopher, found %lld",
                        where, (long long)groups);
    if (gopher && c->model.width % 2 != 0)
        return gal_fail(diag, GAL_EINPUT, "%s: model.width: expected an even width in a gopher, found %lld", where,
                        (long long)c->model.width);
    if (gopher && c->model.window)
        return gal_fail(diag, GAL_EINPUT, "%s: model.window: expected 0 in a gopher", where);
    if (gopher && c->model.experts && c->model.routed_every > c->model.layers)
        return gal_fail(diag, GAL_EINPUT, "%s: model.routed_every: expected at most model.layers %lld, found %lld",
                        where, (long long)c->model.layers, (long long)c->model.routed_every);
    if (gopher && c->model.experts && c->model.router == GAL_ROUTER_HASH - GAL_ROUTER_SBASE && experts_used(c) != 1)
        return gal_fail(diag, GAL_EINPUT, "%s: model.experts_used: expected 1 with router hash, found %lld", where,
                        (long long)experts_used(c));
    return GAL_OK;
}

/* Conversations are no text: what goes with a text says nothing of them. */
static gal_err check_chat(const gal_train_config *c, const char *where, gal_diag *diag) {
    const char *other = !c->data.chat.n          ? "no data.chat beside data.chat_valid"
                        : c->data.text.n         ? "data.text"
                        : c->data.valid.n        ? "data.valid"
                        : c->data.train.n        ? "data.train"
                        : c->data.mixture.n      ? "data.mixture"
                        : c->data.valid_shards.n ? "data.valid_shards"
                        : c->data.shards[0]      ? "data.shards"
                                                 : NULL;
    if (other) return gal_fail(diag, GAL_EINPUT, "%s: data.chat: expected it alone, found %s", where, other);
    if (c->data.packing)
        return gal_fail(diag, GAL_EINPUT, "%s: data.packing: expected masked with data.chat, found plain", where);
    if (!c->tokenizer.path[0] && !c->init[0])
        return gal_fail(diag, GAL_EINPUT, "%s: tokenizer.path: expected a vocabulary with a template, found none",
                        where);
    return GAL_OK;
}

/* What is trained on is said in one way. */
static gal_err check_data(const gal_train_config *c, const char *where, gal_diag *diag) {
    const size_t text = c->data.text.n, train = c->data.train.n, mixture = c->data.mixture.n;
    const bool shards = train > 0 || mixture > 0;
    if (c->data.chat.n || c->data.chat_valid.n) return check_chat(c, where, diag);
    if ((text > 0) + (train > 0) + (mixture > 0) > 1)
        return gal_fail(diag, GAL_EINPUT, "%s: data: expected one of text, train and mixture, found %s and %s", where,
                        text ? "text" : "train", mixture ? "mixture" : "train");
    if (!text && !shards)
        return gal_fail(diag, GAL_EINPUT, "%s: data.text: expected the file or files to train on, found none", where);
    if (c->data.valid_shards.n && !shards)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: data.valid_shards: they go with data.train or data.mixture; use "
                        "data.valid beside a text",
                        where);
    if (c->data.valid_shards.n && c->data.valid.n)
        return gal_fail(diag, GAL_EINPUT, "%s: data: expected one of valid and valid_shards, found both", where);
    if (shards && !c->tokenizer.path[0] && !c->init[0])
        return gal_fail(diag, GAL_EINPUT,
                        "%s: tokenizer.path: expected the vocabulary that the shards were made with, found none",
                        where);
    if (c->data.preset != GAL_PRESET_NONE && !mixture)
        return gal_fail(diag, GAL_EINPUT, "%s: data.preset: it goes with data.mixture, which is empty", where);
    gal_train_source source;
    gal_err err = GAL_OK;
    for (size_t i = 0; !err && i < mixture; i++) err = gal_train_source_at(&source, c, i, where, diag);
    return err;
}

/* The curve's parts within the run. `taken`: a run of before this was asked cut its decay short. */
static gal_err check_schedule(const gal_train_config *c, bool taken, const char *where, gal_diag *diag) {
    const int64_t warmup = c->schedule.warmup, decay = c->schedule.decay_steps;
    if (warmup > c->steps)
        return gal_fail(diag, GAL_EINPUT, "%s: schedule.warmup: expected at most steps (%lld), found %lld", where,
                        (long long)c->steps, (long long)warmup);
    if (c->schedule.cycle_steps && c->schedule.cycle_steps < warmup)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: schedule.cycle_steps: expected 0 or at least schedule.warmup (%lld), found %lld", where,
                        (long long)warmup, (long long)c->schedule.cycle_steps);
    const bool old = taken && gal_settings_said(&GAL_TRAIN_SETTINGS, c, "schedule.decay_steps") != GAL_SAID_BY_SET;
    if (c->schedule.name == GAL_CURVE_WSD && decay > c->steps - warmup && !old)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: schedule.decay_steps: expected at most the %lld steps behind the warm-up, found %lld",
                        where, (long long)(c->steps - warmup), (long long)decay);
    return GAL_OK;
}

gal_err gal_train_config_check(const gal_train_config *c, const char *where, void *user, gal_diag *diag) {
    const bool taken = user && *(const bool *)user;
    gal_err err = check_schedule(c, taken, where, diag);
    if (err) return err;
    if (c->batch.rows * c->batch.sequence > INT32_MAX / 2)
        return gal_fail(diag, GAL_EINPUT, "%s: batch.rows: expected at most %lld rows of %lld tokens, found %lld",
                        where, (long long)(INT32_MAX / 2 / c->batch.sequence), (long long)c->batch.sequence,
                        (long long)c->batch.rows);
    gal_ramp ramp;
    err = gal_train_ramp(&ramp, c, where, diag);
    if (err) return err;
    if (c->lora.rank && c->precision > GAL_PRECISION_BF16)
        return gal_fail(diag, GAL_EINPUT, "%s: precision: adapters are kept in f32: expected f32 or bf16", where);
    if (c->ema.evaluate && !(c->ema.decay > 0))
        return gal_fail(diag, GAL_EINPUT, "%s: ema.evaluate: there is no average: ema.decay is 0", where);
    if (c->model.context && c->model.context < c->batch.sequence && !c->init[0])
        return gal_fail(diag, GAL_EINPUT, "%s: model.context: expected at least batch.sequence (%lld), found %lld",
                        where, (long long)c->batch.sequence, (long long)c->model.context);
    err = c->init[0] ? check_init(c, taken, where, diag) : check_model(c, where, diag);
    if (!err && !c->init[0]) err = check_router(c, taken, where, diag);
    if (!err) err = check_lora(c, where, diag);
    /* Last: a file that leaves the text to the command line is to be right in all else. */
    return err ? err : check_data(c, where, diag);
}

double gal_train_balance(const gal_train_config *c, gal_router router) {
    static const double USUAL[] = {
        [GAL_ROUTER_TOP] = 0.02, [GAL_ROUTER_SBASE] = 0, [GAL_ROUTER_RLR] = 0.01, [GAL_ROUTER_HASH] = 0
    };
    return c->router.balance >= 0 ? c->router.balance : USUAL[router];
}

static void set_mistral(gal_config *out, const gal_train_config *c) {
    (void)snprintf(out->model_type, sizeof out->model_type, c->model.experts ? "mixtral" : "mistral");
    out->experts = c->model.experts;
    out->experts_used = c->model.experts ? experts_used(c) : 0;
    out->router_balance = gal_train_balance(c, GAL_ROUTER_TOP);
    /* 8/3 of the width, so that three matrices cost what two of 4 D would (Shazeer, arXiv:2002.05202); a multiple
     * of 32. */
    out->F = c->model.hidden ? c->model.hidden : GAL_MAX((int64_t)32, (c->model.width * 8 / 3 + 31) / 32 * 32);
    out->window = c->model.window;
    out->rope_theta = c->model.rope_theta;
    out->eps = c->model.norm_eps > 0 ? c->model.norm_eps : 1e-5;
    out->tied = c->model.tied;
}

static void set_gopher(gal_config *out, const gal_train_config *c) {
    (void)snprintf(out->model_type, sizeof out->model_type, "gopher");
    out->relative = true;
    out->F = c->model.hidden ? c->model.hidden : 4 * c->model.width;
    out->window = c->model.window; /* refused by name */
    out->max_distance = c->model.max_distance ? c->model.max_distance : GAL_MAX(c->batch.sequence - 1, (int64_t)1);
    out->layer_norm = c->model.norm == 1;
    out->experts = c->model.experts;
    if (out->experts) {
        out->experts_used = experts_used(c);
        out->routed_every = c->model.routed_every;
        out->router = GAL_ROUTER_SBASE + (gal_router)c->model.router;
        out->gate_sigmoid = c->model.gate == 1;
        out->gate_whole = c->model.gate_whole;
    }
    out->eps = c->model.norm_eps > 0 ? c->model.norm_eps : 1e-6;
    out->tied = true;
}

gal_err gal_train_model_config(gal_config *out, const gal_train_config *c, int64_t vocab, int32_t bos, int32_t eos,
                               const char *where, gal_diag *diag) {
    gal_err err = check_model(c, where, diag);
    if (err) return err;
    if (c->model.vocab && vocab > c->model.vocab)
        return gal_fail(diag, GAL_EINPUT,
                        "%s: model.vocab: expected at least the tokenizer's %lld entries, found %lld", where,
                        (long long)vocab, (long long)c->model.vocab);
    if (!c->model.vocab && vocab < 1)
        return gal_fail(diag, GAL_EINPUT, "%s: model.vocab: expected a size, because no tokenizer is given", where);
    gal_config_defaults(out);
    out->V = c->model.vocab ? c->model.vocab : vocab;
    out->D = c->model.width;
    out->L = c->model.layers;
    out->H = c->model.heads;
    out->G = c->model.kv_heads ? c->model.kv_heads : c->model.heads;
    out->K = c->model.head_size ? c->model.head_size : c->model.width / c->model.heads;
    out->max_positions = c->model.context ? c->model.context : c->batch.sequence;
    out->init_range = c->model.init_range;
    if (c->model.family == GAL_FAMILY_GOPHER)
        set_gopher(out, c);
    else
        set_mistral(out, c);
    out->bos = bos;
    if (eos >= 0) {
        out->eos[0] = eos;
        out->n_eos = 1;
    }
    out->dtype = GAL_F32;
    return gal_config_check(out, where, diag);
}

double gal_train_config_tokens(const gal_train_config *c) {
    gal_schedule s = gal_train_schedule(c);
    return (double)gal_ramp_total(&s.ramp, c->steps) * (double)c->batch.rows * (double)c->batch.sequence;
}

int gal_train_config_passes(const gal_train_config *c) { return GAL_PASSES_TRAIN - (c->lora.rank ? 1 : 0); }

gal_err gal_train_config_preset(gal_train_config *c, const char *name, const char *where, gal_diag *diag) {
    const gal_preset *p = gal_preset_named(name);
    if (!p)
        return gal_fail(diag, GAL_EINPUT, "%s: model.preset: no preset \"%s\"; galerne flops --list has them", where,
                        name);
    const gal_size *s = &p->size;
    c->model.family = s->relative ? GAL_FAMILY_GOPHER : GAL_FAMILY_MISTRAL;
    c->model.width = s->D;
    c->model.layers = s->L;
    c->model.heads = s->H;
    c->model.kv_heads = s->G == s->H ? 0 : s->G; /* as many as heads, whatever their number is set to */
    c->model.head_size = s->K;
    c->model.hidden = s->F;
    c->model.experts = s->experts;
    c->model.experts_used = s->used;
    c->model.window = s->window;
    c->model.norm = s->norm_bias ? 1 : 0;
    c->model.tied = s->tied;
    if (p->lr > 0) c->optimizer.lr = p->lr;
    if (p->nfkc) c->tokenizer.normalizer = GAL_NORMALIZER_NFKC;
    return GAL_OK;
}
