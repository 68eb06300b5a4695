/* A block of a trace's rows as columns, as Python's numpy arrays hold them (alloclab/trace/model.py), and what a row
 * says. */
#ifndef AL_TRACE_EVENTS_H
#define AL_TRACE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum al_event_op {
    AL_EVENT_MALLOC,
    AL_EVENT_CALLOC,
    AL_EVENT_REALLOC,
    AL_EVENT_ALIGNED,
    AL_EVENT_FREE,
    AL_EVENT_THREAD_START,
    AL_EVENT_THREAD_EXIT,
    AL_EVENT_OPS
} al_event_op;

typedef struct al_events {
    size_t rows;
    const uint8_t *op; /* al_event_op */
    const uint32_t *thread;
    const int64_t *object; /* -1: none */
    const uint64_t *size, *count, *align;
    const int64_t *time_ns; /* -1: not known */
    const uint8_t *failed;
} al_events;

/* Bytes that row i asks for; SIZE_MAX where a calloc's product overflows. */
static inline uint64_t al_event_bytes(const al_events *events, size_t i) {
    uint64_t bytes = events->size[i];
    if (events->op[i] == AL_EVENT_CALLOC && __builtin_mul_overflow(bytes, events->count[i], &bytes)) return UINT64_MAX;
    return bytes;
}

/* What a row means for the set of live blocks. */
typedef enum al_deed {
    AL_DEED_NONE,   /* thread events, free(NULL), calls that failed */
    AL_DEED_BIRTH,  /* malloc, calloc, aligned, realloc(NULL, n) */
    AL_DEED_RESIZE, /* realloc(p, n), n > 0 */
    AL_DEED_DEATH   /* free(p), and realloc(p, 0) whatever `failed` says: the block is gone */
} al_deed;

static inline al_deed al_event_deed(const al_events *events, size_t i) {
    bool named = events->object[i] >= 0;
    switch (events->op[i]) {
    case AL_EVENT_MALLOC:
    case AL_EVENT_CALLOC:
    case AL_EVENT_ALIGNED: return events->failed[i] ? AL_DEED_NONE : AL_DEED_BIRTH;
    case AL_EVENT_REALLOC:
        if (named && events->size[i] == 0) return AL_DEED_DEATH;
        if (events->failed[i]) return AL_DEED_NONE;
        return named ? AL_DEED_RESIZE : AL_DEED_BIRTH;
    case AL_EVENT_FREE: return named ? AL_DEED_DEATH : AL_DEED_NONE;
    default: return AL_DEED_NONE;
    }
}

#endif
