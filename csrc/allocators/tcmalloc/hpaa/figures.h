/* What is counted, in bytes; the real library's words. */
#ifndef AL_ALLOCATORS_TCMALLOC_HPAA_FIGURES_H
#define AL_ALLOCATORS_TCMALLOC_HPAA_FIGURES_H

#include "allocators/tcmalloc/hpaa/hpaa.h"

/*     mapped = in_use + tails + cpu + transfer + central + page_free + metadata */
typedef struct hp_figures {
    uint64_t mapped, metadata;
    uint64_t in_use;              /* of live blocks */
    uint64_t tails;               /* at the ends of spans */
    uint64_t cpu, transfer, central; /* of free objects, by where they are */
    uint64_t page_free;           /* of free pages */
    uint64_t spans, large_pages;
    uint64_t underflows, overflows, cpu_capacity;
    uint64_t takes, take_misses, gives, give_misses, contended; /* of transfer caches */
    uint64_t populated, emptied;
    hp_page_figures pages;
} hp_figures;

/* At one moment; no lock is held. */
hp_figures al_hp_figures(hp_heap *heap);

#endif
