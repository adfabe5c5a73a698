/* chat_rules.c - which requests a template takes: the order of roles, what each may hold, how calls and results pair
 * up. The rules are those of the reference's validators; so are the places where they are lenient.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "text/chat_internal.h"

#include <string.h>

static const char *const ROLE[] = { "system", "user", "assistant", "tool" };

static bool same(gal__string a, gal__string b) { return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0); }

static bool alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/* min to max of letters and digits, and of `more`; the reference's patterns let one line feed follow. */
static bool spelled(gal__string s, size_t min, size_t max, const char *more) {
    size_t n = s.n && s.s[s.n - 1] == '\n' ? s.n - 1 : s.n;
    for (size_t i = 0; i < n; i++)
        if (!alnum(s.s[i]) && !(s.s[i] && strchr(more, s.s[i]))) return false;
    return n >= min && n <= max;
}

static bool has_chunks(const gal__message *m, unsigned kinds) {
    for (size_t i = 0; i < m->content.n; i++)
        if (m->content.chunks[i].kind & kinds) return true;
    return false;
}

/* ---- the list -----------------------------------------------------------------------------------------------------
 */

static gal_err order(const gal__request *r, gal_diag *diag) {
    static const uint8_t AFTER[] = { [GAL__SYSTEM] = 1 << GAL__USER | 1 << GAL__ASSISTANT | 1 << GAL__SYSTEM,
                                     [GAL__USER] = 1 << GAL__ASSISTANT | 1 << GAL__SYSTEM | 1 << GAL__USER,
                                     [GAL__ASSISTANT] = 1 << GAL__ASSISTANT | 1 << GAL__USER | 1 << GAL__TOOL,
                                     [GAL__TOOL] = 1 << GAL__ASSISTANT | 1 << GAL__TOOL | 1 << GAL__USER };
    if (r->n == 0) return gal_fail(diag, GAL_EINPUT, "messages: empty; expected at least one message");
    const gal__message *m = r->messages, *last = m + r->n - 1;
    if (r->n == 1 && m->role != GAL__USER && m->role != GAL__SYSTEM)
        return gal_fail(diag, GAL_EINPUT, "messages: a conversation begins with a user or system message, found %s",
                        ROLE[m->role]);
    if (last->role == GAL__ASSISTANT && !last->prefix && !r->whole)
        return gal_fail(diag, GAL_EINPUT,
                        "messages: the last is an assistant's; expected a user's or a tool's, or \"prefix\": true, "
                        "which continues it");
    for (size_t i = 1; i < r->n; i++)
        if (!(AFTER[m[i - 1].role] >> m[i].role & 1))
            return gal_fail(diag, GAL_EINPUT, "messages[%zu]: role %s cannot follow role %s", i, ROLE[m[i].role],
                            ROLE[m[i - 1].role]);
    return GAL_OK;
}

static gal_err uneven(size_t i, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "messages[%zu]: not as many tool results as tool calls before it", i);
}

/* By number alone. The first message does not count, whatever it is. */
static gal_err pair_by_number(const gal__request *r, gal_diag *diag) {
    ptrdiff_t open = 0;
    for (size_t i = 1; i < r->n; i++) {
        const gal__message *m = &r->messages[i];
        if (m->role == GAL__TOOL) open--;
        if (m->role != GAL__ASSISTANT) continue;
        if (open != 0) return uneven(i, diag);
        if (m->has_calls) open = (ptrdiff_t)m->n_calls;
    }
    return GAL_OK;
}

/* Ids in the order in which they came; a set by hash. */
typedef struct ids {
    const gal__string **slots; /* open addressing */
    size_t mask, n;
} ids;

static const gal__string **slot(const ids *s, const gal__string *id) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < id->n; i++) h = (h ^ (uint8_t)id->s[i]) * 16777619u;
    size_t at = (h ^ (h >> 15)) & s->mask;
    while (s->slots[at] && !same(*s->slots[at], *id)) at = (at + 1) & s->mask;
    return &s->slots[at];
}

static bool start(ids *s, size_t room) {
    size_t slots = 16;
    while (slots < 2 * room) slots *= 2;
    gal_free(s->slots);
    *s = (ids){ .slots = gal_alloc_array(slots, sizeof(gal__string *)), .mask = slots - 1 };
    return s->slots != NULL;
}

static bool put(ids *s, const gal__string *id) { /* false: it is there */
    const gal__string **at = slot(s, id);
    if (*at) return false;
    *at = id;
    s->n++;
    return true;
}

static gal_err expect_calls(const gal__message *m, size_t i, ids *expected, ids *seen, gal_diag *diag) {
    if (expected->n != seen->n) return uneven(i, diag);
    if (!start(expected, m->n_calls) || !start(seen, m->n_calls)) return gal__chat_no_memory(diag);
    for (size_t c = 0; c < m->n_calls; c++)
        if (!put(expected, &m->calls[c].id))
            return gal_fail(diag, GAL_EINPUT, "messages[%zu].tool_calls[%zu].id: \"%.80s\" is there twice", i, c,
                            m->calls[c].id.s);
    return GAL_OK;
}

