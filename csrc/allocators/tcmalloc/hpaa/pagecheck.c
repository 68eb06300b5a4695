/* The full self-check of the page allocator, in this order, each step trusting what those before have shown:
 *
 *     areas      what is committed has records that know where they are
 *     hugepages  each agrees with itself, and with its neighbours
 *     sets       free ranges are where they are looked for, in order
 *     shelves    so are the filler's hugepages
 *     regions    their sums are those of their maps
 *     totals     and all others' those of what was found */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"
#include "parts/finds.h"

enum { DEPTH_MOST = 200 /* of a treap; in one of a million it is about 50 */ };

typedef struct census {
    size_t hugepages[HP_STATES], ranges[HP_STATES];
    size_t used_pages, released_pages, slack_pages, abandoned_pages, donations; /* of the filler */
} census;

/* --- records --- */

bool al_hp_next(const hp_pages *pages, uintptr_t *address) {
    const hp_system *system = &pages->system;
    uintptr_t next = UINTPTR_MAX;
    for (unsigned i = 0; i < system->counts[HP_FOR_PAGES]; i++) {
        const hp_area *area = &system->areas[HP_FOR_PAGES][i];
        const uintptr_t at = al_max(area->at, al_align_down(*address, HP_HUGE));
        if (at < area->end && at < next) next = at;
    }
    *address = next;
    return next != UINTPTR_MAX;
}

bool al_hp_hugepage_known(const hp_heap *heap, const hp_hugepage *hugepage) {
    if (!al_readable(heap->base.heap.regions, hugepage, sizeof *hugepage, 8)) return false;
    uintptr_t at = hugepage->node.address;
    const hp_pages *pages = &heap->pages;
    return al_hp_next(pages, &at) && at == hugepage->node.address && al_hp_hugepage(pages, at) == hugepage;
}

const hp_hugepage *al_hp_hugepage_linked(const hp_heap *heap, const al_link *link) {
    if (!al_readable(heap->base.heap.regions, link, sizeof *link, 8)) return NULL;
    const hp_hugepage *hugepage = al_container(link, hp_hugepage, link);
    return al_hp_hugepage_known(heap, hugepage) ? hugepage : NULL;
}

hp_region *al_hp_region_of(const hp_pages *pages, const hp_hugepage *hugepage) {
    const hp_regions *regions = &pages->regions;
    return hugepage->region < regions->count ? regions->of[hugepage->region] : NULL;
}

static bool check_areas(const hp_heap *heap, al_flaw *flaw) {
    const hp_system *system = &heap->pages.system;
    size_t committed[HP_USES] = {0};
    for (unsigned use = 0; use < HP_USES; use++)
        for (unsigned i = 0; i < system->counts[use]; i++) {
            const hp_area *area = &system->areas[use][i];
            const bool sound = area->start <= area->at && area->at <= area->end &&
                               al_is_aligned(area->start | area->at | area->end, HP_HUGE);
            if (!sound) return al_blame(flaw, area, "tcmalloc-hpaa: a reservation is none");
            committed[use] += area->end - area->at;
        }
    if (committed[HP_FOR_PAGES] != system->committed << HP_HUGE_BITS)
        return al_blame(flaw, system, "tcmalloc-hpaa: committed hugepages are miscounted");
    return committed[HP_FOR_METADATA] == heap->pages.metadata_bytes ||
           al_blame(flaw, system, "tcmalloc-hpaa: committed metadata is miscounted");
}

/* --- hugepages --- */

static bool maps_overlap(const hp_hugepage *hugepage) {
    uint64_t both = 0;
    for (size_t i = 0; i < HP_HUGE_PAGES / 64; i++) both |= hugepage->used[i] & hugepage->released[i];
    return both != 0;
}

static bool check_donation(const hp_hugepage *hugepage, al_flaw *flaw) {
    const size_t end = hugepage->donation;
    const bool fits = end <= hugepage->used_pages && hugepage->abandoned < HP_HUGE_PAGES &&
                      (end == 0 || al_bitmap_count(hugepage->used, 0, end) == end) &&
                      hugepage->donated <= 1 && (!hugepage->donated || (end > 0 && hugepage->blocks == 1));
    return fits || al_blame(flaw, hugepage, "tcmalloc-hpaa: a donation does not fit its hugepage");
}

static bool check_filled(const hp_hugepage *hugepage, census *found, al_flaw *flaw) {
    if (maps_overlap(hugepage)) return al_blame(flaw, hugepage, "tcmalloc-hpaa: a page in use was given back");
    if (hugepage->used_pages != al_bitmap_count(hugepage->used, 0, HP_HUGE_PAGES) ||
        hugepage->released_pages != al_bitmap_count(hugepage->released, 0, HP_HUGE_PAGES))
        return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage's pages are miscounted");
    if (hugepage->longest != al_bitmap_longest_gap(hugepage->used, 0, HP_HUGE_PAGES))
        return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage's longest free run is another");
    if (hugepage->blocks == 0 || hugepage->blocks > hugepage->used_pages)
        return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage has no blocks, or too many");
    found->used_pages += hugepage->used_pages;
    found->released_pages += hugepage->released_pages;
    found->abandoned_pages += hugepage->abandoned;
    found->donations += hugepage->donation > 0;
    found->slack_pages += hugepage->donation > 0 ? HP_HUGE_PAGES - (size_t)hugepage->donation : 0;
    return check_donation(hugepage, flaw);
}

