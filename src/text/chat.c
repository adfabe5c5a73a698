/* chat.c - the templates: what each version does (one table), and one encoder that follows it. Each text is encoded
 * by itself, between control tokens that are looked up by name. SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/internal.h"

#include <string.h>

static const gal__template TEMPLATES[] = {
    { .version = 1,
      .user = GAL__TEXT,
      .assistant = GAL__TEXT,
      .system = GAL__TEXT,
      .tool = GAL__TEXT,
      .plain = true,
      .chunk_join = "\n\n" },
    { .version = 2,
      .user = GAL__TEXT,
      .assistant = GAL__TEXT,
      .system = GAL__TEXT,
      .tool = GAL__TEXT,
      .forgets = true,
      .calls = GAL__CALLS_LIST,
      .result = GAL__RESULT_LIST,
      .chunk_join = "\n\n" },
    { .version = 3,
      .user = GAL__TEXT | GAL__IMAGES,
      .assistant = GAL__TEXT,
      .system = GAL__TEXT,
      .tool = GAL__TEXT,
      .ids_of_nine = true,
      .calls = GAL__CALLS_LIST_IDS,
      .result = GAL__RESULT_OBJECT,
      .chunk_join = "\n\n" },
    { .version = 7,
      .user = GAL__TEXT | GAL__IMAGES | GAL__AUDIOS,
      .assistant = GAL__TEXT,
      .system = GAL__TEXT | GAL__AUDIO | GAL__THINK,
      .tool = GAL__TEXT,
      .calls_with_content = true,
      .system_in_place = true,
      .ids_of_nine = true,
      .sound_without_system = GAL__AUDIOS,
      .calls = GAL__CALLS_LIST_IDS,
      .result = GAL__RESULT_ID,
      .chunk_join = "\n\n" },
    { .version = 11,
      .user = GAL__TEXT | GAL__IMAGES | GAL__AUDIOS,
      .assistant = GAL__TEXT | GAL__THINK,
      .system = GAL__TEXT | GAL__AUDIO | GAL__THINK,
      .tool = GAL__TEXT,
      .calls_with_content = true,
      .system_in_place = true,
      .ids_of_nine = true,
      .ids_paired = true,
      .sound_without_system = GAL__AUDIO, /* its encoder refuses that, and its validator nothing */
      .calls = GAL__CALLS_PARTS_IDS,
      .result = GAL__RESULT_ID,
      .chunk_join = "\n\n" },
    { .version = 13,
      .user = GAL__TEXT | GAL__IMAGES | GAL__AUDIOS,
      .assistant = GAL__TEXT | GAL__THINK,
      .system = GAL__TEXT | GAL__AUDIO | GAL__THINK,
      .tool = GAL__TEXT,
      .calls_with_content = true,
      .system_in_place = true,
      .ids_named = true,
      .ids_paired = true,
      .tools_first = true,
      .thinks = true,
      .calls = GAL__CALLS_PARTS,
      .result = GAL__RESULT_TEXT,
      .chunk_join = "\n\n" },
    { .version = 15,
      .user = GAL__TEXT | GAL__IMAGES | GAL__AUDIOS,
      .assistant = GAL__TEXT | GAL__THINK,
      .system = GAL__TEXT | GAL__AUDIO,
      .tool = GAL__TEXT | GAL__IMAGES | GAL__AUDIOS,
      .calls_with_content = true,
      .system_in_place = true,
      .ids_named = true,
      .ids_paired = true,
      .tools_first = true,
      .thinks = true,
      .settings = true,
      .calls = GAL__CALLS_PARTS,
      .result = GAL__RESULT_TEXT,
      .chunk_join = "" },
};

typedef struct encoder {
    const gal_tokenizer *t;
    const gal__template *how;
    const gal__request *r;
    gal_token_scratch *scratch;
    gal__pool *pool;
    gal__string system; /* of templates that have it inside a user's message */
    ptrdiff_t first_user, last_user;
    gal_ids *ids;
    gal_chat_spans *spans;
    gal_buf text;
    bool answering; /* an assistant's message is being written */
    gal_diag *diag;
    gal_err err;
} encoder;

/* ---- tokens -------------------------------------------------------------------------------------------------------
 */

