/* realloc: in place where the chunk is large enough, the top follows, or the next chunk is free; else elsewhere. */
#include "allocators/ptmalloc/bins.h"

#include <string.h>

/* What the chunk has too much is freed, if it can be a chunk. */
static void cut_tail(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t need) {
    if (al_pt_size(chunk) - need >= PT_LEAST) al_pt_give_tail(thread, arena, chunk, need);
}

static void grow_into_top(pt_arena *arena, pt_chunk *chunk, size_t need) {
    size_t size = al_pt_size(chunk), both = size + al_pt_size(arena->top);
    al_pt_set_size(chunk, need);
    arena->top = al_pt_at(chunk, need);
    al_pt_set_head(arena->top, (both - need) | PT_PREV_INUSE);
    arena->taken_bytes += need - size;
}

static void grow_into_next(pt_arena *arena, pt_chunk *chunk, pt_chunk *next) {
    size_t more = al_pt_size(next);
    al_pt_unlink(next);
    al_pt_set_size(chunk, al_pt_size(chunk) + more);
    al_pt_set_prev_inuse(al_pt_next(chunk), true);
    arena->taken_bytes += more;
}

/* The policy that glibc lacks: the free chunk below is taken, too, and the contents move down. */
static pt_chunk *grow_backward(pt_arena *arena, pt_chunk *chunk, size_t need) {
    if (al_pt_prev_inuse(chunk)) return NULL;
    pt_chunk *below = al_pt_below(chunk), *next = al_pt_next(chunk);
    size_t size = al_pt_size(chunk), less = al_pt_size(below);
    bool takes_next = next != arena->top && !al_pt_inuse(next);
    if (less + size + (takes_next ? al_pt_size(next) : 0) < need) return NULL;
    if (takes_next) grow_into_next(arena, chunk, next);
    al_pt_unlink(below);
    size_t whole = al_pt_size(chunk) + less;
    memmove(al_pt_block(below), al_pt_block(chunk), size - PT_WORD);
    al_pt_set_head(below, whole | PT_PREV_INUSE | al_pt_arena_flag(arena));
    arena->taken_bytes += less;
    return below;
}

/* In another chunk, which may turn out to be the next one. */
static void *move(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t need) {
    void *block = al_pt_take(thread, arena, need - (PT_GRAIN - 1));
    if (block == NULL) return NULL;
    pt_chunk *found = al_pt_chunk(block);
    if (found == al_pt_next(chunk)) {
        al_pt_set_size(chunk, al_pt_size(chunk) + al_pt_size(found));
        arena->taken_chunks--;
        cut_tail(thread, arena, chunk, need);
        return al_pt_block(chunk);
    }
    memcpy(block, al_pt_block(chunk), al_pt_usable(chunk));
    al_pt_give(thread, arena, chunk, true);
    return block;
}

static void *resize(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t need) {
    pt_chunk *next = al_pt_next(chunk);
    al_check(al_pt_plausible(arena, chunk), "realloc(): invalid old size");
    al_check(al_pt_plausible(arena, next), "realloc(): invalid next size");
    size_t size = al_pt_size(chunk), room = size + al_pt_size(next);
    if (size < need) {
        if (next == arena->top && room >= need + PT_LEAST) {
            grow_into_top(arena, chunk, need);
            return al_pt_block(chunk);
        }
        if (next != arena->top && !al_pt_inuse(next) && room >= need) {
            grow_into_next(arena, chunk, next);
        } else {
            pt_chunk *lower = al_pt_heap(thread)->params.backward ? grow_backward(arena, chunk, need) : NULL;
            if (lower == NULL) return move(thread, arena, chunk, need);
            chunk = lower;
        }
    }
    cut_tail(thread, arena, chunk, need);
    return al_pt_block(chunk);
}

static void *resize_mapped(pt_thread *thread, pt_chunk *chunk, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    size_t need = al_pt_need(bytes), size = al_pt_size(chunk);
    pt_chunk *resized = al_pt_remap(heap, chunk, need);
    if (resized != NULL) return al_pt_block(resized);
    if (size - PT_WORD >= need) return al_pt_block(chunk); /* large enough as it is */
    void *block = al_pt_malloc(&thread->thread, bytes);
    if (block == NULL) return NULL;
    memcpy(block, al_pt_block(chunk), size - PT_HEADER);
    al_pt_unmap(heap, chunk);
    return block;
}

void *al_pt_realloc(al_thread *base, void *block, size_t bytes) {
    pt_thread *thread = (pt_thread *)base;
    pt_chunk *chunk = al_pt_chunk(block);
    size_t size = al_pt_size(chunk);
    bool wraps = (uintptr_t)chunk > (uintptr_t)-size;
    if (!al_pt_mapped(chunk)) al_pt_cache_open(thread);
    al_check(!wraps && al_is_aligned((uintptr_t)chunk, PT_GRAIN), "realloc(): invalid pointer");
    if (al_pt_mapped(chunk)) return resize_mapped(thread, chunk, bytes);

    pt_arena *arena = al_pt_arena_of(al_pt_heap(thread), chunk);
    al_pt_arena_lock(arena);
    void *resized = resize(thread, arena, chunk, al_pt_need(bytes));
    al_pt_arena_leave(arena);
    if (resized != NULL || al_pt_alone(al_pt_heap(thread))) return resized;
    resized = al_pt_malloc(base, bytes); /* another arena may have memory */
    if (resized == NULL) return NULL;
    memcpy(resized, block, size - PT_WORD);
    al_pt_give(thread, arena, chunk, false);
    return resized;
}
