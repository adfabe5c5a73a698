/* config.h - the run configuration of training and of `galerne init`: the struct, its table, and what follows from
 * it. Counts are tokens or rows; a row is one packed sequence. Owned strings and lists: gal_train_config_free().
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_CONFIG_H
#define GAL_TRAIN_CONFIG_H

#include "formats/config.h"
#include "formats/options.h"

typedef struct gal_train_config {
    char *init; /* folder of a model to start from; "": fresh weights */
    struct {
        int64_t vocab, width, layers, heads, kv_heads, head_size, hidden, window, context, experts, experts_used;
        double rope_theta, norm_eps, init_range;
        bool tied;
    } model;
    struct {
        gal_strings text, valid;
        double valid_fraction;
        char *separator, *field, *shards;
        gal_strings train, mixture, valid_shards; /* shards; mixture: LABEL:PATH */
        int preset, packing;                      /* GAL_PRESET_*, gal_packing */
        bool prefetch;
    } data;
    struct {
        char *path;
        int64_t train_size, memory_mib;
    } tokenizer;
    struct {
        int64_t rows, sequence, accumulate;
    } batch;
    struct {
        double balance, z;
        bool per_layer;
    } router;
    struct {
        int64_t rank; /* 0: the model's own weights are trained */
        double alpha;
        gal_strings targets; /* of gal_lora_target(); none: all of them */
    } lora;
    int64_t steps, seed;
    int precision; /* GAL_PRECISION_* */
    bool recompute, eager;
    struct {
        double lr, beta1, beta2, eps, weight_decay, clip;
    } optimizer;
    struct {
        int64_t warmup;
        double final_fraction;
    } schedule;
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
} gal_train_config;

enum { GAL_PRESET_NONE, GAL_PRESET_MASSIVETEXT, GAL_PRESET_CHINCHILLA }; /* the same of these */
enum { GAL_PRECISION_F32, GAL_PRECISION_BF16 };                          /* order of the choices in the table */

extern const gal_settings GAL_TRAIN_SETTINGS;

gal_err gal_train_config_defaults(gal_train_config *c, gal_diag *diag); /* on failure nothing is held */
void gal_train_config_free(gal_train_config *c);
/* What no single value can show: sizes that must divide, a warm-up longer than the run. GAL_EINPUT. */
gal_err gal_train_config_check(const gal_train_config *c, const char *where, gal_diag *diag);
/* Sizes of the model, defaults resolved; vocab is taken where model.vocab is 0. ids: bos and eos, -1: none. */
gal_err gal_train_model_config(gal_config *out, const gal_train_config *c, int64_t vocab, int32_t bos, int32_t eos,
                               const char *where, gal_diag *diag);

#endif
