/* jemalloc's decay in whole heaps, on a clock that we move: what stays at each epoch, ticks, and purging in the
 * background. The figures of the background were measured on libjemalloc 5.3.0 under such a clock. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/jemalloc/jemalloc.h"
#include "tests/heaps.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

extern const al_allocator al_jemalloc;

enum { PAGES = 40000 };
#define MS UINT64_C(1000000)

static al_heap *heap;
static al_thread *thread;
static void *blocks[PAGES]; /* each a page of its own */
static unsigned rings;

static void ring(void) { rings++; }

static void make(const char *options) {
    heap = make_heap(&al_jemalloc, options, (al_regions_config){.cpus = 2, .log = true});
    heap->wake = ring;
    rings = 0;
    thread = al_thread_create(heap);
}

static je_arena *arena(void) { return al_je_of(heap)->arenas[0]; }

/* Pairs of pages: the first of each may be freed, the second keeps them apart. */
static void make_pages(size_t count) {
    for (size_t i = 0; i < count; i++) {
        blocks[i] = al_heap_malloc(thread, 4096);
        assert(blocks[i] != NULL && al_heap_malloc(thread, 4096) != NULL);
    }
}

static void free_pages(size_t from, size_t to) {
    for (size_t i = from; i < to; i++) al_heap_free(thread, blocks[i]);
}

static void act(const char *name) {
    uint64_t value = 0;
    assert(al_heap_control(heap, NULL, name, &value, true) == 0);
}

/* Moves the clock without anything's being done in the background. */
static void pass(uint64_t nanoseconds) { al_regions_advance(heap->regions, nanoseconds); }

static void end(void) {
    al_flaw flaw;
    assert(al_heap_validate(heap, &flaw));
    al_heap_destroy(heap);
}

/* --- operations purge --- */

static size_t counted; /* events seen */

/* The last extent given back since the last time, in pages; 0: none. */
static size_t last_purged(void) {
    size_t count, pages = 0;
    uint64_t dropped;
    const al_event *events = al_regions_events(heap->regions, &count, &dropped);
    for (; counted < count; counted++)
        if (events[counted].call == AL_CALL_MADVISE) pages = events[counted].bytes / JE_PAGE;
    return pages;
}

/* Never are more pages left than may stay, and never is an extent purged that might have stayed. */
static void test_as_much_as_needed(const char *options, uint64_t seed) {
    enum { LIVE = 400 };
    static void *live[LIVE];
    al_rng rng = {seed};
    unsigned purges = 0;
    make(options);
    counted = 0;
    for (int i = 0; i < LIVE; i++) live[i] = NULL;
    for (int step = 0; step < 4000; step++) {
        for (int i = 0; i < 20; i++) {
            void **block = &live[al_rng_next(&rng) % LIVE];
            if (*block != NULL) al_heap_free(thread, *block);
            *block = al_rng_next(&rng) % 3 == 0 ? NULL : al_heap_malloc(thread, al_rng_next(&rng) % 60000);
        }
        const je_decay *decay = &arena()->dirty_decay;
        const uint64_t epoch = decay->epoch;
        pass(al_rng_next(&rng) % (100 * MS));
        last_purged();
        act("arena.0.decay");
        const size_t last = last_purged(), left = arena()->dirty.pages;
        if (decay->epoch == epoch) {
            assert(last == 0);
            continue;
        }
        assert(left <= al_je_decay_limit(decay));
        assert(last == 0 || left + last > al_je_decay_limit(decay));
        purges += last != 0;
    }
    assert(purges > 100);
    for (int i = 0; i < LIVE; i++) al_heap_free(thread, live[i]);
    end();
}

/* --- ticks --- */

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* 1000 at first; then one of 64 values, as measured there, all as likely. */
static void test_ticks(void) {
    enum { VALUES = 64, DRAWS = 64000 };
    static const int64_t should[VALUES] = {
        0, 16, 32, 49, 65, 81, 98, 114, 131, 147, 163, 196, 213, 229, 245, 262, 295, 311, 327, 344, 377, 393, 426,
        442, 475, 491, 524, 540, 573, 606, 639, 655, 688, 721, 754, 786, 819, 868, 901, 934, 983, 1016, 1065, 1114,
        1163, 1213, 1262, 1327, 1393, 1459, 1524, 1590, 1672, 1754, 1852, 1967, 2081, 2213, 2360, 2557, 2770, 3065,
        3459, 4163};
    unsigned seen[VALUES] = {0};
    make("tcache=false");
    je_thread *self = (je_thread *)thread;
    al_heap_free(thread, al_heap_malloc(thread, 100));
    assert(self->ticks == 998);
    self->ticks = 3;
    al_je_tick(self, arena(), 3);
    assert(self->ticks == 0);
    for (int i = 0; i < DRAWS; i++) {
        self->ticks = 5;
        al_je_tick(self, arena(), 6);
        const int64_t *found = bsearch(&self->ticks, should, VALUES, sizeof *should, by_value);
        assert(found != NULL);
        seen[found - should]++;
    }
    for (int j = 0; j < VALUES; j++) assert(seen[j] > 800 && seen[j] < 1200);
    end();
}

