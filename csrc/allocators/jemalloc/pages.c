/* Extents taken from the sets and given to them: cut and merged on the way. */
#include "allocators/jemalloc/jemalloc.h"

/* --- records --- */

je_extent *al_je_record_take(je_arena *arena) {
    je_extent *record = arena->spare;
    if (record != NULL) {
        arena->spare = record->next;
        arena->spares--;
        return record;
    }
    je_heap *heap = arena->heap;
    al_lock_take(&heap->heap.lock);
    record = al_je_base_take(heap, &arena->base, sizeof *record, sizeof *record);
    al_lock_drop(&heap->heap.lock);
    if (record != NULL) record->arena = arena;
    return record;
}

void al_je_record_fill(je_extent *record, uintptr_t address, size_t bytes, uint64_t serial, bool zeroed) {
    record->address = address;
    record->bytes = bytes;
    record->serial = serial;
    record->state = JE_ACTIVE;
    record->class = JE_NO_CLASS;
    record->head = record->internal = false;
    record->zeroed = zeroed;
}

void al_je_record_keep(je_arena *arena, je_extent *record) {
    record->next = arena->spare;
    arena->spare = record;
    arena->spares++;
}

/* --- cutting and merging --- */

/* Leaves for the pages on both sides of a cut, which as a rule are there. False: no memory. */
static bool prepare_cut(je_heap *heap, uintptr_t cut) {
    const uintptr_t page = al_je_page_of(cut);
    if (al_pages_leaf_of(&heap->map, page - 1) != NULL && al_pages_leaf_of(&heap->map, page) != NULL) return true;
    al_lock_take(&heap->heap.lock);
    bool made = al_je_map_prepare(heap, cut - JE_PAGE, cut);
    al_lock_drop(&heap->heap.lock);
    return made;
}

je_extent *al_je_pages_split(je_arena *arena, je_extent *extent, size_t bytes) {
    const uintptr_t cut = extent->address + bytes;
    je_extent *rest = al_je_record_take(arena);
    if (rest == NULL) return NULL;
    if (!prepare_cut(arena->heap, cut)) {
        al_je_record_keep(arena, rest);
        return NULL;
    }
    al_je_record_fill(rest, cut, extent->bytes - bytes, extent->serial, extent->zeroed);
    rest->state = extent->state;
    extent->bytes = bytes;
    al_je_map_enter(arena->heap, extent);
    al_je_map_enter(arena->heap, rest);
    return rest;
}

static void merge(je_arena *arena, je_extent *lower, je_extent *upper) {
    lower->bytes += upper->bytes;
    if (upper->serial < lower->serial) lower->serial = upper->serial;
    lower->zeroed = lower->zeroed && upper->zeroed;
    al_je_record_keep(arena, upper);
}

/* Where mappings are never unmapped and no head lies between, neighbours are of one mapping, and so of one arena. Else
 * a part may have been unmapped, and what lies there now be another arena's: of its record no more may be read than
 * whose it is, which never changes. */
static je_extent *ours(const je_arena *arena, al_page_word word) {
    je_extent *extent = al_je_word_extent(word);
    return extent != NULL && extent->arena == arena ? extent : NULL;
}

/* The neighbours that an extent may be merged with; NULL: there is none. */
static je_extent *above(const je_arena *arena, const je_extent *extent) {
    al_page_word word = al_je_word_or_none(&arena->heap->map, al_je_end(extent));
    return al_je_word_head(word) ? NULL : ours(arena, word);
}

static je_extent *below(const je_arena *arena, const je_extent *extent) {
    return extent->head ? NULL : ours(arena, al_je_word_or_none(&arena->heap->map, extent->address - 1));
}

je_extent *al_je_pages_merge_one(je_arena *arena, je_extents *set, je_extent *extent) {
    je_extent *upper = above(arena, extent), *lower = below(arena, extent);
    if (upper != NULL && upper->state == set->state) {
        al_je_extents_remove(set, upper);
        merge(arena, extent, upper);
    } else if (lower != NULL && lower->state == set->state) {
        al_je_extents_remove(set, lower);
        merge(arena, lower, extent);
        extent = lower;
    } else {
        return NULL;
    }
    al_je_map_enter(arena->heap, extent);
    return extent;
}

/* All that lies free around it, of this set. */
static je_extent *merge_all(je_arena *arena, je_extents *set, je_extent *extent) {
    for (je_extent *merged; (merged = al_je_pages_merge_one(arena, set, extent)) != NULL;) extent = merged;
    return extent;
}

void al_je_pages_merge_in(je_arena *arena, je_extents *set, je_extent *extent) {
    al_je_extents_insert(set, merge_all(arena, set, extent));
}

/* --- taking --- */

/* Takes `bytes` out of an extent of the set; what is left on both sides stays in it. NULL: no memory for a record. */
static je_extent *cut(je_arena *arena, je_extents *set, je_extent *extent, size_t bytes, size_t alignment) {
    size_t lead = al_align_up(extent->address, alignment) - extent->address;
    al_je_extents_remove(set, extent);
    if (lead > 0) {
        je_extent *rest = al_je_pages_split(arena, extent, lead);
        al_je_extents_insert(set, extent);
        if (rest == NULL) return NULL;
        extent = rest;
    }
    if (extent->bytes > bytes) {
        je_extent *rest = al_je_pages_split(arena, extent, bytes);
        al_je_extents_insert(set, rest == NULL ? extent : rest);
        if (rest == NULL) return NULL;
    }
    return extent;
}

enum { ANY_FIT = 64 };

