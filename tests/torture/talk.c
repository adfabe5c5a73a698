/* talk.c - a conversation under failures: what was said stays as it was or grows by what was asked, and a file of
 * what the model remembers is whole or not there. SPDX-License-Identifier: Apache-2.0 */
#include "talk.h"

#include "base/file.h"
#include "infer/talk.h"
#include "support/check.h"

#include <stdio.h>
#include <string.h>

static gal_lm *lm;
static gal_talk *talk;
static char cache[300];

void prepare_talk(const char *folder) {
    gal_lm_options o;
    gal_diag diag = { 0 };
    gal_lm_options_init(&o);
    o.context = 400;
    o.device.threads = 1;
    (void)snprintf(cache, sizeof cache, "%s/talk.cache", folder);
    (void)gal_remove_tree(cache, NULL);
    assert_int_equal(gal_lm_open(&lm, "tests/golden/chatter", &o, &diag), GAL_OK);
    assert_int_equal(gal_talk_new(&talk, lm, "tests/golden/chatter", NULL, &diag), GAL_OK);
}

static gal_err ask(const char *question, gal_diag *diag) {
    gal_talk_how how = { .reserve = 1 };
    const gal_talk_view view = { 0 };
    gal_talk_answer a;
    gal_generate_options_init(&how.generate, NULL);
    how.generate.sampling.temperature = 0.0;
    how.generate.max_tokens = 60;
    const size_t before = gal_talk_count(talk);
    gal_err err = gal_talk_say(talk, "user", question, strlen(question), diag);
    if (!err) err = gal_talk_ask(talk, &how, &view, &a, diag);
    assert_true(gal_talk_count(talk) <= before + 2 && (!err || gal_talk_count(talk) <= before + 1));
    return err;
}

gal_err run_talk(gal_diag *diag) {
    static const char TOOLS[] =
        "[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {}}}]";
    gal_buf body = { 0 };
    gal_talk_cut(talk, 0);
    gal_err err = gal_talk_tools(talk, TOOLS, diag);
    if (!err) err = ask("What is 2 + 2?", diag);
    if (!err) err = ask("Weather in Paris?", diag);
    if (!err && gal_reply_calls(gal_talk_last(talk)) == 1) {
        const gal_reply_call c = gal_reply_call_at(gal_talk_last(talk), 0);
        err = gal_talk_result(talk, c.id, c.name, "rain", 4, diag);
    }
    if (!err) err = gal_talk_print(talk, &body, diag);
    if (!err) err = gal_talk_read(talk, body.data, body.len, "body", diag);
    if (!err) err = gal_lm_save_cache(lm, cache, NULL, diag);
    if (!err) err = gal_lm_load_cache(lm, cache, diag);
    if (!err) err = gal_talk_system(talk, "Be brief.", 9, diag);
    gal_buf_free(&body);
    return err;
}

/* The same conversation goes on, and a file that is there can be read. */
void after_talk(gal_err err, bool again) {
    gal_diag diag = { 0 };
    if (gal_exists(cache)) assert_int_equal(gal_lm_load_cache(lm, cache, &diag), GAL_OK);
    if (err && again) assert_int_equal(run_talk(&diag), GAL_OK);
    if (!err) assert_int_equal(gal_talk_count(talk), 6);
    gal_talk_free(talk);
    gal_lm_close(lm);
    talk = NULL;
    lm = NULL;
}
