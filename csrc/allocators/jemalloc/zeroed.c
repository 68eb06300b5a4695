#include "allocators/jemalloc/jemalloc.h"

/* What comes from a slab or the cache is written; pages of its own are zero already, or made so by the system. */
void *al_je_calloc(al_thread *base, size_t bytes) {
    je_thread *thread = (je_thread *)base;
    const unsigned class = al_je_class_of(bytes);
    if (!thread->arrived && !al_je_arrive(thread)) return NULL;
    void *block = class < JE_SMALL_CLASSES ? al_je_take(thread, bytes, class) : al_je_cache_pop(thread, class);
    if (block != NULL)
        memset(block, 0, al_je_class_bytes(class));
    else if (class >= JE_SMALL_CLASSES)
        block = al_je_large_take(thread, al_je_cached(thread, class) ? 0 : bytes, class, 1, true);
    if (block != NULL) al_je_count(thread, al_je_class_bytes(class), 0);
    return block;
}
