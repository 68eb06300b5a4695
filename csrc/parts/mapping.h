/* Mappings aligned beyond a page, and lists of them in order. */
#ifndef AL_PARTS_MAPPING_H
#define AL_PARTS_MAPPING_H

#include "base/list.h"
#include "region/region.h"

/* Maps [*start, *end) around `length` bytes, of which the byte at `offset` (a multiple of the page) is aligned: maps
 * too much and cuts off both ends, always a mmap and two munmaps, wherever the system places it. Returns where the
 * length begins; that is *start, and *end is its end, unless the system would not take an end back. NULL: no memory.
 * pre: length + alignment is far from overflow. */
char *al_map_aligned(al_regions *regions, size_t alignment, size_t offset, size_t length, char **start, char **end);

/* Sorts by the address of the links. O(n log n). */
void al_list_sort(al_link *head, size_t count);

#endif
