/* The validator: every row of a trace held against the rows before it. */
#ifndef AL_TRACE_CHECK_H
#define AL_TRACE_CHECK_H

#include "trace/events.h"
#include "trace/live.h"

typedef struct al_finding {
    uint64_t row; /* in its block */
    uint32_t fault; /* al_fault */
} al_finding;

typedef struct al_checker {
    al_live live;
    al_addrmap threads;  /* thread + 1 -> what is known of it */
    uint64_t any_exit;   /* exits so far: before the first nobody needs looking up */
    uint64_t counts[AL_FAULTS];
    al_finding *problems; /* the caller's, of the block at hand: the first `capacity` */
    size_t found, capacity;
} al_checker;

bool al_checker_init(al_checker *checker); /* false: no memory */
void al_checker_destroy(al_checker *checker);

/* Checks a block. Problems go to `problems`, in order of their rows; found <= capacity counts them. False: no
 * memory. */
bool al_checker_add(al_checker *checker, const al_events *events, al_finding *problems, size_t capacity);

#endif
