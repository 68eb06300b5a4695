/* Every mapped byte once, in address order. */
#include "allocators/jemalloc/inspect.h"

typedef struct walker {
    const je_look *look;
    al_shown to;
} walker;

static bool show(const walker *w, const je_arena *arena, uintptr_t from, uintptr_t to, al_state state) {
    return al_show(&w->to, from, to, state, arena == NULL ? 0 : arena->number);
}

static bool show_live(const walker *w, const je_stretch *s, uintptr_t from, uintptr_t to, uintptr_t block,
                      size_t usable) {
    return al_show_live(&w->to, from, to, block, usable, s->arena->number);
}

static bool show_region(const walker *w, const je_stretch *s, uintptr_t at, size_t bytes) {
    const al_find *kept = al_finds_at(&w->look->kept, at);
    if (kept == NULL) return show_live(w, s, at, at + bytes, at, bytes);
    return show(w, s->arena, at, at + bytes, kept->next == JE_SLOTS ? AL_STATE_METADATA : AL_STATE_CACHED);
}

static bool walk_slab(const walker *w, const je_stretch *s) {
    const je_slab_layout *layout = al_je_layout(w->look->heap, s->extent);
    for (unsigned i = 0; i < layout->regions; i++) {
        uintptr_t at = al_je_region(w->look->heap, s->extent, i);
        bool more = al_bitmap_test(s->extent->free, i) ? show(w, s->arena, at, at + layout->bytes, AL_STATE_FREE)
                                                       : show_region(w, s, at, layout->bytes);
        if (!more) return false;
    }
    return show(w, s->arena, s->end - al_je_slab_tail(layout), s->end, AL_STATE_METADATA);
}

/* Of a cached block its own bytes alone count as cached. */
static bool walk_large(const walker *w, const je_stretch *s) {
    uintptr_t block = al_je_block(s->extent);
    size_t usable = al_je_class_bytes(s->extent->class);
    if (s->extent->internal) return show(w, s->arena, s->start, s->end, AL_STATE_METADATA);
    if (al_finds_at(&w->look->kept, block) == NULL) return show_live(w, s, s->start, s->end, block, usable);
    return show(w, s->arena, s->start, block, AL_STATE_METADATA) &&
           show(w, s->arena, block, block + usable, AL_STATE_CACHED) &&
           show(w, s->arena, block + usable, s->end, AL_STATE_METADATA);
}

/* What is damaged is left out: it leaves a gap. */
static bool walk_stretch(const walker *w, const je_stretch *s) {
    switch (s->kind) {
    case JE_METADATA: return show(w, s->arena, s->start, s->end, AL_STATE_METADATA);
    case JE_LOST: return show(w, NULL, s->start, s->end, AL_STATE_FREE);
    case JE_STRANGE: return true;
    case JE_EXTENT: break;
    }
    if (s->extent->state != JE_ACTIVE) return show(w, s->arena, s->start, s->end, AL_STATE_FREE);
    return al_je_is_slab(s->extent) ? walk_slab(w, s) : walk_large(w, s);
}

void al_je_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    je_look look;
    const walker w = {&look, {visit, context}};
    al_je_look_open(&look, al_je_of(heap));
    je_stretch s;
    for (uintptr_t at = 0; al_je_stretch_after(&look, at, &s) && walk_stretch(&w, &s); at = s.end) {}
    al_je_look_close(&look);
}
