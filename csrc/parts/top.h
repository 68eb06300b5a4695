/* The break heap of boundary-tag allocators: segments got by moving the program break, and the top, the free piece at
 * the end of the newest one, from which new chunks are cut.
 *
 *     segment                                                     newest->end
 *     | al_segment | chunk | chunk | ...                  | top   |
 *       24 bytes                                            >= 24, = 8 (mod 16)
 *
 * There is one segment, which ends at the break, unless somebody else moved that, or it was refused, as something may
 * lie right above it. Then the old top gives what it can as a chunk, what is left becomes a fence, and a new segment
 * begins: above the stranger's bytes, or in a mapping, where no reach forbids it. What comes after a mapping is asked
 * of the break again. Segments begin and end at pages. The ledger counts segment heads and fences as metadata, the top
 * as free. */
#ifndef AL_PARTS_TOP_H
#define AL_PARTS_TOP_H

#include "parts/tag.h"
#include "parts/walk.h"
#include "region/ledger.h"
#include "region/region.h"

typedef struct al_segment {
    struct al_segment *next; /* by address */
    uintptr_t end;
    size_t unused; /* the first chunk is 8 (mod 16) */
} al_segment;

typedef struct al_top {
    al_regions *regions;
    al_ledger *ledger;
    size_t reach; /* no segment ends further than this from where the first begins. SIZE_MAX: anywhere */
    al_segment *first, *newest; /* NULL before the first growth */
    al_tag *top;                /* NULL likewise */
    uintptr_t break_end;        /* of the last segment got by the break; 0: there is none */
} al_top;

enum { AL_TOP_LEAST = 24, AL_TOP_MAPPING = 1 << 20 /* the least for a segment in a mapping */ };

static inline void al_top_init(al_top *t, al_regions *regions, al_ledger *ledger, size_t reach) {
    *t = (al_top){.regions = regions, .ledger = ledger, .reach = reach};
}

/* Whether the top lies in a mapping: it cannot grow there. */
static inline bool al_top_mapped(const al_top *t) { return t->top != NULL && t->newest->end != t->break_end; }

/* What the top can give and remain a top. */
static inline size_t al_top_room(const al_top *t) { return t->top == NULL ? 0 : al_tag_size(t->top) - AL_TOP_LEAST; }

static inline al_tag *al_segment_chunks(const al_segment *s) { return (al_tag *)(s + 1); }

/* Cuts a live chunk off the bottom of the top. pre: size <= al_top_room. The ledger is the caller's. */
static inline al_tag *al_top_cut(al_top *t, size_t size) {
    al_tag *chunk = t->top;
    size_t rest = al_tag_size(chunk) - size;
    chunk->head = size | AL_TAG_LIVE | (chunk->head & AL_TAG_PREV_FREE);
    t->top = al_tag_at(chunk, size);
    t->top->head = rest;
    return chunk;
}

/* Moves the break, or maps, so that al_top_room >= size, by `pad` more if the system lets it. Returns 0 or an errno
 * value. Where a new segment had to begin, *orphan is what the old top left, a chunk of at least `least` bytes that is
 * not LIVE, is counted as free and is the caller's to keep; else NULL. */
int al_top_grow(al_top *t, size_t size, size_t pad, size_t least, al_tag **orphan);

/* Gives whole pages of the top back, but `pad` bytes of room; false if there is less than a page, or the system
 * refuses. */
bool al_top_trim(al_top *t, size_t pad);

/* Every piece of the segments, in address order; false if the visitor stopped it. */
bool al_top_walk(const al_top *t, al_walk_fn *visit, void *context);

#endif
