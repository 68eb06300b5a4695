/* fit: boundary tags and a free index, with the classic policies as tunables. What a policy means, to the byte:
 *
 *   policy  of the free chunks that are large enough, takes        order    they are ordered by
 *   first   the first in order                                     lifo     the time they entered the index, newest
 *   next    the first in order after the one taken last, around             first
 *   best    the smallest; the first in order among equals          fifo     the same, oldest first
 *   worst   the largest; the first in order among equals           address  address, lowest first
 *
 * A chunk enters the index by a free, by a merge, or as the remainder of a split. The chunk taken is cut at its lower
 * end; a remainder of 32 bytes or more enters the index. Where no free chunk fits, the top is cut, and where that is
 * too small the break moves, by `top_pad` more than needed. From `mmap_threshold` bytes on a block gets a mapping of
 * its own; where the system refuses one way, the other is tried.
 *
 *   coalesce
 *   immediate  a freed chunk merges with both neighbours and the top; a top of `trim_threshold` bytes is cut to
 *              `top_pad`
 *   deferred   freed chunks stay as they are. When neither they nor the top serve a request, one pass over the heap
 *              merges all neighbours and the request is tried again, provided that at least one chunk in eight was
 *              freed since the last pass (so a pass costs each free O(log n)); the condition falls where the system
 *              refuses memory. Trim makes a pass, too
 *   never      chunks never merge, nor with the top, so memory once cut small stays small (rule C22 does not hold). A
 *              realloc still grows into free neighbours
 *
 * realloc: a shrink stays and frees its tail; a growth takes the free chunks above, then the top, and moves only where
 * these do not do. Mapped blocks are resized by mremap, whatever their size becomes.
 *
 * n free chunks: malloc and free in O(log n), every policy and order (index.h), and so is realloc, but for
 * looking at the free chunks right above the block, several where they are not merged at once. usable_size O(1); walk
 * O(chunks), a pass and validate O(chunks log n).
 *
 *   chunk, live                       chunk, free                              least size 32: usable is at least 24
 *   | head | block ...         |      | head | index node | ...      | foot |  overhead of a live block: 8 */
#ifndef AL_ALLOCATORS_FIT_FIT_H
#define AL_ALLOCATORS_FIT_FIT_H

#include "allocators/allocator.h"
#include "allocators/fit/index.h"
#include "parts/large.h"
#include "parts/top.h"

typedef enum fit_tunable {
    FIT_POLICY,
    FIT_ORDER,
    FIT_COALESCE,
    FIT_MMAP_THRESHOLD,
    FIT_TRIM_THRESHOLD,
    FIT_TOP_PAD,
    FIT_TUNABLES
} fit_tunable;

typedef enum fit_policy { FIT_FIRST, FIT_NEXT, FIT_BEST, FIT_WORST, FIT_POLICIES } fit_policy;
typedef enum fit_coalesce { FIT_IMMEDIATE, FIT_DEFERRED, FIT_NEVER, FIT_COALESCES } fit_coalesce;

/* chunks = live + free ones, the top not among them. Nothing above `fresh` was ever written but the top's head. */
typedef struct fit_heap {
    al_heap heap;
    al_top top;
    al_larges larges;
    al_index index;
    fit_policy policy;
    fit_coalesce coalesce;
    uintptr_t fresh;
    size_t chunks;
    size_t unmerged; /* chunks freed since the last pass */
    uint64_t passes;
} fit_heap;

static inline fit_heap *al_fit_of(al_heap *heap) { return (fit_heap *)heap; }

/* --- place.c: where a chunk comes from --- */

/* A live chunk of at least `size` bytes, ledger done; NULL: no memory in the break heap. */
al_tag *al_fit_take(fit_heap *f, size_t size);
/* Makes the top serve `size` bytes, moving the break if need be. */
bool al_fit_ensure_top(fit_heap *f, size_t size);
/* Cuts a chunk off the top, or `size` bytes more for the chunk below it. The ledger is the caller's. */
al_tag *al_fit_cut_top(fit_heap *f, size_t size);

/* --- merge.c: what becomes of a freed chunk --- */

/* A live chunk becomes free, ledger done: merged, put into the index, or part of the top, which may be trimmed. */
void al_fit_give(fit_heap *f, al_tag *chunk);
/* Cuts a live chunk down to `size`, if what is left can be a chunk of its own, and gives that. */
void al_fit_cut_tail(fit_heap *f, al_tag *chunk, size_t size);
/* A chunk that is free by its tags enters the index: foot, and the upper neighbour's flag. */
void al_fit_shelve(fit_heap *f, al_tag *chunk);
/* Merges all neighbours that are free. */
void al_fit_pass(fit_heap *f);

/* --- resize.c, inspect.c --- */

void *al_fit_realloc(al_thread *thread, void *block, size_t bytes);
void al_fit_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_fit_validate(al_heap *heap, al_flaw *flaw);
size_t al_fit_stats(al_heap *heap, al_stat *out, size_t room);
void al_fit_bins(al_heap *heap, al_bin_fn *visit, void *context);

/* --- the ledger's two moves --- */

static inline void al_fit_book_live(fit_heap *f, size_t size) {
    f->heap.ledger.free -= size;
    f->heap.ledger.metadata += AL_TAG_BYTES;
    f->heap.ledger.usable += size - AL_TAG_BYTES;
}

static inline void al_fit_book_free(fit_heap *f, size_t size) {
    f->heap.ledger.free += size;
    f->heap.ledger.metadata -= AL_TAG_BYTES;
    f->heap.ledger.usable -= size - AL_TAG_BYTES;
}

#endif
