/* The live blocks of a trace with what became of each since its birth: what statistics and cuts are made from. */
#ifndef AL_TRACE_HISTORY_H
#define AL_TRACE_HISTORY_H

#include "trace/events.h"
#include "trace/live.h"

typedef struct al_block {
    int64_t object;      /* -1: no name; AL_NO_BLOCK: a free slot */
    int64_t birth_ns;    /* -1: not known */
    uint64_t birth_op;   /* index of the call among the trace's calls */
    uint64_t born_bytes; /* asked for at birth */
    uint64_t align;      /* of an aligned birth, else 0 */
    uint32_t thread;     /* of the birth */
    uint32_t reallocs;   /* that succeeded */
} al_block;

#define AL_NO_BLOCK INT64_C(-2)

typedef struct al_history {
    al_live live;
    al_block *blocks;    /* by slot */
    size_t capacity;
    uint64_t operations; /* calls so far, failed ones and free(NULL) too */
} al_history;

/* What a row did. */
typedef struct al_change {
    al_deed deed;
    uint32_t slot;
    uint64_t old_bytes, new_bytes; /* RESIZE, DEATH: before; BIRTH, RESIZE: after */
} al_change;

bool al_history_init(al_history *history); /* false: no memory */
void al_history_destroy(al_history *history);

/* Takes row i. After a DEATH the block's record can be read until the next row, though its slot is free. */
al_fault al_history_add(al_history *history, const al_events *events, size_t i, al_change *change);

/* Takes a whole block. On a fault *row is the index of the row. */
al_fault al_history_add_rows(al_history *history, const al_events *events, size_t *row);

#endif
