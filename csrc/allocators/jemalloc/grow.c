/* Memory from the system. An arena's mappings grow with it, by the page classes: 2, 2.5, 3, 3.5, 4, 5, ... MiB; what a
 * request does not need of one is retained. */
#include "allocators/jemalloc/jemalloc.h"

/* Gives [start, end) back: the mapping's edge then is `without`. Unless the system will not have it. */
static void cut_off(al_regions *regions, uintptr_t start, uintptr_t end, uintptr_t *edge, uintptr_t without) {
    if (start < end && al_regions_munmap(regions, (void *)start, end - start) == 0) *edge = without;
}

/* The system is believed first, and only if it does not place the mapping so, as much more is asked for as may have to
 * be cut off. */
bool al_je_map_pages(al_regions *regions, size_t bytes, size_t alignment, uintptr_t *at, je_span *got) {
    const size_t enough = bytes + alignment - JE_PAGE;
    void *out;
    if (al_regions_mmap(regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) != 0) return false;
    *at = (uintptr_t)out;
    *got = (je_span){*at, *at + bytes};
    if (al_is_aligned(*at, alignment)) return true;
    al_regions_munmap(regions, out, bytes);
    if (al_regions_mmap(regions, NULL, enough, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) != 0) return false;
    *at = al_align_up((uintptr_t)out, alignment);
    *got = (je_span){(uintptr_t)out, (uintptr_t)out + enough};
    cut_off(regions, got->start, *at, &got->start, *at);
    cut_off(regions, *at + bytes, got->end, &got->end, *at + bytes);
    return true;
}

static void set_break_end(je_heap *heap, uintptr_t end) { __atomic_store_n(&heap->break_end, end, __ATOMIC_RELAXED); }

/* Moves the break on from where it is now; heap->lock is held. Once refused, it is not tried again. What is got while a
 * stranger moves the break, too, stays unused. */
static bool move_break(je_heap *heap, const void *now, size_t bytes) {
    void *old;
    heap->break_spent = al_regions_brk(heap->heap.regions, (intptr_t)bytes, &old) != 0;
    if (heap->break_spent) return false;
    set_break_end(heap, (uintptr_t)old + bytes);
    return old == now;
}

/* By one move of the break, over what has to be left out before an alignment. */
static bool break_span(je_heap *heap, size_t bytes, size_t alignment, uintptr_t *at, je_span *got) {
    void *now;
    if (heap->break_spent || al_regions_break(heap->heap.regions, &now) != 0) return false;
    *at = al_align_up((uintptr_t)now, alignment);
    *got = (je_span){al_align_up((uintptr_t)now, JE_PAGE), *at + bytes};
    return move_break(heap, now, got->end - (uintptr_t)now);
}

/* What is of no use; a break that a stranger has moved on stays where it is. */
static void give_back(je_heap *heap, uintptr_t start, size_t bytes, bool mapped) {
    al_regions *regions = heap->heap.regions;
    void *now, *old;
    if (mapped)
        al_regions_munmap(regions, (void *)start, bytes);
    else if (al_regions_break(regions, &now) == 0 && (uintptr_t)now == start + bytes &&
             al_regions_brk(regions, -(intptr_t)bytes, &old) == 0)
        set_break_end(heap, start);
}

/* Pages and a map for them; heap->lock is held throughout, lest the break that is taken back be another's by then.
 * mapped: they do not come from the break. False: no memory. */
static bool get_pages(je_heap *heap, size_t bytes, size_t alignment, uintptr_t *at, je_span *got, bool *mapped) {
    const unsigned dss = heap->params.dss;
    const bool broken = dss == JE_DSS_PRIMARY && break_span(heap, bytes, alignment, at, got);
    *mapped = !broken && al_je_map_pages(heap->heap.regions, bytes, alignment, at, got);
    if (!broken && !*mapped && (dss != JE_DSS_SECONDARY || !break_span(heap, bytes, alignment, at, got))) return false;
    al_je_advise_huge(heap, *at, bytes);
    if (al_je_map_prepare(heap, got->start, got->end - JE_PAGE)) return true;
    give_back(heap, got->start, got->end - got->start, *mapped);
    return false;
}

/* A new extent: what was got. `at`: where the part that was asked for begins. NULL: no memory. Where nothing is
 * retained, mappings may be merged: no head divides them. */
