/* The full self-check, in this order, each step trusting what those before have shown:
 *
 *     books    arenas and threads are linked as they should be
 *     sizes    each size leads to the next chunk, and at last to the top or to fences
 *     lists    check_lists.c
 *     census   with all that is in lists marked: tags, flags and marks say the same of every chunk, and what an arena
 *              has handed out is what its books say; no mark is left on what is no chunk */
#include "allocators/ptmalloc/inspect.h"

/* --- books --- */

static bool check_free_arenas(const pt_heap *heap, al_flaw *flaw) {
    size_t count = 0;
    for (const pt_arena *arena = heap->free_arenas; arena != NULL; arena = arena->next_free)
        if (arena->attached != 0 || ++count > heap->arena_count)
            return al_blame(flaw, arena, "ptmalloc: an arena with threads is in the list of free ones");
    return true;
}

static bool check_arenas(pt_heap *heap, al_flaw *flaw) {
    size_t count = 0;
    const pt_arena *arena = &heap->main;
    do {
        if (++count > heap->arena_count) return al_blame(flaw, arena, "ptmalloc: arenas miscounted");
        if (!al_is_aligned((uintptr_t)arena->last_remainder, PT_GRAIN))
            return al_blame(flaw, arena->last_remainder, "ptmalloc: the last remainder is no chunk");
    } while ((arena = arena->next) != &heap->main);
    return count == heap->arena_count || al_blame(flaw, arena, "ptmalloc: arenas miscounted");
}

static bool check_threads(const pt_heap *heap, al_flaw *flaw) {
    const pt_thread *before = NULL;
    for (const pt_thread *thread = heap->threads; thread != NULL; before = thread, thread = thread->next) {
        if (thread->prev != before || thread->cache == NULL)
            return al_blame(flaw, thread, "ptmalloc: the threads with caches are listed wrongly");
        if (!al_pt_readable(heap, thread->cache, sizeof *thread->cache))
            return al_blame(flaw, thread->cache, "ptmalloc: a thread's cache lies in no chunk");
    }
    return true;
}

/* --- sizes --- */

static bool check_stretch(const pt_heap *heap, const pt_stretch *s, al_flaw *flaw) {
    pt_piece p = {0};
    while (al_pt_piece_next(heap, s, &p)) {
        if (p.sort == PT_BROKEN || al_pt_mark_of(p.chunk) != PT_UNMARKED)
            return al_blame(flaw, p.chunk, "ptmalloc: a chunk's size leads to no other chunk");
        if (al_pt_mapped(p.chunk)) return al_blame(flaw, p.chunk, "ptmalloc: a chunk inside an arena counts as mapped");
    }
    return p.sort >= PT_TOP || al_blame(flaw, s->first, "ptmalloc: memory ends without top or fences");
}

static bool check_sizes(pt_heap *heap, al_flaw *flaw) {
    pt_stretch s;
    for (uintptr_t at = 0; al_pt_stretch_after(heap, at, &s); at = s.end) {
        if (s.kind == PT_STRANGE)
            return al_blame(flaw, (const void *)s.start, "ptmalloc: here begins no segment, subheap or mapped chunk");
        if (s.arena != NULL && !check_stretch(heap, &s, flaw)) return false;
    }
    return true;
}

/* --- census: one arena --- */

typedef struct census {
    const pt_heap *heap;
    const pt_arena *arena;
    size_t taken_bytes, taken_chunks, fixed, system, subheaps, tops, caches;
    bool prev_free; /* the chunk before was */
    al_flaw *flaw;
} census;

/* Dummies that look in use, of 16 bytes or the least chunk. In a subheap the last one has no size, but knows the one
 * below: a trim finds that by it. */
static bool check_fences(census *c, const pt_stretch *s, const pt_piece *p) {
    c->fixed += p->size;
    size_t left = p->size, below = 0;
    for (const pt_chunk *at = p->chunk; left >= PT_HEADER; at = al_pt_next(at)) {
        size_t size = al_pt_size(at);
        if (((at->head | (at == p->chunk)) & PT_FLAGS) != PT_PREV_INUSE) break;
        if (s->kind == PT_SUBHEAP && size == 0 && left == PT_HEADER && at->prev_size == below) return true;
        if ((size != PT_HEADER && size != PT_LEAST) || size > left) break;
        below = size;
        left -= size;
    }
    return (s->kind == PT_SEGMENT && left < PT_HEADER) || al_blame(c->flaw, p->chunk, "ptmalloc: fences are damaged");
}

