/* test_util.c - random numbers, hashes, UTF-8 and numbers in text. SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/rng.h"
#include "base/util.h"
#include "support/test.h"

#include <locale.h>
#include <math.h>
#include <string.h>

/* The known answers of Random123 (kat_vectors, philox 4x32 10): counter, key, result. */
static void philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t c[4], k[2], want[4];
    } KAT[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < GAL_LEN(KAT); i++) {
        uint32_t got[4];
        gal_philox(got, (uint64_t)KAT[i].k[1] << 32 | KAT[i].k[0], (uint64_t)KAT[i].c[3] << 32 | KAT[i].c[2],
                   (uint64_t)KAT[i].c[1] << 32 | KAT[i].c[0]);
        assert_memory_equal(got, KAT[i].want, sizeof got);
    }
}

static void random_numbers_have_their_moments(void **state) {
    (void)state;
    enum { N = 100000 };
    double su = 0, sn = 0, snn = 0, s4 = 0;
    int64_t below[6] = { 0 };
    for (uint64_t i = 0; i < N; i++) {
        double u = gal_rng_uniform(1, 2, i), z = gal_rng_normal(1, 3, i);
        assert_true(u >= 0 && u < 1);
        su += u;
        sn += z;
        snn += z * z;
        s4 += z * z * z * z;
        uint64_t b = gal_rng_below(1, 4, i, 6);
        assert_true(b < 6);
        below[b]++;
    }
    /* Five standard errors of each estimate. */
    double root = sqrt(N);
    assert_true(fabs(su / N - 0.5) < 5 * sqrt(1.0 / 12) / root);
    assert_true(fabs(sn / N) < 5 / root);
    assert_true(fabs(snn / N - 1) < 5 * sqrt(2) / root);
    assert_true(fabs(s4 / N - 3) < 5 * sqrt(96) / root);
    for (int i = 0; i < 6; i++) assert_true(fabs((double)below[i] / N - 1.0 / 6) < 5 * sqrt(5.0 / 36) / root);
    assert_int_equal(gal_rng_below(5, 6, 7, 1), 0);
    uint32_t r[4];
    gal_philox(r, 5, 6, 7);
    /* n = 2^63: the upper 64 bits of random * n are random / 2. */
    assert_true(gal_rng_below(5, 6, 7, 1ull << 63) == ((uint64_t)r[1] << 32 | r[0]) >> 1);
}

static void check_sha(const char *bytes, size_t n, const char *want) {
    uint8_t out[32];
    char hex[65];
    gal_sha256_of(bytes, n, out);
    gal_hex(hex, out, 32);
    assert_string_equal(hex, want);
}

/* FIPS 180-4 examples, and the empty message. */
static void sha256_known_answers(void **state) {
    (void)state;
    check_sha("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    gal_sha256 h;
    uint8_t out[32];
    char hex[65], as[1000];
    memset(as, 'a', sizeof as);
    gal_sha256_init(&h);
    for (int i = 0; i < 1000; i++) gal_sha256_add(&h, as, sizeof as);
    gal_sha256_end(&h, out);
    gal_hex(hex, out, 32);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_does_not_depend_on_the_pieces(void **state) {
    (void)state;
    char text[200];
    for (int i = 0; i < 200; i++) text[i] = (char)i;
    for (size_t n = 0; n <= 200; n++) {
        uint8_t whole[32], parts[32];
        gal_sha256_of(text, n, whole);
        for (size_t piece = 1; piece < 70; piece += 9) {
            gal_sha256 h;
            gal_sha256_init(&h);
            for (size_t i = 0; i < n; i += piece) gal_sha256_add(&h, text + i, GAL_MIN(piece, n - i));
            gal_sha256_end(&h, parts);
            assert_memory_equal(whole, parts, 32);
        }
    }
}

static void hash64_tells_apart(void **state) {
    (void)state;
    char z[32] = { 0 };
    for (size_t n = 0; n < 32; n++) assert_true(gal_hash64(z, n, 0) != gal_hash64(z, n + 1, 0));
    assert_true(gal_hash64("a", 1, 0) != gal_hash64("a", 1, 1));
    assert_true(gal_hash64("abcdefgh", 8, 0) != gal_hash64("abcdefgi", 8, 0));
}

static void utf8_round_trips(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        char s[4];
        int n = gal_utf8_put(s, cp);
        if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) {
            assert_int_equal(n, 0);
            continue;
        }
        uint32_t back = 0;
        if (gal_utf8_next(s, (size_t)n, &back) != n || back != cp) fail_msg("U+%04X", (unsigned)cp);
        for (size_t cut = 1; cut < (size_t)n; cut++) {
            assert_int_equal(gal_utf8_next(s, cut, &back), 0);
            assert_int_equal(gal_utf8_complete(s, cut), 0);
        }
        assert_int_equal(gal_utf8_complete(s, (size_t)n), n);
    }
}

static void utf8_finds_the_bad_byte(void **state) {
    (void)state;
    static const char TEXT[] = "0123456\xc3\xa9 0123456789abcdef\xe2\x82\xac";
    char copy[sizeof TEXT];
    const size_t n = sizeof TEXT - 1;
    assert_int_equal(gal_utf8_bad(TEXT, n), n);
    assert_int_equal(gal_utf8_bad(TEXT, n - 1), n - 3); /* the last character is cut */
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, TEXT, sizeof TEXT);
        copy[i] = (char)0xff;
        const size_t begin = i == 8 ? 7 : i > n - 3 ? n - 3 : i; /* of the character that has lost a byte */
        assert_int_equal(gal_utf8_bad(copy, n), begin);
        assert_false(gal_utf8_valid(copy, n));
    }
}

