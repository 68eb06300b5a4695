/* Aligned blocks. A size that is a multiple of the alignment has a class that is one, too, up to a page, and spans
 * begin at pages; beyond that pages are cut to size. */
#include "allocators/tcmalloc/tcmalloc.h"

/* Cuts a span in two and gives one part back. Returns the other, or NULL: no memory for a record, so all goes back. */
static tc_span *cut(tc_heap *heap, tc_span *span, size_t pages, bool give_first) {
    tc_span *second = al_tc_pages_split(heap, span, pages);
    al_tc_pages_give(&heap->base, give_first || second == NULL ? span : second);
    return give_first || second == NULL ? second : span;
}

static void *pages_at(tc_heap *heap, size_t alignment, size_t bytes) {
    const size_t pages = al_max(1, (bytes + TC_PAGE - 1) >> TC_PAGE_BITS);
    al_lock_take(&heap->base.heap.lock);
    tc_span *span = al_tc_pages_take(&heap->base, pages + (alignment >> TC_PAGE_BITS));
    const uintptr_t at = span == NULL ? 0 : al_align_up(span->address, alignment);
    if (span != NULL && at > span->address) span = cut(heap, span, (at - span->address) >> TC_PAGE_BITS, true);
    if (span != NULL && span->pages > pages) span = cut(heap, span, pages, false);
    al_lock_drop(&heap->base.heap.lock);
    return span == NULL ? NULL : (void *)span->address;
}

void *al_tc_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    if (alignment <= TC_PAGE) return al_tc_malloc(thread, al_align_up(al_max(bytes, 1), alignment));
    return pages_at(al_tc_of(thread->heap), alignment, bytes);
}
