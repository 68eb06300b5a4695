/* The contract of an allocator. A new allocator is a folder with one `const al_allocator al_NAME` and a line in
 * allocators.def, `AL_ALLOCATOR(NAME, FILE)`; replay, compare, the drop-in library and every law test then run on it.
 * The drop-in compiles FILE into its malloc family: there is the place of the path that is to be fast. NAME is the
 * allocator's name, with _ for each dash.
 *
 * An allocator is policy only. It does not know that it is malloc: heap.c has already turned away what malloc must
 * refuse (sizes over PTRDIFF_MAX, overflow, bad alignments) and handled NULL and zero, holds the lock unless
 * `locks_itself`, and the shim owns errno and symbols. It gets memory from heap->regions and nowhere else, and keeps
 * heap->ledger exact or computes it when asked.
 *
 * One that locks for itself takes heap->lock around its calls of the region manager, as heap.c does for its own; its
 * hooks are all called without a lock. */
#ifndef AL_ALLOCATORS_ALLOCATOR_H
#define AL_ALLOCATORS_ALLOCATOR_H

#include "base/lock.h"
#include "parts/walk.h"
#include "region/ledger.h"
#include "region/region.h"

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct al_allocator al_allocator;

enum { AL_TUNABLES_MAX = 32, AL_TEXTS_BYTES = 1024, AL_MIN_ALIGNMENT = 16 };

/* --- tunables --- */

typedef enum al_tunable_type {
    AL_TUNABLE_BYTES,
    AL_TUNABLE_COUNT,
    AL_TUNABLE_BOOL,
    AL_TUNABLE_CHOICE,
    AL_TUNABLE_INTEGER, /* may be negative: its value and its range are to be read as int64_t */
    AL_TUNABLE_TEXT     /* without commas; empty by default. Its value says where in the settings it lies */
} al_tunable_type;

typedef struct al_tunable {
    const char *name;
    al_tunable_type type;
    uint64_t value;           /* default; a choice is its index */
    uint64_t least, most;     /* range, both included; for choices 0 and count - 1 */
    const char *choices;      /* "first|next|best", for AL_TUNABLE_CHOICE; of a text what it looks like; else NULL */
    const char *help;         /* one line */
    const char *real_name;    /* what the real allocator calls it, or NULL */
    bool (*takes)(const char *text, size_t bytes); /* of a text, is it well written? The empty one always is */
} al_tunable;

typedef struct al_settings {
    uint64_t values[AL_TUNABLES_MAX]; /* in the order of allocator->tunables */
    uint32_t given;                   /* bit i: set by hand, not left at its default */
    uint32_t texts_used;              /* bytes of `texts` behind the first; the others are zero */
    char texts[1 + AL_TEXTS_BYTES];   /* the empty one, then others, each with its 0; also those since replaced */
} al_settings;

static inline const char *al_setting_text(const al_settings *settings, size_t tunable) {
    return settings->texts + settings->values[tunable];
}

/* --- instance and thread: the common head of every allocator's own structs --- */

typedef struct al_heap {
    const al_allocator *allocator;
    al_regions *regions;
    al_ledger ledger;                 /* exact, unless the allocator has a hook for it: ask al_heap_ledger */
    al_lock lock;
    uint32_t threads;                 /* ids given out so far */
    struct al_thread *idle;           /* exited threads' contexts, heap.c's own */
    al_settings settings;
    void (*wake)(void);               /* drop-ins: wakes the thread that does the background work; else NULL */
} al_heap;

typedef struct al_thread {
    al_heap *heap;
    uint32_t id;
    bool brief;                  /* lent for one call (to a thread that has exited): not worth a cache */
    struct al_thread *next_idle; /* exited threads, kept for reuse by heap.c */
} al_thread;

/* --- looking inside: parts/walk.h, and --- */

/* A named figure of the allocator's own, for reports. */
typedef struct al_stat {
    const char *name;
    uint64_t value;
} al_stat;

/* For the allocator: its background work is due sooner than it last said. Whatever locks the caller holds. */
static inline void al_heap_wake(al_heap *heap) {
    if (heap->wake != NULL) heap->wake();
}

typedef enum al_fork_moment { AL_FORK_PREPARE, AL_FORK_PARENT, AL_FORK_CHILD } al_fork_moment;

