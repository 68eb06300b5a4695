#include "trace/capture.h"

#include "trace/addrmap.h"
#include "trace/capture_merge.h"
#include "trace/events.h"

#include <stdlib.h>
#include <string.h>

enum { NO_OBJECT = -1, PENDING_MAX = 4, ROWS_PER_RECORD = 3, THREADS_MAX = 1 << 28 };

/* What lives at an address. The address map holds indices of these, or RETURNED. */
typedef struct block {
    int64_t object; /* of a free place: the next free one */
    uint64_t bytes;
} block;

/* The address holds what realloc(p, 0) returned: for the trace the object has ended, and its free is none. */
enum { RETURNED = -2 };

/* A realloc between its IN and its OUT. */
typedef struct pending {
    uint64_t address;
    int64_t place; /* of the block; -1: unknown, RETURNED, or address NULL */
} pending;

typedef struct caller {
    pending reallocs[PENDING_MAX]; /* more than one: a signal handler's, inside another */
    unsigned depth;
} caller;

typedef struct thread_name {
    char text[AL_NAME_BYTES + 1];
} thread_name;

struct al_capture {
    al_merge *merge;
    uint64_t max_events;
    al_addrmap map;
    block *blocks;
    size_t blocks_room, blocks_used;
    int64_t blocks_free; /* first free place, -1: none */
    int64_t objects;
    uint32_t *threads; /* the recorder's number -> dense + 1 */
    size_t threads_room;
    uint32_t threads_used;
    thread_name *names; /* by dense number, names_room of them */
    size_t names_room;
    caller *callers; /* by dense thread: those inside one another share a stream */
    size_t callers_room;
    bool *exiting; /* by stream */
    uint64_t sequence;
    size_t filled, ready; /* rows; those before ready have their times */
    int64_t time_ns;      /* the last stamp */
    int64_t waiting_ns;   /* a stamp whose record made no row; -1: none */
    bool out_of_memory;
    al_capture_counts counts;
};

/* --- blocks --- */

static int64_t take_place(al_capture *c) {
    if (c->blocks_free >= 0) {
        int64_t place = c->blocks_free;
        c->blocks_free = c->blocks[place].object;
        return place;
    }
    if (c->blocks_used == c->blocks_room) {
        size_t room = c->blocks_room == 0 ? 1024 : 2 * c->blocks_room;
        block *larger = realloc(c->blocks, room * sizeof *larger);
        if (larger == NULL) {
            c->out_of_memory = true;
            return -1;
        }
        c->blocks = larger;
        c->blocks_room = room;
    }
    return (int64_t)c->blocks_used++;
}

static void resize(al_capture *c, int64_t place, uint64_t bytes) {
    c->counts.live_bytes += bytes - c->blocks[place].bytes;
    c->blocks[place].bytes = bytes;
    if (c->counts.live_bytes > c->counts.peak_live_bytes) c->counts.peak_live_bytes = c->counts.live_bytes;
}

/* Ends the object there and returns it. */
static int64_t drop_place(al_capture *c, int64_t place) {
    int64_t object = c->blocks[place].object;
    resize(c, place, 0);
    c->blocks[place].object = c->blocks_free;
    c->blocks_free = place;
    return object;
}

/* --- rows --- */

static uint32_t dense_thread(al_capture *c, uint32_t thread) {
    if (thread >= c->threads_room) {
        size_t room = (size_t)thread * 2 + 64;
        uint32_t *larger = realloc(c->threads, room * sizeof *larger);
        if (larger == NULL) {
            c->out_of_memory = true;
            return 0;
        }
        memset(larger + c->threads_room, 0, (room - c->threads_room) * sizeof *larger);
        c->threads = larger;
        c->threads_room = room;
    }
    if (c->threads[thread] == 0) c->threads[thread] = ++c->threads_used;
    return c->threads[thread] - 1;
}

