/* tcmalloc: every decision of gperftools 2.10, in the same order, so that on the same calls every block lies where it
 * puts it and the system is asked for the same memory.
 *
 *   malloc  small (to 256 KiB): the thread's cache, a chain of objects for each class
 *           none cached: a few from the central list of the class, at first one, then one more each time, up to a batch
 *           and then by batches: from the transfer cache if it is a whole batch, else from the first span with free
 *           objects; at last from a new span
 *           large: pages of its own from the page heap
 *   pages   the shortest free span that is long enough, normal ones before returned ones of the same length; cut
 *           else the system: the break, then mappings, at least 1 MiB
 *   free    the thread's cache; where the class's chain has grown too long a batch goes to the transfer cache, and what
 *           has no room there to its span; a span without a live object goes to the page heap at once
 *           pages: merged with free neighbours that are normal, too
 *   release after so many pages were freed, a free span is given back (MADV_DONTNEED): it is returned
 *
 * Metadata (records of spans, leaves of the map, ...) lies in chunks of 8 MiB got like all memory: they stand between
 * the pages of the heap, so every record has the size of theirs.
 *
 * Locks: a central list's lock guards its spans and slots; heap->lock the page heap, the metadata, the list of threads
 * and their shares of the budget. Order: central, heap->lock. A slot of another class is only tried for. Thread caches
 * have no lock; what of them others may look at is written atomically.
 *
 * The ledger is computed when asked for:
 *
 *     cached   = thread caches + objects in slots * their bytes
 *     free     = normal and returned spans + objects on spans * their bytes
 *     metadata = what is in no span (chunks, what alignment has lost), ends of spans, the allocator's own blocks
 *     usable   = mapped - cached - free - metadata */
#ifndef AL_ALLOCATORS_TCMALLOC_TCMALLOC_H
#define AL_ALLOCATORS_TCMALLOC_TCMALLOC_H

#include "allocators/tcmalloc/span.h"

#include <string.h>

typedef enum tc_tunable {
    TC_MAX_TOTAL_THREAD_CACHE_BYTES,
    TC_RELEASE_RATE,
    TC_AGGRESSIVE_DECOMMIT,
    TC_HEAP_LIMIT_MB,
    TC_TRANSFER_NUM_OBJ,
    TC_SKIP_SBRK,
    TC_SKIP_MMAP,
    TC_DISABLE_MEMORY_RELEASE,
    TC_STATS_AT_EXIT,
    TC_TUNABLES
} tc_tunable;

enum {
    TC_LISTED_PAGES = 128,         /* free spans up to this long have a list of their length, longer ones a set */
    TC_GROWTH_PAGES = 128,         /* the least that is asked of the system */
    TC_CHUNK_BYTES = 8 << 20,      /* of metadata */
    TC_SLOTS_MOST = 64,
    TC_SLOTS_FIRST = 16,
    TC_CHAIN_MOST = 8192,          /* objects that a thread's chain of a class may have */
    TC_OVERAGES_MOST = 3,
    TC_SHARE_STEP = 64 << 10,      /* bytes of the budget of thread caches */
    TC_SHARE_LEAST = 512 << 10,
    TC_CACHE_RECORD = 4160,        /* what theirs takes of metadata for a thread's cache */
    TC_STEALS_MOST = 10,           /* threads that are tried, to get a step from */
    TC_RELEASE_FIRST = 1 << 18,    /* pages freed before the first release */
    TC_RELEASE_MOST = 1 << 20,     /* and at most between two */
    TC_RELEASE_NONE = 1 << 18      /* after there was nothing to release */
};

/* The settings in force. */
typedef struct tc_params {
    size_t cache_budget;           /* of all thread caches together */
    size_t fair_share;             /* of it for a thread, when it was set; within limits */
    double release_rate;           /* 1: a page for each 1000 freed; 0: never */
    bool decommit;                 /* what is freed is returned at once */
    size_t limit_pages;            /* of the heap; 0: none */
    unsigned batch_most;
    bool skip_sbrk, skip_mmap;
    bool keep;                     /* nothing is ever released */
} tc_params;

