/* Free spans: which one is cut, with which neighbours one is merged, and when one is given back. */
#include "allocators/tcmalloc/tcmalloc.h"

static size_t bytes_of(size_t pages) { return pages << TC_PAGE_BITS; }

void al_tc_pages_init(tc_heap *heap) {
    for (unsigned i = 0; i <= TC_LISTED_PAGES; i++)
        for (unsigned kind = 0; kind < TC_KINDS; kind++) al_list_init(&heap->pages.shelves[i][kind]);
    heap->pages.nodes = (tc_records){.bytes = sizeof(tc_node)};
    heap->pages.release_next = TC_LISTED_PAGES + 1;
}

/* --- where free spans are kept --- */

static size_t *sum_of(tc_page_heap *pages, unsigned location) {
    return location == TC_NORMAL ? &pages->normal_bytes : &pages->returned_bytes;
}

static bool is_long(const tc_span *span) { return span->pages > TC_LISTED_PAGES; }

/* The node of a long span lies in metadata; of a normal one, where there was no memory for it, in the span itself. */
static bool node_is_inside(const tc_span *span) {
    const uintptr_t at = (uintptr_t)span->objects;
    return at >= span->address && at < al_tc_end(span);
}

static void enter_set(tc_heap *heap, tc_span *span) {
    tc_page_heap *pages = &heap->pages;
    tc_node *node = al_tc_record_take(&heap->base, &pages->nodes);
    if (node == NULL) node = (tc_node *)span->address;
    *node = (tc_node){.address = span->address, .length = span->pages, .owner = span};
    span->objects = node;
    al_tc_set_insert(&pages->sets[al_tc_kind(span)], node);
    pages->set_counts[al_tc_kind(span)]++;
}

/* Behind this place in the list, if the span has one. pre: where it is long and returned, there is a record for a
 * node. */
static void keep_behind(tc_heap *heap, tc_span *span, al_link *place) {
    if (is_long(span))
        enter_set(heap, span);
    else
        al_list_insert_after(place, &span->link);
    *sum_of(&heap->pages, span->location) += bytes_of(span->pages);
    al_tc_map_enter(&heap->base, span);
}

static void keep(tc_heap *heap, tc_span *span) {
    al_link *list = is_long(span) ? NULL : &heap->pages.shelves[span->pages][al_tc_kind(span)];
    keep_behind(heap, span, list);
}

static void unkeep(tc_heap *heap, tc_span *span) {
    tc_page_heap *pages = &heap->pages;
    *sum_of(pages, span->location) -= bytes_of(span->pages);
    if (!is_long(span)) {
        al_list_remove(&span->link);
        return;
    }
    al_tc_set_remove(&pages->sets[al_tc_kind(span)], span->objects);
    pages->set_counts[al_tc_kind(span)]--;
    if (!node_is_inside(span)) al_tc_record_give(&pages->nodes, span->objects);
    span->objects = NULL;
}

/* --- to and from the system --- */

/* A span that is nowhere kept becomes returned; false: the system will not have it, or it could not be kept then.
 * What was tried is counted. */
static bool decommit(tc_heap *heap, tc_span *span) {
    tc_page_heap *pages = &heap->pages;
    if (is_long(span) && !al_tc_records_ready(&heap->base, &pages->nodes)) return false;
    pages->decommits++;
    if (heap->begun && heap->params.keep) return false;
    if (al_regions_madvise(heap->base.heap.regions, (void *)span->address, bytes_of(span->pages),
                           AL_ADVISE_DONTNEED) != 0)
        return false;
    span->location = TC_RETURNED;
    pages->committed_bytes -= bytes_of(span->pages);
    pages->decommitted_total += bytes_of(span->pages);
    return true;
}

/* A free span becomes returned, and is nowhere kept then; false: it stays normal and where it is. */
static bool decommit_kept(tc_heap *heap, tc_span *span) {
    al_link *place = is_long(span) ? NULL : span->link.prev;
    unkeep(heap, span);
    if (decommit(heap, span)) return true;
    keep_behind(heap, span, place);
    return false;
}

/* Nothing is asked of the system: what is touched is there again. */
static void commit(tc_page_heap *pages, const tc_span *span) {
    pages->committed_bytes += bytes_of(span->pages);
    pages->committed_total += bytes_of(span->pages);
    pages->commits++;
}

/* --- free --- */

/* The free span that this page, at the border of another span, is the first or last of, if it may be merged with one of
 * this location; with aggressive decommit a normal one is returned for it. */