static je_extent *recycle(je_arena *arena, je_extents *set, size_t bytes, size_t alignment, unsigned active_fit) {
    je_extent *extent = al_je_extents_fit(set, bytes, alignment, active_fit);
    return extent == NULL ? NULL : cut(arena, set, extent, bytes, alignment);
}

static bool is_dirty(const je_extent *extent) { return extent != NULL && extent->state == JE_DIRTY; }

/* Whether this begins a row of dirty extents that, were they merged, would do. */
static bool begins_fitting_row(const je_arena *arena, const je_extent *extent, size_t bytes, size_t alignment) {
    if (is_dirty(below(arena, extent))) return false;
    uintptr_t at = al_align_up(extent->address, alignment), end = al_je_end(extent);
    for (const je_extent *next; is_dirty(next = above(arena, extent)); extent = next) end = al_je_end(next);
    return at < end && end - at >= bytes;
}

/* The system has no more: dirty neighbours are merged after all, and cut however large they are. The real library fails
 * here; but what was freed has to be enough for as much again. */
static je_extent *take_last(je_arena *arena, size_t bytes, size_t alignment) {
    je_extents *set = &arena->dirty;
    for (const al_link *link = set->recency.next; link != &set->recency; link = link->next) {
        je_extent *extent = al_container(link, je_extent, recency);
        if (!begins_fitting_row(arena, extent, bytes, alignment)) continue;
        al_je_extents_remove(set, extent);
        extent = merge_all(arena, set, extent);
        al_je_extents_insert(set, extent);
        return cut(arena, set, extent, bytes, alignment);
    }
    return NULL;
}

je_extent *al_je_pages_take(je_arena *arena, size_t bytes, size_t alignment, unsigned class) {
    je_extent *extent = recycle(arena, &arena->dirty, bytes, alignment, arena->heap->params.active_fit);
    if (extent == NULL && arena->muzzy_decay.ms != 0)
        extent = recycle(arena, &arena->muzzy, bytes, alignment, ANY_FIT);
    if (extent == NULL) extent = recycle(arena, &arena->retained, bytes, alignment, ANY_FIT);
    if (extent == NULL) extent = al_je_grow(arena, bytes, alignment);
    if (extent == NULL) extent = take_last(arena, bytes, alignment);
    if (extent == NULL) return NULL;
    extent->state = JE_ACTIVE;
    extent->class = (uint8_t)class;
    al_je_map_enter(arena->heap, extent);
    arena->active_pages += bytes / JE_PAGE;
    return extent;
}

void al_je_pages_zero(je_heap *heap, const je_extent *extent) {
    if (extent->zeroed) return;
    int error = EINVAL;
    if (heap->params.thp != JE_THP_ALWAYS) {
        al_lock_take(&heap->heap.lock);
        error = al_regions_madvise(heap->heap.regions, (void *)extent->address, extent->bytes, AL_ADVISE_DONTNEED);
        al_lock_drop(&heap->heap.lock);
    }
    if (error != 0) memset((void *)extent->address, 0, extent->bytes);
}

/* --- giving --- */

static bool decays_eagerly(const je_arena *arena) {
    return arena->dirty_decay.ms != -1 && arena->muzzy_decay.ms != -1;
}

/* Large extents are merged at once, and what grows to a huge one so is not kept dirty at all. */
static void enter_dirty(je_arena *arena, je_extent *extent) {
    if (extent->bytes >= JE_LARGE_LEAST) {
        extent = merge_all(arena, &arena->dirty, extent);
        if (extent->bytes >= arena->eager_from && decays_eagerly(arena)) {
            arena->dirty_purges.advices++;
            arena->dirty_purges.pages += extent->bytes / JE_PAGE;
            al_je_release(arena, extent);
            return;
        }
    }
    al_je_extents_insert(&arena->dirty, extent);
}

void al_je_pages_give(je_arena *arena, je_extent *extent) {
    arena->active_pages -= extent->bytes / JE_PAGE;
    extent->class = JE_NO_CLASS;
    extent->zeroed = extent->internal = false;
    al_je_map_enter(arena->heap, extent);
    enter_dirty(arena, extent);
    if (arena->dirty_decay.ms == 0) al_je_purge(arena, &arena->dirty, 0, true);
    if (al_je_in_background(arena->heap)) al_je_background_given(arena);
}

/* --- in place --- */

/* The free pages behind an extent; NULL: there are not as many. */
static je_extent *take_behind(je_arena *arena, const je_extent *extent, size_t bytes) {
    je_extent *upper = above(arena, extent);
    if (upper != NULL && upper->state != JE_ACTIVE && upper->bytes >= bytes)
        return cut(arena, al_je_extents_of(arena, upper->state), upper, bytes, JE_PAGE);
    return arena->heap->params.retain ? NULL : al_je_grow_behind(arena, al_je_end(extent), bytes);
}

bool al_je_pages_expand(je_arena *arena, je_extent *extent, size_t more) {
    je_extent *upper = take_behind(arena, extent, more);
    if (upper == NULL) return false;
    if (arena->heap->params.zero) al_je_pages_zero(arena->heap, upper);
    merge(arena, extent, upper);
    arena->active_pages += more / JE_PAGE;
    return true;
}

bool al_je_pages_shrink(je_arena *arena, je_extent *extent, size_t bytes, unsigned class) {
    unsigned old = extent->class;
    extent->class = (uint8_t)class;
    je_extent *rest = al_je_pages_split(arena, extent, bytes);
    if (rest == NULL) {
        extent->class = (uint8_t)old;
        return false;
    }
    al_je_pages_give(arena, rest);
    return true;
}
