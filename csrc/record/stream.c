/* Streams: their birth with a thread's first event, their stamps and flushes, their way from thread to thread. */
#include "os/os.h"
#include "record/events.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A stamp is written before the first event of a stream and then after this many words. */
enum { STAMP_WORDS = 64 };

/* Whose limit stays NULL: threads before their first event, and in the middle of it. */
static al_stream unborn, being_born;
__thread al_stream *al_my_stream = &unborn;
_Atomic uint64_t al_sequence __attribute__((aligned(128)));

static pthread_key_t exit_key;
static bool have_exit_key;

static uint64_t *words_of(al_capture_unit *unit) { return (uint64_t *)(unit + 1); }

static pid_t thread_id(void) { return (pid_t)syscall(SYS_gettid); }

static void begin_unit(al_stream *stream, uint64_t ordinal) {
    al_capture_unit *unit = stream->unit;
    unit->ordinal = ordinal;
    unit->sequence = stream->last;
    unit->thread = stream->thread;
    atomic_store_explicit(&unit->copied, 0, memory_order_release);
    stream->cursor = words_of(unit);
    stream->counted = 0;
}

/* The order of the stores keeps a reader right whenever the process is killed: the copy counts once it is complete. */
static bool flush(al_stream *stream) {
    al_capture_unit *unit = stream->unit;
    size_t bytes = (size_t)((char *)stream->cursor - (char *)words_of(unit));
    al_capture_unit copy = {.stream = unit->stream, .ordinal = unit->ordinal, .sequence = unit->sequence,
                            .thread = unit->thread, .copied = (uint32_t)(bytes / 8)};
    if (!al_image_copy_unit(&copy, words_of(unit), bytes)) return false;
    atomic_store_explicit(&unit->copied, 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* the words go after that, not before */
    memset(words_of(unit), 0, bytes);
    begin_unit(stream, copy.ordinal + 1);
    return true;
}

static void set_limit(al_stream *stream, uint64_t **limit) {
    uint64_t *last = stream->end - AL_WIDE_WORDS - 1, *next = stream->cursor + STAMP_WORDS;
    *limit = next < last ? next : last;
}

/* The file gets room for a unit bit by bit, as most processes of a build, say, need little of theirs. */
static bool extend(al_stream *stream) {
    size_t bytes = (size_t)((char *)stream->end - (char *)stream->unit);
    if (bytes == AL_CAPTURE_UNIT) return flush(stream);
    if (!al_image_make_room(stream->offset + bytes, bytes)) return false;
    stream->end += bytes / sizeof *stream->end;
    return true;
}

/* A realloc is one event, which its OUT is. */
static bool is_event(uint64_t word) {
    al_kind kind = (al_kind)(word % (1 << AL_DISTANCE_SHIFT));
    if (kind != AL_KIND_WIDE) return kind != AL_KIND_STAMP && kind != AL_KIND_REALLOC_IN;
    al_wide op = (al_wide)(word % (1 << AL_WIDE_FAILED_SHIFT) >> AL_DISTANCE_SHIFT);
    return op != AL_WIDE_REALLOC_IN && op != AL_WIDE_BELONGS;
}

/* Adds the stream's new events to the image's; false: there are as many as asked for, and recording has stopped. */
static bool count_events(al_stream *stream) {
    uint64_t *words = words_of(stream->unit), found = 0;
    uint32_t filled = (uint32_t)(stream->cursor - words);
    for (uint32_t at = stream->counted; at < filled;) {
        uint64_t word = words[at];
        found += is_event(word);
        at += word % (1 << AL_DISTANCE_SHIFT) == AL_KIND_WIDE ? AL_WIDE_WORDS : 1;
    }
    stream->counted = filled;
    if (atomic_fetch_add(&al_image_now->events, found) + found < al_image_limits.events) return true;
    al_image_stop(AL_STOPPED_EVENTS);
    return false;
}

/* Makes room in a busy stream, and stamps it. *limit is what its limit shall be. */
static bool refresh(al_stream *stream, uint64_t **limit) {
    uint64_t now = al_os_linux.now();
    if (al_image_limits.until_ns != 0 && now >= al_image_limits.until_ns) {
        al_image_stop(AL_STOPPED_TIME);
        return false;
    }
    if (al_image_limits.events != 0 && !count_events(stream)) return false;
    if (stream->end - stream->cursor < 4 * AL_WIDE_WORDS && !extend(stream)) return false;
    *stream->cursor++ = AL_KIND_STAMP | (now - al_image_now->header->start_ns) << AL_DISTANCE_SHIFT;
    set_limit(stream, limit);
    return true;
}

/* The head goes last: a record of which it is missing is no record. */
static void put_wide(al_stream *stream, uint64_t sequence, al_wide op, bool failed, uint64_t address, uint64_t size,
                     uint64_t extra) {
    uint64_t *at = stream->cursor;
    at[1] = address;
    at[2] = size;
    at[3] = extra;
    atomic_signal_fence(memory_order_seq_cst);
    at[0] = AL_KIND_WIDE | (uint64_t)op << AL_DISTANCE_SHIFT | (uint64_t)failed << AL_WIDE_FAILED_SHIFT |
            (sequence - stream->last) << AL_WIDE_DISTANCE_SHIFT;
    stream->cursor = at + AL_WIDE_WORDS;
    stream->last = sequence;
}

/* Gives a new stream its unit. */
static bool found_stream(al_stream *stream, uint32_t number) {
    uint64_t offset;
    al_capture_unit *unit = al_image_map_unit(&offset);
    if (unit == NULL) return false;
    uint64_t *end = (uint64_t *)((char *)unit + AL_ROOM_FIRST);
    *stream = (al_stream){.unit = unit, .end = end, .number = number, .offset = offset};
    unit->live = 1;
    begin_unit(stream, 0);
    atomic_signal_fence(memory_order_seq_cst);
    unit->stream = number;
    return true;
}

/* A stream for a thread: one whose thread has gone, else a new one. */
static al_stream *take_stream(al_image *image) {
    pid_t process = getpid();
    for (uint32_t i = AL_NESTED_STREAM + 1; i < image->streams; i++) {
        al_stream *old = &image->stream[i];
        if (old->leaving && syscall(SYS_tgkill, process, old->tid, 0) == -1 && errno == ESRCH) return old;
    }
    if (image->streams == 0) image->streams = AL_NESTED_STREAM + 1;
    if (image->streams == AL_STREAMS_MAX) return NULL;
    if (!found_stream(&image->stream[image->streams], image->streams + 1)) return NULL;
    return &image->stream[image->streams++];
}

/* This thread's first event, no signal interrupting. NULL: it cannot be recorded. */
static al_stream *bear(al_image *image) {
    al_my_stream = &being_born;
    al_lock_take(&image->streams_lock);
    al_stream *stream = take_stream(image);
    if (stream != NULL) {
        stream->tid = 0;
        stream->leaving = 0;
        stream->limit = NULL;
    }
    al_lock_drop(&image->streams_lock);
    uint64_t *limit;
    if (stream == NULL || !refresh(stream, &limit)) {
        al_my_stream = &unborn;
        return NULL;
    }
    stream->thread = atomic_fetch_add(&image->threads, 1);
    stream->tid = thread_id();
    put_wide(stream, al_sequence_next(), AL_WIDE_THREAD_START, false, stream->thread, 0, 0);
    al_my_stream = stream;
    if (have_exit_key) pthread_setspecific(exit_key, stream);
    return stream;
}

/* Runs among the thread's other destructors. What they call after it is recorded, too: the reader puts the exit
 * last. */
static void thread_exits(void *value) {
    al_stream *stream = value;
    if (stream != al_my_stream || stream->unit == NULL || al_image_now->state != AL_IMAGE_OPEN) return;
    uint64_t *limit = stream->limit, name[AL_NAME_BYTES / sizeof(uint64_t)];
    stream->limit = NULL;
    al_ending_own_name((char *)name);
    al_event_slow(stream, limit, AL_WIDE_THREAD_EXIT, false, stream->thread, name[0], name[1]);
    stream->leaving = 1;
}

void al_streams_prepare(void) {
    if (!have_exit_key) have_exit_key = pthread_key_create(&exit_key, thread_exits) == 0;
}

/* An event inside another of the same thread: of a signal handler, or of the C library where the slow way calls it. All
 * such events share one stream, and say whose they are. No signal may interrupt: a handler would wait for the lock. */
static bool nested_event(al_image *image, uint32_t thread, al_wide op, bool failed, uint64_t address, uint64_t size,
                         uint64_t extra) {
    uint64_t blocked = al_signals_block();
    al_lock_take(&image->nested_lock);
    al_stream *stream = &image->stream[AL_NESTED_STREAM];
    uint64_t *limit;
    bool done = (stream->unit != NULL || found_stream(stream, AL_NESTED_STREAM + 1)) && refresh(stream, &limit);
    if (done) {
        put_wide(stream, al_sequence_next(), AL_WIDE_BELONGS, false, thread, 0, 0);
        put_wide(stream, al_sequence_next(), op, failed, address, size, extra);
        stream->thread = thread;
    }
    al_lock_drop(&image->nested_lock);
    al_signals_restore(blocked);
    return done;
}

/* Not for the want of room: then recording has stopped, and says so. */
static void lose_event(al_image *image) {
    if (image->state == AL_IMAGE_OPEN) atomic_fetch_add(&image->header->lost, 1);
}

static void slow(al_stream *stream, uint64_t *limit, al_wide op, bool failed, uint64_t address, uint64_t size,
                 uint64_t extra) {
    if (!al_image_open()) return;
    al_image *image = al_image_now;
    if (limit != NULL) {
        if (!refresh(stream, &limit)) return;
    } else if (stream == &being_born) {
        lose_event(image);
        return;
    } else if (stream->unit == NULL) {
        uint64_t blocked = al_signals_block();
        stream = bear(image);
        al_signals_restore(blocked);
        if (stream == NULL) {
            lose_event(image);
            return;
        }
        set_limit(stream, &limit);
    } else {
        if (!nested_event(image, stream->thread, op, failed, address, size, extra)) lose_event(image);
        return;
    }
    al_event_wide(stream, limit, al_sequence_next(), op, failed, address, size, extra);
}

uint64_t al_event_wide(al_stream *stream, uint64_t *limit, uint64_t sequence, al_wide op, bool failed, uint64_t address,
                       uint64_t size, uint64_t extra) {
    put_wide(stream, sequence, op, failed, address, size, extra);
    atomic_signal_fence(memory_order_seq_cst);
    stream->limit = limit;
    return address;
}

uint64_t al_event_slow(al_stream *stream, uint64_t *limit, al_wide op, bool failed, uint64_t address, uint64_t size,
                       uint64_t extra) {
    int kept = errno;
    slow(stream, limit, op, failed, address, size, extra);
    errno = kept;
    return address;
}
