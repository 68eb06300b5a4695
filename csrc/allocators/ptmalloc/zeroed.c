/* calloc: memory that the system has just given is zero already. */
#include "allocators/ptmalloc/bins.h"

#include <string.h>

/* The part of the top that may have been written to: all of it, but for what lies above the highest that the arena ever
 * reached. Kept as glibc reckons it, which forgets nothing when memory goes back and comes again. */
static size_t used_before(const pt_heap *heap, const pt_arena *arena) {
    const pt_chunk *top = arena->top;
    uintptr_t reached = al_pt_is_main(arena) ? heap->break_base + arena->max_system_mem
                                             : (uintptr_t)al_pt_subheap_of(top) + al_pt_subheap_of(top)->committed;
    return al_max(al_pt_size(top), reached - (uintptr_t)top);
}

static void *zero(const pt_heap *heap, void *block, size_t bytes, const pt_chunk *old_top, size_t used) {
    const pt_chunk *chunk = al_pt_chunk(block);
    size_t size = al_pt_size(chunk);
    if (al_pt_mapped(chunk)) return heap->params.perturb == 0 ? block : memset(block, 0, bytes);
    if (heap->params.perturb == 0 && chunk == old_top && size > used) size = used;
    return memset(block, 0, size - PT_WORD);
}

void *al_pt_calloc(al_thread *base, size_t bytes) {
    pt_thread *thread = (pt_thread *)base;
    pt_heap *heap = al_pt_heap(thread);
    al_pt_cache_open(thread);
    pt_arena *arena = al_pt_arena_enter(thread, bytes);
    const pt_chunk *old_top = arena == NULL ? NULL : arena->top;
    size_t used = arena == NULL ? 0 : used_before(heap, arena);
    void *block = al_pt_take(thread, arena, bytes);
    if (block == NULL && arena != NULL && !al_pt_alone(heap)) {
        arena = al_pt_arena_other(thread, arena, bytes);
        block = al_pt_take(thread, arena, bytes);
    }
    if (arena != NULL) al_pt_arena_leave(arena);
    return block == NULL ? NULL : zero(heap, block, bytes, old_top, used);
}
