/* Where every mapped byte of a heap is. After every operation
 *
 *     mapped = usable + metadata + cached + free
 *
 * with mapped = al_regions_counters()->mapped (readable and writable bytes). A live block's usable bytes are `usable`,
 * its header is `metadata`; a free chunk is `free` (or `cached`, in a thread cache), header included. */
#ifndef AL_REGION_LEDGER_H
#define AL_REGION_LEDGER_H

#include <stddef.h>

typedef struct al_ledger {
    size_t usable;   /* bytes that live blocks offer */
    size_t metadata; /* headers of live blocks, tables, slab maps, fences */
    size_t cached;   /* free bytes held in thread caches */
    size_t free;     /* other free bytes */
} al_ledger;

static inline size_t al_ledger_sum(const al_ledger *l) { return l->usable + l->metadata + l->cached + l->free; }

#endif