static void span(encoder *e, gal_chat_kind kind) {
    gal_chat_spans *s = e->spans;
    if (!s || e->err) return;
    const bool answer = e->answering && e->r->whole;
    if (s->len && s->data[s->len - 1].kind == kind && s->data[s->len - 1].answer == answer) return;
    void *p = s->data;
    if (s->len == s->cap && gal_grow(&p, &s->cap, s->len + 1, sizeof *s->data) != 0) {
        e->err = gal__chat_no_memory(e->diag);
        return;
    }
    s->data = p;
    s->data[s->len++] = (gal_chat_span){ e->ids->len, kind, answer };
}

static int32_t find_control(const encoder *e, const char *name) {
    int32_t id = gal_tokenizer_find(e->t, name, strlen(name));
    return id >= 0 && gal_tokenizer_type(e->t, id) == GAL_PIECE_CONTROL ? id : -1;
}

static void control(encoder *e, const char *name) {
    int32_t id = find_control(e, name);
    if (e->err) return;
    if (id < 0) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "the vocabulary has no %s, which template V%d needs", name,
                          e->how->version);
        return;
    }
    span(e, GAL_CHAT_CONTROL);
    if (!e->err) e->err = gal_ids_add(e->ids, id, e->diag);
}

static void text(encoder *e, gal_chat_kind kind, gal__string s) {
    if (e->err || s.n == 0) return;
    span(e, kind);
    if (!e->err) e->err = gal_encode(e->t, e->scratch, s.s, s.n, 0, e->ids, e->diag);
}

/* What was put together in e->text. */
static void built(encoder *e, gal_chat_kind kind) {
    if (e->text.oom && !e->err) e->err = gal__chat_no_memory(e->diag);
    text(e, kind, (gal__string){ e->text.data ? e->text.data : "", e->text.len });
    gal_buf_clear(&e->text);
}

static void print_string(gal_buf *b, gal__string s) {
    if (s.s)
        gal__print_string(b, s);
    else
        gal_buf_puts(b, "null");
}

/* ---- chunks -------------------------------------------------------------------------------------------------------
 */

enum { MOST_IDS = 1 << 26 }; /* a small body can name many images, and samples of a low rate */

/* Rows of [IMG] with a break after each, after the last the end. */
static void image(encoder *e, const gal__chunk *c) {
    int columns = 0, rows = 0;
    e->err = gal__chat_image(c, &e->t->images, e->pool, &columns, &rows, e->diag);
    if (!e->err && e->ids->len > MOST_IDS)
        e->err = gal_fail(e->diag, GAL_EINPUT, "more than %d tokens, most of them images", MOST_IDS);
    for (int y = 0; y < rows && !e->err; y++) {
        for (int x = 0; x < columns && !e->err; x++) control(e, "[IMG]");
        control(e, y + 1 < rows ? "[IMG_BREAK]" : "[IMG_END]");
    }
}

static void many(encoder *e, const char *name, int64_t count) {
    if (count < 1) return;
    control(e, name);
    const int32_t id = find_control(e, name);
    for (int64_t i = 1; i < count && !e->err; i++) e->err = gal_ids_add(e->ids, id, e->diag);
}

static int64_t up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

static void audio(encoder *e, const gal__chunk *c) {
    const gal__sounds *how = &e->t->sounds;
    int64_t n = 0;
    e->err = gal__chat_audio(c, how->rate, e->pool, &n, e->diag);
    if (e->err) return;
    n = how->chunk ? up(n, how->chunk) * how->chunk : GAL_MAX(n, how->window);
    n = how->pads >= 0 ? how->pads : up(n / how->hop, how->hops);
    if (n > MOST_IDS - (int64_t)GAL_MIN(e->ids->len, (size_t)MOST_IDS)) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "%s: audio: more than %d tokens", c->where, MOST_IDS);
    } else if (how->pads >= 0) {
        many(e, "[STREAMING_PAD]", n);
    } else {
        control(e, "[BEGIN_AUDIO]");
        if (n == 0 && !e->err && find_control(e, "[AUDIO]") < 0) control(e, "[AUDIO]"); /* says that it is missing */
        many(e, "[AUDIO]", n);
    }
}

