/* Free runs of pages, and hugepages, one by one. What is read may be damaged: whoever looks trusts the areas, which lie
 * in no heap's memory, and of the records nothing. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"
#include "parts/finds.h"

static const char *const state_names[HP_STATES] = {
    [HP_NOTHING] = "none",   [HP_UNBACKED] = "unbacked", [HP_CACHED] = "cached",
    [HP_WHOLE] = "whole", [HP_FILLED] = "filled",     [HP_IN_REGION] = "region",
};
static const char *const shelf_names[HP_SHELVES] = {
    [HP_REGULAR] = "regular", [HP_DONATED] = "donated", [HP_PARTLY] = "partly", [HP_RELEASED] = "released"};

static const char *state_name(const hp_hugepage *hugepage) {
    return state_names[hugepage->state < HP_STATES ? hugepage->state : HP_NOTHING];
}
static const char *shelf_name(const hp_hugepage *hugepage) {
    return hugepage->state != HP_FILLED || hugepage->shelf >= HP_SHELVES ? "" : shelf_names[hugepage->shelf];
}

/* --- free runs --- */

/* Neighbours in the same state. */
static uintptr_t range_end(const hp_pages *pages, uintptr_t address, uint8_t state) {
    uintptr_t end = al_align_down(address, HP_HUGE);
    for (const hp_hugepage *next; (next = al_hp_hugepage_or_none(pages, end)) != NULL && next->state == state;)
        end += HP_HUGE;
    return end;
}

/* Of a map that begins at `start`. */
static bool gap_at(const uint64_t *used, size_t bits, uintptr_t start, uintptr_t address, uintptr_t *end) {
    const size_t page = (address - start) >> TC_PAGE_BITS;
    if (page >= bits || al_bitmap_test(used, page)) return false;
    *end = start + (al_bitmap_next(used, bits, page) << TC_PAGE_BITS);
    return true;
}

static const hp_region *sound_region(const hp_heap *heap, const hp_hugepage *hugepage, uintptr_t address) {
    const hp_region *region = al_hp_region_of(&heap->pages, hugepage);
    return region != NULL && address - region->address < HP_GIB ? region : NULL;
}

bool al_hp_free_at(const hp_heap *heap, uintptr_t address, uintptr_t *end) {
    const hp_hugepage *hugepage = al_hp_hugepage_or_none(&heap->pages, address);
    if (hugepage == NULL) return false;
    const uintptr_t start = al_align_down(address, HP_HUGE);
    if (hugepage->state == HP_FILLED) return gap_at(hugepage->used, HP_HUGE_PAGES, start, address, end);
    if (hugepage->state == HP_IN_REGION) {
        const hp_region *region = sound_region(heap, hugepage, address);
        return region != NULL && gap_at(region->used, HP_REGION_PAGES, region->address, address, end);
    }
    if (hugepage->state != HP_UNBACKED && hugepage->state != HP_CACHED) return false;
    *end = range_end(&heap->pages, address, hugepage->state);
    return true;
}

typedef struct viewer {
    hp_heap *heap;
    al_bin_fn *visit;
    void *context;
} viewer;

static bool show_gaps(const viewer *v, al_binned entry, const uint64_t *used, size_t bits, uintptr_t start) {
    size_t from, to = 0;
    bool more = true;
    while (more && al_bitmap_next_gap(used, bits, to, &from, &to)) {
        entry.address = start + (from << TC_PAGE_BITS);
        entry.bytes = (to - from) << TC_PAGE_BITS;
        more = v->visit(v->context, &entry);
    }
    return more;
}

/* By the order of lists, which are not trusted to be sound. */
static bool show_list(const viewer *v, unsigned kind, size_t list) {
    const hp_shelf *shelf = &v->heap->pages.filler.shelves[kind];
    const al_link *head = &shelf->lists[list], *link = head->next;
    const al_binned entry = {.kind = shelf_names[kind], .index = (uint32_t)list, .least = TC_PAGE,
                             .most = list / HP_CHUNKS << TC_PAGE_BITS};
    for (size_t i = 0; i < shelf->count && link != head; i++, link = link->next) {
        const hp_hugepage *hugepage = al_hp_hugepage_linked(v->heap, link);
        if (hugepage == NULL) break;
        if (!show_gaps(v, entry, hugepage->used, HP_HUGE_PAGES, hugepage->node.address)) return false;
    }
    return true;
}

static bool show_filler(const viewer *v) {
    for (unsigned kind = 0; kind < HP_SHELVES; kind++) {
        const uint64_t *used = v->heap->pages.filler.shelves[kind].used;
        for (size_t i = 0; (i = al_bitmap_next(used, HP_LISTS, i)) < HP_LISTS; i++)
            if (!show_list(v, kind, i)) return false;
    }
    return true;
}

static bool show_regions(const viewer *v) {
    const hp_regions *regions = &v->heap->pages.regions;
    for (size_t i = 0; i < regions->count; i++) {
        const al_binned entry = {.kind = "region", .index = (uint32_t)i, .least = TC_PAGE, .most = HP_GIB};
        if (!show_gaps(v, entry, regions->of[i]->used, HP_REGION_PAGES, regions->of[i]->address)) return false;
    }
    return true;
}