/* --- objects in chains: linked by their first words, the last one's is NULL --- */

typedef struct tc_chain {
    void *head, *tail;
} tc_chain;

static inline void *al_tc_after(const void *object) { return *(void *const *)object; }
static inline void al_tc_link(void *object, void *next) { *(void **)object = next; }

/* --- central.c: what threads share of a class --- */

typedef struct tc_central {
    al_lock lock;
    uint8_t class;
    unsigned slots_most;           /* what `slots` may become */
    unsigned slots;                /* the transfer cache has room for so many batches */
    unsigned used;                 /* and holds so many */
    tc_spans spans;
    tc_chain transfer[TC_SLOTS_MOST];
    uint64_t fetches, returns;     /* by threads */
    uint64_t from_spans;           /* fetches that no slot served */
    uint64_t slots_full;           /* batches that came back and found no slot */
    uint64_t populated, emptied;   /* spans */
    uint64_t contended;            /* how often the lock was found taken */
} __attribute__((aligned(64))) tc_central;

typedef struct tc_heap tc_heap;

void al_tc_central_init(tc_heap *heap);
/* Up to `count` objects, from one slot or from spans; how many there are. 0: no memory. */
unsigned al_tc_central_take(tc_heap *heap, unsigned class, unsigned count, tc_chain *out);
/* A chain of `count` objects comes back. */
void al_tc_central_give(tc_heap *heap, unsigned class, unsigned count, tc_chain chain);

/* --- pageheap.c: free spans; heap->lock is held --- */

enum { TC_OWN_BLOCKS = 2 };        /* of 8 and 16 bytes */

enum { TC_KINDS = 2 };             /* of free spans: normal, returned */

static inline unsigned al_tc_kind(const tc_span *span) { return span->location - TC_NORMAL; }

/* Memory that was got from the system at one time. */
typedef struct tc_growth {
    size_t bytes;
    uintptr_t address;
    uint64_t words[30];            /* theirs is as long: a stack trace */
    struct tc_growth *older;
} tc_growth;

_Static_assert(sizeof(tc_growth) == 264, "as many to a unit of metadata as theirs");

typedef struct tc_page_heap {
    al_link shelves[TC_LISTED_PAGES + 1][TC_KINDS]; /* by pages, the last kept first; [0]: unused */
    tc_node *sets[TC_KINDS];       /* of longer ones */
    size_t set_counts[TC_KINDS];
    tc_records nodes, growth_records;
    tc_growth *growths;            /* the newest first */
    uintptr_t pending;             /* memory got, for whose records there was none; 0: there is none such */
    size_t pending_bytes;
    size_t system_bytes;           /* got for spans */
    size_t normal_bytes, returned_bytes;
    size_t committed_bytes;
    int64_t release_counter;       /* pages that may still be freed before something is released */
    unsigned release_next;         /* the length whose turn it is; beyond TC_LISTED_PAGES: the set's */
    uint64_t scavenges, commits, decommits, reserves; /* as counted by theirs */
    uint64_t committed_total, decommitted_total, reserved_total; /* bytes */
    uintptr_t chunk_at, chunk_end; /* the unused part of the last chunk of metadata */
    size_t metadata_bytes;         /* of all chunks */
    size_t handed_bytes;           /* of these, what records and leaves have */
    size_t released_extra;         /* bytes released beyond what was asked for: they count for the next time */
    bool break_failed;             /* so mappings are asked for */
} tc_page_heap;

tc_span *al_tc_pages_take(tc_base *base, size_t pages);
void al_tc_pages_give(tc_base *base, tc_span *span);
/* Cuts an in-use span without a class after so many pages; the rest, in use, too. NULL: no memory for its record. */
tc_span *al_tc_pages_split(tc_heap *heap, tc_span *span, size_t pages);
/* A growth becomes free. */
void al_tc_pages_add(tc_heap *heap, tc_span *span);
/* Gives back whole free spans until so many pages are; how many were. */
size_t al_tc_release(tc_heap *heap, size_t pages);
/* Whether so many pages more may be committed; what is free is released to get there. */
bool al_tc_within_limit(tc_heap *heap, size_t pages, bool release);
void al_tc_pages_init(tc_heap *heap);

