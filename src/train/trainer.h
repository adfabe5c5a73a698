/* trainer.h - the state of a training, shared by the files of this room. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_TRAINER_H
#define GAL_TRAIN_TRAINER_H

#include "base/append.h"
#include "base/lock.h"
#include "core/ctx.h"
#include "data/feed.h"
#include "galerne/train.h"
#include "models/lora.h"
#include "train/config.h"
#include "train/metrics.h"

enum { GAL__TRAIN_SET = 1u }; /* the group of weights that are trained */

/* What spikes are judged by and what was done about them; a checkpoint has it all (spike.c). */
typedef struct gal__spikes {
    double *loss; /* [room] the latest losses of steps that were applied, round and round */
    int64_t room, n, next;
    int64_t count;    /* of spikes */
    int64_t in_a_row; /* the latest of them, nothing applied since */
    int64_t returns;
    int64_t applied; /* the newest step that was; 0: none */
    int64_t back;    /* the step of the checkpoint that was returned to, nothing applied since; 0: none */
} gal__spikes;

typedef struct gal_trainer {
    const gal_train_config *config; /* borrowed */
    const gal_train_options *options;
    const gal_watch *watch; /* NULL: nobody is told of launches */
    const char *dir;        /* the run directory */
    bool resuming;

    gal_tokenizer *tok;
    gal_buf tok_bytes; /* the file, for checkpoints */
    gal_mix train;
    gal_shards valid;
    bool has_valid;
    gal_feed *feed;       /* the rows of each step */
    uint8_t *token_bytes; /* [vocab] bytes that each token decodes to */

    gal_model *model;
    gal_w *trained; /* [n_trained] the model's weights, or those of its adapters */
    size_t n_trained;
    gal_lora_config lora; /* of adapters; rank 0: none */
    gal_dev *dev;
    gal_ctx *cx;
    gal_optim *opt;
    gal_schedule schedule;
    gal_step st;         /* one batch; fixed addresses */
    gal_balance balance; /* of models with experts: what their layers leave, and the losses of their routers */
    gal_noise *noise;    /* in the device's memory: what policies draw by, numbers of the run's rows */
    gal_t *row_loss;     /* of the batch at hand */
    double *router_sum;  /* [2] those losses in the step, a mean over its batches; NULL: no experts */
    double *loads;       /* what layers with experts left of the step's batches (loads.c); NULL: no experts */
    float *loss_sum;     /* of the step or batch, in the device's memory */
    gal_plan *zero_plan, *batch_plan, *norm_plan, *eval_plan;
    gal_plan *update_plan[2]; /* [1]: measures what moves */
    int64_t batches;          /* a step, as the balance of experts has it; 0: not set yet */

    /* What a checkpoint holds besides weights and moments. */
    gal_mix_state place;
    int64_t step, tokens;
    gal__spikes spikes;

    double best_nats; /* < 0: no evaluation yet of what is scored now (eval.rows, ema.evaluate) */
    int64_t best_step;
    bool mine, made_dir; /* the run directory: nobody else works in it; it was not there before */
    gal_lock lock;
    gal_metrics *metrics;
    gal_append *log;
    gal_diag log_diag; /* the first line that could not be written */
    double shown_tokens_per_s;
    uint8_t base[32];         /* of adapters: which model they lie beside (gal_model_fingerprint()) */
    uint64_t states_resident; /* what making the optimiser has added to the resident size */
    uint64_t memory_forecast; /* bytes resident at most; 0: none is made yet */
} gal_trainer;

/* setup.c: device, tokenizer, shards, model, optimiser. from: checkpoint to take the sizes from, NULL for a fresh
 * run. */
gal_err gal__train_setup_device(gal_trainer *t, gal_diag *diag);
gal_err gal__train_setup_data(gal_trainer *t, gal_diag *diag);
gal_err gal__train_setup_model(gal_trainer *t, const char *from, gal_diag *diag);

int64_t gal__train_params(const gal_trainer *t); /* that are trained */

/* loads.c: how tokens are spread over experts, and how sure the choices are. Without experts nothing happens. */
gal_err gal__loads_new(gal_trainer *t, gal_diag *diag);
void gal__loads_begin(gal_trainer *t);                     /* of a step */
gal_err gal__loads_add(gal_trainer *t, gal_diag *diag);    /* after a batch */
void gal__loads_print(const gal_trainer *t, gal_buf *out); /* the step's, for the log */
gal_err gal__loads_write(gal_trainer *t, gal_diag *diag);  /* into the metrics */
/* plan.c: what the run will take, as notes. */
gal_err gal__train_note_plan(gal_trainer *t, gal_diag *diag);
gal_err gal__train_check_weights(const gal_trainer *t, gal_diag *diag); /* there is memory for the model's, in f32 */

