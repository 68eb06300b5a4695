/* Blocks, small by way of a CPU's cache and large with pages of their own; aligned, zeroed and resized ones. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/check.h"

/* --- small --- */

static hp_cpu *cpu_of(const hp_thread *thread) {
    return thread->cpu != NULL ? thread->cpu : al_hp_cpu_now(al_hp_heap(thread));
}

void *al_hp_small_take(hp_thread *thread, unsigned class) {
    hp_cpu *cpu = cpu_of(thread);
    hp_stack *stack = &cpu->stacks[class];
    const bool locked = al_hp_enter(cpu);
    void *block = stack->used > 0 ? stack->slots[--stack->used] : al_hp_cpu_underflow(al_hp_heap(thread), cpu, class);
    al_hp_leave(cpu, locked);
    return block;
}

void al_hp_small_give(hp_thread *thread, void *block, unsigned class) {
    hp_cpu *cpu = cpu_of(thread);
    hp_stack *stack = &cpu->stacks[class];
    const bool locked = al_hp_enter(cpu);
    if (stack->used < stack->capacity)
        stack->slots[stack->used++] = block;
    else
        al_hp_cpu_overflow(al_hp_heap(thread), cpu, class, block);
    al_hp_leave(cpu, locked);
}

/* --- large --- */

static size_t pages_for(size_t bytes) { return (al_max(bytes, 1) + TC_PAGE - 1) >> TC_PAGE_BITS; }

void *al_hp_large_take(hp_heap *heap, size_t bytes, size_t alignment) {
    tc_base *base = &heap->base;
    const size_t pages = pages_for(bytes);
    al_lock_take(&base->heap.lock);
    const tc_span *span = alignment <= TC_PAGE ? base->pages_take(base, pages)
                                               : al_hp_pages_take_aligned(base, pages, alignment);
    void *block = span == NULL ? NULL : (void *)span->address;
    al_lock_drop(&base->heap.lock);
    return block;
}

/* The span of a large block; NULL: there is no such block. */
static tc_span *large_span(const hp_heap *heap, const void *block) {
    tc_span *span = al_tc_span_or_none(&heap->base, (uintptr_t)block);
    const bool is = span != NULL && span->address == (uintptr_t)block && span->location == TC_IN_USE &&
                    span->class == 0;
    return is ? span : NULL;
}

void al_hp_large_give(hp_heap *heap, void *block) {
    tc_base *base = &heap->base;
    tc_span *span = large_span(heap, block);
    if (span == NULL) al_die_at("Attempted to free corrupted pointer ", block, "");
    al_lock_take(&base->heap.lock);
    base->pages_give(base, span);
    al_lock_drop(&base->heap.lock);
}

/* --- the others --- */

size_t al_hp_usable_size(al_heap *base, const void *block) {
    const hp_heap *heap = al_hp_of(base);
    const unsigned class = al_page_word_class(al_pages_get_or_none(&heap->base.map, al_tc_page_of(block)));
    if (class != 0) return al_hp_shape(heap, class)->bytes;
    const tc_span *span = large_span(heap, block);
    return span == NULL ? 0 : span->pages << TC_PAGE_BITS;
}

void *al_hp_calloc(al_thread *thread, size_t bytes) {
    void *block = al_hp_malloc(thread, bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

/* Objects lie at multiples of their size from the start of their pages: the next class that is a multiple will do. */
void *al_hp_memalign(al_thread *base, size_t alignment, size_t bytes) {
    hp_thread *thread = (hp_thread *)base;
    hp_heap *heap = al_hp_heap(thread);
    if (alignment > TC_PAGE) return al_hp_large_take(heap, bytes, alignment);
    if (bytes > TC_SMALL_MOST) return al_hp_large_take(heap, bytes, TC_PAGE);
    unsigned class = al_tc_class_of(&heap->base.classes, bytes);
    while (al_hp_shape(heap, class)->bytes % alignment != 0) class++;
    return al_hp_small_take(thread, class);
}

/* A block stays only where its size would come out the same. */
static size_t size_for(const hp_heap *heap, size_t bytes) {
    if (bytes > TC_SMALL_MOST) return pages_for(bytes) << TC_PAGE_BITS;
    return al_hp_shape(heap, al_tc_class_of(&heap->base.classes, bytes))->bytes;
}

void *al_hp_realloc(al_thread *thread, void *block, size_t bytes) {
    const size_t old = al_hp_usable_size(thread->heap, block);
    if (old == 0) al_die_at("Attempted to free corrupted pointer ", block, "");
    if (size_for(al_hp_of(thread->heap), bytes) == old) return block;
    void *moved = al_hp_malloc(thread, bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, al_min(old, bytes));
    al_hp_free(thread, block);
    return moved;
}