static void chunk(encoder *e, gal_chat_kind kind, const gal__chunk *c) {
    if (c->kind == GAL__TEXT) {
        text(e, kind, c->text);
    } else if (c->kind == GAL__THINK && e->how->thinks) {
        control(e, "[THINK]");
        text(e, GAL_CHAT_THINKING, c->text);
        if (!c->open || find_control(e, "[/THINK]") < 0) control(e, "[/THINK]"); /* both there, or no thinking */
    } else if (!e->err && c->kind & GAL__IMAGES && e->t->images.patch) {
        image(e, c);
    } else if (!e->err && c->kind & GAL__AUDIOS && e->t->sounds.rate) {
        audio(e, c);
    } else if (!e->err) {
        const char *what = c->kind & GAL__IMAGES ? "an image, and this vocabulary says nothing of how images are cut"
                           : c->kind & GAL__AUDIOS ? "audio, and this vocabulary says nothing of how audio is cut"
                                                   : "thinking, which templates before V13 have no tokens for";
        e->err = gal_fail(e->diag, GAL_EINPUT, "%s: %s", c->where, what);
    }
}

static void chunks(encoder *e, gal_chat_kind kind, const gal__content *c) {
    for (size_t i = 0; i < c->n && !e->err; i++) chunk(e, kind, &c->chunks[i]);
}

static void content(encoder *e, gal_chat_kind kind, const gal__content *c) {
    if (c->list)
        chunks(e, kind, c);
    else
        text(e, kind, c->text);
}

/* One image after nothing but text goes first. */
static void image_first(gal__content *c) {
    if (c->n < 2 || !(c->chunks[c->n - 1].kind & GAL__IMAGES)) return;
    for (size_t i = 0; i + 1 < c->n; i++)
        if (c->chunks[i].kind != GAL__TEXT) return;
    const gal__chunk image = c->chunks[c->n - 1];
    memmove(c->chunks + 1, c->chunks, (c->n - 1) * sizeof *c->chunks);
    c->chunks[0] = image;
}

/* ---- tools and settings -------------------------------------------------------------------------------------------
 */

static void tools(encoder *e) {
    if (!e->r->n_tools) return;
    gal_buf *b = &e->text;
    control(e, "[AVAILABLE_TOOLS]");
    gal_buf_putc(b, '[');
    for (size_t i = 0; i < e->r->n_tools; i++) {
        const gal__function *f = &e->r->tools[i];
        gal_buf_puts(b, i ? ", " : "");
        gal_buf_puts(b, "{\"type\": \"function\", \"function\": {\"name\": ");
        gal__print_string(b, f->name);
        gal_buf_puts(b, ", \"description\": ");
        gal__print_string(b, f->description);
        gal_buf_puts(b, ", \"parameters\": ");
        gal__tree_print(b, f->parameters);
        gal_buf_puts(b, "}}");
    }
    gal_buf_putc(b, ']');
    built(e, GAL_CHAT_TOOLS);
    control(e, "[/AVAILABLE_TOOLS]");
}

/* The settings that a vocabulary offers; what a request does not say is what the vocabulary says. */
static void settings(encoder *e) {
    const gal__settings *s = &e->t->settings;
    const bool shape = s->json_schema && (e->r->schema || e->r->any_json);
    if (!e->how->settings || e->err || (!s->efforts_known && !shape)) return;
    gal_buf *b = &e->text;
    control(e, "[MODEL_SETTINGS]");
    gal_buf_putc(b, '{');
    if (shape) {
        gal_buf_puts(b, "\"json_schema\": ");
        if (e->r->schema)
            gal__tree_print(b, e->r->schema);
        else
            gal_buf_puts(b, "{\"anyOf\": [{\"type\": \"object\"}, {\"type\": \"array\"}]}");
        if (s->efforts_known) gal_buf_puts(b, ", ");
    }
    if (s->efforts_known) {
        const int effort = e->r->effort >= 0 ? e->r->effort : s->effort;
        gal_buf_printf(b, "\"reasoning_effort\": \"%s\"", gal__effort_names[effort]);
    }
    gal_buf_putc(b, '}');
    built(e, GAL_CHAT_TOOLS);
    control(e, "[/MODEL_SETTINGS]");
}

static gal_err check_settings(const gal_tokenizer *t, const gal__template *how, const gal__request *r,
                              gal_diag *diag) {
    const gal__settings *s = &t->settings;
    if (!how->settings) return GAL_OK;
    if (!s->present)
        return gal_fail(diag, GAL_EINPUT, "the vocabulary has no model_settings_builder, which template V%d needs",
                        how->version);
    if (!s->efforts_known || r->effort < 0 || s->efforts >> r->effort & 1) return GAL_OK;
    gal_buf b = { 0 };
    for (int i = 0; i < GAL__EFFORTS; i++)
        if (s->efforts >> i & 1) gal_buf_printf(&b, "%s%s", b.len ? ", " : "", gal__effort_names[i]);
    gal_err err = gal_fail(diag, GAL_EINPUT, "reasoning_effort: this model knows %s; found %s",
                           b.len ? b.data : "none", gal__effort_names[r->effort]);
    gal_buf_free(&b);
    return err;
}