/* `first` begins a range: as long as its neighbours are like it. */
static bool check_range(const hp_pages *pages, const hp_hugepage *first, uintptr_t address, al_flaw *flaw) {
    size_t length = 1;
    const hp_hugepage *last = first;
    for (const hp_hugepage *next; length <= pages->system.committed; length++, last = next) {
        next = al_hp_hugepage_or_none(pages, address + (length << HP_HUGE_BITS));
        if (next == NULL || next->state != first->state) break;
    }
    return (first->node.length == length && last->first == first) ||
           al_blame(flaw, (const void *)address, "tcmalloc-hpaa: a free range has not its length");
}

static bool check_hugepage(const hp_pages *pages, const hp_hugepage *hugepage, uintptr_t address, census *found,
                           al_flaw *flaw) {
    const hp_hugepage *below = al_hp_hugepage_or_none(pages, address - HP_HUGE);
    const bool begins = below == NULL || below->state != hugepage->state;
    if (hugepage->node.address != address)
        return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage does not know where it is");
    if (hugepage->state == HP_NOTHING || hugepage->state >= HP_STATES)
        return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage is in no state");
    found->hugepages[hugepage->state]++;
    if (hugepage->state == HP_FILLED) return check_filled(hugepage, found, flaw);
    if (hugepage->state == HP_IN_REGION) {
        const hp_region *region = al_hp_region_of(pages, hugepage);
        return (region != NULL && address - region->address < HP_GIB) ||
               al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage does not lie in its region");
    }
    if (hugepage->state == HP_WHOLE || !begins) return true;
    found->ranges[hugepage->state]++;
    return check_range(pages, hugepage, address, flaw);
}

static bool check_hugepages(const hp_pages *pages, census *found, al_flaw *flaw) {
    for (uintptr_t at = 0; al_hp_next(pages, &at); at += HP_HUGE)
        if (!check_hugepage(pages, al_hp_hugepage(pages, at), at, found, flaw)) return false;
    return true;
}

/* --- sets --- */

typedef struct set_check {
    const hp_heap *heap;
    const hp_ranges *ranges;
    const tc_node *last;      /* the one before in order */
    size_t count, hugepages;
    al_flaw *flaw;
} set_check;

static bool check_node(set_check *c, const tc_node *node, uint64_t priority, unsigned depth) {
    if (node == NULL) return true;
    const hp_hugepage *first = (const hp_hugepage *)node;
    if (depth == DEPTH_MOST || c->count > c->ranges->count || !al_hp_hugepage_known(c->heap, first))
        return al_blame(c->flaw, node, "tcmalloc-hpaa: a set of free ranges leads to none, or around");
    const hp_hugepage *below = al_hp_hugepage_or_none(&c->heap->pages, node->address - HP_HUGE);
    if (first->state != c->ranges->state || (below != NULL && below->state == first->state))
        return al_blame(c->flaw, node, "tcmalloc-hpaa: a set holds what is no such range");
    if (node->priority > priority)
        return al_blame(c->flaw, node, "tcmalloc-hpaa: a set's node is above one of higher priority");
    if (!check_node(c, node->left, node->priority, depth + 1)) return false;
    if (c->last != NULL && !al_tc_node_before(c->last, node))
        return al_blame(c->flaw, node, "tcmalloc-hpaa: a set is out of order");
    c->last = node;
    c->count++;
    c->hugepages += node->length;
    return check_node(c, node->right, node->priority, depth + 1);
}

static bool check_set(const hp_heap *heap, const hp_ranges *ranges, const census *found, al_flaw *flaw) {
    set_check c = {.heap = heap, .ranges = ranges, .flaw = flaw};
    if (!check_node(&c, ranges->root, UINT64_MAX, 0)) return false;
    const bool counted = c.count == ranges->count && c.hugepages == ranges->hugepages &&
                         c.count == found->ranges[ranges->state] && c.hugepages == found->hugepages[ranges->state];
    return counted || al_blame(flaw, ranges, "tcmalloc-hpaa: free ranges are miscounted, or one is in no set");
}

/* --- shelves --- */

static bool check_list(const hp_heap *heap, unsigned kind, size_t list, size_t *count, al_flaw *flaw) {
    const hp_shelf *shelf = &heap->pages.filler.shelves[kind];
    const al_link *head = &shelf->lists[list], *before = head;
    for (const al_link *link = head->next; link != head; before = link, link = link->next) {
        const hp_hugepage *hugepage = al_hp_hugepage_linked(heap, link);
        if ((*count)++ == shelf->count || hugepage == NULL || link->prev != before)
            return al_blame(flaw, link, "tcmalloc-hpaa: a list of hugepages leads to none, or around");
        if (hugepage->state != HP_FILLED || hugepage->shelf != kind || hugepage->list != list)
            return al_blame(flaw, hugepage, "tcmalloc-hpaa: a list holds a hugepage that is not filed there");
        if (al_hp_filler_shelf(hugepage) != kind || al_hp_filler_list(hugepage) != list)
            return al_blame(flaw, hugepage, "tcmalloc-hpaa: a hugepage is filed where it does not belong");
    }
    return head->next != head || al_blame(flaw, head, "tcmalloc-hpaa: an empty list counts as used");
}

