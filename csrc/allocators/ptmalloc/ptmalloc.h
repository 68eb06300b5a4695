/* ptmalloc: every decision of glibc 2.36's malloc, in the same order, so that on the same calls every block lies where
 * glibc puts it and the system is asked for the same memory. What may differ is what nobody can see from outside: how
 * the code is laid out, and where the books are kept (beside the heap, not in it).
 *
 *   malloc  1 the thread's cache: 64 lists of up to 7 chunks of one size, last in first out
 *           2 a fastbin, then a small bin of exactly the size
 *           3 the unsorted chunks, oldest first: the one that fits exactly, or each into its bin
 *           4 the smallest chunk of a larger bin (best fit), cut; its rest becomes unsorted
 *           5 the top, cut; before that, fastbins are consolidated where there are any
 *           6 the system: a mapping for large requests, else the break (or the subheap) grows
 *   free    the thread's cache if it has room, else a fastbin, else merged with its free neighbours and unsorted
 *
 *   what lies in a subheap of another than the main arena:
 *   | pt_subheap | (state) | chunks ...        | top |     PROT_NONE      |   64 MiB, aligned to 64 MiB
 *     48 bytes     only in an arena's first      size ->|
 *
 *     the state's place (to offset PT_ARENA_BYTES) is left empty: glibc keeps its arena there, we keep ours outside
 *
 * Locks: an arena's lock guards all that is in it and in its chunks, free ones and their neighbours' P flags included;
 * heap->lock the region manager and the figures of mapped chunks; list_lock the lists of arenas, free arenas and
 * threads. Order: list_lock, arenas in list order, heap->lock; a lock is held while another of its right is taken,
 * never the other way. Where the process has one thread, arena locks are not taken. Thread caches have no lock; their
 * counts are atomic, so that the ledger can be asked for at any time.
 *
 * The ledger is computed when asked for. For an arena, taken_bytes and taken_chunks tell what it has handed out,
 * including what lies in thread caches and the caches themselves:
 *
 *     cached   = sum over threads and lists of count * size
 *     usable   = sum over arenas of taken_bytes - 8 * taken_chunks, less the same of cached chunks and caches,
 *                + mapped_bytes - mapped_heads
 *     metadata = 8 * live chunks + caches + mapped_heads + sum over arenas of fixed, and 8 for each that has a top
 *     free     = mapped - usable - cached - metadata
 *
 * As the first word of a chunk is the last one of the chunk below, what is a chunk's own, and shown as such, are the
 * bytes [chunk + 8, chunk + 8 + size). That leaves the first word of a stretch of chunks to nobody; at its end fences
 * make up for it, but a top does not: hence the 8. */
#ifndef AL_ALLOCATORS_PTMALLOC_PTMALLOC_H
#define AL_ALLOCATORS_PTMALLOC_PTMALLOC_H

#include "allocators/allocator.h"
#include "allocators/ptmalloc/chunk.h"

#include <string.h>
#include <sys/single_threaded.h>

typedef enum pt_tunable {
    PT_TCACHE_COUNT,
    PT_TCACHE_MAX,
    PT_TCACHE_UNSORTED_LIMIT,
    PT_MMAP_THRESHOLD,
    PT_TRIM_THRESHOLD,
    PT_TOP_PAD,
    PT_MMAP_MAX,
    PT_ARENA_MAX,
    PT_ARENA_TEST,
    PT_MXFAST,
    PT_PERTURB,
    PT_HUGETLB,
    PT_TCACHE,             /* the policies, from here on: what glibc does is the default */
    PT_FASTBINS,
    PT_LARGE_FIT,
    PT_COALESCE,
    PT_DYNAMIC_THRESHOLDS,
    PT_REALLOC_BACKWARD,
    PT_TUNABLES
} pt_tunable;

enum { PT_LARGE_BEST, PT_LARGE_FIRST, PT_LARGE_FITS };
enum { PT_COALESCE_DEFERRED, PT_COALESCE_IMMEDIATE, PT_COALESCES };

enum {
    PT_CACHE_BINS = 64,
    PT_CACHE_LARGEST = PT_LEAST + (PT_CACHE_BINS - 1) * PT_GRAIN, /* chunk size 1040 */
    PT_FAST_BINS = 10,
    PT_BINS = 128,        /* 0 is unused, 1 is unsorted, 2..63 small, 64..126 large */
    PT_UNSORTED = 1,
    PT_SMALL_END = 1024,  /* smaller chunks have bins of one size */
    PT_CONSOLIDATE_FROM = 64 << 10,
    PT_SUBHEAP_BYTES = 64 << 20,
    PT_ARENA_BYTES = 0x8d0
};

