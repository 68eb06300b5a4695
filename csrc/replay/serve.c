#include "replay/serve.h"

#include "base/align.h"
#include "replay/account.h"
#include "replay/contents.h"
#include "replay/sud.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);
#pragma weak free_sized
#pragma weak free_aligned_sized

/* --- the calls --- */

static al_account account; /* what lets calls fail; kept from the first FAIL_CALL on */
static bool watched;

static uint64_t address_of(const void *block) { return (uintptr_t)block; }

/* Of posix_memalign itself a compiler takes for granted that it stores nothing where it fails. */
static int (*volatile aligned)(void **, size_t, size_t) = posix_memalign;

static uint64_t call_aligned(const al_request *r, al_reply *reply) {
    void *block = (void *)AL_UNTOUCHED;
    reply->error = aligned(&block, r->a, r->b);
    return address_of(block);
}

static uint64_t call(const al_request *r, al_reply *reply) {
    void *block = (void *)r->address;
    switch (r->kind) {
    case AL_REQUEST_MALLOC: return address_of(malloc(r->a));
    case AL_REQUEST_CALLOC: return address_of(calloc(r->a, r->b));
    case AL_REQUEST_REALLOC: return address_of(realloc(block, r->a));
    case AL_REQUEST_REALLOCARRAY: return address_of(reallocarray(block, r->a, r->b));
    case AL_REQUEST_MEMALIGN: return address_of(memalign(r->a, r->b));
    case AL_REQUEST_ALIGNED_ALLOC: return address_of(aligned_alloc(r->a, r->b));
    case AL_REQUEST_POSIX_MEMALIGN: return call_aligned(r, reply);
    case AL_REQUEST_VALLOC: return address_of(valloc(r->a));
    case AL_REQUEST_PVALLOC: return address_of(pvalloc(r->a));
    case AL_REQUEST_FREE: free(block); return 0;
    case AL_REQUEST_FREE_SIZED: free_sized(block, r->a); return 0;
    case AL_REQUEST_FREE_ALIGNED_SIZED: free_aligned_sized(block, r->a, r->b); return 0;
    case AL_REQUEST_USABLE_SIZE: return malloc_usable_size(block);
    default: return (uint64_t)malloc_trim(r->a);
    }
}

static bool is_missing(const al_request *r) {
    return (r->kind == AL_REQUEST_FREE_SIZED && free_sized == NULL) ||
           (r->kind == AL_REQUEST_FREE_ALIGNED_SIZED && free_aligned_sized == NULL);
}

static void call_malloc(const al_request *r, al_reply *reply) {
    if (is_missing(r)) {
        reply->mark = AL_REPLY_MISSING;
        return;
    }
    if (watched) {
        account.program_break = al_sud_break(0); /* the start of a thread, which nobody watched, may have moved it */
        al_sud_join();
    }
    errno = AL_ERRNO_BEFORE;
    reply->value = call(r, reply);
    const int error = errno;
    if (watched) al_sud_off();
    if (r->kind != AL_REQUEST_POSIX_MEMALIGN) reply->error = error;
}

static void let_fail(const al_request *r, al_reply *reply) {
    if (!watched) {
        al_account_init(&account, al_sud_break(0));
        reply->error = al_sud_init(&account);
        if (reply->error != 0) reply->mark = AL_REPLY_REFUSED;
        watched = reply->error == 0;
    }
    reply->value = account.fail_call;
    account.fail_call = r->a;
}

static void answer(const al_request *r, al_reply *reply) {
    char *block = (char *)r->address;
    switch (r->kind) {
    case AL_REQUEST_FILL:
        al_contents_fill(block, r->b, 0, r->a);
        break;
    case AL_REQUEST_WRONG:
        reply->value = al_contents_wrong(block, r->b, r->a);
        break;
    case AL_REQUEST_NOT_ZERO:
        reply->value = al_contents_not_zero(block, r->a);
        break;
    case AL_REQUEST_FAIL_CALL:
        let_fail(r, reply);
        break;
    default:
        call_malloc(r, reply);
    }
}

/* --- threads: each has a letter box that holds one request --- */

