/* Every free byte where it is kept: in lists; at the end of the arenas' memory; in mappings that could not be given
 * back. As in a walk, a chunk's own bytes begin at its head. */
#include "allocators/ptmalloc/inspect.h"

typedef struct viewer {
    pt_heap *heap;
    al_bin_fn *visit;
    void *context;
} viewer;

static bool show_list(const viewer *v, const pt_list *list) {
    for (pt_member m = {0}; al_pt_member_next(v->heap, list, &m);) {
        const al_binned entry = {
            .kind = al_pt_list_name(list->kind),
            .owner = al_pt_list_owner(list),
            .index = list->index,
            .least = list->least,
            .most = list->most,
            .address = (uintptr_t)&m.chunk->head,
            .bytes = al_pt_size(m.chunk),
        };
        if (!v->visit(v->context, &entry)) return false;
    }
    return true;
}

static bool show(const viewer *v, const char *kind, const pt_arena *arena, uintptr_t from, uintptr_t to) {
    uint32_t owner = arena == NULL ? 0 : arena->number;
    const al_binned entry = {kind, owner, 0, 0, SIZE_MAX, from, to - from};
    return from >= to || v->visit(v->context, &entry);
}

/* What a subheap has beyond the top, or an arena of NULL in mappings. */
static bool show_unused(const viewer *v, const pt_arena *arena) {
    pt_stretch s;
    for (uintptr_t at = 0; al_pt_stretch_after(v->heap, at, &s); at = s.end) {
        if (s.arena != arena || s.kind == PT_MAPPING || s.kind == PT_STRANGE) continue;
        if (!show(v, "unused", arena, s.kind == PT_KEPT ? s.start : s.limit, s.end)) return false;
    }
    return true;
}

static bool show_end(const viewer *v, const pt_arena *arena) {
    const pt_chunk *top = arena->top;
    bool known = top != &arena->none && al_pt_readable(v->heap, top, PT_HEADER);
    if (known && !show(v, "top", arena, (uintptr_t)&top->head, (uintptr_t)top + al_pt_size(top))) return false;
    return show_unused(v, arena);
}

void al_pt_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    const viewer v = {al_pt_of(heap), visit, context};
    bool more = true;
    al_pt_hold(v.heap);
    for (pt_list list = {0}; more && al_pt_list_next(v.heap, &list);) {
        more = show_list(&v, &list);
        if (more && list.kind == PT_LIST_LARGE && list.index + 2 == PT_BINS) more = show_end(&v, list.arena);
    }
    if (more) show_unused(&v, NULL);
    al_pt_release(v.heap);
}
