/* job.h - one conversion, for the files of this folder that share it. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_CONVERT_JOB_H
#define GAL_CONVERT_JOB_H

#include "base/file.h"
#include "convert/convert.h"
#include "convert/source.h"
#include "formats/chat.h"
#include "formats/gguf.h"
#include "text/tokenizer.h"

typedef struct gal__job {
    const gal_source *s;
    const gal_convert_options *o;
    uint32_t *types; /* [tensors] enum gal_block: how each is written */
    float *x;        /* room for one piece */
    uint8_t *bytes;  /* and for one as it is written */
    uint64_t done, total;
    gal_convert_result result;
} gal__job;

/* Tensor i on its way into a file. */
typedef struct gal__stream {
    gal__job *job;
    size_t i;
    int64_t at;      /* numbers written, */
    int64_t rounded; /* and those of them that are others than they were */
} gal__stream;

/* numbers.c   Chooses types, counts bytes; {0} with s and o set to begin. */
gal_err gal__job_begin(gal__job *j, gal_diag *diag);
void gal__job_end(gal__job *j);
uint64_t gal__job_bytes(const gal__job *j, size_t i); /* of tensor i as it is written */
/* All of a tensor into a sink; user: a gal__stream. For gal_gguf_item.emit. */
gal_err gal__job_emit(gal_sink *s, void *user, gal_diag *diag);
/* The next bytes of a tensor; from is not looked at. For gal_st_item.read. */
gal_err gal__job_read(void *user, void *to, const void *from, size_t bytes, gal_diag *diag);
/* The dtype of most numbers. */
gal_dtype gal__job_dtype(const gal__job *j);

void gal__job_note(const gal__job *j, const char *fmt, ...) GAL_PRINTF(2, 3);

/* gguf_out.c, folder_out.c   The tensors and what says what they are. */
gal_err gal__write_gguf(gal__job *j, const char *path, gal_diag *diag);
gal_err gal__write_folder(gal__job *j, const char *dir, gal_diag *diag);

/* vocab_out.c   A vocabulary whose pieces are bytes. */
struct gal__extras;
gal_err gal__put_bytes(gal_gguf_writer *w, const gal__job *j, const struct gal__extras *e, gal_diag *diag);
gal_err gal__write_tokenizer_json(const struct gal__extras *e, const char *dir, gal_diag *diag);

/* extras.c    What a folder or file says besides its tensors. */
typedef struct gal__extras {
    gal_tokenizer *tokenizer; /* NULL: none that we read */
    gal_generation generation;
    gal_chat chat;
} gal__extras;
gal_err gal__extras_read(gal__extras *e, const gal__job *j, gal_diag *diag);
void gal__extras_free(gal__extras *e);
/* The ids that end a text: those of the sampling, else the config's, else the vocabulary's. */
int32_t gal__extras_eos(const gal__extras *e, const gal_config *c, int32_t ids[GAL_MAX_EOS]);
/* files.c     Files of the source's folder that belong to a model in either layout of folders, copied; the others are
 * noted as left out. dir NULL: into a GGUF file, which has no place for any that extras.c does not read. */
gal_err gal__copy_files(const gal__job *j, const char *dir, gal_diag *diag);

#endif