struct al_allocator {
    const char *name;
    const char *summary;      /* one line */
    const al_tunable *tunables;
    size_t tunable_count;
    size_t heap_bytes;        /* sizeof the allocator's heap struct, whose first member is al_heap */
    size_t thread_bytes;      /* sizeof its thread struct, whose first member is al_thread */
    bool locks_itself;
    bool aligns_all;          /* memalign is called for small alignments, too, where others' malloc serves them */
    size_t scattered_from;    /* blocks of so many usable bytes begin at a random place in their first page; 0: none */

    /* Drop-ins: what the real library's own variables say. ALLOCLAB_OPTIONS comes after it and wins. May be NULL. */
    void (*environment)(al_settings *settings);

    /* The structs arrive zeroed but for their heads. Return 0 or an errno value. Any of these four may be NULL. */
    int (*create)(al_heap *heap);
    void (*destroy)(al_heap *heap); /* the regions are taken back by heap.c */
    int (*thread_create)(al_thread *thread);
    void (*thread_exit)(al_thread *thread);

    /* 0 <= bytes <= PTRDIFF_MAX. Results are aligned to AL_MIN_ALIGNMENT (8 suffices below 16 bytes), unique, NULL on
     * failure, and a failure changes nothing. */
    void *(*malloc)(al_thread *thread, size_t bytes);
    void *(*calloc)(al_thread *thread, size_t bytes);                     /* all zero */
    void *(*memalign)(al_thread *thread, size_t alignment, size_t bytes); /* power of two > AL_MIN_ALIGNMENT, or any */
    void *(*realloc)(al_thread *thread, void *block, size_t bytes);       /* block != NULL, bytes > 0 */
    void (*free)(al_thread *thread, void *block);                         /* block != NULL */
    size_t (*usable_size)(al_heap *heap, const void *block);              /* block != NULL */
    bool (*resizes_to_zero)(al_heap *heap); /* realloc is called for 0 bytes, too; else, or NULL: free is. No lock */

    bool (*trim)(al_heap *heap, size_t pad); /* gives free memory back; true if any was. May be NULL */
    void (*walk)(al_heap *heap, al_walk_fn *visit, void *context);
    bool (*validate)(al_heap *heap, al_flaw *flaw); /* full self-check; heap.c adds the ledger and the walk */

    /* Each of the rest may be NULL. Those with `room` write at most that many and return how many there are. */

    al_ledger (*ledger)(al_heap *heap); /* for one that does not keep heap->ledger, so that a fast path costs nothing */
    size_t (*stats)(al_heap *heap, al_stat *out, size_t room);
    void (*bins)(al_heap *heap, al_bin_fn *visit, void *context); /* every free chunk where it is kept, in list order */
    size_t (*explain)(al_heap *heap, uintptr_t address, al_fact *out, size_t room); /* of the piece that holds it */

    /* Tables of the allocator's own, each under its name; the list ends with NULL. `view` is one of them. */
    const char *const *views;
    void (*view)(al_heap *heap, const char *view, al_row_fn *visit, void *context);

    /* A figure or an act by the real library's own name for it (what jemalloc's mallctl takes, "arena.0.purge"). Reads
     * it into *value; `set`: makes it *value, or does it. 0; ENOENT: there is no such name; EPERM: it cannot be read,
     * or not be set; else (EINVAL, EFAULT): not to that value. A signed figure is its two's complement. `caller` is the
     * thread that asks, for what concerns it; NULL: one that has no context. */
    int (*control)(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);

    /* Does the background work that is due at al_regions_now, and returns after how many nanoseconds, at least one, to
     * call again; it may be called too early. A window calls it as its clock is advanced, at each moment it names. In a
     * drop-in a thread of the shim's does, and al_heap_wake makes it do so sooner.
     * UINT64_MAX: switched off. The thread is started by the first other answer, at the start of the process or after a
     * `control`; one that is on and has nothing to do names a distant moment. */
    uint64_t (*background)(al_heap *heap);

    /* What the real library answers to the calls of these names; NULL: what report.c can say of any allocator.
     * Printing may allocate, so the reports are called without the lock. */
    int (*mallopt)(al_heap *heap, int parameter, int value); /* 1: done */
    void (*mallinfo)(al_heap *heap, struct mallinfo2 *out);
    void (*report)(al_heap *heap, FILE *out);     /* malloc_stats */
    int (*report_xml)(al_heap *heap, FILE *out);  /* malloc_info: 0 or -1 */

    /* For locks_itself. `survivor` is the context of the thread that forks, NULL where it has none. */
    void (*fork)(al_heap *heap, al_thread *survivor, al_fork_moment moment);
};

#endif
