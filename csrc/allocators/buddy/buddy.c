#include "allocators/buddy/buddy.h"

#include <string.h>

static const al_tunable tunables[BUDDY_TUNABLES] = {
    [BUDDY_MIN_ORDER] = {.name = "min_order", .type = AL_TUNABLE_COUNT, .value = 5, .least = 4, .most = 12,
                         .help = "the smallest block has 2^min_order bytes"},
    [BUDDY_MAX_ORDER] = {.name = "max_order", .type = AL_TUNABLE_COUNT, .value = 20, .least = 16, .most = 30,
                         .help = "an arena has 2^max_order bytes; a request of more than half gets its own mapping"},
};

static int create(al_heap *heap) {
    buddy_heap *b = al_buddy_of(heap);
    al_larges_init(&b->larges, heap->regions, &heap->ledger);
    al_list_init(&b->arenas);
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) al_list_init(&b->free[order]);
    b->min_order = (unsigned)heap->settings.values[BUDDY_MIN_ORDER];
    b->max_order = (unsigned)heap->settings.values[BUDDY_MAX_ORDER];
    return 0;
}

static unsigned order_for(const buddy_heap *b, size_t bytes) {
    return bytes <= (size_t)1 << b->min_order ? b->min_order : al_log2_ceil(bytes);
}

static size_t offset_in(const buddy_arena *arena, const void *block) {
    return (size_t)((const char *)block - (const char *)arena);
}

static void book_live(buddy_heap *b, size_t bytes) {
    b->heap.ledger.free -= bytes;
    b->heap.ledger.usable += bytes;
}

/* pre: a free block of this order or a higher one exists. */
static void *take(buddy_heap *b, unsigned order) {
    unsigned from = (unsigned)__builtin_ctzll(b->nonempty >> order) + order;
    char *block = (char *)b->free[from].next;
    buddy_arena *arena = al_buddy_arena_of(b, block);
    size_t offset = offset_in(arena, block);
    al_buddy_unlink(b, arena, offset);
    for (; from > order; from--) al_buddy_put(b, arena, offset + ((size_t)1 << (from - 1)), from - 1);
    *al_buddy_mark(b, arena, offset) = (uint8_t)(order | BUDDY_LIVE);
    b->idle -= arena->live++ == 0;
    book_live(b, (size_t)1 << order);
    return block;
}

static void *allocate(buddy_heap *b, unsigned order, size_t alignment, size_t bytes) {
    if (order >= b->max_order) return al_large_map(&b->larges, al_max(alignment, al_buddy_arena_bytes(b)), bytes);
    if (b->nonempty >> order == 0 && !al_buddy_add_arena(b)) return NULL;
    return take(b, order);
}

static void *buddy_malloc(al_thread *thread, size_t bytes) {
    buddy_heap *b = al_buddy_of(thread->heap);
    return allocate(b, order_for(b, bytes), AL_MIN_ALIGNMENT, bytes);
}

/* A fresh mapping is zero; an arena's blocks may be used ones. */
static void *buddy_calloc(al_thread *thread, size_t bytes) {
    void *block = buddy_malloc(thread, bytes);
    if (block == NULL || al_buddy_is_large(al_buddy_of(thread->heap), block)) return block;
    return memset(block, 0, bytes);
}

static void *buddy_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    buddy_heap *b = al_buddy_of(thread->heap);
    return allocate(b, order_for(b, al_max(bytes, alignment)), alignment, bytes);
}

/* Merges with the buddy as long as that is free and whole. Nothing begins at offset 0, so it ends there at the
 * latest. */
static void give(buddy_heap *b, buddy_arena *arena, size_t offset, unsigned order) {
    for (;; order++) {
        size_t buddy = offset ^ (size_t)1 << order;
        if (*al_buddy_mark(b, arena, buddy) != (order | BUDDY_FREE)) break;
        al_buddy_unlink(b, arena, buddy);
        offset &= buddy;
    }
    al_buddy_put(b, arena, offset, order);
}

