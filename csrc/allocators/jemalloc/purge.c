/* What becomes of extents that were freed: dirty, (muzzy,) retained. */
#include "allocators/jemalloc/jemalloc.h"

static bool advise(je_arena *arena, const je_extent *extent, al_advice advice) {
    je_heap *heap = arena->heap;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_madvise(heap->heap.regions, (void *)extent->address, extent->bytes, advice);
    al_lock_drop(&heap->heap.lock);
    return error == 0;
}

/* The map forgets the pages before others can have them. False: the system would not take them back. */
static bool unmap(je_arena *arena, const je_extent *extent) {
    je_heap *heap = arena->heap;
    al_je_map_leave(heap, extent->address, al_je_end(extent));
    al_lock_take(&heap->heap.lock);
    int error = al_regions_munmap(heap->heap.regions, (void *)extent->address, extent->bytes);
    al_lock_drop(&heap->heap.lock);
    if (error != 0) al_je_map_enter(heap, extent);
    return error == 0;
}

void al_je_release(je_arena *arena, je_extent *extent) {
    const je_heap *heap = arena->heap;
    if (!heap->params.retain && !al_je_of_break(heap, extent->address) && unmap(arena, extent)) {
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
    if (all || decay->ms == 0) {
        al_je_purge(arena, set, 0, true);
        return;
    }
    if (decay->ms < 0) return;
    const uint64_t now = al_regions_now(arena->heap->heap.regions);
    if (!al_je_decay_advance(decay, now, set->pages)) return;
    if (al_je_in_background(arena->heap))
        al_je_background_epoch(arena, decay, now);
    else
        al_je_purge(arena, set, al_je_decay_limit(decay), false);
}

void al_je_decay_now(je_arena *arena, bool all) {
    decay_set(arena, &arena->dirty_decay, &arena->dirty, all);
    decay_set(arena, &arena->muzzy_decay, &arena->muzzy, all);
}

/* Whether an epoch begins or not: what operations let begin is purged only here. */
static void decay_set_from_outside(je_arena *arena, je_decay *decay, je_extents *set) {
    if (decay->ms <= 0) return;
    al_je_decay_advance(decay, al_regions_now(arena->heap->heap.regions), set->pages);
    al_je_purge(arena, set, al_je_decay_limit(decay), false);
}

void al_je_decay_from_outside(je_arena *arena) {
    decay_set_from_outside(arena, &arena->dirty_decay, &arena->dirty);
    decay_set_from_outside(arena, &arena->muzzy_decay, &arena->muzzy);
}

/* Operations until the next look at the clock: geometric, but of 64 values only, each as likely as any other. The
 * table holds round(-61 ln((j + 1) / 64)), whose mean is nearly 61; so the mean is nearly JE_TICKS. */
static int64_t draw_ticks(al_rng *rng) {
    enum { SCALE = 61 };
    static const uint8_t table[64] = {
        254, 211, 187, 169, 156, 144, 135, 127, 120, 113, 107, 102, 97, 93, 89, 85, 81, 77, 74, 71, 68, 65,
        62,  60,  57,  55,  53,  50,  48,  46,  44,  42,  40,  39,  37, 35, 33, 32, 30, 29, 27, 26, 24, 23,
        21,  20,  19,  18,  16,  15,  14,  13,  12,  10,  9,   8,   7,  6,  5,  4,  3,  2,  1,  0,
    };
    return (int64_t)table[al_rng_next(rng) >> 58] * JE_TICKS / SCALE;
}

__attribute__((noinline)) static void look_at_clock(je_thread *thread, je_arena *arena) {
    thread->ticks = draw_ticks(&thread->rng);
    al_lock_take(&arena->lock);
    al_je_decay_now(arena, false);
    al_lock_drop(&arena->lock);
}

void al_je_tick(je_thread *thread, je_arena *arena, unsigned ticks) {
    thread->ticks -= ticks;
    if (thread->ticks < 0) look_at_clock(thread, arena);
}
