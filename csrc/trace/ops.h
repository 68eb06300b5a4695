/* A compiled trace: one flat array of 16-byte operations over a table of slots, which the replay loop walks.
 *
 * Slot 0 is always NULL, so free(NULL) needs no case of its own. Other slots are dense and used again, latest first.
 * Sizes are requested bytes; a calloc's product is already taken (SIZE_MAX where it overflows: that must fail).
 *
 *     kind           slot              align_log2   size
 *     MALLOC         receives          -            bytes
 *     CALLOC         receives          -            bytes
 *     ALIGNED        receives          log2         bytes
 *     REALLOC        read and written  -            new bytes; the next entry is an OPERAND with the old bytes
 *     REALLOC_ZERO   read, then NULL   -            old bytes; what realloc(p, 0) returns is freed
 *     FREE           read, then NULL   -            bytes that the block had
 *     FAILED         read              log2 or 0    bytes; `original` is the kind. The recorded call failed.
 *                                                   Where it succeeds now, its block is freed at once (a realloc's
 *                                                   stays, under its slot)
 *     TICK           -                 -            nanoseconds by which the clock advances
 *     THREAD         -                 -            number of the thread whose operations follow; if it is none yet, or
 *                                                   none any more, it begins here
 *     EXIT           -                 -            number of the thread that ends; a THREAD follows
 *     WAIT           -                 -            number of an event: not before it is posted
 *     POST           -                 -            number of an event: others may go on from here
 *     OPERAND        of the entry before
 *
 * A failed REALLOC is followed by an OPERAND as well. The array ends with AL_OPS_PAD entries of kind END, so that the
 * loop may look ahead for prefetching. Operations that count are those from MALLOC to FAILED.
 *
 * THREAD and EXIT are there only if the threads were asked for; WAIT and POST only in strands (strands.h). */
#ifndef AL_TRACE_OPS_H
#define AL_TRACE_OPS_H

#include <stdint.h>

enum { AL_OPS_PAD = 16 };

typedef enum al_op_kind {
    AL_OP_MALLOC,
    AL_OP_CALLOC,
    AL_OP_ALIGNED,
    AL_OP_REALLOC,
    AL_OP_REALLOC_ZERO,
    AL_OP_FREE,
    AL_OP_FAILED,
    AL_OP_TICK,
    AL_OP_THREAD,
    AL_OP_EXIT,
    AL_OP_WAIT,
    AL_OP_POST,
    AL_OP_OPERAND,
    AL_OP_END
} al_op_kind;

typedef struct al_op {
    uint32_t slot;
    uint8_t kind;       /* al_op_kind */
    uint8_t align_log2;
    uint8_t original;   /* FAILED: the al_op_kind that failed */
    uint8_t unused;
    uint64_t size;
} al_op;

/* The head of a compiled trace's file; entries (with the padding) follow it. Also what the compiler knows of the
 * trace. */
typedef struct al_ops_head {
    uint64_t magic;            /* AL_OPS_MAGIC */
    uint64_t entries;          /* without the padding */
    uint64_t operations;       /* entries that count */
    uint64_t slots;            /* with slot 0 */
    uint64_t peak_live_bytes;  /* largest sum of requested bytes of live blocks */
    uint64_t peak_live_op;     /* index of the operation (counting from 0) after which it is first reached */
    uint64_t end_live_bytes, end_live_blocks;
    uint64_t largest;          /* largest block ever live, in bytes */
} al_ops_head;

#define AL_OPS_MAGIC UINT64_C(0x31535041424c4c41) /* "ALLBAPS1" in memory order */

#endif