static bool check_top(census *c, const pt_piece *p) {
    c->tops++;
    if (c->prev_free) return al_blame(c->flaw, p->chunk, "ptmalloc: a free chunk below the top");
    return (p->chunk->head == (p->size | PT_PREV_INUSE) && p->size >= PT_LEAST) ||
           al_blame(c->flaw, p->chunk, "ptmalloc: the top does not end where its memory does");
}

static bool check_free(const census *c, const pt_piece *p) {
    if (c->prev_free) return al_blame(c->flaw, p->chunk, "ptmalloc: two free neighbours");
    if (al_pt_at(p->chunk, p->size)->prev_size != p->size)
        return al_blame(c->flaw, p->chunk, "ptmalloc: foot and head differ");
    return al_pt_mark_of(p->chunk) == PT_MARK_BINNED ||
           al_blame(c->flaw, p->chunk, "ptmalloc: a free chunk is in no bin");
}

static bool check_in_use(census *c, const pt_piece *p) {
    if (al_pt_mark_of(p->chunk) == PT_MARK_BINNED)
        return al_blame(c->flaw, p->chunk, "ptmalloc: a chunk is in a bin, but looks in use");
    if (p->sort == PT_FAST) return true;
    c->taken_bytes += p->size;
    c->taken_chunks++;
    c->caches += p->sort == PT_CACHE;
    return true;
}

/* What is in use says whose it is, what is free does not. */
static bool check_chunk(census *c, const pt_piece *p) {
    if (!(p->sort == PT_FREE ? check_free(c, p) : check_in_use(c, p))) return false;
    size_t expected = p->sort == PT_FREE ? 0 : al_pt_arena_flag(c->arena);
    return (p->chunk->head & PT_NON_MAIN) == expected ||
           al_blame(c->flaw, p->chunk, "ptmalloc: a chunk has the flag of another arena");
}

static bool check_piece(census *c, const pt_stretch *s, const pt_piece *p) {
    if (al_pt_prev_inuse(p->chunk) == c->prev_free)
        return al_blame(c->flaw, p->chunk, "ptmalloc: wrong flag for its neighbour");
    bool sound = p->sort == PT_TOP     ? check_top(c, p)
                 : p->sort == PT_FENCE ? check_fences(c, s, p)
                                       : check_chunk(c, p);
    al_pt_set_mark(p->chunk, PT_UNMARKED);
    c->prev_free = p->sort == PT_FREE;
    return sound;
}

static bool check_memory(census *c, const pt_stretch *s) {
    c->fixed += (uintptr_t)s->first - s->start;
    c->prev_free = false;
    c->subheaps += s->kind == PT_SUBHEAP;
    c->system += s->limit - (s->kind == PT_SUBHEAP ? s->start : (uintptr_t)s->first);
    for (pt_piece p = {0}; al_pt_piece_next(c->heap, s, &p);)
        if (!check_piece(c, s, &p)) return false;
    return true;
}

/* From the top's down, as many as there are. */
static bool check_chain(const census *c) {
    size_t count = 0;
    const pt_subheap *subheap = al_pt_subheap_of(c->arena->top);
    for (; subheap != NULL && count <= c->subheaps; subheap = subheap->below, count++)
        if (!al_pt_readable(c->heap, subheap, sizeof *subheap) || subheap->arena != c->arena) break;
    return (subheap == NULL && count == c->subheaps) ||
           al_blame(c->flaw, subheap, "ptmalloc: an arena's subheaps are not linked from the newest down");
}

static bool check_system(const census *c) {
    const pt_arena *arena = c->arena;
    size_t expected = c->system + (al_pt_is_main(arena) ? c->heap->strange : 0);
    return arena->system_mem == expected ||
           al_blame(c->flaw, arena, "ptmalloc: system_mem is not what the arena has");
}

