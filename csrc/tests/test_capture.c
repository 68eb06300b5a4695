/* Captures written by hand, word by word: streams merge by number, a live unit and its copy count once, addresses find
 * their objects, times lie between the stamps; and a damaged capture ends in an error or in rows, never in a crash. */
#undef NDEBUG
#include "base/rng.h"
#include "record/capture.h"
#include "trace/capture.h"
#include "trace/events.h"

#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNITS = 5, ROWS = 64 };

static char file[UNITS + 1][AL_CAPTURE_UNIT] __attribute__((aligned(16)));
static char path[] = "/tmp/alloclab-capture-XXXXXX";

static uint64_t *begin_unit(size_t i, al_capture_unit head) {
    memcpy(file[i], &head, sizeof head);
    return (uint64_t *)(file[i] + sizeof head);
}

static uint64_t birth(al_kind kind, uint64_t distance, uint64_t size, uint64_t address) {
    return (uint64_t)kind | distance << AL_DISTANCE_SHIFT | size << AL_SIZE_SHIFT | address / 16 << AL_ADDRESS_SHIFT;
}

static uint64_t death(al_kind kind, uint64_t distance, uint64_t address) {
    return (uint64_t)kind | distance << AL_DISTANCE_SHIFT | address / 16 << AL_ADDRESS_SHIFT;
}

static uint64_t stamp(uint64_t ns) { return AL_KIND_STAMP | ns << AL_DISTANCE_SHIFT; }

static uint64_t *wide(uint64_t *at, al_wide op, bool failed, uint64_t distance, uint64_t address, uint64_t size,
                      uint64_t extra) {
    at[0] = AL_KIND_WIDE | (uint64_t)op << AL_DISTANCE_SHIFT | (uint64_t)failed << AL_WIDE_FAILED_SHIFT |
            distance << AL_WIDE_DISTANCE_SHIFT;
    at[1] = address;
    at[2] = size;
    at[3] = extra;
    return at + AL_WIDE_WORDS;
}

static uint64_t two_words[2];

/* The words of a name of at most 15 characters. */
static const uint64_t *name_words(const char *name) {
    memset(two_words, 0, sizeof two_words);
    memcpy(two_words, name, strlen(name));
    return two_words;
}

/* Two threads; the first one's stream has a copied unit, its live unit before the reset, and is read once. */
static void write_example(void) {
    memset(file, 0, sizeof file);
    al_capture_header header = {
        .magic = AL_CAPTURE_MAGIC, .unit_bytes = AL_CAPTURE_UNIT, .header_bytes = AL_CAPTURE_HEADER,
        .last = 15, .end_ns = 600};
    memcpy(file[0], &header, sizeof header);

    uint64_t *at = begin_unit(2, (al_capture_unit){.stream = 2, .ordinal = 0}), *first = at;
    *at++ = stamp(100);
    at = wide(at, AL_WIDE_THREAD_START, false, 1, 7, 0, 0);     /* 1 */
    *at++ = birth(AL_KIND_MALLOC, 1, 24, 0x1000);               /* 2 */
    *at++ = death(AL_KIND_REALLOC_IN, 1, 0x1000);               /* 3 */
    *at++ = birth(AL_KIND_REALLOC_OUT, 3, 48, 0x2000);          /* 6 */
    ((al_capture_unit *)file[2])->copied = (uint32_t)(at - first);

    at = begin_unit(1, (al_capture_unit){
        .stream = 2, .live = 1, .ordinal = 1, .sequence = 6, .thread = 7, .named = 7 + 1, .name = "the living"});
    *at++ = stamp(500);
    *at++ = death(AL_KIND_FREE, 2, 0x2000);                     /* 8 */
    *at++ = death(AL_KIND_FREE, 1, 0x9000);                     /* 9: unknown */
    at = wide(at, AL_WIDE_CALLOC, false, 1, 0x3000, 8, 5);      /* 10 */
    at = wide(at, AL_WIDE_MALLOC, true, 2, 0, 1u << 30, 1);     /* 12 */
    *at++ = death(AL_KIND_FREE, 4, 0x3000);                     /* 16: after recording stopped */

    /* the live unit of ordinal 0: its copy is complete, its words cleared */
    begin_unit(3, *(al_capture_unit *)file[2]);
    ((al_capture_unit *)file[3])->live = 1;

    /* its thread has ended since it was named so */
    at = begin_unit(4, (al_capture_unit){.stream = 3, .live = 1, .named = 3 + 1, .name = "wrong"});
    at = wide(at, AL_WIDE_THREAD_START, false, 4, 3, 0, 0);     /* 4 */
    *at++ = birth(AL_KIND_MALLOC, 1, 10, 0x1000);               /* 5: the address that the realloc leaves */
    *at++ = birth(AL_KIND_MALLOC, 2, 10, 0x1000);               /* 7: its free was lost */
    const uint64_t *name = name_words("the late one ..");
    at = wide(at, AL_WIDE_THREAD_EXIT, false, 4, 3, name[0], name[1]); /* 11 */
    *at++ = death(AL_KIND_FREE, 2, 0x1000);                     /* 13: late, still of this thread */
    at = wide(at, AL_WIDE_ALIGNED, false, 2, 0x4000, 100, 64);  /* 15 */
}

