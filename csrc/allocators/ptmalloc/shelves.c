/* Every free chunk where it is kept. */
#include "allocators/ptmalloc/inspect.h"

/* As in a walk, a chunk's own bytes begin at its head. */
static bool show_list(const pt_heap *heap, const pt_list *list, al_bin_fn *visit, void *context) {
    for (pt_member m = {0}; al_pt_member_next(heap, list, &m);) {
        const al_binned entry = {
            .kind = al_pt_list_name(list->kind),
            .owner = al_pt_list_owner(list),
            .index = list->index,
            .least = list->least,
            .most = list->most,
            .address = (uintptr_t)&m.chunk->head,
            .bytes = al_pt_size(m.chunk),
        };
        if (!visit(context, &entry)) return false;
    }
    return true;
}

static bool show_top(const pt_heap *heap, const pt_arena *arena, al_bin_fn *visit, void *context) {
    if (arena->top == &arena->none || !al_pt_readable(heap, arena->top, PT_HEADER)) return true;
    const al_binned entry = {"top", arena->number, 0, PT_LEAST, SIZE_MAX & ~(size_t)(PT_GRAIN - 1),
                             (uintptr_t)&arena->top->head, al_pt_size(arena->top) - PT_WORD};
    return visit(context, &entry);
}

void al_pt_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    pt_heap *h = al_pt_of(heap);
    bool more = true;
    al_pt_hold(h);
    for (pt_list list = {0}; more && al_pt_list_next(h, &list);) {
        more = show_list(h, &list, visit, context);
        if (more && list.index + 2 == PT_BINS && list.kind == PT_LIST_LARGE) /* an arena's last list */
            more = show_top(h, list.arena, visit, context);
    }
    al_pt_release(h);
}
