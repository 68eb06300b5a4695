/* The free lists, and arenas that come and go. */
#include "allocators/buddy/buddy.h"
#include "parts/mapping.h"

void al_buddy_put(buddy_heap *b, buddy_arena *arena, size_t offset, unsigned order) {
    al_list_insert_after(&b->free[order], (al_link *)((char *)arena + offset));
    b->nonempty |= UINT64_C(1) << order;
    *al_buddy_mark(b, arena, offset) = (uint8_t)(order | BUDDY_FREE);
}

void al_buddy_unlink(buddy_heap *b, buddy_arena *arena, size_t offset) {
    uint8_t *mark = al_buddy_mark(b, arena, offset);
    unsigned order = al_buddy_order(*mark);
    *mark = 0;
    al_list_remove((al_link *)((char *)arena + offset));
    if (al_list_empty(&b->free[order])) b->nonempty &= ~(UINT64_C(1) << order);
}

/* Everything above the head, in the largest blocks: highest first, so that the lists give low addresses first. */
static void put_all(buddy_heap *b, buddy_arena *arena) {
    size_t end = al_buddy_arena_bytes(b), head = al_buddy_head(b);
    while (end > head) {
        unsigned order = al_log2_floor(end - head);
        while (!al_is_aligned(end, (size_t)1 << order)) order--;
        end -= (size_t)1 << order;
        al_buddy_put(b, arena, end, order);
    }
}

static void unlink_all(buddy_heap *b, buddy_arena *arena) {
    for (size_t at = al_buddy_head(b); at < al_buddy_arena_bytes(b);) {
        size_t bytes = (size_t)1 << al_buddy_order(*al_buddy_mark(b, arena, at));
        al_buddy_unlink(b, arena, at);
        at += bytes;
    }
}

bool al_buddy_add_arena(buddy_heap *b) {
    size_t bytes = al_buddy_arena_bytes(b);
    char *start, *end;
    buddy_arena *arena = (buddy_arena *)al_map_aligned(b->heap.regions, bytes, 0, bytes, &start, &end);
    if (arena == NULL) return false;
    arena->start = start;
    arena->end = end;
    al_list_insert_before(&b->arenas, &arena->link);
    b->arena_count++;
    b->idle++;
    put_all(b, arena);
    size_t blocks = bytes - al_buddy_head(b);
    b->heap.ledger.free += blocks;
    b->heap.ledger.metadata += (size_t)(end - start) - blocks;
    return true;
}

bool al_buddy_drop_arena(buddy_heap *b, buddy_arena *arena) {
    size_t whole = (size_t)(arena->end - arena->start), blocks = al_buddy_arena_bytes(b) - al_buddy_head(b);
    unlink_all(b, arena);
    al_list_remove(&arena->link);
    if (al_regions_munmap(b->heap.regions, arena->start, whole) != 0) {
        al_list_insert_before(&b->arenas, &arena->link);
        put_all(b, arena);
        return false;
    }
    b->arena_count--;
    b->idle--;
    b->heap.ledger.free -= blocks;
    b->heap.ledger.metadata -= whole - blocks;
    return true;
}
