#include "allocators/tcmalloc/span.h"

#include <string.h>

/* --- the map --- */

bool al_tc_map_prepare(tc_base *base, uintptr_t from, uintptr_t to) {
    if (to >> (AL_PAGES_LEAF_BITS + AL_PAGES_ROOT_BITS) != 0) return false;
    for (uintptr_t leaf = from >> AL_PAGES_LEAF_BITS; leaf <= to >> AL_PAGES_LEAF_BITS; leaf++) {
        if (base->map.leaves[leaf] != NULL) continue;
        al_pages_leaf *words = base->metadata(base, sizeof *words);
        if (words == NULL) return false;
        if (base->writes_leaves) memset(words, 0, sizeof *words);
        al_pages_set_leaf(&base->map, leaf << AL_PAGES_LEAF_BITS, words);
    }
    return true;
}

void al_tc_map_enter(tc_base *base, const tc_span *span) {
    const uintptr_t first = span->address >> TC_PAGE_BITS, last = first + span->pages - 1;
    const al_page_word word = al_page_word_of(span, span->class);
    al_pages_put(&base->map, first, word);
    if (last != first) al_pages_put(&base->map, last, word);
    if (span->class == 0) return;
    for (uintptr_t page = first + 1; page < last; page++) al_pages_put(&base->map, page, word);
}

tc_span *al_tc_span_new(tc_base *base, uintptr_t address, size_t pages) {
    tc_span *span = al_tc_record_take(base, &base->spans);
    if (span != NULL) *span = (tc_span){.address = address, .pages = pages, .location = TC_IN_USE};
    return span;
}

/* Whoever comes here by a stale word of the map sees by the location that it is no span. */
void al_tc_span_forget(tc_base *base, tc_span *span) {
    *span = (tc_span){.location = TC_SPARE};
    al_tc_record_give(&base->spans, span);
}

/* --- the spans of a class --- */

void al_tc_spans_init(tc_spans *spans) {
    for (unsigned i = 0; i < TC_OCCUPANCIES; i++) al_list_init(&spans->lists[i]);
    spans->count = spans->free = 0;
}

tc_span *al_tc_spans_first(const tc_spans *spans) {
    for (unsigned i = 0; i < TC_FULL; i++)
        if (!al_list_empty(&spans->lists[i])) return al_container(spans->lists[i].next, tc_span, link);
    return NULL;
}

void al_tc_spans_file(tc_spans *spans, tc_span *span, unsigned list) {
    if (span->list == list) return;
    al_list_remove(&span->link);
    al_list_insert_after(&spans->lists[list], &span->link);
    span->list = (uint8_t)list;
}

tc_span *al_tc_spans_add(tc_base *base, tc_spans *spans, unsigned class) {
    const tc_class *shape = &base->classes.of[class];
    al_lock_take(&base->heap.lock);
    tc_span *span = base->pages_take(base, shape->pages);
    al_lock_drop(&base->heap.lock);
    if (span == NULL) return NULL;
    span->class = (uint8_t)class;
    span->live = 0;
    span->list = 0;
    al_tc_map_enter(base, span);
    al_list_insert_after(&spans->lists[0], &span->link);
    spans->count++;
    spans->free += shape->objects;
    return span;
}

void al_tc_spans_drop(tc_base *base, tc_spans *spans, tc_span *span) {
    al_list_remove(&span->link);
    spans->count--;
    spans->free -= base->classes.of[span->class].objects;
    al_lock_take(&base->heap.lock);
    span->class = 0;
    base->pages_give(base, span);
    al_lock_drop(&base->heap.lock);
}
