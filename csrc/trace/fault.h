/* What can be wrong with a row. The first group contradicts the rows before it and cannot be replayed. */
#ifndef AL_TRACE_FAULT_H
#define AL_TRACE_FAULT_H

typedef enum al_fault {
    AL_FAULT_NONE,
    AL_FAULT_DOUBLE_FREE,     /* free of a dead block */
    AL_FAULT_UNKNOWN_FREE,    /* free of a block that was never born */
    AL_FAULT_REALLOC_DEAD,    /* realloc of a dead block */
    AL_FAULT_REALLOC_UNKNOWN, /* realloc of a block that was never born */
    AL_FAULT_BORN_TWICE,      /* birth of an object that is not above all born before */
    AL_FAULT_IMPOSSIBLE_SIZE, /* success with more than PTRDIFF_MAX bytes, or with a calloc product that overflows */

    AL_FAULT_UNNAMED,          /* success with size > 0 and no object */
    AL_FAULT_FAILED_BIRTH,     /* an object from a call that failed */
    AL_FAULT_BAD_ALIGNMENT,    /* success with an alignment that is no power of two */
    AL_FAULT_NEGATIVE_OBJECT,  /* an object below 0 */
    AL_FAULT_NEGATIVE_TIME,    /* a time below 0 */
    AL_FAULT_THREAD_TWICE,     /* a second start of a thread */
    AL_FAULT_THREAD_GONE,      /* an event of a thread after its exit */
    AL_FAULTS,

    AL_FAULT_NO_MEMORY /* the lab's own */
} al_fault;

#endif
