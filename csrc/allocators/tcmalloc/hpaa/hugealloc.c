/* Free hugepages, in ranges: the shortest that is long enough is taken, the lowest of these, and of it the low end. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

void al_hp_mark(hp_pages *pages, hp_hugepage *first, size_t count, hp_state state) {
    for (size_t i = 0; i < count; i++) al_hp_nth(pages, first, i)->state = (uint8_t)state;
}

static void insert(hp_pages *pages, hp_ranges *ranges, hp_hugepage *first, size_t count) {
    first->node.length = count;
    al_hp_nth(pages, first, count - 1)->first = first;
    al_tc_set_insert(&ranges->root, &first->node);
    ranges->count++;
    ranges->hugepages += count;
}

/* Its length. */
static size_t take_out(hp_ranges *ranges, hp_hugepage *first) {
    al_tc_set_remove(&ranges->root, &first->node);
    ranges->count--;
    ranges->hugepages -= first->node.length;
    return first->node.length;
}

void al_hp_ranges_add(hp_pages *pages, hp_ranges *ranges, hp_hugepage *first, size_t count) {
    const uintptr_t address = first->node.address;
    al_hp_mark(pages, first, count, ranges->state);
    hp_hugepage *below = al_hp_hugepage_or_none(pages, address - HP_HUGE);
    hp_hugepage *above = al_hp_hugepage_or_none(pages, address + (count << HP_HUGE_BITS));
    if (above != NULL && above->state == ranges->state) count += take_out(ranges, above);
    if (below != NULL && below->state == ranges->state) {
        first = below->first;
        count += take_out(ranges, first);
    }
    insert(pages, ranges, first, count);
}

hp_hugepage *al_hp_ranges_fit(const hp_ranges *ranges, size_t count) {
    return (hp_hugepage *)al_tc_set_fit(ranges->root, count);
}

void al_hp_ranges_cut(hp_pages *pages, hp_ranges *ranges, hp_hugepage *first, size_t count) {
    const size_t length = take_out(ranges, first);
    al_hp_mark(pages, first, count, HP_NOTHING);
    if (length > count) insert(pages, ranges, al_hp_nth(pages, first, count), length - count);
}

hp_hugepage *al_hp_hugepages_new(hp_heap *heap, size_t count) {
    hp_pages *pages = &heap->pages;
    hp_hugepage *first = al_hp_ranges_fit(&pages->unbacked, count);
    if (first == NULL) {
        const uintptr_t address = al_hp_commit(heap, count);
        if (address == 0) return NULL;
        al_hp_ranges_add(pages, &pages->unbacked, al_hp_hugepage(pages, address), count);
        first = al_hp_ranges_fit(&pages->unbacked, count);
    }
    al_hp_ranges_cut(pages, &pages->unbacked, first, count);
    return first;
}
