/* The null allocator: it only counts, so its row is what the loop itself costs. Blocks come from 1 MiB that is used
 * over and over, those that do not fit from one larger range; they overlap, and hold nothing. */
#ifndef AL_REPLAY_NULL_H
#define AL_REPLAY_NULL_H

#include "replay/loop.h"

typedef struct al_null {
    struct al_strand *strand; /* whose it is, where threads run side by side; each has its own, of the same memory */
    char *ring, *large;
    size_t at, largest;
    uint64_t mallocs, frees;
} al_null;

/* largest: the largest block that will be asked for; where the system has no room for it, it fails when asked for.
 * False: no memory. */
bool al_null_init(al_null *null, size_t largest);
al_target al_null_target(al_null *null);
/* The same for strands, which time alone makes sense of. */
al_target al_null_strands_target(const al_null *null);
/* Its loop, by a name that instruction counters can be told. */
void al_loop_null(void *self, const al_ops *ops, size_t touch_page);

#endif
