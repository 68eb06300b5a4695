/* The ways through sets of free extents and through queues. */
#include "allocators/jemalloc/inspect.h"

const char *al_je_state_name(je_state state) {
    static const char *const names[] = {"active", "dirty", "muzzy", "retained"};
    return names[state];
}

size_t al_je_queue_least(unsigned queue) {
    return queue == 0 ? JE_PAGE : JE_PAGE + al_je_page_class_bytes(queue - 1);
}

size_t al_je_queue_most(unsigned queue) {
    return queue + 1 < JE_PAGE_CLASSES ? al_je_queue_least(queue + 1) - JE_PAGE : al_align_down(SIZE_MAX, JE_PAGE);
}

static bool stray(je_member *member, const void *to) {
    *member = (je_member){.strayed = true, .stray = to};
    return false;
}

/* --- in order of age --- */

bool al_je_recency_next(const je_heap *heap, je_extents *set, je_member *member) {
    const al_link *link = member->extent == NULL ? &set->recency : &member->extent->recency, *next = link->next;
    member->position += member->extent != NULL;
    member->extent = NULL;
    if (next == &set->recency) return false;
    je_extent *extent = (je_extent *)((uintptr_t)next - offsetof(je_extent, recency)); /* if it is a pointer at all */
    if (!al_je_extent_known(heap, extent) || extent->state == JE_ACTIVE || next->prev != link)
        return stray(member, extent);
    member->extent = extent;
    return true;
}

/* --- queues --- */

/* Whoever is first of them all has no prev, and all others one that leads to them: so no way goes around. */
static bool enter(const je_heap *heap, je_member *member, je_extent *extent, const je_extent *from) {
    bool leads_back = al_je_extent_known(heap, extent) && extent->prev == from;
    if (!leads_back || (from != NULL && from->child == from->next)) return stray(member, extent);
    member->extent = extent;
    return true;
}

bool al_je_queued_next(const je_heap *heap, const je_queue *queue, je_member *member) {
    je_extent *at = member->extent;
    if (at == NULL) return queue->root != NULL && enter(heap, member, queue->root, NULL);
    member->position++;
    if (at->child != NULL) return enter(heap, member, at->child, at);
    while (at != NULL && at->next == NULL) at = al_je_parent(at);
    if (at == NULL) {
        member->extent = NULL;
        return false;
    }
    return enter(heap, member, at->next, at);
}
