/* Every stretch of memory: what its record says, what the map says of it, and what its neighbours allow; counted. */
#include "allocators/jemalloc/inspect.h"

typedef struct checker {
    const je_look *look;
    je_census *censuses;
    al_flaw *flaw;
} checker;

static bool blame(const checker *c, const je_extent *extent, const char *what) {
    return al_blame(c->flaw, (const void *)extent->address, what);
}

/* --- the map --- */

static bool check_words(const checker *c, const je_extent *extent) {
    const al_page_word word = al_page_word_of(extent, extent->class);
    const size_t last = extent->bytes - JE_PAGE;
    const size_t step = al_je_is_active_slab(extent) || last == 0 ? JE_PAGE : last;
    for (size_t at = 0; at <= last; at += step) {
        al_page_word expected = at == 0 ? word | extent->head : word;
        if (al_je_word_at(c->look->heap, extent->address + at) != expected)
            return blame(c, extent, "jemalloc: the map says something else of an extent than its record");
    }
    return true;
}

/* --- one extent --- */

static size_t free_regions(const je_extent *slab) {
    size_t count = 0;
    for (size_t i = 0; i < JE_SLAB_REGIONS_MOST / 64; i++) count += (size_t)__builtin_popcountll(slab->free[i]);
    return count;
}

static bool check_slab(const checker *c, const je_extent *slab, je_census *census) {
    const je_slab_layout *layout = al_je_layout(c->look->heap, slab);
    const size_t free = free_regions(slab);
    if (al_bitmap_next(slab->free, JE_SLAB_REGIONS_MOST, layout->regions) < JE_SLAB_REGIONS_MOST)
        return blame(c, slab, "jemalloc: a slab has free regions beyond its end");
    if (free != slab->free_regions) return blame(c, slab, "jemalloc: a slab's free regions are miscounted");
    if (free == layout->regions) return blame(c, slab, "jemalloc: an empty slab was not given back");
    if (slab->internal) return blame(c, slab, "jemalloc: a slab counts as the allocator's own");
    census->slabs[slab->class]++;
    census->regions[slab->class] += layout->regions - free;
    census->partials[slab->class] += free > 0 && slab != al_je_shard_of(c->look->heap, slab)->current;
    return true;
}

/* The block begins in the first page, at a line; the pad has room for that. */
static bool check_large(const checker *c, const je_extent *large, je_census *census) {
    enum { LINE = 64 };
    const size_t pad = c->look->heap->params.pad, usable = al_je_class_bytes(large->class);
    if (large->bytes != usable + pad) return blame(c, large, "jemalloc: a large extent has not its class's bytes");
    if (large->offset >= al_max(pad, 1) || !al_is_aligned(large->offset, LINE))
        return blame(c, large, "jemalloc: a large block begins where none may");
    census->large[large->class - JE_SMALL_CLASSES]++;
    if (large->internal) census->internal_bytes += usable;
    return true;
}

static bool check_extent(const checker *c, const je_extent *extent) {
    je_census *census = &c->censuses[extent->arena->number];
    census->extents[extent->state]++;
    census->pages[extent->state] += extent->bytes / JE_PAGE;
    if (!check_words(c, extent)) return false;
    if (extent->serial >= extent->arena->next_serial)
        return blame(c, extent, "jemalloc: an extent has a serial number that is not given out yet");
    if (extent->state == JE_ACTIVE)
        return al_je_is_slab(extent) ? check_slab(c, extent, census) : check_large(c, extent, census);
    if (extent->class != JE_NO_CLASS) return blame(c, extent, "jemalloc: a free extent has a class");
    return !extent->internal || blame(c, extent, "jemalloc: a free extent counts as the allocator's own");
}

/* --- neighbours --- */

/* What is retained is not unmapped: all of a mapping is there, from its head on, and of one age. Dirty neighbours are
 * merged late, when they are purged. */
static bool check_neighbours(const checker *c, const je_stretch *below, const je_stretch *s) {
    const je_extent *extent = s->extent, *lower = below->kind == JE_EXTENT && below->end == s->start ? below->extent
                                                                                                  : NULL;
    if (extent->head) return true;
    if (c->look->heap->params.retain) {
        if (lower == NULL || lower->arena != extent->arena)
            return blame(c, extent, "jemalloc: a mapping begins with an extent that is no head");
        if (lower->serial != extent->serial)
            return blame(c, extent, "jemalloc: extents of one mapping have different serial numbers");
    }
    bool merges = extent->state == JE_MUZZY || extent->state == JE_RETAINED;
    bool alike = lower != NULL && lower->arena == extent->arena && lower->state == extent->state;
    return !merges || !alike || blame(c, extent, "jemalloc: two free neighbours were not merged");
}

bool al_je_check_memory(const je_look *look, je_census *censuses, al_flaw *flaw) {
    const checker c = {look, censuses, flaw};
    je_stretch s, below = {.kind = JE_LOST};
    for (uintptr_t at = 0; al_je_stretch_after(look, at, &s); at = s.end, below = s) {
        if (s.kind == JE_STRANGE)
            return al_blame(flaw, (const void *)s.start, "jemalloc: the map leads to no sound extent");
        if (s.kind == JE_EXTENT && (!check_extent(&c, s.extent) || !check_neighbours(&c, &below, &s))) return false;
    }
    return true;
}
