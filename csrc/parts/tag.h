/* Boundary tags (Knuth 1962). A chunk is a head word and the block it offers; a free chunk repeats its size in its last
 * word, so that its upper neighbour can find it:
 *
 *     chunk                                       chunk + size, the next chunk
 *     | head |  block ...                 (foot) | head | ...
 *       8       size - 8 bytes
 *
 *     chunk = 8,  block = chunk + 8 = 0,  size = 0   (mod 16)
 *     head  = size | flags,   foot = size, only where not LIVE
 *     next(chunk).PREV_FREE = not chunk.LIVE
 *
 * The last piece of a segment, top or fence, is the one whose size is 8 (mod 16). */
#ifndef AL_PARTS_TAG_H
#define AL_PARTS_TAG_H

#include "base/align.h"

typedef struct al_tag {
    size_t head;
} al_tag;

enum {
    AL_TAG_LIVE = 1,      /* handed out, or a fence */
    AL_TAG_PREV_FREE = 2, /* the lower neighbour is free, its foot valid */
    AL_TAG_MAPPED = 4,    /* a block with a mapping of its own: parts/large.h */
    AL_TAG_FLAGS = 7,
    AL_TAG_BYTES = sizeof(al_tag),
    AL_TAG_GRAIN = 16
};

static inline size_t al_tag_size(const al_tag *chunk) { return chunk->head & ~(size_t)AL_TAG_FLAGS; }
static inline size_t al_tag_usable(const al_tag *chunk) { return al_tag_size(chunk) - AL_TAG_BYTES; }
static inline bool al_tag_live(const al_tag *chunk) { return chunk->head & AL_TAG_LIVE; }
static inline bool al_tag_prev_free(const al_tag *chunk) { return chunk->head & AL_TAG_PREV_FREE; }
static inline bool al_tag_last(const al_tag *chunk) { return chunk->head & 8; }

static inline al_tag *al_tag_at(const al_tag *chunk, size_t offset) { return (al_tag *)((char *)chunk + offset); }
static inline al_tag *al_tag_next(const al_tag *chunk) { return al_tag_at(chunk, al_tag_size(chunk)); }
static inline al_tag *al_tag_prev(const al_tag *chunk) { return (al_tag *)((char *)chunk - chunk[-1].head); }

static inline al_tag *al_tag_of(const void *block) { return (al_tag *)block - 1; }
static inline void *al_tag_block(const al_tag *chunk) { return (void *)(chunk + 1); }

static inline void al_tag_resize(al_tag *chunk, size_t size) { chunk->head = size | (chunk->head & AL_TAG_FLAGS); }

/* The size of a chunk that offers `bytes`, bytes <= PTRDIFF_MAX. */
static inline size_t al_tag_need(size_t bytes, size_t least) {
    return al_max(al_align_up(bytes + AL_TAG_BYTES, AL_TAG_GRAIN), least);
}

#endif
