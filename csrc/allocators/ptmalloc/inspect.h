/* Ways through a heap at rest, for whoever looks inside: its stretches of memory in address order, the pieces of each,
 * and the lists of free chunks. Nothing that lies in the heap's own memory is trusted: a size must stay in its stretch,
 * a link must lead to mapped memory, before either is followed.
 *
 *               start                    first                      limit               end
 *     segment   | a stranger's rest      | chunks ...  top or fences |                    = limit
 *     subheap   | pt_subheap, the state  | chunks ...  top or fences | committed, unused  |
 *     mapping   | one chunk, or the head of one whose block was moved up                  |
 *
 * The first word of a chunk is the last one of the chunk below. So what is a chunk's own begins at its head, a word
 * behind its address, and so it is shown: the bytes [chunk + 8, chunk + 8 + size), of the top [top + 8, limit). */
#ifndef AL_ALLOCATORS_PTMALLOC_INSPECT_H
#define AL_ALLOCATORS_PTMALLOC_INSPECT_H

#include "allocators/ptmalloc/bins.h"
#include "parts/finds.h"

/* No thread moves in here from one to the other; what threads do with their own caches has no lock, so they must be
 * at rest. */
void al_pt_hold(pt_heap *heap);
void al_pt_release(pt_heap *heap);

/* Whether bytes can be read and written there, and a chunk may begin there. */
static inline bool al_pt_readable(const pt_heap *heap, const void *at, size_t bytes) {
    return al_readable(heap->heap.regions, at, bytes, PT_GRAIN);
}

/* --- stretches.c --- */

typedef enum pt_stretch_kind {
    PT_SEGMENT,
    PT_SUBHEAP,
    PT_MAPPING,
    PT_KEPT,   /* a mapping whose chunk was freed, but the system would not take it back */
    PT_STRANGE /* damaged: nothing of these begins where one must */
} pt_stretch_kind;

typedef struct pt_stretch {
    pt_stretch_kind kind;
    uintptr_t start, end;
    pt_arena *arena;     /* NULL: a mapping */
    pt_chunk *first;     /* a mapping's: the chunk */
    uintptr_t limit;
} pt_stretch;

/* The first one from `at` on, which is where another ends, or 0; false: there is none. */
bool al_pt_stretch_after(pt_heap *heap, uintptr_t at, pt_stretch *out);

typedef enum pt_sort {
    PT_LIVE,
    PT_CACHED,
    PT_FAST,
    PT_FREE,   /* by the tags: in a bin, then */
    PT_CACHE,  /* a thread's cache itself */
    PT_TOP,
    PT_FENCE,
    PT_BROKEN  /* a size that leads out of the stretch, or to no chunk */
} pt_sort;

typedef struct pt_piece {
    pt_chunk *chunk;
    size_t size;   /* of top, fences and what is broken: all that is left */
    pt_sort sort;  /* CACHED and FAST only if lists are marked, else LIVE */
} pt_piece;

/* Whether the chunk is in use for a thread's cache. */
bool al_pt_is_cache(const pt_heap *heap, const pt_chunk *chunk);
/* The pieces of a segment or subheap, to be started with {0}. Nothing follows a top, fence or broken piece. */
bool al_pt_piece_next(const pt_heap *heap, const pt_stretch *stretch, pt_piece *piece);

/* --- lists.c --- */

typedef enum pt_list_kind { PT_LIST_CACHE, PT_LIST_FAST, PT_LIST_UNSORTED, PT_LIST_SMALL, PT_LIST_LARGE } pt_list_kind;

/* A list of free chunks, of a thread or of an arena; the other is NULL. */
typedef struct pt_list {
    pt_thread *thread;
    pt_arena *arena;
    size_t number;       /* among the owner's lists */
    pt_list_kind kind;
    uint32_t index;      /* within its kind; bins have glibc's numbers */
    size_t least, most;  /* chunk sizes */
} pt_list;

/* All lists, to be started with {0}: the threads', then each arena's fastbins and bins. */
bool al_pt_list_next(pt_heap *heap, pt_list *list);
const char *al_pt_list_name(pt_list_kind kind);
static inline uint32_t al_pt_list_owner(const pt_list *list) {
    return list->thread != NULL ? list->thread->thread.id : list->arena->number;
}
static inline bool al_pt_list_is_bin(const pt_list *list) { return list->kind >= PT_LIST_UNSORTED; }

typedef struct pt_member {
    pt_chunk *chunk;
    size_t position;
    const pt_chunk *anchor; /* a member passed, ever further on: whoever meets it again goes around */
    bool strayed;      /* the list does not end but lead ... */
    const void *stray; /* ... here: to where no chunk can be, or around */
} pt_member;

/* The members of a list, to be started with {0}. */
bool al_pt_member_next(const pt_heap *heap, const pt_list *list, pt_member *member);

/* Marks in heads, while whoever looks holds the heap: in the upper 16 bits, of which no size has any. With them
 * al_pt_piece_next knows the free chunks that look in use, and a check sees that each free one is in one list. They are
 * patterns that damage will hardly make. */
enum { PT_UNMARKED, PT_MARK_BINNED = 0xb19d, PT_MARK_FAST = 0xfa57, PT_MARK_CACHED = 0xcac4, PT_MARK_SHIFT = 48 };

static inline size_t al_pt_mark_of(const pt_chunk *chunk) { return chunk->head >> PT_MARK_SHIFT; }
static inline size_t al_pt_bare_head(const pt_chunk *chunk) {
    return chunk->head & (((size_t)1 << PT_MARK_SHIFT) - 1);
}
static inline size_t al_pt_bare_size(const pt_chunk *chunk) { return al_pt_bare_head(chunk) & ~(size_t)PT_FLAGS; }
static inline void al_pt_set_mark(pt_chunk *chunk, size_t mark) {
    chunk->head = al_pt_bare_head(chunk) | mark << PT_MARK_SHIFT;
}

/* Marks lists as far as they make sense; with_bins: all, not only those of chunks that look in use. Returns a chunk
 * that is in two lists, or twice in one; NULL: there is none. */
pt_chunk *al_pt_mark_lists(pt_heap *heap, bool with_bins);
void al_pt_unmark_lists(pt_heap *heap, bool with_bins);

/* --- check_lists.c --- */

bool al_pt_check_lists(pt_heap *heap, al_flaw *flaw);

#endif
