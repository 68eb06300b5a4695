/* A drop-in library's instance, and the context of each thread. AL_SHIM names the allocator: -DAL_SHIM=al_bump.
 *
 * Everything is made at the first call, which may come from the loader, before any constructor ran. A thread's context
 * is one `__thread` pointer; it is handed back by the destructor of a pthread key. What a thread does with malloc
 * after that (in later destructors, in libc's own) borrows a context for each call, so nothing stays behind.
 *
 * Settings come from ALLOCLAB_OPTIONS. Where they are wrong, or there is no memory for the heap itself, the process
 * writes one line to standard error and ends with status 2. */
#include "shim/shim.h"
#include "base/check.h"
#include "shim/dropin.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

extern const al_allocator AL_SHIM;

__thread al_thread *al_shim_current;
static _Atomic(al_heap *) the_heap;
static al_lock starting;
static pthread_key_t key;
static atomic_bool key_made;
static char departed; /* the key's value in a thread that has handed its context back */

__attribute__((noreturn, cold)) static void refuse(const char *what) {
    const char *const parts[] = {"alloclab: ALLOCLAB_OPTIONS: ", what, "\n"};
    for (size_t i = 0; i < 3; i++)
        if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0) break;
    _exit(2);
}

static al_heap *make_heap(void) {
    uint64_t values[AL_TUNABLES_MAX];
    char message[512] = "";
    al_tunables_default(&AL_SHIM, values);
    const char *options = getenv("ALLOCLAB_OPTIONS");
    if (options != NULL && al_tunables_parse(&AL_SHIM, options, values, message, sizeof message) != 0) refuse(message);
    int error = 0;
    const al_regions_config config = {.space = AL_SPACE_PROCESS, .real_clock = true};
    al_heap *heap = al_heap_create(&AL_SHIM, values, &config, &error);
    if (heap == NULL) refuse("no memory for the heap");
    return heap;
}

static void hand_back(void *value) {
    if (value != &departed) al_thread_exit(value);
    al_shim_current = NULL;
    pthread_setspecific(key, &departed);
}

static void before_fork(void) { al_heap_fork(the_heap, AL_FORK_PREPARE); }
static void after_fork_in_parent(void) { al_heap_fork(the_heap, AL_FORK_PARENT); }
static void after_fork_in_child(void) { al_heap_fork(the_heap, AL_FORK_CHILD); }

/* What libc's own set-up allocates (pthread_atfork may) finds the heap and this thread's context in place. */
static void start(void) {
    al_lock_take(&starting);
    if (the_heap != NULL) {
        al_lock_drop(&starting);
        return;
    }
    al_heap *heap = make_heap();
    al_shim_current = al_thread_create(heap);
    if (al_shim_current == NULL) refuse("no memory for the heap");
    the_heap = heap;
    al_lock_drop(&starting);
    al_check(pthread_key_create(&key, hand_back) == 0, "alloclab: no pthread key left");
    key_made = true;
    pthread_setspecific(key, al_shim_current);
    al_check(pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0, "alloclab: pthread_atfork");
}

/* The first call of a thread, or one after it has handed its context back. NULL: no memory for a context. */
al_thread *al_shim_arrive(void) {
    int saved = errno;
    if (the_heap == NULL) start();
    if (al_shim_current == NULL) {
        al_thread *thread = al_thread_create(the_heap);
        if (!key_made || pthread_getspecific(key) == &departed) return thread;
        al_shim_current = thread; /* before pthread_setspecific, which may allocate */
        if (thread != NULL) pthread_setspecific(key, thread);
    }
    errno = saved;
    return al_shim_current;
}

void al_shim_depart(al_thread *borrowed) { al_thread_exit(borrowed); }

al_heap *al_shim_heap(void) {
    if (the_heap == NULL) start();
    return the_heap;
}

al_heap *alloclab_heap(void) { return the_heap; }
