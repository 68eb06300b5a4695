/* Every mapped byte once, in address order. */
#include "allocators/tcmalloc/inspect.h"

typedef struct walker {
    const tc_look *look;
    al_shown to;
} walker;

static bool show_live(const walker *w, uintptr_t block, size_t usable) {
    return al_show_live(&w->to, block, block + usable, block, usable, 0);
}

static bool show_object(const walker *w, uintptr_t at, size_t bytes, bool free) {
    if (free) return al_show(&w->to, at, at + bytes, AL_STATE_FREE, 0);
    if (al_finds_at(&w->look->kept, at) != NULL) return al_show(&w->to, at, at + bytes, AL_STATE_CACHED, 0);
    if (al_tc_is_own(w->look->heap, at)) return al_show(&w->to, at, at + bytes, AL_STATE_METADATA, 0);
    return show_live(w, at, bytes);
}

static bool walk_objects(const walker *w, const tc_span *span) {
    const tc_heap *heap = w->look->heap;
    const tc_class *shape = al_tc_shape(heap, span);
    uint64_t free[TC_OBJECTS_MOST / 64];
    al_tc_free_objects(heap, span, free);
    for (size_t i = 0; i < shape->objects; i++)
        if (!show_object(w, al_tc_object(heap, span, i), shape->bytes, al_bitmap_test(free, i))) return false;
    return al_show(&w->to, al_tc_object(heap, span, shape->objects), al_tc_end(span), AL_STATE_METADATA, 0);
}

static bool walk_span(const walker *w, const tc_span *span) {
    if (span->location != TC_IN_USE) return al_show(&w->to, span->address, al_tc_end(span), AL_STATE_FREE, 0);
    if (span->class != 0) return walk_objects(w, span);
    return show_live(w, span->address, span->pages << TC_PAGE_BITS);
}

/* What is damaged is left out: it leaves a gap. */
static bool walk_stretch(const walker *w, const tc_stretch *s) {
    switch (s->kind) {
    case TC_SPAN: return walk_span(w, s->span);
    case TC_NO_SPAN: return al_show(&w->to, s->start, s->end, AL_STATE_METADATA, 0);
    case TC_STRANGE: break;
    }
    return true;
}

void al_tc_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    tc_look look;
    const walker w = {&look, {visit, context}};
    al_tc_look_open(&look, al_tc_of(heap));
    tc_stretch s;
    for (uintptr_t at = 0; al_tc_stretch_after(&look, at, &s) && walk_stretch(&w, &s); at = s.end) {}
    al_tc_look_close(&look);
}
