#include "allocators/jemalloc/jemalloc.h"

static const uintptr_t leaf_bytes = (uintptr_t)JE_PAGE << JE_LEAF_BITS;

static bool make_leaf(je_heap *heap, uintptr_t page) {
    if (page >> 47 != 0) return false;
    if (al_je_leaf(&heap->map, page) != NULL) return true;
    je_leaf *leaf = al_je_base_take(heap, heap->first_base, sizeof *leaf, 64);
    __atomic_store_n(&heap->map.leaves[page / leaf_bytes], leaf, __ATOMIC_RELEASE);
    return leaf != NULL;
}

bool al_je_map_prepare(je_heap *heap, uintptr_t page, uintptr_t other) {
    return make_leaf(heap, page) && make_leaf(heap, other);
}

static void put(je_heap *heap, uintptr_t address, je_word word) {
    __atomic_store_n(al_je_word_of(al_je_leaf(&heap->map, address), address), word, __ATOMIC_RELEASE);
}

void al_je_map_enter(je_heap *heap, const je_extent *extent) {
    je_word word = (uintptr_t)extent | (je_word)extent->class << 56, first = word | extent->head;
    uintptr_t last = al_je_end(extent) - JE_PAGE;
    if (last != extent->address) put(heap, last, word);
    if (al_je_is_slab(extent))
        for (uintptr_t at = extent->address + JE_PAGE; at < last; at += JE_PAGE) put(heap, at, word);
    put(heap, extent->address, first);
}

void al_je_map_leave(je_heap *heap, uintptr_t start, uintptr_t end) {
    for (uintptr_t at = start; at < end;)
        if (al_je_leaf(&heap->map, at) == NULL) {
            at = al_align_down(at, leaf_bytes) + leaf_bytes;
        } else {
            put(heap, at, 0);
            at += JE_PAGE;
        }
}
