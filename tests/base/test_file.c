/* test_file.c - files and folders, and that a failed write leaves nothing behind. SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE /* O_TMPFILE */
#include "base/bring.h"
#include "base/file.h"
#include "base/maps.h"
#include "base/mem.h"
#include "support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "galerne-test-file.XXXXXX";
static gal_diag diag;

static const char *at(const char *name) {
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    assert_true(snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name) < 256);
    return path[turn];
}

static int set_up(void **state) {
    (void)state;
    memset(&diag, 0, sizeof diag);
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    return gal_remove_tree(dir, NULL) == GAL_OK && !gal_is_dir(dir) ? 0 : -1;
}

static size_t names_in(const char *path) {
    char **names;
    size_t n = 0;
    assert_int_equal(gal_list_dir(path, &names, &n, NULL), GAL_OK);
    gal_free_names(names, n);
    return n;
}

static void write_then_map_and_read(void **state) {
    (void)state;
    size_t n = 300001;
    char *bytes = gal_alloc(n);
    for (size_t i = 0; i < n; i++) bytes[i] = (char)(i * 7);
    assert_int_equal(gal_write_file(at("f"), bytes, n, &diag), GAL_OK);
    gal_map m = { 0 };
    assert_int_equal(gal_map_open(&m, at("f"), &diag), GAL_OK);
    assert_int_equal(m.bytes, n);
    assert_memory_equal(m.data, bytes, n);
    gal_map_close(&m);
    assert_null(m.data);
    gal_map_close(&m);
    gal_buf b = { 0 };
    assert_int_equal(gal_read_file(&b, at("f"), n, &diag), GAL_OK);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, bytes, n);
    assert_int_equal(gal_read_file(&b, at("f"), n - 1, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "limit"));
    assert_true(gal_file_begins(at("f"), bytes, 16));
    assert_false(gal_file_begins(at("f"), bytes + 1, 16));
    gal_buf_free(&b);
    gal_free(bytes);
    assert_int_equal(gal_write_file(at("empty"), NULL, 0, NULL), GAL_OK);
    assert_true(gal_file_begins(at("empty"), "", 0));
    assert_false(gal_file_begins(at("empty"), "G", 1) || gal_file_begins(at("none"), "", 0));
    assert_int_equal(gal_map_open(&m, at("empty"), NULL), GAL_OK);
    assert_null(m.data);
    assert_int_equal(m.bytes, 0);
    gal_map_close(&m);
}

static bool count_looks(void *user, uint64_t done, uint64_t total) {
    (void)total;
    uint64_t *looks = user;
    assert_true(done > looks[1]); /* forward only */
    looks[1] = done;
    return ++looks[0] == looks[2];
}

/* Takes a file's pages out of memory; false where its file system keeps them there (tmpfs). */
static bool forget(const char *path) {
    gal_map m = { 0 };
    unsigned char in = 0;
    int fd = open(path, O_RDONLY);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    (void)close(fd);
    assert_int_equal(gal_map_open(&m, path, &diag), GAL_OK);
    assert_int_equal(mincore((void *)(uintptr_t)(m.data + m.bytes / 8192 * 4096), 1, &in), 0);
    gal_map_close(&m);
    return !(in & 1);
}

/* qemu's user mode says yes to any advice and follows few. */
static bool advice_is_heard(void) {
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    bool heard = madvise(page, 4096, 9999) != 0;
    (void)munmap(page, 4096);
    return heard;
}

