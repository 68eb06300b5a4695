/* Threads on one heap, passing blocks to each other; contexts come and go. For the thread sanitizer, and for any
 * build. */
#undef NDEBUG
#include "allocators/heap.h"
#include "base/rng.h"
#include "tests/heaps.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 4, STEPS = 4000, MAILBOXES = 16, BEGINNINGS = 40 };

static al_heap *heap;
static _Atomic(void *) mailboxes[MAILBOXES];

/* Takes what lies in a mailbox, resizes or frees it, leaves a block of its own. Each block begins with its size. */
static void *work(void *seed) {
    al_rng rng = {(uint64_t)(uintptr_t)seed};
    al_thread *thread = al_thread_create(heap);
    for (int i = 0; i < STEPS; i++) {
        uint64_t draw = al_rng_next(&rng);
        size_t bytes = sizeof(size_t) + (draw >> 32) % (draw % 64 == 0 ? 300000 : 1000);
        size_t *own = al_heap_malloc(thread, bytes);
        assert(own != NULL);
        memset(own, 1, bytes);
        *own = bytes;
        size_t *theirs = atomic_exchange(&mailboxes[draw % MAILBOXES], own);
        if (theirs == NULL) continue;
        assert(*theirs >= sizeof(size_t) && al_heap_usable_size(heap, theirs) >= *theirs);
        if (draw & 16) {
            size_t kept = *theirs;
            theirs = al_heap_realloc(thread, theirs, bytes);
            assert(theirs != NULL && *theirs == kept);
        }
        al_heap_free(thread, theirs);
        if (i % 500 == 0) {
            al_thread_exit(thread);
            thread = al_thread_create(heap);
        }
    }
    al_thread_exit(thread);
    return NULL;
}

static void run(const al_allocator *allocator) {
    heap = make_heap(allocator, "", (al_regions_config){.space = AL_SPACE_WINDOW});
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++) assert(pthread_join(threads[i], NULL) == 0);
    al_thread *thread = al_thread_create(heap);
    for (int i = 0; i < MAILBOXES; i++) al_heap_free(thread, atomic_exchange(&mailboxes[i], NULL));
    al_thread_exit(thread);
    al_flaw flaw;
    assert(al_heap_validate(heap, &flaw));
    assert(al_heap_ledger(heap).usable == 0);
    assert(strncmp(allocator->name, "tcmalloc", 8) == 0 || al_heap_ledger(heap).cached == 0); /* some share caches */
    al_heap_destroy(heap);
}

/* --- a heap's first request, while one looks at the heap and one moves its clock --- */

static atomic_int onlookers;
static atomic_bool over;

static void *look(void *unused) {
    (void)unused;
    onlookers++;
    while (!over) al_heap_ledger(heap);
    return NULL;
}

static void *pass_time(void *unused) {
    (void)unused;
    onlookers++;
    while (!over) al_heap_advance(heap, 1000);
    return NULL;
}

static void begin(const al_allocator *allocator) {
    heap = make_heap(allocator, "", (al_regions_config){.space = AL_SPACE_WINDOW});
    onlookers = 0;
    over = false;
    pthread_t looks, passes;
    assert(pthread_create(&looks, NULL, look, NULL) == 0 && pthread_create(&passes, NULL, pass_time, NULL) == 0);
    while (onlookers < 2) sched_yield();
    al_thread *thread = al_thread_create(heap);
    al_heap_free(thread, al_heap_malloc(thread, 100));
    al_thread_exit(thread);
    over = true;
    assert(pthread_join(looks, NULL) == 0 && pthread_join(passes, NULL) == 0);
    al_heap_destroy(heap);
}

int main(void) {
    for (const al_allocator *const *allocator = al_allocators; *allocator != NULL; allocator++) {
        run(*allocator);
        for (int i = 0; i < BEGINNINGS; i++) begin(*allocator);
    }
    return 0;
}
