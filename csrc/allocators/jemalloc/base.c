/* Metadata: blocks that are only ever taken from, never given back. */
#include "allocators/jemalloc/jemalloc.h"

#include "parts/mapping.h"

void al_je_advise_huge(je_heap *heap, uintptr_t at, size_t bytes) {
    const unsigned thp = heap->params.thp;
    if (thp == JE_THP_DEFAULT) return;
    al_regions_madvise(heap->heap.regions, (void *)at, bytes,
                       thp == JE_THP_ALWAYS ? AL_ADVISE_HUGEPAGE : AL_ADVISE_NOHUGEPAGE);
}

/* Blocks are multiples of 2 MiB, aligned to that. The system is believed first, and only if it does not place the block
 * so, more is asked for and its ends are cut off. */
static bool map_block(je_heap *heap, size_t bytes, je_block *block) {
    al_regions *regions = heap->heap.regions;
    void *at;
    if (al_regions_mmap(regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &at) != 0) return false;
    *block = (je_block){.start = (uintptr_t)at, .end = (uintptr_t)at + bytes, .at = (uintptr_t)at};
    if (al_is_aligned((uintptr_t)at, JE_FIRST_BYTES)) return true;
    al_regions_munmap(regions, at, bytes);
    char *start, *end, *aligned = al_map_aligned(regions, JE_FIRST_BYTES, 0, bytes, &start, &end);
    if (aligned == NULL) return false;
    *block = (je_block){.start = (uintptr_t)start, .end = (uintptr_t)end, .at = (uintptr_t)aligned};
    return true;
}

/* A block that holds `least` bytes: of the page class after the last one's, in multiples of 2 MiB. */
static bool add_block(je_heap *heap, je_base *base, size_t least) {
    size_t next = base->blocks == NULL ? JE_FIRST_BYTES : al_je_page_class_bytes(base->last_class + 1);
    size_t bytes = al_max(al_align_up(least + sizeof(je_block), JE_FIRST_BYTES), al_align_up(next, JE_FIRST_BYTES));
    je_block block;
    if (!map_block(heap, bytes, &block)) return false;
    al_je_advise_huge(heap, block.at, bytes);
    je_block *kept = (je_block *)block.at;
    block.at = al_align_up(block.at + sizeof block, 64);
    block.next = base->blocks;
    *kept = block;
    base->blocks = kept;
    base->last_class = al_je_page_class_of(bytes);
    base->mapped += block.end - block.start;
    base->allocated += 64;
    return true;
}

/* The block with the least room among those that have enough; of two alike the older one. */
static je_block *fitting(const je_base *base, size_t bytes) {
    je_block *best = NULL;
    for (je_block *block = base->blocks; block != NULL; block = block->next) {
        size_t room = block->end - block->at;
        if (room >= bytes && (best == NULL || room <= best->end - best->at)) best = block;
    }
    return best;
}

void *al_je_base_take(je_heap *heap, je_base *base, size_t bytes, size_t alignment) {
    const size_t most = bytes + alignment - 16;
    je_block *block = fitting(base, most);
    if (block == NULL) {
        if (!add_block(heap, base, most)) return NULL;
        block = base->blocks;
    }
    uintptr_t at = al_align_up(block->at, alignment);
    block->at = at + bytes;
    base->allocated += bytes;
    return (void *)at;
}