/* A file of several parts, mapped or read: the same bytes at the same address. Cut short meanwhile: an error. */
static void maps_are_brought_into_memory(void **state) {
    (void)state;
    size_t n = ((size_t)8 << 20) * 33 + 12345; /* three looks at the progress */
    uint8_t *bytes = gal_alloc(n);
    for (size_t i = 0; i < n; i += 512) bytes[i] = (uint8_t)(i / 512 * 7 + 1);
    assert_int_equal(gal_write_file(at("big"), bytes, n, &diag), GAL_OK);
    gal_pool *pool = NULL;
    assert_int_equal(gal_pool_new(&pool, 3, &diag), GAL_OK);
    for (int read = 0; read < 2; read++) {
        gal_map m = { 0 };
        uint64_t looks[3] = { 0 };
        bool cold = forget(at("big"));
        assert_int_equal(gal_map_open(&m, at("big"), &diag), GAL_OK);
        const uint8_t *address = m.data;
        gal_bring how = { .read = read, .pool = pool, .progress = count_looks, .user = looks, .total = n };
        assert_int_equal(gal_map_bring(&m, at("big"), &how, &diag), GAL_OK);
        assert_ptr_equal(m.data, address);
        assert_int_equal(how.done, n);
        assert_int_equal(looks[0], read || cold ? 3 : 0);
        assert_memory_equal(m.data, bytes, n);
        memset(looks, 0, sizeof looks);
        looks[2] = 2; /* stop at the second look */
        assert_int_equal(
            gal_map_bring(&m, at("big"),
                          &(gal_bring){ .read = true, .pool = pool, .progress = count_looks, .user = looks }, NULL),
            GAL_EINTERRUPTED);
        gal_map_close(&m);
    }
    for (int read = advice_is_heard() ? 0 : 1; read < 2; read++) {
        gal_map m = { 0 };
        gal_diag why = { 0 };
        assert_int_equal(gal_map_open(&m, at("big"), &diag), GAL_OK);
        assert_int_equal(truncate(at("big"), (off_t)(n / 2 - (size_t)read * 4096)), 0);
        assert_int_equal(gal_map_bring(&m, at("big"), &(gal_bring){ .read = read, .pool = pool }, &why), GAL_EINPUT);
        assert_non_null(strstr(why.text, "shorter"));
        gal_map_close(&m);
    }
    gal_pool_free(pool);
    gal_free(bytes);
}

static void folders_and_missing_files_are_named(void **state) {
    (void)state;
    gal_map m = { NULL, 77 };
    assert_int_equal(gal_map_open(&m, dir, &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, dir));
    assert_non_null(strstr(diag.text, "folder"));
    assert_int_equal(m.bytes, 77); /* out is untouched */
    memset(&diag, 0, sizeof diag);
    assert_int_equal(gal_map_open(&m, at("none"), &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "none"));
    assert_int_equal(gal_list_dir(at("none"), &(char **){ NULL }, &(size_t){ 0 }, NULL), GAL_EINPUT);
    assert_int_equal(gal_write_file(dir, "x", 1, NULL), GAL_EIO);
}

static gal_err emit_and_fail(gal_sink *s, void *user, gal_diag *d) {
    char block[1000] = { 0 };
    for (int i = 0; i < 200; i++) assert_int_equal(gal_sink_write(s, block, sizeof block), GAL_OK);
    assert_int_equal(gal_sink_offset(s), 200000);
    return gal_fail(d, GAL_EINPUT, "stopped by %s", (const char *)user);
}

static void failed_write_leaves_the_old_file(void **state) {
    (void)state;
    char who[] = "the test";
    assert_int_equal(gal_write_file(at("f"), "old", 3, NULL), GAL_OK);
    assert_int_equal(gal_write_atomic(at("f"), emit_and_fail, who, &diag), GAL_EINPUT);
    assert_string_equal(diag.text, "stopped by the test");
    assert_int_equal(gal_write_atomic(at("g"), emit_and_fail, who, NULL), GAL_EINPUT);
    assert_int_equal(names_in(dir), 1);
    gal_buf b = { 0 };
    assert_int_equal(gal_read_file(&b, at("f"), 100, NULL), GAL_OK);
    assert_string_equal(b.data, "old");
    gal_buf_free(&b);
    memset(&diag, 0, sizeof diag);
    assert_int_equal(gal_write_file(at("none/f"), "x", 1, &diag), GAL_EIO);
    assert_non_null(strstr(diag.text, "none/f"));
    assert_int_equal(names_in(dir), 1);
}

