/* What is asked of a replay, the same in a process of its own and inside another. */
#ifndef AL_REPLAY_JOB_H
#define AL_REPLAY_JOB_H

#include "trace/ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* places: out of process only. */
typedef enum al_pass { AL_PASS_VERIFY, AL_PASS_MEMORY, AL_PASS_CALLS, AL_PASS_TIME, AL_PASS_PLACES } al_pass;

typedef struct al_job {
    const al_ops_head *head;
    const al_op *entries;
    size_t entry_room;    /* entries, padding included */
    al_pass pass;
    bool touch;           /* policy "page"; otherwise "none" */
    uint32_t samples;     /* memory, calls: points of the timeline */
    uint32_t warm_passes; /* time: after the first */
} al_job;

/* Whether `count` entries stay inside the head's slot table and refer to `events` events at most, and their padding is
 * one. */
bool al_entries_sound(const al_ops_head *head, const al_op *entries, uint64_t count, uint64_t events);
/* Whether head and entries fit each other, and the entries stay inside the slot table. */
bool al_job_sound(const al_job *job);
/* Bytes that the lines of the pass need at most. */
size_t al_job_text_bytes(const al_job *job);

#endif
