/* The blocks that live at one moment of a trace: object -> slot -> bytes. Memory follows the live blocks, not the
 * trace's length. Slots count from 1 (0 is NULL) and are used again, latest first.
 *
 * Objects are numbered in order of birth, so a number tells what became of it:
 *     object >= next               not born yet
 *     object <  next, in slots     alive
 *     object <  next, not in slots dead */
#ifndef AL_TRACE_LIVE_H
#define AL_TRACE_LIVE_H

#include "trace/addrmap.h"
#include "trace/fault.h"

typedef struct al_live {
    al_addrmap slots;   /* object + 1 -> slot */
    uint64_t *bytes;    /* by slot: what a live block asked for; in a free slot the next free one */
    size_t capacity;    /* of bytes */
    uint32_t used;      /* slots used so far, with slot 0 */
    uint32_t spare;     /* latest free slot, 0: none */
    int64_t next;       /* born objects are below */
    uint64_t sum, count; /* bytes and number of live blocks */
} al_live;

bool al_live_init(al_live *live); /* false: no memory */
void al_live_destroy(al_live *live);

/* Each sets *slot. A birth without object (< 0) gets a slot that nobody can find: it lives to the end. */
al_fault al_live_birth(al_live *live, int64_t object, uint64_t bytes, uint32_t *slot);
al_fault al_live_find(const al_live *live, int64_t object, uint32_t *slot); /* REALLOC_*: not there */
al_fault al_live_death(al_live *live, int64_t object, uint32_t *slot, uint64_t *bytes);

static inline void al_live_resize(al_live *live, uint32_t slot, uint64_t bytes) {
    live->sum += bytes - live->bytes[slot];
    live->bytes[slot] = bytes;
}

/* For an object that comes up some rows later. */
static inline void al_live_prefetch(const al_live *live, int64_t object) {
    al_addrmap_prefetch(&live->slots, (uint64_t)object + 1);
}

#endif
