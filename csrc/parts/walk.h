/* Looking inside: the words in which parts and allocators say what lies where, and what is wrong. */
#ifndef AL_PARTS_WALK_H
#define AL_PARTS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum al_state { AL_STATE_LIVE, AL_STATE_FREE, AL_STATE_CACHED, AL_STATE_METADATA } al_state;

/* A piece of a region. A walk yields every mapped byte exactly once, in address order, so that the sums by state are
 * the ledger: live chunks add `usable` to usable and the rest of `bytes` to metadata; the others add `bytes` to their
 * state. */
typedef struct al_chunk {
    uintptr_t address;
    size_t bytes;
    uintptr_t block;  /* live: what malloc returned; else 0 */
    size_t usable;    /* live: al usable_size of it; else 0 */
    al_state state;
    uint32_t owner;   /* arena or the like; 0 where there is but one */
} al_chunk;

typedef bool al_walk_fn(void *context, const al_chunk *chunk); /* false stops the walk */

/* To whom pieces are shown, one at a time; false: no more are wanted. */
typedef struct al_shown {
    al_walk_fn *visit;
    void *context;
} al_shown;

/* One that is not live, and may be empty. */
static inline bool al_show(const al_shown *to, uintptr_t from, uintptr_t end, al_state state, uint32_t owner) {
    const al_chunk piece = {from, end - from, 0, 0, state, owner};
    return from == end || to->visit(to->context, &piece);
}

static inline bool al_show_live(const al_shown *to, uintptr_t from, uintptr_t end, uintptr_t block, size_t usable,
                                uint32_t owner) {
    const al_chunk piece = {from, end - from, block, usable, AL_STATE_LIVE, owner};
    return to->visit(to->context, &piece);
}

/* A free chunk in the list that keeps it. */
typedef struct al_binned {
    const char *kind;   /* the allocator's word: "tcache", "smallbin", "top", "slab", "dirty", ... */
    uint32_t owner;     /* the arena's number; of a thread's cache the thread's id */
    uint32_t index;     /* the list's number within its kind */
    size_t least, most; /* the sizes of chunks that belong there */
    uintptr_t address;  /* the chunk's, and all its bytes */
    size_t bytes;
} al_binned;

typedef bool al_bin_fn(void *context, const al_binned *entry); /* false stops the visit */

/* What an allocator knows of one piece, in its own words. */
typedef enum al_fact_kind { AL_FACT_COUNT, AL_FACT_BYTES, AL_FACT_ADDRESS, AL_FACT_FLAG, AL_FACT_TEXT } al_fact_kind;

typedef struct al_fact {
    const char *name;
    al_fact_kind kind;
    uint64_t value;
    const char *text; /* a constant string, for AL_FACT_TEXT */
} al_fact;

/* A row of a table of the allocator's own; each row of a table has the same columns, each column a name of its own. */
typedef bool al_row_fn(void *context, const al_fact *row, size_t columns); /* false stops the visit */

/* What validate found. */
typedef struct al_flaw {
    uintptr_t address;
    const char *what; /* a constant string: the rule that is broken */
} al_flaw;

/* For `return al_blame(...)` in checks. */
static inline bool al_blame(al_flaw *flaw, const void *at, const char *what) {
    *flaw = (al_flaw){(uintptr_t)at, what};
    return false;
}

#endif
