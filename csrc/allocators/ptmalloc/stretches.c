/* The stretches of a heap in address order. VMAs lead the way: what lies next to each other in one VMA is told apart by
 * the books, where a segment or subheap begins, and by the size in each mapping's head. */
#include "allocators/ptmalloc/inspect.h"

void al_pt_hold(pt_heap *heap) {
    al_lock_take(&heap->list_lock);
    pt_arena *arena = &heap->main;
    do al_pt_arena_lock(arena);
    while ((arena = arena->next) != &heap->main);
    al_lock_take(&heap->heap.lock);
}

void al_pt_release(pt_heap *heap) {
    al_lock_drop(&heap->heap.lock);
    pt_arena *arena = &heap->main;
    do al_pt_arena_leave(arena);
    while ((arena = arena->next) != &heap->main);
    al_lock_drop(&heap->list_lock);
}

/* --- stretches --- */

/* The last segment ends where the top says, as far as that can be. */
static uintptr_t segment_end(const pt_heap *heap, const pt_segment *segment, uintptr_t room_end) {
    if (segment->end != 0) return segment->end;
    uintptr_t top = (uintptr_t)heap->main.top;
    if (top < segment->start || top >= room_end) return room_end;
    return al_min(top + al_pt_size(heap->main.top), room_end);
}

static bool begin_segment(pt_heap *heap, pt_stretch *s) {
    const pt_segment *segment = heap->segments;
    while (segment != NULL && segment->start != s->start) segment = segment->next;
    if (segment == NULL) return false;
    uintptr_t end = segment_end(heap, segment, s->end), first = (uintptr_t)segment->first;
    if (end > s->end || first < s->start || first > end || !al_is_aligned(first, PT_GRAIN)) return false;
    *s = (pt_stretch){PT_SEGMENT, s->start, end, &heap->main, segment->first, end};
    return true;
}

static pt_arena *known_arena(pt_heap *heap, const pt_arena *arena) {
    for (pt_arena *at = heap->main.next; at != &heap->main; at = at->next)
        if (at == arena) return at;
    return NULL;
}

static bool begin_subheap(pt_heap *heap, pt_stretch *s) {
    if (!al_is_aligned(s->start, PT_SUBHEAP_BYTES)) return false;
    const pt_subheap *subheap = (const pt_subheap *)s->start;
    pt_arena *arena = known_arena(heap, subheap->arena);
    size_t head = subheap->below == NULL ? PT_ARENA_BYTES : sizeof *subheap;
    if (arena == NULL || subheap->size < head || subheap->size > subheap->committed ||
        subheap->committed > s->end - s->start)
        return false;
    pt_chunk *first = (pt_chunk *)(s->start + head);
    *s = (pt_stretch){PT_SUBHEAP, s->start, s->start + subheap->committed, arena, first, s->start + subheap->size};
    return true;
}

/* A mapping begins with its chunk; after the block was moved up for an alignment, with a head that says by how much. */
static bool begin_mapping(const pt_heap *heap, pt_stretch *s) {
    pt_chunk *head = (pt_chunk *)s->start;
    size_t bytes = al_pt_size(head), lead = head->prev_size;
    if (bytes == 0 || bytes > s->end - s->start || !al_is_aligned(bytes, al_regions_page_size(heap->heap.regions)))
        return false;
    if (lead > bytes - PT_LEAST || !al_is_aligned(lead, PT_GRAIN)) return false;
    *s = (pt_stretch){al_pt_mapped(head) ? PT_MAPPING : PT_KEPT, s->start, s->start + bytes, NULL,
                      al_pt_at(head, lead), s->start + bytes};
    return true;
}

bool al_pt_stretch_after(pt_heap *heap, uintptr_t at, pt_stretch *out) {
    al_vma vma;
    do {
        if (!al_regions_vma_after(heap->heap.regions, at, &vma)) return false;
        at = al_max(at, vma.start);
    } while (vma.prot != AL_PROT_READ_WRITE && (at = vma.end));
    *out = (pt_stretch){PT_STRANGE, at, vma.end, NULL, NULL, vma.end};
    if (!begin_segment(heap, out) && !begin_subheap(heap, out)) begin_mapping(heap, out);
    return true;
}

/* --- pieces --- */

/* Most chunks are told by their size: a cache's exceeds what it needs by no more than what cannot be cut off, unless it
 * is a mapped one. */
bool al_pt_is_cache(const pt_heap *heap, const pt_chunk *chunk) {
    size_t least = al_pt_need(sizeof(pt_cache)), size = al_pt_size(chunk);
    if (size < least || (size >= least + PT_LEAST && !al_pt_mapped(chunk))) return false;
    for (const pt_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        if (thread->cache == al_pt_block(chunk)) return true;
    return false;
}

/* Fences are too small for chunks, or have no arena's flag; there is little of them, at the end. */
static bool is_fence(const pt_stretch *s, const pt_chunk *chunk, size_t size, size_t left) {
    enum { FENCES_MOST = 64 };
    return left < FENCES_MOST && (size < PT_LEAST || (s->kind == PT_SUBHEAP && !(chunk->head & PT_NON_MAIN)));
}

static pt_sort sort_of(const pt_heap *heap, const pt_stretch *s, const pt_chunk *chunk, size_t size, size_t left) {
    bool leads_on = size >= PT_LEAST && size <= left - PT_HEADER && al_is_aligned(size, PT_GRAIN);
    if (leads_on && !al_pt_inuse_at(chunk, size)) return PT_FREE;
    if (is_fence(s, chunk, size, left)) return PT_FENCE;
    if (!leads_on) return PT_BROKEN;
    if (al_pt_mark_of(chunk) == PT_MARK_CACHED) return PT_CACHED;
    if (al_pt_mark_of(chunk) == PT_MARK_FAST) return PT_FAST;
    return al_pt_is_cache(heap, chunk) ? PT_CACHE : PT_LIVE;
}

bool al_pt_piece_next(const pt_heap *heap, const pt_stretch *s, pt_piece *piece) {
    if (piece->chunk != NULL && piece->sort >= PT_TOP) return false;
    pt_chunk *chunk = piece->chunk == NULL ? s->first : al_pt_at(piece->chunk, piece->size);
    size_t left = s->limit - (uintptr_t)chunk;
    *piece = (pt_piece){chunk, left, PT_BROKEN};
    if (left < PT_HEADER) return left > 0;
    if (chunk == s->arena->top) {
        piece->sort = PT_TOP;
        return true;
    }
    size_t size = al_pt_bare_size(chunk);
    piece->sort = sort_of(heap, s, chunk, size, left);
    if (piece->sort < PT_TOP) piece->size = size;
    return true;
}
