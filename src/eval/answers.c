/* answers.c - see answers.h. SPDX-License-Identifier: Apache-2.0 */
#include "eval/answers.h"

#include "base/mem.h"
#include "base/util.h"
#include "train/database.h"

#include <math.h>
#include <string.h>

/* Of the file's layout; another one is not understood. "GALE" in the file's header says whose it is. */
enum { LAYOUT = 1, WHOSE = 0x47414c45, PARTS_MOST = 1 << 24 };

struct gal_answer_file {
    gal_db d;
    int64_t run;
};

void gal_answer_free(gal_answer *a) {
    gal_free(a->parts);
    gal_free(a->said);
    *a = (gal_answer){ 0 };
}

static gal_err number_of(const gal_db *d, const char *sql, int64_t *out, gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    gal_err err = GAL_OK;
    if (sqlite3_prepare_v2(d->db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        err = gal_db_fail(d, GAL_EIO, diag);
    else
        *out = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return err;
}

static const char BEGUN[] =
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id = 1195461701;"
    "PRAGMA user_version = 1;"
    "CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, model TEXT NOT NULL,"
    " task TEXT NOT NULL, settings TEXT NOT NULL, unix_time_s INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS answers (run INTEGER NOT NULL, question INTEGER NOT NULL, choices INTEGER NOT NULL,"
    " right INTEGER NOT NULL, bytes INTEGER NOT NULL, words INTEGER NOT NULL, parts INTEGER NOT NULL, said TEXT,"
    " tokens INTEGER NOT NULL, correct INTEGER NOT NULL, known INTEGER NOT NULL, PRIMARY KEY (run, question))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS parts (run INTEGER NOT NULL, question INTEGER NOT NULL, part INTEGER NOT NULL,"
    " loglikelihood REAL NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, chars INTEGER NOT NULL,"
    " greedy INTEGER NOT NULL, PRIMARY KEY (run, question, part)) WITHOUT ROWID;"
    "COMMIT;";
static const char CUT[] = "CREATE TABLE IF NOT EXISTS cut (run INTEGER NOT NULL, question INTEGER NOT NULL,"
                          " PRIMARY KEY (run, question)) WITHOUT ROWID;";

static gal_err prepare_file(const gal_db *d, gal_diag *diag) {
    int64_t tables = 0, whose = 0, layout = 0;
    gal_err err = number_of(d, "SELECT count(*) FROM sqlite_master", &tables, diag);
    if (!err) err = number_of(d, "PRAGMA application_id", &whose, diag);
    if (!err) err = number_of(d, "PRAGMA user_version", &layout, diag);
    if (err) return err;
    if (tables && (whose != WHOSE || layout != LAYOUT))
        return gal_fail(diag, GAL_EINPUT, "%s: expected a database of galerne eval (layout %d), found %s", d->path,
                        LAYOUT, whose == WHOSE ? "another layout" : "another program's");
    /* Another process may do the same at the same time; files of before `cut` was kept get that table. */
    if (!tables) err = gal_db_run(d, BEGUN, diag);
    return err ? err : gal_db_run(d, CUT, diag);
}

gal_err gal_answer_file_open(gal_answer_file **out, const char *path, gal_diag *diag) {
    gal_answer_file *f = gal_alloc(sizeof *f);
    if (!f) return gal_fail(diag, GAL_ENOMEM, "%s: no memory", path);
    gal_err err = gal_db_open(&f->d, path, true, diag);
    if (!err) err = prepare_file(&f->d, diag);
    if (err) {
        gal_answer_file_close(f);
        return err;
    }
    *out = f;
    return GAL_OK;
}

void gal_answer_file_close(gal_answer_file *f) {
    if (!f) return;
    gal_db_close(&f->d);
    gal_free(f);
}

bool gal_answer_says(gal_answer *a, const char *text, size_t bytes) {
    gal_free(a->said);
    a->said = gal_alloc(bytes + 1);
    a->said_bytes = bytes;
    if (a->said && bytes) memcpy(a->said, text, bytes);
    return a->said != NULL;
}

typedef struct words {
    const char *text; /* NULL: none */
    uint64_t bytes;
} words;

static words all_of(const char *text) { return (words){ text, strlen(text) }; }

/* A statement with the numbers v bound, after n_texts texts; run to its end. */
static gal_err execute(gal_answer_file *f, const char *sql, const words *texts, int n_texts, const int64_t *v, int n,
                       gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    int at = 0;
    bool ok = sqlite3_prepare_v2(f->d.db, sql, -1, &s, NULL) == SQLITE_OK;
    for (int i = 0; ok && i < n_texts; i++)
        ok = sqlite3_bind_text64(s, ++at, texts[i].text, texts[i].bytes, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK;
    for (int i = 0; ok && i < n; i++) ok = sqlite3_bind_int64(s, ++at, v[i]) == SQLITE_OK;
    ok = ok && sqlite3_step(s) == SQLITE_DONE;
    gal_err err = ok ? GAL_OK : gal_db_fail(&f->d, GAL_EIO, diag);
    (void)sqlite3_finalize(s);
    return err;
}

static gal_err find_run(gal_answer_file *f, const char *key, gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    gal_err err = GAL_OK;
    f->run = 0;
    if (sqlite3_prepare_v2(f->d.db, "SELECT id FROM runs WHERE key = ?", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) != SQLITE_OK) {
        err = gal_db_fail(&f->d, GAL_EIO, diag);
    } else {
        const int code = sqlite3_step(s);
        if (code == SQLITE_ROW) f->run = sqlite3_column_int64(s, 0);
        if (code != SQLITE_ROW && code != SQLITE_DONE) err = gal_db_fail(&f->d, GAL_EIO, diag);
    }
    (void)sqlite3_finalize(s);
    return err;
}

gal_err gal_answer_file_run(gal_answer_file *f, const gal_answer_run *run, bool fresh, gal_diag *diag) {
    const words texts[] = { all_of(run->key), all_of(run->model), all_of(run->task), all_of(run->settings) };
    const int64_t now[] = { gal_unix_time_s() };
    gal_err err = gal_answer_file_begin(f, diag);
    if (err) return err;
    err = execute(f, "INSERT OR IGNORE INTO runs (key, model, task, settings, unix_time_s) VALUES (?, ?, ?, ?, ?)",
                  texts, 4, now, 1, diag);
    if (!err) err = find_run(f, run->key, diag);
    if (!err && fresh) err = execute(f, "DELETE FROM answers WHERE run = ?", NULL, 0, &f->run, 1, diag);
    if (!err && fresh) err = execute(f, "DELETE FROM parts WHERE run = ?", NULL, 0, &f->run, 1, diag);
    if (!err && fresh) err = execute(f, "DELETE FROM cut WHERE run = ?", NULL, 0, &f->run, 1, diag);
    return gal_answer_file_end(f, err, diag);
}

gal_err gal_answer_file_begin(gal_answer_file *f, gal_diag *diag) {
    return gal_db_run(&f->d, "BEGIN IMMEDIATE", diag);
}

gal_err gal_answer_file_end(gal_answer_file *f, gal_err err, gal_diag *diag) {
    if (!err) err = gal_db_run(&f->d, "COMMIT", diag);
    if (err) (void)sqlite3_exec(f->d.db, "ROLLBACK", NULL, NULL, NULL); /* no more than nothing if SQLite did it */
    return err;
}

static gal_err put_part(gal_answer_file *f, int64_t i, int64_t part, const gal_answer_part *p, gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    const int64_t v[] = { f->run, i, part, p->tokens, p->bytes, p->chars, p->greedy };
    bool ok = sqlite3_prepare_v2(f->d.db,
                                 "INSERT OR REPLACE INTO parts (run, question, part, tokens, bytes, chars, greedy,"
                                 " loglikelihood) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                                 -1, &s, NULL) == SQLITE_OK;
    for (int k = 0; ok && k < (int)GAL_LEN(v); k++) ok = sqlite3_bind_int64(s, k + 1, v[k]) == SQLITE_OK;
    ok = ok && sqlite3_bind_double(s, (int)GAL_LEN(v) + 1, p->loglikelihood) == SQLITE_OK &&
         sqlite3_step(s) == SQLITE_DONE;
    gal_err err = ok ? GAL_OK : gal_db_fail(&f->d, GAL_EIO, diag);
    (void)sqlite3_finalize(s);
    return err;
}

gal_err gal_answer_file_put(gal_answer_file *f, int64_t i, const gal_answer *a, gal_diag *diag) {
    const int64_t v[] = {
        f->run, i, a->choices, a->right, a->bytes, a->words, a->n, a->tokens, a->correct, a->known
    };
    const words said = { a->said, a->said_bytes };
    gal_err err = execute(f,
                          "INSERT OR REPLACE INTO answers (said, run, question, choices, right, bytes, words, parts,"
                          " tokens, correct, known) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                          &said, 1, v, (int)GAL_LEN(v), diag);
    if (!err && a->cut)
        err = execute(f, "INSERT OR REPLACE INTO cut (run, question) VALUES (?, ?)", NULL, 0, v, 2, diag);
    for (int64_t k = 0; k < a->n && !err; k++)
        if (a->parts[k].known) err = put_part(f, i, k, &a->parts[k], diag);
    return err;
}

static gal_err strange(const gal_answer_file *f, int64_t question, gal_diag *diag) {
    return gal_fail(diag, GAL_EINPUT, "%s: damaged: numbers of question %lld cannot be", f->d.path,
                    (long long)question);
}

static gal_err load_answer(gal_answer_file *f, sqlite3_stmt *s, gal_answer *answers, int64_t n, gal_diag *diag) {
    const int64_t i = sqlite3_column_int64(s, 0), parts = sqlite3_column_int64(s, 5);
    if (i >= n) return GAL_OK;
    if (i < 0 || parts < 0 || parts > PARTS_MOST) return strange(f, i, diag);
    gal_answer *a = &answers[i];
    *a = (gal_answer){ .choices = sqlite3_column_int64(s, 1),
                       .right = sqlite3_column_int64(s, 2),
                       .bytes = sqlite3_column_int64(s, 3),
                       .words = sqlite3_column_int64(s, 4),
                       .n = parts,
                       .tokens = sqlite3_column_int64(s, 7),
                       .correct = sqlite3_column_int64(s, 8) != 0,
                       .known = sqlite3_column_int64(s, 9) != 0 };
    const char *said = (const char *)sqlite3_column_text(s, 6);
    a->parts = gal_alloc_array((size_t)parts, sizeof *a->parts);
    const bool kept = !said || gal_answer_says(a, said, (size_t)sqlite3_column_bytes(s, 6));
    if (!a->parts || !kept) return gal_fail(diag, GAL_ENOMEM, "%s: no memory for answers", f->d.path);
    if (a->choices < 0 || a->choices > parts || a->right < 0 || (a->choices && a->right >= a->choices))
        return strange(f, i, diag);
    return GAL_OK;
}

static gal_err load_part(gal_answer_file *f, sqlite3_stmt *s, gal_answer *answers, int64_t n, gal_diag *diag) {
    const int64_t i = sqlite3_column_int64(s, 0), k = sqlite3_column_int64(s, 1);
    if (i >= n) return GAL_OK;
    if (i < 0 || k < 0 || k >= answers[i].n) return strange(f, i, diag);
    gal_answer_part *p = &answers[i].parts[k];
    *p = (gal_answer_part){ .loglikelihood = sqlite3_column_double(s, 2),
                            .tokens = sqlite3_column_int64(s, 3),
                            .bytes = sqlite3_column_int64(s, 4),
                            .chars = sqlite3_column_int64(s, 5),
                            .greedy = sqlite3_column_int64(s, 6) != 0,
                            .known = true };
    return isfinite(p->loglikelihood) && p->tokens > 0 ? GAL_OK : strange(f, i, diag);
}

static gal_err load_cut(gal_answer_file *f, sqlite3_stmt *s, gal_answer *answers, int64_t n, gal_diag *diag) {
    const int64_t i = sqlite3_column_int64(s, 0);
    if (i < 0) return strange(f, i, diag);
    if (i < n) answers[i].cut = true;
    return GAL_OK;
}

static gal_err load(gal_answer_file *f, const char *sql,
                    gal_err (*take)(gal_answer_file *, sqlite3_stmt *, gal_answer *, int64_t, gal_diag *),
                    gal_answer *answers, int64_t n, gal_diag *diag) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(f->d.db, sql, -1, &s, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_int64(s, 1, f->run);
    gal_err err = code == SQLITE_OK ? GAL_OK : gal_db_fail(&f->d, GAL_EINPUT, diag);
    while (!err && (code = sqlite3_step(s)) == SQLITE_ROW) err = take(f, s, answers, n, diag);
    if (!err && code != SQLITE_DONE) err = gal_db_fail(&f->d, GAL_EINPUT, diag);
    (void)sqlite3_finalize(s);
    return err;
}

gal_err gal_answer_file_load(gal_answer_file *f, gal_answer *answers, int64_t n, gal_diag *diag) {
    gal_err err = gal_db_run(&f->d, "BEGIN", diag); /* all as of one moment, whoever writes meanwhile */
    if (err) return err;
    err = load(f,
               "SELECT question, choices, right, bytes, words, parts, said, tokens, correct, known"
               " FROM answers WHERE run = ? ORDER BY question",
               load_answer, answers, n, diag);
    if (!err)
        err = load(f,
                   "SELECT question, part, loglikelihood, tokens, bytes, chars, greedy FROM parts WHERE run = ?"
                   " ORDER BY question, part",
                   load_part, answers, n, diag);
    if (!err) err = load(f, "SELECT question FROM cut WHERE run = ?", load_cut, answers, n, diag);
    return gal_answer_file_end(f, err, diag);
}