/* Figures that one thread may change while others look at them, without a lock. */
static inline size_t al_pt_get(const size_t *figure) { return __atomic_load_n(figure, __ATOMIC_RELAXED); }
static inline void al_pt_set(size_t *figure, size_t value) { __atomic_store_n(figure, value, __ATOMIC_RELAXED); }

/* The settings in force; mallopt and freed mappings change them: the two thresholds by al_pt_set. */
typedef struct pt_params {
    size_t mmap_threshold, trim_threshold, top_pad;
    bool dynamic;            /* the two thresholds follow the largest mapping freed */
    size_t mmap_max;         /* mapped chunks there may be */
    size_t fast_max;         /* largest chunk that goes into a fastbin; below PT_LEAST: none does */
    size_t cache_bins;       /* lists in use; 0: no thread caches at all */
    size_t cache_count;      /* chunks a list may hold */
    size_t cache_unsorted;   /* chunks that a request may sort into bins while it fills the cache; 0: no limit */
    size_t arena_max, arena_test;
    size_t huge_page;        /* advise huge pages on growth, by this size; 0: do not */
    int perturb;             /* the byte that freed blocks are filled with, its complement new ones; 0: none */
    bool first_fit, backward;
} pt_params;

typedef struct pt_arena {
    al_lock lock;
    uint32_t number;         /* 0: the main one */
    bool contiguous;         /* main: the break has only been moved by us, and never refused */
    bool has_fast;           /* there may be chunks in fastbins */
    uint32_t attached;       /* threads */
    pt_chunk *fast[PT_FAST_BINS]; /* linked by fd, protected */
    pt_chunk *top;           /* an empty chunk of its own (`none`) before the first growth */
    pt_chunk *last_remainder;
    pt_chunk *bins[2 * PT_BINS]; /* fd and bk of each bin's head: al_pt_bin */
    uint64_t binmap[PT_BINS / 64]; /* bit i clear: bin i is empty */
    pt_chunk none;           /* size 0 */
    struct pt_arena *next;   /* all arenas, around, from the main one, the newest first: al_pt_arena_next */
    struct pt_arena *next_free;
    size_t system_mem, max_system_mem; /* bytes from the system, as glibc counts them */
    size_t taken_bytes, taken_chunks;
    size_t fixed;            /* bytes that are neither chunk nor top: fences, heads of subheaps, a stranger's rest */
} pt_arena;

/* What glibc calls a heap_info. */
typedef struct pt_subheap {
    pt_arena *arena;
    struct pt_subheap *below; /* the one before it in the arena */
    size_t size;              /* bytes in use by chunks and top, from the start of the subheap */
    size_t committed;         /* bytes ever made readable and writable */
    size_t unused[2];         /* 48 bytes, a chunk's grain */
} pt_subheap;

/* A stretch of the main arena's memory, from one that the break or a mapping began to its fences. */
typedef struct pt_segment {
    struct pt_segment *next;  /* in the order of birth */
    uintptr_t start;          /* of what is mapped */
    pt_chunk *first;
    uintptr_t end;            /* after its fences; 0: it ends with the top */
} pt_segment;

typedef struct pt_entry {
    struct pt_entry *next;    /* protected */
    uintptr_t key;            /* the heap's, while it is cached: a second free shows */
} pt_entry;

/* Lies in a chunk of the thread's arena, its first. */
typedef struct pt_cache {
    uint16_t counts[PT_CACHE_BINS]; /* written by the thread alone, read by whoever asks for the ledger: atomically */
    pt_entry *entries[PT_CACHE_BINS];
} pt_cache;

/* What every malloc and free of the cache needs lies together. */
typedef struct pt_thread {
    al_thread thread;
    pt_cache *cache;          /* NULL: not yet, or no more */
    size_t cache_bytes;       /* smaller requests have a list; 0 where there is no cache */
    size_t cache_size;        /* smaller chunks have one; 0 likewise */
    size_t cache_count;       /* chunks a list may hold */
    uintptr_t cache_key;
    pt_arena *arena;          /* NULL: not yet */
    bool cache_closed;        /* the thread is ending: no cache any more */
    struct pt_thread *next, *prev; /* all threads that have a cache */
} pt_thread;

