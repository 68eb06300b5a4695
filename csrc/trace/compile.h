/* From a trace's rows to the flat array that the replay loop walks (ops.h says what it holds).
 *
 * Alignments: a replay can only ask for powers of two, so others are rounded up to the next one, as glibc's memalign
 * does; 0 becomes 1. Ticks: one before the first operation that comes at least a millisecond after the last tick; the
 * clock starts at the first row that has a time and never runs backwards. Threads, where they are asked for: a thread
 * begins with its first row, be it a thread_start or not; they are numbered from 0 in the order of these. */
#ifndef AL_TRACE_COMPILE_H
#define AL_TRACE_COMPILE_H

#include "trace/addrmap.h"
#include "trace/events.h"
#include "trace/live.h"

#define AL_TICK_NS INT64_C(1000000)

struct al_op;

typedef struct al_compiler {
    al_live live;
    struct al_op *entries; /* owned; al_op */
    size_t count, capacity;
    int64_t clock; /* time of the last tick, -1 before the first row that has one */
    bool threads;  /* asked for */
    int64_t thread; /* of the trace, whose operations follow; -1: not said */
    al_addrmap numbers; /* thread of the trace + 1 -> its number */
    uint64_t operations, peak_live_bytes, peak_live_op, largest;
} al_compiler;

bool al_compiler_init(al_compiler *compiler, bool threads); /* false: no memory */
void al_compiler_destroy(al_compiler *compiler);

/* Appends a block of rows. On a fault *row is the index of the row in this block that is to blame. */
al_fault al_compiler_add(al_compiler *compiler, const al_events *events, size_t *row);

/* Appends the padding and hands over `count` + AL_OPS_PAD entries, for al_entries_free. NULL: no memory. */
struct al_op *al_compiler_finish(al_compiler *compiler);
void al_entries_free(struct al_op *entries);

#endif
