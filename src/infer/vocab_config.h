/* vocab_config.h - what a tokenizer_config.json says of a vocabulary that came out of a GGUF file: its kind, the
 * pieces that begin and end texts, and what Mistral's templates need besides pieces. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef GAL_INFER_VOCAB_CONFIG_H
#define GAL_INFER_VOCAB_CONFIG_H

#include "formats/json.h"
#include "text/tokenizer.h"

/* An object, which is the caller's; NULL: no memory. begins, ends: texts begin and end with such a piece. */
json_t *gal_vocab_config(const gal_tokenizer *t, bool begins, bool ends);

#endif
