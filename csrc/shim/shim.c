/* A drop-in library's instance, and the context of each thread. AL_SHIM names the allocator: -DAL_SHIM=al_bump.
 *
 * The heap is made at the first call, which may come from the loader, before any constructor ran. A thread's context
 * is one `__thread` pointer, and all the static TLS there is. The destructor of a pthread key hands it back, in the
 * last round of destructors: until then those of others have it. What a thread does with malloc after that (libc's own
 * destructors) borrows a context for each call, so nothing stays behind.
 *
 * The heap's lock is held over a fork, so nobody's fork handler may find it taken: ours are registered before all
 * others, by the first constructor of the process (the library is linked with -z initfirst), hence run last before the
 * fork and first after it. libc holds its list of open files over a fork, too, and takes it after our handler; but who
 * flushes all files allocates while he holds it (a stream in memory grows). So the list is taken first here.
 *
 * Settings come from the real allocator's variables, where ours reads them, then from ALLOCLAB_OPTIONS. Where those are
 * wrong, or there is no memory for the heap itself, the process writes one line to standard error and ends with
 * status 2. */
#include "shim/shim.h"
#include "base/check.h"
#include "shim/dropin.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

/* What pthread_atfork calls, with a library that takes its handlers along as it goes. exit makes ours go, and while one
 * thread exits another may be between our two handlers: so they are nobody's. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);
/* libc's own, for its fork. The list may be taken again by the thread that has it. */
extern void _IO_list_lock(void), _IO_list_unlock(void), _IO_list_resetlock(void);

__thread al_thread *al_shim_current;
static _Atomic(al_heap *) the_heap;
static al_lock starting;
static pthread_key_t key;
static atomic_bool key_made;
static atomic_bool loaded; /* the loader has gone over to constructors */
atomic_uint al_shim_users;

__attribute__((noreturn, cold)) static void refuse(const char *subject, const char *what) {
    const char *const parts[] = {"alloclab: ", subject, what, "\n"};
    for (size_t i = 0; i < 4; i++)
        if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0) break;
    _exit(2);
}

static al_heap *make_heap(void) {
    al_settings settings;
    char message[512] = "";
    al_tunables_default(&AL_SHIM, &settings);
    if (AL_SHIM.environment != NULL) AL_SHIM.environment(&settings);
    const char *options = getenv("ALLOCLAB_OPTIONS");
    if (options != NULL && al_tunables_parse(&AL_SHIM, options, &settings, message, sizeof message) != 0)
        refuse("ALLOCLAB_OPTIONS: ", message);
    int error = 0;
    const al_regions_config config = {
        .space = AL_SPACE_PROCESS, .overcommit = AL_OVERCOMMIT_SYSTEM, .real_clock = true};
    al_heap *heap = al_heap_create(&AL_SHIM, &settings, &config, &error);
    if (heap == NULL) refuse("", "no memory for the heap");
    heap->wake = al_shim_ring;
    return heap;
}

/* The key's value counts the rounds of destructors. */
static void hand_back(void *round) {
    const uintptr_t next = (uintptr_t)round + 1;
    if (next <= PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(key, (void *)next) == 0) return;
    al_thread *context = al_shim_current;
    al_shim_current = AL_SHIM_DEPARTED;
    al_thread_exit(context);
    if (--al_shim_users == 0) al_shim_ring();
}

/* Makes the context this thread's own, until the key's destructor. pthread_setspecific may allocate, so it finds the
 * context in place; where it fails, the context stays borrowed. */
static void keep(al_thread *context) {
    al_shim_current = context;
    if (pthread_setspecific(key, (void *)1) != 0)
        al_shim_current = NULL;
    else if (al_shim_users++ == 0 && loaded)
        al_shim_background(the_heap);
}

/* What libc's own set-up allocates finds the heap and this thread's context in place. */
static void start(void) {
    al_lock_take(&starting);
    if (the_heap != NULL) {
        al_lock_drop(&starting);
        return;
    }
    al_heap *heap = make_heap();
    al_shim_current = al_thread_create(heap);
    if (al_shim_current == NULL) refuse("", "no memory for the heap");
    the_heap = heap;
    al_lock_drop(&starting);
    al_check(pthread_key_create(&key, hand_back) == 0, "alloclab: no pthread key left");
    key_made = true;
    keep(al_shim_current);
}

al_thread *al_shim_arrive(void) {
    int saved = errno;
    if (the_heap == NULL) start();
    al_thread *thread = al_shim_current;
    if (!al_shim_is_context(thread)) {
        bool stays = key_made && thread != AL_SHIM_DEPARTED;
        thread = stays ? al_thread_create(the_heap) : al_thread_borrow(the_heap);
        if (thread != NULL && stays) keep(thread);
    }
    errno = saved;
    return thread;
}

void al_shim_leave(al_thread *thread) {
    if (thread != NULL && thread != al_shim_current) al_thread_exit(thread);
}

al_heap *al_shim_heap(void) {
    if (the_heap == NULL) start();
    return the_heap;
}

/* This thread's context, if it has one of its own. */
static al_thread *own_context(void) { return al_shim_is_context(al_shim_current) ? al_shim_current : NULL; }

/* A thread that has called nothing yet gets its context here: what its allocator does for one that forks, it does. */
static void before_fork(void) {
    al_shim_leave(al_shim_arrive());
    _IO_list_lock();
    al_heap_fork(the_heap, own_context(), AL_FORK_PREPARE);
}

static void after_fork_in_parent(void) {
    al_heap_fork(the_heap, own_context(), AL_FORK_PARENT);
    _IO_list_unlock();
}

static void after_fork_in_child(void) {
    al_heap_fork(the_heap, own_context(), AL_FORK_CHILD);
    _IO_list_resetlock();
    al_shim_users = own_context() != NULL;
    al_shim_summary_in_child();
    al_shim_background_in_child(the_heap);
}

/* libc comes next, and would leave a malloc before it without an environment, hence without settings. */
__attribute__((constructor)) static void before_all_others(int argc, char **argv, char **environment) {
    (void)argc;
    (void)argv;
    if (environ == NULL) environ = environment;
    al_check(__register_atfork(before_fork, after_fork_in_parent, after_fork_in_child, NULL) == 0,
             "alloclab: no memory for the fork handlers");
    al_shim_summary_begin();
    al_shim_alone();
    loaded = true;
    if (AL_SHIM.background != NULL) al_shim_background(al_shim_heap());
}

al_heap *alloclab_heap(void) { return the_heap; }

al_heap *alloclab_begin(void) {
    al_shim_leave(al_shim_arrive());
    return the_heap;
}

int alloclab_control(const char *name, uint64_t *value, bool set) {
    al_thread *caller = al_shim_arrive();
    int error = al_heap_control(the_heap, caller, name, value, set);
    al_shim_leave(caller);
    if (set && error == 0) al_shim_background(the_heap);
    return error;
}
