/* Ways through a heap at rest, for whoever looks inside: its stretches of memory in address order, what threads keep,
 * the sets of free extents and the queues. No pointer is followed, and no size believed, before it is known to lead to
 * mapped memory and to what must be there; only the list of threads and the table of arenas are trusted. */
#ifndef AL_ALLOCATORS_JEMALLOC_INSPECT_H
#define AL_ALLOCATORS_JEMALLOC_INSPECT_H

#include "allocators/jemalloc/jemalloc.h"
#include "parts/finds.h"

/* --- look.c --- */

/* No thread moves in an arena from open to close; what threads do with their own caches has no lock, so they must be
 * at rest. */
typedef struct je_look {
    je_heap *heap;
    al_finds blocks; /* of metadata: key = start, next = end, what = the arena */
    al_finds kept;   /* what threads keep: key = the block, what = the thread, next = its class, or JE_SLOTS */
} je_look;

enum {
    JE_SLOTS = JE_CLASSES, /* kept: the memory of a thread's stacks itself */
    JE_BLOCKS_MOST = 1000  /* of a base, each larger than the one before; more go around */
};

/* Gathers blocks and what is kept, as far as they make sense. */
void al_je_look_open(je_look *look, je_heap *heap);
void al_je_look_close(je_look *look);

static inline bool al_je_readable(const je_heap *heap, const void *at, size_t bytes, size_t alignment) {
    return al_readable(heap->heap.regions, at, bytes, alignment);
}

/* The first arena whose number is at least *number, which is set to it; NULL: there is none. */
je_arena *al_je_arena_from(const je_heap *heap, unsigned *number);
bool al_je_arena_known(const je_heap *heap, const je_arena *arena);
/* Whether a block of metadata is one, with its mapping. */
bool al_je_block_sound(const je_heap *heap, const je_block *block);
/* Whether the four pointers are in order, and within the thread's memory for them. */
bool al_je_stack_sound(const je_heap *heap, const je_thread *thread, unsigned class);

/* The word of any address; 0 where there is none. */
al_page_word al_je_word_at(const je_heap *heap, uintptr_t address);
/* The extent that begins there and ends by `end`, if all that leads to it and its own sizes are sound; else NULL. */
je_extent *al_je_extent_at(const je_heap *heap, uintptr_t address, uintptr_t end);
/* Whether it is the record of the extent that begins where it says. */
bool al_je_extent_known(const je_heap *heap, const je_extent *extent);

typedef enum je_stretch_kind {
    JE_METADATA, /* a block of a base */
    JE_EXTENT,
    JE_LOST,     /* of no extent: the system would not take it back, or there was no memory for a record */
    JE_STRANGE   /* damaged: the map leads to no sound extent here */
} je_stretch_kind;

typedef struct je_stretch {
    je_stretch_kind kind;
    uintptr_t start, end;
    je_arena *arena;     /* of blocks and extents */
    je_extent *extent;
} je_stretch;

/* The first one from `at` on, which is where another ends, or 0; false: there is none. */
bool al_je_stretch_after(const je_look *look, uintptr_t at, je_stretch *out);

static inline const je_slab_layout *al_je_layout(const je_heap *heap, const je_extent *slab) {
    return &heap->layouts[slab->class];
}
static inline bool al_je_is_active_slab(const je_extent *extent) {
    return extent->state == JE_ACTIVE && al_je_is_slab(extent);
}
static inline uintptr_t al_je_region(const je_heap *heap, const je_extent *slab, unsigned region) {
    return slab->address + (uintptr_t)region * al_je_layout(heap, slab)->bytes;
}
/* Of a large extent: where its block is. */
static inline uintptr_t al_je_block(const je_extent *large) { return large->address + large->offset; }

/* --- members.c: sets and queues --- */

const char *al_je_state_name(je_state state);
/* The sizes of the extents that a queue keeps. */
size_t al_je_queue_least(unsigned queue);
size_t al_je_queue_most(unsigned queue);

typedef struct je_member {
    je_extent *extent;
    size_t position;
    bool strayed;         /* the way does not end but lead ... */
    const void *stray;    /* ... here: to no extent, or to one that does not lead back */
} je_member;

/* The members of a set, the oldest first; to be started with {0}. */
bool al_je_recency_next(const je_heap *heap, je_extents *set, je_member *member);
/* The members of a queue, parents before children; to be started with {0}. */
bool al_je_queued_next(const je_heap *heap, const je_queue *queue, je_member *member);
/* Of a member that was reached: NULL, if it has no parent. */
static inline je_extent *al_je_parent(const je_extent *extent) {
    while (extent->prev != NULL && extent->prev->child != extent) extent = extent->prev;
    return extent->prev;
}

/* --- what validate.c is made of --- */

/* What the memory of an arena was found to hold. */
typedef struct je_census {
    size_t pages[JE_STATES], extents[JE_STATES];
    size_t internal_bytes;
    size_t slabs[JE_SMALL_CLASSES], regions[JE_SMALL_CLASSES], partials[JE_SMALL_CLASSES];
    size_t large[JE_CLASSES - JE_SMALL_CLASSES];
} je_census;

/* check_memory.c: every stretch, by itself and beside the one before; censuses[] by the arenas' numbers. */
bool al_je_check_memory(const je_look *look, je_census *censuses, al_flaw *flaw);
/* check_sets.c: sets, queues and bins against what was found. */
bool al_je_check_sets(const je_heap *heap, je_arena *arena, const je_census *census, al_flaw *flaw);
bool al_je_check_bins(const je_heap *heap, je_arena *arena, const je_census *census, al_flaw *flaw);
/* check_caches.c: threads, and what they keep, which is counted too. */
bool al_je_check_caches(const je_look *look, je_census *censuses, al_flaw *flaw);

#endif