static void utf8_refuses_what_is_invalid(void **state) {
    (void)state;
    static const char *const BAD[] = { "\x80",
                                       "\xC0\x80",
                                       "\xC1\xBF",
                                       "\xE0\x9F\xBF",
                                       "\xED\xA0\x80",
                                       "\xF0\x8F\xBF\xBF",
                                       "\xF4\x90\x80\x80",
                                       "\xF5\x80\x80\x80",
                                       "\xFF",
                                       "\xC3(",
                                       "\xE2\x82(" };
    uint32_t cp;
    for (size_t i = 0; i < GAL_LEN(BAD); i++) {
        size_t n = strlen(BAD[i]);
        assert_int_equal(gal_utf8_next(BAD[i], n, &cp), 0);
        assert_int_equal(gal_utf8_complete(BAD[i], n), n); /* can never become a character: show it */
    }
    assert_int_equal(gal_utf8_next("", 0, &cp), 0);
    assert_int_equal(gal_utf8_complete("", 0), 0);
    assert_int_equal(gal_utf8_complete("ab\xE2\x82", 4), 2);
    assert_int_equal(gal_utf8_complete("ab\xE0\x80", 4), 4); /* overlong */
    assert_int_equal(gal_utf8_complete("\xF0\x9F\x98", 3), 0);
}

static void numbers_in_text(void **state) {
    (void)state;
    int64_t i = 5;
    double d = 5;
    assert_true(gal_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(gal_parse_i64("+12", &i) && i == 12);
    static const char *const BAD_INT[] = { "", " 1", "1 ", "9223372036854775808", "0x10", "1.0", "-", "+-1", "ten" };
    for (size_t k = 0; k < GAL_LEN(BAD_INT); k++) assert_false(gal_parse_i64(BAD_INT[k], &i));
    assert_int_equal(i, 12);
    assert_true(gal_parse_f64("-2.5e-3", &d) && d == -0.0025);
    assert_true(gal_parse_f64("1e-320", &d) && d > 0);
    d = 5;
    static const char *const BAD[] = {
        "", " 1", "1 ", "inf", "nan", "0x1p3", "1e999", "1,5", ".", "e5", "1e", "--1"
    };
    for (size_t k = 0; k < GAL_LEN(BAD); k++) assert_false(gal_parse_f64(BAD[k], &d));
    assert_true(d == 5);
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8")) assert_true(gal_parse_f64("1.5", &d) && d == 1.5);
    (void)setlocale(LC_NUMERIC, "C");
}

static void numbers_for_people(void **state) {
    (void)state;
    char t[GAL_SHORT_TEXT];
    static const struct {
        double x;
        const char *text;
    } COUNTS[] = { { 0, "0" },         { 7, "7" },          { 2.5, "2.5" },        { 999, "999" },
                   { 999.4, "999" },   { 999.5, "1K" },     { 12345678, "12.3M" }, { 9994, "9.99K" },
                   { 9996, "10K" },    { 99960, "100K" },   { 7.1e9, "7.1B" },     { 1.4e12, "1.4T" },
                   { 1e18, "1e+06T" }, { -12345, "-12.3K" } },
      POWERS[] = { { 2.904e15, "2.90e15" }, { 0, "0.00e0" }, { 5.684e23, "5.68e23" }, { 1.5e-7, "1.50e-7" } },
      TIMES[] = { { 0.25, "0.25 s" },          { 9.94, "9.9 s" },      { 12.4, "12 s" },
                  { 99.6, "1.7 min" },         { 3569, "59 min" },     { 3571, "1 h 00 min" },
                  { 4830, "1 h 21 min" },      { 36000, "10 h" },      { 86400, "24 h" },
                  { 302400, "3.5 days" },      { 8.64e6, "100 days" }, { 1.3e9, "41.2 years" },
                  { 3.2e20, "1.01e+13 years" } };
    for (size_t i = 0; i < GAL_LEN(COUNTS); i++)
        assert_string_equal(gal_short_text(t, COUNTS[i].x, "KMBT", ""), COUNTS[i].text);
    assert_string_equal(gal_short_text(t, 4.1e11, "kMGTPE", " "), "410 G");
    for (size_t i = 0; i < GAL_LEN(POWERS); i++) assert_string_equal(gal_power_text(t, POWERS[i].x), POWERS[i].text);
    for (size_t i = 0; i < GAL_LEN(TIMES); i++) assert_string_equal(gal_time_text(t, TIMES[i].x), TIMES[i].text);
    /* The largest number there is fits, too. */
    assert_true(strlen(gal_short_text(t, 1.7e308, "KMBT", "")) < GAL_SHORT_TEXT);
}

static void clocks_run(void **state) {
    (void)state;
    double a = gal_now_s();
    assert_true(gal_now_s() >= a);
    assert_true(gal_unix_time_s() > 1600000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(random_numbers_have_their_moments),
        cmocka_unit_test(sha256_known_answers),
        cmocka_unit_test(sha256_does_not_depend_on_the_pieces),
        cmocka_unit_test(hash64_tells_apart),
        cmocka_unit_test(utf8_round_trips),
        cmocka_unit_test(utf8_finds_the_bad_byte),
        cmocka_unit_test(utf8_refuses_what_is_invalid),
        cmocka_unit_test(numbers_in_text),
        cmocka_unit_test(numbers_for_people),
        cmocka_unit_test(clocks_run),
    };
    return cmocka_run_group_tests_name("base/util", tests, NULL, NULL);
}
