/* What becomes of extents that were freed: dirty, (muzzy,) retained. */
#include "allocators/jemalloc/jemalloc.h"

static bool advise(je_arena *arena, const je_extent *extent, al_advice advice) {
    je_heap *heap = arena->heap;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_madvise(heap->heap.regions, (void *)extent->address, extent->bytes, advice);
    al_lock_drop(&heap->heap.lock);
    return error == 0;
}

static bool unmap(je_arena *arena, const je_extent *extent) {
    je_heap *heap = arena->heap;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_munmap(heap->heap.regions, (void *)extent->address, extent->bytes);
    al_lock_drop(&heap->heap.lock);
    if (error == 0) al_je_map_leave(heap, extent->address, al_je_end(extent));
    return error == 0;
}

void al_je_release(je_arena *arena, je_extent *extent) {
    const je_heap *heap = arena->heap;
    const bool of_break = extent->address >= heap->break_start && extent->address < heap->break_end;
    if (!heap->params.retain && !of_break && unmap(arena, extent)) {
        al_je_record_keep(arena, extent);
        return;
    }
    extent->zeroed = advise(arena, extent, AL_ADVISE_DONTNEED);
    if (!extent->zeroed) advise(arena, extent, AL_ADVISE_FREE);
    al_je_pages_merge_in(arena, &arena->retained, extent);
}

/* Takes the oldest extent out of the set, while more than `limit` pages are in it. Dirty ones are merged only now, with
 * one neighbour at a time; the merged one counts as the newest. */
static je_extent *evict(je_arena *arena, je_extents *set, size_t limit) {
    while (set->pages > limit) {
        je_extent *oldest = al_container(set->recency.next, je_extent, recency);
        al_je_extents_remove(set, oldest);
        if (set->state != JE_DIRTY) return oldest;
        je_extent *merged = al_je_pages_merge_one(arena, set, oldest);
        if (merged == NULL) return oldest;
        al_je_extents_insert(set, merged);
    }
    return NULL;
}

void al_je_purge(je_arena *arena, je_extents *set, size_t limit, bool fully) {
    bool dirty = set->state == JE_DIRTY, muzzily = dirty && arena->muzzy_decay.ms != 0 && !fully;
    je_purges *purges = dirty ? &arena->dirty_purges : &arena->muzzy_purges;
    if (set->pages <= limit) return;
    purges->purges++;
    for (je_extent *extent; (extent = evict(arena, set, limit)) != NULL;) {
        purges->advices++;
        purges->pages += extent->bytes / JE_PAGE;
        if (muzzily && advise(arena, extent, AL_ADVISE_FREE))
            al_je_pages_merge_in(arena, &arena->muzzy, extent);
        else
            al_je_release(arena, extent);
    }
}

/* --- time --- */

static void decay_set(je_arena *arena, je_decay *decay, je_extents *set, bool all) {
    if (all || decay->ms == 0)
        al_je_purge(arena, set, 0, all);
    else if (decay->ms > 0 && al_je_decay_advance(decay, al_regions_now(arena->heap->heap.regions), set->pages))
        al_je_purge(arena, set, al_je_decay_limit(decay), false);
}

void al_je_decay_now(je_arena *arena, bool all) {
    decay_set(arena, &arena->dirty_decay, &arena->dirty, all);
    decay_set(arena, &arena->muzzy_decay, &arena->muzzy, all);
}

/* -log2(x / 2^64) in 1 / 2^16, x > 0: the whole part by the first bit, each next bit by squaring what is left. */
static uint64_t minus_log2(uint64_t x) {
    const unsigned first = al_log2_floor(x);
    uint64_t rest = x << (63 - first), bits = first;
    for (int i = 0; i < 16; i++) {
        unsigned __int128 square = (unsigned __int128)rest * rest >> 63;
        const unsigned bit = square >> 64 != 0;
        rest = (uint64_t)(square >> bit);
        bits = bits << 1 | bit;
    }
    return (UINT64_C(64) << 16) - bits;
}

/* Operations until the next look at the clock: geometric, as if each of them looked with probability 1 / JE_TICKS.
 * Drawn by the inverse, -ln(u) * JE_TICKS with u from (0, 1]. */
static int64_t draw_ticks(al_rng *rng) {
    enum { LN2 = 45426 }; /* ln 2 * 2^16 */
    const uint64_t u = al_rng_next(rng);
    return (int64_t)(minus_log2(u | (u == 0)) * LN2 / 65536 * JE_TICKS >> 16);
}

__attribute__((noinline)) static void look_at_clock(je_thread *thread, je_arena *arena) {
    thread->ticks = draw_ticks(&thread->rng);
    if (arena->heap->params.background) return;
    al_lock_take(&arena->lock);
    al_je_decay_now(arena, false);
    al_lock_drop(&arena->lock);
}

void al_je_tick(je_thread *thread, je_arena *arena, unsigned ticks) {
    thread->ticks -= ticks;
    if (thread->ticks < 0) look_at_clock(thread, arena);
}
