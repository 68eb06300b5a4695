#include "allocators/jemalloc/jemalloc.h"

static bool make_leaf(je_heap *heap, uintptr_t address) {
    if (address >> 47 != 0) return false;
    const uintptr_t page = al_je_page_of(address);
    if (al_pages_leaf_of(&heap->map, page) != NULL) return true;
    al_pages_leaf *leaf = al_je_base_take(heap, heap->first_base, sizeof *leaf, 64);
    al_pages_set_leaf(&heap->map, page, leaf);
    return leaf != NULL;
}

bool al_je_map_prepare(je_heap *heap, uintptr_t page, uintptr_t other) {
    return make_leaf(heap, page) && make_leaf(heap, other);
}

static void put(je_heap *heap, uintptr_t address, al_page_word word) {
    al_pages_put(&heap->map, al_je_page_of(address), word);
}

void al_je_map_enter(je_heap *heap, const je_extent *extent) {
    const al_page_word word = al_page_word_of(extent, extent->class), first = word | extent->head;
    uintptr_t last = al_je_end(extent) - JE_PAGE;
    if (last != extent->address) put(heap, last, word);
    if (al_je_is_slab(extent))
        for (uintptr_t at = extent->address + JE_PAGE; at < last; at += JE_PAGE) put(heap, at, word);
    put(heap, extent->address, first);
}

void al_je_map_leave(je_heap *heap, uintptr_t start, uintptr_t end) {
    const uintptr_t leaf_bytes = (uintptr_t)JE_PAGE << AL_PAGES_LEAF_BITS;
    for (uintptr_t at = start; at < end;)
        if (al_pages_leaf_of(&heap->map, al_je_page_of(at)) == NULL) {
            at = al_align_down(at, leaf_bytes) + leaf_bytes;
        } else {
            put(heap, at, 0);
            at += JE_PAGE;
        }
}
