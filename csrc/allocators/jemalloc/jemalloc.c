#include "allocators/heap.h"
#include "allocators/jemalloc/jemalloc.h"

#include "base/check.h"

enum { JUNK_NEW = 0xa5, JUNK_FREED = 0x5a };

static int create(al_heap *base) {
    je_heap *heap = al_je_of(base);
    al_check(al_regions_page_size(base->regions) == JE_PAGE, "alloclab: jemalloc is built for pages of 4096 bytes");
    al_je_configure(heap);
    al_je_layouts(heap);
    al_je_shards_configure(heap);
    al_je_cache_configure(heap);
    const bool of_process = al_regions_base(base->regions) == NULL;
    if (of_process && base->settings.values[JE_STATS_PRINT]) al_heap_report_at_exit(base, al_je_report);
    return 0;
}

/* --- the account of bytes --- */

void al_je_count(je_thread *thread, size_t taken, size_t given) {
    const size_t step = al_je_heap(thread)->params.gc_step;
    thread->taken += taken;
    if (thread->taken >= thread->taken_due) {
        al_je_collect(thread);
        thread->taken_due = thread->taken + step;
        if (thread->taken_brief != 0) thread->taken_brief = thread->taken_due;
    }
    thread->given += given;
    if (thread->given >= thread->given_due) {
        al_je_collect(thread);
        thread->given_due = thread->given + step;
        if (thread->given_brief != 0) thread->given_brief = thread->given_due;
    }
}

/* --- malloc --- */

void *al_je_take_uncached(je_thread *thread, unsigned class) {
    je_arena *arena = thread->arena;
    void *block = NULL;
    al_lock_take(&arena->lock);
    const unsigned shard = al_je_shard_for(thread, class);
    if (al_je_slabs_take(arena, class, shard, &block, 1) == 1) arena->bins[class].nrequests++;
    al_lock_drop(&arena->lock);
    al_je_tick(thread, arena, 1);
    return block;
}

void *al_je_take(je_thread *thread, size_t bytes, unsigned class) {
    if (__builtin_expect(!thread->arrived, 0) && !al_je_arrive(thread)) return NULL;
    const bool cached = al_je_cached(thread, class);
    void *block = cached ? al_je_cache_pop(thread, class) : NULL;
    if (block == NULL && class >= JE_SMALL_CLASSES)
        return al_je_large_take(thread, cached ? 0 : bytes, class, 1, false);
    if (block == NULL) block = cached ? al_je_cache_fill(thread, class) : al_je_take_uncached(thread, class);
    return block == NULL ? NULL : al_je_fill_new(al_je_heap(thread), block, al_je_class_bytes(class));
}

void *al_je_fill_new(const je_heap *heap, void *block, size_t bytes) {
    if (heap->params.zero) return memset(block, 0, bytes);
    return heap->params.junk_new ? memset(block, JUNK_NEW, bytes) : block;
}

__attribute__((noinline)) static void *malloc_at_length(je_thread *thread, size_t bytes, unsigned class) {
    void *block = al_je_take(thread, bytes, class);
    if (block != NULL) al_je_count(thread, al_je_class_bytes(class), 0);
    return block;
}

void *al_je_malloc(al_thread *base, size_t bytes) {
    je_thread *thread = (je_thread *)base;
    const unsigned class = al_je_class_of(bytes);
    if (__builtin_expect(class < JE_CACHE_CLASSES, 1)) {
        je_stack *stack = &thread->stacks[class];
        void **top = stack->top;
        const size_t taken = thread->taken + stack->bytes;
        if (__builtin_expect(top != stack->low && taken < thread->taken_brief, 1)) {
            thread->taken = taken;
            stack->requests++;
            al_je_stack_move(stack, top + 1);
            return *top;
        }
    }
    return malloc_at_length(thread, bytes, class);
}

/* --- free --- */

void al_je_give_uncached(je_thread *thread, je_extent *extent, void *block) {
    if (!al_je_is_slab(extent)) {
        al_je_large_give(thread, extent);
        return;
    }
    je_arena *arena = extent->arena;
    al_lock_take(&arena->lock);
    je_extent *emptied = al_je_slabs_give(arena, extent, block);
    if (emptied != NULL) al_je_pages_give(arena, emptied);
    al_lock_drop(&arena->lock);
    al_je_tick(thread, arena, 1);
}

