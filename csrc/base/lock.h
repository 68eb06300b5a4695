/* A lock of one word that never allocates and may be reset in a forked child: spins a little, then yields. */
#ifndef AL_BASE_LOCK_H
#define AL_BASE_LOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct al_lock {
    atomic_bool held;
} al_lock;

static inline bool al_lock_try(al_lock *lock) {
    return !atomic_exchange_explicit(&lock->held, true, memory_order_acquire);
}

__attribute__((cold, noinline, unused)) static void al_lock_wait(al_lock *lock) {
    unsigned spins = 0;
    do {
        while (atomic_load_explicit(&lock->held, memory_order_relaxed)) {
            if (++spins < 100)
                __builtin_ia32_pause();
            else
                sched_yield();
        }
    } while (!al_lock_try(lock));
}

static inline void al_lock_take(al_lock *lock) {
    if (!al_lock_try(lock)) al_lock_wait(lock);
}

static inline void al_lock_drop(al_lock *lock) {
    atomic_store_explicit(&lock->held, false, memory_order_release);
}

#endif
