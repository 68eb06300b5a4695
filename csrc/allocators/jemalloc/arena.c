/* Arenas, and which one a thread uses; its end; fork. */
#include "allocators/jemalloc/jemalloc.h"

/* --- arenas --- */

/* The times of the oversize arena: what it frees is as a rule not wanted soon. */
static int64_t decay_ms(int64_t ms, bool oversize) { return oversize && ms > 0 ? 0 : ms; }

_Static_assert(sizeof(je_arena) + JE_SMALL_CLASSES * sizeof(je_shard) <= JE_ARENA_BYTES &&
                   sizeof(je_shard) <= JE_SHARD_BYTES,
               "it lies in what an arena takes");

/* NULL: no memory. */
static je_arena *make_arena(je_heap *heap, unsigned number) {
    je_base base = {0};
    al_lock_take(&heap->heap.lock);
    je_arena *arena = al_je_base_take(heap, &base, al_je_arena_bytes(heap), 64);
    al_lock_drop(&heap->heap.lock);
    if (arena == NULL) return NULL;
    const bool oversize = number == heap->params.narenas;
    const uint64_t now = al_regions_now(heap->heap.regions);
    al_rng seeds = {heap->heap.settings.values[JE_SEED] + number};
    arena->heap = heap;
    arena->number = number;
    arena->base = base;
    const bool lazy = heap->heap.settings.values[JE_HEAP_ORDER] == JE_ORDER_530;
    for (unsigned i = 0; i < heap->shards_from[JE_SMALL_CLASSES]; i++) arena->shards[i].partial.lazy = lazy;
    arena->growth = al_je_page_class_of(JE_FIRST_BYTES);
    const size_t eager = heap->params.oversize == 0 ? JE_LARGE_MOST : heap->params.oversize;
    arena->eager_from = number == 0 ? JE_EAGER_FIRST : eager;
    al_je_extents_init(&arena->dirty, JE_DIRTY);
    al_je_extents_init(&arena->muzzy, JE_MUZZY);
    al_je_extents_init(&arena->retained, JE_RETAINED);
    al_je_decay_init(&arena->dirty_decay, decay_ms(heap->params.dirty_ms, oversize), now, al_rng_next(&seeds));
    al_je_decay_init(&arena->muzzy_decay, decay_ms(heap->params.muzzy_ms, oversize), now, al_rng_next(&seeds));
    arena->rng.state = al_rng_next(&seeds);
    return arena;
}

/* For everyone; arenas_lock is held. */
static void publish(je_heap *heap, je_arena *arena) {
    __atomic_store_n(&heap->arenas[arena->number], arena, __ATOMIC_RELEASE);
}

/* arenas_lock is held. NULL: no memory. */
static je_arena *add_arena(je_heap *heap, unsigned number) {
    je_arena *arena = make_arena(heap, number);
    if (arena != NULL) publish(heap, arena);
    return arena;
}

/* What the real library asks of the system before its first block: whether pages given back come back as zeros, whether
 * there is MADV_FREE, and where the break is. */
static void probe(al_regions *regions, al_advice advice) {
    void *page;
    if (al_regions_mmap(regions, NULL, JE_PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &page) != 0) return;
    al_regions_madvise(regions, page, JE_PAGE, advice);
    al_regions_munmap(regions, page, JE_PAGE);
}

/* The first arena, and what belongs to all. arenas_lock is held. False: no memory. */
static bool open_heap(je_heap *heap) {
    al_regions *regions = heap->heap.regions;
    void *end;
    al_lock_take(&heap->heap.lock);
    probe(regions, AL_ADVISE_DONTNEED);
    probe(regions, AL_ADVISE_FREE);
    al_lock_drop(&heap->heap.lock);
    je_arena *first = make_arena(heap, 0);
    if (first == NULL) return false;
    heap->first_base = &first->base;
    al_lock_take(&heap->heap.lock);
    const size_t capacities = al_align_up(2 * al_max(heap->params.cache_classes, JE_SMALL_CLASSES), 64);
    al_je_base_take(heap, heap->first_base, JE_TABLE_BYTES + capacities, 64);
    if (al_regions_brk(regions, 0, &end) == 0) heap->break_start = heap->break_end = (uintptr_t)end;
    al_lock_drop(&heap->heap.lock);
    publish(heap, first);
    return true;
}

static bool opened(je_heap *heap) {
    if (al_je_arena(heap, 0) != NULL) return true;
    al_lock_take(&heap->arenas_lock);
    bool open = heap->arenas[0] != NULL || open_heap(heap);
    al_lock_drop(&heap->arenas_lock);
    return open;
}

/* The one with the fewest threads, if that has none or all have been made; else a new one. */
static je_arena *choose(je_heap *heap) {
    je_arena *least = heap->arenas[0];
    unsigned unmade = heap->params.narenas;
    for (unsigned i = heap->params.narenas; i-- > 1;)
        if (heap->arenas[i] == NULL) unmade = i;
    for (unsigned i = 1; i < heap->params.narenas; i++)
        if (heap->arenas[i] != NULL && heap->arenas[i]->threads < least->threads) least = heap->arenas[i];
    if (least->threads == 0 || unmade == heap->params.narenas) return least;
    je_arena *made = add_arena(heap, unmade);
    return made == NULL ? least : made;
}

