/* Which arena a thread uses. It gets one at its first request and stays with it: the last one that all its threads have
 * left, else a new one while there are few, else one that is shared, in turn, preferably one that nobody is in.
 *
 *     heap->main -> newest -> ... -> oldest -> heap->main    by `next`
 *     attached = threads whose `arena` it is;   in the list of free arenas  =>  attached = 0
 *
 * A thread that fills its own arena gets what the main one has, but does not stay there; one that fills the main arena
 * moves to another. Contexts lent for one call use what is there. */
#include "allocators/ptmalloc/bins.h"

enum {
    ARENA_STATE = 2200, /* glibc's, which lies in the arena's first subheap */
    ARENAS_PER_CPU = 8
};

static void attach(pt_thread *thread, pt_arena *arena) {
    if (thread->arena != NULL) thread->arena->attached--;
    thread->arena = arena;
    arena->attached++;
}

/* --- a new arena --- */

static pt_arena *take_struct(pt_heap *heap) {
    pt_arena *arena = heap->spare_arena;
    heap->spare_arena = NULL;
    if (arena != NULL) return arena;
    al_lock_take(&heap->heap.lock);
    arena = al_regions_own(heap->heap.regions, sizeof *arena);
    al_lock_drop(&heap->heap.lock);
    return arena;
}

/* With room for a request of so many bytes, or, if a subheap has not, for what can be served by a mapping. */
static pt_subheap *first_subheap(pt_heap *heap, size_t bytes) {
    const size_t head = sizeof(pt_subheap) + ARENA_STATE + PT_GRAIN;
    pt_subheap *subheap = al_pt_subheap_create(heap, head + bytes, heap->params.top_pad);
    return subheap != NULL ? subheap : al_pt_subheap_create(heap, head, heap->params.top_pad);
}

static void enlist(pt_heap *heap, pt_arena *arena) {
    arena->number = heap->arena_count++;
    arena->next = heap->main.next;
    __atomic_store_n(&heap->main.next, arena, __ATOMIC_RELEASE);
}

static pt_arena *create(pt_heap *heap, size_t bytes) {
    pt_arena *arena = take_struct(heap);
    if (arena == NULL) return NULL;
    pt_subheap *subheap = first_subheap(heap, bytes);
    if (subheap == NULL) {
        heap->spare_arena = arena;
        return NULL;
    }
    subheap->arena = arena;
    al_pt_arena_init(arena);
    arena->system_mem = arena->max_system_mem = subheap->size;
    arena->fixed = PT_ARENA_BYTES;
    arena->top = al_pt_at((pt_chunk *)subheap, PT_ARENA_BYTES);
    al_pt_set_head(arena->top, (subheap->size - PT_ARENA_BYTES) | PT_PREV_INUSE);
    enlist(heap, arena);
    return arena;
}

/* --- the choice; list_lock is held --- */

/* The limit by CPUs holds, and is reckoned, only once there are more than arena_test. */
static bool may_create(pt_heap *heap) {
    const pt_params *p = &heap->params;
    if (heap->arena_limit == 0) {
        if (p->arena_max != 0)
            heap->arena_limit = (uint32_t)al_min(p->arena_max, UINT32_MAX);
        else if (heap->arena_count > p->arena_test)
            heap->arena_limit = ARENAS_PER_CPU * al_regions_cpus_online(heap->heap.regions);
    }
    return heap->arena_limit == 0 || heap->arena_count < heap->arena_limit;
}

static pt_arena *take_free(pt_heap *heap) {
    pt_arena *arena = heap->free_arenas;
    if (arena != NULL) heap->free_arenas = arena->next_free;
    return arena;
}

static bool try_lock(pt_arena *arena) { return __libc_single_threaded || al_lock_try(&arena->lock); }

/* The first that nobody is in, locked; else the first, but not `avoid`, to be waited for. */
static pt_arena *choose_shared(pt_heap *heap, const pt_arena *avoid, bool *locked) {
    pt_arena *first = heap->next_arena != NULL ? heap->next_arena : &heap->main, *arena = first;
    do {
        *locked = try_lock(arena);
        if (*locked) break;
        arena = al_pt_arena_next(arena);
    } while (arena != first);
    if (!*locked && arena == avoid) arena = al_pt_arena_next(arena);
    heap->next_arena = al_pt_arena_next(arena);
    return arena;
}

