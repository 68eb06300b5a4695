/* From the names a foreign trace gives (addresses, ids, thread ids: all used again) to dense numbers: objects in order
 * of birth, threads in order of appearance. A name is forgotten when its block is freed; a thread id, when its thread
 * exits. Counts what is live on the way. Memory: one entry per name in use. */
#ifndef AL_TRACE_IDENTITY_H
#define AL_TRACE_IDENTITY_H

#include "trace/addrmap.h"
#include "trace/rows.h"


enum al_problem {
    AL_PROBLEM_NONE,
    AL_PROBLEM_BORN_TWICE,      /* the new block's name is that of a live block */
    AL_PROBLEM_UNKNOWN_FREE,    /* free of a name that no live block has */
    AL_PROBLEM_UNKNOWN_REALLOC, /* realloc of such a name */
    AL_PROBLEM_IMPOSSIBLE,      /* a call that succeeded for more bytes than PTRDIFF_MAX */
};

/* A block that is live; a free entry of the pool holds the next free one in `object`. */
typedef struct al_named_block {
    int64_t object;
    uint64_t bytes;
} al_named_block;

typedef struct al_identity {
    al_addrmap names;       /* name -> index into blocks; -2 for a name that stands for NULL */
    al_addrmap threads;     /* thread id + 1 -> dense number */
    al_named_block *blocks; /* a pool */
    size_t blocks_capacity;
    int64_t free_block; /* head of the pool's free list, -1: none */
    int64_t objects, thread_count;
    uint64_t live_blocks, live_bytes, peak_bytes;
    bool unknown_realloc_is_malloc; /* a realloc of an unknown name makes it, as in CMU's malloc lab */
} al_identity;

bool al_identity_init(al_identity *identity, bool unknown_realloc_is_malloc); /* false: no memory */
void al_identity_destroy(al_identity *identity);

/* Goes through n events in order; name 0 is NULL.
 *
 *   malloc, calloc, aligned   name: the block made. Failed, or name 0: failed, no object; the name stands for NULL.
 *   realloc                   old_name -> name. old_name of NULL: op becomes malloc. size 0 ends the object, and a name
 *                             that it returned stands for NULL. Failed, or name 0: failed; the block stays.
 *   free                      name. Of NULL: no object.
 *   AL_ROW_RENAME             the block old_name goes by name from here on; no event.
 *
 * Writes object (-1: none), thread (dense) and problem for every row, and mends op and failed. A row with a problem
 * changes nothing. Returns the number of problems, or -1: no memory. */
int64_t al_identity_run(al_identity *identity, size_t n, uint8_t *op, const uint64_t *thread_id, const uint64_t *name,
                        const uint64_t *old_name, const uint64_t *size, const uint64_t *count, bool *failed,
                        int64_t *object, uint32_t *thread, uint8_t *problem);

#endif