/* setup_init.c: the model of init, with adapters beside it, or to be trained itself. */
gal_err gal__train_setup_adapted(gal_trainer *t, gal_diag *diag);
gal_err gal__train_setup_whole(gal_trainer *t, gal_diag *diag);

/* setup_vocab.c: the run's vocabulary; of n_train documents, if it is to be learnt. */
gal_err gal__train_setup_tokenizer(gal_trainer *t, const gal_corpus *c, size_t n_train, gal_diag *diag);
const char *gal__train_vocabulary_from(const gal_trainer *t); /* tokenizer.path, or init; "": none of them */
/* The vocabulary that a path means: what to open, a folder, a file or a GGUF file, in `at`, and the file that it is
 * in in `file`; both come empty. */
gal_err gal__train_vocabulary(const char *path, gal_buf *at, gal_buf *file, gal_diag *diag);
/* Writes GAL__TRAIN_TOLD. inside: a vocabulary out of a GGUF file, whose first and last piece it names, or NULL;
 * version 0, sections NULL: as inside has them; version -1: none. */
gal_err gal__train_tell(const gal_trainer *t, const gal_tokenizer *inside, int version, const char *sections,
                        gal_diag *diag);
/* A checkpoint's GAL__TRAIN_TOLD: what the run's vocabulary is, and what the run's own file says of it. Appends
 * nothing where others could not read it: beside a tekken.json. */
gal_err gal__train_told(const gal_trainer *t, gal_buf *out, gal_diag *diag);

/* setup.c */
/* Opens the run's shard of that name if it fits, or makes it. c NULL: it must be there. */
gal_err gal__train_setup_shard(gal_trainer *t, gal_shards *out, const char *name, const gal_corpus *c, size_t first,
                               size_t n, gal_diag *diag);

/* setup_shards.c: the shards that the configuration names, instead of those made from a text. */
gal_err gal__train_setup_shards(gal_trainer *t, gal_diag *diag);
/* In the run's folder, where its vocabulary does not say itself how it talks. */
#define GAL__TRAIN_TEMPLATE "chat_template.jinja"
#define GAL__TRAIN_TOLD "tokenizer_config.json"
/* setup_chat.c: shards of the conversations that the configuration names. */
gal_err gal__train_setup_chat(gal_trainer *t, gal_diag *diag);
/* Of a run on plain text: how the model that it begins from talks goes along, where its files say so. */
gal_err gal__train_keep_talk(gal_trainer *t, gal_diag *diag);
/* The order of the rows; says what it will read of each source. */
gal_err gal__train_setup_rows(gal_trainer *t, gal_diag *diag);
/* Before something is saved: nobody changed the shards meanwhile. */
gal_err gal__train_check_data(gal_trainer *t, gal_diag *diag);

/* step.c */
gal_err gal__train_step_memory(gal_trainer *t, gal_diag *diag); /* rows and st, once */
typedef struct gal__train_numbers {
    double loss; /* nats per target token */
    double grad_norm, lr;
    double balance, z; /* losses of routers, without their factors; 0 without experts */
    int64_t targets, rows;
    gal_mix_state from, to; /* places of its first row, and behind its last */
} gal__train_numbers;
/* Loss and gradient of the coming step at a rate; nothing of the run moves. */
gal_err gal__train_gradients(gal_trainer *t, double lr, gal__train_numbers *out, gal_diag *diag);
/* The update by that gradient; measure: gal_optim_squares() then tells what moved. */
gal_err gal__train_apply(gal_trainer *t, bool measure, gal_diag *diag);
/* Which rows it read. */
gal_metric_sample gal__train_sample(const gal_trainer *t, int64_t step, const gal__train_numbers *n);
/* Moves place, step and tokens past it, whether it was applied or not. */
void gal__train_pass(gal_trainer *t, const gal__train_numbers *n);
/* The same computation without the update, on whatever row `place` has; nothing of the run moves. */
gal_err gal__train_rehearse_step(gal_trainer *t, gal_diag *diag);
/* Peak bytes of the step arenas for a batch of so many rows. */
gal_err gal__train_measure_rows(gal_trainer *t, int64_t rows, uint64_t *bytes, gal_diag *diag);
void gal__train_forget_plans(gal_trainer *t);
/* *loss_sum, once all is computed. */
gal_err gal__train_read_loss(gal_trainer *t, double *out, gal_diag *diag);

