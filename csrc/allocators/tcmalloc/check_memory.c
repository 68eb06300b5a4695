/* Every stretch of memory: what its record says, what the map says of it, what its chain and the caches hold of it, and
 * what its neighbours allow; counted. */
#include "allocators/tcmalloc/inspect.h"

typedef struct checker {
    const tc_look *look;
    tc_census *census;
    al_flaw *flaw;
    size_t kept; /* so many of look->kept lie below */
} checker;

static bool blame(const checker *c, uintptr_t at, const char *what) {
    return al_blame(c->flaw, (const void *)at, what);
}

static bool check_words(const checker *c, const tc_span *span) {
    const uintptr_t first = span->address >> TC_PAGE_BITS, last = first + span->pages - 1;
    const size_t step = span->class != 0 || last == first ? 1 : last - first;
    for (uintptr_t page = first; page <= last; page += step)
        if (al_tc_word_at(c->look->heap, page) != al_page_word_of(span, span->class))
            return blame(c, span->address, "tcmalloc: the map says something else of a span than its record");
    return true;
}

/* --- objects --- */

/* What is kept below `to` must be objects of the span's class that are out, each once. */
static bool check_kept(checker *c, const tc_span *span, const uint64_t *free, uintptr_t to) {
    const al_finds *kept = &c->look->kept;
    for (; c->kept < kept->count && kept->all[c->kept].key < to; c->kept++) {
        const al_find *one = &kept->all[c->kept];
        if (c->kept > 0 && one->key == one[-1].key) return blame(c, one->key, "tcmalloc: an object is kept twice");
        if (span == NULL || one->key < span->address)
            return blame(c, one->key, "tcmalloc: what is kept is no object, or free");
        const size_t number = al_tc_number_of(c->look->heap, span, one->key);
        if (number == al_tc_shape(c->look->heap, span)->objects || al_bitmap_test(free, number))
            return blame(c, one->key, "tcmalloc: what is kept is no object, or free");
        if (one->next != span->class) return blame(c, one->key, "tcmalloc: an object is kept as of another class");
    }
    return true;
}

static size_t count_bits(const uint64_t *map, size_t bits) {
    size_t count = 0;
    for (size_t i = 0; i < al_bitmap_words(bits); i++) count += (size_t)__builtin_popcountll(map[i]);
    return count;
}

static bool check_objects(checker *c, const tc_span *span) {
    const tc_class *shape = al_tc_shape(c->look->heap, span);
    uint64_t free[TC_OBJECTS_MOST / 64];
    if (!al_tc_free_objects(c->look->heap, span, free))
        return blame(c, span->address, "tcmalloc: a span's chain leads to no object of it, or around");
    const size_t count = count_bits(free, shape->objects);
    if (count + span->live != shape->objects)
        return blame(c, span->address, "tcmalloc: a span's objects are miscounted");
    if (span->live == 0) return blame(c, span->address, "tcmalloc: an empty span was not given back");
    c->census->class_spans[span->class]++;
    c->census->class_free[span->class] += count;
    return check_kept(c, span, free, al_tc_end(span));
}

/* --- pages --- */

static bool check_large(const checker *c, const tc_span *span) {
    return span->objects == NULL || blame(c, span->address, "tcmalloc: a large block has a chain");
}

/* The node of a long one is checked with its set. */
static bool check_free(const checker *c, const tc_span *span) {
    const unsigned kind = al_tc_kind(span);
    const bool is_long = span->pages > TC_LISTED_PAGES;
    if (span->class != 0) return blame(c, span->address, "tcmalloc: a free span has a class");
    if ((span->objects != NULL) != is_long)
        return blame(c, span->address, "tcmalloc: a free span has a node and is short, or has none and is long");
    const uintptr_t node = (uintptr_t)span->objects;
    c->census->nodes += is_long && (node < span->address || node >= al_tc_end(span));
    c->census->free_spans[kind]++;
    c->census->free_bytes[kind] += span->pages << TC_PAGE_BITS;
    return true;
}

static bool overlaps(const tc_span *span, uintptr_t from, uintptr_t to) {
    return span->address < to && from < al_tc_end(span);
}

/* For returned ones there may once have been no memory for the node of what they would have made. */
static bool check_place(const checker *c, const tc_stretch *below, const tc_span *span) {
    const tc_page_heap *pages = &c->look->heap->pages;
    if (overlaps(span, pages->chunk_at, pages->chunk_end))
        return blame(c, span->address, "tcmalloc: a span lies in metadata");
    if (pages->pending != 0 && overlaps(span, pages->pending, pages->pending + pages->pending_bytes))
        return blame(c, span->address, "tcmalloc: a span lies in what is no span yet");
    const bool alike = below->kind == TC_SPAN && below->end == span->address &&
                       below->span->location == TC_NORMAL && span->location == TC_NORMAL;
    return !alike || blame(c, span->address, "tcmalloc: two normal neighbours were not merged");
}

static bool check_span(checker *c, const tc_stretch *below, const tc_span *span) {
    c->census->spans++;
    c->census->bytes += span->pages << TC_PAGE_BITS;
    if (!check_words(c, span) || !check_place(c, below, span)) return false;
    if (span->location != TC_IN_USE) return check_free(c, span);
    return span->class != 0 ? check_objects(c, span) : check_large(c, span);
}

bool al_tc_check_memory(const tc_look *look, tc_census *census, al_flaw *flaw) {
    checker c = {look, census, flaw, 0};
    tc_stretch s, below = {.kind = TC_NO_SPAN};
    for (uintptr_t at = 0; al_tc_stretch_after(look, at, &s); at = s.end, below = s) {
        if (s.kind == TC_STRANGE) return blame(&c, s.start, "tcmalloc: the map leads to no sound span");
        if (s.kind == TC_SPAN && !check_span(&c, &below, s.span)) return false;
        if (!check_kept(&c, NULL, NULL, s.end)) return false;
    }
    return check_kept(&c, NULL, NULL, UINTPTR_MAX);
}
