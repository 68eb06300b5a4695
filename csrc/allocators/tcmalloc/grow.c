/* Memory from the system: the break while it moves, then mappings. It is never given back but by MADV_DONTNEED. */
#include "allocators/tcmalloc/tcmalloc.h"

#include "base/check.h"

/* A break that is not where a page of ours begins is moved by the difference; where that is refused, or somebody else
 * moved it meanwhile, there is room for the difference in what is asked anew. */
static void *take_break(tc_heap *heap, size_t bytes, size_t alignment) {
    al_regions *regions = heap->base.heap.regions;
    void *got;
    if (bytes > PTRDIFF_MAX - alignment || al_regions_brk(regions, (intptr_t)bytes, &got) != 0) return NULL;
    const uintptr_t at = (uintptr_t)got, aligned = al_align_up(at, alignment);
    al_check(al_regions_adopt(regions, got) == 0, "alloclab: no memory for the account");
    if (aligned == at) return got;
    void *more;
    if (al_regions_brk(regions, (intptr_t)(aligned - at), &more) == 0 && (uintptr_t)more == at + bytes)
        return (void *)aligned;
    if (al_regions_brk(regions, (intptr_t)(bytes + alignment - 1), &more) != 0) return NULL;
    return (void *)al_align_up((uintptr_t)more, alignment);
}

static void *take_mapping(tc_heap *heap, size_t bytes, size_t alignment) {
    al_regions *regions = heap->base.heap.regions;
    const size_t page = al_regions_page_size(regions), extra = alignment > page ? alignment - page : 0;
    void *got;
    if (bytes > PTRDIFF_MAX - extra ||
        al_regions_mmap(regions, NULL, bytes + extra, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &got) != 0)
        return NULL;
    const uintptr_t at = (uintptr_t)got, aligned = al_align_up(at, alignment);
    if (aligned > at) al_regions_munmap(regions, got, aligned - at);
    if (aligned - at < extra) al_regions_munmap(regions, (void *)(aligned + bytes), extra - (aligned - at));
    return (void *)aligned;
}

void *al_tc_system_take(tc_heap *heap, size_t bytes, size_t alignment) {
    tc_page_heap *pages = &heap->pages;
    void *got = NULL;
    if (!pages->break_failed && !(heap->begun && heap->params.skip_sbrk)) {
        got = take_break(heap, bytes, alignment);
        pages->break_failed = got == NULL;
    }
    if (got == NULL && !(heap->begun && heap->params.skip_mmap)) got = take_mapping(heap, bytes, alignment);
    /* Where both fail, the break is tried again the next time. */
    if (got == NULL) pages->break_failed = false;
    return got;
}

void *al_tc_metadata(tc_base *base, size_t bytes) {
    tc_heap *heap = (tc_heap *)base;
    tc_page_heap *pages = &heap->pages;
    if (pages->chunk_end - pages->chunk_at < bytes) {
        void *chunk = al_tc_system_take(heap, TC_CHUNK_BYTES, AL_MIN_ALIGNMENT);
        if (chunk == NULL) return NULL;
        pages->chunk_at = (uintptr_t)chunk;
        pages->chunk_end = pages->chunk_at + TC_CHUNK_BYTES;
        pages->metadata_bytes += TC_CHUNK_BYTES;
    }
    void *taken = (void *)pages->chunk_at;
    pages->chunk_at += bytes;
    pages->handed_bytes += bytes;
    return taken;
}

/* Makes a span of the memory that was got last; false: no memory for its records, it stays pending. */
static bool enter_pending(tc_heap *heap) {
    tc_page_heap *pages = &heap->pages;
    const uintptr_t first = pages->pending >> TC_PAGE_BITS, count = pages->pending_bytes >> TC_PAGE_BITS;
    if (!al_tc_records_ready(&heap->base, &pages->growth_records)) return false;
    if (!al_tc_map_prepare(&heap->base, first - 1, first + count)) return false;
    tc_span *span = al_tc_span_new(&heap->base, pages->pending, count);
    if (span == NULL) return false;
    tc_growth *growth = al_tc_record_take(&heap->base, &pages->growth_records);
    *growth = (tc_growth){.bytes = pages->pending_bytes, .address = pages->pending, .older = pages->growths};
    pages->growths = growth;
    pages->pending = 0;
    al_tc_pages_add(heap, span);
    return true;
}

bool al_tc_grow(tc_heap *heap, size_t least) {
    tc_page_heap *pages = &heap->pages;
    if (pages->pending != 0) return enter_pending(heap);
    if (least > PTRDIFF_MAX >> TC_PAGE_BITS) return false;
    size_t count = al_max(least, TC_GROWTH_PAGES);
    void *got = NULL;
    if (al_tc_within_limit(heap, count, true)) got = al_tc_system_take(heap, count << TC_PAGE_BITS, TC_PAGE);
    if (got == NULL && least < count && al_tc_within_limit(heap, least, true)) {
        count = least;
        got = al_tc_system_take(heap, count << TC_PAGE_BITS, TC_PAGE);
    }
    if (got == NULL) return false;
    pages->reserves++;
    pages->reserved_total += count << TC_PAGE_BITS;
    pages->pending = (uintptr_t)got;
    pages->pending_bytes = count << TC_PAGE_BITS;
    return enter_pending(heap);
}