/* evaluate.c: max_rows 0: all. */
typedef struct gal__train_score {
    double nats, bits_per_byte; /* per token; per byte of the text that the tokens decode to */
    int64_t tokens, bytes;
} gal__train_score;
/* Rows of validation text that an evaluation of max_rows scores; 0: all of them. */
int64_t gal__train_eval_rows(const gal_trainer *t, int64_t max_rows);
gal_err gal__train_evaluate(gal_trainer *t, int64_t max_rows, gal__train_score *out, gal_diag *diag);
gal_err gal__train_token_bytes(gal_trainer *t, gal_diag *diag); /* fills token_bytes */

/* checkpoint.c */
#define GAL__REHEARSAL ".rehearsal" /* the checkpoint of a rehearsal */
/* Writes the folder dir/name; on failure nothing of it is left. */
gal_err gal__checkpoint_save(gal_trainer *t, const char *dir, const char *name, gal_diag *diag);
/* The averages of the weights as a model of its own, beside the checkpoints. */
#define GAL__AVERAGE "ema"
gal_err gal__checkpoint_write_average(gal_trainer *t, gal_diag *diag);
/* Removes what killed runs left behind in the folder of checkpoints, or of the run. */
gal_err gal__checkpoint_clean(const char *dir, gal_diag *diag);
/* Writes checkpoints/step-N, then removes what need not be kept. path receives its name (cleared first). */
gal_err gal__checkpoint_write(gal_trainer *t, gal_buf *path, gal_diag *diag);
/* The newest whole checkpoint of a run, of step `most` or before, into path; says through notes what it passed over.
 * An empty path if there is none yet, GAL_EINPUT if there are some and none is whole. */
gal_err gal__checkpoint_newest(const char *run, int64_t most, gal_buf *path, gal_buf *notes, gal_diag *diag);
/* Whether a run may go on from a checkpoint with t's settings; before anything else is set up, so that what is wrong
 * with them is told and not what follows from it. */
gal_err gal__checkpoint_agrees(const gal_trainer *t, const char *dir, gal_diag *diag);
/* Compares the settings and the schedule, then fills weights, states and place. */
gal_err gal__checkpoint_load(gal_trainer *t, const char *dir, gal_diag *diag);
/* The same of a checkpoint of the very run, which nothing is compared with. */
gal_err gal__checkpoint_reload(gal_trainer *t, const char *dir, gal_diag *diag);
/* Whether a setting that steps follow from may change when the run is taken up (with --extend, or spikes). */
bool gal__setting_may_change(const gal_train_config *c, const char *key);
uint64_t gal__checkpoint_bytes(const gal_trainer *t);
/* Removes checkpoints of later steps: the run has gone back before them. */
gal_err gal__checkpoint_drop_after(gal_trainer *t, gal_diag *diag);
gal_err gal__checkpoint_count(const char *dir, int64_t *count, gal_diag *diag); /* in the folder of checkpoints */
gal_err gal__checkpoint_is_there(const gal_trainer *t, int64_t step, bool *there, gal_diag *diag);
/* Those that save.keep does not keep. */
gal_err gal__checkpoint_remove_old(gal_trainer *t, gal_diag *diag);
/* The best checkpoint up to t->step, by best.json or else by the evaluations (rows, which are changed), of those that
 * are there; best.json is made to agree. Until something was evaluated as it is now best_nats is unknown, and
 * best_step the best of another set, if there is one. */
gal_err gal__checkpoint_find_best(gal_trainer *t, gal_metric_eval *rows, size_t n, gal_diag *diag);
gal_err gal__checkpoint_set_best(gal_trainer *t, int64_t step, double nats, gal_diag *diag);

/* in_force.c: settings by the step from which they were in force, so that a step of before a change can be made
 * again. Writes those that are others than what was kept last, from the coming step on. */
gal_err gal__train_keep_settings(gal_trainer *t, gal_diag *diag);
/* Puts into *c, which is t's configuration, and into t what was in force at the coming step. *known: something of
 * that time is kept. GAL_EINPUT: what is kept is no setting. */
