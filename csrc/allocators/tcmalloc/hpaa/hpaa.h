/* tcmalloc-hpaa: the modern tcmalloc, with caches per CPU and a page allocator that thinks in hugepages.
 *
 *   malloc  small (to 256 KiB): the CPU's cache, a stack of objects for each class
 *           none cached: some from the transfer cache of the class, else from its central list: of the span that has
 *           the most objects out; at last from a new span
 *           large: pages of its own from the page allocator
 *   free    the CPU's cache; where the class's stack is full some go to the transfer cache, and what has no room there
 *           to their spans; a span without a live object goes to the page allocator at once
 *   pages   from the fullest hugepage that has room: pages.h
 *
 * Stacks have no room at first. They get it by misses, from a budget that each CPU has (cpu.c says how).
 *
 * The lab's CPUs are simulated: a thread has one for life, by its number, or asks the system each time (`cpu_of`).
 * Theirs needs no lock for the stacks, since the kernel restarts whom it interrupts in the middle (rseq); here a CPU's
 * cache has a lock.
 *
 * Locks: the background; a CPU's cache; a class (its transfer cache and its central list); heap->lock: pages, metadata
 * and the system. In this order; of CPUs one is locked at a time, and of classes, or all by their numbers.
 *
 * The ledger is computed when asked for, with all of them held:
 *
 *     cached   = sum over CPUs and classes of objects on stacks * their bytes + the same of transfer caches
 *     free     = objects on spans + free pages
 *     metadata = of the page allocator (records, map, stacks) + ends of spans that hold no object
 *     usable   = mapped - cached - free - metadata */
#ifndef AL_ALLOCATORS_TCMALLOC_HPAA_HPAA_H
#define AL_ALLOCATORS_TCMALLOC_HPAA_HPAA_H

#include "allocators/tcmalloc/hpaa/pages.h"
#include "allocators/tcmalloc/span.h"
#include "base/bitmap.h"

#include <errno.h>
#include <string.h>
#include <sys/single_threaded.h>

typedef enum hp_tunable {
    HP_CPUS,
    HP_CPU_OF,
    HP_MAX_PER_CPU_CACHE_SIZE,
    HP_BACKGROUND,
    HP_BACKGROUND_RELEASE_RATE,
    HP_HUGEPAGE_CACHE_LIMIT,      /* of pages.h, from here on */
    HP_REGIONS,
    HP_REGION_SLACK,
    HP_SUBRELEASE,
    HP_SKIP_SUBRELEASE_SHORT_INTERVAL,
    HP_SKIP_SUBRELEASE_LONG_INTERVAL,
    HP_SEED,
    HP_TUNABLES
} hp_tunable;

enum { HP_CPU_OF_THREAD, HP_CPU_OF_SYSTEM, HP_CPU_OFS };

enum {
    HP_CPUS_MOST = 256,
    HP_CLASSES = 49,              /* with class 0, which is none */
    HP_BITMAP_LEAST = 48,         /* objects of so many bytes have a bitmap in their span's record */
    HP_BITMAP_WORDS = 3,          /* which is long enough: 8192 / 48 = 170 objects */
    HP_RECENT = 12,               /* smaller ones: freed objects that the record itself remembers */
    HP_BATCHES_FIRST = 16,        /* of the transfer cache */
    HP_BATCHES_MOST = 64,
    HP_TRANSFER_MOST = 1 << 20    /* and bytes */
};

/* The settings in force. */
typedef struct hp_params {
    unsigned cpus;
    unsigned cpu_of;
    size_t cpu_budget;            /* bytes of capacity that each CPU's cache begins with */
    bool background;
    size_t release_rate;          /* bytes a second that the background gives back */
    size_t cache_limit;           /* hugepages that the cache of them begins with */
    bool regions;
    size_t region_slack;          /* bytes of it that make a region worth while */
    bool subrelease;
    uint64_t skip_short, skip_long; /* nanoseconds; 0: memory is subreleased whatever the demand was */
    uint64_t seed;
} hp_params;

/* --- objects.c: the free objects of a span --- */

/* A span of small objects remembers them by index. Some are in the record itself; what has no room there is written
 * into the free objects: each that is a holder has in its first half-word the next holder, and in those behind the
 * indices of others. Objects from `fresh` on were never out. */
typedef struct hp_indices {
    uint16_t fresh;
    uint16_t holder;              /* the first one; HP_NO_OBJECT: none */
    uint16_t held;                /* indices that the first one holds; all others are full */
    uint16_t recent_count;
    uint16_t recent[HP_RECENT];   /* a stack */
} hp_indices;

enum { HP_NO_OBJECT = 0xffff };

