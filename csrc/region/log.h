/* The event log: one array that grows, outside the account. */
#ifndef AL_REGION_LOG_H
#define AL_REGION_LOG_H

#include "region/region.h"

typedef struct al_log {
    al_event *events; /* capacity of them; the first count are written */
    size_t count, capacity;
    uint64_t dropped; /* for want of memory */
} al_log;

/* Room for so many rows in all, so that the log does not map memory in the middle of a run. 0 or an errno value. */
int al_log_reserve(al_log *log, const al_os *os, size_t rows);
void al_log_append(al_log *log, const al_os *os, const al_event *event);
void al_log_release(al_log *log, const al_os *os);

#endif
