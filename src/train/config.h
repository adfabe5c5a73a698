/* config.h - the run configuration of training and of `galerne init`: the struct, its table, and what follows from
 * it. Counts are tokens or rows; a row is one packed sequence. Owned strings and lists: gal_train_config_free().
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_CONFIG_H
#define GAL_TRAIN_CONFIG_H

#include "formats/config.h"
#include "formats/options.h"
#include "optim/optim.h"
#include "optim/schedule.h"

enum { GAL_TRAIN_SETTINGS_MOST = 160 };

typedef struct gal_train_config {
    char *init; /* model to start from; "": fresh weights */
    struct {
        int64_t vocab, width, layers, heads, kv_heads, head_size, hidden, window, context, experts, experts_used;
        double rope_theta, norm_eps, init_range;
        bool tied;
        char *preset;
        int family; /* GAL_FAMILY_* */
        int norm;   /* Gopher: by the root mean square, or 1: with mean and bias */
        int64_t max_distance;
        int router, gate; /* Gopher: GAL_ROUTER_SBASE + router; 1: sigmoid */
        bool gate_whole;
        int64_t routed_every;
    } model;
    struct {
        gal_strings text, valid;
        double valid_fraction;
        char *separator, *field, *shards;
        gal_strings train, mixture, valid_shards; /* shards; mixture: LABEL:PATH */
        int preset, packing;                      /* GAL_PRESET_*, gal_packing */
        gal_strings chat, chat_valid;
        char *template;
        int long_chats; /* 1: left out */
        bool prefetch;
    } data;
    struct {
        char *path;
        int64_t train_size, memory_mib;
        int normalizer; /* gal_normalizer */
    } tokenizer;
    struct {
        int64_t rows, sequence, accumulate;
        gal_strings ramp; /* gal_train_ramp() */
    } batch;
    struct {
        double balance, z;
        bool per_layer;
        double capacity, tolerance, policy, baseline, entropy, top_p;
        int64_t iterations;
    } router;
    struct {
        int64_t rank; /* 0: the model's own weights are trained */
        double alpha;
        gal_strings targets; /* of gal_lora_target(); none: all of them */
    } lora;
    int64_t steps, seed;
    int precision; /* gal_precision */
    int recompute; /* GAL_RECOMPUTE_* */
    int64_t recompute_every;
    bool eager;
    struct {
        int name; /* gal_optim_kind_at() */
        double lr, beta1, beta2, eps, weight_decay, clip, momentum;
        bool nesterov, relative;
    } optimizer;
    struct {
        int name; /* gal_curve */
        int64_t warmup, cycle_steps, decay_steps;
        double first_lr, final_fraction;
        int decay_shape; /* 1: sqrt */
    } schedule;
    struct {
        double decay;
        bool evaluate;
    } ema;
    struct {
        int64_t window, skips, returns;
        double sigmas;
    } spike;
    struct {
        int64_t norms_every;
    } log;
    struct {
        int64_t every, rows;
    } eval;
    struct {
        int64_t every, keep;
    } save;
    struct {
        char *name, *cpu;
        int64_t threads;
        int numa; /* gal_numa */
    } device;
    struct {
        gal_strings prompts;
        int64_t tokens;
        double temperature;
    } sample;
    uint8_t said[GAL_TRAIN_SETTINGS_MOST]; /* gal_settings_said() */
} gal_train_config;

enum { GAL_FAMILY_MISTRAL, GAL_FAMILY_GOPHER };
enum { GAL_RECOMPUTE_NONE, GAL_RECOMPUTE_BLOCKS, GAL_RECOMPUTE_FALSE, GAL_RECOMPUTE_TRUE }; /* as in the table */
enum { GAL_PRESET_NONE, GAL_PRESET_MASSIVETEXT, GAL_PRESET_CHINCHILLA };                    /* the same of these */

extern const gal_settings GAL_TRAIN_SETTINGS;

gal_err gal_train_config_defaults(gal_train_config *c, gal_diag *diag); /* on failure nothing is held */
void gal_train_config_free(gal_train_config *c);
/* What no single value can show: sizes that must divide, a warm-up longer than the run. GAL_EINPUT. user: NULL, or a
 * const bool: the file is that of a run which is there. What such a file says was accepted once, or had no effect;
 * newer refusals are of assignments alone then. */
gal_err gal_train_config_check(const gal_train_config *c, const char *where, void *user, gal_diag *diag);
/* plan.c: batch.accumulate and batch.ramp as one. GAL_EINPUT: not STEP:BATCHES, out of order, too many. */
gal_err gal_train_ramp(gal_ramp *out, const gal_train_config *c, const char *where, gal_diag *diag);
/* plan.c: an entry of data.mixture, LABEL:PATH. GAL_EINPUT: its label is no weight, nor, with data.preset, a name. */
typedef struct gal_train_source {
    char label[64];
    char *path; /* borrowed of the configuration */
    double weight;
} gal_train_source;
gal_err gal_train_source_at(gal_train_source *out, const gal_train_config *c, size_t i, const char *where,
                            gal_diag *diag);
gal_schedule gal_train_schedule(const gal_train_config *c); /* of a configuration that was checked */
gal_optim_options gal_train_optim_options(const gal_train_config *c);
int gal_train_recompute(const gal_train_config *c); /* for gal_tape_on() */
/* The sizes of a preset (models/presets.h), and its learning rate where its paper states one, into a configuration of
 * defaults. GAL_EINPUT: there is none of that name. */
enum { GAL_PRESET_NAME = 64 };
gal_err gal_train_config_preset(gal_train_config *c, const char *name, const char *where, gal_diag *diag);
/* Sizes of the model, defaults resolved; vocab is taken where model.vocab is 0. ids: bos and eos, -1: none. */
gal_err gal_train_model_config(gal_config *out, const gal_train_config *c, int64_t vocab, int32_t bos, int32_t eos,
                               const char *where, gal_diag *diag);
/* The factor of the loss of balance: what is said, or what the router's paper has. */
double gal_train_balance(const gal_train_config *c, gal_router router);
/* Of the whole run; and the forward passes that each of them costs (models/count.h) where nothing is computed again:
 * three, one less where the weights are frozen beside adapters. */
double gal_train_config_tokens(const gal_train_config *c);
int gal_train_config_passes(const gal_train_config *c);

#endif
