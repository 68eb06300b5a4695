/* jemalloc: every decision of jemalloc 5.3.0, in the same order, so that on the same calls every small block and the
 * pages of every large one lie where it puts them and the system is asked for the same memory. Where in its first page
 * a large block begins is random there, and comes from a seeded generator here.
 *
 *   malloc  small (to 14336 bytes) and large up to tcache_max: the thread's cache, a stack of blocks for each class
 *           small, none cached: half a stackful of regions from slabs of the thread's arena, of the current slab and
 *           then of the oldest and lowest that has room; at last from a new slab. Where there are bin_shards, threads
 *           of an arena have slabs apart
 *           large: an extent of the class's bytes and a page, the block at a random multiple of 64 in the first page
 *           extents: the oldest and lowest that fits, of the dirty ones, the muzzy ones, the retained ones; cut
 *           else the system: mappings of 2, 2.5, 3, 3.5, 4, 5, ... MiB per arena, what is not needed is retained
 *   free    the thread's cache; from a full one the older half goes back to slabs and extents
 *           an extent becomes dirty; at once merged with its dirty neighbours if it is large
 *   decay   now and then as operations pass (ticks): dirty extents beyond a limit, which sinks smoothly from what was
 *           freed to nothing over ten seconds, are given back (MADV_DONTNEED) and retained
 *
 * Metadata (extents' records, the map's leaves, arenas) lies in blocks of each arena's base, mappings of their own.
 *
 * Locks: an arena's lock guards its bins, slabs, extents and decay; heap->lock the region manager, all bases and the
 * map's leaves; arenas_lock the table of arenas, the threads' binding and the list of threads. Order: arenas_lock,
 * arena, heap->lock. Of arenas one is locked at a time, or all, by their numbers. Thread caches have no lock; what of
 * them others may look at is written atomically.
 *
 * The ledger is computed when asked for:
 *
 *     cached   = sum over threads and classes of count * class bytes
 *     usable   = sum over arenas and classes of current * class bytes, less cached, less internal
 *     metadata = bases + internal + for each large block its pad, for each slab its tail
 *     free     = mapped - usable - cached - metadata */
#ifndef AL_ALLOCATORS_JEMALLOC_JEMALLOC_H
#define AL_ALLOCATORS_JEMALLOC_JEMALLOC_H

#include "allocators/allocator.h"
#include "allocators/jemalloc/decay.h"
#include "allocators/jemalloc/extent.h"
#include "base/rng.h"

#include <errno.h>
#include <string.h>

typedef enum je_tunable {
    JE_NARENAS,
    JE_TCACHE,
    JE_TCACHE_MAX,
    JE_LG_TCACHE_NSLOTS_MUL,
    JE_TCACHE_NSLOTS_SMALL_MIN,
    JE_TCACHE_NSLOTS_SMALL_MAX,
    JE_TCACHE_NSLOTS_LARGE,
    JE_TCACHE_GC_INCR_BYTES,
    JE_TCACHE_GC_DELAY_BYTES,
    JE_LG_TCACHE_FLUSH_SMALL_DIV,
    JE_LG_TCACHE_FLUSH_LARGE_DIV,
    JE_DIRTY_DECAY_MS,
    JE_MUZZY_DECAY_MS,
    JE_BACKGROUND_THREAD,
    JE_RETAIN,
    JE_OVERSIZE_THRESHOLD,
    JE_LG_EXTENT_MAX_ACTIVE_FIT,
    JE_THP,
    JE_DSS,
    JE_JUNK,
    JE_ZERO,
    JE_STATS_PRINT,
    JE_SLAB_SIZES,
    JE_BIN_SHARDS,
    JE_ZERO_REALLOC,
    JE_CACHE_OBLIVIOUS,    /* from here on MALLOC_CONF knows them not */
    JE_HEAP_ORDER,
    JE_SEED,
    JE_TUNABLES
} je_tunable;

