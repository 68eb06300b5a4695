/* How long freed pages are kept. Time is cut into epochs, 200 to the decay time; `backlog` says how many pages became
 * dirty in each of the last 200. Of pages freed i epochs ago a share that sinks smoothly from 1 to 0 may stay
 * (smootherstep, Perlin 2002), in fixed point:
 *
 *     limit = (sum over i of backlog[i] * h[i]) >> 24
 *     h[i]  = floor((6x^5 - 15x^4 + 10x^3) * 2^24),   x = (i + 1) / 200,   the newest last (x = 1)
 *
 * Nothing runs by itself: an epoch passes when an operation looks at the clock after the deadline, which lies between
 * one and two intervals after the epoch began, at random. */
#ifndef AL_ALLOCATORS_JEMALLOC_DECAY_H
#define AL_ALLOCATORS_JEMALLOC_DECAY_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JE_EPOCHS = 200, JE_DECAY_SHIFT = 24 };

typedef struct je_decay {
    int64_t ms;                  /* the decay time; 0: purge at once, -1: never */
    uint64_t interval;           /* of an epoch, nanoseconds */
    uint64_t epoch, deadline;    /* when the current one began, when the next is due, nanoseconds */
    size_t unpurged;             /* pages that were left when the current one began */
    size_t backlog[JE_EPOCHS];   /* pages that became dirty, the newest epoch last */
    al_rng rng;                  /* jitter */
} je_decay;

/* Starts anew, with nothing in the backlog. */
void al_je_decay_init(je_decay *decay, int64_t ms, uint64_t now, uint64_t seed);
/* Lets the epochs pass that have; false: none has. pages: how many are dirty now. pre: ms > 0. */
bool al_je_decay_advance(je_decay *decay, uint64_t now, size_t pages);
/* How many pages may stay. */
size_t al_je_decay_limit(const je_decay *decay);

/* For who purges in the background and sleeps between: only so many pages are worth being woken for. */
enum { JE_DECAY_WORTH = 1024 };
/* How long to sleep, nanoseconds; UINT64_MAX: there is nothing to wait for. */
uint64_t al_je_decay_sleep(const je_decay *decay, size_t pages);
/* Of the pages that came with the newest epoch, how many will be beyond the limit after so many nanoseconds. */
uint64_t al_je_decay_newest_due(const je_decay *decay, uint64_t nanoseconds);

#endif
