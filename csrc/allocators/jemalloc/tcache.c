/* A thread's cache: a stack of blocks for each class. */
#include "allocators/jemalloc/jemalloc.h"

enum { FIRST_FILL_SHIFT = 1 };

/* --- its size --- */

/* Even, and between the two bounds: an odd least counts as the next even number, an odd most as the one before. */
static unsigned small_capacity(const uint64_t *values, unsigned regions) {
    const int shift = (int)(int64_t)values[JE_LG_TCACHE_NSLOTS_MUL];
    const uint64_t most = al_max(values[JE_TCACHE_NSLOTS_SMALL_MAX], 2) & ~UINT64_C(1);
    const uint64_t least = al_min(al_align_up(al_max(values[JE_TCACHE_NSLOTS_SMALL_MIN], 1), 2), most);
    const uint64_t slots = shift >= 0 ? (uint64_t)regions << shift : regions >> -shift;
    return (unsigned)al_min(al_max(al_align_up(slots, 2), least), most);
}

void al_je_cache_configure(je_heap *heap) {
    const uint64_t *values = heap->heap.settings.values;
    size_t slots = 0;
    for (unsigned class = 0; class < heap->params.cache_classes; class++) {
        heap->capacities[class] = (uint16_t)(class < JE_SMALL_CLASSES
                                                 ? small_capacity(values, heap->layouts[class].regions)
                                                 : values[JE_TCACHE_NSLOTS_LARGE]);
        slots += heap->capacities[class];
    }
    heap->slots_bytes = (slots + 2) * sizeof(void *);
}

/* --- its memory: a block of arena 0, aligned to a page --- */

static void *take_slots(je_heap *heap) {
    je_arena *arena = al_je_arena(heap, 0);
    const size_t in_slab = al_align_up(heap->slots_bytes, JE_PAGE);
    const size_t bytes = in_slab <= JE_SMALL_MOST ? in_slab : al_max(heap->slots_bytes, JE_LARGE_LEAST);
    const unsigned class = al_je_class_of(bytes);
    void *slots = NULL;
    al_lock_take(&arena->lock);
    if (class < JE_SMALL_CLASSES)
        al_je_slabs_take(arena, class, 0, &slots, 1);
    else
        slots = al_je_large_take_internal(arena, class);
    if (slots != NULL) arena->internal_bytes += al_je_class_bytes(class);
    al_lock_drop(&arena->lock);
    return slots;
}

static void give_slots(je_thread *thread) {
    je_extent *extent = al_je_extent_of(al_je_heap(thread), thread->slots);
    je_arena *arena = extent->arena;
    al_lock_take(&arena->lock);
    arena->internal_bytes -= al_je_class_bytes(extent->class);
    al_lock_drop(&arena->lock);
    al_je_give_uncached(thread, extent, thread->slots);
    thread->slots = NULL;
}

/* Blocks of a small class that collections pass over: as many as fill gc_delay bytes. */
static uint8_t first_delay(const je_heap *heap, unsigned class) {
    return class < JE_SMALL_CLASSES ? (uint8_t)al_min(heap->params.gc_delay / al_je_class_bytes(class), UINT8_MAX) : 0;
}

void al_je_cache_init(je_thread *thread) {
    const je_heap *heap = al_je_heap(thread);
    void **at = (void **)thread->slots;
    for (unsigned class = 0; class < JE_CACHE_CLASSES; class++) {
        unsigned capacity = thread->slots == NULL ? 0 : heap->capacities[class];
        je_stack *stack = &thread->stacks[class];
        *stack = (je_stack){
            .low = at + capacity,
            .full = at,
            .bottom = at + capacity,
            .bytes = (uint32_t)al_je_class_bytes(class),
            .fill_shift = FIRST_FILL_SHIFT,
            .delay = first_delay(heap, class),
        };
        al_je_stack_move(stack, stack->bottom);
        at += capacity;
    }
}

void al_je_cache_open(je_thread *thread) {
    je_heap *heap = al_je_heap(thread);
    if (heap->params.tcache) thread->slots = take_slots(heap);
    if (thread->slots != NULL) al_je_tick(thread, heap->arenas[0], 1);
    al_je_cache_init(thread);
}

/* The thread's own arena is told of requests and the flush. */
static void tell_flush(je_thread *thread, unsigned class) {
    je_arena *arena = thread->arena;
    je_stack *stack = &thread->stacks[class];
    al_lock_take(&arena->lock);
    if (class < JE_SMALL_CLASSES) {
        arena->bins[class].nflushes++;
        arena->bins[class].nrequests += stack->requests;
    } else {
        arena->large[class - JE_SMALL_CLASSES].nflushes++;
        arena->large[class - JE_SMALL_CLASSES].nrequests += stack->requests;
    }
    al_lock_drop(&arena->lock);
    stack->requests = 0;
}

