/* Regions: 1 GiB each, where blocks of somewhat more than half a hugepage, or than some hugepages, lie side by side.
 * Its hugepages are backed as they are used, and stay so until memory is released. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

/* The one with the shortest longest run that suffices, the oldest of these. */
static hp_region *best(const hp_regions *regions, size_t pages) {
    hp_region *best = NULL;
    for (size_t i = 0; i < regions->count; i++) {
        hp_region *region = regions->of[i];
        if (region->longest >= pages && (best == NULL || region->longest < best->longest)) best = region;
    }
    return best;
}

static void count_free_backed(hp_regions *regions, hp_region *region, size_t before, size_t now) {
    regions->free_backed_pages += now - before;
    region->free_backed_pages += now - before;
}

/* [page, page + pages) becomes used, or free. */
static void change(hp_regions *regions, hp_region *region, size_t page, size_t pages, bool used) {
    for (size_t at = page, end; at < page + pages; at = end) {
        const size_t hugepage = at / HP_HUGE_PAGES;
        end = al_min(page + pages, (hugepage + 1) * HP_HUGE_PAGES);
        const bool backed = al_bitmap_test(region->backed, hugepage);
        const size_t before = backed ? HP_HUGE_PAGES - (size_t)region->used_in[hugepage] : 0;
        region->used_in[hugepage] = (uint16_t)(region->used_in[hugepage] + (used ? end - at : at - end));
        al_bitmap_set(region->backed, hugepage);
        region->backed_hugepages += !backed;
        count_free_backed(regions, region, before, HP_HUGE_PAGES - (size_t)region->used_in[hugepage]);
    }
    if (used)
        al_bitmap_set_all(region->used, page, page + pages);
    else
        al_bitmap_clear_all(region->used, page, page + pages);
    region->used_pages += used ? pages : -pages;
    regions->used_pages += used ? pages : -pages;
    region->blocks += used ? 1 : (size_t)-1;
}

static hp_region *make(hp_heap *heap) {
    hp_pages *pages = &heap->pages;
    hp_regions *regions = &pages->regions;
    if (regions->count == HP_REGIONS_MOST) return NULL;
    hp_region **region = &regions->of[regions->count];
    if (*region == NULL) *region = al_hp_metadata(&heap->base, sizeof **region);
    hp_hugepage *first = *region == NULL ? NULL : al_hp_hugepages_new(heap, HP_GIB_HUGE);
    if (first == NULL) return NULL;
    (*region)->address = first->node.address;
    (*region)->longest = HP_REGION_PAGES;
    al_hp_mark(pages, first, HP_GIB_HUGE, HP_IN_REGION);
    for (size_t i = 0; i < HP_GIB_HUGE; i++) al_hp_nth(pages, first, i)->region = (uint16_t)regions->count;
    regions->count++;
    return *region;
}

static bool worth_one(const hp_heap *heap) {
    const hp_filler *filler = &heap->pages.filler;
    return (filler->slack_pages + filler->abandoned_pages) << TC_PAGE_BITS >= heap->params.region_slack;
}

uintptr_t al_hp_regions_take(hp_heap *heap, size_t pages) {
    hp_regions *regions = &heap->pages.regions;
    if (!heap->params.regions || pages > HP_REGION_PAGES) return 0;
    hp_region *region = best(regions, pages);
    if (region == NULL && worth_one(heap)) region = make(heap);
    if (region == NULL) return 0;
    size_t length;
    const size_t page = al_bitmap_fit(region->used, HP_REGION_PAGES, pages, &length);
    change(regions, region, page, pages, true);
    if (length == region->longest) region->longest = al_bitmap_longest_gap(region->used, 0, HP_REGION_PAGES);
    return region->address + (page << TC_PAGE_BITS);
}

void al_hp_regions_give(hp_heap *heap, uintptr_t address, size_t pages) {
    hp_region *region = heap->pages.regions.of[al_hp_hugepage(&heap->pages, address)->region];
    const size_t page = (address - region->address) >> TC_PAGE_BITS;
    change(&heap->pages.regions, region, page, pages, false);
    const size_t length = al_bitmap_gap_around(region->used, HP_REGION_PAGES, page, page + pages);
    region->longest = al_max(region->longest, length);
}

/* --- release --- */

static bool is_idle(const hp_region *region, size_t hugepage) {
    return hugepage < HP_GIB_HUGE && region->used_in[hugepage] == 0 && al_bitmap_test(region->backed, hugepage);
}

static size_t release_some(hp_heap *heap, hp_region *region, size_t wanted) {
    hp_regions *regions = &heap->pages.regions;
    size_t released = 0;
    for (size_t at = 0, end; at < HP_GIB_HUGE && released < wanted; at = end) {
        for (end = at; end - at < wanted - released && is_idle(region, end);) end++;
        const size_t count = end - at;
        if (count == 0) {
            end++;
            continue;
        }
        if (!al_hp_unback(heap, region->address + (at << HP_HUGE_BITS), count << HP_HUGE_BITS)) break;
        al_bitmap_clear_all(region->backed, at, end);
        region->backed_hugepages -= count;
        count_free_backed(regions, region, count * HP_HUGE_PAGES, 0);
        released += count;
    }
    return released;
}

size_t al_hp_regions_release(hp_heap *heap, size_t pages) {
    hp_regions *regions = &heap->pages.regions;
    const size_t wanted = (pages + HP_HUGE_PAGES - 1) / HP_HUGE_PAGES;
    size_t released = 0;
    for (size_t i = 0; i < regions->count && released < wanted; i++)
        released += release_some(heap, regions->of[i], wanted - released);
    regions->released_hugepages += released;
    return released * HP_HUGE_PAGES;
}
