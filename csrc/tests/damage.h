/* Random damage to a heap: words at places that matter take values that might pass. */
#ifndef AL_TESTS_DAMAGE_H
#define AL_TESTS_DAMAGE_H

#include "base/rng.h"

#include <stdint.h>

enum { TARGETS = 18 };

/* Where pointers, heads, sizes and counts are, four words at least. */
typedef struct targets {
    uint64_t *at[TARGETS];
} targets;

static uint64_t *some_word(const targets *t, al_rng *rng) {
    uint64_t draw = al_rng_next(rng);
    return (uint64_t *)((uintptr_t)t->at[draw % TARGETS] & ~(uintptr_t)7) + (draw >> 32) % 4;
}

static uint64_t some_value(const targets *t, al_rng *rng, uint64_t old) {
    uint64_t draw = al_rng_next(rng);
    switch (draw % 6) {
    case 0: return old ^ (UINT64_C(1) << (draw >> 32) % 64);
    case 1: return old + ((draw >> 32) % 512 - 256) * 8;
    case 2: return *some_word(t, rng);
    case 3: return (uintptr_t)some_word(t, rng);
    case 4: return al_rng_next(rng);
    default: return 0;
    }
}

/* One word to three. */
static inline void damage_somewhere(const targets *t, al_rng *rng) {
    for (uint64_t words = 1 + al_rng_next(rng) % 3; words > 0; words--) {
        uint64_t *word = some_word(t, rng);
        *word = some_value(t, rng, *word);
    }
}

#endif
