/* Where the blocks of a replay lie, operation by operation, and the system calls for memory made meanwhile. The file:
 *
 *     al_place [operations]    what became of each operation of the trace
 *     al_event [held]          what the allocator held before the first, as calls that get it: a brk, or mmaps
 *     al_event [calls]         the calls from the first operation to the last; addresses are absolute
 *
 * and lines:
 *
 *     operations N  held N  calls N
 *     heap_begins N          where the heap of the break begins, or would
 *     sized 1                usable sizes are known
 *     random 1               the process's addresses are not the same every time
 *     mapped_before N        readable and writable bytes held before the first operation
 *     peak_mapped N          the largest such sum ever
 *
 * and, for each address of a glass box that is to be explained, as al_places_explain writes them:
 *
 *     piece I STATE ADDRESS BYTES    the I-th lies in it; no line: in none
 *     fact I TAB KIND TAB NAME TAB VALUE */
#ifndef AL_REPLAY_PLACES_H
#define AL_REPLAY_PLACES_H

#include "base/text.h"
#include "replay/loop.h"

typedef struct al_place {
    uint64_t address; /* of the block that the operation returned; 0: none */
    uint64_t usable;  /* of that block; 0 where it is gone by then, or nobody can tell */
    uint64_t calls;   /* made so far */
} al_place;

typedef struct al_events_so_far {
    const al_event *events;
    size_t count;
    uint64_t dropped; /* for want of memory */
} al_events_so_far;

typedef struct al_places {
    const al_target *target;
    al_events_so_far (*events)(void *context);
    void *context;
    al_place *places; /* a room of al_places_take */
    size_t count;
    uint64_t stop;               /* only so many operations are replayed */
    volatile uint64_t *progress; /* the operation under way */
} al_places;

/* Room for the places, touched before the replay begins. False: no memory. */
bool al_places_take(al_places *places, uint64_t operations);
void al_places_replay(al_places *places, const al_ops *ops, size_t touch_page);
/* What the heap has at the address. */
void al_places_explain(al_heap *heap, uintptr_t address, uint64_t index, al_text *out);
/* Writes the file and its lines; returns NULL, or what went wrong. */
const char *al_places_write(const al_places *places, int file, const al_event *held, size_t held_count, al_text *out);

#endif
