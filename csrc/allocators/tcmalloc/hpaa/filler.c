/* The filler: blocks of less than a hugepage, packed so that as few hugepages as can be are neither full nor empty. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

/* --- shelves --- */

/* By eighths of what a hugepage can hold, on a scale of powers of two: 128 blocks and more come first, a single one
 * last. */
static unsigned chunk_of(const hp_hugepage *hugepage) {
    return HP_CHUNKS - 1 - (unsigned)al_min(HP_CHUNKS - 1, al_log2_floor(hugepage->blocks));
}

unsigned al_hp_filler_list(const hp_hugepage *hugepage) { return hugepage->longest * HP_CHUNKS + chunk_of(hugepage); }

hp_shelf_kind al_hp_filler_shelf(const hp_hugepage *hugepage) {
    if (hugepage->released_pages == 0) return hugepage->donated ? HP_DONATED : HP_REGULAR;
    const unsigned free = HP_HUGE_PAGES - hugepage->used_pages;
    return hugepage->released_pages == free ? HP_RELEASED : HP_PARTLY;
}

static void take_off(hp_filler *filler, hp_hugepage *hugepage) {
    hp_shelf *shelf = &filler->shelves[hugepage->shelf];
    al_list_remove(&hugepage->link);
    if (al_list_empty(&shelf->lists[hugepage->list])) al_bitmap_clear(shelf->used, hugepage->list);
    shelf->count--;
}

static void put_on(hp_filler *filler, hp_hugepage *hugepage) {
    hugepage->shelf = (uint8_t)al_hp_filler_shelf(hugepage);
    hugepage->list = (uint16_t)al_hp_filler_list(hugepage);
    hp_shelf *shelf = &filler->shelves[hugepage->shelf];
    al_link *list = &shelf->lists[hugepage->list];
    if (!al_bitmap_test(shelf->used, hugepage->list)) al_list_init(list);
    al_bitmap_set(shelf->used, hugepage->list);
    al_list_insert_after(list, &hugepage->link);
    shelf->count++;
}

void al_hp_filler_refile(hp_filler *filler, hp_hugepage *hugepage) {
    take_off(filler, hugepage);
    put_on(filler, hugepage);
}

static hp_hugepage *best(const hp_filler *filler, size_t pages) {
    for (unsigned kind = 0; kind < HP_SHELVES; kind++) {
        const hp_shelf *shelf = &filler->shelves[kind];
        const size_t list = al_bitmap_next(shelf->used, HP_LISTS, pages * HP_CHUNKS);
        if (list < HP_LISTS) return al_container(shelf->lists[list].next, hp_hugepage, link);
    }
    return NULL;
}

/* --- a hugepage --- */

static void report(hp_heap *heap, ptrdiff_t more) {
    hp_filler *filler = &heap->pages.filler;
    filler->used_pages += (size_t)more;
    al_hp_series_report(&filler->demand, al_regions_now(heap->base.heap.regions), filler->used_pages);
}

/* Those of [page, page + pages) that were given back are backed again: they are about to be used. */
static void use(hp_heap *heap, hp_hugepage *hugepage, size_t page, size_t pages) {
    if (hugepage->released_pages > 0) {
        const size_t released = al_bitmap_count(hugepage->released, page, page + pages);
        al_bitmap_clear_all(hugepage->released, page, page + pages);
        hugepage->released_pages = (uint16_t)(hugepage->released_pages - released);
        heap->pages.filler.released_pages -= released;
    }
    al_bitmap_set_all(hugepage->used, page, page + pages);
    hugepage->used_pages = (uint16_t)(hugepage->used_pages + pages);
    hugepage->blocks++;
    report(heap, (ptrdiff_t)pages);
}

/* --- taking and giving --- */

uintptr_t al_hp_filler_take(hp_heap *heap, size_t pages) {
    hp_filler *filler = &heap->pages.filler;
    hp_hugepage *hugepage = best(filler, pages);
    if (hugepage == NULL) return 0;
    size_t length;
    const size_t page = al_bitmap_fit(hugepage->used, HP_HUGE_PAGES, pages, &length);
    use(heap, hugepage, page, pages);
    if (length == hugepage->longest)
        hugepage->longest = (uint16_t)al_bitmap_longest_gap(hugepage->used, 0, HP_HUGE_PAGES);
    hugepage->donated = false;
    al_hp_filler_refile(filler, hugepage);
    return hugepage->node.address + (page << TC_PAGE_BITS);
}

void al_hp_filler_add(hp_heap *heap, hp_hugepage *hugepage, size_t used_pages, bool donation) {
    hp_filler *filler = &heap->pages.filler;
    *hugepage = (hp_hugepage){
        .node.address = hugepage->node.address,
        .state = HP_FILLED,
        .donated = donation,
        .donation = donation ? (uint16_t)used_pages : 0,
    };
    filler->hugepages++;
    if (donation) {
        filler->donations++;
        filler->slack_pages += HP_HUGE_PAGES - used_pages;
    }
    use(heap, hugepage, 0, used_pages);
    hugepage->longest = (uint16_t)(HP_HUGE_PAGES - used_pages);
    put_on(filler, hugepage);
}

/* The large block whose end lies here is freed. */
static void end_donation(hp_filler *filler, hp_hugepage *hugepage) {
    filler->donations--;
    filler->slack_pages -= HP_HUGE_PAGES - hugepage->donation;
    filler->abandoned_pages += hugepage->donation;
    hugepage->abandoned = hugepage->donation;
    hugepage->donation = 0;
    hugepage->donated = false;
}

bool al_hp_filler_give(hp_heap *heap, hp_hugepage *hugepage, size_t page, size_t pages) {
    hp_filler *filler = &heap->pages.filler;
    if (page == 0 && hugepage->donation != 0) end_donation(filler, hugepage);
    al_bitmap_clear_all(hugepage->used, page, page + pages);
    hugepage->used_pages = (uint16_t)(hugepage->used_pages - pages);
    hugepage->blocks--;
    const size_t length = al_bitmap_gap_around(hugepage->used, HP_HUGE_PAGES, page, page + pages);
    hugepage->longest = (uint16_t)al_max(hugepage->longest, length);
    report(heap, -(ptrdiff_t)pages);
    if (hugepage->blocks > 0) {
        al_hp_filler_refile(filler, hugepage);
        return false;
    }
    take_off(filler, hugepage);
    filler->hugepages--;
    filler->abandoned_pages -= hugepage->abandoned;
    filler->released_pages -= hugepage->released_pages;
    return true;
}

size_t al_hp_filler_unback(hp_heap *heap, hp_hugepage *hugepage) {
    uint64_t away[HP_HUGE_PAGES / 64];
    size_t start, end = 0, released = 0;
    for (size_t i = 0; i < HP_HUGE_PAGES / 64; i++) away[i] = hugepage->used[i] | hugepage->released[i];
    while (al_bitmap_next_gap(away, HP_HUGE_PAGES, end, &start, &end)) {
        const uintptr_t at = hugepage->node.address + (start << TC_PAGE_BITS);
        if (!al_hp_unback(heap, at, (end - start) << TC_PAGE_BITS)) break;
        al_bitmap_set_all(hugepage->released, start, end);
        released += end - start;
    }
    hugepage->released_pages = (uint16_t)(hugepage->released_pages + released);
    return released;
}