/* ---- turns --------------------------------------------------------------------------------------------------------
 */

static void plain_user(encoder *e, const gal__message *m, bool first) {
    gal_buf *b = &e->text;
    gal_buf_puts(b, "[INST] ");
    if (first && e->system.n) {
        gal_buf_add(b, e->system.s, e->system.n);
        gal_buf_puts(b, "\n\n");
    }
    gal_buf_add(b, m->content.text.s, m->content.text.n);
    gal_buf_puts(b, " [/INST]");
    built(e, GAL_CHAT_USER);
}

static void user(encoder *e, gal__message *m, ptrdiff_t at) {
    const bool last = at == e->last_user, here = e->how->tools_first ? at == e->first_user : last;
    if (e->how->plain) {
        plain_user(e, m, at == e->first_user);
        return;
    }
    if (here) {
        tools(e);
        settings(e);
    }
    control(e, "[INST]");
    const bool system = last && e->system.n;
    if (system) {
        gal_buf_add(&e->text, e->system.s, e->system.n);
        gal_buf_puts(&e->text, "\n\n");
    }
    if (!m->content.list) {
        gal_buf_add(&e->text, m->content.text.s, m->content.text.n);
        built(e, GAL_CHAT_USER);
    } else {
        if (system) built(e, GAL_CHAT_USER);
        image_first(&m->content);
        chunks(e, GAL_CHAT_USER, &m->content);
    }
    control(e, "[/INST]");
}

static void call_object(encoder *e, const gal__call *c, bool id) {
    gal_buf *b = &e->text;
    gal_buf_puts(b, "{\"name\": ");
    gal__print_string(b, c->name);
    gal_buf_puts(b, ", \"arguments\": ");
    gal__tree_print(b, c->arguments);
    if (id) {
        gal_buf_puts(b, ", \"id\": ");
        gal__print_string(b, c->id);
    }
    gal_buf_putc(b, '}');
}

static void calls(encoder *e, const gal__message *m) {
    const bool parts = e->how->calls >= GAL__CALLS_PARTS_IDS;
    if (!parts) {
        control(e, "[TOOL_CALLS]");
        gal_buf_putc(&e->text, '[');
    }
    for (size_t i = 0; i < m->n_calls && !e->err; i++) {
        const gal__call *c = &m->calls[i];
        if (!parts) {
            gal_buf_puts(&e->text, i ? ", " : "");
            call_object(e, c, e->how->calls == GAL__CALLS_LIST_IDS);
            continue;
        }
        control(e, "[TOOL_CALLS]");
        text(e, GAL_CHAT_CALL, c->name);
        if (e->how->calls == GAL__CALLS_PARTS_IDS) {
            control(e, "[CALL_ID]");
            text(e, GAL_CHAT_CALL, c->id);
        }
        control(e, "[ARGS]");
        gal__tree_print(&e->text, c->arguments);
        built(e, GAL_CHAT_CALL);
    }
    if (!parts) {
        gal_buf_putc(&e->text, ']');
        built(e, GAL_CHAT_CALL);
    }
}

static void assistant(encoder *e, const gal__message *m, ptrdiff_t at) {
    const bool says = m->content.list || m->content.text.n;
    if (!says && !m->n_calls) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "an assistant's message with neither content nor tool_calls");
    } else if (m->n_calls && e->how->calls == GAL__CALLS_NONE) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "tool_calls: template V%d has no tools", e->how->version);
    } else if (m->n_calls && says && !e->how->calls_with_content) {
        e->err = gal_fail(e->diag, GAL_EINPUT,
                          "content and tool_calls in neighbouring messages of the assistant, which "
                          "become one; template V%d has one or the other",
                          e->how->version);
    }
    if (e->err || (m->n_calls && e->how->forgets && at < e->last_user)) return;
    if (m->content.list) {
        chunks(e, GAL_CHAT_ASSISTANT, &m->content);
    } else if (says) {
        gal__string s = m->content.text;
        while (!e->how->plain && s.n && s.s[s.n - 1] == ' ') s.n--;
        text(e, GAL_CHAT_ASSISTANT, s);
    }
    if (m->n_calls) calls(e, m);
    if (!m->prefix) control(e, "</s>");
}

