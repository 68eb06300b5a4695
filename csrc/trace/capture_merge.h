/* The records of a capture in the order of their numbers: finds the streams' units in the file, reads them through
 * small windows, and merges. */
#ifndef AL_TRACE_CAPTURE_MERGE_H
#define AL_TRACE_CAPTURE_MERGE_H

#include "record/capture.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct al_record {
    uint64_t sequence;
    int64_t stamp_ns; /* when it was made; -1: the clock was not read */
    uint64_t address, size, extra;
    uint32_t stream; /* index of its stream */
    uint32_t thread; /* as the recorder counts */
    al_wide op;
    bool failed;
    bool thread_ends; /* no record of its thread follows in its stream */
} al_record;

/* A thread that lived when recording ended. */
typedef struct al_thread_name {
    uint32_t thread; /* as the recorder counts */
    char name[AL_NAME_BYTES];
} al_thread_name;

typedef struct al_merge al_merge;

/* consume: what was read is given back to the disk. NULL: *error says why, "" if memory ran out. */
al_merge *al_merge_open(const char *path, bool consume, const char **error);
void al_merge_close(al_merge *merge);
size_t al_merge_streams(const al_merge *merge);
uint64_t al_merge_end_ns(const al_merge *merge); /* when recording ended; 0: not known */
size_t al_merge_names(const al_merge *merge, const al_thread_name **out);

/* false: the end, or *error is set. */
bool al_merge_next(al_merge *merge, al_record *record, const char **error);

#endif
