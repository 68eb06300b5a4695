/* Aligned blocks: a chunk that surely holds one, of which both ends are freed. */
#include "allocators/ptmalloc/bins.h"

static pt_chunk *cut_lead(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t lead) {
    size_t rest = al_pt_size(chunk) - lead;
    pt_chunk *upper = al_pt_at(chunk, lead);
    al_pt_set_head(upper, rest | PT_PREV_INUSE | al_pt_arena_flag(arena));
    al_pt_set_prev_inuse(al_pt_at(upper, rest), true);
    al_pt_set_size(chunk, lead);
    arena->taken_chunks++;
    al_pt_give(thread, arena, chunk, true);
    return upper;
}

/* Where an aligned block begins in the chunk: at its own, or so that what lies below can be a chunk. */
static size_t lead_of(const pt_chunk *chunk, size_t alignment) {
    uintptr_t block = (uintptr_t)al_pt_block(chunk);
    size_t lead = al_align_up(block, alignment) - block;
    return lead > 0 && lead < PT_LEAST ? lead + alignment : lead;
}

static void *take_aligned(pt_thread *thread, pt_arena *arena, size_t alignment, size_t bytes) {
    size_t need = al_pt_need(bytes);
    void *block = al_pt_take(thread, arena, need + alignment + PT_LEAST);
    if (block == NULL) return NULL;
    pt_chunk *chunk = al_pt_chunk(block);
    size_t lead = lead_of(chunk, alignment);
    if (al_pt_mapped(chunk))
        return lead == 0 ? block : al_pt_block(al_pt_advance_mapped(al_pt_heap(thread), chunk, lead));
    if (lead > 0) chunk = cut_lead(thread, arena, chunk, lead);
    if (al_pt_size(chunk) - need > PT_LEAST) al_pt_give_tail(thread, arena, chunk, need); /* one of 32 bytes stays */
    return al_pt_block(chunk);
}

void *al_pt_memalign(al_thread *base, size_t alignment, size_t bytes) {
    pt_thread *thread = (pt_thread *)base;
    pt_arena *arena = al_pt_arena_enter(thread, bytes + alignment + PT_LEAST);
    void *block = take_aligned(thread, arena, alignment, bytes);
    if (block == NULL && arena != NULL && !al_pt_alone(al_pt_heap(thread))) {
        arena = al_pt_arena_other(thread, arena, bytes);
        block = take_aligned(thread, arena, alignment, bytes);
    }
    if (arena != NULL) al_pt_arena_leave(arena);
    return block;
}
