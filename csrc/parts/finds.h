/* What somebody who looks inside has found, in order: sorted once, then searched. The memory for it is outside the
 * heap's account and given back at once, so that looking leaves no trace. */
#ifndef AL_PARTS_FINDS_H
#define AL_PARTS_FINDS_H

#include "region/own.h"
#include "region/region.h"

typedef struct al_find {
    uint64_t key, next; /* ordered by key, and where these are equal by next */
    void *what;
} al_find;

typedef struct al_finds {
    al_own own;
    al_find *all;
    size_t count, room;
    bool lost; /* there was no memory for one of them */
} al_finds;

void al_finds_open(al_finds *finds, const al_regions *regions);
void al_finds_close(al_finds *finds);
void al_finds_add(al_finds *finds, uint64_t key, uint64_t next, void *what);
void al_finds_sort(al_finds *finds); /* O(n log n) */
/* The number of the first one whose key is at least this; pre: sorted. */
size_t al_finds_from(const al_finds *finds, uint64_t key);
/* The first one of exactly this key; NULL: there is none. */
const al_find *al_finds_at(const al_finds *finds, uint64_t key);

/* Whether these bytes can be read and written, and begin where they may. */
bool al_readable(const al_regions *regions, const void *at, size_t bytes, size_t alignment);

#endif