static tc_span *mergeable(tc_heap *heap, uintptr_t page, unsigned location) {
    tc_span *span = al_tc_word_span(al_pages_get_or_none(&heap->base.map, page));
    if (span == NULL || span->location == location) return span;
    if (!heap->params.decommit || location != TC_RETURNED || span->location != TC_NORMAL) return NULL;
    if (!decommit_kept(heap, span)) return NULL;
    keep(heap, span);
    return span;
}

static void absorb(tc_heap *heap, tc_span *span, tc_span *neighbour) {
    unkeep(heap, neighbour);
    span->address = al_min(span->address, neighbour->address);
    span->pages += neighbour->pages;
    al_tc_span_forget(&heap->base, neighbour);
}

/* Whether there is, or will be, memory for the node of what a span and its neighbours, which may be NULL, make. */
static bool can_keep_merged(tc_heap *heap, const tc_span *span, const tc_span *before, const tc_span *after) {
    const size_t more = (before == NULL ? 0 : before->pages) + (after == NULL ? 0 : after->pages);
    if (span->location == TC_NORMAL || span->pages + more <= TC_LISTED_PAGES) return true;
    if ((before != NULL && is_long(before)) || (after != NULL && is_long(after))) return true;
    return al_tc_records_ready(&heap->base, &heap->pages.nodes);
}

/* Keeps a free span, merged with its neighbours of the same location. */
static void merge_and_keep(tc_heap *heap, tc_span *span) {
    tc_span *before = mergeable(heap, (span->address >> TC_PAGE_BITS) - 1, span->location);
    tc_span *after = mergeable(heap, al_tc_end(span) >> TC_PAGE_BITS, span->location);
    if (can_keep_merged(heap, span, before, after)) {
        if (before != NULL) absorb(heap, span, before);
        if (after != NULL) absorb(heap, span, after);
    }
    keep(heap, span);
}

static size_t release_one(tc_heap *heap, tc_span *span) {
    const size_t pages = span->pages;
    if (!decommit_kept(heap, span)) return 0;
    merge_and_keep(heap, span);
    return pages;
}

/* The span to be released of those of a length, the one that has been free for longest; of long ones the shortest. */
static tc_span *oldest_of(tc_page_heap *pages, unsigned length) {
    if (length > TC_LISTED_PAGES) {
        tc_node *node = al_tc_set_next(pages->sets[0], NULL);
        return node == NULL ? NULL : node->owner;
    }
    al_link *list = &pages->shelves[length][0];
    return al_list_empty(list) ? NULL : al_container(list->prev, tc_span, link);
}

size_t al_tc_release(tc_heap *heap, size_t wanted) {
    tc_page_heap *pages = &heap->pages;
    size_t released = 0;
    while (released < wanted && pages->normal_bytes > 0)
        for (unsigned i = 0; i <= TC_LISTED_PAGES && released < wanted; i++) {
            tc_span *span = oldest_of(pages, pages->release_next);
            const size_t more = span == NULL ? 0 : release_one(heap, span);
            if (span != NULL && more == 0) return released; /* the system does not want it: the next time it may */
            released += more;
            pages->release_next = pages->release_next > TC_LISTED_PAGES ? 1 : pages->release_next + 1;
        }
    return released;
}

/* So many pages were freed: now and then something is released. */
static void count_freed(tc_heap *heap, size_t freed) {
    tc_page_heap *pages = &heap->pages;
    pages->release_counter -= (int64_t)freed;
    if (pages->release_counter >= 0) return;
    if (!heap->begun || heap->params.release_rate <= 1e-6) {
        pages->release_counter = TC_RELEASE_FIRST;
        return;
    }
    pages->scavenges++;
    const size_t released = al_tc_release(heap, 1);
    const double pause = 1000.0 / heap->params.release_rate * (double)released;
    pages->release_counter = released == 0             ? TC_RELEASE_NONE
                             : pause > TC_RELEASE_MOST ? TC_RELEASE_MOST
                                                       : (int64_t)pause;
}

void al_tc_pages_give(tc_base *base, tc_span *span) {
    tc_heap *heap = (tc_heap *)base;
    const size_t pages = span->pages;
    span->objects = NULL;
    span->location = TC_NORMAL;
    if (heap->params.decommit) decommit(heap, span);
    merge_and_keep(heap, span);
    count_freed(heap, pages);
}

