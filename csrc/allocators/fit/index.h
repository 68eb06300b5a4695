/* The free chunks of a break heap, in treaps: binary search trees by key that are at the same time heaps by a hash of
 * the node's address, hence balanced in expectation (Seidel & Aragon 1996). They live inside the free chunks:
 *
 *     | head | left | right | most | rank | ...        | foot |    links count grains (16 bytes) from `base`, 0 = none:
 *        8      4       4      4      4                    8       a chunk of 32 bytes holds a node
 *
 *     key(x)  = rank(x), or (size(x), rank(x)) where `by_size`
 *     left subtree < key(x) < right subtree;  priority(x) > priority(children)
 *     most(x) = max(size(x), most(left), most(right)) in grains, kept only where not `by_size`
 *
 *     by_size: trees[c] holds the chunks of exactly 2 + c grains, for c < SMALL; trees[SMALL] all larger ones
 *              bit c of small = trees[c] is not empty
 *     else:    trees[SMALL] holds all
 *
 * Rank is the order within the index: by address (the chunk's own link), or by the time of entering it, newest first
 * (lifo) or oldest first (fifo). All operations take O(log n) expected time for n free chunks; when ranks have run out,
 * after four thousand million insertions, one insertion takes O(n) to number them anew. */
#ifndef AL_ALLOCATORS_FIT_INDEX_H
#define AL_ALLOCATORS_FIT_INDEX_H

#include "parts/tag.h"
#include "parts/walk.h"

typedef struct al_free {
    al_tag tag;
    uint32_t left, right, most, rank;
} al_free;

enum { AL_FREE_LEAST = 32 /* an al_free and a foot */, AL_INDEX_SMALL = 64 };

typedef enum al_order { AL_ORDER_LIFO, AL_ORDER_FIFO, AL_ORDER_ADDRESS } al_order;

typedef struct al_index {
    char *base;
    bool by_size;
    al_order order;
    uint32_t trees[AL_INDEX_SMALL + 1];
    uint64_t small;
    uint32_t next_rank; /* lifo: counts down; fifo: up */
    uint32_t rover;     /* for the user: a rank that keeps its meaning when ranks are numbered anew */
    size_t count;
} al_index;

/* No chunk lies further from the base than links reach. */
static const size_t AL_INDEX_REACH = (size_t)UINT32_MAX * AL_TAG_GRAIN;

void al_index_init(al_index *index, al_order order, bool by_size);

/* pre: not in it, its head right. Gives it a rank. */
void al_index_insert(al_index *index, al_free *chunk);
void al_index_remove(al_index *index, al_free *chunk);

/* Not by_size: the first chunk in order with rank >= from and size >= bytes. NULL: none. */
al_free *al_index_first(const al_index *index, size_t bytes, uint32_t from);
/* by_size: the first in order among the smallest that have size >= bytes. NULL: none. */
al_free *al_index_smallest(const al_index *index, size_t bytes);
/* by_size: the largest size, in bytes; 0 where there is none. */
size_t al_index_largest(const al_index *index);

/* Every chunk, tree by tree, each tree in order; false if the visitor stopped it. */
bool al_index_bins(const al_index *index, al_bin_fn *visit, void *context);

/* Everything drawn above, and that `count` is the number of nodes. O(n). */
bool al_index_validate(const al_index *index, al_flaw *flaw);
bool al_index_contains(const al_index *index, const al_free *chunk);

#endif