/* The same, killed a moment earlier: the copy is there but not yet declared complete, and the live unit holds all. */
static void write_example_with_an_unfinished_copy(void) {
    write_example();
    memcpy(file[3], file[2], AL_CAPTURE_UNIT);
    ((al_capture_unit *)file[3])->live = 1;
    ((al_capture_unit *)file[3])->copied = 0;
}

static void store(void) {
    FILE *out = fopen(path, "wb");
    assert(out != NULL && fwrite(file, sizeof file, 1, out) == 1 && fclose(out) == 0);
}

static struct {
    uint8_t op[ROWS], failed[ROWS];
    uint32_t thread[ROWS];
    int64_t object[ROWS], time_ns[ROWS];
    uint64_t size[ROWS], count[ROWS], align[ROWS], address[ROWS];
} columns;

static al_rows rows_of(size_t capacity) {
    return (al_rows){capacity,       columns.op,    columns.thread, columns.object, columns.size,
                     columns.count, columns.align, columns.time_ns, columns.failed, columns.address};
}

static void expect(size_t i, al_event_op op, uint32_t thread, int64_t object, uint64_t size) {
    assert(columns.op[i] == op && columns.thread[i] == thread);
    assert(columns.object[i] == object && columns.size[i] == size);
}

static void check_example(void) {
    const char *error = NULL;
    al_capture *capture = al_capture_open(path, UINT64_MAX, false, &error);
    assert(capture != NULL);
    al_rows rows = rows_of(ROWS);
    assert(al_capture_next(capture, &rows, &error) == 13);
    expect(0, AL_EVENT_THREAD_START, 0, -1, 0);
    expect(1, AL_EVENT_MALLOC, 0, 0, 24);
    expect(2, AL_EVENT_THREAD_START, 1, -1, 0);
    expect(3, AL_EVENT_MALLOC, 1, 1, 10);
    expect(4, AL_EVENT_REALLOC, 0, 0, 48);
    expect(5, AL_EVENT_FREE, 1, 1, 0); /* made up */
    expect(6, AL_EVENT_MALLOC, 1, 2, 10);
    expect(7, AL_EVENT_FREE, 0, 0, 0);
    expect(8, AL_EVENT_CALLOC, 0, 3, 8);
    expect(9, AL_EVENT_MALLOC, 0, -1, 1u << 30);
    expect(10, AL_EVENT_FREE, 1, 2, 0);
    expect(11, AL_EVENT_ALIGNED, 1, 4, 100);
    expect(12, AL_EVENT_THREAD_EXIT, 1, -1, 0);
    assert(columns.count[8] == 5 && columns.align[11] == 64 && columns.failed[9] && !columns.failed[8]);
    assert(columns.time_ns[0] == 100 && columns.time_ns[7] == 500);
    for (size_t i = 1; i < 7; i++) assert(columns.time_ns[i] == 100 + (int64_t)(400.0 / 7 * (double)i));
    for (size_t i = 8; i < 13; i++) assert(columns.time_ns[i] == 500 + (int64_t)(100.0 / 6 * (double)(i - 7)));
    assert(al_capture_next(capture, &rows, &error) == 0);
    al_capture_counts counts = al_capture_counted(capture);
    assert(counts.events == 13 && counts.frees_unknown == 1 && counts.frees_lost == 1 && counts.calls_lost == 1);
    assert(strcmp(al_capture_thread_name(capture, 0), "the living") == 0);
    assert(strcmp(al_capture_thread_name(capture, 1), "the late one ..") == 0);
    assert(al_capture_thread_name(capture, 2) == NULL && !counts.cut);
    assert(counts.live_bytes == 140 && counts.peak_live_bytes == 140 && counts.stamps == 3 && counts.span_ns == 500);
    al_capture_close(capture);
}

