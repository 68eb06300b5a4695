/* Every free byte where it is kept, in the order in which it is chosen: blocks in threads' caches, the newest first;
 * regions of each class, the lowest of the current slab first, then of the oldest; extents of each set and queue, the
 * oldest first; at last what belongs to no arena any more. */
#include "allocators/jemalloc/inspect.h"

typedef struct viewer {
    const je_look *look;
    al_bin_fn *visit;
    void *context;
} viewer;

static bool show(const viewer *v, al_binned entry) { return v->visit(v->context, &entry); }

/* --- caches --- */

static bool show_stack(const viewer *v, const je_thread *thread, unsigned class) {
    const je_stack *stack = &thread->stacks[class];
    size_t bytes = al_je_class_bytes(class);
    bool more = true;
    if (!al_je_stack_sound(v->look->heap, thread, class)) return true;
    for (void **at = stack->top; more && at < stack->bottom; at++)
        more = show(v, (al_binned){"tcache", thread->thread.id, class, bytes, bytes, (uintptr_t)*at, bytes});
    return more;
}

static bool show_caches(const viewer *v) {
    for (const je_thread *thread = v->look->heap->threads; thread != NULL; thread = thread->next)
        for (unsigned class = 0; class < JE_CACHE_CLASSES; class++)
            if (!show_stack(v, thread, class)) return false;
    return true;
}

/* --- slabs --- */

static bool show_slab(const viewer *v, const je_arena *arena, const je_extent *slab) {
    const je_slab_layout *layout = al_je_layout(v->look->heap, slab);
    size_t bytes = layout->bytes, i = 0;
    for (; (i = al_bitmap_next(slab->free, layout->regions, i)) < layout->regions; i++) {
        uintptr_t at = al_je_region(v->look->heap, slab, (unsigned)i);
        if (!show(v, (al_binned){"slab", arena->number, slab->class, bytes, bytes, at, bytes})) return false;
    }
    return true;
}

static bool belongs(const viewer *v, const je_extent *slab, unsigned class) {
    return al_je_extent_known(v->look->heap, slab) && al_je_is_active_slab(slab) && slab->class == class;
}

/* The members of a queue in the order in which they are chosen. */
static bool show_queue(const viewer *v, const je_queue *queue, const je_arena *arena, unsigned number,
                       bool (*show_one)(const viewer *, const je_arena *, const je_extent *, unsigned number)) {
    al_finds members;
    bool more = true;
    al_finds_open(&members, v->look->heap->heap.regions);
    for (je_member m = {0}; al_je_queued_next(v->look->heap, queue, &m);)
        al_finds_add(&members, m.extent->serial, m.extent->address, m.extent);
    al_finds_sort(&members);
    for (size_t i = 0; i < members.count && more; i++) more = show_one(v, arena, members.all[i].what, number);
    al_finds_close(&members);
    return more;
}

static bool show_partial(const viewer *v, const je_arena *arena, const je_extent *slab, unsigned class) {
    return !belongs(v, slab, class) || show_slab(v, arena, slab);
}

static bool show_shard(const viewer *v, const je_arena *arena, const je_shard *shard, unsigned class) {
    return (shard->current == NULL || show_partial(v, arena, shard->current, class)) &&
           (shard->partial.root == NULL || show_queue(v, &shard->partial, arena, class, show_partial));
}

static bool show_slabs(const viewer *v, je_arena *arena) {
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++)
        for (unsigned i = 0; i < al_je_shards(v->look->heap, class); i++)
            if (!show_shard(v, arena, al_je_shard(v->look->heap, arena, class, i), class)) return false;
    return true;
}

/* --- extents --- */

static bool show_extent(const viewer *v, const je_arena *arena, const je_extent *extent, unsigned queue) {
    if (extent->state == JE_ACTIVE) return true;
    const al_binned entry = {
        .kind = al_je_state_name(extent->state),
        .owner = arena->number,
        .index = queue,
        .least = al_je_queue_least(queue),
        .most = al_je_queue_most(queue),
        .address = extent->address,
        .bytes = extent->bytes,
    };
    return show(v, entry);
}

static bool show_sets(const viewer *v, je_arena *arena) {
    for (je_state state = JE_DIRTY; state <= JE_RETAINED; state++) {
        const je_extents *set = al_je_extents_of(arena, state);
        for (unsigned i = 0; i < JE_PAGE_CLASSES; i++)
            if (set->queues[i].root != NULL && !show_queue(v, &set->queues[i], arena, i, show_extent)) return false;
    }
    return true;
}

static void show_lost(const viewer *v) {
    je_stretch s;
    bool more = true;
    for (uintptr_t at = 0; more && al_je_stretch_after(v->look, at, &s); at = s.end)
        if (s.kind == JE_LOST) more = show(v, (al_binned){"lost", 0, 0, 0, SIZE_MAX, s.start, s.end - s.start});
}

void al_je_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    je_look look;
    const viewer v = {&look, visit, context};
    al_je_look_open(&look, al_je_of(heap));
    bool more = show_caches(&v);
    je_arena *arena;
    for (unsigned i = 0; more && (arena = al_je_arena_from(look.heap, &i)) != NULL; i++)
        more = show_slabs(&v, arena) && show_sets(&v, arena);
    if (more) show_lost(&v);
    al_je_look_close(&look);
}
