/* lora_config.h - what a folder says of a low-rank adapter beside its tensors: PEFT's adapter_config.json, or "lora"
 * of a params.json in Mistral's own layout (formats.md 2, 3). SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_FORMATS_LORA_CONFIG_H
#define GAL_FORMATS_LORA_CONFIG_H

#include "base/buf.h"

#define GAL_LORA_MAX_RANK ((int64_t)1 << 16)

/* Modules whose path is `key` or ends in ".key" have a rank or an alpha of their own. */
typedef struct gal_lora_pattern {
    char *key;
    double value;
} gal_lora_pattern;

typedef struct gal_lora_config {
    int64_t rank;   /* 0: as the tensors' shapes say */
    double alpha;   /* of PEFT */
    double scaling; /* of Mistral's own: the whole factor; < 0: it follows from alpha and the rank */
    bool rslora;    /* alpha / sqrt(rank) instead of alpha / rank */
    gal_lora_pattern *ranks, *alphas;
    size_t n_ranks, n_alphas;
    char **targets; /* target_modules as a list; none: not said, or as a pattern */
    size_t n_targets;
    char *base; /* base_model_name_or_path; NULL: not said */
} gal_lora_config;

void gal_lora_config_free(gal_lora_config *c); /* leaves {0} */
/* adapter_config.json. GAL_EINPUT also for kinds of adapters that would be computed wrongly, by name. */
gal_err gal_lora_config_read(gal_lora_config *out, const char *path, gal_diag *diag);
/* "lora" of a params.json; without the key, or path NULL: scaling 2, the rank of the tensors. */
gal_err gal_lora_params_read(gal_lora_config *out, const char *path, gal_diag *diag);
/* Of the module with this path: the rank (0: any) and the factor of B A at a rank. */
int64_t gal_lora_rank(const gal_lora_config *c, const char *module);
double gal_lora_scale(const gal_lora_config *c, const char *module, int64_t rank);
/* Writes adapter_config.json as PEFT reads it. */
gal_err gal_lora_config_write(const gal_lora_config *c, const char *path, gal_diag *diag);

#endif
