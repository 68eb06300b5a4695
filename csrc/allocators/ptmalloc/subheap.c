/* Subheaps: aligned stretches of address space, of which a beginning is readable and writable.
 *
 *     | pt_subheap | chunks ...                  | rest | fence 16 | 16 |     one that another was begun after
 *     | pt_subheap | chunks ...        | top |  free  |    PROT_NONE    |     the last one
 *                                       size ->|       |<- committed
 *
 * What a trim gives back stays readable and writable, but for a system that counts promises (overcommit 2). The second
 * fence has size 0; where the top was too small to leave a rest, the first one is 16 or 32 bytes. */
#include "allocators/ptmalloc/bins.h"

enum { LEAST_BYTES = 32 << 10 };

static bool is_aligned(const void *at) { return al_is_aligned((uintptr_t)at, PT_SUBHEAP_BYTES); }

static void unmap(pt_heap *heap, void *at, size_t bytes) {
    if (bytes > 0) al_regions_munmap(heap->heap.regions, at, bytes);
}

/* --- address space; heap->lock is held --- */

/* NULL: refused. */
static char *reserve(pt_heap *heap, uintptr_t hint, size_t bytes) {
    void *at;
    al_placement placement = hint == 0 ? AL_PLACE_ANYWHERE : AL_PLACE_HINT;
    int error = al_regions_mmap(heap->heap.regions, (void *)hint, bytes, AL_PROT_NONE, placement, &at);
    return error == 0 ? at : NULL;
}

/* So much as one subheap needs, and it must happen to be aligned. */
static char *reserve_one(pt_heap *heap, uintptr_t hint) {
    char *at = reserve(heap, hint, PT_SUBHEAP_BYTES);
    if (at == NULL || is_aligned(at)) return at;
    unmap(heap, at, PT_SUBHEAP_BYTES);
    return NULL;
}

/* Twice as much, so that an aligned part can be cut out. Where the lower half is one, the upper will be the next. */
static char *reserve_two(pt_heap *heap) {
    char *at = reserve(heap, 0, 2 * PT_SUBHEAP_BYTES);
    if (at == NULL) return NULL;
    char *aligned = (char *)al_align_up((uintptr_t)at, PT_SUBHEAP_BYTES);
    size_t below = (size_t)(aligned - at);
    if (below == 0) heap->subheap_hint = (uintptr_t)aligned + PT_SUBHEAP_BYTES;
    unmap(heap, at, below);
    unmap(heap, aligned + PT_SUBHEAP_BYTES, PT_SUBHEAP_BYTES - below);
    return aligned;
}

static char *reserve_aligned(pt_heap *heap) {
    uintptr_t hint = heap->subheap_hint;
    heap->subheap_hint = 0;
    char *at = hint == 0 ? NULL : reserve_one(heap, hint);
    if (at == NULL) at = reserve_two(heap);
    return at != NULL ? at : reserve_one(heap, 0);
}

static pt_subheap *create(pt_heap *heap, size_t bytes) {
    char *at = reserve_aligned(heap);
    if (at == NULL) return NULL;
    if (al_regions_mprotect(heap->heap.regions, at, bytes, AL_PROT_READ_WRITE) != 0) {
        unmap(heap, at, PT_SUBHEAP_BYTES);
        return NULL;
    }
    al_pt_advise_huge(heap, at, bytes);
    pt_subheap *subheap = (pt_subheap *)at;
    subheap->size = subheap->committed = bytes;
    return subheap;
}

pt_subheap *al_pt_subheap_create(pt_heap *heap, size_t least, size_t pad) {
    if (least > PT_SUBHEAP_BYTES) return NULL;
    size_t bytes = al_min(al_max(least + pad, LEAST_BYTES), PT_SUBHEAP_BYTES);
    al_lock_take(&heap->heap.lock);
    pt_subheap *subheap = create(heap, al_align_up(bytes, al_pt_page_size(heap)));
    al_lock_drop(&heap->heap.lock);
    return subheap;
}

/* --- growth --- */

static bool commit(pt_heap *heap, pt_subheap *subheap, size_t size) {
    size_t old = subheap->committed;
    if (size <= old) return true;
    al_lock_take(&heap->heap.lock);
    int error = al_regions_mprotect(heap->heap.regions, (char *)subheap + old, size - old, AL_PROT_READ_WRITE);
    al_lock_drop(&heap->heap.lock);
    if (error == 0) subheap->committed = size;
    return error == 0;
}

static bool grow(pt_heap *heap, pt_arena *arena, size_t more) {
    pt_subheap *last = al_pt_subheap_of(arena->top);
    if (more > PT_SUBHEAP_BYTES) return false;
    more = al_align_up(more, al_pt_page_size(heap));
    if (more > PT_SUBHEAP_BYTES - last->size || !commit(heap, last, last->size + more)) return false;
    last->size += more;
    arena->system_mem += more;
    al_pt_set_head(arena->top, (al_pt_size(arena->top) + more) | PT_PREV_INUSE);
    return true;
}