static je_extent *map_extent(je_arena *arena, size_t bytes, size_t alignment, uintptr_t *at) {
    je_heap *heap = arena->heap;
    je_extent *extent = al_je_record_take(arena);
    if (extent == NULL) return NULL;
    je_span got;
    bool mapped;
    al_lock_take(&heap->heap.lock);
    const bool done = get_pages(heap, bytes, alignment, at, &got, &mapped);
    al_lock_drop(&heap->heap.lock);
    if (!done) {
        al_je_record_keep(arena, extent);
        return NULL;
    }
    al_je_record_fill(extent, got.start, got.end - got.start, arena->next_serial++, mapped);
    extent->head = heap->params.retain;
    al_je_map_enter(heap, extent);
    return extent;
}

/* The break stands there and moves on. */
static bool break_behind(je_heap *heap, uintptr_t end, size_t bytes) {
    void *now;
    if (heap->break_spent || al_regions_break(heap->heap.regions, &now) != 0 || (uintptr_t)now != end) return false;
    return move_break(heap, now, bytes);
}

/* Without retained pages the system is asked for those right behind; an extent in no set, not a head. NULL: there is
 * something else, or the break. */
je_extent *al_je_grow_behind(je_arena *arena, uintptr_t end, size_t bytes) {
    je_heap *heap = arena->heap;
    je_extent *extent = al_je_record_take(arena);
    if (extent == NULL) return NULL;
    void *at = (void *)end;
    al_lock_take(&heap->heap.lock);
    const bool broken = heap->params.dss == JE_DSS_PRIMARY && break_behind(heap, end, bytes);
    const bool mapped = !broken && al_regions_mmap(heap->heap.regions, (void *)end, bytes, AL_PROT_READ_WRITE,
                                                   AL_PLACE_HINT, &at) == 0;
    const bool fits = broken || (mapped && (uintptr_t)at == end && !al_je_of_break(heap, end - 1));
    if (fits) al_je_advise_huge(heap, end, bytes);
    const bool done = fits && al_je_map_prepare(heap, end, end + bytes - JE_PAGE);
    if (!done && (mapped || broken)) give_back(heap, (uintptr_t)at, bytes, mapped);
    al_lock_drop(&heap->heap.lock);
    if (!done) {
        /* Theirs then thinks of the break, and has another record ready for what must be left out there. */
        je_extent *another = heap->params.dss == JE_DSS_DISABLED ? NULL : al_je_record_take(arena);
        if (another != NULL) al_je_record_keep(arena, another);
        al_je_record_keep(arena, extent);
        return NULL;
    }
    al_je_record_fill(extent, end, bytes, arena->next_serial++, mapped);
    return extent;
}

/* What lies before `at` and behind `bytes` from there is retained. NULL: no memory for a record; all of it is. */
static je_extent *trim_to(je_arena *arena, je_extent *extent, uintptr_t at, size_t bytes) {
    if (at > extent->address) {
        je_extent *rest = al_je_pages_split(arena, extent, at - extent->address);
        al_je_pages_merge_in(arena, &arena->retained, extent);
        if (rest == NULL) return NULL;
        extent = rest;
    }
    if (extent->bytes > bytes) {
        je_extent *rest = al_je_pages_split(arena, extent, bytes);
        al_je_pages_merge_in(arena, &arena->retained, rest == NULL ? extent : rest);
        if (rest == NULL) return NULL;
    }
    return extent;
}

/* What the break had to be moved over before an alignment is given back. NULL: no memory for a record. */
static je_extent *leave_gap(je_arena *arena, je_extent *extent, uintptr_t at) {
    je_extent *rest = al_je_pages_split(arena, extent, at - extent->address);
    al_je_release(arena, extent);
    return rest;
}

/* The next mapping of the series that is large enough, wherever in it the alignment falls. */
static je_extent *grow_in_steps(je_arena *arena, size_t bytes, size_t alignment) {
    size_t enough;
    if (__builtin_add_overflow(bytes, alignment - JE_PAGE, &enough) || enough > PTRDIFF_MAX) return NULL;
    unsigned step = (unsigned)al_max(arena->growth, al_je_page_class_of(enough));
    if (step >= JE_PAGE_CLASSES - 1) return NULL;
    uintptr_t at;
    je_extent *extent = map_extent(arena, al_je_page_class_bytes(step), JE_PAGE, &at);
    if (extent == NULL) return NULL;
    arena->growth = step + 1;
    return trim_to(arena, extent, al_align_up(at, alignment), bytes);
}

je_extent *al_je_grow(je_arena *arena, size_t bytes, size_t alignment) {
    je_extent *extent = arena->heap->params.retain ? grow_in_steps(arena, bytes, alignment) : NULL;
    if (extent != NULL) return extent;
    uintptr_t at;
    extent = map_extent(arena, bytes, alignment, &at);
    if (extent == NULL) return NULL;
    const bool gap = at > extent->address && al_je_of_break(arena->heap, at);
    return gap ? leave_gap(arena, extent, at) : trim_to(arena, extent, at, bytes);
}
