/* test_mem.c - allocation, arenas, buffers. SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/asan.h"
#include "base/buf.h"
#include "base/mem.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static void alloc_is_zeroed_and_aligned(void **state) {
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        unsigned char *p = gal_alloc(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        if (n) memset(p, 0xAB, n);
        gal_free(p);
    }
    gal_free(NULL);
    assert_null(gal_alloc(SIZE_MAX));
    assert_null(gal_alloc_array(SIZE_MAX / 2, 3));
}

static void realloc_keeps_contents(void **state) {
    (void)state;
    unsigned char *p = gal_alloc(100);
    for (int i = 0; i < 100; i++) p[i] = (unsigned char)i;
    p = gal_realloc(p, 1000);
    assert_non_null(p);
    for (int i = 0; i < 100; i++) assert_int_equal(p[i], i);
    p = gal_realloc(p, 10);
    for (int i = 0; i < 10; i++) assert_int_equal(p[i], i);
    gal_free(p);
    char *s = gal_strndup("abcdef", 3);
    assert_string_equal(s, "abc");
    gal_free(s);
}

typedef struct counter {
    long live;
    size_t live_bytes;
    long fail_at; /* the call that fails, counted down; negative: none */
} counter;

static void *counting(void *user, void *ptr, size_t old_bytes, size_t bytes) {
    counter *c = user;
    if (bytes == 0) {
        c->live--;
        c->live_bytes -= old_bytes;
        free(ptr);
        return NULL;
    }
    if (c->fail_at == 0) return NULL;
    if (c->fail_at > 0) c->fail_at--;
    void *p = realloc(ptr, bytes);
    if (p && !ptr) c->live++;
    if (p) c->live_bytes += bytes - old_bytes;
    return p;
}

static void hook_sees_sizes_and_can_fail(void **state) {
    (void)state;
    counter c = { 0, 0, -1 };
    gal_set_alloc_hook(counting, &c);
    void *a = gal_alloc(10), *b = gal_alloc(100000);
    a = gal_realloc(a, 500);
    assert_int_equal(c.live, 2);
    assert_true(c.live_bytes >= 100500);
    c.fail_at = 0;
    assert_null(gal_alloc(1));
    assert_null(gal_realloc(a, 1000)); /* a stays valid */
    memset(a, 1, 500);
    gal_buf buf = { 0 };
    gal_buf_puts(&buf, "lost");
    assert_true(buf.oom);
    assert_int_equal(buf.len, 0);
    gal_buf_free(&buf);
    gal_arena arena;
    gal_arena_init(&arena, 4096);
    assert_null(gal_arena_take(&arena, 1));
    assert_int_equal(arena.live_bytes, 0);
    c.fail_at = -1;
    assert_non_null(gal_arena_take(&arena, 1)); /* succeeds afterwards */
    gal_arena_free(&arena);
    gal_free(a);
    gal_free(b);
    assert_int_equal(c.live, 0);
    assert_int_equal(c.live_bytes, 0);
    gal_set_alloc_hook(NULL, NULL);
}

static void memory_numbers_are_plausible(void **state) {
    (void)state;
    assert_true(gal_memory_available() > 1 << 20);
    assert_true(gal_memory_available() < UINT64_MAX);
    assert_true(gal_memory_peak() > 1 << 20);
    /* Linux adds up processors' counts for the one and takes an older sum for the other. */
    assert_true(gal_memory_resident() > 1 << 18 && gal_memory_resident() < 2 * gal_memory_peak());
}

/* Requests of many sizes with marks and rewinds, some larger than a chunk. */
static size_t scenario(gal_arena *a, void **got, uint32_t seed) {
    size_t n = 0;
    gal_arena_mark mark = gal_arena_here(a);
    for (int i = 0; i < 400; i++) {
        seed = seed * 1664525u + 1013904223u;
        size_t bytes = (seed >> 8) % (i % 37 == 0 ? 50000u : 900u);
        if (i % 11 == 5) mark = gal_arena_here(a);
        if (i % 11 == 9) gal_arena_rewind(a, mark);
        char *p = gal_arena_take(a, bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        if (bytes) memset(p, i, bytes);
        got[n++] = p;
    }
    return n;
}

static void arena_repeats_addresses(void **state) {
    (void)state;
    gal_arena a;
    gal_arena_init(&a, 8192);
    void *first[400], *again[400], *other[400];
    size_t n = scenario(&a, first, 1);
    size_t held = a.held_bytes, peak = a.peak_bytes;
    for (int round = 0; round < 3; round++) {
        gal_arena_reset(&a);
        assert_int_equal(a.live_bytes, 0);
        assert_int_equal(scenario(&a, again, 1), n);
        assert_memory_equal(first, again, n * sizeof first[0]);
    }
    assert_int_equal(a.held_bytes, held);
    assert_int_equal(a.peak_bytes, peak);
    /* Another sequence in between may append chunks; the first one still gets its own addresses. */
    gal_arena_reset(&a);
    (void)scenario(&a, other, 77);
    gal_arena_reset(&a);
    (void)scenario(&a, again, 1);
    assert_memory_equal(first, again, n * sizeof first[0]);
    gal_arena_free(&a);
    assert_int_equal(a.held_bytes, 0);
}

/* In one piece: nothing is appended, and the addresses repeat. */
static void arena_reserves(void **state) {
    (void)state;
    gal_arena a, b;
    void *first[400], *again[400];
    gal_arena_init(&a, 8192);
    gal_arena_init(&b, 8192);
    size_t n = scenario(&b, first, 1);
    const size_t need = 2 * b.peak_bytes + n * 128; /* zones between requests where they are watched */
    assert_true(gal_arena_reserve(&a, need));
    assert_int_equal(a.held_bytes, need);
    assert_int_equal(scenario(&a, first, 1), n);
    assert_int_equal(a.held_bytes, need);
    assert_int_equal(a.peak_bytes, b.peak_bytes);
    gal_arena_reset(&a);
    (void)scenario(&a, again, 1);
    assert_memory_equal(first, again, n * sizeof first[0]);
    gal_arena_free(&a);
    gal_arena_free(&b);
}

static void arena_live_parts_do_not_overlap(void **state) {
    (void)state;
    gal_arena a;
    gal_arena_init(&a, 1000);
    unsigned char *p[100];
    for (int i = 0; i < 100; i++) {
        p[i] = gal_arena_take(&a, (size_t)(1 + 13 * i));
        memset(p[i], i, (size_t)(1 + 13 * i));
    }
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < 1 + 13 * i; k++) assert_int_equal(p[i][k], i);
    gal_arena_free(&a);
}