typedef struct pt_heap {
    al_heap heap;
    pt_params params;
    uintptr_t cache_key;
    pt_arena main;

    bool simulated;           /* a window's: its threads may share one of ours */
    bool break_asked;         /* libc knows where the break is */
    uintptr_t break_base;     /* where the first break growth began; 0: none yet */
    size_t strange;           /* of the main arena's system_mem: what lies before and between its segments' chunks */
    pt_segment *segments, *last_segment;
    pt_segment *spare_segment; /* there before memory for the next one is asked for; NULL: to be made */

    size_t mapped_count, mapped_count_peak; /* chunks with a mapping of their own; the first by al_pt_set */
    size_t mapped_bytes, mapped_bytes_peak;
    size_t mapped_heads;      /* of mapped_bytes: in front of blocks */

    al_lock list_lock;
    pt_thread *threads;
    pt_arena *free_arenas;    /* left by all their threads, the last one first */
    pt_arena *next_arena;     /* where the search for an arena to share begins; NULL: at the main one */
    pt_arena *spare_arena;    /* a struct that found no memory for its subheap */
    uint32_t arena_count;
    uint32_t arena_limit;     /* 0: not reckoned yet */

    uintptr_t subheap_hint;   /* an aligned place that was free; 0: none known. Guarded, as the next, by heap->lock */
    int overcommit;           /* the system's, once it was asked; before, AL_OVERCOMMIT_SYSTEM */
    bool several_threads;     /* a window had a second one: atomically */
} pt_heap;

_Static_assert(sizeof(pt_cache) == 640 && sizeof(pt_subheap) == 48, "their chunks' sizes are glibc's");

static inline pt_heap *al_pt_of(al_heap *heap) { return (pt_heap *)heap; }
static inline pt_heap *al_pt_heap(const pt_thread *thread) { return (pt_heap *)thread->thread.heap; }
static inline size_t al_pt_page_size(const pt_heap *heap) { return al_regions_page_size(heap->heap.regions); }
static inline bool al_pt_is_main(const pt_arena *arena) { return arena->number == 0; }

/* --- cache.c: the thread's cache --- */

/* Makes the thread's cache if it may have one and has none; its chunk is the first that the thread takes. */
void al_pt_cache_open(pt_thread *thread);
/* Frees what it holds, and itself; there will be none again. */
void al_pt_cache_close(pt_thread *thread);
/* Dies if the block is in the cache's list already. */
void al_pt_cache_refuse_twice(const pt_thread *thread, const pt_entry *entry, size_t list);

/* --- bins.c: bins.h has the rest --- */

void al_pt_arena_init(pt_arena *arena); /* empty bins, no top */
void al_pt_unlink(pt_chunk *chunk);
/* Into its bin: of a small size at the head; of a large one by size, the largest first, equals behind the first of
 * them. first_fit: large ones at the head, too, and without links between sizes. */
void al_pt_sort_in(pt_arena *arena, pt_chunk *chunk, size_t size, bool first_fit);

/* --- take.c, give.c: malloc and free within an arena --- */

/* A block of at least `bytes`, from wherever there is one, at last from the system; NULL: no memory, or bytes >
 * PTRDIFF_MAX. The arena is locked, or NULL, which leaves only a mapping. The thread's cache takes what fits and is met
 * on the way. */
void *al_pt_take(pt_thread *thread, pt_arena *arena, size_t bytes);
/* The same from the thread's arena; or, unless it is to stay there, from another if that has no memory. */
void *al_pt_take_anywhere(pt_thread *thread, size_t bytes, bool stay);
/* A taken chunk that has no mapping of its own, to its arena or the thread's cache. locked: the caller holds the
 * arena's lock; otherwise it is taken when needed. */
void al_pt_give(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, bool locked);
/* The same, where the thread's cache had no room. */
void al_pt_give_uncached(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, bool locked);
/* Cuts a taken chunk, the arena locked, down to `size` and gives the rest, which is one, too. */
void al_pt_give_tail(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t size);
/* Empties the fastbins: each chunk merges with its neighbours. */
void al_pt_consolidate(pt_arena *arena);

/* --- grow.c, trim.c, mapped.c: the system --- */

/* The bins and the top have failed: a mapping, or a larger top. arena: as in al_pt_take. */
void *al_pt_grow(pt_thread *thread, pt_arena *arena, size_t bytes);
/* Gives the end of the main top back, but pad. */
bool al_pt_trim_top(pt_heap *heap, size_t pad);
bool al_pt_trim(al_heap *heap, size_t pad); /* malloc_trim */
pt_chunk *al_pt_map(pt_heap *heap, size_t size);
void al_pt_unmap(pt_heap *heap, pt_chunk *chunk);
/* NULL: the system would not. */
pt_chunk *al_pt_remap(pt_heap *heap, pt_chunk *chunk, size_t size);
/* A mapped chunk's block moves up by `lead` bytes, for an alignment. */
pt_chunk *al_pt_advance_mapped(pt_heap *heap, pt_chunk *chunk, size_t lead);
/* Advises huge pages where the settings ask for it; heap->lock is held. */
void al_pt_advise_huge(pt_heap *heap, void *start, size_t bytes);