/* A result that is JSON is printed anew. */
static void result_json(encoder *e, gal__string s) {
    gal__value *tree = NULL;
    if (s.n == 0) {
        gal_buf_puts(&e->text, "{}");
        return;
    }
    e->err = gal__tree_read(&tree, e->pool, s.s, s.n, false, "a tool's result", e->diag);
    if (tree)
        gal__tree_print(&e->text, tree);
    else
        gal__print_string(&e->text, s);
}

static void result(encoder *e, const gal__message *m, ptrdiff_t at) {
    gal_buf *b = &e->text;
    if (e->how->result == GAL__RESULT_NONE) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "role tool: template V%d has no tools", e->how->version);
        return;
    }
    if (e->how->forgets && at < e->last_user) return;
    control(e, "[TOOL_RESULTS]");
    if (e->how->result == GAL__RESULT_LIST) {
        gal_buf_puts(b, "[{\"name\": ");
        print_string(b, m->name);
        gal_buf_puts(b, ", \"content\": ");
        if (!e->err) result_json(e, m->content.text);
        gal_buf_puts(b, "}]");
        built(e, GAL_CHAT_RESULT);
    } else if (e->how->result == GAL__RESULT_OBJECT) {
        gal_buf_puts(b, "{\"content\": ");
        if (!e->err) result_json(e, m->content.text);
        gal_buf_puts(b, ", \"call_id\": ");
        print_string(b, m->call_id);
        gal_buf_putc(b, '}');
        built(e, GAL_CHAT_RESULT);
    } else {
        if (e->how->result == GAL__RESULT_ID) {
            text(e, GAL_CHAT_RESULT, m->call_id);
            control(e, "[TOOL_CONTENT]");
        }
        content(e, GAL_CHAT_RESULT, &m->content);
    }
    control(e, "[/TOOL_RESULTS]");
}

/* A template that shows one result a turn. */
static void one_result(encoder *e) {
    bool called = false;
    size_t results = 0;
    for (size_t i = e->last_user > 0 ? (size_t)e->last_user : 0; i < e->r->n && !e->err; i++) {
        const gal__message *m = &e->r->messages[i];
        if (m->role != GAL__TOOL) {
            called = m->role == GAL__ASSISTANT && m->n_calls;
            results = 0;
        } else if (called && ++results > 1) {
            e->err = gal_fail(e->diag, GAL_EINPUT, "template V%d has one tool result for a turn; found more",
                              e->how->version);
        }
    }
}

static void encode(encoder *e) {
    gal__message *m = e->r->messages;
    e->first_user = e->last_user = -1;
    for (size_t i = 0; i < e->r->n; i++) {
        if (m[i].role != GAL__USER) continue;
        if (e->first_user < 0) e->first_user = (ptrdiff_t)i;
        e->last_user = (ptrdiff_t)i;
    }
    if (e->how->result == GAL__RESULT_LIST) one_result(e);
    control(e, "<s>");
    for (size_t i = 0; i < e->r->n && !e->err; i++) {
        const ptrdiff_t at = (ptrdiff_t)i;
        switch (m[i].role) {
        case GAL__USER:
            user(e, &m[i], at);
            break;
        case GAL__ASSISTANT:
            e->answering = true;
            assistant(e, &m[i], at);
            e->answering = false;
            break;
        case GAL__TOOL:
            result(e, &m[i], at);
            break;
        case GAL__SYSTEM:
            control(e, "[SYSTEM_PROMPT]");
            content(e, GAL_CHAT_SYSTEM, &m[i].content);
            control(e, "[/SYSTEM_PROMPT]");
        }
    }
}

/* ---- what is between two texts ------------------------------------------------------------------------------------
 */

/* As if it went on from something: encoded behind a sign that is two ids in the reference's vocabularies. */
static void behind(encoder *e, gal__string s) {
    gal_ids ids = { 0 };
    gal_buf_puts(&e->text, "\xe2\x98\xba");
    gal_buf_add(&e->text, s.s, s.n);
    if (!e->err && e->text.oom) e->err = gal__chat_no_memory(e->diag);
    if (!e->err) e->err = gal_encode(e->t, e->scratch, e->text.data, e->text.len, 0, &ids, e->diag);
    if (ids.len > 2) span(e, GAL_CHAT_USER);
    for (size_t i = 2; i < ids.len && !e->err; i++) e->err = gal_ids_add(e->ids, ids.data[i], e->diag);
    gal_buf_clear(&e->text);
    gal_ids_free(&ids);
}