/* NULL: out of memory. */
static caller *caller_of(al_capture *c, uint32_t thread) {
    const uint32_t dense = dense_thread(c, thread);
    if (dense >= c->callers_room) {
        size_t room = (size_t)dense * 2 + 16;
        caller *larger = realloc(c->callers, room * sizeof *larger);
        if (larger == NULL) {
            c->out_of_memory = true;
            return NULL;
        }
        memset(larger + c->callers_room, 0, (room - c->callers_room) * sizeof *larger);
        c->callers = larger;
        c->callers_room = room;
    }
    return &c->callers[dense];
}

/* Of a thread that has rows: the first name that is found. */
static void name_thread(al_capture *c, uint32_t thread, const void *name) {
    if (thread >= c->threads_room || c->threads[thread] == 0) return;
    uint32_t dense = c->threads[thread] - 1;
    if (dense >= c->names_room) {
        size_t room = (size_t)dense * 2 + 16;
        thread_name *larger = realloc(c->names, room * sizeof *larger);
        if (larger == NULL) {
            c->out_of_memory = true;
            return;
        }
        memset(larger + c->names_room, 0, (room - c->names_room) * sizeof *larger);
        c->names = larger;
        c->names_room = room;
    }
    if (c->names[dense].text[0] == 0) memcpy(c->names[dense].text, name, AL_NAME_BYTES);
}

static void name_by_exit(al_capture *c, const al_record *r) {
    const uint64_t name[] = {r->size, r->extra};
    _Static_assert(sizeof name == AL_NAME_BYTES, "two words");
    name_thread(c, r->thread, name);
}

static void name_the_living(al_capture *c) {
    const al_thread_name *names;
    size_t count = al_merge_names(c->merge, &names);
    for (size_t i = 0; i < count; i++) name_thread(c, names[i].thread, names[i].name);
}

static void add_row(al_capture *c, al_rows *rows, const al_record *r, al_event_op op, int64_t object, bool failed,
                    uint64_t address) {
    size_t i = c->filled++;
    bool birth = op <= AL_EVENT_ALIGNED;
    rows->op[i] = (uint8_t)op;
    rows->thread[i] = dense_thread(c, r->thread);
    rows->object[i] = object;
    rows->size[i] = birth ? r->size : 0;
    rows->count[i] = op == AL_EVENT_CALLOC ? r->extra : 1;
    rows->align[i] = op == AL_EVENT_ALIGNED ? r->extra : 0;
    rows->failed[i] = failed;
    rows->address[i] = address;
    c->counts.events++;
}

/* Something now lives at the address. Whatever lived there before was freed without our seeing it. */
static void settle(al_capture *c, al_rows *rows, const al_record *r, int64_t place) {
    int64_t before;
    if (!al_addrmap_put(&c->map, r->address, place, &before)) {
        c->out_of_memory = true;
        return;
    }
    if (before < 0) return;
    c->counts.frees_lost++;
    add_row(c, rows, r, AL_EVENT_FREE, drop_place(c, before), false, r->address);
}

static void birth(al_capture *c, al_rows *rows, const al_record *r, al_event_op op) {
    if (r->address == 0) {
        add_row(c, rows, r, op, NO_OBJECT, true, 0);
        return;
    }
    int64_t place = take_place(c);
    if (place < 0) return;
    c->blocks[place] = (block){.object = c->objects++};
    settle(c, rows, r, place);
    resize(c, place, op == AL_EVENT_CALLOC ? r->size * r->extra : r->size);
    add_row(c, rows, r, op, c->blocks[place].object, false, r->address);
}

static void death(al_capture *c, al_rows *rows, const al_record *r) {
    if (r->address == 0) {
        add_row(c, rows, r, AL_EVENT_FREE, NO_OBJECT, false, 0);
        return;
    }
    int64_t place = al_addrmap_take(&c->map, r->address);
    if (place >= 0)
        add_row(c, rows, r, AL_EVENT_FREE, drop_place(c, place), false, r->address);
    else if (place != RETURNED)
        c->counts.frees_unknown++;
}

static void realloc_in(al_capture *c, caller *by, const al_record *r) {
    int64_t place = r->address == 0 ? -1 : al_addrmap_take(&c->map, r->address);
    if (by->depth == PENDING_MAX) { /* left by longjmp, so many times: the oldest never comes back */
        memmove(by->reallocs, by->reallocs + 1, sizeof by->reallocs - sizeof *by->reallocs);
        by->depth--;
    }
    by->reallocs[by->depth++] = (pending){r->address, place};
}