/* --- the background --- */

typedef struct wake {
    uint64_t after;      /* tenths of milliseconds */
    size_t dirty, muzzy; /* then left */
} wake;

/* So many pages are freed, the first before the sleeper first looks. Then he wakes when he said. */
static void test_wakes(const char *options, size_t pages, const wake *wakes, size_t count) {
    make(options);
    make_pages(pages);
    assert(al_heap_background(heap) > 1000000000 * MS);
    free_pages(0, 1);
    assert(rings == 1);
    uint64_t sleep = al_heap_background(heap);
    free_pages(1, pages);
    assert(rings == 1 && arena()->dirty.pages == pages);
    for (size_t i = 0; i < count; i++) {
        assert(sleep == wakes[i].after * (MS / 10));
        pass(sleep - 1);
        assert(al_heap_background(heap) == 1);
        pass(1);
        sleep = al_heap_background(heap);
        assert(arena()->dirty.pages == wakes[i].dirty && arena()->muzzy.pages == wakes[i].muzzy);
    }
    assert(sleep > 1000000000 * MS);
    end();
}

#define WAKES(options, pages, ...) \
    test_wakes("tcache=false,background_thread=true," options, pages, (const wake[]){__VA_ARGS__}, \
               sizeof(const wake[]){__VA_ARGS__} / sizeof(wake))

static void test_sleeps(void) {
    WAKES("dirty_decay_ms=2000", 500, {20000, 500, 0}, {20000, 0, 0});
    WAKES("dirty_decay_ms=2000", 1024, {20000, 1024, 0}, {20000, 0, 0});
    WAKES("dirty_decay_ms=2000", 1025, {20000, 1025, 0}, {15050, 106, 0}, {20000, 0, 0});
    WAKES("dirty_decay_ms=2000", 20000, {20000, 20000, 0}, {4100, 18763, 0}, {1100, 17713, 0}, {1100, 16330, 0},
          {1000, 14821, 0}, {1000, 13126, 0}, {1000, 11308, 0}, {1000, 9437, 0}, {1000, 7589, 0}, {1000, 5837, 0},
          {1000, 4247, 0}, {1000, 2876, 0}, {1100, 1671, 0}, {1000, 874, 0}, {20000, 0, 0});
    WAKES("dirty_decay_ms=1000,muzzy_decay_ms=3000", 6000, {10000, 6000, 0}, {2850, 5137, 863}, {1000, 4248, 1751},
          {1000, 3168, 2827}, {1000, 2062, 3923}, {1000, 1100, 4857}, {5050, 0, 5499}, {4800, 0, 4404},
          {3000, 0, 3443}, {3000, 0, 2416}, {3000, 0, 1475}, {5775, 0, 338}, {30000, 0, 0});
}

/* Asleep for 200 epochs. An operation that lets a new one begin wakes him, if enough pages came with it. */
static bool is_woken(size_t pages, uint64_t epochs, uint64_t ms) {
    char options[100];
    snprintf(options, sizeof options, "tcache=false,background_thread=true,dirty_decay_ms=%d", (int)ms);
    make(options);
    make_pages(pages + 1);
    free_pages(0, 1);
    assert(al_heap_background(heap) == ms * MS);
    free_pages(1, pages + 1);
    pass(epochs * ms * MS / JE_EPOCHS);
    rings = 0;
    ((je_thread *)thread)->ticks = 0;
    al_heap_free(thread, al_heap_malloc(thread, 100)); /* the first looks at the clock; both use a page there is */
    assert(arena()->dirty_decay.backlog[JE_EPOCHS - 1] == pages + 1);
    const bool woken = rings > 0;
    const uint64_t sleep = al_heap_background(heap);
    assert(woken || sleep == (JE_EPOCHS - epochs) * ms * MS / JE_EPOCHS);
    end();
    return woken;
}

static void test_woken(void) {
    static const struct {
        uint64_t epochs;
        size_t pages;
    } least[] = {{2, 1025}, {10, 1026}, {20, 1033}, {50, 1143}, {100, 2049}, {140, 6285}};
    for (size_t i = 0; i < sizeof least / sizeof *least; i++) {
        assert(is_woken(least[i].pages, least[i].epochs, 10000));
        assert(!is_woken(least[i].pages - 1, least[i].epochs, 10000));
    }
    assert(is_woken(2049, 100, 200) && !is_woken(2049, 100, 199)); /* not for less than a tenth of a second */
}

