/* The full self-check, in this order, each step trusting what those before have shown:
 *
 *     books    arenas know themselves; their bases are what their blocks say; spare records are linked; clocks are sane
 *     memory   check_memory.c: records, the map and neighbours agree
 *     caches   check_caches.c: what threads keep was taken
 *     sets     check_sets.c: every free extent, and every slab with room, is where it is looked for
 *     totals   the arenas' sums are those of what was found */
#include "allocators/jemalloc/inspect.h"

/* --- books --- */

static bool check_base(const je_heap *heap, const je_base *base, al_flaw *flaw) {
    size_t used = 0, mapped = 0, count = 0;
    for (const je_block *block = base->blocks; block != NULL; block = block->next) {
        if (!al_je_block_sound(heap, block) || count++ == JE_BLOCKS_MOST)
            return al_blame(flaw, block, "jemalloc: a base leads to no block of metadata, or around");
        used += block->at - (uintptr_t)block;
        mapped += block->end - block->start;
    }
    if (mapped != base->mapped) return al_blame(flaw, base, "jemalloc: a base's mapped bytes are miscounted");
    return base->allocated <= used || al_blame(flaw, base, "jemalloc: a base gave out more than its blocks did");
}

/* No record is in use and spare; anchor: one that was passed, ever further on. */
static bool check_spare(const je_heap *heap, const je_arena *arena, al_flaw *flaw) {
    const je_extent *anchor = NULL;
    size_t count = 0;
    for (const je_extent *record = arena->spare; record != NULL; record = record->next) {
        bool is_record = record != anchor && al_je_readable(heap, record, sizeof *record, sizeof *record);
        if (!is_record) return al_blame(flaw, record, "jemalloc: spare records lead to none, or around");
        if (al_je_extent_known(heap, record)) return al_blame(flaw, record, "jemalloc: a spare record is in use");
        if (al_is_power_of_two(++count)) anchor = record;
    }
    return count == arena->spares || al_blame(flaw, arena, "jemalloc: spare records are miscounted");
}

static bool check_decay(const je_heap *heap, const je_decay *decay, al_flaw *flaw) {
    if (decay->ms <= 0)
        return decay->ms >= -1 || al_blame(flaw, decay, "jemalloc: a decay time is less than never");
    const uint64_t interval = (uint64_t)decay->ms * (1000000 / JE_EPOCHS), waits = decay->deadline - decay->epoch;
    if (decay->interval != interval) return al_blame(flaw, decay, "jemalloc: an epoch has not its length");
    return (decay->epoch <= al_regions_now(heap->heap.regions) && waits >= interval && waits < 2 * interval) ||
           al_blame(flaw, decay, "jemalloc: an epoch ends when it should not");
}

static bool check_arena(const je_heap *heap, const je_arena *arena, unsigned number, al_flaw *flaw) {
    if (!al_je_arena_known(heap, arena) || arena->number != number || arena->heap != heap)
        return al_blame(flaw, arena, "jemalloc: an arena does not know itself");
    if (arena->growth >= JE_PAGE_CLASSES)
        return al_blame(flaw, arena, "jemalloc: an arena's next mapping has no size");
    return check_base(heap, &arena->base, flaw) && check_spare(heap, arena, flaw) &&
           check_decay(heap, &arena->dirty_decay, flaw) && check_decay(heap, &arena->muzzy_decay, flaw);
}

/* --- totals --- */

static bool check_totals(const je_arena *arena, const je_census *census, al_flaw *flaw) {
    if (arena->active_pages != census->pages[JE_ACTIVE])
        return al_blame(flaw, arena, "jemalloc: active pages are miscounted");
    for (unsigned i = 0; i < JE_CLASSES - JE_SMALL_CLASSES; i++) {
        const je_large *large = &arena->large[i];
        if (large->current != census->large[i] || large->nmalloc - large->ndalloc != large->current)
            return al_blame(flaw, large, "jemalloc: large blocks are miscounted");
    }
    return census->internal_bytes == arena->internal_bytes ||
           al_blame(flaw, arena, "jemalloc: the allocator's own blocks are miscounted");
}

/* --- all of it --- */

static bool check_found(const je_heap *heap, je_arena *arena, const je_census *census, al_flaw *flaw) {
    return al_je_check_sets(heap, arena, census, flaw) && al_je_check_bins(heap, arena, census, flaw) &&
           check_totals(arena, census, flaw);
}

static bool check_all(je_look *look, al_flaw *flaw) {
    je_heap *heap = look->heap;
    je_arena *arena;
    unsigned arenas = 0;
    for (unsigned i = 0; (arena = al_je_arena_from(heap, &i)) != NULL; arenas = ++i)
        if (!check_arena(heap, arena, i, flaw)) return false;
    je_census *censuses = al_own_take(&look->kept.own, arenas * sizeof *censuses);
    if (censuses == NULL || look->kept.lost || look->blocks.lost)
        return al_blame(flaw, NULL, "jemalloc: no memory for the check itself");
    if (!al_je_check_memory(look, censuses, flaw) || !al_je_check_caches(look, censuses, flaw)) return false;
    for (unsigned i = 0; (arena = al_je_arena_from(heap, &i)) != NULL; i++)
        if (!check_found(heap, arena, &censuses[i], flaw)) return false;
    return true;
}

bool al_je_validate(al_heap *heap, al_flaw *flaw) {
    je_look look;
    al_je_look_open(&look, al_je_of(heap));
    bool sound = check_all(&look, flaw);
    al_je_look_close(&look);
    return sound;
}
