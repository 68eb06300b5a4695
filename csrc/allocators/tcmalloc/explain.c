/* All that is known of the piece that holds an address. */
#include "allocators/tcmalloc/inspect.h"
#include "parts/facts.h"

static void tell_span(al_facts *f, const tc_span *span) {
    al_tell_address(f, "span", (const void *)span->address);
    al_tell_count(f, "span pages", span->pages);
}

/* --- objects --- */

/* Position 0 is taken first; in slots: of those of one slot. */
static void tell_position(al_facts *f, const tc_heap *heap, void *head, uintptr_t object) {
    for (tc_trail t = {0}; al_tc_trail_next(heap, head, sizeof(void *), &t);)
        if ((uintptr_t)t.at == object) al_tell_count(f, "position", t.passed - 1);
}

static bool is_in_slot(const tc_heap *heap, const tc_chain *slot, uintptr_t object) {
    for (tc_trail t = {0}; al_tc_trail_next(heap, slot->head, sizeof(void *), &t);)
        if ((uintptr_t)t.at == object) return true;
    return false;
}

static void tell_keeper(al_facts *f, const tc_heap *heap, const al_find *kept) {
    const tc_thread *thread = kept->what;
    al_tell_text(f, "cache", thread != NULL ? "thread" : "transfer");
    if (thread != NULL) {
        al_tell_count(f, "thread", thread->thread.id);
        tell_position(f, heap, thread->lists[kept->next].head, kept->key);
        return;
    }
    const tc_central *central = &heap->central[kept->next];
    for (unsigned slot = 0; slot < al_min(central->used, TC_SLOTS_MOST); slot++) {
        if (!is_in_slot(heap, &central->transfer[slot], kept->key)) continue;
        al_tell_count(f, "slot", slot);
        tell_position(f, heap, central->transfer[slot].head, kept->key);
    }
}

static void tell_chained(al_facts *f, const tc_heap *heap, const tc_span *span, uintptr_t object) {
    const void *at = NULL;
    for (size_t i = 0; i < al_tc_shape(heap, span)->objects; i++) {
        at = al_tc_free_after(heap, span, at);
        if (at == NULL) return;
        if ((uintptr_t)at == object) al_tell_count(f, "position", i);
    }
}

static size_t class_least(const tc_heap *heap, unsigned class) {
    return class == 1 ? 0 : heap->base.classes.of[class - 1].bytes + 1;
}

static void tell_class(al_facts *f, const tc_heap *heap, const tc_span *span) {
    const tc_class *shape = al_tc_shape(heap, span);
    al_tell_count(f, "class", span->class);
    al_tell_bytes(f, "class bytes", shape->bytes);
    al_tell_count(f, "objects", shape->objects);
    al_tell_count(f, "objects out", span->live);
    tell_span(f, span);
}

static void tell_object(al_facts *f, const tc_look *look, const tc_span *span, size_t number) {
    const tc_heap *heap = look->heap;
    const uintptr_t object = al_tc_object(heap, span, number);
    const al_find *kept = al_finds_at(&look->kept, object);
    uint64_t free[TC_OBJECTS_MOST / 64];
    al_tc_free_objects(heap, span, free);
    if (al_bitmap_test(free, number)) {
        al_tell_text(f, "what", "free");
        tell_chained(f, heap, span, object);
    } else if (kept != NULL) {
        al_tell_text(f, "what", "cached");
        tell_keeper(f, heap, kept);
    } else {
        al_tell_text(f, "what", al_tc_is_own(heap, object) ? "own block" : "live");
    }
    al_tell_count(f, "number in span", number);
    tell_class(f, heap, span);
    if (!al_bitmap_test(free, number) && kept == NULL) return;
    al_tell_bytes(f, "serves from", class_least(heap, span->class));
    al_tell_bytes(f, "serves to", al_tc_shape(heap, span)->bytes);
}

static void tell_small(al_facts *f, const tc_look *look, const tc_span *span, uintptr_t address) {
    const tc_class *shape = al_tc_shape(look->heap, span);
    const size_t number = (address - span->address) / shape->bytes;
    if (number < shape->objects) {
        tell_object(f, look, span, number);
        return;
    }
    al_tell_text(f, "what", "end of a span");
    tell_class(f, look->heap, span);
}

/* --- pages --- */

/* Of its shelf, where the last kept is taken first; of a set, which is in order of length and address. */
static size_t position_of(const tc_heap *heap, const tc_span *span) {
    const unsigned kind = al_tc_kind(span);
    tc_member m = {0};
    if (span->pages > TC_LISTED_PAGES)
        while (al_tc_set_member_next(heap, kind, &m) && m.span != span) {}
    else
        while (al_tc_listed_next(heap, &heap->pages.shelves[span->pages][kind], &m) && m.span != span) {}
    return m.position;
}

static void tell_free(al_facts *f, const tc_heap *heap, const tc_span *span) {
    al_tell_text(f, "what", al_tc_location_name(span->location));
    tell_span(f, span);
    al_tell_flag(f, "in a set", span->pages > TC_LISTED_PAGES);
    al_tell_count(f, "position", position_of(heap, span));
    al_tell_bytes(f, "serves from", 0);
    al_tell_bytes(f, "serves to", span->pages << TC_PAGE_BITS);
}

static void tell_stretch(al_facts *f, const tc_look *look, const tc_stretch *s, uintptr_t address) {
    if (s->kind != TC_SPAN) {
        al_tell_text(f, "what", s->kind == TC_NO_SPAN ? "metadata" : "damaged");
    } else if (s->span->location != TC_IN_USE) {
        tell_free(f, look->heap, s->span);
    } else if (s->span->class != 0) {
        tell_small(f, look, s->span, address);
    } else {
        al_tell_text(f, "what", "live");
        tell_span(f, s->span);
    }
}

static bool find(const tc_look *look, uintptr_t address, tc_stretch *s) {
    al_vma vma;
    if (!al_regions_vma_after(look->heap->base.heap.regions, address, &vma)) return false;
    for (s->end = vma.start; s->end <= address;)
        if (!al_tc_stretch_after(look, s->end, s)) return false;
    return s->start <= address;
}

size_t al_tc_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    al_facts f = {.out = out, .room = room};
    tc_look look;
    tc_stretch s;
    al_tc_look_open(&look, al_tc_of(heap));
    if (find(&look, address, &s)) tell_stretch(&f, &look, &s, address);
    al_tc_look_close(&look);
    return f.count;
}
