/* The rules of malloc, inline: heap.c makes functions of them, the shim compiles them into the malloc family. The
 * allocator is a parameter, because a drop-in knows it when it is compiled: its calls are then direct, and its
 * `locks_itself` is no question.
 *
 * The lock is taken only where a second thread exists: glibc says so in a plain char, which never goes from "single" to
 * "many" while the only thread is inside here. */
#ifndef AL_ALLOCATORS_RULES_H
#define AL_ALLOCATORS_RULES_H

#include "allocators/heap.h"
#include "base/align.h"

#include <sys/single_threaded.h>

static inline bool al_rule_enter(const al_allocator *allocator, al_heap *heap) {
    if (allocator->locks_itself || __libc_single_threaded) return false;
    al_lock_take(&heap->lock);
    return true;
}

static inline bool al_heap_enter(al_heap *heap) { return al_rule_enter(heap->allocator, heap); }

static inline void al_heap_leave(al_heap *heap, bool locked) {
    if (locked) al_lock_drop(&heap->lock);
}

static inline void *al_rule_malloc(const al_allocator *allocator, al_thread *thread, size_t bytes) {
    if (__builtin_expect(bytes > PTRDIFF_MAX, 0)) return NULL;
    al_heap *heap = thread->heap;
    bool locked = al_rule_enter(allocator, heap);
    void *block = allocator->malloc(thread, bytes);
    al_heap_leave(heap, locked);
    return block;
}

static inline void *al_rule_calloc(const al_allocator *allocator, al_thread *thread, size_t count, size_t each) {
    size_t bytes;
    if (__builtin_expect(__builtin_mul_overflow(count, each, &bytes) || bytes > PTRDIFF_MAX, 0)) return NULL;
    al_heap *heap = thread->heap;
    bool locked = al_rule_enter(allocator, heap);
    void *block = allocator->calloc(thread, bytes);
    al_heap_leave(heap, locked);
    return block;
}

/* Whoever rounds bytes + alignment up need not fear overflow: the sum is at most PTRDIFF_MAX. */
static inline void *al_rule_memalign(const al_allocator *allocator, al_thread *thread, size_t alignment, size_t bytes) {
    if (!al_is_power_of_two(alignment)) return NULL;
    /* a malloc below 16 bytes may be aligned to 8 only */
    if (alignment <= AL_MIN_ALIGNMENT && !allocator->aligns_all)
        return al_rule_malloc(allocator, thread, al_max(bytes, AL_MIN_ALIGNMENT));
    if (alignment > PTRDIFF_MAX || bytes > PTRDIFF_MAX - alignment) return NULL;
    al_heap *heap = thread->heap;
    bool locked = al_rule_enter(allocator, heap);
    void *block = allocator->memalign(thread, alignment, bytes);
    al_heap_leave(heap, locked);
    return block;
}

static inline void al_rule_free(const al_allocator *allocator, al_thread *thread, void *block) {
    if (block == NULL) return;
    al_heap *heap = thread->heap;
    bool locked = al_rule_enter(allocator, heap);
    allocator->free(thread, block);
    al_heap_leave(heap, locked);
}

/* Whether realloc(block, 0) yields a block. */
static inline bool al_rule_resizes_to_zero(const al_allocator *allocator, al_heap *heap) {
    return allocator->resizes_to_zero != NULL && allocator->resizes_to_zero(heap);
}

static inline void *al_rule_realloc(const al_allocator *allocator, al_thread *thread, void *block, size_t bytes) {
    if (block == NULL) return al_rule_malloc(allocator, thread, bytes);
    al_heap *heap = thread->heap;
    if (bytes == 0 && !al_rule_resizes_to_zero(allocator, heap)) {
        al_rule_free(allocator, thread, block);
        return NULL;
    }
    if (__builtin_expect(bytes > PTRDIFF_MAX, 0)) return NULL;
    bool locked = al_rule_enter(allocator, heap);
    void *moved = allocator->realloc(thread, block, bytes);
    al_heap_leave(heap, locked);
    return moved;
}

/* Within enter and leave. */
static inline al_ledger al_rule_ledger(al_heap *heap) {
    return heap->allocator->ledger == NULL ? heap->ledger : heap->allocator->ledger(heap);
}

static inline size_t al_rule_usable_size(const al_allocator *allocator, al_heap *heap, const void *block) {
    if (block == NULL) return 0;
    bool locked = al_rule_enter(allocator, heap);
    size_t usable = allocator->usable_size(heap, block);
    al_heap_leave(heap, locked);
    return usable;
}

#endif
