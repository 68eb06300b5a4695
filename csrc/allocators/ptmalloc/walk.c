/* Every mapped byte once, in address order. */
#include "allocators/ptmalloc/inspect.h"

typedef struct walker {
    const pt_heap *heap;
    al_shown to;
} walker;

static bool show(const walker *w, const pt_stretch *s, uintptr_t from, uintptr_t to, al_state state) {
    return al_show(&w->to, from, to, state, s->arena == NULL ? 0 : s->arena->number);
}

static bool show_live(const walker *w, const pt_stretch *s, uintptr_t from, uintptr_t to, const pt_chunk *chunk) {
    const uintptr_t block = (uintptr_t)al_pt_block(chunk);
    return al_show_live(&w->to, from, to, block, to - block, s->arena == NULL ? 0 : s->arena->number);
}

static bool show_piece(const walker *w, const pt_stretch *s, const pt_piece *p) {
    static const al_state states[] = {
        [PT_CACHED] = AL_STATE_CACHED,  [PT_FAST] = AL_STATE_FREE, [PT_FREE] = AL_STATE_FREE,
        [PT_CACHE] = AL_STATE_METADATA, [PT_TOP] = AL_STATE_FREE,  [PT_FENCE] = AL_STATE_METADATA,
    };
    uintptr_t from = (uintptr_t)&p->chunk->head, to = al_min(from + p->size, s->limit);
    return p->sort == PT_LIVE ? show_live(w, s, from, to, p->chunk) : show(w, s, from, to, states[p->sort]);
}

/* What is damaged is left out: it leaves a gap. */
static bool walk_chunks(const walker *w, const pt_stretch *s) {
    if (!show(w, s, s->start, (uintptr_t)&s->first->head, AL_STATE_METADATA)) return false;
    for (pt_piece p = {0}; al_pt_piece_next(w->heap, s, &p) && p.sort != PT_BROKEN;)
        if (!show_piece(w, s, &p)) return false;
    return show(w, s, s->limit, s->end, AL_STATE_FREE);
}

static bool walk_stretch(const walker *w, const pt_stretch *s) {
    switch (s->kind) {
    case PT_SEGMENT:
    case PT_SUBHEAP: return walk_chunks(w, s);
    case PT_MAPPING:
        if (al_pt_is_cache(w->heap, s->first)) return show(w, s, s->start, s->end, AL_STATE_METADATA);
        return show_live(w, s, s->start, s->end, s->first);
    case PT_KEPT: return show(w, s, s->start, s->end, AL_STATE_FREE);
    case PT_STRANGE: break;
    }
    return true;
}

void al_pt_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    const walker w = {al_pt_of(heap), {visit, context}};
    al_pt_hold(al_pt_of(heap));
    al_pt_mark_lists(al_pt_of(heap), false);
    pt_stretch s;
    for (uintptr_t at = 0; al_pt_stretch_after(al_pt_of(heap), at, &s); at = s.end)
        if (!walk_stretch(&w, &s)) break;
    al_pt_unmark_lists(al_pt_of(heap), false);
    al_pt_release(al_pt_of(heap));
}
