/* Reads captures (record/capture.h): merges the streams by sequence number, finds the object that each address was at
 * the time, numbers threads densely and interpolates the clock, in memory bounded by streams and live blocks. */
#ifndef AL_TRACE_CAPTURE_H
#define AL_TRACE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Columns of the caller's, `capacity` rows each, as alloclab.trace.model has them. */
typedef struct al_rows {
    size_t capacity;
    uint8_t *op;
    uint32_t *thread;
    int64_t *object;
    uint64_t *size, *count, *align;
    int64_t *time_ns;
    uint8_t *failed;
    uint64_t *address;
} al_rows;

/* What was seen so far, and what was left out. */
typedef struct al_capture_counts {
    uint64_t events;
    uint64_t frees_unknown;    /* of blocks born before the recording, in the parent for a forked child */
    uint64_t reallocs_unknown; /* likewise; recorded as the birth of a block */
    uint64_t frees_lost;       /* born again without a free between: the free is made up */
    uint64_t calls_lost;       /* numbers that no stream has, as of calls in flight at the end */
    uint64_t live_bytes, peak_live_bytes;
    uint64_t stamps, span_ns; /* clock readings, and from the first to the last */
    uint64_t cut;             /* there are more events than were asked for */
} al_capture_counts;

typedef struct al_capture al_capture;

/* Reads the first `max_events` rows, the last made up of them included. consume: what was read is given back to the
 * disk, page by page. NULL: *error says what is wrong in words, "" if memory ran out. */
al_capture *al_capture_open(const char *path, uint64_t max_events, bool consume, const char **error);
void al_capture_close(al_capture *capture);

/* The next rows, at least one; 0 = the end; -1 = *error says why. The columns are the same in every call and belong to
 * the decoder from the first call to the last: rows after those returned may wait there for their time. */
int64_t al_capture_next(al_capture *capture, al_rows *rows, const char **error);
al_capture_counts al_capture_counted(const al_capture *capture);
/* At the end: the name of a thread by its number in the rows, at most AL_NAME_BYTES, when it exited or recording ended;
 * "": not known. NULL: there is no such thread. */
const char *al_capture_thread_name(const al_capture *capture, uint32_t thread);

#endif
