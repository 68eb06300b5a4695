/* Purging in the background: operations only let epochs begin, and somebody who sleeps in between purges. Theirs are up
 * to four threads; here one call does what all of them would have done.
 *
 * One who falls asleep reckons when as many pages will be due that it is worth waking up, not less than a tenth of a
 * second from now. Operations wake him sooner if enough pages come meanwhile. Where nothing is dirty he sleeps until
 * something is, and then only reckons again. */
#include "allocators/jemalloc/jemalloc.h"

#define SHORTEST UINT64_C(100000000)
#define DISTANT (UINT64_MAX / 4)

enum { WOKEN = 1 /* a moment long past */ };

static je_sleeper *sleeper_of(const je_arena *arena) { return &arena->heap->sleepers[arena->number % JE_SLEEPERS]; }

static uint64_t get(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
static void set(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
static uint64_t sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* --- operations --- */

void al_je_background_given(je_arena *arena) {
    const bool decays = arena->dirty_decay.ms > 0 || arena->muzzy_decay.ms > 0;
    if (decays && get(&sleeper_of(arena)->wakes) == 0) al_heap_wake(&arena->heap->heap);
}

void al_je_background_epoch(je_arena *arena, const je_decay *decay, uint64_t now) {
    je_sleeper *sleeper = sleeper_of(arena);
    const uint64_t wakes = get(&sleeper->wakes);
    if (wakes != 0) {
        if (wakes < now + SHORTEST) return;
        const uint64_t more = al_je_decay_newest_due(decay, wakes - now);
        if (__atomic_add_fetch(&sleeper->due, more, __ATOMIC_SEQ_CST) <= JE_DECAY_WORTH) return;
        set(&sleeper->wakes, WOKEN);
    }
    al_heap_wake(&arena->heap->heap);
}

/* --- who sleeps --- */

/* Purges, if it is more than reckoning; for how long to sleep then. */
static uint64_t look_after(je_arena *arena, bool purges) {
    al_lock_take(&arena->lock);
    if (purges) al_je_decay_from_outside(arena);
    const uint64_t sleep = sooner(al_je_decay_sleep(&arena->dirty_decay, arena->dirty.pages),
                                  al_je_decay_sleep(&arena->muzzy_decay, arena->muzzy.pages));
    al_lock_drop(&arena->lock);
    return sleep;
}

/* Returns how long it is asleep from now. While it is at work it counts as one with nothing to wait for, so that who
 * gives something now rings. */
static uint64_t run(je_heap *heap, unsigned number, uint64_t now) {
    je_sleeper *sleeper = &heap->sleepers[number];
    const uint64_t wakes = get(&sleeper->wakes);
    if (wakes > now) return wakes - now;
    set(&sleeper->wakes, 0);
    set(&sleeper->due, 0);
    uint64_t sleep = UINT64_MAX;
    for (unsigned i = number; i <= heap->params.narenas; i += JE_SLEEPERS) {
        je_arena *arena = al_je_arena(heap, i);
        if (arena != NULL) sleep = sooner(sleep, look_after(arena, wakes != 0));
    }
    if (sleep == UINT64_MAX) return DISTANT;
    sleep = sooner(sleep < SHORTEST ? SHORTEST : sleep, DISTANT);
    set(&sleeper->wakes, now + sleep);
    return sleep;
}

uint64_t al_je_background(al_heap *base) {
    je_heap *heap = al_je_of(base);
    const uint64_t now = al_regions_now(base->regions);
    uint64_t sleep = DISTANT;
    for (unsigned i = 0; i < JE_SLEEPERS; i++) {
        if (al_je_in_background(heap))
            sleep = sooner(sleep, run(heap, i, now));
        else
            set(&heap->sleepers[i].wakes, 0);
    }
    return al_je_in_background(heap) ? sleep : UINT64_MAX;
}