static bool check_shelves(const hp_heap *heap, const census *found, al_flaw *flaw) {
    const hp_filler *filler = &heap->pages.filler;
    size_t all = 0;
    for (unsigned kind = 0; kind < HP_SHELVES; kind++) {
        const hp_shelf *shelf = &filler->shelves[kind];
        size_t count = 0;
        for (size_t i = 0; (i = al_bitmap_next(shelf->used, HP_LISTS, i)) < HP_LISTS; i++)
            if (!check_list(heap, kind, i, &count, flaw)) return false;
        if (count != shelf->count) return al_blame(flaw, shelf, "tcmalloc-hpaa: a shelf's hugepages are miscounted");
        all += count;
    }
    return (all == filler->hugepages && all == found->hugepages[HP_FILLED]) ||
           al_blame(flaw, filler, "tcmalloc-hpaa: the filler's hugepages are miscounted, or one is in no list");
}

/* --- regions --- */

static bool check_region(const hp_heap *heap, const hp_region *region, al_flaw *flaw) {
    size_t used = 0, backed = 0, free_backed = 0;
    if (!al_readable(heap->base.heap.regions, region, sizeof *region, 8))
        return al_blame(flaw, region, "tcmalloc-hpaa: a region is none");
    for (size_t i = 0; i < HP_GIB_HUGE; i++) {
        const size_t pages = al_bitmap_count(region->used, i * HP_HUGE_PAGES, (i + 1) * HP_HUGE_PAGES);
        const bool is_backed = al_bitmap_test(region->backed, i);
        if (pages != region->used_in[i] || (pages > 0 && !is_backed))
            return al_blame(flaw, region, "tcmalloc-hpaa: pages of a region's hugepage are miscounted");
        used += pages;
        backed += is_backed;
        free_backed += is_backed ? HP_HUGE_PAGES - pages : 0;
    }
    if (used != region->used_pages || backed != region->backed_hugepages || free_backed != region->free_backed_pages ||
        region->blocks > used)
        return al_blame(flaw, region, "tcmalloc-hpaa: a region's pages are miscounted");
    return region->longest == al_bitmap_longest_gap(region->used, 0, HP_REGION_PAGES) ||
           al_blame(flaw, region, "tcmalloc-hpaa: a region's longest free run is another");
}

static bool check_regions(const hp_heap *heap, const census *found, al_flaw *flaw) {
    const hp_regions *regions = &heap->pages.regions;
    size_t used = 0, free_backed = 0;
    for (size_t i = 0; i < regions->count; i++) {
        if (!check_region(heap, regions->of[i], flaw)) return false;
        used += regions->of[i]->used_pages;
        free_backed += regions->of[i]->free_backed_pages;
    }
    const bool counted = used == regions->used_pages && free_backed == regions->free_backed_pages &&
                         found->hugepages[HP_IN_REGION] == regions->count * HP_GIB_HUGE;
    return counted || al_blame(flaw, regions, "tcmalloc-hpaa: regions are miscounted");
}

/* --- totals --- */

static bool check_totals(const hp_pages *pages, const census *found, al_flaw *flaw) {
    const hp_filler *filler = &pages->filler;
    const size_t whole = found->hugepages[HP_WHOLE];
    if (found->used_pages != filler->used_pages || found->released_pages != filler->released_pages ||
        found->slack_pages != filler->slack_pages || found->abandoned_pages != filler->abandoned_pages ||
        found->donations != filler->donations || filler->demand.value != filler->used_pages)
        return al_blame(flaw, filler, "tcmalloc-hpaa: the filler's pages are miscounted");
    if (whole != pages->whole_hugepages || pages->cache.usage != whole + found->hugepages[HP_FILLED])
        return al_blame(flaw, pages, "tcmalloc-hpaa: hugepages in use are miscounted");
    return pages->in_use_pages == whole * HP_HUGE_PAGES + filler->used_pages + pages->regions.used_pages ||
           al_blame(flaw, pages, "tcmalloc-hpaa: pages in use are miscounted");
}

bool al_hp_pages_validate(hp_heap *heap, al_flaw *flaw) {
    const hp_pages *pages = &heap->pages;
    census found = {0};
    return check_areas(heap, flaw) && check_hugepages(pages, &found, flaw) &&
           check_set(heap, &pages->unbacked, &found, flaw) && check_set(heap, &pages->cache.free, &found, flaw) &&
           check_shelves(heap, &found, flaw) && check_regions(heap, &found, flaw) &&
           check_totals(pages, &found, flaw);
}
