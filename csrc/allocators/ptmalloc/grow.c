/* Memory from the system: a mapping for a large request, or a larger top. The main arena grows by the break; where that
 * is refused, by mappings, and from then on it is not contiguous.
 *
 *     segment                                                        end
 *     | chunks ...                    | top                          |       the last one
 *     | chunks ...        | rest      | fence 16 | fence 16 |                one that could not go on: the break was
 *                                                                            moved by others, or refused
 *
 * system_mem counts, as glibc does, what others put between our own stretches of the break, too. */
#include "allocators/ptmalloc/bins.h"

enum { MAPPING_GRAIN = 1 << 20, FENCES = 2 * PT_HEADER };

/* NULL: refused. Before the first move libc asks where the break is, and remembers. */
static char *move_break(pt_heap *heap, size_t bytes) {
    void *old;
    al_lock_take(&heap->heap.lock);
    if (!heap->break_asked) al_regions_brk(heap->heap.regions, 0, &old);
    heap->break_asked = true;
    int error = al_regions_brk(heap->heap.regions, (intptr_t)bytes, &old);
    if (error == 0) al_pt_advise_huge(heap, old, bytes);
    al_lock_drop(&heap->heap.lock);
    return error == 0 ? old : NULL;
}

static char *map(pt_heap *heap, size_t bytes) {
    void *at;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_mmap(heap->heap.regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &at);
    if (error == 0) al_pt_advise_huge(heap, at, bytes);
    al_lock_drop(&heap->heap.lock);
    return error == 0 ? at : NULL;
}

/* --- segments --- */

static bool segment_prepare(pt_heap *heap) {
    if (heap->spare_segment != NULL) return true;
    al_lock_take(&heap->heap.lock);
    heap->spare_segment = al_regions_own(heap->heap.regions, sizeof *heap->spare_segment);
    al_lock_drop(&heap->heap.lock);
    return heap->spare_segment != NULL;
}

static void segment_begin(pt_heap *heap, char *start, char *first) {
    pt_segment *segment = heap->spare_segment;
    heap->spare_segment = NULL;
    *segment = (pt_segment){.start = al_align_down((uintptr_t)start, al_pt_page_size(heap)),
                            .first = (pt_chunk *)first};
    if (heap->last_segment == NULL)
        heap->segments = segment;
    else
        heap->last_segment->next = segment;
    heap->last_segment = segment;
    heap->main.fixed += (uintptr_t)first - segment->start;
    if (segment->start == (uintptr_t)start) return;
    al_lock_take(&heap->heap.lock);
    al_check(al_regions_adopt(heap->heap.regions, start) == 0, "alloclab: no memory for the account");
    al_lock_drop(&heap->heap.lock);
}

/* The top that cannot go on, of `size` bytes: fences at its end, so that nothing above is taken for its neighbour; the
 * rest is given, if it is a chunk. */
static void fence(pt_thread *thread, pt_chunk *top, size_t size) {
    pt_heap *heap = al_pt_heap(thread);
    size_t rest = (size - FENCES) & ~(size_t)(PT_GRAIN - 1);
    al_pt_set_head(top, rest | PT_PREV_INUSE);
    al_pt_set_head(al_pt_at(top, rest), PT_HEADER | PT_PREV_INUSE);
    al_pt_set_head(al_pt_at(top, rest + PT_HEADER), PT_HEADER | PT_PREV_INUSE);
    if (rest < PT_LEAST) {
        heap->main.fixed += size;
        return;
    }
    heap->main.fixed += size - rest;
    al_pt_book_taken(&heap->main, rest);
    al_pt_give(thread, &heap->main, top, true);
}

/* --- the main arena's top --- */

/* What was got: [start, start + bytes), by the break or, `mapped`, by a mapping. */
typedef struct gain {
    char *start;
    size_t bytes;
    bool mapped;
} gain;

/* Whole pages; where huge ones are asked for, so that the break ends at one of them. Of where the break is, glibc knows
 * nothing before it moved it. */
static size_t break_step(const pt_heap *heap, size_t bytes) {
    size_t huge = heap->params.huge_page;
    void *now = NULL;
    if (huge == 0) return al_align_up(bytes, al_pt_page_size(heap));
    if (heap->break_base != 0) al_regions_break(heap->heap.regions, &now);
    return al_align_up(al_align_up((uintptr_t)now + bytes, huge) - (uintptr_t)now, al_pt_page_size(heap));
}

/* Once it is not contiguous, glibc does not align where a top begins or ends, and dies of that at once or at the next
 * growth. A window's heap, which meets more faults, leaves such a break alone. */
static bool break_is_usable(const pt_heap *heap) {
    void *now = NULL;
    return heap->main.contiguous || !heap->simulated ||
           (al_regions_break(heap->heap.regions, &now) == 0 && al_is_aligned((uintptr_t)now, al_pt_page_size(heap)));
}

static gain gain_memory(pt_heap *heap, size_t need) {
    pt_arena *arena = &heap->main;
    size_t old = arena->contiguous ? al_pt_size(arena->top) : 0;
    size_t bytes = break_step(heap, need + heap->params.top_pad + PT_LEAST - old);
    gain got = {.bytes = bytes};
    if ((intptr_t)bytes > 0 && break_is_usable(heap)) got.start = move_break(heap, bytes);
    if (got.start != NULL) return got;
    if (arena->contiguous) bytes = al_align_up(bytes + old, MAPPING_GRAIN); /* only the first time, as glibc does */
    if (bytes <= need || (got.start = map(heap, bytes)) == NULL) return got;
    arena->contiguous = false;
    return (gain){got.start, bytes, true};
}

