/* The thread that does an allocator's background work in a drop-in: it sleeps until the moment that the hook named or
 * until the bell is rung. No signal reaches it and it never allocates, so it has no context; whatever it does, it does
 * within the hook, whose locks a fork waits for.
 *
 * It keeps no process alive. exit takes it along; where every thread that has used malloc is gone without one, as where
 * main calls pthread_exit, it goes as well. */
#include "shim/shim.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_bool present; /* it runs, or is being made */
static atomic_uint bell;

void al_shim_ring(void) {
    if (!present) return;
    bell++;
    syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until the bell is not as it was, or so long. */
static void rest(unsigned heard, uint64_t nanoseconds) {
    const struct timespec wait = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    syscall(SYS_futex, &bell, FUTEX_WAIT_PRIVATE, heard, nanoseconds == UINT64_MAX ? NULL : &wait, NULL, 0);
}

/* Either it sees a user that has come meanwhile, or that one sees that it is gone. */
static bool leaves(void) {
    if (al_shim_users != 0) return false;
    present = false;
    return al_shim_users == 0 || atomic_exchange(&present, true);
}

static void *work(void *heap) {
    for (;;) {
        unsigned heard = bell;
        if (leaves()) return NULL;
        rest(heard, al_heap_background(heap));
    }
}

void al_shim_background(al_heap *heap) {
    if (present || al_shim_users == 0 || al_heap_background(heap) == UINT64_MAX) return;
    if (atomic_exchange(&present, true)) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, heap) == 0)
        pthread_detach(thread);
    else
        present = false;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void al_shim_background_in_child(al_heap *heap) {
    present = false;
    al_shim_background(heap);
}
