/* Chunks of ptmalloc: boundary tags that lend their last word.
 *
 *     in use                                     free
 *     chunk ->  | prev_size            |         | prev_size            |  the chunk's below, if that is free;
 *               | size          |N|M|P |         | size          |.|.|P |  else the last word of its block
 *     block ->  | user bytes ...       |         | fd                   |
 *               |                      |         | bk                   |
 *               |                      |         | fd_size    bk_size   |  large ones only
 *               |                      |         |                      |
 *     next  ->  | user bytes           |         | size, again          |  = next.prev_size
 *               | size          |N|M|1 |         | size          |N|M|0 |
 *
 *     P  the chunk below is in use (or looks so: those in fastbins and thread caches do)
 *     M  a mapping of its own: prev_size is then the chunk's offset in it, and P and N are clear
 *     N  it belongs to another arena than the main one; what is free does not say
 *
 *     chunk = size = 0 (mod 16),   size >= 32,   block = chunk + 16
 *     usable = size - 8;  size - 16 where M, as nothing follows */
#ifndef AL_ALLOCATORS_PTMALLOC_CHUNK_H
#define AL_ALLOCATORS_PTMALLOC_CHUNK_H

#include "base/align.h"

typedef struct pt_chunk {
    size_t prev_size;
    size_t head;
    struct pt_chunk *fd, *bk;           /* in its bin */
    struct pt_chunk *fd_size, *bk_size; /* large: the next smaller and next larger size in the bin, around; or NULL */
} pt_chunk;

enum {
    PT_PREV_INUSE = 1,
    PT_MAPPED = 2,
    PT_NON_MAIN = 4,
    PT_FLAGS = 7,
    PT_WORD = sizeof(size_t),
    PT_HEADER = 2 * sizeof(size_t),
    PT_GRAIN = 16,
    PT_LEAST = 32
};

/* Whoever owns a chunk may look at its head without a lock, while another thread, in its arena, changes P. */
static inline size_t al_pt_head(const pt_chunk *chunk) { return __atomic_load_n(&chunk->head, __ATOMIC_RELAXED); }
static inline void al_pt_set_head(pt_chunk *chunk, size_t head) {
    __atomic_store_n(&chunk->head, head, __ATOMIC_RELAXED);
}

static inline size_t al_pt_size(const pt_chunk *chunk) { return al_pt_head(chunk) & ~(size_t)PT_FLAGS; }
static inline bool al_pt_mapped(const pt_chunk *chunk) { return al_pt_head(chunk) & PT_MAPPED; }
static inline bool al_pt_prev_inuse(const pt_chunk *chunk) { return al_pt_head(chunk) & PT_PREV_INUSE; }
static inline void al_pt_set_prev_inuse(pt_chunk *chunk, bool inuse) {
    al_pt_set_head(chunk, (al_pt_head(chunk) & ~(size_t)PT_PREV_INUSE) | (inuse ? PT_PREV_INUSE : 0));
}

static inline pt_chunk *al_pt_at(const pt_chunk *chunk, size_t offset) { return (pt_chunk *)((char *)chunk + offset); }
static inline pt_chunk *al_pt_next(const pt_chunk *chunk) { return al_pt_at(chunk, al_pt_size(chunk)); }
/* pre: not P */
static inline pt_chunk *al_pt_below(const pt_chunk *chunk) {
    return (pt_chunk *)((char *)chunk - chunk->prev_size);
}

static inline pt_chunk *al_pt_chunk(const void *block) { return (pt_chunk *)((char *)block - PT_HEADER); }
static inline void *al_pt_block(const pt_chunk *chunk) { return (char *)chunk + PT_HEADER; }

/* Whether `chunk` is in use, by the flag of the one at `offset`, which follows it. */
static inline bool al_pt_inuse_at(const pt_chunk *chunk, size_t offset) {
    return al_pt_prev_inuse(al_pt_at(chunk, offset));
}
static inline bool al_pt_inuse(const pt_chunk *chunk) { return al_pt_inuse_at(chunk, al_pt_size(chunk)); }

static inline void al_pt_set_size(pt_chunk *chunk, size_t size) {
    al_pt_set_head(chunk, size | (al_pt_head(chunk) & PT_FLAGS));
}
/* A free chunk says its size at its end, too. */
static inline void al_pt_set_foot(pt_chunk *chunk, size_t size) { al_pt_at(chunk, size)->prev_size = size; }

static inline size_t al_pt_usable(const pt_chunk *chunk) {
    return al_pt_size(chunk) - (al_pt_mapped(chunk) ? PT_HEADER : PT_WORD);
}

/* The size of a chunk that offers `bytes` <= PTRDIFF_MAX. */
static inline size_t al_pt_need(size_t bytes) {
    return al_max((bytes + PT_WORD + PT_GRAIN - 1) & ~(size_t)(PT_GRAIN - 1), PT_LEAST);
}

/* Safe linking: the links of singly linked lists are stored xor the page number of where they lie, so that an
 * overwritten one shows as misaligned. Its own inverse. */
static inline void *al_pt_protect(const void *field, const void *link) {
    return (void *)(((uintptr_t)field >> 12) ^ (uintptr_t)link);
}

#endif
