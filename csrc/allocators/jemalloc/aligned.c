#include "allocators/jemalloc/jemalloc.h"

/* Classes that are multiples of an alignment up to a page have slabs in which all regions are aligned to it. */
void *al_je_memalign(al_thread *base, size_t alignment, size_t bytes) {
    je_thread *thread = (je_thread *)base;
    const size_t rounded = al_align_up(al_max(bytes, 1), alignment);
    const bool small = alignment <= JE_PAGE && rounded <= JE_SMALL_MOST;
    const unsigned class = al_je_class_of(small ? rounded : al_max(bytes, JE_LARGE_LEAST));
    if (!thread->arrived && !al_je_arrive(thread)) return NULL;
    void *block = small ? al_je_take(thread, rounded, class)
                        : al_je_large_take(thread, al_je_class_bytes(class), class, alignment, false);
    if (block != NULL) al_je_count(thread, al_je_class_bytes(class), 0);
    return block;
}
