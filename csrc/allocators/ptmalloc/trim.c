/* Memory goes back: the end of the main top by the break, and, when asked for, the pages inside free chunks. */
#include "allocators/ptmalloc/bins.h"

/* The break, if it is where the top ends: nobody has moved it since. */
static bool break_is_ours(pt_heap *heap, const pt_chunk *top) {
    void *at;
    return al_regions_break(heap->heap.regions, &at) == 0 && at == al_pt_next(top);
}

bool al_pt_trim_top(pt_heap *heap, size_t pad) {
    pt_arena *arena = &heap->main;
    pt_chunk *top = arena->top;
    size_t size = al_pt_size(top);
    size_t spare = size - PT_LEAST - 1; /* of the smallest top -1, a size: so, as glibc's, it grows by the pad */
    if (spare <= pad) return false;
    size_t step = heap->params.huge_page != 0 ? heap->params.huge_page : al_pt_page_size(heap);
    size_t extra = al_align_down(spare - pad, step);
    if (extra == 0) return false;
    void *old;
    al_lock_take(&heap->heap.lock);
    bool trimmed =
        break_is_ours(heap, top) && al_regions_brk(heap->heap.regions, -(intptr_t)extra, &old) == 0;
    al_lock_drop(&heap->heap.lock);
    if (!trimmed) return false;
    arena->system_mem -= extra;
    al_pt_set_head(top, (size - extra) | PT_PREV_INUSE);
    return true;
}

/* The whole pages of a free chunk, but for what its links lie in. */
static bool purge_chunk(pt_heap *heap, const pt_chunk *chunk) {
    size_t page = al_pt_page_size(heap);
    uintptr_t end = (uintptr_t)al_pt_next(chunk), from = al_align_up((uintptr_t)(chunk + 1), page);
    if (al_pt_size(chunk) <= page - 1 + sizeof *chunk || end - from < page) return false;
    al_lock_take(&heap->heap.lock);
    al_regions_madvise(heap->heap.regions, (void *)from, al_align_down(end - from, page), AL_ADVISE_DONTNEED);
    al_lock_drop(&heap->heap.lock);
    return true;
}

static bool purge_bin(pt_heap *heap, pt_arena *arena, size_t index) {
    bool any = false;
    const pt_chunk *bin = al_pt_bin(arena, index);
    for (const pt_chunk *chunk = bin->bk; chunk != bin; chunk = chunk->bk) any |= purge_chunk(heap, chunk);
    return any;
}

static bool trim_arena(pt_heap *heap, pt_arena *arena, size_t pad) {
    al_pt_consolidate(arena);
    bool any = purge_bin(heap, arena, PT_UNSORTED);
    for (size_t i = al_pt_bin_of(al_pt_page_size(heap)); i < PT_BINS; i++) any |= purge_bin(heap, arena, i);
    return (al_pt_is_main(arena) && al_pt_trim_top(heap, pad)) || any;
}

bool al_pt_trim(al_heap *base, size_t pad) {
    pt_heap *heap = al_pt_of(base);
    pt_arena *arena = &heap->main;
    bool any = false;
    do {
        al_pt_arena_lock(arena);
        any |= trim_arena(heap, arena, pad);
        al_pt_arena_leave(arena);
        arena = al_pt_arena_next(arena);
    } while (arena != &heap->main);
    return any;
}