typedef struct hp_span {
    tc_span span;
    union {                       /* with a class */
        uint64_t free[HP_BITMAP_WORDS]; /* bit i: object i is on the span */
        hp_indices indices;
    };
} hp_span;

typedef struct hp_heap hp_heap;

static inline hp_span *al_hp_span_of(tc_span *span) { return (hp_span *)span; }

static inline bool al_hp_has_bitmap(const tc_class *class) { return class->bytes >= HP_BITMAP_LEAST; }

/* All of them free. */
void al_hp_objects_init(hp_span *span, const tc_class *class);
/* pre: so many are on it. */
void al_hp_objects_take(hp_span *span, const tc_class *class, void **out, unsigned count);
void al_hp_objects_give(hp_span *span, const tc_class *class, unsigned index);
/* Of a span without a bitmap: all free objects. False: stopped, or what it says of them cannot be. A visitor that stops
 * at an index that is too large, or comes twice, is never led astray. */
typedef bool al_hp_index_fn(void *context, unsigned index); /* false stops the visit */
bool al_hp_indices_visit(const hp_span *span, const tc_class *class, al_hp_index_fn *visit, void *context);

/* --- classes.c --- */

extern const char al_hp_classes_version[];
/* The table, and the most objects that a stack of each class may hold. */
void al_hp_classes_init(hp_heap *heap);

/* --- central.c: what CPUs share of a class --- */

typedef struct hp_class {
    al_lock lock;
    tc_spans spans;
    void **transfer;              /* a stack; NULL: no memory for it yet */
    unsigned used, capacity, most; /* objects: capacity <= most, a multiple of the batch */
    unsigned low;                 /* the least that `used` was since it was last plundered */
    uint32_t inverse;             /* ceil(2^32 / bytes): offset * inverse >> 32 is the object's number */
    uint64_t takes, take_misses, gives, give_misses; /* of the transfer cache, a miss: it had not all */
    uint64_t misses_seen;         /* by the last resizing */
    uint64_t populated, emptied;  /* spans */
    uint64_t contended;           /* how often the lock was found taken */
} __attribute__((aligned(64))) hp_class;

/* --- cpu.c: a CPU's cache --- */

typedef struct hp_stack {
    void **slots;                 /* NULL: no memory for them yet */
    uint32_t used, capacity;
} hp_stack;

typedef enum hp_miss { HP_NO_MISS, HP_UNDERFLOW, HP_OVERFLOW } hp_miss;

typedef struct hp_habit {         /* of a stack */
    uint8_t last;                 /* hp_miss */
    bool missed;                  /* since capacity was last stolen */
    uint32_t successive;          /* misses of the same kind before the last one */
    uint64_t misses, misses_seen; /* all, and by the last resizing */
} hp_habit;

typedef struct hp_cpu {
    al_lock lock;
    uint16_t number;
    bool ready;                   /* its slots are there */
    unsigned steal_next;          /* the class that is to give capacity next */
    size_t budget;                /* bytes */
    size_t capacity;              /* sum over classes of capacity * bytes; <= budget */
    uint64_t underflows, overflows, reclaims, steals;
    uint64_t misses_seen, idle_misses; /* misses when it was last shuffled, looked at for idleness */
    size_t idle_bytes;            /* and what it held then */
    hp_stack stacks[HP_CLASSES];
    hp_habit habits[HP_CLASSES];
} __attribute__((aligned(64))) hp_cpu;

typedef struct hp_thread {
    al_thread thread;
    hp_cpu *cpu;                  /* NULL: ask the system */
} hp_thread;

typedef struct hp_background {
    al_lock lock;                 /* one thread at a time does the work */
    uint64_t next;                /* when the next second is over; 0: not begun */
    uint64_t seconds;
} hp_background;

struct hp_heap {
    tc_base base;
    hp_params params;
    uint16_t depths[HP_CLASSES];  /* the most objects on a stack */
    hp_background background;
    hp_pages pages;
    hp_class classes[HP_CLASSES];
    hp_cpu cpus[HP_CPUS_MOST];
};

static inline hp_heap *al_hp_of(al_heap *heap) { return (hp_heap *)heap; }
static inline hp_heap *al_hp_base(tc_base *base) { return (hp_heap *)base; }
static inline hp_heap *al_hp_heap(const hp_thread *thread) { return (hp_heap *)thread->thread.heap; }

static inline const tc_class *al_hp_shape(const hp_heap *heap, unsigned class) { return &heap->base.classes.of[class]; }

static inline unsigned al_hp_index_of(const hp_class *class, const tc_span *span, const void *object) {
    return (unsigned)(((uintptr_t)object - span->address) * class->inverse >> 32);
}

