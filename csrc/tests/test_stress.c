/* tests/stress.h on a heap of every allocator, a round for each seed. [SECONDS [SEED]]
 * Where it comes to its end all is freed, and the heap is sound and holds no block. */
#undef NDEBUG
#include "tests/heaps.h"
#include "tests/stress.h"

static al_heap *heap;
static __thread al_thread *own;

static void *heap_malloc(size_t bytes) { return al_heap_malloc(own, bytes); }

static void *heap_calloc(size_t count, size_t each) { return al_heap_calloc(own, count, each); }

static void *heap_memalign(size_t alignment, size_t bytes) { return al_heap_memalign(own, alignment, bytes); }

static void *heap_realloc(void *block, size_t bytes) { return al_heap_realloc(own, block, bytes); }

static void heap_free(void *block) { al_heap_free(own, block); }

static size_t usable_size(void *block) { return al_heap_usable_size(heap, block); }

static void arrive(void) {
    own = al_thread_create(heap);
    assert(own != NULL);
}

static void depart(void) { al_thread_exit(own); }

static pid_t fork_heap(void) {
    al_heap_fork(heap, own, AL_FORK_PREPARE);
    const pid_t child = fork();
    al_heap_fork(heap, own, child == 0 ? AL_FORK_CHILD : AL_FORK_PARENT);
    return child;
}

static void is_sound(void) {
    al_flaw flaw = {0};
    if (al_heap_validate(heap, &flaw)) return;
    fprintf(stderr, "%s, seed %ju: %#zx: %s\n", heap->allocator->name, (uintmax_t)stress_seed, (size_t)flaw.address,
            flaw.what);
    abort();
}

static void in_child(al_rng *rng) {
    (void)rng;
    is_sound();
}

static const stress_family family = {
    heap_malloc, heap_calloc, heap_memalign, heap_realloc, heap_free, usable_size, arrive, depart, fork_heap, in_child,
};

static bool is_live(void *context, const al_chunk *piece) {
    if (piece->state == AL_STATE_LIVE) ++*(size_t *)context;
    return true;
}

static void play(const al_allocator *allocator, uint64_t seed) {
    pthread_t threads[STRESS_THREADS];
    size_t live = 0;
    heap = make_heap(allocator, "", (al_regions_config){.space = AL_SPACE_WINDOW});
    stress_begin(&family, seed, threads);
    stress_end(threads);
    arrive();
    stress_empty_mail();
    depart();
    is_sound();
    al_heap_walk(heap, is_live, &live);
    assert(live == 0 || strcmp(allocator->name, "bump") == 0); /* which frees nothing */
    al_heap_destroy(heap);
}

static void play_all(uint64_t seed) {
    for (const al_allocator *const *a = al_allocators; *a != NULL; a++) play(*a, seed);
}

int main(int count, char **words) {
    stress_rounds(play_all, count, words);
    return 0;
}