enum { BOX_EMPTY, BOX_FULL, BOX_ANSWERED };

typedef struct box {
    _Atomic uint32_t state;
    bool alive;
    pthread_t thread;
    al_request request;
    al_reply reply;
} box;

static box boxes[AL_SERVED_THREADS];

static void turn(box *b, uint32_t state) {
    atomic_store(&b->state, state);
    syscall(SYS_futex, &b->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until it is as wanted. */
static void wait_for(box *b, uint32_t wanted) {
    for (uint32_t now; (now = atomic_load(&b->state)) != wanted;)
        syscall(SYS_futex, &b->state, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void *live(void *context) {
    box *b = context;
    for (;;) {
        wait_for(b, BOX_FULL);
        if (b->request.kind == AL_REQUEST_THREAD_EXIT) return NULL;
        b->reply = (al_reply){0};
        answer(&b->request, &b->reply);
        turn(b, BOX_ANSWERED);
    }
}

static void refuse(al_reply *reply, int why) {
    reply->mark = AL_REPLY_REFUSED;
    reply->error = why;
}

static void hand_over(const al_request *r, al_reply *reply) {
    box *b = &boxes[r->thread];
    const bool leaves = r->kind == AL_REQUEST_THREAD_EXIT;
    if (leaves && !b->alive) return;
    if (!b->alive) {
        b->state = BOX_EMPTY;
        int error = pthread_create(&b->thread, NULL, live, b);
        if (error != 0) {
            refuse(reply, error);
            return;
        }
        b->alive = true;
    }
    b->request = *r;
    turn(b, BOX_FULL);
    if (leaves) {
        pthread_join(b->thread, NULL);
        b->alive = false;
    } else {
        wait_for(b, BOX_ANSWERED);
        *reply = b->reply;
    }
}

/* --- records in and out --- */

static int replies;

static bool get(al_request *request) {
    for (size_t got = 0; got < sizeof *request;) {
        ssize_t n = read(STDIN_FILENO, (char *)request + got, sizeof *request - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        got += (size_t)n;
    }
    return true;
}

static void put(al_reply reply) {
    for (size_t done = 0; done < sizeof reply;) {
        ssize_t n = write(replies, (char *)&reply + done, sizeof reply - done);
        if (n < 0 && errno != EINTR) _exit(1);
        if (n > 0) done += (size_t)n;
    }
}

/* --- the child, and who waits for it --- */

/* Bytes that are mapped now. Nothing of libc's that may call malloc. */
static uint64_t address_space(void) {
    char text[32] = "";
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void limit_address_space(uint64_t more) {
    struct rlimit room;
    if (more == 0 || getrlimit(RLIMIT_AS, &room) != 0) return;
    room.rlim_cur = al_min(address_space() + more, room.rlim_max);
    setrlimit(RLIMIT_AS, &room);
}

__attribute__((noreturn)) static void serve_until_the_end(const al_request *begin) {
    al_request r;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    limit_address_space(begin->a);
    put((al_reply){.value = (uint64_t)getpid()});
    while (get(&r)) {
        al_reply reply = {0};
        if (r.kind == AL_REQUEST_END) exit(0);
        if (r.kind == AL_REQUEST_BEGIN || r.kind >= AL_REQUEST_KINDS || r.thread >= AL_SERVED_THREADS)
            refuse(&reply, EINVAL);
        else if (r.thread == 0)
            answer(&r, &reply);
        else
            hand_over(&r, &reply);
        put(reply);
    }
    _exit(0);
}

int al_serve(int answers) {
    al_request r;
    replies = answers;
    fcntl(replies, F_SETFD, FD_CLOEXEC);
    while (get(&r)) {
        if (r.kind != AL_REQUEST_BEGIN) return EINVAL;
        pid_t child = fork();
        if (child < 0) return errno;
        if (child == 0) serve_until_the_end(&r);
        int status;
        while (waitpid(child, &status, 0) < 0)
            if (errno != EINTR) return errno;
        put((al_reply){.mark = AL_REPLY_ENDED, .value = (uint64_t)status});
    }
    return 0;
}