/* What an operation enters: the CPU's cache. A process with one thread needs no lock, and stays one meanwhile. */
static inline bool al_hp_enter(hp_cpu *cpu) {
    if (__libc_single_threaded) return false;
    al_lock_take(&cpu->lock);
    return true;
}
static inline void al_hp_leave(hp_cpu *cpu, bool locked) {
    if (locked) al_lock_drop(&cpu->lock);
}

static inline void *al_hp_metadata_take(hp_heap *heap, size_t bytes) {
    al_lock_take(&heap->base.heap.lock);
    void *at = heap->base.metadata(&heap->base, bytes);
    al_lock_drop(&heap->base.heap.lock);
    return at;
}

/* --- central.c; but for the first, each locks the class --- */

/* The list of its class that a span belongs in. */
unsigned al_hp_list_of(const tc_span *span, const tc_class *class);

/* Up to `count` objects; how many there are. 0: no memory. */
unsigned al_hp_class_take(hp_heap *heap, unsigned class, void **out, unsigned count);
void al_hp_class_give(hp_heap *heap, unsigned class, void **objects, unsigned count);
/* What the transfer cache never needed since the last time goes to the spans. */
void al_hp_class_plunder(hp_heap *heap, unsigned class);
/* The transfer cache gets room for a batch more or less; false: it has as much as it may, or as little. */
bool al_hp_class_resize(hp_heap *heap, unsigned class, int batches);

/* --- cpu.c; the CPU's cache is locked --- */

/* An object where the stack is empty. NULL: no memory. */
void *al_hp_cpu_underflow(hp_heap *heap, hp_cpu *cpu, unsigned class);
/* An object that comes to a full stack. */
void al_hp_cpu_overflow(hp_heap *heap, hp_cpu *cpu, unsigned class, void *block);
/* So much more capacity for a class, or what of it the budget and the depth allow. */
void al_hp_cpu_grow(hp_heap *heap, hp_cpu *cpu, unsigned class, unsigned more);
/* Capacity of other classes is given up, about so many bytes of it; thief: a class that is spared, or 0. */
void al_hp_cpu_steal(hp_heap *heap, hp_cpu *cpu, unsigned thief, size_t lacking);
size_t al_hp_cpu_bytes(const hp_heap *heap, const hp_cpu *cpu); /* on its stacks */
/* All objects go, and all capacity; how many bytes that were. */
size_t al_hp_cpu_drain(hp_heap *heap, hp_cpu *cpu);

/* --- threads.c --- */

int al_hp_thread_create(al_thread *thread);
/* The CPU that this thread runs on now, where it has none for life. */
hp_cpu *al_hp_cpu_now(hp_heap *heap);
/* Takes, and drops, the locks of all CPUs and classes. */
void al_hp_hold(hp_heap *heap);
void al_hp_let_go(hp_heap *heap);
void al_hp_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment);

/* --- hpaa.c, blocks.c --- */

/* An object of the class, by way of the CPU's cache. NULL: no memory. */
void *al_hp_small_take(hp_thread *thread, unsigned class);
void al_hp_small_give(hp_thread *thread, void *block, unsigned class);
/* Pages of its own. NULL: no memory. */
void *al_hp_large_take(hp_heap *heap, size_t bytes, size_t alignment);
/* Dies where there is no such block. */
void al_hp_large_give(hp_heap *heap, void *block);

void *al_hp_malloc(al_thread *thread, size_t bytes);
void al_hp_free(al_thread *thread, void *block);
void *al_hp_calloc(al_thread *thread, size_t bytes);
void *al_hp_memalign(al_thread *thread, size_t alignment, size_t bytes);
void *al_hp_realloc(al_thread *thread, void *block, size_t bytes);
size_t al_hp_usable_size(al_heap *heap, const void *block);

/* --- settings.c, background.c, figures.c, control.c, report.c --- */

extern const al_tunable al_hp_tunables[HP_TUNABLES];
void al_hp_configure(hp_heap *heap); /* params from the settings */
uint64_t al_hp_background(al_heap *heap);
al_ledger al_hp_ledger(al_heap *heap);
size_t al_hp_stats(al_heap *heap, al_stat *out, size_t room);
int al_hp_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);
void al_hp_mallinfo(al_heap *heap, struct mallinfo2 *out);
void al_hp_report(al_heap *heap, FILE *out);

/* --- walk.c, validate.c, shelves.c, explain.c, views.c: looking inside --- */

extern const char *const al_hp_views[];
void al_hp_walk(al_heap *heap, al_walk_fn *visit, void *context);
bool al_hp_validate(al_heap *heap, al_flaw *flaw);
void al_hp_bins(al_heap *heap, al_bin_fn *visit, void *context);
size_t al_hp_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);
void al_hp_view(al_heap *heap, const char *view, al_row_fn *visit, void *context);

#endif
