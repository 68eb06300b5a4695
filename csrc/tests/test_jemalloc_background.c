/* jemalloc purged in the background by a thread, on the real clock, while others are at work. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/jemalloc/jemalloc.h"
#include "tests/heaps.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

extern const al_allocator al_jemalloc;

enum { WORKERS = 3, ROUNDS = 4000, LIVE = 200 };

static al_heap *heap;
static atomic_bool over;
static atomic_uint rings;

static void ring(void) { rings++; }

static void nap(long nanoseconds) {
    const struct timespec t = {0, nanoseconds};
    nanosleep(&t, NULL);
}

/* Sleeps as long as it is told, but no longer than a millisecond, and until somebody rings. */
static void *purge(void *unused) {
    (void)unused;
    while (!over) {
        const unsigned heard = rings;
        const uint64_t wait = al_heap_background(heap);
        assert(wait > 0 && wait < UINT64_MAX);
        if (heard == rings) nap(wait < 1000000 ? (long)wait : 1000000);
    }
    return NULL;
}

static void *work(void *seed) {
    void *live[LIVE] = {NULL};
    al_rng rng = {(uintptr_t)seed};
    al_thread *thread = al_thread_create(heap);
    for (int i = 0; i < ROUNDS; i++) {
        void **block = &live[al_rng_next(&rng) % LIVE];
        al_heap_free(thread, *block);
        *block = al_heap_malloc(thread, 1 + al_rng_next(&rng) % (al_rng_next(&rng) % 4 == 0 ? 300000 : 5000));
        assert(*block != NULL);
        if (i % 100 == 0) nap(100000);
    }
    for (int i = 0; i < LIVE; i++) al_heap_free(thread, live[i]);
    al_thread_exit(thread);
    return NULL;
}

/* Pages that are dirty or muzzy. */
static size_t kept(void) {
    size_t pages = 0;
    for (unsigned i = 0; i < 2; i++) {
        je_arena *arena = al_je_arena(al_je_of(heap), i);
        if (arena == NULL) continue;
        al_lock_take(&arena->lock);
        pages += arena->dirty.pages + arena->muzzy.pages;
        al_lock_drop(&arena->lock);
    }
    return pages;
}

int main(void) {
    const char *options = "background_thread=true,narenas=2,dirty_decay_ms=20,muzzy_decay_ms=20";
    heap = make_heap(&al_jemalloc, options, (al_regions_config){.cpus = 1, .real_clock = true});
    heap->wake = ring;
    pthread_t purger, workers[WORKERS];
    assert(pthread_create(&purger, NULL, purge, NULL) == 0);
    for (uintptr_t i = 0; i < WORKERS; i++) assert(pthread_create(&workers[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
    while (kept() != 0) nap(1000000); /* in the end nothing is, though nobody does anything */
    over = true;
    pthread_join(purger, NULL);
    al_flaw flaw;
    assert(al_heap_validate(heap, &flaw));
    al_heap_destroy(heap);
    return 0;
}
