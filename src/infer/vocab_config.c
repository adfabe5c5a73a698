/* vocab_config.c - see vocab_config.h. SPDX-License-Identifier: Apache-2.0 */
#include "infer/vocab_config.h"

/* As its file spells it; null where there is none. */
static json_t *piece(const gal_tokenizer *t, int32_t id) {
    gal_buf s = { 0 };
    if (id < 0) return json_null();
    gal_tokenizer_spell(t, id, &s);
    json_t *o = s.oom ? NULL : json_stringn(s.data, s.len);
    gal_buf_free(&s);
    return o;
}

/* What begins or ends a text: "" where nothing does, though a tokenizer.json's post_processor may name something. */
static json_t *end(const gal_tokenizer *t, int32_t id) {
    return id < 0 && gal_tokenizer_of_bytes(t) ? json_string("") : piece(t, id);
}

json_t *gal_vocab_config(const gal_tokenizer *t, bool begins, bool ends) {
    const bool bytes = gal_tokenizer_of_bytes(t);
    json_t *o = json_object();
    bool bad = json_object_set_new(o, "tokenizer_class",
                                   json_string(bytes ? "PreTrainedTokenizerFast" : "LlamaTokenizer")) != 0;
    bad |= json_object_set_new(o, "add_bos_token", json_boolean(begins)) != 0;
    bad |= json_object_set_new(o, "add_eos_token", json_boolean(ends)) != 0;
    bad |= json_object_set_new(o, "bos_token", end(t, gal_tokenizer_bos(t))) != 0;
    bad |= json_object_set_new(o, "eos_token", end(t, gal_tokenizer_eos(t))) != 0;
    bad |= json_object_set_new(o, "unk_token", piece(t, gal_tokenizer_unk(t))) != 0;
    bad |= json_object_set_new(o, "pad_token", piece(t, gal_tokenizer_pad(t))) != 0;
    bad |= json_object_set_new(o, "clean_up_tokenization_spaces", json_false()) != 0;
    if (!bytes) bad |= json_object_set_new(o, "legacy", json_true()) != 0;
    if (bytes && gal_tokenizer_told(t))
        bad |= json_object_set_new(o, "galerne_chat_version", json_integer(gal_tokenizer_told(t))) != 0;
    if (bytes && gal_tokenizer_sections(t))
        bad |= json_object_set_new(o, "galerne_chat_tekken", json_string(gal_tokenizer_sections(t))) != 0;
    if (!bad) return o;
    json_decref(o);
    return NULL;
}
