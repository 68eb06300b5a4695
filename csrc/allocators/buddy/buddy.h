/* buddy: the binary buddy system (Knowlton 1965). Blocks of 2^k bytes, min_order <= k < max_order, without headers:
 *
 *     arena, 2^max_order bytes, aligned to that, one mapping
 *     | buddy_arena, map | block | block | ...                                   |
 *       0                  head
 *
 *     a block of order k lies at an offset that is a multiple of 2^k; its buddy at offset ^ 2^k
 *     map[offset >> min_order] = order | LIVE or FREE where a block begins, else 0
 *     no two buddies of one order are both free
 *     the free blocks of order k, of all arenas, are the list free[k]; bit k of nonempty = free[k] is not empty
 *
 * A block is naturally aligned, so memalign only chooses the order. The head of an arena is metadata; the rest is cut
 * into the largest blocks that alignment allows, the largest having order max_order - 1. What is larger gets a mapping
 * of its own (parts/large.h), aligned to 2^max_order: offset 0 is where no arena has a block, so an address tells
 * which it is.
 *
 * Every operation takes O(max_order - min_order); free lists are newest first. realloc shrinks in place by giving upper
 * halves back, and grows in place while the buddies above are free. Of the arenas that are wholly free one is kept, and
 * given back by trim. */
#ifndef AL_ALLOCATORS_BUDDY_BUDDY_H
#define AL_ALLOCATORS_BUDDY_BUDDY_H

#include "allocators/allocator.h"
#include "base/align.h"
#include "base/list.h"
#include "parts/large.h"

enum { BUDDY_ORDERS = 31, BUDDY_ORDER_MASK = 31, BUDDY_FREE = 64, BUDDY_LIVE = 128 };

typedef enum buddy_tunable { BUDDY_MIN_ORDER, BUDDY_MAX_ORDER, BUDDY_TUNABLES } buddy_tunable;

/* start and end are the arena's own, unless the system would not take back what had to be mapped for alignment. */
typedef struct buddy_arena {
    al_link link;
    char *start, *end;
    size_t live; /* blocks */
    uint8_t map[];
} buddy_arena;

typedef struct buddy_heap {
    al_heap heap;
    al_larges larges;
    al_link arenas;
    size_t arena_count;
    size_t idle; /* arenas without a live block */
    unsigned min_order, max_order;
    uint64_t nonempty;
    al_link free[BUDDY_ORDERS];
} buddy_heap;

static inline buddy_heap *al_buddy_of(al_heap *heap) { return (buddy_heap *)heap; }

static inline size_t al_buddy_arena_bytes(const buddy_heap *b) { return (size_t)1 << b->max_order; }

static inline bool al_buddy_is_large(const buddy_heap *b, const void *block) {
    return al_is_aligned((uintptr_t)block, al_buddy_arena_bytes(b));
}

static inline buddy_arena *al_buddy_arena_of(const buddy_heap *b, const void *block) {
    return (buddy_arena *)al_align_down((uintptr_t)block, al_buddy_arena_bytes(b));
}

/* Where the blocks begin. */
static inline size_t al_buddy_head(const buddy_heap *b) {
    size_t map = (size_t)1 << (b->max_order - b->min_order);
    return al_align_up(sizeof(buddy_arena) + map, (size_t)1 << b->min_order);
}

static inline uint8_t *al_buddy_mark(const buddy_heap *b, buddy_arena *arena, size_t offset) {
    return &arena->map[offset >> b->min_order];
}

static inline unsigned al_buddy_order(uint8_t mark) { return mark & BUDDY_ORDER_MASK; }


/* --- arena.c: the free lists, arenas come and go; ledger done --- */

void al_buddy_put(buddy_heap *b, buddy_arena *arena, size_t offset, unsigned order);
void al_buddy_unlink(buddy_heap *b, buddy_arena *arena, size_t offset);
bool al_buddy_add_arena(buddy_heap *b);
/* Gives an idle arena back; false if the system refuses. */
bool al_buddy_drop_arena(buddy_heap *b, buddy_arena *arena);

/* --- inspect.c --- */

void al_buddy_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_buddy_validate(al_heap *heap, al_flaw *flaw);
size_t al_buddy_stats(al_heap *heap, al_stat *out, size_t room);
void al_buddy_bins(al_heap *heap, al_bin_fn *visit, void *context);

#endif