enum { JE_THP_DEFAULT, JE_THP_ALWAYS, JE_THP_NEVER, JE_THPS };
enum { JE_DSS_DISABLED, JE_DSS_PRIMARY, JE_DSS_SECONDARY, JE_DSSES };
enum { JE_ZERO_REALLOC_ALLOC, JE_ZERO_REALLOC_FREE, JE_ZERO_REALLOC_ABORT, JE_ZERO_REALLOCS };
enum { JE_JUNK_FALSE, JE_JUNK_ALLOC, JE_JUNK_FREE, JE_JUNK_TRUE, JE_JUNKS };
enum { JE_ORDER_STRICT, JE_ORDER_530, JE_ORDERS };

enum {
    JE_FIRST_BYTES = 2 << 20,      /* of an arena's first mapping, and the first block of its base */
    JE_ARENA_BYTES = 91008,        /* of base memory that each arena takes, */
    JE_SHARDS_MOST = 64,           /* of a bin */
    JE_SHARD_BYTES = 224,          /* more for each shard of a bin beyond the first; in all a multiple of 64, */
    JE_TABLE_BYTES = 896,          /* and the first for tables of all, without that of cache_classes' capacities */
    JE_BLOCK_HEAD = 144,           /* of each block */
    JE_EAGER_FIRST = 8 << 20,      /* eager_from of the first arena, which is made before settings count */
    JE_NARENAS_MOST = 4094,        /* that threads are bound to; and one for large blocks: */
    JE_ARENAS_MOST = JE_NARENAS_MOST + 1,
    JE_CACHE_CLASSES = 73,         /* that a thread's cache may have: up to 8 MiB */
    JE_TICKS = 1000,               /* between two looks at the clock, on the average */
    JE_SLEEPERS = 4
};

/* The settings in force. */
typedef struct je_params {
    unsigned narenas;              /* that threads are bound to; one more is for large blocks */
    bool tcache;
    unsigned cache_classes;        /* classes that thread caches hold */
    size_t gc_step, gc_delay;      /* bytes */
    unsigned flush_small_div, flush_large_div; /* shifts */
    int64_t dirty_ms, muzzy_ms;    /* of new arenas; -1: never */
    bool background;
    bool retain;
    size_t oversize;               /* requests of so many bytes have an arena of their own; 0: none */
    unsigned active_fit;           /* a dirty extent is not cut for less than this power of two of it */
    size_t pad;                    /* of large blocks, which begin at a random place in their first page; or 0 */
    unsigned dss, thp;
    bool junk_new, junk_freed, zero;
} je_params;

/* A slab of a class, as it is laid out. */
typedef struct je_slab_layout {
    uint32_t bytes;                /* of a region */
    uint32_t slab_bytes;           /* the regions', and a tail of less than one that belongs to none */
    uint32_t regions;
    uint32_t inverse;              /* ceil(2^32 / bytes): a region's offset * inverse >> 32 is its number */
} je_slab_layout;

static inline size_t al_je_slab_tail(const je_slab_layout *layout) {
    return layout->slab_bytes - (size_t)layout->regions * layout->bytes;
}

/* --- queue.c: extents, the oldest and lowest first --- */

typedef struct je_queue {
    je_extent *root;               /* the first; NULL: none */
    unsigned waiting;              /* lazy: how often one came to wait since all were in order */
    bool lazy;                     /* as in 5.3.0: queue.c says how that goes wrong */
} je_queue;

je_extent *al_je_queue_first(je_queue *queue);
void al_je_queue_insert(je_queue *queue, je_extent *extent);
void al_je_queue_remove(je_queue *queue, je_extent *extent);

/* --- extents.c: a set of free extents of one state --- */