/* What of a page lies before the break goes back. The end then. */
static char *cut_to_page(pt_heap *heap, char *end) {
    size_t odd = (uintptr_t)end & (al_pt_page_size(heap) - 1);
    void *old;
    al_lock_take(&heap->heap.lock);
    bool cut = odd > 0 && al_regions_brk(heap->heap.regions, -(intptr_t)odd, &old) == 0;
    al_lock_drop(&heap->heap.lock);
    if (!cut) return end;
    heap->main.system_mem -= odd;
    return end - odd;
}

/* The end of the new top: a page's, and further by `wanted` bytes, if the system gives as much more. Else it may lie
 * within a page; glibc lets it and dies at the next growth (check_top), a window's heap does without that part. */
static char *extend_to_page(pt_heap *heap, char *end, size_t wanted) {
    size_t more = al_align_up((uintptr_t)end + wanted, al_pt_page_size(heap)) - (uintptr_t)end;
    char *second = more > 0 ? move_break(heap, more) : NULL;
    if (second == NULL) return heap->simulated ? cut_to_page(heap, end) : end;
    heap->main.system_mem += more;
    return second + more;
}

/* The break was not where the top ends, or there is no top yet. Aligns the start and the end; in a segment that
 * replaces one of `old` bytes there is as much more room, too. */
static void begin_top(pt_heap *heap, const gain *got, size_t old) {
    pt_arena *arena = &heap->main;
    char *start = got->start, *end = got->start + got->bytes;
    if (arena->contiguous) {
        start = (char *)al_align_up((uintptr_t)start, PT_GRAIN);
        end = extend_to_page(heap, end, (size_t)(start - got->start) + old);
    }
    al_check(al_is_aligned((uintptr_t)start, PT_GRAIN), "Fatal glibc error: malloc assertion failure in sysmalloc: "
                                                        "((unsigned long) chunk2mem (brk) & MALLOC_ALIGN_MASK) == 0");
    arena->top = (pt_chunk *)start;
    heap->strange += (size_t)(start - got->start) + (size_t)(end - start) % PT_WORD;
    segment_begin(heap, got->start, start);
    al_pt_set_head(arena->top, (size_t)(end - start) | PT_PREV_INUSE);
}

/* False: the system would not. */
static bool grow_top(pt_thread *thread, size_t need) {
    pt_heap *heap = al_pt_heap(thread);
    pt_arena *arena = &heap->main;
    pt_chunk *top = arena->top;
    size_t old = al_pt_size(top);
    char *old_end = (char *)top + old;
    if (!segment_prepare(heap)) return false;
    gain got = gain_memory(heap, need);
    if (got.start == NULL) return false;

    if (heap->break_base == 0) heap->break_base = (uintptr_t)got.start;
    arena->system_mem += got.bytes;
    if (got.start == old_end && !got.mapped) {
        al_pt_set_head(top, (old + got.bytes) | PT_PREV_INUSE);
        return true;
    }
    if (arena->contiguous && old > 0) {
        al_check(got.start > old_end, "break adjusted to free malloc space");
        arena->system_mem += (size_t)(got.start - old_end);
        heap->strange += (size_t)(got.start - old_end);
    }
    if (heap->last_segment != NULL) heap->last_segment->end = (uintptr_t)old_end;
    begin_top(heap, &got, old);
    if (old > 0) fence(thread, top, old);
    return true;
}

/* --- the contract --- */

static void *map_block(pt_heap *heap, size_t need, size_t bytes) {
    pt_chunk *chunk = al_pt_map(heap, need);
    if (chunk == NULL) return NULL;
    al_pt_perturb_new(heap, al_pt_block(chunk), bytes);
    return al_pt_block(chunk);
}

static void *top_block(pt_heap *heap, pt_arena *arena, size_t need, size_t bytes) {
    arena->max_system_mem = al_max(arena->max_system_mem, arena->system_mem);
    pt_chunk *chunk = al_pt_cut_top(arena, need);
    if (chunk == NULL) return NULL;
    al_pt_book_taken(arena, need);
    al_pt_perturb_new(heap, al_pt_block(chunk), bytes);
    return al_pt_block(chunk);
}

/* A top with a wrong head would be fenced and freed. */
static void check_top(const pt_heap *heap, const pt_arena *arena) {
    const pt_chunk *top = arena->top;
    bool ends_page = al_is_aligned((uintptr_t)al_pt_next(top), al_pt_page_size(heap));
    al_check(top == &arena->none || (al_pt_size(top) >= PT_LEAST && al_pt_prev_inuse(top) && ends_page),
             "Fatal glibc error: malloc assertion failure in sysmalloc: (old_top == initial_top (av) && old_size == 0) "
             "|| ((unsigned long) (old_size) >= MINSIZE && prev_inuse (old_top) && ((unsigned long) old_end & "
             "(pagesize - 1)) == 0)");
}

void *al_pt_grow(pt_thread *thread, pt_arena *arena, size_t bytes) {
    pt_heap *heap = al_pt_heap(thread);
    size_t need = al_pt_need(bytes);
    bool map_first = arena == NULL || (need >= al_pt_get(&heap->params.mmap_threshold) &&
                                       al_pt_get(&heap->mapped_count) < heap->params.mmap_max);
    if (map_first) {
        void *block = map_block(heap, need, bytes);
        if (block != NULL || arena == NULL) return block;
    }
    check_top(heap, arena);
    bool grown = al_pt_is_main(arena) ? grow_top(thread, need) : al_pt_subheap_extend(thread, arena, need);
    if (!grown && !map_first && !al_pt_is_main(arena)) return map_block(heap, need, bytes);
    return top_block(heap, arena, need, bytes);
}