static bool show_ranges(const viewer *v, uint8_t state, const char *kind) {
    const hp_pages *pages = &v->heap->pages;
    al_finds found;
    bool more = true;
    al_finds_open(&found, v->heap->base.heap.regions);
    for (uintptr_t at = 0; al_hp_next(pages, &at);) {
        const uintptr_t end = range_end(pages, at, state);
        if (end > at) al_finds_add(&found, end - at, at, NULL);
        at = end > at ? end : at + HP_HUGE;
    }
    al_finds_sort(&found);
    for (size_t i = 0; i < found.count && more; i++) {
        const al_binned entry = {.kind = kind, .least = HP_HUGE, .most = SIZE_MAX, .address = found.all[i].next,
                                 .bytes = found.all[i].key};
        more = v->visit(v->context, &entry);
    }
    al_finds_close(&found);
    return more;
}

bool al_hp_pages_bins(hp_heap *heap, al_bin_fn *visit, void *context) {
    const viewer v = {heap, visit, context};
    return show_filler(&v) && show_regions(&v) && show_ranges(&v, HP_CACHED, "hugecache") &&
           show_ranges(&v, HP_UNBACKED, "unbacked");
}

/* --- hugepages --- */

typedef struct pages_row {
    size_t used, released, longest;
} pages_row;

static pages_row pages_of(const hp_heap *heap, const hp_hugepage *hugepage, uintptr_t address) {
    switch (hugepage->state) {
    case HP_UNBACKED: return (pages_row){0, HP_HUGE_PAGES, HP_HUGE_PAGES};
    case HP_CACHED: return (pages_row){0, 0, HP_HUGE_PAGES};
    case HP_WHOLE: return (pages_row){HP_HUGE_PAGES, 0, 0};
    case HP_FILLED: return (pages_row){hugepage->used_pages, hugepage->released_pages, hugepage->longest};
    }
    const hp_region *region = sound_region(heap, hugepage, address);
    if (region == NULL) return (pages_row){0, 0, 0};
    const size_t number = (address - region->address) >> HP_HUGE_BITS, page = number * HP_HUGE_PAGES;
    return (pages_row){region->used_in[number],
                       al_bitmap_test(region->backed, number) ? 0 : HP_HUGE_PAGES,
                       al_bitmap_longest_gap(region->used, page, page + HP_HUGE_PAGES)};
}

static void tell_hugepage(al_facts *f, const hp_heap *heap, uintptr_t address) {
    const hp_hugepage *hugepage = al_hp_hugepage(&heap->pages, address);
    const bool filled = hugepage->state == HP_FILLED;
    const pages_row row = pages_of(heap, hugepage, address);
    al_tell_address(f, "hugepage", (const void *)address);
    al_tell_text(f, "state", state_name(hugepage));
    al_tell_text(f, "shelf", shelf_name(hugepage));
    al_tell_count(f, "used_pages", row.used);
    al_tell_count(f, "released_pages", row.released);
    al_tell_count(f, "longest_free", row.longest);
    al_tell_count(f, "blocks", filled ? hugepage->blocks : 0);
    al_tell_count(f, "donation", filled ? hugepage->donation : 0);
    al_tell_flag(f, "donated", filled && hugepage->donated);
    al_tell_count(f, "abandoned", filled ? hugepage->abandoned : 0);
}

void al_hp_pages_explain(hp_heap *heap, uintptr_t address, al_facts *facts) {
    if (al_hp_hugepage_or_none(&heap->pages, address) != NULL)
        tell_hugepage(facts, heap, al_align_down(address, HP_HUGE));
}

/* --- views --- */

static void view_hugepages(hp_heap *heap, al_rows *rows) {
    bool more = true;
    for (uintptr_t at = 0; more && al_hp_next(&heap->pages, &at); at += HP_HUGE) {
        al_facts *f = al_row_begin(rows);
        tell_hugepage(f, heap, at);
        more = al_row_end(rows);
    }
}

static void view_regions(hp_heap *heap, al_rows *rows) {
    const hp_regions *regions = &heap->pages.regions;
    bool more = true;
    for (size_t i = 0; more && i < regions->count; i++) {
        const hp_region *region = regions->of[i];
        al_facts *f = al_row_begin(rows);
        al_tell_count(f, "region", i);
        al_tell_address(f, "address", (const void *)region->address);
        al_tell_count(f, "used_pages", region->used_pages);
        al_tell_count(f, "longest_free", region->longest);
        al_tell_count(f, "blocks", region->blocks);
        al_tell_count(f, "backed_hugepages", region->backed_hugepages);
        al_tell_count(f, "free_backed_pages", region->free_backed_pages);
        more = al_row_end(rows);
    }
}

static void view_cache(hp_heap *heap, al_rows *rows) {
    const hp_cache *cache = &heap->pages.cache;
    al_facts *f = al_row_begin(rows);
    al_tell_count(f, "limit", cache->limit);
    al_tell_count(f, "cached", cache->free.hugepages);
    al_tell_count(f, "ranges", cache->free.count);
    al_tell_count(f, "usage", cache->usage);
    al_tell_count(f, "hits", cache->hits);
    al_tell_count(f, "misses", cache->misses);
    al_tell_count(f, "fills", cache->fills);
    al_tell_count(f, "overflows", cache->overflows);
    al_tell_count(f, "overflow_hugepages", cache->overflow_hugepages);
    al_tell_count(f, "released_hugepages", cache->released_hugepages);
    al_tell_count(f, "unbacked", heap->pages.unbacked.hugepages);
    al_tell_count(f, "unbacked_ranges", heap->pages.unbacked.count);
    al_row_end(rows);
}

void al_hp_pages_view(hp_heap *heap, const char *view, al_rows *rows) {
    if (strcmp(view, "hugepages") == 0) view_hugepages(heap, rows);
    if (strcmp(view, "regions") == 0) view_regions(heap, rows);
    if (strcmp(view, "hugecache") == 0) view_cache(heap, rows);
}