typedef struct je_extents {
    je_state state;
    size_t pages;
    uint64_t nonempty[(JE_PAGE_CLASSES + 63) / 64]; /* bit i: queue i holds extents */
    je_queue queues[JE_PAGE_CLASSES];
    size_t counts[JE_PAGE_CLASSES], bytes[JE_PAGE_CLASSES]; /* of each queue's extents */
    al_link recency;               /* all of them, the one that came first at its head */
} je_extents;

void al_je_extents_init(je_extents *set, je_state state);
/* The queue that extents of so many bytes are kept in. */
unsigned al_je_extents_queue(size_t bytes);
void al_je_extents_insert(je_extents *set, je_extent *extent);
void al_je_extents_remove(je_extents *set, je_extent *extent);
/* The extent to cut `bytes` at a multiple of `alignment` from; it stays in the set. active_fit < 64: none that is more
 * than 2^active_fit times as large. NULL: none fits. */
je_extent *al_je_extents_fit(je_extents *set, size_t bytes, size_t alignment, unsigned active_fit);

/* --- arenas --- */

/* The slabs of a class in an arena are those of one shard or several. A thread takes from the shard whose turn it was
 * when it was bound to the arena. */
typedef struct je_shard {
    je_extent *current;            /* the slab that regions come from; NULL: none */
    je_queue partial;              /* the other slabs that have both free and live regions */
} je_shard;

/* What is counted of a class: of all its shards. */
typedef struct je_bin {
    uint64_t nmalloc, ndalloc, nrequests, nfills, nflushes, nslabs, reslabs;
    size_t regions, slabs, partials; /* now: live or cached, all, in queues */
} je_bin;

typedef struct je_large {
    uint64_t nmalloc, ndalloc, nrequests, nflushes;
    size_t current;
} je_large;

typedef struct je_purges {
    uint64_t purges, advices, pages; /* npurge, nmadvise, purged */
} je_purges;

/* A block of metadata. */
typedef struct je_block {
    struct je_block *next;         /* an older one */
    uintptr_t start, end;          /* of the mapping */
    uintptr_t at;                  /* from here on it is unused */
} je_block;

/* Guarded by heap->lock. */
typedef struct je_base {
    je_block *blocks;              /* the newest first */
    unsigned last_class;           /* page class of the newest block */
    size_t allocated, mapped;      /* bytes */
} je_base;

struct je_arena {
    al_lock lock;
    struct je_heap *heap;
    uint32_t number;
    uint32_t threads;              /* bound to it; guarded by arenas_lock, written atomically */
    uint32_t bound;                /* how often one was; guarded by arenas_lock */
    je_base base;
    je_extent *spare;              /* records of no extent, linked by next */
    size_t spares;                 /* how many they are */
    uint64_t next_serial;
    unsigned growth;               /* page class of the next mapping */
    size_t eager_from;             /* a free run of so many bytes is not kept dirty */
    size_t active_pages;           /* of slabs and large blocks */
    size_t internal_bytes;         /* usable bytes of blocks of the allocator's own */
    je_extents dirty, muzzy, retained;
    je_decay dirty_decay, muzzy_decay;
    je_purges dirty_purges, muzzy_purges;
    al_rng rng;                    /* where large blocks begin; jitter */
    je_bin bins[JE_SMALL_CLASSES];
    je_large large[JE_CLASSES - JE_SMALL_CLASSES];
    je_shard shards[];             /* heap->shards_from says where those of a class begin */
};

/* --- a thread --- */

/* The cached blocks of a class: a stack that grows down, from bottom to full.
 *
 *     full          top                        bottom
 *     |  (room)     | newest ... oldest        |
 *
 * low: the highest that top has been since the last collection; full <= top <= low <= bottom. Where a class has no
 * cache all four are equal. */
typedef struct je_stack {
    void **top, **low;
    void **full, **bottom;
    uint32_t bytes;                /* of a block */
    uint8_t fill_shift;            /* small: a fill is capacity >> fill_shift */
    bool filled;                   /* since the last collection */
    uint8_t delay;                 /* collections of so many blocks are still to be passed over */
    uint64_t requests;             /* not told the arena yet */
} je_stack;