/* Operations let epochs begin and purge nothing, but what is purged at once in any case. */
static void test_operations_leave_it(void) {
    make("tcache=false,background_thread=true,dirty_decay_ms=1000");
    make_pages(300);
    free_pages(0, 200);
    pass(20 * MS);
    act("arena.0.decay");
    pass(5000 * MS);
    act("arena.0.decay");
    assert(arena()->dirty.pages == 200 && al_je_decay_limit(&arena()->dirty_decay) == 0);
    act("arena.0.purge");
    assert(arena()->dirty.pages == 0);
    free_pages(200, 300);
    al_heap_advance(heap, 60000 * MS); /* with all that is done in it */
    assert(arena()->dirty.pages == 0 && arena()->dirty_purges.purges == 2);
    end();
}

/* Nor does the exit of an arena's last thread. */
static void test_exits(void) {
    for (int background = 0; background < 2; background++) {
        make(background ? "background_thread=true" : "");
        al_thread *other = al_thread_create(heap);
        al_heap_free(thread, al_heap_malloc(thread, 100));
        al_heap_free(other, al_heap_malloc(other, 100000));
        al_thread_exit(other);
        const je_arena *its = al_je_of(heap)->arenas[1];
        assert(its->threads == 0 && its->dirty.pages == (background ? 29 : 0));
        end();
    }
}

/* Four sleepers share the arenas: the fifth is the first one's. */
static void test_each_has_his_arenas(void) {
    al_thread *others[5];
    make("tcache=false,background_thread=true,narenas=5,dirty_decay_ms=1000");
    for (int i = 0; i < 5; i++) {
        others[i] = al_thread_create(heap);
        blocks[i] = al_heap_malloc(others[i], 4096);
    }
    al_heap_background(heap);
    const je_sleeper *sleepers = al_je_of(heap)->sleepers;
    for (int i = 0; i < 5; i++) {
        const unsigned number = ((je_thread *)others[i])->arena->number;
        assert(number == (unsigned)i);
        al_heap_free(others[i], blocks[i]);
        pass(10 * MS);
        al_heap_background(heap);
        assert(sleepers[number % 4].wakes == (number < 4 ? 10 * MS * (number + 1) + 1000 * MS : 1010 * MS));
    }
    end();
}

/* --- everything together, at random --- */

static void test_random(const char *options, uint64_t seed) {
    enum { LIVE = 600, CONTEXTS = 3 };
    static void *live[LIVE];
    al_thread *threads[CONTEXTS];
    al_rng rng = {seed};
    al_flaw flaw;
    make(options);
    for (int i = 0; i < CONTEXTS; i++) threads[i] = al_thread_create(heap);
    for (int i = 0; i < LIVE; i++) live[i] = NULL;
    for (int step = 0; step < 30000; step++) {
        void **block = &live[al_rng_next(&rng) % LIVE];
        al_thread *by = threads[al_rng_next(&rng) % CONTEXTS];
        const size_t most = al_rng_next(&rng) % 3 == 0 ? 400000 : 3000, bytes = al_rng_next(&rng) % most;
        if (al_rng_next(&rng) % 4 == 0) {
            al_heap_free(by, *block);
            *block = NULL;
        } else {
            *block = al_heap_realloc(by, *block, bytes + 1);
        }
        if (al_rng_next(&rng) % 16 == 0) al_heap_advance(heap, al_rng_next(&rng) % (200 * MS));
        if (al_rng_next(&rng) % 2000 == 0) {
            al_thread **leaves = &threads[al_rng_next(&rng) % CONTEXTS];
            al_thread_exit(*leaves);
            *leaves = al_thread_create(heap);
        }
        if (step % 1000 == 0) assert(al_heap_validate(heap, &flaw));
    }
    end();
}

/* The longest time, from when the clock no longer stands at its beginning. */
static void test_longest_sleep(void) {
    make("tcache=false,background_thread=true,dirty_decay_ms=18446744072000");
    pass(10000 * MS);
    make_pages(10);
    free_pages(0, 10);
    al_heap_background(heap);
    const uint64_t wakes = al_je_of(heap)->sleepers[0].wakes, now = al_regions_now(heap->regions);
    assert(wakes > now && al_heap_background(heap) == wakes - now);
    end();
}

int main(void) {
    for (uint64_t seed = 1; seed < 4; seed++) test_as_much_as_needed("", seed);
    test_as_much_as_needed("tcache=false", 4);
    test_as_much_as_needed("tcache=false,muzzy_decay_ms=-1", 5);
    test_ticks();
    test_sleeps();
    test_woken();
    test_operations_leave_it();
    test_exits();
    test_each_has_his_arenas();
    test_longest_sleep();
    static const char *const options[] = {
        "dirty_decay_ms=300", "dirty_decay_ms=200,muzzy_decay_ms=900", "dirty_decay_ms=0", "dirty_decay_ms=-1",
        "dirty_decay_ms=0,muzzy_decay_ms=300", "retain=false,dirty_decay_ms=300",
        "background_thread=true,dirty_decay_ms=300,muzzy_decay_ms=500", "background_thread=true,tcache=false"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) test_random(options[i], i);
    return 0;
}
