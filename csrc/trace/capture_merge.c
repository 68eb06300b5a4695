#include "trace/capture_merge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW_WORDS = 2048, UNIT_WORDS = (AL_CAPTURE_UNIT - sizeof(al_capture_unit)) / sizeof(uint64_t) };

typedef struct unit {
    uint64_t offset, ordinal, sequence;
    uint32_t stream, thread, words;
    bool live;
} unit;

typedef struct stream {
    unit *units; /* in order of ordinals */
    size_t count, at;
    uint32_t read; /* words of units[at] read into the window so far */
    uint32_t used, filled;
    uint64_t last;
    uint32_t thread;
    al_record head;
    uint64_t window[WINDOW_WORDS];
} stream;

static const char UNREADABLE[] = "it cannot be read";

struct al_merge {
    int fd;
    bool consume;
    bool unreadable; /* a part of it could not be read: what came before does not count either */
    uint64_t last; /* records of greater numbers do not count */
    uint64_t end_ns;
    unit *units;
    size_t count;
    al_thread_name *names;
    size_t name_count;
    stream **streams; /* all of them, by index */
    stream **heap;    /* those with a head, a binary heap by its number */
    size_t stream_count, heap_count;
};

/* --- the file --- */

static bool read_at(int fd, void *to, size_t bytes, uint64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* By stream and ordinal, a live unit before its copy. */
static int compare_units(const void *left, const void *right) {
    const unit *a = left, *b = right;
    if (a->stream != b->stream) return a->stream < b->stream ? -1 : 1;
    if (a->ordinal != b->ordinal) return a->ordinal < b->ordinal ? -1 : 1;
    return (int)b->live - (int)a->live;
}

/* Lists the units that count. */
static const char *find_units(al_merge *merge) {
    al_capture_header header;
    struct stat file;
    if (!al_capture_read_header(merge->fd, &header))
        return "it is not a capture, or of another version of the recorder";
    if (fstat(merge->fd, &file) != 0) return UNREADABLE;
    merge->last = header.last;
    merge->end_ns = header.stopped ? header.stop_ns : header.end_ns;
    size_t room = (size_t)file.st_size / AL_CAPTURE_UNIT + 1;
    merge->units = calloc(room, sizeof *merge->units);
    merge->names = calloc(room, sizeof *merge->names);
    if (merge->units == NULL || merge->names == NULL) return "";
    for (uint64_t offset = AL_CAPTURE_UNIT; offset + sizeof(al_capture_unit) <= (uint64_t)file.st_size;
         offset += AL_CAPTURE_UNIT) {
        al_capture_unit head;
        if (!read_at(merge->fd, &head, sizeof head, offset)) return UNREADABLE;
        if (head.live && head.named != 0) {
            al_thread_name *named = &merge->names[merge->name_count++];
            named->thread = head.named - 1;
            memcpy(named->name, head.name, sizeof named->name);
        }
        if (head.stream == 0 || (head.live && head.copied)) continue;
        uint32_t words = head.live ? UNIT_WORDS : head.copied;
        uint64_t end = offset + sizeof head + words * sizeof(uint64_t);
        if (words > UNIT_WORDS) return "a unit is longer than can be";
        if (end > (uint64_t)file.st_size) words = (uint32_t)(((uint64_t)file.st_size - offset - sizeof head) / 8);
        merge->units[merge->count++] =
            (unit){offset, head.ordinal, head.sequence, head.stream, head.thread, words, head.live != 0};
    }
    qsort(merge->units, merge->count, sizeof *merge->units, compare_units);
    size_t kept = 0;
    for (size_t i = 0; i < merge->count; i++) {
        const unit *u = &merge->units[i];
        const unit *before = kept > 0 ? &merge->units[kept - 1] : NULL;
        bool again = before != NULL && before->stream == u->stream && before->ordinal == u->ordinal;
        if (!again) merge->units[kept++] = *u;
    }
    merge->count = kept;
    return NULL;
}

/* --- a stream --- */

static void enter_unit(stream *s) {
    s->read = s->used = s->filled = 0;
    if (s->at == s->count) return;
    s->last = s->units[s->at].sequence;
    s->thread = s->units[s->at].thread;
}

/* Memory has what was read, so the disk need not: what the reader makes of it may go to the same full disk. */
static void give_back(const al_merge *merge, uint64_t offset, uint64_t bytes) {
    if (merge->consume) fallocate(merge->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
}

/* The words at the stream's place, at least `want` of them in this unit; NULL: the unit has no more. */
static const uint64_t *look(al_merge *merge, stream *s, uint32_t want) {
    if (s->filled - s->used < want) {
        const unit *u = &s->units[s->at];
        uint32_t rest = s->filled - s->used, more = u->words - s->read;
        memmove(s->window, s->window + s->used, rest * sizeof *s->window);
        if (more > WINDOW_WORDS - rest) more = WINDOW_WORDS - rest;
        uint64_t offset = u->offset + sizeof(al_capture_unit) + s->read * sizeof *s->window;
        if (rest + more < want) return NULL;
        if (!read_at(merge->fd, s->window + rest, more * sizeof *s->window, offset)) {
            merge->unreadable = true;
            return NULL;
        }
        give_back(merge, offset, more * sizeof *s->window);
        s->used = 0;
        s->filled = rest + more;
        s->read += more;
    }
    return s->window + s->used;
}

static al_wide short_op(al_kind kind) {
    static const al_wide ops[] = {
        [AL_KIND_MALLOC] = AL_WIDE_MALLOC, [AL_KIND_CALLOC] = AL_WIDE_CALLOC,
        [AL_KIND_REALLOC_OUT] = AL_WIDE_REALLOC_OUT, [AL_KIND_FREE] = AL_WIDE_FREE,
        [AL_KIND_REALLOC_IN] = AL_WIDE_REALLOC_IN};
    return ops[kind];
}

static uint64_t bits(uint64_t word, unsigned from, unsigned to) { return word << (64 - to) >> (64 - to + from); }

/* Takes one record apart, its number being `distance` after the last. */
static void parse_short(uint64_t word, al_kind kind, al_record *r, uint64_t *distance) {
    bool birth = kind <= AL_KIND_REALLOC_OUT;
    r->op = short_op(kind);
    r->address = bits(word, AL_ADDRESS_SHIFT, 64) << 4;
    r->size = birth ? bits(word, AL_SIZE_SHIFT, AL_ADDRESS_SHIFT) : 0;
    r->extra = 1;
    *distance = bits(word, AL_DISTANCE_SHIFT, birth ? AL_SIZE_SHIFT : AL_ADDRESS_SHIFT);
}

static void parse_wide(const uint64_t *words, al_record *r, uint64_t *distance) {
    r->op = (al_wide)bits(words[0], AL_DISTANCE_SHIFT, AL_WIDE_FAILED_SHIFT);
    r->failed = bits(words[0], AL_WIDE_FAILED_SHIFT, AL_WIDE_DISTANCE_SHIFT);
    *distance = bits(words[0], AL_WIDE_DISTANCE_SHIFT, 64);
    r->address = words[1];
    r->size = words[2];
    r->extra = words[3];
}

/* Reads the next record into s->head; false: the stream ends. */
static bool advance(al_merge *merge, stream *s) {
    al_record r = {.stream = s->head.stream, .stamp_ns = -1};
    while (s->at < s->count) {
        const uint64_t *words = look(merge, s, 1);
        if (words == NULL || (words[0] == 0 && s->units[s->at].live)) {
            s->at++;
            enter_unit(s);
            continue;
        }
        al_kind kind = (al_kind)bits(words[0], 0, AL_DISTANCE_SHIFT);
        uint64_t distance;
        s->used++;
        if (kind == AL_KIND_NONE) continue; /* no recorder writes it: the file is damaged */
        if (kind == AL_KIND_STAMP) {
            r.stamp_ns = (int64_t)bits(words[0], AL_DISTANCE_SHIFT, 64);
            continue;
        }
        if (kind == AL_KIND_WIDE) {
            s->used--;
            words = look(merge, s, AL_WIDE_WORDS);
            if (words == NULL) {
                s->used = s->filled;
                s->read = s->units[s->at].words; /* what is left of the record is no head */
                continue;
            }
            s->used += AL_WIDE_WORDS;
            parse_wide(words, &r, &distance);
        } else {
            parse_short(words[0], kind, &r, &distance);
        }
        s->last += distance;
        r.sequence = s->last;
        if (r.sequence > merge->last) return false;
        if (r.op == AL_WIDE_THREAD_START || r.op == AL_WIDE_BELONGS) s->thread = (uint32_t)r.address;
        r.thread = s->thread;
        s->head = r;
        return true;
    }
    return false;
}

/* --- the merge --- */

static void sift_down(al_merge *merge, size_t i) {
    stream **heap = merge->heap, *moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < merge->heap_count; i = child) {
        if (child + 1 < merge->heap_count && heap[child + 1]->head.sequence < heap[child]->head.sequence) child++;
        if (moving->head.sequence <= heap[child]->head.sequence) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static const char *make_streams(al_merge *merge) {
    merge->streams = calloc(merge->count + 1, sizeof(stream *));
    merge->heap = calloc(merge->count + 1, sizeof(stream *));
    if (merge->streams == NULL || merge->heap == NULL) return "";
    for (size_t i = 0; i < merge->count;) {
        stream *s = malloc(sizeof *s);
        if (s == NULL) return "";
        size_t n = 1;
        while (i + n < merge->count && merge->units[i + n].stream == merge->units[i].stream) n++;
        *s = (stream){.units = merge->units + i, .count = n, .head.stream = (uint32_t)merge->stream_count};
        merge->streams[merge->stream_count++] = s;
        i += n;
        enter_unit(s);
        if (advance(merge, s)) merge->heap[merge->heap_count++] = s;
    }
    for (size_t i = merge->heap_count / 2; i-- > 0;) sift_down(merge, i);
    return merge->unreadable ? UNREADABLE : NULL;
}

al_merge *al_merge_open(const char *path, bool consume, const char **error) {
    al_merge *merge = calloc(1, sizeof *merge);
    *error = "";
    if (merge == NULL) return NULL;
    merge->consume = consume;
    merge->fd = open(path, (consume ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    *error = merge->fd < 0 ? strerror(errno) : find_units(merge);
    if (*error == NULL) *error = make_streams(merge);
    if (*error == NULL) return merge;
    al_merge_close(merge);
    return NULL;
}

void al_merge_close(al_merge *merge) {
    for (size_t i = 0; i < merge->stream_count; i++) free(merge->streams[i]);
    if (merge->fd >= 0) close(merge->fd);
    free(merge->streams);
    free(merge->heap);
    free(merge->units);
    free(merge->names);
    free(merge);
}

size_t al_merge_streams(const al_merge *merge) { return merge->stream_count; }
uint64_t al_merge_end_ns(const al_merge *merge) { return merge->end_ns; }

size_t al_merge_names(const al_merge *merge, const al_thread_name **out) {
    *out = merge->names;
    return merge->name_count;
}

bool al_merge_next(al_merge *merge, al_record *record, const char **error) {
    *error = NULL;
    if (merge->heap_count == 0) return false;
    stream *s = merge->heap[0];
    *record = s->head;
    bool more = advance(merge, s);
    if (merge->unreadable) {
        *error = UNREADABLE;
        return false;
    }
    record->thread_ends = !more || s->head.op == AL_WIDE_THREAD_START || s->head.op == AL_WIDE_BELONGS;
    if (!more) merge->heap[0] = merge->heap[--merge->heap_count];
    if (more && s->head.sequence <= record->sequence) {
        *error = "its records are out of order";
        return false;
    }
    if (merge->heap_count > 0) sift_down(merge, 0);
    return true;
}
