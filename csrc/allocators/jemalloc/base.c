/* Metadata: blocks that are only ever taken from, never given back. */
#include "allocators/jemalloc/jemalloc.h"

void al_je_advise_huge(je_heap *heap, uintptr_t at, size_t bytes) {
    const unsigned thp = heap->params.thp;
    if (thp == JE_THP_DEFAULT) return;
    al_regions_madvise(heap->heap.regions, (void *)at, bytes,
                       thp == JE_THP_ALWAYS ? AL_ADVISE_HUGEPAGE : AL_ADVISE_NOHUGEPAGE);
}

_Static_assert(sizeof(je_block) <= JE_BLOCK_HEAD, "the block's own record");

/* A block that holds `least` bytes: of the page class after the last one's, in multiples of 2 MiB, aligned to that. */
static bool add_block(je_heap *heap, je_base *base, size_t least) {
    size_t next = base->blocks == NULL ? JE_FIRST_BYTES : al_je_page_class_bytes(base->last_class + 1);
    size_t bytes = al_max(al_align_up(least + JE_BLOCK_HEAD, JE_FIRST_BYTES), al_align_up(next, JE_FIRST_BYTES));
    uintptr_t at;
    je_span got;
    if (!al_je_map_pages(heap->heap.regions, bytes, JE_FIRST_BYTES, &at, &got)) return false;
    al_je_advise_huge(heap, at, bytes);
    je_block *block = (je_block *)at;
    *block = (je_block){.next = base->blocks, .start = got.start, .end = got.end, .at = at + JE_BLOCK_HEAD};
    base->blocks = block;
    base->last_class = al_je_page_class_of(bytes);
    base->mapped += got.end - got.start;
    base->allocated += JE_BLOCK_HEAD;
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
