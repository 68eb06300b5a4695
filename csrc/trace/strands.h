/* Strands: a compiled trace taken apart by threads, each for an OS thread of its own.
 *
 * A strand is what one thread did, from its first operation to its exit, in its own order; strand 0 is the first of
 * the trace. Between strands there is no order but this: an operation on a block that another strand touched last waits
 * for that one. Such an *edge* is an event: POST stands behind the earlier operation, WAIT before the later. Every
 * event is posted once, and waited for once.
 *
 *     strand A   malloc -> slot 1   POST 0   ...
 *     strand B   ...   WAIT 0   free slot 1   ...
 *
 * Who waits, waits for what comes earlier in the recorded order, so all of them come to their end.
 *
 * Acts are the starts and exits of all strands but 0, and the exit of 0, in recorded order: an act takes place after
 * all acts before it. A start therefore waits for the exits recorded before it, and for nothing else.
 *
 * Slots are a strand's own until it gives the block away, so that no two use one at a time: the strand that frees a
 * block has its slot. They are handed out by cache lines.
 *
 * TICK is left out: no two strands agree on the time. */
#ifndef AL_TRACE_STRANDS_H
#define AL_TRACE_STRANDS_H

#include "trace/ops.h"

#include <stdbool.h>
#include <stddef.h>

/* The head of their file; then strands, acts and entries. */
typedef struct al_strands_head {
    uint64_t magic;   /* AL_STRANDS_MAGIC */
    al_ops_head whole; /* of the trace in recorded order, but for its entries and slots: they are the strands' */
    uint64_t strands, acts;
    uint64_t events;  /* edges */
    uint64_t alive;   /* largest number of strands between start and exit, in recorded order */
} al_strands_head;

#define AL_STRANDS_MAGIC UINT64_C(0x31535254534c4c41) /* "ALLSTRS1" in memory order */

/* Entries [first, first + count), then AL_OPS_PAD of kind END. */
typedef struct al_strand_range {
    uint64_t first, count;
} al_strand_range;

typedef struct al_act {
    uint32_t strand;
    uint32_t exits; /* 0: it starts */
} al_act;

typedef struct al_strands_image {
    al_strands_head head;
    al_strand_range *ranges;
    al_act *acts;
    struct al_op *entries;
    uint64_t entry_count; /* with the padding of all strands */
} al_strands_image;

/* From a trace that was compiled with its threads: `head`, and head->entries `entries` with their padding. False: no
 * memory. */
bool al_unweave(const al_ops_head *head, const struct al_op *entries, al_strands_image *image);
void al_strands_image_free(al_strands_image *image);

#endif
