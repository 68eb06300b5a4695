/* Looking inside: walk, validate, stats. */
#include "allocators/buddy/buddy.h"
#include "parts/mapping.h"

#include <string.h>

static bool visit_metadata(const char *from, const char *to, al_walk_fn *visit, void *context) {
    al_chunk piece = {.address = (uintptr_t)from, .bytes = (size_t)(to - from), .state = AL_STATE_METADATA};
    return from == to || visit(context, &piece);
}

static bool walk_arena(const buddy_heap *b, buddy_arena *arena, al_walk_fn *visit, void *context) {
    char *base = (char *)arena;
    if (!visit_metadata(arena->start, base + al_buddy_head(b), visit, context)) return false;
    for (size_t at = al_buddy_head(b); at < al_buddy_arena_bytes(b);) {
        uint8_t mark = *al_buddy_mark(b, arena, at);
        size_t bytes = (size_t)1 << al_buddy_order(mark);
        al_chunk piece = {.address = (uintptr_t)base + at, .bytes = bytes, .state = AL_STATE_FREE};
        if (mark & BUDDY_LIVE) {
            piece.state = AL_STATE_LIVE;
            piece.block = piece.address;
            piece.usable = bytes;
        }
        if (!visit(context, &piece)) return false;
        at += bytes;
    }
    return visit_metadata(base + al_buddy_arena_bytes(b), arena->end, visit, context);
}

void al_buddy_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    buddy_heap *b = al_buddy_of(heap);
    const al_link *large = al_large_first(&b->larges);
    al_list_sort(&b->arenas, b->arena_count);
    for (al_link *link = b->arenas.next; link != &b->arenas; link = link->next) {
        buddy_arena *arena = al_container(link, buddy_arena, link);
        if (!al_large_walk(&b->larges, &large, (uintptr_t)arena, visit, context)) return;
        if (!walk_arena(b, arena, visit, context)) return;
    }
    al_large_walk(&b->larges, &large, UINTPTR_MAX, visit, context);
}

typedef struct census {
    size_t free[BUDDY_ORDERS], idle, arenas;
} census;

static bool all_zero(const uint8_t *bytes, size_t count) {
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* Marks are right, blocks lie at multiples of their size, buddies are not both free, live blocks are counted. */
static bool check_arena(const buddy_heap *b, buddy_arena *arena, census *c, al_flaw *flaw) {
    size_t live = 0, end = al_buddy_arena_bytes(b);
    for (size_t at = al_buddy_head(b), bytes; at < end; at += bytes) {
        const char *block = (char *)arena + at;
        uint8_t mark = *al_buddy_mark(b, arena, at);
        unsigned order = al_buddy_order(mark);
        bytes = (size_t)1 << order;
        if (mark != (order | BUDDY_FREE) && mark != (order | BUDDY_LIVE))
            return al_blame(flaw, block, "buddy: a wrong mark");
        if (order < b->min_order || order >= b->max_order || !al_is_aligned(at, bytes))
            return al_blame(flaw, block, "buddy: a block at an offset that is no multiple of its size");
        if (!all_zero(al_buddy_mark(b, arena, at) + 1, (bytes >> b->min_order) - 1))
            return al_blame(flaw, block, "buddy: a mark inside a block");
        if (mark & BUDDY_FREE && *al_buddy_mark(b, arena, at ^ bytes) == mark)
            return al_blame(flaw, block, "buddy: two free buddies");
        live += (mark & BUDDY_LIVE) != 0;
        c->free[order] += (mark & BUDDY_FREE) != 0;
    }
    c->idle += live == 0;
    return live == arena->live || al_blame(flaw, arena, "buddy: the count of live blocks is wrong");
}

/* Every link leads to a free block of that order; with the number right, all are there. */
static bool check_list(const buddy_heap *b, unsigned order, size_t expected, al_flaw *flaw) {
    size_t count = 0;
    for (const al_link *link = b->free[order].next; link != &b->free[order]; link = link->next) {
        buddy_arena *arena = al_buddy_arena_of(b, link);
        if (link->next->prev != link || link->prev->next != link)
            return al_blame(flaw, link, "buddy: links not symmetric");
        if (*al_buddy_mark(b, arena, (size_t)((char *)link - (char *)arena)) != (order | BUDDY_FREE))
            return al_blame(flaw, link, "buddy: a list holds a block that is not free, or of another order");
        if (++count > expected) return al_blame(flaw, link, "buddy: a list is longer than there are blocks");
    }
    if (count != expected) return al_blame(flaw, &b->free[order], "buddy: a free block is in no list");
    bool bit = b->nonempty >> order & 1;
    return bit == (count > 0) || al_blame(flaw, &b->free[order], "buddy: the bit of a list is wrong");
}

bool al_buddy_validate(al_heap *heap, al_flaw *flaw) {
    const buddy_heap *b = al_buddy_of(heap);
    census c = {0};
    if (!al_large_validate(&b->larges, flaw)) return false;
    for (const al_link *link = b->arenas.next; link != &b->arenas; link = link->next, c.arenas++)
        if (!check_arena(b, al_container(link, buddy_arena, link), &c, flaw)) return false;
    if (c.arenas != b->arena_count || c.idle != b->idle) return al_blame(flaw, NULL, "buddy: arenas miscounted");
    for (unsigned order = 0; order < BUDDY_ORDERS; order++)
        if (!check_list(b, order, c.free[order], flaw)) return false;
    return true;
}

size_t al_buddy_stats(al_heap *heap, al_stat *out, size_t room) {
    const buddy_heap *b = al_buddy_of(heap);
    const al_stat all[] = {
        {"arenas", b->arena_count},
        {"idle_arenas", b->idle},
        {"mapped_blocks", b->larges.count - b->larges.dead},
        {"largest_free_order", b->nonempty == 0 ? 0 : al_log2_floor(b->nonempty)},
    };
    const size_t known = sizeof all / sizeof *all;
    memcpy(out, all, al_min(room, known) * sizeof *all);
    return known;
}

void al_buddy_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    const buddy_heap *b = al_buddy_of(heap);
    for (uint32_t order = 0; order < BUDDY_ORDERS; order++)
        for (const al_link *link = b->free[order].next; link != &b->free[order]; link = link->next) {
            const size_t bytes = (size_t)1 << order;
            const al_binned entry = {"order", 0, order, bytes, bytes, (uintptr_t)link, bytes};
            if (!visit(context, &entry)) return;
        }
}
