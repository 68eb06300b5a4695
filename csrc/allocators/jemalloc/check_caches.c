/* Threads, the stacks of their caches, and that all that lies there is taken from its slab or extent, once. */
#include "allocators/jemalloc/inspect.h"

/* --- threads --- */

static bool check_stack(const je_heap *heap, const je_thread *thread, unsigned class, al_flaw *flaw) {
    const je_stack *stack = &thread->stacks[class];
    if (!al_je_stack_sound(heap, thread, class))
        return al_blame(flaw, stack, "jemalloc: a stack's pointers are out of order");
    const size_t capacity = thread->slots == NULL ? 0 : heap->capacities[class];
    if ((size_t)(stack->bottom - stack->full) != capacity)
        return al_blame(flaw, stack, "jemalloc: a stack has room for more or less than it should");
    return stack->bytes == al_je_class_bytes(class) ||
           al_blame(flaw, stack, "jemalloc: a stack does not know its class");
}

/* Each ends where the next one begins. */
static bool check_stacks(const je_heap *heap, const je_thread *thread, al_flaw *flaw) {
    const void *end = thread->slots;
    for (unsigned class = 0; class < JE_CACHE_CLASSES; class++) {
        if (!check_stack(heap, thread, class, flaw)) return false;
        if (thread->stacks[class].full != end)
            return al_blame(flaw, &thread->stacks[class], "jemalloc: stacks lie over each other, or apart");
        end = thread->stacks[class].bottom;
    }
    return true;
}

static bool check_threads(const je_heap *heap, al_flaw *flaw) {
    const je_thread *before = NULL;
    for (const je_thread *thread = heap->threads; thread != NULL; before = thread, thread = thread->next) {
        if (thread->prev != before) return al_blame(flaw, thread, "jemalloc: threads are listed wrongly");
        if (!al_je_arena_known(heap, thread->arena))
            return al_blame(flaw, thread, "jemalloc: a thread is bound to no arena");
        if (!check_stacks(heap, thread, flaw)) return false;
    }
    return true;
}

static bool check_bound(const je_heap *heap, al_flaw *flaw) {
    je_arena *arena;
    for (unsigned i = 0; (arena = al_je_arena_from(heap, &i)) != NULL; i++) {
        uint32_t bound = 0;
        for (const je_thread *thread = heap->threads; thread != NULL; thread = thread->next)
            bound += thread->arena == arena;
        if (bound != arena->threads) return al_blame(flaw, arena, "jemalloc: an arena's threads are miscounted");
    }
    return true;
}

/* --- what is kept --- */

static const je_extent *extent_around(const je_heap *heap, uintptr_t block) {
    const je_extent *extent = al_je_word_extent(al_je_word_at(heap, block));
    bool around = al_je_extent_known(heap, extent) && extent->state == JE_ACTIVE && block >= extent->address &&
                  block < al_je_end(extent);
    return around ? extent : NULL;
}

/* A block of that class that was handed out. */
static bool is_block(const je_heap *heap, const je_extent *extent, uintptr_t block, bool slots) {
    if (!al_je_is_slab(extent)) return block == al_je_block(extent) && extent->internal == slots;
    const je_slab_layout *layout = al_je_layout(heap, extent);
    const size_t region = (block - extent->address) / layout->bytes;
    return al_je_region(heap, extent, (unsigned)region) == block && !al_bitmap_test(extent->free, region);
}

static bool check_kept(const je_heap *heap, const al_find *kept, je_census *censuses, al_flaw *flaw) {
    const void *at = (const void *)kept->key;
    const bool slots = kept->next == JE_SLOTS;
    const je_extent *extent = extent_around(heap, kept->key);
    if (extent == NULL || !is_block(heap, extent, kept->key, slots))
        return al_blame(flaw, at, "jemalloc: a thread keeps what is no block, or free");
    if (slots ? al_je_class_bytes(extent->class) < heap->slots_bytes : extent->class != kept->next)
        return al_blame(flaw, at, "jemalloc: a thread keeps a block of another class");
    if (slots && al_je_is_slab(extent))
        censuses[extent->arena->number].internal_bytes += al_je_class_bytes(extent->class);
    return true;
}

bool al_je_check_caches(const je_look *look, je_census *censuses, al_flaw *flaw) {
    const al_finds *kept = &look->kept;
    if (!check_threads(look->heap, flaw) || !check_bound(look->heap, flaw)) return false;
    for (size_t i = 0; i < kept->count; i++) {
        if (i > 0 && kept->all[i].key == kept->all[i - 1].key)
            return al_blame(flaw, (const void *)kept->all[i].key, "jemalloc: a block is kept twice");
        if (!check_kept(look->heap, &kept->all[i], censuses, flaw)) return false;
    }
    return true;
}
