/* What the heap counts, in the words and units of theirs. */
#ifndef AL_ALLOCATORS_TCMALLOC_FIGURES_H
#define AL_ALLOCATORS_TCMALLOC_FIGURES_H

#include "allocators/tcmalloc/tcmalloc.h"

/* Of a class: free objects, wherever they are, and what does not fill one at the ends of its spans. */
typedef struct tc_class_figures {
    uint64_t objects, waste_bytes;
} tc_class_figures;

/* Bytes, but for counts:
 *
 *     heap     = in use + normal + returned + central + transfer + threads
 *     central  = free objects on spans + what does not fill one
 *     physical = heap - returned + metadata */
typedef struct tc_figures {
    uint64_t in_use, heap, physical;
    uint64_t normal, returned, free; /* spans, and both */
    uint64_t central, transfer, threads;
    uint64_t metadata;               /* handed out of chunks */
    uint64_t committed, committed_total, decommitted_total, reserved_total;
    uint64_t scavenges, commits, decommits, reserves;         /* counts */
    uint64_t spans, caches;                                   /* records of them */
    uint64_t fetches, returns, from_spans, slots_full;        /* of central lists, as tc_central has them */
    uint64_t populated, emptied, contended;
    tc_class_figures classes[TC_CLASSES_MOST];
} tc_figures;

/* Every lock is held; threads may move what they have cached meanwhile. */
void al_tc_count(const tc_heap *heap, tc_figures *out);
/* The same for who holds none. */
void al_tc_figures(tc_heap *heap, tc_figures *out);

#endif
