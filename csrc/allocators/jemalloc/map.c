#include "allocators/jemalloc/jemalloc.h"

bool al_je_map_prepare(je_heap *heap, uintptr_t start, uintptr_t end) {
    const uintptr_t leaf_bytes = (uintptr_t)JE_PAGE << JE_LEAF_BITS;
    if ((end - 1) >> 47 != 0) return false;
    bool made = true;
    al_lock_take(&heap->heap.lock);
    for (uintptr_t at = al_align_down(start, leaf_bytes); at < end && made; at += leaf_bytes) {
        if (al_je_leaf(&heap->map, at) != NULL) continue;
        je_leaf *leaf = al_je_base_take(heap, heap->first_base, sizeof *leaf, 64);
        made = leaf != NULL;
        __atomic_store_n(&heap->map.leaves[at / leaf_bytes], leaf, __ATOMIC_RELEASE);
    }
    al_lock_drop(&heap->heap.lock);
    return made;
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
    for (uintptr_t at = start; at < end; at += JE_PAGE) put(heap, at, 0);
}