void al_je_cache_close(je_thread *thread) {
    if (thread->slots == NULL) return;
    for (unsigned class = 0; class < al_je_heap(thread)->params.cache_classes; class++) {
        al_je_cache_flush(thread, class, 0);
        if (class >= JE_SMALL_CLASSES) tell_flush(thread, class); /* theirs counts it twice */
    }
    give_slots(thread);
    al_je_cache_init(thread);
}

/* --- taking --- */

void *al_je_cache_pop(je_thread *thread, unsigned class) {
    if (class >= JE_CACHE_CLASSES) return NULL;
    je_stack *stack = &thread->stacks[class];
    void **top = stack->top;
    if (top == stack->bottom) return NULL;
    if (stack->low < top + 1) stack->low = top + 1;
    al_je_stack_move(stack, top + 1);
    stack->requests++;
    return *top;
}

/* The lowest comes out first. */
void *al_je_cache_fill(je_thread *thread, unsigned class) {
    je_arena *arena = thread->arena;
    je_stack *stack = &thread->stacks[class];
    const unsigned capacity = (unsigned)(stack->bottom - stack->full), wanted = capacity >> stack->fill_shift;
    void **top = stack->bottom - wanted;
    stack->low = stack->bottom;
    al_lock_take(&arena->lock);
    unsigned got = al_je_slabs_take(arena, class, al_je_shard_for(thread, class), top, wanted);
    je_bin *bin = &arena->bins[class];
    bin->nfills++;
    bin->nrequests += stack->requests;
    al_lock_drop(&arena->lock);
    stack->requests = 0;
    stack->filled = true;
    if (got < wanted) top = memmove(stack->bottom - got, top, got * sizeof *top);
    al_je_stack_move(stack, top);
    al_je_tick(thread, arena, 1);
    return al_je_cache_pop(thread, class);
}

/* --- giving back --- */

/* What goes back of a class to where the first does, an arena or a shard of it, whose lock is taken once. The others
 * are moved to the front of `blocks`. Returns how many these are. */
static unsigned flush_some(je_thread *thread, unsigned class, void **blocks, unsigned count) {
    je_heap *heap = al_je_heap(thread);
    const je_extent *first = al_je_extent_of(heap, blocks[0]);
    je_arena *arena = first->arena;
    const unsigned shard = first->shard;
    const bool small = class < JE_SMALL_CLASSES;
    je_extent *emptied = NULL, **last = &emptied;
    unsigned others = 0;
    al_lock_take(&arena->lock);
    for (unsigned i = 0; i < count; i++) {
        je_extent *extent = al_je_extent_of(heap, blocks[i]);
        if (extent->arena != arena || (small && extent->shard != shard)) {
            blocks[others++] = blocks[i];
            continue;
        }
        if (small)
            extent = al_je_slabs_give(arena, extent, blocks[i]);
        else
            al_je_large_left(arena, extent);
        if (extent == NULL) continue;
        *last = extent;
        last = &extent->next;
        extent->next = NULL;
    }
    while (emptied != NULL) {
        je_extent *extent = emptied;
        emptied = extent->next;
        al_je_pages_give(arena, extent);
    }
    al_lock_drop(&arena->lock);
    al_je_tick(thread, arena, count - others);
    return others;
}

void al_je_cache_flush(je_thread *thread, unsigned class, unsigned keep) {
    je_stack *stack = &thread->stacks[class];
    void **first = stack->top + keep;
    unsigned left = (unsigned)(stack->bottom - first);
    tell_flush(thread, class);
    while (left > 0) left = flush_some(thread, class, first, left);
    void **top = stack->bottom - keep;
    memmove(top, stack->top, keep * sizeof *top);
    al_je_stack_move(stack, top);
    if (stack->low < top) stack->low = top;
}

/* --- collection --- */

/* Three quarters of what lay unused since the last visit go back, and less is taken next time; where there was need,
 * more. */
static void collect_class(je_thread *thread, unsigned class) {
    je_stack *stack = &thread->stacks[class];
    const bool small = class < JE_SMALL_CLASSES;
    const unsigned unused = (unsigned)(stack->bottom - stack->low), capacity = (unsigned)(stack->bottom - stack->full);
    const unsigned excess = unused - unused / 4;
    if (unused > 0 && excess < stack->delay) {
        stack->delay = (uint8_t)(stack->delay - excess);
    } else if (unused > 0) {
        al_je_cache_flush(thread, class, al_je_stack_count(stack) - excess);
        if (small && capacity >> (stack->fill_shift + 1) >= 1) stack->fill_shift++;
        stack->delay = first_delay(al_je_heap(thread), class);
    } else if (small && stack->filled) {
        if (stack->fill_shift > 1) stack->fill_shift--;
        stack->filled = false;
    }
    stack->low = stack->top;
}

void al_je_collect(je_thread *thread) {
    if (thread->slots == NULL) return;
    collect_class(thread, thread->collect_next);
    if (++thread->collect_next == al_je_heap(thread)->params.cache_classes) thread->collect_next = 0;
}