static void arena_rewinds(void **state) {
    (void)state;
    gal_arena a;
    gal_arena_init(&a, 256);
    gal_arena_mark empty = gal_arena_here(&a);
    void *x = gal_arena_take(&a, 100);
    gal_arena_mark m = gal_arena_here(&a);
    void *y = gal_arena_take(&a, 5000);
    (void)gal_arena_take(&a, 5000);
    gal_arena_rewind(&a, m);
    assert_ptr_equal(gal_arena_take(&a, 5000), y);
    gal_arena_rewind(&a, empty);
    assert_ptr_equal(gal_arena_take(&a, 100), x);
    assert_null(gal_arena_take(&a, SIZE_MAX - 10));
    assert_ptr_equal(gal_arena_take(&a, 5000), y);
    gal_arena_free(&a);
}

static void arena_poisons_what_is_not_live(void **state) {
    (void)state;
#if GAL_ASAN
    gal_arena a;
    gal_arena_init(&a, 4096);
    char *p = gal_arena_take(&a, 10);
    gal_arena_mark m = gal_arena_here(&a);
    char *q = gal_arena_take(&a, 64);
    assert_false(__asan_address_is_poisoned(p + 9));
    assert_true(__asan_address_is_poisoned(p + 10));
    assert_true(__asan_address_is_poisoned(q - 1)); /* between two of them at least 64 bytes */
    assert_true(__asan_address_is_poisoned(q - 64));
    assert_true(__asan_address_is_poisoned(q + 64));
    gal_arena_rewind(&a, m);
    assert_true(__asan_address_is_poisoned(q));
    assert_false(__asan_address_is_poisoned(p));
    gal_arena_reset(&a);
    assert_true(__asan_address_is_poisoned(p));
    gal_arena_free(&a);
    char *h = gal_alloc(13);
    assert_false(__asan_address_is_poisoned(h + 12));
    assert_true(__asan_address_is_poisoned(h + 13));
    assert_true(__asan_address_is_poisoned(h - 1));
    gal_free(h);
#else
    print_message("skipped: red zones exist under AddressSanitizer only\n");
    skip();
#endif
}

static void buf_grows_and_formats(void **state) {
    (void)state;
    gal_buf b = { 0 };
    for (int i = 0; i < 1000; i++) gal_buf_printf(&b, "%d,", i);
    assert_int_equal(b.len, 3890);
    assert_int_equal(strlen(b.data), b.len);
    gal_buf_drop(&b, 3886);
    assert_string_equal(b.data, "999,");
    const size_t cap = b.cap;
    gal_buf_room(&b, 100000);
    assert_true(b.cap > cap && b.cap > b.len + 100000 && strlen(b.data) == b.len);
    gal_buf_clear(&b);
    assert_string_equal(b.data, "");
    gal_buf_add(&b, "a\0b", 3);
    gal_buf_putc(&b, '!');
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "a\0b!", 5);
    gal_buf_free(&b);
    assert_null(b.data);
}

static void buf_writes_json(void **state) {
    (void)state;
    gal_buf b = { 0 };
    static const char RAW[] = "q\"\\\n\x01\0\x7f\xC3\xA9\xED\xA0\x80\xF0\x9F\x98\x80\xC3";
    gal_buf_json(&b, RAW, sizeof RAW - 1);
    assert_string_equal(b.data, "\"q\\\"\\\\\\n\\u0001\\u0000\\u007f\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                                "\xF0\x9F\x98\x80\xEF\xBF\xBD\"");
    /* Next line, line separator, byte order mark and a non-character: YAML would read them as something else. */
    static const char BREAKS[] = "\xC2\x85\xE2\x80\xA8\xEF\xBB\xBF\xEF\xBF\xBE\xC2\xA0";
    gal_buf_clear(&b);
    gal_buf_json(&b, BREAKS, sizeof BREAKS - 1);
    assert_string_equal(b.data, "\"\\u0085\\u2028\\ufeff\\ufffe\xC2\xA0\"");
    gal_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc_is_zeroed_and_aligned),
        cmocka_unit_test(realloc_keeps_contents),
        cmocka_unit_test(hook_sees_sizes_and_can_fail),
        cmocka_unit_test(memory_numbers_are_plausible),
        cmocka_unit_test(arena_repeats_addresses),
        cmocka_unit_test(arena_reserves),
        cmocka_unit_test(arena_live_parts_do_not_overlap),
        cmocka_unit_test(arena_rewinds),
        cmocka_unit_test(arena_poisons_what_is_not_live),
        cmocka_unit_test(buf_grows_and_formats),
        cmocka_unit_test(buf_writes_json),
    };
    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
