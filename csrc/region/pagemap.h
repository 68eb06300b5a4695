/* From the address of a page to what owns it: a radix tree of three levels, in bookkeeping memory.
 *
 *     address    47      36 35      24 23      12 11       0
 *               |   root   |   node   |   leaf   |  offset  |      4096 entries of 8 bytes in each
 *
 * A lookup is three loads. Nodes are made as ranges are entered and stay until the manager goes. The unit is 4 KiB
 * whatever the page size, which is a multiple of it. */
#ifndef AL_REGION_PAGEMAP_H
#define AL_REGION_PAGEMAP_H

#include "region/region.h"

enum { AL_PAGEMAP_UNIT = 12, AL_PAGEMAP_BITS = 12, AL_PAGEMAP_FANOUT = 1 << AL_PAGEMAP_BITS };

typedef struct al_pagemap_leaf {
    void *owners[AL_PAGEMAP_FANOUT];
} al_pagemap_leaf;

typedef struct al_pagemap_node {
    al_pagemap_leaf *leaves[AL_PAGEMAP_FANOUT];
} al_pagemap_node;

typedef struct al_pagemap {
    al_regions *regions;
    al_pagemap_node **root;
} al_pagemap;

int al_pagemap_init(al_pagemap *map, al_regions *regions); /* ENOMEM */

/* Enters owner (not NULL) for the pages that [address, address + bytes) touches; bytes > 0, all below 2^48.
 * ENOMEM, and then nothing is entered. */
int al_pagemap_set(al_pagemap *map, uintptr_t address, size_t bytes, void *owner);
void al_pagemap_clear(al_pagemap *map, uintptr_t address, size_t bytes);

/* The owner of the page, NULL where it has none. Any address may be asked for. */
static inline void *al_pagemap_get(const al_pagemap *map, uintptr_t address) {
    const uintptr_t mask = AL_PAGEMAP_FANOUT - 1;
    uintptr_t unit = address >> AL_PAGEMAP_UNIT;
    if (unit >> (3 * AL_PAGEMAP_BITS) != 0) return NULL;
    const al_pagemap_node *node = map->root[unit >> (2 * AL_PAGEMAP_BITS)];
    if (node == NULL) return NULL;
    const al_pagemap_leaf *leaf = node->leaves[unit >> AL_PAGEMAP_BITS & mask];
    return leaf == NULL ? NULL : leaf->owners[unit & mask];
}

#endif
