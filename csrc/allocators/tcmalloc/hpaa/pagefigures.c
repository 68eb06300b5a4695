/* The page allocator in figures. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

static size_t bytes_of(size_t pages) { return pages << TC_PAGE_BITS; }

/* Used pages of the filler on hugepages that were broken. */
static size_t used_on(const hp_shelf *shelf) {
    size_t used = 0;
    for (size_t i = 0; (i = al_bitmap_next(shelf->used, HP_LISTS, i)) < HP_LISTS; i++)
        for (const al_link *link = shelf->lists[i].next; link != &shelf->lists[i]; link = link->next)
            used += al_container(link, hp_hugepage, link)->used_pages;
    return used;
}

static size_t longest_free(const hp_filler *filler) {
    size_t longest = 0;
    for (unsigned kind = 0; kind < HP_SHELVES; kind++)
        for (size_t i = HP_LISTS; i-- > longest * HP_CHUNKS;)
            if (al_bitmap_test(filler->shelves[kind].used, i)) {
                longest = i / HP_CHUNKS;
                break;
            }
    return longest;
}

hp_page_figures al_hp_pages_figures(hp_heap *heap) {
    const hp_pages *pages = &heap->pages;
    const hp_filler *filler = &pages->filler;
    const hp_regions *regions = &pages->regions;
    const size_t region_free = regions->count * HP_REGION_PAGES - regions->used_pages;
    const size_t broken = used_on(&filler->shelves[HP_PARTLY]) + used_on(&filler->shelves[HP_RELEASED]);
    const size_t whole = filler->shelves[HP_REGULAR].count + filler->shelves[HP_DONATED].count;
    hp_page_figures f = {
        .filler_free = bytes_of(filler->hugepages * HP_HUGE_PAGES - filler->used_pages - filler->released_pages),
        .filler_unbacked = bytes_of(filler->released_pages),
        .cache_free = pages->cache.free.hugepages << HP_HUGE_BITS,
        .regions_free = bytes_of(regions->free_backed_pages),
        .regions_unbacked = bytes_of(region_free - regions->free_backed_pages),
        .allocator_unbacked = pages->unbacked.hugepages << HP_HUGE_BITS,
        .hugepages = pages->cache.free.hugepages + pages->whole_hugepages + filler->hugepages,
        .hugepages_whole = pages->cache.free.hugepages + pages->whole_hugepages + whole,
        .covered = bytes_of(pages->in_use_pages - broken),
        .reservations = pages->system.reservations,
        .donated_pages = filler->donations * HP_HUGE_PAGES - filler->slack_pages,
        .slack_pages = filler->slack_pages,
        .abandoned_pages = filler->abandoned_pages,
        .longest_free = bytes_of(longest_free(filler)),
        .subreleased_pages = filler->subreleased_pages,
        .released_bytes = pages->unbacked_bytes,
    };
    f.backed_free = f.filler_free + f.cache_free + f.regions_free;
    f.unbacked = f.filler_unbacked + f.regions_unbacked + f.allocator_unbacked;
    return f;
}
