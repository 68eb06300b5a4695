/* The ways along chains and lists and through sets. */
#include "allocators/tcmalloc/inspect.h"

const char *al_tc_location_name(unsigned location) {
    static const char *const names[] = {"in use", "normal", "returned"};
    return names[location];
}

/* --- chains --- */

static bool enter(const tc_heap *heap, void *next, size_t bytes, tc_trail *trail) {
    trail->at = next;
    if (next == NULL) return false;
    if (next == trail->anchor || !al_tc_readable(heap, next, bytes)) {
        trail->strayed = true;
        return false;
    }
    if (al_is_power_of_two(++trail->passed)) trail->anchor = next;
    return true;
}

bool al_tc_trail_next(const tc_heap *heap, void *head, size_t bytes, tc_trail *trail) {
    return enter(heap, trail->passed == 0 ? head : al_tc_after(trail->at), bytes, trail);
}

bool al_tc_growth_next(const tc_heap *heap, tc_trail *trail) {
    tc_growth *next = trail->passed == 0 ? heap->pages.growths : ((const tc_growth *)trail->at)->older;
    return enter(heap, next, sizeof *next, trail);
}

bool al_tc_free_objects(const tc_heap *heap, const tc_span *span, uint64_t *free) {
    const size_t count = al_tc_shape(heap, span)->objects;
    memset(free, 0, al_bitmap_words(count) * sizeof *free);
    for (const void *object = span->objects; object != NULL; object = al_tc_after(object)) {
        const size_t number = al_tc_number_of(heap, span, (uintptr_t)object);
        if (number == count || al_bitmap_test(free, number)) return false;
        al_bitmap_set(free, number);
    }
    return true;
}

const void *al_tc_free_after(const tc_heap *heap, const tc_span *span, const void *object) {
    const void *next = object == NULL ? span->objects : al_tc_after(object);
    const bool sound = al_tc_number_of(heap, span, (uintptr_t)next) < al_tc_shape(heap, span)->objects;
    return sound ? next : NULL;
}

/* --- lists --- */

static bool stray(tc_member *member, const void *to) {
    member->strayed = true;
    member->stray = to;
    return false;
}

/* Every link leads back to the one before, so no way goes around. */
bool al_tc_listed_next(const tc_heap *heap, const al_link *head, tc_member *member) {
    const al_link *link = member->span == NULL ? head : &member->span->link, *next = link->next;
    member->position += member->span != NULL;
    member->span = NULL;
    if (next == head) {
        if (head->prev != link) stray(member, head->prev);
        return false;
    }
    tc_span *span = (tc_span *)((uintptr_t)next - offsetof(tc_span, link)); /* if it is a pointer at all */
    if (!al_tc_span_known(heap, span) || next->prev != link) return stray(member, span);
    member->span = span;
    return true;
}

/* --- sets --- */

static bool before(const tc_node *a, const tc_node *b) {
    return a->length != b->length ? a->length < b->length : a->address < b->address;
}

static bool sound(const tc_heap *heap, unsigned kind, const tc_node *node) {
    if (!al_tc_readable(heap, node, sizeof *node)) return false;
    const tc_span *span = node->owner;
    return al_tc_span_known(heap, span) && span->location == TC_NORMAL + kind && span->objects == node &&
           node->address == span->address && node->length == span->pages;
}

/* Every node on the way down lies between those before where it went right and left, so no way goes around. */
bool al_tc_set_member_next(const tc_heap *heap, unsigned kind, tc_member *member) {
    const tc_node *from = member->span == NULL ? NULL : member->span->objects, *next = NULL, *parent = NULL;
    const tc_node *low = NULL, *high = NULL, *at = heap->pages.sets[kind];
    member->position += member->span != NULL;
    member->span = NULL;
    for (; at != NULL; parent = at, at = low == at ? at->right : at->left) {
        if (!sound(heap, kind, at)) return stray(member, at);
        const bool between = (low == NULL || before(low, at)) && (high == NULL || before(at, high));
        if (!between || (parent != NULL && at->priority > parent->priority)) return stray(member, at);
        if (from != NULL && !before(from, at))
            low = at;
        else
            high = next = at;
    }
    if (next == NULL) return false;
    member->span = next->owner;
    return true;
}
