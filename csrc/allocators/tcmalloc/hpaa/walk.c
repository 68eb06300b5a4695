/* Every mapped byte once, in address order. */
#include "allocators/tcmalloc/hpaa/inspect.h"

typedef struct walker {
    const hp_look *look;
    al_shown to;
} walker;

static bool show_live(const walker *w, uintptr_t block, size_t usable) {
    return al_show_live(&w->to, block, block + usable, block, usable, 0);
}

/* What is damaged is left out: it leaves a gap. */
static bool walk_objects(const walker *w, const hp_span *span) {
    const hp_heap *heap = w->look->heap;
    const tc_class *shape = al_hp_shape(heap, span->span.class);
    uint64_t free[HP_MAP_WORDS];
    if (!al_hp_free_objects(heap, span, free)) return true;
    for (unsigned i = 0; i < shape->objects; i++) {
        const uintptr_t at = al_hp_object(heap, span, i);
        bool more;
        if (al_bitmap_test(free, i))
            more = al_show(&w->to, at, at + shape->bytes, AL_STATE_FREE, 0);
        else if (al_finds_at(&w->look->kept, at) != NULL)
            more = al_show(&w->to, at, at + shape->bytes, AL_STATE_CACHED, 0);
        else
            more = show_live(w, at, shape->bytes);
        if (!more) return false;
    }
    return al_show(&w->to, al_hp_object(heap, span, shape->objects), al_tc_end(&span->span), AL_STATE_METADATA, 0);
}

static bool walk_stretch(const walker *w, const hp_stretch *s) {
    switch (s->kind) {
    case HP_METADATA: return al_show(&w->to, s->start, s->end, AL_STATE_METADATA, 0);
    case HP_FREE: return al_show(&w->to, s->start, s->end, AL_STATE_FREE, 0);
    case HP_SPAN: break;
    }
    return s->span->span.class == 0 ? show_live(w, s->start, s->end - s->start) : walk_objects(w, s->span);
}

void al_hp_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    hp_look look;
    const walker w = {&look, {visit, context}};
    al_hp_look_open(&look, al_hp_of(heap));
    hp_stretch s;
    for (uintptr_t at = 0; al_hp_stretch_after(&look, at, &s) && walk_stretch(&w, &s); at = s.end) {}
    al_hp_look_close(&look);
}
