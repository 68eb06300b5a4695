#include "region/pagemap.h"

#include "base/align.h"

#include <errno.h>

static const uintptr_t MASK = AL_PAGEMAP_FANOUT - 1;

int al_pagemap_init(al_pagemap *map, al_regions *regions) {
    map->regions = regions;
    map->root = al_regions_own(regions, AL_PAGEMAP_FANOUT * sizeof *map->root);
    return map->root == NULL ? ENOMEM : 0;
}

/* Where the leaf that holds unit hangs, NULL where there is no node for it. */
static al_pagemap_leaf **leaf_of(const al_pagemap *map, uintptr_t unit) {
    al_pagemap_node *node = map->root[unit >> (2 * AL_PAGEMAP_BITS)];
    return node == NULL ? NULL : &node->leaves[unit >> AL_PAGEMAP_BITS & MASK];
}

static bool make_leaf(al_pagemap *map, uintptr_t unit) {
    al_pagemap_node **node = &map->root[unit >> (2 * AL_PAGEMAP_BITS)];
    if (*node == NULL) *node = al_regions_own(map->regions, sizeof **node);
    if (*node == NULL) return false;
    al_pagemap_leaf **leaf = leaf_of(map, unit);
    if (*leaf == NULL) *leaf = al_regions_own(map->regions, sizeof **leaf);
    return *leaf != NULL;
}

/* The first unit of the next leaf. */
static uintptr_t next_leaf(uintptr_t unit) { return (unit | MASK) + 1; }

/* Leaves that are not there have no owners to forget. */
static void fill(al_pagemap *map, uintptr_t first, uintptr_t last, void *owner) {
    for (uintptr_t unit = first, stop; unit <= last; unit = stop) {
        stop = al_min(next_leaf(unit), last + 1);
        al_pagemap_leaf **leaf = leaf_of(map, unit);
        if (leaf == NULL || *leaf == NULL) continue;
        for (uintptr_t i = unit; i < stop; i++) (*leaf)->owners[i & MASK] = owner;
    }
}

int al_pagemap_set(al_pagemap *map, uintptr_t address, size_t bytes, void *owner) {
    uintptr_t first = address >> AL_PAGEMAP_UNIT, last = (address + bytes - 1) >> AL_PAGEMAP_UNIT;
    for (uintptr_t unit = first; unit <= last; unit = next_leaf(unit)) {
        if (!make_leaf(map, unit)) return ENOMEM;
    }
    fill(map, first, last, owner);
    return 0;
}

void al_pagemap_clear(al_pagemap *map, uintptr_t address, size_t bytes) {
    fill(map, address >> AL_PAGEMAP_UNIT, (address + bytes - 1) >> AL_PAGEMAP_UNIT, NULL);
}
