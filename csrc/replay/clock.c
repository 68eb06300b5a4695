/* liballoclab-clock.so, loaded beside an allocator: the monotonic clocks stand still but for what the replay advances
 * them by, the recorded time. So what an allocator does as time passes is the same however fast the machine is. */
#include "replay/clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { START_SECONDS = 1000000, NS_PER_SECOND = 1000000000 };

static uint64_t passed;

void alloclab_pass(uint64_t nanoseconds) { __atomic_fetch_add(&passed, nanoseconds, __ATOMIC_RELAXED); }

static bool stands_still(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW ||
           clock == CLOCK_BOOTTIME;
}

/* By this name the loader finds it before libc's. */
__attribute__((visibility("default"))) int alloclab_read_clock(clockid_t clock, struct timespec *now)
    __asm__("clock_gettime");

int alloclab_read_clock(clockid_t clock, struct timespec *now) {
    if (!stands_still(clock)) return (int)syscall(SYS_clock_gettime, clock, now);
    const uint64_t ns = __atomic_load_n(&passed, __ATOMIC_RELAXED);
    *now = (struct timespec){.tv_sec = (time_t)(START_SECONDS + ns / NS_PER_SECOND),
                             .tv_nsec = (long)(ns % NS_PER_SECOND)};
    return 0;
}
