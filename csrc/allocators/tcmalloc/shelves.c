/* Every free byte where it is kept, in the order in which it is chosen: objects of threads' lists and of slots, the
 * last given first; objects of the spans of each class; free pages, the shortest spans first, at last the long ones. */
#include "allocators/tcmalloc/inspect.h"

typedef struct viewer {
    const tc_look *look;
    al_bin_fn *visit;
    void *context;
} viewer;

static bool show_object(const viewer *v, const char *kind, uint32_t owner, unsigned class, const void *object) {
    const size_t bytes = v->look->heap->base.classes.of[class].bytes;
    const al_binned entry = {kind, owner, class, bytes, bytes, (uintptr_t)object, bytes};
    return v->visit(v->context, &entry);
}

static bool show_chain(const viewer *v, const char *kind, uint32_t owner, unsigned class, void *head) {
    for (tc_trail t = {0}; al_tc_trail_next(v->look->heap, head, sizeof(void *), &t);)
        if (!show_object(v, kind, owner, class, t.at)) return false;
    return true;
}

/* --- caches --- */

static bool show_threads(const viewer *v) {
    const tc_heap *heap = v->look->heap;
    for (const tc_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        for (unsigned class = 1; class < heap->base.classes.count && !thread->lost; class++)
            if (!show_chain(v, "thread", thread->thread.id, class, thread->lists[class].head)) return false;
    return true;
}

static bool show_slots(const viewer *v) {
    const tc_heap *heap = v->look->heap;
    for (unsigned class = 1; class < heap->base.classes.count; class++) {
        const tc_central *central = &heap->central[class];
        for (size_t slot = al_min(central->used, TC_SLOTS_MOST); slot > 0; slot--)
            if (!show_chain(v, "transfer", 0, class, central->transfer[slot - 1].head)) return false;
    }
    return true;
}

/* --- spans of classes --- */

static bool show_span(const viewer *v, const tc_span *span) {
    const tc_heap *heap = v->look->heap;
    size_t left = al_tc_shape(heap, span)->objects;
    const void *object = NULL;
    while (left-- > 0 && (object = al_tc_free_after(heap, span, object)) != NULL)
        if (!show_object(v, "span", 0, span->class, object)) return false;
    return true;
}

static bool show_spans(const viewer *v) {
    const tc_heap *heap = v->look->heap;
    for (unsigned class = 1; class < heap->base.classes.count; class++)
        for (tc_member m = {0}; al_tc_listed_next(heap, &heap->central[class].spans.lists[0], &m);)
            if (m.span->class == class && !show_span(v, m.span)) return false;
    return true;
}

/* --- free spans --- */

static bool show_pages(const viewer *v, const tc_span *span, size_t shelf) {
    if (span->location == TC_IN_USE) return true;
    const al_binned entry = {
        .kind = al_tc_location_name(span->location),
        .index = (uint32_t)shelf,
        .least = shelf << TC_PAGE_BITS,
        .most = shelf > TC_LISTED_PAGES ? SIZE_MAX : shelf << TC_PAGE_BITS,
        .address = span->address,
        .bytes = span->pages << TC_PAGE_BITS,
    };
    return v->visit(v->context, &entry);
}

static bool show_shelves(const viewer *v) {
    const tc_heap *heap = v->look->heap;
    for (size_t length = 1; length <= TC_LISTED_PAGES; length++)
        for (unsigned kind = 0; kind < TC_KINDS; kind++)
            for (tc_member m = {0}; al_tc_listed_next(heap, &heap->pages.shelves[length][kind], &m);)
                if (!show_pages(v, m.span, length)) return false;
    return true;
}

static bool show_sets(const viewer *v) {
    for (unsigned kind = 0; kind < TC_KINDS; kind++)
        for (tc_member m = {0}; al_tc_set_member_next(v->look->heap, kind, &m);)
            if (!show_pages(v, m.span, TC_LISTED_PAGES + 1)) return false;
    return true;
}

void al_tc_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    tc_look look;
    const viewer v = {&look, visit, context};
    al_tc_look_open(&look, al_tc_of(heap));
    if (show_threads(&v) && show_slots(&v) && show_spans(&v) && show_shelves(&v)) show_sets(&v);
    al_tc_look_close(&look);
}
