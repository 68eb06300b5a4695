#include "region/log.h"

#include "base/align.h"

enum { FIRST_BYTES = 64 << 10 };

static size_t bytes_of(const al_log *log, const al_os *os) {
    return al_align_up(log->capacity * sizeof(al_event), os->page_size());
}

static int grow(al_log *log, const al_os *os, size_t bytes) {
    void *at = NULL;
    size_t old = bytes_of(log, os);
    int error = old == 0 ? os->map(NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, false, &at)
                         : os->remap(log->events, old, bytes, true, NULL, &at);
    if (error != 0) return error;
    log->events = at;
    log->capacity = bytes / sizeof(al_event);
    return 0;
}

int al_log_reserve(al_log *log, const al_os *os, size_t rows) {
    return rows <= log->capacity ? 0 : grow(log, os, al_align_up(rows * sizeof(al_event), os->page_size()));
}

void al_log_append(al_log *log, const al_os *os, const al_event *event) {
    if (log->count == log->capacity && grow(log, os, al_max(2 * bytes_of(log, os), FIRST_BYTES)) != 0)
        log->dropped++;
    else
        log->events[log->count++] = *event;
}

void al_log_release(al_log *log, const al_os *os) {
    if (log->events != NULL) os->unmap(log->events, bytes_of(log, os));
    *log = (al_log){0};
}
