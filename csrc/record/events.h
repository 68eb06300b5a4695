/* An event in the fewest instructions: one word of the thread's stream. Included by family.c alone. */
#ifndef AL_RECORD_EVENTS_H
#define AL_RECORD_EVENTS_H

#include "record/record.h"

#include <sys/single_threaded.h>

#pragma GCC visibility push(hidden)

extern __thread al_stream *al_my_stream; /* initially one whose limit is NULL for ever */
extern _Atomic uint64_t al_sequence;     /* the number of the last event of this process */

/* The two ways of an event that is not one short word. Both keep errno and return the address, so that the fast way
 * keeps nothing in registers that they must save. limit is what the caller found in the stream, which it has made busy.
 *
 * slow: first does what the stream needs: its birth, a stamp, a flush, a new image after a fork.
 * wide: writes a wide record of this number at the cursor, and makes the stream ready again. */
__attribute__((cold)) uint64_t al_event_slow(al_stream *stream, uint64_t *limit, al_wide op, bool failed,
                                             uint64_t address, uint64_t size, uint64_t extra);
__attribute__((cold)) uint64_t al_event_wide(al_stream *stream, uint64_t *limit, uint64_t sequence, al_wide op,
                                             bool failed, uint64_t address, uint64_t size, uint64_t extra);

#pragma GCC visibility pop

/* A locked addition costs more than the rest of an event, and a process of one thread needs none: a single instruction
 * is as good against signal handlers. */
static inline uint64_t al_sequence_next(void) {
    if (__libc_single_threaded) {
        uint64_t step = 1;
        __asm__("xaddq %0, %1" : "+r"(step), "+m"(al_sequence));
        return step + 1;
    }
    return atomic_fetch_add_explicit(&al_sequence, 1, memory_order_relaxed) + 1;
}

/* short_word = kind and fields but the distance; unfit = what must be 0 for it to do. Returns the address. */
__attribute__((always_inline)) static inline uint64_t al_event(uint64_t short_word, uint64_t unfit,
                                                               unsigned distance_bits, al_wide op, bool failed,
                                                               uint64_t address, uint64_t size, uint64_t extra) {
    al_stream *stream = al_my_stream;
    uint64_t *limit = stream->limit;
    stream->limit = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    uint64_t *at = stream->cursor;
    if (__builtin_expect(at >= limit, 0)) return al_event_slow(stream, limit, op, failed, address, size, extra);
    uint64_t sequence = al_sequence_next();
    uint64_t distance = sequence - stream->last;
    if (__builtin_expect((unfit | distance >> distance_bits) != 0, 0))
        return al_event_wide(stream, limit, sequence, op, failed, address, size, extra);
    *at = short_word | distance << AL_DISTANCE_SHIFT;
    stream->cursor = at + 1;
    stream->last = sequence;
    atomic_signal_fence(memory_order_seq_cst);
    stream->limit = limit;
    return address;
}

/* A block was born, or a realloc came out: call after the real call. Returns the block. */
__attribute__((always_inline)) static inline void *al_event_birth(al_kind kind, al_wide op, void *block, uint64_t size,
                                                                  uint64_t count) {
    uint64_t address = (uintptr_t)block;
    uint64_t unfit = (address & AL_ADDRESS_UNFIT) | size >> AL_SIZE_BITS | (uint64_t)(block == NULL) | (count ^ 1);
    uint64_t word = (uint64_t)kind | size << AL_SIZE_SHIFT | address << (AL_ADDRESS_SHIFT - 4);
    bool failed = block == NULL && (size != 0 || op != AL_WIDE_REALLOC_OUT);
    return (void *)al_event(word, unfit, AL_BIRTH_DISTANCE_BITS, op, failed, address, size, count);
}

/* A block is about to die, or to go into a realloc: call before the real call. Returns the block. */
__attribute__((always_inline)) static inline void *al_event_death(al_kind kind, al_wide op, void *block) {
    uint64_t address = (uintptr_t)block;
    uint64_t word = (uint64_t)kind | address << (AL_ADDRESS_SHIFT - 4), unfit = address & AL_ADDRESS_UNFIT;
    return (void *)al_event(word, unfit, AL_DEATH_DISTANCE_BITS, op, false, address, 0, 0);
}

#endif
