#include "allocators/ptmalloc/ptmalloc.h"

#include "allocators/ptmalloc/cache.h"
#include "base/rng.h"

static int create(al_heap *base) {
    pt_heap *heap = al_pt_of(base);
    al_pt_configure(heap);
    al_rng rng = {(uintptr_t)heap ^ al_regions_now(base->regions)};
    heap->cache_key = al_rng_next(&rng);
    al_pt_arena_init(&heap->main);
    heap->main.contiguous = true;
    heap->main.next = &heap->main;
    heap->arena_count = 1;
    heap->simulated = al_regions_base(base->regions) != NULL;
    heap->overcommit = AL_OVERCOMMIT_SYSTEM;
    return 0;
}

__attribute__((noinline)) static void *malloc_uncached(pt_thread *thread, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    if (thread->cache == NULL) al_pt_cache_open(thread);
    bool alone = al_pt_alone(heap);
    if (alone && !heap->simulated) return al_pt_take(thread, &heap->main, bytes); /* no lock, no other arena */
    return al_pt_take_anywhere(thread, bytes, alone);
}

void *al_pt_malloc(al_thread *base, size_t bytes) {
    pt_thread *thread = (pt_thread *)base;
    if (__builtin_expect(bytes < thread->cache_bytes, 1)) {
        size_t list = al_pt_cache_list_for(bytes), count = al_pt_cache_count(thread->cache, list);
        if (__builtin_expect(count > 0, 1)) return al_pt_cache_pop(thread->cache, list, count);
    }
    return malloc_uncached(thread, bytes);
}

/* The thresholds follow the largest mapping that was freed, so that blocks of its size come from the heap next time.
 * The head is compared with its flag, as glibc does. */
__attribute__((noinline)) static void free_mapped(pt_heap *heap, pt_chunk *chunk) {
    enum { LARGEST = 32 << 20 };
    pt_params *p = &heap->params;
    if (p->dynamic && chunk->head > al_pt_get(&p->mmap_threshold) && chunk->head <= LARGEST) {
        al_pt_set(&p->mmap_threshold, al_pt_size(chunk));
        al_pt_set(&p->trim_threshold, 2 * al_pt_size(chunk));
    }
    al_pt_unmap(heap, chunk);
}

void al_pt_free(al_thread *base, void *block) {
    pt_thread *thread = (pt_thread *)base;
    pt_chunk *chunk = al_pt_chunk(block);
    if (__builtin_expect(al_pt_mapped(chunk), 0)) {
        free_mapped(al_pt_heap(thread), chunk);
        return;
    }
    if (__builtin_expect(thread->cache == NULL, 0)) al_pt_cache_open(thread);
    if (!al_pt_cache_give(thread, chunk))
        al_pt_give_uncached(thread, al_pt_arena_of(al_pt_heap(thread), chunk), chunk, false);
}

/* 0 for a chunk that is free by its neighbour's flag. */
static size_t pt_usable_size(al_heap *base, const void *block) {
    (void)base;
    const pt_chunk *chunk = al_pt_chunk(block);
    return al_pt_mapped(chunk) || al_pt_inuse(chunk) ? al_pt_usable(chunk) : 0;
}

const al_allocator al_ptmalloc = {
    .name = "ptmalloc",
    .summary = "glibc 2.36: thread caches, fastbins, bins, best fit, arenas",
    .tunables = al_pt_tunables,
    .tunable_count = PT_TUNABLES,
    .heap_bytes = sizeof(pt_heap),
    .thread_bytes = sizeof(pt_thread),
    .locks_itself = true,
    .create = create,
    .thread_create = al_pt_thread_create,
    .thread_exit = al_pt_thread_exit,
    .malloc = al_pt_malloc,
    .calloc = al_pt_calloc,
    .memalign = al_pt_memalign,
    .realloc = al_pt_realloc,
    .free = al_pt_free,
    .usable_size = pt_usable_size,
    .trim = al_pt_trim,
    .walk = al_pt_walk,
    .validate = al_pt_validate,
    .stats = al_pt_stats,
    .fork = al_pt_fork,
    .environment = al_pt_environment,
    .ledger = al_pt_ledger,
    .bins = al_pt_bins,
    .explain = al_pt_explain,
    .mallopt = al_pt_mallopt,
    .mallinfo = al_pt_mallinfo,
    .report = al_pt_report,
    .report_xml = al_pt_report_xml,
};