/* Locked, the thread attached to it. NULL: no memory for a new one. */
static pt_arena *choose(pt_thread *thread, const pt_arena *avoid, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    bool locked = false;
    al_lock_take(&heap->list_lock);
    pt_arena *arena = take_free(heap);
    if (arena == NULL) arena = may_create(heap) ? create(heap, bytes) : choose_shared(heap, avoid, &locked);
    if (arena != NULL) attach(thread, arena);
    al_lock_drop(&heap->list_lock);
    if (arena != NULL && !locked) al_pt_arena_lock(arena);
    return arena;
}

/* --- what malloc asks for --- */

static pt_arena *enter(pt_arena *arena) {
    al_pt_arena_lock(arena);
    return arena;
}

pt_arena *al_pt_arena_enter(pt_thread *thread, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    if (al_pt_alone(heap) || thread->thread.brief) return enter(&heap->main);
    return thread->arena != NULL ? enter(thread->arena) : choose(thread, NULL, bytes);
}

pt_arena *al_pt_arena_other(pt_thread *thread, pt_arena *arena, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    al_pt_arena_leave(arena);
    if (!al_pt_is_main(arena)) return enter(&heap->main);
    if (!thread->thread.brief) return choose(thread, arena, bytes);
    pt_arena *next = al_pt_arena_next(arena);
    return next == arena ? NULL : enter(next);
}

/* --- threads --- */

/* The first thread has the main arena. */
int al_pt_thread_create(al_thread *base) {
    pt_thread *thread = (pt_thread *)base;
    pt_heap *heap = al_pt_heap(thread);
    if (base->id > 0) {
        __atomic_store_n(&heap->several_threads, true, __ATOMIC_RELAXED);
    } else if (!base->brief) {
        al_lock_take(&heap->list_lock);
        attach(thread, &heap->main);
        al_lock_drop(&heap->list_lock);
    }
    return 0;
}

static void set_free(pt_heap *heap, pt_arena *arena) {
    arena->next_free = heap->free_arenas;
    heap->free_arenas = arena;
}

void al_pt_thread_exit(al_thread *base) {
    pt_thread *thread = (pt_thread *)base;
    pt_heap *heap = al_pt_heap(thread);
    al_pt_cache_close(thread);
    al_lock_take(&heap->list_lock);
    pt_arena *arena = thread->arena;
    thread->arena = NULL;
    if (arena != NULL && --arena->attached == 0) set_free(heap, arena);
    al_lock_drop(&heap->list_lock);
}

/* --- fork --- */

/* A thread that is no more may have been between a list of its cache and the list's count. */
static void count_anew(pt_cache *cache) {
    for (size_t list = 0; list < PT_CACHE_BINS; list++) {
        uint16_t count = 0;
        for (const pt_entry *at = cache->entries[list]; at != NULL; at = al_pt_protect(&at->next, at->next)) count++;
        cache->counts[list] = count;
    }
}

/* The survivor keeps its arena, all others are free, the oldest first. What other threads' caches hold stays there. */
static void start_anew(pt_heap *heap, const pt_thread *survivor) {
    heap->free_arenas = NULL;
    pt_arena *kept = survivor == NULL ? NULL : survivor->arena, *arena = &heap->main;
    do {
        arena->attached = arena == kept;
        if (arena != kept) set_free(heap, arena);
        arena = arena->next;
    } while (arena != &heap->main);
    for (pt_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        if (thread != survivor) count_anew(thread->cache);
}

/* All locks are held over the fork, single-threaded or not, so that the child finds everything between two calls. */
void al_pt_fork(al_heap *base, al_thread *survivor, al_fork_moment moment) {
    pt_heap *heap = al_pt_of(base);
    bool prepare = moment == AL_FORK_PREPARE;
    if (prepare) al_lock_take(&heap->list_lock);
    if (moment == AL_FORK_CHILD) start_anew(heap, (pt_thread *)survivor);
    pt_arena *arena = &heap->main;
    do {
        if (prepare)
            al_lock_take(&arena->lock);
        else
            al_lock_drop(&arena->lock);
        arena = arena->next;
    } while (arena != &heap->main);
    if (!prepare) al_lock_drop(&heap->list_lock);
}
