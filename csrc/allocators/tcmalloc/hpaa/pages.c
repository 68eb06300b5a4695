/* Where a span of pages comes from, and where it goes. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

static size_t hugepages_for(size_t pages) { return (pages + HP_HUGE_PAGES - 1) / HP_HUGE_PAGES; }

/* --- taking --- */

/* So many pages lie at the start of these hugepages, which are nobody's. What they leave of the last one is donated. */
static uintptr_t settle(hp_heap *heap, hp_hugepage *first, size_t pages) {
    const size_t whole = pages / HP_HUGE_PAGES, tail = pages % HP_HUGE_PAGES;
    al_hp_mark(&heap->pages, first, whole, HP_WHOLE);
    heap->pages.whole_hugepages += whole;
    if (tail > 0) al_hp_filler_add(heap, al_hp_nth(&heap->pages, first, whole), tail, true);
    return first->node.address;
}

static uintptr_t take_own(hp_heap *heap, size_t pages) {
    hp_hugepage *first = al_hp_cache_take(heap, hugepages_for(pages));
    return first == NULL ? 0 : settle(heap, first, pages);
}

static uintptr_t take_small(hp_heap *heap, size_t pages) {
    const uintptr_t found = al_hp_filler_take(heap, pages);
    if (found != 0) return found;
    hp_hugepage *hugepage = al_hp_cache_take(heap, 1);
    if (hugepage == NULL) return 0;
    al_hp_filler_add(heap, hugepage, pages, false);
    return hugepage->node.address;
}

static uintptr_t take(hp_heap *heap, size_t pages) {
    if (pages <= HP_SMALL_PAGES) return take_small(heap, pages);
    uintptr_t found = pages < HP_HUGE_PAGES ? al_hp_filler_take(heap, pages) : 0;
    if (found == 0 && pages % HP_HUGE_PAGES != 0) found = al_hp_regions_take(heap, pages);
    return found != 0 ? found : take_own(heap, pages);
}

/* Of more hugepages than needed those that are aligned; the others go back. */
static uintptr_t take_far_aligned(hp_heap *heap, size_t pages, size_t alignment) {
    const size_t count = hugepages_for(pages), extra = (alignment >> HP_HUGE_BITS) - 1;
    hp_hugepage *first = al_hp_cache_take(heap, count + extra);
    if (first == NULL) return 0;
    const uintptr_t address = al_align_up(first->node.address, alignment);
    const size_t before = (address - first->node.address) >> HP_HUGE_BITS;
    hp_hugepage *aligned = al_hp_nth(&heap->pages, first, before);
    settle(heap, aligned, pages); /* first of all: what goes back must find its neighbours marked */
    if (extra > before) al_hp_cache_give(heap, al_hp_nth(&heap->pages, aligned, count), extra - before);
    if (before > 0) al_hp_cache_give(heap, first, before);
    return address;
}

/* Of a hugepage of its own, as theirs is. */
static uintptr_t take_aligned(hp_heap *heap, size_t pages, size_t alignment) {
    return alignment <= HP_HUGE ? take_own(heap, pages) : take_far_aligned(heap, pages, alignment);
}

/* The record comes first: without one nothing is taken. */
static tc_span *span_of(tc_base *base, size_t pages, size_t alignment) {
    hp_heap *heap = al_hp_base(base);
    const size_t gib_pages = HP_REGION_PAGES;
    if (pages / gib_pages >= HP_PAGES_MOST || alignment >> 30 >= HP_PAGES_MOST) return NULL;
    tc_span *span = al_tc_span_new(base, 0, pages);
    if (span == NULL) return NULL;
    span->address = alignment <= TC_PAGE ? take(heap, pages) : take_aligned(heap, pages, alignment);
    if (span->address == 0) {
        al_tc_span_forget(base, span);
        return NULL;
    }
    heap->pages.in_use_pages += pages;
    al_tc_map_enter(base, span);
    return span;
}

tc_span *al_hp_pages_take(tc_base *base, size_t pages) { return span_of(base, pages, TC_PAGE); }

tc_span *al_hp_pages_take_aligned(tc_base *base, size_t pages, size_t alignment) {
    return span_of(base, pages, alignment);
}

/* --- giving back --- */

/* The filler has done with it. What was given back in part is given back as a whole. */
static void give_emptied(hp_heap *heap, hp_hugepage *hugepage) {
    if (hugepage->released_pages > 0) al_hp_filler_unback(heap, hugepage);
    if (hugepage->released_pages == HP_HUGE_PAGES)
        al_hp_cache_give_unbacked(heap, hugepage);
    else
        al_hp_cache_give(heap, hugepage, 1);
}

/* Whole hugepages, and then part of one that the filler has. */
static void give_own(hp_heap *heap, hp_hugepage *first, size_t pages) {
    const size_t whole = pages / HP_HUGE_PAGES, tail = pages % HP_HUGE_PAGES;
    size_t count = whole;
    heap->pages.whole_hugepages -= whole;
    if (tail > 0) {
        hp_hugepage *last = al_hp_nth(&heap->pages, first, whole);
        const bool emptied = al_hp_filler_give(heap, last, 0, tail);
        if (emptied && last->released_pages == 0)
            count++;
        else if (emptied)
            give_emptied(heap, last);
    }
    if (count > 0) al_hp_cache_give(heap, first, count);
}

void al_hp_pages_give(tc_base *base, tc_span *span) {
    hp_heap *heap = al_hp_base(base);
    const uintptr_t address = span->address;
    const size_t pages = span->pages, page = address / TC_PAGE % HP_HUGE_PAGES;
    hp_hugepage *hugepage = al_hp_hugepage(&heap->pages, address);
    al_tc_span_forget(base, span);
    heap->pages.in_use_pages -= pages;
    if (hugepage->state == HP_IN_REGION)
        al_hp_regions_give(heap, address, pages);
    else if (hugepage->state == HP_WHOLE)
        give_own(heap, hugepage, pages);
    else if (al_hp_filler_give(heap, hugepage, page, pages))
        give_emptied(heap, hugepage);
}

/* --- the start --- */

static void init_series(hp_series *series, hp_epoch *epochs, unsigned count, uint64_t step) {
    *series = (hp_series){.step = step, .count = count, .epochs = epochs};
}

void al_hp_pages_init(hp_heap *heap) {
    hp_pages *pages = &heap->pages;
    hp_cache *cache = &pages->cache;
    heap->base.spans = (tc_records){.bytes = sizeof(hp_span)};
    heap->base.metadata = al_hp_metadata;
    heap->base.pages_take = al_hp_pages_take;
    heap->base.pages_give = al_hp_pages_give;
    pages->system.rng = (al_rng){heap->params.seed};
    pages->unbacked.state = HP_UNBACKED;
    cache->free.state = HP_CACHED;
    cache->limit = cache->limit_least = heap->params.cache_limit;
    cache->limit_changed = al_regions_now(heap->base.heap.regions);
    const uint64_t step = HP_CACHE_WINDOW / HP_CACHE_EPOCHS;
    init_series(&cache->usages, cache->epochs[0], HP_CACHE_EPOCHS, step);
    init_series(&cache->off_peaks, cache->epochs[1], HP_CACHE_EPOCHS, step);
    cache->off_peaks.momentary = true;
    init_series(&cache->sizes, cache->epochs[2], HP_CACHE_EPOCHS, step);
    init_series(&pages->filler.demand, pages->filler.epochs, HP_DEMAND_EPOCHS, HP_SECOND);
}