static void fill(encoder *e) {
    if (e->how->plain) {
        e->err = gal_fail(e->diag, GAL_EINPUT, "prompt: template V%d has no filling in", e->how->version);
        return;
    }
    control(e, "<s>");
    control(e, "[SUFFIX]");
    if (e->r->suffix.n) behind(e, e->r->suffix);
    control(e, "[PREFIX]");
    text(e, GAL_CHAT_USER, e->r->prompt);
}

/* ---- from outside -------------------------------------------------------------------------------------------------
 */

void gal_chat_spans_free(gal_chat_spans *s) {
    gal_free(s->data);
    *s = (gal_chat_spans){ 0 };
}

static const gal__template *find_template(int version) {
    for (size_t i = 0; i < GAL_LEN(TEMPLATES); i++)
        if (TEMPLATES[i].version == version) return &TEMPLATES[i];
    return NULL;
}

int gal_chat_template(const char *name) {
    int v = 0;
    if (*name != 'v' && *name != 'V') return 0;
    for (name++; *name >= '0' && *name <= '9' && v < 100; name++) v = 10 * v + (*name - '0');
    return *name == 0 && find_template(v) ? v : 0;
}

static bool is_control(const gal_tokenizer *t, int32_t id, const char *name) {
    size_t n;
    const char *s = gal_tokenizer_piece(t, id, &n);
    return gal_tokenizer_type(t, id) == GAL_PIECE_CONTROL && n == strlen(name) && memcmp(s, name, n) == 0;
}

/* What the makers' SentencePiece vocabularies have besides the pieces of templates. */
static bool is_filler(const char *s) {
    static const char *const HEADS[] = { "[control_", "[REFERENCE_DOC_", "[REF]", "[/REF]" };
    bool is = false;
    for (size_t i = 0; i < GAL_LEN(HEADS); i++) is = is || strncmp(s, HEADS[i], strlen(HEADS[i])) == 0;
    return is;
}

/* Of the makers' SentencePiece vocabularies, all of one size, whose control pieces are a list without others: V7's
 * begins with V3's, and that with V2's. 0: it is none of these; V1's has none but those that others have, too. */
static int by_list(const gal_tokenizer *t) {
    static const char *const LIST[] = {
        "[INST]",         "[/INST]",         "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
        "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[IMG]",        "[PREFIX]",          "[MIDDLE]",
        "[SUFFIX]",       "[IMG_BREAK]",     "[IMG_END]",    "[SYSTEM_PROMPT]",   "[/SYSTEM_PROMPT]",
        "[TOOL_CONTENT]"
    };
    enum { FROM = 3, V2 = 7, V3 = 11, SIZE = 1 << 15 };
    int32_t id = FROM;
    if (t->bytes_are_text || t->size != SIZE) return 0;
    for (size_t i = 0; i < GAL_LEN(LIST) && id < t->size && is_control(t, id, LIST[i]); i++) id++;
    const int32_t same = id - FROM;
    for (; id < t->size; id++) {
        size_t n;
        const char *s = gal_tokenizer_piece(t, id, &n);
        const gal_piece_type type = gal_tokenizer_type(t, id);
        if ((type == GAL_PIECE_USER || type == GAL_PIECE_CONTROL) && !is_filler(s)) return 0;
    }
    return same == V2 ? 2 : same == V3 ? 3 : same == (int32_t)GAL_LEN(LIST) ? 7 : 0;
}

/* Of a vocabulary that says no version: the newest template whose tokens it has. A guess, since files have had names
 * for tokens that only later templates use. */
static int guess(const gal_tokenizer *t) {
    static const struct {
        const char *name;
        int version;
    } SIGNS[] = {
        { "[MODEL_SETTINGS]", 15 }, { "[THINK]", 13 }, { "[ARGS]", 11 }, { "[SYSTEM_PROMPT]", 7 }, { "[INST]", 3 },
    };
    for (size_t i = 0; i < GAL_LEN(SIGNS); i++) {
        int32_t id = gal_tokenizer_find(t, SIGNS[i].name, strlen(SIGNS[i].name));
        if (id < 0 || gal_tokenizer_type(t, id) != GAL_PIECE_CONTROL) continue;
        if (SIGNS[i].version == 15 && !t->settings.present) continue; /* V15 can do nothing without them */
        return SIGNS[i].version == 3 && t->version == 2 && !t->bytes_are_text ? 2 : SIGNS[i].version;
    }
    return 0;
}

