/* The recorder's parts. family.c (the malloc family) calls events.h; that calls stream.c when a short word does not do;
 * streams belong to threads and take their units from the image (image.c), the capture file of this process. ending.c
 * notes what is to be known when recording ends. real.c finds the malloc that answers. Nothing here allocates or
 * prints, and errno is kept. */
#ifndef AL_RECORD_RECORD_H
#define AL_RECORD_RECORD_H

#include "base/lock.h"
#include "record/capture.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

/* A thread's end of a stream. It lies in memory that a fork wipes, so in a child all of it is zero: limit = NULL sends
 * the child's first event to the slow way. While its owner is at work limit is NULL too, and a signal handler's calls,
 * or those of the C library inside the slow way, go another way.
 *     unit's words <= cursor;  limit <= end - AL_WIDE_WORDS - 1;  cursor < limit: a word or a wide record fits
 *     end <= the unit's end: what the file has room for, more and more of the stream's first unit */
typedef struct al_stream {
    uint64_t *cursor, *limit;
    uint64_t last;         /* the number of its last event */
    uint64_t *end;
    al_capture_unit *unit; /* NULL: nobody's */
    uint32_t number;       /* of the stream, from 1 */
    uint32_t thread;
    uint32_t counted;        /* words of the unit whose events are counted, where there is a limit to them */
    _Atomic pid_t tid;       /* 0 while the stream goes from one thread to another */
    uint64_t offset;         /* of the unit in the file */
    _Atomic uint8_t leaving; /* its thread runs its destructors; the stream is free once the thread is gone */
} __attribute__((aligned(64))) al_stream;

enum { AL_STREAMS_MAX = 1 << 16, AL_NESTED_STREAM = 0 };

typedef enum al_image_state { AL_IMAGE_NONE, AL_IMAGE_OPENING, AL_IMAGE_OPEN, AL_IMAGE_OFF } al_image_state;

/* The process image, in wiped memory too: a forked child finds AL_IMAGE_NONE and opens a capture of its own. */
typedef struct al_image {
    _Atomic int state;
    al_capture_header *header;
    al_lock streams_lock, nested_lock;
    _Atomic uint32_t threads;
    _Atomic uint32_t streams; /* made so far, the nested one included; they change under streams_lock */
    _Atomic uint64_t events;  /* counted so far, where there is a limit to them */
    al_stream stream[];
} al_image;

extern al_image *al_image_now; /* NULL before the first event */

/* What was asked for, the same in every process. */
typedef struct al_limits {
    uint64_t until_ns; /* on the monotonic clock; 0: as long as the program runs */
    uint64_t events;   /* of an image; 0: as many as come */
} al_limits;

extern al_limits al_image_limits;

/* Once in a process's life, before its first event: asks to be told when threads exit. */
void al_streams_prepare(void);

/* Opens the capture of this process if there is none yet. false: nothing is recorded here. */
bool al_image_open(void);
/* For what a signal handler's events could not find half done. By system call: these are not the program's to see. */
uint64_t al_signals_block(void);
void al_signals_restore(uint64_t blocked);
/* Ends the recording of this image, once: `why` as in the header. */
void al_image_stop(int why);
/* A unit of the file, mapped, zero; its first AL_ROOM_FIRST bytes may be used. NULL: recording has stopped. */
enum { AL_ROOM_FIRST = 16 * 1024 };
al_capture_unit *al_image_map_unit(uint64_t *offset);
/* Makes room for `bytes` more of the file there; false: recording has stopped. */
bool al_image_make_room(uint64_t offset, size_t bytes);
/* Copies the words of a unit to one of their own; false: recording has stopped. */
bool al_image_copy_unit(const al_capture_unit *head, const void *words, size_t bytes);

/* Names the threads that live in the heads of their units. The caller's own life may be at its end, or at any event. */
void al_ending_name_threads(al_image *image);
/* The name of the calling thread. */
void al_ending_own_name(char name[AL_NAME_BYTES]);
/* Puts the kernel's summary of the process's memory into the header, without what the streams hold. */
void al_ending_note_memory(al_image *image);
/* The bytes of a small file of /proc, at most `room`; 0: it cannot be read. */
size_t al_ending_read(const char *path, char *to, size_t room);
/* Append to a path, and return its end. */
char *al_put_text(char *to, const char *from);
char *al_put_number(char *to, uint64_t n);

/* The malloc that answers. Until it is found these point to functions that find it first. */
typedef struct al_real {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
    void *(*memalign)(size_t alignment, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    int (*posix_memalign)(void **out, size_t alignment, size_t size);
    void *(*valloc)(size_t size);
    void *(*pvalloc)(size_t size);
    void (*free_sized)(void *block, size_t size); /* C23; NULL where the library has none */
    void (*free_aligned_sized)(void *block, size_t alignment, size_t size);
} al_real;

extern al_real al_real_malloc;
bool al_real_find(void);           /* false: we are inside the search already */
const char *al_real_library(void); /* its path; "" before it was found */

/* What the dynamic loader allocates while it looks for malloc comes from here and never returns. */
enum { AL_BOOT_BYTES = 64 * 1024 };
extern char al_boot[AL_BOOT_BYTES];
static inline bool al_is_boot(const void *block) {
    return __builtin_expect((uintptr_t)block - (uintptr_t)al_boot < AL_BOOT_BYTES, 0);
}
size_t al_boot_bytes(const void *block);

#pragma GCC visibility pop

#endif
