#include "allocators/jemalloc/jemalloc.h"

/* A large block that cannot change where it is does not move by way of the cache; nor does any to 0 bytes, which the
 * smallest class serves. */
static void *move(je_thread *thread, void *block, size_t old, unsigned old_class, unsigned class, bool to_zero) {
    const size_t bytes = al_je_class_bytes(class);
    if (!thread->arrived && !al_je_arrive(thread)) return NULL;
    void *moved = to_zero ? al_je_take_uncached(thread, class)
                  : old_class >= JE_SMALL_CLASSES && class >= JE_SMALL_CLASSES
                      ? al_je_large_take(thread, bytes, class, 1, false)
                      : al_je_take(thread, bytes, class);
    if (moved == NULL) return NULL;
    memcpy(moved, block, al_min(old, bytes));
    if (to_zero)
        al_je_give_uncached(thread, al_je_extent_of(al_je_heap(thread), block), block);
    else
        al_je_give(thread, block);
    return moved;
}

/* What a block has gained where it is; if that is to be zero, its pages are already. */
static void fill_gained(const je_heap *heap, void *block, size_t old, size_t bytes) {
    if (bytes > old && !heap->params.zero) al_je_fill_new(heap, (char *)block + old, bytes - old);
}

/* Without caches a thread needs no arena for what stays where it is. */
void *al_je_realloc(al_thread *base, void *block, size_t bytes) {
    je_thread *thread = (je_thread *)base;
    je_extent *extent = al_je_extent_of(al_je_heap(thread), block);
    const unsigned old_class = extent->class, class = al_je_class_of(bytes);
    const size_t old = al_je_class_bytes(old_class);
    if (bytes > JE_LARGE_MOST) return NULL;
    if (al_je_heap(thread)->params.tcache && !thread->arrived && !al_je_arrive(thread)) return NULL;
    bool large = old_class >= JE_SMALL_CLASSES && class >= JE_SMALL_CLASSES;
    bool stays = class == old_class || (large && al_je_large_resize(thread, extent, class));
    if (class == old_class) al_je_tick(thread, thread->arena, 1);
    if (stays) fill_gained(al_je_heap(thread), block, old, al_je_class_bytes(class));
    void *result = stays ? block : move(thread, block, old, old_class, class, bytes == 0);
    if (result != NULL) al_je_count(thread, al_je_class_bytes(class), old);
    return result;
}
