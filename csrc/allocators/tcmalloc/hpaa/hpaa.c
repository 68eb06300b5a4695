#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/check.h"

/* --- creation --- */

static int create(al_heap *base) {
    hp_heap *heap = al_hp_of(base);
    al_check(al_regions_page_size(base->regions) == 4096, "alloclab: tcmalloc-hpaa is built for pages of 4096 bytes");
    al_hp_configure(heap);
    al_hp_classes_init(heap);
    al_hp_pages_init(heap);
    for (unsigned i = 0; i < heap->params.cpus; i++) {
        heap->cpus[i].number = (uint16_t)i;
        heap->cpus[i].budget = heap->params.cpu_budget;
    }
    return 0;
}

/* --- malloc --- */

__attribute__((noinline)) static void *malloc_at_length(hp_thread *thread, size_t bytes) {
    hp_heap *heap = al_hp_heap(thread);
    if (bytes > TC_SMALL_MOST) return al_hp_large_take(heap, bytes, TC_PAGE);
    return al_hp_small_take(thread, al_tc_class_of(&heap->base.classes, bytes));
}

void *al_hp_malloc(al_thread *base, size_t bytes) {
    hp_thread *thread = (hp_thread *)base;
    hp_cpu *cpu = thread->cpu;
    if (__builtin_expect(bytes <= TC_SMALL_MOST && cpu != NULL, 1)) {
        hp_stack *stack = &cpu->stacks[al_tc_class_of(&al_hp_heap(thread)->base.classes, bytes)];
        const bool locked = al_hp_enter(cpu);
        void *block = stack->used > 0 ? stack->slots[--stack->used] : NULL;
        al_hp_leave(cpu, locked);
        if (__builtin_expect(block != NULL, 1)) return block;
    }
    return malloc_at_length(thread, bytes);
}

/* --- free --- */

__attribute__((noinline)) static void free_at_length(hp_thread *thread, void *block, unsigned class) {
    if (class != 0)
        al_hp_small_give(thread, block, class);
    else
        al_hp_large_give(al_hp_heap(thread), block);
}

void al_hp_free(al_thread *base, void *block) {
    hp_thread *thread = (hp_thread *)base;
    hp_cpu *cpu = thread->cpu;
    const al_page_word word = al_pages_get_or_none(&al_hp_heap(thread)->base.map, al_tc_page_of(block));
    const unsigned class = al_page_word_class(word);
    if (__builtin_expect(class != 0 && cpu != NULL, 1)) {
        hp_stack *stack = &cpu->stacks[class];
        const bool locked = al_hp_enter(cpu);
        const bool room = stack->used < stack->capacity;
        if (__builtin_expect(room, 1)) stack->slots[stack->used++] = block;
        al_hp_leave(cpu, locked);
        if (__builtin_expect(room, 1)) return;
    }
    free_at_length(thread, block, class);
}

static bool trim(al_heap *base, size_t pad) {
    (void)pad;
    al_lock_take(&base->lock);
    const size_t released = al_hp_pages_release(al_hp_of(base), SIZE_MAX);
    al_lock_drop(&base->lock);
    return released > 0;
}

const al_allocator al_tcmalloc_hpaa = {
    .name = "tcmalloc-hpaa",
    .summary = "modern tcmalloc: caches per CPU, size classes in spans by occupancy, pages from the fullest hugepage",
    .tunables = al_hp_tunables,
    .tunable_count = HP_TUNABLES,
    .heap_bytes = sizeof(hp_heap),
    .thread_bytes = sizeof(hp_thread),
    .locks_itself = true,
    .create = create,
    .thread_create = al_hp_thread_create,
    .malloc = al_hp_malloc,
    .calloc = al_hp_calloc,
    .memalign = al_hp_memalign,
    .realloc = al_hp_realloc,
    .free = al_hp_free,
    .usable_size = al_hp_usable_size,
    .trim = trim,
    .walk = al_hp_walk,
    .validate = al_hp_validate,
    .fork = al_hp_fork,
    .ledger = al_hp_ledger,
    .stats = al_hp_stats,
    .control = al_hp_control,
    .background = al_hp_background,
    .mallinfo = al_hp_mallinfo,
    .report = al_hp_report,
    .bins = al_hp_bins,
    .explain = al_hp_explain,
    .views = al_hp_views,
    .view = al_hp_view,
};
