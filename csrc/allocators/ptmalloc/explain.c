/* All that is known of the piece that holds an address. */
#include "allocators/ptmalloc/inspect.h"
#include "parts/facts.h"

/* The list that holds the chunk, and where in it. */
static bool find_list(pt_heap *heap, const pt_chunk *chunk, pt_list *list, pt_member *m) {
    for (*list = (pt_list){0}; al_pt_list_next(heap, list);)
        for (*m = (pt_member){0}; al_pt_member_next(heap, list, m);)
            if (m->chunk == chunk) return true;
    return false;
}

/* --- the parts of a piece --- */

static void tell_head(al_facts *f, const pt_chunk *chunk) {
    al_tell_address(f, "malloc_chunk", chunk);
    al_tell_bytes(f, "prev_size", chunk->prev_size);
    al_tell_bytes(f, "size", al_pt_size(chunk));
    al_tell_flag(f, "prev_inuse", al_pt_prev_inuse(chunk));
    al_tell_flag(f, "mapped", al_pt_mapped(chunk));
    al_tell_flag(f, "non_main", (chunk->head & PT_NON_MAIN) != 0);
}

static void tell_link(al_facts *f, const char *name, const pt_list *list, const pt_chunk *link) {
    if (link == al_pt_bin(list->arena, list->index))
        al_tell_text(f, name, "the bin");
    else
        al_tell_address(f, name, link);
}

/* The links as they are stored, and where they lead. */
static void tell_links(al_facts *f, const pt_list *list, const pt_chunk *chunk) {
    const pt_entry *entry = al_pt_block(chunk);
    switch (list->kind) {
    case PT_LIST_CACHE:
        al_tell_address(f, "next, stored", entry->next);
        al_tell_address(f, "next", al_pt_protect(&entry->next, entry->next));
        al_tell(f, "key", AL_FACT_ADDRESS, entry->key);
        break;
    case PT_LIST_FAST:
        al_tell_address(f, "fd, stored", chunk->fd);
        al_tell_address(f, "fd", al_pt_protect(&chunk->fd, chunk->fd));
        break;
    case PT_LIST_UNSORTED:
    case PT_LIST_SMALL:
    case PT_LIST_LARGE:
        tell_link(f, "fd", list, chunk->fd);
        tell_link(f, "bk", list, chunk->bk);
        if (list->kind != PT_LIST_LARGE) break;
        al_tell_address(f, "fd_size", chunk->fd_size);
        al_tell_address(f, "bk_size", chunk->bk_size);
    }
}

static void tell_list(al_facts *f, const pt_list *list, const pt_member *m) {
    al_tell_text(f, "in", al_pt_list_name(list->kind));
    if (list->thread != NULL) al_tell_count(f, "thread", list->thread->thread.id);
    al_tell_count(f, "index", list->index);
    al_tell_count(f, "position", m->position);
    tell_links(f, list, m->chunk);
}

static void tell_chunk(al_facts *f, pt_heap *heap, const pt_arena *arena, const pt_piece *p) {
    static const char *const words[] = {
        [PT_LIVE] = "live",          [PT_CACHED] = "free", [PT_FAST] = "free",    [PT_FREE] = "free",
        [PT_CACHE] = "thread cache", [PT_TOP] = "top",     [PT_FENCE] = "fences", [PT_BROKEN] = "damaged",
    };
    pt_list list;
    pt_member m;
    bool listed = p->sort < PT_CACHE && find_list(heap, p->chunk, &list, &m);
    al_tell_text(f, "what", listed ? "free" : words[p->sort]);
    tell_head(f, p->chunk);
    if (listed) tell_list(f, &list, &m);
    if (p->chunk == arena->last_remainder && listed) al_tell_flag(f, "last_remainder", 1);
}

/* --- where it is --- */

static void tell_inside(al_facts *f, pt_heap *heap, const pt_stretch *s, uintptr_t address) {
    al_tell_count(f, "arena", s->arena->number);
    al_tell_address(f, s->kind == PT_SEGMENT ? "segment" : "subheap", (const void *)s->start);
    if (address < (uintptr_t)&s->first->head) {
        al_tell_text(f, "what", s->kind == PT_SEGMENT ? "the segment's head" : "the subheap's head");
        return;
    }
    for (pt_piece p = {0}; address < s->limit && al_pt_piece_next(heap, s, &p);) {
        if (address - (uintptr_t)&p.chunk->head >= p.size) continue;
        tell_chunk(f, heap, s->arena, &p);
        return;
    }
    al_tell_text(f, "what", "not in use");
}

static void tell_mapping(al_facts *f, const pt_heap *heap, const pt_stretch *s) {
    bool live = s->kind == PT_MAPPING;
    al_tell_address(f, "mapping", (const void *)s->start);
    const char *what = al_pt_is_cache(heap, s->first) ? "thread cache" : "live";
    al_tell_text(f, "what", live ? what : "free, but the system did not take it back");
    tell_head(f, s->first);
}

static void tell_all(al_facts *f, pt_heap *heap, uintptr_t address) {
    al_vma vma;
    pt_stretch s;
    if (!al_regions_vma_after(heap->heap.regions, address, &vma)) return;
    for (s.end = vma.start; s.end <= address;)
        if (!al_pt_stretch_after(heap, s.end, &s)) return;
    if (address < s.start) return;
    if (s.arena != NULL)
        tell_inside(f, heap, &s, address);
    else if (s.kind != PT_STRANGE)
        tell_mapping(f, heap, &s);
    else
        al_tell_text(f, "what", "damaged");
}

size_t al_pt_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    al_facts f = {.out = out, .room = room};
    al_pt_hold(al_pt_of(heap));
    tell_all(&f, al_pt_of(heap), address);
    al_pt_release(al_pt_of(heap));
    return f.count;
}
