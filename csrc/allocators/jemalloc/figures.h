/* What arenas count, in the real library's words and units. */
#ifndef AL_ALLOCATORS_JEMALLOC_FIGURES_H
#define AL_ALLOCATORS_JEMALLOC_FIGURES_H

#include "allocators/jemalloc/jemalloc.h"

/* Of small blocks or large ones: bytes of blocks that are live or cached, and what was done. */
typedef struct je_part {
    uint64_t allocated, nmalloc, ndalloc, nrequests, nfills, nflushes;
} je_part;

/*     mapped   = base's mappings + pages that are not retained
 *     resident = base's pages begun + active and dirty pages */
typedef struct je_figures {
    uint64_t nthreads;
    uint64_t pactive, pdirty, pmuzzy;                    /* pages */
    uint64_t mapped, retained, resident, base, internal; /* bytes */
    uint64_t tcache_bytes;                               /* cached by the threads that are bound here */
    uint64_t extent_avail;                               /* records of no extent */
    uint64_t dirty_decay_ms, muzzy_decay_ms;             /* of a sum: -1 */
    uint64_t nothing;                                    /* 0: what is not built keeps nothing */
    je_purges dirty_purges, muzzy_purges;
    je_part small, large;
} je_figures;

/* Of an arena, or of all (NULL), at one moment each. No lock is held. */
je_figures al_je_figures(je_heap *heap, je_arena *arena);

#endif