static gal_err emit_and_count(gal_sink *s, void *user, gal_diag *d) {
    (void)d;
    ++*(int *)user;
    return gal_sink_write(s, "x", 1);
}

static gal_err emit_and_be_killed(gal_sink *s, void *user, gal_diag *d) {
    char block[1000] = { 0 };
    (void)user;
    for (int i = 0; i < 200; i++) (void)gal_sink_write(s, block, sizeof block);
    (void)raise(SIGKILL);
    return gal_fail(d, GAL_EFAIL, "not killed");
}

/* SIGKILL lets nobody clear up: the file has no name before it is whole, where the file system can do that. */
static void a_killed_write_leaves_nothing(void **state) {
    (void)state;
    int status = 0;
#ifdef O_TMPFILE
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
#else
    int fd = -1;
#endif
    if (fd < 0) {
        print_message("skipped: the file system has no files without a name\n");
        skip(); /* there a killed write leaves its temporary; all else of writing is tested above */
    }
    (void)close(fd);
    assert_int_equal(gal_write_file(at("f"), "old", 3, NULL), GAL_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)gal_write_atomic(at("f"), emit_and_be_killed, NULL, NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(names_in(dir), 1);
    gal_buf b = { 0 };
    assert_int_equal(gal_read_file(&b, at("f"), 100, NULL), GAL_OK);
    assert_string_equal(b.data, "old");
    gal_buf_free(&b);
}

/* The name must fit before the work begins, not after. */
static void a_name_that_is_too_long_is_said_first(void **state) {
    (void)state;
    char name[252] = "";
    memset(name, 'n', 250);
    int begun = 0;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(gal_write_atomic(path, emit_and_count, &begun, &diag), GAL_EIO);
    assert_non_null(strstr(diag.text, "File name too long"));
    assert_int_equal(begun, 0);
    assert_int_equal(names_in(dir), 0);
}

/* A limit on the size of files stands in for a full disk: the same call fails at the same place. */
static void a_write_that_fails_is_the_cause(void **state) {
    (void)state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    size_t n = 300000;
    char *bytes = gal_alloc(n);
    gal_err err = gal_write_file(at("f"), bytes, n, &diag);
    gal_free(bytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, old);
    assert_int_equal(err, GAL_EIO);
    assert_non_null(strstr(diag.text, "cannot write"));
    assert_int_equal(names_in(dir), 0);
}

static void links_stay_and_devices_are_written_to(void **state) {
    (void)state;
    struct stat st;
    assert_int_equal(gal_write_file(at("real"), "old", 3, NULL), GAL_OK);
    assert_int_equal(symlink("real", at("link")), 0);
    assert_int_equal(gal_write_file(at("link"), "newer", 5, NULL), GAL_OK);
    assert_int_equal(lstat(at("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(at("real"), &st), 0);
    assert_int_equal(st.st_size, 5);
    /* A pipe of our own, so that a mistake here cannot replace one of the machine's devices. */
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    int fd = open(at("pipe"), O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(gal_write_file(at("pipe"), "through", 7, NULL), GAL_OK);
    char got[8] = "";
    assert_int_equal(read(fd, got, 7), 7);
    assert_string_equal(got, "through");
    (void)close(fd);
    assert_int_equal(stat(at("pipe"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(names_in(dir), 3);
}

static void permissions_follow_the_umask(void **state) {
    (void)state;
    mode_t before = umask(027);
    assert_int_equal(gal_write_file(at("f"), "x", 1, NULL), GAL_OK);
    (void)umask(before);
    struct stat st;
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void folders_are_made_listed_and_removed(void **state) {
    (void)state;
    assert_int_equal(gal_make_dirs(at("a/b/c"), &diag), GAL_OK);
    assert_int_equal(gal_make_dirs(at("a/b/c/"), &diag), GAL_OK);
    assert_true(gal_is_dir(at("a/b/c")));
    assert_false(gal_is_file(at("a/b/c")));
    assert_int_equal(gal_write_file(at("a/z"), "x", 1, NULL), GAL_OK);
    assert_int_equal(gal_write_file(at("a/B"), "x", 1, NULL), GAL_OK);
    assert_true(gal_is_file(at("a/z")));
    char **names;
    size_t n;
    assert_int_equal(gal_list_dir(at("a"), &names, &n, NULL), GAL_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "z");
    gal_free_names(names, n);
    assert_int_equal(gal_make_dirs(at("a/z/y"), &diag), GAL_EIO);
    assert_non_null(strstr(diag.text, "a/z"));
    assert_int_equal(gal_check_parent(at("a/new"), NULL), GAL_OK);
    assert_int_equal(gal_check_parent(at("new/x"), NULL), GAL_EIO);
    assert_int_equal(gal_check_parent(at("a/z/x"), NULL), GAL_EIO);
    /* A link inside the tree is removed, not followed. */
    assert_int_equal(gal_make_dirs(at("kept"), NULL), GAL_OK);
    assert_int_equal(gal_write_file(at("kept/f"), "x", 1, NULL), GAL_OK);
    assert_int_equal(symlink("../kept", at("a/link")), 0);
    assert_int_equal(gal_remove_tree(at("a"), NULL), GAL_OK);
    assert_int_equal(gal_remove_tree(at("a"), NULL), GAL_OK); /* nothing there is fine */
    assert_false(gal_is_dir(at("a")));
    assert_true(gal_is_file(at("kept/f")));
    gal_buf b = { 0 };
    assert_string_equal(gal_path_join(&b, "x", "y"), "x/y");
    assert_string_equal(gal_path_join(&b, "x/", "y"), "x/y");
    gal_buf_free(&b);
}

static void maps_know_their_files(void **state) {
    (void)state;
    gal_map a = { 0 }, b = { 0 };
    gal_map_place place;
    assert_int_equal(gal_write_file(at("a"), "0123456789", 10, &diag), GAL_OK);
    assert_int_equal(gal_write_file(at("b"), "0123", 4, &diag), GAL_OK);
    assert_int_equal(gal_map_open(&a, at("a"), &diag), GAL_OK);
    assert_int_equal(gal_map_open(&b, at("b"), &diag), GAL_OK);
    assert_true(gal_maps_find(a.data + 7, &place));
    assert_string_equal(place.path, at("a"));
    assert_int_equal(place.offset, 7);
    assert_int_equal(place.bytes, 10);
    assert_true(gal_maps_find(b.data, &place));
    assert_string_equal(place.path, at("b"));
    assert_false(gal_maps_find(a.data + 10, &place));
    assert_false(gal_maps_find(&place, &place));
    assert_false(gal_maps_find(NULL, &place));
    const uint8_t *was = a.data;
    gal_map_close(&a);
    assert_false(gal_maps_find(was, &place));
    assert_true(gal_maps_find(b.data + 3, &place));
    gal_map_close(&b);
}

/* Opening a pipe that nobody writes to would wait for ever. */
static void pipes_are_refused(void **state) {
    (void)state;
    gal_map m = { 0 };
    gal_buf b = { 0 };
    assert_int_equal(mkfifo(at("p"), 0666), 0);
    assert_int_equal(gal_map_open(&m, at("p"), &diag), GAL_EINPUT);
    assert_non_null(strstr(diag.text, "is a pipe, expected a regular file"));
    assert_int_equal(gal_read_file(&b, at("p"), 10, NULL), GAL_EINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(maps_know_their_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pipes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_then_map_and_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(maps_are_brought_into_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders_and_missing_files_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failed_write_leaves_the_old_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_write_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_is_too_long_is_said_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_that_fails_is_the_cause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_stay_and_devices_are_written_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(permissions_follow_the_umask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders_are_made_listed_and_removed, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("base/file", tests, NULL, NULL);
}
