/* tcmalloc-hpaa looked after in the background, second after second, while threads of three CPUs are at work. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/tcmalloc/hpaa/hpaa.h"
#include "tests/heaps.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

extern const al_allocator al_tcmalloc_hpaa;

enum { WORKERS = 4, ROUNDS = 60000, LIVE = 300 };
#define A_SECOND UINT64_C(1000000000)

static al_heap *heap;
static atomic_uint at_work = WORKERS;

static void *work(void *seed) {
    void *live[LIVE] = {NULL};
    al_rng rng = {(uintptr_t)seed};
    al_thread *thread = al_thread_create(heap);
    for (int i = 0; i < ROUNDS; i++) {
        void **block = &live[al_rng_next(&rng) % LIVE];
        al_heap_free(thread, *block);
        *block = al_heap_malloc(thread, 1 + al_rng_next(&rng) % (al_rng_next(&rng) % 8 == 0 ? 400000 : 9000));
        assert(*block != NULL);
    }
    for (int i = 0; i < LIVE; i++) al_heap_free(thread, live[i]);
    al_thread_exit(thread);
    at_work--;
    return NULL;
}

/* Two threads of a drop-in may ask at once whether there is anything to do in the background. */
static void *look_after(void *context) {
    while (at_work > 0) al_heap_background(heap);
    return context;
}

int main(void) {
    const char *options = "background=true,background_release_rate=4MiB";
    heap = make_heap(&al_tcmalloc_hpaa, options, (al_regions_config){.cpus = 3});
    pthread_t threads[WORKERS], other;
    assert(pthread_create(&other, NULL, look_after, NULL) == 0);
    for (uintptr_t i = 0; i < WORKERS; i++) assert(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    do {
        uint64_t rate = al_rng_next(&(al_rng){at_work}) % (16 << 20);
        al_heap_advance(heap, A_SECOND);
        assert(al_heap_control(heap, NULL, "SetBackgroundReleaseRate", &rate, true) == 0);
    } while (at_work > 0);
    for (int i = 0; i < WORKERS; i++) assert(pthread_join(threads[i], NULL) == 0);
    assert(pthread_join(other, NULL) == 0);
    al_heap_advance(heap, 70 * A_SECOND);
    al_flaw flaw;
    assert(al_heap_validate(heap, &flaw));
    for (unsigned i = 0; i < 3; i++) assert(al_hp_cpu_bytes(al_hp_of(heap), &al_hp_of(heap)->cpus[i]) == 0); /* idle */
    assert(al_heap_ledger(heap).usable == 0);
    al_heap_destroy(heap);
    return 0;
}
