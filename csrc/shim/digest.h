/* A heap's pieces, summed up in tables of a fixed size: what lives by size, and what is free by the list that keeps
 * it. */
#ifndef AL_SHIM_DIGEST_H
#define AL_SHIM_DIGEST_H

#include "allocators/heap.h"
#include "base/text.h"

enum { AL_SIZES = 232, AL_LISTS_MOST = 2048 };

typedef struct al_some {
    uint64_t count, bytes;
} al_some;

/* Sizes as many as there are in a doubling, four, and below 128 bytes every 16: sizes[i] is of those above the bound of
 * i - 1, up to that of i. */
typedef struct al_size {
    al_some live, cached, free; /* of what lives the usable bytes, of the others all */
} al_size;

size_t al_size_of(size_t bytes);   /* the number of the size that they belong to */
uint64_t al_size_bound(size_t size);

/* Those entries of al_heap_bins that one list keeps, or that one owner has of a kind. */
typedef struct al_list {
    const char *kind;
    uint32_t number;      /* the list's within its kind, or the owner's */
    uint64_t least, most; /* of a list: the sizes that belong there */
    al_some kept;
} al_list;

/* In the order in which they came first. What finds no room in the table is in none of them. */
typedef struct al_lists {
    al_list all[AL_LISTS_MOST];
    size_t count;
    uint16_t places[2 * AL_LISTS_MOST]; /* by hash; 1 + the number in `all`, 0: nobody's */
} al_lists;

typedef struct al_digest {
    al_size sizes[AL_SIZES];
    al_lists lists, owners;
} al_digest;

/* pre: *digest is zero. */
void al_digest_fill(al_digest *digest, al_heap *heap);
void al_digest_put(const al_digest *digest, al_text *text);

#endif