int gal_chat_guess(const gal_tokenizer *t, const char *path, bool *certain) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    char suffix[8] = { 0 };
    const bool pieces = strcmp(t->kind, "SentencePiece BPE") == 0;
    const bool named = t->of_file && !gal_is_dir(path) && !(dot && strcmp(dot, ".gguf") == 0);
    for (size_t i = 1; dot && i < sizeof suffix && dot[i] && dot[i] != 'm'; i++) suffix[i - 1] = dot[i];
    *certain = true;
    if (t->told) return t->told;
    if (named) return GAL_MAX(gal_chat_template(suffix), 1);
    const int listed = by_list(t);
    if (listed) return listed;
    const int found = guess(t);
    *certain = found == 15; /* what it needs besides pieces no other has */
    return found ? found : find_template(t->version) && pieces ? t->version : 0;
}

int gal_chat_version(const gal_tokenizer *t, const char *path) {
    bool certain;
    return gal_chat_guess(t, path, &certain);
}

static gal_err no_template(int version, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "template V%d: there is V1, V2, V3, V7, V11, V13 and V15", version);
}

/* What was appended is taken back on an error. */
static gal_err finish(encoder *e, size_t old_ids, size_t old_spans) {
    if (e->err) {
        e->ids->len = old_ids;
        if (e->spans) e->spans->len = old_spans;
    }
    gal_token_scratch_free(e->scratch);
    gal_buf_free(&e->text);
    return e->err;
}

static gal_err encode_body(const gal_tokenizer *t, int version, bool whole, const char *body, size_t n, gal_ids *ids,
                           gal_chat_spans *spans, gal_diag *diag) {
    const gal__template *how = find_template(version);
    if (!how) return no_template(version, diag);
    gal__pool pool;
    gal__pool_init(&pool);
    pool.halves = t->bytes_are_text; /* the reference makes U+FFFD of them there, and fails with SentencePiece */
    gal__request r;
    const size_t old_ids = ids->len, old_spans = spans ? spans->len : 0;
    encoder e = { .t = t, .how = how, .r = &r, .pool = &pool, .ids = ids, .spans = spans, .diag = diag };
    e.err = gal__chat_parse(&r, &pool, body, n, diag);
    r.whole = whole;
    if (!r.fill) {
        if (!e.err) e.err = gal__chat_check(&r, how, diag);
        if (!e.err) e.err = check_settings(t, how, &r, diag);
        if (!e.err) e.err = gal__chat_join(&r, how, &pool, &e.system, diag);
    }
    if (!e.err) e.err = gal_token_scratch_new(&e.scratch, t, diag);
    if (!e.err) (r.fill ? fill : encode)(&e);
    gal_err err = finish(&e, old_ids, old_spans);
    gal__pool_free(&pool);
    return err;
}

gal_err gal_chat_encode(const gal_tokenizer *t, int version, const char *body, size_t n, gal_ids *ids,
                        gal_chat_spans *spans, gal_diag *diag) {
    return encode_body(t, version, false, body, n, ids, spans, diag);
}

gal_err gal_chat_encode_whole(const gal_tokenizer *t, int version, const char *body, size_t n, gal_ids *ids,
                              gal_chat_spans *spans, gal_diag *diag) {
    return encode_body(t, version, true, body, n, ids, spans, diag);
}

gal_err gal_chat_fill(const gal_tokenizer *t, int version, const char *prompt, size_t prompt_bytes,
                      const char *suffix, size_t suffix_bytes, gal_ids *ids, gal_diag *diag) {
    const gal__template *how = find_template(version);
    if (!how) return no_template(version, diag);
    const gal__request r = { .prompt = { prompt, prompt_bytes }, .suffix = { suffix, suffix_bytes } };
    encoder e = { .t = t, .how = how, .r = &r, .ids = ids, .diag = diag };
    const size_t old_ids = ids->len;
    e.err = gal_token_scratch_new(&e.scratch, t, diag);
    if (!e.err) fill(&e);
    return finish(&e, old_ids, 0);
}