je_arena *al_je_arena_for(je_thread *thread, size_t bytes) {
    je_heap *heap = al_je_heap(thread);
    if (heap->params.oversize == 0 || bytes < heap->params.oversize) return thread->arena;
    const unsigned number = heap->params.narenas;
    je_arena *arena = al_je_arena(heap, number);
    if (arena != NULL) return arena;
    al_lock_take(&heap->arenas_lock);
    arena = heap->arenas[number];
    if (arena == NULL) arena = add_arena(heap, number);
    al_lock_drop(&heap->arenas_lock);
    return arena;
}

/* --- threads --- */

static void count_in(je_arena *arena) { __atomic_store_n(&arena->threads, arena->threads + 1, __ATOMIC_RELAXED); }

static void bind(je_thread *thread, je_arena *arena) {
    thread->arena = arena;
    thread->turn = arena->bound++;
    count_in(arena);
}

static void join(je_thread *thread) {
    je_heap *heap = al_je_heap(thread);
    thread->next = heap->threads;
    if (heap->threads != NULL) heap->threads->prev = thread;
    heap->threads = thread;
}

static void leave(je_thread *thread) {
    je_heap *heap = al_je_heap(thread);
    if (thread->next != NULL) thread->next->prev = thread->prev;
    if (thread->prev != NULL)
        thread->prev->next = thread->next;
    else
        heap->threads = thread->next;
}

int al_je_thread_create(al_thread *base) {
    je_thread *thread = (je_thread *)base;
    je_heap *heap = al_je_heap(thread);
    const je_params *params = &heap->params;
    opened(heap); /* if it can be; else with the first block */
    thread->rng.state = heap->heap.settings.values[JE_SEED] ^ (uint64_t)base->id << 32;
    thread->taken_due = thread->given_due = params->gc_step;
    thread->ticks = JE_TICKS;
    thread->taken_brief = params->junk_new || params->zero ? 0 : params->gc_step;
    thread->given_brief = params->junk_freed ? 0 : params->gc_step;
    al_je_cache_init(thread);
    return 0;
}

bool al_je_arrive(je_thread *thread) {
    je_heap *heap = al_je_heap(thread);
    if (!opened(heap)) return false;
    thread->arena = al_je_arena(heap, 0);
    if (thread->thread.brief) return true;
    thread->arrived = true;
    al_lock_take(&heap->arenas_lock); /* also over the cache: no fork shall leave its memory without a thread */
    al_je_cache_open(thread);
    bind(thread, choose(heap));
    join(thread);
    al_lock_drop(&heap->arenas_lock);
    return true;
}

/* Purges what is due; of an arena without threads everything, which nobody would do later, but for the background. */
static void decay(je_heap *heap, je_arena *arena) {
    const bool abandoned = __atomic_load_n(&arena->threads, __ATOMIC_RELAXED) == 0;
    al_lock_take(&arena->lock);
    al_je_decay_now(arena, abandoned && !al_je_in_background(heap));
    al_lock_drop(&arena->lock);
}

void al_je_thread_exit(al_thread *base) {
    je_thread *thread = (je_thread *)base;
    je_heap *heap = al_je_heap(thread);
    if (!thread->arrived) return;
    const bool cached = thread->slots != NULL;
    je_arena *arena = thread->arena;
    al_lock_take(&heap->arenas_lock);
    al_je_cache_close(thread);
    leave(thread);
    __atomic_store_n(&arena->threads, arena->threads - 1, __ATOMIC_RELAXED);
    al_lock_drop(&heap->arenas_lock);
    if (!cached) return;
    decay(heap, heap->arenas[0]); /* the stacks went back there */
    decay(heap, arena);
}

/* --- all arenas at once --- */

static void each_arena(je_heap *heap, void (*act)(al_lock *)) {
    for (unsigned i = 0; i <= heap->params.narenas; i++)
        if (heap->arenas[i] != NULL) act(&heap->arenas[i]->lock);
}

void al_je_hold(je_heap *heap) {
    al_lock_take(&heap->arenas_lock);
    each_arena(heap, al_lock_take);
}

void al_je_let_go(je_heap *heap) {
    each_arena(heap, al_lock_drop);
    al_lock_drop(&heap->arenas_lock);
}

/* --- fork --- */

/* The child has one thread. What the others cached is lost, and the memory of their caches. */
static void forget_others(je_heap *heap, je_thread *survivor) {
    for (unsigned i = 0; i <= heap->params.narenas; i++)
        if (heap->arenas[i] != NULL) heap->arenas[i]->threads = 0;
    const bool stays = survivor != NULL && survivor->arrived;
    if (stays) leave(survivor);
    for (je_thread *thread; (thread = heap->threads) != NULL;) {
        leave(thread);
        thread->next = heap->lost;
        heap->lost = thread;
    }
    if (!stays) return;
    survivor->next = survivor->prev = NULL;
    join(survivor);
    count_in(survivor->arena);
}

/* Whoever forks has an arena and a cache from then on, though it has asked for no block yet. */
void al_je_fork(al_heap *base, al_thread *survivor, al_fork_moment moment) {
    je_heap *heap = al_je_of(base);
    je_thread *thread = (je_thread *)survivor;
    if (moment == AL_FORK_PREPARE) {
        if (thread != NULL && !thread->arrived) al_je_arrive(thread);
        al_je_hold(heap);
        return;
    }
    if (moment == AL_FORK_CHILD) forget_others(heap, thread);
    al_je_let_go(heap);
}