/* The row of a realloc stands here, where it completed. */
static void realloc_out(al_capture *c, al_rows *rows, caller *by, const al_record *r) {
    if (by->depth == 0) {
        birth(c, rows, r, AL_EVENT_MALLOC);
        return;
    }
    pending was = by->reallocs[--by->depth];
    if (was.place < 0) {
        bool unknown = was.address != 0 && was.place != RETURNED;
        c->counts.reallocs_unknown += unknown;
        if (!unknown || r->address != 0) birth(c, rows, r, AL_EVENT_MALLOC);
        return;
    }
    int64_t object = c->blocks[was.place].object;
    bool failed = r->failed || (r->address == 0 && r->size != 0); /* the latter in damaged files only */
    if (failed) {
        al_record old = *r;
        old.address = was.address;
        settle(c, rows, &old, was.place);
    } else if (r->size == 0) {
        drop_place(c, was.place);
        if (r->address != 0) settle(c, rows, r, RETURNED);
    } else {
        settle(c, rows, r, was.place);
        resize(c, was.place, r->size);
    }
    add_row(c, rows, r, AL_EVENT_REALLOC, object, failed, failed ? was.address : r->address);
}

static void row_of(al_capture *c, al_rows *rows, const al_record *r) {
    const bool resizes = r->op == AL_WIDE_REALLOC_IN || r->op == AL_WIDE_REALLOC_OUT;
    caller *by = resizes ? caller_of(c, r->thread) : NULL;
    if (resizes && by == NULL) return;
    switch (r->op) {
    case AL_WIDE_MALLOC: birth(c, rows, r, AL_EVENT_MALLOC); break;
    case AL_WIDE_CALLOC: birth(c, rows, r, AL_EVENT_CALLOC); break;
    case AL_WIDE_ALIGNED: birth(c, rows, r, AL_EVENT_ALIGNED); break;
    case AL_WIDE_FREE: death(c, rows, r); break;
    case AL_WIDE_REALLOC_IN: realloc_in(c, by, r); break;
    case AL_WIDE_REALLOC_OUT: realloc_out(c, rows, by, r); break;
    case AL_WIDE_THREAD_START:
        c->exiting[r->stream] = false;
        add_row(c, rows, r, AL_EVENT_THREAD_START, NO_OBJECT, false, 0);
        break;
    case AL_WIDE_THREAD_EXIT:
        c->exiting[r->stream] = true;
        name_by_exit(c, r);
        break;
    case AL_WIDE_BELONGS: break;
    }
    if (c->exiting[r->stream] && r->thread_ends) {
        c->exiting[r->stream] = false;
        add_row(c, rows, r, AL_EVENT_THREAD_EXIT, NO_OBJECT, false, 0);
    }
}

/* --- time --- */

/* The clock read `now` after the rows before `at`: those that wait lie evenly between the last reading and this. */
static void spread(al_capture *c, al_rows *rows, size_t at, int64_t now) {
    if (c->counts.stamps++ == 0) c->time_ns = now;
    int64_t span = now > c->time_ns ? now - c->time_ns : 0;
    double step = (double)span / (double)(at - c->ready + 1);
    for (size_t i = c->ready; i < at; i++) rows->time_ns[i] = c->time_ns + (int64_t)(step * (double)(i - c->ready + 1));
    c->time_ns += span;
    c->counts.span_ns += (uint64_t)span;
    c->ready = at;
}

/* Row `at` is the first one after a reading of the clock. */
static void stamp(al_capture *c, al_rows *rows, size_t at, int64_t now) {
    spread(c, rows, at, now);
    rows->time_ns[at] = c->time_ns;
    c->ready = at + 1;
}

/* All that wait, where no later reading is at hand. */
static void stamp_rest(al_capture *c, al_rows *rows) {
    for (; c->ready < c->filled; c->ready++) rows->time_ns[c->ready] = c->time_ns;
}

/* --- all of it --- */

