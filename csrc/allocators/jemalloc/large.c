/* Blocks with pages of their own. The last page of their extent is a pad, so that the block can begin anywhere in the
 * first: were all at its start, their first lines would compete for the same few sets of the processor's cache. */
#include "allocators/jemalloc/jemalloc.h"

enum { LINE = 64 };

static je_large *figures(je_arena *arena, unsigned class) { return &arena->large[class - JE_SMALL_CLASSES]; }

static void entered(je_arena *arena, unsigned class) {
    je_large *large = figures(arena, class);
    large->nmalloc++;
    large->nrequests++;
    large->current++;
}

void al_je_large_left(je_arena *arena, const je_extent *extent) {
    je_large *large = figures(arena, extent->class);
    large->ndalloc++;
    large->current--;
}

static size_t draw_offset(je_arena *arena, size_t alignment) {
    if (arena->heap->params.pad == 0 || alignment >= JE_PAGE) return 0;
    return al_align_down(al_rng_next(&arena->rng) % JE_PAGE, al_max(alignment, LINE));
}

/* The arena is locked. */
static je_extent *take(je_arena *arena, unsigned class, size_t alignment) {
    const size_t bytes = al_je_class_bytes(class) + arena->heap->params.pad;
    je_extent *extent = al_je_pages_take(arena, bytes, al_max(alignment, JE_PAGE), class);
    if (extent == NULL) return NULL;
    extent->offset = (uint16_t)draw_offset(arena, alignment);
    entered(arena, class);
    return extent;
}

static void *block_of(const je_extent *extent) { return (void *)(extent->address + extent->offset); }

void *al_je_large_take_internal(je_arena *arena, unsigned class) {
    je_extent *extent = take(arena, class, JE_PAGE);
    if (extent == NULL) return NULL;
    extent->internal = true;
    al_je_pages_zero(arena->heap, extent);
    return block_of(extent);
}

void *al_je_large_take(je_thread *thread, size_t bytes, unsigned class, size_t alignment, bool zero) {
    je_arena *arena = class < JE_CLASSES ? al_je_arena_for(thread, bytes) : NULL;
    if (arena == NULL) return NULL;
    al_lock_take(&arena->lock);
    je_extent *extent = take(arena, class, alignment);
    al_lock_drop(&arena->lock);
    if (extent == NULL) return NULL;
    if (zero || arena->heap->params.zero)
        al_je_pages_zero(arena->heap, extent);
    else
        al_je_fill_new(arena->heap, block_of(extent), al_je_class_bytes(class));
    al_je_tick(thread, arena, 1);
    return block_of(extent);
}

void al_je_large_give(je_thread *thread, je_extent *extent) {
    je_arena *arena = extent->arena;
    al_lock_take(&arena->lock);
    al_je_large_left(arena, extent);
    al_je_pages_give(arena, extent);
    al_lock_drop(&arena->lock);
    al_je_tick(thread, arena, 1);
}

/* --- in place --- */

static void zero_tail(const je_extent *extent) {
    char *tail = (char *)block_of(extent) + al_je_class_bytes(extent->class);
    memset(tail, 0, (size_t)((char *)al_je_end(extent) - tail));
}

static bool resize(je_arena *arena, je_extent *extent, unsigned class) {
    const size_t old = extent->bytes, bytes = al_je_class_bytes(class) + arena->heap->params.pad;
    const unsigned old_class = extent->class;
    if (bytes > old && arena->heap->params.zero) zero_tail(extent);
    bool done = bytes > old ? al_je_pages_expand(arena, extent, bytes - old)
                            : al_je_pages_shrink(arena, extent, bytes, class);
    if (!done) return false;
    extent->class = (uint8_t)old_class;
    al_je_large_left(arena, extent);
    extent->class = (uint8_t)class;
    entered(arena, class);
    al_je_map_enter(arena->heap, extent);
    return true;
}

bool al_je_large_resize(je_thread *thread, je_extent *extent, unsigned class) {
    je_arena *arena = extent->arena;
    al_lock_take(&arena->lock);
    bool done = resize(arena, extent, class);
    al_lock_drop(&arena->lock);
    if (done) al_je_tick(thread, arena, 1);
    return done;
}
