/* The capture: what the recorder leaves of one process image's heap calls, and the decoder reads.
 *
 * A file of units of AL_CAPTURE_UNIT bytes:
 *
 *     unit 0        al_capture_header
 *     unit 1, 2 ..  a hole (all zero), or  | al_capture_unit | word | word | ... |
 *
 * A *stream* is a sequence of words in order of their sequence numbers; one thread at a time writes to it, and when
 * that thread has gone another may follow, so there are as many streams as threads lived at once. The unit that a
 * stream writes to is mapped into the target (`live`), so what it holds outlives the process. When it is full its words
 * are copied to a unit of their own, and the live one begins again with the next ordinal. Hence, to read a stream: its
 * units in order of ordinals; a live unit that is `copied` counts for nothing, else it counts before a copy of its
 * ordinal.
 *
 * Every event has a number of its own from one counter of the process: free takes it before the real free, malloc after
 * the real malloc, realloc one before and one after. So the numbers order all events as the heap saw them. A word holds
 * the distance to the number before it in its stream (at the head of a unit, to al_capture_unit.sequence):
 *
 *     bits      0..2    3..8       9..20     21..63
 *     MALLOC    kind    distance   size      address / 16        also CALLOC (of one element) and REALLOC_OUT
 *     bits      0..2    3..20                21..63
 *     FREE      kind    distance             address / 16        also REALLOC_IN
 *     bits      0..2    3..63
 *     STAMP     kind    nanoseconds since the image began, when the next event was made. It has no number
 *     bits      0..2    3..7       8         9..63
 *     WIDE      kind    al_wide    failed    distance            then three words: address, size, extra
 *
 * What does not fit the short forms is WIDE. A word is never zero: the first zero ends a live unit.
 *
 * A thread's name comes with its exit; those of threads that live when recording ends lie in the heads of their live
 * units, for which there is room on the fullest disk. */
#ifndef AL_RECORD_CAPTURE_H
#define AL_RECORD_CAPTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define AL_CAPTURE_MAGIC UINT64_C(0x3254504143434c41) /* "ALCCAPT2" */

enum { AL_CAPTURE_UNIT = 256 * 1024, AL_CAPTURE_HEADER = 16 * 1024, AL_WIDE_WORDS = 4, AL_NAME_BYTES = 16 };

typedef enum al_kind {
    AL_KIND_NONE,
    AL_KIND_MALLOC,
    AL_KIND_CALLOC,
    AL_KIND_REALLOC_OUT,
    AL_KIND_FREE,
    AL_KIND_REALLOC_IN,
    AL_KIND_STAMP,
    AL_KIND_WIDE
} al_kind;

typedef enum al_wide {
    AL_WIDE_MALLOC,
    AL_WIDE_CALLOC,      /* size of an element; extra = number of elements */
    AL_WIDE_REALLOC_OUT, /* address = the result, NULL if failed or freed */
    AL_WIDE_FREE,
    AL_WIDE_REALLOC_IN,
    AL_WIDE_ALIGNED,      /* extra = alignment */
    AL_WIDE_THREAD_START, /* address = number of the thread, whose words follow */
    AL_WIDE_THREAD_EXIT,  /* address = number of the thread; what ends with it may still call. size, extra = its name */
    AL_WIDE_BELONGS       /* address = number of the thread, whose words follow; makes no event */
} al_wide;

enum {
    AL_DISTANCE_SHIFT = 3,
    AL_SIZE_SHIFT = 9,
    AL_ADDRESS_SHIFT = 21,
    AL_WIDE_FAILED_SHIFT = 8,
    AL_WIDE_DISTANCE_SHIFT = 9,
    AL_BIRTH_DISTANCE_BITS = AL_SIZE_SHIFT - AL_DISTANCE_SHIFT,
    AL_SIZE_BITS = AL_ADDRESS_SHIFT - AL_SIZE_SHIFT,
    AL_DEATH_DISTANCE_BITS = AL_ADDRESS_SHIFT - AL_DISTANCE_SHIFT
};

/* What of an address the short forms cannot hold: it must be a multiple of 16 below 2^47. */
static const uint64_t AL_ADDRESS_UNFIT = ~((UINT64_C(1) << 47) - 16);

typedef struct al_capture_unit {
    uint32_t stream; /* from 1; 0 = a hole */
    uint32_t live;
    uint64_t ordinal;         /* of this unit in its stream, from 0 */
    uint64_t sequence;        /* the number before its first */
    uint32_t thread;          /* whose words come first */
    _Atomic uint32_t copied; /* live: these words have a complete copy; copy: how many words it holds */
    _Atomic uint32_t named;  /* live: of which thread, + 1, the name is; 0: of none */
    char name[AL_NAME_BYTES];
    uint32_t unused[3];
} al_capture_unit;

/* Why recording stopped early, other than by an error of the system. */
enum { AL_STOPPED_TIME = 1 << 16, AL_STOPPED_EVENTS };

typedef struct al_capture_header {
    uint64_t magic;
    uint32_t unit_bytes, header_bytes;
    uint32_t pid, parent, image; /* image: how many images of this pid came before */
    uint32_t forked;             /* the heap was inherited from the process `parent` */
    uint64_t start_ns;           /* on the monotonic clock */
    _Atomic uint64_t end_ns;     /* when the image went through exit(), since the start; 0: it did not */
    _Atomic uint64_t units;      /* units of the file, holes included */
    _Atomic uint64_t lost;       /* events that could not be recorded */
    _Atomic uint64_t last;       /* where recording stopped early: events of greater numbers do not count */
    _Atomic uint64_t stop_ns;    /* when that was, since the start */
    _Atomic uint32_t stopped;    /* why it stopped early: an errno value, AL_STOPPED_TIME .., or 0 */
    uint32_t command_bytes;      /* command: arguments, each ended by a zero byte; cut where it is too long */
    char program[1024];
    char allocator[1024]; /* the library that answered malloc */
    char libc[32];
    char command[8192];
    char smaps[2048];            /* /proc/self/smaps_rollup when the image went through exit(), without these units */
} al_capture_header;

/* Of the open capture fd. false: not a capture, or of another version. */
bool al_capture_read_header(int fd, al_capture_header *header);

_Static_assert(sizeof(al_capture_unit) == 64, "eight words");
_Static_assert(sizeof(al_capture_header) <= AL_CAPTURE_HEADER, "the header has its own pages");

#endif
