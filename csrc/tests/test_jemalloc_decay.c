/* jemalloc's decay by itself: the limit against an exact sum, the epochs against a slow model. */
#undef NDEBUG
#include "allocators/jemalloc/decay.h"
#include "base/rng.h"

#include <assert.h>
#include <string.h>

enum { MS = 1000000 };

/* floor((6x^5 - 15x^4 + 10x^3) * 2^24), x = k / 200: each term over 200^5, in 128 bits. */
static uint64_t weight(unsigned k) {
    typedef unsigned __int128 wide;
    const wide n = 200, k3 = (wide)k * k * k;
    return (uint64_t)((6 * k3 * k * k + 10 * k3 * n * n - 15 * k3 * k * n) * (1 << 24) / (n * n * n * n * n));
}

static void test_limit(void) {
    al_rng rng = {1};
    je_decay decay;
    al_je_decay_init(&decay, 10000, 0, 1);
    assert(al_je_decay_limit(&decay) == 0);
    for (unsigned i = 0; i < JE_EPOCHS; i++) {
        const size_t large = (size_t)1 << 38;
        memset(decay.backlog, 0, sizeof decay.backlog);
        decay.backlog[i] = large;
        assert(al_je_decay_limit(&decay) == large / (1 << 24) * weight(i + 1));
        assert(i == 0 || weight(i + 1) >= weight(i));
    }
    assert(weight(200) == 1 << 24 && weight(100) == 1 << 23 && weight(1) == 20);
    for (int round = 0; round < 300; round++) {
        unsigned __int128 sum = 0;
        size_t all = 0;
        for (unsigned i = 0; i < JE_EPOCHS; i++) {
            decay.backlog[i] = al_rng_next(&rng) % 8 == 0 ? al_rng_next(&rng) % (1 << 20) : 0;
            sum += (unsigned __int128)decay.backlog[i] * weight(i + 1);
            all += decay.backlog[i];
        }
        assert(al_je_decay_limit(&decay) == (size_t)(sum >> 24));
        assert(al_je_decay_limit(&decay) <= all);
    }
}

/* An epoch is `ms` * 5000 ns; the next is noticed one to two of them later, evenly spread. */
static void test_deadline(int64_t ms) {
    je_decay decay;
    const uint64_t now = UINT64_C(987654321987), interval = (uint64_t)ms * 5000;
    uint64_t quarters[4] = {0};
    for (uint64_t seed = 0; seed < 4000; seed++) {
        al_je_decay_init(&decay, ms, now, seed);
        assert(decay.interval == interval && decay.epoch == now && decay.unpurged == 0);
        const uint64_t waits = decay.deadline - now;
        assert(waits >= interval && waits < 2 * interval);
        assert(!al_je_decay_advance(&decay, decay.deadline - 1, 10));
        quarters[(waits - interval) * 4 / interval]++;
        assert(al_je_decay_advance(&decay, decay.deadline, 10));
        assert(decay.epoch == now + interval && decay.deadline >= now + 2 * interval);
        assert(decay.backlog[JE_EPOCHS - 1] == 10 && al_je_decay_limit(&decay) == 10 && decay.unpurged == 10);
    }
    for (int i = 0; i < 4; i++) assert(quarters[i] > 850 && quarters[i] < 1150);
}

/* Pages come and are purged; each epoch's are kept apart, and move one epoch at a time. */
static void test_epochs(uint64_t seed) {
    al_rng rng = {seed};
    je_decay decay;
    size_t model[JE_EPOCHS] = {0}, pages = 0, unpurged = 0;
    uint64_t now = 12345, epoch = now;
    al_je_decay_init(&decay, 200, now, seed); /* an epoch of 1 ms */
    for (int step = 0; step < 4000; step++) {
        pages += al_rng_next(&rng) % 4 == 0 ? al_rng_next(&rng) % 5000 : 0;
        now += al_rng_next(&rng) % 100 == 0 ? al_rng_next(&rng) % (300 * MS) : al_rng_next(&rng) % (3 * MS);
        const bool due = now >= decay.deadline;
        assert(al_je_decay_advance(&decay, now, pages) == due);
        if (!due) continue;
        for (; now - epoch >= MS; epoch += MS) {
            memmove(model, model + 1, sizeof model - sizeof *model);
            model[JE_EPOCHS - 1] = 0;
        }
        model[JE_EPOCHS - 1] = pages > unpurged ? pages - unpurged : 0;
        assert(decay.epoch == epoch && memcmp(model, decay.backlog, sizeof model) == 0);
        const size_t limit = al_je_decay_limit(&decay);
        unpurged = limit > pages ? limit : pages;
        assert(decay.unpurged == unpurged);
        if (pages > limit) pages = limit;
    }
}

