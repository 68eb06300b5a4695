/* Slots, and the spans of each class against what memory was found to hold: each member of a list is one of those that
 * were found, no way goes around, and there are as many; so every one is there once. */
#include "allocators/tcmalloc/inspect.h"

/* --- slots --- */

static bool check_slot(const tc_heap *heap, const tc_central *central, unsigned class, unsigned slot, al_flaw *flaw) {
    const tc_chain *chain = &central->transfer[slot];
    const void *last = NULL;
    tc_trail t = {0};
    for (; al_tc_trail_next(heap, chain->head, sizeof(void *), &t); last = t.at) {}
    if (t.strayed) return al_blame(flaw, t.at, "tcmalloc: a slot leads to no memory, or around");
    return (t.passed == heap->base.classes.of[class].batch && last == chain->tail) ||
           al_blame(flaw, chain, "tcmalloc: a slot does not hold a batch");
}

static bool check_slots(const tc_heap *heap, const tc_central *central, unsigned class, al_flaw *flaw) {
    if (central->slots > central->slots_most || central->slots_most > TC_SLOTS_MOST || central->used > central->slots)
        return al_blame(flaw, central, "tcmalloc: a class has more slots than there may be");
    for (unsigned slot = 0; slot < central->used; slot++)
        if (!check_slot(heap, central, class, slot, flaw)) return false;
    return true;
}

/* Slots move from class to class, but there are always as many. */
static bool check_moves(const tc_heap *heap, al_flaw *flaw) {
    size_t first = 0, now = 0;
    for (unsigned class = 0; class < heap->base.classes.count; class++) {
        first += al_min(TC_SLOTS_FIRST, heap->central[class].slots_most);
        now += heap->central[class].slots;
    }
    return first == now || al_blame(flaw, heap, "tcmalloc: slots are lost, or too many");
}

/* --- spans --- */

static bool check_listed(const tc_heap *heap, const tc_spans *spans, unsigned class, unsigned list, size_t *count,
                         al_flaw *flaw) {
    tc_member m = {0};
    while (al_tc_listed_next(heap, &spans->lists[list], &m)) {
        const tc_span *span = m.span;
        const bool fits = span->location == TC_IN_USE && span->class == class && span->list == list &&
                          list == (span->objects != NULL ? 0 : TC_FULL);
        if (!fits)
            return al_blame(flaw, (const void *)span->address, "tcmalloc: a class's list holds what belongs elsewhere");
    }
    *count += m.position;
    return !m.strayed || al_blame(flaw, m.stray, "tcmalloc: a class's list leads to no span, or around");
}

static bool check_spans(const tc_heap *heap, const tc_central *central, unsigned class, const tc_census *census,
                        al_flaw *flaw) {
    const tc_spans *spans = &central->spans;
    size_t count = 0;
    for (unsigned list = 0; list < TC_OCCUPANCIES; list++)
        if (!check_listed(heap, spans, class, list, &count, flaw)) return false;
    if (count != census->class_spans[class]) return al_blame(flaw, spans, "tcmalloc: a class's span is in no list");
    if (spans->count != count || central->populated - central->emptied != count)
        return al_blame(flaw, spans, "tcmalloc: a class's spans are miscounted");
    return spans->free == census->class_free[class] ||
           al_blame(flaw, spans, "tcmalloc: a class's free objects are miscounted");
}

bool al_tc_check_central(const tc_heap *heap, const tc_census *census, al_flaw *flaw) {
    for (unsigned class = 0; class < heap->base.classes.count; class++) {
        const tc_central *central = &heap->central[class];
        if (central->class != class) return al_blame(flaw, central, "tcmalloc: a central list does not know its class");
        if (!check_slots(heap, central, class, flaw)) return false;
        if (class != 0 && !check_spans(heap, central, class, census, flaw)) return false;
    }
    return check_moves(heap, flaw);
}