typedef struct je_thread {
    al_thread thread;
    /* Bytes of blocks taken and given, and at how many of them the next collection is due. */
    size_t taken, taken_due, given, given_due;
    size_t taken_brief, given_brief; /* up to here the short way will do: due, or 0 where blocks are to be filled */
    bool arrived;                  /* it has asked for a block: the cache is open, the thread in the list */
    je_arena *arena;               /* NULL: not bound yet */
    uint32_t turn;                 /* how many were bound to it before: so its shards are found */
    void *slots;                   /* memory of the stacks: an internal block of arena 0; NULL: no cache */
    unsigned collect_next;         /* the class whose turn it is */
    int64_t ticks;                 /* until the clock is looked at */
    al_rng rng;
    struct je_thread *next, *prev; /* all threads */
    je_stack stacks[JE_CACHE_CLASSES];
} je_thread;

/* Who purges arenas in the background, and sleeps between: as many as threads of theirs; arena i is the business of
 * sleeper i % JE_SLEEPERS. Written atomically. */
typedef struct je_sleeper {
    uint64_t wakes;                /* when; 0: it has nothing to wait for */
    uint64_t due;                  /* pages that came since it fell asleep and will be due when it wakes */
} je_sleeper;

typedef struct je_heap {
    al_heap heap;
    je_params params;
    je_slab_layout layouts[JE_SMALL_CLASSES];
    uint16_t shards_from[JE_SMALL_CLASSES + 1]; /* the first shard of each class; behind the last: their number */
    uint16_t capacities[JE_CACHE_CLASSES]; /* of the stacks; 0: none */
    size_t slots_bytes;            /* of all of a thread's stacks */
    al_lock arenas_lock;
    je_arena *arenas[JE_ARENAS_MOST]; /* in [0, narenas) for threads, at narenas for oversize; NULL: not made yet */
    je_thread *threads;
    je_thread *lost;               /* that a fork has left behind: they have but their slots */
    je_base *first_base;           /* arena 0's, for what belongs to all */
    uintptr_t break_start, break_end; /* where the break was at first, and last (atomic) */
    bool break_spent;              /* it would not grow */
    je_sleeper sleepers[JE_SLEEPERS];
    al_pages map;
} je_heap;

static inline je_extents *al_je_extents_of(je_arena *arena, je_state state) {
    return state == JE_DIRTY ? &arena->dirty : state == JE_MUZZY ? &arena->muzzy : &arena->retained;
}

static inline je_heap *al_je_of(al_heap *heap) { return (je_heap *)heap; }
static inline je_heap *al_je_heap(const je_thread *thread) { return (je_heap *)thread->thread.heap; }

/* Got by moving the break: it cannot be unmapped. */
static inline bool al_je_of_break(const je_heap *heap, uintptr_t address) {
    return address >= heap->break_start && address < __atomic_load_n(&heap->break_end, __ATOMIC_RELAXED);
}

/* Whether pages are given back in the background; `control` may change it at any time. */
static inline bool al_je_in_background(const je_heap *heap) {
    return __atomic_load_n(&heap->params.background, __ATOMIC_RELAXED);
}

/* How many shards a bin has in each arena. */
static inline unsigned al_je_shards(const je_heap *heap, unsigned class) {
    return heap->shards_from[class + 1] - heap->shards_from[class];
}
/* The shard of its arena that a thread takes from. */
static inline unsigned al_je_shard_for(const je_thread *thread, unsigned class) {
    const unsigned shards = al_je_shards(al_je_heap(thread), class);
    return shards == 1 ? 0 : thread->turn % shards;
}
static inline je_shard *al_je_shard(const je_heap *heap, je_arena *arena, unsigned class, unsigned shard) {
    return &arena->shards[heap->shards_from[class] + shard];
}
static inline je_shard *al_je_shard_of(const je_heap *heap, const je_extent *slab) {
    return al_je_shard(heap, slab->arena, slab->class, slab->shard);
}
static inline size_t al_je_arena_bytes(const je_heap *heap) {
    const size_t more = heap->shards_from[JE_SMALL_CLASSES] - JE_SMALL_CLASSES;
    return al_align_up(JE_ARENA_BYTES + more * JE_SHARD_BYTES, 64);
}