static bool check_totals(const census *c) {
    const pt_arena *arena = c->arena;
    if (c->tops != (arena->top != &arena->none))
        return al_blame(c->flaw, arena->top, "ptmalloc: the top lies outside its arena");
    if (c->taken_bytes != arena->taken_bytes || c->taken_chunks != arena->taken_chunks)
        return al_blame(c->flaw, arena, "ptmalloc: what is handed out is miscounted");
    if (c->fixed != arena->fixed) return al_blame(c->flaw, arena, "ptmalloc: fixed bytes are miscounted");
    return check_system(c) && (al_pt_is_main(arena) || check_chain(c));
}

/* --- census: all of it --- */

static bool check_arena(pt_heap *heap, const pt_arena *arena, size_t *caches, al_flaw *flaw) {
    census c = {.heap = heap, .arena = arena, .flaw = flaw};
    pt_stretch s;
    for (uintptr_t at = 0; al_pt_stretch_after(heap, at, &s); at = s.end)
        if (s.arena == arena && !check_memory(&c, &s)) return false;
    *caches += c.caches;
    return check_totals(&c);
}

static bool check_all_arenas(pt_heap *heap, size_t *caches, al_flaw *flaw) {
    const pt_arena *arena = &heap->main;
    do
        if (!check_arena(heap, arena, caches, flaw)) return false;
    while ((arena = arena->next) != &heap->main);
    return true;
}

static bool check_mapping(const pt_stretch *s, al_flaw *flaw) {
    const pt_chunk *head = (const pt_chunk *)s->start;
    size_t lead = (uintptr_t)s->first - s->start, size = s->end - (uintptr_t)s->first;
    bool fills = s->first->prev_size == lead && s->first->head == (size | PT_MAPPED);
    return (fills && head->head == ((lead + size) | PT_MAPPED)) ||
           al_blame(flaw, s->first, "ptmalloc: a mapped chunk does not fill its mapping");
}

static bool check_mappings(pt_heap *heap, size_t *caches, al_flaw *flaw) {
    size_t count = 0, bytes = 0, heads = 0;
    pt_stretch s;
    for (uintptr_t at = 0; al_pt_stretch_after(heap, at, &s); at = s.end) {
        if (s.kind != PT_MAPPING) continue;
        if (!check_mapping(&s, flaw)) return false;
        *caches += al_pt_is_cache(heap, s.first);
        count++;
        bytes += s.end - s.start;
        heads += (uintptr_t)al_pt_block(s.first) - s.start;
    }
    return (count == heap->mapped_count && bytes == heap->mapped_bytes && heads == heap->mapped_heads) ||
           al_blame(flaw, NULL, "ptmalloc: mapped chunks are miscounted");
}

static bool check_all_memory(pt_heap *heap, al_flaw *flaw) {
    size_t caches = 0;
    if (!check_all_arenas(heap, &caches, flaw) || !check_mappings(heap, &caches, flaw)) return false;
    for (const pt_thread *thread = heap->threads; thread != NULL; thread = thread->next) caches--;
    return caches == 0 || al_blame(flaw, heap->threads, "ptmalloc: a thread's cache lies in no chunk");
}

/* The first mark that is left, and with it all the others. */
static const pt_chunk *clear_marks(pt_heap *heap) {
    const pt_chunk *left = NULL;
    for (pt_list list = {0}; al_pt_list_next(heap, &list);)
        for (pt_member m = {0}; al_pt_member_next(heap, &list, &m);) {
            if (left == NULL && al_pt_mark_of(m.chunk) != PT_UNMARKED) left = m.chunk;
            al_pt_set_mark(m.chunk, PT_UNMARKED);
        }
    return left;
}

static bool check_census(pt_heap *heap, al_flaw *flaw) {
    const pt_chunk *twice = al_pt_mark_lists(heap, true);
    bool sound = twice == NULL || al_blame(flaw, twice, "ptmalloc: a chunk is in two lists, or twice in one");
    sound = sound && check_all_memory(heap, flaw);
    const pt_chunk *left = clear_marks(heap);
    return sound && (left == NULL || al_blame(flaw, left, "ptmalloc: a list holds what is no chunk"));
}

bool al_pt_validate(al_heap *base, al_flaw *flaw) {
    pt_heap *heap = al_pt_of(base);
    al_pt_hold(heap);
    bool sound = check_arenas(heap, flaw) && check_free_arenas(heap, flaw) && check_threads(heap, flaw) &&
                 check_sizes(heap, flaw) && al_pt_check_lists(heap, flaw) && check_census(heap, flaw);
    al_pt_release(heap);
    return sound;
}