/* Whether one thread is all there is: glibc then uses the main arena, without locks, and no other if that fails. */
static inline bool al_pt_alone(const pt_heap *heap) {
    return heap->simulated ? !__atomic_load_n(&heap->several_threads, __ATOMIC_RELAXED) : __libc_single_threaded;
}

/* --- arena.c: which arena a thread uses; its end; fork --- */

/* The thread's arena, or the one it gets now; locked. bytes: what will be asked of it. NULL: no arena, and no memory
 * for one. */
pt_arena *al_pt_arena_enter(pt_thread *thread, size_t bytes);
/* After `arena` (locked; it is left) had no memory, and other threads are there: another one, locked; or NULL. After
 * the main one the thread stays with it. */
pt_arena *al_pt_arena_other(pt_thread *thread, pt_arena *arena, size_t bytes);
int al_pt_thread_create(al_thread *thread);
void al_pt_thread_exit(al_thread *thread);
void al_pt_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment);

/* Not where the process has but one thread: that does not change between the two. */
static inline void al_pt_arena_lock(pt_arena *arena) {
    if (!__libc_single_threaded) al_lock_take(&arena->lock);
}
static inline void al_pt_arena_leave(pt_arena *arena) {
    if (!__libc_single_threaded) al_lock_drop(&arena->lock);
}

/* Arenas may be added meanwhile, in front; none ever goes. */
static inline pt_arena *al_pt_arena_next(const pt_arena *arena) {
    return __atomic_load_n(&arena->next, __ATOMIC_ACQUIRE);
}

/* --- subheap.c: the memory of all arenas but the main one --- */

static inline pt_subheap *al_pt_subheap_of(const void *at) {
    return (pt_subheap *)((uintptr_t)at & ~(uintptr_t)(PT_SUBHEAP_BYTES - 1));
}
static inline pt_arena *al_pt_arena_of(pt_heap *heap, const pt_chunk *chunk) {
    return al_pt_head(chunk) & PT_NON_MAIN ? al_pt_subheap_of(chunk)->arena : &heap->main;
}
/* A new subheap with room for `least` bytes and as much of `pad` as fits, its head filled but for arena and below.
 * NULL: more than a subheap holds, or the system would not. */
pt_subheap *al_pt_subheap_create(pt_heap *heap, size_t least, size_t pad);
/* Makes the top of a secondary arena larger, for `size` bytes and what must stay: its subheap grows, or a new one
 * begins and the old top is given. False: the system would not. True does not promise a top of that size: when the old
 * top is given, the arena is trimmed, and that may take back the new subheap at once. glibc does so. */
bool al_pt_subheap_extend(pt_thread *thread, pt_arena *arena, size_t size);
/* The top has grown by a free: gives whole subheaps and the end of the last one back. */
bool al_pt_subheap_trim(pt_heap *heap, pt_arena *arena, size_t pad);

/* --- ptmalloc.c, realloc.c, aligned.c, zeroed.c --- */

void *al_pt_malloc(al_thread *thread, size_t bytes);
void al_pt_free(al_thread *thread, void *block);
void *al_pt_realloc(al_thread *thread, void *block, size_t bytes);
void *al_pt_memalign(al_thread *thread, size_t alignment, size_t bytes);
void *al_pt_calloc(al_thread *thread, size_t bytes);

static inline void al_pt_perturb_new(const pt_heap *heap, void *block, size_t bytes) {
    if (__builtin_expect(heap->params.perturb != 0, 0)) memset(block, heap->params.perturb ^ 0xff, bytes);
}

/* --- settings.c, environment.c, figures.c, report.c --- */

extern const al_tunable al_pt_tunables[PT_TUNABLES];
void al_pt_configure(pt_heap *heap); /* params from the settings */
void al_pt_environment(al_settings *settings);
int al_pt_mallopt(al_heap *heap, int parameter, int value);
al_ledger al_pt_ledger(al_heap *heap);
size_t al_pt_stats(al_heap *heap, al_stat *out, size_t room);
void al_pt_mallinfo(al_heap *heap, struct mallinfo2 *out);
void al_pt_report(al_heap *heap, FILE *out);
int al_pt_report_xml(al_heap *heap, FILE *out);

/* --- walk.c, validate.c, shelves.c, explain.c: looking inside; inspect.h has what they share --- */

void al_pt_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_pt_validate(al_heap *heap, al_flaw *flaw);
void al_pt_bins(al_heap *heap, al_bin_fn *visit, void *context);
size_t al_pt_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);

#endif