/* The top that cannot go on: it will be one again if the subheap above goes. Its rest, if that is a chunk, is given. */
static void fence(pt_thread *thread, pt_arena *arena, pt_chunk *top) {
    size_t size = al_pt_size(top), rest = size - PT_LEAST;
    bool is_chunk = rest >= PT_LEAST;
    pt_chunk *lower = is_chunk ? al_pt_at(top, rest) : top, *upper = al_pt_at(top, rest + PT_HEADER);
    size_t lower_size = (size_t)((char *)upper - (char *)lower);
    al_pt_set_head(upper, 0 | PT_PREV_INUSE);
    al_pt_set_head(lower, lower_size | PT_PREV_INUSE);
    al_pt_set_foot(lower, lower_size);
    arena->fixed += lower_size + PT_HEADER;
    if (!is_chunk) return;
    al_pt_set_head(top, rest | PT_PREV_INUSE | PT_NON_MAIN);
    al_pt_book_taken(arena, rest);
    al_pt_give(thread, arena, top, true);
}

bool al_pt_subheap_extend(pt_thread *thread, pt_arena *arena, size_t size) {
    pt_heap *heap = al_pt_heap(thread);
    pt_chunk *top = arena->top;
    if (grow(heap, arena, size + PT_LEAST - al_pt_size(top))) return true;
    pt_subheap *next = al_pt_subheap_create(heap, size + PT_LEAST + sizeof *next, heap->params.top_pad);
    if (next == NULL) return false;
    next->arena = arena;
    next->below = al_pt_subheap_of(top);
    arena->system_mem += next->size;
    arena->fixed += sizeof *next;
    arena->top = (pt_chunk *)(next + 1);
    al_pt_set_head(arena->top, (next->size - sizeof *next) | PT_PREV_INUSE);
    fence(thread, arena, top);
    return true;
}

/* --- trimming --- */

/* Whether the system takes it back or not, it is a subheap no more: what stays is a mapping that was freed in vain. */
static void release(pt_heap *heap, pt_subheap *subheap) {
    al_lock_take(&heap->heap.lock);
    if ((uintptr_t)subheap + PT_SUBHEAP_BYTES == heap->subheap_hint) heap->subheap_hint = 0;
    *(pt_chunk *)subheap = (pt_chunk){.head = subheap->committed};
    al_regions_munmap(heap->heap.regions, subheap, PT_SUBHEAP_BYTES);
    al_lock_drop(&heap->heap.lock);
}

/* The last subheap is empty: it goes, if the one below then has room enough, and the fences and what is free before
 * them become the top. */
static bool drop_last(pt_heap *heap, pt_arena *arena, pt_subheap *last, size_t pad) {
    pt_subheap *below = last->below;
    pt_chunk *upper = al_pt_at((pt_chunk *)below, below->size - PT_HEADER);
    al_check(al_pt_size(upper) == 0, "alloclab: a subheap without its fence");
    pt_chunk *top = al_pt_below(upper);
    size_t fences = al_pt_size(top) + PT_HEADER;
    size_t size = fences + (al_pt_prev_inuse(top) ? 0 : top->prev_size);
    if (size + (PT_SUBHEAP_BYTES - below->size) < pad + PT_LEAST + al_pt_page_size(heap)) return false;
    arena->system_mem -= last->size;
    arena->fixed -= fences + sizeof *last;
    release(heap, last);
    if (!al_pt_prev_inuse(top)) {
        top = al_pt_below(top);
        al_pt_unlink(top);
    }
    al_pt_set_head(top, size | PT_PREV_INUSE);
    arena->top = top;
    return true;
}

/* As glibc does, the system is asked once. */
static bool counts_promises(pt_heap *heap) {
    if (heap->overcommit == AL_OVERCOMMIT_SYSTEM) heap->overcommit = al_regions_overcommit(heap->heap.regions);
    return heap->overcommit == 2;
}

/* What is advised away can be advised in vain: the pages stay, and no harm is done. */
static bool shrink(pt_heap *heap, pt_subheap *subheap, size_t size) {
    void *from = (char *)subheap + size, *same;
    size_t bytes = subheap->size - size;
    int error = 0;
    al_lock_take(&heap->heap.lock);
    bool decommit = counts_promises(heap);
    if (decommit)
        error = al_regions_mmap(heap->heap.regions, from, bytes, AL_PROT_NONE, AL_PLACE_FIXED, &same);
    else
        al_regions_madvise(heap->heap.regions, from, bytes, AL_ADVISE_DONTNEED);
    al_lock_drop(&heap->heap.lock);
    if (error != 0) return false;
    if (decommit) subheap->committed = size;
    subheap->size = size;
    return true;
}

bool al_pt_subheap_trim(pt_heap *heap, pt_arena *arena, size_t pad) {
    bool any = false;
    pt_subheap *last;
    while (last = al_pt_subheap_of(arena->top), (void *)arena->top == last + 1) {
        if (!drop_last(heap, arena, last, pad)) break;
        any = true;
    }
    size_t size = al_pt_size(arena->top);
    if (size < al_pt_get(&heap->params.trim_threshold)) return any;
    if (size <= PT_LEAST + 1 || size - PT_LEAST - 1 <= pad) return any;
    size_t extra = al_align_down(size - PT_LEAST - 1 - pad, al_pt_page_size(heap));
    if (extra == 0 || !shrink(heap, last, last->size - extra)) return any;
    arena->system_mem -= extra;
    al_pt_set_head(arena->top, (size - extra) | PT_PREV_INUSE);
    return true;
}
