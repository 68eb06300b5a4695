/* Memory goes back to the system when somebody asks for it: from the hugepage cache, then from regions, at last from
 * hugepages that are partly in use (subrelease), though no large page can back these any more.
 *
 * Subrelease is skipped as far as the pages may soon be wanted again:
 *
 *     wanted = the largest swing of demand within a second, over the short interval
 *              + the most that demand never fell below in a second, over the long one; at most its peak
 *     pages that may be subreleased = used + free and backed - wanted
 *
 * where demand is the pages that the filler has in use. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

static size_t backed_pages(const hp_filler *filler) {
    return filler->hugepages * HP_HUGE_PAGES - filler->released_pages;
}

static size_t wanted_pages(const hp_heap *heap) {
    const hp_series *demand = &heap->pages.filler.demand;
    const uint64_t now = al_regions_now(heap->base.heap.regions);
    const hp_summary near = al_hp_series_over(demand, now, heap->params.skip_short);
    const hp_summary far = al_hp_series_over(demand, now, heap->params.skip_long);
    return al_min(near.swing + far.steady, al_max(near.most, far.most));
}

/* Of the pages that one would subrelease. */
static size_t not_skipped(hp_heap *heap, size_t pages) {
    hp_filler *filler = &heap->pages.filler;
    const size_t wanted = wanted_pages(heap), backed = backed_pages(filler);
    const size_t most = backed - al_min(backed, wanted), allowed = al_min(pages, most);
    const size_t possible = al_min(pages, backed - filler->used_pages);
    filler->skipped_pages += possible - al_min(possible, allowed);
    return allowed;
}

/* --- candidates: the hugepages of some shelves, the emptiest first --- */

typedef struct candidates {
    hp_hugepage *by_use[HP_HUGE_PAGES + 1], **ends[HP_HUGE_PAGES + 1];
} candidates;

static void add_shelf(candidates *c, const hp_shelf *shelf) {
    for (size_t i = 0; (i = al_bitmap_next(shelf->used, HP_LISTS, i)) < HP_LISTS; i++) {
        const al_link *head = &shelf->lists[i];
        for (al_link *link = head->next; link != head; link = link->next) {
            hp_hugepage *hugepage = al_container(link, hp_hugepage, link);
            hugepage->next = NULL;
            *c->ends[hugepage->used_pages] = hugepage;
            c->ends[hugepage->used_pages] = &hugepage->next;
        }
    }
}

/* False: the system would not. */
static bool subrelease_one(hp_heap *heap, hp_hugepage *hugepage, size_t *released) {
    hp_filler *filler = &heap->pages.filler;
    const size_t before = hugepage->released_pages, free = HP_HUGE_PAGES - hugepage->used_pages - before;
    const size_t done = al_hp_filler_unback(heap, hugepage);
    filler->released_pages += done;
    filler->subreleased_pages += done;
    filler->subreleased_hugepages += before == 0 && done > 0;
    al_hp_filler_refile(filler, hugepage);
    *released += done;
    return done == free;
}

static size_t subrelease_from(hp_heap *heap, candidates *c, size_t pages) {
    size_t released = 0;
    for (size_t used = 0; used < HP_HUGE_PAGES; used++)
        for (hp_hugepage *hugepage = c->by_use[used], *next; hugepage != NULL; hugepage = next) {
            next = hugepage->next;
            if (released >= pages || !subrelease_one(heap, hugepage, &released)) return released;
        }
    return released;
}

static size_t subrelease_shelves(hp_heap *heap, hp_shelf_kind one, hp_shelf_kind other, size_t pages) {
    candidates c = {0};
    for (size_t i = 0; i <= HP_HUGE_PAGES; i++) c.ends[i] = &c.by_use[i];
    add_shelf(&c, &heap->pages.filler.shelves[one]);
    if (other != one) add_shelf(&c, &heap->pages.filler.shelves[other]);
    return subrelease_from(heap, &c, pages);
}

/* Those already broken before those that are whole. */
static size_t subrelease(hp_heap *heap, size_t pages) {
    pages = not_skipped(heap, pages);
    if (pages == 0) return 0;
    size_t released = subrelease_shelves(heap, HP_PARTLY, HP_PARTLY, pages);
    if (released < pages) released += subrelease_shelves(heap, HP_REGULAR, HP_DONATED, pages - released);
    return released;
}

size_t al_hp_pages_release(hp_heap *heap, size_t bytes) {
    const size_t pages = bytes / TC_PAGE + (bytes % TC_PAGE != 0);
    size_t released = 0;
    if (pages > 0) released = al_hp_cache_release(heap, (pages - 1) / HP_HUGE_PAGES + 1) * HP_HUGE_PAGES;
    if (released < pages) released += al_hp_regions_release(heap, pages - released);
    if (released < pages && heap->params.subrelease) released += subrelease(heap, pages - released);
    return released << TC_PAGE_BITS;
}
