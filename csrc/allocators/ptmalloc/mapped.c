/* Chunks with a mapping of their own.
 *
 *     mapping                                          mapping + prev_size + size, page aligned
 *     |   (alignment)    | prev_size | size |M | block ...              |
 *     |<-- prev_size --->|<------------------ size ------------------->|
 *
 * After an alignment the mapping begins with a head of its own, by which a walk finds the chunk: it has the chunk's
 * prev_size, and the size of the whole. A mapping that the system does not take back stays, free for ever: its first
 * head loses M. */
#include "allocators/ptmalloc/bins.h"

static void keep_peaks(pt_heap *heap) {
    heap->mapped_count_peak = al_max(heap->mapped_count_peak, heap->mapped_count);
    heap->mapped_bytes_peak = al_max(heap->mapped_bytes_peak, heap->mapped_bytes);
}

void al_pt_advise_huge(pt_heap *heap, void *start, size_t bytes) {
    size_t huge = heap->params.huge_page, before = (uintptr_t)start & (al_pt_page_size(heap) - 1);
    if (huge == 0 || bytes < huge) return;
    al_regions_madvise(heap->heap.regions, (char *)start - before, bytes + before, AL_ADVISE_HUGEPAGE);
}

pt_chunk *al_pt_map(pt_heap *heap, size_t size) {
    size_t bytes = al_align_up(size + PT_WORD, al_pt_page_size(heap));
    void *at;
    if (bytes <= size) return NULL;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_mmap(heap->heap.regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &at);
    if (error == 0) {
        al_pt_advise_huge(heap, at, bytes);
        al_pt_set(&heap->mapped_count, heap->mapped_count + 1);
        heap->mapped_bytes += bytes;
        heap->mapped_heads += PT_HEADER;
        keep_peaks(heap);
        *(pt_chunk *)at = (pt_chunk){.head = bytes | PT_MAPPED};
    }
    al_lock_drop(&heap->heap.lock);
    return error == 0 ? at : NULL;
}

/* A pointer that can be the block of a mapped chunk is aligned to some power of two within its page. */
static bool sound(const pt_heap *heap, const pt_chunk *chunk) {
    size_t page = al_pt_page_size(heap), total = chunk->prev_size + al_pt_size(chunk);
    uintptr_t mapping = (uintptr_t)chunk - chunk->prev_size, within = (uintptr_t)al_pt_block(chunk) & (page - 1);
    return al_is_aligned(mapping | total, page) && (within & (within - 1)) == 0;
}

void al_pt_unmap(pt_heap *heap, pt_chunk *chunk) {
    al_check(sound(heap, chunk), "munmap_chunk(): invalid pointer");
    size_t offset = chunk->prev_size, bytes = offset + al_pt_size(chunk);
    pt_chunk *mapping = al_pt_below(chunk);
    al_lock_take(&heap->heap.lock);
    al_pt_set_head(mapping, bytes);
    al_pt_set(&heap->mapped_count, heap->mapped_count - 1);
    heap->mapped_bytes -= bytes;
    heap->mapped_heads -= offset + PT_HEADER;
    al_regions_munmap(heap->heap.regions, mapping, bytes);
    al_lock_drop(&heap->heap.lock);
}

pt_chunk *al_pt_remap(pt_heap *heap, pt_chunk *chunk, size_t size) {
    al_check(sound(heap, chunk), "mremap_chunk(): invalid pointer");
    size_t offset = chunk->prev_size, old = offset + al_pt_size(chunk);
    size_t bytes = al_align_up(offset + size + PT_WORD, al_pt_page_size(heap));
    void *at;
    if (bytes == old) return chunk;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_mremap(heap->heap.regions, al_pt_below(chunk), old, bytes, true, &at);
    pt_chunk *moved = NULL;
    if (error == 0) {
        al_pt_advise_huge(heap, at, bytes);
        heap->mapped_bytes += bytes - old;
        keep_peaks(heap);
        moved = al_pt_at(at, offset);
        al_pt_set_size(moved, bytes - offset);
        if (offset > 0) al_pt_set_size(at, bytes);
    }
    al_lock_drop(&heap->heap.lock);
    return moved;
}

pt_chunk *al_pt_advance_mapped(pt_heap *heap, pt_chunk *chunk, size_t lead) {
    pt_chunk *advanced = al_pt_at(chunk, lead);
    al_lock_take(&heap->heap.lock);
    chunk->prev_size = advanced->prev_size = lead;
    al_pt_set_head(advanced, (al_pt_size(chunk) - lead) | PT_MAPPED);
    heap->mapped_heads += lead;
    al_lock_drop(&heap->heap.lock);
    return advanced;
}