gal_err gal__train_obey(gal_trainer *t, gal_train_config *c, const gal_metric_setting *rows, size_t n, bool *known,
                        gal_diag *diag);

/* rehearse.c: memory and disk against what there is, one step, one evaluation, one save. */
gal_err gal__train_rehearse(gal_trainer *t, gal_diag *diag);
/* Its first part: memory against what there is, and the room of a step. A run that goes on does this alone, before
 * its checkpoint is read: what the states of that take is not taken yet. */
gal_err gal__train_make_room(gal_trainer *t, uint64_t *activations, gal_diag *diag);
gal_err gal__train_check_disk(gal_trainer *t, gal_diag *diag);

/* rundir.c */
/* Locks the run directory, clears away what killed runs left, opens log and metrics. GAL_EBUSY: it is somebody
 * else's, and nothing was touched. */
gal_err gal__run_open(gal_trainer *t, gal_diag *diag);
/* leave_nothing: removes the directory, if gal__run_open() made it. */
void gal__run_close(gal_trainer *t, bool leave_nothing);
/* A file in the run's folder, whole or not at all. GAL_ENOMEM also where text has run out of memory. */
gal_err gal__run_write(const gal_trainer *t, const char *name, const gal_buf *text, gal_diag *diag);
gal_err gal__run_write_config(const gal_trainer *t, gal_diag *diag);
/* A line of log.txt. What went wrong stays in t->log_diag. */
void gal__run_log(gal_trainer *t, const char *fmt, ...) GAL_PRINTF(2, 3);

/* norms.c: of gradient and last update by layer; the update must have measured. The caller frees *out. */
gal_err gal__train_norms(gal_trainer *t, gal_metric_norm **out, size_t *count, gal_diag *diag);

/* spike.c: decided by numbers that every rank of a run would have: the loss and the norm over the whole step. */
gal_err gal__spikes_new(gal__spikes *s, int64_t window, gal_diag *diag);
void gal__spikes_free(gal__spikes *s);
void gal__spikes_add(gal__spikes *s, double loss);
/* Another window, with the latest losses. */
gal_err gal__spikes_resize(gal__spikes *s, int64_t window, gal_diag *diag);
/* Whether the step must not be applied, and why; limit: what the loss was compared with, NAN: nothing. */
bool gal__spike_is(const gal_trainer *t, const gal__train_numbers *n, double *limit, const char **why);
/* Counts one; whether its rows are passed over. If not, the run returns or ends. */
bool gal__spike_count(gal_trainer *t);
/* Tells of it and passes its rows over. */
gal_err gal__spike_pass(gal_trainer *t, const gal__train_numbers *n, double limit, const char *why, gal_diag *diag);
/* What was done about it, as its row in the metrics says: the step that the run returned to, -1 if it did not;
 * whether its rows were passed over. If neither, the run ended. */
int64_t gal__spike_returned_to(const gal_metric_spike *row);
bool gal__spike_was_passed(const gal_metric_spike *row);
/* What follows from a spike: its update is left out and logged, or the run returns to the last good checkpoint. */
gal_err gal__spike_handle(gal_trainer *t, const gal__train_numbers *n, double limit, const char *why, gal_diag *diag);
/* A step that was applied, with the number it has now. */
void gal__spike_none(gal_trainer *t, double loss);

/* loop.c */
gal_trainer *gal__trainer_new(const gal_train_config *config, const gal_train_options *options); /* NULL: no memory */
/* After gal__train_setup_device(): data, model, optimiser; from: gal__train_setup_model()'s. */
gal_err gal__trainer_set_up(gal_trainer *t, const char *from, gal_diag *diag);
void gal__trainer_free(gal_trainer *t, bool leave_nothing); /* gal__run_close()'s; NULL is allowed */
/* Of a run that stands at t->step again: the best evaluation so far, and whether the one of this step was never made.
 */
gal_err gal__train_recall(gal_trainer *t, bool *owed, gal_diag *diag);
bool gal__train_stop_wanted(const gal_trainer *t);
/* gal_metrics_flush(); a reader that keeps the file for long is noted, not an error. */
gal_err gal__train_flush(gal_trainer *t, gal_diag *diag);
void gal__train_note(gal_trainer *t, const char *fmt, ...) GAL_PRINTF(2, 3);

#endif
