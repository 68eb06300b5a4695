/* Extents: runs of pages, in use or free, and the map from pages to them.
 *
 *     mapping (one mmap)
 *     | extent, head | extent | extent (slab) | extent |      neighbours share no byte and leave none out
 *
 *     active    a slab, or a large block with a pad of one page behind it
 *     dirty     freed lately; its pages may be resident
 *     muzzy     advised MADV_FREE
 *     retained  advised MADV_DONTNEED, or never used: it costs address space alone
 *
 * What is asked of the system at a time begins with a head, and no extent grows down over a head: so two mappings that
 * happen to touch are never merged. Extents split off keep the serial number of the whole; merged ones the lower.
 *
 * The map (parts/pages.h) holds a word for the first and the last page of every extent, and for all pages of a slab:
 * the class, the extent, and in bit 0 of the first page's whether it is a head. Words of pages that are neither first
 * nor last may be stale: only pages of live blocks and of neighbours are looked up. They are read without a lock; class
 * and extent of a live block's pages do not change. A neighbour's extent is only looked at where no head lies between:
 * then it belongs to the same arena, whose lock is held; but where memory is unmapped, pages.c makes sure of that. */
#ifndef AL_ALLOCATORS_JEMALLOC_EXTENT_H
#define AL_ALLOCATORS_JEMALLOC_EXTENT_H

#include "allocators/jemalloc/classes.h"
#include "base/bitmap.h"
#include "base/list.h"
#include "parts/pages.h"

typedef struct je_arena je_arena;

typedef enum je_state { JE_ACTIVE, JE_DIRTY, JE_MUZZY, JE_RETAINED, JE_STATES } je_state;

typedef struct je_extent {
    uintptr_t address;        /* page aligned */
    size_t bytes;
    uint64_t serial;          /* of when the memory came from the system */
    je_arena *arena;
    struct je_extent *child, *next, *prev; /* queue.c; `next` also links spare ones */
    uint8_t state;            /* je_state */
    uint8_t class;            /* of the blocks in it; JE_NO_CLASS where there are none */
    bool head;                /* the first of its mapping */
    bool zeroed;              /* all its bytes are zero */
    bool internal;            /* a block of the allocator's own */
    uint8_t shard;            /* slab: of its bin */
    union {
        uint16_t free_regions; /* slab */
        uint16_t offset;       /* large: of its block */
    };
    union {
        al_link recency;      /* free: in its set, the oldest first */
        uint64_t free[JE_SLAB_REGIONS_MOST / 64]; /* slab: a bit for each region */
    };
} je_extent;

_Static_assert(sizeof(je_extent) == 128, "as many to a block of metadata as theirs");

static inline uintptr_t al_je_end(const je_extent *extent) { return extent->address + extent->bytes; }
static inline bool al_je_is_slab(const je_extent *extent) { return extent->class < JE_SMALL_CLASSES; }

/* Older first, then lower: the order in which memory is chosen. */
static inline bool al_je_before(const je_extent *a, const je_extent *b) {
    return a->serial != b->serial ? a->serial < b->serial : a->address < b->address;
}

/* --- the map from pages to extents: parts/pages.h --- */

enum { JE_EXTENT_BITS = 7 }; /* of a record's address: they are 0 */

static inline uintptr_t al_je_page_of(uintptr_t address) { return address >> JE_PAGE_BITS; }

/* The word of a page that has had one; pre: its leaf is there. */
static inline al_page_word al_je_word(const al_pages *map, uintptr_t address) {
    return al_pages_get(map, al_je_page_of(address));
}

/* The same for any address, or 0. */
static inline al_page_word al_je_word_or_none(const al_pages *map, uintptr_t address) {
    return al_pages_get_or_none(map, al_je_page_of(address));
}

static inline bool al_je_word_head(al_page_word word) { return word & 1; }
static inline je_extent *al_je_word_extent(al_page_word word) { return al_page_word_pointer(word, JE_EXTENT_BITS); }

#endif
