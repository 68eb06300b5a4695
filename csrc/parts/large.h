/* Blocks with a mapping of their own.
 *
 *     mapping                                       mapping + length, page aligned
 *     |  (alignment)  | al_large | block ...      |
 *     |<------- prefix --------->|<--- usable --->|
 *
 *     block = mapping + prefix,   tag.head = (usable + 8) | LIVE | MAPPED
 *     ledger: prefix is metadata, usable is usable
 *
 * The tag lies right before the block, where boundary-tag allocators look for one. A block that is freed while munmap
 * fails stays in the list without LIVE, counted as free, and is tried again at the next call that maps or unmaps. */
#ifndef AL_PARTS_LARGE_H
#define AL_PARTS_LARGE_H

#include "base/list.h"
#include "parts/tag.h"
#include "parts/walk.h"
#include "region/ledger.h"
#include "region/region.h"

typedef struct al_large {
    al_link link;
    size_t prefix;
    al_tag tag;
} al_large;

typedef struct al_larges {
    al_regions *regions;
    al_ledger *ledger;
    al_link list;
    size_t count; /* all in the list */
    size_t dead;  /* of these, not LIVE */
} al_larges;

static inline void al_larges_init(al_larges *larges, al_regions *regions, al_ledger *ledger) {
    *larges = (al_larges){.regions = regions, .ledger = ledger};
    al_list_init(&larges->list);
}

static inline al_large *al_large_of(const void *block) { return (al_large *)block - 1; }

/* alignment: a power of two, alignment + bytes <= PTRDIFF_MAX. NULL: no memory. */
void *al_large_map(al_larges *larges, size_t alignment, size_t bytes);
void al_large_unmap(al_larges *larges, void *block);
/* By mremap: a shrink stays where it is and cannot fail; a growth stays unless it may move (by any number of pages).
 * NULL: no room, the block is as it was. */
void *al_large_resize(al_larges *larges, void *block, size_t bytes, bool may_move);
/* Tries the dead ones again; true if any memory went back. */
bool al_large_sweep(al_larges *larges);

/* Sorts the list by address, O(n log n), and returns where a walk begins. */
const al_link *al_large_first(al_larges *larges);
/* Goes on from *at over those that lie below `to`; false if the visitor stopped it. */
bool al_large_walk(const al_larges *larges, const al_link **at, uintptr_t to, al_walk_fn *visit, void *context);
/* Links symmetric, counts right, tags as drawn above. */
bool al_large_validate(const al_larges *larges, al_flaw *flaw);

#endif