/* An arena by number; NULL: not made yet. */
static inline je_arena *al_je_arena(const je_heap *heap, unsigned number) {
    return __atomic_load_n(&heap->arenas[number], __ATOMIC_ACQUIRE);
}

/* --- base.c: metadata --- */

/* Of new memory, as the setting `thp` says; heap->lock is held. */
void al_je_advise_huge(je_heap *heap, uintptr_t at, size_t bytes);

/* Zeroed; NULL: no memory. heap->lock is held. */
void *al_je_base_take(je_heap *heap, je_base *base, size_t bytes, size_t alignment);

/* --- map.c: what lies in which page --- */

/* Makes the leaves for two pages, from arena 0's base; heap->lock is held. False: no memory. */
bool al_je_map_prepare(je_heap *heap, uintptr_t page, uintptr_t other);
/* Enters the extent's first and last page, of a slab all pages. */
void al_je_map_enter(je_heap *heap, const je_extent *extent);
/* Makes the pages those of no extent. */
void al_je_map_leave(je_heap *heap, uintptr_t start, uintptr_t end);

static inline je_extent *al_je_extent_of(je_heap *heap, const void *block) {
    return al_je_word_extent(al_je_word(&heap->map, (uintptr_t)block));
}

/* --- pages.c: extents of an arena, taken and given; the arena is locked --- */

/* A record without an extent; NULL: no memory. Whose it is never changes: other arenas may ask that. */
je_extent *al_je_record_take(je_arena *arena);
/* Makes it that of these pages, in no set, not entered. */
void al_je_record_fill(je_extent *record, uintptr_t address, size_t bytes, uint64_t serial, bool zeroed);
void al_je_record_keep(je_arena *arena, je_extent *record);
/* An active extent of exactly so many bytes, for blocks of this class. NULL: no memory. */
je_extent *al_je_pages_take(je_arena *arena, size_t bytes, size_t alignment, unsigned class);
/* Pages that are not known to be zero are asked of the system anew rather than written; not where they may be huge. */
void al_je_pages_zero(je_heap *heap, const je_extent *extent);
/* An active extent becomes dirty, or what follows. */
void al_je_pages_give(je_arena *arena, je_extent *extent);
/* Grows an active extent by the free pages that follow it; false: there are not as many. The caller enters it. */
bool al_je_pages_expand(je_arena *arena, je_extent *extent, size_t more);
/* Cuts an active extent down to `bytes`, for blocks of another class, and gives the rest; false: no memory for its
 * record. */
bool al_je_pages_shrink(je_arena *arena, je_extent *extent, size_t bytes, unsigned class);
/* Merges an extent that is in no set with one neighbour that is in this one; NULL: there is none. */
je_extent *al_je_pages_merge_one(je_arena *arena, je_extents *set, je_extent *extent);
/* Puts a free extent that is in no set into this one, merged with all neighbours that are. */
void al_je_pages_merge_in(je_arena *arena, je_extents *set, je_extent *extent);
/* Cuts an extent that is in no set in two: it keeps `bytes`, the rest is returned, of the same state and serial; both
 * are entered. NULL: no memory for a record. */
je_extent *al_je_pages_split(je_arena *arena, je_extent *extent, size_t bytes);

/* --- purge.c: what becomes of dirty and muzzy extents --- */