void al_tc_pages_add(tc_heap *heap, tc_span *span) {
    tc_page_heap *pages = &heap->pages;
    pages->system_bytes += bytes_of(span->pages);
    commit(pages, span);
    al_tc_pages_give(&heap->base, span);
}

/* --- take --- */

/* What is taken of the system and not given back, metadata too, must be within the limit after `pages` more are; to get
 * there, others are released. Theirs serves its first request before the limit is set. */
bool al_tc_within_limit(tc_heap *heap, size_t pages, bool release) {
    const size_t limit = heap->params.limit_pages;
    if (limit == 0 || !heap->begun) return true;
    const tc_page_heap *at = &heap->pages;
    size_t used = (at->system_bytes + at->metadata_bytes - at->returned_bytes) >> TC_PAGE_BITS;
    if (release && used + pages > limit) used -= al_tc_release(heap, used + pages - limit);
    return used + pages <= limit;
}

/* The shortest span of at least so many pages in the lists; of two alike the normal one, of several the last kept. A
 * returned one counts against the limit, and what is released to stay within may be merged with it. */
static tc_span *listed(tc_heap *heap, size_t least) {
    for (size_t length = least; length <= TC_LISTED_PAGES; length++) {
        const al_link *shelves = heap->pages.shelves[length];
        const al_link *normal = &shelves[0], *returned = &shelves[1];
        if (!al_list_empty(normal)) return al_container(normal->next, tc_span, link);
        if (!al_list_empty(returned) && al_tc_within_limit(heap, least, true) && !al_list_empty(returned))
            return al_container(returned->next, tc_span, link);
    }
    return NULL;
}

/* The same in the sets; of two alike the lowest. */
static tc_span *longer(tc_heap *heap, size_t least) {
    tc_page_heap *pages = &heap->pages;
    const tc_node *normal = al_tc_set_fit(pages->sets[0], least), *returned = al_tc_set_fit(pages->sets[1], least);
    if (returned == NULL || (normal != NULL && al_tc_node_before(normal, returned)))
        return normal == NULL ? NULL : normal->owner;
    if (al_tc_within_limit(heap, least, false)) return returned->owner;
    return al_tc_within_limit(heap, least, true) ? longer(heap, least) : NULL;
}

static tc_span *fitting(tc_heap *heap, size_t least) {
    tc_span *span = listed(heap, least);
    return span != NULL ? span : longer(heap, least);
}

/* Cuts `count` pages from the low end of a free span. NULL: no memory for the record of the rest. */
static tc_span *carve(tc_heap *heap, tc_span *span, size_t count) {
    tc_span *rest = NULL;
    if (span->pages > count) {
        rest = al_tc_span_new(&heap->base, span->address + bytes_of(count), span->pages - count);
        if (rest == NULL) return NULL;
        rest->location = span->location;
    }
    unkeep(heap, span);
    span->pages = count;
    if (rest != NULL) keep(heap, rest);
    if (span->location == TC_RETURNED) commit(&heap->pages, span);
    span->location = TC_IN_USE;
    al_tc_map_enter(&heap->base, span);
    return span;
}

/* Much is free, but in pieces: before the heap grows over another 128 MiB all normal spans are returned, so that they
 * merge with those that were. */
static bool released_before_growth(tc_heap *heap, size_t pages) {
    const tc_page_heap *at = &heap->pages;
    const size_t interval = 128 << 20;
    if (at->normal_bytes == 0 || at->returned_bytes == 0) return false;
    if (at->normal_bytes + at->returned_bytes < at->system_bytes / 4) return false;
    if (at->system_bytes / interval == (at->system_bytes + bytes_of(pages)) / interval) return false;
    al_tc_release(heap, SIZE_MAX);
    return true;
}

tc_span *al_tc_pages_take(tc_base *base, size_t count) {
    tc_heap *heap = (tc_heap *)base;
    tc_span *span = fitting(heap, count);
    if (span == NULL && released_before_growth(heap, count)) span = fitting(heap, count);
    while (span == NULL) {
        if (!al_tc_grow(heap, count)) return NULL;
        span = fitting(heap, count);
    }
    return carve(heap, span, count);
}

tc_span *al_tc_pages_split(tc_heap *heap, tc_span *span, size_t pages) {
    tc_span *rest = al_tc_span_new(&heap->base, span->address + bytes_of(pages), span->pages - pages);
    if (rest == NULL) return NULL;
    span->pages = pages;
    al_tc_map_enter(&heap->base, span);
    al_tc_map_enter(&heap->base, rest);
    return rest;
}