/* --- grow.c: the system; heap->lock is held --- */

/* So many bytes, a multiple of the page, at a multiple of `alignment`. NULL: no memory. */
void *al_tc_system_take(tc_heap *heap, size_t bytes, size_t alignment);
void *al_tc_metadata(tc_base *base, size_t bytes);
/* At least so many pages more, free. False: no memory. */
bool al_tc_grow(tc_heap *heap, size_t pages);

/* --- a thread's cache --- */

typedef struct tc_list {
    void *head;
    uint32_t bytes;                /* of an object */
    uint32_t length, low;          /* objects; the fewest since the last scavenge */
    uint32_t most;                 /* what is longer gives a batch back */
    uint32_t overages;             /* how often it was since `most` last fell */
} tc_list;

/* Others may look at it. */
static inline void al_tc_set_length(tc_list *list, uint32_t length) {
    __atomic_store_n(&list->length, length, __ATOMIC_RELAXED);
}

typedef struct tc_thread {
    al_thread thread;
    size_t cached;                 /* bytes in the lists */
    size_t share;                  /* of the budget: what it may cache */
    bool arrived;                  /* it has a share, and is in the list of threads */
    bool lost;                     /* it ran when another forked, and this is the child: its lists may be torn */
    void *record;                  /* the metadata that theirs takes for a cache: the break moves alike */
    struct tc_thread *next, *prev; /* all threads, the last come first */
    /* Of a size: where its list is, in bytes from lists. The sizes and lists that most requests need lie together. */
    uint16_t places[TC_PLACE_FINE + 1];
    _Alignas(64) tc_list lists[TC_CLASSES_MOST]; /* two to a cache line */
    uint16_t coarse_places[TC_PLACES - TC_PLACE_FINE - 1];
} tc_thread;

/* Others may take of it. */
static inline size_t al_tc_share(const tc_thread *thread) { return __atomic_load_n(&thread->share, __ATOMIC_RELAXED); }

/* What the map's word says of the class, as it lies there: from lists, where its list is, in bytes. */
_Static_assert(sizeof(tc_list) == 1 << 5, "class * sizeof(tc_list) is word >> (56 - 5), as the bits between are 0");
static inline tc_list *al_tc_list_at(tc_thread *thread, size_t bytes) {
    return (tc_list *)((char *)thread->lists + bytes);
}

/* pre: bytes <= TC_SMALL_MOST. */
static inline tc_list *al_tc_list_for(tc_thread *thread, size_t bytes) {
    const size_t place = al_tc_place(bytes);
    const bool fine = __builtin_expect(bytes <= TC_FINE_MOST, 1);
    return al_tc_list_at(thread, fine ? thread->places[place] : thread->coarse_places[place - TC_PLACE_FINE - 1]);
}

/* Others may look at it. */
static inline void al_tc_set_cached(tc_thread *thread, size_t bytes) {
    __atomic_store_n(&thread->cached, bytes, __ATOMIC_RELAXED);
}
static inline size_t al_tc_cached(const tc_thread *thread) {
    return __atomic_load_n(&thread->cached, __ATOMIC_RELAXED);
}

struct tc_heap {
    tc_base base;
    tc_params params;
    tc_page_heap pages;
    tc_records caches;             /* tc_thread.record */
    tc_thread *threads;            /* the last come first */
    tc_thread *victim;             /* whose share is tried next; NULL: the first */
    int64_t unclaimed;             /* what of the budget no thread has; may be negative */
    tc_thread first;               /* the cache that al_tc_begin drops: nobody uses it, its share is lost */
    bool beginning;                /* somebody is in al_tc_begin, or was */
    bool begun;                    /* after it: until then only budget, batches and decommit are as set */
    void *own[TC_OWN_BLOCKS];      /* blocks of the allocator's own; NULL: there was no memory */
    unsigned slot_victim;          /* the class that is to give a slot next */
    tc_central central[TC_CLASSES_MOST];
};

