/* Aligned blocks. A size that is a multiple of the alignment has a class that is one, too, up to a page, and spans
 * begin at pages; beyond that pages are cut to size. */
#include "allocators/tcmalloc/tcmalloc.h"

/* The pages before and behind the block go back. NULL: no memory for their records, so all go back. */
static tc_span *cut(tc_heap *heap, tc_span *span, size_t before, size_t pages) {
    tc_span *block = before == 0 ? span : al_tc_pages_split(heap, span, before);
    if (block != NULL && block->pages > pages) {
        tc_span *rest = al_tc_pages_split(heap, block, pages);
        if (rest == NULL) {
            al_tc_pages_give(&heap->base, block);
            block = NULL;
        } else {
            al_tc_pages_give(&heap->base, rest);
        }
    }
    if (before > 0 || block == NULL) al_tc_pages_give(&heap->base, span);
    return block;
}

static void *pages_at(tc_heap *heap, size_t alignment, size_t bytes) {
    const size_t pages = al_max(1, (bytes + TC_PAGE - 1) >> TC_PAGE_BITS);
    al_lock_take(&heap->base.heap.lock);
    tc_span *span = al_tc_pages_take(&heap->base, pages + (alignment >> TC_PAGE_BITS));
    if (span != NULL)
        span = cut(heap, span, (al_align_up(span->address, alignment) - span->address) >> TC_PAGE_BITS, pages);
    al_lock_drop(&heap->base.heap.lock);
    return span == NULL ? NULL : (void *)span->address;
}

void *al_tc_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    if (alignment <= TC_PAGE) return al_tc_malloc(thread, al_align_up(al_max(bytes, 1), alignment));
    return pages_at(al_tc_of(thread->heap), alignment, bytes);
}
