/* Runs a function in a process of its own that shares our memory, so that what it finds there cannot harm this one. A
 * heap may be looked at in any state: should it be damaged and the function crash, that process alone is gone; should a
 * lock be held that nobody will drop, as where a signal handler calls exit in the middle of a malloc, that process is
 * ended after a while. It has descriptors of its own, so none of the program's is taken.
 *
 * Other threads may be at work meanwhile. What writes into a heap to look at it, as marks on the chunks of lists, does
 * so in a copy: of that process, which has the heap's locks while the copy is made. */
#include "os/os.h"
#include "shim/shim.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10, BUSY_SECONDS = 5, PATIENCE_SECONDS = 60 };

typedef struct errand {
    void (*run)(void);
    volatile pid_t running; /* the kernel makes it 0 at the end, and wakes us */
} errand;

static void give_up(int number) {
    (void)number;
    syscall(SYS_exit_group, 1);
}

/* It ends with its maker: when that has lost patience, or has died itself. */
static void end_with_maker(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

/* Who waits for a lock is busy (base/lock.h), as is who goes round in circles in a damaged heap, which the copy may.
 * Processor time is what counts, for a machine with much to do may keep anyone waiting. */
static void end_when_long_busy(void) {
    const struct rlimit limit = {BUSY_SECONDS, BUSY_SECONDS};
    setrlimit(RLIMIT_CPU, &limit);
}

/* All signals are blocked here. Of a crash we are told ourselves: the kernel's own way, where it writes a core, would
 * end everyone who shares this memory. */
static int begin(void *given) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    sigset_t set;
    end_with_maker();
    end_when_long_busy();
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        signal(crashes[i], give_up);
        sigaddset(&set, crashes[i]);
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    ((errand *)given)->run();
    return 0;
}

static void await(const errand *sent, pid_t helper) {
    const uint64_t now = al_os_linux.now();
    const struct timespec until = {(time_t)(now / 1000000000) + PATIENCE_SECONDS, (long)(now % 1000000000)};
    int error = 0;
    while (sent->running != 0 && error != ETIMEDOUT)
        if (syscall(SYS_futex, &sent->running, FUTEX_WAIT_BITSET, 1, &until, NULL, FUTEX_BITSET_MATCH_ANY) != 0)
            error = errno;
    syscall(SYS_kill, helper, SIGKILL);
    syscall(SYS_wait4, helper, NULL, __WALL, NULL);
}

void al_shim_apart(void (*run)(void)) {
    const int saved = errno;
    void *stack;
    if (al_os_linux.map(NULL, STACK_BYTES, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, true, &stack) != 0) return;
    errand sent = {run, 1};
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t helper = clone(begin, (char *)stack + STACK_BYTES, CLONE_VM | CLONE_CHILD_CLEARTID, &sent, NULL, NULL,
                         (void *)&sent.running);
    if (helper > 0) await(&sent, helper);
    sigprocmask(SIG_SETMASK, &before, NULL);
    al_os_linux.unmap(stack, STACK_BYTES);
    errno = saved; /* which is the helper's, too */
}

void al_shim_in_copy(al_heap *heap, void (*run)(void)) {
    al_heap_fork(heap, NULL, AL_FORK_PREPARE);
    const pid_t copy = (pid_t)syscall(SYS_fork);
    al_heap_fork(heap, NULL, AL_FORK_PARENT);
    if (copy == 0) {
        end_with_maker();
        run();
        syscall(SYS_exit_group, 0);
    }
    if (copy > 0) syscall(SYS_wait4, copy, NULL, __WALL, NULL);
}