/* Gives the oldest back to the system until at most `limit` pages are left in the set. fully: not by way of muzzy. */
void al_je_purge(je_arena *arena, je_extents *set, size_t limit, bool fully);
/* An extent in no set: its pages go back to the system at once. */
void al_je_release(je_arena *arena, je_extent *extent);
/* Purges what is due, unless that is done in the background; all: everything. */
void al_je_decay_now(je_arena *arena, bool all);
/* The background does it. */
void al_je_decay_from_outside(je_arena *arena);
/* After an operation of the thread on its arena; the arena is not locked. */
void al_je_tick(je_thread *thread, je_arena *arena, unsigned ticks);

/* --- grow.c: the system --- */

typedef struct je_span {
    uintptr_t start, end;
} je_span;

/* Maps so many bytes, aligned, at `at`, perhaps with more around them; heap->lock is held. False: no memory. */
bool al_je_map_pages(al_regions *regions, size_t bytes, size_t alignment, uintptr_t *at, je_span *got);
/* A new extent of so many bytes, in no set; NULL: no memory. */
je_extent *al_je_grow(je_arena *arena, size_t bytes, size_t alignment);

/* So many bytes from there on, where the system has them free; in no set, not entered. NULL: it has not. */
je_extent *al_je_grow_behind(je_arena *arena, uintptr_t end, size_t bytes);

/* --- slabs.c: small blocks of an arena; it is locked --- */

void al_je_layouts(je_heap *heap);
/* How many shards each bin has. */
void al_je_shards_configure(je_heap *heap);
/* Whether a bin may have so many shards. */
static inline bool al_je_are_shards(uint64_t number) { return number >= 1 && number <= JE_SHARDS_MOST; }
/* Up to `count` regions of a shard's, the lowest first. Returns how many there were. */
unsigned al_je_slabs_take(je_arena *arena, unsigned class, unsigned shard, void **out, unsigned count);
/* Returns the slab if it is empty now, and out of its bin: it is the caller's to give. Else NULL. */
je_extent *al_je_slabs_give(je_arena *arena, je_extent *slab, void *block);
/* Of a region's first byte. */
static inline unsigned al_je_region_of(const je_slab_layout *layout, const je_extent *slab, const void *block) {
    return (unsigned)(((uintptr_t)block - slab->address) * layout->inverse >> 32);
}

/* --- tcache.c --- */

/* Reckons the capacities. */
void al_je_cache_configure(je_heap *heap);
/* Stacks without room. */
void al_je_cache_init(je_thread *thread);
/* Those of the cache, if there is memory for them. */
void al_je_cache_open(je_thread *thread);
void al_je_cache_close(je_thread *thread);
/* Whether the thread's cache may hold blocks of the class. */
static inline bool al_je_cached(const je_thread *thread, unsigned class) {
    return class < JE_CACHE_CLASSES && thread->stacks[class].full != thread->stacks[class].bottom;
}
/* A block of a small class where the stack is empty. NULL: no memory. */
void *al_je_cache_fill(je_thread *thread, unsigned class);
/* A block of the class that lies on its stack; NULL: none does. */
void *al_je_cache_pop(je_thread *thread, unsigned class);
/* All but the newest `keep` go back. */
void al_je_cache_flush(je_thread *thread, unsigned class, unsigned keep);
/* Looks after the class whose turn it is. */
void al_je_collect(je_thread *thread);

/* What stays of a full stack, as a shift. */
static inline unsigned al_je_flush_div(const je_heap *heap, unsigned class) {
    return class < JE_SMALL_CLASSES ? heap->params.flush_small_div : heap->params.flush_large_div;
}
static inline unsigned al_je_stack_count(const je_stack *stack) {
    void **top = __atomic_load_n(&stack->top, __ATOMIC_RELAXED);
    return (unsigned)(stack->bottom - top);
}
static inline void al_je_stack_move(je_stack *stack, void **top) {
    __atomic_store_n(&stack->top, top, __ATOMIC_RELAXED);
}

