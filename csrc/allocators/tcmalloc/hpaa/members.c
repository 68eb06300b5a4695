/* The way through the spans of a class. */
#include "allocators/tcmalloc/hpaa/inspect.h"

static bool stray(hp_member *member, const void *to) {
    *member = (hp_member){.strayed = true, .stray = to};
    return false;
}

/* A link leads back to the one before, so no way goes around but to a head. */
bool al_hp_listed_next(const hp_heap *heap, unsigned class, hp_member *member) {
    const al_link *lists = heap->classes[class].spans.lists;
    const al_link *link = member->span == NULL ? &lists[0] : &member->span->span.link, *next = link->next;
    member->position += member->span != NULL;
    member->span = NULL;
    while (next == &lists[member->list]) {
        if (next->prev != link) return stray(member, next);
        if (++member->list == TC_OCCUPANCIES) return false;
        link = &lists[member->list];
        next = link->next;
    }
    tc_span *span = (tc_span *)((uintptr_t)next - offsetof(tc_span, link)); /* if it is a pointer at all */
    if (!al_hp_span_known(heap, span) || span->class != class || span->list != member->list || next->prev != link)
        return stray(member, span);
    member->span = al_hp_span_of(span);
    return true;
}