al_capture *al_capture_open(const char *path, uint64_t max_events, bool consume, const char **error) {
    al_capture *c = calloc(1, sizeof *c);
    *error = "";
    if (c == NULL) return NULL;
    c->blocks_free = c->waiting_ns = -1;
    c->max_events = max_events;
    c->merge = al_merge_open(path, consume, error);
    if (c->merge != NULL) c->exiting = calloc(al_merge_streams(c->merge) + 1, sizeof *c->exiting);
    if (c->merge != NULL && c->exiting != NULL && al_addrmap_init(&c->map)) return c;
    if (c->merge != NULL) *error = "";
    al_capture_close(c);
    return NULL;
}

void al_capture_close(al_capture *c) {
    if (c->merge != NULL) al_merge_close(c->merge);
    al_addrmap_destroy(&c->map);
    free(c->blocks);
    free(c->threads);
    free(c->names);
    free(c->callers);
    free(c->exiting);
    free(c);
}

static void shift(void *column, size_t width, size_t from, size_t rows) {
    memmove(column, (char *)column + from * width, rows * width);
}

/* Moves the rows that wait to the front. */
static void carry(al_capture *c, al_rows *rows) {
    size_t from = c->ready, n = c->filled - from;
    shift(rows->op, sizeof *rows->op, from, n);
    shift(rows->thread, sizeof *rows->thread, from, n);
    shift(rows->object, sizeof *rows->object, from, n);
    shift(rows->size, sizeof *rows->size, from, n);
    shift(rows->count, sizeof *rows->count, from, n);
    shift(rows->align, sizeof *rows->align, from, n);
    shift(rows->failed, sizeof *rows->failed, from, n);
    shift(rows->address, sizeof *rows->address, from, n);
    c->filled = n;
    c->ready = 0;
}

/* A record after the last that was asked for still tells the time and a thread's name. */
static void pass_by(al_capture *c, al_rows *rows, const al_record *r) {
    c->counts.cut = 1;
    if (r->stamp_ns >= 0 && c->ready < c->filled) spread(c, rows, c->filled, r->stamp_ns);
    if (r->op == AL_WIDE_THREAD_EXIT) name_by_exit(c, r);
}

static void take_record(al_capture *c, al_rows *rows, const al_record *r) {
    c->counts.calls_lost += r->sequence - c->sequence - 1;
    c->sequence = r->sequence;
    size_t before = c->filled;
    row_of(c, rows, r);
    if (c->counts.events > c->max_events) {
        c->filled -= c->counts.events - c->max_events;
        c->counts.events = c->max_events;
        c->counts.cut = 1;
    }
    if (r->stamp_ns >= 0) c->waiting_ns = r->stamp_ns;
    if (c->waiting_ns >= 0 && c->filled > before) {
        stamp(c, rows, before, c->waiting_ns);
        c->waiting_ns = -1;
    }
}

int64_t al_capture_next(al_capture *c, al_rows *rows, const char **error) {
    carry(c, rows);
    al_record r = {0};
    bool more = true;
    while (c->filled + ROWS_PER_RECORD <= rows->capacity && (more = al_merge_next(c->merge, &r, error))) {
        if (r.thread >= THREADS_MAX) {
            *error = "it names a thread that cannot be";
            return -1;
        }
        if (c->counts.events == c->max_events)
            pass_by(c, rows, &r);
        else
            take_record(c, rows, &r);
        if (c->out_of_memory) {
            *error = "";
            return -1;
        }
    }
    if (!more && *error != NULL) return -1;
    if (!more) name_the_living(c);
    int64_t end = (int64_t)al_merge_end_ns(c->merge);
    if (!more && end > 0 && c->ready < c->filled) spread(c, rows, c->filled, end);
    if (!more || c->ready == 0) stamp_rest(c, rows);
    return (int64_t)c->ready;
}

al_capture_counts al_capture_counted(const al_capture *c) { return c->counts; }

const char *al_capture_thread_name(const al_capture *c, uint32_t thread) {
    if (thread >= c->threads_used) return NULL;
    return thread < c->names_room ? c->names[thread].text : "";
}