static void buddy_free(al_thread *thread, void *block) {
    buddy_heap *b = al_buddy_of(thread->heap);
    if (al_buddy_is_large(b, block)) {
        al_large_unmap(&b->larges, block);
        return;
    }
    buddy_arena *arena = al_buddy_arena_of(b, block);
    size_t offset = offset_in(arena, block);
    uint8_t *mark = al_buddy_mark(b, arena, offset);
    unsigned order = al_buddy_order(*mark);
    *mark = 0;
    b->heap.ledger.free += (size_t)1 << order;
    b->heap.ledger.usable -= (size_t)1 << order;
    give(b, arena, offset, order);
    if (--arena->live > 0) return;
    if (++b->idle > 1) al_buddy_drop_arena(b, arena);
}

static size_t buddy_usable_size(al_heap *heap, const void *block) {
    const buddy_heap *b = al_buddy_of(heap);
    if (al_buddy_is_large(b, block)) return al_tag_usable(al_tag_of(block));
    buddy_arena *arena = al_buddy_arena_of(b, block);
    return (size_t)1 << al_buddy_order(*al_buddy_mark(b, arena, offset_in(arena, block)));
}

/* --- realloc --- */

/* Up to `order` the block must be the lower buddy and the upper one free and whole. */
static bool can_grow(const buddy_heap *b, buddy_arena *arena, size_t offset, unsigned from, unsigned order) {
    for (; from < order; from++) {
        size_t half = (size_t)1 << from;
        if (offset & half || *al_buddy_mark(b, arena, offset + half) != (from | BUDDY_FREE)) return false;
    }
    return true;
}

static bool resize(buddy_heap *b, buddy_arena *arena, size_t offset, unsigned order) {
    uint8_t *mark = al_buddy_mark(b, arena, offset);
    unsigned old = al_buddy_order(*mark), at = old;
    if (order > old && (order >= b->max_order || !can_grow(b, arena, offset, old, order))) return false;
    for (; at < order; at++) al_buddy_unlink(b, arena, offset + ((size_t)1 << at));
    for (; at > order; at--) al_buddy_put(b, arena, offset + ((size_t)1 << (at - 1)), at - 1);
    *mark = (uint8_t)(order | BUDDY_LIVE);
    b->heap.ledger.usable += ((size_t)1 << order) - ((size_t)1 << old);
    b->heap.ledger.free -= ((size_t)1 << order) - ((size_t)1 << old);
    return true;
}

static void *buddy_realloc(al_thread *thread, void *block, size_t bytes) {
    buddy_heap *b = al_buddy_of(thread->heap);
    if (al_buddy_is_large(b, block)) {
        if (al_large_resize(&b->larges, block, bytes, false) != NULL) return block;
    } else {
        buddy_arena *arena = al_buddy_arena_of(b, block);
        if (resize(b, arena, offset_in(arena, block), order_for(b, bytes))) return block;
    }
    void *moved = buddy_malloc(thread, bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, al_min(buddy_usable_size(thread->heap, block), bytes));
    buddy_free(thread, block);
    return moved;
}

/* Pads with what stays: an idle arena is given back unless it is needed to keep `pad` free bytes. */
static bool buddy_trim(al_heap *heap, size_t pad) {
    buddy_heap *b = al_buddy_of(heap);
    bool any = al_large_sweep(&b->larges);
    size_t blocks = al_buddy_arena_bytes(b) - al_buddy_head(b);
    for (al_link *link = b->arenas.next, *next; link != &b->arenas; link = next) {
        next = link->next;
        buddy_arena *arena = al_container(link, buddy_arena, link);
        bool spare = heap->ledger.free >= blocks && heap->ledger.free - blocks >= pad;
        if (arena->live == 0 && spare) any |= al_buddy_drop_arena(b, arena);
    }
    return any;
}

const al_allocator al_buddy = {
    .name = "buddy",
    .summary = "the binary buddy system: powers of two, no headers",
    .tunables = tunables,
    .tunable_count = BUDDY_TUNABLES,
    .heap_bytes = sizeof(buddy_heap),
    .thread_bytes = sizeof(al_thread),
    .create = create,
    .malloc = buddy_malloc,
    .calloc = buddy_calloc,
    .memalign = buddy_memalign,
    .realloc = buddy_realloc,
    .free = buddy_free,
    .usable_size = buddy_usable_size,
    .trim = buddy_trim,
    .walk = al_buddy_walk,
    .validate = al_buddy_validate,
    .stats = al_buddy_stats,
    .bins = al_buddy_bins,
};