/* The same rows whatever the size of the blocks they come in. */
static void check_small_blocks(void) {
    for (size_t capacity = 3; capacity < 16; capacity++) {
        const char *error = NULL;
        al_capture *capture = al_capture_open(path, UINT64_MAX, false, &error);
        al_rows rows = rows_of(capacity);
        int64_t total = 0, births = 0, ready;
        while ((ready = al_capture_next(capture, &rows, &error)) > 0) {
            for (int64_t i = 0; i < ready; i++)
                if (columns.op[i] <= AL_EVENT_ALIGNED && columns.op[i] != AL_EVENT_REALLOC && !columns.failed[i])
                    assert(columns.object[i] == births++);
            total += ready;
        }
        assert(ready == 0 && total == 13 && births == 5);
        al_capture_close(capture);
    }
}

/* The first rows, the same as in the whole: their times, too, once the clock was read after them. Threads that have
 * none of them have no name. */
static void check_first_events(void) {
    for (uint64_t n = 1; n <= 14; n++) {
        const char *error = NULL;
        al_capture *capture = al_capture_open(path, n, false, &error);
        al_rows rows = rows_of(ROWS);
        assert(al_capture_next(capture, &rows, &error) == (int64_t)(n < 13 ? n : 13));
        if (n == 7 || n == 8) assert(columns.time_ns[1] == 100 + 400 / 7);
        for (uint64_t i = 1; i < n && i < 13; i++) assert(columns.time_ns[i] >= columns.time_ns[i - 1]);
        al_capture_counts counts = al_capture_counted(capture);
        assert(counts.events == (n < 13 ? n : 13) && counts.cut == (n < 13));
        assert(strcmp(al_capture_thread_name(capture, 0), "the living") == 0);
        const char *late = al_capture_thread_name(capture, 1);
        assert(n < 3 ? late == NULL : strcmp(late, "the late one ..") == 0);
        al_capture_close(capture);
    }
}

/* What was read is gone from the file. */
static void check_consumption(void) {
    const char *error = NULL;
    al_capture *capture = al_capture_open(path, UINT64_MAX, true, &error);
    al_rows rows = rows_of(ROWS);
    assert(al_capture_next(capture, &rows, &error) == 13 && al_capture_next(capture, &rows, &error) == 0);
    al_capture_close(capture);
    uint64_t word = 1;
    int fd = open(path, O_RDONLY);
    assert(fd >= 0 && pread(fd, &word, sizeof word, 2 * AL_CAPTURE_UNIT + sizeof(al_capture_unit)) == sizeof word);
    assert(word == 0 && close(fd) == 0);
}

static bool header_is_read(void) {
    al_capture_header header;
    int fd = open(path, O_RDONLY);
    bool read = al_capture_read_header(fd, &header);
    assert(fd >= 0 && close(fd) == 0);
    return read;
}

/* Lengths that lead out of the header are no header's. */
static void check_damaged_header(void) {
    write_example();
    al_capture_header *header = (al_capture_header *)file[0];
    const al_capture_header good = *header;
    header->command_bytes = sizeof header->command + 1;
    store();
    assert(!header_is_read());
    *header = good;
    header->header_bytes = AL_CAPTURE_HEADER + 1;
    store();
    assert(!header_is_read());
    *header = good;
    store();
    assert(header_is_read());
}

static void check_damage(void) {
    al_rng rng = {7};
    for (int round = 0; round < 300; round++) {
        write_example();
        for (int i = 0; i < 3; i++) {
            size_t unit = 1 + al_rng_next(&rng) % UNITS, word = al_rng_next(&rng) % 40;
            ((uint64_t *)file[unit])[word] = al_rng_next(&rng) >> al_rng_next(&rng) % 64;
        }
        store();
        const char *error = NULL;
        al_capture *capture = al_capture_open(path, UINT64_MAX, false, &error);
        if (capture == NULL) continue;
        al_rows rows = rows_of(ROWS);
        while (al_capture_next(capture, &rows, &error) > 0) continue;
        al_capture_close(capture);
    }
}

int main(void) {
    int fd = mkstemp(path);
    assert(fd >= 0 && close(fd) == 0);
    write_example();
    store();
    check_example();
    check_small_blocks();
    check_first_events();
    check_consumption();
    write_example_with_an_unfinished_copy();
    store();
    check_example();
    check_damaged_header();
    check_damage();
    unlink(path);
    return 0;
}