/* The class of own[i]. */
static inline unsigned al_tc_own_class(const tc_heap *heap, unsigned i) {
    return al_tc_class_of(&heap->base.classes, (size_t)8 << i);
}
static inline tc_heap *al_tc_of(al_heap *heap) { return (tc_heap *)heap; }
static inline tc_heap *al_tc_heap(const tc_thread *thread) { return (tc_heap *)thread->thread.heap; }

/* cache.c */

/* An object of the class where the thread has none. NULL: no memory. */
void *al_tc_cache_fetch(tc_thread *thread, unsigned class);
/* After a free: the list is longer than it may be, the thread caches more than its share, or it has no cache: a free
 * makes none. */
void al_tc_cache_overflow(tc_thread *thread, tc_list *list, unsigned class);
/* Everything cached goes back to the central lists. */
void al_tc_cache_empty(tc_thread *thread);

/* --- threads.c --- */

int al_tc_thread_create(al_thread *thread);
/* The thread's first request. False: no memory. */
bool al_tc_arrive(tc_thread *thread);
/* After the process's first request. Theirs serves it, for libstdc++, before its own constructors run; those make a
 * block and free it, drop the cache that did, and make two blocks. */
void al_tc_begin(tc_thread *thread);
void al_tc_thread_exit(al_thread *thread);
/* Its cache goes as if it exited; it gets another one with its next request. */
void al_tc_thread_idle(tc_thread *thread);
/* Its share grows by a step; heap->lock is held. */
void al_tc_share_grow(tc_heap *heap, tc_thread *thread);
/* Every lock but those of the region manager: no thread moves but in its own cache. */
void al_tc_hold(tc_heap *heap);
void al_tc_let_go(tc_heap *heap);
void al_tc_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment);

/* --- tcmalloc.c, realloc.c, aligned.c --- */

void *al_tc_malloc(al_thread *thread, size_t bytes);
/* A large block. NULL: no memory. */
void *al_tc_large_take(tc_thread *thread, size_t pages);
void al_tc_free(al_thread *thread, void *block);
void *al_tc_memalign(al_thread *thread, size_t alignment, size_t bytes);
void *al_tc_realloc(al_thread *thread, void *block, size_t bytes);
size_t al_tc_size_of(const tc_heap *heap, const void *block);

/* --- ledger.c --- */

al_ledger al_tc_ledger(al_heap *heap);

/* --- settings.c, environment.c, control.c, report.c; figures.h has the rest --- */

extern const al_tunable al_tc_tunables[TC_TUNABLES];

static inline size_t al_tc_limit_pages(uint64_t mb) { return mb << (20 - TC_PAGE_BITS); }

void al_tc_configure(tc_heap *heap); /* params from the settings */
/* Changes the budget while threads have shares of it; heap->lock is held. */
void al_tc_budget_set(tc_heap *heap, size_t bytes);
void al_tc_environment(al_settings *settings);
int al_tc_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);
int al_tc_mallopt(al_heap *heap, int parameter, int value);
void al_tc_mallinfo(al_heap *heap, struct mallinfo2 *out);
void al_tc_report(al_heap *heap, FILE *out);
void al_tc_report_with_tables(al_heap *heap, FILE *out);
size_t al_tc_stats(al_heap *heap, al_stat *out, size_t room);

/* --- walk.c, validate.c, shelves.c, explain.c, views.c: looking inside --- */

extern const char *const al_tc_views[];
void al_tc_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_tc_validate(al_heap *heap, al_flaw *flaw);
void al_tc_bins(al_heap *heap, al_bin_fn *visit, void *context);
size_t al_tc_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);
void al_tc_view(al_heap *heap, const char *view, al_row_fn *visit, void *context);

#endif
