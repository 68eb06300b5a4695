/* Sets of free extents, and the bins' slabs, against what memory was found to hold: each member is one of those that
 * were found, no way goes around, and there are as many; so every one is there once. */
#include "allocators/jemalloc/inspect.h"

/* --- sets --- */

static bool check_recency(const je_heap *heap, const je_arena *arena, je_extents *set, const je_census *census,
                          al_flaw *flaw) {
    size_t pages = 0, bytes = 0;
    je_member m = {0};
    for (unsigned i = 0; i < JE_PAGE_CLASSES; i++) bytes += set->bytes[i];
    while (al_je_recency_next(heap, set, &m)) {
        if (m.extent->arena != arena || m.extent->state != set->state)
            return al_blame(flaw, (const void *)m.extent->address, "jemalloc: a set holds an extent of another");
        pages += m.extent->bytes / JE_PAGE;
    }
    if (m.strayed) return al_blame(flaw, m.stray, "jemalloc: a set leads to where no free extent is, or around");
    if (m.position != census->extents[set->state])
        return al_blame(flaw, set, "jemalloc: a free extent is in no set");
    return (pages == set->pages && pages * JE_PAGE == bytes) ||
           al_blame(flaw, set, "jemalloc: a set's pages are miscounted");
}

/* No extent comes before its parent, and but for one all have one; of a lazy queue nothing is known. */
static bool check_queue(const je_heap *heap, const je_queue *queue, al_flaw *flaw, size_t *count,
                        bool (*check)(const je_extent *, const void *), const void *context, const char *misfit) {
    const bool lazy = *(const unsigned char *)&queue->lazy; /* damaged, it may be neither true nor false */
    je_member m = {0};
    for (; al_je_queued_next(heap, queue, &m); ++*count) {
        const void *at = (const void *)m.extent->address;
        const je_extent *parent = al_je_parent(m.extent);
        const bool ordered = parent == NULL ? m.position == 0 : al_je_before(parent, m.extent);
        if (!check(m.extent, context)) return al_blame(flaw, at, misfit);
        if (!ordered && !lazy)
            return al_blame(flaw, at, "jemalloc: a queue's order is wrong");
    }
    return !m.strayed || al_blame(flaw, m.stray, "jemalloc: a queue leads to where no extent is, or around");
}

typedef struct place {
    const je_heap *heap;
    const je_arena *arena;
    unsigned state;
    unsigned class;  /* of slabs; else the queue's number */
    unsigned shard;  /* of slabs */
} place;

static bool is_home(const je_extent *extent, const void *context) {
    const place *home = context;
    return extent->arena == home->arena && extent->state == home->state &&
           al_je_extents_queue(extent->bytes) == home->class;
}

static bool check_queues(const je_heap *heap, const je_arena *arena, const je_extents *set, const je_census *census,
                         al_flaw *flaw) {
    size_t count = 0, before = 0;
    for (unsigned i = 0; i < JE_PAGE_CLASSES; i++, before = count) {
        const je_queue *queue = &set->queues[i];
        if ((queue->root != NULL) != al_bitmap_test(set->nonempty, i))
            return al_blame(flaw, queue->root, "jemalloc: the map of nonempty queues is wrong");
        const place home = {heap, arena, set->state, i, 0};
        if (!check_queue(heap, queue, flaw, &count, is_home, &home, "jemalloc: a queue holds what belongs elsewhere"))
            return false;
        if (set->counts[i] != count - before)
            return al_blame(flaw, queue->root, "jemalloc: a queue's extents are miscounted");
    }
    return count == census->extents[set->state] || al_blame(flaw, set, "jemalloc: a free extent is in no queue");
}

bool al_je_check_sets(const je_heap *heap, je_arena *arena, const je_census *census, al_flaw *flaw) {
    for (je_state state = JE_DIRTY; state <= JE_RETAINED; state++) {
        je_extents *set = al_je_extents_of(arena, state);
        if (set->state != state) return al_blame(flaw, set, "jemalloc: a set is not of its state");
        if (!check_recency(heap, arena, set, census, flaw) || !check_queues(heap, arena, set, census, flaw))
            return false;
    }
    return true;
}

/* --- bins --- */

static bool is_partial(const je_extent *extent, const void *context) {
    const place *home = context;
    return extent->arena == home->arena && al_je_is_active_slab(extent) && extent->class == home->class &&
           extent->shard == home->shard && extent->free_regions > 0 &&
           extent != al_je_shard_of(home->heap, extent)->current;
}

static bool check_current(const je_heap *heap, const je_shard *shard, const place *home, al_flaw *flaw) {
    const je_extent *slab = shard->current;
    if (slab == NULL) return true;
    bool fits = al_je_extent_known(heap, slab) && al_je_is_active_slab(slab) && slab->class == home->class &&
                slab->arena == home->arena && slab->shard == home->shard;
    return fits || al_blame(flaw, slab, "jemalloc: a bin's current slab is none of its slabs");
}

static bool check_figures(const je_bin *bin, const je_census *census, unsigned class, al_flaw *flaw) {
    if (bin->slabs != census->slabs[class]) return al_blame(flaw, bin, "jemalloc: a bin's slabs are miscounted");
    if (bin->regions != census->regions[class]) return al_blame(flaw, bin, "jemalloc: a bin's regions are miscounted");
    return bin->nmalloc - bin->ndalloc == bin->regions ||
           al_blame(flaw, bin, "jemalloc: a bin's regions are not those taken and not given back");
}

static bool check_shards(const je_heap *heap, je_arena *arena, unsigned class, al_flaw *flaw, size_t *count) {
    for (unsigned i = 0; i < al_je_shards(heap, class); i++) {
        const je_shard *shard = al_je_shard(heap, arena, class, i);
        const place home = {heap, arena, JE_ACTIVE, class, i};
        if (!check_current(heap, shard, &home, flaw) ||
            !check_queue(heap, &shard->partial, flaw, count, is_partial, &home,
                         "jemalloc: a bin's queue holds what is no slab of it with room"))
            return false;
    }
    return true;
}

bool al_je_check_bins(const je_heap *heap, je_arena *arena, const je_census *census, al_flaw *flaw) {
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) {
        const je_bin *bin = &arena->bins[class];
        size_t count = 0;
        if (!check_shards(heap, arena, class, flaw, &count) || !check_figures(bin, census, class, flaw)) return false;
        if (count != census->partials[class] || count != bin->partials)
            return al_blame(flaw, bin, "jemalloc: a slab with room is not in its bin's queue");
    }
    return true;
}
