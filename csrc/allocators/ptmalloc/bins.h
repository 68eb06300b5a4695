/* Bins, as far as they are small functions. See bins.c for the order within them. */
#ifndef AL_ALLOCATORS_PTMALLOC_BINS_H
#define AL_ALLOCATORS_PTMALLOC_BINS_H

#include "allocators/ptmalloc/ptmalloc.h"
#include "base/check.h"

/* Small bins hold one size each. Large ones share out what is above in steps of 64 bytes, 512, 4 KiB, 32 KiB and
 * 256 KiB; that 120 takes the end of one row of steps and the beginning of the next is glibc's doing. */
static inline size_t al_pt_bin_of(size_t size) {
    if (size < PT_SMALL_END) return size / PT_GRAIN;
    if (size >> 6 <= 48) return 48 + (size >> 6);
    if (size >> 9 <= 20) return 91 + (size >> 9);
    if (size >> 12 <= 10) return 110 + (size >> 12);
    if (size >> 15 <= 4) return 119 + (size >> 15);
    if (size >> 18 <= 2) return 124 + (size >> 18);
    return 126;
}

/* A bin's head is a chunk of which only fd and bk exist: so chunks need not know whether their neighbour is one. */
static inline pt_chunk *al_pt_bin(pt_arena *arena, size_t index) {
    return (pt_chunk *)((char *)&arena->bins[2 * index] - offsetof(pt_chunk, fd));
}

static inline size_t al_pt_fast_bin(size_t size) { return size / PT_GRAIN - 2; }
static inline size_t al_pt_cache_list(size_t size) { return (size - PT_LEAST) / PT_GRAIN; }

static inline void al_pt_insert_between(pt_chunk *bk, pt_chunk *chunk, pt_chunk *fd) {
    chunk->bk = bk;
    chunk->fd = fd;
    bk->fd = fd->bk = chunk;
}

/* A free chunk, head and foot set by the caller, becomes the newest unsorted one. flaw: what to say of a damaged list;
 * NULL: it is not looked at. */
static inline void al_pt_push_unsorted(pt_arena *arena, pt_chunk *chunk, size_t size, const char *flaw) {
    pt_chunk *unsorted = al_pt_bin(arena, PT_UNSORTED), *newest = unsorted->fd;
    al_check(newest->bk == unsorted || flaw == NULL, flaw);
    al_pt_insert_between(unsorted, chunk, newest);
    if (size >= PT_SMALL_END) chunk->fd_size = chunk->bk_size = NULL;
}

/* What the arena has handed out. */
static inline void al_pt_book_taken(pt_arena *arena, size_t size) {
    arena->taken_bytes += size;
    arena->taken_chunks++;
}
static inline void al_pt_book_given(pt_arena *arena, size_t size) {
    arena->taken_bytes -= size;
    arena->taken_chunks--;
}

static inline size_t al_pt_arena_flag(const pt_arena *arena) { return al_pt_is_main(arena) ? 0 : PT_NON_MAIN; }

/* Whether the head can be that of a chunk of the arena, as glibc looks at it before it relies on one. */
static inline bool al_pt_plausible(const pt_arena *arena, const pt_chunk *chunk) {
    return chunk->head > PT_HEADER && al_pt_size(chunk) < arena->system_mem;
}

/* A chunk of that size off the lower end of the top; NULL: the rest would be no top. The books are the caller's. */
static inline pt_chunk *al_pt_cut_top(pt_arena *arena, size_t need) {
    pt_chunk *chunk = arena->top;
    size_t size = al_pt_size(chunk);
    if (size < need + PT_LEAST) return NULL;
    al_pt_set_head(chunk, need | PT_PREV_INUSE | al_pt_arena_flag(arena));
    arena->top = al_pt_at(chunk, need);
    al_pt_set_head(arena->top, (size - need) | PT_PREV_INUSE);
    return chunk;
}

#endif