/* What was dirty at once: less and less of it stays, half of it in the middle, in the end nothing. */
static void test_curve(void) {
    je_decay decay;
    uint64_t now = 5;
    const size_t start = 10280;
    size_t last = start;
    al_je_decay_init(&decay, 10000, now, 7);
    now += 100 * (uint64_t)MS;
    assert(al_je_decay_advance(&decay, now, start) && al_je_decay_limit(&decay) == start);
    for (int after = 1; after <= 120; after++) {
        now += 100 * (uint64_t)MS;
        assert(al_je_decay_advance(&decay, now, last));
        const size_t limit = al_je_decay_limit(&decay);
        assert(limit == (size_t)((after < 100 ? start * weight((unsigned)(200 - 2 * after)) : 0) >> 24));
        assert(limit <= last && (after != 50 || limit == start / 2) && (after < 100 || limit == 0));
        last = limit;
    }
}

/* Who purges in the background sleeps as theirs was measured to, after so many pages came at once. */
static void test_sleep(void) {
    static const struct {
        size_t pages;
        uint64_t ms;
    } sleeps[] = {{1024, 10000},  {1025, 7525},   {18450, 2050},  {26650, 1600},
                  {32800, 1450}, {592450, 625},  {3534200, 350}};
    je_decay decay;
    for (size_t i = 0; i < sizeof sleeps / sizeof *sleeps; i++) {
        al_je_decay_init(&decay, 10000, 0, i);
        assert(al_je_decay_sleep(&decay, 0) == UINT64_MAX);
        assert(al_je_decay_sleep(&decay, 5000) == 10000 * (uint64_t)MS); /* they are of no epoch yet */
        assert(al_je_decay_advance(&decay, 100 * MS, sleeps[i].pages));
        assert(al_je_decay_sleep(&decay, sleeps[i].pages) == sleeps[i].ms * MS);
        assert(al_je_decay_newest_due(&decay, 5000 * (uint64_t)MS) == sleeps[i].pages / 2);
        assert(al_je_decay_newest_due(&decay, 10000 * (uint64_t)MS) == sleeps[i].pages);
    }
    al_je_decay_init(&decay, 10000, 0, 1); /* both sums at the edge */
    assert(al_je_decay_advance(&decay, 100 * MS, 1023) && al_je_decay_sleep(&decay, 1523) == 10000 * (uint64_t)MS);
    al_je_decay_init(&decay, 10000, 0, 1);
    assert(al_je_decay_advance(&decay, 100 * MS, 1024) && al_je_decay_sleep(&decay, 1524) == 5050 * (uint64_t)MS);
    al_je_decay_init(&decay, INT64_C(18446744072000), 0, 1); /* the longest time */
    assert(al_je_decay_advance(&decay, 2 * decay.interval, 1025));
    assert(al_je_decay_sleep(&decay, 1025) == 301 * (decay.interval / 2));
}

/* Where time is never or no matter. */
static void test_edges(void) {
    je_decay decay;
    al_je_decay_init(&decay, -1, 77, 1);
    assert(decay.ms == -1 && al_je_decay_limit(&decay) == 0);
    al_je_decay_init(&decay, 0, 77, 1);
    assert(decay.ms == 0 && decay.epoch == 77);
    const int64_t most = INT64_C(18446744072000); /* what the real one takes */
    al_je_decay_init(&decay, most, UINT64_C(1) << 62, 1);
    assert(decay.deadline > decay.epoch && !al_je_decay_advance(&decay, decay.epoch + (UINT64_C(1) << 56), 1));
    al_je_decay_init(&decay, 200, 77, 1);
    assert(al_je_decay_advance(&decay, UINT64_MAX - 4 * MS, 5) && al_je_decay_limit(&decay) == 5);
}

int main(void) {
    test_limit();
    test_deadline(1);
    test_deadline(10000);
    for (uint64_t seed = 1; seed < 6; seed++) test_epochs(seed);
    test_curve();
    test_sleep();
    test_edges();
    return 0;
}
