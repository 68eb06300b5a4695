/* Free spans where they are looked for, growths, and the records in metadata, against what memory was found to hold. */
#include "allocators/tcmalloc/inspect.h"

/* --- free spans --- */

static bool check_shelf(const tc_heap *heap, size_t length, unsigned kind, size_t *count, al_flaw *flaw) {
    tc_member m = {0};
    while (al_tc_listed_next(heap, &heap->pages.shelves[length][kind], &m))
        if (m.span->location != TC_NORMAL + kind || m.span->pages != length)
            return al_blame(flaw, (const void *)m.span->address, "tcmalloc: a shelf holds what belongs elsewhere");
    *count += m.position;
    return !m.strayed || al_blame(flaw, m.stray, "tcmalloc: a shelf leads to no span, or around");
}

static bool check_set(const tc_heap *heap, unsigned kind, size_t *count, al_flaw *flaw) {
    tc_member m = {0};
    while (al_tc_set_member_next(heap, kind, &m)) {}
    *count += m.position;
    if (m.strayed) return al_blame(flaw, m.stray, "tcmalloc: a set leads to no free span, or is out of order");
    return m.position == heap->pages.set_counts[kind] ||
           al_blame(flaw, &heap->pages.sets[kind], "tcmalloc: a set is miscounted");
}

static bool check_kind(const tc_heap *heap, unsigned kind, const tc_census *census, al_flaw *flaw) {
    size_t count = 0;
    for (size_t length = 1; length <= TC_LISTED_PAGES; length++)
        if (!check_shelf(heap, length, kind, &count, flaw)) return false;
    if (!check_set(heap, kind, &count, flaw)) return false;
    return count == census->free_spans[kind] ||
           al_blame(flaw, heap->pages.shelves, "tcmalloc: a free span is on no shelf and in no set");
}

static bool check_sums(const tc_heap *heap, const tc_census *census, al_flaw *flaw) {
    const tc_page_heap *pages = &heap->pages;
    if (pages->normal_bytes != census->free_bytes[0] || pages->returned_bytes != census->free_bytes[1])
        return al_blame(flaw, pages, "tcmalloc: free bytes are miscounted");
    if (pages->system_bytes != census->bytes) return al_blame(flaw, pages, "tcmalloc: the spans' bytes are miscounted");
    return (pages->committed_bytes == pages->system_bytes - pages->returned_bytes &&
            pages->committed_total - pages->decommitted_total == pages->committed_bytes) ||
           al_blame(flaw, pages, "tcmalloc: committed bytes are miscounted");
}

/* --- growths --- */

static bool check_growths(const tc_heap *heap, al_flaw *flaw) {
    const tc_page_heap *pages = &heap->pages;
    size_t bytes = 0;
    tc_trail t = {0};
    while (al_tc_growth_next(heap, &t)) bytes += ((const tc_growth *)t.at)->bytes;
    if (t.strayed) return al_blame(flaw, t.at, "tcmalloc: growths lead to none, or around");
    if (t.passed != pages->growth_records.taken || bytes != pages->system_bytes)
        return al_blame(flaw, pages, "tcmalloc: growths are miscounted");
    return pages->reserves == t.passed + (pages->pending != 0) ||
           al_blame(flaw, pages, "tcmalloc: not every growth was counted");
}

/* --- metadata --- */

static bool check_records(const tc_heap *heap, const tc_records *records, size_t bytes, al_flaw *flaw) {
    tc_trail t = {0};
    while (al_tc_trail_next(heap, records->spare, records->bytes, &t)) {}
    if (t.strayed) return al_blame(flaw, t.at, "tcmalloc: spare records lead to none, or around");
    const bool fits = records->bytes == bytes && records->at <= records->end &&
                      al_tc_readable(heap, (const void *)records->at, records->end - records->at);
    return records->end == 0 || fits || al_blame(flaw, records, "tcmalloc: a unit of records is damaged");
}

static bool check_spares(const tc_heap *heap, al_flaw *flaw) {
    for (tc_trail t = {0}; al_tc_trail_next(heap, heap->base.spans.spare, sizeof(tc_span), &t);)
        if (((const tc_span *)t.at)->location != TC_SPARE)
            return al_blame(flaw, t.at, "tcmalloc: a spare record is in use");
    return true;
}

/* Two records of spans are never used. */
static bool check_taken(const tc_heap *heap, const tc_census *census, al_flaw *flaw) {
    size_t threads = 0;
    for (const tc_thread *thread = heap->threads; thread != NULL; thread = thread->next) threads++;
    const bool counted = heap->base.spans.taken == census->spans + 2 && heap->pages.nodes.taken == census->nodes &&
                         heap->caches.taken == threads;
    return counted || al_blame(flaw, heap, "tcmalloc: records are miscounted");
}

static bool check_metadata(const tc_heap *heap, const tc_census *census, al_flaw *flaw) {
    const tc_page_heap *pages = &heap->pages;
    const size_t others = al_regions_counters(heap->base.heap.regions)->mapped - census->bytes;
    const bool fits = pages->chunk_at <= pages->chunk_end &&
                      al_tc_readable(heap, (const void *)pages->chunk_at, pages->chunk_end - pages->chunk_at);
    if (!fits) return al_blame(flaw, pages, "tcmalloc: the last chunk of metadata is damaged");
    return pages->metadata_bytes + (pages->pending == 0 ? 0 : pages->pending_bytes) <= others ||
           al_blame(flaw, pages, "tcmalloc: there is not as much metadata as was counted");
}

bool al_tc_check_pages(const tc_heap *heap, const tc_census *census, al_flaw *flaw) {
    for (unsigned kind = 0; kind < TC_KINDS; kind++)
        if (!check_kind(heap, kind, census, flaw)) return false;
    return check_sums(heap, census, flaw) && check_growths(heap, flaw) && check_metadata(heap, census, flaw) &&
           check_records(heap, &heap->base.spans, sizeof(tc_span), flaw) &&
           check_records(heap, &heap->pages.nodes, sizeof(tc_node), flaw) &&
           check_records(heap, &heap->pages.growth_records, sizeof(tc_growth), flaw) &&
           check_records(heap, &heap->caches, TC_CACHE_RECORD, flaw) && check_spares(heap, flaw) &&
           check_taken(heap, census, flaw);
}
