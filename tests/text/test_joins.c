/* test_joins.c - the queue of joins gives the smallest key first, whatever the order of pushes and pops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/rng.h"
#include "support/test.h"
#include "text/joins.h"

enum { RANKS = 7, MOST = 400, TURNS = 20000 };

static uint64_t draw(uint64_t turn, uint64_t n) { return gal_rng_below(11, 0, turn, n); }

/* Beside a plain list that is searched through. Keys grow within a rank mostly, as in encoding, and not always. */
static void smallest_first(void **state) {
    (void)state;
    static uint64_t list[MOST];
    size_t n = 0;
    gal__joins *q = NULL;
    gal__join j;
    assert_int_equal(gal__joins_new(&q, RANKS, NULL), GAL_OK);
    assert_false(gal__joins_pop(q, &j));
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        bool push = n == 0 || (n < MOST && draw(4 * turn, 2 * MOST) > n);
        if (push) {
            uint64_t left = draw(4 * turn + 1, 4) ? turn : draw(4 * turn + 2, turn + 1);
            uint64_t key = draw(4 * turn + 3, RANKS) << 32 | left;
            assert_int_equal(gal__joins_push(q, (gal__join){ key, 1, (int32_t)(key % 1000) }, NULL), GAL_OK);
            list[n++] = key;
            continue;
        }
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (list[i] < list[best]) best = i;
        assert_true(gal__joins_pop(q, &j));
        assert_true(j.key == list[best]);
        assert_int_equal(j.id, (int32_t)(j.key % 1000));
        list[best] = list[--n];
    }
    gal__joins_clear(q);
    assert_false(gal__joins_pop(q, &j));
    gal__joins_free(q);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(smallest_first) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