static gal_err pair_by_id(const gal__request *r, gal_diag *diag) {
    ids expected = { 0 }, seen = { 0 };
    gal_err err = start(&expected, 0) && start(&seen, 0) ? GAL_OK : gal__chat_no_memory(diag);
    for (size_t i = 1; i < r->n && !err; i++) {
        const gal__message *m = &r->messages[i];
        if (m->role == GAL__ASSISTANT) err = expect_calls(m, i, &expected, &seen, diag);
        if (m->role != GAL__TOOL) continue;
        if (!m->call_id.s || !*slot(&expected, &m->call_id))
            err = gal_fail(diag, GAL_EINPUT, "messages[%zu].tool_call_id: no call before it has the id \"%.80s\"", i,
                           m->call_id.s ? m->call_id.s : "");
        else if (!put(&seen, &m->call_id))
            err = gal_fail(diag, GAL_EINPUT, "messages[%zu].tool_call_id: a second result for \"%.80s\"", i,
                           m->call_id.s);
    }
    gal_free(expected.slots);
    gal_free(seen.slots);
    return err;
}

static gal_err sound_alone(const gal__request *r, unsigned kinds, gal_diag *diag) {
    bool system = false, sound = false;
    for (size_t i = 0; i < r->n; i++) {
        system = system || r->messages[i].role == GAL__SYSTEM;
        sound = sound || (r->messages[i].role == GAL__USER && has_chunks(&r->messages[i], kinds));
    }
    return system && sound
               ? gal_fail(diag, GAL_EINPUT, "messages: a system message and audio; templates before V13 take one")
               : GAL_OK;
}

/* ---- each message -------------------------------------------------------------------------------------------------
 */

static gal_err kinds(const gal__message *m, size_t i, const gal__template *t, gal_diag *diag) {
    static const char *const NAMES[] = { "text", "thinking", "image", "image_url", "input_audio", "audio_url" };
    const unsigned may[] = { t->system, t->user, t->assistant, t->tool };
    for (size_t c = 0; c < m->content.n; c++)
        for (size_t k = 0; k < GAL_LEN(NAMES); k++)
            if (m->content.chunks[c].kind == 1u << k && !(may[m->role] >> k & 1))
                return gal_fail(diag, GAL_EINPUT,
                                "messages[%zu].content[%zu]: template V%d has no %s in a %s message", i, c,
                                t->version, NAMES[k], ROLE[m->role]);
    return GAL_OK;
}

static gal_err call_id(gal__string id, const char *where, size_t i, const gal__template *t, gal_diag *diag) {
    if (t->ids_of_nine && !spelled(id, 9, 9, ""))
        return gal_fail(diag, GAL_EINPUT, "messages[%zu].%s: expected 9 letters and digits, found \"%.80s\"", i,
                        where, id.s ? id.s : "");
    if (t->ids_named && (!id.n || gal__is(id, "null")))
        return gal_fail(diag, GAL_EINPUT, "messages[%zu].%s: expected an id other than \"\" and \"null\"", i, where);
    return GAL_OK;
}

static gal_err bad_name(gal__string name, const char *where, size_t i, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT,
                    "messages[%zu].%s: expected 1 to 64 letters, digits, '_' and '-', found \"%.80s\"", i, where,
                    name.s);
}

static gal_err assistant(const gal__request *r, size_t i, const gal__template *t, gal_diag *diag) {
    const gal__message *m = &r->messages[i];
    const bool says = m->content.list ? m->content.n > 0 : m->content.text.n > 0;
    if (!t->calls_with_content && says == (m->n_calls > 0))
        return gal_fail(diag, GAL_EINPUT, "messages[%zu]: template V%d wants content or tool_calls, found %s", i,
                        t->version, says ? "both" : "neither");
    gal_err err = GAL_OK;
    for (size_t c = 0; c < m->n_calls && !err; c++) {
        err = call_id(m->calls[c].id, "tool_calls id", i, t, diag);
        if (!err && !spelled(m->calls[c].name, 1, 64, "_-"))
            err = bad_name(m->calls[c].name, "tool_calls name", i, diag);
    }
    if (!err && m->prefix && i != r->n - 1)
        err = gal_fail(diag, GAL_EINPUT, "messages[%zu].prefix: only the last message can be continued", i);
    return err;
}

gal_err gal__chat_check(const gal__request *r, const gal__template *t, gal_diag *diag) {
    gal_err err = order(r, diag);
    if (!err) err = t->ids_paired ? pair_by_id(r, diag) : pair_by_number(r, diag);
    if (!err && t->sound_without_system) err = sound_alone(r, t->sound_without_system, diag);
    for (size_t i = 0; i < r->n && !err; i++) {
        const gal__message *m = &r->messages[i];
        err = kinds(m, i, t, diag);
        if (!err && m->role == GAL__ASSISTANT) err = assistant(r, i, t, diag);
        if (err || m->role != GAL__TOOL) continue;
        if (m->name.s && !spelled(m->name, 1, 64, "_-")) err = bad_name(m->name, "name", i, diag);
        if (!err) err = call_id(m->call_id, "tool_call_id", i, t, diag);
    }
    if (!err && !t->settings && r->effort >= 0)
        err = gal_fail(diag, GAL_EINPUT, "reasoning_effort: template V%d has none; V15 is the first with it",
                       t->version);
    if (!err && r->truncate)
        err = gal_fail(diag, GAL_EINPUT, "truncate_for_context_length: nothing is cut off here without being asked");
    return err;
}