/* --- large.c --- */

/* A block of a large class, not from the cache. bytes: what was asked, by which the arena is chosen; 0: the thread's
 * own, as for what the cache may hold. zero: its bytes are to be. */
void *al_je_large_take(je_thread *thread, size_t bytes, unsigned class, size_t alignment, bool zero);
/* The same for the allocator itself: page aligned, the arena locked. */
void *al_je_large_take_internal(je_arena *arena, unsigned class);
/* A block is no longer: the figures of its class. The arena is locked. */
void al_je_large_left(je_arena *arena, const je_extent *extent);
/* Into the dirty set; not into the cache. The arena is not locked. */
void al_je_large_give(je_thread *thread, je_extent *extent);
/* The block changes its class where it is; false: it cannot. */
bool al_je_large_resize(je_thread *thread, je_extent *extent, unsigned class);

/* --- arena.c: arenas; which one a thread uses; its end; fork --- */

/* The thread's first request: opens its cache, binds it to an arena. A context that is lent stays with arena 0. False:
 * there is no memory for the first arena. */
bool al_je_arrive(je_thread *thread);
/* The arena for a large block of so many bytes; NULL: no memory for it. */
je_arena *al_je_arena_for(je_thread *thread, size_t bytes);
/* Takes, and drops, arenas_lock and every arena's. */
void al_je_hold(je_heap *heap);
void al_je_let_go(je_heap *heap);
int al_je_thread_create(al_thread *thread);
void al_je_thread_exit(al_thread *thread);
void al_je_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment);

/* --- jemalloc.c, realloc.c, aligned.c, zeroed.c --- */

void *al_je_malloc(al_thread *thread, size_t bytes);
void al_je_free(al_thread *thread, void *block);
void *al_je_calloc(al_thread *thread, size_t bytes);
void *al_je_memalign(al_thread *thread, size_t alignment, size_t bytes);
void *al_je_realloc(al_thread *thread, void *block, size_t bytes);
/* malloc and free but for the account of bytes. `bytes` chooses the arena of large blocks. */
void *al_je_take(je_thread *thread, size_t bytes, unsigned class);
void al_je_give(je_thread *thread, void *block);
/* Past the thread's cache; a small block. */
void *al_je_take_uncached(je_thread *thread, unsigned class);
void al_je_give_uncached(je_thread *thread, je_extent *extent, void *block);
/* Fills a new block where the settings ask for it. */
void *al_je_fill_new(const je_heap *heap, void *block, size_t bytes);
/* An operation took and gave so many bytes: the cache is looked after where that is due. */
void al_je_count(je_thread *thread, size_t taken, size_t given);

/* --- settings.c, environment.c, figures.c, control.c, report.c --- */

extern const al_tunable al_je_tunables[JE_TUNABLES];
void al_je_configure(je_heap *heap); /* params from the settings */
void al_je_environment(al_settings *settings);
al_ledger al_je_ledger(al_heap *heap);
size_t al_je_stats(al_heap *heap, al_stat *out, size_t room);
int al_je_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);
void al_je_report(al_heap *heap, FILE *out);

/* --- background.c: purging from outside, with params.background --- */

uint64_t al_je_background(al_heap *heap);
/* What the arena, which is locked, tells who sleeps: it has a free extent more; an epoch of its has begun. */
void al_je_background_given(je_arena *arena);
void al_je_background_epoch(je_arena *arena, const je_decay *decay, uint64_t now);

/* --- walk.c, validate.c, shelves.c, explain.c, views.c: looking inside --- */

extern const char *const al_je_views[];
void al_je_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_je_validate(al_heap *heap, al_flaw *flaw);
void al_je_bins(al_heap *heap, al_bin_fn *visit, void *context);
size_t al_je_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);
void al_je_view(al_heap *heap, const char *view, al_row_fn *visit, void *context);

#endif
