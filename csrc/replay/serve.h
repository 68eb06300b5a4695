/* A malloc at the disposal of another program: alloclab-replay --serve answers requests on standard input, one at a
 * time, until that is closed; on standard output, or on another file where the malloc may write to that, too. Both
 * are records of the sizes below, in the machine's order.
 *
 * BEGIN forks a child, in which malloc is as the program found it; all that follows is done there, until END or until
 * it dies of what it is asked. Then there is one more answer, marked ENDED, with its status as waitpid gives it. So
 * every BEGIN is a fresh process, and no crash is the server's. A child in which nothing comes back can be killed. */
#ifndef AL_REPLAY_SERVE_H
#define AL_REPLAY_SERVE_H

#include <stdint.h>

typedef enum al_request_kind {
    AL_REQUEST_BEGIN, /* a: bytes that it may map, 0: no limit; value: its pid */
    AL_REQUEST_END,   /* exits, as a program does */
    AL_REQUEST_MALLOC, /* a bytes; of this and the next value is the address, 0 if it failed */
    AL_REQUEST_CALLOC, /* a, b */
    AL_REQUEST_REALLOC, /* address, a bytes */
    AL_REQUEST_REALLOCARRAY, /* address, a, b */
    AL_REQUEST_MEMALIGN, /* alignment a, b bytes */
    AL_REQUEST_ALIGNED_ALLOC,
    AL_REQUEST_POSIX_MEMALIGN, /* errno: what it returned; value: the pointer, AL_UNTOUCHED if it was left alone */
    AL_REQUEST_VALLOC, /* a bytes */
    AL_REQUEST_PVALLOC,
    AL_REQUEST_FREE, /* address */
    AL_REQUEST_FREE_SIZED, /* address, a bytes */
    AL_REQUEST_FREE_ALIGNED_SIZED, /* address, alignment a, b bytes */
    AL_REQUEST_USABLE_SIZE, /* address; value */
    AL_REQUEST_TRIM, /* a: pad; value */
    AL_REQUEST_FILL, /* address, a bytes, key b: as contents.h */
    AL_REQUEST_WRONG, /* likewise; value: the first wrong byte, or a */
    AL_REQUEST_NOT_ZERO, /* address, a bytes; value: the first byte that is not zero, or a */
    AL_REQUEST_THREAD_EXIT, /* the thread it is for ends; it begins anew with the next request */
    AL_REQUEST_FAIL_CALL, /* the a-th system call for memory from now on fails with ENOMEM; 0: none does.
                               value: what was left of the count before, 0 if the call that was to fail has */
    AL_REQUEST_KINDS
} al_request_kind;

enum { AL_SERVED_THREADS = 64, AL_ERRNO_BEFORE = 4095 /* no error of any system; what errno is before each call */ };

static const uint64_t AL_UNTOUCHED = UINT64_C(0xa110c1ab);

typedef struct al_request {
    uint32_t kind;   /* al_request_kind */
    uint32_t thread; /* who does it, below AL_SERVED_THREADS; 0 is the child's first */
    uint64_t address, a, b;
} al_request;

typedef enum al_reply_mark {
    AL_REPLY_DONE,
    AL_REPLY_ENDED,   /* value: status */
    AL_REPLY_MISSING, /* there is no such function in the process */
    AL_REPLY_REFUSED  /* no such request or thread, or it cannot be done here: error says why */
} al_reply_mark;

typedef struct al_reply {
    uint32_t mark; /* al_reply_mark */
    int32_t error; /* errno after the call */
    uint64_t value;
} al_reply;

/* Returns when standard input is closed; an errno value, or 0. */
int al_serve(int answers);

#endif