void al_je_give(je_thread *thread, void *block) {
    je_heap *heap = al_je_heap(thread);
    je_extent *extent = al_je_extent_of(heap, block);
    const unsigned class = extent->class;
    je_stack *stack = class < JE_CACHE_CLASSES ? &thread->stacks[class] : NULL;
    if (stack == NULL || stack->full == stack->bottom) {
        al_je_give_uncached(thread, extent, block);
        return;
    }
    if (stack->top == stack->full)
        al_je_cache_flush(thread, class, (unsigned)(stack->bottom - stack->full) >> al_je_flush_div(heap, class));
    void **top = stack->top - 1;
    *top = block;
    al_je_stack_move(stack, top);
}

__attribute__((noinline)) static void free_at_length(je_thread *thread, void *block, unsigned class) {
    al_check(class < JE_CLASSES, "jemalloc: what is freed is no block");
    const size_t bytes = al_je_class_bytes(class);
    if (al_je_heap(thread)->params.junk_freed) memset(block, JUNK_FREED, bytes);
    al_je_give(thread, block);
    al_je_count(thread, 0, bytes);
}

void al_je_free(al_thread *base, void *block) {
    je_thread *thread = (je_thread *)base;
    const unsigned class = al_page_word_class(al_je_word(&al_je_heap(thread)->map, (uintptr_t)block));
    if (__builtin_expect(class < JE_CACHE_CLASSES, 1)) {
        je_stack *stack = &thread->stacks[class];
        void **top = stack->top;
        const size_t given = thread->given + stack->bytes;
        if (__builtin_expect(top != stack->full && given < thread->given_brief, 1)) {
            thread->given = given;
            *--top = block;
            al_je_stack_move(stack, top);
            return;
        }
    }
    free_at_length(thread, block, class);
}

/* --- the rest --- */

static size_t usable_size(al_heap *heap, const void *block) {
    const unsigned class = al_page_word_class(al_je_word_or_none(&al_je_of(heap)->map, (uintptr_t)block));
    return class < JE_CLASSES ? al_je_class_bytes(class) : 0;
}

static bool resizes_to_zero(al_heap *heap) {
    const uint64_t way = heap->settings.values[JE_ZERO_REALLOC];
    const bool of_process = al_regions_base(heap->regions) == NULL;
    if (way == JE_ZERO_REALLOC_ABORT && of_process)
        al_die("Called realloc(non-null-ptr, 0) with zero_realloc:abort set");
    return way == JE_ZERO_REALLOC_ALLOC;
}

static bool trim(al_heap *base, size_t pad) {
    (void)pad;
    je_heap *heap = al_je_of(base);
    bool any = false;
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *arena = al_je_arena(heap, i);
        if (arena == NULL) continue;
        al_lock_take(&arena->lock);
        any = any || arena->dirty.pages + arena->muzzy.pages > 0;
        al_je_decay_now(arena, true);
        al_lock_drop(&arena->lock);
    }
    return any;
}

const al_allocator al_jemalloc = {
    .name = "jemalloc",
    .summary = "jemalloc 5.3.0: thread caches, size classes in slabs, extents by age, decay, arenas",
    .tunables = al_je_tunables,
    .tunable_count = JE_TUNABLES,
    .heap_bytes = sizeof(je_heap),
    .thread_bytes = sizeof(je_thread),
    .locks_itself = true,
    .aligns_all = true,
    .scattered_from = JE_LARGE_LEAST,
    .create = create,
    .thread_create = al_je_thread_create,
    .thread_exit = al_je_thread_exit,
    .malloc = al_je_malloc,
    .calloc = al_je_calloc,
    .memalign = al_je_memalign,
    .realloc = al_je_realloc,
    .free = al_je_free,
    .usable_size = usable_size,
    .resizes_to_zero = resizes_to_zero,
    .trim = trim,
    .walk = al_je_walk,
    .validate = al_je_validate,
    .fork = al_je_fork,
    .environment = al_je_environment,
    .ledger = al_je_ledger,
    .stats = al_je_stats,
    .control = al_je_control,
    .background = al_je_background,
    .report = al_je_report,
    .bins = al_je_bins,
    .explain = al_je_explain,
    .views = al_je_views,
    .view = al_je_view,
};
