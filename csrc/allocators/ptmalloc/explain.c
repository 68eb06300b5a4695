/* All that is known of the piece that holds an address. */
#include "allocators/ptmalloc/inspect.h"

enum { FACTS = 24 };

typedef struct facts {
    al_fact all[FACTS];
    size_t count;
} facts;

static void tell(facts *f, const char *name, al_fact_kind kind, uint64_t value) {
    f->all[f->count++] = (al_fact){.name = name, .kind = kind, .value = value};
}
static void tell_text(facts *f, const char *name, const char *text) {
    f->all[f->count++] = (al_fact){.name = name, .kind = AL_FACT_TEXT, .text = text};
}
static void tell_address(facts *f, const char *name, const void *at) {
    tell(f, name, AL_FACT_ADDRESS, (uintptr_t)at);
}

/* The list that holds the chunk, and where in it. */
static bool find_list(pt_heap *heap, const pt_chunk *chunk, pt_list *list, pt_member *m) {
    for (*list = (pt_list){0}; al_pt_list_next(heap, list);)
        for (*m = (pt_member){0}; al_pt_member_next(heap, list, m);)
            if (m->chunk == chunk) return true;
    return false;
}

/* --- the parts of a piece --- */

static void tell_head(facts *f, const pt_chunk *chunk) {
    tell_address(f, "malloc_chunk", chunk);
    tell(f, "prev_size", AL_FACT_BYTES, chunk->prev_size);
    tell(f, "size", AL_FACT_BYTES, al_pt_size(chunk));
    tell(f, "prev_inuse", AL_FACT_FLAG, al_pt_prev_inuse(chunk));
    tell(f, "mapped", AL_FACT_FLAG, al_pt_mapped(chunk));
    tell(f, "non_main", AL_FACT_FLAG, (chunk->head & PT_NON_MAIN) != 0);
}

static void tell_link(facts *f, const char *name, const pt_list *list, const pt_chunk *link) {
    if (link == al_pt_bin(list->arena, list->index))
        tell_text(f, name, "the bin");
    else
        tell_address(f, name, link);
}

/* The links as they are stored, and where they lead. */
static void tell_links(facts *f, const pt_list *list, const pt_chunk *chunk) {
    const pt_entry *entry = al_pt_block(chunk);
    switch (list->kind) {
    case PT_LIST_CACHE:
        tell_address(f, "next, stored", entry->next);
        tell_address(f, "next", al_pt_protect(&entry->next, entry->next));
        tell(f, "key", AL_FACT_ADDRESS, entry->key);
        break;
    case PT_LIST_FAST:
        tell_address(f, "fd, stored", chunk->fd);
        tell_address(f, "fd", al_pt_protect(&chunk->fd, chunk->fd));
        break;
    case PT_LIST_UNSORTED:
    case PT_LIST_SMALL:
    case PT_LIST_LARGE:
        tell_link(f, "fd", list, chunk->fd);
        tell_link(f, "bk", list, chunk->bk);
        if (list->kind != PT_LIST_LARGE) break;
        tell_address(f, "fd_size", chunk->fd_size);
        tell_address(f, "bk_size", chunk->bk_size);
    }
}

static void tell_list(facts *f, const pt_list *list, const pt_member *m) {
    tell_text(f, "in", al_pt_list_name(list->kind));
    if (list->thread != NULL) tell(f, "thread", AL_FACT_COUNT, list->thread->thread.id);
    tell(f, "index", AL_FACT_COUNT, list->index);
    tell(f, "position", AL_FACT_COUNT, m->position);
    tell_links(f, list, m->chunk);
}

static void tell_chunk(facts *f, pt_heap *heap, const pt_arena *arena, const pt_piece *p) {
    static const char *const words[] = {
        [PT_LIVE] = "live",          [PT_CACHED] = "free", [PT_FAST] = "free",    [PT_FREE] = "free",
        [PT_CACHE] = "thread cache", [PT_TOP] = "top",     [PT_FENCE] = "fences", [PT_BROKEN] = "damaged",
    };
    pt_list list;
    pt_member m;
    bool listed = p->sort < PT_CACHE && find_list(heap, p->chunk, &list, &m);
    tell_text(f, "what", listed ? "free" : words[p->sort]);
    tell_head(f, p->chunk);
    if (listed) tell_list(f, &list, &m);
    if (p->chunk == arena->last_remainder && listed) tell(f, "last_remainder", AL_FACT_FLAG, 1);
}

/* --- where it is --- */

static void tell_inside(facts *f, pt_heap *heap, const pt_stretch *s, uintptr_t address) {
    tell(f, "arena", AL_FACT_COUNT, s->arena->number);
    tell_address(f, s->kind == PT_SEGMENT ? "segment" : "subheap", (const void *)s->start);
    if (address < (uintptr_t)&s->first->head) {
        tell_text(f, "what", s->kind == PT_SEGMENT ? "the segment's head" : "the subheap's head");
        return;
    }
    for (pt_piece p = {0}; address < s->limit && al_pt_piece_next(heap, s, &p);) {
        if (address - (uintptr_t)&p.chunk->head >= p.size) continue;
        tell_chunk(f, heap, s->arena, &p);
        return;
    }
    tell_text(f, "what", "not in use");
}

static void tell_mapping(facts *f, const pt_heap *heap, const pt_stretch *s) {
    bool live = s->kind == PT_MAPPING;
    tell_address(f, "mapping", (const void *)s->start);
    tell_text(f, "what", !live                            ? "free, but the system did not take it back"
                         : al_pt_is_cache(heap, s->first) ? "thread cache"
                                                          : "live");
    tell_head(f, s->first);
}

static void tell_all(facts *f, pt_heap *heap, uintptr_t address) {
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
        tell_text(f, "what", "damaged");
}

size_t al_pt_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    facts f = {.count = 0};
    al_pt_hold(al_pt_of(heap));
    tell_all(&f, al_pt_of(heap), address);
    al_pt_release(al_pt_of(heap));
    for (size_t i = 0; i < al_min(room, f.count); i++) out[i] = f.all[i];
    return f.count;
}
